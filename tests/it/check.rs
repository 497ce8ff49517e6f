//! `nats-exporter check`: what it says of recorded servers, word for word, and how it finds and waits for real ones.
//!
//! `UPDATE=1 cargo test` rewrites `tests/check`. Read the difference before it is committed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nats_exporter::report::words::capital;
use nats_harness::{Account, Cluster, Port, Process, nats_server, newest};
use serde_json::Value;
use tokio::process::Command;

use crate::support::is_update;
use crate::support::replay::{FIXTURES, Recorded, Recording, Replay};

/// What a check wrote, and how it ended.
struct Checked {
    text: String,
    errors: String,
    code: i32,
}

async fn check<S: AsRef<str>>(arguments: &[S]) -> Checked {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nats-exporter"));
    let arguments = arguments.iter().map(|argument| argument.as_ref().to_owned());
    command.arg("check").args(arguments).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(90), command.output()).await;
    let output = output.expect("it ends").unwrap();
    Checked {
        text: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().expect("no signal"),
    }
}

/// A recording of a server that was started long before: who recorded it did so at once.
fn older(recording: Recording) -> Recording {
    let Recording::Answers(mut answers) = recording else { return recording };
    if let Some(varz) = answers.get_mut("varz")
        && let Ok(mut body) = serde_json::from_slice::<Value>(&varz.body)
    {
        body["start"] = "2026-01-01T00:00:00Z".into();
        *varz = Recorded { status: varz.status, body: body.to_string().into() };
    }
    Recording::Answers(answers)
}

/// The servers of a recorded scene, with their names.
fn servers(scene: &str) -> Vec<(String, Replay)> {
    let recordings = Recording::servers(&Path::new(FIXTURES).join(scene)).into_iter();
    recordings.map(|(name, recording)| (name, Replay::start(older(recording)))).collect()
}

/// Without what differs from run to run: ports and uptimes.
fn steady(text: &str, servers: &[(String, Replay)]) -> String {
    let mut text = text.to_owned();
    for (name, server) in servers {
        text = text.replace(&format!("127.0.0.1:{}", server.port()), &format!("ADDRESS-OF-{name}"));
    }
    text
}

/// Scenes, and the code with which a check of them ends.
const SCENES: [(&str, i32); 22] = [
    ("2.9.10/jetstream-cluster3", 4),
    ("2.10.26/jetstream-cluster3", 4),
    ("2.15.1/jetstream-cluster3", 4),
    ("2.15.1/core-single", 4),
    ("2.15.1/jetstream-single", 4),
    ("2.10.26/disk-full/during", 4),
    ("2.15.1/disk-full/during", 4),
    ("2.10.26/one-node-killed/during", 4),
    ("2.15.1/one-node-killed/during", 4),
    ("2.10.26/two-nodes-killed/during", 4),
    ("2.15.1/two-nodes-killed/during", 4),
    ("2.15.1/two-nodes-killed/survivor-restarted", 4),
    ("2.10.26/process-frozen/during", 4),
    ("2.15.1/process-frozen/during", 4),
    ("2.15.1/partition-reset/during", 4),
    ("2.15.1/lame-duck/during", 4),
    ("2.15.1/max-file-exceeded/during", 4),
    ("2.15.1/slow-consumer/during", 0),
    ("2.15.1/store-unwritable/during", 4),
    ("2.10.26/store-deleted/during", 4),
    ("2.15.1/single-stream-corrupted-probe", 4),
    ("2.14.6/supercluster-leaf", 4),
];

