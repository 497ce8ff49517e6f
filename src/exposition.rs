//! Writes a scrape as text, in the two formats that Prometheus reads, with
//! prometheus-client as the encoder.
//!
//! The library writes OpenMetrics only. The classic format differs in three things: a counter's
//! family carries the `_total` of its samples, `# EOF` is left out, and the content type is
//! another one. The first is had by writing the samples of a counter as those of a gauge with the
//! longer name.
//!
//! The text of a large scrape has a hundred times the size of what it is made of, so it is never
//! held: it is [`packed`] while it is written. What is written of streams and consumers is
//! the same for all scrapes with the same details, and is written once for those that come together.

pub mod packed;

use std::fmt;
use std::num::NonZero;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use self::packed::{Packed, Packer};
use crate::assets::Assets;
use crate::background::{self, Ended};
use crate::catalog::labels::Labels;
use crate::catalog::{self, Cut, Family, Kind, Sink, Value};
use crate::limits::Limit;
use crate::nats::failure::{Failure, Reason};
use crate::scrape::{Scrape, Selection};

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The classic text format 0.0.4.
    Classic,
}

impl Format {
    /// The content type of an answer in this format.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes expositions, and shares what several scrapes have in common.
#[derive(Debug)]
pub struct Writer {
    shared: Mutex<Vec<Shared>>,
    /// One for each core. More threads would not write faster, and each takes memory to compress.
    turns: Arc<Semaphore>,
}

impl Default for Writer {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { shared: Mutex::default(), turns: Arc::new(Semaphore::new(cores)) }
    }
}

/// What is being written of streams and consumers, for as long as a scrape waits for it.
#[derive(Debug)]
struct Shared {
    assets: Weak<Assets>,
    selection: Selection,
    format: Format,
    waiting: Weak<Waiting>,
}

/// Where somebody waits for what is written; it comes when it is whole.
type Waiting = watch::Receiver<Option<Arc<Written>>>;

/// Where who writes puts it.
type Wanted = watch::Sender<Option<Arc<Written>>>;

/// What was written of streams and consumers.
#[derive(Debug)]
struct Written {
    text: Arc<Packed>,
    cut: Cut,
}

impl Writer {
    /// The whole exposition of a scrape: texts that belong one behind the other.
    ///
    /// Streams and consumers that are not written by `deadline` are left out, as those of a server
    /// that did not answer in time.
    ///
    /// # Errors
    /// When the thread that writes the rest ends early, which is a defect.
    pub async fn write(
        &self,
        mut scrape: Scrape,
        format: Format,
        deadline: Instant,
    ) -> Result<Vec<Arc<Packed>>, Ended> {
        let mut texts = Vec::with_capacity(3);
        let wants_assets = catalog::wants_assets(&scrape.selection);
        let assets = if wants_assets && !scrape.assets.sources.is_empty() {
            match self.assets(&scrape, format, deadline).await {
                Ok(written) => {
                    for (snapshot, cut) in scrape.snapshots.iter().zip(&written.cut.series) {
                        snapshot.memory.dropped(*cut);
                    }
                    scrape.own.meter.hit(Limit::LabelValueBytes, written.cut.label_values);
                    Some(Arc::clone(&written.text))
                }
                Err(failure) => {
                    background::drop_later(scrape.leave_out_details(&failure));
                    None
                }
            }
        } else {
            None
        };
        let scrape = Arc::new(scrape);
        let shared = Arc::clone(&scrape);
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Ended)?;
        let rest = tokio::task::spawn_blocking(move || {
            // The turn ends with the work, also when nobody waits for it any more.
            let _turn = turn;
            let servers = write_part(Part::Servers(Arc::clone(&shared)), format, false);
            (servers, write_part(Part::Exporter(shared), format, true))
        });
        let (servers, exporter) = rest.await.map_err(|_| Ended)?;
        let are_few = scrape.assets.are_few();
        let details = Arc::into_inner(scrape).map_or_else(Vec::new, Scrape::into_details);
        if !are_few && !details.is_empty() {
            background::drop_later(details);
        }
        texts.push(Arc::new(servers));
        texts.extend(assets);
        texts.push(Arc::new(exporter));
        Ok(texts)
    }

    /// The streams and consumers, when they are written by `deadline`.
    async fn assets(
        &self,
        scrape: &Scrape,
        format: Format,
        deadline: Instant,
    ) -> Result<Arc<Written>, Failure> {
        let (waiting, wanted) = self.join(scrape, format);
        if let Some(wanted) = wanted {
            let (assets, selection) = (Arc::clone(&scrape.assets), scrape.selection.clone());
            let few = assets.are_few();
            let write = move || write_assets(assets, selection, format, wanted);
            if few { write() } else { background::start("write", write) }
        }
        let mut own = Waiting::clone(&waiting);
        match timeout_at(deadline, own.wait_for(Option::is_some)).await {
            Ok(Ok(written)) => written.clone().ok_or_else(ended_early),
            Ok(Err(_)) => Err(ended_early()),
            Err(_) => {
                let text = "streams and consumers were not written before the end of the scrape";
                Err(Failure::new(Reason::Timeout, text))
            }
        }
    }

    /// A place to wait for what others write of the same; when nobody does, what is to be written goes
    /// there.
    fn join(&self, scrape: &Scrape, format: Format) -> (Arc<Waiting>, Option<Wanted>) {
        let mut all = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|shared| shared.waiting.strong_count() > 0);
        let same = |shared: &&Shared| {
            std::ptr::eq(shared.assets.as_ptr(), Arc::as_ptr(&scrape.assets))
                && shared.selection == scrape.selection
                && shared.format == format
        };
        if let Some(waiting) = all.iter().find(same).and_then(|shared| shared.waiting.upgrade()) {
            return (waiting, None);
        }
        let (wanted, waiting) = watch::channel(None);
        let waiting = Arc::new(waiting);
        all.push(Shared {
            assets: Arc::downgrade(&scrape.assets),
            selection: scrape.selection.clone(),
            format,
            waiting: Arc::downgrade(&waiting),
        });
        (waiting, Some(wanted))
    }
}

