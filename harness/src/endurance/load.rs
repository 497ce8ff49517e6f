//! Many scrapers at once, on a server with many consumers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::answer::{self, Content};
use super::counter::Counter;
use super::lateness::Lateness;
use super::{Trend, keep, resident};
use crate::dataset::{self, Dataset};
use crate::{Cluster, Error, Exporter, Port, Result};

/// Within this time there are two good answers alike, before the load.
const CALM_LIMIT: Duration = Duration::from_secs(180);
const SAMPLE: Duration = Duration::from_secs(1);
/// Growth of memory that is an allocator's matter, as a share.
const FLAT: f64 = 0.05;
/// What Prometheus 3 sends.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
/// So many failures of one kind are shown.
const SHOWN: usize = 5;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Load {
    /// The version of nats-server.
    pub version: String,
    /// The exporter's program.
    pub exporter: PathBuf,
    /// What the server holds.
    pub dataset: Dataset,
    /// How many scrapers, half of them for the base tier.
    pub scrapers: usize,
    /// How long they scrape.
    pub lasts: Duration,
    /// How long of that until memory is judged.
    pub warm_up: Duration,
    /// How often the base tier is scraped.
    pub base: Duration,
    /// How often everything is scraped.
    pub full: Duration,
    /// How long a scraper waits, and all time-outs of the exporter; 10 s is what Prometheus does by default.
    pub timeout: Duration,
    /// The directory that gets the logs.
    pub evidence: Option<PathBuf>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What was run.
    pub load: Load,
    /// How long it took to fill the server.
    pub filled: Duration,
    /// Of the scrapes of the base tier.
    pub base: Latency,
    /// Of the scrapes of everything.
    pub full: Latency,
    /// Samples in one answer: the base tier, and everything.
    pub series: [usize; 2],
    /// Answers that were not as they should be, by what was wrong.
    pub failures: BTreeMap<String, usize>,
    /// Most scrapes that were under way at the same time.
    pub most_scrapes: usize,
    /// Requests that the server got meanwhile.
    pub requests: usize,
    /// Of these, for `/jsz`.
    pub jsz: usize,
    /// Most requests for `/jsz` that were under way at the same time.
    pub most_jsz: usize,
    /// The exporter's resident memory in thirds of the run, in bytes.
    pub memory: Option<Trend>,
    /// How late the harness itself was woken up, at worst.
    pub lateness: Duration,
}

/// How long scrapes took, from the request to the last byte.
#[derive(Clone, Debug, Default)]
pub struct Latency(Vec<Duration>);

impl Latency {
    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What this share of the scrapes, such as 0.99, did not exceed; zero when there was none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = (self.0.len() as f64 * share).ceil();
        // The rank is at most the length.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank in a list"
        )]
        let at = (rank as usize).saturating_sub(1);
        self.0.get(at).copied().unwrap_or_default()
    }
}

impl Loaded {
    /// What was not as it should be, one sentence each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> =
            self.failures.iter().map(|(what, count)| format!("{count} times: {what}")).collect();
        if self.most_jsz != 1 {
            problems.push(format!(
                "{} requests for /jsz were under way at the same time",
                self.most_jsz
            ));
        }
        if let Some(growth) =
            self.memory.as_ref().map(Trend::growth).filter(|growth| *growth > FLAT)
        {
            problems.push(format!("memory grew by {:.1} %", growth * 100.0));
        }
        problems
    }
}

