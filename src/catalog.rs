//! The catalogue: every metric is one row of one table.
//!
//! A table belongs to an entity, something that has labels. The entity gives the
//! topic, the tier and the label names of all rows, so a row cannot be in the wrong tier. Where a
//! metric comes from is told by the file names below; how to add one is told in CONTRIBUTING.md.

mod account;
mod consumer;
mod exporter;
mod health;
mod jetstream;
pub mod labels;
mod listener;
mod meta;
mod route;
mod server;
mod stream;
mod tier;

use std::fmt;
use std::str::FromStr;

use crate::assets::Assets;
use crate::config::Limits;
use crate::limits::Limit;
use crate::nats::endpoint::Endpoint;
use crate::nats::time::{GoDuration, Nanoseconds, Timestamp};
use crate::probe::EndpointSet;
use crate::scrape::{Scrape, Selection};
use crate::tier::Tier;
use labels::{Labels, Place, Rendered};

/// The tables of servers, in the order in which they are written.
static SERVERS: &[&dyn AnyTable<Scrape>] = &[
    &Erased(tier::TierStateTable),
    &Erased(tier::TierReasonTable),
    &Erased(server::UpTable),
    &Erased(server::ServerTable),
    &Erased(server::ServerInfoTable),
    &Erased(server::SlowConsumersTable),
    &Erased(server::StaleConnectionsTable),
    &Erased(server::CertificateTable),
    &Erased(server::HttpRequestsTable),
    &Erased(route::MeshTable),
    &Erased(route::RemoteTable),
    &Erased(route::ConnectedTable),
    &Erased(health::CoreCheckTable),
    &Erased(health::CoreProbeTable),
    &Erased(health::JetStreamCheckTable),
    &Erased(health::JetStreamProbeTable),
    &Erased(health::FailingCountTable),
    &Erased(health::FailingAssetTable),
    &Erased(jetstream::SwitchTable),
    &Erased(jetstream::JetStreamTable),
    &Erased(jetstream::DiskTable),
    &Erased(jetstream::JetStreamInfoTable),
    &Erased(meta::MetaTable),
    &Erased(meta::MetaLeaderTable),
    &Erased(meta::MetaPeerTable),
];

/// The tables of streams, consumers and what belongs to them, which come next. They see nothing
/// but details, so what is written of them is the same for all scrapes with the same details.
static ASSETS: &[&dyn AnyTable<Assets>] = &[
    &Erased(account::AccountTable),
    &Erased(stream::StreamTable),
    &Erased(stream::StreamLimitTable),
    &Erased(stream::StreamInfoTable),
    &Erased(stream::StreamMetadataTable),
    &Erased(stream::StreamThresholdTable),
    &Erased(stream::StreamPeerTable),
    &Erased(stream::StreamSourceTable),
    &Erased(stream::StreamReplicaTable),
    &Erased(stream::StreamLeaderTable),
    &Erased(consumer::FoldedTable),
    &Erased(consumer::ConsumerTable),
    &Erased(consumer::ConsumerSettingsTable),
    &Erased(consumer::ConsumerInfoTable),
    &Erased(consumer::ConsumerMetadataTable),
    &Erased(consumer::ConsumerThresholdTable),
    &Erased(consumer::PriorityGroupTable),
    &Erased(consumer::ConsumerReplicaTable),
    &Erased(consumer::ConsumerLeaderTable),
    &Erased(consumer::ConsumerPeerTable),
];

/// The tables of the exporter, which come last, because they tell what was cut before.
static EXPORTER: &[&dyn AnyTable<Scrape>] = &[
    &Erased(exporter::EndpointTable),
    &Erased(exporter::EndpointFailureTable),
    &Erased(exporter::EndpointErrorsTable),
    &Erased(exporter::TargetTable),
    &Erased(exporter::DuplicateTable),
    &Erased(exporter::DroppedTable),
    &Erased(exporter::DiscoveryTable),
    &Erased(exporter::ExporterTable),
    &Erased(listener::ListenerTable),
    &Erased(exporter::RefusedTable),
    &Erased(exporter::LimitTable),
    &Erased(exporter::BuildTable),
    &Erased(exporter::ProcessTable),
];

/// What a table is about: the values of the `collect[]` parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// The state of each tier, and why.
    Tier,
    /// The server process, its clients and its limits.
    Server,
    /// The connections between servers.
    Route,
    /// The health questions.
    Health,
    /// JetStream of a server: switch, storage, API.
    JetStream,
    /// The meta group.
    Meta,
    /// Accounts.
    Account,
    /// Streams and their replicas.
    Stream,
    /// Consumers and their replicas.
    Consumer,
    /// The exporter itself.
    Exporter,
}

