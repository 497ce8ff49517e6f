//! How the page looks in a browser, in every state that people will see it in.
//!
//! Not a part of `make test`, which needs no browser: `make pictures` runs it, and writes the two
//! pictures of the documentation.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nats_harness::monitor::{Fault, Question};
use nats_harness::workload::{Flow, fill_store};
use nats_harness::{Cluster, Error, MonitorGate, leave_out, repository};
use tempfile::TempDir;

use super::says;
use crate::real_server::exporter_of;
use crate::support::exporter::Exporter;
use crate::support::model::Model;
use crate::support::monitor::Monitor;

/// The newest whose JetStream always switches itself off when its disk is full.
const VERSION: &str = "2.12.8";
/// A restart is safe when every server has run for five minutes.
const OLD_ENOUGH: Duration = Duration::from_secs(310);

/// Has the page drawn on wide and narrow screens, by day and by night. That fails when something
/// is cut off, cannot be read, or is not as the page's own policy wants it.
async fn draw(exporter: &Exporter, state: &str, to: &Path) {
    let script = repository().join("tools/look");
    let (url, prefix) = (exporter.url().to_owned(), to.join(state));
    let drawn = tokio::task::spawn_blocking(move || {
        Command::new(script).arg(format!("{url}/?hold")).arg(prefix).output()
    });
    let drawn = drawn.await.unwrap().expect("the script starts");
    assert!(drawn.status.success(), "{state}: {}", String::from_utf8_lossy(&drawn.stderr));
}

fn folder() -> (PathBuf, Option<TempDir>) {
    if let Some(folder) = std::env::var_os("PICTURES") {
        return (folder.into(), None);
    }
    let folder = tempfile::tempdir().unwrap();
    (folder.path().to_owned(), Some(folder))
}

#[tokio::test]
#[ignore = "needs a browser; make pictures runs it"]
async fn no_name_is_too_long_for_a_telephone() {
    let (to, _folder) = folder();
    let long = "no-blank-in-it".repeat(20);
    let model = Model {
        name: format!("שרת <b>{long}"),
        cluster: long.clone(),
        peer: long.to_uppercase(),
        streams: vec![long; 3],
        ..Model::default()
    };
    let monitor = Monitor::start(model).await;
    let exporter = Exporter::start(&[monitor.url()]);
    says(&exporter, &["was not seen", "its servers"]).await;
    draw(&exporter, "names", &to).await;
}

#[tokio::test]
#[ignore = "needs a browser and six minutes; make pictures runs it"]
async fn the_page_can_be_read_in_every_state() {
    let (to, _folder) = folder();
    let builder = Cluster::builder(VERSION).nodes(3).jetstream(true).accounts(true);
    let cluster = match builder.store_size(1, 12 << 20).start().await {
        Err(Error::NamespacesUnavailable { reason }) => {
            return leave_out(&format!("mount namespaces, refused here: {reason}"));
        }
        started => started.unwrap(),
    };
    // Every stream has three replicas, so that a server can be spared.
    let _flow = Flow::start(&cluster).await.unwrap();
    let gate = MonitorGate::to(&cluster.node(0).monitor_url()).await.unwrap();
    let mut targets = cluster.monitor_urls();
    targets[0] = gate.url();
    let behind_gate = Exporter::start(&targets);
    let exporter = exporter_of(&cluster, &[]);
    says(&exporter, &["OK on 3 of 3", "OK on 3 of 3", "last five minutes"]).await;
    draw(&exporter, "new", &to).await;
    tokio::time::sleep(OLD_ENOUGH).await;
    says(&exporter, &["SAFE - one at a time"]).await;
    draw(&exporter, "healthy", &to).await;

    gate.spoil(Question::Jsz, Fault::Stall);
    says(&behind_gate, &["OK on 3 of 3", "UNKNOWN on 1 of 3"]).await;
    draw(&behind_gate, "unknown", &to).await;

    for bytes in [24 << 20, 4 << 20, 4 << 20] {
        fill_store(&cluster, bytes).await.unwrap();
    }
    says(&exporter, &["OK on 3 of 3", "DOWN on 1 of 3", "2 of 3 current"]).await;
    draw(&exporter, "switched-off", &to).await;

    cluster.node(2).kill().await.unwrap();
    says(&exporter, &["DOWN on 1 of 3", "SAFE TO START"]).await;
    draw(&exporter, "both", &to).await;
    drop(cluster);
    says(&exporter, &["No server answers"]).await;
    draw(&exporter, "all-down", &to).await;
}
