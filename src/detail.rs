//! What of a detailed `/jsz` answer is kept: filters, folding of short-lived
//! consumers, and an order that does not change between requests.
//!
//! Done while an answer arrives, so that nothing else holds what nobody is shown.

pub mod book;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use self::book::Book;
use crate::background::Shared;
use crate::config::{Detail as Level, JetStream};
use crate::nats::decode::{decode_any, from_a_server};
use crate::nats::failure::{Failure, Reason};
use crate::nats::jsz::{Account, Consumer, DetailEnd, RaftGroup as _, Stream};
use crate::nats::split::{Piece, Splitter};

/// A detailed `/jsz` answer, reduced to what is shown.
#[derive(Debug, Default)]
pub struct Detail {
    /// The process that answered.
    pub server_id: Option<String>,
    /// By name and id, each id once. What they are called is for all servers together to say, see
    /// [`Assets`](crate::assets::Assets).
    pub accounts: Vec<AccountDetail>,
    /// The name of the server by which consumers that it does not lead were left out; nothing when
    /// all are here, because the name was not known.
    pub own_name: Option<String>,
    /// Accounts that the server has and did not send; nothing when it does not say how many it has.
    pub missing_accounts: Option<u64>,
    /// Consumers by what they say of their leader.
    pub consumers: Count,
    /// Streams and consumers whose configuration is not known, because they are newer than what the
    /// server was asked for last.
    pub unknown: u64,
    /// When the server was asked for the configuration that is shown; nothing when it never answered.
    pub configured_at: Option<Instant>,
}

/// An account with its streams.
#[derive(Debug, Default)]
pub struct AccountDetail {
    /// The account.
    pub account: Account,
    /// By name.
    pub streams: Vec<StreamDetail>,
}

/// A stream with its consumers.
#[derive(Debug, Default)]
pub struct StreamDetail {
    /// The stream.
    pub stream: Stream,
    /// By name. Without those that are folded, and without those that another server leads.
    pub consumers: Vec<Consumer>,
    /// All of its consumers with a replica on the server that are not filtered out.
    pub count: Count,
    /// Those that have no series of their own.
    pub folded: Vec<Folded>,
}

/// Consumers by what the answering server says of their leader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// All.
    pub all: u64,
    /// Those of a raft group whose leader is the server itself; nothing when its name was not known.
    pub led: Option<u64>,
    /// Those of a raft group for which the server names no leader.
    pub leaderless: u64,
    /// Those without a raft group: all of a standalone server, and those that a clustered one has
    /// not started.
    pub ungrouped: u64,
}

impl Count {
    /// None yet, for a server of this name.
    fn new(own_name: Option<&str>) -> Self {
        Self { led: own_name.map(|_| 0), ..Self::default() }
    }

    fn note(&mut self, consumer: &Consumer, own_name: Option<&str>) {
        self.all += 1;
        match consumer.cluster.as_deref() {
            None => self.ungrouped += 1,
            Some(group) => match group.leader() {
                None => self.leaderless += 1,
                leader => self.led = self.led.map(|led| led + u64::from(leader == own_name)),
            },
        }
    }

    fn add(&mut self, other: Self) {
        self.all += other.all;
        self.led = self.led.zip(other.led).map(|(one, other)| one + other);
        self.leaderless += other.leaderless;
        self.ungrouped += other.ungrouped;
    }

    /// Consumers that the server leads; a standalone server leads all. Nothing when that is not known.
    #[must_use]
    pub fn led(self, clustered: bool) -> Option<u64> {
        if clustered { self.led } else { Some(self.led.unwrap_or(0) + self.ungrouped) }
    }

    /// Consumers for which the server knows no leader.
    #[must_use]
    pub fn without_leader(self, clustered: bool) -> u64 {
        if clustered { self.leaderless + self.ungrouped } else { self.leaderless }
    }
}

/// Consumers of one stream and kind, added up for each server that leads some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// Why they have no series of their own.
    pub kind: FoldedKind,
    /// The sums by leader, as the answering server sees it; under nothing for those without one,
    /// which a standalone server leads.
    pub sums: BTreeMap<Option<String>, Sums>,
}

