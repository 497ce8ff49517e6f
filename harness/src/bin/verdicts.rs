//! Stops servers of real clusters to see whether the restart verdict was true: `make verdicts`.

#![allow(clippy::print_stdout, reason = "this program talks to people")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use nats_harness::verdicts::{Outcome, Round, State, Trial, report};
use nats_harness::{Error, newest, oldest, runs};

/// A round that takes longer has got stuck.
const ROUND_LIMIT: Duration = Duration::from_secs(8 * 60);

/// Compares what the exporter says of a server with what happens when it is stopped.
#[derive(Parser)]
#[command(name = "verdicts")]
struct Arguments {
    /// The versions of nats-server; by default the oldest tested one, 2.10.26 and the newest.
    #[arg(long = "server-version", value_name = "VERSION")]
    versions: Vec<String>,

    #[command(flatten)]
    usual: runs::Usual,

    /// How many clusters run at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    parallel: usize,

    /// The directory that gets what the servers said before a "safe" was wrong; nowhere by default.
    #[arg(long, value_name = "DIRECTORY")]
    evidence: Option<PathBuf>,

    /// Only these states.
    states: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    runs::end(hold(Arguments::parse()).await, "The verdicts cannot be tried")
}

/// Whether no "safe" was wrong, and all rounds were held.
async fn hold(arguments: Arguments) -> Result<bool, Error> {
    let exporter = arguments.usual.exporter()?;
    let states = runs::chosen(State::ALL, &arguments.states, "state", State::name)?;
    let mut versions = arguments.versions;
    if versions.is_empty() {
        versions = vec![oldest().to_owned(), "2.10.26".to_owned(), newest().to_owned()];
    }
    let rounds =
        versions.iter().flat_map(|version| states.iter().map(move |state| (version, *state)));
    let rounds = rounds.map(|(version, state)| Round {
        version: version.clone(),
        state,
        servers: 5,
        only: None,
        exporter: exporter.clone(),
        evidence: arguments.evidence.clone(),
    });
    let late = || Error::Timeout { what: "the end of the round".into(), limit: ROUND_LIMIT };
    let held = runs::hold(
        rounds,
        arguments.parallel,
        async |round: &Round| {
            let outcome = tokio::time::timeout(ROUND_LIMIT, round.hold()).await;
            outcome.unwrap_or_else(|_| Err(late()))
        },
        |round, result| match result {
            Ok(outcome) => println!("{}", report::lines(outcome)),
            Err(error) => println!("could not be held: {}", failure(round, error)),
        },
    )
    .await;
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut failed = Vec::new();
    for (round, result) in held {
        match result {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => failed.push(failure(&round, &error)),
        }
    }
    arguments.usual.write(|| report::document(&outcomes, &failed))?;
    let mut trials = outcomes.iter().flat_map(|outcome| &outcome.trials);
    Ok(failed.is_empty() && !trials.any(Trial::is_wrong))
}

fn failure(round: &Round, error: &Error) -> String {
    format!("{} {}: {error}", round.version, round.state.name())
}
