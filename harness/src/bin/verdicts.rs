//! Stops servers of real clusters to see whether the restart verdict was true: `make verdicts`.

#![allow(clippy::print_stdout, reason = "this program talks to people")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use futures_util::StreamExt as _;
use nats_harness::verdicts::{Outcome, Round, State, Trial, report};
use nats_harness::{Error, newest, oldest, repository};

/// A round that takes longer has got stuck.
const ROUND_LIMIT: Duration = Duration::from_secs(8 * 60);

/// Compares what the exporter says of a server with what happens when it is stopped.
#[derive(Parser)]
#[command(name = "verdicts")]
struct Arguments {
    /// The versions of nats-server; by default the oldest tested one, 2.10.26 and the newest.
    #[arg(long = "server-version", value_name = "VERSION")]
    versions: Vec<String>,

    /// The exporter's binary.
    #[arg(long, value_name = "PATH", default_value = "target/release/nats-exporter")]
    exporter: PathBuf,

    /// How many clusters run at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    parallel: usize,

    /// Where the table is written to; nowhere by default.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// The directory that gets what the servers said before a "safe" was wrong; nowhere by default.
    #[arg(long, value_name = "DIRECTORY")]
    evidence: Option<PathBuf>,

    /// Only these states.
    states: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match hold(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("The verdicts cannot be tried: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether no "safe" was wrong, and all rounds were held.
async fn hold(arguments: Arguments) -> Result<bool, Error> {
    let exporter = arguments.exporter.canonicalize().map_err(|error| Error::Fetch {
        program: format!("the exporter's binary {}", arguments.exporter.display()),
        reason: format!("{error}; build it with `cargo build --release --bin nats-exporter`"),
    })?;
    let states = chosen(&arguments.states)?;
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
    // In one task: nearly all of their time is waiting.
    let mut held = futures_util::stream::iter(rounds.enumerate())
        .map(async |(at, round)| {
            let outcome = tokio::time::timeout(ROUND_LIMIT, round.hold()).await;
            let late =
                || Error::Timeout { what: "the end of the round".into(), limit: ROUND_LIMIT };
            (at, round, outcome.unwrap_or_else(|_| Err(late())))
        })
        .buffer_unordered(arguments.parallel.max(1));
    let mut outcomes: Vec<(usize, Outcome)> = Vec::new();
    let mut failed = Vec::new();
    while let Some((at, round, result)) = held.next().await {
        match result {
            Ok(outcome) => {
                println!("{}", report::lines(&outcome));
                outcomes.push((at, outcome));
            }
            Err(error) => {
                failed.push(format!("{} {}: {error}", round.version, round.state.name()));
                println!("{} could not be held: {error}", failed.last().map_or("", |f| f));
            }
        }
    }
    drop(held);
    outcomes.sort_by_key(|(at, _)| *at);
    let outcomes: Vec<Outcome> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    if let Some(path) = arguments.report {
        let text = report::document(&outcomes, &failed);
        std::fs::write(repository().join(&path), text).map_err(|source| Error::File {
            action: "cannot write",
            path,
            source,
        })?;
    }
    let mut trials = outcomes.iter().flat_map(|outcome| &outcome.trials);
    Ok(failed.is_empty() && !trials.any(Trial::is_wrong))
}

fn chosen(names: &[String]) -> Result<Vec<State>, Error> {
    if names.is_empty() {
        return Ok(State::ALL.to_vec());
    }
    let find = |name: &String| {
        State::ALL.iter().copied().find(|state| state.name() == name).ok_or_else(|| Error::Fetch {
            program: format!("a state called {name}"),
            reason: format!(
                "there are {}",
                State::ALL.iter().map(|state| state.name()).collect::<Vec<_>>().join(", ")
            ),
        })
    };
    names.iter().map(find).collect()
}
