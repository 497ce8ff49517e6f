//! The state of each tier in every recorded scenario, and why: the two columns that an operator
//! reads first.

use super::stage;

/// What is to be said of one scene: for each server its name, then the state and the reasons of
/// the base tier, then those of the persistence tier. Nothing means that there is no such tier.
struct Expected {
    scene: &'static str,
    servers: &'static [(&'static str, &'static str, &'static str)],
}

#[rustfmt::skip]
const EXPECTED: &[Expected] = &[
    Expected { scene: "2.9.10/core-single", servers: &[
        ("n1", "ok", ""),
    ] },
    Expected { scene: "2.9.10/jetstream-cluster3", servers: &[
        ("n1", "ok", "ok"),
        ("n2", "ok", "ok"),
        ("n3", "ok", "ok"),
    ] },
    Expected { scene: "2.9.10/jetstream-single", servers: &[
        ("n1", "ok", "ok"),
    ] },
    Expected { scene: "2.9.10/quorum-lost-probe", servers: &[
        ("n1", "degraded isolated", "down no_meta_leader"),
    ] },
    Expected { scene: "2.9.10/single-stream-corrupted-probe", servers: &[
        ("n1", "ok", "unknown unverified"),
    ] },
    Expected { scene: "2.10.26/core-single", servers: &[
        ("n1", "ok", ""),
    ] },
    Expected { scene: "2.10.26/disk-full/during", servers: &[
        ("n1", "ok", "down switched_off"),
        ("n2", "ok", "ok"),
        ("n3", "ok", "degraded meta_peer_behind stream_replica_behind"),
    ] },
    Expected { scene: "2.10.26/disk-full/restarted-still-full", servers: &[
        ("n1", "ok", "down switched_off"),
        ("n2", "ok", "ok"),
        ("n3", "ok", "degraded meta_peer_behind stream_replica_behind"),
    ] },
    Expected { scene: "2.10.26/jetstream-cluster3", servers: &[
        ("n1", "ok", "ok"),
        ("n2", "ok", "ok"),
        ("n3", "ok", "ok"),
    ] },
    Expected { scene: "2.10.26/jetstream-single", servers: &[
        ("n1", "ok", "ok"),
    ] },
    Expected { scene: "2.10.26/lame-duck/during", servers: &[
        ("n1", "ok", "degraded stream_replica_behind"),
        ("n2", "degraded draining", "down draining"),
        ("n3", "ok", "degraded meta_peer_behind"),
    ] },
    Expected { scene: "2.10.26/max-file-exceeded/during", servers: &[
        ("n1", "ok", "degraded storage_full"),
        ("n2", "ok", "degraded storage_full"),
        ("n3", "ok", "degraded stream_without_leader storage_full"),
    ] },
    Expected { scene: "2.10.26/one-node-killed/during", servers: &[
        ("n1", "down unreachable", "unknown server_unreachable"),
        ("n2", "degraded route_missing", "degraded stream_replica_behind"),
        ("n3", "degraded route_missing", "degraded meta_peer_behind stream_replica_behind"),
    ] },
    Expected { scene: "2.10.26/partition-reset/during", servers: &[
        ("n1", "degraded isolated", "down no_meta_leader stream_without_leader consumer_without_leader"),
        ("n2", "degraded route_missing", "degraded meta_peer_behind stream_replica_behind"),
        ("n3", "degraded route_missing", "degraded stream_replica_behind"),
    ] },
    Expected { scene: "2.10.26/process-frozen/during", servers: &[
        ("n1", "down not_answering", "unknown server_unreachable"),
        ("n2", "ok", "degraded stream_replica_behind"),
        ("n3", "ok", "degraded meta_peer_behind stream_replica_behind"),
    ] },
    Expected { scene: "2.10.26/single-disk-full-probe", servers: &[
        ("n1", "ok", "ok"),
    ] },
    Expected { scene: "2.10.26/single-stream-corrupted-probe", servers: &[
        ("n1", "ok", "degraded assets_unhealthy"),
    ] },
    Expected { scene: "2.10.26/slow-consumer/during", servers: &[
        ("n1", "degraded slow_consumers", "ok"),
        ("n2", "ok", "ok"),
        ("n3", "ok", "ok"),
    ] },
    Expected { scene: "2.10.26/store-deleted/during", servers: &[
        ("n1", "ok", "ok"),
        ("n2", "ok", "ok"),
        ("n3", "ok", "ok"),
    ] },
    Expected { scene: "2.10.26/store-unwritable/during", servers: &[
        ("n1", "ok", "down switched_off"),
        ("n2", "ok", "degraded stream_replica_behind"),
        ("n3", "ok", "degraded meta_peer_behind stream_replica_behind"),
    ] },
    Expected { scene: "2.10.26/two-nodes-killed/during", servers: &[
        ("n1", "degraded isolated", "down no_meta_leader stream_without_leader consumer_without_leader"),
        ("n2", "down unreachable", "unknown server_unreachable"),
        ("n3", "down unreachable", "unknown server_unreachable"),
    ] },
    Expected { scene: "2.10.26/two-nodes-killed/survivor-restarted", servers: &[
        ("n1", "degraded isolated", "down no_meta_leader stream_without_leader consumer_without_leader"),
        ("n2", "down unreachable", "unknown server_unreachable"),
        ("n3", "down unreachable", "unknown server_unreachable"),
    ] },
    Expected { scene: "2.11.11/core-single", servers: &[
        ("n1", "ok", ""),
    ] },
    Expected { scene: "2.11.11/disk-full-probe", servers: &[
        ("n1", "ok", "down switched_off"),
    ] },
    Expected { scene: "2.11.11/jetstream-cluster3", servers: &[
        ("n1", "ok", "ok"),
        ("n2", "ok", "ok"),
        ("n3", "ok", "ok"),
    ] },
    Expected { scene: "2.11.11/jetstream-single", servers: &[
        ("n1", "ok", "ok"),
    ] },
    Expected { scene: "2.11.11/quorum-lost-probe", servers: &[
        ("n1", "degraded isolated", "down no_meta_leader"),
    ] },
    Expected { scene: "2.11.11/single-disk-full-probe", servers: &[
        ("n1", "ok", "ok"),
    ] },
    Expected { scene: "2.11.11/single-stream-corrupted-probe", servers: &[
        ("n1", "ok", "degraded assets_unhealthy"),
    ] },
    Expected { scene: "2.12.8/core-single", servers: &[
        ("n1", "ok", ""),
    ] },
    Expected { scene: "2.12.8/disk-full-probe", servers: &[
        ("n1", "ok", "down switched_off"),
    ] },
    Expected { scene: "2.12.8/jetstream-cluster3", servers: &[
        ("n1", "ok", "ok"),
        ("n2", "ok", "ok"),
        ("n3", "ok", "ok"),
    ] },
    Expected { scene: "2.12.8/jetstream-single", servers: &[
        ("n1", "ok", "ok"),
    ] },
    Expected { scene: "2.12.8/quorum-lost-probe", servers: &[
        ("n1", "degraded isolated", "down no_meta_leader"),
    ] },
    Expected { scene: "2.12.8/single-disk-full-probe", servers: &[
        ("n1", "ok", "ok"),
    ] },
    Expected { scene: "2.12.8/single-stream-corrupted-probe", servers: &[
        ("n1", "ok", "degraded assets_unhealthy"),
    ] },
    Expected { scene: "2.14.6/core-single", servers: &[
        ("n1", "ok", ""),
    ] },
    Expected { scene: "2.14.6/disk-full-probe", servers: &[
        ("n1", "ok", "down switched_off"),
    ] },
    Expected { scene: "2.14.6/jetstream-cluster3", servers: &[
        ("n1", "ok", "ok"),
        ("n2", "ok", "ok"),
        ("n3", "ok", "ok"),
    ] },
    Expected { scene: "2.14.6/jetstream-single", servers: &[
        ("n1", "ok", "ok"),
    ] },
    Expected { scene: "2.14.6/quorum-lost-probe", servers: &[
        ("n1", "degraded isolated", "down no_meta_leader"),
    ] },
    Expected { scene: "2.14.6/single-disk-full-probe", servers: &[
        ("n1", "ok", "degraded assets_unhealthy"),
    ] },
    Expected { scene: "2.14.6/single-stream-corrupted-probe", servers: &[
        ("n1", "ok", "degraded assets_unhealthy"),
    ] },
    Expected { scene: "2.14.6/supercluster-leaf", servers: &[
        ("a1", "ok", "ok"),
        ("a2", "ok", "ok"),
        ("a3", "ok", "ok"),
        ("b1", "ok", "ok"),
        ("leaf1", "ok", "ok"),
    ] },
    Expected { scene: "2.15.1/core-single", servers: &[
        ("n1", "ok", ""),
    ] },
    Expected { scene: "2.15.1/disk-full/during", servers: &[
        ("n1", "ok", "degraded assets_unhealthy"),
        ("n2", "ok", "degraded stream_replica_behind"),
        ("n3", "ok", "ok"),
    ] },
    Expected { scene: "2.15.1/disk-full/restarted-still-full", servers: &[
        ("n1", "ok", "down switched_off"),
        ("n2", "ok", "degraded meta_peer_behind stream_replica_behind"),
        ("n3", "ok", "degraded stream_replica_behind"),
    ] },
    Expected { scene: "2.15.1/jetstream-cluster3", servers: &[
        ("n1", "ok", "ok"),
        ("n2", "ok", "ok"),
        ("n3", "ok", "ok"),
    ] },
    Expected { scene: "2.15.1/jetstream-single", servers: &[
        ("n1", "ok", "ok"),
    ] },
    Expected { scene: "2.15.1/lame-duck/during", servers: &[
        ("n1", "ok", "degraded meta_peer_behind"),
        ("n2", "ok", "degraded stream_replica_behind"),
        ("n3", "degraded draining", "down draining"),
    ] },
    Expected { scene: "2.15.1/max-file-exceeded/during", servers: &[
        ("n1", "ok", "degraded assets_unhealthy storage_full"),
        ("n2", "ok", "degraded assets_unhealthy storage_full"),
        ("n3", "ok", "degraded assets_unhealthy stream_without_leader storage_full"),
    ] },
    Expected { scene: "2.15.1/one-node-killed/during", servers: &[
        ("n1", "down unreachable", "unknown server_unreachable"),
        ("n2", "degraded route_missing", "ok"),
        ("n3", "degraded route_missing", "degraded meta_peer_behind stream_replica_behind"),
    ] },
    Expected { scene: "2.15.1/partition-reset/during", servers: &[
        ("n1", "degraded route_missing", "degraded stream_replica_behind"),
        ("n2", "degraded isolated", "down no_meta_leader stream_without_leader consumer_without_leader"),
        ("n3", "degraded route_missing", "degraded meta_peer_behind stream_replica_behind"),
    ] },
    Expected { scene: "2.15.1/process-frozen/during", servers: &[
        ("n1", "down not_answering", "unknown server_unreachable"),
        ("n2", "ok", "degraded meta_peer_behind stream_replica_behind"),
        ("n3", "ok", "degraded stream_replica_behind"),
    ] },
    Expected { scene: "2.15.1/single-disk-full-probe", servers: &[
        ("n1", "ok", "degraded assets_unhealthy"),
    ] },
    Expected { scene: "2.15.1/single-stream-corrupted-probe", servers: &[
        ("n1", "ok", "degraded assets_unhealthy"),
    ] },
    Expected { scene: "2.15.1/slow-consumer/during", servers: &[
        ("n1", "degraded slow_consumers", "ok"),
        ("n2", "ok", "ok"),
        ("n3", "ok", "ok"),
    ] },
    Expected { scene: "2.15.1/store-deleted/during", servers: &[
        ("n1", "ok", "degraded assets_unhealthy"),
        ("n2", "ok", "ok"),
        ("n3", "ok", "degraded stream_replica_behind"),
    ] },
    Expected { scene: "2.15.1/store-unwritable/during", servers: &[
        ("n1", "ok", "down switched_off"),
        ("n2", "ok", "degraded meta_peer_behind stream_replica_behind"),
        ("n3", "ok", "ok"),
    ] },
    Expected { scene: "2.15.1/two-nodes-killed/during", servers: &[
        ("n1", "degraded isolated", "down no_meta_leader stream_without_leader consumer_without_leader"),
        ("n2", "down unreachable", "unknown server_unreachable"),
        ("n3", "down unreachable", "unknown server_unreachable"),
    ] },
    Expected { scene: "2.15.1/two-nodes-killed/survivor-restarted", servers: &[
        ("n1", "degraded isolated", "down no_meta_leader stream_without_leader consumer_without_leader"),
        ("n2", "down unreachable", "unknown server_unreachable"),
        ("n3", "down unreachable", "unknown server_unreachable"),
    ] },
];

