//! Makes many streams and consumers on a running server, for measurements at a large scale.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its result is what it prints")]

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use nats_harness::dataset::{self, Dataset};

/// Makes many streams and consumers on a running nats-server.
#[derive(Parser)]
#[command(name = "dataset")]
struct Arguments {
    /// The server, with user and password if it wants them.
    #[arg(long, value_name = "URL", default_value = "nats://127.0.0.1:4222")]
    server: String,

    #[command(flatten)]
    plan: Dataset,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { server, plan } = Arguments::parse();
    let begin = Instant::now();
    if let Err(error) = dataset::make(&server, plan).await {
        eprintln!("dataset: {error}");
        return ExitCode::FAILURE;
    }
    println!(
        r#"{{"streams":{},"consumers":{},"seconds":{:.3}}}"#,
        plan.streams,
        u64::from(plan.streams) * u64::from(plan.consumers),
        begin.elapsed().as_secs_f64(),
    );
    ExitCode::SUCCESS
}
