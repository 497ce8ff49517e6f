//! Streams and consumers of the servers that were asked together: which server speaks for which of them.
//!
//! What is here depends on nothing but the details that the servers sent, so scrapes with the same
//! details share it, and what is made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::config::Config;
use crate::detail::{AccountDetail, Detail, StreamDetail};
use crate::flight::Reading;
use crate::nats::jsz::{Account, Consumer, Group, Stream};
use crate::nats::time::Timestamp;
use crate::snapshot::Identity;

/// As many accounts, streams and consumers are handled where they are needed. More go to a thread of their own.
const FEW: u64 = 200;

/// The details of the servers that were asked.
#[derive(Debug)]
pub struct Assets {
    /// One for each server whose detail can be shown.
    pub sources: Vec<Source>,
    /// The configuration by which the servers were asked.
    pub config: Arc<Config>,
    led: OnceLock<Led>,
    /// By cluster, the names of accounts that do not tell which account it is.
    shared_names: OnceLock<BTreeMap<String, BTreeSet<String>>>,
}

/// The detail of one server.
#[derive(Debug)]
pub struct Source {
    /// Which snapshot of the scrape it is from.
    pub at: usize,
    /// The labels of the server.
    pub identity: Identity,
    /// The name under which the server leads what it leads; nothing when it is not known for sure.
    pub own_name: Option<String>,
    /// Whether JetStream of the server is clustered.
    pub clustered: bool,
    /// What the server said.
    pub detail: Arc<Reading<Detail>>,
}

impl Source {
    /// What the server said.
    #[must_use]
    pub fn detail(&self) -> &Detail {
        &self.detail.value
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.detail, &other.detail)
            && self.at == other.at
            && self.identity == other.identity
            && self.own_name == other.own_name
            && self.clustered == other.clustered
    }
}

/// A stream as its leader reports it.
#[derive(Debug, Clone, Copy)]
pub struct LedStream<'s> {
    /// The leader.
    pub source: &'s Source,
    /// The leader's name.
    pub own_name: &'s str,
    /// What the account is called.
    pub account: &'s str,
    /// The stream.
    pub stream: &'s Stream,
}

/// A consumer as its leader reports it.
#[derive(Debug, Clone, Copy)]
pub struct LedConsumer<'s> {
    /// The stream, as the leader of the consumer reports it.
    pub stream: LedStream<'s>,
    /// The consumer.
    pub consumer: &'s Consumer,
}

/// Where a stream stands: source, account, stream.
#[derive(Debug, Clone, Copy)]
struct StreamAt(usize, usize, usize);

/// Where a consumer stands: its stream, and which of its consumers.
#[derive(Debug, Clone, Copy)]
struct ConsumerAt(StreamAt, usize);

/// The places of what has a leader, by cluster, account, stream and consumer.
#[derive(Debug, Default)]
struct Led {
    streams: Vec<StreamAt>,
    consumers: Vec<ConsumerAt>,
}

impl Assets {
    /// Puts the details together. Leaders are looked for when they are needed first.
    #[must_use]
    pub fn new(sources: Vec<Source>, config: Arc<Config>) -> Self {
        Self { sources, config, led: OnceLock::new(), shared_names: OnceLock::new() }
    }

    /// Whether they are written in less than a millisecond.
    #[must_use]
    pub fn are_few(&self) -> bool {
        let counts = self.sources.iter().map(|source| {
            let Detail { accounts, consumers, .. } = source.detail();
            let streams = accounts.iter().map(|account| account.streams.len()).sum::<usize>();
            (accounts.len() + streams) as u64 + consumers.all
        });
        counts.sum::<u64>() <= FEW
    }

