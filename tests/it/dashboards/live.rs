//! Real clusters in trouble, watched by a real Prometheus with the shipped rules, until every panel has shown something.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use nats_harness::monitor::Question;
use nats_harness::rules::Scale;
use nats_harness::workload::{Flow, Plan, Workload, fill_store};
use nats_harness::{Account, Cluster, Error, Exporter, Port, Prometheus, Watch, leave_out, newest};

use super::{Query, dashboards, queries_of_annotations, queries_of_panels};
use crate::broken::changed;
use crate::support::authority::Authority;
use crate::support::dns::NameServer;
use crate::support::model::Model;
use crate::support::monitor::Monitor;

/// How long a situation is looked at, at most: that alerts fire takes half a minute, and elections theirs. A busy machine takes
/// three times as long.
const PATIENCE: Duration = Duration::from_secs(240);
/// An hour is half a minute: a stream is missed when it was there an hour ago.
const SCALE: Scale = Scale { least: Duration::from_secs(20), divisor: 360 };
const POLL: Duration = Duration::from_secs(4);
/// What the last situations of the longest scenes are looked at for: their panels may be late, and not all are named.
const EVERYTHING: &[&str] = &[""];

/// The queries that nothing was answered to so far.
struct Open(RefCell<BTreeSet<Query>>);

impl Open {
    fn new() -> Self {
        let dashboards = dashboards();
        let mut queries = queries_of_panels(&dashboards);
        queries.extend(queries_of_annotations(&dashboards));
        Self(RefCell::new(queries.into_iter().collect()))
    }

    /// Asks until each of the panels in `of` has shown something in this situation, or for so long that it is a defect.
    /// Some show it for seconds only, so they are not asked in the row of all others.
    async fn ask(&self, prometheus: &Prometheus, of: &[&str]) {
        let all = async {
            loop {
                self.ask_once(prometheus, EVERYTHING).await;
                tokio::time::sleep(POLL).await;
            }
        };
        let end = Instant::now() + PATIENCE;
        let wanted = async {
            while self.ask_once(prometheus, of).await && Instant::now() < end {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = all => {}
            () = wanted => {}
        }
        self.ask_once(prometheus, EVERYTHING).await;
    }

    /// Asks for what these panels have not shown so far, and returns whether something is left of it.
    async fn ask_once(&self, prometheus: &Prometheus, of: &[&str]) -> bool {
        let is_meant = |query: &&Query| of.iter().any(|of| query.place.contains(of));
        let open: Vec<Query> = self.0.borrow().iter().filter(is_meant).cloned().collect();
        for query in open {
            // Prometheus refuses what does not parse, or matches many with many.
            let found = prometheus.query(&SCALE.expression(&query.with(".*"))).await;
            let found = found.unwrap_or_else(|error| panic!("{}: {error}", query.place));
            if !found.is_empty() {
                self.0.borrow_mut().remove(&query);
            }
        }
        self.0.borrow().iter().any(|query| is_meant(&query))
    }
}

/// A Prometheus with the shipped rules, which scrapes these exporters as the README says.
async fn prometheus(dir: &Path, addresses: &[String]) -> Prometheus {
    let watch = Watch::as_shipped(addresses, dir).unwrap();
    Prometheus::start(&dir.join("prometheus"), &watch).await.unwrap()
}

async fn exporter(dir: &Path, port: Port, arguments: &[&str], targets: Vec<String>) -> Exporter {
    let binary = Path::new(env!("CARGO_BIN_EXE_nats-exporter"));
    let log = dir.join(format!("exporter-{}.log", port.number()));
    let arguments = arguments.iter().map(|a| (*a).to_owned()).chain(targets);
    Exporter::start(binary, port, arguments, log).await.unwrap()
}

/// Streams and consumers of every kind; then a disk that runs full, and a dead server.
async fn full_disk_and_a_dead_server(open: &Open) {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("server", "127.0.0.1");
    let config = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\" }}\nallow_non_tls: true\nmax_subscriptions: 100000\n",
        certificate.display(),
        key.display()
    );
    let builder = Cluster::builder(newest()).nodes(3).jetstream(true).accounts(true);
    let builder = builder
        .max_ha_assets(1000)
        .store_size(2, 12 << 20)
        .memory_limit("512MiB")
        .extra_config(config);
    let cluster = match builder.start().await {
        Err(Error::NamespacesUnavailable { reason }) => {
            return leave_out(&format!("mount namespaces, refused here: {reason}"));
        }
        started => started.unwrap(),
    };
    let mut workload = Workload::make(&cluster, Plan { replicas: 3 }).await.unwrap();
    workload.start_traffic();
    let dir = cluster.dir();
    let port = Port::any().unwrap();
    let prometheus = prometheus(dir, &[format!("127.0.0.1:{}", port.number())]).await;
    let mut targets = cluster.monitor_urls();
    targets.push(format!("http://localhost:{}", cluster.node(0).monitor_port()));
    let arguments = ["--jetstream.detail=all", "--jetstream.fold-ephemeral-consumers=true"];
    let _exporter = exporter(dir, port, &arguments, targets).await;
    open.ask(&prometheus, &["Limits of owners", "duplicate", "certificate", "API errors"]).await;

