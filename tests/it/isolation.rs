//! What hangs costs itself: tiers, endpoints, targets and scrapers do not wait for each other, and
//! the server is asked no more than needed.

use std::collections::BTreeSet;
use std::time::Duration;

use nats_harness::monitor::{Fault, Question};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::exporter::{Answer, Exporter};
use super::support::model::{Condition, Model};
use super::support::monitor::Monitor;
use super::support::samples::{Sample, Samples};

const V2_9: (u64, u64, u64) = (2, 9, 10);
const V2_10: (u64, u64, u64) = (2, 10, 26);
const V2_15: (u64, u64, u64) = (2, 15, 1);

const WIDE: &str = "/healthz?details=true";
const PLAIN: &str = "/healthz";
const ENABLED: &str = "/healthz?js-enabled-only=true";
const SERVER: &str = "/healthz?js-server-only=true";
const DETAIL: &str = "/jsz?consumers=true&config=true&limit=1024";

/// Scrapes as Prometheus does that gives up after `seconds`, and sees that it need not.
async fn within(exporter: &Exporter, path: &str, seconds: u32) -> Samples {
    let announced = seconds.to_string();
    let headers = [("X-Prometheus-Scrape-Timeout-Seconds", announced.as_str())];
    let Answer { status, body, elapsed, .. } = exporter.get_with(path, &headers).await;
    assert_eq!(status, 200, "{body}");
    assert!(elapsed < Duration::from_secs(seconds.into()), "took {elapsed:?}");
    Samples::parse(&body)
}

fn up(samples: &Samples, endpoint: &str) -> Option<f64> {
    samples.value("nats_exporter_endpoint_up", &[("endpoint", endpoint)])
}

/// Names of the metrics that begin with one of `prefixes`, with their labels.
fn series(samples: &Samples, prefixes: &[&str]) -> BTreeSet<String> {
    let chosen = samples.0.iter().filter(|s| prefixes.iter().any(|p| s.name.starts_with(p)));
    chosen.map(|sample| format!("{} {:?}", sample.name, sample.labels)).collect()
}

const BASE: &[&str] =
    &["nats_up", "nats_server_", "nats_route_", "nats_health_", "nats_tier_reason"];

#[tokio::test]
async fn a_hanging_jsz_leaves_the_base_tier_complete_and_in_time() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = Exporter::start(&[monitor.url()]);
    let healthy = exporter.samples("/metrics").await;
    assert_eq!(healthy.state("n1", "base").as_deref(), Some("ok"));
    assert_eq!(healthy.state("n1", "persistence").as_deref(), Some("ok"));
    for question in [Question::JszPlain, Question::JszDetail] {
        monitor.gate.spoil(question, Fault::Stall);
    }
    let samples = within(&exporter, "/metrics", 2).await;
    assert_eq!(series(&samples, BASE), series(&healthy, BASE));
    assert_eq!(samples.state("n1", "base").as_deref(), Some("ok"));
    assert_eq!(samples.state("n1", "persistence").as_deref(), Some("unknown"));
    assert_eq!(samples.reasons("n1", "persistence"), ["jsz_unavailable".to_owned()].into());
    for (endpoint, expected) in [
        ("varz", 1.0),
        ("routez", 1.0),
        ("healthz_core", 1.0),
        ("healthz", 1.0),
        ("jsz", 0.0),
        ("jsz_detail", 0.0),
    ] {
        assert_eq!(up(&samples, endpoint), Some(expected), "{endpoint}");
    }
    let shown = series(&samples, &["nats_jetstream_stream", "nats_jetstream_messages"]);
    assert!(shown.is_empty(), "{shown:?}");
}

/// The detail hangs, and the cheap form still says how JetStream of the server is.
#[tokio::test]
async fn a_hanging_detail_leaves_the_plain_form() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = Exporter::start(&[monitor.url()]);
    monitor.gate.spoil(Question::JszDetail, Fault::Stall);
    let samples = within(&exporter, "/metrics", 2).await;
    assert_eq!((up(&samples, "jsz"), up(&samples, "jsz_detail")), (Some(1.0), Some(0.0)));
    assert_eq!(samples.value("nats_jetstream_enabled", &[]), Some(1.0));
    assert_eq!(samples.value("nats_jetstream_meta_is_leader", &[]), Some(1.0));
    assert_eq!(samples.find("nats_jetstream_stream_messages", &[]).count(), 0);
}

#[tokio::test]
async fn a_base_scrape_asks_only_the_base_tier() {
    for (version, core) in [(V2_9, ENABLED), (V2_10, ENABLED), (V2_15, SERVER)] {
        let monitor = Monitor::start(Model::new("n1", version)).await;
        let exporter = Exporter::start(&[monitor.url()]);
        exporter.samples("/metrics?tier=base").await;
        let asked: BTreeSet<_> = monitor.requests().into_iter().map(|r| r.target).collect();
        assert_eq!(asked, ["/varz", "/routez", core].map(str::to_owned).into(), "{version:?}");
        assert_eq!(monitor.requests().len(), 3, "each once");
    }
}