    /// Every stream whose leader was asked, once, as that leader reports it.
    pub fn led_streams(&self) -> impl Iterator<Item = LedStream<'_>> {
        self.led().streams.iter().filter_map(|at| self.led_stream(*at))
    }

    /// Every consumer whose leader was asked, once, as that leader reports it.
    pub fn led_consumers(&self) -> impl Iterator<Item = LedConsumer<'_>> {
        self.led().consumers.iter().filter_map(|ConsumerAt(at, consumer)| {
            let consumer = &self.stream(*at).consumers[*consumer];
            Some(LedConsumer { stream: self.led_stream(*at)?, consumer })
        })
    }

    /// What an account of `source` is called: by its name, or by its id where another account of the cluster has the
    /// same name, or has the name for an id. Servers know different accounts, so none of them can tell by itself.
    #[must_use]
    pub fn account_label<'a>(&self, source: &Source, account: &'a Account) -> &'a str {
        let shared = self.shared_names.get_or_init(|| self.find_shared_names());
        let shared = shared.get(&source.identity.cluster);
        let is_shared = shared.is_some_and(|names| names.contains(&account.name));
        if is_shared { account.key() } else { &account.name }
    }

    /// The streams of `source`, each with what its account is called.
    pub fn streams<'a>(
        &'a self,
        source: &'a Source,
    ) -> impl Iterator<Item = (&'a str, &'a StreamDetail)> {
        let streams = source.detail().streams();
        streams.map(|(account, stream)| (self.account_label(source, account), stream))
    }

    fn find_shared_names(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut clusters: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
        for source in &self.sources {
            let accounts = source.detail().accounts.iter().map(|detail| &detail.account);
            let known = clusters.entry(&source.identity.cluster).or_default();
            known.extend(accounts.map(|account| (&*account.name, account.key())));
        }
        let shared = |known: &BTreeSet<(&str, &str)>| -> BTreeSet<String> {
            let keys: BTreeSet<&str> = known.iter().map(|(_, key)| *key).collect();
            let same = known.iter().zip(known.iter().skip(1)).filter(|(one, next)| one.0 == next.0);
            let ids = known.iter().filter(|(name, key)| name != key && keys.contains(name));
            same.map(|(one, _)| one).chain(ids).map(|(name, _)| (*name).to_owned()).collect()
        };
        let shared = clusters.iter().map(|(cluster, known)| ((*cluster).to_owned(), shared(known)));
        shared.filter(|(_, names)| !names.is_empty()).collect()
    }

    fn led(&self) -> &Led {
        self.led.get_or_init(|| self.elect())
    }

    fn account(&self, StreamAt(source, account, _): StreamAt) -> &AccountDetail {
        &self.sources[source].detail().accounts[account]
    }

    fn stream(&self, at: StreamAt) -> &StreamDetail {
        &self.account(at).streams[at.2]
    }

    fn led_stream(&self, at: StreamAt) -> Option<LedStream<'_>> {
        let source = &self.sources[at.0];
        Some(LedStream {
            source,
            own_name: source.own_name.as_deref()?,
            account: self.account_label(source, &self.account(at).account),
            stream: &self.stream(at).stream,
        })
    }

    /// Streams by cluster, account and name, with the places of their replicas.
    fn replicas(&self) -> BTreeMap<[&str; 3], Vec<StreamAt>> {
        let mut replicas: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (at, source) in self.sources.iter().enumerate() {
            for (account_at, AccountDetail { account, streams }) in
                source.detail().accounts.iter().enumerate()
            {
                for (stream_at, StreamDetail { stream, .. }) in streams.iter().enumerate() {
                    let account = self.account_label(source, account);
                    let key = [&*source.identity.cluster, account, &*stream.name];
                    let place = StreamAt(at, account_at, stream_at);
                    replicas.entry(key).or_default().push(place);
                }
            }
        }
        replicas
    }

    fn elect(&self) -> Led {
        let mut led = Led::default();
        for places in self.replicas().into_values() {
            let claims = places.iter().filter_map(|at| {
                let (source, stream) = (&self.sources[at.0], &self.stream(*at).stream);
                let leads = stream.leads(source.own_name.as_deref()?, source.clustered)?;
                leads.then(|| (Claim::of(stream.cluster.as_ref(), stream.state.last_seq), *at))
            });
            led.streams.extend(strongest(claims));
            self.elect_consumers(&places, &mut led.consumers);
        }
        led
    }

    /// Finds who speaks for the consumers of one stream.
    fn elect_consumers(&self, places: &[StreamAt], led: &mut Vec<ConsumerAt>) {
        let mut claims = Vec::new();
        for at in places {
            let Source { own_name: Some(own_name), clustered, .. } = &self.sources[at.0] else {
                continue;
            };
            for (place, consumer) in self.stream(*at).consumers.iter().enumerate() {
                if consumer.leads(own_name, *clustered) {
                    let progress = consumer.delivered.consumer_seq;
                    let claim = Claim::of(consumer.cluster.as_deref(), progress);
                    claims.push((&*consumer.name, claim, ConsumerAt(*at, place)));
                }
            }
        }
        // Each server's are sorted already, which makes this quick. It keeps the order of equal ones.
        claims.sort_by_key(|(name, ..)| *name);
        for same in claims.chunk_by(|(one, ..), (other, ..)| one == other) {
            led.extend(strongest(same.iter().map(|(_, claim, place)| (*claim, *place))));
        }
    }
}

