//! Asks the exporter's program whether a server may be stopped.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Cluster, Error, Result};

/// Every server of these clusters has just been started, so this reason would hide all others.
const LEFT_OUT: &str = "recent_restart";

/// What is said of a server, the reason `recent_restart` left out of account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judged {
    /// It may be stopped.
    Safe,
    /// It should not be stopped.
    Unsafe,
    /// It cannot be told.
    Unknown,
}

impl Judged {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Unsafe => "unsafe",
            Self::Unknown => "unknown",
        }
    }
}

/// What the exporter said of one server.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) verdict: Judged,
    pub(super) reasons: BTreeSet<String>,
    pub(super) unseen: Vec<String>,
    /// The whole report.
    pub(super) raw: String,
}

/// Runs one check of all servers. It is bounded in time by the exporter's own limit for a scrape.
pub(super) async fn ask(exporter: &Path, cluster: &Cluster, server: &str) -> Result<Said> {
    let mut command = Command::new(exporter);
    command.args(["check", "--output", "json", "--no-discovery"]);
    for node in cluster.nodes() {
        command.arg(format!("{},{}", node.name(), node.monitor_url()));
    }
    command.stdin(Stdio::null());
    let failed =
        |reason: String| Error::Client { action: "run nats-exporter check".into(), reason };
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
    let raw = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: Value = serde_json::from_str(&raw).map_err(|error| {
        failed(format!("{error}; it wrote {}", String::from_utf8_lossy(&output.stderr).trim()))
    })?;
    let (unseen, reasons) = find(&report, server)
        .ok_or_else(|| failed(format!("nothing is said of {server} in {raw}")))?;
    let verdict = match (reasons.is_empty(), unseen.is_empty()) {
        (false, _) => Judged::Unsafe,
        (true, false) => Judged::Unknown,
        (true, true) => Judged::Safe,
    };
    Ok(Said { verdict, reasons, unseen, raw })
}

/// What was not seen, and the reasons against stopping the server. A server that does not answer has no other name
/// than its target's.
fn find(report: &Value, server: &str) -> Option<(Vec<String>, BTreeSet<String>)> {
    let clusters = report["clusters"].as_array()?;
    clusters.iter().find_map(|cluster| {
        let mut servers = cluster["servers"].as_array()?.iter();
        let found = servers.find(|found| found["target"] == server)?;
        let unseen = strings(cluster["unseen"].as_array()?.iter());
        let reasons = found["restart"]["reasons"].as_array()?;
        let reasons = strings::<BTreeSet<String>>(reasons.iter().map(|reason| &reason["reason"]));
        Some((unseen, reasons.into_iter().filter(|reason| reason != LEFT_OUT).collect()))
    })
}

fn strings<'v, C: FromIterator<String>>(values: impl Iterator<Item = &'v Value>) -> C {
    values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
}
