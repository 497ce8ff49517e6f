//! Fills in the matrix of faults: `make faults`.

#![allow(clippy::print_stdout, reason = "this program talks to people")]

use std::process::ExitCode;

use clap::Parser;
use nats_harness::faults::{Limits, Outcome, Place, Run, Scene, leak, report};
use nats_harness::{Error, newest, runs};

/// Servers, and so the most targets.
const SERVERS: usize = 10;

/// Breaks everything that the exporter asks in every way, and compares what is still there with what should be.
#[derive(Parser)]
#[command(name = "faults")]
struct Arguments {
    /// The version of nats-server, 2.10 or later; by default the newest tested one.
    #[arg(long, value_name = "VERSION")]
    server_version: Option<String>,

    #[command(flatten)]
    usual: runs::Usual,

    /// How many places are broken at the same time, each for an exporter of its own.
    #[arg(long, value_name = "COUNT", default_value_t = 6)]
    parallel: usize,

    /// How many scrapes the leak check has; 0 leaves it out.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    scrapes: usize,

    /// Only these places, such as `varz` or `refused`.
    names: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    runs::end(hold(Arguments::parse()).await, "The matrix cannot be filled in")
}

/// Whether everything was as it should be.
async fn hold(arguments: Arguments) -> Result<bool, Error> {
    let exporter = arguments.usual.exporter()?;
    let all: Vec<Place> = Place::all().collect();
    let places = runs::chosen(&all, &arguments.names, "place", Place::name)?;
    let run = |targets| places.iter().map(move |place| Run { place: *place, targets });
    let version = arguments.server_version.unwrap_or_else(|| newest().to_owned());
    let scene = Scene::set(&version, SERVERS, &exporter, Limits::DEFAULT).await?;
    let held = runs::hold(
        run(1).chain(run(SERVERS)),
        arguments.parallel,
        async |run: &Run| run.hold(&scene).await,
        |run, result| match result {
            Ok(outcome) => println!("{}", report::lines(outcome)),
            Err(error) => println!("{run:?} could not be held: {error}"),
        },
    )
    .await;
    let leak = match arguments.scrapes {
        0 => None,
        scrapes => Some(leak::hold(&scene, scrapes).await?),
    };
    if let Some(leak) = &leak {
        println!("{}", report::leak_lines(leak));
    }
    let (mut outcomes, mut failed): (Vec<Outcome>, Vec<String>) = (Vec::new(), Vec::new());
    for (run, result) in held {
        match result {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => failed.push(format!("{run:?}: {error}")),
        }
    }
    arguments.usual.write(|| report::document(&version, &outcomes, leak.as_ref(), &failed))?;
    let mut cells = outcomes.iter().flat_map(|outcome| &outcome.cells);
    Ok(failed.is_empty()
        && cells.all(|cell| cell.problems.is_empty())
        && leak.is_none_or(|leak| leak.problems.is_empty()))
}
