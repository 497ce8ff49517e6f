//! What a NATS server says: one bounded request, and the answers of the
//! monitoring endpoints as types.
//!
//! Nothing in here knows metrics. Every field is optional, because versions
//! differ and a server leaves out what is zero, false or empty; fields that
//! the exporter does not show are not decoded.

pub mod client;
pub mod decode;
pub mod endpoint;
pub mod failure;
pub mod healthz;
pub mod jsz;
pub mod names;
pub mod routez;
pub mod split;
pub mod time;
pub mod varz;
pub mod version;
