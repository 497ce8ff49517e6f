//! What a Prometheus kept of a run.

use std::collections::BTreeSet;
use std::time::Duration;

use super::judge::{BASE_JOB, Findings, Judge, text};
use super::{Trend, now};
use crate::{Prometheus, Result, Samples};

pub(super) const PERSISTENCE_JOB: &str = "nats-exporter-persistence";
const QUARTERS: usize = 4;

/// All samples since a moment, in seconds since the epoch.
#[derive(Debug)]
pub(super) struct History<'h> {
    pub(super) prometheus: &'h Prometheus,
    pub(super) since: f64,
}

impl History<'_> {
    /// What the judge finds in the series of the exporter and of these servers.
    pub(super) async fn judged(&self, judge: &Judge<'_>, servers: &[String]) -> Result<Findings> {
        let mut findings = Findings::default();
        // The exporter is never away.
        for up in self.samples(&format!("up{{job={BASE_JOB:?}}}")).await? {
            judge.continuity(&up, &[], &mut findings);
        }
        for server in servers {
            let selector = format!("{{server={server:?},job=~\"{BASE_JOB}|{PERSISTENCE_JOB}\"}}");
            judge.server(server, &self.samples(&selector).await?, &mut findings);
        }
        Ok(findings)
    }

    /// Something of the exporter's process, in quarters, from the end of the warm-up on.
    pub(super) async fn trend(&self, metric: &str, warm_up: Duration) -> Result<Option<Trend>> {
        let found = self.samples(&format!("{metric}{{job={BASE_JOB:?}}}")).await?;
        let warm = self.since + warm_up.as_secs_f64();
        let samples = found.iter().flat_map(|(_, samples)| samples);
        let values: Vec<f64> =
            samples.filter(|(at, _)| *at >= warm).map(|(_, value)| *value).collect();
        Ok(Trend::of(&values, QUARTERS))
    }

    /// The names of the alerts that fired.
    pub(super) async fn alerts(&self) -> Result<BTreeSet<String>> {
        let alerts = self.samples("ALERTS{alertstate=\"firing\"}").await?;
        Ok(alerts.iter().map(|(labels, _)| text(labels, "alertname").to_owned()).collect())
    }

    async fn samples(&self, selector: &str) -> Result<Vec<Samples>> {
        self.prometheus.samples(selector, Duration::from_secs_f64(now() - self.since)).await
    }
}