impl Load {
    /// Runs it. An error means that it could not be run.
    pub async fn hold(self) -> Result<Loaded> {
        let cluster =
            Cluster::builder(&self.version).jetstream(true).max_file("8GB").start().await?;
        let begin = Instant::now();
        dataset::make(&cluster.node(0).client_url(), self.dataset).await?;
        let filled = begin.elapsed();
        let counter = Counter::to(cluster.node(0).monitor_port()).await?;
        let config = cluster.dir().join("exporter.yml");
        std::fs::write(&config, self.config(&counter.url()))
            .map_err(Error::file("cannot write", &config))?;
        let arguments = [format!("--config.file={}", config.display())];
        let log = cluster.dir().join("exporter.log");
        let exporter = Exporter::start(&self.exporter, Port::any()?, arguments, log).await?;
        let crowd = Crowd::gather(&exporter, &self).await?;

        let lateness = Lateness::watch();
        let start = Instant::now();
        let scrapers = join_all((0..self.scrapers).map(|number| crowd.scrape(number, start)));
        let (_, memory) = tokio::join!(scrapers, samples(exporter.process().pid(), &self, start));
        keep(self.evidence.as_deref(), "exporter.log", &exporter.log())?;
        keep(self.evidence.as_deref(), "memory.txt", &format!("{memory:?}\n"))?;
        let counts = counter.counts();
        let noted = crowd.noted.into_inner().unwrap_or_else(PoisonError::into_inner);
        let [base, full] = noted.latencies.map(|mut all| {
            all.sort();
            Latency(all)
        });
        Ok(Loaded {
            filled,
            base,
            full,
            series: [crowd.usual[0].series, crowd.usual[1].series],
            failures: noted.failures,
            most_scrapes: crowd.most.into_inner(),
            requests: counts.requests.load(Ordering::Relaxed),
            jsz: counts.jsz.load(Ordering::Relaxed),
            most_jsz: counts.most_jsz.load(Ordering::Relaxed),
            memory: Trend::of(&memory, 3),
            lateness: lateness.worst(),
            load: self,
        })
    }

    fn config(&self, target: &str) -> String {
        let timeout = self.timeout.as_millis();
        format!(
            "targets: [{target:?}]\nlimits: {{series_per_target: 0}}\n\
             scrape: {{timeout: {timeout}ms, base_timeout: {timeout}ms, persistence_timeout: {timeout}ms}}\n"
        )
    }

    fn interval(&self, kind: Kind) -> Duration {
        if kind == Kind::Base { self.base } else { self.full }
    }
}

/// The exporter's memory, from the end of the warm-up on.
async fn samples(pid: u32, load: &Load, start: Instant) -> Vec<f64> {
    let mut samples = Vec::new();
    sleep_until(start + load.warm_up).await;
    while start.elapsed() < load.lasts {
        samples.extend(resident(pid));
        sleep(SAMPLE).await;
    }
    samples
}

/// What a scraper asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Base,
    Full,
}

impl Kind {
    fn path(self) -> &'static str {
        if self == Self::Base { "/metrics?tier=base" } else { "/metrics" }
    }
}

/// All scrapers.
struct Crowd<'l> {
    load: &'l Load,
    client: reqwest::Client,
    url: String,
    /// What an answer of each kind holds.
    usual: [Content; 2],
    now: AtomicUsize,
    most: AtomicUsize,
    noted: Mutex<Noted>,
    /// A large answer keeps a processor busy while it is read, so this is done for one at a time.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Noted {
    latencies: [Vec<Duration>; 2],
    failures: BTreeMap<String, usize>,
}

impl<'l> Crowd<'l> {
    /// Sees what the answers hold while nobody else asks.
    async fn gather(exporter: &Exporter, load: &'l Load) -> Result<Self> {
        let client = reqwest::Client::builder().no_proxy().no_gzip().build();
        let mut crowd = Self {
            load,
            client: client.map_err(Error::client("make an HTTP client"))?,
            url: exporter.url(),
            usual: [Content::default(); 2],
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            noted: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        };
        // The server counts its requests by path, so all paths have to be asked before the base tier is complete.
        for kind in [Kind::Full, Kind::Base] {
            let end = Instant::now() + CALM_LIMIT;
            crowd.usual[kind as usize] = loop {
                // The first answers still lack what is only known after them.
                let found = match crowd.answer(kind).await {
                    Ok((_, body)) => answer::read(&body),
                    Err(reason) => Err(reason),
                };
                let before = std::mem::take(&mut crowd.usual[kind as usize]);
                match found {
                    Ok(content) if content == before && content.failed == 0 && content.up == 1 => {
                        break content;
                    }
                    Ok(content) => crowd.usual[kind as usize] = content,
                    Err(reason) if Instant::now() > end => {
                        let url = format!("{}{}", crowd.url, kind.path());
                        return Err(Error::Monitor { url, reason });
                    }
                    Err(_) => {}
                }
                if Instant::now() > end {
                    let what =
                        format!("two answers alike to {}, the last is {before:?}", kind.path());
                    return Err(Error::Timeout { what, limit: CALM_LIMIT });
                }
            };
        }
        Ok(crowd)
    }

