//! What there is, and its numbers: all of it computed from names, tick and epoch.

use super::{Moment, Site};

/// The servers' names.
pub(super) const SERVERS: [&str; 3] = ["n1", "n2", "n3"];
/// Their names in Raft groups.
pub(super) const PEERS: [&str; 3] = ["fjFyEjc1", "44jzkV9D", "BXScrY9i"];
/// How many messages a limited stream keeps.
pub(super) const MAX_MESSAGES: u64 = 100_000;
const SECOND: u64 = 1_000_000_000;

/// A stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    /// From 1 in the whole system.
    pub(super) number: u64,
    /// If it is a mirror, the number of the stream that it mirrors.
    pub(super) mirrors: Option<u64>,
}

/// The numbers of a stream.
pub(super) struct State {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) last_time: u64,
    pub(super) subjects: u64,
}

/// The numbers of a consumer, as its leader sees them.
pub(super) struct Progress {
    pub(super) delivered: Position,
    pub(super) floor: Position,
    pub(super) outstanding: u64,
    pub(super) redelivered: u64,
    pub(super) waiting: u64,
    pub(super) pending: u64,
}

pub(super) struct Position {
    pub(super) consumer: u64,
    pub(super) stream: u64,
    /// 0 when it never moved.
    pub(super) time: u64,
}

/// What a server has.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) streams: u64,
    pub(super) streams_led: u64,
    pub(super) consumers: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Stream {
    pub(super) fn name(self) -> String {
        let kind = if self.mirrors.is_some() { "MIRROR" } else { "ORDERS" };
        format!("{kind}-{:05}", self.number)
    }

    /// A number that belongs to this stream.
    pub(super) fn hash(self) -> u64 {
        mix(self.number << 1 | u64::from(self.mirrors.is_some()))
    }

    /// A number that belongs to this consumer of it, counted from 1.
    pub(super) fn consumer_hash(self, consumer: u64) -> u64 {
        mix(self.hash() ^ consumer)
    }

    /// Every third one keeps only so much.
    pub(super) fn is_limited(self) -> bool {
        self.mirrors.is_none() && self.number.is_multiple_of(3)
    }

    pub(super) fn state(self, moment: Moment, started: u64) -> State {
        let hash = self.hash();
        let (first, last) = if let Some(origin) = self.mirrors {
            let origin = Stream { number: origin, mirrors: None };
            (1, origin.last(moment) - self.lag())
        } else {
            let last = self.last(moment);
            (if self.is_limited() { last.saturating_sub(MAX_MESSAGES) + 1 } else { 1 }, last)
        };
        let messages = last + 1 - first;
        State {
            messages,
            bytes: messages * (100 + hash % 400),
            first,
            last,
            last_time: if self.rate() == 0 { started } else { recent(hash, moment, started) },
            subjects: 1 + hash % 50,
        }
    }

    /// How far a mirror is behind.
    pub(super) fn lag(self) -> u64 {
        self.hash() % 5
    }

    /// Messages for each tick; a quarter of the streams rests.
    fn rate(self) -> u64 {
        let hash = Self { mirrors: None, number: self.mirrors.unwrap_or(self.number) }.hash();
        if hash.is_multiple_of(4) { 0 } else { 1 + (hash >> 8) % 50 }
    }

    fn last(self, moment: Moment) -> u64 {
        1000 + (self.hash() >> 16) % 200_000 + self.rate() * moment.tick
    }

    pub(super) fn progress(self, consumer: u64, moment: Moment, started: u64) -> Progress {
        let hash = self.consumer_hash(consumer);
        let state = self.state(moment, started);
        // Half of the messages have the subject of a filter.
        let share = if is_filtered(consumer) { 2 } else { 1 };
        if hash % 16 == 1 {
            return Progress {
                delivered: Position { consumer: 0, stream: 0, time: 0 },
                floor: Position { consumer: 0, stream: 0, time: 0 },
                outstanding: 0,
                redelivered: 0,
                waiting: 0,
                pending: state.messages / share,
            };
        }
        let pending = if hash.is_multiple_of(3) { (hash >> 8) % 500 } else { 0 };
        let outstanding = (hash >> 20) % 10;
        let delivered = state.last - pending;
        let time = if self.rate() == 0 { started } else { recent(hash, moment, started) };
        Progress {
            delivered: Position { consumer: delivered / share, stream: delivered, time },
            floor: Position {
                consumer: delivered / share - outstanding,
                stream: delivered - outstanding * share,
                time,
            },
            outstanding,
            redelivered: if (hash >> 30).is_multiple_of(8) { outstanding.min(2) } else { 0 },
            waiting: (hash >> 35) % 4,
            pending: pending / share,
        }
    }
}

/// Every tenth consumer has a filter.
pub(super) fn is_filtered(consumer: u64) -> bool {
    consumer.is_multiple_of(10)
}

impl Site {
    pub(super) fn is_cluster(&self) -> bool {
        self.shape.servers > 1
    }

    /// Is there a Raft group for each stream?
    pub(super) fn is_replicated(&self) -> bool {
        self.shape.replicas > 1
    }

    pub(super) fn meta_leader(&self, epoch: u64) -> Option<u64> {
        self.is_cluster().then_some(epoch % self.shape.servers)
    }

    /// Where the thing with this hash is led. With one replica it stays where it is.
    pub(super) fn leader(&self, hash: u64, epoch: u64) -> u64 {
        let turn = if self.is_replicated() { epoch } else { 0 };
        ((hash >> 3) % self.shape.servers + turn) % self.shape.servers
    }

