//! Every endpoint broken in every way: what it would have shown is gone, the reason is named, and
//! nothing else is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use nats_harness::faults::plan::CASES;
use nats_harness::monitor::{Fault, Question, replace_leaves};
use serde_json::{Value, json};

use super::support::exporter::Exporter;
use super::support::model::{Condition, Model};
use super::support::monitor::Monitor;
use super::support::samples::{Sample, Samples};

const OPENMETRICS: (&str, &str) = ("accept", "application/openmetrics-text; version=1.0.0");

/// Largest body that the exporter of these tests reads; far more than a good one has.
const BODY_BYTES: u64 = 1 << 20;

/// Short, as the faults that stall take all of it, and long enough for a busy machine.
const TIMEOUT: &str = "3s";

fn exporter(monitor: &Monitor) -> Exporter {
    let limit = BODY_BYTES.to_string();
    let variables = [
        ("NATS_EXPORTER_LIMITS_BODY_BYTES", limit.as_str()),
        ("NATS_EXPORTER_SCRAPE_BASE_TIMEOUT", TIMEOUT),
        ("NATS_EXPORTER_SCRAPE_PERSISTENCE_TIMEOUT", TIMEOUT),
    ];
    Exporter::start_with(&[monitor.url()], &variables)
}

type Series = (String, BTreeMap<String, String>);

fn series(sample: &Sample) -> Series {
    (sample.name.clone(), sample.labels.clone())
}

/// Whether the value of a series may differ between two scrapes of a server that does not change.
fn is_volatile(name: &str) -> bool {
    name.starts_with("process_")
        || [
            "nats_exporter_connections",
            "nats_exporter_endpoint_duration_seconds",
            "nats_exporter_endpoint_age_seconds",
            "nats_exporter_jetstream_config_age_seconds",
            "nats_exporter_endpoint_errors_total",
            "nats_exporter_last_success_timestamp_seconds",
            "nats_exporter_scrapes_total",
            "nats_exporter_tasks",
            "nats_exporter_unknown_fields_total",
            "nats_health_check_duration_seconds",
            "nats_jetstream_health_check_duration_seconds",
            "nats_server_clock_offset_seconds",
        ]
        .contains(&name)
}

/// Whether a series is about how endpoints and tiers fare, which a fault changes by design.
fn is_judgement(sample: &Sample) -> bool {
    let varz = sample.labels.get("check").is_some_and(|check| check == "varz");
    let about_varz = varz && sample.name.starts_with("nats_health_check_");
    about_varz
        || ["nats_tier_", "nats_exporter_endpoint_"].iter().any(|p| sample.name.starts_with(p))
        || sample.name == "nats_up"
}

/// Values by series, without those that differ anyway.
fn steady(samples: &Samples) -> BTreeMap<Series, String> {
    let steady = samples.0.iter().filter(|s| !is_volatile(&s.name) && !is_judgement(s));
    steady.map(|sample| (series(sample), sample.text.clone())).collect()
}

/// Whether a series comes from `question`, and so has to go with it when it fails for `reason`.
fn comes_from(question: Question, reason: &str, (name, labels): &Series) -> bool {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let details = [
        "nats_jetstream_account_",
        "nats_jetstream_stream_",
        "nats_jetstream_consumer_",
        "nats_jetstream_folded_",
        "nats_exporter_accounts_missing",
        "nats_exporter_jetstream_config_unknown",
    ];
    match question {
        // The waits of the disk stand in /varz, and so do the routes that there should be.
        Question::Varz => {
            begins(&["nats_server_", "nats_jetstream_disk_"]) || name == "nats_route_peers_expected"
        }
        Question::Routez => begins(&["nats_route_"]),
        Question::Healthz => {
            begins(&["nats_health_", "nats_jetstream_health_"])
                && labels.get("check").is_none_or(|check| check != "varz")
        }
        // The detail gets no turn while the plain form hangs, because one is asked at a time. What
        // probes get is from /healthz alone.
        Question::JszPlain => {
            let of_detail = begins(&details);
            let kept = name == "nats_jetstream_health_probe_would_fail" || of_detail;
            (begins(&["nats_jetstream_"]) && !kept) || (of_detail && reason == "timeout")
        }
        Question::JszDetail => begins(&details),
        other => panic!("{other:?} is several endpoints"),
    }
}

/// Scrapes in the classic format.
async fn scrape(exporter: &Exporter) -> Samples {
    exporter.samples("/metrics").await
}

