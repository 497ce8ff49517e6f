//! Long runs, to see whether the exporter stays as it is: many scrapers at once on a large server ([`Load`]), and
//! servers that are restarted for an hour under a real Prometheus ([`Soak`]).
//!
//! `counter` counts what a server is asked at the same time, `answer` reads what a scraper got, and `history` what a
//! Prometheus kept. There `judge` looks for what should not be so: `span` finds gaps, and `truth` counters that were
//! not true. `trend` tells what grew.
//! [`report`] writes what came of it.

mod answer;
mod counter;
mod history;
mod judge;
mod lateness;
mod load;
pub mod report;
mod soak;
mod span;
mod trend;
mod truth;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

pub use load::{Latency, Load, Loaded};
pub use soak::{Manner, Soak, Soaked, Stop};
pub use span::{Gap, Span, gaps};
pub use trend::Trend;
pub use truth::{Reading, untrue};

use crate::{Error, Result};

/// Seconds since the epoch, as Prometheus counts.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The resident memory of a process in bytes.
fn resident(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).map_err(Error::file("cannot read", &path))?;
    let kibibytes = text.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<f64>().ok()
    });
    Ok(kibibytes.unwrap_or_default() * 1024.0)
}

/// Copies a log to the directory for evidence, if there is one; the original goes with its cluster.
fn keep(directory: Option<&Path>, name: &str, text: &str) -> Result<()> {
    let Some(directory) = directory else { return Ok(()) };
    std::fs::create_dir_all(directory).map_err(Error::file("cannot create", directory))?;
    let path = directory.join(name);
    std::fs::write(&path, text).map_err(Error::file("cannot write", path))
}
