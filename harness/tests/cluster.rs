//! The harness itself: what it starts, breaks and leaves behind. With the newest version, or the one in
//! `HARNESS_TEST_VERSION`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may panic, and says what it skips"
)]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nats_harness::monitor::{Fault, Question};
use nats_harness::{Account, Cluster, Error, MonitorGate, MonitorTls, Node, newest};

fn version() -> String {
    std::env::var("HARNESS_TEST_VERSION").unwrap_or_else(|_| newest().to_owned())
}

/// A panic while a cluster runs takes the same way as this drop.
#[tokio::test]
async fn three_servers_and_faults() {
    let cluster = Cluster::builder(&version()).nodes(3).jetstream(true).start().await.unwrap();
    assert_eq!(cluster.nodes().len(), 3);
    let leader = cluster.meta_leader().await.expect("a ready cluster has a meta leader");
    let other = cluster.nodes().iter().find(|node| node.index() != leader.index()).unwrap();

    other.freeze().await.unwrap();
    assert!(other.is_alive());
    assert!(matches!(other.get("/varz").await, Err(Error::Monitor { .. })));
    other.thaw().await.unwrap();
    assert_eq!(other.get("/varz").await.unwrap().status, 200);

    let port = other.monitor_url();
    other.kill().await.unwrap();
    assert!(!other.is_alive());
    assert!(matches!(other.freeze().await, Err(Error::NotRunning { .. })));
    other.start().await.unwrap();
    assert!(matches!(other.start().await, Err(Error::AlreadyRunning { .. })));
    assert_eq!(other.monitor_url(), port);
    cluster.wait_ready().await.unwrap();

    other.rename_and_restart("renamed").await.unwrap();
    cluster.wait_ready().await.unwrap();
    assert_eq!(other.json("/varz").await.unwrap()["server_name"], "renamed");
    assert_eq!(cluster.by_name("renamed").unwrap().index(), other.index());

    let pids: Vec<u32> = cluster.nodes().iter().filter_map(nats_harness::Node::pid).collect();
    assert_eq!(pids.len(), 3);
    let dir = cluster.dir().to_owned();
    drop(cluster);
    assert!(!dir.exists());
    assert!(pids.iter().all(|pid| !is_there(*pid)));
}

/// The other servers whose routes a server has.
async fn peers(node: &Node) -> usize {
    let routes = node.json("/routez").await.unwrap();
    let routes = routes["routes"].as_array().into_iter().flatten();
    routes.filter_map(|route| route["remote_id"].as_str()).collect::<BTreeSet<_>>().len()
}

#[tokio::test]
async fn a_server_that_is_cut_off_has_no_routes_until_it_is_let_in() {
    let cluster = Cluster::builder(&version()).nodes(3).gates(true).start().await.unwrap();
    cluster.cut_off(1, true);
    let mut left = 2;
    for _ in 0..100 {
        left = peers(cluster.node(1)).await;
        if left == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(left, 0);
    // Servers try again every second or so, and tell each other their addresses.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(peers(cluster.node(1)).await, 0);
    assert_eq!(peers(cluster.node(0)).await, 1);
    cluster.cut_off(1, false);
    cluster.wait_ready().await.unwrap();
    assert_eq!(peers(cluster.node(1)).await, 2);
}

#[tokio::test]
async fn jsz_is_held_back_and_nothing_else() {
    let cluster = Cluster::builder(&version()).jetstream(true).start().await.unwrap();
    let gate = MonitorGate::to(&cluster.node(0).monitor_url()).await.unwrap();
    let http =
        reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build().unwrap();
    let status = async |path: &str| {
        let answer = http.get(gate.url() + path).send().await;
        answer.map(|answer| answer.status().as_u16()).map_err(|error| error.is_timeout())
    };
    assert_eq!(status("/jsz?streams=true").await, Ok(200));
    gate.spoil(Question::Jsz, Fault::Stall);
    assert_eq!(status("/jsz").await, Err(true));
    assert_eq!(status("/varz").await, Ok(200));
    assert_eq!(status("/no-such-page").await, Ok(404));
    gate.heal();
    assert_eq!(status("/jsz").await, Ok(200));
}

#[tokio::test]
async fn lame_duck_ends_by_itself() {
    let cluster = Cluster::builder(&version()).start().await.unwrap();
    let node = cluster.node(0);
    node.lame_duck().await.unwrap();
    let mut alive = 0;
    while node.is_alive() && alive < 400 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        alive += 1;
    }
    assert!(!node.is_alive(), "{}", node.log());
    assert!(node.log().contains("lame duck"));
}

#[tokio::test]
async fn a_bad_configuration_is_told() {
    let error =
        Cluster::builder(&version()).extra_config("no_such_option: 1").start().await.unwrap_err();
    let Error::Exited { log, .. } = error else { panic!("{error}") };
    assert!(log.contains("no_such_option"), "{log}");
}

#[tokio::test]
async fn accounts_names_and_base_path() {
    let cluster = Cluster::builder(&version())
        .accounts(true)
        .jetstream(true)
        .server_names(false)
        .http_base_path("/nats/")
        .start()
        .await
        .unwrap();
    let node = cluster.node(0);
    assert!(node.monitor_url().ends_with("/nats"));
    let varz = node.json("/varz").await.unwrap();
    assert_eq!(varz["server_id"], node.name());
    for account in [Account::Sys, Account::App, Account::Aux] {
        cluster.client(account, 0).await.unwrap().flush().await.unwrap();
    }
    node.restart().await.unwrap();
    assert_ne!(varz["server_id"], node.name());
}

#[tokio::test]
async fn a_limited_store_leaves_no_mount() {
    let started = Cluster::builder(&version()).jetstream(true).store_size(0, 8 << 20).start().await;
    let cluster = match started {
        Err(Error::NamespacesUnavailable { reason }) => {
            return nats_harness::leave_out(&format!("mount namespaces, refused here: {reason}"));
        }
        started => started.unwrap(),
    };
    let node = cluster.node(0);
    let mounts = |pid: &str| fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let store = node.store_dir();
    let store = store.to_str().unwrap();
    let inside = mounts(&node.pid().unwrap().to_string());
    assert!(inside.lines().any(|line| line.contains(store) && line.contains("size=8192k")));
    assert!(!mounts("self").contains(store));

    node.set_store_size(Some(16 << 20));
    node.restart().await.unwrap();
    let inside = mounts(&node.pid().unwrap().to_string());
    assert!(inside.lines().any(|line| line.contains(store) && line.contains("size=16384k")));
}

#[tokio::test]
async fn monitoring_over_https() {
    let dir = tempfile::tempdir().unwrap();
    let files =
        MonitorTls { certificate: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    let made = Command::new("openssl")
        .args("req -x509 -nodes -newkey rsa:2048 -days 2 -subj /CN=localhost".split(' '))
        .args([OsStr::new("-keyout"), files.key.as_os_str()])
        .args([OsStr::new("-out"), files.certificate.as_os_str()])
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        return nats_harness::leave_out("openssl, to make a certificate");
    }
    let cluster = Cluster::builder(&version()).nodes(2).monitor_tls(files).start().await.unwrap();
    assert!(cluster.node(0).monitor_url().starts_with("https://"));
    cluster.client(Account::App, 1).await.unwrap().flush().await.unwrap();
}

fn is_there(pid: u32) -> bool {
    PathBuf::from(format!("/proc/{pid}")).exists()
}
