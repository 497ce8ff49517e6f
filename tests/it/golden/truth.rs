//! What must hold for every recorded scene, worked out anew from the recordings: whose word
//! counts, what is absent, and what no value may be.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::stage::{self, Scene};
use crate::support::replay::Recording;
use crate::support::samples::{Sample, Samples};

/// Checks every scene, and panics with all that is wrong.
fn each_scene(check: impl Fn(&Scene, &Samples) -> Vec<String>) {
    let mut wrong = Vec::new();
    for scene in stage::all() {
        let found = check(scene, &scene.samples());
        wrong.extend(found.into_iter().map(|text| format!("{}: {text}", scene.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The name of a server that was recorded. In all recordings it is configured.
fn own_name(recording: &Recording) -> Option<String> {
    Some(text(&recording.json("varz")?, "server_name").to_owned())
}

/// Whether the server itself says that it leads.
///
/// One that prints no group is alone, unless JetStream is clustered: then the asset was not started.
/// Nor was a replicated stream that has no replicas to name.
fn claims(asset: &Value, own_name: &str, clustered: bool) -> bool {
    let group = &asset["cluster"];
    if group.is_null() {
        return !clustered;
    }
    let replicated = asset["config"]["num_replicas"].as_u64() > Some(1);
    let of_a_stream = asset["state"].is_object();
    let alone = of_a_stream && replicated && list(&group["replicas"]).is_empty();
    text(group, "leader") == own_name && !alone
}

/// Whether JetStream of a recorded server is clustered.
fn clustered(scene: &Scene, own_name: &str) -> bool {
    let mut recordings = scene.recordings.values();
    let recording =
        recordings.find(|recording| self::own_name(recording).as_deref() == Some(own_name));
    let jsz = recording.and_then(|recording| recording.json("jsz"));
    jsz.is_some_and(|jsz| jsz["meta_cluster"].is_object())
}

/// Runs `look` for each stream on each server: the server's name, account, stream.
fn each_stream(scene: &Scene, mut look: impl FnMut(&str, &str, &Value)) {
    for recording in scene.recordings.values() {
        let (Some(own_name), Some(jsz)) = (own_name(recording), recording.json("jsz.full")) else {
            continue;
        };
        for account in list(&jsz["account_details"]) {
            for stream in list(&account["stream_detail"]) {
                look(&own_name, text(account, "name"), stream);
            }
        }
    }
}

/// The series of `name` by the values of `labels`, each with its value.
fn series(samples: &Samples, name: &str, labels: &[&str]) -> BTreeMap<Vec<String>, String> {
    let key = |sample: &Sample| {
        labels.iter().map(|label| sample.labels.get(*label).cloned().unwrap_or_default()).collect()
    };
    let found: Vec<_> = samples.find(name, &[]).map(|s| (key(s), s.text.clone())).collect();
    let count = found.len();
    let series: BTreeMap<_, _> = found.into_iter().collect();
    assert_eq!(series.len(), count, "{name}: labels other than {labels:?} tell series apart");
    series
}

fn differs<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Vec<String> {
    if found == expected {
        return Vec::new();
    }
    vec![format!("{what}: {found:?}, not {expected:?}")]
}

#[test]
fn numbers_of_a_consumer_come_from_its_leader_and_from_nobody_else() {
    each_scene(|scene, samples| {
        let mut expected: [BTreeMap<Vec<String>, String>; 4] = Default::default();
        each_stream(scene, |own_name, account, stream| {
            for consumer in list(&stream["consumer_detail"]) {
                let durable = !text(&consumer["config"], "durable_name").is_empty();
                if durable && claims(consumer, own_name, clustered(scene, own_name)) {
                    let key = [account, text(stream, "name"), text(consumer, "name")];
                    let key = key.map(str::to_owned).to_vec();
                    let pull = text(&consumer["config"], "deliver_subject").is_empty();
                    let bound = u64::from(consumer["push_bound"] == true);
                    let numbers = [
                        Some(consumer["num_pending"].to_string()),
                        Some(consumer["num_ack_pending"].to_string()),
                        pull.then(|| consumer["num_waiting"].to_string()),
                        (!pull).then(|| bound.to_string()),
                    ];
                    for (numbers, number) in expected.iter_mut().zip(numbers) {
                        numbers.extend(number.map(|number| (key.clone(), number)));
                    }
                }
            }
        });
        let names = ["pending_messages", "ack_pending", "waiting_pulls", "push_bound"];
        let compare = |(name, expected): (&str, _)| {
            let name = format!("nats_jetstream_consumer_{name}");
            let found = series(samples, &name, &["account", "stream", "consumer"]);
            differs(&name, &found, &expected)
        };
        names.into_iter().zip(expected).flat_map(compare).collect()
    });
}

#[test]
fn consumers_that_come_and_go_have_no_series_and_are_counted_where_they_are_led() {
    each_scene(|scene, samples| {
        let mut expected: BTreeMap<Vec<String>, u64> = BTreeMap::new();
        let mut names = BTreeSet::new();
        each_stream(scene, |own_name, account, stream| {
            for consumer in list(&stream["consumer_detail"]) {
                if text(&consumer["config"], "durable_name").is_empty() {
                    names.insert(text(consumer, "name").to_owned());
                    let led = claims(consumer, own_name, clustered(scene, own_name));
                    let key = [own_name, account, text(stream, "name"), "ephemeral"];
                    let key = key.map(str::to_owned);
                    // A server that leads none of its own says so, or an election would end a series.
                    *expected.entry(key.to_vec()).or_default() += u64::from(led);
                }
            }
        });
        let labels = ["server", "account", "stream", "kind"];
        let mut found = series(samples, "nats_jetstream_folded_consumers", &labels);
        // Those that came since the configuration was asked for may be of any sort.
        found.retain(|key, _| key[3] != "new");
        let expected = expected.into_iter().map(|(key, count)| (key, count.to_string())).collect();
        let mut wrong = differs("folded consumers", &found, &expected);
        let shown = samples.0.iter().filter_map(|sample| sample.labels.get("consumer"));
        // A failing one is named by the server's health answer, which knows names only.
        let shown: BTreeSet<_> = shown.filter(|name| names.contains(*name)).collect();
        wrong.extend(differs("names of ephemeral consumers", &shown, &BTreeSet::new()));
        wrong
    });
}

#[test]
fn numbers_and_replicas_of_a_stream_come_from_its_leader_which_is_current_itself() {
    each_scene(|scene, samples| {
        let (mut messages, mut current) = (BTreeMap::new(), BTreeMap::new());
        let mut lag = BTreeMap::new();
        let mut leads = BTreeMap::new();
        each_stream(scene, |own_name, account, stream| {
            let key = vec![account.to_owned(), text(stream, "name").to_owned()];
            let claimed = claims(stream, own_name, clustered(scene, own_name));
            let place = [vec![own_name.to_owned()], key.clone()].concat();
            leads.insert(place, u8::from(claimed).to_string());
            if !claimed {
                return;
            }
            messages.insert(key.clone(), stream["state"]["messages"].to_string());
            if !list(&stream["cluster"]["replicas"]).is_empty() {
                let key = [key.clone(), vec![own_name.to_owned()]].concat();
                current.insert(key.clone(), "1".to_owned());
                lag.insert(key, "0".to_owned());
            }
            for replica in list(&stream["cluster"]["replicas"]) {
                assert_ne!(text(replica, "name"), own_name, "a leader does not list itself");
                let key = [key.clone(), vec![text(replica, "name").to_owned()]].concat();
                current.insert(key.clone(), u8::from(replica["current"] == true).to_string());
                lag.insert(key, replica["lag"].as_u64().unwrap_or(0).to_string());
            }
        });
        let of_stream = ["account", "stream"];
        let of_peer = ["account", "stream", "peer"];
        let of_replica = ["server", "account", "stream"];
        let all: [(&str, &[&str], _); 4] = [
            ("nats_jetstream_stream_messages", &of_stream, messages),
            ("nats_jetstream_stream_replica_current", &of_peer, current),
            ("nats_jetstream_stream_replica_lag_operations", &of_peer, lag),
            ("nats_jetstream_stream_is_leader", &of_replica, leads),
        ];
        let compare = |(name, labels, expected): (&str, &[&str], _)| {
            differs(name, &series(samples, name, labels), &expected)
        };
        all.into_iter().flat_map(compare).collect()
    });
}

#[test]
fn members_of_the_meta_group_are_as_the_meta_leader_says_and_no_follower() {
    each_scene(|scene, samples| {
        let mut expected = BTreeMap::new();
        for recording in scene.recordings.values() {
            let (Some(own_name), Some(jsz)) = (own_name(recording), recording.json("jsz")) else {
                continue;
            };
            let meta = &jsz["meta_cluster"];
            if text(meta, "leader") == own_name && jsz["disabled"] != true {
                for replica in list(&meta["replicas"]) {
                    assert_ne!(text(replica, "name"), own_name);
                    let current = u8::from(replica["current"] == true).to_string();
                    expected.insert(vec![text(replica, "name").to_owned()], current);
                }
                expected.insert(vec![own_name], "1".to_owned());
            }
        }
        let name = "nats_jetstream_meta_peer_current";
        differs(name, &series(samples, name, &["peer"]), &expected)
    });
}

/// `active: 0` means that nothing is known, and never that a replica was heard of just now.
#[test]
fn a_replica_that_was_never_heard_of_has_no_time_since_it_was() {
    each_scene(|_, samples| {
        let seen = samples.0.iter().filter(|sample| sample.name.ends_with("_last_seen_seconds"));
        // The leader has heard of itself. As long as it has one, nobody else has a zero there.
        let leads = |sample: &Sample| {
            let of = sample.name.replace("_replica_last_seen_seconds", "_leader_info");
            let of = of.replace("_peer_last_seen_seconds", "_leader_info");
            let same = |other: &&Sample| {
                let labels = ["nats_cluster", "account", "stream", "consumer"];
                let same = |label: &&str| other.labels.get(*label) == sample.labels.get(*label);
                other.labels.get("leader") == sample.labels.get("peer") && labels.iter().all(same)
            };
            samples.0.iter().filter(|other| other.name == of).any(|other| same(&other))
        };
        let zero = seen.filter(|sample| sample.value() <= 0.0 && !leads(sample));
        zero.map(|sample| format!("{sample:?}")).collect()
    });
}

#[test]
fn a_probe_would_fail_exactly_where_it_did_fail() {
    let mut differing = Vec::new();
    let mut compared = 0;
    for scene in stage::all() {
        let samples = scene.samples();
        for recording in scene.recordings.values() {
            let (Some(own_name), Recording::Answers(answers)) = (own_name(recording), recording)
            else {
                continue;
            };
            for (path, question) in [
                ("/healthz", "healthz"),
                ("/healthz?js-enabled-only=true", "healthz.js-enabled-only"),
                ("/healthz?js-server-only=true", "healthz.js-server-only"),
            ] {
                let labels = [("server", own_name.as_str()), ("path", path)];
                let said: Vec<_> = ["nats_health", "nats_jetstream_health"]
                    .iter()
                    .filter_map(|tier| samples.value(&format!("{tier}_probe_would_fail"), &labels))
                    .collect();
                assert_eq!(said.len(), 1, "{} {own_name} {path}: one tier", scene.name);
                compared += 1;
                let failed = answers[question].status != 200;
                if (said[0] > 0.0) != failed {
                    differing.push(format!("{} {own_name} {path}: {said:?}", scene.name));
                }
            }
        }
    }
    assert_eq!(differing, Vec::<String>::new(), "of {compared}");
}

#[test]
fn no_value_is_a_limit_that_is_not_set_or_a_time_that_never_was() {
    each_scene(|_, samples| {
        let mut wrong = Vec::new();
        for sample in &samples.0 {
            let value = sample.value();
            let time = sample.name.ends_with("_timestamp_seconds")
                || sample.name.ends_with("_start_time_seconds")
                || sample.name.ends_with("_load_time_seconds")
                || sample.name.ends_with("_not_after_seconds");
            if value < 0.0 && sample.name != "nats_server_clock_offset_seconds" {
                wrong.push(format!("negative: {sample:?}"));
            }
            // 2^53: nothing in the recordings is that large, only "unlimited" is.
            if value >= 9_007_199_254_740_992.0 && !sample.name.starts_with("process_") {
                wrong.push(format!("not a number of anything: {sample:?}"));
            }
            if time && !(1.7e9..1.0e10).contains(&value) {
                wrong.push(format!("not a time of ours: {sample:?}"));
            }
            if sample.labels.values().any(String::is_empty) {
                wrong.push(format!("an empty label: {sample:?}"));
            }
        }
        wrong
    });
}

/// `/varz` goes on printing the last numbers of JetStream after it went off.
#[test]
fn jetstream_that_is_off_has_no_numbers() {
    each_scene(|scene, samples| {
        let mut wrong = Vec::new();
        for recording in scene.recordings.values() {
            let (Some(own_name), Some(jsz)) = (own_name(recording), recording.json("jsz")) else {
                continue;
            };
            let of_server = |sample: &&Sample| {
                sample.labels.get("server").is_some_and(|server| *server == own_name)
            };
            let names: BTreeSet<_> = samples
                .0
                .iter()
                .filter(of_server)
                .map(|sample| sample.name.as_str())
                .filter(|name| name.starts_with("nats_jetstream_"))
                .filter(|name| !name.starts_with("nats_jetstream_health_"))
                .collect();
            if jsz["disabled"] == true {
                let allowed = ["nats_jetstream_enabled", "nats_jetstream_configured"];
                let more = names.iter().filter(|name| !allowed.contains(name));
                wrong.extend(more.map(|name| format!("{own_name} is off and has {name}")));
            } else if !names.contains("nats_jetstream_storage_used_bytes") {
                wrong.push(format!("{own_name} is on and has no storage"));
            }
        }
        wrong
    });
}

#[test]
fn a_server_is_up_when_it_answers_and_keeps_its_name_when_it_does_not() {
    each_scene(|scene, samples| {
        // Where the servers of a scenario are folders, the folders have the servers' names.
        let expected: BTreeMap<_, _> = scene
            .recordings
            .iter()
            .map(|(folder, recording)| {
                let up = u8::from(recording.json("varz").is_some()).to_string();
                (vec![own_name(recording).unwrap_or_else(|| folder.clone())], up)
            })
            .collect();
        let mut wrong = differs("nats_up", &series(samples, "nats_up", &["server"]), &expected);
        for sample in &samples.0 {
            let down = sample
                .labels
                .get("server")
                .is_some_and(|server| samples.value("nats_up", &[("server", server)]) == Some(0.0));
            let about_itself = ["nats_up", "nats_tier_", "nats_exporter_", "nats_health_check_"]
                .iter()
                .any(|prefix| sample.name.starts_with(prefix))
                || (sample.name.ends_with("_probe_would_fail") && sample.text == "1");
            if down && !about_itself {
                wrong.push(format!("known of a dead server: {sample:?}"));
            }
        }
        wrong
    });
}

#[test]
fn an_account_without_a_limit_has_no_series_of_it() {
    each_scene(|scene, samples| {
        let mut expected = BTreeMap::new();
        for recording in scene.recordings.values() {
            let (Some(own_name), Some(jsz)) = (own_name(recording), recording.json("jsz.full"))
            else {
                continue;
            };
            for account in list(&jsz["account_details"]) {
                let limit = account["reserved_storage"].as_u64().filter(|l| *l != u64::MAX);
                let key = vec![own_name.clone(), text(account, "name").to_owned()];
                expected.extend(limit.map(|limit| (key, limit.to_string())));
            }
        }
        let name = "nats_jetstream_account_storage_limit_bytes";
        differs(name, &series(samples, name, &["server", "account"]), &expected)
    });
}

#[test]
fn no_recorded_version_sends_a_field_that_is_not_known() {
    each_scene(|_, samples| {
        let unknown = samples.find("nats_exporter_unknown_fields_total", &[]);
        unknown.filter(|s| s.value() != 0.0).map(|sample| format!("{sample:?}")).collect()
    });
}

/// The wide health answer may tell that the listeners are open while it fails for JetStream's
/// sake. That failure is nothing of the base tier.
#[test]
fn a_health_status_of_the_base_tier_never_tells_of_jetstream() {
    each_scene(|_, samples| {
        let status = samples.find("nats_health_check_status_code", &[]);
        let wrong = status.filter(|sample| {
            let of = |label: &str| sample.labels[label].clone();
            let (server, check) = (of("server"), of("check"));
            let labels = [("server", server.as_str()), ("check", check.as_str())];
            let ok = samples.value("nats_health_check_ok", &labels) == Some(1.0);
            ok != (sample.text == "200")
        });
        wrong.map(|sample| format!("{sample:?}")).collect()
    });
}
