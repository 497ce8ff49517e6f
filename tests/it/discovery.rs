//! Servers that DNS tells of: real ones behind addresses that come and go, and a name server whose
//! records change and that fails.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use nats_harness::{Cluster, MonitorTls, Port, newest};
use tokio::process::Command;

use crate::real_server::three_servers;
use crate::support::authority::Authority;
use crate::support::dns::{Address, Mood, NameServer};
use crate::support::exporter::Exporter;
use crate::support::model::Model;
use crate::support::monitor::Monitor;
use crate::support::samples::{Sample, Samples};

const PATIENCE: Duration = Duration::from_secs(60);

const NAME: &str = "nats.test";

/// A cluster whose servers have the addresses `127.0.0.HOST`, all with the same port, and an exporter
/// that finds them by a name.
struct Stage {
    cluster: Cluster,
    dns: NameServer,
    port: Port,
    addresses: Vec<Option<Address>>,
}

impl Stage {
    async fn new() -> Self {
        let (cluster, dns) = (three_servers(newest()).await, NameServer::start().await);
        let mut stage = Self { cluster, dns, port: Port::any().unwrap(), addresses: Vec::new() };
        for (server, host) in [2, 3, 4].into_iter().enumerate() {
            let address = stage.address(host, server).await;
            stage.addresses.push(Some(address));
        }
        stage.tell(&[2, 3, 4]);
        stage
    }

    /// Gives a server an address.
    async fn address(&self, host: u8, server: usize) -> Address {
        let to = self.cluster.node(server).monitor_port();
        Address::start(host, self.port.number(), to).await
    }

    /// Has DNS tell of these addresses.
    fn tell(&self, hosts: &[u8]) {
        let addresses: Vec<_> = hosts.iter().map(|host| format!("127.0.0.{host}")).collect();
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        self.dns.set_addresses(NAME, &addresses);
    }

    fn url(&self) -> String {
        format!("dns+http://{NAME}:{}", self.port.number())
    }

    /// An exporter that looks the name up every second.
    fn exporter(&self, grace: &str) -> Exporter {
        let (nameserver, address) = self.dns.variable();
        let variables = [
            (nameserver, address.as_str()),
            ("NATS_EXPORTER_DISCOVERY_INTERVAL", "1s"),
            ("NATS_EXPORTER_DISCOVERY_GRACE", grace),
        ];
        Exporter::start_with(&[self.url()], &variables)
    }
}

/// `server` of each `nats_up`, with its value.
fn ups(samples: &Samples) -> BTreeSet<(String, bool)> {
    let ups = samples.find("nats_up", &[]);
    ups.map(|up| (up.labels["server"].clone(), up.text == "1")).collect()
}

fn servers(expected: &[(&str, bool)]) -> BTreeSet<(String, bool)> {
    expected.iter().map(|(name, up)| ((*name).to_owned(), *up)).collect()
}

/// Waits until these servers are shown and no others.
async fn shows(exporter: &Exporter, expected: &[(&str, bool)]) -> Samples {
    let expected = servers(expected);
    let samples = exporter.until("/metrics", PATIENCE, |samples| ups(samples) == expected).await;
    assert_eq!(ups(&samples), expected, "{}", exporter.log());
    samples
}

const ALL: &[(&str, bool)] = &[("n1", true), ("n2", true), ("n3", true)];
const WITHOUT_N1: &[(&str, bool)] = &[("n1", false), ("n2", true), ("n3", true)];

