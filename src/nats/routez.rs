//! `/routez`: the connections to the other servers of the cluster, and what
//! they add up to for each of those servers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use super::decode::{Answer, Body, null_is_default};
use super::time::{GoDuration, Timestamp, duration_text, instant};

/// Most names of peers that are remembered after they are gone, and most bytes of them. No cluster comes near.
const MOST_NAMES: usize = 1_000;
const MOST_BYTES: usize = 1 << 20;

/// The answer of `/routez`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // The fields carry the names of the endpoint.
pub struct Routez {
    pub server_id: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub routes: Vec<Connection>,
    /// What went over all connections to each remote server so far, those included that are closed;
    /// not from the server, see [`Ledger`].
    #[serde(skip)]
    pub traffic: BTreeMap<String, Traffic>,
}

/// One TCP connection to another server. There are several for each server from 2.10 on.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Connection {
    pub rid: Option<u64>,
    pub remote_id: Option<String>,
    /// From 2.9.16; equal to the id when the remote server has no configured name.
    pub remote_name: Option<String>,
    /// The address that the remote server has here.
    pub ip: Option<String>,
    #[serde(deserialize_with = "instant")]
    pub start: Option<Timestamp>,
    #[serde(deserialize_with = "duration_text")]
    pub rtt: Option<GoDuration>,
    pub pending_size: Option<u64>,
    pub in_msgs: Option<u64>,
    pub out_msgs: Option<u64>,
    pub in_bytes: Option<u64>,
    pub out_bytes: Option<u64>,
    pub subscriptions: Option<u64>,
}

impl Answer for Routez {
    fn server_id(&self) -> Option<&str> {
        self.server_id.as_deref()
    }
}

impl Body for Routez {
    const KNOWN: &'static [&'static str] = &[
        "server_name",
        "now",
        "import.**",
        "export.**",
        "num_routes",
        "routes.*.did_solicit",
        "routes.*.is_configured",
        "routes.*.port",
        "routes.*.last_activity",
        "routes.*.uptime",
        "routes.*.idle",
        "routes.*.import.**",
        "routes.*.export.**",
        "routes.*.account",
        "routes.*.compression",
        "routes.*.subscriptions_list.**",
        "routes.*.subscriptions_list_detail.**",
    ];
}

/// All connections to one other server, added up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Remote {
    /// TCP connections.
    pub connections: u64,
    /// Bytes waiting to be written.
    pub pending_bytes: u64,
    /// Longest round trip that was measured, in seconds; nothing when none was.
    pub rtt_seconds: Option<f64>,
    /// When the newest connection was made.
    pub newest_start: Option<Timestamp>,
    /// Interest that the remote server has announced.
    pub subscriptions: u64,
}

impl Routez {
    /// How many different servers are connected.
    ///
    /// By name where there is one: a server that came back has a new id, while the connections of
    /// the old one may linger.
    #[must_use]
    pub fn peers(&self) -> u64 {
        let name = |c: &'_ Connection| c.remote_name.clone().or_else(|| c.remote_id.clone());
        self.routes.iter().filter_map(name).collect::<BTreeSet<_>>().len() as u64
    }

    /// When the newest connection to any server was made.
    #[must_use]
    pub fn newest_start(&self) -> Option<Timestamp> {
        self.routes.iter().filter_map(|c| c.start).max()
    }

    /// The connected servers by name.
    ///
    /// Servers without a name of their own (before 2.9.16, or not configured) are left out: their
    /// id is new at every start and cannot be a label. [`Routez::peers`] counts them.
    #[must_use]
    pub fn remotes(&self) -> BTreeMap<&str, Remote> {
        let mut remotes: BTreeMap<&str, Remote> = BTreeMap::new();
        for connection in &self.routes {
            if let Some(name) = connection.remote() {
                remotes.entry(name).or_default().add(connection);
            }
        }
        remotes
    }

