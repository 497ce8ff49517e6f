//! The log: where it goes and how its lines look.

use std::io::{self, IsTerminal};

use tracing_subscriber::fmt;

use crate::config::{Log, LogFormat};

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level was not checked by `Config::load`.
    #[error("log.level: {0}")]
    Level(String),
    /// The process has a log already.
    #[error("cannot set up the log: {0}")]
    AlreadySet(Box<dyn std::error::Error + Send + Sync>),
}

/// Sends log lines to the standard error output, for the whole process and until its end.
///
/// Text has colours only on a terminal. JSON has one flat object a line.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    let filter = log.filter().map_err(TelemetryError::Level)?;
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr);
    let done = match log.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_ansi(false).try_init(),
    };
    done.map_err(TelemetryError::AlreadySet)
}
