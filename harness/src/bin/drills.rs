//! Holds drills and writes what came of them: `make drills`.

#![allow(clippy::print_stdout, reason = "this program talks to people")]

use std::process::ExitCode;

use clap::Parser;
use nats_harness::drill::plan::{self, Drill};
use nats_harness::drill::{Outcome, report};
use nats_harness::{Error, newest, runs};

/// Breaks real clusters in many ways, and compares who is called with who should be.
#[derive(Parser)]
#[command(name = "drills")]
struct Arguments {
    /// The versions of nats-server; by default 2.10.26 and the newest tested one.
    #[arg(long = "server-version", value_name = "VERSION")]
    versions: Vec<String>,

    #[command(flatten)]
    usual: runs::Usual,

    /// How many are held at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    parallel: usize,

    /// Only these drills.
    names: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    runs::end(hold(Arguments::parse()).await, "The drills cannot go on")
}

/// Whether everything was as expected.
async fn hold(arguments: Arguments) -> Result<bool, Error> {
    let exporter = arguments.usual.exporter()?;
    let all: Vec<&'static Drill> = plan::ALL.iter().collect();
    let drills = runs::chosen(&all, &arguments.names, "drill", |drill| drill.name)?;
    let mut versions = arguments.versions;
    if versions.is_empty() {
        versions = vec!["2.10.26".to_owned(), newest().to_owned()];
    }
    let plan =
        versions.iter().flat_map(|version| drills.iter().map(move |drill| (version, *drill)));
    let held = runs::hold(
        plan,
        arguments.parallel,
        async |(version, drill): &(&String, &'static Drill)| drill.run(version, &exporter).await,
        |(version, drill), result| match result {
            Ok(outcome) => println!("{}", report::line(outcome)),
            Err(error) => println!("{version} {}: could not be held: {error}", drill.name),
        },
    )
    .await;
    let count = held.len();
    let outcomes: Vec<Outcome> = held.into_iter().filter_map(|(_, result)| result.ok()).collect();
    arguments.usual.write(|| report::document(&outcomes, &tools()))?;
    let is_well = |outcome: &Outcome| outcome.problems.is_empty() && outcome.late.is_empty();
    Ok(outcomes.len() == count && outcomes.iter().all(is_well))
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
