//! The integration tests, in one binary because linking one is quicker than linking many.

#[path = "it/config.rs"]
mod config;
