//! Why an endpoint gave nothing: a closed list, whose names are the values of
//! the `reason` label, and a sentence for the log.

use std::fmt;

/// Why an endpoint gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The host name has no address.
    Dns,
    /// No connection: refused, reset, or no route to the host.
    Connect,
    /// The TLS handshake failed, or the certificate is not trusted.
    Tls,
    /// No complete answer in time.
    Timeout,
    /// The server answered with a status that is not the endpoint's.
    Status,
    /// The body is larger than `limits.body_bytes`.
    TooLarge,
    /// The connection or the text ended inside the body.
    Truncated,
    /// The body is not what the endpoint sends.
    Decode,
    /// The exporter itself failed, which is a defect.
    Internal,
}

impl Reason {
    /// All reasons, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Status,
        Self::TooLarge,
        Self::Truncated,
        Self::Decode,
        Self::Internal,
    ];

    /// The value of the `reason` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::TooLarge => "too_large",
            Self::Truncated => "truncated",
            Self::Decode => "decode",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an endpoint gave nothing, with a sentence for the log. Never holds a body or a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The value of the `reason` label.
    pub reason: Reason,
    /// What happened.
    pub message: String,
    /// HTTP status of the answer, when there was one that is not the endpoint's.
    pub status: Option<u16>,
}

impl Failure {
    /// A failure of kind `reason`.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), status: None }
    }

    /// The server answered with a status that is not the endpoint's. `path` is shown without its
    /// query.
    #[must_use]
    pub fn of_status(path: &str, status: u16) -> Self {
        let path = path.split('?').next().unwrap_or(path);
        let message = format!("{path} answered with status {status}");
        Self { status: Some(status), ..Self::new(Reason::Status, message) }
    }
}
