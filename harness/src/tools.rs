//! The programs: which versions there are, and where their binaries lie.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::{Error, Result};

/// The versions of nats-server that the tests run against, oldest first (`tools/versions`).
pub static VERSIONS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    include_str!("../../tools/versions")
        .lines()
        .filter_map(|line| line.strip_prefix("nats-server "))
        .filter_map(|line| line.split_whitespace().next())
        .collect()
});

/// The oldest of [`VERSIONS`].
///
/// # Panics
///
/// When `tools/versions` lists none.
#[must_use]
pub fn oldest() -> &'static str {
    VERSIONS[0]
}

/// The newest of [`VERSIONS`].
///
/// # Panics
///
/// When `tools/versions` lists none.
#[must_use]
pub fn newest() -> &'static str {
    VERSIONS[VERSIONS.len() - 1]
}

/// The top directory of the repository.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The path of a nats-server of this version, fetched if it is missing. Blocks meanwhile.
pub fn nats_server(version: &str) -> Result<PathBuf> {
    fetch(&["nats-server", version])
}

/// The path of another program of `tools/versions`, such as `promtool`. Blocks while it is fetched.
pub fn tool(name: &str) -> Result<PathBuf> {
    fetch(&[name])
}

fn fetch(arguments: &[&str]) -> Result<PathBuf> {
    // The script checks versions by running programs, so its answers are kept.
    static FOUND: LazyLock<Mutex<HashMap<String, PathBuf>>> = LazyLock::new(Mutex::default);
    let program = arguments.join(" ");
    if let Some(path) = FOUND.lock().unwrap_or_else(PoisonError::into_inner).get(&program) {
        return Ok(path.clone());
    }
    let failed = |reason: String| Error::Fetch { program: program.clone(), reason };
    let output = Command::new(repository().join("tools/fetch"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format!("tools/fetch (which needs python3): {error}")))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    FOUND.lock().unwrap_or_else(PoisonError::into_inner).insert(program, path.clone());
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_order() {
        let number = |version: &str| -> Vec<u32> {
            version.split('.').map(|part| part.parse().unwrap()).collect()
        };
        assert!(VERSIONS.len() > 1);
        assert!(VERSIONS.is_sorted_by_key(|version| number(version)));
        assert_eq!((oldest(), newest()), (VERSIONS[0], VERSIONS[VERSIONS.len() - 1]));
    }

    #[test]
    fn unknown_program_is_explained() {
        let error = tool("no-such-program").unwrap_err().to_string();
        assert!(error.contains("known are"), "{error}");
    }
}