/// Scrapes in both formats at once, which have to say the same.
async fn scrape_both(exporter: &Exporter) -> (Samples, Samples) {
    let headers = [OPENMETRICS];
    let open = exporter.get_with("/metrics", &headers);
    let (classic, open) = tokio::join!(exporter.get("/metrics"), open);
    assert_eq!(classic.status, 200, "{}", classic.body);
    assert!(!classic.body.ends_with("# EOF\n"));
    assert_eq!(open.status, 200, "{}", open.body);
    assert!(open.content_type.starts_with("application/openmetrics-text"), "{open:?}");
    assert!(open.body.ends_with("# EOF\n"));
    let (classic, open) = (Samples::parse(&classic.body), Samples::parse(&open.body));
    assert_eq!(steady(&classic), steady(&open));
    (classic, open)
}

fn errors(samples: &Samples, endpoint: &str, reason: &str) -> f64 {
    let labels = [("endpoint", endpoint), ("reason", reason)];
    samples.value("nats_exporter_endpoint_errors_total", &labels).unwrap_or(0.0)
}

/// What the endpoint of a healthy server says, changed.
pub(crate) fn changed(
    monitor: &Monitor,
    question: Question,
    change: impl FnOnce(&mut Value),
) -> Fault {
    let target = match question {
        Question::Varz => "/varz",
        Question::Routez => "/routez",
        Question::Healthz => "/healthz",
        Question::JszPlain => "/jsz",
        Question::JszDetail => "/jsz?consumers=true",
        other => panic!("{other:?} is several endpoints"),
    };
    let (status, body) = monitor.says(target);
    let mut body = serde_json::from_str(&body).expect("the model says JSON");
    change(&mut body);
    Fault::answer(status, body.to_string())
}

/// Applies each fault to `question` of one server, after a good scrape.
async fn breaks_alone(question: Question) {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = exporter(&monitor);
    let healthy = steady(&scrape(&exporter).await);
    let lost = |series: &&Series| comes_from(question, "decode", series);
    assert!(healthy.keys().any(|series| lost(&series)), "{question:?} shows nothing");
    for case in CASES.iter() {
        // One without a reason can be read, and names are below.
        let Some(reason) = case.reason_of(question) else { continue };
        let context = format!("{question:?} {}", case.what);
        monitor.gate.heal();
        // What is still in flight would be shared by the next scrape.
        monitor.idle().await;
        let before = scrape(&exporter).await;
        assert_eq!(steady(&before), healthy, "not all is back before: {context}");
        monitor.gate.spoil(question, case.fault.clone());
        let (broken, mut later) = scrape_both(&exporter).await;

        let mut expected = healthy.clone();
        expected.retain(|series, _| !comes_from(question, reason, series));
        let found = steady(&broken);
        let missing: Vec<_> = expected.iter().filter(|(s, v)| found.get(s) != Some(v)).collect();
        assert!(missing.is_empty(), "{context}: lost {missing:#?}");
        // No answer is an answer to a probe.
        let of_probe = |(series, value): &(&Series, &String)| {
            series.0.ends_with("_probe_would_fail") && value.as_str() == "1"
        };
        let more = found.iter().filter(|(s, _)| !expected.contains_key(s));
        let more: Vec<_> = more.filter(|shown| !of_probe(shown)).collect();
        assert!(more.is_empty(), "{context}: shows {more:#?}");

        for endpoint in question.endpoints() {
            let labels = [("endpoint", *endpoint)];
            let failures = broken.find("nats_exporter_endpoint_failure_info", &labels);
            let failures: Vec<_> = failures.map(|s| s.labels["reason"].as_str()).collect();
            assert_eq!(failures, [reason], "{context}");
            // A request that ran into its time-out may end a moment after the scrape.
            let counted = |samples: &Samples| {
                errors(samples, endpoint, reason) > errors(&before, endpoint, reason)
            };
            if !counted(&later) {
                later = exporter.until("/metrics", Duration::from_secs(20), counted).await;
            }
            assert!(counted(&later), "{context}: {endpoint} counts no more {reason}");
        }
        for endpoint in ["varz", "routez", "healthz_core", "jsz", "jsz_detail", "healthz"] {
            let up = broken.value("nats_exporter_endpoint_up", &[("endpoint", endpoint)]);
            // A server gets one /jsz at a time, so the detail has no turn while the plain one hangs.
            let waits =
                reason == "timeout" && question == Question::JszPlain && endpoint == "jsz_detail";
            let expected = f64::from(u8::from(!waits && !question.endpoints().contains(&endpoint)));
            assert_eq!(up, Some(expected), "{context}: {endpoint}");
        }
        let up = f64::from(u8::from(question != Question::Varz));
        assert_eq!(broken.value("nats_up", &[]), Some(up), "{context}");
    }
}

