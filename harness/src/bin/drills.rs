//! Holds drills and writes what came of them: `make drills`.

#![allow(clippy::print_stdout, reason = "this program talks to people")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use futures_util::StreamExt as _;
use nats_harness::drill::plan::{self, Drill};
use nats_harness::drill::{Outcome, report};
use nats_harness::{Error, newest, repository};

/// Breaks real clusters in many ways, and compares who is called with who should be.
#[derive(Parser)]
#[command(name = "drills")]
struct Arguments {
    /// The versions of nats-server; by default 2.10.26 and the newest tested one.
    #[arg(long = "server-version", value_name = "VERSION")]
    versions: Vec<String>,

    /// The exporter's binary.
    #[arg(long, value_name = "PATH", default_value = "target/release/nats-exporter")]
    exporter: PathBuf,

    /// How many are held at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    parallel: usize,

    /// Where the table is written to; nowhere by default.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Only these drills.
    names: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match hold(arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("The drills cannot go on: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything was as expected.
async fn hold(arguments: Arguments) -> Result<bool, Error> {
    let exporter = arguments.exporter.canonicalize().map_err(|error| Error::Fetch {
        program: format!("the exporter's binary {}", arguments.exporter.display()),
        reason: format!("{error}; build it with `cargo build --release --bin nats-exporter`"),
    })?;
    let drills = chosen(&arguments.names)?;
    let mut versions = arguments.versions;
    if versions.is_empty() {
        versions = vec!["2.10.26".to_owned(), newest().to_owned()];
    }
    let plan =
        versions.iter().flat_map(|version| drills.iter().map(move |drill| (version, *drill)));
    // In one task: nearly all of their time is waiting.
    let mut held = futures_util::stream::iter(plan.enumerate())
        .map(async |(at, (version, drill))| {
            (at, version, drill, drill.run(version, &exporter).await)
        })
        .buffer_unordered(arguments.parallel.max(1));
    let mut outcomes: Vec<(usize, Outcome)> = Vec::new();
    let mut all_well = true;
    while let Some((at, version, drill, result)) = held.next().await {
        match result {
            Ok(outcome) => {
                println!("{}", report::line(&outcome));
                all_well &= outcome.problems.is_empty() && outcome.late.is_empty();
                outcomes.push((at, outcome));
            }
            Err(error) => {
                println!("{version} {}: could not be held: {error}", drill.name);
                all_well = false;
            }
        }
    }
    drop(held);
    outcomes.sort_by_key(|(at, _)| *at);
    let outcomes: Vec<Outcome> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    if let Some(path) = arguments.report {
        let text = report::document(&outcomes, &tools());
        std::fs::write(repository().join(&path), text).map_err(|source| Error::File {
            action: "cannot write",
            path,
            source,
        })?;
    }
    Ok(all_well)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Drill>, Error> {
    if names.is_empty() {
        return Ok(plan::ALL.iter().collect());
    }
    let find = |name: &String| {
        plan::find(name).ok_or_else(|| Error::Fetch {
            program: format!("a drill called {name}"),
            reason: format!(
                "there are {}",
                plan::ALL.iter().map(|d| d.name).collect::<Vec<_>>().join(", ")
            ),
        })
    };
    names.iter().map(find).collect()
}

/// The versions of the programs that watched.
fn tools() -> String {
    let version = |name: &str| {
        let path = nats_harness::tool(name).ok()?;
        let output = std::process::Command::new(path).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        Some(format!("{name} {}", text.split_whitespace().nth(2)?))
    };
    let found: Vec<_> = ["prometheus", "alertmanager"].into_iter().filter_map(version).collect();
    format!("Watched by {}.", found.join(" and "))
}
