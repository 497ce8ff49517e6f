//! Bodies against what they stand for: the shape, and the recorded answers of real servers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::*;
use crate::repository;

const FULL: &str = "/jsz?consumers=true&config=true&raft=true";
const SMALL: Shape = Shape {
    streams: 7,
    consumers_per_stream: 11,
    accounts: 1,
    servers: 1,
    replicas: 1,
    mirrors: 0,
};
const CLUSTER: Shape = Shape {
    streams: 23,
    consumers_per_stream: 12,
    accounts: 4,
    servers: 3,
    replicas: 3,
    mirrors: 5,
};

fn text(shape: Shape, server: u64, path: &str, moment: Moment) -> String {
    String::from_utf8(body(shape, server, path, moment).unwrap()).unwrap()
}

fn get(shape: Shape, server: u64, path: &str, moment: Moment) -> Value {
    serde_json::from_str(&text(shape, server, path, moment)).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).map_or(&[], |list| list.as_array().unwrap())
}

fn streams(answer: &Value) -> Vec<&Value> {
    let accounts = list(answer, "account_details");
    accounts.iter().flat_map(|account| list(account, "stream_detail")).collect()
}

fn consumers(answer: &Value) -> Vec<&Value> {
    streams(answer).into_iter().flat_map(|stream| list(stream, "consumer_detail")).collect()
}

fn name(value: &Value) -> &str {
    value["name"].as_str().unwrap()
}

/// Account, stream and consumer; these names are unique in the system.
fn full_name(consumer: &Value) -> String {
    format!("{} {}", consumer["stream_name"].as_str().unwrap(), name(consumer))
}

#[test]
fn has_what_the_shape_says() {
    for shape in [SMALL, CLUSTER, Shape { mirrors: 2, consumers_per_stream: 0, ..SMALL }] {
        let answer = get(shape, 0, FULL, Moment::at_tick(3));
        let (all, each) = (shape.streams + shape.mirrors, shape.consumers_per_stream);
        assert_eq!(streams(&answer).len() as u64, all);
        assert_eq!(consumers(&answer).len() as u64, shape.streams * each);
        assert_eq!(answer["streams"], all);
        assert_eq!(answer["consumers"], shape.streams * each);
        assert_eq!(answer["total"], shape.accounts);
        let sum = |key| -> u64 {
            let streams = streams(&answer);
            streams.iter().map(|stream| stream["state"][key].as_u64().unwrap()).sum()
        };
        assert_eq!(answer["messages"], sum("messages"));
        assert_eq!(answer["bytes"], sum("bytes"));
        let mirrors = streams(&answer)
            .iter()
            .filter(|stream| stream["config"].get("mirror").is_some())
            .count();
        assert_eq!(mirrors as u64, shape.mirrors);
        let names: BTreeSet<_> = streams(&answer).iter().map(|stream| name(stream)).collect();
        assert_eq!(names.len() as u64, all);
    }
}

#[test]
fn parameters_choose_the_details() {
    let moment = Moment::at_tick(1);
    let plain = get(CLUSTER, 0, "/jsz", moment);
    assert!(plain.get("account_details").is_none() && plain.get("streams_leader").is_none());
    let accounts = get(CLUSTER, 0, "/jsz?accounts=1", moment);
    assert_eq!(list(&accounts, "account_details").len(), 4);
    assert!(streams(&accounts).is_empty());
    let bare = get(CLUSTER, 0, "/jsz?streams=t", moment);
    assert_eq!((streams(&bare).len(), consumers(&bare).len()), (28, 0));
    assert!(streams(&bare)[0].get("config").is_none());
    assert!(streams(&bare)[0].get("stream_raft_group").is_none());
    let one = get(CLUSTER, 0, "/jsz?consumers=true&acc=APP-2", moment);
    assert_eq!(list(&one, "account_details").len(), 1);
    let unknown = get(CLUSTER, 0, "/jsz?accounts=true&acc=NONE&limit=-1", moment);
    assert_eq!(list(&unknown, "account_details").len(), 4);

    let led = get(CLUSTER, 1, "/jsz?stream-leader-only=true&streams=true&raft=true", moment);
    assert!(!streams(&led).is_empty());
    assert!(streams(&led).iter().all(|stream| stream["cluster"]["leader"] == "n2"));
    assert_eq!(led["streams_leader"], streams(&led).len());

    let site = Site::new(CLUSTER).unwrap();
    let status = |server, path| site.answer(server, &Request::parse(path), moment).status;
    assert_eq!(status(0, "/jsz?leader-only=true"), 200);
    assert_eq!(status(1, "/jsz?leader-only=true"), 400);
    let standalone = Site::new(SMALL).unwrap();
    let request = Request::parse("/jsz?leader-only=true");
    assert_eq!(standalone.answer(0, &request, moment).status, 200);
    assert_eq!(status(0, "/jsz?streams=maybe"), 400);
    assert_eq!(status(0, "/jsz?limit=x"), 400);
    assert_eq!(status(0, "/other"), 404);
    assert_eq!(status(0, "/healthz?js-server-only=true"), 200);
}

