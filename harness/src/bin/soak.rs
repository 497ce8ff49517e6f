//! Restarts servers for an hour under a real Prometheus: `make soak`.

#![allow(clippy::print_stdout, reason = "this program talks to people")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use nats_harness::endurance::{Soak, report};
use nats_harness::{Error, newest, runs};

/// Restarts servers again and again, and looks for gaps and old values in what Prometheus got.
#[derive(Parser)]
#[command(name = "soak")]
struct Arguments {
    /// The version of nats-server; by default the newest tested one.
    #[arg(long, value_name = "VERSION", default_value = newest())]
    server_version: String,

    #[command(flatten)]
    usual: runs::Usual,

    /// For how many seconds.
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 3600)]
    lasts: u64,

    /// The directory that gets the logs and the times of the restarts; nowhere by default.
    #[arg(long, value_name = "DIRECTORY")]
    evidence: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    runs::end(hold(Arguments::parse()).await, "The soak cannot be run")
}

/// Whether all was as it should be.
async fn hold(arguments: Arguments) -> Result<bool, Error> {
    let lasts = Duration::from_secs(arguments.lasts);
    let soak = Soak {
        version: arguments.server_version,
        exporter: arguments.usual.exporter()?,
        lasts,
        every: Duration::from_secs(30),
        down: Duration::from_secs(8),
        base: Duration::from_secs(5),
        persistence: Duration::from_secs(15),
        warm_up: lasts / 12,
        evidence: arguments.evidence,
    };
    let soaked = soak.hold(|stop| println!("{}", report::line(stop))).await?;
    println!("{}", report::soak(&soaked));
    arguments.usual.write(|| report::soak(&soaked))?;
    Ok(soaked.problems().is_empty())
}
