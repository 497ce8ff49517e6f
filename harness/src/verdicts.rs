//! The restart verdict against reality: what `nats-exporter check` says of a server is compared with what really stops
//! working when that server is stopped.
//!
//! A [`Round`] brings one cluster into one [`State`] and stops its servers one by one; each of these is a [`Trial`].
//! `assets` has the streams and the writes to them, `stage` the cluster and the way into the state and back to it, and
//! [`report`] writes what came of it.

mod assets;
pub mod report;
mod stage;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use crate::check::Judged;
use crate::{Error, Result, check};
use assets::Writes;
use stage::Stage;

/// An election takes a few seconds; a write that fails for longer is lost.
pub const ELECTION: Duration = Duration::from_secs(15);
/// As long it is tried what works before the stop.
const BEFORE: Duration = Duration::from_secs(6);

/// What is wrong with the cluster while the verdict is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Healthy,
    /// Nothing; and the servers are killed instead of stopped.
    HealthyKilled,
    /// Another server was stopped.
    OneDown,
    /// Another server stands still with open connections.
    Frozen,
    /// A replica of a stream that is written to fast is behind, since the routes of its server are slow.
    Lagging,
    /// The disk of one server is full: JetStream is switched off there, or its store is broken.
    DiskFull,
    /// A server was started again a moment ago and has to fetch what it missed.
    Recovering,
    /// All servers have used up the file storage that JetStream may use.
    MaxFile,
}

impl State {
    /// All, in the order of the document.
    pub const ALL: &'static [Self] = &[
        Self::Healthy,
        Self::HealthyKilled,
        Self::OneDown,
        Self::Frozen,
        Self::Lagging,
        Self::DiskFull,
        Self::Recovering,
        Self::MaxFile,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::HealthyKilled => "healthy-killed",
            Self::OneDown => "one-down",
            Self::Frozen => "frozen",
            Self::Lagging => "lagging",
            Self::DiskFull => "disk-full",
            Self::Recovering => "recovering",
            Self::MaxFile => "max-file",
        }
    }

    /// What it is, for people.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::Healthy => "Nothing is wrong",
            Self::HealthyKilled => "Nothing is wrong; the servers are killed",
            Self::OneDown => "Another server is down",
            Self::Frozen => "A server is frozen, with open connections",
            Self::Lagging => "A replica lags behind a slow route",
            Self::DiskFull => "The disk of one server is full",
            Self::Recovering => "A server was just started and has much to fetch",
            Self::MaxFile => "All servers have reached `max_file`",
        }
    }

    /// Whether the server with this number is killed; else it is asked to end.
    fn kills(self, node: usize) -> bool {
        match self {
            Self::Healthy => false,
            Self::HealthyKilled => true,
            _ => node % 2 == 1,
        }
    }
}

/// One cluster in one state.
#[derive(Clone, Debug)]
pub struct Round {
    /// The version of nats-server.
    pub version: String,
    /// What is wrong.
    pub state: State,
    /// How many servers; streams have up to five replicas.
    pub servers: usize,
    /// Only the first server of which this is said is stopped, and stays so; else all are, one after the other.
    pub only: Option<Judged>,
    /// The exporter's program.
    pub exporter: PathBuf,
    /// The directory that gets what the servers said before the stop, when a "safe" was wrong.
    pub evidence: Option<PathBuf>,
}

/// What came of a round.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The version of nats-server.
    pub version: String,
    /// What was wrong.
    pub state: State,
    /// One for each server that was stopped.
    pub trials: Vec<Trial>,
}

/// A verdict, and what happened when its server was stopped.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The server.
    pub server: String,
    /// Whether it was killed; else it was asked to end.
    pub killed: bool,
    /// What the exporter said.
    pub verdict: Judged,
    /// The reasons against, and what was not seen.
    pub reasons: BTreeSet<String>,
    /// What was not seen, one sentence each.
    pub unseen: Vec<String>,
    /// Streams that took no writes any more, and `meta API`.
    pub lost: BTreeSet<String>,
    /// The same, of what did not work before, so that nothing can be said of it.
    pub failed_before: BTreeSet<String>,
    /// How long after the stop all worked that worked at all.
    pub gap: Duration,
    /// Whether the cluster was in its state as it should, before the verdict.
    pub settled: bool,
}

impl Trial {
    /// A "safe" that was wrong: the one thing that must not be.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.verdict == Judged::Safe && !self.lost.is_empty()
    }

    /// An "unsafe" without a loss.
    #[must_use]
    pub fn is_over_cautious(&self) -> bool {
        self.verdict == Judged::Unsafe && self.lost.is_empty()
    }
}

impl Round {
    /// Holds it. An error means that it could not be held.
    pub async fn hold(&self) -> Result<Outcome> {
        let mut stage = Stage::set(self).await?;
        let mut trials = Vec::new();
        for node in 0..self.servers {
            let settled = stage.settle(node).await?;
            if stage.is_down(node) {
                continue;
            }
            if let Some(trial) = self.try_server(&mut stage, node, settled).await? {
                trials.push(trial);
                if self.only.is_some() {
                    break;
                }
                stage.cluster.node(node).start().await?;
            }
        }
        Ok(Outcome { version: self.version.clone(), state: self.state, trials })
    }

    /// Nothing when the verdict is not the one that is looked for.
    async fn try_server(
        &self,
        stage: &mut Stage,
        node: usize,
        settled: bool,
    ) -> Result<Option<Trial>> {
        let writes = Writes::to(&stage.cluster, stage.witness(node), stage.targets()).await?;
        let before = writes.attempt(BEFORE).await;
        writes.tidy().await;
        stage.last_touch().await?;
        let server = stage.cluster.node(node);
        let report = check::ask(&self.exporter, stage.cluster.named_targets()).await?;
        let said = report.of(&server.name())?;
        if self.only.is_some_and(|only| only != said.verdict) {
            return Ok(None);
        }
        let raw = stage.raw().await;
        let killed = self.state.kills(node);
        if killed || server.is_frozen() {
            server.kill().await?;
        } else {
            server.stop().await?;
        }
        let stopped = Instant::now();
        let after = writes.attempt(ELECTION).await;
        writes.tidy().await;
        let gaps = after.worked.values().map(|at| at.duration_since(stopped));
        let trial = Trial {
            server: server.name(),
            killed,
            verdict: said.verdict,
            reasons: said.reasons,
            unseen: said.unseen,
            lost: after.failed.difference(&before.failed).cloned().collect(),
            gap: gaps.max().unwrap_or_default(),
            failed_before: before.failed,
            settled,
        };
        if let (true, Some(dir)) = (trial.is_wrong(), &self.evidence) {
            let name = format!("{}-{}-{}.json", self.version, self.state.name(), trial.server);
            let text = format!("{trial:#?}\n{}\n{raw}\n", report.raw);
            write(&dir.join(name), &text)?;
        }
        Ok(Some(trial))
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(Error::file("cannot create", dir))?;
    }
    std::fs::write(path, text).map_err(Error::file("cannot write", path))
}