#[tokio::test]
async fn a_broken_varz_costs_only_itself() {
    breaks_alone(Question::Varz).await;
}

#[tokio::test]
async fn a_broken_routez_costs_only_itself() {
    breaks_alone(Question::Routez).await;
}

#[tokio::test]
async fn a_broken_healthz_costs_only_itself() {
    breaks_alone(Question::Healthz).await;
}

#[tokio::test]
async fn a_broken_jsz_costs_only_itself_and_what_needs_it() {
    breaks_alone(Question::JszPlain).await;
}

#[tokio::test]
async fn a_broken_jsz_detail_costs_only_itself() {
    breaks_alone(Question::JszDetail).await;
}

/// Nobody listens any more, or ever did.
#[tokio::test]
async fn a_refused_connection_leaves_only_the_failure() {
    let mut monitor = Monitor::start(Model::default()).await;
    let (before, never) = (exporter(&monitor), exporter(&monitor));
    scrape(&before).await;
    monitor.gate.stop().await;
    for (exporter, server) in
        [(before, "n1".to_owned()), (never, monitor.gate.address().to_string())]
    {
        let samples = scrape(&exporter).await;
        let found = samples.0.iter().filter(|sample| {
            !sample.name.starts_with("process_") && !sample.name.starts_with("nats_exporter_")
        });
        let names: Vec<_> = found.map(|s| (s.name.as_str(), s.labels["server"].as_str())).collect();
        let allowed = ["nats_up", "nats_tier_state", "nats_tier_reason", "nats_health_check_ok"];
        for (name, of) in names {
            assert!(
                allowed.contains(&name)
                    || name == "nats_health_check_duration_seconds"
                    || name.ends_with("_probe_would_fail"),
                "{name} is shown"
            );
            assert_eq!(of, server);
        }
        assert_eq!(samples.value("nats_up", &[]), Some(0.0));
        assert_eq!(samples.value("nats_health_check_ok", &[]), Some(0.0));
        assert_eq!(samples.state(&server, "base").as_deref(), Some("down"));
        assert_eq!(samples.state(&server, "persistence").as_deref(), Some("unknown"));
        assert!(samples.reasons(&server, "base").contains("unreachable"));
        let failures: Vec<_> =
            samples.find("nats_exporter_endpoint_failure_info", &[("reason", "connect")]).collect();
        let asked: Vec<_> = samples.find("nats_exporter_endpoint_up", &[]).collect();
        assert!(asked.iter().all(|sample| sample.text == "0"), "{asked:?}");
        assert_eq!(failures.len(), asked.len(), "{failures:?}");
    }
}

/// Ways to answer that are unusual and good.
#[tokio::test]
async fn odd_but_good_answers_lose_nothing() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = exporter(&monitor);
    let healthy = steady(&scrape(&exporter).await);
    for question in Question::ALL {
        for way in [
            Fault::GoodGzip,
            Fault::GoodChunked,
            Fault::Drip(Duration::ZERO),
            changed(&monitor, question, |body| {
                body["zz_new"] = json!({ "deep": [1, { "deeper": null }] });
            }),
        ] {
            monitor.gate.heal();
            monitor.gate.spoil(question, way.clone());
            assert_eq!(steady(&scrape(&exporter).await), healthy, "{question:?} {way:?}");
        }
    }
}

#[tokio::test]
async fn unknown_fields_are_counted() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = exporter(&monitor);
    let unknown = |samples: &Samples, endpoint: &str| {
        samples.value("nats_exporter_unknown_fields_total", &[("endpoint", endpoint)])
    };
    let samples = exporter.samples("/metrics").await;
    for (question, endpoint) in
        [(Question::Varz, "varz"), (Question::Routez, "routez"), (Question::JszPlain, "jsz")]
    {
        assert_eq!(unknown(&samples, endpoint), Some(0.0), "the model has only known fields");
        let more = changed(&monitor, question, |body| body["zz_new"] = json!({ "deep": [1] }));
        monitor.gate.spoil(question, more);
        let samples = exporter.samples("/metrics").await;
        assert_eq!(unknown(&samples, endpoint), Some(1.0), "{endpoint}");
    }
}