#[test]
fn pages_give_each_account_once() {
    let shape = Shape { accounts: 1030, streams: 2000, ..SMALL };
    let moment = Moment::at_tick(0);
    let names = |path: &str| -> Vec<String> {
        let answer = get(shape, 0, path, moment);
        assert_eq!(answer["total"], 1030);
        list(&answer, "account_details").iter().map(|account| name(account).to_owned()).collect()
    };
    let all = names("/jsz?accounts=true&limit=5000");
    assert_eq!(all.len(), 1030);
    assert!(all.is_sorted());
    assert_eq!(names("/jsz?accounts=true"), all[..1024]);
    assert_eq!(names("/jsz?accounts=true&offset=1024"), all[1024..]);
    let pages = (0..1030).step_by(100);
    let pages: Vec<_> = pages
        .flat_map(|offset| names(&format!("/jsz?streams=true&limit=100&offset={offset}")))
        .collect();
    assert_eq!(pages, all);
    assert!(names("/jsz?accounts=true&offset=1030").is_empty());
}

/// Of each stream and consumer: by whom it is shown, and who says to be its leader.
fn claims(shape: Shape, moment: Moment) -> BTreeMap<String, (usize, Vec<u64>)> {
    let mut claims = BTreeMap::<String, (usize, Vec<u64>)>::new();
    for server in 0..3 {
        let own = format!("n{}", server + 1);
        let answer = get(shape, server, FULL, moment);
        let mut led = [0, 0];
        let streams =
            streams(&answer).into_iter().map(|stream| (0, name(stream).to_owned(), stream));
        let consumers =
            consumers(&answer).into_iter().map(|consumer| (1, full_name(consumer), consumer));
        for (kind, name, asset) in streams.chain(consumers) {
            let claim = claims.entry(name).or_default();
            claim.0 += 1;
            let cluster = &asset["cluster"];
            if cluster["leader"] == own.as_str() {
                claim.1.push(server);
                led[kind] += 1;
            } else {
                assert!(cluster.get("leader_since").is_none());
                assert_eq!(asset.get("num_pending").unwrap_or(&Value::from(0)), 0);
                assert!(asset.get("mirror").is_none());
            }
            for replica in list(cluster, "replicas") {
                let known =
                    cluster["leader"] == own.as_str() || replica["name"] == cluster["leader"];
                assert_eq!(replica["current"], known);
                assert_ne!(replica["name"], own.as_str());
            }
        }
        let shown =
            ["streams_leader", "consumers_leader"].map(|key| answer[key].as_u64().unwrap_or(0));
        assert_eq!(shown, led);
    }
    claims
}

