//! Text that must not be shown: written in the configuration itself, in a file
//! or in the environment. It is read when the configuration is, so that what
//! is missing is told at once.

use std::path::PathBuf;

use secrecy::SecretString;

use super::entry::{Entry, Reason};
use super::read::{Context, Section};

/// The keys of a section that one piece of text may come from.
pub(super) struct Sources {
    pub(super) inline: Option<&'static str>,
    pub(super) file: &'static str,
    pub(super) variable: &'static str,
}

impl Sources {
    fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.inline.into_iter().chain([self.file, self.variable])
    }

    /// Takes the text from the one key that is set; what is missing or too much is noted.
    pub(super) fn take(&self, section: &mut Section) -> Option<SecretString> {
        let given: Vec<&str> = self.keys().filter(|key| section.has(key)).collect();
        if given.len() != 1 {
            let keys: Vec<&str> = self.keys().collect();
            let keys = keys.join(", ");
            section.report(
                "",
                match given.as_slice() {
                    [] => format!("something is missing; write one of {keys}"),
                    _ => format!("{} exclude each other; write one of them", given.join(" and ")),
                },
            );
        }
        let context = section.context;
        let inline =
            self.inline.and_then(|key| section.take(key, |entry| Ok(entry.text()?.into())));
        let file = section.take(self.file, |entry| from_file(&path(context, entry)?));
        let variable = section.take(self.variable, |entry| from_variable(context, entry));
        inline.or(file).or(variable)
    }
}

/// A path in the file; a relative one starts from the folder of the file.
pub(super) fn path(context: &Context, entry: &Entry) -> Result<PathBuf, Reason> {
    match entry.text()? {
        "" => Err("this is empty; write the path of a file, or leave the key out".to_owned()),
        path => Ok(context.directory.join(path)),
    }
}

/// A path in the file to something that can be read.
pub(super) fn readable(context: &Context, entry: &Entry) -> Result<PathBuf, Reason> {
    let path = path(context, entry)?;
    let opened = std::fs::File::open(&path).and_then(|file| file.metadata());
    match opened {
        Ok(metadata) if metadata.is_dir() => {
            Err(format!("{} is a directory; write the path of a file", path.display()))
        }
        Ok(_) => Ok(path),
        Err(reason) => Err(format!("cannot read {}: {reason}", path.display())),
    }
}

fn from_file(path: &std::path::Path) -> Result<SecretString, Reason> {
    let text = std::fs::read_to_string(path)
        .map_err(|reason| format!("cannot read {}: {reason}", path.display()))?;
    match without_line_end(&text) {
        "" => Err(format!("{} is empty; it should hold the text", path.display())),
        text => Ok(text.into()),
    }
}

fn from_variable(context: &Context, entry: &Entry) -> Result<SecretString, Reason> {
    let name = entry.name()?;
    context.named_variables.borrow_mut().push(name.clone());
    match context.environment.get(&name).map(|text| without_line_end(text)) {
        None => Err(format!("the environment variable {name} is not set")),
        Some("") => Err(format!("the environment variable {name} is empty")),
        Some(text) => Ok(text.into()),
    }
}

/// Editors and `kubectl create secret` from a pipe leave one line end that nobody means.
fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}
