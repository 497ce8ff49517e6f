//! The programs for measurements at a large scale, at a small one.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use nats_harness::{Cluster, Process, newest};
use serde_json::{Value, json};
use tempfile::TempDir;

#[tokio::test]
async fn dataset_is_made_once() {
    let cluster = Cluster::builder(newest()).jetstream(true).start().await.unwrap();
    let run = async || {
        let url = cluster.node(0).client_url();
        let arguments =
            ["--server", &url, "--streams", "20", "--consumers", "3"].map(str::to_owned);
        let output = tokio::task::spawn_blocking(move || dataset(&arguments)).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut made: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(made["seconds"].take().is_f64());
        assert_eq!(made, json!({"streams": 20, "consumers": 60, "seconds": null}));
        described(&cluster.node(0).json("/jsz?consumers=true&config=true").await.unwrap())
    };
    let made = run().await;
    assert_eq!(made.len(), 20);
    assert_eq!(
        made[2],
        json!([
            "ORDERS-00003",
            100_000,
            3,
            [["worker-01", 2, 1, 1, 1], ["worker-02", 2, 1, 1, 1], ["worker-03", 2, 1, 1, 1]]
        ])
    );
    assert_eq!(run().await, made, "making it again changes nothing");
}

#[test]
fn dataset_tells_why_it_failed() {
    let output = dataset(&["--server", "nats://user:secret@127.0.0.1:1"].map(str::to_owned));
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("connect to 127.0.0.1:1") && !text.contains("secret"), "{text}");
}

fn dataset(arguments: &[String]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dataset")).args(arguments).output().unwrap()
}

/// The names and numbers of what is there, sorted by name.
fn described(answer: &Value) -> Vec<Value> {
    let streams = answer["account_details"][0]["stream_detail"].as_array().unwrap();
    let mut streams: Vec<_> = streams
        .iter()
        .map(|stream| {
            let consumers = stream["consumer_detail"].as_array().unwrap();
            let mut consumers: Vec<_> = consumers
                .iter()
                .map(|consumer| {
                    json!([
                        consumer["name"],
                        consumer["delivered"]["consumer_seq"],
                        consumer["ack_floor"]["consumer_seq"],
                        consumer["num_ack_pending"],
                        consumer["num_pending"],
                    ])
                })
                .collect();
            consumers.sort_by_key(Value::to_string);
            let state = &stream["state"];
            json!([stream["name"], stream["config"]["max_msgs"], state["messages"], consumers])
        })
        .collect();
    streams.sort_by_key(Value::to_string);
    streams
}

#[tokio::test]
async fn synthetic_servers() {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("log");
    let program = Path::new(env!("CARGO_BIN_EXE_synthetic"));
    let arguments =
        "--streams 40 --consumers 20 --servers 3 --replicas 3 --delay-ms 300".split(' ');
    let _process = Process::start(program, arguments, &log).unwrap();
    let urls = urls(&log).await;
    assert_eq!(urls.len(), 3);

    let path = "/jsz?consumers=true";
    let url = format!("{}{path}", urls[0]);
    let (one, two) = tokio::join!(get(&url), get(&url));
    for answer in [&one, &two] {
        assert_eq!(answer["account_details"][0]["stream_detail"].as_array().unwrap().len(), 40);
    }
    assert_ne!(one["api"]["total"], two["api"]["total"], "each detailed answer is a tick");
    assert_eq!(get(&format!("{}/varz", urls[2])).await["server_name"], "n3");
    assert_eq!(
        get(&format!("{}/requests", urls[0])).await,
        json!({
            "requests": {path: 2},
            "most_in_flight": {path: 2},
            "most_detailed_in_flight": 2,
        })
    );
    assert_eq!(get(&format!("{}/requests", urls[2])).await["requests"], json!({"/varz": 1}));

    let leader = async || get(&format!("{}/jsz", urls[1])).await["meta_cluster"]["leader"].clone();
    assert_eq!(leader().await, "n1");
    let answer = client().post(format!("{}/elect", urls[0])).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(leader().await, "n2");
}

/// The program says them when it listens.
async fn urls(log: &Path) -> Vec<String> {
    for _ in 0..200 {
        let text = std::fs::read_to_string(log).unwrap();
        if let Some((line, _)) = text.split_once('\n') {
            let ready: Value = serde_json::from_str(line).unwrap();
            let urls = ready["urls"].as_array().unwrap();
            return urls.iter().map(|url| url.as_str().unwrap().to_owned()).collect();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not ready: {}", std::fs::read_to_string(log).unwrap());
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn get(url: &str) -> Value {
    let mut response = client().get(url).send().await.unwrap();
    assert_eq!(response.status(), 200, "{url}");
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).unwrap()
}