impl Topic {
    /// All topics, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Tier,
        Self::Server,
        Self::Route,
        Self::Health,
        Self::JetStream,
        Self::Meta,
        Self::Account,
        Self::Stream,
        Self::Consumer,
        Self::Exporter,
    ];

    /// The value of the `collect[]` parameter.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tier => "tier",
            Self::Server => "server",
            Self::Route => "route",
            Self::Health => "health",
            Self::JetStream => "jetstream",
            Self::Meta => "meta",
            Self::Account => "account",
            Self::Stream => "stream",
            Self::Consumer => "consumer",
            Self::Exporter => "exporter",
        }
    }
}

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut topics = Self::ALL.into_iter();
        topics.find(|topic| topic.as_str() == text).ok_or_else(|| UnknownTopic(text.to_owned()))
    }
}

/// A topic that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is nothing to collect called \"{0}\"; write one of {names}", names = Topic::ALL.map(Topic::as_str).join(", "))]
pub struct UnknownTopic(String);

/// What a value does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up, and starts at zero with the process that counts.
    Counter,
}

impl Kind {
    /// The word of the `# TYPE` line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
        }
    }
}

/// A value, exact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A whole number.
    Unsigned(u64),
    /// A whole number that may be negative.
    Signed(i64),
    /// A finite number.
    Float(f64),
}

/// One metric, without its values.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Its name, for counters without the `_total` that is written behind it.
    pub name: &'static str,
    /// What its values do over time.
    pub kind: Kind,
    /// Where it comes from: endpoint and field, and the first server version that has it.
    pub source: &'static str,
    /// What it means; one line.
    pub help: &'static str,
}

impl Family {
    /// The name of its samples.
    #[must_use]
    pub fn sample_name(&self) -> String {
        match self.kind {
            Kind::Gauge => self.name.to_owned(),
            Kind::Counter => format!("{}_total", self.name),
        }
    }
}

/// One row: a metric, and how to read its value from an entity.
struct Row<T: Table> {
    family: Family,
    /// Nothing means unknown or not applicable, and writes no sample.
    value: for<'e, 's> fn(&'e T::Entity<'s>) -> Option<Value>,
}

/// All metrics of one kind of entity.
trait Table: Sized + Sync + 'static {
    /// What the entity is about.
    const TOPIC: Topic;
    /// Whose question the entity answers. With several tiers, each entity belongs to one of them.
    const TIERS: &'static [Tier];
    /// Endpoints that have to be asked.
    const NEEDS: &'static [Endpoint];
    /// Label names, in the order of the values.
    const LABELS: &'static [&'static str];
    /// Whether the configuration may add labels.
    const MORE_LABELS: bool = false;
    /// The metrics.
    const ROWS: &'static [Row<Self>];

    /// What the entities are taken from.
    type Source;
    /// What has the labels and the values.
    type Entity<'s>;

    /// The entities that `source` has for `tier`, each once.
    fn entities<'s>(
        source: &'s Self::Source,
        tier: Tier,
        entities: &mut Entities<Self::Entity<'s>>,
    );
}

/// Writes the rows of a table.
///
/// A row is kind, name, source, help, and an expression for the value; see [`IntoValue`] for
/// what the expression may give.
macro_rules! rows {
    ($( $kind:ident $name:literal, $source:literal, $help:literal => |$entity:ident| $value:expr; )+) => {
        const ROWS: &'static [crate::catalog::Row<Self>] = &[$(
            crate::catalog::Row {
                family: crate::catalog::Family {
                    name: $name,
                    kind: rows!(@kind $kind),
                    source: $source,
                    help: $help,
                },
                value: |$entity| crate::catalog::IntoValue::into_value($value),
            },
        )+];
    };
    (@kind gauge) => { crate::catalog::Kind::Gauge };
    (@kind counter) => { crate::catalog::Kind::Counter };
}
use rows;

/// What an expression of a row may give. Instants and durations become seconds.
trait IntoValue {
    fn into_value(self) -> Option<Value>;
}

impl IntoValue for u64 {
    fn into_value(self) -> Option<Value> {
        Some(Value::Unsigned(self))
    }
}

impl IntoValue for i64 {
    fn into_value(self) -> Option<Value> {
        Some(Value::Signed(self))
    }
}

impl IntoValue for f64 {
    fn into_value(self) -> Option<Value> {
        self.is_finite().then_some(Value::Float(self))
    }
}

impl IntoValue for bool {
    fn into_value(self) -> Option<Value> {
        Some(Value::Unsigned(self.into()))
    }
}