#[tokio::test]
async fn a_hanging_target_leaves_the_other_nine() {
    let mut monitors = Vec::new();
    for number in 0..10 {
        monitors.push(Monitor::start(Model::new(&format!("s{number}"), V2_15)).await);
    }
    for question in Question::ALL {
        monitors[4].gate.spoil(question, Fault::Stall);
    }
    let urls: Vec<_> = monitors.iter().map(Monitor::url).collect();
    let exporter = Exporter::start(&urls);
    let samples = within(&exporter, "/metrics", 3).await;
    for number in (0..10).filter(|number| *number != 4) {
        let server = format!("s{number}");
        for tier in ["base", "persistence"] {
            assert_eq!(samples.state(&server, tier).as_deref(), Some("ok"), "{server} {tier}");
        }
        let labels = [("server", server.as_str())];
        assert_eq!(samples.value("nats_jetstream_streams", &labels), Some(2.0));
        assert_eq!(samples.find("nats_jetstream_stream_replica_messages", &labels).count(), 2);
    }
    let address = monitors[4].gate.address().to_string();
    assert_eq!(samples.value("nats_up", &[("server", &address)]), Some(0.0));
    assert_eq!(samples.state(&address, "base").as_deref(), Some("down"));
    assert!(samples.reasons(&address, "base").contains("not_answering"));
}

#[tokio::test]
async fn scrapes_at_the_same_time_share_requests_and_never_ask_jsz_twice_at_once() {
    const SCRAPES: usize = 20;
    let monitor = Monitor::start(Model::default()).await;
    let exporter = Exporter::start(&[monitor.url()]);
    for question in Question::ALL {
        monitor.gate.spoil(question, Fault::After(Duration::from_millis(400)));
    }
    for _ in 0..2 {
        let all = (0..SCRAPES).map(|_| exporter.samples("/metrics"));
        for samples in futures_of(all).await {
            assert_eq!(samples.find("nats_jetstream_stream_messages", &[]).count(), 2);
            assert_eq!(up(&samples, "jsz"), Some(1.0));
        }
    }
    assert_eq!(monitor.gate.most_in_flight("/jsz"), 1);
    for question in Question::ALL {
        let count = monitor.count(question);
        assert!((1..SCRAPES).contains(&count), "{question:?} was asked {count} times");
    }
}

