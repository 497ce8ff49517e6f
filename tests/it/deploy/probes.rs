//! The probes of `deploy/kubernetes/sidecar`, asked of real servers in trouble as a kubelet asks them.
//!
//! The values are put on the container of the NATS chart in the way of the chart: maps are merged, lists replaced, and
//! then comes the JSON patch. What is known of the chart is [`chart`].

use std::time::{Duration, Instant};

use nats_harness::workload::fill_store;
use nats_harness::{Account, Cluster, Error, Node, VERSIONS, leave_out};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::yaml;

/// Later than any server notices anything, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(200);
/// As many failures in a row as it takes for the kubelet to do something.
const FAILURES: usize = 3;

/// For every version of nats-server.
pub(super) const VALUES: &str = "deploy/kubernetes/sidecar/values.yaml";
/// Over those, for 2.11 and later.
pub(super) const VALUES_2_11: &str = "deploy/kubernetes/sidecar/values-2.11.yaml";

/// The probes of the chart's own container, the same since its version 1.0.0.
fn chart() -> Value {
    let probe = |path: &str, period: u32, failures: u32| {
        json!({
            "httpGet": {"path": path, "port": "monitor"},
            "initialDelaySeconds": 10, "timeoutSeconds": 5, "periodSeconds": period,
            "successThreshold": 1, "failureThreshold": failures,
        })
    };
    json!({
        "startupProbe": probe("/healthz", 10, 90),
        "readinessProbe": probe("/healthz?js-server-only=true", 10, 3),
        "livenessProbe": probe("/healthz?js-enabled-only=true", 30, 3),
    })
}

/// What Helm does with values over values, and the chart with a merge: maps are merged, all else is replaced.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// The two operations of JSON patches that the values have.
fn patch(document: &mut Value, operation: &Value) {
    let path = operation["path"].as_str().unwrap();
    let (parent, key) = path.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).and_then(Value::as_object_mut).unwrap();
    match operation["op"].as_str() {
        Some("add") => drop(parent.insert(key.to_owned(), operation["value"].clone())),
        Some("remove") => assert!(parent.remove(key).is_some(), "{path} is not there"),
        other => panic!("{other:?} is not known here"),
    }
}

/// The container of nats-server that comes of the chart with these files of values, one over the other.
fn container(files: &[&str]) -> Value {
    let mut values = json!({});
    for file in files {
        for document in yaml(file) {
            merge(&mut values, &document);
        }
    }
    let mut container = chart();
    merge(&mut container, &values["container"]["merge"]);
    for operation in values["container"]["patch"].as_array().unwrap() {
        patch(&mut container, operation);
    }
    container
}

/// Where a probe goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// A request to the monitoring port.
    Http(String),
    /// A connection to the client port.
    Client,
}

impl Way {
    fn of(probe: &Value) -> Self {
        match (&probe["httpGet"], &probe["tcpSocket"]) {
            (http, Value::Null) if http["port"] == "monitor" => {
                Self::Http(http["path"].as_str().unwrap().to_owned())
            }
            (Value::Null, tcp) if tcp["port"] == "nats" => Self::Client,
            _ => panic!("this probe has no way or two: {probe}"),
        }
    }

    async fn once(&self, node: &Node) -> bool {
        match self {
            Self::Http(path) => {
                node.get(path).await.is_ok_and(|answer| (200..400).contains(&answer.status))
            }
            Self::Client => {
                let address = node.client_url().replace("nats://", "");
                let connection = tokio::time::timeout(PATIENCE, TcpStream::connect(address));
                connection.await.is_ok_and(|connection| connection.is_ok())
            }
        }
    }

    /// Whether the kubelet leaves the container alone: not so many failures in a row.
    async fn passes(&self, node: &Node) -> bool {
        for _ in 0..FAILURES {
            if self.once(node).await {
                return true;
            }
        }
        false
    }

