//! Asks one target for the detail of JetStream: when, with or without the configuration, in pages,
//! and what is kept of the answers.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{HEDGE, record_end};
use crate::background;
use crate::config::{Config, Detail as Level, JetStream};
use crate::detail::book::Book;
use crate::detail::{Detail, Known, Page, Reader};
use crate::flight::{Flight, Outcome, Reading, Waiting};
use crate::memory::Memory;
use crate::nats::client::Client;
use crate::nats::endpoint::{Endpoint, JszDetail};
use crate::nats::failure::{Failure, Reason};
use crate::nats::varz::Varz;
use crate::nats::version::Version;

/// Scrapes that come within this time of a request share its answer while one of them is still being
/// answered with it. They are meant to be one scrape of several Prometheus servers.
const SHARED_FOR: Duration = Duration::from_secs(1);

/// When something new has no configuration yet, the server is asked for it again after this many
/// times the time that the last such request took: a server with much to tell has its peace, and
/// on a small one it is there at the next scrape.
const REST: u32 = 100;

/// While requests for the configuration fail, the last one is shown for so many times `jetstream.config_interval`. Without
/// it the consumers have no series of their own, so a server that is slow for some minutes keeps it.
const KEPT_FOR: u32 = 12;

/// Parts of an answer that may wait to be read.
const CHUNKS: usize = 4;

/// Asks one target for the detail.
#[derive(Debug)]
pub(super) struct DetailProbe {
    target: String,
    client: Client,
    memory: Arc<Memory>,
    config: Arc<Config>,
    flight: Flight<Detail>,
    kept: Arc<Mutex<Kept>>,
    /// What the slots of `jetstream.detail_interval` are counted from, the same for all targets.
    epoch: Instant,
}

/// What is kept of earlier answers.
#[derive(Debug, Default)]
struct Kept {
    /// The newest one, while the settings allow to show it again.
    newest: Option<Arc<Reading<Detail>>>,
    /// The newest one, while somebody uses it.
    shared: Weak<Reading<Detail>>,
    configuration: Option<Configuration>,
    /// The last request for the configuration failed, so the next one goes without.
    configuration_failed: bool,
    /// The newest answer had something without configuration.
    unknown: bool,
}

/// The configuration as it was when it was asked for last.
#[derive(Debug, Clone)]
struct Configuration {
    book: Arc<Book>,
    /// The process that was asked, when it was known.
    server_id: Option<String>,
    at: Instant,
    cost: Duration,
}

impl Kept {
    /// Whether the next request is to ask the process `server_id` for the configuration. A new one is asked at once:
    /// without it, a stream that it has not started would not be told from one that was made smaller.
    fn wants_configuration(&self, interval: Duration, server_id: Option<&str>) -> bool {
        if self.configuration_failed {
            return false;
        }
        let Some(known) = &self.configuration else { return true };
        let before = known.server_id.as_deref();
        if before.zip(server_id).is_some_and(|(before, now)| before != now) {
            return true;
        }
        let rest = if self.unknown { interval.min(known.cost * REST) } else { interval };
        known.at.elapsed() >= rest
    }
}

impl DetailProbe {
    pub(super) fn new(
        target: &str,
        client: &Client,
        config: &Arc<Config>,
        memory: &Arc<Memory>,
        epoch: Instant,
    ) -> Self {
        Self {
            target: target.to_owned(),
            client: client.clone(),
            memory: Arc::clone(memory),
            config: Arc::clone(config),
            flight: Flight::default(),
            kept: Arc::default(),
            epoch,
        }
    }

