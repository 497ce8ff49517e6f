//! What to do about a cluster: the worst that is wrong in each layer, the first step, and what to leave alone.

use serde::Serialize;

use crate::restart::Cluster;
use crate::snapshot::Snapshot;
use crate::tier::Tier;

/// Where the pages are that tell more.
pub const RUNBOOKS: &str =
    "https://github.com/nats-exporter/nats-exporter/blob/main/docs/runbooks/";

/// What a person does about a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// `none`, `base`, `persistence` or `both`.
    pub layer: &'static str,
    /// The worst of each layer that is broken; the base tier first.
    pub troubles: Vec<Trouble>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// `base` or `persistence`.
    pub layer: &'static str,
    /// What is wrong, and with which servers.
    pub wrong: String,
    /// What to do first.
    pub first: &'static str,
    /// What not to do.
    pub avoid: &'static str,
    /// The page that tells more.
    pub runbook: String,
}

/// What goes with a reason for a state.
#[derive(Debug)]
pub struct Step {
    /// The values of the `reason` label that it goes with.
    pub reasons: &'static [&'static str],
    /// What is wrong, behind the names of the servers.
    pub wrong: &'static str,
    /// What to do first.
    pub first: &'static str,
    /// What not to do.
    pub avoid: &'static str,
    /// The name of the page, without its ending.
    pub runbook: &'static str,
}

/// The base tier, the worst first.
pub const BASE: &[Step] = &[
    Step {
        reasons: &["unreachable", "not_answering"],
        wrong: "not answering",
        first: "Look at the machine, pod or unit: is it gone, is it starting again and again, is it out of memory? Of a process that hangs, take a stack dump before you restart it.",
        avoid: "Do not restart those that answer: they carry the clients and hold the newest copies.",
        runbook: "NatsBaseServerDown",
    },
    Step {
        reasons: &["isolated"],
        wrong: "without a route to any other server",
        first: "Look at the network between the cluster ports, at the cluster's name and at its credentials.",
        avoid: "Do not restart: clients of the same server still reach each other, and a restart hides the cause.",
        runbook: "NatsBaseServerIsolated",
    },
    Step {
        reasons: &["unreadable"],
        wrong: "answering with something that is not readable",
        first: "Look at the address, the credentials and the certificate of the target.",
        avoid: "Do not restart for that: nothing is known to be wrong with NATS.",
        runbook: "NatsExporterEndpointFailing",
    },
    Step {
        reasons: &["route_missing"],
        wrong: "without a route to some other server",
        first: "Look for the pair that is missing and compare both ends: network, names, advertised address.",
        avoid: "Do not restart either end: clients and replicas still go by the other routes.",
        runbook: "NatsBaseRouteMeshIncomplete",
    },
    Step {
        reasons: &["draining"],
        wrong: "in lame duck mode",
        first: "Wait until that has ended; somebody has asked for it.",
        avoid: "Do not stop another one before all are back.",
        runbook: "NatsBaseServerNotReady",
    },
    Step {
        reasons: &["starting"],
        wrong: "starting, and taking no clients yet",
        first: "Wait: a large store takes its time. The log says how much is done.",
        avoid: "Do not restart: that begins anew.",
        runbook: "NatsBaseServerNotReady",
    },
    Step {
        reasons: &["slow_consumers"],
        wrong: "cutting connections that do not read fast enough",
        first: "Look in /connz?sort=pending for the clients that do not keep up.",
        avoid: "Do not restart for that: the clients would only be slow elsewhere.",
        runbook: "NatsBaseSlowClients",
    },
];

