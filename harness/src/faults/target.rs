//! The target at fault.

use super::Place;
use super::plan::Broken;
use crate::monitor::{Fault, MonitorGate, Question};
use crate::{Port, Result};

/// A target that stands in front of a real server, or instead of it.
#[derive(Debug)]
pub(super) struct Target {
    /// What the exporter is told.
    pub(super) url: String,
    /// What of it is broken, or is to be.
    pub(super) place: Place,
    /// What is in front of the server.
    pub(super) gate: MonitorGate,
    /// Nobody listens on it.
    _port: Port,
}

impl Target {
    /// A target for the server at `server`, broken already if the place is all of it.
    pub(super) async fn set(server: &str, place: Place) -> Result<Self> {
        let gate = MonitorGate::to(server).await?;
        let port = Port::any()?;
        let url = match place {
            Place::Question(_) => gate.url(),
            Place::Target(Broken::Refused) => format!("http://127.0.0.1:{}", port.number()),
            Place::Target(Broken::NoName) => "http://nats.invalid:8222".to_owned(),
            Place::Target(Broken::NoTls) => https(server),
            // The gate waits for the end of a request, which a greeting is not.
            Place::Target(Broken::SilentTls) => https(&gate.url()),
            Place::Target(Broken::Silent) => {
                gate.spoil(Question::Any, Fault::Stall);
                gate.url()
            }
        };
        Ok(Self { url, place, gate, _port: port })
    }
}

fn https(url: &str) -> String {
    url.replacen("http:", "https:", 1)
}