    fill_store(&cluster, 24 << 20).await.unwrap();
    open.ask(&prometheus, &["What servers call unwell"]).await;
    cluster.node(1).kill().await.unwrap();
    open.ask(&prometheus, &["Firing: base tier", "Firing: persistence tier"]).await;
    cluster.node(1).start().await.unwrap();
    open.ask(&prometheus, EVERYTHING).await;
}

/// A worker that acknowledges nothing, a replica that is far behind, and storage that runs full.
async fn stuck_and_behind(open: &Open) {
    let builder = Cluster::builder(newest()).nodes(3).jetstream(true).gates(true);
    let builder = builder.max_file("24MB").extra_config("write_deadline: \"60s\"");
    let cluster = builder.start().await.unwrap();
    let flow = Flow::start(&cluster).await.unwrap();
    let port = Port::any().unwrap();
    let dir = cluster.dir();
    let prometheus = prometheus(dir, &[format!("127.0.0.1:{}", port.number())]).await;
    let exporter = exporter(dir, port, &[], cluster.monitor_urls()).await;
    open.ask(&prometheus, &[]).await;

    flow.work(false);
    let leader = flow.leader().await.unwrap();
    let follower = cluster.nodes().iter().find(|node| node.name() != leader).unwrap();
    cluster.slow_down(follower.index(), Some(20_000));
    flow.rush(true);
    open.ask(&prometheus, &["Streams in trouble, lag", "Consumers in trouble, acks"]).await;
    cluster.slow_down(follower.index(), None);
    fill_store(&cluster, 30 << 20).await.unwrap();
    open.ask(&prometheus, &["Storage of each server"]).await;
    let _port = exporter.kill();
    open.ask(&prometheus, EVERYTHING).await;
}

/// One server of two is watched, and runs another version after a while.
async fn another_version_and_a_server_that_nobody_watches(open: &Open) {
    let [old, new] = [Port::any().unwrap(), Port::any().unwrap()];
    let addresses = [&old, &new].map(|port| format!("127.0.0.1:{}", port.number()));
    let start = async |version: &str| {
        let cluster = Cluster::builder(version).nodes(3).jetstream(true).start().await.unwrap();
        let mut watched = cluster.monitor_urls();
        watched.truncate(2);
        (cluster, watched)
    };
    let (before, watched) = start("2.12.8").await;
    let dir = Authority::new();
    let prometheus = prometheus(dir.dir(), &addresses).await;
    let exporter_before = exporter(dir.dir(), old, &[], watched).await;
    open.ask(&prometheus, &["nobody watches"]).await;
    let (_after, watched) = start(newest()).await;
    drop((exporter_before, before));
    let _exporter = exporter(dir.dir(), new, &[], watched).await;
    open.ask(&prometheus, &["Version changed"]).await;
}

