//! The endpoints: their paths, and the tier on whose behalf each is asked.

use std::fmt;

use crate::config::Detail;
use crate::tier::Tier;

/// What is asked of a server. The names are the values of the `endpoint` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// `/varz`.
    Varz,
    /// `/routez`.
    Routez,
    /// The narrowest `/healthz` that the version has: does the server accept connections?
    HealthzCore,
    /// `/jsz` without parameters.
    Jsz,
    /// `/jsz` with streams and, by configuration, consumers.
    JszDetail,
    /// `/healthz` from its widest form inwards.
    Healthz,
}

impl Endpoint {
    /// All endpoints, in the order of the documentation.
    pub const ALL: [Self; 6] =
        [Self::Varz, Self::Routez, Self::HealthzCore, Self::Jsz, Self::JszDetail, Self::Healthz];

    /// The value of the `endpoint` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Varz => "varz",
            Self::Routez => "routez",
            Self::HealthzCore => "healthz_core",
            Self::Jsz => "jsz",
            Self::JszDetail => "jsz_detail",
            Self::Healthz => "healthz",
        }
    }

    /// Whose question this endpoint answers.
    #[must_use]
    pub const fn tier(self) -> Tier {
        match self {
            Self::Varz | Self::Routez | Self::HealthzCore => Tier::Base,
            Self::Jsz | Self::JszDetail | Self::Healthz => Tier::Persistence,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Path of the server endpoint.
pub const VARZ: &str = "/varz";
/// Path of the route endpoint. Never with `subs`, which copies every subscription under a lock.
pub const ROUTEZ: &str = "/routez";
/// Path of the cheap form of the JetStream endpoint.
pub const JSZ: &str = "/jsz";

/// Path of the detailed form; nothing when no detail is wanted.
///
/// `limit` counts accounts: the server stops at 1024 without a word otherwise.
#[must_use]
pub const fn jsz_detail(detail: Detail) -> Option<&'static str> {
    match detail {
        Detail::Server => None,
        Detail::Streams => Some("/jsz?streams=true&config=true&limit=1000000"),
        Detail::Consumers | Detail::Replicas => {
            Some("/jsz?consumers=true&config=true&limit=1000000")
        }
    }
}