    /// Waits until the probe passes, or until it fails.
    async fn becomes(&self, node: &Node, passing: bool, when: &str) {
        let end = Instant::now() + PATIENCE;
        while self.passes(node).await != passing {
            let wanted = if passing { "pass" } else { "fail" };
            assert!(Instant::now() < end, "{self:?} should {wanted} {when}");
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The probes of a container.
struct Probes {
    startup: Way,
    readiness: Way,
    liveness: Way,
}

impl Probes {
    fn of(container: &Value) -> Self {
        let way = |name| Way::of(&container[name]);
        Self {
            startup: way("startupProbe"),
            readiness: way("readinessProbe"),
            liveness: way("livenessProbe"),
        }
    }

    /// That none of them fails, at each of several times.
    async fn all_pass(&self, node: &Node, when: &str) {
        for _ in 0..10 {
            for way in [&self.startup, &self.readiness, &self.liveness] {
                assert!(way.passes(node).await, "{way:?} fails {when}, on {}", node.name());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn is_at_least_2_11(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap());
    (parts.next(), parts.next()) >= (Some(2), Some(11))
}

/// The sets of values that are meant for this version.
fn sets(version: &str) -> Vec<Probes> {
    let mut sets = vec![Probes::of(&container(&[VALUES]))];
    if is_at_least_2_11(version) {
        sets.push(Probes::of(&container(&[VALUES, VALUES_2_11])));
    }
    sets
}

async fn all_pass(sets: &[Probes], node: &Node, when: &str) {
    for probes in sets {
        probes.all_pass(node, when).await;
    }
}

macro_rules! on_versions {
    ($($module:ident $version:literal)+) => {
        $(mod $module {
            #[tokio::test]
            async fn no_probe_fails_because_of_jetstream() {
                super::jetstream_breaks($version).await;
            }

            #[tokio::test]
            async fn probes_fail_when_the_server_is_not_ready_or_gone() {
                super::servers_go($version).await;
            }
        })+

        const TESTED: &[&str] = &[$($version),+];
    };
}

on_versions! {
    v2_9 "2.9.10"
    v2_10 "2.10.26"
    v2_11 "2.11.11"
    v2_12 "2.12.8"
    v2_14 "2.14.6"
    v2_15 "2.15.1"
}

#[test]
fn every_version_is_tried() {
    assert_eq!(TESTED, VERSIONS.as_slice());
}

/// The incident: a full disk breaks JetStream of a server, and then it loses its meta leader as well. The chart's own
/// probes would restart it, and these do not.
async fn jetstream_breaks(version: &str) {
    let sets = sets(version);
    let chart = Probes::of(&chart());
    let builder = Cluster::builder(version).nodes(3).jetstream(true).accounts(true);
    let cluster = match builder.store_size(0, 12 << 20).start().await {
        Err(Error::NamespacesUnavailable { reason }) => {
            return leave_out(&format!("mount namespaces, refused here: {reason}"));
        }
        started => started.unwrap(),
    };
    let full = cluster.node(0);
    all_pass(&sets, full, "while all is well").await;

    // These switch JetStream off; older and newer ones go on with streams that they cannot write.
    let switches_off = cluster.version_is_at_least(2, 10) && !cluster.version_is_at_least(2, 14);
    let broken = if switches_off { &chart.liveness } else { &chart.startup };
    fill_until(&cluster, broken, full).await;
    all_pass(&sets, full, "while the disk is full").await;
    assert!(!broken.passes(full).await, "JetStream was broken all the time");

    // Somebody restarts it, with the disk as small as it was.
    full.restart().await.unwrap();
    for probes in &sets {
        probes.startup.becomes(full, true, "after a start").await;
    }
    all_pass(&sets, full, "after a restart with the small disk").await;

    // Without the two others there is no quorum, and no meta leader.
    cluster.node(1).kill().await.unwrap();
    cluster.node(2).kill().await.unwrap();
    chart.startup.becomes(full, false, "without a quorum").await;
    if !is_at_least_2_11(version) {
        chart.readiness.becomes(full, false, "without a quorum").await;
    }
    all_pass(&sets, full, "without a quorum").await;
}

/// Publishes more than the store holds, until `way` fails on that server, and not just during an election.
async fn fill_until(cluster: &Cluster, way: &Way, full: &Node) {
    let mut bytes = 24 << 20;
    let end = Instant::now() + PATIENCE;
    let mut failures = 0;
    while failures < 10 {
        assert!(Instant::now() < end, "JetStream of {} cannot be broken", full.name());
        if way.passes(full).await {
            failures = 0;
            // What it refuses, and that it does not answer any more, is what is wanted.
            let _ = fill_store(cluster, bytes).await;
            bytes = 4 << 20;
        } else {
            failures += 1;
            tokio::time::sleep(POLL).await;
        }
    }
}

/// What probes are for: a frozen process is found dead, and a server that takes no clients is not ready.
async fn servers_go(version: &str) {
    let sets = sets(version);
    let builder = Cluster::builder(version).nodes(3).jetstream(true);
    let cluster = builder
        .extra_config("lame_duck_duration: \"60s\"\nlame_duck_grace_period: \"30s\"")
        .start()
        .await
        .unwrap();

    let frozen = cluster.node(0);
    frozen.freeze().await.unwrap();
    for probes in &sets {
        probes.liveness.becomes(frozen, false, "of a frozen process").await;
    }
    frozen.thaw().await.unwrap();
    for probes in &sets {
        probes.liveness.becomes(frozen, true, "of a process that goes on").await;
    }

    // Without clients to send away, some versions end at once.
    let duck = cluster.node(1);
    let client = cluster.client(Account::App, duck.index()).await.unwrap();
    client.flush().await.unwrap();
    duck.lame_duck().await.unwrap();
    for probes in &sets {
        probes.readiness.becomes(duck, false, "in lame duck mode").await;
        assert!(duck.is_alive(), "it has ended before its probes were asked");
        assert!(probes.liveness.passes(duck).await, "it is not dead while it drains");
    }

    let gone = cluster.node(2);
    gone.kill().await.unwrap();
    for probes in &sets {
        for way in [&probes.startup, &probes.readiness, &probes.liveness] {
            assert!(!way.passes(gone).await, "{way:?} passes on a server that is gone");
        }
    }
}

/// What a kubelet does with these probes takes as long as it should.
#[test]
fn probes_are_patient_where_a_restart_would_do_harm() {
    for files in [&[VALUES][..], &[VALUES, VALUES_2_11]] {
        let container = container(files);
        let seconds = |probe: &str| {
            let number = |field| container[probe][field].as_u64().unwrap();
            number("periodSeconds") * number("failureThreshold")
        };
        assert!(seconds("startupProbe") >= 3600, "recovery of a large store takes long");
        assert!(seconds("livenessProbe") >= 60, "a pause of the machine is no death");
        assert_eq!(Way::of(&container["livenessProbe"]), Way::Http("/".to_owned()));
    }
}

/// In front of a version that is not known, only what is right for all of them.
#[test]
fn values_for_all_versions_do_not_ask_for_health() {
    let probes = Probes::of(&container(&[VALUES]));
    for way in [probes.startup, probes.readiness, probes.liveness] {
        assert!(!matches!(&way, Way::Http(path) if path.contains("healthz")), "{way:?}");
    }
}
