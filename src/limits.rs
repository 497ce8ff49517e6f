//! How often the exporter's own limits were hit, and how many connections are open.
//!
//! Only limits that nothing else tells of. What servers did not answer in time or too largely is told by
//! the errors of endpoints, what is cut of their streams by the dropped series, and which servers were not
//! asked by the refused probes.

use std::sync::atomic::{AtomicU64, Ordering};

/// A limit whose hits are counted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// A connection came when as many were open as may be.
    Connections,
    /// A scrape came when as many were under way as may be.
    Requests,
    /// The head of a request was too large.
    HeaderBytes,
    /// The body of a request was too large.
    BodyBytes,
    /// The head of a request did not come to its end.
    HeaderTimeout,
    /// A connection was kept and not used.
    IdleTimeout,
    /// A client did not take its answer.
    StallTimeout,
    /// The value of a label was cut.
    LabelValueBytes,
}

impl Limit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Connections,
        Self::Requests,
        Self::HeaderBytes,
        Self::BodyBytes,
        Self::HeaderTimeout,
        Self::IdleTimeout,
        Self::StallTimeout,
        Self::LabelValueBytes,
    ];

    /// The key of its setting.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "web.max_connections",
            Self::Requests => "web.max_requests",
            Self::HeaderBytes => "web.max_header_bytes",
            Self::BodyBytes => "web.max_body_bytes",
            Self::HeaderTimeout => "web.header_timeout",
            Self::IdleTimeout => "web.idle_timeout",
            Self::StallTimeout => "web.stall_timeout",
            Self::LabelValueBytes => "limits.label_value_bytes",
        }
    }
}

/// Counts.
#[derive(Debug, Default)]
pub struct Meter {
    hits: [AtomicU64; Limit::ALL.len()],
    connections: AtomicU64,
}

impl Meter {
    /// Counts that `limit` was hit `times` more.
    pub fn hit(&self, limit: Limit, times: u64) {
        self.hits[limit as usize].fetch_add(times, Ordering::Relaxed);
    }

    /// How often `limit` was hit.
    #[must_use]
    pub fn hits(&self, limit: Limit) -> u64 {
        self.hits[limit as usize].load(Ordering::Relaxed)
    }

    /// Counts a connection that was opened.
    pub fn opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one that was closed.
    pub fn closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many connections of clients are open.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}