#[tokio::test]
async fn recorded_servers_are_described_word_for_word() {
    let mut wrong = String::new();
    for (scene, code) in SCENES {
        let servers = servers(scene);
        let arguments = servers.iter().map(|(_, server)| server.url());
        let arguments: Vec<_> =
            std::iter::once("--no-discovery".to_owned()).chain(arguments).collect();
        let checked = check(&arguments).await;
        let text = format!("{}code {}\n", steady(&checked.text, &servers), checked.code);
        let file = PathBuf::from("tests/check").join(scene.replace('/', "-") + ".txt");
        if is_update() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if text != expected || checked.code != code {
            let _ =
                write!(wrong, "{}: {code} expected\n{text}{}\n", file.display(), checked.errors);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The paths of all fields of a document.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                paths(value, format!("{path}.{name}").trim_start_matches('.'), found);
            }
        }
        Value::Array(items) => {
            for item in items {
                paths(item, &format!("{path}[]"), found);
            }
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

#[tokio::test]
async fn the_document_for_machines_is_described() {
    let described = std::fs::read_to_string("docs/check.md").unwrap();
    let mut all = BTreeSet::new();
    for scene in
        ["2.10.26/disk-full/during", "2.10.26/two-nodes-killed/during", "2.15.1/core-single"]
    {
        let servers = servers(scene);
        let mut arguments = vec!["--no-discovery".to_owned(), "--output=json".to_owned()];
        arguments.extend(servers.iter().map(|(_, server)| server.url()));
        let checked = check(&arguments).await;
        let document: Value = serde_json::from_str(&checked.text).unwrap();
        assert_eq!(document["schema"], 1);
        paths(&document, "", &mut all);
    }
    // Both tiers have the same fields.
    let all: BTreeSet<String> = all
        .into_iter()
        .map(|path| path.replace("servers[].persistence.", "servers[].base."))
        .collect();
    assert!(all.len() > 30, "{all:?}");
    for path in &all {
        assert!(described.contains(&format!("| `{path}` |")), "{path} is not in docs/check.md");
    }
}

#[test]
fn the_reasons_are_described_and_are_those_of_the_rules() {
    let described = std::fs::read_to_string("docs/check.md").unwrap();
    let rules = nats_harness::rules::read("recording.rules.yml").unwrap();
    let rules = rules.groups.into_iter().flat_map(|group| group.rules);
    let of_rules: BTreeSet<String> = rules
        .filter(|rule| rule.record.as_deref() == Some("nats:restart_blocker:bool"))
        .map(|rule| rule.labels["reason"].clone())
        .collect();
    let mut own = BTreeSet::new();
    for blocker in nats_exporter::restart::Blocker::ALL {
        let (reason, _, meaning) = blocker.describe();
        let sentence = capital(meaning) + ".";
        assert!(
            described.contains(&format!("| `{reason}` | {sentence} |")),
            "{reason}: {sentence}"
        );
        own.insert(reason.to_owned());
    }
    assert_eq!(own, of_rules);
}

/// Colours are for terminals; whoever reads through a pipe gets plain text, and may stop reading.
#[tokio::test]
async fn colours_are_for_terminals() {
    let servers = servers("2.15.1/core-single");
    let url = servers[0].1.url();
    let program = env!("CARGO_BIN_EXE_nats-exporter");
    let run = async |command: String, variables: &[(&str, &str)]| {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command).envs(variables.iter().copied()).env_remove("NO_COLOR");
        shell.envs(variables.iter().copied()).env("TERM", "xterm");
        String::from_utf8(shell.output().await.unwrap().stdout).unwrap()
    };
    let check = format!("{program} check --no-discovery {url}");
    let terminal = run(format!("script -qec '{check}' /dev/null"), &[]).await;
    assert!(terminal.contains("\u{1b}[") && terminal.contains("UNSAFE"), "{terminal}");
    let terminal = run(format!("script -qec '{check}' /dev/null"), &[("NO_COLOR", "1")]).await;
    assert!(!terminal.contains('\u{1b}') && terminal.contains("UNSAFE"), "{terminal}");
    let pipe = run(format!("{check} | cat"), &[]).await;
    assert!(!pipe.contains('\u{1b}') && pipe.contains("UNSAFE"), "{pipe}");
    let pipe = run(format!("{{ {check}; echo $? >&2; }} 2>&1 | true; echo well"), &[]).await;
    assert_eq!(pipe, "well\n");
}

#[tokio::test]
async fn mistakes_are_told_and_end_with_two() {
    let checked = check(&["--config.file=missing.yaml"]).await;
    assert_eq!(checked.code, 2, "{}", checked.errors);
    assert!(checked.errors.contains("missing.yaml"), "{}", checked.errors);
    let checked = check(&["ftp://127.0.0.1"]).await;
    assert_eq!(checked.code, 2, "{}", checked.errors);
    let checked = check(&["restart", "http://127.0.0.1:1"]).await;
    assert_eq!(checked.code, 2, "{}", checked.errors);
    // No configuration is wrong here, but what it names.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("exporter.yaml");
    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    std::fs::write(&file, "targets: [{url: \"https://h\", tls: {ca_file: empty.pem}}]\n").unwrap();
    let checked = check(&[format!("--config.file={}", file.display())]).await;
    assert_eq!(checked.code, 2, "{}", checked.errors);
    assert!(checked.errors.contains("empty.pem"), "{}", checked.errors);
    let checked = check(&["restart", "--server=n7", "http://127.0.0.1:1"]).await;
    assert_eq!(checked.code, 5, "{}", checked.errors);
    assert!(checked.text.contains("No server called n7 was seen"), "{}", checked.text);
}

/// Three servers at addresses of their own with one monitoring port, as pods have them.
struct Pods {
    _processes: Vec<Process>,
    _ports: Vec<Port>,
    monitoring: u16,
    _dir: tempfile::TempDir,
}

impl Pods {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports: Vec<Port> = (0..3).map(|_| Port::any().unwrap()).collect();
        let [client, route, monitoring] = [0, 1, 2].map(|at| ports[at].number());
        let binary = nats_server(newest()).unwrap();
        let host = |number: usize| format!("127.0.0.{}", number + 1);
        let routes: Vec<String> =
            (1..=3).map(|n| format!("\"nats-route://{}:{route}\"", host(n))).collect();
        let start = |number: usize| {
            let (own, store) = (host(number), dir.path().join(format!("js{number}")));
            let config = format!(
                "server_name: n{number}\nlisten: \"{own}:{client}\"\nhttp: \"{own}:{monitoring}\"\n\
                 jetstream {{ store_dir: \"{}\" }}\n\
                 cluster {{ name: C1, listen: \"{own}:{route}\", routes: [{}] }}\n",
                store.display(),
                routes.join(", ")
            );
            let file = dir.path().join(format!("n{number}.conf"));
            std::fs::write(&file, config).unwrap();
            let log = dir.path().join(format!("n{number}.log"));
            Process::start(&binary, [Path::new("-c"), &file], &log).unwrap()
        };
        Self { _processes: (1..=3).map(start).collect(), _ports: ports, monitoring, _dir: dir }
    }
}

