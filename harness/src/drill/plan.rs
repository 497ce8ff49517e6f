//! The faults, and who has to be called for each.

use std::time::Duration;

/// What is done to a cluster of three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server that leads the meta group is killed.
    OneKilled,
    /// Two of three are killed, among them the meta leader.
    TwoKilled,
    /// A server is stopped in its tracks, and its connections stay open.
    Frozen,
    /// The disk below the store of one server is full.
    DiskFull,
    /// The same, and a liveness probe restarts that server again and again.
    DiskFullAndProbed,
    /// The storage that JetStream may use is full on all servers.
    MaxFileReached,
    /// All servers are stopped in lame duck mode and started, one after the other.
    RollingRestart,
    /// A client does not read what it has subscribed to.
    SlowConsumer,
    /// A worker takes messages and acknowledges none.
    StuckConsumer,
    /// A server has slow routes, and a stream that is written to fast.
    LaggingReplica,
    /// A server has no route to the others.
    Partition,
    /// The exporter is killed.
    ExporterKilled,
    /// `/jsz` of one server does not answer.
    JszHangs,
    /// `/jsz` of no server answers.
    JszHangsEverywhere,
}

/// One call that has to come.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The alert.
    pub alert: &'static str,
    /// At whom.
    pub receiver: &'static str,
    /// Within what time after the fault.
    pub within: Duration,
}

/// A fault, and what is expected of it.
#[derive(Debug)]
pub struct Drill {
    /// A short name, for the command line.
    pub name: &'static str,
    /// What is done, for people.
    pub what: &'static str,
    /// What is done.
    pub fault: Fault,
    /// An exporter beside each server, which dies with it, instead of one for all.
    pub sidecars: bool,
    /// The calls that have to come; of each list of alternatives one.
    pub must: &'static [&'static [Expected]],
    /// The calls that may come besides, by alert and receiver. Every other one is a fault of the rules.
    pub may: &'static [(&'static str, &'static str)],
    /// May one server of the cluster be restarted, by the verdict at the end? Nothing means that it cannot be told.
    pub verdict: Option<bool>,
    /// At least one of these reasons is given against it.
    pub reasons: &'static [&'static str],
    /// The verdict for the servers that the fault was done to; nothing when it does not matter.
    pub victims: Option<bool>,
    /// The verdict for the other servers; nothing when it does not matter.
    pub others: Option<bool>,
    /// The base tier of all servers stays ok all the time.
    pub base_is_fine: bool,
    /// How long the fault lasts.
    pub observe: Duration,
}

const PAGE_PLATFORM: &str = "page-platform";
const TICKET_PLATFORM: &str = "ticket-platform";
const PAGE_DATA: &str = "page-data";
const TICKET_DATA: &str = "ticket-data";

const fn call(alert: &'static str, receiver: &'static str, seconds: u64) -> Expected {
    Expected { alert, receiver, within: Duration::from_secs(seconds) }
}

/// What goes without saying when a replica is away for long.
const REPLICAS_AWAY: &[(&str, &str)] = &[
    ("NatsJetStreamMetaOneFailureFromLoss", TICKET_DATA),
    ("NatsJetStreamMetaPeerNotCurrent", TICKET_DATA),
    ("NatsJetStreamStreamReplicasMissing", TICKET_DATA),
    ("NatsJetStreamStreamReplicaLag", TICKET_DATA),
    ("NatsJetStreamHealthCheckFailing", TICKET_DATA),
];

/// What most drills have in common.
const USUAL: Drill = Drill {
    name: "",
    what: "",
    fault: Fault::OneKilled,
    sidecars: false,
    must: &[],
    may: &[],
    verdict: Some(false),
    reasons: &[],
    victims: None,
    others: None,
    base_is_fine: false,
    observe: Duration::from_secs(110),
};

