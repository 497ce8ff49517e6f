//! Prometheus exporter for NATS that keeps core messaging and JetStream apart.
//!
//! The way of a scrape: [`web`] takes the request, [`exporter`] asks all targets, and the servers that
//! [`discovery`] finds, through [`probe`], which makes a [`snapshot`] of each; [`scrape`] puts the snapshots together and
//! [`assets`] their streams and consumers, [`catalog`] says what is shown of them, and
//! [`exposition`] writes it.

pub mod assets;
pub mod background;
pub mod build_info;
pub mod catalog;
pub mod check;
pub mod cli;
pub mod config;
pub mod detail;
pub mod discovery;
pub mod docs;
pub mod exporter;
pub mod exposition;
pub mod flight;
pub mod healthcheck;
pub mod limits;
pub mod listener;
pub mod manual;
pub mod memory;
pub mod nats;
pub mod probe;
pub mod report;
pub mod restart;
pub mod scrape;
pub mod settings;
pub mod snapshot;
pub mod telemetry;
pub mod tier;
pub mod verdict;
pub mod web;
