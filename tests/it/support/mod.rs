//! What the tests share: the program as a child process, servers that break on demand or play what
//! was recorded, and a reader of expositions that shares no code with the program.

pub(crate) mod exporter;
pub(crate) mod model;
pub(crate) mod monitor;
pub(crate) mod replay;
pub(crate) mod samples;
