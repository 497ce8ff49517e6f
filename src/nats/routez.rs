//! `/routez`: the connections to the other servers of the cluster, and what
//! they add up to for each of those servers.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::decode::{Answer, Body, null_is_default};
use super::time::{GoDuration, Timestamp, instant};

/// The answer of `/routez`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // The fields carry the names of the endpoint.
pub struct Routez {
    pub server_id: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub routes: Vec<Connection>,
}

/// One TCP connection to another server. There are several for each server from 2.10 on.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Connection {
    pub remote_id: Option<String>,
    /// From 2.9.16; equal to the id when the remote server has no configured name.
    pub remote_name: Option<String>,
    #[serde(deserialize_with = "instant")]
    pub start: Option<Timestamp>,
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
        "routes.*.rid",
        "routes.*.did_solicit",
        "routes.*.is_configured",
        "routes.*.ip",
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
    /// Messages received over the connections that are open now.
    pub in_msgs: u64,
    /// Messages sent over the connections that are open now.
    pub out_msgs: u64,
    /// Bytes received over the connections that are open now.
    pub in_bytes: u64,
    /// Bytes sent over the connections that are open now.
    pub out_bytes: u64,
    /// Interest that the remote server has announced.
    pub subscriptions: u64,
}

impl Routez {
    /// How many different servers are connected.
    #[must_use]
    pub fn peers(&self) -> usize {
        let mut ids: Vec<_> = self.routes.iter().filter_map(|c| c.remote_id.as_deref()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.len()
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
            let Some(name) = connection.remote_name.as_deref() else { continue };
            if connection.remote_id.as_deref() == Some(name) {
                continue;
            }
            remotes.entry(name).or_default().add(connection);
        }
        remotes
    }
}

impl Remote {
    fn add(&mut self, connection: &Connection) {
        let sum = |a: u64, b: Option<u64>| a.saturating_add(b.unwrap_or(0));
        self.connections += 1;
        self.pending_bytes = sum(self.pending_bytes, connection.pending_size);
        self.in_msgs = sum(self.in_msgs, connection.in_msgs);
        self.out_msgs = sum(self.out_msgs, connection.out_msgs);
        self.in_bytes = sum(self.in_bytes, connection.in_bytes);
        self.out_bytes = sum(self.out_bytes, connection.out_bytes);
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
              {"remote_id":"A","remote_name":"n2","rtt":"2ms","pending_size":3,"in_msgs":1,"start":"2026-01-01T00:00:00Z"},
              {"remote_id":"A","remote_name":"n2","rtt":"0s","pending_size":4,"in_msgs":2,"start":"2026-01-02T00:00:00Z"},
              {"remote_id":"B","remote_name":"n3"}]}"#,
        );
        let remotes = answer.remotes();
        let n2 = &remotes["n2"];
        assert_eq!((n2.connections, n2.pending_bytes, n2.in_msgs), (2, 7, 3));
        assert_eq!(n2.rtt_seconds, Some(0.002));
        assert_eq!(n2.newest_start, Timestamp::parse("2026-01-02T00:00:00Z").unwrap());
        assert_eq!(remotes["n3"].rtt_seconds, None);
        assert_eq!(answer.peers(), 2);
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
    fn no_routes() {
        assert_eq!(routez(r#"{"server_id":"A","routes":null}"#).peers(), 0);
    }
}
