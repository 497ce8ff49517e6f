//! `nats-exporter check`: asks all servers once, and says which layer is broken and whether a server may be restarted.
//!
//! It asks as a scrape does, without what the configuration leaves out. `text` writes for people; the JSON form is the
//! [`Report`] itself.

mod discover;
mod text;

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::cli::{CheckCommand, CheckFlags, Flags, Output};
use crate::config::{Config, Detail, Filter, Target, process_environment};
use crate::exporter::{Exporter, ScrapeRequest};
use crate::report::{Report, Server};
use crate::restart::Answer;
use crate::scrape::{Scrape, Selection};
use crate::tier::Tier;

/// How often a server is asked for while a restart of it is waited for.
const POLL: Duration = Duration::from_secs(2);

/// What is to be checked.
#[derive(Clone)]
pub struct Question {
    check: CheckFlags,
    /// One server, and how long to wait until it may be restarted.
    restart: Option<(String, Duration)>,
}

impl Question {
    /// The question that was asked on the command line.
    #[must_use]
    pub fn new(check: CheckFlags, command: Option<CheckCommand>) -> Self {
        match command {
            None => Self { check, restart: None },
            Some(CheckCommand::Restart { server, wait, check }) => {
                Self { check, restart: Some((server, wait)) }
            }
        }
    }
}

/// What a check found, as the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Safe,
    SafeButDegraded,
    Unsafe,
    Unknown,
}

impl Found {
    const fn code(self) -> u8 {
        match self {
            Self::Safe => 0,
            Self::SafeButDegraded => 3,
            Self::Unsafe => 4,
            Self::Unknown => 5,
        }
    }

    fn of(servers: &[&Server]) -> Self {
        let answers = || servers.iter().map(|server| server.restart.answer);
        let well = |server: &&Server| {
            server.base.state == "ok"
                && server.persistence.as_ref().is_none_or(|tier| tier.state == "ok")
        };
        // What was seen to be against it is a clear answer, whatever was not seen.
        if answers().any(|answer| answer == Answer::Unsafe.as_str()) {
            Self::Unsafe
        } else if servers.is_empty() || answers().any(|answer| answer == Answer::Unknown.as_str()) {
            Self::Unknown
        } else if servers.iter().all(well) {
            Self::Safe
        } else {
            Self::SafeButDegraded
        }
    }
}

/// Checks, writes what was found to the standard output, and returns the exit code that the help describes.
///
/// # Errors
/// When the configuration cannot be used, or the output cannot be written.
pub async fn run(question: Question) -> Result<ExitCode, Box<dyn Error>> {
    let Question { check, restart } = question;
    let flags = Flags { sources: check.sources.clone(), ..Flags::default() };
    let config = everything(Config::load(&flags, process_environment())?);
    let mut asker = Asker::new(config, &check).await?;
    let end = Instant::now() + restart.as_ref().map_or(Duration::ZERO, |(_, wait)| *wait);
    let mut said = String::new();
    let (report, found) = loop {
        let report = asker.ask().await?;
        let Some((name, _)) = &restart else {
            let found = Found::of(&report.servers().collect::<Vec<_>>());
            break (report, found);
        };
        let servers: Vec<&Server> =
            report.servers().filter(|server| server.name == *name).collect();
        let found = Found::of(&servers);
        if matches!(found, Found::Safe | Found::SafeButDegraded) || Instant::now() + POLL > end {
            break (report, found);
        }
        let progress = text::waiting(&report, name);
        if progress != said {
            writeln!(anstream::stderr(), "{progress}")?;
            said = progress;
        }
        tokio::time::sleep(POLL).await;
    };
    let only = restart.as_ref().map(|(name, _)| name.as_str());
    let output = match check.output {
        Output::Text => text::report(&report, only),
        Output::Json => serde_json::to_string_pretty(&report)? + "\n",
    };
    match anstream::stdout().write_all(output.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    Ok(ExitCode::from(found.code()))
}

/// The configuration, asking for everything that a verdict needs.
fn everything(mut config: Config) -> Config {
    let jetstream = &mut config.jetstream;
    jetstream.detail = jetstream.detail.max(Detail::Consumers);
    jetstream.detail_interval = Duration::ZERO;
    jetstream.fold_ephemeral_consumers = true;
    for filter in [&mut jetstream.accounts, &mut jetstream.streams, &mut jetstream.consumers] {
        *filter = Filter::default();
    }
    config
}

/// Asks the targets, and the servers that they know.
struct Asker {
    /// Read by the exporter at each reload.
    config: Arc<Mutex<Config>>,
    exporter: Exporter,
    discovers: bool,
    monitoring_port: Option<u16>,
}

impl Asker {
    /// Targets that are names in DNS are looked up here, and never again.
    async fn new(config: Config, check: &CheckFlags) -> Result<Self, Box<dyn Error>> {
        let newest = Arc::new(Mutex::new(config.clone()));
        let loader = Arc::clone(&newest);
        let exporter = Exporter::new(config, Box::new(move || Ok(lock(&loader).clone())))?;
        exporter.look_up().await;
        Ok(Self {
            exporter,
            config: newest,
            discovers: !check.no_discovery,
            monitoring_port: check.monitoring_port,
        })
    }

    async fn ask(&mut self) -> Result<Report, Box<dyn Error>> {
        let mut scrape = self.scrape().await?;
        if self.discovers {
            let found = discover::targets(&scrape, &self.exporter.asked(), self.monitoring_port);
            if !found.is_empty() {
                let guesses = found.iter().filter(|found| found.is_guess);
                let guesses: Vec<String> = guesses.map(|found| found.target.name.clone()).collect();
                lock(&self.config).targets.extend(found.into_iter().map(|found| found.target));
                scrape = self.ask_anew().await?;
                let answers = |target: &Target| {
                    scrape
                        .snapshots
                        .iter()
                        .any(|s| s.target == target.name && s.base.varz().is_some())
                };
                let is_shorter = {
                    let targets = &mut lock(&self.config).targets;
                    let count = targets.len();
                    targets.retain(|target| !guesses.contains(&target.name) || answers(target));
                    targets.len() < count
                };
                if is_shorter {
                    scrape = self.ask_anew().await?;
                }
            }
        }
        Ok(Report::new(&scrape))
    }

    /// Asks all targets, after they have changed.
    async fn ask_anew(&mut self) -> Result<Scrape, Box<dyn Error>> {
        self.exporter.reload()?;
        self.scrape().await
    }

    async fn scrape(&self) -> Result<Scrape, Box<dyn Error>> {
        let selection = Selection {
            tiers: [Tier::Base, Tier::Persistence].into_iter().collect(),
            topics: None,
        };
        let deadline = Instant::now() + self.exporter.config().scrape.timeout;
        Ok(self.exporter.scrape(ScrapeRequest { selection, target: None, deadline }).await?)
    }
}

fn lock(config: &Mutex<Config>) -> MutexGuard<'_, Config> {
    config.lock().unwrap_or_else(PoisonError::into_inner)
}