impl IntoValue for Timestamp {
    fn into_value(self) -> Option<Value> {
        self.seconds().into_value()
    }
}

impl IntoValue for Nanoseconds {
    fn into_value(self) -> Option<Value> {
        self.seconds().into_value()
    }
}

impl IntoValue for GoDuration {
    fn into_value(self) -> Option<Value> {
        self.seconds().into_value()
    }
}

impl<T: IntoValue> IntoValue for Option<T> {
    fn into_value(self) -> Option<Value> {
        self.and_then(IntoValue::into_value)
    }
}

/// The entities of one table in one scrape, with their labels rendered once.
struct Entities<E> {
    names: &'static [&'static str],
    labels: Rendered,
    list: Vec<Labelled<E>>,
}

struct Labelled<E> {
    /// Which snapshot the entity is from, for the limit on series.
    source: usize,
    labels: Place,
    entity: E,
}

impl<E> Entities<E> {
    /// Adds an entity; `values` are those of the table's label names, in their order.
    fn push<const N: usize>(&mut self, source: usize, values: [&str; N], entity: E) {
        self.push_with(source, values, std::iter::empty(), entity);
    }

    /// Adds an entity with labels of its own behind those of the table.
    fn push_with<'l, const N: usize>(
        &mut self,
        source: usize,
        values: [&'l str; N],
        more: impl Iterator<Item = (&'l str, &'l str)>,
        entity: E,
    ) {
        debug_assert_eq!(self.names.len(), N);
        let pairs = self.names.iter().copied().zip(values).chain(more);
        self.list.push(Labelled { source, labels: self.labels.add(pairs), entity });
    }
}

/// Takes one metric with all its samples.
pub trait Sink {
    /// Called once for each metric that has samples.
    fn family(
        &mut self,
        family: &Family,
        samples: &mut dyn Iterator<Item = (Labels<'_>, Value)>,
    ) -> fmt::Result;
}

/// What is known of a table without a scrape.
#[derive(Debug, Clone)]
pub struct Description {
    /// What it is about.
    pub topic: Topic,
    /// The tiers of its entities.
    pub tiers: &'static [Tier],
    /// Its label names.
    pub labels: &'static [&'static str],
    /// Whether the limit on series applies.
    pub detail: bool,
    /// Whether the configuration may add labels.
    pub more_labels: bool,
    /// Its metrics.
    pub families: Vec<Family>,
}

/// Every table of the catalogue, for documentation and checks.
#[must_use]
pub fn describe() -> Vec<Description> {
    let servers = SERVERS.iter().map(|table| table.describe());
    let assets = ASSETS.iter().map(|table| Description { detail: true, ..table.describe() });
    let exporter = EXPORTER.iter().map(|table| table.describe());
    servers.chain(assets).chain(exporter).collect()
}

/// The endpoints that a selection needs. `/varz` tells who the server is, so it always belongs.
#[must_use]
pub fn needed(selection: &Selection) -> EndpointSet {
    fn needs<S>(
        tables: &'static [&dyn AnyTable<S>],
        selection: &Selection,
    ) -> impl Iterator<Item = Endpoint> {
        let wanted = tables.iter().filter(|table| table.wanted(selection));
        wanted.flat_map(|table| table.needs().iter().copied())
    }
    needs(SERVERS, selection)
        .chain(needs(ASSETS, selection))
        .chain(needs(EXPORTER, selection))
        .filter(|e| selection.tiers.contains(e.tier()) || *e == Endpoint::Varz)
        .collect()
}

/// Whether a selection has anything of streams and consumers.
#[must_use]
pub fn wants_assets(selection: &Selection) -> bool {
    ASSETS.iter().any(|table| table.wanted(selection))
}

/// Writes what a scrape has of servers into `sink`, family by family.
pub fn visit_servers(scrape: &Scrape, sink: &mut dyn Sink) -> fmt::Result {
    visit_scrape(SERVERS, scrape, sink)
}

/// Writes what there is of streams and consumers into `sink`, family by family.
///
/// What the limit on series cuts is left out, and told.
pub fn visit_assets(
    assets: &Assets,
    selection: &Selection,
    sink: &mut dyn Sink,
) -> Result<Cut, fmt::Error> {
    let mut room = Room::of(assets);
    visit(ASSETS, assets, selection, &mut room, sink)?;
    Ok(room.cut)
}

/// Writes what a scrape has of the exporter into `sink`, family by family.
pub fn visit_exporter(scrape: &Scrape, sink: &mut dyn Sink) -> fmt::Result {
    visit_scrape(EXPORTER, scrape, sink)
}

