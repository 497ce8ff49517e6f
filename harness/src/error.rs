//! What can go wrong while servers are started and handled.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Short for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong, one variant for each cause that a caller may want to tell apart.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `tools/fetch` did not deliver the program.
    #[error("cannot get {program}: {reason}")]
    Fetch {
        /// What was wanted.
        program: String,
        /// What the script said.
        reason: String,
    },

    /// A file or a directory of the cluster could not be written or read.
    #[error("{action} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it did not work.
        source: std::io::Error,
    },

    /// A process could not be started.
    #[error("cannot start {program}: {source}")]
    Spawn {
        /// The program.
        program: String,
        /// Why it did not work.
        source: std::io::Error,
    },

    /// A signal could not be sent.
    #[error("cannot signal process {pid}: {source}")]
    Signal {
        /// The process.
        pid: u32,
        /// Why it did not work.
        source: nix::errno::Errno,
    },

    /// A fault was asked of a server that is not running.
    #[error("{node} is not running")]
    NotRunning {
        /// The server's name.
        node: String,
    },

    /// A start was asked of a server that is running.
    #[error("{node} is running already")]
    AlreadyRunning {
        /// The server's name.
        node: String,
    },

    /// A server ended while it was expected to come up.
    #[error("{node} ended ({status}); its log ends with:\n{log}")]
    Exited {
        /// The server's name.
        node: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },

    /// Something did not come about in time.
    #[error("not within {limit:?}: {what}")]
    Timeout {
        /// What was waited for, and how far it got.
        what: String,
        /// How long it was waited for.
        limit: Duration,
    },

    /// No free ports were found.
    #[error("found no free ports on the loopback interface")]
    NoPorts,

    /// A store of limited size was asked for, and this system does not let us mount one.
    #[error(
        "a store of limited size needs a mount namespace, which this system does not allow: {reason}"
    )]
    NamespacesUnavailable {
        /// What the system said.
        reason: String,
    },

    /// A monitoring request got no usable answer.
    #[error("{url}: {reason}")]
    Monitor {
        /// What was asked.
        url: String,
        /// Why there is no answer.
        reason: String,
    },

    /// A rule file or the example of Alertmanager is not what it should be.
    #[error("{path}: {reason}", path = path.display())]
    Rules {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// Synthetic servers were asked for that cannot be.
    #[error("no such system: {reason}")]
    Shape {
        /// What is wrong with it.
        reason: String,
    },

    /// A NATS client could not do its work.
    #[error("{action}: {reason}")]
    Client {
        /// What was tried.
        action: String,
        /// What the client or the server said.
        reason: String,
    },
}

impl Error {
    /// For `map_err` of file operations.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// For `map_err` of client operations, whose error types are many.
    pub(crate) fn client<E: std::fmt::Display>(
        action: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |error| Self::Client { action, reason: error.to_string() }
    }
}