impl Folded {
    /// The sums of those that the server called `own_name` leads; a standalone server leads all.
    #[must_use]
    pub fn led(&self, own_name: &str, clustered: bool) -> Sums {
        let leads = |leader: &Option<String>| match leader.as_deref() {
            Some(leader) => leader == own_name,
            None => !clustered,
        };
        let led = self.sums.iter().filter(|(leader, _)| leads(leader));
        led.fold(Sums::default(), |all, (_, sums)| all.and(*sums))
    }
}

/// Why consumers have no series of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FoldedKind {
    /// They have no durable name: the server invents one and forgets it with the client.
    Ephemeral,
    /// They belong to MQTT sessions, one for each client and subscription.
    Mqtt,
    /// They are new: until their configuration has been asked for, they may be of either sort.
    New,
}

impl FoldedKind {
    /// The value of the `kind` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ephemeral => "ephemeral",
            Self::Mqtt => "mqtt",
            Self::New => "new",
        }
    }

    /// The kind of a consumer; nothing when it has a name that lasts.
    fn of(stream: &Stream, consumer: &Consumer) -> Option<Self> {
        if stream.name.starts_with("$MQTT_") {
            return Some(Self::Mqtt);
        }
        match &consumer.config {
            None => Some(Self::New),
            Some(config) => (!config.durable).then_some(Self::Ephemeral),
        }
    }
}

/// The numbers of several consumers, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many consumers.
    pub consumers: u64,
    /// Messages not yet delivered.
    pub pending: u64,
    /// Messages delivered and not yet acknowledged.
    pub ack_pending: u64,
    /// Messages delivered more than once and not yet acknowledged.
    pub redelivered: u64,
    /// Pull requests that wait.
    pub waiting: u64,
}

impl Sums {
    fn of(consumer: &Consumer) -> Self {
        Self {
            consumers: 1,
            pending: consumer.num_pending.unwrap_or(0),
            ack_pending: consumer.num_ack_pending.unwrap_or(0),
            redelivered: consumer.num_redelivered.unwrap_or(0),
            waiting: consumer.num_waiting.unwrap_or(0),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            consumers: self.consumers + other.consumers,
            pending: self.pending.saturating_add(other.pending),
            ack_pending: self.ack_pending.saturating_add(other.ack_pending),
            redelivered: self.redelivered.saturating_add(other.redelivered),
            waiting: self.waiting.saturating_add(other.waiting),
        }
    }
}

impl Detail {
    /// Every stream with its account, in their order.
    pub fn streams(&self) -> impl Iterator<Item = (&Account, &StreamDetail)> {
        self.accounts.iter().flat_map(|AccountDetail { account, streams }| {
            streams.iter().map(move |stream| (account, stream))
        })
    }
}

/// What a server said of itself before it is asked for the detail.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Its name, when that is known for the process that is going to answer.
    pub own_name: Option<String>,
    /// Its configuration of streams and consumers, for an answer that comes without.
    pub book: Option<Arc<Book>>,
}

/// Text that is decoded at once, in bytes.
const BATCH: usize = 128 << 10;

/// Pieces of an answer, one behind the other.
#[derive(Debug, Default)]
struct Batch {
    text: Vec<u8>,
    /// What each piece is, and where it ends.
    pieces: Vec<(Piece, usize)>,
}

/// A piece of an answer as a type.
#[derive(Debug)]
enum Decoded {
    Consumer(Consumer),
    Stream(Stream),
    Account(Account),
    Answer(DetailEnd),
}

impl Batch {
    fn decode(&self) -> Result<Vec<Decoded>, Failure> {
        let mut start = 0;
        let decode = |(piece, end): &(Piece, usize)| {
            let text = &self.text[start..*end];
            start = *end;
            Ok(match piece {
                Piece::Consumer => Decoded::Consumer(decode_any(text)?),
                Piece::Stream => Decoded::Stream(decode_any(text)?),
                Piece::Account => Decoded::Account(decode_any(text)?),
                Piece::Answer => Decoded::Answer(from_a_server(decode_any(text)?)?),
            })
        };
        self.pieces.iter().map(decode).collect()
    }
}

/// Makes a [`Detail`] of an answer that arrives in parts and, for many accounts, in pages.
#[derive(Debug)]
pub struct Reader {
    settings: JetStream,
    known: Known,
    /// Filled by an answer that has the configuration.
    learned: book::Writer,
    splitter: Splitter,
    batch: Batch,
    batches: Batches,
    consumers: Vec<Consumer>,
    streams: Vec<StreamDetail>,
    /// Accounts by name and id: pages may overlap, when accounts are made or removed meanwhile.
    accounts: BTreeMap<(String, Option<String>), AccountDetail>,
    end: Option<DetailEnd>,
    received: u64,
}

