//! Every limit, hit on the real program, and the document that lists them.
//!
//! The limits are set low, so that they are hit soon, and what is not to be hit is set so high that a test
//! which waited for it would not end.

#[path = "limits/listed.rs"]
mod listed;
#[path = "limits/listener.rs"]
mod listener;
#[path = "limits/servers.rs"]
mod servers;

use std::time::Duration;

use super::support::exporter::Exporter;
use super::support::samples::Samples;

/// Far longer than anything here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// The exporter's own metrics, which need no server.
const OWN: &str = "/metrics?tier=exporter";

/// How often the limit with this key was hit.
fn hits(samples: &Samples, key: &str) -> f64 {
    let labels = [("limit", key)];
    samples.value("nats_exporter_limit_hits_total", &labels).expect("it is counted from the start")
}

/// Waits until the limit with this key was hit.
async fn is_hit(exporter: &Exporter, key: &str) -> f64 {
    let samples = exporter.until(OWN, PATIENCE, |samples| hits(samples, key) > 0.0).await;
    hits(&samples, key)
}