    /// One scraper, until the time is over. In one round all ask at the same moment, in the next they are spread over
    /// the interval; a round is left out while the answer of the last one is awaited.
    async fn scrape(&self, number: usize, start: Instant) {
        let kind = if number.is_multiple_of(2) { Kind::Base } else { Kind::Full };
        let interval = self.load.interval(kind);
        let share = number as f64 / self.load.scrapers as f64;
        for round in 0.. {
            let offset =
                if round % 2 == 0 { Duration::ZERO } else { interval.mul_f64(share / 2.0) };
            let due = start + interval * round + offset;
            if due >= start + self.load.lasts {
                return;
            }
            if due + interval / 2 < Instant::now() {
                continue;
            }
            sleep_until(due).await;
            let under_way = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(under_way, Ordering::SeqCst);
            let answer = self.answer(kind).await;
            self.now.fetch_sub(1, Ordering::SeqCst);
            let judged = match answer {
                Ok((latency, body)) => {
                    self.noted(|noted| noted.latencies[kind as usize].push(latency));
                    self.judge(kind, body).await
                }
                Err(reason) => Err(reason),
            };
            if let Err(reason) = judged {
                self.noted(|noted| {
                    if noted.failures.len() < SHOWN || noted.failures.contains_key(&reason) {
                        *noted.failures.entry(reason).or_default() += 1;
                    } else {
                        *noted.failures.entry("something else".to_owned()).or_default() += 1;
                    }
                });
            }
        }
    }

    async fn judge(&self, kind: Kind, body: Vec<u8>) -> Result<(), String> {
        let _one_at_a_time = self.reading.lock().await;
        let content = tokio::task::spawn_blocking(move || answer::read(&body)).await;
        let content = content.map_err(|error| error.to_string())??;
        let usual = self.usual[kind as usize];
        if content == usual {
            Ok(())
        } else {
            Err(format!("{} gave {content:?} instead of {usual:?}", kind.path()))
        }
    }

    /// The compressed answer, and how long it took until its last byte.
    async fn answer(&self, kind: Kind) -> Result<(Duration, Vec<u8>), String> {
        let begin = Instant::now();
        let failed = |error: reqwest::Error| format!("{}: {error:?}", kind.path());
        let request = self
            .client
            .get(format!("{}{}", self.url, kind.path()))
            .header("Accept", ACCEPT)
            .header("Accept-Encoding", "gzip")
            .header("X-Prometheus-Scrape-Timeout-Seconds", self.load.timeout.as_secs());
        let answer = timeout_at(begin + self.load.timeout, async {
            let mut response = request.send().await.map_err(failed)?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(failed)? {
                body.extend_from_slice(&chunk);
            }
            match response.status().as_u16() {
                200 => Ok(body),
                status => Err(format!("{}: status {status}", kind.path())),
            }
        });
        let body = answer.await.unwrap_or_else(|_| {
            Err(format!("{}: none within {:?}", kind.path(), self.load.timeout))
        })?;
        Ok((begin.elapsed(), body))
    }

    fn noted(&self, note: impl FnOnce(&mut Noted)) {
        note(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
