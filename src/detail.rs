//! What of a detailed `/jsz` answer is kept: filters, folding of short-lived
//! consumers, and an order that does not change between requests.
//!
//! Done once when an answer arrives, so that nothing else holds what nobody is shown.

use std::collections::BTreeMap;

use crate::config::{Detail as Level, JetStream};
use crate::nats::jsz::{Account, Consumer, JszDetail, Stream};

/// A detailed `/jsz` answer, reduced to what is shown.
#[derive(Debug, Default)]
pub struct Detail {
    /// The process that answered.
    pub server_id: Option<String>,
    /// Accounts by name, streams by name within, consumers by name within.
    pub accounts: Vec<Account>,
    /// Sums of consumers that have no series of their own, in the order of the streams.
    pub folded: Vec<Folded>,
    /// Accounts that the server has and did not send; nothing when it does not say how many it has.
    pub missing_accounts: Option<u64>,
}

/// Consumers of one stream and kind that one server leads, added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// The account.
    pub account: String,
    /// The stream.
    pub stream: String,
    /// Why they have no series of their own.
    pub kind: FoldedKind,
    /// Who leads them, as the answering server sees it; nothing on a standalone server.
    pub leader: Option<String>,
    /// The sums.
    pub sums: Sums,
}

/// Why consumers have no series of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FoldedKind {
    /// They have no durable name: the server invents one and forgets it with the client.
    Ephemeral,
    /// They belong to MQTT sessions, one for each client and subscription.
    Mqtt,
}