/// The persistence tier, the worst first. What follows from a server that does not answer is the base tier's.
pub const PERSISTENCE: &[Step] = &[
    Step {
        reasons: &["switched_off"],
        wrong: "running, but JetStream has switched itself off there",
        first: "Read the log for the cause (full disk, I/O error, permission) and mend that. Then restart only where that was, one server at a time.",
        avoid: "Do not restart before that, and do not restart others: core messaging works on all of them.",
        runbook: "NatsJetStreamDisabledOnServer",
    },
    Step {
        reasons: &["no_meta_leader"],
        wrong: "without a meta leader",
        first: "Bring the missing servers back with their disks; if none is missing, look at the routes.",
        avoid: "Do not restart those that run: they hold the only copies, and core messaging works.",
        runbook: "NatsJetStreamMetaQuorumLost",
    },
    Step {
        reasons: &["jsz_unavailable"],
        wrong: "not saying how JetStream is",
        first: "Look at the disk and the log: a lock or the storage hangs.",
        avoid: "Do not restart for that: who holds the only copy of something cannot be seen.",
        runbook: "NatsJetStreamNotAnswering",
    },
    // A full store is why streams have no leader, when both are so and no server is missing, of which the base tier tells.
    Step {
        reasons: &["storage_full"],
        wrong: "at the limit of file storage, so that streams refuse messages",
        first: "Delete or purge what is not needed, or raise the limit.",
        avoid: "Do not restart for that: the storage stays full.",
        runbook: "NatsJetStreamStorageHigh",
    },
    Step {
        reasons: &["stream_without_leader"],
        wrong: "holding streams that have no leader",
        first: "See which of their replicas are missing, and bring those servers back.",
        avoid: "Do not restart servers that hold a replica: each is a vote.",
        runbook: "NatsJetStreamStreamLeaderless",
    },
    Step {
        reasons: &["messages_lost"],
        wrong: "missing messages of a stream because of a damaged store",
        first: "Look at the disk. A replica elsewhere may have them: compare before anything is removed.",
        avoid: "Do not restart: what can still be read may be needed.",
        runbook: "NatsJetStreamMessagesLost",
    },
    Step {
        reasons: &["meta_peer_behind"],
        wrong: "leading the meta group, of which a member is away or behind",
        first: "Bring that member back. If it was removed on purpose, remove it from the group (nats server raft peer-remove).",
        avoid: "Do not restart another server: the next one that goes may take the quorum with it.",
        runbook: "NatsJetStreamMetaPeerNotCurrent",
    },
    Step {
        reasons: &["stream_replica_behind"],
        wrong: "leading streams of which a replica is away or behind",
        first: "Wait for a replica that catches up; look at disk and routes of one that does not.",
        avoid: "Do not restart servers with the other replicas.",
        runbook: "NatsJetStreamStreamReplicaLag",
    },
    Step {
        reasons: &["consumer_without_leader"],
        wrong: "holding consumers that have no leader",
        first: "See which of their replicas are missing, and bring those servers back.",
        avoid: "Do not restart servers that hold a replica.",
        runbook: "NatsJetStreamConsumersLeaderless",
    },
    Step {
        reasons: &["meta_unhealthy", "assets_unhealthy"],
        wrong: "failing the health check: not current, or with streams or consumers that are not",
        first: "Ask which: /healthz?details=true.",
        avoid: "Do not restart before there were some minutes to catch up.",
        runbook: "NatsJetStreamHealthCheckFailing",
    },
    Step {
        reasons: &["draining", "recovering"],
        wrong: "on the way in or out",
        first: "Wait: a large store takes its time.",
        avoid: "Do not restart, and do not stop another one.",
        runbook: "NatsBaseServerNotReady",
    },
    Step {
        reasons: &["off_unclear", "unverified"],
        wrong: "not saying whether JetStream is well",
        first: "Look at the log and ask /healthz and /jsz by hand.",
        avoid: "Do not take that for well.",
        runbook: "NatsJetStreamNotAnswering",
    },
];

/// What to do about a cluster.
pub(super) fn of(cluster: &Cluster<'_>) -> Advice {
    let layers = [(Tier::Base, BASE), (Tier::Persistence, PERSISTENCE)];
    let troubles: Vec<Trouble> =
        layers.into_iter().filter_map(|(tier, steps)| worst(tier, steps, cluster)).collect();
    let layer = match troubles.as_slice() {
        [] => "none",
        [one] => one.layer,
        _ => "both",
    };
    Advice { layer, troubles }
}

/// The first step whose reason holds on any server.
fn worst(tier: Tier, steps: &[Step], cluster: &Cluster<'_>) -> Option<Trouble> {
    let all = cluster.servers.len();
    steps.iter().find_map(|step| {
        let holds = |snapshot: &Snapshot| {
            let verdict = snapshot.verdict(tier);
            verdict.is_some_and(|verdict| step.reasons.iter().any(|reason| verdict.holds(reason)))
        };
        let troubled = cluster.servers.iter().filter(|(snapshot, _)| holds(snapshot));
        let names: Vec<&str> = troubled.map(|(snapshot, _)| &*snapshot.identity.server).collect();
        let are = if names.len() == 1 { "is" } else { "are" };
        (!names.is_empty()).then(|| Trouble {
            layer: tier.as_str(),
            wrong: format!("{} ({} of {all}) {are} {}", names.join(", "), names.len(), step.wrong),
            first: step.first,
            avoid: step.avoid,
            runbook: format!("{RUNBOOKS}{}.md", step.runbook),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{BaseReason, PersistenceReason};

    /// The same words stand behind the name of one server and those of three.
    #[test]
    fn what_is_wrong_is_told_of_any_number_of_servers() {
        for step in BASE.iter().chain(PERSISTENCE) {
            let mut words = step.wrong.split(|c: char| !c.is_alphabetic());
            assert!(!words.any(|word| ["it", "its"].contains(&word)), "{}", step.wrong);
        }
    }

    #[test]
    fn every_reason_has_a_step_and_every_step_a_page() {
        let steps = |steps: &[Step]| -> Vec<&str> {
            steps.iter().flat_map(|step| step.reasons.iter().copied()).collect()
        };
        let base: Vec<_> = BaseReason::ALL.iter().map(|reason| reason.describe().0).collect();
        for reason in &base {
            assert!(steps(BASE).contains(reason), "{reason}");
        }
        for reason in PersistenceReason::ALL {
            // The base tier says what is wrong then.
            let of_base = *reason == PersistenceReason::ServerUnreachable;
            assert!(of_base || steps(PERSISTENCE).contains(&reason.describe().0), "{reason:?}");
        }
        for step in BASE.iter().chain(PERSISTENCE) {
            let page = format!("{}/docs/runbooks/{}.md", env!("CARGO_MANIFEST_DIR"), step.runbook);
            assert!(std::path::Path::new(&page).exists(), "{page}");
        }
    }
}