#[test]
fn each_asset_has_one_leader() {
    let moment = Moment::at_tick(2);
    let replicated = claims(CLUSTER, moment);
    assert_eq!(replicated.len(), 23 + 5 + 23 * 12);
    assert!(replicated.values().all(|(shown, leaders)| *shown == 3 && leaders.len() == 1));
    for server in 0..3 {
        let led = replicated.values().filter(|(_, leaders)| leaders[0] == server).count();
        assert!(led > replicated.len() / 5, "leaders are spread: {led}");
    }
    let stream = |name: &str| replicated[name.split(' ').next().unwrap()].1[0];
    assert!(replicated.iter().any(|(name, (_, leaders))| leaders[0] != stream(name)));

    let elected = claims(CLUSTER, Moment { epoch: 1, ..moment });
    assert!(
        elected.iter().all(|(name, (_, leaders))| leaders[0] == (replicated[name].1[0] + 1) % 3)
    );

    let single = claims(Shape { replicas: 1, ..CLUSTER }, moment);
    assert_eq!(single.len(), replicated.len());
    assert!(single.values().all(|(shown, leaders)| *shown == 1 && leaders.len() == 1));
    let meta = |server, epoch| {
        get(CLUSTER, server, "/jsz", Moment { epoch, ..moment })["meta_cluster"].clone()
    };
    assert_eq!((&meta(1, 0)["leader"], &meta(2, 1)["leader"]), (&"n1".into(), &"n2".into()));
    assert_eq!(list(&meta(0, 0), "replicas").len(), 2);
    assert!(meta(0, 1).get("replicas").is_none());
}

#[test]
fn pieces_are_the_body() {
    let shape = Shape { streams: 60, consumers_per_stream: 40, ..CLUSTER };
    let moment = Moment::at_tick(5);
    let answer = Site::new(shape).unwrap().answer(1, &Request::parse(FULL), moment);
    let pieces: Vec<_> = answer.pieces.collect();
    assert!(pieces.len() > 10);
    let (last, full) = pieces.split_last().unwrap();
    assert!(full.iter().all(|piece| (PIECE..PIECE + 8192).contains(&piece.len())));
    assert!(!last.is_empty() && last.len() < PIECE + 8192);
    assert_eq!(pieces.concat(), body(shape, 1, FULL, moment).unwrap());
    assert_eq!(body(shape, 1, FULL, moment).unwrap(), body(shape, 1, FULL, moment).unwrap());
}

#[test]
fn counters_grow_with_the_tick() {
    let answers = [1, 2].map(|tick| get(CLUSTER, 0, FULL, Moment::at_tick(tick)));
    let [before, after] = &answers;
    assert!(before["now"].as_str() < after["now"].as_str());
    assert!(before["api"]["total"].as_u64() < after["api"]["total"].as_u64());
    let (mut moved, mut rested) = (0, 0);
    for (before, after) in streams(before).iter().zip(streams(after)) {
        let last = [*before, after].map(|stream| stream["state"]["last_seq"].as_u64().unwrap());
        assert!(last[0] <= last[1]);
        if last[0] < last[1] { moved += 1 } else { rested += 1 }
    }
    assert!(moved > 0 && rested > 0);
    for consumer in consumers(after) {
        let number = |part: &str, key: &str| consumer[part][key].as_u64().unwrap();
        for key in ["consumer_seq", "stream_seq"] {
            assert!(number("ack_floor", key) <= number("delivered", key));
        }
        assert_eq!(
            number("delivered", "consumer_seq") - number("ack_floor", "consumer_seq"),
            consumer["num_ack_pending"].as_u64().unwrap()
        );
    }
    let varz = [1, 2].map(|tick| get(CLUSTER, 0, "/varz", Moment::at_tick(tick)));
    assert!(varz[0]["in_msgs"].as_u64() < varz[1]["in_msgs"].as_u64());
}

#[test]
fn impossible_shapes_are_refused() {
    for shape in [
        Shape { servers: 2, ..SMALL },
        Shape { replicas: 3, ..SMALL },
        Shape { accounts: 0, ..SMALL },
        Shape { accounts: 8, mirrors: 1, ..SMALL },
    ] {
        assert!(matches!(Site::new(shape), Err(Error::Shape { .. })), "{shape:?}");
    }
}

/// The lines without their values: what is there, in which order and how far to the right.
fn form(text: &str) -> Vec<String> {
    let key = |line: &str| match line.split_once(": ") {
        Some((_, value)) if value.starts_with(['{', '[']) => line.trim_end_matches(',').to_owned(),
        Some((key, _)) => key.to_owned(),
        None if line.trim_start().starts_with('"') => "item".to_owned(),
        None => line.trim_end_matches(',').to_owned(),
    };
    text.lines().map(key).collect()
}

