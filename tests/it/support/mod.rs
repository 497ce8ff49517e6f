//! What the tests share: the program as a child process, a server that breaks on demand, and a
//! reader of expositions that shares no code with the program.

pub(crate) mod exporter;
pub(crate) mod model;
pub(crate) mod monitor;
pub(crate) mod samples;
