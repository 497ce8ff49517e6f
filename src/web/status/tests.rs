//! What stands on the page, for reports that are made up.

use super::*;
use crate::report::advice::{Advice, Trouble};
use crate::report::{Against, Cluster, MayRestart, SCHEMA, Server, Tier, Why};
use crate::restart::{Meta, Note};

/// A name that tries everything.
const HOSTILE: &str = "\"><script>alert('1')</script>&amp;\u{202e}\u{1b}[2J\n";
const HOSTILE_SHOWN: &str = "&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;amp;\
                             \\u{202e}\\u{1b}[2J\\u{a}";

fn target(name: &str) -> Shown {
    Shown { name: name.to_owned(), url: format!("http://{name}") }
}

fn tier(state: &'static str, reasons: &[&'static str]) -> Tier {
    let why = |reason: &&'static str| Why { reason, meaning: "What it means." };
    Tier { state, reasons: reasons.iter().map(why).collect() }
}

fn against(reason: &'static str, scope: &'static str, name: &str) -> Against {
    Against { reason, scope, meaning: "it would hurt", count: 3, names: vec![name.to_owned()] }
}

fn server(name: &str) -> Server {
    Server {
        name: name.to_owned(),
        target: name.to_owned(),
        url: format!("http://{name}"),
        version: Some("2.15.1".to_owned()),
        uptime_seconds: Some(3661.0),
        base: tier("ok", &[]),
        persistence: Some(tier("ok", &[])),
        leads_meta: name == "n1",
        streams: Some(5),
        streams_age_seconds: Some(75.0),
        restart: MayRestart { answer: "safe", note: None, reasons: Vec::new() },
    }
}

fn cluster(name: &str, servers: Vec<Server>) -> Cluster {
    Cluster {
        name: name.to_owned(),
        base: "ok",
        persistence: Some("ok"),
        restart: "safe",
        meta: Some(Meta { leader: "n1".to_owned(), current: 2, size: 3, quorum: 2 }),
        servers,
        unseen: Vec::new(),
        advice: Advice { layer: "none", troubles: Vec::new() },
    }
}

fn trouble(layer: &'static str, wrong: &str) -> Trouble {
    Trouble {
        layer,
        wrong: wrong.to_owned(),
        first: "Look at it.",
        avoid: "Do not touch it.",
        runbook: format!("{RUNBOOKS}NatsPage.md"),
    }
}

fn shown(clusters: Vec<Cluster>) -> String {
    let report = Report { schema: SCHEMA, asked_at: 1_767_323_045, clusters, unseen: Vec::new() };
    page(&report, &[target("n1:8222"), target("b&c")], false)
}

