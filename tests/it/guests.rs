//! `/probe` of servers that are no targets: who may be asked, with what, how many and how long.

use std::time::Duration;

use nats_harness::monitor::{Fault, Question};
use nats_harness::newest;

use crate::real_server::three_servers;
use crate::support::exporter::{Answer, Exporter};
use crate::support::model::Model;
use crate::support::monitor::Monitor;
use crate::support::samples::Samples;

const PATIENCE: Duration = Duration::from_secs(60);

async fn probe(exporter: &Exporter, target: &str) -> Answer {
    let encoded: String = form_urlencoded::byte_serialize(target.as_bytes()).collect();
    exporter.get(&format!("/probe?target={encoded}")).await
}

/// An exporter with no targets, which may ask what matches one of `patterns`.
fn exporter(patterns: &[&str], variables: &[(&str, &str)]) -> Exporter {
    let flags: Vec<_> = patterns.iter().map(|p| format!("--probe.allow={p}")).collect();
    Exporter::start_with(&flags, variables)
}

#[tokio::test]
async fn what_is_allowed_is_asked_and_remembered_and_is_no_target() {
    let cluster = three_servers(newest()).await;
    let exporter = exporter(&["http://127.0.0.0/8"], &[]);
    let refused = probe(&exporter, &cluster.node(0).monitor_url()).await;
    assert_eq!(refused.status, 403, "the port is another: {}", refused.body);
    drop(exporter);

    let address = |node: usize| format!("127.0.0.1:{}", cluster.node(node).monitor_port());
    let pattern = format!("http://127.0.0.0/8:{}", cluster.node(0).monitor_port());
    let exporter = self::exporter(&[&pattern], &[]);
    for target in [address(0), format!("http://{}", address(0)), format!("http://{}/", address(0))]
    {
        let answer = probe(&exporter, &target).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.body);
        let samples = Samples::parse(&answer.body);
        let labels = [("nats_cluster", "C1"), ("server", "n1")];
        assert_eq!(samples.value("nats_up", &labels), Some(1.0), "{target}");
        assert_eq!(samples.value("nats_exporter_probe_targets", &[]), Some(1.0), "{target}");
    }
    assert_eq!(probe(&exporter, &address(1)).await.status, 403, "the port is another");

    // The name is remembered while the server is down.
    cluster.node(0).kill().await.unwrap();
    let down = probe(&exporter, &address(0)).await;
    let samples = Samples::parse(&down.body);
    assert_eq!(samples.value("nats_up", &[("nats_cluster", "C1"), ("server", "n1")]), Some(0.0));

    let all = exporter.samples("/metrics").await;
    assert_eq!(all.find("nats_up", &[]).count(), 0, "it is no target");
    assert_eq!(all.value("nats_exporter_targets", &[]), Some(0.0));
    let refused = [("reason", "not_allowed")];
    assert_eq!(all.value("nats_exporter_probe_refused_total", &refused), Some(1.0));
    assert!(!exporter.get("/").await.body.contains(&address(0)));
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_with_a_reason() {
    let monitor = Monitor::start(Model::default()).await;
    let port = monitor.gate.address().port();
    let local = format!("http://localhost:{port}");
    let below = format!("http://*.localhost:{port}");
    let exporter = exporter(&[&local, &below], &[]);
    for (target, status, said) in [
        (format!("localhost:{port}"), 200, "nats_up"),
        (format!("http://LOCALHOST:{port}"), 200, "nats_up"),
        (format!("127.0.0.1:{port}"), 403, "probe.allow does not allow"),
        (format!("http://2130706433:{port}"), 403, "\"http://127.0.0.1:"),
        (format!("http://0x7f.1:{port}"), 403, "\"http://127.0.0.1:"),
        (format!("[::1]:{port}"), 403, "probe.allow does not allow"),
        (format!("evillocalhost:{port}"), 403, "probe.allow does not allow"),
        (format!("localhost.evil:{port}"), 403, "probe.allow does not allow"),
        (format!("https://localhost:{port}"), 403, "probe.allow does not allow"),
        ("localhost:1".to_owned(), 403, "probe.allow does not allow"),
        (format!("localhost@127.0.0.1:{port}"), 400, "it has credentials"),
        (format!("http://a:secret@localhost:{port}"), 400, "it has credentials"),
        (format!("localhost:{port}/varz"), 400, "more than a host and a port"),
        (format!("localhost:{port}?x"), 400, "more than a host and a port"),
        (format!("localhost:{port}#x"), 400, "more than a host and a port"),
        (format!("http://localhost:{port}\\@127.0.0.1"), 400, "it has credentials"),
        (format!("ftp://localhost:{port}"), 400, "neither http:// nor https://"),
        ("localhost:port".to_owned(), 400, "it cannot be read"),
        ("localhost".to_owned(), 404, "there is no target \"localhost\""),
    ] {
        let answer = probe(&exporter, &target).await;
        assert_eq!(answer.status, status, "{target}: {}", answer.body);
        assert!(answer.body.contains(said), "{target}: {}", answer.body);
        assert!(!answer.body.contains("secret"), "{}", answer.body);
    }
}