#[tokio::test]
async fn a_server_that_leaves_dns_is_down_for_the_grace_period_and_then_forgotten() {
    let mut stage = Stage::new().await;
    let exporter = stage.exporter("10s");
    let samples = shows(&exporter, ALL).await;
    let target = stage.url();
    let told = |samples: &Samples, name: &str| {
        samples.value(&format!("nats_exporter_discovery_{name}"), &[("target", &target)])
    };
    assert_eq!(told(&samples, "servers"), Some(3.0));
    assert_eq!(told(&samples, "last_lookup_successful"), Some(1.0));
    assert!(told(&samples, "last_success_timestamp_seconds").is_some_and(|at| at > 1e9));
    assert_eq!(samples.value("nats_exporter_targets", &[]), Some(3.0));

    stage.cluster.node(0).kill().await.unwrap();
    stage.addresses[0] = None;
    stage.tell(&[3, 4]);
    let gone = |samples: &Samples| told(samples, "servers_gone") == Some(1.0);
    let samples = exporter.until("/metrics", PATIENCE, gone).await;
    assert!(gone(&samples), "{}", exporter.log());
    assert_eq!(ups(&samples), servers(WITHOUT_N1));
    assert_eq!(samples.value("nats_up", &[("server", "n1"), ("nats_cluster", "C1")]), Some(0.0));
    assert_eq!(told(&samples, "servers"), Some(2.0));

    let samples = shows(&exporter, &[("n2", true), ("n3", true)]).await;
    assert_eq!(told(&samples, "servers_gone"), Some(0.0));
    assert!(exporter.log().contains("forgotten: it was gone from DNS"), "{}", exporter.log());
}

#[tokio::test]
async fn a_server_that_comes_back_at_another_address_is_never_shown_twice() {
    let mut stage = Stage::new().await;
    let exporter = stage.exporter("1h");
    shows(&exporter, ALL).await;
    stage.cluster.node(0).kill().await.unwrap();
    stage.addresses[0] = None;
    let before = shows(&exporter, WITHOUT_N1).await;

    // DNS tells of the new address at once, and of the old one no more.
    stage.cluster.node(0).start().await.unwrap();
    stage.addresses[0] = Some(stage.address(5, 0).await);
    stage.tell(&[3, 4, 5]);
    let mut seen = BTreeSet::new();
    let back = exporter
        .until("/metrics", PATIENCE, |samples| {
            seen.insert(ups(samples));
            ups(samples) == servers(ALL)
        })
        .await;
    assert_eq!(seen, [servers(WITHOUT_N1), servers(ALL)].into(), "{}", exporter.log());

    // What was counted of the server goes on.
    let errors = |samples: &Samples| {
        let all = samples.find("nats_exporter_endpoint_errors_total", &[("server", "n1")]);
        all.map(Sample::value).sum::<f64>()
    };
    assert!(errors(&before) > 0.0 && errors(&back) >= errors(&before));
    // Its peers are missed at the new address, if they are: two are expected.
    let expected = [("server", "n1")];
    assert_eq!(back.value("nats_exporter_target_duplicate", &expected), None);
    let peers = exporter.samples("/metrics").await;
    assert_eq!(peers.value("nats_route_peers_expected", &expected), Some(2.0));

    // When it dies again, it is one server that is down.
    stage.cluster.node(0).kill().await.unwrap();
    let down = shows(&exporter, WITHOUT_N1).await;
    assert!(errors(&down) >= errors(&back));
    let target = stage.url();
    let gone = down.value("nats_exporter_discovery_servers_gone", &[("target", &target)]);
    assert_eq!(gone, Some(0.0), "the old address is forgotten");

    // A name server that is behind tells of the old address once more.
    stage.tell(&[2, 3, 4]);
    stage.dns.asked_again(4).await;
    assert_eq!(ups(&exporter.samples("/metrics").await), servers(WITHOUT_N1));
    stage.cluster.node(0).start().await.unwrap();
    let samples = shows(&exporter, ALL).await;
    assert_eq!(samples.value("nats_up", &[("server", "n1")]), Some(1.0));
}

#[tokio::test]
async fn while_dns_fails_only_the_word_on_dns_changes() {
    let stage = Stage::new().await;
    let exporter = stage.exporter("1s");
    shows(&exporter, ALL).await;
    let successful =
        |samples: &Samples| samples.value("nats_exporter_discovery_last_lookup_successful", &[]);
    for mood in [Mood::Failing, Mood::Silent] {
        stage.dns.set_mood(mood);
        let failing =
            exporter.until("/metrics", PATIENCE, |samples| successful(samples) == Some(0.0)).await;
        assert_eq!(successful(&failing), Some(0.0), "{mood:?}");
        // Longer than the grace period.
        stage.dns.asked_again(4).await;
        let samples = exporter.samples("/metrics").await;
        assert_eq!(ups(&samples), servers(ALL), "{mood:?}");
        assert!(exporter.log().contains("the look-up in DNS fails"), "{}", exporter.log());
        stage.dns.set_mood(Mood::Well);
        let well =
            exporter.until("/metrics", PATIENCE, |samples| successful(samples) == Some(1.0)).await;
        assert_eq!((successful(&well), ups(&well)), (Some(1.0), servers(ALL)), "{mood:?}");
    }
}

