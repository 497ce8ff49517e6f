//! One replicated stream with a producer and a worker, whose pace can be changed while they run.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::Config;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Side, patiently};
use crate::{Account, Cluster, Result};

const SUBJECT: &str = "flow.work";
const STREAM: &str = "FLOW";
const WORKER: &str = "worker";
const PACE: Duration = Duration::from_millis(50);
/// In a rush, each of these many producers sends a message a millisecond. What comes together is one operation of the
/// replicas, so a few large batches would be little work.
const RUSHERS: usize = 5;
const RUSH_PACE: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(1);
/// So few that a worker which acknowledges none is soon stopped.
const MAX_ACK_PENDING: i64 = 50;

/// The stream `FLOW` in three replicas, with the consumer `worker`; producer and worker end with the value.
#[derive(Debug)]
pub struct Flow {
    side: Side,
    rushes: watch::Sender<bool>,
    works: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Flow {
    /// The stream, and the subject that it takes.
    pub(crate) const STREAM: [&str; 2] = [STREAM, SUBJECT];

    /// Makes stream and consumer, and starts both ends at an easy pace.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let side = Side::open(cluster, Account::App).await?;
        let config = Config {
            name: STREAM.to_owned(),
            subjects: vec![SUBJECT.to_owned()],
            num_replicas: cluster.nodes().len().min(3),
            max_messages: 20_000,
            ..Config::default()
        };
        let stream =
            patiently(STREAM, async || side.jetstream.get_or_create_stream(config.clone()).await)
                .await?;
        let worker = pull::Config {
            durable_name: Some(WORKER.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(3600),
            max_ack_pending: MAX_ACK_PENDING,
            ..pull::Config::default()
        };
        patiently(WORKER, async || stream.get_or_create_consumer(WORKER, worker.clone()).await)
            .await?;
        let (rushes, rushing) = watch::channel(false);
        let (works, working) = watch::channel(true);
        let mut tasks = vec![
            tokio::spawn(produce(side.clone(), rushing.clone())),
            tokio::spawn(consume(side.clone(), working)),
        ];
        for _ in 1..RUSHERS {
            let own = Side::open(cluster, Account::App).await?;
            tasks.push(tokio::spawn(rush(own, rushing.clone())));
        }
        Ok(Self { side, rushes, works, tasks })
    }

    /// The server that leads the stream; nothing when it has no leader, or does not tell.
    pub async fn leader(&self) -> Option<String> {
        let info = self.side.jetstream.get_stream(STREAM).await.ok()?.cached_info().clone();
        info.cluster?.leader
    }

    /// Whether messages are produced as fast as the servers take them.
    pub fn rush(&self, rush: bool) {
        self.rushes.send_replace(rush);
    }

    /// Whether the worker acknowledges what it gets.
    pub fn work(&self, work: bool) {
        self.works.send_replace(work);
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Failures are ignored: faults are what the flow is watched under.
async fn produce(side: Side, rushing: watch::Receiver<bool>) {
    loop {
        send(&side).await;
        let pace = if *rushing.borrow() { RUSH_PACE } else { PACE };
        tokio::time::sleep(pace).await;
    }
}

/// A producer that sends in a rush only.
async fn rush(side: Side, mut rushing: watch::Receiver<bool>) {
    while rushing.wait_for(|rushing| *rushing).await.is_ok() {
        send(&side).await;
        tokio::time::sleep(RUSH_PACE).await;
    }
}

async fn send(side: &Side) {
    let _ = side.client.publish(SUBJECT, vec![b'w'; 128].into()).await;
    let _ = tokio::time::timeout(PATIENCE, side.client.flush()).await;
}

async fn consume(side: Side, working: watch::Receiver<bool>) {
    let mut kept = Vec::new();
    loop {
        let worker =
            side.jetstream.get_consumer_from_stream::<pull::Config, _, _>(WORKER, STREAM).await;
        if let Ok(worker) = worker {
            let batch = worker.fetch().max_messages(500).expires(PATIENCE).messages().await;
            if let Ok(mut batch) = batch {
                while let Some(Ok(message)) = batch.next().await {
                    kept.push(message);
                }
            }
        }
        if *working.borrow() {
            for message in kept.drain(..) {
                let message: async_nats::jetstream::Message = message;
                let _ = message.ack().await;
            }
        }
        tokio::time::sleep(PACE).await;
    }
}