    /// The detail: the newest one while it may be shown, else a new one. Nothing when the settings
    /// want none. `varz` is the request that tells who the server is.
    pub(super) async fn ask(
        &self,
        varz: Option<Waiting<Varz>>,
        deadline: Instant,
        gave_up: impl FnOnce(&Outcome<Detail>),
    ) -> Option<Outcome<Detail>> {
        if self.settings().detail < Level::Streams {
            return None;
        }
        let (newest, shared) = {
            let kept = lock(&self.kept);
            (kept.newest.clone(), kept.shared.upgrade())
        };
        let is_young = |reading: &Arc<Reading<Detail>>| match self.slot(Instant::now()) {
            Some(slot) => Some(slot) == self.slot(reading.started),
            None => reading.started.elapsed() < SHARED_FOR,
        };
        // Without the name of the server, it does not tell what the server leads.
        let name_is_known = self.memory.learned().is_some();
        let is_whole =
            |reading: &Arc<Reading<Detail>>| reading.value.own_name.is_some() || !name_is_known;
        if let Some(young) = newest.clone().or(shared).filter(is_young).filter(is_whole) {
            return Some(Ok(young));
        }
        let mut waiting = self.fetch(varz);
        if let Some(outcome) = waiting.until(deadline).await {
            return Some(outcome);
        }
        // The server is slow and has not failed: what it said before may still be shown.
        match newest.filter(|newest| newest.started.elapsed() < self.settings().detail_max_age) {
            Some(newest) => Some(Ok(newest)),
            None => Some(waiting.or_timeout(deadline, gave_up).await),
        }
    }

    /// Which interval of the detail `at` is in; nothing when there are no intervals.
    ///
    /// Targets change the slot together: with intervals of their own, the old leader of a stream
    /// could be asked before an election and the new one after it, and both would deny it.
    fn slot(&self, at: Instant) -> Option<u128> {
        let interval = self.settings().detail_interval.as_nanos();
        let since = at.saturating_duration_since(self.epoch).as_nanos();
        since.checked_div(interval)
    }

    /// Forgets a detail that the process `server_id` did not give: the server was restarted, and
    /// the next scrape asks without waiting for the interval.
    pub(super) fn forget_all_but(&self, server_id: Option<&str>) {
        let mut kept = lock(&self.kept);
        let newest = kept.newest.clone().or(kept.shared.upgrade());
        if newest.is_some_and(|newest| newest.value.server_id.as_deref() != server_id) {
            kept.newest = None;
            kept.shared = Weak::new();
        }
    }

    fn settings(&self) -> &JetStream {
        &self.config.jetstream
    }

    fn fetch(&self, varz: Option<Waiting<Varz>>) -> Waiting<Detail> {
        let (memory, target) = (Arc::clone(&self.memory), self.target.clone());
        let kept = Arc::clone(&self.kept);
        let keeps = !self.settings().detail_max_age.is_zero();
        self.flight.join(
            self.config.scrape.persistence_timeout,
            || self.request(varz),
            move |outcome, late| {
                record_end(&memory, &target, Endpoint::JszDetail, outcome, late);
                let mut kept = lock(&kept);
                // A failed endpoint shows nothing, so the newest goes with the failure.
                kept.newest = outcome.as_ref().ok().filter(|_| keeps).cloned();
                if let Ok(reading) = outcome {
                    kept.shared = Arc::downgrade(reading);
                    kept.unknown = reading.value.unknown > 0;
                }
            },
        )
    }

