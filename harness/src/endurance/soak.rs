//! Servers that are restarted again and again, under a real Prometheus.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::history::{History, PERSISTENCE_JOB};
use super::judge::{BASE_JOB, COUNTERS, Findings, Judge, Readings};
use super::lateness::Lateness;
use super::{Gap, Reading, Span, Trend, keep, now};
use crate::workload::{Plan, Workload};
use crate::{Cluster, Error, Exporter, Node, Port, Prometheus, Result, rules};

/// What a server gets to leave its clients; less is not allowed.
const LAME_DUCK: &str = "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"2s\"";
/// A server that does not leave within this time is killed.
const LEAVE_LIMIT: Duration = Duration::from_secs(25);
/// How often the servers are asked directly.
const READ: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);
const READY_LIMIT: Duration = Duration::from_secs(60);
/// A lame duck answers until it ends; the end is noticed a moment later.
const NOTICE: f64 = 1.0;
/// Growth of memory that is an allocator's matter, as a share.
const FLAT: f64 = 0.05;
/// File descriptors that a scrape under way may have more.
const SPARE: f64 = 2.0;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Soak {
    /// The version of nats-server.
    pub version: String,
    /// The exporter's program.
    pub exporter: PathBuf,
    /// How long.
    pub lasts: Duration,
    /// From one stop of a server to the next.
    pub every: Duration,
    /// How long a server stays down.
    pub down: Duration,
    /// How often the base tier is scraped.
    pub base: Duration,
    /// How often the persistence tier is scraped.
    pub persistence: Duration,
    /// How long of the run until memory is judged.
    pub warm_up: Duration,
    /// The directory that gets logs and the schedule.
    pub evidence: Option<PathBuf>,
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// At once.
    Killed,
    /// In good order.
    Stopped,
    /// After its clients were sent away.
    LameDuck,
}

impl Manner {
    /// All, in turn.
    pub const ALL: [Self; 3] = [Self::Killed, Self::Stopped, Self::LameDuck];

    /// For people.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Stopped => "stopped",
            Self::LameDuck => "lame duck",
        }
    }
}

/// One restart, in seconds since the epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    /// The server.
    pub server: String,
    /// How it was stopped.
    pub manner: Manner,
    /// When it was told.
    pub told: f64,
    /// When its process had ended.
    pub ended: f64,
    /// When it was started again.
    pub started: f64,
    /// When its monitoring port answered again.
    pub answered: f64,
}

impl Stop {
    /// When it cannot be expected to answer.
    #[must_use]
    pub fn outage(&self) -> Span {
        let from = if self.manner == Manner::LameDuck { self.ended - NOTICE } else { self.told };
        Span { from, to: self.answered }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Soaked {
    /// What was run.
    pub soak: Soak,
    /// From the first moment that was judged to the last.
    pub whole: Span,
    /// The restarts.
    pub stops: Vec<Stop>,
    /// Series of the base tier that were looked through, and their samples.
    pub series: usize,
    /// All samples of these series.
    pub samples: usize,
    /// Gaps that no outage of their server explains.
    pub gaps: Vec<Gap>,
    /// Samples that were compared with what the servers said when they were asked directly.
    pub compared: usize,
    /// Values that were not true, one sentence each.
    pub lies: Vec<String>,
    /// The exporter's resident memory in quarters of the run, in bytes.
    pub memory: Option<Trend>,
    /// Its open file descriptors.
    pub descriptors: Option<Trend>,
    /// The alerts that fired.
    pub alerts: BTreeSet<String>,
    /// How late the harness itself was woken up, at worst.
    pub lateness: Duration,
}

impl Soaked {
    /// What was not as it should be, one sentence each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.gaps.iter().map(ToString::to_string).collect();
        problems.extend(self.lies.iter().cloned());
        if let Some(growth) =
            self.memory.as_ref().map(Trend::growth).filter(|growth| *growth > FLAT)
        {
            problems.push(format!("memory grew by {:.1} %", growth * 100.0));
        }
        if let Some(rise) = self.descriptors.as_ref().map(Trend::rise).filter(|rise| *rise > SPARE)
        {
            problems.push(format!("there are {rise} more file descriptors"));
        }
        if self.compared == 0 {
            problems.push("no counter could be compared with the servers".to_owned());
        }
        problems
    }
}

impl Soak {
    /// Runs it and tells of each restart. An error means that it could not be run.
    pub async fn hold(self, tell: impl Fn(&Stop)) -> Result<Soaked> {
        let cluster = Cluster::builder(&self.version)
            .nodes(3)
            .jetstream(true)
            .extra_config(LAME_DUCK)
            .start()
            .await?;
        let mut workload = Workload::make(&cluster, Plan { replicas: 3 }).await?;
        workload.start_traffic();
        let log = cluster.dir().join("exporter.log");
        let targets = cluster.monitor_urls();
        let exporter = Exporter::start(&self.exporter, Port::any()?, targets, log).await?;
        let dir = cluster.dir().join("prometheus");
        let prometheus = Prometheus::start_with(&dir, &self.config(&exporter.address())).await?;
        // Two scrapes of each tier, so that every series is there.
        prometheus.until("nats_up", cluster.nodes().len(), 1.0, READY_LIMIT).await?;
        sleep(self.persistence + self.base).await;

        let lateness = Lateness::watch();
        let readings = Mutex::<Readings>::default();
        let (begin, start) = (now(), Instant::now());
        let stops = tokio::select! {
            stops = self.restarts(&cluster, start, tell) => stops?,
            never = read_on(&cluster, &readings) => match never {},
        };
        let whole = Span { from: begin, to: now() };
        // What was asked last has to be kept before it can be looked for.
        sleep(self.base).await;
        keep(self.evidence.as_deref(), "exporter.log", &exporter.log())?;
        keep(self.evidence.as_deref(), "prometheus.log", &prometheus.log())?;
        keep(self.evidence.as_deref(), "schedule.txt", &schedule(&stops))?;
        let readings = readings.into_inner().unwrap_or_else(PoisonError::into_inner);
        let servers: Vec<String> = cluster.nodes().iter().map(Node::name).collect();
        let judge =
            Judge { interval: self.base.as_secs_f64(), whole, stops: &stops, readings: &readings };
        let history = History { prometheus: &prometheus, since: begin };
        let Findings { series, samples, gaps, compared, lies } =
            history.judged(&judge, &servers).await?;
        Ok(Soaked {
            whole,
            series,
            samples,
            gaps,
            compared,
            lies,
            memory: history.trend("process_resident_memory_bytes", self.warm_up).await?,
            descriptors: history.trend("process_open_fds", self.warm_up).await?,
            alerts: history.alerts().await?,
            lateness: lateness.worst(),
            stops,
            soak: self,
        })
    }

