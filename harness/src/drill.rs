//! Drills: a real cluster is broken on purpose, and whom a real Alertmanager calls is compared with whom it should.
//!
//! [`plan`] is the table of faults and expectations, `fault` does the damage, `stage` has what runs, and [`report`]
//! writes what came of it.

mod fault;
pub mod plan;
pub mod report;
mod stage;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::{Call, Result};
use plan::{Drill, Expected};
use stage::Stage;

/// Within this time everything is well before a fault, and again after it.
const CALM_LIMIT: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(500);
const WATCHDOG: &str = "NatsAlertingWatchdog";

/// What came of a drill.
#[derive(Debug)]
pub struct Outcome {
    /// The drill.
    pub drill: &'static Drill,
    /// The version of nats-server.
    pub version: String,
    /// Who was called for what, once each, and how long after the fault.
    pub calls: Vec<Seen>,
    /// The restart verdict of the cluster at the end of the fault; nothing when there was none.
    pub verdict: Option<bool>,
    /// The reasons against a restart then.
    pub blockers: BTreeSet<String>,
    /// How long after the repair no alert fired any more and the verdict was that a restart is safe.
    pub over_after: Duration,
    /// What was not as it should be, one sentence each.
    pub problems: Vec<String>,
    /// What came, but later than it should, one sentence each. That may be the fault of a busy machine.
    pub late: Vec<String>,
}

/// A call: an alert that arrived at a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The alert.
    pub alert: String,
    /// Who was called.
    pub receiver: String,
    /// How long after the fault.
    pub after: Duration,
}

impl Drill {
    /// Runs it against servers of this version, with the exporter's program `exporter`.
    ///
    /// What is not as expected is in the outcome; an error means that the drill could not be held.
    pub async fn run(&'static self, version: &str, exporter: &Path) -> Result<Outcome> {
        let mut stage = Stage::set(self, version, exporter).await?;
        stage.until_calm(CALM_LIMIT).await?;
        let before = stage.calls().len();
        let start = Instant::now();
        let victims = stage.inject(self.fault).await?;
        while start.elapsed() < self.observe {
            tokio::time::sleep(POLL).await;
        }
        let mut problems = Vec::new();
        let verdict = stage.verdict("").await?;
        let blockers = stage.blockers().await?;
        self.judge_verdict(&stage, verdict, &blockers, &victims, &mut problems).await?;
        problems.extend(stage.disputes(exporter).await?);
        if self.base_is_fine {
            problems.extend(stage.base_troubles(start.elapsed()).await?);
        }
        let repair = Instant::now();
        stage.heal(self.fault, &victims).await?;
        if let Err(error) = stage.until_calm(CALM_LIMIT).await {
            problems.push(format!("after the repair: {error}"));
        }
        let over_after = repair.elapsed();
        let calls = stage.calls();
        if !calls[..before].iter().any(|call| call.alert() == WATCHDOG) {
            problems.push("the watchdog did not arrive".to_owned());
        }
        let calls = seen(&calls[before..], start);
        let late = self.judge_calls(&calls, &mut problems);
        let version = version.to_owned();
        Ok(Outcome { drill: self, version, calls, verdict, blockers, over_after, problems, late })
    }

    /// What came late.
    fn judge_calls(&self, calls: &[Seen], problems: &mut Vec<String>) -> Vec<String> {
        let mut late = Vec::new();
        let find = |expected: &Expected| {
            calls.iter().find(|c| c.alert == expected.alert && c.receiver == expected.receiver)
        };
        for alternatives in self.must {
            let came: Vec<_> = alternatives.iter().filter_map(|e| Some((e, find(e)?))).collect();
            let names: Vec<_> =
                alternatives.iter().map(|e| format!("{} at {}", e.alert, e.receiver)).collect();
            let names = names.join(" or ");
            if came.is_empty() {
                problems.push(format!("{names} did not arrive"));
            } else if !came.iter().any(|(expected, seen)| seen.after <= expected.within) {
                let after = came.iter().map(|(_, seen)| seen.after.as_secs()).min();
                late.push(format!("{names} came late, after {} s", after.unwrap_or_default()));
            }
        }
        for call in calls {
            let is_meant =
                |alert: &str, receiver: &str| alert == call.alert && receiver == call.receiver;
            let must =
                self.must.iter().flat_map(|a| a.iter()).any(|e| is_meant(e.alert, e.receiver));
            let may = self.may.iter().any(|(alert, receiver)| is_meant(alert, receiver));
            if !must && !may {
                problems.push(format!(
                    "{} called {} after {} s, which is not expected",
                    call.alert,
                    call.receiver,
                    call.after.as_secs()
                ));
            }
        }
        late
    }

    async fn judge_verdict(
        &self,
        stage: &Stage,
        verdict: Option<bool>,
        blockers: &BTreeSet<String>,
        victims: &[usize],
        problems: &mut Vec<String>,
    ) -> Result<()> {
        if verdict != self.verdict {
            problems.push(format!(
                "the verdict is {}, not {}, for {blockers:?}",
                report::verdict(verdict),
                report::verdict(self.verdict)
            ));
        }
        if !self.reasons.is_empty() && !self.reasons.iter().any(|reason| blockers.contains(*reason))
        {
            problems.push(format!("the reasons are {blockers:?}, and none of {:?}", self.reasons));
        }
        for (index, name) in stage.servers() {
            let expected = if victims.contains(&index) { self.victims } else { self.others };
            let found = stage.verdict(&name).await?;
            if let Some(expected) = expected
                && found != Some(expected)
            {
                problems.push(format!(
                    "the verdict for {name} is {}, not {}",
                    report::verdict(found),
                    report::verdict(Some(expected))
                ));
            }
        }
        Ok(())
    }
}

/// The first call of each kind; the watchdog aside, which calls all the time.
fn seen(calls: &[Call], start: Instant) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    for call in calls.iter().filter(|call| call.firing && call.alert() != WATCHDOG) {
        let (alert, receiver) = (call.alert().to_owned(), call.receiver.clone());
        if !seen.iter().any(|s| s.alert == alert && s.receiver == receiver) {
            seen.push(Seen { alert, receiver, after: call.at.duration_since(start) });
        }
    }
    seen
}