/// Drives all of them at once and returns what they gave.
async fn futures_of<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<_> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(context)
            {
                *done = Some(output);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// JetStream switched itself off between two answers that would tell it from one that is not configured otherwise.
#[tokio::test]
async fn two_scrapes_with_the_same_answers_do_not_make_jetstream_not_configured() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = Exporter::start(&[monitor.url()]);
    exporter.samples("/metrics").await;
    monitor.forget();
    monitor.change(|model| model.condition = Condition::SwitchedOff);
    monitor.gate.spoil(Question::JszPlain, Fault::Gated);
    monitor.gate.spoil(Question::Healthz, Fault::answer(200, r#"{"status":"ok"}"#));
    let scrape = || exporter.samples("/metrics?tier=persistence");
    let second = async {
        monitor.asked(Question::Healthz, 1).await;
        scrape().await
    };
    let open = async {
        // It may share the health check of the first instead.
        let asked = monitor.asked(Question::Healthz, 2);
        let _ = tokio::time::timeout(Duration::from_secs(2), asked).await;
        monitor.gate.open();
    };
    let (first, second, ()) = tokio::join!(scrape(), second, open);
    assert_eq!(monitor.count(Question::JszPlain), 1);
    let configured = |samples: &Samples| samples.value("nats_jetstream_configured", &[]);
    for samples in [first, second] {
        assert_eq!(configured(&samples), None);
        let reasons = samples.reasons("n1", "persistence");
        assert_eq!(reasons, ["switched_off".to_owned()].into());
    }
    assert_eq!(configured(&scrape().await), Some(0.0), "the health check came later");
}

#[tokio::test]
async fn a_scraper_that_goes_away_takes_no_answer_along() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = Exporter::start(&[monitor.url()]);
    monitor.gate.spoil(Question::JszPlain, Fault::Gated);
    let address = exporter.url().trim_start_matches("http://");
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n").await.unwrap();
    monitor.asked(Question::JszPlain, 1).await;
    // After this no /varz is in flight that the second scrape could share.
    exporter.samples("/metrics?tier=base").await;
    let count = monitor.count(Question::Varz);
    let second = async {
        let samples = exporter.samples("/metrics").await;
        assert_eq!(up(&samples, "jsz"), Some(1.0), "{}", exporter.log());
        assert_eq!(samples.value("nats_jetstream_enabled", &[]), Some(1.0));
    };
    let leave = async {
        // So when it is asked again, the second scrape is under way.
        monitor.asked(Question::Varz, count + 1).await;
        drop(first);
        tokio::time::sleep(Duration::from_millis(200)).await;
        monitor.gate.open();
    };
    tokio::join!(second, leave);
    assert_eq!(monitor.count(Question::JszPlain), 1, "the second scrape took over the request");
}

/// What scrapers that leave had started would be as many as they like, and no limit would count it.
#[tokio::test]
async fn scrapers_that_go_away_leave_no_work_behind() {
    const SCRAPERS: u32 = 50;
    let monitor = Monitor::start(Model::default()).await;
    let exporter = Exporter::start(&[monitor.url()]);
    monitor.gate.spoil(Question::JszPlain, Fault::Gated);
    let own = "/metrics?tier=exporter";
    let tasks = |s: &Samples| s.value("nats_exporter_tasks", &[]).unwrap();
    let connections = |s: &Samples| s.value("nats_exporter_connections", &[]).unwrap();
    let before = tasks(&exporter.samples(own).await);
    let mut scrapers = Vec::new();
    for _ in 0..SCRAPERS {
        let mut scraper = TcpStream::connect(exporter.address()).await.unwrap();
        scraper.write_all(b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n").await.unwrap();
        scrapers.push(scraper);
    }
    // Each has its connection and what asks the server.
    let all_ask = |s: &Samples| tasks(s) >= before + 2.0 * f64::from(SCRAPERS);
    let during = exporter.until(own, Duration::from_secs(20), all_ask).await;
    assert!(all_ask(&during), "{before} {}", tasks(&during));
    drop(scrapers);
    let after = exporter.until(own, Duration::from_secs(20), |s| connections(s) == 1.0).await;
    // Requests that are under way go on, as many as there are endpoints.
    assert!(tasks(&after) < before + 10.0, "{before} {}", tasks(&after));
    monitor.gate.open();
}

fn messages(samples: &Samples) -> Vec<f64> {
    samples.find("nats_jetstream_stream_messages", &[]).map(Sample::value).collect()
}

fn age(samples: &Samples) -> f64 {
    let labels = [("endpoint", "jsz_detail")];
    samples.value("nats_exporter_endpoint_age_seconds", &labels).expect("it has an age")
}

#[tokio::test]
async fn detail_is_kept_for_its_interval_and_says_its_age() {
    let monitor = Monitor::start(Model::default()).await;
    let interval = [("NATS_EXPORTER_JETSTREAM_DETAIL_INTERVAL", "60s")];
    let exporter = Exporter::start_with(&[monitor.url()], &interval);
    let first = exporter.samples("/metrics").await;
    assert_eq!(messages(&first), [42.0, 42.0]);
    monitor.change(|model| model.messages = 1000);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second = exporter.samples("/metrics").await;
    assert_eq!(messages(&second), [42.0, 42.0], "as the detail said");
    assert_eq!(second.value("nats_jetstream_messages", &[]), Some(2000.0), "the plain form is new");
    assert!(age(&second) >= 0.3, "{}", age(&second));
    assert_eq!(monitor.targets("/jsz"), ["/jsz", DETAIL, "/jsz"]);
}

/// A detail that came before the name of the server does not say that the server leads nothing.
#[tokio::test]
async fn a_detail_without_the_name_of_its_server_counts_no_consumers_as_led() {
    for fault in [Fault::After(Duration::from_millis(600)), Fault::answer(500, "")] {
        let monitor = Monitor::start(Model::default()).await;
        let interval = [("NATS_EXPORTER_JETSTREAM_DETAIL_INTERVAL", "1h")];
        let exporter = Exporter::start_with(&[monitor.url()], &interval);
        monitor.gate.spoil(Question::Varz, fault.clone());
        let led = |samples: &Samples| -> Vec<f64> {
            let led = samples.find("nats_jetstream_stream_replica_consumers_led", &[]);
            led.map(Sample::value).collect()
        };
        let samples = exporter.samples("/metrics").await;
        assert!(!led(&samples).contains(&0.0), "{fault:?}");
        monitor.gate.heal();
        // Once to learn the name, where that failed.
        exporter.samples("/metrics?tier=base").await;
        assert_eq!(led(&exporter.samples("/metrics").await), [3.0, 3.0], "{fault:?}");
    }
}

const WITHOUT_CONFIG: &str = "/jsz?consumers=true&limit=1024";

/// The configuration is half of a detail and most of its cost, and seldom changes.
#[tokio::test]
async fn configuration_is_asked_for_once_and_shown_with_its_age() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = Exporter::start(&[monitor.url()]);
    let first = exporter.samples("/metrics").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second = exporter.samples("/metrics").await;
    let asked = ["/jsz", DETAIL, "/jsz", WITHOUT_CONFIG];
    assert_eq!(monitor.targets("/jsz"), asked);
    for name in [
        "nats_jetstream_stream_limit_bytes",
        "nats_jetstream_consumer_max_ack_pending",
        "nats_jetstream_folded_consumers",
    ] {
        assert_eq!(series(&first, &[name]), series(&second, &[name]));
        assert_eq!(series(&first, &[name]).len(), 2, "{name}");
    }
    let age = "nats_exporter_jetstream_config_age_seconds";
    assert!(second.value(age, &[]) > Some(0.3), "{:?}", second.value(age, &[]));
    assert!(first.value(age, &[]) < second.value(age, &[]));
    // It may be asked for every time.
    let every = Exporter::start(&["--jetstream.config-interval=0s".to_owned(), monitor.url()]);
    every.samples("/metrics").await;
    every.samples("/metrics").await;
    assert_eq!(monitor.targets("/jsz")[asked.len()..], ["/jsz", DETAIL, "/jsz", DETAIL]);
}

/// What is new shows its numbers at once, and its limits as soon as they are asked for. Until then
/// nobody knows whether a consumer is one that comes and goes.
#[tokio::test]
async fn something_new_makes_the_configuration_be_asked_for_again() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = Exporter::start(&[monitor.url()]);
    exporter.samples("/metrics").await;
    monitor.change(|model| model.streams.push("NEW".to_owned()));
    let samples = exporter.samples("/metrics").await;
    let new = [("stream", "NEW")];
    assert_eq!(samples.value("nats_jetstream_stream_messages", &new), Some(42.0));
    assert_eq!(samples.value("nats_jetstream_stream_is_leader", &new), Some(1.0));
    assert_eq!(samples.value("nats_jetstream_stream_limit_bytes", &new), None);
    assert_eq!(samples.value("nats_exporter_jetstream_config_unknown", &[]), Some(4.0));
    let folded = [("stream", "NEW"), ("kind", "new")];
    assert_eq!(samples.value("nats_jetstream_folded_consumers", &folded), Some(3.0));
    let shown = |samples: &Samples| {
        samples.value("nats_exporter_jetstream_config_unknown", &[]) == Some(0.0)
    };
    // It is asked for again after a hundred times what the first request took.
    let samples = exporter.until("/metrics", Duration::from_secs(240), shown).await;
    assert!(shown(&samples));
    assert_eq!(samples.value("nats_jetstream_stream_limit_bytes", &new), Some(1e6));
    let consumer = [("stream", "NEW"), ("consumer", "work")];
    assert_eq!(samples.value("nats_jetstream_consumer_max_ack_pending", &consumer), Some(1000.0));
    assert_eq!(samples.value("nats_jetstream_folded_consumers", &folded), None);
}

