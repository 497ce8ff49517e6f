//! Fills the servers' storage.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::stream::Config;

use super::{patiently, publish_one};
use crate::{Account, Cluster, Error, Result};

const MESSAGE: usize = 128 * 1024;
/// Acknowledgements waited for at a time.
const WINDOW: usize = 16;
const ACK_LIMIT: Duration = Duration::from_secs(10);

/// How far [`fill_store`] got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Messages that were acknowledged.
    pub messages: u64,
    /// Their payload.
    pub bytes: u64,
    /// Why it ended before everything was written.
    pub error: Option<String>,
}

/// Publishes to the stream `FILL`, in files and with as many replicas as there are servers (at most
/// three), until `bytes` are written or a message is refused. The stream is in the account without
/// limits, so what ends it early is the servers' storage.
pub async fn fill_store(cluster: &Cluster, bytes: u64) -> Result<Filled> {
    let client = cluster.roaming_client(Account::Aux).await?;
    let mut jetstream = jetstream::new(client);
    jetstream.set_timeout(ACK_LIMIT);
    let config = Config {
        name: "FILL".to_owned(),
        subjects: vec!["fill".to_owned()],
        num_replicas: cluster.nodes().len().min(3),
        ..Config::default()
    };
    patiently("FILL", async || jetstream.get_or_create_stream(config.clone()).await).await?;

    // Large messages only when the stream can be reached.
    let action = "publish to FILL";
    publish_one(&jetstream, "fill", HeaderMap::new(), String::new(), action).await?;

    let mut filled = Filled { messages: 0, bytes: 0, error: None };
    let mut sent: VecDeque<PublishAckFuture> = VecDeque::new();
    let mut left = bytes.div_ceil(MESSAGE as u64);
    while left > 0 || !sent.is_empty() {
        if left > 0 && sent.len() < WINDOW {
            let message = jetstream.publish("fill", vec![b'f'; MESSAGE].into()).await;
            sent.push_back(message.map_err(Error::client(action))?);
            left -= 1;
        } else if let Some(oldest) = sent.pop_front() {
            if let Err(error) = oldest.into_future().await {
                filled.error = Some(error.to_string());
                break;
            }
            filled.messages += 1;
            filled.bytes += MESSAGE as u64;
        }
    }
    Ok(filled)
}
