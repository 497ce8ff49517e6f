//! Lets many scrapers ask at once for a server with many consumers: `make load`.

#![allow(clippy::print_stdout, reason = "this program talks to people")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use nats_harness::dataset::Dataset;
use nats_harness::endurance::{Load, report};
use nats_harness::{Error, newest, runs};

/// Scrapes a large server from many sides at once, and sees whether every answer is whole.
#[derive(Parser)]
#[command(name = "load")]
struct Arguments {
    /// The version of nats-server; by default the newest tested one.
    #[arg(long, value_name = "VERSION", default_value = newest())]
    server_version: String,

    #[command(flatten)]
    usual: runs::Usual,

    #[command(flatten)]
    dataset: Dataset,

    /// How many scrapers.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    scrapers: usize,

    /// For how many seconds.
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 600)]
    lasts: u64,

    /// How many seconds a scraper waits, and all time-outs of the exporter.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,

    /// The directory that gets the log of the exporter and its memory; nowhere by default.
    #[arg(long, value_name = "DIRECTORY")]
    evidence: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    runs::end(hold(Arguments::parse()).await, "The load cannot be run")
}

/// Whether all was as it should be.
async fn hold(arguments: Arguments) -> Result<bool, Error> {
    let lasts = Duration::from_secs(arguments.lasts);
    let load = Load {
        version: arguments.server_version,
        exporter: arguments.usual.exporter()?,
        dataset: arguments.dataset,
        scrapers: arguments.scrapers,
        lasts,
        warm_up: lasts / 10,
        base: Duration::from_secs(5),
        full: Duration::from_secs(15),
        timeout: Duration::from_secs(arguments.timeout),
        evidence: arguments.evidence,
    };
    let loaded = load.hold().await?;
    println!("{}", report::load(&loaded));
    arguments.usual.write(|| report::load(&loaded))?;
    Ok(loaded.problems().is_empty())
}