/// How strong a claim to lead is, for the seconds in which two servers claim the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claim {
    pub(crate) since: Option<Timestamp>,
    pub(crate) progress: Option<u64>,
}

impl Claim {
    fn of(group: Option<&Group>, progress: Option<u64>) -> Self {
        Self { since: group.and_then(|group| group.leader_since), progress }
    }
}

/// The place of the strongest claim; of equal ones that of the first.
pub(crate) fn strongest<P>(claims: impl Iterator<Item = (Claim, P)>) -> Option<P> {
    let stronger =
        |best: (Claim, P), other: (Claim, P)| if best.0 < other.0 { other } else { best };
    claims.reduce(stronger).map(|(_, place)| place)
}

/// The assets that scrapes use now.
#[derive(Debug, Default)]
pub struct Pool(Mutex<Vec<Weak<Assets>>>);

impl Pool {
    /// Those made of the same details when somebody uses them, else new ones.
    pub fn get(&self, assets: Assets) -> Arc<Assets> {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pool.retain(|used| used.strong_count() > 0);
        let same = |used: &Assets| {
            Arc::ptr_eq(&used.config, &assets.config)
                && used.sources.len() == assets.sources.len()
                && used.sources.iter().zip(&assets.sources).all(|(one, other)| one.is_same(other))
        };
        if let Some(used) = pool.iter().filter_map(Weak::upgrade).find(|used| same(used)) {
            return used;
        }
        let assets = Arc::new(assets);
        pool.push(Arc::downgrade(&assets));
        assets
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use clap::Parser as _;
    use tokio::time::Instant;

    use super::*;
    use crate::cli::Cli;
    use crate::detail::{Known, Reader};

    /// A server that leads a stream in each account; accounts are names and ids, with blanks between.
    fn source(config: &Config, cluster: &str, server: &str, accounts: &str) -> Source {
        let accounts = accounts.split(' ').map(|account| {
            let (name, id) = account.split_once('=').unwrap();
            format!(
                r#"{{"name":"{name}","id":"{id}","stream_detail":[{{"name":"S","cluster":
                {{"leader":"{server}","replicas":[{{"name":"other"}}]}}}}]}}"#
            )
        });
        let accounts: Vec<_> = accounts.collect();
        let answer = format!(r#"{{"server_id":"ID","account_details":[{}]}}"#, accounts.join(","));
        let known = Known { own_name: Some(server.to_owned()), book: None };
        let mut reader = Reader::new(config.jetstream.clone(), known);
        reader.push(answer.as_bytes()).unwrap();
        reader.end_page().unwrap();
        let (value, _) = reader.finish().unwrap();
        let (at, started, elapsed) = (SystemTime::now(), Instant::now(), Duration::ZERO);
        Source {
            at: 0,
            identity: Identity { cluster: cluster.to_owned(), server: server.to_owned() },
            own_name: Some(server.to_owned()),
            clustered: true,
            detail: Arc::new(Reading { value, at, started, elapsed }),
        }
    }

    /// The led streams by cluster and account, with their leader.
    fn led(servers: &[(&str, &str, &str)]) -> Vec<String> {
        let flags = Cli::parse_from(["nats-exporter"]).flags;
        let config = Config::load(&flags, std::iter::empty::<(String, String)>()).unwrap();
        let sources = servers
            .iter()
            .map(|(cluster, server, accounts)| source(&config, cluster, server, accounts));
        let assets = Assets::new(sources.collect(), Arc::new(config.clone()));
        let label = |led: LedStream<'_>| {
            format!("{} {} {}", led.source.identity.cluster, led.account, led.own_name)
        };
        assets.led_streams().map(label).collect()
    }

    #[test]
    fn accounts_with_one_name_are_called_by_their_ids_on_every_server() {
        let servers = [
            ("C", "n1", "app=K1 sys=K9"),
            ("C", "n2", "app=K2"),
            ("C", "n3", "app=K3 app=K2"),
            ("D", "m1", "app=K2"),
        ];
        let expected = ["C K1 n1", "C K2 n2", "C K3 n3", "C sys n1", "D app m1"];
        assert_eq!(led(&servers), expected);
    }

    #[test]
    fn no_account_passes_for_another() {
        let servers = [("C", "n1", "K2=K1 K3=K3"), ("C", "n2", "app=K2 liar=K3")];
        let found = led(&servers);
        assert_eq!(found, ["C K1 n1", "C K3 n1", "C app n2", "C liar n2"]);
    }
}
