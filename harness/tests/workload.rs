//! The workload on the oldest and the newest version, or on the one in `HARNESS_TEST_VERSION`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may panic, and says what it skips"
)]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use nats_harness::workload::{ConsumerMade, Plan, StreamMade, Workload, fill_store};
use nats_harness::{Cluster, Error, newest, oldest};

#[tokio::test]
async fn oldest_version() {
    three_servers(oldest()).await;
}

#[tokio::test]
async fn newest_version() {
    let version = std::env::var("HARNESS_TEST_VERSION").unwrap_or_else(|_| newest().to_owned());
    three_servers(&version).await;
}

async fn three_servers(version: &str) {
    let builder = Cluster::builder(version).nodes(3).jetstream(true).accounts(true);
    let cluster = builder.start().await.unwrap();
    let plan = Plan { replicas: 3 };
    let mut workload = Workload::make(&cluster, plan).await.unwrap();
    let made = settled(&workload).await;

    let names: Vec<&str> = made.iter().map(|stream| stream.name.as_str()).collect();
    let app =
        ["AGG", "EVENTS", "INTEREST", "KV_settings", "LIMITED", "ORDERS", "ORDERS_MIRROR", "WORK"];
    assert_eq!(names, [&app[..], &["ALERTS", "METRICS"]].concat());
    let orders = stream(&made, "ORDERS");
    assert_eq!((orders.replicas, orders.memory, orders.messages), (3, false, 200));
    assert_eq!(orders.metadata.is_empty(), !cluster.version_is_at_least(2, 10));
    let mirror = stream(&made, "ORDERS_MIRROR");
    assert_eq!(mirror.mirror.as_deref(), Some("ORDERS"));
    assert_eq!(mirror.last_sequence, orders.last_sequence);
    assert!(stream(&made, "LIMITED").messages < 48, "it is to be full");
    let proc = consumer(orders, "proc");
    assert_eq!((proc.ack_pending, proc.redelivered), (6, 2));
    assert_eq!(consumer(orders, "push_bound").push_bound, Some(true));
    assert_eq!(consumer(orders, "push_unbound").push_bound, Some(false));
    assert!(!consumer(orders, "browse").durable);

    drop(Workload::make(&cluster, plan).await.unwrap());
    assert_eq!(settled(&workload).await, made, "making it again changes nothing");

    // The traffic goes on through the loss of a server, and one of its streams may be out with it.
    workload.start_traffic();
    cluster.node(0).kill().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.node(0).start().await.unwrap();
    if cluster.version_is_at_least(2, 10) {
        cluster.wait_ready().await.unwrap();
    }
    let mut later = workload.describe().await.unwrap();
    for name in ["ORDERS", "METRICS"] {
        let end = Instant::now() + Duration::from_secs(20);
        let before = stream(&made, name).last_sequence;
        while stream(&later, name).last_sequence <= before && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(500)).await;
            later = workload.describe().await.unwrap();
        }
        assert!(stream(&later, name).last_sequence > before, "{name} does not grow");
    }
    workload.stop_traffic();
}

/// Numbers take a moment to come to rest: acknowledgements, copies between streams.
async fn settled(workload: &Workload) -> Vec<StreamMade> {
    let mut before = workload.describe().await.unwrap();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let now = workload.describe().await.unwrap();
        if now == before {
            break;
        }
        before = now;
    }
    before
}

#[tokio::test]
async fn one_server_without_accounts() {
    let cluster = Cluster::builder(newest()).jetstream(true).start().await.unwrap();
    let workload = Workload::make(&cluster, Plan { replicas: 1 }).await.unwrap();
    let made = workload.describe().await.unwrap();
    let accounts: HashSet<&str> = made.iter().map(|stream| stream.account.as_str()).collect();
    assert_eq!((made.len(), accounts), (10, HashSet::from(["$G"])));
    assert!(made.iter().all(|stream| stream.replicas == 1));
}

#[tokio::test]
async fn a_full_store() {
    let builder = Cluster::builder(newest()).nodes(3).jetstream(true).store_size(0, 12 << 20);
    let cluster = match builder.start().await {
        Err(Error::NamespacesUnavailable { reason }) => {
            return nats_harness::leave_out(&format!("mount namespaces, refused here: {reason}"));
        }
        started => started.unwrap(),
    };
    let filled = fill_store(&cluster, 24 << 20).await.unwrap();
    assert!(filled.bytes >= 8 << 20, "{filled:?}");
    let full = cluster.node(0);
    assert_ne!(full.get("/healthz").await.unwrap().status, 200);

    full.set_store_size(Some(128 << 20));
    full.restart().await.unwrap();
    cluster.wait_ready().await.unwrap();
}

fn stream<'a>(made: &'a [StreamMade], name: &str) -> &'a StreamMade {
    made.iter().find(|stream| stream.name == name).unwrap()
}

fn consumer<'a>(stream: &'a StreamMade, name: &str) -> &'a ConsumerMade {
    stream.consumers.iter().find(|consumer| consumer.name == name).unwrap()
}