/// The one field of `/varz` that is shown and belongs to the persistence tier.
#[tokio::test]
async fn odd_waits_of_the_disk_cost_only_themselves() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = exporter(&monitor);
    let mut healthy = steady(&scrape(&exporter).await);
    healthy.retain(|(name, _), _| !name.starts_with("nats_jetstream_disk_"));
    for (count, odd) in [(1.0, json!({ "waits": 5, "wait_time": -1 })), (2.0, json!("7ms"))] {
        let odd = changed(&monitor, Question::Varz, |body| body["disk_io_wait_stats"] = odd);
        monitor.gate.spoil(Question::Varz, odd);
        let samples = scrape(&exporter).await;
        assert_eq!(steady(&samples), healthy);
        assert_eq!(samples.state("n1", "base").as_deref(), Some("ok"));
        let unknown = [("endpoint", "varz")];
        let unknown = samples.value("nats_exporter_unknown_fields_total", &unknown);
        assert_eq!(unknown, Some(count), "it is told");
    }
}

/// An answer that names its server and nothing else is an answer, of which next to nothing is known.
#[tokio::test]
async fn what_is_missing_or_null_is_not_invented() {
    let said_by_absence = [
        // The server leaves out false, and prints null for an empty list of routes.
        "nats_server_info",
        "nats_server_clock_offset_seconds",
        // Nothing is there that could have a configuration.
        "nats_exporter_jetstream_config_unknown",
        "nats_route_peers",
        "nats_route_connections",
        "nats_route_connected",
        "nats_route_peers_expected",
        "nats_jetstream_enabled",
        "nats_jetstream_configured",
        "nats_jetstream_info",
    ];
    for question in [Question::Varz, Question::Routez, Question::JszPlain, Question::JszDetail] {
        for nulls in [false, true] {
            let monitor = Monitor::start(Model::default()).await;
            let exporter = exporter(&monitor);
            // Twice, so that the name is learned before it is gone.
            scrape(&exporter).await;
            let healthy = steady(&scrape(&exporter).await);
            let thin = changed(&monitor, question, |body| {
                let fields = body.as_object_mut().unwrap();
                fields.retain(|name, value| {
                    let keep = name == "server_id";
                    if !keep {
                        *value = Value::Null;
                    }
                    keep || nulls
                });
            });
            monitor.gate.spoil(question, thin);
            let samples = scrape(&exporter).await;
            for endpoint in question.endpoints() {
                let up = samples.value("nats_exporter_endpoint_up", &[("endpoint", endpoint)]);
                assert_eq!(up, Some(1.0), "{question:?} {nulls}");
            }
            for (series, value) in steady(&samples) {
                let (name, labels) = &series;
                // The plain form carries others, which say what they said before.
                let mut others = Question::ALL.into_iter().filter(|other| *other != question);
                let carried = others.any(|other| comes_from(other, "decode", &series));
                let own = comes_from(question, "decode", &series)
                    && !(question == Question::JszPlain && carried);
                assert!(
                    !own || said_by_absence.contains(&name.as_str()),
                    "{question:?} {nulls}: {name} {labels:?} {value} is invented"
                );
                // Without its name the server has other labels.
                if !own && question != Question::Varz {
                    assert_eq!(
                        healthy.get(&series),
                        Some(&value),
                        "{question:?} {nulls}: {series:?}"
                    );
                }
            }
        }
    }
}

/// A stream and a consumer of which nothing but the name is said have no numbers.
#[tokio::test]
async fn streams_without_numbers_have_none() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = exporter(&monitor);
    let thin = changed(&monitor, Question::JszDetail, |body| {
        for stream in body["account_details"][0]["stream_detail"].as_array_mut().unwrap() {
            for part in ["config", "state"] {
                replace_leaves(&mut stream[part], &Value::Null);
            }
            for consumer in stream["consumer_detail"].as_array_mut().unwrap() {
                for part in ["delivered", "ack_floor", "num_pending", "num_ack_pending", "ts"] {
                    replace_leaves(&mut consumer[part], &Value::Null);
                }
            }
        }
    });
    monitor.gate.spoil(Question::JszDetail, thin);
    let samples = scrape(&exporter).await;
    let up = samples.value("nats_exporter_endpoint_up", &[("endpoint", "jsz_detail")]);
    assert_eq!(up, Some(1.0));
    for name in [
        "nats_jetstream_stream_messages",
        "nats_jetstream_stream_bytes",
        "nats_jetstream_stream_subjects",
        "nats_jetstream_stream_deleted_messages",
        "nats_jetstream_stream_replica_messages",
        "nats_jetstream_stream_replica_lost_messages",
        "nats_jetstream_consumer_pending_messages",
        "nats_jetstream_consumer_ack_pending",
        "nats_jetstream_consumer_delivered_messages_total",
    ] {
        let found: Vec<_> = samples.find(name, &[]).collect();
        assert!(found.is_empty(), "{found:?}");
    }
    assert_eq!(samples.find("nats_jetstream_stream_is_leader", &[]).count(), 2);
}

