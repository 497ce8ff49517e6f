//! What came of the rounds, for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::{ELECTION, Judged, Outcome, State, Trial};

/// A line for the outcome, and one for each stop.
#[must_use]
pub fn lines(outcome: &Outcome) -> String {
    let mut text = format!("{} {}:", outcome.version, outcome.state.name());
    for trial in &outcome.trials {
        let how = if trial.killed { "killed" } else { "stopped" };
        let list = |names: Vec<&String>| {
            let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
            if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
        };
        let _ = write!(
            text,
            "\n    {} {}: {} ({}); lost {}; the rest after {:.1} s",
            trial.server,
            how,
            trial.verdict.as_str(),
            list(trial.reasons.iter().chain(&trial.unseen).collect()),
            list(trial.lost.iter().collect()),
            trial.gap.as_secs_f64(),
        );
        if !trial.failed_before.is_empty() {
            let _ = write!(text, "; before failed {}", list(trial.failed_before.iter().collect()));
        }
        if !trial.settled {
            text.push_str("; the state was not reached in time");
        }
        if trial.is_wrong() {
            text.push_str("\n    PROBLEM: it was called safe");
        }
    }
    text
}

/// The whole of `docs/verdict.md`. `failed` are the rounds that could not be held, one sentence each.
#[must_use]
pub fn document(outcomes: &[Outcome], failed: &[String]) -> String {
    let mut text = format!(
        "# The restart verdict against reality\n\n\
         Written by `make verdicts`; do not edit.\n\n\
         Real clusters of five servers, with two streams of one replica, three of three and one of five (all in \
         files, four of them with a durable consumer), are brought into a state. Where the files are full, there is a \
         stream of three replicas in memory as well, so that there is something to lose. Then, for each server: \
         `nats-exporter check --output json` is asked about it, it is stopped (two of the five are killed, the \
         others end in good order), and a client of another server publishes to every stream with an acknowledgement, and makes \
         and deletes a stream (the meta API). What has not worked once within {} s, which is more than an election \
         takes, is lost. The time counts from the end of the process: what fails while a server ends in good order is \
         not measured. Then the server is started again, and the next one follows when the cluster is back in its \
         state.\n\n\
         What did not work before the stop does not count as lost by it, so the state with full files says something \
         only about the stream in memory and the meta API. The reason `recent_restart` (a server \
         started in the last five minutes) is left out of account, since it holds all the time in a test of minutes \
         and would hide all others. All else is as the exporter says it.\n\n\
         A \"safe\" with a loss fails the run. An \"unsafe\" without a loss was over-cautious: the verdict speaks \
         also about the next fault, so some of that is meant. An \"unknown\" is to be treated as a no.\n",
        ELECTION.as_secs()
    );
    let _ = write!(text, "\n{}\n", summary(outcomes));
    for sentence in failed {
        let _ = writeln!(text, "\n**Not held**: {sentence}");
    }
    let mut versions: Vec<&str> = outcomes.iter().map(|outcome| &*outcome.version).collect();
    versions.dedup();
    for version in versions {
        let _ = write!(
            text,
            "\n## nats-server {version}\n\n\
             | state | stops | safe | unsafe | unknown | lost after safe | lost after unsafe | lost after unknown | \
             over-cautious | longest gap after safe | as it should be |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        );
        let of_version = outcomes.iter().filter(|outcome| outcome.version == version);
        for outcome in of_version {
            text.push_str(&row(outcome.state, &outcome.trials.iter().collect::<Vec<_>>()));
        }
    }
    text + &reasons(outcomes) + &wrong(outcomes)
}

fn trials(outcomes: &[Outcome]) -> impl Iterator<Item = &Trial> {
    outcomes.iter().flat_map(|outcome| &outcome.trials)
}

fn summary(outcomes: &[Outcome]) -> String {
    let stops = trials(outcomes).count();
    let of = |verdict: Judged| trials(outcomes).filter(|t| t.verdict == verdict).count();
    let wrong = trials(outcomes).filter(|trial| trial.is_wrong()).count();
    let cautious = trials(outcomes).filter(|trial| trial.is_over_cautious()).count();
    let unsettled = trials(outcomes).filter(|trial| !trial.settled).count();
    format!(
        "In this run, of {stops} stops, {} were called safe, of which {wrong} lost writes; {} unsafe, of which \
         {cautious} lost nothing; and {} unknown. Before {unsettled} of the stops the cluster was not wholly back in \
         its state within half a minute, and the verdict on it was tried as it was.",
        of(Judged::Safe),
        of(Judged::Unsafe),
        of(Judged::Unknown)
    )
}

fn row(state: State, trials: &[&Trial]) -> String {
    let count = |verdict: Judged, lost: bool| {
        let matches = |t: &&&Trial| t.verdict == verdict && (!lost || !t.lost.is_empty());
        trials.iter().filter(matches).count()
    };
    let gaps = trials.iter().filter(|t| t.verdict == Judged::Safe).map(|t| t.gap);
    let gap: Option<Duration> = gaps.max();
    let wrong: Vec<&str> = trials.iter().filter(|t| t.is_wrong()).map(|t| &*t.server).collect();
    let result =
        if wrong.is_empty() { "yes".into() } else { format!("**no**: {}", wrong.join(", ")) };
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {result} |\n",
        state.what(),
        trials.len(),
        count(Judged::Safe, false),
        count(Judged::Unsafe, false),
        count(Judged::Unknown, false),
        count(Judged::Safe, true),
        count(Judged::Unsafe, true),
        count(Judged::Unknown, true),
        trials.iter().filter(|trial| trial.is_over_cautious()).count(),
        gap.map_or_else(|| "none".to_owned(), |gap| format!("{:.1} s", gap.as_secs_f64())),
    )
}

fn reasons(outcomes: &[Outcome]) -> String {
    /// How often a reason was given, and what came of it.
    #[derive(Default)]
    struct Times {
        with_loss: usize,
        over_cautious: usize,
        alone: usize,
    }
    let mut reasons: BTreeMap<&str, Times> = BTreeMap::new();
    for trial in trials(outcomes) {
        for reason in &trial.reasons {
            let times = reasons.entry(reason).or_default();
            times.with_loss += usize::from(!trial.lost.is_empty());
            times.over_cautious += usize::from(trial.lost.is_empty());
            times.alone += usize::from(trial.lost.is_empty() && trial.reasons.len() == 1);
        }
    }
    let mut text = "\n## Reasons\n\n\
         How often each was given before a stop that lost something, and before one that lost nothing; and how \
         often it was the only one of the latter. A reason of the cluster says that another server is not well, and \
         holds for the good servers as well.\n\n\
         | reason | with a loss | over-cautious | over-cautious and the only one |\n\
         | --- | --- | --- | --- |\n"
        .to_owned();
    for (reason, Times { with_loss, over_cautious, alone }) in reasons {
        let _ = writeln!(text, "| `{reason}` | {with_loss} | {over_cautious} | {alone} |");
    }
    text
}

/// Every "safe" that was wrong.
fn wrong(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        for trial in outcome.trials.iter().filter(|trial| trial.is_wrong()) {
            let lost: Vec<&str> = trial.lost.iter().map(String::as_str).collect();
            let _ = write!(
                text,
                "\n**Wrong**: nats-server {}, {}: {} was called safe, and {} took no writes any more.\n",
                outcome.version,
                outcome.state.name(),
                trial.server,
                lost.join(", ")
            );
        }
    }
    text
}
