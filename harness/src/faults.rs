//! The matrix of faults: everything that the exporter asks is broken in every way, and what is still there is compared
//! with what should be.
//!
//! [`plan`] is the table of what breaks and how, `stage` has what runs, `target` what is broken, `scraper` who looks,
//! and `judge` what is made of it. [`leak`] does all of it ten thousand times to see what is left behind, and [`report`]
//! writes what came of it.

mod judge;
pub mod leak;
pub mod plan;
pub mod report;
mod scraper;
mod stage;
mod target;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::monitor::Question;
use crate::workload::{Plan, Workload};
use crate::{Cluster, Result};
use plan::Broken;
use scraper::{Scraper, Series};
use stage::Stage;

/// The largest body that the exporter reads in a run, so that one without end ends soon.
const BODY_BYTES: u64 = 2 << 20;

/// The time limits of the exporter in a run.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// What the scraper announces: the scrape has to be answered within it.
    pub announced: Duration,
    /// `scrape.base_timeout`.
    pub base: Duration,
    /// `scrape.persistence_timeout`.
    pub persistence: Duration,
    /// `scrape.timeout_margin`.
    pub margin: Duration,
}

impl Limits {
    /// Those of an exporter that is not told otherwise, and of Prometheus.
    pub const DEFAULT: Self = Self {
        announced: Duration::from_secs(10),
        base: Duration::from_secs(3),
        persistence: Duration::from_secs(8),
        margin: Duration::from_millis(500),
    };

    /// As a file for the exporter.
    fn settings(self) -> String {
        let Self { announced, base, persistence, margin } = self;
        format!(
            "scrape: {{ timeout: {}ms, timeout_margin: {}ms, base_timeout: {}ms, persistence_timeout: {}ms }}\n\
             limits: {{ body_bytes: {} }}\n\
             log: {{ level: error }}\n",
            announced.as_millis(),
            margin.as_millis(),
            base.as_millis(),
            persistence.as_millis(),
            BODY_BYTES,
        )
    }
}

/// Real servers, and the exporter's program that is to watch them.
#[derive(Debug)]
pub struct Scene {
    cluster: Cluster,
    _workload: Workload,
    exporter: PathBuf,
    limits: Limits,
    /// The base tier of all servers.
    well: BTreeSet<Series>,
}

/// Paths that the exporter asks of a server.
const PATHS: usize = 4;
/// Within this time all servers are shown as they are.
const WELL_LIMIT: Duration = Duration::from_secs(60);

impl Scene {
    /// Starts so many servers with JetStream, streams and consumers, and sees what an exporter shows of them.
    pub async fn set(
        version: &str,
        servers: usize,
        exporter: &Path,
        limits: Limits,
    ) -> Result<Self> {
        let cluster = Cluster::builder(version).nodes(servers).jetstream(true).start().await?;
        let workload = Workload::make(&cluster, Plan { replicas: servers.min(3) }).await?;
        let (exporter, well) = (exporter.to_owned(), BTreeSet::new());
        let mut scene = Self { cluster, _workload: workload, exporter, limits, well };
        let scraper = Scraper::start(&scene, "well", limits, scene.cluster.monitor_urls()).await?;
        // Servers count requests by path, and a path is there once it was asked.
        let paths = servers * PATHS;
        let mut well = BTreeSet::new();
        let is_whole = |found: &BTreeSet<Series>| {
            well.clone_from(found);
            let count = |metric: &str| found.iter().filter(|(name, _)| name == metric).count();
            match (count("nats_server_info"), count("nats_server_http_requests_total")) {
                (infos, asked) if infos == servers && asked >= paths => Ok(()),
                (infos, asked) => Err(format!("{infos} of {servers} servers, {asked} paths asked")),
            }
        };
        // Everything is asked once, so that nothing is asked for the first time later.
        scraper.scrape("/metrics").await?;
        scraper.until("/metrics?tier=base", WELL_LIMIT, is_whole).await?;
        scene.well = well;
        Ok(scene)
    }
}

/// Where something is broken. The first target is; the others are well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the answers to one question.
    Question(Question),
    /// In the whole target.
    Target(Broken),
}

/// One place with all that can be broken there, seen by an exporter of its own.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Where something is broken.
    pub place: Place,
    /// How many targets the exporter has.
    pub targets: usize,
}

/// What came of one fault.
#[derive(Debug)]
pub struct Cell {
    /// The fault, for people.
    pub what: &'static str,
    /// What the endpoints give as the reason.
    pub reasons: BTreeSet<String>,
    /// What holds for the tiers of the server at fault.
    pub tiers: BTreeSet<String>,
    /// Whether all of the base tier is there that does not come from what is broken.
    pub is_complete: bool,
    /// How long a scrape of the base tier took.
    pub base_after: Duration,
    /// How long a scrape of everything took.
    pub all_after: Duration,
    /// What was not as it should be, one sentence each.
    pub problems: Vec<String>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The run.
    pub run: Run,
    /// One for each fault, in the order of the plan.
    pub cells: Vec<Cell>,
}

impl Place {
    /// All places.
    pub fn all() -> impl Iterator<Item = Self> {
        let questions = plan::QUESTIONS.into_iter().map(Self::Question);
        questions.chain(Broken::ALL.into_iter().map(Self::Target))
    }

    /// Its name in arguments.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Question(question) => question.name(),
            Self::Target(broken) => broken.name(),
        }
    }

    /// What it is, for people.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::Question(question) => question.what(),
            Self::Target(broken) => broken.what(),
        }
    }
}

impl Run {
    /// Breaks one thing after the other.
    ///
    /// What is not as it should be is in the outcome; an error means that the run could not be held.
    pub async fn hold(self, scene: &Scene) -> Result<Outcome> {
        let stage = Stage::set(scene, self).await?;
        let cells = match self.place {
            Place::Question(question) => stage.spoil(question).await?,
            Place::Target(broken) => vec![stage.broken(broken).await?],
        };
        Ok(Outcome { run: self, cells })
    }
}