impl FoldedKind {
    /// The value of the `kind` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ephemeral => "ephemeral",
            Self::Mqtt => "mqtt",
        }
    }

    /// The kind of a consumer; nothing when it has a name that lasts.
    fn of(stream: &Stream, consumer: &Consumer) -> Option<Self> {
        let durable = consumer.config.durable_name.as_deref().unwrap_or_default();
        if stream.name.starts_with("$MQTT_") {
            Some(Self::Mqtt)
        } else {
            durable.is_empty().then_some(Self::Ephemeral)
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
    fn add(&mut self, consumer: &Consumer) {
        let add = |sum: &mut u64, more: Option<u64>| *sum = sum.saturating_add(more.unwrap_or(0));
        self.consumers += 1;
        add(&mut self.pending, consumer.num_pending);
        add(&mut self.ack_pending, consumer.num_ack_pending);
        add(&mut self.redelivered, consumer.num_redelivered);
        add(&mut self.waiting, consumer.num_waiting);
    }
}

impl Detail {
    /// Every stream with its account, in their order.
    pub fn streams(&self) -> impl Iterator<Item = (&Account, &Stream)> {
        self.accounts
            .iter()
            .flat_map(|account| account.stream_detail.iter().map(move |stream| (account, stream)))
    }

    /// Keeps what `settings` allow.
    #[must_use]
    pub fn reduce(answer: JszDetail, settings: &JetStream) -> Self {
        let sent = answer.account_details.len() as u64;
        let mut detail = Self {
            server_id: answer.server_id,
            accounts: answer.account_details,
            folded: Vec::new(),
            missing_accounts: answer.total.map(|total| total.saturating_sub(sent)),
        };
        detail.accounts.retain(|account| settings.accounts.allows(&account.name));
        detail.accounts.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        name_apart(&mut detail.accounts);
        for account in &mut detail.accounts {
            account.stream_detail.retain(|stream| settings.streams.allows(&stream.name));
            account.stream_detail.sort_by(|a, b| a.name.cmp(&b.name));
            for stream in &mut account.stream_detail {
                detail.folded.extend(reduce_consumers(&account.name, stream, settings));
            }
        }
        detail
    }
}

/// The names of accounts are tags that their owners chose and may be the same twice; the ids are
/// not. All but the first of a name are called by their id.
fn name_apart(accounts: &mut [Account]) {
    let mut first: Option<String> = None;
    for account in accounts {
        if first.as_ref() == Some(&account.name)
            && let Some(id) = account.id.clone()
        {
            account.name = id;
        } else {
            first = Some(account.name.clone());
        }
    }
}

/// Filters, folds and sorts the consumers of one stream; returns what was folded.
fn reduce_consumers(account: &str, stream: &mut Stream, settings: &JetStream) -> Vec<Folded> {
    let mut consumers = std::mem::take(&mut stream.consumer_detail);
    let mut sums: BTreeMap<(FoldedKind, Option<String>), Sums> = BTreeMap::new();
    consumers.retain_mut(|consumer| {
        if !settings.consumers.allows(&consumer.name) {
            return false;
        }
        if settings.fold_ephemeral_consumers
            && let Some(kind) = FoldedKind::of(stream, consumer)
        {
            let leader = consumer.cluster.as_ref().and_then(|group| group.leader.clone());
            sums.entry((kind, leader)).or_default().add(consumer);
            return false;
        }
        if settings.detail < Level::Replicas
            && let Some(group) = &mut consumer.cluster
        {
            group.replicas = Vec::new();
        }
        true
    });
    consumers.sort_by(|a, b| a.name.cmp(&b.name));
    consumers.shrink_to_fit();
    stream.consumer_detail = consumers;
    sums.into_iter()
        .map(|((kind, leader), sums)| Folded {
            account: account.to_owned(),
            stream: stream.name.clone(),
            kind,
            leader,
            sums,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Filter;
    use crate::nats::decode::decode_quickly;
    use regex::Regex;
    use std::time::Duration;

    fn settings() -> JetStream {
        JetStream {
            detail: Level::Consumers,
            detail_interval: Duration::ZERO,
            detail_max_age: Duration::ZERO,
            fold_ephemeral_consumers: true,
            accounts: Filter::default(),
            streams: Filter::default(),
            consumers: Filter::default(),
            stream_metadata_labels: Vec::new(),
            consumer_metadata_labels: Vec::new(),
        }
    }

    fn answer() -> JszDetail {
        decode_quickly(
            br#"{"server_id":"A","total":3,"account_details":[
              {"name":"B","stream_detail":[{"name":"$MQTT_msgs","consumer_detail":[
                {"name":"x1","config":{"durable_name":"x1"},"num_pending":4}]}]},
              {"name":"A","stream_detail":[
                {"name":"S2"},
                {"name":"S1","consumer_detail":[
                  {"name":"z","config":{"durable_name":"z"},
                   "cluster":{"leader":"n1","replicas":[{"name":"n2"}]}},
                  {"name":"a","config":{"durable_name":"a"}},
                  {"name":"e1","config":{},"cluster":{"leader":"n1"},"num_pending":1,"num_waiting":2},
                  {"name":"e2","config":{},"cluster":{"leader":"n1"},"num_pending":2},
                  {"name":"e3","config":{},"cluster":{"leader":"n2"},"num_pending":9}]}]}]}"#,
        )
        .unwrap()
    }

    fn names(detail: &Detail) -> Vec<String> {
        let mut names = Vec::new();
        for account in &detail.accounts {
            for stream in &account.stream_detail {
                for consumer in &stream.consumer_detail {
                    names.push(format!("{}/{}/{}", account.name, stream.name, consumer.name));
                }
            }
        }
        names
    }

    #[test]
    fn folds_short_lived_consumers_by_leader() {
        let detail = Detail::reduce(answer(), &settings());
        assert_eq!(names(&detail), ["A/S1/a", "A/S1/z"]);
        assert_eq!(detail.missing_accounts, Some(1));
        let folded: Vec<_> = detail
            .folded
            .iter()
            .map(|f| (f.kind.as_str(), f.leader.as_deref(), f.sums.consumers, f.sums.pending))
            .collect();
        assert_eq!(
            folded,
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
            let settings = JetStream { detail: level, ..settings() };
            let detail = Detail::reduce(answer(), &settings);
            let z = &detail.accounts[0].stream_detail[0].consumer_detail[1];
            z.cluster.as_ref().unwrap().replicas.len()
        };
        assert_eq!(replicas(Level::Consumers), 0);
        assert_eq!(replicas(Level::Replicas), 1);
    }

    #[test]
    fn accounts_with_one_name_are_told_apart_by_id() {
        let body = br#"{"server_id":"S","account_details":[
            {"name":"A","id":"K2"},{"name":"B","id":"K3"},{"name":"A","id":"K1"}]}"#;
        let detail = Detail::reduce(decode_quickly(body).unwrap(), &settings());
        let names: Vec<_> = detail.accounts.iter().map(|account| account.name.as_str()).collect();
        assert_eq!(names, ["A", "K2", "B"]);
    }

    #[test]
    fn filters_apply_at_each_depth() {
        let filter = |include: &str| Filter {
            include: vec![Regex::new(&format!("^(?:{include})$")).unwrap()],
            exclude: Vec::new(),
        };
        let base = settings();
        let only = |settings: JetStream| names(&Detail::reduce(answer(), &settings));
        let unfolded = JetStream { fold_ephemeral_consumers: false, ..base.clone() };
        assert_eq!(only(unfolded).len(), 6);
        assert!(only(JetStream { accounts: filter("B"), ..base.clone() }).is_empty());
        assert!(only(JetStream { streams: filter("S2"), ..base.clone() }).is_empty());
        assert_eq!(only(JetStream { consumers: filter("z|e.*"), ..base }), ["A/S1/z"]);
    }
}
