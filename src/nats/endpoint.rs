//! The endpoints: their paths, and the tier on whose behalf each is asked.

use std::fmt;

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

/// Accounts on one page of the detailed form, as many as the server sends when nothing is said.
pub const PAGE: u64 = 1024;

/// What is asked of the detailed form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JszDetail {
    /// With consumers, or streams only.
    pub consumers: bool,
    /// With the configuration of both: twice the size, and three times the work for the server.
    pub config: bool,
    /// In pages of accounts, on versions that sort them; else all at once.
    pub paged: bool,
}

impl JszDetail {
    /// The path of the page that starts behind `offset` accounts.
    ///
    /// `limit` counts accounts: the server stops at 1024 without a word otherwise.
    #[must_use]
    pub fn path(self, offset: u64) -> String {
        let depth = if self.consumers { "consumers" } else { "streams" };
        let config = if self.config { "&config=true" } else { "" };
        let limit = if self.paged { PAGE } else { 1_000_000 };
        let offset = if offset == 0 { String::new() } else { format!("&offset={offset}") };
        format!("{JSZ}?{depth}=true{config}&limit={limit}{offset}")
    }
}