/// Messages that are delivered again and again, and a stream that somebody has deleted.
async fn redelivered_and_deleted(open: &Open) {
    let cluster = Cluster::builder(newest()).jetstream(true).start().await.unwrap();
    let client = cluster.client(Account::App, 0).await.unwrap();
    let ask = async |subject: &str, body: &str| {
        let answer = client.request(format!("$JS.API.{subject}"), body.to_owned().into()).await;
        let answer = String::from_utf8(answer.unwrap().payload.to_vec()).unwrap();
        assert!(!answer.contains("\"error\""), "{subject}: {answer}");
    };
    ask("STREAM.CREATE.GONE", r#"{"name":"GONE","subjects":["gone"]}"#).await;
    let consumer = r#"{"stream_name":"GONE","config":{"durable_name":"AGAIN","ack_policy":"explicit","ack_wait":1000000000}}"#;
    ask("CONSUMER.DURABLE.CREATE.GONE.AGAIN", consumer).await;
    for _ in 0..150 {
        client.publish("gone", "again".into()).await.unwrap();
    }
    let _inbox = client.subscribe("inbox").await.unwrap();
    for _ in 0..3 {
        let next = "$JS.API.CONSUMER.MSG.NEXT.GONE.AGAIN";
        client.publish_with_reply(next, "inbox", r#"{"batch":150}"#.into()).await.unwrap();
        client.flush().await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let port = Port::any().unwrap();
    let prometheus = prometheus(cluster.dir(), &[format!("127.0.0.1:{}", port.number())]).await;
    let _exporter = exporter(cluster.dir(), port, &[], cluster.monitor_urls()).await;
    open.ask(&prometheus, &["redelivered"]).await;
    ask("STREAM.DELETE.GONE", "").await;
    open.ask(&prometheus, &["vanished"]).await;
}

/// Lost messages: servers of 2.10 and 2.15 whose store was damaged in six ways deleted what they could not read, and reported
/// nothing as lost. Accounts that are not pinned: that takes a server with an operator.
async fn what_no_real_server_could_be_made_to_say(open: &Open) {
    let monitor = Monitor::start(Model::default()).await;
    let refused = |count: u64| {
        let varz =
            changed(&monitor, Question::Varz, |varz| varz["pinned_account_fails"] = count.into());
        monitor.gate.spoil(Question::Varz, varz);
    };
    let dir = tempfile::tempdir().unwrap();
    let port = Port::any().unwrap();
    let prometheus = prometheus(dir.path(), &[format!("127.0.0.1:{}", port.number())]).await;
    refused(1);
    let _exporter = exporter(dir.path(), port, &[], vec![monitor.url()]).await;
    let detail = changed(&monitor, Question::JszDetail, |jsz| {
        let lost = serde_json::json!({"msgs": [5], "bytes": 128});
        jsz["account_details"][0]["stream_detail"][0]["state"]["lost"] = lost;
    });
    monitor.gate.spoil(Question::JszDetail, detail);
    prometheus.until("up", 2, 1.0, PATIENCE).await.unwrap();
    refused(2);
    open.ask(&prometheus, &["Streams in trouble, lost", "Refused for their account"]).await;
}

/// A cluster without JetStream, and one that has no streams. Panels may be empty there; no query may be refused.
async fn without_jetstream_and_without_streams(open: &Open) {
    let core = Cluster::builder(newest()).start().await.unwrap();
    let bare = Cluster::builder(newest()).nodes(3).jetstream(true).start().await.unwrap();
    let port = Port::any().unwrap();
    let prometheus = prometheus(core.dir(), &[format!("127.0.0.1:{}", port.number())]).await;
    let targets = [core.monitor_urls(), bare.monitor_urls()].concat();
    let _exporter = exporter(core.dir(), port, &[], targets).await;
    prometheus.until("nats_up", 4, 1.0, PATIENCE).await.unwrap();
    prometheus.until("nats_jetstream_configured == 0", 1, 0.0, PATIENCE).await.unwrap();
    prometheus.until("nats_jetstream_streams", 3, 0.0, PATIENCE).await.unwrap();
    open.ask(&prometheus, &[]).await;
}

/// An exporter with a web configuration file, which is scraped over TLS.
async fn behind_tls(open: &Open) {
    let authority = Authority::new();
    authority.sign("server", "127.0.0.1");
    let tls = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n";
    let file = authority.write("web.yml", tls);
    let exporter = crate::support::exporter::Exporter::start(&[
        format!("--web.config.file={}", file.display()),
        "http://127.0.0.1:1".to_owned(),
    ]);
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n  \
         - job_name: nats-exporter\n    scheme: https\n    tls_config: {{ca_file: \"{}\"}}\n    \
         static_configs: [{{targets: [\"{}\"]}}]\n",
        authority.file("ca.pem").display(),
        exporter.address()
    );
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start_with(folder.path(), &config).await.unwrap();
    open.ask(&prometheus, &["Exporters, web", "Exporters, certificate"]).await;
}

/// A panel that shows nothing in any situation is a defect, and so is a query that Prometheus refuses.
#[tokio::test]
async fn every_query_is_answered_in_some_situation() {
    let open = Open::new();
    tokio::join!(
        full_disk_and_a_dead_server(&open),
        stuck_and_behind(&open),
        another_version_and_a_server_that_nobody_watches(&open),
        redelivered_and_deleted(&open),
        without_jetstream_and_without_streams(&open),
        what_no_real_server_could_be_made_to_say(&open),
        a_name_in_dns(&open),
        behind_tls(&open),
    );
    let open = open.0.into_inner();
    assert!(open.is_empty(), "nothing was answered to {} queries: {open:#?}", open.len());
}

/// A target that is a name in DNS.
async fn a_name_in_dns(open: &Open) {
    let cluster = Cluster::builder(newest()).start().await.unwrap();
    let dns = NameServer::start().await;
    dns.set_addresses("nats.test", &["127.0.0.1"]);
    let port = Port::any().unwrap();
    let prometheus = prometheus(cluster.dir(), &[format!("127.0.0.1:{}", port.number())]).await;
    let file = cluster.dir().join("exporter.yml");
    std::fs::write(&file, format!("discovery: {{nameserver: \"{}\"}}\n", dns.variable().1))
        .unwrap();
    let target = format!("dns+http://nats.test:{}", cluster.node(0).monitor_port());
    let config = format!("--config.file={}", file.display());
    let _exporter = exporter(cluster.dir(), port, &[&config], vec![target]).await;
    open.ask(&prometheus, &["Names in DNS"]).await;
}
