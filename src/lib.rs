//! Prometheus exporter for NATS that keeps core messaging and `JetStream` apart.

pub mod config;
pub mod tier;
pub mod web;