    /// Forgets the peers that are gone when there are too many: a server that invents names must not
    /// fill the memory.
    pub fn bound<T>(&self, peers: &mut BTreeMap<String, T>) {
        let bytes: usize = peers.keys().map(String::len).sum();
        if peers.len() > MOST_NAMES || bytes > MOST_BYTES {
            let connected = self.remotes();
            peers.retain(|name, _| connected.contains_key(name.as_str()));
        }
    }
}

impl Connection {
    /// The configured name of the remote server.
    fn remote(&self) -> Option<&str> {
        self.remote_name.as_deref().filter(|name| self.remote_id.as_deref() != Some(*name))
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            in_messages: self.in_msgs.unwrap_or(0),
            in_bytes: self.in_bytes.unwrap_or(0),
            out_messages: self.out_msgs.unwrap_or(0),
            out_bytes: self.out_bytes.unwrap_or(0),
        }
    }
}

/// What went over one or several connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Traffic {
    pub in_messages: u64,
    pub in_bytes: u64,
    pub out_messages: u64,
    pub out_bytes: u64,
}

impl Traffic {
    fn combine(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            in_messages: with(self.in_messages, other.in_messages),
            in_bytes: with(self.in_bytes, other.in_bytes),
            out_messages: with(self.out_messages, other.out_messages),
            out_bytes: with(self.out_bytes, other.out_bytes),
        }
    }
}

/// Adds up the traffic of route connections over their ends.
///
/// A connection takes its counts with it when it closes, so a sum over the open ones may go down
/// while messages flow, and `rate` would take that for a restart. So the ledger starts at zero when
/// it sees a server first, and adds what each answer has more than the one before it; a server that
/// is restarted starts its connections at zero, so their counts are taken whole.
#[derive(Debug, Default)]
pub struct Ledger {
    server_id: Option<String>,
    open: HashMap<u64, Traffic>,
    total: BTreeMap<String, Traffic>,
}

impl Ledger {
    /// Adds what an answer has more than the one before it.
    pub fn enter(&mut self, answer: &mut Routez) {
        let first = self.server_id.is_none();
        if self.server_id != answer.server_id {
            *self = Self { server_id: answer.server_id.clone(), ..Self::default() };
        }
        let mut open = HashMap::with_capacity(answer.routes.len());
        for connection in &answer.routes {
            let (Some(name), Some(rid)) = (connection.remote(), connection.rid) else { continue };
            let now = connection.traffic();
            let unseen = if first { now } else { Traffic::default() };
            let before = self.open.get(&rid).copied().unwrap_or(unseen);
            let more = now.combine(before, u64::saturating_sub);
            let total = self.total.entry(name.to_owned()).or_default();
            *total = total.combine(more, u64::saturating_add);
            open.insert(rid, now);
        }
        self.open = open;
        answer.bound(&mut self.total);
        answer.traffic.clone_from(&self.total);
    }
}

