//! Real servers of every tested version, asked by the real program: what is shown is what the
//! servers tell a NATS client.

#[path = "real_server/truth.rs"]
pub(crate) mod truth;

use std::collections::BTreeSet;
use std::time::Duration;

use nats_harness::workload::{Plan, Workload};
use nats_harness::{Account, Cluster, Node, VERSIONS};
use serde_json::Value;

use crate::support::exporter::Exporter;
use crate::support::samples::{Sample, Samples};

const PATIENCE: Duration = Duration::from_secs(60);

/// Debug, so that the log names fields that the exporter does not know.
const ARGUMENTS: &[&str] = &["--log.level=info,nats_exporter=debug", "--jetstream.detail=all"];

/// Tests for each version, so that they run side by side and a failure names the version.
macro_rules! versions {
    ($($module:ident $version:literal;)+) => {
        const TESTED: &[&str] = &[$($version,)+];
        $(
            mod $module {
                #[tokio::test]
                async fn without_jetstream_there_is_no_persistence_state() {
                    super::without_jetstream($version).await;
                }

                #[tokio::test]
                async fn a_single_server_is_shown_as_it_is() {
                    super::single_with_jetstream($version).await;
                }

                #[tokio::test]
                async fn a_cluster_is_shown_as_it_is() {
                    super::cluster_with_jetstream($version).await;
                }
            }
        )+
    };
}

versions! {
    v2_9 "2.9.10";
    v2_10 "2.10.26";
    v2_11 "2.11.11";
    v2_12 "2.12.8";
    v2_14 "2.14.6";
    v2_15 "2.15.1";
}

#[test]
fn every_version_is_tested() {
    assert_eq!(TESTED, &VERSIONS[..]);
}

/// An exporter of all servers of the cluster.
pub(crate) fn exporter_of(cluster: &Cluster, arguments: &[&str]) -> Exporter {
    let urls = cluster.monitor_urls();
    let arguments: Vec<&str> =
        arguments.iter().copied().chain(urls.iter().map(String::as_str)).collect();
    Exporter::start(&arguments)
}

async fn without_jetstream(version: &str) {
    let cluster = Cluster::builder(version).start().await.unwrap();
    let exporter = exporter_of(&cluster, ARGUMENTS);
    let samples = exporter.samples("/metrics").await;

    assert_eq!(samples.state("n1", "base").as_deref(), Some("ok"));
    assert_eq!(samples.state("n1", "persistence"), None);
    assert_eq!(samples.find("nats_tier_reason", &[("tier", "persistence")]).count(), 0);
    assert_eq!(samples.value("nats_jetstream_configured", &[]), Some(0.0));
    assert_eq!(samples.value("nats_jetstream_enabled", &[]), Some(0.0));
    // A probe passes on such a server, whatever its path; nothing else is said of JetStream.
    assert!(samples.find("nats_jetstream_health_probe_would_fail", &[]).all(|s| s.text == "0"));
    let names = samples.names();
    let silent = ["_enabled", "_configured", "_health_probe_would_fail"];
    let told: Vec<_> = names
        .iter()
        .filter(|name| name.starts_with("nats_jetstream"))
        .filter(|name| !silent.iter().any(|end| name.ends_with(end)))
        .collect();
    assert!(told.is_empty(), "{told:?}");
    // Not clustered: nobody is expected, nobody is missed.
    assert_eq!(samples.value("nats_route_peers", &[]), Some(0.0));
    assert_eq!(samples.value("nats_route_peers_expected", &[]), None);
    everything_is_in_order(&cluster, &exporter).await;
}