fn ended_early() -> Failure {
    Failure::new(Reason::Internal, Ended.to_string())
}

/// Writes streams and consumers, unless all who want them have given up before the end.
fn write_assets(assets: Arc<Assets>, selection: Selection, format: Format, wanted: Wanted) {
    let (wanted, cut) = (Arc::new(wanted), Arc::new(OnceLock::new()));
    let part =
        Part::Assets { assets, selection, wanted: Arc::clone(&wanted), cut: Arc::clone(&cut) };
    let text = Arc::new(write_part(part, format, false));
    if let Some(cut) = cut.get().cloned() {
        wanted.send_replace(Some(Arc::new(Written { text, cut })));
    }
}

fn write_part(part: Part, format: Format, is_last: bool) -> Packed {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Collector { part, format }));
    let mut packer = Packer::default();
    // Writing into memory cannot fail.
    let _ = encode_registry(&mut packer, &registry);
    if is_last && format == Format::OpenMetrics {
        let _ = encode_eof(&mut packer);
    }
    packer.finish()
}

/// A part of an exposition.
#[derive(Debug)]
enum Part {
    Servers(Arc<Scrape>),
    Assets {
        assets: Arc<Assets>,
        selection: Selection,
        /// Writing ends when nobody waits any more: on a busy machine more and more would be written, and held, for nobody.
        wanted: Arc<Wanted>,
        /// What was left out, once all is written.
        cut: Arc<OnceLock<Cut>>,
    },
    Exporter(Arc<Scrape>),
}

/// Writes a part through the library's encoder.
#[derive(Debug)]
struct Collector {
    part: Part,
    format: Format,
}

impl prometheus_client::collector::Collector for Collector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sink = &mut Encoder { descriptors: encoder, format: self.format, wanted: None };
        match &self.part {
            Part::Servers(scrape) => catalog::visit_servers(scrape, sink),
            Part::Assets { assets, selection, wanted, cut } => {
                sink.wanted = Some(wanted);
                let left_out = catalog::visit_assets(assets, selection, sink)?;
                // The library asks once for each exposition.
                let _ = cut.set(left_out);
                Ok(())
            }
            Part::Exporter(scrape) => catalog::visit_exporter(scrape, sink),
        }
    }
}

struct Encoder<'e, 'w> {
    descriptors: DescriptorEncoder<'e>,
    format: Format,
    wanted: Option<&'w Wanted>,
}

