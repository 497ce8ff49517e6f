//! What the tests share: the program as a child process, servers that break on demand or play what
//! was recorded, and the harness's reader of expositions, which shares no code with the program.

#![allow(clippy::unwrap_used, reason = "it is a part of tests, which may panic")]

/// Whether the tests are to write what they find instead of comparing it.
pub(crate) fn is_update() -> bool {
    std::env::var_os("UPDATE").is_some()
}

pub(crate) mod authority;
pub(crate) mod dns;
pub(crate) mod exporter;
pub(crate) mod model;
pub(crate) mod monitor;
pub(crate) mod replay;
pub(crate) mod sources;

pub(crate) use nats_harness::samples;