#[tokio::test]
async fn one_address_is_enough() {
    let pods = Pods::start();
    let one = format!("http://127.0.0.2:{}", pods.monitoring);
    let end = std::time::Instant::now() + Duration::from_secs(60);
    // Until the meta group is complete.
    let document = loop {
        let checked = check(&["--output=json", &one]).await;
        let document: Value = serde_json::from_str(&checked.text).unwrap();
        let cluster = &document["clusters"][0];
        if cluster["meta"]["current"] == 3 && cluster["unseen"].as_array().unwrap().is_empty() {
            break document;
        }
        assert!(std::time::Instant::now() < end, "{document:#}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let servers = document["clusters"][0]["servers"].as_array().unwrap();
    let names: BTreeSet<&str> =
        servers.iter().filter_map(|server| server["name"].as_str()).collect();
    assert_eq!(names, ["n1", "n2", "n3"].into(), "{document:#}");
    let alone = check(&["--no-discovery", &one]).await;
    assert!(
        alone.text.contains("n3 is a server of the cluster and was not seen"),
        "{}",
        alone.text
    );
    // Where nobody listens at the port that is told, the servers are missed.
    let other = check(&["--monitoring-port=1", &one]).await;
    assert!(
        other.text.contains("127.0.0.1:1") || other.text.contains("127.0.0.3:1"),
        "{}",
        other.text
    );
    assert_ne!(other.code, 0);
}

/// Behind an answer that cannot be read there may be a server that is well, and has the only replica of something.
#[tokio::test]
async fn who_answers_with_something_else_is_not_called_down() {
    let others = servers("2.15.1/slow-consumer/during");
    for (what, scheme, status, body) in [
        ("another password", "http", 401, ""),
        ("another program", "http", 200, "<html>"),
        ("no certificate", "https", 200, "{}"),
    ] {
        let varz = Recorded { status, body: body.into() };
        let hub = Replay::start(Recording::Answers([("varz".to_owned(), varz)].into()));
        let address = format!("127.0.0.1:{}", hub.port());
        let mut arguments = vec!["--no-discovery".to_owned(), format!("{scheme}://{address}")];
        arguments.extend(others.iter().map(|(_, server)| server.url()));
        let checked = check(&arguments).await;
        assert_eq!(checked.code, 5, "{what}: {}{}", checked.text, checked.errors);
        let unseen = format!("Not seen: {address} answers with something that is not readable.");
        assert!(checked.text.contains(&unseen), "{what}: {}", checked.text);
        assert!(!checked.text.contains("is down"), "{what}: {}", checked.text);
        arguments.splice(..0, ["restart".to_owned(), format!("--server={address}")]);
        let checked = check(&arguments).await;
        assert_eq!(checked.code, 5, "{what}: {}{}", checked.text, checked.errors);
    }
}

/// A recording with other words in its answers.
fn reworded(recording: &Recording, words: &[(&str, &str)]) -> Recording {
    let Recording::Answers(mut answers) = recording.clone() else { panic!("it answered") };
    for answer in answers.values_mut() {
        let mut text = String::from_utf8(answer.body.to_vec()).expect("it is text");
        for (old, new) in words {
            text = text.replace(old, new);
        }
        answer.body = text.into();
    }
    Recording::Answers(answers)
}

/// A recording of a server that says something else of its meta group.
fn with_meta(recording: Recording, change: impl Fn(&mut Value)) -> Recording {
    let Recording::Answers(mut answers) = recording else { panic!("it answered") };
    for (_, answer) in answers.iter_mut().filter(|(question, _)| question.starts_with("jsz")) {
        let mut body: Value = serde_json::from_slice(&answer.body).expect("JSON");
        change(&mut body["meta_cluster"]);
        answer.body = body.to_string().into();
    }
    Recording::Answers(answers)
}

/// What a check says of two clusters, by name.
async fn check_two(east: &[Replay], west: &[Replay], first: &str) -> [Value; 2] {
    let target = |cluster: &'static str| {
        move |server: &Replay| format!("  - {{url: \"{}\", cluster: {cluster}}}\n", server.url())
    };
    let mut targets: Vec<_> = east.iter().map(target("east")).collect();
    targets.extend(west.iter().map(target("west")));
    if first == "west" {
        targets.rotate_left(east.len());
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("exporter.yaml");
    std::fs::write(&file, format!("targets:\n{}", targets.concat())).unwrap();
    let config = format!("--config.file={}", file.display());
    let checked = check(&["--no-discovery", "--output=json", &config]).await;
    let document: Value = serde_json::from_str(&checked.text).expect(&checked.errors);
    let [east, west] = [0, 1].map(|at| document["clusters"][at].clone());
    assert_eq!([&east["name"], &west["name"]], ["east", "west"], "{document:#}");
    [east, west]
}

/// Many clusters call their servers nats-0, nats-1 and nats-2.
#[tokio::test]
async fn clusters_whose_servers_have_the_same_names_are_not_mixed_up() {
    let scene = Recording::servers(&Path::new(FIXTURES).join("2.15.1/slow-consumer/during"));
    let east: Vec<Recording> = scene.into_values().map(older).collect();
    // Processes of their own.
    let ids: Vec<String> = east
        .iter()
        .map(|server| server.json("varz").unwrap()["server_id"].as_str().unwrap().to_owned())
        .collect();
    let other_ids: Vec<String> = ids.iter().map(|id| id.to_lowercase()).collect();
    let words: Vec<(&str, &str)> =
        ids.iter().map(String::as_str).zip(other_ids.iter().map(String::as_str)).collect();
    let west: Vec<Recording> = east.iter().map(|server| reworded(server, &words)).collect();
    let start = |servers: &[Recording]| -> Vec<Replay> {
        servers.iter().cloned().map(Replay::start).collect()
    };

    // n1 leads in both, and one member of the east is behind.
    let mut behind = east.clone();
    behind[0] = with_meta(behind[0].clone(), |meta| meta["replicas"][1]["current"] = false.into());
    let (one, other) = (start(&behind), start(&west));
    for first in ["east", "west"] {
        let [east, west] = check_two(&one, &other, first).await;
        assert_eq!([&east["meta"]["current"], &west["meta"]["current"]], [2, 3], "{first} first");
        let answers = |cluster: &Value| {
            [0, 1, 2].map(|at| cluster["servers"][at]["restart"]["answer"].clone())
        };
        assert_eq!(answers(&east), ["unsafe", "unsafe", "safe"], "{east:#}");
        assert_eq!(answers(&west), ["safe", "safe", "safe"], "{west:#}");
    }

    // The leader of the east does not answer about JetStream, and that of the west is none of its own.
    let Recording::Answers(mut silent) = east[0].clone() else { panic!("it answered") };
    silent.retain(|question, _| !question.starts_with("jsz"));
    let [silent, _] = check_two(
        &start(&[vec![Recording::Answers(silent)], east[1..].to_vec()].concat()),
        &other,
        "east",
    )
    .await;
    assert_eq!(silent["meta"], Value::Null, "{silent:#}");

    // n2 is cut off from the others in the east and claims to lead, and leads in the west.
    let swap = [("\"n1\"", "\"n?\""), ("\"n2\"", "\"n1\""), ("\"n?\"", "\"n2\"")];
    let west: Vec<Recording> = west.iter().map(|server| reworded(server, &swap)).collect();
    let mut cut_off = east;
    cut_off[1] = with_meta(cut_off[1].clone(), |meta| {
        meta["leader"] = "n2".into();
        meta["replicas"][1]["current"] = true.into();
    });
    let [east, west] = check_two(&start(&cut_off), &start(&west), "east").await;
    assert_eq!([&east["meta"]["leader"], &west["meta"]["leader"]], ["n1", "n2"], "{east:#}");
}

/// A store that is large takes minutes to be read, and a restart begins anew.
#[tokio::test]
async fn who_is_starting_is_not_to_be_restarted() {
    let mut servers = servers("2.15.1/slow-consumer/during");
    let recording = Recording::servers(&Path::new(FIXTURES).join("2.15.1/slow-consumer/during"));
    let Recording::Answers(mut answers) = older(recording["n3"].clone()) else {
        panic!("it answered")
    };
    let text = r#"{"status":"error","errors":[{"type":"CONNECTION","error":"failed to be ready for connections after 1ms: server"}]}"#;
    for (_, answer) in answers.iter_mut().filter(|(question, _)| question.starts_with("healthz")) {
        *answer = Recorded { status: 500, body: text.into() };
    }
    let varz = answers.get_mut("varz").expect("it is recorded");
    let mut body: Value = serde_json::from_slice(&varz.body).unwrap();
    body["total_connections"] = 0.into();
    varz.body = body.to_string().into();
    servers[2].1.play(Recording::Answers(answers)).await;
    let mut arguments =
        vec!["restart".to_owned(), "--server=n3".to_owned(), "--no-discovery".to_owned()];
    arguments.extend(servers.iter().map(|(_, server)| server.url()));
    let checked = check(&arguments).await;
    assert_eq!(checked.code, 5, "{}{}", checked.text, checked.errors);
    assert!(checked.text.contains("base degraded: starting"), "{}", checked.text);
    let note = "restart UNKNOWN: it is starting, and a restart begins anew";
    assert!(checked.text.contains(note), "{}", checked.text);
}

/// From 2.14 on, only the health check tells of writes that failed.
#[tokio::test]
async fn who_does_not_say_how_its_streams_are_keeps_the_others_from_going() {
    let mut servers = servers("2.15.1/slow-consumer/during");
    let Recording::Answers(mut answers) =
        Recording::servers(&Path::new(FIXTURES).join("2.15.1/slow-consumer/during"))
            .remove("n3")
            .map(older)
            .expect("it is recorded")
    else {
        panic!("it answered");
    };
    let arguments: Vec<_> = std::iter::once("--no-discovery".to_owned())
        .chain(servers.iter().map(|(_, server)| server.url()))
        .collect();
    let unseen = "/healthz of n3 does not tell whether its streams are well";
    let no_leader = Recorded {
        status: 503,
        body: r#"{"status":"error","errors":[{"type":"JETSTREAM","error":"JetStream is not current with the meta leader"}]}"#.into(),
    };
    for health in [None, Some(no_leader)] {
        answers.remove("healthz.details");
        answers.extend(health.map(|health| ("healthz.details".to_owned(), health)));
        servers[2].1.play(Recording::Answers(answers.clone())).await;
        let checked = check(&arguments).await;
        assert_eq!(checked.code, 5, "{}{}", checked.text, checked.errors);
        assert!(checked.text.contains(unseen), "{}", checked.text);
    }
}

/// The server that has to wait is the one whose neighbour is away.
#[tokio::test]
async fn a_restart_is_waited_for() {
    let cluster = Cluster::builder(newest()).nodes(3).jetstream(true).start().await.unwrap();
    let client = cluster.client(Account::App, 0).await.unwrap();
    let make = client.request("$JS.API.STREAM.CREATE.S", r#"{"name":"S","num_replicas":3}"#.into());
    make.await.unwrap();
    let mut arguments: Vec<String> =
        ["restart", "--server=n1", "--wait=3s", "--no-discovery"].map(str::to_owned).into();
    arguments.extend(cluster.monitor_urls());
    let checked = check(&arguments).await;
    // It started just now, so the answer cannot be yes within the time.
    assert_eq!(checked.code, 4, "{}{}", checked.text, checked.errors);
    assert!(checked.errors.contains("waiting: n1: "), "{}", checked.errors);
    assert!(
        checked.text.contains("  n1  ") && !checked.text.contains("  n2  "),
        "{}",
        checked.text
    );
}

/// A recorded server becomes free to go while somebody waits for it.
#[tokio::test]
async fn a_wait_ends_with_the_reason() {
    let mut servers = servers("2.15.1/slow-consumer/during");
    let recordings = Recording::servers(&Path::new(FIXTURES).join("2.15.1/slow-consumer/during"));
    servers[2].1.play(Recording::Refuses).await;
    let mut arguments: Vec<String> =
        ["restart", "--server=n1", "--wait=60s", "--no-discovery"].map(str::to_owned).into();
    arguments.extend(servers.iter().map(|(_, server)| server.url()));
    let waiting = tokio::spawn(async move { check(&arguments).await });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!waiting.is_finished());
    let name = servers[2].0.clone();
    servers[2].1.play(older(recordings[&name].clone())).await;
    let checked = waiting.await.unwrap();
    assert_eq!(checked.code, 0, "{}{}", checked.text, checked.errors);
    assert!(checked.errors.contains("another server is down"), "{}", checked.errors);
}
