//! What came of the matrix, for people.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::leak::{self, Usage};
use super::{Cell, Limits, Outcome, Place};

/// One line for each cell that is not as it should be, or one for all.
#[must_use]
pub fn lines(outcome: &Outcome) -> String {
    let mut text = format!("{}, {} targets:", outcome.run.place.what(), outcome.run.targets);
    let good = outcome.cells.iter().filter(|cell| cell.problems.is_empty()).count();
    let _ = write!(text, " {good} of {} as they should be", outcome.cells.len());
    for cell in &outcome.cells {
        for problem in cell.problems.iter().take(5) {
            let _ = write!(text, "\n    PROBLEM: {}: {problem}", cell.what);
        }
    }
    text
}

/// What one finds of the leak check.
#[must_use]
pub fn leak_lines(outcome: &leak::Outcome) -> String {
    let mut text = format!("leak check: {:?}, then {:?}", outcome.before, outcome.after);
    for problem in &outcome.problems {
        let _ = write!(text, "\n    PROBLEM: {problem}");
    }
    text
}

/// The whole of `docs/faults.md`. `failed` are the runs that could not be held, one sentence each.
#[must_use]
pub fn document(
    version: &str,
    outcomes: &[Outcome],
    leak: Option<&leak::Outcome>,
    failed: &[String],
) -> String {
    let Limits { announced, base, persistence, .. } = Limits::DEFAULT;
    let mut text = format!(
        "# The matrix of faults\n\n\
         Written by `make faults`; do not edit.\n\n\
         Everything that the exporter asks a server is broken in every way, by a gate in front of a real nats-server \
         {version} of a cluster of ten. Each fault is tried with one target, which is at fault, and with ten, of which \
         the other nine are well. The exporter runs with its default time limits ({} s for an endpoint of the base \
         tier, {} s for one of the persistence tier), and reads bodies of at most 2 MiB. Prometheus announces a \
         time-out of {} s, and two scrapes come at the same time: one of the base tier, and one of everything.\n\n\
         - *Base tier* is how long the scrape of the base tier took, and **incomplete** if a series of it was missing \
         in either scrape that does not come from the broken answer itself. With ten targets that means the \
         series of all ten.\n\
         - *Everything* is how long the other scrape took.\n\
         - *Reason* is that of `nats_exporter_endpoint_failure_info`; the other endpoints of the base tier have to give \
         none, and `nats_exporter_endpoint_errors_total` has to count the failure.\n\
         - *Tier* has the reasons of `nats_tier_reason` that hold for the server at fault.\n\
         - *As it should be* also means that both scrapes came in time, that nothing is shown that comes from the broken answer, \
         that the base tier of every other server is ok, and that all is there again \
         once the fault is over.\n",
        base.as_secs(),
        persistence.as_secs(),
        announced.as_secs(),
    );
    for sentence in failed {
        // What follows is a log, if anything.
        let first = sentence.lines().next().unwrap_or_default();
        let _ = writeln!(text, "\n**Not held**: {first}");
    }
    if let Some(leak) = leak {
        text.push_str(&leaks(leak));
    }
    let mut in_whole_target = false;
    for one in outcomes.iter().filter(|outcome| outcome.run.targets == 1) {
        let is_target = matches!(one.run.place, Place::Target(_));
        if !(is_target && in_whole_target) {
            let _ = write!(text, "\n## {}\n\n{HEAD}", heading(one.run.place));
        }
        in_whole_target = is_target;
        let ten = outcomes.iter().find(|o| o.run.place == one.run.place && o.run.targets > 1);
        for (at, cell) in one.cells.iter().enumerate() {
            text.push_str(&row(cell, ten.and_then(|ten| ten.cells.get(at))));
        }
    }
    text
}

const HEAD: &str = "| fault | reason | tier | one target: base tier | everything | ten targets: base tier | everything | as it should be |\n\
     | --- | --- | --- | --- | --- | --- | --- | --- |\n";

fn heading(place: Place) -> &'static str {
    match place {
        Place::Question(question) => question.what(),
        Place::Target(_) => "The whole target",
    }
}

fn row(one: &Cell, ten: Option<&Cell>) -> String {
    let cells = || std::iter::once(one).chain(ten);
    let joined = |texts: BTreeSet<&str>| {
        let texts: Vec<&str> = texts.into_iter().collect();
        if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
    };
    let reasons = joined(cells().flat_map(|cell| &cell.reasons).map(String::as_str).collect());
    let tiers = joined(cells().flat_map(|cell| &cell.tiers).map(String::as_str).collect());
    let mut text = format!("| {} | {reasons} | {tiers} |", one.what);
    for cell in [Some(one), ten] {
        let Some(cell) = cell else {
            text.push_str(" not held | |");
            continue;
        };
        let complete = if cell.is_complete { "complete" } else { "**incomplete**" };
        let (base, all) = (cell.base_after.as_secs_f64(), cell.all_after.as_secs_f64());
        let _ = write!(text, " {complete}, {base:.1} s | {all:.1} s |");
    }
    let problems: Vec<&String> = cells().flat_map(|cell| &cell.problems).collect();
    let _ = writeln!(text, " {} |", result(&problems));
    text
}

fn result(problems: &[&String]) -> String {
    match problems {
        [] => "yes".to_owned(),
        [first] => format!("**no**: {first}"),
        [first, rest @ ..] => format!("**no**: {first}; and {} more", rest.len()),
    }
}

fn leaks(outcome: &leak::Outcome) -> String {
    let Usage { resident_bytes, descriptors, sockets, threads, tasks } = outcome.before;
    let after = outcome.after;
    let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let result = result(&outcome.problems.iter().collect::<Vec<_>>());
    format!(
        "\n## What is left behind\n\n\
         Scrapes over all faults in turn, with low time limits, of one exporter with {} targets that are at \
         fault all at once; one scrape in ten is of all of them. They took {} s. Memory, file \
         descriptors, threads and tasks are looked at after {} scrapes, in which each target had each fault, and {} \
         scrapes later, each time after the servers have closed their connections and {} s without any scrape. \
         Memory may grow by a tenth, tasks by one for each target, whose client has one while it keeps connections, and \
         nothing else at all.\n\n\
         | after | resident memory | file descriptors | sockets | threads | tasks | as it should be |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n\
         | {} scrapes | {:.1} MiB | {descriptors} | {sockets} | {threads} | {tasks} | |\n\
         | {} more | {:.1} MiB | {} | {} | {} | {} | {result} |\n",
        outcome.targets,
        outcome.took.as_secs(),
        outcome.warm_up,
        outcome.scrapes,
        leak::QUIET.as_secs(),
        outcome.warm_up,
        megabytes(resident_bytes),
        outcome.scrapes,
        megabytes(after.resident_bytes),
        after.descriptors,
        after.sockets,
        after.threads,
        after.tasks,
    )
}
