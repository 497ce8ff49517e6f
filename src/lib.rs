//! Prometheus exporter for NATS that keeps core messaging and `JetStream` apart.

pub mod cli;
pub mod config;
pub mod settings;
pub mod telemetry;
pub mod tier;