    pub(super) fn stream_leader(&self, stream: Stream, epoch: u64) -> u64 {
        self.leader(stream.hash(), epoch)
    }

    /// A consumer is where its stream is; among three servers it may have another leader.
    pub(super) fn consumer_leader(&self, stream: Stream, consumer: u64, epoch: u64) -> u64 {
        if self.is_replicated() {
            self.leader(stream.consumer_hash(consumer), epoch)
        } else {
            self.stream_leader(stream, epoch)
        }
    }

    pub(super) fn is_held(&self, stream: Stream, server: u64) -> bool {
        self.is_replicated() || self.stream_leader(stream, 0) == server
    }

    /// Accounts are sorted by name.
    pub(super) fn account(&self, index: u64) -> String {
        let width = self.shape.accounts.to_string().len();
        if self.shape.accounts == 1 {
            "APP".to_owned()
        } else {
            format!("APP-{:0width$}", index + 1)
        }
    }

    /// How many streams an account has, mirrors included.
    pub(super) fn streams_in(&self, account: u64) -> u64 {
        let (streams, mirrors) = (self.part(self.shape.streams, account), self.mirrors_in(account));
        streams.1 - streams.0 + mirrors.1 - mirrors.0
    }

    /// The stream at this place in an account, mirrors last.
    pub(super) fn stream(&self, account: u64, place: u64) -> Stream {
        let (begin, end) = self.part(self.shape.streams, account);
        let Some(mirror) = place.checked_sub(end - begin) else {
            return Stream { number: begin + place + 1, mirrors: None };
        };
        let number = self.mirrors_in(account).0 + mirror + 1;
        Stream { number, mirrors: Some(begin + mirror % (end - begin) + 1) }
    }

    fn mirrors_in(&self, account: u64) -> (u64, u64) {
        self.part(self.shape.mirrors, account)
    }

    /// An account's share of so many things.
    fn part(&self, all: u64, account: u64) -> (u64, u64) {
        let accounts = self.shape.accounts;
        (all * account / accounts, all * (account + 1) / accounts)
    }

    /// Consumers of this stream.
    pub(super) fn consumers(&self, stream: Stream) -> u64 {
        if stream.mirrors.is_some() { 0 } else { self.shape.consumers_per_stream }
    }

    pub(super) fn account_streams(&self, account: u64) -> impl Iterator<Item = Stream> + '_ {
        (0..self.streams_in(account)).map(move |place| self.stream(account, place))
    }

    fn all_streams(&self) -> impl Iterator<Item = Stream> + '_ {
        (0..self.shape.accounts).flat_map(|account| self.account_streams(account))
    }

    pub(super) fn totals(&self, server: u64, moment: Moment) -> Totals {
        let mut totals = Totals::default();
        for stream in self.all_streams().filter(|stream| self.is_held(*stream, server)) {
            let state = stream.state(moment, self.started);
            totals.streams += 1;
            totals.streams_led += u64::from(self.stream_leader(stream, moment.epoch) == server);
            totals.consumers += self.consumers(stream);
            totals.messages += state.messages;
            totals.bytes += state.bytes;
        }
        totals
    }

    pub(super) fn consumers_led(&self, server: u64, epoch: u64) -> u64 {
        self.all_streams()
            .flat_map(|stream| (1..=self.consumers(stream)).map(move |consumer| (stream, consumer)))
            .map(|(stream, consumer)| {
                u64::from(self.consumer_leader(stream, consumer, epoch) == server)
            })
            .sum()
    }

    /// What an account stores on all servers.
    pub(super) fn account_bytes(&self, account: u64, moment: Moment) -> u64 {
        let bytes: u64 = self
            .account_streams(account)
            .map(|stream| stream.state(moment, self.started).bytes)
            .sum();
        bytes * self.shape.replicas
    }

    /// Raft groups of a server.
    pub(super) fn groups(&self, totals: &Totals) -> u64 {
        let assets = if self.is_replicated() { totals.streams + totals.consumers } else { 0 };
        assets + u64::from(self.is_cluster())
    }

    /// When the thing with this hash was made: in the hour before the servers were started.
    pub(super) fn created(&self, hash: u64) -> u64 {
        self.started - 1 - hash % (3600 * SECOND)
    }

    /// Since when the thing with this hash has its leader.
    pub(super) fn leader_since(&self, hash: u64, moment: Moment) -> u64 {
        (self.started + hash % SECOND + moment.epoch * SECOND).min(moment.now)
    }
}

/// The time of the last contact within a Raft group.
pub(super) fn last_contact(hash: u64, moment: Moment) -> u64 {
    1 + mix(hash ^ moment.tick) % (SECOND - 1)
}

/// A time less than a second ago.
fn recent(hash: u64, moment: Moment, started: u64) -> u64 {
    (moment.now - hash % SECOND).max(started)
}

/// Eight letters or digits, such as the servers choose for Raft groups.
pub(super) fn letters(mut hash: u64) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    (0..8)
        .map(|_| {
            let index = usize::try_from(hash % 62).unwrap_or_default();
            hash /= 62;
            char::from(ALPHABET[index])
        })
        .collect()
}

/// The finish of `SplitMix64`: every bit of the result depends on every bit of the number.
pub(super) fn mix(number: u64) -> u64 {
    let mut hash = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}
