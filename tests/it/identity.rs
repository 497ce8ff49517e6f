//! Under which labels a server is shown: learned, kept, changed and configured names.

use std::collections::BTreeSet;
use std::time::Duration;

use nats_harness::workload::{Plan, Workload};
use nats_harness::{Account, Cluster, Node, newest};

use crate::real_server::{all_well, exporter_of, three_servers, verdicts};
use crate::support::exporter::Exporter;
use crate::support::samples::Samples;

const PATIENCE: Duration = Duration::from_secs(30);

async fn one_server() -> Cluster {
    Cluster::builder(newest()).start().await.unwrap()
}

fn address(node: &Node) -> String {
    format!("127.0.0.1:{}", node.monitor_port())
}

/// `nats_cluster` and `server` of each `nats_up`, with its value.
fn servers(samples: &Samples) -> BTreeSet<(String, String, bool)> {
    let label = |labels: &std::collections::BTreeMap<String, String>, name: &str| {
        labels.get(name).cloned().unwrap_or_default()
    };
    let ups = samples.find("nats_up", &[]);
    ups.map(|up| (label(&up.labels, "nats_cluster"), label(&up.labels, "server"), up.text == "1"))
        .collect()
}

fn server(cluster: &str, server: &str, up: bool) -> (String, String, bool) {
    (cluster.to_owned(), server.to_owned(), up)
}

/// Waits until `nats_up` is there for exactly these servers.
async fn shows(exporter: &Exporter, expected: &[(String, String, bool)]) -> Samples {
    let expected: BTreeSet<_> = expected.iter().cloned().collect();
    let samples = exporter.until("/metrics", PATIENCE, |s| servers(s) == expected).await;
    assert_eq!(servers(&samples), expected);
    // No series of a server has other labels than its `nats_up`.
    let names: BTreeSet<_> = expected.iter().map(|(_, name, _)| name.as_str()).collect();
    let others = samples.0.iter().filter_map(|sample| sample.labels.get("server"));
    assert_eq!(others.map(String::as_str).collect::<BTreeSet<_>>(), names);
    samples
}

#[tokio::test]
async fn a_name_is_kept_while_the_server_is_down() {
    let cluster = one_server().await;
    let exporter = exporter_of(&cluster, &[]);
    shows(&exporter, &[server("n1", "n1", true)]).await;
    cluster.node(0).kill().await.unwrap();
    let samples = shows(&exporter, &[server("n1", "n1", false)]).await;
    assert!(!samples.names().iter().any(|name| name.starts_with("nats_server_")));
    assert_eq!(samples.state("n1", "base").as_deref(), Some("down"));
    cluster.node(0).start().await.unwrap();
    shows(&exporter, &[server("n1", "n1", true)]).await;
}

#[tokio::test]
async fn a_server_that_was_never_seen_is_called_by_its_address_until_it_comes() {
    let cluster = one_server().await;
    let node = cluster.node(0);
    node.kill().await.unwrap();
    let exporter = exporter_of(&cluster, &[]);
    let samples = shows(&exporter, &[server("", &address(node), false)]).await;
    assert_eq!(samples.state(&address(node), "base").as_deref(), Some("down"));
    assert_eq!(samples.state(&address(node), "persistence").as_deref(), Some("unknown"));
    node.start().await.unwrap();
    let samples = shows(&exporter, &[server("n1", "n1", true)]).await;
    assert_eq!(samples.state("n1", "base").as_deref(), Some("ok"));
}

