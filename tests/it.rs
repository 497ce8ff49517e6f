//! The single integration test binary.

#![allow(clippy::unwrap_used, reason = "a test may end at a surprise")]
#![allow(clippy::float_cmp, reason = "what is compared are whole numbers and flags")]

#[path = "it/alerts.rs"]
mod alerts;
#[path = "it/broken.rs"]
mod broken;
#[path = "it/catalog.rs"]
mod catalog;
#[path = "it/check.rs"]
mod check;
#[path = "it/config.rs"]
mod config;
#[path = "it/confined.rs"]
mod confined;
#[path = "it/dashboards.rs"]
mod dashboards;
#[path = "it/dependencies.rs"]
mod dependencies;
#[path = "it/deploy.rs"]
mod deploy;
#[path = "it/discovery.rs"]
mod discovery;
#[path = "it/drills.rs"]
mod drills;
#[path = "it/endurance.rs"]
mod endurance;
#[path = "it/fault_matrix.rs"]
mod fault_matrix;
#[path = "it/faults.rs"]
mod faults;
#[path = "it/golden.rs"]
mod golden;
#[path = "it/guests.rs"]
mod guests;
#[path = "it/identity.rs"]
mod identity;
#[path = "it/install.rs"]
mod install;
#[path = "it/isolation.rs"]
mod isolation;
#[path = "it/limits.rs"]
mod limits;
#[path = "it/program.rs"]
mod program;
#[path = "it/prometheus.rs"]
mod prometheus;
#[path = "it/real_server.rs"]
mod real_server;
#[path = "it/security.rs"]
mod security;
#[path = "it/sharding.rs"]
mod sharding;
#[path = "it/status.rs"]
mod status;
#[path = "it/support/mod.rs"]
mod support;
#[path = "it/verdicts.rs"]
mod verdicts;
#[path = "it/web_config.rs"]
mod web_config;