async fn single_with_jetstream(version: &str) {
    let cluster = Cluster::builder(version).jetstream(true).start().await.unwrap();
    let _workload = Workload::make(&cluster, Plan { replicas: 1 }).await.unwrap();
    let exporter = exporter_of(&cluster, ARGUMENTS);
    let samples = agrees(&cluster, &exporter, "n1", Some("n1")).await;

    assert_eq!(samples.state("n1", "base").as_deref(), Some("ok"));
    assert_eq!(samples.state("n1", "persistence").as_deref(), Some("ok"));
    assert_eq!(samples.value("nats_jetstream_configured", &[]), Some(1.0));
    let names = samples.names();
    assert!(!names.iter().any(|name| name.starts_with("nats_jetstream_meta")), "{names:?}");
    everything_is_in_order(&cluster, &exporter).await;
}

async fn cluster_with_jetstream(version: &str) {
    let cluster = three_servers(version).await;
    let _workload = Workload::make(&cluster, Plan { replicas: 3 }).await.unwrap();
    let exporter = exporter_of(&cluster, ARGUMENTS);
    agrees(&cluster, &exporter, "C1", None).await;
    let samples = exporter.until("/metrics", PATIENCE, all_well).await;
    assert!(all_well(&samples), "{}", verdicts(&samples));

    assert_eq!(samples.find("nats_tier_state", &[("state", "ok")]).count(), 6);
    one_leader_each(&samples);
    meta_group(&cluster, &samples).await;
    limits_of_accounts(&cluster, &samples).await;
    for node in cluster.nodes() {
        let name = node.name();
        let server = [("server", name.as_str())];
        assert_eq!(samples.value("nats_route_peers", &server), Some(2.0));
        assert_eq!(samples.value("nats_route_peers_expected", &server), Some(2.0));
        // 2.9.10 does not name its peers.
        let connected = samples.find("nats_route_connected", &server);
        let expected = if cluster.version_is_at_least(2, 10) { 2 } else { 0 };
        assert_eq!(connected.filter(|s| s.text == "1").count(), expected);
    }
    everything_is_in_order(&cluster, &exporter).await;
    sidecars_divide_the_work(&cluster, &exporter).await;
    the_usual_detail_has_less_and_the_same(&cluster, &exporter).await;
    a_stream_that_is_made_smaller_keeps_its_leader(&cluster, &exporter).await;
}

/// Three servers with JetStream and accounts.
pub(crate) async fn three_servers(version: &str) -> Cluster {
    let builder = Cluster::builder(version).nodes(3).jetstream(true).accounts(true);
    builder.start().await.unwrap()
}

/// Whether every state is ok.
pub(crate) fn all_well(samples: &Samples) -> bool {
    let mut states = samples.find("nats_tier_state", &[("state", "ok")]);
    states.all(|state| state.text == "1")
}

/// All states and reasons, for messages.
pub(crate) fn verdicts(samples: &Samples) -> String {
    let held = ["nats_tier_state", "nats_tier_reason", "nats_jetstream_health_failing_asset_info"];
    let held = samples.0.iter().filter(|s| held.contains(&s.name.as_str()) && s.text == "1");
    held.fold(String::new(), |text, held| format!("{text}\n{} {:?}", held.name, held.labels))
}

