//! The program: parse, configure, run, exit code; nothing else.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use nats_exporter::check;
use nats_exporter::cli::{Cli, Command, completions};
use nats_exporter::config::{Config, ConfigError, process_environment};
use nats_exporter::exporter::{Exporter, Loader};
use nats_exporter::nats::client::ClientError;
use nats_exporter::web::{Access, Server};
use nats_exporter::{docs, healthcheck, manual, telemetry};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The configuration is wrong.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let Cli { config_check, list_metrics, flags, command } = Cli::parse();
    if list_metrics {
        return print(docs::list().as_bytes());
    }
    match command {
        Some(Command::Check { check, command }) => {
            return run(check::run(check::Question::new(check, command)));
        }
        Some(Command::Healthcheck { flags }) => {
            return run(async { Ok(healthcheck::run(&flags).await.map(|()| ExitCode::SUCCESS)?) });
        }
        Some(Command::Completions { shell }) => return print(&completions(shell)),
        Some(Command::Man) => return print(&manual::page()),
        None => {}
    }
    let config = match Config::load(&flags, process_environment()) {
        Ok(config) => config,
        Err(error) => return fail(BAD_CONFIGURATION, &error),
    };
    let loader = Box::new(move || Config::load(&flags, process_environment()));
    if config_check {
        return match can_be_used(config, loader) {
            Ok(()) => print(b"the configuration is valid\n"),
            Err(error) => fail(BAD_CONFIGURATION, error.as_ref()),
        };
    }
    if let Err(error) = telemetry::init(&config.log) {
        return fail(BAD_CONFIGURATION, &error);
    }
    let exporter = match Exporter::new(config, loader) {
        Ok(exporter) => Arc::new(exporter),
        Err(error) => return fail(BAD_CONFIGURATION, &error),
    };
    run(async { serve(exporter).await.map(|()| ExitCode::SUCCESS) })
}

/// Makes everything that a start makes of the configuration and the files that it names.
fn can_be_used(config: Config, loader: Loader) -> Result<(), Box<dyn std::error::Error>> {
    let web_file = config.web.config_file.clone();
    Exporter::new(config, loader)?;
    Access::load(web_file.as_deref(), Arc::default())?;
    Ok(())
}

/// Runs to the end; a request that hangs does not hold the exit.
fn run<F>(main: F) -> ExitCode
where
    F: Future<Output = Result<ExitCode, Box<dyn std::error::Error>>>,
{
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &error),
    };
    let result = runtime.block_on(main);
    runtime.shutdown_background();
    result.unwrap_or_else(|error| {
        let is_config = error.is::<ConfigError>() || error.is::<ClientError>();
        fail(if is_config { BAD_CONFIGURATION } else { 1 }, error.as_ref())
    })
}

/// Listens until a signal ends it.
async fn serve(exporter: Arc<Exporter>) -> Result<(), Box<dyn std::error::Error>> {
    let stop = termination()?;
    let mut hangups = signal(SignalKind::hangup())?;
    let web_file = exporter.config().web.config_file.clone();
    let access = Access::load(web_file.as_deref(), Arc::clone(exporter.listener()))?;
    let server = Server::bind(Arc::clone(&exporter), access)?;
    exporter.set_ready();
    let discovery = Arc::clone(&exporter);
    let discovery = tokio::spawn(async move { discovery.discover().await });
    let reloads = tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            let exporter = Arc::clone(&exporter);
            // The outcome is in the log and in a metric.
            let _ = tokio::task::spawn_blocking(move || exporter.reload()).await;
        }
    });
    server.run(stop).await;
    reloads.abort();
    discovery.abort();
    Ok(())
}

/// Ends at the first SIGTERM or SIGINT.
fn termination() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
    })
}

/// Writes to the standard output; a closed pipe is no reason to panic.
fn print(text: &[u8]) -> ExitCode {
    use std::io::Write as _;
    match std::io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(code: u8, error: &dyn std::error::Error) -> ExitCode {
    use std::io::Write as _;
    let mut text = format!("nats-exporter: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        // Most messages name their cause already.
        if !text.contains(&error.to_string()) {
            text.push_str(": ");
            text.push_str(&error.to_string());
        }
        cause = error.source();
    }
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(code)
}