/// A server that cannot give the configuration in time still tells the numbers.
#[tokio::test]
async fn configuration_that_does_not_come_costs_every_second_detail_only() {
    let monitor = Monitor::start(Model::default()).await;
    monitor.gate.spoil_target(DETAIL, Fault::answer(500, ""));
    let exporter = Exporter::start(&[monitor.url()]);
    let found = [
        messages(&exporter.samples("/metrics").await).len(),
        messages(&exporter.samples("/metrics").await).len(),
        messages(&exporter.samples("/metrics").await).len(),
    ];
    assert_eq!(found, [0, 2, 0]);
}

/// Nobody knows whether limits of long ago are still true.
#[tokio::test]
async fn configuration_that_does_not_come_any_more_is_shown_for_some_intervals() {
    let monitor = Monitor::start(Model::default()).await;
    let shown = async |interval: &str| {
        monitor.gate.heal();
        let interval = [("NATS_EXPORTER_JETSTREAM_CONFIG_INTERVAL", interval)];
        let exporter = Exporter::start_with(&[monitor.url()], &interval);
        exporter.samples("/metrics").await;
        monitor.gate.spoil_target(DETAIL, Fault::answer(500, ""));
        // Longer than twelve of the shorter intervals, and than one of the longer ones.
        tokio::time::sleep(Duration::from_millis(1300)).await;
        assert_eq!(up(&exporter.samples("/metrics").await, "jsz_detail"), Some(0.0));
        let samples = exporter.samples("/metrics").await;
        assert_eq!(messages(&samples), [42.0, 42.0]);
        let count = |name: &str| samples.find(name, &[]).count();
        (
            count("nats_jetstream_stream_limit_bytes"),
            count("nats_exporter_jetstream_config_age_seconds"),
        )
    };
    assert_eq!(shown("1s").await, (2, 1));
    assert_eq!(shown("100ms").await, (0, 0));
}

/// Many accounts come in pages, and what of them was not sent is told.
#[tokio::test]
async fn accounts_come_in_pages() {
    let monitor = Monitor::start(Model::default()).await;
    let page = |first: usize, count: usize, total: usize| {
        let account = |number: usize| {
            let name = format!("A{number:05}");
            json!({ "name": name, "id": name, "storage": number, "stream_detail": [] })
        };
        let accounts: Vec<_> = (first..first + count).map(account).collect();
        json!({ "server_id": "ID-OF-n1", "total": total, "account_details": accounts }).to_string()
    };
    let next = |offset: usize| format!("{DETAIL}&offset={offset}");
    monitor.gate.spoil_target(DETAIL, Fault::answer(200, page(0, 1024, 2500)));
    monitor.gate.spoil_target(&next(1024), Fault::answer(200, page(1024, 1024, 2500)));
    monitor.gate.spoil_target(&next(2048), Fault::answer(200, page(2048, 452, 2500)));
    let exporter = Exporter::start(&["--jetstream.config-interval=0s".to_owned(), monitor.url()]);
    let samples = exporter.samples("/metrics").await;
    assert_eq!(samples.find("nats_jetstream_account_storage_used_bytes", &[]).count(), 2500);
    assert_eq!(samples.value("nats_exporter_accounts_missing", &[]), Some(0.0));
    assert_eq!(monitor.targets("/jsz"), ["/jsz", DETAIL, &next(1024), &next(2048)]);

    // Accounts that went away between two pages leave fewer than were told of.
    monitor.gate.spoil_target(&next(2048), Fault::answer(200, page(2048, 0, 2500)));
    let samples = exporter.samples("/metrics").await;
    assert_eq!(samples.find("nats_jetstream_account_storage_used_bytes", &[]).count(), 2048);
    assert_eq!(samples.value("nats_exporter_accounts_missing", &[]), Some(452.0));

    // All or nothing: a part of the accounts would look like the whole.
    monitor.gate.spoil_target(&next(1024), Fault::Cut);
    let samples = exporter.samples("/metrics").await;
    assert_eq!(samples.find("nats_jetstream_account_storage_used_bytes", &[]).count(), 0);
    assert_eq!(up(&samples, "jsz_detail"), Some(0.0));
    assert_eq!(up(&samples, "jsz"), Some(1.0));
}