    fn request(
        &self,
        varz: Option<Waiting<Varz>>,
    ) -> impl Future<Output = Result<Detail, Failure>> + Send + use<> {
        let one_jsz = self.memory.jsz_turn();
        let (client, config) = (self.client.clone(), Arc::clone(&self.config));
        let (memory, kept) = (Arc::clone(&self.memory), Arc::clone(&self.kept));
        async move {
            if let Some(mut varz) = varz {
                varz.until(Instant::now() + HEDGE).await;
            }
            let _one = one_jsz.lock().await;
            let started = Instant::now();
            let settings = &config.jetstream;
            let learned = memory.learned();
            let server_id = learned.as_ref().map(|learned| learned.server_id.clone());
            let (with_configuration, mut before) = {
                let mut kept = lock(&kept);
                let wanted =
                    kept.wants_configuration(settings.config_interval, server_id.as_deref());
                // Taken for a failure until the answer is there: the request may be given up.
                kept.configuration_failed = wanted;
                let longest = settings.config_interval.saturating_mul(KEPT_FOR);
                (wanted, kept.configuration.clone().filter(|known| known.at.elapsed() < longest))
            };
            let question = JszDetail {
                consumers: settings.detail >= Level::Consumers,
                config: with_configuration,
                paged: learned.as_ref().and_then(|l| l.version).is_some_and(sorts_accounts),
            };
            let known = Known {
                own_name: learned.map(|learned| learned.server_name),
                book: before.as_ref().filter(|_| !with_configuration).map(|c| Arc::clone(&c.book)),
            };
            let (mut detail, book) = read(&client, question, settings, known).await?;
            if with_configuration {
                let cost = started.elapsed();
                let book = Arc::new(book);
                before = Some(Configuration { book, server_id, at: started, cost });
            }
            detail.configured_at = before.as_ref().map(|configuration| configuration.at);
            let mut kept = lock(&kept);
            kept.configuration = before;
            kept.configuration_failed = false;
            Ok(detail)
        }
    }
}

/// Whether an answer came after `began`, or so shortly before that scrapes share it.
pub(super) fn is_new(reading: &Reading<Detail>, began: Instant) -> bool {
    reading.started + reading.elapsed + SHARED_FOR > began
}

/// Whether a version sorts the accounts on every page and says how many there are: only then do pages
/// fit together.
fn sorts_accounts(version: Version) -> bool {
    version >= Version(2, 11, 2) || (Version(2, 10, 28)..Version(2, 11, 0)).contains(&version)
}

/// What goes to the thread that reads.
enum Part {
    Chunk(Bytes),
    EndOfPage(oneshot::Sender<Page>),
}

/// Asks for all pages and reads them while they arrive.
async fn read(
    client: &Client,
    question: JszDetail,
    settings: &JetStream,
    known: Known,
) -> Result<(Detail, Book), Failure> {
    let (parts, received) = mpsc::channel(CHUNKS);
    let reader = Reader::new(settings.clone(), known);
    let reading = background::run("detail", move || read_parts(reader, received));
    let asking = async move {
        let mut offset = 0;
        loop {
            let mut body = client.open(&question.path(offset)).await?;
            while let Some(chunk) = body.chunk().await? {
                if parts.send(Part::Chunk(chunk)).await.is_err() {
                    return Ok(());
                }
            }
            let (sender, page) = oneshot::channel();
            if parts.send(Part::EndOfPage(sender)).await.is_err() {
                return Ok(());
            }
            let Ok(page) = page.await else { return Ok(()) };
            let all = page.total.is_none_or(|total| page.received >= total);
            if !question.paged || all || page.on_page == 0 {
                return Ok(());
            }
            offset = page.received;
        }
    };
    let (asked, read) = tokio::join!(asking, reading);
    let read = read.map_err(|ended| Failure::new(Reason::Internal, ended.to_string()));
    // What the reader did not like is the reason why asking ended early, and not the other way round.
    match (asked, read) {
        (Err(asked), Ok(Err(read))) if read.reason == Reason::Truncated => Err(asked),
        (Err(asked), Ok(Ok(_))) => Err(asked),
        (_, read) => read?,
    }
}

fn read_parts(
    mut reader: Reader,
    mut parts: mpsc::Receiver<Part>,
) -> Result<(Detail, Book), Failure> {
    while let Some(part) = parts.blocking_recv() {
        match part {
            Part::Chunk(chunk) => reader.push(&chunk)?,
            Part::EndOfPage(sender) => {
                // The other side has given up when this fails.
                let _ = sender.send(reader.end_page()?);
            }
        }
    }
    reader.finish()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