#[tokio::test]
async fn it_starts_without_dns_and_says_so() {
    let stage = Stage::new().await;
    stage.dns.set_mood(Mood::Failing);
    let exporter = stage.exporter("5m");
    let samples = exporter.samples("/metrics").await;
    assert_eq!(ups(&samples), BTreeSet::new());
    assert_eq!(samples.value("nats_exporter_discovery_last_lookup_successful", &[]), Some(0.0));
    assert_eq!(samples.value("nats_exporter_discovery_last_success_timestamp_seconds", &[]), None);
    let page = exporter.get("/").await;
    assert_eq!(page.status, 200);
    let missed = format!("Not seen: no server of {} was found: ", stage.url());
    assert!(page.body.contains(&missed), "{}", page.body);
    stage.dns.set_mood(Mood::Well);
    shows(&exporter, ALL).await;
    assert!(exporter.log().contains("DNS answers again"), "{}", exporter.log());
    assert_eq!(exporter.get("/-/ready").await.status, 200);
    let page = exporter.get("/").await.body;
    assert!(page.contains("127.0.0.2") && !page.contains("Nobody was asked"), "{page}");
}

#[tokio::test]
async fn services_have_ports_of_their_own_and_keep_their_names() {
    let cluster = Cluster::builder(newest()).nodes(2).start().await.unwrap();
    let dns = NameServer::start().await;
    let ports = [0, 1].map(|node| cluster.node(node).monitor_port());
    let hosts = ["nats-0.nats.test", "nats-1.nats.test"];
    dns.set_services("_monitor._tcp.nats.test", &[(hosts[0], ports[0]), (hosts[1], ports[1])]);
    dns.set_addresses(hosts[0], &["127.0.0.1"]);
    dns.set_addresses(hosts[1], &["127.0.0.1"]);
    let (nameserver, address) = dns.variable();
    let variables = [(nameserver, address.as_str()), ("NATS_EXPORTER_DISCOVERY_INTERVAL", "1s")];
    let exporter = Exporter::start_with(&["dnssrv+http://_monitor._tcp.nats.test"], &variables);
    let samples = shows(&exporter, &[("n1", true), ("n2", true)]).await;
    let url = format!("http://{}:{}", hosts[0], ports[0]);
    let target = [("server", "n1"), ("url", url.as_str())];
    assert_eq!(samples.value("nats_exporter_target_info", &target), Some(1.0));

    // The first keeps its name and gets another address; the second has none any more.
    let _address = Address::start(6, ports[0], ports[0]).await;
    dns.set_addresses(hosts[0], &["127.0.0.6"]);
    dns.set_addresses(hosts[1], &[]);
    dns.asked_again(12).await;
    cluster.node(1).kill().await.unwrap();
    let samples = shows(&exporter, &[("n1", true), ("n2", false)]).await;
    let failure = [("server", "n2"), ("endpoint", "varz"), ("reason", "dns")];
    assert_eq!(samples.value("nats_exporter_endpoint_failure_info", &failure), Some(1.0));
}

#[tokio::test]
async fn two_addresses_of_one_server_are_one_server_and_no_duplicate() {
    let mut stage = Stage::new().await;
    let other = stage.address(7, 0).await;
    stage.addresses.push(Some(other));
    stage.tell(&[2, 3, 4, 7]);
    let exporter = stage.exporter("5m");
    let samples = shows(&exporter, ALL).await;
    assert_eq!(samples.find("nats_exporter_target_duplicate", &[]).count(), 0);
    // One of them goes: the other speaks for the server.
    stage.addresses[0] = None;
    stage.dns.asked_again(1).await;
    assert_eq!(ups(&exporter.samples("/metrics").await), servers(ALL));
}