/// Many scrapes that come together are one for the server, and each gets all of it.
#[tokio::test]
async fn scrapes_that_come_together_share_the_detail() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = Exporter::start(&[monitor.url()]);
    exporter.samples("/metrics").await;
    let before = monitor.count(Question::JszDetail);
    monitor.gate.spoil(Question::JszDetail, Fault::Gated);
    let scrapes = (0..50).map(|_| exporter.samples("/metrics"));
    let open = async {
        while monitor.count(Question::JszDetail) == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Long enough for all to have arrived.
        tokio::time::sleep(Duration::from_millis(500)).await;
        monitor.gate.open();
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(scrapes), open);
    assert_eq!(monitor.count(Question::JszDetail), before + 1);
    for samples in &answers {
        assert_eq!(messages(samples), [42.0, 42.0]);
    }
}

/// A client that does not read holds its own answer and nothing else: neither the next scrape nor
/// the next request to the server.
#[tokio::test]
async fn a_client_that_does_not_read_does_not_hold_the_next_scrape() {
    let monitor = Monitor::start(Model::default()).await;
    let many: Vec<_> = (0..2_000).map(|number| format!("STREAM-{number}")).collect();
    monitor.change(|model| model.streams = many);
    let exporter = Exporter::start(&[monitor.url()]);
    let address = exporter.url().trim_start_matches("http://").to_owned();
    let mut lazy = TcpStream::connect(address).await.unwrap();
    lazy.write_all(b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n").await.unwrap();
    assert_eq!(lazy.read_u8().await.unwrap(), b'H', "an answer has begun");
    for (number, count) in [(43, 43.0), (44, 44.0)] {
        monitor.change(|model| model.messages = number);
        let samples = exporter.samples("/metrics").await;
        let found = messages(&samples);
        assert_eq!(found, [count; 2_000], "not the one before");
    }
    drop(lazy);
}

/// The new process has other leaders and other numbers.
#[tokio::test]
async fn detail_of_a_process_that_is_gone_is_not_shown() {
    let monitor = Monitor::start(Model::default()).await;
    let interval = [("NATS_EXPORTER_JETSTREAM_DETAIL_INTERVAL", "60s")];
    let exporter = Exporter::start_with(&[monitor.url()], &interval);
    assert_eq!(messages(&exporter.samples("/metrics").await), [42.0, 42.0]);
    monitor.change(|model| {
        model.id = "ANOTHER".to_owned();
        model.messages = 7;
    });
    let found = messages(&exporter.samples("/metrics").await);
    assert!(found.iter().all(|count| (*count - 42.0).abs() > 1.0), "{found:?}");
    let found = messages(&exporter.samples("/metrics").await);
    assert_eq!(found, [7.0, 7.0], "the new process is asked without waiting for the interval");
}

#[tokio::test]
async fn detail_that_cannot_be_refreshed_is_gone() {
    let monitor = Monitor::start(Model::default()).await;
    let variables = [
        ("NATS_EXPORTER_JETSTREAM_DETAIL_INTERVAL", "100ms"),
        ("NATS_EXPORTER_JETSTREAM_DETAIL_MAX_AGE", "1h"),
    ];
    let exporter = Exporter::start_with(&[monitor.url()], &variables);
    assert_eq!(messages(&exporter.samples("/metrics").await), [42.0, 42.0]);
    monitor.gate.spoil(Question::JszDetail, Fault::answer(500, ""));
    tokio::time::sleep(Duration::from_millis(150)).await;
    for _ in 0..2 {
        let samples = exporter.samples("/metrics").await;
        assert_eq!(messages(&samples), [0.0; 0]);
        assert_eq!(up(&samples, "jsz_detail"), Some(0.0));
    }
}

/// Slow is not failed: what was said before is shown with its age, as long as it may.
#[tokio::test]
async fn detail_that_is_late_gives_way_to_the_last_one() {
    let monitor = Monitor::start(Model::default()).await;
    let variables = [
        ("NATS_EXPORTER_JETSTREAM_DETAIL_INTERVAL", "100ms"),
        ("NATS_EXPORTER_JETSTREAM_DETAIL_MAX_AGE", "1h"),
    ];
    let exporter = Exporter::start_with(&[monitor.url()], &variables);
    assert_eq!(messages(&exporter.samples("/metrics").await), [42.0, 42.0]);
    monitor.gate.spoil(Question::JszDetail, Fault::Stall);
    tokio::time::sleep(Duration::from_millis(150)).await;
    let samples = within(&exporter, "/metrics", 2).await;
    assert_eq!(messages(&samples), [42.0, 42.0]);
    assert!(age(&samples) > 1.0, "{}", age(&samples));
}

/// Nothing says that it is still the same process.
#[tokio::test]
async fn detail_of_before_is_not_shown_beside_a_plain_form_that_failed() {
    let monitor = Monitor::start(Model::default()).await;
    let variables = [("NATS_EXPORTER_JETSTREAM_DETAIL_MAX_AGE", "1h")];
    let exporter = Exporter::start_with(&[monitor.url()], &variables);
    assert_eq!(messages(&exporter.samples("/metrics").await), [42.0, 42.0]);
    // Until then it may be that of another scrape at the same time.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    monitor.gate.spoil(Question::JszPlain, Fault::answer(500, ""));
    let samples = exporter.samples("/metrics").await;
    assert_eq!(messages(&samples), [42.0, 42.0], "a new one speaks for itself");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    monitor.gate.spoil(Question::JszDetail, Fault::Stall);
    assert_eq!(messages(&within(&exporter, "/metrics", 2).await), [0.0; 0]);
}

/// An answer that comes after every scrape has ended is as good as none, and counts as a time-out
/// once for each request, with one line in the log.
#[tokio::test]
async fn an_answer_that_always_comes_too_late_is_a_time_out() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = Exporter::start(&[monitor.url()]);
    monitor.gate.spoil(Question::JszPlain, Fault::After(Duration::from_millis(2500)));
    let labels = [("endpoint", "jsz"), ("reason", "timeout")];
    for round in 1..=2 {
        let samples = within(&exporter, "/metrics", 2).await;
        assert_eq!(up(&samples, "jsz"), Some(0.0));
        let counted = samples.value("nats_exporter_endpoint_errors_total", &labels);
        assert_eq!(counted, Some(f64::from(round)));
        monitor.idle().await;
        // The answer is there once the exporter has taken it.
        let taken = |s: &Samples| up(s, "varz") == Some(1.0);
        exporter.until("/metrics?tier=base", Duration::from_secs(5), taken).await;
    }
    monitor.gate.heal();
    assert_eq!(up(&exporter.samples("/metrics").await, "jsz"), Some(1.0));
    let log = exporter.log();
    let lines = log.lines().filter(|line| line.contains("endpoint=jsz "));
    assert_eq!(lines.count(), 2, "it fails, and it answers again: {log}");
}

