//! Which state each tier of a server is in, and why.
//!
//! The reasons are a closed list, and each belongs to one state: the state of a tier is the worst
//! that any reason gives. This is the one place that decides; metrics show it.

use crate::nats::failure::Reason as Failure;
use crate::nats::healthz::Check;
use crate::nats::jsz::{RaftGroup as _, Stream};
use crate::snapshot::{Base, Persistence, Switch, value};

/// The state of a tier of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing is wrong that the server can tell.
    Ok,
    /// It works with less than it should.
    Degraded,
    /// The exporter cannot tell.
    Unknown,
    /// It does not work.
    Down,
}

impl State {
    /// All states, from the best to the worst.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Degraded, Self::Unknown, Self::Down];

    /// The value of the `state` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

/// Declares reasons: each has a name for the label, the state that it gives, and its meaning.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $( $variant:ident $text:literal $state:ident $meaning:literal; )+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $( #[doc = $meaning] $variant, )+ }

        impl $name {
            /// All reasons, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )+];

            /// The reason for the label, the state that it gives, and its meaning.
            #[must_use]
            pub const fn describe(self) -> (&'static str, State, &'static str) {
                match self { $( Self::$variant => ($text, State::$state, $meaning), )+ }
            }

            /// What a value of the `reason` label means.
            #[must_use]
            pub fn meaning(reason: &str) -> Option<&'static str> {
                match reason { $( $text => Some($meaning), )+ _ => None }
            }
        }
    };
}

reasons! {
    /// Why the base tier of a server is not well.
    BaseReason {
        Unreachable "unreachable" Down "No connection to the monitoring port.";
        NotAnswering "not_answering" Down "The monitoring port takes connections and does not answer in time: the process hangs, or the network does.";
        Unreadable "unreadable" Unknown "What answers is not a NATS server's /varz, wants other credentials, or has a certificate that is not trusted.";
        Starting "starting" Degraded "The process runs and does not accept connections yet; JetStream may be recovering.";
        Draining "draining" Degraded "The process has stopped accepting connections: lame duck mode.";
        Isolated "isolated" Degraded "No route to any other server of the cluster; clients of this server still reach each other.";
        RouteMissing "route_missing" Degraded "No route to at least one other server of the cluster.";
        SlowConsumers "slow_consumers" Degraded "Connections were cut in the last five minutes because they did not read fast enough.";
    }
}

reasons! {
    /// Why the persistence tier of a server is not well.
    PersistenceReason {
        ServerUnreachable "server_unreachable" Unknown "Neither /varz nor /jsz answers: the base tier says what is wrong.";
        JszUnavailable "jsz_unavailable" Unknown "The server answers, its /jsz does not: a lock or a disk hangs.";
        SwitchedOff "switched_off" Down "JetStream is configured and has switched itself off: full disk, I/O error, no permission.";
        Draining "draining" Down "JetStream is off because the server is in lame duck mode.";
        OffUnclear "off_unclear" Unknown "JetStream does not run, and the server does not say whether it is configured.";
        Unverified "unverified" Unknown "JetStream runs, and neither /healthz nor the detail of /jsz says whether its streams are well.";
        NoMetaLeader "no_meta_leader" Down "This server knows no meta leader: streams and consumers cannot be created or changed.";
        Recovering "recovering" Degraded "The server is starting and JetStream is recovering.";
        MetaUnhealthy "meta_unhealthy" Degraded "This server is not current with the meta leader, or cannot write the meta log.";
        MetaPeerBehind "meta_peer_behind" Degraded "This server leads the meta group, and a member is offline or not current.";
        AssetsUnhealthy "assets_unhealthy" Degraded "The server calls streams or consumers unwell.";
        StreamWithoutLeader "stream_without_leader" Degraded "This server holds a replica of a stream and knows no leader for it.";
        StreamReplicaBehind "stream_replica_behind" Degraded "This server leads a stream, and a replica is offline or not current.";
        ConsumerWithoutLeader "consumer_without_leader" Degraded "This server holds a replica of a consumer and knows no leader for it.";
        StorageFull "storage_full" Degraded "File storage has reached its limit: streams reject writes.";
        MessagesLost "messages_lost" Degraded "A stream has lost messages to damage of its store.";
    }
}

/// The state of a tier, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The state.
    pub state: State,
    /// Each reason of the closed list with whether it holds, as values of the `reason` label.
    pub reasons: Vec<(&'static str, bool)>,
}

impl Verdict {
    /// Whether a reason holds, by its value of the `reason` label.
    #[must_use]
    pub fn holds(&self, reason: &str) -> bool {
        self.reasons.iter().any(|(text, holds)| *holds && *text == reason)
    }
}

macro_rules! verdict_of {
    ($reasons:ident, $holds:expr) => {{
        let holds = $holds;
        let state = $reasons::ALL
            .iter()
            .filter(|reason| holds.contains(reason))
            .map(|reason| reason.describe().1)
            .max()
            .unwrap_or(State::Ok);
        let reasons = $reasons::ALL.iter().map(|r| (r.describe().0, holds.contains(r)));
        Verdict { state, reasons: reasons.collect() }
    }};
}

/// What is remembered of a server and helps to judge what it says now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Before {
    /// This process accepted connections before, by what was seen or by its own count.
    pub accepted: bool,
    /// The count of slow consumers rose lately.
    pub slow_consumers_rise: bool,
}

