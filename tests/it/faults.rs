//! Real clusters that are broken on purpose, and what the exporter says of each server meanwhile.
//!
//! The oldest version whose health endpoint has details, and the newest: they differ most in what
//! they call unwell. Nothing here is about speed: a verdict is waited for as long as servers may
//! take to notice by themselves.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use nats_harness::workload::{Plan, Workload, fill_store};
use nats_harness::{Account, Cluster, Error, Node};

use crate::real_server::{all_well, exporter_of, misjudged_probes, three_servers, truth, verdicts};
use crate::support::exporter::Exporter;
use crate::support::samples::Samples;

/// Servers take up to 20 seconds to notice, and longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

macro_rules! on_versions {
    ($($test:ident $body:ident;)+) => {
        mod v2_10 {
            $(#[tokio::test]
            async fn $test() {
                super::$body("2.10.26").await;
            })+
        }

        mod v2_15 {
            $(#[tokio::test]
            async fn $test() {
                super::$body("2.15.1").await;
            })+
        }
    };
}

on_versions! {
    a_killed_server_is_unreachable_and_missed one_killed;
    a_lost_quorum_is_the_persistence_tiers_business_alone two_killed;
    a_frozen_server_does_not_answer_and_keeps_its_routes one_frozen;
    a_full_disk_is_the_persistence_tiers_business_alone disk_full;
    a_server_in_lame_duck_mode_drains lame_duck;
    a_restart_changes_no_label_but_the_id restarted;
}

/// Three servers with everything on them, and an exporter of all.
struct Scene {
    cluster: Cluster,
    exporter: Exporter,
    _workload: Workload,
}

impl Scene {
    async fn open(version: &str) -> Self {
        Self::around(three_servers(version).await, &[]).await
    }

    async fn around(cluster: Cluster, arguments: &[&str]) -> Self {
        let workload = Workload::make(&cluster, Plan { replicas: 3 }).await.unwrap();
        let exporter = exporter_of(&cluster, arguments);
        let scene = Self { cluster, exporter, _workload: workload };
        scene.recovers().await;
        scene
    }

    /// Waits until both tiers of all servers are ok and nobody is missed.
    async fn recovers(&self) -> Samples {
        let well = |samples: &Samples| {
            samples.find("nats_tier_state", &[("state", "ok")]).count() == 6
                && all_well(samples)
                && samples.find("nats_route_connected", &[]).all(|s| s.text == "1")
        };
        let samples = self.exporter.until("/metrics", PATIENCE, well).await;
        assert!(well(&samples), "not well again: {}", verdicts(&samples));
        samples
    }

    /// A server that does not lead the meta group, and one that does.
    async fn follower_and_leader(&self) -> (&Node, &Node) {
        let leader = self.cluster.meta_leader().await.expect("there is a meta leader");
        let follower = self.cluster.nodes().iter().find(|node| node.index() != leader.index());
        (follower.expect("there are three"), leader)
    }

    fn others(&self, index: usize) -> impl Iterator<Item = &Node> {
        self.cluster.nodes().iter().filter(move |node| node.index() != index)
    }
}

/// A verdict that is waited for: the state, reasons that must hold, and others that may.
#[derive(Debug, Clone, Copy)]
struct Expected<'e> {
    tier: &'e str,
    state: &'e str,
    must: &'e [&'e str],
    may: &'e [&'e str],
}

const fn base<'e>(state: &'e str, must: &'e [&'e str]) -> Expected<'e> {
    Expected { tier: "base", state, must, may: &[] }
}

const fn persistence<'e>(state: &'e str, must: &'e [&'e str]) -> Expected<'e> {
    Expected { tier: "persistence", state, must, may: &[] }
}

impl<'e> Expected<'e> {
    const fn or_also(mut self, may: &'e [&'e str]) -> Self {
        self.may = may;
        self
    }

    fn holds(&self, samples: &Samples, server: &str) -> bool {
        let reasons = samples.reasons(server, self.tier);
        samples.state(server, self.tier).as_deref() == Some(self.state)
            && self.must.iter().all(|reason| reasons.contains(*reason))
            && reasons
                .iter()
                .all(|r| self.must.contains(&r.as_str()) || self.may.contains(&r.as_str()))
    }
}

