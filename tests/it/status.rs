//! The page at `/`: what it says of real servers, and of those that a real one would not be.

#[path = "status/pictures.rs"]
mod pictures;

use std::time::{Duration, Instant};

use nats_harness::monitor::{Fault, Question};
use nats_harness::workload::{Plan, Workload};
use nats_harness::{Cluster, newest};

use crate::real_server::{exporter_of, three_servers};
use crate::support::exporter::Exporter;
use crate::support::model::Model;
use crate::support::monitor::Monitor;

/// Servers take up to 20 seconds to notice, and longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The page as it is read: without tags, and with single blanks.
fn read(page: &str) -> String {
    let body = page.split_once("<body>").expect("it has a body").1;
    let texts = body.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    texts.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// Whether all `sentences` stand in the text, in this order.
fn in_order(text: &str, sentences: &[&str]) -> bool {
    let mut rest = text;
    sentences.iter().all(|sentence| match rest.find(sentence) {
        Some(at) => {
            rest = &rest[at..];
            true
        }
        None => false,
    })
}

/// Asks for the page until it says all `sentences` in this order.
async fn says(exporter: &Exporter, sentences: &[&str]) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = exporter.get("/").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let text = read(&answer.body);
        if in_order(&text, sentences) {
            return text;
        }
        assert!(Instant::now() < end, "it should say {sentences:#?} and says: {text}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn a_cluster_that_is_well_and_then_misses_a_server() {
    let cluster = three_servers(newest()).await;
    let _workload = Workload::make(&cluster, Plan { replicas: 3 }).await.unwrap();
    let exporter = exporter_of(&cluster, &[]);
    let leader = cluster.meta_leader().await.expect("there is a meta leader");
    let leads = format!("Meta group: {} leads, 3 of 3 current, 2 needed.", leader.name());
    says(
        &exporter,
        &[
            // All servers are new, and nothing else is against it.
            "DO NOT RESTART Cluster C1",
            "Nothing is broken, but a restart would be a risk now",
            "Base tier: core messaging OK on 3 of 3",
            "Persistence tier: JetStream OK on 3 of 3",
            &leads,
            "a server started in the last five minutes ( n1, n2, n3 )",
            "n1 2.15.1, up ",
            "OK Asked now. OK Streams: asked now. DO NOT RESTART",
        ],
    )
    .await;

    let dead = cluster.nodes().iter().find(|node| node.index() != leader.index()).unwrap();
    dead.kill().await.unwrap();
    let name = dead.name();
    says(
        &exporter,
        &[
            "DO NOT RESTART Cluster C1",
            "A restart can make it worse.",
            "Base tier: core messaging DOWN on 1 of 3",
            &format!("{name} (1 of 3) is not answering."),
            "What to do first",
            "What not to do Do not restart those that answer",
            "Runbook: NatsBaseServerDown",
            "Persistence tier: JetStream UNKNOWN on 1 of 3",
            "2 of 3 current, 2 needed.",
            &format!("another server is down ( {name} )"),
        ],
    )
    .await;
    let row = format!("{name} Its metrics DOWN unreachable No connection to the monitoring port.");
    let text = says(&exporter, &[&row, "SAFE TO START"]).await;
    assert_eq!(text.matches("SAFE TO START").count(), 1, "{text}");
}

#[tokio::test]
async fn without_jetstream_there_is_nothing_to_say_of_it() {
    let cluster = Cluster::builder(newest()).nodes(3).start().await.unwrap();
    let exporter = exporter_of(&cluster, &[]);
    let text = says(
        &exporter,
        &[
            "Base tier: core messaging OK on 3 of 3",
            "Persistence tier: JetStream JetStream is not configured.",
            "OK Asked now. JetStream is not configured.",
        ],
    )
    .await;
    assert_eq!(text.matches("JetStream is not configured.").count(), 4, "{text}");
    assert!(!text.contains("Meta group"), "{text}");
}

#[tokio::test]
async fn a_hanging_jsz_does_not_delay_the_page() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = Exporter::start(&[monitor.url()]);
    exporter.samples("/metrics").await;
    for question in [Question::JszPlain, Question::JszDetail] {
        monitor.gate.spoil(question, Fault::Stall);
    }
    let answer = exporter.get("/").await;
    assert!(answer.elapsed < Duration::from_secs(5), "took {:?}", answer.elapsed);
    let text = read(&answer.body);
    let sentences = [
        "Base tier: core messaging OK on 1 of 1",
        "Persistence tier: JetStream UNKNOWN on 1 of 1",
        "n1 (1 of 1) is not saying how JetStream is.",
        "Not seen, and could be against it",
        "/jsz of n1 does not answer",
        "OK Asked now. UNKNOWN jsz_unavailable",
        "Its streams were not seen.",
    ];
    assert!(in_order(&text, &sentences), "{text}");
    assert!(!text.contains("SAFE"), "{text}");
}