#[test]
fn each_fault_has_its_state_and_its_reasons_in_the_tier_that_it_is_in() {
    let mut seen = Vec::new();
    let mut wrong = Vec::new();
    for scene in stage::all() {
        let samples = scene.samples();
        let said = |server: &str, tier: &str| {
            let state = samples.state(server, tier).into_iter();
            let labels = [("server", server), ("tier", tier)];
            let reasons = samples.find("nats_tier_reason", &labels);
            let held = reasons.filter(|reason| reason.value() > 0.0);
            let held = held.map(|reason| reason.labels["reason"].clone());
            state.chain(held).collect::<Vec<_>>().join(" ")
        };
        let Some(expected) = EXPECTED.iter().find(|e| e.scene == scene.name) else {
            wrong.push(format!("{}: nothing is expected of it", scene.name));
            continue;
        };
        for (server, base, persistence) in expected.servers {
            for (tier, expected) in [("base", *base), ("persistence", *persistence)] {
                let found = said(server, tier);
                if found != expected {
                    let name = &scene.name;
                    wrong.push(format!("{name} {server} {tier}: {found:?}, not {expected:?}"));
                }
            }
        }
        let servers = samples.find("nats_up", &[]).count();
        assert_eq!(servers, expected.servers.len(), "{}: all servers", scene.name);
        seen.push(scene.name.as_str());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen.len(), EXPECTED.len(), "every scene was played");
}

/// The promise of the two tiers: what goes wrong with JetStream leaves the base tier alone.
#[test]
fn faults_of_the_storage_never_touch_the_base_tier() {
    let of_storage = ["disk-full", "max-file", "store-", "stream-corrupted"];
    let mut checked = 0;
    for expected in EXPECTED {
        if of_storage.iter().any(|fault| expected.scene.contains(fault)) {
            for (server, base, _) in expected.servers {
                assert_eq!(*base, "ok", "{} {server}", expected.scene);
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "the faults are still there: {checked}");
}