/// Its name is its id, which is new at every start.
#[tokio::test]
async fn a_server_without_a_name_is_called_by_its_address() {
    let cluster = Cluster::builder(newest()).nodes(2).server_names(false).start().await.unwrap();
    let exporter = exporter_of(&cluster, &[]);
    let expected: Vec<_> =
        cluster.nodes().iter().map(|node| server("C1", &address(node), true)).collect();
    let samples = shows(&exporter, &expected).await;
    // Peers are counted and not named.
    assert!(samples.find("nats_route_peers", &[]).all(|sample| sample.text == "1"));
    assert_eq!(samples.find("nats_route_connected", &[]).count(), 0);
    let old = cluster.node(0).name();
    cluster.node(0).restart().await.unwrap();
    cluster.wait_ready().await.unwrap();
    let samples = shows(&exporter, &expected).await;
    assert_ne!(cluster.node(0).name(), old);
    // Both ids of the first server at most in the one place where they belong.
    let ids = [old, cluster.node(0).name()];
    let with_id = samples.0.iter().filter(|s| s.labels.values().any(|v| ids.contains(v)));
    assert!(with_id.map(|sample| &*sample.name).all(|name| name == "nats_server_info"));
}

#[tokio::test]
async fn a_renamed_server_is_shown_under_its_new_name_alone() {
    let cluster = Cluster::builder(newest()).nodes(2).start().await.unwrap();
    let exporter = exporter_of(&cluster, &[]);
    shows(&exporter, &[server("C1", "n1", true), server("C1", "n2", true)]).await;
    cluster.node(1).rename_and_restart("other").await.unwrap();
    cluster.wait_ready().await.unwrap();
    let samples = shows(&exporter, &[server("C1", "n1", true), server("C1", "other", true)]).await;
    assert_eq!(samples.state("n1", "base").as_deref(), Some("ok"));
    // The old name is nobody's, so nobody misses it.
    let remotes: BTreeSet<_> =
        samples.find("nats_route_connected", &[]).map(|s| s.labels["remote"].clone()).collect();
    assert_eq!(remotes, ["n1".to_owned(), "other".to_owned()].into());
}

/// Series by name and labels, without those that say who leads: they are to change.
fn lasting(samples: &Samples) -> BTreeSet<String> {
    // A replica was not heard from until the new leader has spoken with it.
    let varying =
        |name: &str| name.ends_with("_last_seen_seconds") || name.starts_with("nats_exporter_");
    let lasting = samples.0.iter().filter(|s| !s.name.ends_with("_info") && !varying(&s.name));
    lasting.map(|sample| format!("{} {:?}", sample.name, sample.labels)).collect()
}

/// An election of the meta group, of every stream and of every consumer.
#[tokio::test]
async fn an_election_starts_no_series_and_ends_none() {
    let cluster = three_servers(newest()).await;
    let _workload = Workload::make(&cluster, Plan { replicas: 3 }).await.unwrap();
    let exporter = exporter_of(&cluster, &["--jetstream.fold-ephemeral-consumers=true"]);
    // What the stream of sources has not copied yet would begin a series later.
    let copied = |samples: &Samples| {
        let first = "nats_jetstream_stream_first_timestamp_seconds";
        all_well(samples) && samples.find(first, &[("stream", "AGG")]).count() == 1
    };
    let before = exporter.until("/metrics", PATIENCE, copied).await;
    assert!(copied(&before), "{}", verdicts(&before));
    let leaders = |samples: &Samples| -> BTreeSet<String> {
        let leaders = samples.0.iter().filter(|s| s.name.ends_with("_leader_info"));
        leaders.map(|sample| format!("{} {:?}", sample.name, sample.labels)).collect()
    };
    let client = cluster.client(Account::App, 0).await.unwrap();
    for stream in before.find("nats_jetstream_stream_replicas_configured", &[("account", "APP")]) {
        if stream.text == "3" {
            let name = &stream.labels["stream"];
            let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{name}");
            client.request(subject, "".into()).await.unwrap();
            for consumer in
                before.find("nats_jetstream_consumer_pending_messages", &[("stream", name)])
            {
                let consumer = &consumer.labels["consumer"];
                let subject = format!("$JS.API.CONSUMER.LEADER.STEPDOWN.{name}.{consumer}");
                // Those that went along with the stream may have no leader for a moment.
                let _ = client.request(subject, "".into()).await;
            }
        }
    }
    let led =
        |samples: &Samples| all_well(samples) && lasting(samples).len() == lasting(&before).len();
    let after = exporter.until("/metrics", PATIENCE, led).await;
    assert!(leaders(&after).difference(&leaders(&before)).count() > 3, "nobody was elected");
    let (before, after) = (lasting(&before), lasting(&after));
    let changed: Vec<_> = before.symmetric_difference(&after).collect();
    assert!(changed.is_empty(), "{changed:#?}");
}