/// With one replica where there were two, a stream looks like one that was not started, until its configuration is
/// known. That it has no leader is more than is known then.
#[tokio::test]
async fn a_stream_that_was_made_smaller_is_not_called_leaderless() {
    let monitor = Monitor::start(Model::default()).await;
    // The configuration is asked for again after a hundred times this.
    monitor.gate.spoil(Question::JszDetail, Fault::After(Duration::from_millis(500)));
    let exporter = Exporter::start(&[monitor.url()]);
    let samples = exporter.samples("/metrics").await;
    assert_eq!(samples.find("nats_jetstream_stream_is_leader", &[]).count(), 2);
    monitor.gate.heal();
    monitor.change(|model| model.replicas = 1);
    let text = says(
        &exporter,
        &[
            "Persistence tier: JetStream OK on 1 of 1",
            "n1 has streams of which it is not known yet whether it leads them",
        ],
    )
    .await;
    assert!(!text.contains("have no leader"), "{text}");
    let samples = exporter.samples("/metrics").await;
    assert_eq!(samples.find("nats_jetstream_stream_is_leader", &[]).count(), 0);
}

#[tokio::test]
async fn what_the_configuration_hides_is_not_seen() {
    let monitor = Monitor::start(Model::default()).await;
    let hidden = "settings in the configuration hide consumers";
    for (setting, hides) in [
        (("NATS_EXPORTER_JETSTREAM_DETAIL", "streams"), true),
        (("NATS_EXPORTER_JETSTREAM_CONSUMERS_EXCLUDE", "work"), true),
        (("NATS_EXPORTER_JETSTREAM_DETAIL", "consumers"), false),
    ] {
        let exporter = Exporter::start_with(&[monitor.url()], &[setting]);
        let text = read(&exporter.get("/").await.body);
        assert_eq!(text.contains(hidden), hides, "{setting:?}: {text}");
    }
}

#[tokio::test]
async fn names_of_servers_and_clusters_stay_text() {
    let hostile = "\"><script>alert('1')</script>&\u{202e}\u{1b}[2J";
    let shown = "&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;\\u{202e}\\u{1b}[2J";
    let model = Model {
        name: hostile.to_owned(),
        cluster: format!("cluster {hostile}"),
        peer: format!("peer {hostile}"),
        streams: vec![format!("stream {hostile}")],
        ..Model::default()
    };
    let monitor = Monitor::start(model).await;
    let answer = Exporter::start(&[monitor.url()]).get("/").await;
    assert_eq!(answer.content_type, "text/html; charset=utf-8");
    for name in ["<bdi>", "cluster ", "peer ", "stream "].map(|front| format!("{front}{shown}")) {
        assert!(answer.body.contains(&name), "{name} is missing: {}", answer.body);
    }
    assert!(!answer.body.contains("<script"), "{}", answer.body);
    assert!(!answer.body.contains(['\u{202e}', '\u{1b}']), "{}", answer.body);
}

#[tokio::test]
async fn nobody_answers_and_the_page_still_does() {
    let exporter = Exporter::start(&["http://127.0.0.1:1", "http://127.0.0.1:2"]);
    says(
        &exporter,
        &[
            "Cluster of unknown name",
            "No server answers: they are down, or this exporter is cut off from them.",
            "Base tier: core messaging DOWN on 2 of 2",
            "127.0.0.1:1, 127.0.0.1:2 (2 of 2) are not answering.",
        ],
    )
    .await;
}