/// Waits until the exporter shows exactly what the servers tell a client: each series once, with
/// its value, and none that the servers do not know of.
///
/// Both sides are asked again and again, because numbers move for a moment after the last message,
/// and a scrape counts only when the servers said the same before and after it.
async fn agrees(
    cluster: &Cluster,
    exporter: &Exporter,
    nats_cluster: &str,
    standalone: Option<&str>,
) -> Samples {
    let end = std::time::Instant::now() + PATIENCE;
    let ask = async || {
        let told = truth::streams(cluster, false).await?;
        Some(truth::series(&told, nats_cluster, standalone))
    };
    loop {
        let before = ask().await;
        let samples = exporter.samples("/metrics").await;
        let told = ask().await;
        if let (Some(before), Some(told)) = (&before, &told) {
            let shown = truth::shown(&samples, told);
            assert!(told.len() > 100, "the workload is larger");
            if before == told && *told == shown {
                return samples;
            }
            assert!(std::time::Instant::now() < end, "{}", truth::differences(told, &shown));
        }
        assert!(std::time::Instant::now() < end, "the servers do not tell of all streams");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Over all servers, each stream and each consumer has exactly one leader.
fn one_leader_each(samples: &Samples) {
    for (name, of) in [
        ("nats_jetstream_stream_is_leader", "nats_jetstream_stream_messages"),
        ("nats_jetstream_consumer_is_leader", "nats_jetstream_consumer_pending_messages"),
    ] {
        for asset in samples.find(of, &[]) {
            let labels: Vec<(&str, &str)> =
                asset.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let leaders: f64 = samples.find(name, &labels).map(Sample::value).sum();
            assert!((leaders - 1.0).abs() < 0.1, "{leaders} leaders of {labels:?}");
        }
    }
}

/// All servers name the leader that the cluster has, and it calls the others current.
async fn meta_group(cluster: &Cluster, samples: &Samples) {
    let leader = cluster.meta_leader().await.expect("there is a meta leader").name();
    for node in cluster.nodes() {
        let name = node.name();
        let server = [("server", name.as_str())];
        let leads = f64::from(u8::from(name == leader));
        assert_eq!(samples.value("nats_jetstream_meta_is_leader", &server), Some(leads));
        assert_eq!(samples.value("nats_jetstream_meta_cluster_size", &server), Some(3.0));
        assert_eq!(samples.value("nats_jetstream_meta_quorum_size", &server), Some(2.0));
        let named = [("server", name.as_str()), ("leader", leader.as_str())];
        assert_eq!(samples.value("nats_jetstream_meta_leader_info", &named), Some(1.0));
    }
    let peers: BTreeSet<_> = samples
        .find("nats_jetstream_meta_peer_current", &[])
        .filter(|sample| sample.text == "1")
        .map(|sample| sample.labels["peer"].clone())
        .collect();
    assert_eq!(peers, cluster.nodes().iter().map(Node::name).collect());
}

/// The limits of an account are those that the account itself is told, on every server; an account
/// without limits has none.
async fn limits_of_accounts(cluster: &Cluster, samples: &Samples) {
    let client = cluster.roaming_client(nats_harness::Account::App).await.unwrap();
    let info = client.request("$JS.API.INFO", "".into()).await.unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info.payload).unwrap();
    for (series, limit) in [("storage", "max_storage"), ("memory", "max_memory")] {
        let name = format!("nats_jetstream_account_{series}_limit_bytes");
        let limit = info["limits"][limit].as_i64().unwrap().to_string();
        let shown: Vec<_> = samples.find(&name, &[]).collect();
        assert_eq!(shown.len(), 3, "{shown:?}");
        assert!(shown.iter().all(|s| s.labels["account"] == "APP" && s.text == limit), "{shown:?}");
    }
}

/// What holds for every healthy server of every version.
async fn everything_is_in_order(cluster: &Cluster, exporter: &Exporter) {
    let samples = exporter.samples("/metrics").await;
    let servers = cluster.nodes().len();
    assert_eq!(samples.find("nats_up", &[]).filter(|s| s.text == "1").count(), servers);
    let endpoints: Vec<_> = samples.find("nats_exporter_endpoint_up", &[]).collect();
    assert_eq!(endpoints.len(), 6 * servers, "{endpoints:?}");
    assert!(endpoints.iter().all(|sample| sample.text == "1"), "{endpoints:?}");
    let unknown = samples.find("nats_exporter_unknown_fields_total", &[]).map(Sample::value);
    let log = exporter.log();
    let unknown_fields: Vec<_> =
        log.lines().filter(|line| line.contains("unknown field")).collect();
    assert!(unknown.sum::<f64>() < 0.5, "{unknown_fields:#?}");
    assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "{log}");

    both_formats_say_the_same(exporter).await;
    tiers_divide_the_metrics(exporter).await;
    for node in cluster.nodes() {
        probes_are_foreseen(node, &samples).await;
    }
    requests_are_few(cluster, exporter).await;
}