#[tokio::test]
async fn two_targets_for_one_server_are_one_server() {
    let cluster = one_server().await;
    let node = cluster.node(0);
    let aliases = [node.monitor_url(), format!("http://localhost:{}", node.monitor_port())];
    let exporter = Exporter::start(&aliases);
    let target = format!("localhost:{}", node.monitor_port());
    let duplicate =
        |samples: &Samples| samples.value("nats_exporter_target_duplicate", &[("target", &target)]);
    let samples = shows(&exporter, &[server("n1", "n1", true)]).await;
    assert_eq!(duplicate(&samples), Some(1.0));
    assert_eq!(samples.find("nats_server_connections", &[]).count(), 1);
    // Still one server when it is down: one outage, not two.
    node.kill().await.unwrap();
    let samples = shows(&exporter, &[server("n1", "n1", false)]).await;
    assert_eq!(duplicate(&samples), Some(1.0));
    node.start().await.unwrap();
    let samples = shows(&exporter, &[server("n1", "n1", true)]).await;
    assert_eq!(duplicate(&samples), Some(1.0));
}

#[tokio::test]
async fn two_servers_of_one_name_are_both_shown() {
    let (one, other) = (one_server().await, one_server().await);
    let exporter = Exporter::start(&[one.node(0).monitor_url(), other.node(0).monitor_url()]);
    let expected = [server("n1", "n1", true), server("n1", &address(other.node(0)), true)];
    let samples = shows(&exporter, &expected).await;
    let ids: BTreeSet<_> = samples
        .find("nats_server_info", &[])
        .map(|info| info.labels["server_id"].clone())
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(samples.find("nats_exporter_target_duplicate", &[]).count(), 0);
    // While the first is down, the name stays with it.
    one.node(0).kill().await.unwrap();
    let expected = [server("n1", "n1", false), server("n1", &address(other.node(0)), true)];
    shows(&exporter, &expected).await;
}

#[tokio::test]
async fn the_environment_names_the_cluster() {
    let cluster = Cluster::builder(newest()).nodes(2).start().await.unwrap();
    let urls = cluster.monitor_urls();
    let exporter = Exporter::start_with(&urls, &[("NATS_EXPORTER_CLUSTER", "production")]);
    shows(&exporter, &[server("production", "n1", true), server("production", "n2", true)]).await;
    cluster.node(0).kill().await.unwrap();
    shows(&exporter, &[server("production", "n1", false), server("production", "n2", true)]).await;
}

#[tokio::test]
async fn the_file_names_clusters_and_servers() {
    let cluster = Cluster::builder(newest()).nodes(2).start().await.unwrap();
    let file = cluster.dir().join("exporter.yaml");
    let text = format!(
        "cluster: all\ntargets:\n  - {{url: \"{}\", cluster: east, server: first}}\n  - \"{}\"\n",
        cluster.node(0).monitor_url(),
        cluster.node(1).monitor_url()
    );
    std::fs::write(&file, text).unwrap();
    // A server that is down has its configured labels from the start.
    cluster.node(0).kill().await.unwrap();
    let exporter = Exporter::start(&[format!("--config.file={}", file.display())]);
    shows(&exporter, &[server("east", "first", false), server("all", "n2", true)]).await;
    cluster.node(0).start().await.unwrap();
    let samples =
        shows(&exporter, &[server("east", "first", true), server("all", "n2", true)]).await;
    // What the server calls itself is still told, in one place.
    let info = [("server", "first"), ("server_name", "n1")];
    assert_eq!(samples.value("nats_server_info", &info), Some(1.0));
}