impl Remote {
    fn add(&mut self, connection: &Connection) {
        let sum = |a: u64, b: Option<u64>| a.saturating_add(b.unwrap_or(0));
        self.connections += 1;
        self.pending_bytes = sum(self.pending_bytes, connection.pending_size);
        self.subscriptions = sum(self.subscriptions, connection.subscriptions);
        self.newest_start = self.newest_start.max(connection.start);
        // `0s` means that no round trip was measured yet.
        let rtt = connection.rtt.map(GoDuration::seconds).filter(|rtt| *rtt > 0.0);
        self.rtt_seconds = match (self.rtt_seconds, rtt) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::decode::decode;

    fn routez(text: &str) -> Routez {
        decode(text.as_bytes()).unwrap().0
    }

    #[test]
    fn connections_to_one_server_are_added_up() {
        let answer = routez(
            r#"{"server_id":"A","routes":[
              {"remote_id":"A","remote_name":"n2","rtt":"2ms","pending_size":3,"start":"2026-01-01T00:00:00Z"},
              {"remote_id":"A","remote_name":"n2","rtt":"0s","pending_size":4,"start":"2026-01-02T00:00:00Z"},
              {"remote_id":"B","remote_name":"n3"}]}"#,
        );
        let remotes = answer.remotes();
        let n2 = &remotes["n2"];
        assert_eq!((n2.connections, n2.pending_bytes), (2, 7));
        assert_eq!(n2.rtt_seconds, Some(0.002));
        assert_eq!(n2.newest_start, Timestamp::parse("2026-01-02T00:00:00Z").unwrap());
        assert_eq!(remotes["n3"].rtt_seconds, None);
        assert_eq!(answer.peers(), 2);
    }

    #[test]
    fn traffic_is_added_up_over_the_ends_of_connections() {
        let mut ledger = Ledger::default();
        let mut received = |server: &str, connections: &[(u64, u64)]| {
            let entry = |(rid, count): &(u64, u64)| {
                format!(r#"{{"rid":{rid},"remote_id":"B","remote_name":"n2","in_msgs":{count}}}"#)
            };
            let routes: Vec<_> = connections.iter().map(entry).collect();
            let text = format!(r#"{{"server_id":"{server}","routes":[{}]}}"#, routes.join(","));
            let mut answer = routez(&text);
            ledger.enter(&mut answer);
            answer.traffic.get("n2").map(|traffic| traffic.in_messages)
        };
        assert_eq!(received("A", &[(1, 100), (2, 10)]), Some(0), "what was before is not ours");
        assert_eq!(received("A", &[(1, 150), (2, 10)]), Some(50));
        assert_eq!(received("A", &[(2, 15)]), Some(55), "the first connection is closed");
        assert_eq!(received("A", &[(2, 15), (3, 7)]), Some(62), "a new one");
        assert_eq!(received("A", &[]), Some(62));
        assert_eq!(received("C", &[(1, 5)]), Some(5), "another process");
    }

    #[test]
    fn invented_names_do_not_fill_the_memory() {
        let mut ledger = Ledger::default();
        let mut received = |names: Vec<String>, count: u64| {
            let names = std::iter::once("n2".to_owned()).chain(names).enumerate();
            let connection = |(rid, name): (usize, String)| Connection {
                rid: Some(rid as u64),
                remote_name: Some(name),
                in_msgs: Some(count),
                ..Connection::default()
            };
            let routes = names.map(connection).collect();
            let mut answer =
                Routez { server_id: Some("A".to_owned()), routes, ..Routez::default() };
            ledger.enter(&mut answer);
            (answer.traffic["n2"].in_messages, ledger.total.len())
        };
        let mut most = 0;
        for answer in 0..20 {
            let names = (0..300).map(|name| format!("{answer}-{name}")).collect();
            most = most.max(received(names, answer).1);
        }
        assert!(most <= MOST_NAMES, "{most}");
        assert_eq!(received(Vec::new(), 20).0, 20, "a peer that is there counts on");
        for answer in 0..9 {
            received(vec![answer.to_string().repeat(MOST_BYTES)], 20);
        }
        assert_eq!(received(Vec::new(), 20), (20, 1));
    }

    #[test]
    fn servers_without_a_name_are_counted_and_not_listed() {
        let answer = routez(
            r#"{"server_id":"A","routes":[{"remote_id":"A"},{"remote_id":"B","remote_name":"B"}]}"#,
        );
        assert_eq!(answer.peers(), 2);
        assert!(answer.remotes().is_empty());
    }

    #[test]
    fn a_server_that_came_back_counts_once() {
        let answer = routez(
            r#"{"server_id":"S","routes":[{"remote_id":"A","remote_name":"n2"},{"remote_id":"B","remote_name":"n2","rtt":"odd"}]}"#,
        );
        assert_eq!(answer.peers(), 1);
    }

    #[test]
    fn no_routes() {
        assert_eq!(routez(r#"{"server_id":"A","routes":null}"#).peers(), 0);
    }
}