    /// The shipped rules as they are, and a job for each tier.
    fn config(&self, address: &str) -> String {
        let files = rules::FILES.map(rules::path);
        let mut text = format!(
            "global: {{evaluation_interval: 15s}}\nrule_files: {files:?}\nscrape_configs:\n"
        );
        for (job, tier, interval) in [
            (BASE_JOB, "base,exporter", self.base),
            (PERSISTENCE_JOB, "persistence", self.persistence),
        ] {
            let interval = interval.as_secs();
            let _ = writeln!(
                text,
                "  - {{job_name: {job}, scrape_interval: {interval}s, scrape_timeout: {interval}s, \
                 params: {{tier: [{tier}]}}, static_configs: [{{targets: [{address:?}]}}]}}"
            );
        }
        text
    }

    /// Restarts one server after the other, each time in another manner.
    async fn restarts(
        &self,
        cluster: &Cluster,
        start: Instant,
        tell: impl Fn(&Stop),
    ) -> Result<Vec<Stop>> {
        let count = cluster.nodes().len();
        let mut stops = Vec::new();
        let mut due = start + self.every / 2;
        while due + self.every <= start + self.lasts {
            sleep_until(due).await;
            let turn = stops.len();
            // Every server gets every manner.
            let manner = Manner::ALL[(turn + turn / count) % Manner::ALL.len()];
            let stop = self.restart(cluster.node(turn % count), manner).await?;
            tell(&stop);
            stops.push(stop);
            due = (due + self.every).max(Instant::now());
        }
        sleep_until(start + self.lasts).await;
        Ok(stops)
    }

    async fn restart(&self, node: &Node, manner: Manner) -> Result<Stop> {
        let told = now();
        match manner {
            Manner::Killed => node.kill().await?,
            Manner::Stopped => node.stop().await?,
            Manner::LameDuck => {
                node.lame_duck().await?;
                let end = Instant::now() + LEAVE_LIMIT;
                while node.is_alive() && Instant::now() < end {
                    sleep(POLL).await;
                }
                node.kill().await?;
            }
        }
        let ended = now();
        sleep(self.down).await;
        let started = now();
        let mut start = node.start().await;
        if matches!(start, Err(Error::Timeout { .. })) {
            start = node.wait_monitor().await; // A starved machine is no reason to end an hour.
        }
        start?;
        Ok(Stop { server: node.name(), manner, told, ended, started, answered: now() })
    }
}

/// Asks the servers directly, over and over; those that do not answer are left out.
async fn read_on(cluster: &Cluster, readings: &Mutex<Readings>) -> Infallible {
    loop {
        for node in cluster.nodes() {
            let from = now();
            let Ok(varz) = node.json("/varz").await else { continue };
            let asked = Span { from, to: now() };
            let mut readings = readings.lock().unwrap_or_else(PoisonError::into_inner);
            for (field, counter) in COUNTERS {
                if let Some(value) = varz[field].as_f64() {
                    readings
                        .entry((node.name(), counter))
                        .or_default()
                        .push(Reading { asked, value });
                }
            }
        }
        sleep(READ).await;
    }
}

fn schedule(stops: &[Stop]) -> String {
    let mut text = "server manner told ended started answered\n".to_owned();
    for stop in stops {
        let Stop { server, manner, told, ended, started, answered } = stop;
        let manner = manner.what();
        let _ =
            writeln!(text, "{server} {manner:?} {told:.3} {ended:.3} {started:.3} {answered:.3}");
    }
    text
}