/// The default limit is far above what a server with some thousand consumers has.
#[tokio::test]
async fn the_defaults_show_every_one_of_some_thousand_consumers() {
    let monitor = Monitor::start(Model::default()).await;
    let mut detail: Value = serde_json::from_str(&monitor.says(DETAIL).1).unwrap();
    let stream = &mut detail["account_details"][0]["stream_detail"][0];
    let consumer = stream["consumer_detail"][0].clone();
    let many = (0..4000).map(|number| {
        let mut consumer = consumer.clone();
        consumer["name"] = format!("consumer-{number}").into();
        consumer["config"]["durable_name"] = consumer["name"].clone();
        consumer
    });
    stream["consumer_detail"] = many.collect();
    monitor.gate.spoil(Question::JszDetail, Fault::answer(200, detail.to_string()));
    let exporter = Exporter::start(&[monitor.url()]);
    let samples = exporter.samples("/metrics").await;
    let shown = samples.find("nats_jetstream_consumer_pending_messages", &[]);
    let shown = shown.filter(|sample| sample.labels["consumer"].starts_with("consumer-"));
    assert_eq!(shown.count(), 4000);
    assert_eq!(samples.value("nats_exporter_series_dropped_total", &[]), Some(0.0));
}

#[tokio::test]
async fn health_is_asked_with_as_few_questions_as_the_version_allows() {
    use Condition::{ListenersClosed, NoMetaLeader, Recovering, StreamUnwell, SwitchedOff, Well};
    let cases = [
        (V2_9, Well, vec![PLAIN]),
        (V2_9, ListenersClosed, vec![PLAIN]),
        (V2_9, SwitchedOff, vec![PLAIN]),
        (V2_9, NoMetaLeader, vec![PLAIN, ENABLED, SERVER]),
        (V2_9, StreamUnwell, vec![PLAIN, ENABLED, SERVER]),
        (V2_10, Well, vec![WIDE]),
        (V2_10, ListenersClosed, vec![WIDE]),
        (V2_10, SwitchedOff, vec![WIDE]),
        (V2_10, NoMetaLeader, vec![WIDE, ENABLED]),
        (V2_10, StreamUnwell, vec![WIDE]),
        (V2_15, Well, vec![WIDE]),
        (V2_15, ListenersClosed, vec![WIDE]),
        (V2_15, Recovering, vec![WIDE]),
        (V2_15, SwitchedOff, vec![WIDE]),
        (V2_15, NoMetaLeader, vec![WIDE, ENABLED]),
        (V2_15, StreamUnwell, vec![WIDE]),
    ];
    for (version, condition, expected) in cases {
        let context = format!("{version:?} {condition:?}");
        let mut model = Model::new("n1", version);
        model.condition = condition;
        let monitor = Monitor::start(model).await;
        let exporter = Exporter::start(&[monitor.url()]);
        // Without the base tier, which asks its own question when the answer is not there soon.
        let samples = exporter.samples("/metrics?tier=persistence").await;
        assert_eq!(monitor.targets("/healthz"), expected, "{context}");
        let ok = |check: &str| samples.value("nats_jetstream_health_check_ok", &[("check", check)]);
        let said = (ok("enabled"), ok("meta"), ok("assets"));
        let (yes, no) = (Some(1.0), Some(0.0));
        let wanted = match condition {
            Well => (yes, yes, yes),
            ListenersClosed | Recovering => (None, None, None),
            SwitchedOff => (no, None, None),
            NoMetaLeader => (yes, no, None),
            StreamUnwell => (yes, yes, no),
        };
        assert_eq!(said, wanted, "{context}");
    }
}

