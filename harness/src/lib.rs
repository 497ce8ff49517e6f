//! Starts real NATS servers for the tests and the demo.
//!
//! A [`Cluster`] is a set of `nats-server` processes of one version on the loopback interface, with
//! everything they write in one temporary directory. Dropping it kills the processes and removes the
//! directory, also when a test panics; the processes die with their parent as well, so nothing is
//! left behind even by a killed test run. [`Node`] has the faults, [`workload`] the traffic, and
//! [`synthetic`] stands for servers that are too large to be started. [`Prometheus`] and
//! [`Alertmanager`] watch a cluster with the shipped [`rules`], and a [`drill`] sees whom they call;
//! [`verdicts`] stops servers to see whether what the exporter said of them was true, [`faults`] spoils their
//! answers with the gates of [`monitor`], and [`endurance`] goes on for long. [`dataset`] fills a server.
//!
//! ```no_run
//! # async fn example() -> Result<(), nats_harness::Error> {
//! use nats_harness::{Cluster, newest};
//!
//! let cluster = Cluster::builder(newest()).nodes(3).jetstream(true).start().await?;
//! cluster.node(0).kill().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Linux only: it relies on process groups, mount namespaces and abstract sockets.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod alertmanager;
mod check;
mod cluster;
pub mod dataset;
pub mod drill;
pub mod endurance;
mod error;
mod exporter;
pub mod faults;
mod gate;
pub mod monitor;
mod node;
mod ports;
mod process;
mod prometheus;
pub mod rules;
pub mod runs;
pub mod samples;
mod settings;
pub mod synthetic;
mod tools;
pub mod verdicts;
pub mod workload;

pub use alertmanager::{Alertmanager, Call};
pub use cluster::{Builder, Cluster};
pub use error::{Error, Result};
pub use exporter::Exporter;
pub use monitor::MonitorGate;
pub use nix::sys::signal::Signal;
pub use node::{Answer, Node};
pub use ports::Port;
pub use process::Process;
pub use prometheus::{Job, Prometheus, Samples, Watch};
pub use settings::{Account, MonitorTls};
pub use tools::{VERSIONS, nats_server, newest, oldest, repository, tool};

/// Leaves a test out that cannot be run on this machine, if that is allowed; else it fails, because
/// a test that is left out in silence proves nothing.
///
/// # Panics
///
/// Unless the variable `NATS_HARNESS_LEAVE_OUT` is set.
pub fn leave_out(missing: &str) {
    assert!(
        std::env::var_os("NATS_HARNESS_LEAVE_OUT").is_some(),
        "this test needs {missing}; set NATS_HARNESS_LEAVE_OUT=1 to leave such tests out"
    );
}