/// The object in a list that has this line, so far to the right.
fn object<'a>(text: &'a str, line: &str) -> &'a str {
    let width = line.len() - line.trim_start().len() - 2;
    let at = text.find(&format!("\n{line}")).unwrap_or_else(|| panic!("no {line}"));
    let (begin, end) = (format!("\n{:width$}{{\n", ""), format!("\n{:width$}}}", ""));
    let begin = text[..=at].rfind(&begin).unwrap();
    &text[begin..begin + text[begin..].find(&end).unwrap() + end.len()]
}

fn recorded(path: &str) -> String {
    let path = repository().join("tests/fixtures/2.14.6").join(path);
    std::fs::read_to_string(path).unwrap()
}

/// The recorded answers have other streams, so single objects are compared.
#[test]
fn the_form_is_that_of_a_real_server() {
    let moment = Moment::at_tick(1);
    let pairs = [
        ("jetstream-single/", SMALL, 0),
        ("jetstream-cluster3/n1/", CLUSTER, 0),
        ("jetstream-cluster3/n2/", CLUSTER, 1),
    ];
    for (place, shape, server) in pairs {
        for name in ["jsz", "healthz"] {
            let ours = form(&text(shape, server, &format!("/{name}"), moment));
            assert_eq!(ours, form(&recorded(&format!("{place}{name}.json"))), "{place}{name}");
        }
        // How often something was asked differs in the number of paths.
        let varz = |text: &str| -> Vec<String> {
            form(text).into_iter().filter(|line| !line.starts_with("    \"/")).collect()
        };
        let ours = varz(&text(shape, server, "/varz", moment));
        assert_eq!(ours, varz(&recorded(&format!("{place}varz.json"))), "{place}varz");
        let ours = form(&text(shape, server, "/routez", moment));
        assert_eq!(ours, form(&recorded(&format!("{place}routez.json"))), "{place}routez");
    }

    let real = recorded("jetstream-cluster3/n1/jsz.full.json");
    let ours = text(CLUSTER, 0, FULL, moment);
    let answer: Value = serde_json::from_str(&ours).unwrap();
    let consumer = "              \"name\": ";
    let stream = "          \"name\": ";
    // One that is led here, and one that is not; both have delivered something.
    for (model, leads) in [("worker", true), ("proc", false)] {
        let found = consumers(&answer)
            .into_iter()
            .find(|consumer| {
                (consumer["cluster"]["leader"] == "n1") == leads
                    && consumer["delivered"].get("last_active").is_some()
                    && consumer["config"].get("filter_subject").is_none()
            })
            .map(|consumer| (consumer["stream_name"].as_str().unwrap(), name(consumer)))
            .unwrap();
        let from = ours.find(&format!("\"stream_name\": \"{}\"", found.0)).unwrap() - 100;
        let mut theirs = form(object(&real, &format!("{consumer}\"{model}\"")));
        theirs.retain(|line| !line.contains("\"description\""));
        assert_eq!(form(object(&ours[from..], &format!("{consumer}\"{}\"", found.1))), theirs);
    }
    // Followers of a stream; consumers do not matter here.
    let without = text(CLUSTER, 0, "/jsz?streams=true&config=true&raft=true", moment);
    let follower = streams(&answer)
        .into_iter()
        .find(|stream| {
            stream["cluster"]["leader"] != "n1" && stream["config"].get("mirror").is_none()
        })
        .map(name)
        .unwrap();
    assert_eq!(
        form(object(&without, &format!("{stream}\"{follower}\""))),
        form(object(&real, &format!("{stream}\"KV_settings\"")))
    );
    // A mirror with one replica.
    let single = text(Shape { replicas: 1, ..CLUSTER }, 0, FULL, moment);
    let answer: Value = serde_json::from_str(&single).unwrap();
    let mirror =
        streams(&answer).into_iter().find(|stream| stream.get("mirror").is_some()).unwrap();
    assert_eq!(
        form(object(&single, &format!("{stream}\"{}\"", name(mirror)))),
        form(object(&real, &format!("{stream}\"ORDERS_MIRROR\"")))
    );
}