/// While its store is recovered, a server names itself as the leader of all that it holds. Others lead it meanwhile, or
/// nobody does.
#[tokio::test]
async fn a_server_that_recovers_its_store_leads_nothing() {
    let monitor = Monitor::start(Model::default()).await;
    monitor.change(|model| model.condition = Condition::Recovering);
    let exporter = exporter(&monitor);
    scrape(&exporter).await;
    for varz in [None, Some(Fault::answer(500, ""))] {
        if let Some(fault) = varz {
            monitor.gate.spoil(Question::Varz, fault);
        }
        let samples = scrape(&exporter).await;
        let values =
            |name: &str| -> Vec<f64> { samples.find(name, &[]).map(Sample::value).collect() };
        assert_eq!(values("nats_jetstream_stream_is_leader"), [0.0, 0.0]);
        assert_eq!(values("nats_jetstream_stream_replica_consumers_led"), [0.0, 0.0]);
        assert_eq!(values("nats_jetstream_stream_messages"), [0.0; 0]);
        assert_eq!(values("nats_jetstream_consumer_pending_messages"), [0.0; 0]);
        assert_eq!(values("nats_jetstream_stream_replica_messages"), [42.0, 42.0]);
        let reasons = ["recovering", "stream_without_leader", "consumer_without_leader"];
        assert_eq!(samples.reasons("n1", "persistence"), reasons.map(str::to_owned).into());
    }
}

fn hostile_names() -> Vec<String> {
    vec![
        "double\"quote".to_owned(),
        "back\\slash".to_owned(),
        "ends with a backslash\\".to_owned(),
        "line\nfeed".to_owned(),
        "not an escape \\n".to_owned(),
        "carriage\rreturn at the end\r".to_owned(),
        "\"} 1\nnats_up{server=\"fake\"} 0".to_owned(),
        "# EOF\n# EOF".to_owned(),
        "{a=\"b\",}".to_owned(),
        "żółć 日本語 🦀 e\u{301} \u{202e}".to_owned(),
        "\u{0}\u{1}\u{7f}\u{85}\u{2028}\t".to_owned(),
        "-".repeat(4 << 10),
        "\"\\\n".repeat(2_000),
    ]
}

/// Names are the users' data: they arrive as they are, and break nothing.
#[tokio::test]
async fn hostile_names_arrive_as_they_are() {
    for name in hostile_names() {
        let mut model = Model::new(&format!("s{name}"), (2, 15, 1));
        model.cluster = format!("c{name}");
        model.account = format!("a{name}");
        model.peer = format!("p{name}");
        model.streams = vec![name.clone(), format!("{name}2")];
        model.condition = Condition::StreamUnwell;
        let monitor = Monitor::start(model.clone()).await;
        let whole = [("NATS_EXPORTER_LIMITS_LABEL_VALUE_BYTES", "0")];
        let exporter = Exporter::start_with(&[monitor.url()], &whole);
        let (samples, _) = scrape_both(&exporter).await;
        let shown: String = name.chars().take(40).collect();
        assert_eq!(samples.value("nats_up", &[]), Some(1.0), "{shown}");
        let up: Vec<_> = samples.find("nats_exporter_endpoint_up", &[]).collect();
        assert_eq!(up.len(), 6, "{shown}");
        assert!(up.iter().all(|sample| sample.text == "1"), "{shown}");
        for (metric, labels) in [
            ("nats_server_info", vec![("server_name", &model.name)]),
            ("nats_up", vec![("server", &model.name), ("nats_cluster", &model.cluster)]),
            ("nats_route_connected", vec![("remote", &model.peer)]),
            ("nats_jetstream_meta_peer_current", vec![("peer", &model.peer)]),
            (
                "nats_jetstream_stream_messages",
                vec![("account", &model.account), ("stream", &name)],
            ),
            ("nats_jetstream_consumer_pending_messages", vec![("stream", &name)]),
            ("nats_jetstream_health_failing_asset_info", vec![("stream", &name)]),
        ] {
            let labels: Vec<_> = labels.into_iter().map(|(k, v)| (k, v.as_str())).collect();
            assert_eq!(samples.find(metric, &labels).count(), 1, "{metric} {shown}");
        }
    }
}