#[tokio::test]
async fn nothing_is_allowed_by_default_and_a_target_needs_no_permission() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = Exporter::start(&[format!("first,{}", monitor.url())]);
    let address = monitor.gate.address().to_string();
    for (target, status) in [
        ("first".to_owned(), 200),
        (address.clone(), 200),
        (format!("http://{address}"), 200),
        (format!("https://{address}"), 403),
        ("second".to_owned(), 404),
        ("127.0.0.1:1".to_owned(), 403),
    ] {
        let answer = probe(&exporter, &target).await;
        assert_eq!(answer.status, status, "{target}: {}", answer.body);
        assert!(status == 200 || answer.body.contains("the targets are: first"), "{}", answer.body);
    }
    let samples = exporter.samples("/metrics").await;
    assert_eq!(samples.value("nats_exporter_probe_targets", &[]), Some(0.0), "it is the target");
}

#[tokio::test]
async fn each_is_asked_with_the_credentials_of_its_own_pattern_and_of_no_other() {
    let (first, second, third) = (
        Monitor::start(Model::default()).await,
        Monitor::start(Model::default()).await,
        Monitor::start(Model::default()).await,
    );
    let port = |monitor: &Monitor| monitor.gate.address().port();
    let text = format!(
        "targets:\n  - http://user:configured@127.0.0.1:{}\n\
         probe:\n  allow:\n    - url: http://127.0.0.1:{}\n      cluster: east\n\
         \x20     basic_auth: {{username: a, password: b}}\n    - http://127.0.0.1:{}\n",
        port(&first),
        port(&second),
        port(&third)
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("exporter.yaml");
    std::fs::write(&file, text).unwrap();
    let exporter = Exporter::start(&[format!("--config.file={}", file.display())]);
    // A redirect is not followed, and so takes no credentials along.
    first.gate.spoil(Question::Healthz, Fault::Redirect(third.url().into()));
    second.gate.spoil(Question::Routez, Fault::Redirect(format!("{}/routez", third.url()).into()));
    for monitor in [&first, &second] {
        assert_eq!(probe(&exporter, &monitor.gate.address().to_string()).await.status, 200);
    }
    assert!(third.requests().is_empty(), "{:?}", third.requests());
    let answer = probe(&exporter, &third.gate.address().to_string()).await;
    assert_eq!(answer.status, 200);
    for (monitor, expected) in [
        (&first, Some("Basic dXNlcjpjb25maWd1cmVk")),
        (&second, Some("Basic YTpi")),
        (&third, None),
    ] {
        let sent = monitor.requests();
        assert!(!sent.is_empty());
        for request in sent {
            assert_eq!(request.headers.get("authorization").map(String::as_str), expected);
        }
    }
    let answer = probe(&exporter, &second.gate.address().to_string()).await;
    assert!(answer.body.contains("nats_cluster=\"east\""), "{}", answer.body);
}

#[tokio::test]
async fn a_full_table_refuses_more_until_one_is_forgotten() {
    let first = Monitor::start(Model::default()).await;
    let second = Monitor::start(Model::default()).await;
    let patterns = [&first, &second].map(Monitor::url);
    let patterns: Vec<_> = patterns.iter().map(String::as_str).collect();
    let variables = [("NATS_EXPORTER_PROBE_MAX_TARGETS", "1"), ("NATS_EXPORTER_PROBE_IDLE", "5s")];
    let exporter = exporter(&patterns, &variables);
    assert_eq!(probe(&exporter, patterns[0]).await.status, 200);
    let full = probe(&exporter, patterns[1]).await;
    assert_eq!(full.status, 503, "{}", full.body);
    assert!(full.body.contains("probe.max_targets"), "{}", full.body);
    assert_eq!(probe(&exporter, patterns[0]).await.status, 200, "it is known");
    let samples = exporter.samples("/metrics").await;
    let refused = [("reason", "table_full")];
    assert_eq!(samples.value("nats_exporter_probe_refused_total", &refused), Some(1.0));
    assert_eq!(samples.value("nats_exporter_probe_targets", &[]), Some(1.0));
    let forgotten =
        |samples: &Samples| samples.value("nats_exporter_probe_targets", &[]) == Some(0.0);
    let samples = exporter.until("/metrics", PATIENCE, forgotten).await;
    assert!(forgotten(&samples));
    assert_eq!(probe(&exporter, patterns[1]).await.status, 200);
}

/// Scrapes that come together are one request.
#[tokio::test]
async fn probes_of_one_server_share_its_answers() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = exporter(&[&monitor.url()], &[]);
    monitor.gate.spoil(Question::Varz, Fault::Gated);
    let url = monitor.url();
    let (first, second, ()) = tokio::join!(probe(&exporter, &url), probe(&exporter, &url), async {
        monitor.asked(Question::Varz, 1).await;
        monitor.gate.open();
    });
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(monitor.gate.most_in_flight("/varz"), 1);
}
