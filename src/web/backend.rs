//! What the routes need of the exporter.
//!
//! A trait with one implementation in the program, so that the tests of the
//! routes can stall, fail and panic at will, without servers to ask.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::deadline::Allowance;
use crate::background::Ended;
use crate::exporter::{Exporter, Refused, ScrapeRequest};
use crate::exposition::Format;
use crate::exposition::packed::Packed;
use crate::limits::Limit;
use crate::report::Report;
use crate::scrape::{Scrape, Selection};

/// The part of the configuration that the routes follow; asked anew for each request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// Whether `/-/reload` is answered.
    pub(super) enable_lifecycle: bool,
    /// Scrapes served at the same time; 0 is no limit.
    pub(super) max_requests: usize,
    /// Largest body of a request.
    pub(super) max_body_bytes: u64,
    /// How long a scrape may take.
    pub(super) allowance: Allowance,
    /// How long a page waits for what servers say.
    pub(super) page_patience: Duration,
}

/// A target as the page shows it.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    /// What `/probe?target=` calls it.
    pub(super) name: String,
    /// Its monitoring address, without credentials.
    pub(super) url: String,
}

/// What the routes need of the exporter.
pub(super) trait Backend: Send + Sync + 'static {
    /// What a scrape yields.
    type Scrape: Send + Sync + 'static;

    /// Asks `target`, or every target, until `deadline`. Fails only when `target` is not to be asked.
    fn scrape(
        &self,
        selection: Selection,
        target: Option<String>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Self::Scrape, Refused>> + Send;

    /// The texts to answer, one behind the other, without what takes longer than until `deadline`.
    /// Fails only by a defect.
    fn write(
        &self,
        scrape: Self::Scrape,
        format: Format,
        deadline: Instant,
    ) -> impl Future<Output = Result<Vec<Arc<Packed>>, Ended>> + Send;

    /// What a person has to know of a scrape of both tiers; blocks.
    fn report(&self, scrape: Self::Scrape) -> Report;

    /// The current settings.
    fn settings(&self) -> Settings;

    /// Counts that a request was refused because of `limit`.
    fn hit(&self, limit: Limit);

    /// Reads the configuration again; blocks. The error is the whole chain of causes.
    fn reload(&self) -> Result<(), String>;

    /// Whether scrapes can be answered.
    fn is_ready(&self) -> bool;

    /// The targets, and the servers that DNS tells of.
    fn targets(&self) -> Vec<Shown>;
}

impl Backend for Exporter {
    type Scrape = Scrape;

    async fn scrape(
        &self,
        selection: Selection,
        target: Option<String>,
        deadline: Instant,
    ) -> Result<Scrape, Refused> {
        Self::scrape(self, ScrapeRequest { selection, target, deadline }).await
    }

    async fn write(
        &self,
        scrape: Scrape,
        format: Format,
        deadline: Instant,
    ) -> Result<Vec<Arc<Packed>>, Ended> {
        Self::write(self, scrape, format, deadline).await
    }

    fn report(&self, scrape: Scrape) -> Report {
        // All streams of all servers are gone through, and dropped.
        Report::new(&scrape)
    }

    fn settings(&self) -> Settings {
        let config = self.config();
        Settings {
            enable_lifecycle: config.web.enable_lifecycle,
            max_requests: config.web.max_requests,
            max_body_bytes: config.web.max_body_bytes,
            allowance: Allowance {
                timeout: config.scrape.timeout,
                margin: config.scrape.timeout_margin,
            },
            page_patience: config.scrape.base_timeout,
        }
    }

    fn hit(&self, limit: Limit) {
        self.meter().hit(limit, 1);
    }

    fn reload(&self) -> Result<(), String> {
        Self::reload(self).map_err(|error| chain(&error))
    }

    fn is_ready(&self) -> bool {
        Self::is_ready(self)
    }

    fn targets(&self) -> Vec<Shown> {
        Self::targets(self)
            .into_iter()
            .map(|target| Shown { name: target.name, url: target.url })
            .collect()
    }
}

/// An error and its causes, outermost first.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