type Series = BTreeSet<(String, std::collections::BTreeMap<String, String>)>;

fn series(samples: Samples) -> Series {
    samples.0.into_iter().map(|sample| (sample.name, sample.labels)).collect()
}

/// Asks again until both sides have the same series: some come and go with the servers, such as
/// the time since a stream that only just began to copy has heard from its source.
async fn soon_equal(ask: impl AsyncFn() -> (Series, Series)) {
    let mut differ = Vec::new();
    for _ in 0..20 {
        let (one, other) = ask().await;
        differ = one.symmetric_difference(&other).cloned().collect();
        if differ.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    panic!("{differ:#?}");
}

/// OpenMetrics has the series of the classic format.
async fn both_formats_say_the_same(exporter: &Exporter) {
    let accept = [("accept", "application/openmetrics-text; version=1.0.0")];
    soon_equal(async || {
        let open = exporter.get_with("/metrics", &accept).await;
        assert!(open.content_type.starts_with("application/openmetrics-text"), "{open:?}");
        assert!(open.body.ends_with("# EOF\n"));
        let classic = exporter.get("/metrics").await;
        assert!(classic.content_type.starts_with("text/plain"), "{classic:?}");
        (series(Samples::parse(&open.body)), series(Samples::parse(&classic.body)))
    })
    .await;
}

/// A series belongs to one tier, and three scrapes of one tier each bring what one scrape does.
async fn tiers_divide_the_metrics(exporter: &Exporter) {
    soon_equal(async || {
        let mut sum = Series::new();
        for tier in ["base", "persistence", "exporter"] {
            for sample in series(exporter.samples(&format!("/metrics?tier={tier}")).await) {
                assert!(!sum.contains(&sample), "in two tiers: {sample:?}");
                sum.insert(sample);
            }
        }
        (sum, series(exporter.samples("/metrics").await))
    })
    .await;
}

/// What would become of Kubernetes probes is what does become of them.
pub(crate) async fn probes_are_foreseen(node: &Node, samples: &Samples) {
    let differ = misjudged_probes(node, samples).await;
    assert!(differ.is_empty(), "{differ:?}");
}

/// Probe paths that answer otherwise than the exporter says.
pub(crate) async fn misjudged_probes(node: &Node, samples: &Samples) -> Vec<String> {
    let mut differ = Vec::new();
    let name = node.name();
    for path in ["/healthz", "/healthz?js-enabled-only=true", "/healthz?js-server-only=true"] {
        let labels = [("server", name.as_str()), ("path", path)];
        let said = ["nats_health_probe_would_fail", "nats_jetstream_health_probe_would_fail"]
            .map(|metric| samples.value(metric, &labels));
        let answer = node.get(path).await.unwrap();
        let failed = f64::from(u8::from(answer.status != 200));
        if said != [Some(failed), None] && said != [None, Some(failed)] {
            differ.push(format!("{name} {path} is {}, said was {said:?}", answer.status));
        }
    }
    differ
}

/// A full scrape of a healthy server asks `/healthz` once, and one of the base tier never asks
/// `/jsz`.
async fn requests_are_few(cluster: &Cluster, exporter: &Exporter) {
    let node = cluster.node(0);
    let counts = async || {
        let varz = node.json("/varz").await.unwrap();
        ["/varz", "/routez", "/healthz", "/jsz"]
            .map(|path| varz["http_req_stats"][path].as_u64().unwrap_or(0))
    };
    let asked = async |path: &str| {
        let before = counts().await;
        exporter.samples(path).await;
        let after = counts().await;
        // The question for the counts is a request itself.
        [after[0] - before[0] - 1, after[1] - before[1], after[2] - before[2], after[3] - before[3]]
    };
    // The base tier asks for itself when the wide question takes a quarter of a second, which may
    // happen on a busy machine.
    let mut full = asked("/metrics").await;
    for _ in 0..10 {
        if full[2] == 1 {
            break;
        }
        full = asked("/metrics").await;
    }
    assert_eq!(full, [1, 1, 1, 2], "/varz, /routez, /healthz, /jsz");
    assert_eq!(asked("/metrics?tier=base").await, [1, 1, 1, 0]);
    assert_eq!(asked("/metrics?tier=persistence").await, [1, 0, 1, 2]);
    assert_eq!(asked("/metrics?tier=exporter").await, [1, 0, 0, 0]);
}

/// An exporter beside each server shows together what one for all shows, and nothing twice.
async fn sidecars_divide_the_work(cluster: &Cluster, central: &Exporter) {
    let of_nats = |samples: Samples| -> Series {
        let own = ["nats_exporter_", "process_"];
        let all = series(samples).into_iter();
        all.filter(|(name, _)| !own.iter().any(|own| name.starts_with(own))).collect()
    };
    let start = |node: &Node| Exporter::start(&[ARGUMENTS[1], &node.monitor_url()]);
    let sidecars: Vec<_> = cluster.nodes().iter().map(start).collect();
    soon_equal(async || {
        let mut together = Series::new();
        for sidecar in &sidecars {
            for sample in of_nats(sidecar.samples("/metrics").await) {
                assert!(!together.contains(&sample), "shown by two sidecars: {sample:?}");
                together.insert(sample);
            }
        }
        (together, of_nats(central.samples("/metrics").await))
    })
    .await;
}

/// The exporter knows the number of replicas from before, and does not take a single one for a stream that was not
/// started.
async fn a_stream_that_is_made_smaller_keeps_its_leader(cluster: &Cluster, exporter: &Exporter) {
    let work = [("stream", "WORK")];
    let client = cluster.client(Account::App, 0).await.unwrap();
    let ask = async |what: &str, body: String| -> Value {
        let subject = format!("$JS.API.STREAM.{what}.WORK");
        let message = client.request(subject, body.into()).await.unwrap();
        serde_json::from_slice(&message.payload).unwrap()
    };
    let mut config = ask("INFO", String::new()).await["config"].take();
    assert_eq!(config["num_replicas"], 3);
    config["num_replicas"] = 1.into();
    let updated = ask("UPDATE", config.to_string()).await;
    assert_eq!(updated["config"]["num_replicas"], 1, "{updated}");
    let is_smaller = |samples: &Samples| {
        let replicas = samples.value("nats_jetstream_stream_replicas_configured", &work);
        let leads = samples.find("nats_jetstream_stream_is_leader", &work);
        let leads: Vec<_> = leads.map(|sample| sample.text.as_str()).collect();
        replicas == Some(1.0) && leads == ["1"]
    };
    let samples = exporter.until("/metrics", PATIENCE, is_smaller).await;
    assert!(is_smaller(&samples), "{}", verdicts(&samples));
}

/// Without settings and replicas of consumers, and without holding those that another server leads,
/// everything else is the same.
async fn the_usual_detail_has_less_and_the_same(cluster: &Cluster, all: &Exporter) {
    let usual = exporter_of(cluster, &[]);
    let more: Vec<_> = nats_exporter::catalog::describe()
        .into_iter()
        .flat_map(|table| table.families)
        .filter(|family| family.help.ends_with("with jetstream.detail all."))
        .map(|family| family.sample_name())
        .collect();
    assert!(more.len() > 10, "{more:?}");
    let of_servers = |samples: Samples, without: &[String]| -> Series {
        let hidden = |name: &str| {
            name.starts_with("nats_exporter_")
                || name.starts_with("process_")
                || without.iter().any(|without| without == name)
        };
        series(samples).into_iter().filter(|(name, _)| !hidden(name)).collect()
    };
    soon_equal(async || {
        let found = of_servers(usual.samples("/metrics").await, &[]);
        (found, of_servers(all.samples("/metrics").await, &more))
    })
    .await;
}
