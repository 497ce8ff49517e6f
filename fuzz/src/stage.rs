//! A server made of answers instead of requests, and what is shown of it.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use clap::Parser as _;
use nats_exporter::assets::Pool;
use nats_exporter::cli::Cli;
use nats_exporter::config::{Config, Detail as Level};
use nats_exporter::detail::Detail;
use nats_exporter::exporter::Own;
use nats_exporter::exposition::packed::{Packed, Unpacker};
use nats_exporter::exposition::{Format, Writer};
use nats_exporter::flight::{Failed, Outcome, Reading};
use nats_exporter::memory::Memory;
use nats_exporter::nats::decode::{Body, decode};
use nats_exporter::nats::endpoint::Endpoint;
use nats_exporter::nats::failure::Failure;
use nats_exporter::nats::healthz::Health;
use nats_exporter::nats::jsz::Jsz;
use nats_exporter::nats::routez::Routez;
use nats_exporter::nats::varz::Varz;
use nats_exporter::scrape::{Scrape, Selection};
use nats_exporter::snapshot::{Base, Identity, Persistence, Report, Snapshot};
use nats_exporter::tier::{Tier, TierSet};
use nats_exporter::verdict::{self, Before};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::exposition::{self, Family};

/// The address of every server here.
const ADDRESS: &str = "n1.test:8222";

/// Far longer than writing takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// As much is shown as can be.
pub static CONFIG: LazyLock<Arc<Config>> = LazyLock::new(|| {
    let flags = Cli::parse_from(["nats-exporter"]).flags;
    let none = std::iter::empty::<(String, String)>();
    let mut config = Config::load(&flags, none).expect("the defaults are valid");
    config.jetstream.detail = Level::All;
    config.jetstream.stream_metadata_labels = vec!["team".to_owned(), "cost center".to_owned()];
    config.jetstream.consumer_metadata_labels = vec!["team".to_owned()];
    // Every name has to come back whole.
    config.limits.label_value_bytes = 0;
    Arc::new(config)
});

/// Runs what waits for something.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
});

/// What a server answered in one scrape.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)] // The fields carry the names of the endpoints.
pub struct Answers {
    pub varz: Option<Outcome<Varz>>,
    pub routez: Option<Outcome<Routez>>,
    pub core: Option<Outcome<Health>>,
    pub jsz: Option<Outcome<Jsz>>,
    pub detail: Option<Outcome<Detail>>,
    pub health: Option<Outcome<Health>>,
}

/// A server over several scrapes.
#[derive(Debug, Default)]
pub struct Server {
    memory: Arc<Memory>,
}

impl Server {
    /// Takes the answer of `/varz`.
    pub fn varz(&self, body: &[u8]) -> Outcome<Varz> {
        self.note(
            Endpoint::Varz,
            self.decode(Endpoint::Varz, body).inspect(|varz| self.memory.learn("t", varz)),
        )
    }

    /// Takes the answer of `/routez`.
    pub fn routez(&self, body: &[u8]) -> Outcome<Routez> {
        let mut routez = self.decode(Endpoint::Routez, body);
        if let Ok(routez) = &mut routez {
            self.memory.add_traffic(routez);
        }
        self.note(Endpoint::Routez, routez)
    }

    /// Takes the answer of plain `/jsz`.
    pub fn jsz(&self, body: &[u8]) -> Outcome<Jsz> {
        self.note(Endpoint::Jsz, self.decode(Endpoint::Jsz, body))
    }

    /// Takes what was made of the answers to `endpoint`.
    pub fn note<T>(&self, endpoint: Endpoint, result: Result<T, Failure>) -> Outcome<T> {
        let elapsed = Duration::from_millis(3);
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let outcome = match result {
            Ok(value) => Ok(Arc::new(Reading { value, at, started: Instant::now(), elapsed })),
            Err(failure) => Err(Failed { failure, elapsed }),
        };
        self.memory.record("t", endpoint, &outcome);
        outcome
    }

    fn decode<T: Body>(&self, endpoint: Endpoint, body: &[u8]) -> Result<T, Failure> {
        let (value, unknown) = decode(body)?;
        self.memory.unknown_fields("t", endpoint, unknown);
        Ok(value)
    }