/// The state of the base tier.
#[must_use]
pub fn base(base: &Base, before: Before) -> Verdict {
    let mut holds = Vec::new();
    match base.varz.as_ref() {
        Some(Err(failed)) => holds.push(match failed.failure.reason {
            Failure::Dns | Failure::Connect => BaseReason::Unreachable,
            Failure::Timeout => BaseReason::NotAnswering,
            _ => BaseReason::Unreadable,
        }),
        None => holds.push(BaseReason::Unreadable),
        Some(Ok(_)) => {}
    }
    if base.varz().is_some() {
        if base.accepts_connections() == Some(false) {
            holds.push(if before.accepted { BaseReason::Draining } else { BaseReason::Starting });
        }
        if before.slow_consumers_rise {
            holds.push(BaseReason::SlowConsumers);
        }
        if let Some(peers) = &base.peers {
            match peers.connected {
                Some(0) if peers.expected > 0 => holds.push(BaseReason::Isolated),
                Some(connected) if connected < peers.expected => {
                    holds.push(BaseReason::RouteMissing);
                }
                _ => {}
            }
        }
    }
    verdict_of!(BaseReason, holds)
}

/// The state of the persistence tier; nothing when JetStream is not configured.
///
/// `base` is evidence for what the persistence tier cannot know of itself: that the whole server
/// is away, or on its way in or out.
#[must_use]
pub fn persistence(persistence: &Persistence, base: &Base, before: Before) -> Option<Verdict> {
    let mut holds = Vec::new();
    let accepts = base.accepts_connections().or_else(|| persistence.accepts_connections());
    let closed = accepts == Some(false);
    match persistence.switch() {
        Some(Switch::NotConfigured) => return None,
        Some(Switch::Off) => holds.push(PersistenceReason::SwitchedOff),
        Some(Switch::Unclear) if closed && before.accepted => {
            holds.push(PersistenceReason::Draining);
        }
        Some(Switch::Unclear) if persistence.was_on => holds.push(PersistenceReason::SwitchedOff),
        Some(Switch::Unclear) => holds.push(PersistenceReason::OffUnclear),
        Some(Switch::On) => {
            if closed && !before.accepted {
                holds.push(PersistenceReason::Recovering);
            }
            judge_running(persistence, &mut holds);
        }
        None if matches!(base.varz, Some(Err(_))) => {
            holds.push(PersistenceReason::ServerUnreachable);
        }
        None => holds.push(PersistenceReason::JszUnavailable),
    }
    Some(verdict_of!(PersistenceReason, holds))
}

fn judge_running(persistence: &Persistence, holds: &mut Vec<PersistenceReason>) {
    let Some(jsz) = persistence.running() else { return };
    let own_name = persistence.own_name.as_deref();
    if let Some(meta) = &jsz.meta_cluster {
        if meta.leader().is_none() {
            holds.push(PersistenceReason::NoMetaLeader);
        }
        if let Some(own_name) = own_name
            && meta.leads_others_behind(own_name)
        {
            holds.push(PersistenceReason::MetaPeerBehind);
        }
    }
    match failing_check(persistence) {
        Some(Check::Meta) if !holds.contains(&PersistenceReason::NoMetaLeader) => {
            holds.push(PersistenceReason::MetaUnhealthy);
        }
        Some(Check::Assets) => holds.push(PersistenceReason::AssetsUnhealthy),
        _ => {}
    }
    let limit = jsz.config.max_storage.and_then(|limit| u64::try_from(limit).ok());
    if let (Some(used), Some(limit)) = (jsz.storage, limit)
        && limit > 0
        && used >= limit
    {
        holds.push(PersistenceReason::StorageFull);
    }
    if persistence.detail().is_none()
        && failing_check(persistence).is_none()
        && persistence.checked(Check::Assets).is_none()
    {
        holds.push(PersistenceReason::Unverified);
    }
    judge_streams(persistence, own_name, holds);
}

/// The innermost failing question. A standalone server has no meta group: what a version calls
/// its meta check is the search for streams that could not be loaded.
#[must_use]
pub fn failing_check(persistence: &Persistence) -> Option<Check> {
    let failing = value(persistence.health.as_ref())?.first_failing()?;
    if failing == Check::Meta && persistence.clustered == Some(false) {
        return Some(Check::Assets);
    }
    Some(failing)
}

fn judge_streams(
    persistence: &Persistence,
    own_name: Option<&str>,
    holds: &mut Vec<PersistenceReason>,
) {
    let Some(detail) = persistence.detail() else { return };
    let clustered = persistence.clustered();
    let behind = |stream: &Stream, own_name: &str| {
        stream.cluster.as_ref().is_some_and(|group| group.leads_others_behind(own_name))
    };
    let streams = || detail.streams().map(|(_, detail)| &detail.stream);
    if streams().any(|stream| !stream.leader_known(clustered)) {
        holds.push(PersistenceReason::StreamWithoutLeader);
    }
    if detail.consumers.without_leader(clustered) > 0 {
        holds.push(PersistenceReason::ConsumerWithoutLeader);
    }
    if own_name.is_some_and(|own_name| streams().any(|stream| behind(stream, own_name))) {
        holds.push(PersistenceReason::StreamReplicaBehind);
    }
    if streams().any(|stream| stream.state.lost.is_some()) {
        holds.push(PersistenceReason::MessagesLost);
    }
}