/// The page as it is read: without tags, and with single blanks.
fn read(page: &str) -> String {
    let body = page.split_once("<body>").unwrap().1;
    let texts = body.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    texts.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

fn says(page: &str, sentences: &[&str]) {
    let read = read(page);
    let mut rest = read.as_str();
    for sentence in sentences {
        let at = rest.find(sentence);
        let at = at.unwrap_or_else(|| panic!("\"{sentence}\" is missing, or not in order: {read}"));
        rest = &rest[at..];
    }
}

#[test]
fn the_page_links_to_everything() {
    let page = shown(vec![cluster("C1", vec![server("n1")])]);
    for link in [
        "/metrics",
        "/metrics?tier=base",
        "/metrics?tier=persistence",
        "/probe?target=n1",
        "/probe?target=n1%3A8222",
        "/probe?target=b%26c",
        "/-/healthy",
        "/-/ready",
        "/?hold",
        "https://github.com/nats-exporter/nats-exporter",
        "https://github.com/nats-exporter/nats-exporter/blob/main/docs/runbooks/README.md",
    ] {
        assert!(page.contains(&format!("href=\"{link}\"")), "no link to {link} in {page}");
    }
    assert!(page.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_cluster_that_is_well_says_so_first() {
    let page = shown(vec![cluster("C1", vec![server("n1"), server("n2")])]);
    assert!(page.contains("<title>SAFE - one at a time: C1 - NATS status</title>"), "{page}");
    says(
        &page,
        &[
            "asked at 2026-01-02 03:04:05 UTC",
            "SAFE - one at a time Cluster C1",
            "Nothing is wrong. Restart one server, and look here again before the next.",
            "Base tier: core messaging OK on 2 of 2 Nothing is wrong.",
            "Persistence tier: JetStream OK on 2 of 2 Nothing is wrong.",
            "Meta group: n1 leads, 2 of 3 current, 2 needed.",
            "n1 2.15.1, up 1h1m, 5 streams, meta leader",
            "OK Asked now. OK Streams: as of 1m15s ago. SAFE One at a time.",
        ],
    );
    assert!(!page.contains("hollow\""), "{page}");
}

#[test]
fn a_cluster_in_trouble_says_what_to_do_and_what_not_before_it_lists_the_servers() {
    let mut off = server("n1");
    off.persistence = Some(tier("down", &["switched_off"]));
    off.restart.note = Some(Note::MendsNothing.as_str());
    let mut other = server("n2");
    other.restart = MayRestart {
        answer: "unsafe",
        note: None,
        reasons: vec![
            against("stream_quorum", "server", "ORDERS"),
            against("jetstream_switched_off", "cluster", "n1"),
        ],
    };
    let mut cluster = cluster("C1", vec![off, other]);
    (cluster.restart, cluster.persistence) = ("unsafe", Some("down"));
    cluster.advice.troubles = vec![trouble("persistence", "n1 (1 of 2) is broken")];
    cluster.unseen = vec!["n3 was not seen".to_owned()];
    let page = shown(vec![cluster]);
    says(
        &page,
        &[
            "DO NOT RESTART Cluster C1",
            "Base tier: core messaging OK on 2 of 2",
            "Persistence tier: JetStream DOWN on 1 of 2 n1 (1 of 2) is broken.",
            "What to do first Look at it.",
            "What not to do Do not touch it.",
            "Runbook: NatsPage",
            "Against a restart of any server it would hurt ( n1 and 2 more )",
            "Not seen, and could be against it n3 was not seen",
            "DOWN switched_off What it means.",
            "SAFE, BUT NO CURE YET A restart mends nothing before the cause is gone",
            "DO NOT RESTART it would hurt ( ORDERS and 2 more ) What is said above",
        ],
    );
    assert_eq!(read(&page).matches("n1 and 2 more").count(), 1, "once for the cluster");
    assert!(!page.contains("class=\"sign safe\""), "nothing is plainly green: {page}");
}

#[test]
fn what_cannot_be_told_is_no_yes() {
    let mut blind = server("n1");
    blind.restart.answer = "unknown";
    blind.persistence = Some(tier("unknown", &["jsz_unavailable"]));
    (blind.streams, blind.streams_age_seconds) = (None, None);
    let mut cluster = cluster("", vec![blind]);
    (cluster.restart, cluster.persistence) = ("unknown", Some("unknown"));
    cluster.unseen = vec!["/jsz of n1 does not answer".to_owned()];
    says(
        &shown(vec![cluster]),
        &[
            "UNKNOWN - treat as no Cluster of unknown name",
            "Persistence tier: JetStream UNKNOWN on 1 of 1",
            "Not seen, and could be against it /jsz of n1 does not answer",
            "Its streams were not seen.",
            "UNKNOWN Treat it as a no. What was not seen",
        ],
    );
}

#[test]
fn a_server_that_cannot_write_is_not_plainly_safe() {
    let mut full = server("n1");
    full.persistence = Some(tier("degraded", &["assets_unhealthy"]));
    full.restart.note = Some(Note::CannotWrite.as_str());
    let page = shown(vec![cluster("C1", vec![full])]);
    says(&page, &["SAFE A restart mends nothing before its disk can be written, and may switch"]);
    assert!(!page.contains("Whether it helps"), "{page}");
}

#[test]
fn a_server_that_is_down_may_be_started() {
    let mut down = server("n2");
    down.base = tier("down", &["unreachable"]);
    down.persistence = Some(tier("unknown", &["server_unreachable"]));
    (down.version, down.uptime_seconds) = (None, None);
    down.restart.note = Some(Note::IsDown.as_str());
    let mut one_down = cluster("C1", vec![server("n1"), down.clone()]);
    one_down.advice.troubles = vec![trouble("base", "n2 is down")];
    (one_down.base, one_down.persistence) = ("down", Some("unknown"));
    let page = shown(vec![one_down]);
    says(&page, &["This follows from the other tier: begin there.", "SAFE TO START It is down"]);
    assert!(page.contains("<strong class=\"sign hollow\">SAFE - one"), "{page}");

    let mut all_down = cluster("C1", vec![down]);
    all_down.restart = "unknown";
    says(&shown(vec![all_down]), &["No server answers: they are down, or this exporter"]);
}

#[test]
fn without_jetstream_there_is_no_state_of_it() {
    let mut plain = server("n1");
    (plain.persistence, plain.streams, plain.leads_meta) = (None, None, false);
    let mut cluster = cluster("C1", vec![plain]);
    (cluster.persistence, cluster.meta) = (None, None);
    let page = shown(vec![cluster]);
    says(&page, &["Persistence tier: JetStream JetStream is not configured."]);
    assert_eq!(read(&page).matches("JetStream is not configured.").count(), 2);
    assert!(!page.contains("Meta group"), "{page}");
}

#[test]
fn names_cannot_break_out() {
    let mut hostile = server(HOSTILE);
    hostile.version = Some(HOSTILE.to_owned());
    hostile.restart.reasons = vec![
        against("stream_quorum", "server", HOSTILE),
        against("server_down", "cluster", HOSTILE),
    ];
    let mut cluster = cluster(HOSTILE, vec![hostile]);
    cluster.meta.as_mut().unwrap().leader = HOSTILE.to_owned();
    cluster.unseen = vec![HOSTILE.to_owned()];
    cluster.advice.troubles = vec![trouble("base", HOSTILE)];
    let report =
        Report { schema: SCHEMA, asked_at: u64::MAX, clusters: vec![cluster], unseen: Vec::new() };
    let page = page(&report, &[target(HOSTILE)], false);
    assert!(!page.contains("<script") && !page.contains("alert('1')"), "{page}");
    assert!(!page.contains(['\u{202e}', '\u{1b}']), "{page}");
    // Title, heading, trouble, meta leader, two reasons, unseen, caption, name, version, target
    // and its address.
    assert_eq!(page.matches(HOSTILE_SHOWN).count(), 12, "{page}");
}

#[test]
fn every_element_that_is_opened_is_closed() {
    let mut unwell = server("n1");
    unwell.base = tier("degraded", &["route_missing", "slow_consumers"]);
    unwell.restart.reasons = vec![against("server_down", "cluster", "n2")];
    let mut cluster = cluster("C1", vec![unwell, server("n2")]);
    cluster.unseen = vec!["a".to_owned(), "b".to_owned()];
    cluster.advice.troubles = vec![trouble("base", "a"), trouble("persistence", "b")];
    let page = shown(vec![cluster.clone(), cluster]);
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1).filter_map(|part| Some(part.split_once('>')?.0)) {
        let name = tag.split(' ').next().unwrap();
        match name.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "in {open:?}"),
            None if matches!(name, "!DOCTYPE" | "meta") => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for number in [1, 2] {
        for id in ["cluster", "why"] {
            assert_eq!(page.matches(&format!("id=\"{id}-{number}\"")).count(), 1);
        }
    }
}

#[test]
fn nobody_to_ask_is_said_in_words() {
    let mut empty =
        Report { schema: SCHEMA, asked_at: 0, clusters: Vec::new(), unseen: Vec::new() };
    assert!(page(&empty, &[], true).contains("No targets are configured"));
    assert!(page(&empty, &[target("n1")], true).contains("Nothing was seen of any target"));
    empty.unseen = vec![format!("no server of {HOSTILE} was found: no answer")];
    let text = page(&empty, &[], false);
    let missed = format!("Not seen: no server of {HOSTILE_SHOWN} was found: no answer.");
    assert!(text.contains(&missed) && !text.contains("No targets"), "{text}");
}