    /// Puts answers together, as a probe does.
    #[must_use]
    pub fn snapshot(&self, answers: Answers) -> Snapshot {
        let Answers { varz, routez, core, jsz, detail, health } = answers;
        let learned = self.memory.learned();
        let version = learned.as_ref().and_then(|learned| learned.version);
        let endpoints = [
            report(Endpoint::Varz, varz.as_ref()),
            report(Endpoint::Routez, routez.as_ref()),
            report(Endpoint::HealthzCore, core.as_ref()),
            report(Endpoint::Jsz, jsz.as_ref()),
            report(Endpoint::JszDetail, detail.as_ref()),
            report(Endpoint::Healthz, health.as_ref()),
        ];
        let mut base = Base { varz, routez, health: core, version, ..Base::default() };
        base.peers = base
            .varz()
            .filter(|varz| varz.cluster.name.is_some())
            .map(|varz| self.memory.peers(varz, base.routez(), None, Instant::now()));
        let mut persistence =
            Persistence { jsz, detail, health, version, ..Persistence::default() };
        persistence.clustered = persistence.says_clustered(learned.as_ref());
        persistence.disk_io_wait =
            base.varz().and_then(|varz| varz.disk_io_wait_stats.value.clone());
        persistence.own_name = learned.as_ref().map(|learned| learned.server_name.clone());
        let before = Before { accepted: true, slow_consumers_rise: false };
        persistence.verdict = verdict::persistence(&persistence, &base, before);
        base.verdict = Some(verdict::base(&base, before));
        let name = learned.as_ref().and_then(|learned| learned.stable_name());
        let server = name.unwrap_or(ADDRESS).to_owned();
        let cluster = learned.as_ref().map(|learned| learned.cluster.clone());
        let cluster =
            cluster.map_or_else(String::new, |name| name.unwrap_or_else(|| server.clone()));
        Snapshot {
            target: ADDRESS.to_owned(),
            url: format!("http://{ADDRESS}"),
            found: None,
            identity: Identity { cluster, server },
            learned,
            base,
            persistence: Some(persistence),
            endpoints: endpoints.into_iter().flatten().collect(),
            memory: Arc::clone(&self.memory),
        }
    }

    /// What is shown of the server.
    ///
    /// # Panics
    /// As [`shown`].
    #[must_use]
    pub fn shown(&self, answers: &Answers) -> Vec<Family> {
        shown(|| vec![self.snapshot(answers.clone())])
    }
}

fn report<T>(endpoint: Endpoint, outcome: Option<&Outcome<T>>) -> Option<Report> {
    let failure = outcome?.as_ref().err().map(|failed| failed.failure.reason.as_str());
    let age_seconds = failure.is_none().then_some(0.0);
    Some(Report { endpoint, failure, seconds: 0.003, age_seconds })
}

/// What is shown of `snapshots`: read back from both formats, which have to say the same.
///
/// # Panics
/// When a strict reader does not take a text, or the two differ.
#[must_use]
pub fn shown(snapshots: impl Fn() -> Vec<Snapshot>) -> Vec<Family> {
    let [open, classic] = [Format::OpenMetrics, Format::Classic].map(|format| {
        let text = RUNTIME.block_on(write(scrape(snapshots()), format));
        exposition::read(&text, format).unwrap_or_else(|wrong| panic!("{format:?}: {wrong:?}"))
    });
    assert_eq!(open, classic, "both formats say the same");
    open
}

/// Without the exporter's own tier, whose numbers come from the kernel.
fn scrape(snapshots: Vec<Snapshot>) -> Scrape {
    let tiers: TierSet = [Tier::Base, Tier::Persistence].into_iter().collect();
    let own = Own { scrapes: 1, targets: snapshots.len(), ..Own::default() };
    let selection = Selection { tiers, topics: None };
    Scrape::new(selection, snapshots, own, Arc::clone(&CONFIG), &Pool::default())
}

async fn write(scrape: Scrape, format: Format) -> String {
    let writer = Writer::default();
    let memories: Vec<_> = scrape.snapshots.iter().map(|s| Arc::clone(&s.memory)).collect();
    let failures = || memories.iter().map(|memory| memory.history(Endpoint::JszDetail).failures);
    let before: Vec<_> = failures().collect();
    let written = writer.write(scrape, format, Instant::now() + PATIENCE).await;
    assert!(failures().eq(before), "streams and consumers were left out");
    unpacked(&written.expect("no thread panics"))
}

/// The text of an exposition.
pub(crate) fn unpacked(texts: &[Arc<Packed>]) -> String {
    let mut unpacker = Unpacker::new(texts.iter().map(Arc::as_ref));
    let mut text = Vec::new();
    while let Some(piece) = unpacker.next_piece() {
        text.extend_from_slice(&piece);
    }
    String::from_utf8(text).expect("text")
}