#[tokio::test]
async fn a_configured_server_is_asked_once_and_a_reload_keeps_what_is_known() {
    let mut stage = Stage::new().await;
    let file = stage.cluster.dir().join("exporter.yaml");
    let (_, nameserver) = stage.dns.variable();
    let port = stage.port.number();
    let text = format!(
        "web: {{enable_lifecycle: true}}\n\
         discovery: {{interval: 1s, grace: 1h, nameserver: \"{nameserver}\"}}\n\
         targets:\n  - http://127.0.0.3:{port}\n  - {{name: all, url: \"{}\"}}\n",
        stage.url()
    );
    std::fs::write(&file, &text).unwrap();
    let argument = format!("--config.file={}", file.display());
    let exporter = Exporter::start(&[argument]);
    let samples = shows(&exporter, ALL).await;
    assert_eq!(samples.find("nats_exporter_target_duplicate", &[]).count(), 0);
    assert_eq!(samples.value("nats_exporter_discovery_servers", &[("target", "all")]), Some(3.0));
    let probe = format!("/probe?target=127.0.0.2:{port}");
    assert_eq!(ups(&exporter.samples(&probe).await), servers(&[("n1", true)]));

    stage.cluster.node(0).kill().await.unwrap();
    stage.addresses[0] = None;
    stage.tell(&[3, 4]);
    shows(&exporter, WITHOUT_N1).await;
    stage.dns.set_mood(Mood::Failing);
    let changed = text.replace("name: all", "expected_peers: 2, name: all");
    std::fs::write(&file, changed).unwrap();
    assert_eq!(reload(&exporter).await, 200, "{}", exporter.log());
    assert_eq!(ups(&exporter.samples("/metrics").await), servers(WITHOUT_N1));
}

async fn reload(exporter: &Exporter) -> u16 {
    let url = format!("{}/-/reload", exporter.url());
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    client.post(url).send().await.unwrap().status().as_u16()
}

/// What `nats-exporter check` writes to the standard output, and its exit code.
async fn check(dns: &NameServer, arguments: &[&str]) -> (String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nats-exporter"));
    let (name, value) = dns.variable();
    command.arg("check").args(arguments).env(name, value).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code().expect("no signal"))
}

#[tokio::test]
async fn a_check_asks_whom_dns_tells_of_and_calls_nothing_safe_that_it_did_not_find() {
    let stage = Stage::new().await;
    let (url, direct) = (stage.url(), stage.cluster.node(0).monitor_url());
    let (text, _) = check(&stage.dns, &["--no-discovery", &url]).await;
    for server in ["n1", "n2", "n3"] {
        assert!(text.contains(&format!("  {server}  base ok")), "{text}");
    }
    assert!(!text.contains("Not seen"), "{text}");

    stage.dns.set_mood(Mood::Failing);
    let missed = format!("Not seen: no server of {url} was found: ");
    let (text, code) = check(&stage.dns, &[&url]).await;
    assert!(text.contains(&missed) && code == 5, "{code} {text}");
    // Others that were seen are not called safe either.
    let (text, code) = check(&stage.dns, &[&url, &direct]).await;
    assert!(text.contains(&missed) && !text.contains("restart SAFE"), "{code} {text}");
    assert!([4, 5].contains(&code), "{code} {text}");
    let (json, _) = check(&stage.dns, &["--output", "json", &url]).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["unseen"][0].as_str().is_some_and(|why| why.contains(&url)), "{json}");
}

#[tokio::test]
async fn checking_the_configuration_looks_nothing_up() {
    let dns = NameServer::start().await;
    dns.set_mood(Mood::Silent);
    let (name, value) = dns.variable();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nats-exporter"));
    command.args(["--config.check", "dns+http://nats.test:8222"]).env(name, value);
    let output = command.output().await.unwrap();
    assert!(output.status.success());
    assert_eq!(dns.asked(), 0);
}

