//! Runs `nats-exporter check` and reads what it reports.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Error, Result};

/// Every server of a cluster of the harness has just been started, so this reason would hide all others.
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

/// What the exporter said of all servers.
#[derive(Debug)]
pub(crate) struct Report {
    /// The document as it was written.
    pub(crate) raw: String,
    value: Value,
}

/// What the exporter said of one server.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) verdict: Judged,
    pub(crate) reasons: BTreeSet<String>,
    pub(crate) unseen: Vec<String>,
}

/// Runs one check of these targets and of no others. It is bounded in time by the exporter's own limit for a scrape.
pub(crate) async fn ask(exporter: &Path, targets: Vec<String>) -> Result<Report> {
    let mut command = Command::new(exporter);
    command.args(["check", "--output", "json", "--no-discovery"]).args(targets);
    command.stdin(Stdio::null());
    let failed =
        |reason: String| Error::Client { action: "run nats-exporter check".into(), reason };
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
    let raw = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = serde_json::from_str(&raw).map_err(|error| {
        failed(format!("{error}; it wrote {}", String::from_utf8_lossy(&output.stderr).trim()))
    })?;
    Ok(Report { raw, value })
}

impl Report {
    /// What is said of the server that the target of this name is.
    pub(crate) fn of(&self, target: &str) -> Result<Said> {
        self.find(target).ok_or_else(|| Error::Client {
            action: "read the report of nats-exporter check".into(),
            reason: format!("nothing is said of {target} in {}", self.raw),
        })
    }

    /// A server that does not answer has no other name than its target's.
    fn find(&self, target: &str) -> Option<Said> {
        let clusters = self.value["clusters"].as_array()?;
        clusters.iter().find_map(|cluster| {
            let mut servers = cluster["servers"].as_array()?.iter();
            let restart = &servers.find(|found| found["target"] == target)?["restart"];
            let unseen: Vec<_> = strings(cluster["unseen"].as_array()?.iter());
            let reasons = restart["reasons"].as_array()?.iter().map(|reason| &reason["reason"]);
            let mut reasons: BTreeSet<_> = strings(reasons);
            reasons.remove(LEFT_OUT);
            let verdict = match restart["answer"].as_str()? {
                "unsafe" if !reasons.is_empty() => Judged::Unsafe,
                "unsafe" if unseen.is_empty() => Judged::Safe,
                "safe" => Judged::Safe,
                _ => Judged::Unknown,
            };
            Some(Said { verdict, reasons, unseen })
        })
    }
}

fn strings<'v, C: FromIterator<String>>(values: impl Iterator<Item = &'v Value>) -> C {
    values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
}