#[tokio::test]
async fn one_health_question_answers_both_tiers_when_all_is_well() {
    for (version, question) in [(V2_9, PLAIN), (V2_10, WIDE), (V2_15, WIDE)] {
        let monitor = Monitor::start(Model::new("n1", version)).await;
        let exporter = Exporter::start(&[monitor.url()]);
        let mut asked = Vec::new();
        // On a busy machine an answer may be late enough for the base tier to ask its own question.
        for _ in 0..5 {
            monitor.forget();
            let samples = exporter.samples("/metrics").await;
            let labels = [("check", "core")];
            assert_eq!(samples.value("nats_health_check_ok", &labels), Some(1.0));
            asked = monitor.targets("/healthz");
            assert_eq!(asked[0], question);
            if asked.len() == 1 {
                break;
            }
        }
        assert_eq!(asked, [question]);
    }
}

#[tokio::test]
async fn a_hanging_wide_health_question_leaves_the_core_answer() {
    for (version, wide, core) in
        [(V2_9, PLAIN, ENABLED), (V2_10, WIDE, ENABLED), (V2_15, WIDE, SERVER)]
    {
        let monitor = Monitor::start(Model::new("n1", version)).await;
        let exporter = Exporter::start(&[monitor.url()]);
        monitor.gate.spoil_target(wide, Fault::Stall);
        let samples = within(&exporter, "/metrics", 3).await;
        assert_eq!(samples.value("nats_health_check_ok", &[("check", "core")]), Some(1.0));
        assert_eq!(up(&samples, "healthz_core"), Some(1.0));
        assert_eq!(up(&samples, "healthz"), Some(0.0));
        assert_eq!(samples.state("n1", "base").as_deref(), Some("ok"));
        assert_eq!(monitor.targets("/healthz"), [wide, core], "{version:?}");
    }
}

#[tokio::test]
async fn what_a_health_question_saw_before_it_hung_is_not_shown_as_new() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = Exporter::start(&[monitor.url()]);
    // The wide question passes the listeners, and the next one hangs.
    monitor.change(|model| model.condition = Condition::NoMetaLeader);
    monitor.gate.spoil_target(ENABLED, Fault::Gated);
    let first = exporter.samples("/metrics?tier=persistence");
    let second = async {
        monitor.asked(Question::Healthz, 2).await;
        monitor.change(|model| model.condition = Condition::ListenersClosed);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let count = monitor.count(Question::Varz);
        let open = async {
            monitor.asked(Question::Varz, count + 1).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            monitor.gate.open();
        };
        tokio::join!(exporter.samples("/metrics"), open).0
    };
    let (_, samples) = tokio::join!(first, second);
    assert_eq!(samples.value("nats_health_check_ok", &[("check", "core")]), Some(0.0));
    assert_eq!(monitor.targets("/healthz"), [WIDE, ENABLED, SERVER]);
}

fn label_values(samples: &Samples, name: &str, label: &str) -> Vec<String> {
    let found = samples.find(name, &[]).map(|s| s.labels.get(label).cloned().unwrap_or_default());
    found.collect()
}

const INCLUDE: &str = "NATS_EXPORTER_JETSTREAM_STREAMS_INCLUDE";
const EXCLUDE: &str = "NATS_EXPORTER_JETSTREAM_STREAMS_EXCLUDE";

