//! What the tests share: the program as a child process, a server that breaks on demand, and a
//! reader of expositions that shares no code with the program.

#![allow(clippy::unwrap_used, reason = "it is a part of tests, which may panic")]

pub(crate) mod exporter;
pub(crate) mod model;
pub(crate) mod monitor;
pub(crate) mod samples;