/// All drills.
pub static ALL: &[Drill] = &[
    Drill {
        name: "one-killed",
        what: "The server that leads the meta group is killed",
        fault: Fault::OneKilled,
        must: &[&[call("NatsBaseServerDown", TICKET_PLATFORM, 80)]],
        may: REPLICAS_AWAY,
        reasons: &["server_down"],
        victims: Some(true),
        others: Some(false),
        ..USUAL
    },
    Drill {
        name: "one-killed-sidecars",
        what: "The same, with an exporter beside each server that dies with it",
        fault: Fault::OneKilled,
        sidecars: true,
        must: &[
            &[call("NatsBaseServerDown", TICKET_PLATFORM, 80)],
            &[call("NatsExporterDown", TICKET_PLATFORM, 80)],
        ],
        may: REPLICAS_AWAY,
        reasons: &["server_down"],
        victims: Some(true),
        others: Some(false),
        ..USUAL
    },
    Drill {
        name: "two-killed",
        what: "Two of three servers are killed, among them the meta leader",
        fault: Fault::TwoKilled,
        must: &[
            &[call("NatsBaseMajorityDown", PAGE_PLATFORM, 65)],
            &[call("NatsBaseServerDown", TICKET_PLATFORM, 80)],
        ],
        reasons: &["meta_leader_unknown"],
        others: Some(false),
        ..USUAL
    },
    Drill {
        name: "two-killed-sidecars",
        what: "The same, with an exporter beside each server that dies with it",
        fault: Fault::TwoKilled,
        sidecars: true,
        must: &[
            &[call("NatsBaseMajorityDown", PAGE_PLATFORM, 65)],
            &[call("NatsBaseServerDown", TICKET_PLATFORM, 80)],
            &[call("NatsExporterDown", TICKET_PLATFORM, 80)],
        ],
        reasons: &["meta_leader_unknown"],
        others: Some(false),
        ..USUAL
    },
    Drill {
        name: "frozen",
        what: "A server is frozen: its connections stay open, and it does nothing",
        fault: Fault::Frozen,
        must: &[&[call("NatsBaseServerDown", TICKET_PLATFORM, 80)]],
        may: REPLICAS_AWAY,
        reasons: &["server_down"],
        others: Some(false),
        ..USUAL
    },
    Drill {
        name: "disk-full",
        what: "The incident: the disk below the store of one server is full",
        fault: Fault::DiskFull,
        must: &[
            &[
                call("NatsJetStreamDisabledOnServer", PAGE_DATA, 90),
                // The newest servers go on with the streams that they can write.
                call("NatsJetStreamHealthCheckFailing", TICKET_DATA, 110),
            ],
            &[call("NatsJetStreamProbeWouldRestart", TICKET_DATA, 90)],
        ],
        may: REPLICAS_AWAY,
        reasons: &["jetstream_switched_off", "assets_unhealthy"],
        others: Some(false),
        base_is_fine: true,
        ..USUAL
    },
    Drill {
        name: "disk-full-probed",
        what: "The same, and a liveness probe restarts that server again and again",
        fault: Fault::DiskFullAndProbed,
        must: &[
            &[call("NatsProbeRestartStorm", PAGE_PLATFORM, 170)],
            &[call("NatsJetStreamDisabledOnServer", PAGE_DATA, 190)],
        ],
        may: &[
            ("NatsBaseRestartLoop", PAGE_PLATFORM),
            ("NatsJetStreamProbeWouldRestart", TICKET_DATA),
            ("NatsJetStreamMetaElections", TICKET_DATA),
            ("NatsJetStreamMetaOneFailureFromLoss", TICKET_DATA),
            ("NatsJetStreamMetaPeerNotCurrent", TICKET_DATA),
            ("NatsJetStreamStreamReplicasMissing", TICKET_DATA),
            ("NatsJetStreamHealthCheckFailing", TICKET_DATA),
        ],
        reasons: &["jetstream_switched_off", "assets_unhealthy"],
        others: Some(false),
        observe: Duration::from_secs(190),
        ..USUAL
    },
    Drill {
        name: "max-file",
        what: "The storage that JetStream may use is full on all servers",
        fault: Fault::MaxFileReached,
        must: &[
            &[call("NatsJetStreamStorageHigh", PAGE_DATA, 90)],
            &[call("NatsJetStreamStreamLeaderless", PAGE_DATA, 110)],
        ],
        may: &[
            ("NatsJetStreamStorageFillingUp", PAGE_DATA),
            ("NatsJetStreamStorageFillingUp", TICKET_DATA),
            ("NatsJetStreamConsumersLeaderless", PAGE_DATA),
            ("NatsJetStreamProbeWouldRestart", TICKET_DATA),
            ("NatsJetStreamHealthCheckFailing", TICKET_DATA),
            ("NatsJetStreamMetaElections", TICKET_DATA),
            ("NatsJetStreamStreamReplicasMissing", TICKET_DATA),
            ("NatsJetStreamStreamReplicaLag", TICKET_DATA),
            ("NatsJetStreamConsumerAckStuck", TICKET_DATA),
            ("NatsJetStreamApiErrors", TICKET_DATA),
        ],
        reasons: &["stream_without_leader"],
        base_is_fine: true,
        ..USUAL
    },
    Drill {
        name: "rolling-restart",
        what: "All servers are stopped in lame duck mode and started, one after the other",
        fault: Fault::RollingRestart,
        // Nothing is to call anybody. The verdict knows that the last one has just started.
        reasons: &["recent_restart"],
        observe: Duration::from_secs(20),
        ..USUAL
    },
    Drill {
        name: "slow-consumer",
        what: "A client does not read what it has subscribed to",
        fault: Fault::SlowConsumer,
        must: &[&[call("NatsBaseSlowClients", TICKET_PLATFORM, 90)]],
        verdict: Some(true),
        victims: Some(true),
        others: Some(true),
        ..USUAL
    },
    Drill {
        name: "stuck-consumer",
        what: "A worker takes messages and acknowledges none",
        fault: Fault::StuckConsumer,
        must: &[&[call("NatsJetStreamConsumerAckStuck", TICKET_DATA, 150)]],
        verdict: Some(true),
        others: Some(true),
        base_is_fine: true,
        observe: Duration::from_secs(160),
        ..USUAL
    },
    Drill {
        name: "lagging-replica",
        what: "The routes of a server are slow, and it has a replica of a stream that is written to fast",
        fault: Fault::LaggingReplica,
        must: &[&[call("NatsJetStreamStreamReplicaLag", TICKET_DATA, 110)]],
        may: &[
            ("NatsJetStreamStreamReplicasMissing", TICKET_DATA),
            ("NatsJetStreamConsumerLagGrowing", TICKET_DATA),
            ("NatsJetStreamHealthCheckFailing", TICKET_DATA),
            ("NatsBaseRoutePendingHigh", TICKET_PLATFORM),
            ("NatsBaseRouteRttHigh", TICKET_PLATFORM),
            // Requests to leaders on the slow server time out there.
            ("NatsJetStreamApiErrors", TICKET_DATA),
        ],
        reasons: &["stream_replica_behind", "meta_peer_behind", "assets_unhealthy"],
        others: Some(false),
        ..USUAL
    },
    Drill {
        name: "partition",
        what: "A server has no route to the others any more",
        fault: Fault::Partition,
        must: &[&[call("NatsBaseServerIsolated", PAGE_PLATFORM, 65)]],
        may: &[
            ("NatsJetStreamMetaOneFailureFromLoss", TICKET_DATA),
            ("NatsJetStreamStreamReplicasMissing", TICKET_DATA),
            ("NatsJetStreamStreamReplicaLag", TICKET_DATA),
            ("NatsJetStreamProbeWouldRestart", TICKET_DATA),
        ],
        reasons: &["route_mesh_incomplete"],
        others: Some(false),
        ..USUAL
    },
    Drill {
        name: "exporter-killed",
        what: "The exporter is killed",
        fault: Fault::ExporterKilled,
        must: &[&[call("NatsExporterDown", PAGE_PLATFORM, 65)]],
        verdict: None,
        observe: Duration::from_secs(90),
        ..USUAL
    },
    Drill {
        name: "jsz-hangs",
        what: "/jsz of one server does not answer",
        fault: Fault::JszHangs,
        must: &[&[call("NatsJetStreamNotAnswering", TICKET_DATA, 90)]],
        verdict: None,
        base_is_fine: true,
        ..USUAL
    },
    Drill {
        name: "jsz-hangs-everywhere",
        what: "/jsz of no server answers",
        fault: Fault::JszHangsEverywhere,
        must: &[&[call("NatsJetStreamNotAnswering", PAGE_DATA, 90)]],
        may: &[("NatsJetStreamNotAnswering", TICKET_DATA)],
        verdict: None,
        base_is_fine: true,
        ..USUAL
    },
];

/// The drill of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Drill> {
    ALL.iter().find(|drill| drill.name == name)
}
