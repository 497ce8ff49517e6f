//! What can be wrong with a configuration, said so that it can be put right.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why there is no valid configuration.
///
/// The text says all there is to say: where, which key, why, and what to write
/// instead. It contains no secret and no URL with credentials.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing or cannot be read.
    #[error("cannot read the configuration file {} (named by {named_by}): {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The flag or the variable that names it.
        named_by: &'static str,
        /// What the system said.
        reason: io::Error,
    },
    /// The extension of the file does not tell the language.
    #[error(
        "cannot tell the language of the configuration file {} (named by {named_by}); \
         give it the extension .yaml, .yml or .toml",
        path.display()
    )]
    Extension {
        /// The file.
        path: PathBuf,
        /// The flag or the variable that names it.
        named_by: &'static str,
    },
    /// The file is not in the language that its extension says.
    #[error("{}: not valid {language}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// YAML or TOML.
        language: &'static str,
        /// What the parser said, without the text that it read.
        reason: String,
    },
    /// Settings are unknown, impossible or at odds with each other.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

/// One setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting.
    pub place: Place,
    /// What is wrong with it and what to write instead.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, the environment variable or the flag.
    pub origin: String,
    /// The key, with the number of the target if it belongs to one; empty for the whole.
    pub key: String,
    /// The name of the target that it belongs to.
    pub target: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        match &self.target {
            Some(target) => write!(f, " (target {target:?})"),
            None => Ok(()),
        }
    }
}

/// One problem as it is, several as a list.
fn lines(problems: &[Problem]) -> String {
    match problems {
        [problem] => problem.to_string(),
        problems => {
            let lines = problems.iter().map(|problem| format!("\n  {problem}"));
            format!("{} settings are wrong:{}", problems.len(), lines.collect::<String>())
        }
    }
}