#[tokio::test]
async fn filters_hide_and_do_not_change_the_sums_of_the_server() {
    let streams = ["KV_a", "KV_b", "ORDERS", "ORDERS_OLD"].map(str::to_owned).into();
    let model = Model { streams, ..Model::default() };
    let monitor = Monitor::start(model).await;
    let shown = async |variables: &[(&str, &str)]| {
        let samples = Exporter::start_with(&[monitor.url()], variables).samples("/metrics").await;
        assert_eq!(samples.value("nats_jetstream_streams", &[]), Some(4.0));
        (
            label_values(&samples, "nats_jetstream_stream_messages", "stream"),
            label_values(&samples, "nats_jetstream_consumer_pending_messages", "stream"),
        )
    };
    assert_eq!(shown(&[]).await.0, ["KV_a", "KV_b", "ORDERS", "ORDERS_OLD"]);
    assert_eq!(shown(&[(INCLUDE, "ORDERS")]).await.0, ["ORDERS"], "the whole name has to match");
    assert_eq!(shown(&[(EXCLUDE, "KV_.*")]).await.0, ["ORDERS", "ORDERS_OLD"]);
    let both = [(INCLUDE, "KV_.*"), (EXCLUDE, "KV_b")];
    assert_eq!(shown(&both).await, (vec!["KV_a".to_owned()], vec!["KV_a".to_owned()]));
    let accounts = [("NATS_EXPORTER_JETSTREAM_ACCOUNTS_EXCLUDE", "APP")];
    assert_eq!(shown(&accounts).await, (vec![], vec![]));
    let consumers = [("NATS_EXPORTER_JETSTREAM_CONSUMERS_EXCLUDE", "work")];
    let (streams, of_consumers) = shown(&consumers).await;
    assert_eq!((streams.len(), of_consumers.len()), (4, 0));
}

#[tokio::test]
async fn ephemeral_consumers_are_summed_unless_told_otherwise() {
    let monitor = Monitor::start(Model::default()).await;
    let pending = "nats_jetstream_consumer_pending_messages";
    let samples = Exporter::start(&[monitor.url()]).samples("/metrics").await;
    assert_eq!(label_values(&samples, pending, "consumer"), ["work", "work"]);
    let labels = [("stream", "ORDERS"), ("kind", "ephemeral")];
    let folded = |name: &str| samples.value(&format!("nats_jetstream_folded_{name}"), &labels);
    assert_eq!(folded("consumers"), Some(2.0));
    assert_eq!(folded("consumer_pending_messages"), Some(70.0));
    let unfolded = [("NATS_EXPORTER_JETSTREAM_FOLD_EPHEMERAL_CONSUMERS", "false")];
    let samples = Exporter::start_with(&[monitor.url()], &unfolded).samples("/metrics").await;
    assert_eq!(samples.find(pending, &[("stream", "ORDERS")]).count(), 3);
    assert!(series(&samples, &["nats_jetstream_folded_"]).is_empty());
}

#[tokio::test]
async fn the_limit_on_series_cuts_detail_only_and_always_the_same() {
    let streams = (0..50).map(|number| format!("S{number:02}")).collect();
    let model = Model { streams, ..Model::default() };
    let monitor = Monitor::start(model).await;
    let detail = [
        "nats_jetstream_account_",
        "nats_jetstream_stream_",
        "nats_jetstream_consumer_",
        "nats_jetstream_folded_",
    ];
    let whole = Exporter::start(&[monitor.url()]).samples("/metrics").await;
    let limited = [("NATS_EXPORTER_LIMITS_SERIES_PER_TARGET", "50")];
    let exporter = Exporter::start_with(&[monitor.url()], &limited);
    let first = exporter.samples("/metrics").await;
    let second = exporter.samples("/metrics").await;
    let shown = series(&first, &detail);
    assert!((25..=50).contains(&shown.len()), "{} series", shown.len());
    assert_eq!(shown, series(&second, &detail), "the same ones");
    let rest = |samples: &Samples| {
        let detail = series(samples, &detail);
        let all = series(samples, &["nats_"]);
        all.difference(&detail).cloned().collect::<BTreeSet<_>>()
    };
    assert_eq!(rest(&first), rest(&whole), "everything else is there");
    let dropped = |samples: &Samples| samples.value("nats_exporter_series_dropped_total", &[]);
    assert_eq!(dropped(&whole), Some(0.0));
    // Tables are written in order, so the first answer may not have counted all it cut.
    assert!(dropped(&second) > dropped(&first));
}

#[tokio::test]
async fn the_level_of_detail_decides_what_is_asked_and_shown() {
    let streams = "/jsz?streams=true&config=true&limit=1024";
    for (level, asked, shows) in [
        ("server", None, [false, false, false]),
        ("streams", Some(streams), [true, false, false]),
        ("consumers", Some(DETAIL), [true, true, false]),
        ("all", Some(DETAIL), [true, true, true]),
    ] {
        let monitor = Monitor::start(Model::default()).await;
        let level_flag = format!("--jetstream.detail={level}");
        let exporter = Exporter::start(&[level_flag, monitor.url()]);
        let samples = exporter.samples("/metrics").await;
        let mut expected = vec!["/jsz"];
        expected.extend(asked);
        assert_eq!(monitor.targets("/jsz"), expected, "{level}");
        let found = [
            "nats_jetstream_stream_messages",
            "nats_jetstream_consumer_pending_messages",
            "nats_jetstream_consumer_replica_current",
        ]
        .map(|name| samples.find(name, &[]).count() > 0);
        assert_eq!(found, shows, "{level}");
        assert_eq!(samples.value("nats_jetstream_enabled", &[]), Some(1.0), "{level}");
        assert_eq!(up(&samples, "jsz_detail").is_some(), asked.is_some(), "{level}");
    }
}