/// Scrapes until every verdict is as expected in one and the same scrape.
async fn says(exporter: &Exporter, expected: &[(&Node, Expected<'_>)]) -> Samples {
    let holds = |samples: &Samples| expected.iter().all(|(node, e)| e.holds(samples, &node.name()));
    let samples = exporter.until("/metrics", PATIENCE, holds).await;
    let mut wrong = String::new();
    for (node, expected) in expected {
        if !expected.holds(&samples, &node.name()) {
            let _ = writeln!(wrong, "{} is not {expected:?}", node.name());
        }
    }
    assert!(wrong.is_empty(), "{wrong}{}", verdicts(&samples));
    samples
}

/// Nothing is left of a server that does not answer but that it does not, under its old labels.
fn nothing_is_stale(samples: &Samples, node: &Node) {
    let name = node.name();
    let server = [("server", name.as_str())];
    assert_eq!(samples.value("nats_up", &server), Some(0.0));
    assert_eq!(samples.find("nats_up", &[("nats_cluster", "C1")]).count(), 3);
    let said: BTreeSet<_> = samples
        .0
        .iter()
        .filter(|sample| sample.labels.get("server") == Some(&name))
        .map(|sample| sample.name.as_str())
        .filter(|name| !name.starts_with("nats_exporter_"))
        .filter(|name| !name.ends_with("_probe_would_fail"))
        .collect();
    let expected = [
        "nats_health_check_duration_seconds",
        "nats_health_check_ok",
        "nats_tier_reason",
        "nats_tier_state",
        "nats_up",
    ];
    assert_eq!(said, expected.into());
    // A kubelet gets no answer either, on any path.
    let probes = ["nats_health_probe_would_fail", "nats_jetstream_health_probe_would_fail"];
    let probes: Vec<_> = probes.iter().flat_map(|probe| samples.find(probe, &server)).collect();
    assert!(probes.len() == 3 && probes.iter().all(|probe| probe.text == "1"), "{probes:?}");
    let checks: Vec<_> = samples.find("nats_health_check_ok", &server).collect();
    assert!(checks.iter().all(|s| s.labels["check"] == "varz" && s.text == "0"), "{checks:?}");
    assert_eq!(samples.find("nats_exporter_endpoint_up", &server).count(), 6);
    assert!(samples.find("nats_exporter_endpoint_up", &server).all(|s| s.text == "0"));
    // Nor does anything go on naming it as a leader: those who do are not asked.
    for leader in ["nats_jetstream_stream_leader_info", "nats_jetstream_consumer_leader_info"] {
        assert_eq!(samples.find(leader, &[("leader", &name)]).count(), 0);
    }
}

/// What a client is told by the leaders says which server has to complain of a replica; of the meta
/// group, clients are told only who leads it, so `away` says whether a member is away.
async fn complaints<'n>(
    cluster: &Cluster,
    survivors: impl Iterator<Item = &'n Node>,
    away: bool,
) -> Vec<(&'n Node, Vec<&'static str>)> {
    let told = truth::streams(cluster, true).await.unwrap_or_default();
    let leader = cluster.meta_leader().await.map(Node::index);
    let complaints = survivors.map(|node| {
        let behind = told.iter().filter(|stream| stream.info["cluster"]["leader"] == node.name());
        let behind = behind.filter_map(|s| s.info["cluster"]["replicas"].as_array()).flatten();
        let mut reasons = Vec::new();
        if behind.into_iter().any(|replica| replica["current"] != true) {
            reasons.push("stream_replica_behind");
        }
        if away && leader == Some(node.index()) {
            reasons.push("meta_peer_behind");
        }
        (node, reasons)
    });
    complaints.collect()
}

/// Waits until each survivor complains of what it leads and of nothing else.
async fn survivors_complain(scene: &Scene, dead: &Node) -> Samples {
    complain(scene, dead, true).await
}

async fn complain(scene: &Scene, dead: &Node, away: bool) -> Samples {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let before = complaints(&scene.cluster, scene.others(dead.index()), away).await;
        let samples = scene.exporter.samples("/metrics").await;
        let holds = before.iter().all(|(node, reasons)| {
            let state = if reasons.is_empty() { "ok" } else { "degraded" };
            persistence(state, reasons).holds(&samples, &node.name())
        });
        // Replicas count as current for ten seconds after their end, so at first nobody complains.
        if holds && before.iter().any(|(_, reasons)| reasons.contains(&"stream_replica_behind")) {
            return samples;
        }
        assert!(
            std::time::Instant::now() < end,
            "they should say {:?}, and say{}",
            before.iter().map(|(node, reasons)| (node.name(), reasons)).collect::<Vec<_>>(),
            verdicts(&samples)
        );
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn one_killed(version: &str) {
    let scene = Scene::open(version).await;
    let sidecars: Vec<_> =
        scene.cluster.nodes().iter().map(|node| Exporter::start(&[node.monitor_url()])).collect();
    for sidecar in &sidecars {
        sidecar.samples("/metrics").await;
    }
    let (follower, leader) = scene.follower_and_leader().await;
    // The second time the meta leader goes, and with it the views that only it had.
    for dead in [follower, leader] {
        dead.kill().await.unwrap();
        let mut expected = vec![
            (dead, base("down", &["unreachable"])),
            (dead, persistence("unknown", &["server_unreachable"])),
        ];
        expected
            .extend(scene.others(dead.index()).map(|n| (n, base("degraded", &["route_missing"]))));
        let samples = says(&scene.exporter, &expected).await;
        nothing_is_stale(&samples, dead);
        let name = dead.name();
        let remote = [("remote", name.as_str())];
        let missed = samples.find("nats_route_connected", &remote);
        assert_eq!(missed.filter(|sample| sample.text == "0").count(), 2);

        let samples = survivors_complain(&scene, dead).await;
        nothing_is_stale(&samples, dead);
        sidecars_say_the_same(&scene, &sidecars, &expected).await;

        dead.start().await.unwrap();
        scene.recovers().await;
        let expected: Vec<_> = scene
            .cluster
            .nodes()
            .iter()
            .flat_map(|node| [(node, base("ok", &[])), (node, persistence("ok", &[]))])
            .collect();
        sidecars_say_the_same(&scene, &sidecars, &expected).await;
    }
}

/// An exporter beside a server judges it as the exporter of all does.
async fn sidecars_say_the_same(
    scene: &Scene,
    sidecars: &[Exporter],
    expected: &[(&Node, Expected<'_>)],
) {
    for (node, sidecar) in scene.cluster.nodes().iter().zip(sidecars) {
        let own: Vec<_> =
            expected.iter().filter(|(of, _)| of.index() == node.index()).copied().collect();
        let samples = says(sidecar, &own).await;
        assert_eq!(samples.find("nats_up", &[]).count(), 1);
    }
}

async fn two_killed(version: &str) {
    let scene = Scene::open(version).await;
    let (_, survivor) = scene.follower_and_leader().await;
    let dead: Vec<_> = scene.others(survivor.index()).collect();
    for node in &dead {
        node.kill().await.unwrap();
    }
    // Core messaging goes on at once for the clients of the survivor, and so does its tier.
    let client = scene.cluster.client(Account::App, survivor.index()).await.unwrap();
    client.flush().await.unwrap();
    let lost = persistence("down", &["no_meta_leader", "stream_without_leader"])
        .or_also(&["consumer_without_leader"]);
    let mut expected = vec![(survivor, base("degraded", &["isolated"])), (survivor, lost)];
    for node in &dead {
        expected.push((node, base("down", &["unreachable"])));
        expected.push((node, persistence("unknown", &["server_unreachable"])));
    }
    let samples = says(&scene.exporter, &expected).await;
    for node in &dead {
        nothing_is_stale(&samples, node);
    }
    let name = survivor.name();
    let server = [("server", name.as_str())];
    assert_eq!(samples.value("nats_jetstream_meta_leader_known", &server), Some(0.0));
    assert_eq!(samples.value("nats_jetstream_meta_is_leader", &server), Some(0.0));
    // No leader, so nobody speaks for a replicated stream; the replica is still there.
    let orders = [("stream", "ORDERS")];
    assert_eq!(samples.value("nats_jetstream_stream_messages", &orders), None);
    assert_eq!(samples.value("nats_jetstream_stream_is_leader", &orders), Some(0.0));

    let samples = probes_are_foreseen_soon(&scene.exporter, survivor).await;
    let fails = |path: &str| probe_fails(&samples, survivor, path);
    assert_eq!(fails("/healthz"), ("persistence", true));
    assert_eq!(fails("/healthz?js-enabled-only=true"), ("persistence", false));
    // This is the trap: the same path, and only one version would have its server restarted.
    let server_only = if scene.cluster.version_is_at_least(2, 11) {
        ("base", false)
    } else {
        ("persistence", true)
    };
    assert_eq!(fails("/healthz?js-server-only=true"), server_only);

    // With the second server the quorum is back; one is still missed.
    dead[0].start().await.unwrap();
    says(
        &scene.exporter,
        &[
            (survivor, base("degraded", &["route_missing"])),
            (dead[0], base("degraded", &["route_missing"])),
            (dead[1], base("down", &["unreachable"])),
        ],
    )
    .await;
    // There is a meta leader again. Streams in memory may have none until all three are back: a
    // replica that came back empty has no vote.
    let back = |samples: &Samples| {
        let known = samples.find("nats_jetstream_meta_leader_known", &[]);
        let led = samples.value("nats_jetstream_stream_messages", &[("stream", "ORDERS")]);
        known.filter(|sample| sample.text == "1").count() == 2 && led.is_some()
    };
    // Two servers of 2.10 were seen to be without a meta leader for more than a minute.
    let samples = scene.exporter.until("/metrics", 4 * PATIENCE, back).await;
    assert!(back(&samples), "{}", verdicts(&samples));
    dead[1].start().await.unwrap();
    scene.recovers().await;
}

/// Which tier says whether a probe on `path` would fail, and what it says.
fn probe_fails(samples: &Samples, node: &Node, path: &str) -> (&'static str, bool) {
    let name = node.name();
    let labels = [("server", name.as_str()), ("path", path)];
    let base = samples.value("nats_health_probe_would_fail", &labels);
    let persistence = samples.value("nats_jetstream_health_probe_would_fail", &labels);
    match (base, persistence) {
        (Some(fails), None) => ("base", fails > 0.5),
        (None, Some(fails)) => ("persistence", fails > 0.5),
        both => panic!("{path} is said by both tiers or none: {both:?}"),
    }
}

/// Scrapes until what is said of probes is what probes get; in between the servers may change
/// their mind.
async fn probes_are_foreseen_soon(exporter: &Exporter, node: &Node) -> Samples {
    let mut wrong = Vec::new();
    for _ in 0..20 {
        let samples = exporter.samples("/metrics").await;
        wrong = misjudged_probes(node, &samples).await;
        if wrong.is_empty() {
            return samples;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    panic!("{wrong:#?}");
}

async fn one_frozen(version: &str) {
    // A short scrape, because each waits for the frozen server to its end.
    let scene = Scene::around(three_servers(version).await, &["--scrape.timeout=2s"]).await;
    let (follower, leader) = scene.follower_and_leader().await;
    for frozen in [follower, leader] {
        frozen.freeze().await.unwrap();
        let expected = [
            (frozen, base("down", &["not_answering"])),
            (frozen, persistence("unknown", &["server_unreachable"])),
        ];
        let samples = says(&scene.exporter, &expected).await;
        nothing_is_stale(&samples, frozen);
        survivors_complain(&scene, frozen).await;
        // Nobody has closed the connections, so the routes still count.
        let mut expected = expected.to_vec();
        expected.extend(scene.others(frozen.index()).map(|node| (node, base("ok", &[]))));
        says(&scene.exporter, &expected).await;
        frozen.thaw().await.unwrap();
        scene.recovers().await;
    }
}

async fn lame_duck(version: &str) {
    let scene = Scene::open(version).await;
    let (duck, _) = scene.follower_and_leader().await;
    // Without clients to send away, some versions end at once.
    let client = scene.cluster.client(Account::App, duck.index()).await.unwrap();
    client.flush().await.unwrap();
    duck.lame_duck().await.unwrap();
    let mut expected =
        vec![(duck, base("degraded", &["draining"])), (duck, persistence("down", &["draining"]))];
    expected.extend(scene.others(duck.index()).map(|node| (node, base("ok", &[]))));
    let samples = says(&scene.exporter, &expected).await;
    let name = duck.name();
    let server = [("server", name.as_str())];
    assert_eq!(samples.value("nats_up", &server), Some(1.0));
    assert_eq!(samples.value("nats_jetstream_enabled", &server), Some(0.0));
    assert_eq!(samples.value("nats_jetstream_streams", &server), None, "the old numbers are gone");
    let samples = probes_are_foreseen_soon(&scene.exporter, duck).await;
    for path in ["/healthz", "/healthz?js-enabled-only=true", "/healthz?js-server-only=true"] {
        assert!(probe_fails(&samples, duck, path).1, "{path}");
    }

    let mut expected = vec![
        (duck, base("down", &["unreachable"])),
        (duck, persistence("unknown", &["server_unreachable"])),
    ];
    expected.extend(scene.others(duck.index()).map(|n| (n, base("degraded", &["route_missing"]))));
    let samples = says(&scene.exporter, &expected).await;
    nothing_is_stale(&samples, duck);
    duck.start().await.unwrap();
    // That it is whole again is of the base tier: 2.10 may call a stream in memory unhealthy for minutes after a restart.
    let expected: Vec<_> =
        scene.cluster.nodes().iter().map(|node| (node, base("ok", &[]))).collect();
    says(&scene.exporter, &expected).await;
}

async fn restarted(version: &str) {
    let scene = Scene::open(version).await;
    let (node, _) = scene.follower_and_leader().await;
    let client = scene.cluster.client(Account::App, node.index()).await.unwrap();
    for _ in 0..50_000 {
        client.publish("chat.room", "hello".into()).await.unwrap();
    }
    client.flush().await.unwrap();
    let before = scene.recovers().await;
    node.restart().await.unwrap();
    let after = scene.recovers().await;

    let name = node.name();
    let server = [("server", name.as_str())];
    // The paths that were asked are new with the process, and so are the moments of its clients.
    let lasting = |samples: &Samples| -> BTreeSet<_> {
        samples
            .0
            .iter()
            .filter(|sample| sample.labels.get("server") == Some(&name))
            .filter(|sample| sample.name.starts_with("nats_server_") || sample.name == "nats_up")
            .filter(|sample| {
                !["nats_server_info", "nats_server_http_requests_total"]
                    .contains(&sample.name.as_str())
            })
            .map(|sample| (sample.name.clone(), sample.labels.clone()))
            .collect()
    };
    assert_eq!(lasting(&before), lasting(&after));
    let id = |samples: &Samples| {
        let infos: Vec<_> = samples.find("nats_server_info", &server).collect();
        assert_eq!(infos.len(), 1);
        infos[0].labels["server_id"].clone()
    };
    let (old, new) = (id(&before), id(&after));
    assert_ne!(old, new);
    let with_an_id: BTreeSet<_> = after
        .0
        .iter()
        .filter(|sample| sample.labels.values().any(|value| *value == old || *value == new))
        .map(|sample| sample.name.as_str())
        .collect();
    assert_eq!(with_an_id, ["nats_server_info"].into());
    let value = |samples: &Samples, name| samples.value(name, &server).unwrap();
    let messages = "nats_server_in_messages_total";
    assert!(value(&before, messages) >= 50_000.0);
    assert!(value(&after, messages) < 50_000.0, "counters start again");
    let start = "nats_server_start_time_seconds";
    assert!(value(&after, start) > value(&before, start));
}

async fn disk_full(version: &str) {
    let builder = Cluster::builder(version).nodes(3).jetstream(true).accounts(true);
    let cluster = match builder.store_size(0, 12 << 20).start().await {
        Err(Error::NamespacesUnavailable { reason }) => {
            return nats_harness::leave_out(&format!("mount namespaces, refused here: {reason}"));
        }
        started => started.unwrap(),
    };
    let scene = Scene::around(cluster, &[]).await;
    let full = scene.cluster.node(0);
    let samples = fill_until_switched_off(&scene, full).await;
    let is_off = samples.reasons(&full.name(), "persistence").contains("switched_off");
    if is_off {
        switched_off(&scene, full).await;
    } else {
        assert!(scene.cluster.version_is_at_least(2, 14), "{}", verdicts(&samples));
        broken_store(&scene, full).await;
    }
    let samples = complain(&scene, full, is_off).await;
    for node in scene.others(full.index()) {
        assert!(base("ok", &[]).holds(&samples, &node.name()));
    }
    full.set_store_size(Some(256 << 20));
    full.restart().await.unwrap();
    scene.recovers().await;
}

/// Publishes more than the store holds, until JetStream of the server is off. The newest servers may
/// go on without the streams that they could not write; then the last samples tell of these.
async fn fill_until_switched_off(scene: &Scene, full: &Node) -> Samples {
    let off =
        |samples: &Samples| samples.reasons(&full.name(), "persistence").contains("switched_off");
    let mut bytes = 24 << 20;
    for _ in 0..8 {
        fill_store(&scene.cluster, bytes).await.unwrap();
        bytes = 4 << 20;
        let samples = scene.exporter.until("/metrics", Duration::from_secs(3), off).await;
        if off(&samples) {
            return samples;
        }
    }
    scene.exporter.samples("/metrics").await
}

/// JetStream is configured and off, and core messaging goes on.
async fn switched_off(scene: &Scene, full: &Node) {
    let off = [(full, persistence("down", &["switched_off"])), (full, base("ok", &[]))];
    let samples = says(&scene.exporter, &off).await;
    let name = full.name();
    let server = [("server", name.as_str())];
    assert_eq!(samples.value("nats_jetstream_enabled", &server), Some(0.0));
    assert_eq!(samples.value("nats_jetstream_configured", &server), Some(1.0));
    // `/varz` still has the last numbers.
    assert_eq!(samples.value("nats_jetstream_storage_used_bytes", &server), None);
    assert_eq!(samples.find("nats_jetstream_stream_is_leader", &server).count(), 0);
    let samples = probes_are_foreseen_soon(&scene.exporter, full).await;
    let fails = |path: &str| probe_fails(&samples, full, path);
    assert_eq!(fails("/healthz"), ("persistence", true));
    assert_eq!(fails("/healthz?js-enabled-only=true"), ("persistence", true));
    let server_only = if scene.cluster.version_is_at_least(2, 11) {
        ("base", false)
    } else {
        ("persistence", true)
    };
    assert_eq!(fails("/healthz?js-server-only=true"), server_only);
}

/// JetStream is on and has streams that it cannot write, which the server names.
async fn broken_store(scene: &Scene, full: &Node) {
    let broken = persistence("degraded", &["assets_unhealthy"]).or_also(&[
        "meta_peer_behind",
        "stream_replica_behind",
        "stream_without_leader",
        "consumer_without_leader",
    ]);
    let samples = says(&scene.exporter, &[(full, broken), (full, base("ok", &[]))]).await;
    let name = full.name();
    let stream = [("server", name.as_str()), ("stream", "FILL"), ("type", "stream")];
    assert_eq!(samples.value("nats_jetstream_health_failing_asset_info", &stream), Some(1.0));
    let samples = probes_are_foreseen_soon(&scene.exporter, full).await;
    let fails = |path: &str| probe_fails(&samples, full, path);
    assert_eq!(fails("/healthz"), ("persistence", true));
    assert_eq!(fails("/healthz?js-enabled-only=true"), ("persistence", false));
    assert_eq!(fails("/healthz?js-server-only=true"), ("base", false));
}