/// Batches of a page that are being decoded.
type Batches = Shared<Batch, Result<Vec<Decoded>, Failure>>;

fn batches() -> Batches {
    Shared::new(|| Box::new(|batch: Batch| batch.decode()))
}

/// Where an answer stands at the end of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Accounts that came so far, on all pages.
    pub received: u64,
    /// Accounts that came on this page.
    pub on_page: u64,
    /// Accounts that the server has; nothing when it does not say.
    pub total: Option<u64>,
}

impl Reader {
    /// A reader that keeps what `settings` allow.
    #[must_use]
    pub fn new(settings: JetStream, known: Known) -> Self {
        Self {
            settings,
            known,
            learned: book::Writer::default(),
            splitter: Splitter::default(),
            batch: Batch::default(),
            batches: batches(),
            consumers: Vec::new(),
            streams: Vec::new(),
            accounts: BTreeMap::new(),
            end: None,
            received: 0,
        }
    }

    /// Takes the next part of a page.
    ///
    /// # Errors
    /// [`Reason::Decode`] when it is not a part of such an answer.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        let Self { splitter, batch, batches, .. } = self;
        splitter.push(chunk, |piece, text| {
            batch.text.extend_from_slice(text);
            batch.pieces.push((piece, batch.text.len()));
            if batch.text.len() >= BATCH {
                let room = || Vec::with_capacity(batch.text.len());
                let next = Batch { text: room(), pieces: Vec::with_capacity(batch.pieces.len()) };
                batches.push(std::mem::replace(batch, next));
            }
        })?;
        while let Some(decoded) = self.batches.ready() {
            self.take_all(decoded?)?;
        }
        Ok(())
    }

    /// Ends a page.
    ///
    /// # Errors
    /// When the page is not whole, or comes from another process than the one before.
    pub fn end_page(&mut self) -> Result<Page, Failure> {
        std::mem::take(&mut self.splitter).finish()?;
        self.batches.push(std::mem::take(&mut self.batch));
        for decoded in std::mem::replace(&mut self.batches, batches()).finish() {
            self.take_all(decoded?)?;
        }
        let on_page = self.accounts.len() as u64 - self.received;
        self.received += on_page;
        let total = self.end.as_ref().and_then(|end| end.total);
        Ok(Page { received: self.received, on_page, total })
    }

    fn take_all(&mut self, pieces: Vec<Decoded>) -> Result<(), Failure> {
        pieces.into_iter().try_for_each(|piece| self.take(piece))
    }

    fn take(&mut self, piece: Decoded) -> Result<(), Failure> {
        match piece {
            Decoded::Consumer(mut consumer) => {
                self.learned.share_consumer(&mut consumer);
                self.consumers.push(consumer);
            }
            Decoded::Stream(mut stream) => {
                self.learned.share_stream(&mut stream);
                // Collected anew, so that each list takes no more than it needs.
                let consumers = self.consumers.drain(..).collect();
                self.streams.push(StreamDetail { stream, consumers, ..StreamDetail::default() });
            }
            Decoded::Account(account) => {
                let streams = self.streams.drain(..).collect();
                let key = (account.name.clone(), account.id.clone());
                if !self.accounts.contains_key(&key) {
                    let detail = self.reduce(account, streams);
                    self.accounts.insert(key, detail);
                }
            }
            Decoded::Answer(end) => {
                let is_other = |before: &DetailEnd| before.server_id != end.server_id;
                if self.end.as_ref().is_some_and(is_other) {
                    let text = "the server was restarted between two pages of its accounts";
                    return Err(Failure::new(Reason::Truncated, text));
                }
                self.end = Some(end);
            }
        }
        Ok(())
    }

    /// Keeps what is shown of an account. One that is not shown counts as received all the same.
    fn reduce(&mut self, account: Account, mut streams: Vec<StreamDetail>) -> AccountDetail {
        if !self.settings.accounts.allows(&account.name) {
            return AccountDetail { account, streams: Vec::new() };
        }
        streams.retain(|detail| self.settings.streams.allows(&detail.stream.name));
        streams.sort_by(|a, b| a.stream.name.cmp(&b.stream.name));
        streams.dedup_by(|a, b| a.stream.name == b.stream.name);
        for stream in &mut streams {
            stream.consumers.retain(|consumer| self.settings.consumers.allows(&consumer.name));
            stream.consumers.sort_by(|a, b| a.name.cmp(&b.name));
            stream.consumers.dedup_by(|a, b| a.name == b.name);
        }
        self.learned.note(account.key(), &streams);
        if let Some(book) = &self.known.book {
            book.complete(account.key(), &mut streams);
        }
        for stream in &mut streams {
            self.reduce_consumers(stream);
        }
        streams.shrink_to_fit();
        AccountDetail { account, streams }
    }

    /// Counts and folds the consumers of one stream, and drops those that others speak for.
    fn reduce_consumers(&self, detail: &mut StreamDetail) {
        let StreamDetail { stream, consumers, count, folded } = detail;
        let own_name = self.known.own_name.as_deref();
        *count = Count::new(own_name);
        let mut kinds: BTreeMap<FoldedKind, BTreeMap<Option<String>, Sums>> = BTreeMap::new();
        consumers.retain_mut(|consumer| {
            count.note(consumer, own_name);
            let leader = consumer.cluster.as_ref().and_then(|group| group.leader());
            if self.settings.fold_ephemeral_consumers
                && let Some(kind) = FoldedKind::of(stream, consumer)
            {
                let sums = kinds.entry(kind).or_default().entry(leader.map(str::to_owned));
                let sums = sums.or_default();
                *sums = sums.and(Sums::of(consumer));
                return false;
            }
            if self.settings.detail >= Level::All {
                return true;
            }
            let led_elsewhere = leader.is_some() && own_name.is_some() && leader != own_name;
            if let Some(group) = &mut consumer.cluster {
                group.replicas = Vec::new();
            }
            !led_elsewhere
        });
        consumers.shrink_to_fit();
        *folded = kinds.into_iter().map(|(kind, sums)| Folded { kind, sums }).collect();
    }

    /// What came, and the configuration that came with it.
    ///
    /// # Errors
    /// When no page came whole.
    pub fn finish(self) -> Result<(Detail, Book), Failure> {
        let Some(end) = self.end else {
            return Err(Failure::new(Reason::Truncated, "no page of the answer is whole"));
        };
        let mut detail = Detail {
            server_id: end.server_id,
            consumers: Count::new(self.known.own_name.as_deref()),
            own_name: self.known.own_name,
            missing_accounts: end.total.map(|total| total.saturating_sub(self.received)),
            ..Detail::default()
        };
        let mut keys = BTreeSet::new();
        for ((name, _), account) in self.accounts {
            if self.settings.accounts.allows(&name) && keys.insert(account.account.key().to_owned())
            {
                detail.accounts.push(account);
            }
        }
        for stream in detail.accounts.iter().flat_map(|account| &account.streams) {
            detail.consumers.add(stream.count);
            detail.unknown += u64::from(stream.stream.config.is_none());
            // New ones are folded, so what is here and has no configuration was not to be folded.
            let new = stream.folded.iter().filter(|folded| folded.kind == FoldedKind::New);
            let new = new.flat_map(|folded| folded.sums.values()).map(|sums| sums.consumers);
            let plain = stream.consumers.iter().filter(|consumer| consumer.config.is_none());
            detail.unknown += new.sum::<u64>() + plain.count() as u64;
        }
        Ok((detail, self.learned.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Filter;
    use regex::Regex;
    use std::time::Duration;

    fn settings() -> JetStream {
        JetStream {
            detail: Level::Consumers,
            detail_interval: Duration::ZERO,
            detail_max_age: Duration::ZERO,
            config_interval: Duration::ZERO,
            fold_ephemeral_consumers: true,
            accounts: Filter::default(),
            streams: Filter::default(),
            consumers: Filter::default(),
            stream_metadata_labels: Vec::new(),
            consumer_metadata_labels: Vec::new(),
        }
    }

    const ANSWER: &str = r#"{"server_id":"A","total":3,"account_details":[
        {"name":"B","stream_detail":[{"name":"$MQTT_msgs","consumer_detail":[
          {"name":"x1","config":{"durable_name":"x1"},"num_pending":4}]}]},
        {"name":"A","stream_detail":[
          {"name":"S2"},
          {"name":"S1","config":{},"consumer_detail":[
            {"name":"z","config":{"durable_name":"z"},
             "cluster":{"leader":"n1","replicas":[{"name":"n2"}]}},
            {"name":"a","config":{"durable_name":"a"}},
            {"name":"e1","config":{},"cluster":{"leader":"n1"},"num_pending":1,"num_waiting":2},
            {"name":"e2","config":{},"cluster":{"leader":"n1"},"num_pending":2},
            {"name":"e3","config":{},"cluster":{"leader":"n2"},"num_pending":9}]}]}]}"#;

    fn read_pages(pages: &[&str], settings: JetStream, known: Known) -> (Detail, Book) {
        let mut reader = Reader::new(settings, known);
        for page in pages {
            for chunk in page.as_bytes().chunks(100) {
                reader.push(chunk).unwrap();
            }
            reader.end_page().unwrap();
        }
        reader.finish().unwrap()
    }

    fn read(body: &str, settings: JetStream) -> Detail {
        read_pages(&[body], settings, Known::default()).0
    }

    fn names(detail: &Detail) -> Vec<String> {
        let mut names = Vec::new();
        for (account, StreamDetail { stream, consumers, .. }) in detail.streams() {
            let name =
                |consumer: &Consumer| format!("{}/{}/{}", account.name, stream.name, consumer.name);
            names.extend(consumers.iter().map(name));
        }
        names
    }

    fn folded(detail: &Detail) -> Vec<(&'static str, Option<&str>, u64, u64)> {
        let all = detail.streams().flat_map(|(_, stream)| &stream.folded);
        all.flat_map(|Folded { kind, sums }| {
            let sums = sums.iter();
            sums.map(|(leader, s)| (kind.as_str(), leader.as_deref(), s.consumers, s.pending))
        })
        .collect()
    }

    #[test]
    fn folds_short_lived_consumers_by_leader() {
        let detail = read(ANSWER, settings());
        assert_eq!(names(&detail), ["A/S1/a", "A/S1/z"]);
        assert_eq!(detail.missing_accounts, Some(1));
        assert_eq!(
            folded(&detail),
            [
                ("ephemeral", Some("n1"), 2, 3),
                ("ephemeral", Some("n2"), 1, 9),
                ("mqtt", None, 1, 4)
            ]
        );
    }

    #[test]
    fn replicas_of_consumers_are_kept_at_their_level_only() {
        let replicas = |level| {
            let detail = read(ANSWER, JetStream { detail: level, ..settings() });
            let z = &detail.accounts[0].streams[0].consumers[1];
            z.cluster.as_ref().unwrap().replicas.len()
        };
        assert_eq!(replicas(Level::Consumers), 0);
        assert_eq!(replicas(Level::All), 1);
    }

    #[test]
    fn consumers_that_others_lead_are_counted_and_left_out() {
        let settings = JetStream { fold_ephemeral_consumers: false, ..settings() };
        let known = |name: &str| Known { own_name: Some(name.to_owned()), book: None };
        for (name, kept, led) in [("n1", 4, 3), ("n2", 2, 1), ("n9", 1, 0)] {
            let (detail, _) = read_pages(&[ANSWER], settings.clone(), known(name));
            let stream = &detail.accounts[0].streams[0];
            assert_eq!(stream.consumers.len(), kept, "{name}");
            let count = Count { all: 5, led: Some(led), leaderless: 0, ungrouped: 1 };
            assert_eq!(stream.count, count, "{name}");
        }
        let nameless = read(ANSWER, settings.clone());
        let count = nameless.accounts[0].streams[0].count;
        assert_eq!((count.all, count.led(true), count.led(false)), (5, None, Some(1)));
        let all = JetStream { detail: Level::All, ..settings };
        let (detail, _) = read_pages(&[ANSWER], all, known("n9"));
        assert_eq!(detail.accounts[0].streams[0].consumers.len(), 5);
    }

    #[test]
    fn an_account_that_comes_twice_is_there_once() {
        let body = r#"{"server_id":"S","account_details":[
            {"name":"B","id":"K2"},{"name":"A","id":"K1"},{"name":"B","id":"K3"},{"name":"C","id":"K1"},
            {"name":"D"},{"name":"E","id":""}]}"#;
        let detail = read(body, settings());
        let keys: Vec<_> = detail.accounts.iter().map(|a| a.account.key()).collect();
        assert_eq!(keys, ["K1", "K2", "K3", "D", "E"]);
    }

    #[test]
    fn filters_apply_at_each_depth() {
        let filter = |include: &str| Filter {
            include: vec![Regex::new(&format!("^(?:{include})$")).unwrap()],
            exclude: Vec::new(),
        };
        let base = settings();
        let only = |settings: JetStream| names(&read(ANSWER, settings));
        let unfolded = JetStream { fold_ephemeral_consumers: false, ..base.clone() };
        assert_eq!(only(unfolded).len(), 6);
        assert!(only(JetStream { accounts: filter("B"), ..base.clone() }).is_empty());
        assert!(only(JetStream { streams: filter("S2"), ..base.clone() }).is_empty());
        assert_eq!(only(JetStream { consumers: filter("z|e.*"), ..base }), ["A/S1/z"]);
    }

    /// Twice the same name in one list would be twice the same series.
    #[test]
    fn what_comes_twice_is_there_once() {
        let body = r#"{"server_id":"S","account_details":[{"name":"A","stream_detail":[
            {"name":"S","config":{},"consumer_detail":[
                {"name":"c","num_pending":1},{"name":"c","num_pending":2},
                {"name":"b","priority_groups":[{"group":"g"},{"group":"g"}],
                 "cluster":{"replicas":[{"name":"n1","lag":1},{"name":"n2"},{"name":"n1"}]}}]},
            {"name":"S","config":{}}]}]}"#;
        let all = JetStream { detail: Level::All, fold_ephemeral_consumers: false, ..settings() };
        let detail = read(body, all);
        assert_eq!(names(&detail), ["A/S/b", "A/S/c"]);
        let consumer = &detail.accounts[0].streams[0].consumers[0];
        assert_eq!(consumer.priority_groups.len(), 1);
        let replicas = &consumer.cluster.as_ref().unwrap().replicas;
        let replicas: Vec<_> = replicas.iter().map(|r| (r.name.as_str(), r.lag)).collect();
        assert_eq!(replicas, [("n1", 1), ("n2", 0)]);
    }

    #[test]
    fn pages_are_put_together_and_overlaps_count_once() {
        let page = |accounts: &str, total: u64| {
            let accounts = accounts.split(' ').map(|name| format!(r#"{{"name":"{name}"}}"#));
            let accounts: Vec<_> = accounts.collect();
            format!(
                r#"{{"server_id":"S","account_details":[{}],"total":{total}}}"#,
                accounts.join(",")
            )
        };
        let (one, two) = (page("A B", 4), page("B C", 4));
        let mut reader = Reader::new(settings(), Known::default());
        reader.push(one.as_bytes()).unwrap();
        let first = reader.end_page().unwrap();
        assert_eq!(first, Page { received: 2, on_page: 2, total: Some(4) });
        reader.push(two.as_bytes()).unwrap();
        assert_eq!(reader.end_page().unwrap(), Page { received: 3, on_page: 1, total: Some(4) });
        let (detail, _) = reader.finish().unwrap();
        assert_eq!((detail.accounts.len(), detail.missing_accounts), (3, Some(1)));

        let mut reader = Reader::new(settings(), Known::default());
        reader.push(one.as_bytes()).unwrap();
        reader.end_page().unwrap();
        reader.push(two.replace("\"S\"", "\"T\"").as_bytes()).unwrap();
        let failure = reader.end_page().unwrap_err();
        assert!(failure.message.contains("restarted"), "{failure}");
    }

    const CONFIGURED: &str = r#"{"server_id":"S","account_details":[{"name":"A","stream_detail":[
        {"name":"S","created":"2026-01-01T00:00:00Z","config":{"max_msgs":7},"consumer_detail":[
          {"name":"b","created":"2026-01-01T00:00:01Z","config":{"durable_name":"b"}},
          {"name":"e","created":"2026-01-01T00:00:01Z","config":{}},
          {"name":"a","created":"2026-01-01T00:00:01Z","config":{"durable_name":"a"}}]}]}]}"#;

    /// Reads `CONFIGURED`, then `change` of it without any configuration.
    fn later(change: impl Fn(String) -> String) -> Detail {
        let (first, book) = read_pages(&[CONFIGURED], settings(), Known::default());
        assert_eq!(first.unknown, 0);
        let bare = Regex::new(r#","config":\{[^}]*\}"#).unwrap().replace_all(CONFIGURED, "");
        let known = Known { own_name: None, book: Some(Arc::new(book)) };
        read_pages(&[&change(bare.into_owned())], settings(), known).0
    }

    #[test]
    fn configuration_is_kept_for_what_is_still_the_same() {
        let detail = later(|body| body);
        assert_eq!((names(&detail), detail.unknown), (vec!["A/S/a".into(), "A/S/b".into()], 0));
        assert_eq!(folded(&detail), [("ephemeral", None, 1, 0)]);
        let config = detail.accounts[0].streams[0].stream.config.as_ref().unwrap();
        assert_eq!(config.max_msgs, Some(7));
    }

    #[test]
    fn what_is_made_anew_does_not_show_the_configuration_of_its_predecessor() {
        let detail = later(|body| body.replace("00:00:00Z", "00:00:09Z"));
        assert!(detail.accounts[0].streams[0].stream.config.is_none(), "a new stream");
        assert_eq!((names(&detail).len(), detail.unknown), (2, 1));

        let detail = later(|body| {
            body.replacen(
                r#""b","created":"2026-01-01T00:00:01Z""#,
                r#""b","created":"2026-01-01T00:00:09Z""#,
                1,
            )
        });
        assert_eq!((names(&detail), detail.unknown), (vec!["A/S/a".to_owned()], 1));
        assert_eq!(folded(&detail), [("ephemeral", None, 1, 0), ("new", None, 1, 0)]);

        let detail = later(|body| body.replace(r#","created":"2026-01-01T00:00:01Z""#, ""));
        assert_eq!(detail.unknown, 3, "no time of creation, no configuration");
        let detail = later(|body| body.replace(r#""name":"A""#, r#""name":"B""#));
        assert_eq!(detail.unknown, 4, "another account");
    }

    /// The number of replicas is what tells a single replica from a stream that was not started.
    #[test]
    fn a_stream_of_another_size_does_not_show_the_configuration_that_it_had_before() {
        let body = |config: &str, leader: &str, others: &[&str]| {
            let others: Vec<_> = others.iter().map(|n| format!(r#"{{"name":"{n}"}}"#)).collect();
            format!(
                r#"{{"server_id":"S","account_details":[{{"name":"A","stream_detail":[
                {{"name":"S","created":"2026-01-01T00:00:00Z"{config},
                  "cluster":{{"leader":"{leader}","replicas":[{}]}}}}]}}]}}"#,
                others.join(",")
            )
        };
        let read_with = |body: &str, book| {
            let (detail, book) =
                read_pages(&[body], settings(), Known { own_name: Some("n1".to_owned()), book });
            let stream = &detail.accounts[0].streams[0].stream;
            ((stream.leads("n1", true), stream.leader_known(true), detail.unknown), Arc::new(book))
        };
        let three = r#","config":{"num_replicas":3}"#;
        let (first, book) = read_with(&body(three, "n1", &["n2", "n3"]), None);
        assert_eq!(first, (Some(true), true, 0));
        let later = |leader: &str, others: &[&str]| {
            read_with(&body("", leader, others), Some(Arc::clone(&book))).0
        };
        assert_eq!(later("n1", &["n2", "n3"]), (Some(true), true, 0));
        assert_eq!(later("n2", &["n2", "n3"]), (Some(false), true, 0), "another leads");
        assert_eq!(later("", &["n1", "n2", "n3"]), (Some(false), false, 0), "nobody leads");
        assert_eq!(later("n1", &["n2"]), (Some(true), true, 1), "smaller");
        assert_eq!(later("n1", &[]), (None, true, 1), "one replica, or not started");

        let (unstarted, book) = read_with(&body(three, "n1", &[]), None);
        let later = read_with(&body("", "n1", &[]), Some(book)).0;
        assert_eq!((unstarted, later), ((Some(false), false, 0), unstarted));
    }

    #[test]
    fn equal_configurations_are_held_once() {
        let same = r#"{"server_id":"S","account_details":[{"name":"A","stream_detail":[
            {"name":"S","config":{},"consumer_detail":[
              {"name":"a","config":{"durable_name":"a","ack_policy":"explicit"}},
              {"name":"b","config":{"durable_name":"b","ack_policy":"explicit"}}]}]}]}"#;
        let detail = read(same, settings());
        let consumers = &detail.accounts[0].streams[0].consumers;
        let config = |at: usize| consumers[at].config.as_ref().unwrap();
        assert!(Arc::ptr_eq(config(0), config(1)));
    }
}