impl Sink for Encoder<'_, '_> {
    fn family(
        &mut self,
        family: &Family,
        samples: &mut dyn Iterator<Item = (Labels<'_>, Value)>,
    ) -> fmt::Result {
        let sample_name = family.sample_name();
        let (name, kind) = match (self.format, family.kind) {
            (_, Kind::Gauge) => (family.name, MetricType::Gauge),
            (Format::OpenMetrics, Kind::Counter) => (family.name, MetricType::Counter),
            (Format::Classic, Kind::Counter) => (sample_name.as_str(), MetricType::Counter),
        };
        let as_counter = self.format == Format::OpenMetrics && family.kind == Kind::Counter;
        // The unit is in the name already; given here, it would be added once more.
        let mut metric = self.descriptors.encode_descriptor(name, family.help, None, kind)?;
        for (labels, value) in samples {
            if self.wanted.is_some_and(Wanted::is_closed) {
                return Err(fmt::Error);
            }
            let sample = metric.encode_family(&labels)?;
            write_value(sample, value, as_counter)?;
        }
        Ok(())
    }
}

fn write_value(mut sample: MetricEncoder<'_>, value: Value, as_counter: bool) -> fmt::Result {
    match (value, as_counter) {
        (Value::Unsigned(value), false) => sample.encode_gauge(&value),
        (Value::Signed(value), false) => sample.encode_gauge(&value),
        (Value::Float(value), false) => sample.encode_gauge(&value),
        (Value::Unsigned(value), true) => sample.encode_counter::<NoLabelSet, _, f64>(&value, None),
        (Value::Float(value), true) => sample.encode_counter::<NoLabelSet, _, f64>(&value, None),
        // Counters are unsigned by their fields; a negative one could only be a mistake of ours.
        (Value::Signed(value), true) => {
            sample.encode_counter::<NoLabelSet, _, f64>(&value.unsigned_abs(), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::assets::Source;
    use crate::cli::Flags;
    use crate::config::Config;
    use crate::detail::{Detail, Known, Reader};
    use crate::flight::Reading;
    use crate::snapshot::Identity;
    use crate::tier::TierSet;

    /// What a server holds that lists these accounts.
    fn assets(accounts: &str) -> Assets {
        let none = std::iter::empty::<(String, String)>();
        let config = Config::load(&Flags::default(), none).unwrap();
        let mut reader = Reader::new(config.jetstream.clone(), Known::default());
        let answer = format!(r#"{{"server_id":"A","account_details":[{accounts}]}}"#);
        reader.push(answer.as_bytes()).unwrap();
        reader.end_page().unwrap();
        let (value, _): (Detail, _) = reader.finish().unwrap();
        let identity = Identity { cluster: "C1".to_owned(), server: "n1".to_owned() };
        let (at, started, elapsed) = (SystemTime::now(), Instant::now(), Duration::ZERO);
        let source = Source {
            at: 0,
            identity,
            own_name: Some("n1".to_owned()),
            clustered: false,
            detail: Arc::new(Reading { value, at, started, elapsed }),
        };
        Assets::new(vec![source], Arc::new(config))
    }

    const ONE_STREAM: &str =
        r#"{"name":"A","stream_detail":[{"name":"ORDERS","state":{"messages":7}}]}"#;

    #[test]
    fn many_accounts_without_streams_are_not_few() {
        assert!(assets(ONE_STREAM).are_few());
        let accounts: Vec<_> = (0..1_000).map(|n| format!(r#"{{"name":"A{n}"}}"#)).collect();
        assert!(!assets(&accounts.join(",")).are_few());
    }

    #[test]
    fn writing_ends_when_nobody_waits() {
        for somebody_waits in [true, false] {
            let (wanted, waiting) = watch::channel(None);
            let waiting = Some(waiting).filter(|_| somebody_waits);
            let cut = Arc::new(OnceLock::new());
            let part = Part::Assets {
                assets: Arc::new(assets(ONE_STREAM)),
                selection: Selection { tiers: TierSet::ALL, topics: None },
                wanted: Arc::new(wanted),
                cut: Arc::clone(&cut),
            };
            write_part(part, Format::OpenMetrics, false);
            assert_eq!(cut.get().is_some(), somebody_waits);
            drop(waiting);
        }
    }
}