/// Why `/varz` of the one server of a target cannot be read; nothing when it can.
async fn reason(dns: &NameServer, authority: &Authority, url: &str, name: &str) -> Option<String> {
    let ca = authority.file("ca.pem");
    let name = if name.is_empty() { String::new() } else { format!(", server_name: {name}") };
    let config = format!(
        "targets: [{{url: \"{url}\", tls: {{ca_file: \"{}\"{name}}}}}]\n\
         discovery: {{nameserver: \"{}\"}}\n",
        ca.display(),
        dns.variable().1
    );
    let file = authority.write("exporter.yml", &config);
    let exporter = Exporter::start(&[format!("--config.file={}", file.display())]);
    let varz = [("endpoint", "varz")];
    let is_asked = |samples: &Samples| samples.value("nats_exporter_endpoint_up", &varz).is_some();
    let samples = exporter.until("/metrics", PATIENCE, is_asked).await;
    assert!(is_asked(&samples), "{}", exporter.log());
    let failure = samples.find("nats_exporter_endpoint_failure_info", &varz).next();
    failure.map(|sample| sample.labels["reason"].clone())
}

#[tokio::test]
async fn certificates_are_checked_against_the_address_the_host_or_the_name_that_is_set() {
    let (authority, dns) = (Authority::new(), NameServer::start().await);
    dns.set_addresses(NAME, &["127.0.0.1"]);
    dns.set_addresses("n1.test", &["127.0.0.1"]);
    let tls = Some("tls".to_owned());
    for (host, address, named, service) in
        [("127.0.0.1", None, tls.clone(), tls.clone()), ("n1.test", tls.clone(), None, None)]
    {
        let (certificate, key) = authority.sign("server", host);
        let files = MonitorTls { certificate, key };
        let cluster = Cluster::builder(newest()).monitor_tls(files).start().await.unwrap();
        let port = cluster.node(0).monitor_port();
        dns.set_services("_monitor._tcp.test", &[("n1.test", port)]);
        let by_address = format!("dns+https://{NAME}:{port}");
        assert_eq!(reason(&dns, &authority, &by_address, "").await, address, "{host}");
        assert_eq!(reason(&dns, &authority, &by_address, "n1.test").await, named, "{host}");
        let by_service = "dnssrv+https://_monitor._tcp.test";
        assert_eq!(reason(&dns, &authority, by_service, "").await, service, "{host}");
    }
}

/// Names of servers, and the name that a cluster gives itself, are the same in many clusters.
#[tokio::test]
async fn a_server_of_another_cluster_does_not_stand_in_for_one_that_is_down() {
    let (dns, port) = (NameServer::start().await, Port::any().unwrap());
    let mut servers = Vec::new();
    let mut targets = "targets:\n".to_owned();
    for (host, cluster) in [(2, "east"), (3, "west")] {
        let monitor = Monitor::start(Model { id: cluster.to_owned(), ..Model::default() }).await;
        let address = Address::start(host, port.number(), monitor.gate.address().port()).await;
        let name = format!("{cluster}.test");
        dns.set_addresses(&name, &[&format!("127.0.0.{host}")]);
        writeln!(
            targets,
            "  - {{url: \"dns+http://{name}:{}\", cluster: {cluster}}}",
            port.number()
        )
        .unwrap();
        servers.push((monitor, Some(address)));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("exporter.yaml");
    std::fs::write(&file, targets).unwrap();
    let (nameserver, address) = dns.variable();
    let exporter = Exporter::start_with(
        &[format!("--config.file={}", file.display())],
        &[(nameserver, address.as_str())],
    );
    let up = |samples: &Samples, cluster| samples.value("nats_up", &[("nats_cluster", cluster)]);
    let ups = |samples: &Samples| (up(samples, "east"), up(samples, "west"));
    let both = |samples: &Samples| ups(samples) == (Some(1.0), Some(1.0));
    let samples = exporter.until("/metrics", PATIENCE, both).await;
    assert!(both(&samples), "{}", exporter.log());
    servers[0].1 = None;
    let samples = exporter.samples("/metrics").await;
    assert_eq!(ups(&samples), (Some(0.0), Some(1.0)), "{}", exporter.log());
}
