//! What the tests share: the program as a child process, and a reader of
//! expositions that shares no code with the program.

pub(crate) mod exporter;
pub(crate) mod replay;
pub(crate) mod samples;
