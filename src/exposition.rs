//! Writes a scrape as text, in the two formats that Prometheus reads, with
//! prometheus-client as the encoder.
//!
//! The library writes OpenMetrics only. The classic format differs in three things: a counter's
//! family carries the `_total` of its samples, `# EOF` is left out, and the content type is
//! another one. The first is had by writing the samples of a counter as those of a gauge with the
//! longer name.

use std::fmt;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::catalog::labels::Labels;
use crate::catalog::{self, Family, Kind, Sink, Value};
use crate::scrape::Scrape;

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

/// The whole exposition of a scrape.
#[must_use]
pub fn encode(scrape: Scrape, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Collector { scrape, format }));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode_registry(&mut text, &registry);
    if format == Format::OpenMetrics {
        let _ = encode_eof(&mut text);
    }
    text
}

/// Writes a scrape through the library's encoder.
#[derive(Debug)]
struct Collector {
    scrape: Scrape,
    format: Format,
}

impl prometheus_client::collector::Collector for Collector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        catalog::visit(&self.scrape, &mut Encoder { encoder, format: self.format })
    }
}

struct Encoder<'e> {
    encoder: DescriptorEncoder<'e>,
    format: Format,
}

impl Sink for Encoder<'_> {
    fn family(
        &mut self,
        family: &Family,
        samples: &mut dyn Iterator<Item = (&Labels, Value)>,
    ) -> fmt::Result {
        let sample_name = family.sample_name();
        let (name, kind) = match (self.format, family.kind) {
            (_, Kind::Gauge) => (family.name, MetricType::Gauge),
            (Format::OpenMetrics, Kind::Counter) => (family.name, MetricType::Counter),
            (Format::Classic, Kind::Counter) => (sample_name.as_str(), MetricType::Counter),
        };
        let as_counter = self.format == Format::OpenMetrics && family.kind == Kind::Counter;
        // The unit is in the name already; given here, it would be added once more.
        let mut metric = self.encoder.encode_descriptor(name, family.help, None, kind)?;
        for (labels, value) in samples {
            let sample = metric.encode_family(labels)?;
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
