//! What came of drills, for people.

use std::fmt::Write as _;

use super::Outcome;
use crate::rules::Scale;

/// The verdict in words.
#[must_use]
pub fn verdict(verdict: Option<bool>) -> &'static str {
    match verdict {
        Some(true) => "safe",
        Some(false) => "do not restart",
        None => "cannot be told",
    }
}

/// One line about an outcome, and one for each problem.
#[must_use]
pub fn line(outcome: &Outcome) -> String {
    let mut text = format!(
        "{} {}: {}; {} ({}); over after {} s",
        outcome.version,
        outcome.drill.name,
        calls(outcome),
        verdict(outcome.verdict),
        blockers(outcome),
        outcome.over_after.as_secs()
    );
    for problem in outcome.problems.iter().chain(&outcome.late) {
        let _ = write!(text, "\n    PROBLEM: {problem}");
    }
    text
}

/// The whole of `docs/drills.md`. `tools` says which programs ran.
#[must_use]
pub fn document(outcomes: &[Outcome], tools: &str) -> String {
    let Scale { least, divisor } = Scale::default();
    let mut text = format!(
        "# Drills\n\n\
         Written by `make drills`; do not edit.\n\n\
         Each row is a real cluster of three servers with JetStream, with a producer and a worker on a stream of \
         three replicas, watched by the exporter, a real Prometheus with the shipped rules, and a real Alertmanager \
         with the shipped example. Then something is broken, and who is called is compared with who should be. \
         `page-` is a call in the night, `ticket-` one for the day; platform owns the base tier, data the \
         persistence tier. A call that is not expected fails the drill, whatever it says; and so does a restart \
         verdict of the rules on any server that is not the one of `nats-exporter check`.\n\n\
         So that nobody waits for hours, every duration in the rules and in Alertmanager became {} s and a {}th of \
         itself: one minute is 23 s here, five are 35 s, and 15 are 65 s. The servers take their own time.\n\n\
         {tools}\n",
        least.as_secs(),
        divisor,
    );
    let mut versions: Vec<&str> = outcomes.iter().map(|outcome| &*outcome.version).collect();
    versions.dedup();
    for version in versions {
        let _ = write!(
            text,
            "\n## nats-server {version}\n\n\
             | what is broken | who was called, after how many seconds | restart? | reasons | base tier | over after | as expected |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n"
        );
        for outcome in outcomes.iter().filter(|outcome| outcome.version == version) {
            let base =
                if outcome.drill.base_is_fine { "ok throughout" } else { "is the fault's matter" };
            let problems: Vec<&str> =
                outcome.problems.iter().chain(&outcome.late).map(String::as_str).collect();
            let result = if problems.is_empty() {
                "yes".to_owned()
            } else {
                format!("**no**: {}", problems.join("; "))
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {base} | {} s | {result} |",
                outcome.drill.what,
                calls(outcome),
                verdict(outcome.verdict),
                blockers(outcome),
                outcome.over_after.as_secs(),
            );
        }
    }
    text
}

fn calls(outcome: &Outcome) -> String {
    let calls = outcome
        .calls
        .iter()
        .map(|call| format!("{} → {} {} s", call.alert, call.receiver, call.after.as_secs()));
    let calls: Vec<_> = calls.collect();
    if calls.is_empty() { "nobody".to_owned() } else { calls.join(", ") }
}

fn blockers(outcome: &Outcome) -> String {
    let blockers: Vec<&str> = outcome.blockers.iter().map(String::as_str).collect();
    if blockers.is_empty() { "none".to_owned() } else { blockers.join(", ") }
}
