//! A real Prometheus scrapes the exporter, and is asked what it made of it.

use std::collections::BTreeSet;
use std::time::Duration;

use nats_harness::workload::{Plan, Workload};
use nats_harness::{Cluster, Job, Prometheus, Watch, newest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::real_server::{exporter_of, three_servers};
use crate::support::exporter::Exporter;

const PATIENCE: Duration = Duration::from_secs(60);

/// A Prometheus that scrapes `address` with these jobs, each a name and the `tier` that it asks for.
async fn prometheus(cluster: &Cluster, address: &str, jobs: &[(&str, Option<&str>)]) -> Prometheus {
    let job = |(name, tier)| Job { name, tier, addresses: vec![address.to_owned()] };
    let watch = Watch { jobs: jobs.iter().copied().map(job).collect(), ..Watch::default() };
    Prometheus::start(&cluster.dir().join("prometheus"), &watch).await.unwrap()
}

/// No scrape of any target failed.
async fn scrapes_without_error(prometheus: &Prometheus, targets: usize) {
    let data = prometheus.get("targets?state=active").await.unwrap();
    let active = data["activeTargets"].as_array().unwrap();
    assert_eq!(active.len(), targets, "{active:#?}");
    for target in active {
        assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()));
    }
    // Samples that come twice or out of order are left out without an error.
    let own = prometheus.text("metrics").await.unwrap();
    let left_out: Vec<_> =
        own.lines().filter(|line| line.starts_with("prometheus_target_scrapes_sample_")).collect();
    assert!(left_out.len() >= 3, "{own}");
    assert!(left_out.iter().all(|line| line.ends_with(" 0")), "{left_out:#?}");
}

fn address_of(exporter: &Exporter) -> &str {
    exporter.url().strip_prefix("http://").unwrap()
}

/// Passes requests on to the exporter without their `Accept` header. Prometheus 2.42 always prefers
/// OpenMetrics, and gets classic text only from an exporter that cannot tell.
async fn without_accept(exporter: &Exporter) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let to = address_of(exporter).to_owned();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let kept = head.split_inclusive("\r\n").filter(|line| {
                let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
                !["accept", "connection"].contains(&name.as_str()) && *line != "\r\n"
            });
            let request = format!("{}Connection: close\r\n\r\n", kept.collect::<String>());
            let mut server = TcpStream::connect(&to).await.unwrap();
            server.write_all(request.as_bytes()).await.unwrap();
            tokio::io::copy(&mut server, &mut client).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn prometheus_reads_classic_text_too() {
    let cluster = three_servers(newest()).await;
    let _workload = Workload::make(&cluster, Plan { replicas: 3 }).await.unwrap();
    let exporter = exporter_of(&cluster, &[]);
    let classic = exporter.get_with("/metrics", &[("Accept", "*/*")]).await;
    assert!(classic.content_type.starts_with("text/plain"), "{}", classic.content_type);
    let address = without_accept(&exporter).await;
    let prometheus = prometheus(&cluster, &address, &[("nats", None)]).await;
    prometheus.until("nats_tier_state{state=\"ok\"} == 1", 6, 1.0, PATIENCE).await.unwrap();
    scrapes_without_error(&prometheus, 1).await;
    let metadata = prometheus.get("metadata?metric=nats_server_in_messages_total").await.unwrap();
    let kind = &metadata["nats_server_in_messages_total"][0]["type"];
    assert_eq!(kind, "counter", "only classic text has the type under this name: {metadata}");
}

#[tokio::test]
async fn prometheus_takes_every_sample_with_its_type() {
    let cluster = three_servers(newest()).await;
    let _workload = Workload::make(&cluster, Plan { replicas: 3 }).await.unwrap();
    let exporter = exporter_of(&cluster, &[]);
    let prometheus = prometheus(&cluster, address_of(&exporter), &[("nats", None)]).await;

    prometheus.until("up", 1, 1.0, PATIENCE).await.unwrap();
    prometheus.until(r#"nats_tier_state{state="ok"}"#, 6, 1.0, PATIENCE).await.unwrap();
    prometheus.until(r#"nats_tier_state{state!="ok"}"#, 18, 0.0, PATIENCE).await.unwrap();
    scrapes_without_error(&prometheus, 1).await;
    // What it took is what a scrape has.
    let shown = exporter.samples("/metrics").await;
    let scraped = prometheus.query("scrape_samples_scraped").await.unwrap()[0].1;
    assert!((scraped - shown.0.len() as f64).abs() < 20.0, "{scraped} of {}", shown.0.len());
    let log = prometheus.log();
    assert!(!log.contains("level=error") && !log.contains("level=warn"), "{log}");

    let metadata = prometheus.get("metadata").await.unwrap();
    for name in shown.names() {
        // In OpenMetrics, a counter's family is without the ending of its samples.
        let family = name.strip_suffix("_total").unwrap_or(name);
        let known = [&metadata[family], &metadata[name]].into_iter().find(|known| known.is_array());
        let known = known.unwrap_or_else(|| panic!("{name} is not known: {metadata}"));
        let expected = if name == family { "gauge" } else { "counter" };
        assert_eq!(known[0]["type"], expected, "{name}");
        assert_ne!(known[0]["help"], "", "{name}");
    }
}

/// Two jobs, so that a slow persistence tier never delays the base tier.
#[tokio::test]
async fn jobs_for_the_two_tiers_share_no_series() {
    let cluster = three_servers(newest()).await;
    let _workload = Workload::make(&cluster, Plan { replicas: 3 }).await.unwrap();
    let exporter = exporter_of(&cluster, &[]);
    let jobs = [("base", Some("base")), ("persistence", Some("persistence"))];
    let prometheus = prometheus(&cluster, address_of(&exporter), &jobs).await;

    prometheus.until("up", 2, 1.0, PATIENCE).await.unwrap();
    prometheus.until(r#"nats_tier_state{state="ok"}"#, 6, 1.0, PATIENCE).await.unwrap();
    scrapes_without_error(&prometheus, 2).await;
    let mut seen = BTreeSet::new();
    let mut jobs_seen = BTreeSet::new();
    for (mut labels, _) in prometheus.query(r#"{__name__=~"nats_.+|process_.+"}"#).await.unwrap() {
        let job = labels.as_object_mut().unwrap().remove("job").unwrap();
        jobs_seen.insert(job.to_string());
        assert!(seen.insert(labels.to_string()), "in both jobs: {labels}");
    }
    assert_eq!(jobs_seen.len(), 2);
    assert!(seen.len() > 500, "only {} series", seen.len());
}
