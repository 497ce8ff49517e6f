//! The example of `deploy/prometheus`: a real Prometheus shares real servers between two exporters.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use nats_harness::{Cluster, Node, Prometheus, Watch, newest, repository, tool};
use tokio::process::Command;

use crate::real_server::{exporter_of, three_servers};
use crate::support::exporter::Exporter;

const PATIENCE: Duration = Duration::from_secs(90);

/// What the recording rules give, for the comparison with one exporter of all servers.
const COMPARED: [&str; 4] = [
    "nats:servers:count",
    "nats:servers_up:sum",
    "nats:restart_safe:bool",
    "nats:meta_quorum_size:max",
];

fn address(exporter: &Exporter) -> String {
    exporter.url().trim_start_matches("http://").to_owned()
}

/// The example with the addresses of these exporters, and short intervals.
fn example(exporters: &[Exporter; 2], servers: &Path, rules: &[std::path::PathBuf]) -> String {
    let file = repository().join("deploy/prometheus/sharding.yml");
    let mut text = std::fs::read_to_string(file).unwrap();
    for (number, exporter) in exporters.iter().enumerate() {
        let name = format!("nats-exporter-{number}.nats-exporter:7777");
        assert_eq!(text.matches(&name).count(), 2, "{name}");
        text = text.replace(&name, &address(exporter));
    }
    assert_eq!(text.matches("[nats-servers.yml]").count(), 1);
    text = text.replace("[nats-servers.yml]", &format!("[{:?}]", servers.display().to_string()));
    text = text.replace("scrape_interval: 15s", "scrape_interval: 1s");
    text = text.replace("scrape_interval: 30s", "scrape_interval: 1s");
    format!(
        "global: {{scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: {rules:?}\n{text}"
    )
}

/// Which of two exporters `hashmod` gives an address to: it is the last bit of an MD5.
fn exporter_of_address(address: &str) -> u32 {
    let command = format!("printf %s '{address}' | md5sum");
    let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
    let hash = String::from_utf8(output.stdout).unwrap();
    hash.chars().nth(31).and_then(|digit| digit.to_digit(16)).expect("md5sum writes a hash") % 2
}

/// Tells Prometheus of the servers, each written so that the first exporter gets one and the second the others.
fn write_servers(cluster: &Cluster, file: &Path) {
    let spelled = |(number, node): (usize, &Node)| {
        let mut spellings =
            (2..).map(|width| format!("0x{:0width$x}.0.0.1:{}", 127, node.monitor_port()));
        let wanted = u32::from(number > 0);
        spellings.find(|address| exporter_of_address(address) == wanted).expect("there are many")
    };
    let targets: Vec<_> = cluster.nodes().iter().enumerate().map(spelled).collect();
    std::fs::write(file, format!("- targets: {targets:?}\n")).unwrap();
}

/// Labels and value of each row of a result.
async fn result(prometheus: &Prometheus, expression: &str) -> BTreeSet<String> {
    let rows = prometheus.query(expression).await.unwrap();
    rows.into_iter().map(|(labels, value)| format!("{labels} {value}")).collect()
}

#[tokio::test]
async fn two_exporters_give_what_one_gives() {
    let cluster = three_servers(newest()).await;
    let allow: Vec<_> =
        cluster.monitor_urls().iter().map(|url| format!("--probe.allow={url}")).collect();
    let exporters = [Exporter::start(&allow), Exporter::start(&allow)];
    let servers = cluster.dir().join("nats-servers.yml");
    write_servers(&cluster, &servers);
    let central = exporter_of(&cluster, &[]);
    let (shared_dir, central_dir) = (cluster.dir().join("shared"), cluster.dir().join("central"));
    let watch = Watch::as_shipped(&[address(&central)], &central_dir).unwrap();
    let text = example(&exporters, &servers, &watch.rules);
    let shared = Prometheus::start_with(&shared_dir, &text).await.unwrap();
    let central = Prometheus::start(&central_dir, &watch).await.unwrap();

    for prometheus in [&shared, &central] {
        prometheus.until("nats:servers:count", 1, 3.0, PATIENCE).await.unwrap();
        prometheus.until("nats:servers_up:sum", 1, 3.0, PATIENCE).await.unwrap();
    }
    // Each server is a target once in each job, and in both through the same exporter.
    let data = shared.get("targets?state=active").await.unwrap();
    let targets = data["activeTargets"].as_array().unwrap();
    for job in ["nats-exporter-base", "nats-exporter-persistence"] {
        let of_job = targets.iter().filter(|target| target["labels"]["job"] == job);
        let asked: BTreeSet<_> =
            of_job.clone().map(|target| target["labels"]["instance"].to_string()).collect();
        assert_eq!((of_job.count(), asked.len()), (3, 3), "{targets:#?}");
    }
    let through = |job: &str| -> BTreeSet<(String, String)> {
        let of_job = targets.iter().filter(|target| target["labels"]["job"] == job);
        let pair = |target: &serde_json::Value| {
            let by = target["discoveredLabels"]["__address__"].to_string();
            let url = target["scrapeUrl"].as_str().unwrap();
            (by, url.split("/probe").next().unwrap().to_owned())
        };
        of_job.map(pair).collect()
    };
    assert_eq!(through("nats-exporter-base"), through("nats-exporter-persistence"));
    for (prometheus, name) in [(&shared, "shared"), (&central, "central")] {
        let twice = result(prometheus, "count by (nats_cluster, server) (nats_up) != 1").await;
        assert!(twice.is_empty(), "{name}: {twice:?}");
    }
    // An answer on restarts needs both tiers of all servers, and time to settle.
    let end = tokio::time::Instant::now() + PATIENCE;
    for expression in COMPARED {
        loop {
            let (one, two) =
                (result(&central, expression).await, result(&shared, expression).await);
            if one == two && !one.is_empty() {
                break;
            }
            assert!(tokio::time::Instant::now() < end, "{expression}: {one:?} and {two:?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    let own = shared.query("sort(nats_exporter_probe_targets)").await.unwrap();
    let asked: Vec<f64> = own.iter().map(|(_, value)| *value).collect();
    assert_eq!(asked, [1.0, 2.0], "{own:?}");
    let errors: Vec<_> = targets.iter().filter(|target| target["lastError"] != "").collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[tokio::test]
async fn the_example_is_accepted_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(
        repository().join("deploy/prometheus/sharding.yml"),
        dir.path().join("sharding.yml"),
    )
    .unwrap();
    std::fs::write(dir.path().join("nats-servers.yml"), "- targets: [nats-0.nats.example:8222]\n")
        .unwrap();
    let promtool = tokio::task::spawn_blocking(|| tool("promtool")).await.unwrap().unwrap();
    let output = Command::new(promtool)
        .args(["check", "config", "sharding.yml"])
        .current_dir(dir.path())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
}