fn visit_scrape(
    tables: &[&dyn AnyTable<Scrape>],
    scrape: &Scrape,
    sink: &mut dyn Sink,
) -> fmt::Result {
    let mut room = Room::unlimited(&scrape.config.limits);
    visit(tables, scrape, &scrape.selection, &mut room, sink)?;
    scrape.own.meter.hit(Limit::LabelValueBytes, room.cut.label_values);
    Ok(())
}

fn visit<S>(
    tables: &[&dyn AnyTable<S>],
    source: &S,
    selection: &Selection,
    room: &mut Room,
    sink: &mut dyn Sink,
) -> fmt::Result {
    let mut wanted = tables.iter().filter(|table| table.wanted(selection));
    wanted.try_for_each(|table| table.visit(source, selection, room, sink))
}

/// What did not fit.
#[derive(Debug, Clone, Default)]
pub struct Cut {
    /// Series that are left out: one number for each snapshot up to the last that has a detail.
    pub series: Vec<u64>,
    /// Label values that were too long and are shown in part.
    pub label_values: u64,
}

/// What still fits.
struct Room {
    /// Longest label value that is shown whole; 0 is no limit.
    label_value_bytes: usize,
    /// Series of streams and consumers, for each snapshot; nothing where there is no limit.
    left: Option<Vec<u64>>,
    /// What did not.
    cut: Cut,
}

impl Room {
    /// As many series as there are.
    fn unlimited(limits: &Limits) -> Self {
        let label_value_bytes = limits.label_value_bytes;
        Self { label_value_bytes, left: None, cut: Cut::default() }
    }

    fn of(assets: &Assets) -> Self {
        let limits = &assets.config.limits;
        let limit = limits.series_per_target;
        let count = assets.sources.last().map_or(0, |source| source.at + 1);
        let left = (limit > 0).then(|| vec![limit as u64; count]);
        let cut = Cut { series: vec![0; count], label_values: 0 };
        Self { left, cut, ..Self::unlimited(limits) }
    }

    /// Takes room for `series`; false when they do not fit.
    ///
    /// The first that does not fit ends the room, so that the same ones are cut at every scrape.
    fn take(&mut self, source: usize, series: u64) -> bool {
        let Some(left) = &mut self.left else { return true };
        let fits = left[source] >= series;
        left[source] = if fits { left[source] - series } else { 0 };
        self.cut.series[source] += if fits { 0 } else { series };
        fits
    }
}

/// A table whose entity type is not named.
trait AnyTable<S>: Sync {
    fn describe(&self) -> Description;
    fn needs(&self) -> &'static [Endpoint];
    fn wanted(&self, selection: &Selection) -> bool;
    fn visit(
        &self,
        source: &S,
        selection: &Selection,
        room: &mut Room,
        sink: &mut dyn Sink,
    ) -> fmt::Result;
}

struct Erased<T>(T);

impl<T: Table> AnyTable<T::Source> for Erased<T> {
    fn describe(&self) -> Description {
        Description {
            topic: T::TOPIC,
            tiers: T::TIERS,
            labels: T::LABELS,
            detail: false,
            more_labels: T::MORE_LABELS,
            families: T::ROWS.iter().map(|row| row.family).collect(),
        }
    }

    fn needs(&self) -> &'static [Endpoint] {
        T::NEEDS
    }

    fn wanted(&self, selection: &Selection) -> bool {
        selection.wants(T::TOPIC) && T::TIERS.iter().any(|tier| selection.tiers.contains(*tier))
    }

    fn visit(
        &self,
        source: &T::Source,
        selection: &Selection,
        room: &mut Room,
        sink: &mut dyn Sink,
    ) -> fmt::Result {
        let labels = Rendered::new(room.label_value_bytes);
        let mut entities = Entities { names: T::LABELS, labels, list: Vec::new() };
        for tier in T::TIERS.iter().filter(|tier| selection.tiers.contains(**tier)) {
            T::entities(source, *tier, &mut entities);
        }
        let Entities { labels, mut list, .. } = entities;
        room.cut.label_values += labels.cut();
        if room.left.is_some() {
            list.retain(|labelled| {
                let has_sample = |row: &&Row<T>| (row.value)(&labelled.entity).is_some();
                let series = T::ROWS.iter().filter(has_sample).count();
                room.take(labelled.source, series as u64)
            });
        }
        for row in T::ROWS {
            let mut samples = list
                .iter()
                .filter_map(|labelled| {
                    let value = (row.value)(&labelled.entity)?;
                    Some((labels.get(labelled.labels), value))
                })
                .peekable();
            // A family without samples is left out, lines and all.
            if samples.peek().is_some() {
                sink.family(&row.family, &mut samples)?;
            }
        }
        Ok(())
    }
}
