//! The text of source files, for tests that hold documents against them.

use std::fs;
use std::path::Path;

/// All Rust files below these folders, one behind the other.
pub(crate) fn all<const N: usize>(folders: [&str; N]) -> String {
    let mut text = String::new();
    for folder in folders {
        read(Path::new(folder), &mut text);
    }
    text
}

fn read(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            read(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).expect("it can be read"));
        }
    }
}
