//! Starts a cluster with work to do and the exporter beside it, for people to look at.
//!
//! `make demo` runs it. Everything it starts ends with it.

#![allow(clippy::print_stdout, reason = "this program talks to people")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use nats_harness::workload::{Plan, Workload};
use nats_harness::{Cluster, Error, Exporter, Port, newest, repository, runs};
use tokio::signal::unix::{SignalKind, signal};

const POLL: Duration = Duration::from_millis(200);
const USUAL_PORT: u16 = 7777;

/// Starts three NATS servers with streams, consumers and light traffic, and the exporter beside them.
#[derive(Parser)]
#[command(name = "demo")]
struct Arguments {
    /// The version of nats-server; the newest tested one by default.
    #[arg(long, value_name = "VERSION", default_value = newest())]
    server_version: String,

    /// The exporter's binary.
    #[arg(long, value_name = "PATH")]
    exporter: Option<PathBuf>,

    /// Ends by itself after this time.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Whatever is under way when the signal comes is dropped here, and takes its processes along.
    let done = tokio::select! {
        done = demo(arguments) => done,
        () = interrupted() => Ok(()),
    };
    match done {
        Ok(()) => {
            println!("\nAll servers are stopped, and nothing is left behind.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("\nThe demo cannot go on: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(arguments: Arguments) -> Result<(), Error> {
    let exporter = find_exporter(arguments.exporter)?;
    let version = &arguments.server_version;
    println!("Starting three NATS servers {version} with JetStream ...");
    let cluster = Cluster::builder(version).nodes(3).jetstream(true).accounts(true).start().await?;
    println!("Making streams and consumers ...");
    let mut workload = Workload::make(&cluster, Plan { replicas: 3 }).await?;
    workload.start_traffic();
    println!("Starting the exporter ...");
    let log = cluster.dir().join("exporter.log");
    let port = Port::prefer(USUAL_PORT)?;
    let exporter = Exporter::start(&exporter, port, cluster.monitor_urls(), log).await?;
    explain(&cluster, &exporter);
    let limit = arguments.seconds.map_or(Duration::MAX, Duration::from_secs);
    tokio::select! {
        () = report_changes(&cluster, &exporter) => {}
        () = tokio::time::sleep(limit) => println!("\nThe time is over."),
    }
    Ok(())
}

fn find_exporter(given: Option<PathBuf>) -> Result<PathBuf, Error> {
    let path = given.unwrap_or_else(|| repository().join("target/release/nats-exporter"));
    runs::exporter(&path)
}

async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        // Without handlers the signals end the program, and the kernel ends its children.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

fn explain(cluster: &Cluster, exporter: &Exporter) {
    let url = exporter.url();
    println!("\nServers:");
    for node in cluster.nodes() {
        let pid = node.pid().map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        println!(
            "  {:<4} pid {pid:<8} clients {}   monitoring {}",
            node.name(),
            node.client_url(),
            node.monitor_url()
        );
    }
    println!(
        "  Clients log in as app/app (account APP), aux/aux (AUX) or sys/sys (the system account)."
    );
    println!("\nExporter: {url}   pid {}", exporter.process().pid());
    println!("\nTo look at:");
    println!("  {url}/   the status page, for a browser");
    println!("  curl -s '{url}/metrics'                    everything");
    println!("  curl -s '{url}/metrics?tier=base'          is the messaging layer up");
    println!("  curl -s '{url}/metrics?tier=persistence'   is JetStream well");
    println!("\nTo try:");
    if let Some((name, pid)) =
        cluster.nodes().last().and_then(|node| Some((node.name(), node.pid()?)))
    {
        let tries = [
            (format!("kill -STOP {pid}"), format!("{name} hangs: its samples go, the others stay")),
            (format!("kill -CONT {pid}"), "and it goes on".to_owned()),
            (
                format!("kill {pid}"),
                format!("{name} ends: its neighbours have fewer routes at once,"),
            ),
            (String::new(), "streams with a replica there show it some seconds later".to_owned()),
        ];
        for (command, effect) in tries {
            println!("  {command:<20} {effect}");
        }
        println!("  Watch it with  watch -n1 \"curl -s '{url}/metrics?tier=base' | grep -v '^#'\"");
    }
    println!("\nRunning. Ctrl-C ends everything.");
}

/// Tells which processes end, once each.
async fn report_changes(cluster: &Cluster, exporter: &Exporter) {
    let mut running: Vec<_> = cluster.nodes().iter().collect();
    let mut exporter_runs = true;
    loop {
        running.retain(|node| {
            let alive = node.is_alive();
            if !alive {
                println!("{} has ended; the others go on.", node.name());
            }
            alive
        });
        if exporter_runs && let Some(status) = exporter.process().ended() {
            exporter_runs = false;
            println!("The exporter has ended ({status}). Its log:\n{}", exporter.log());
        }
        tokio::time::sleep(POLL).await;
    }
}
