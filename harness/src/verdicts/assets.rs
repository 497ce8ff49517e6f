//! The streams of a round, and whether they can be written to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{self, Context};
use futures_util::future::join_all;

use crate::workload::patiently;
use crate::{Account, Cluster, Error, Result};

/// What stands for making and deleting streams.
const META: &str = "meta API";
const ONE_TRY: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(200);
/// How the streams are called that are made to try it.
const SPARE: &str = "SPARE";

/// A stream, and a subject that it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) stream: &'static str,
    pub(super) subject: &'static str,
}

/// A stream in memory.
const MEMORY: &str = "MEMORY";
/// The stream that is on every server.
pub(super) const WIDE: &str = "FIVE";

/// Makes the streams: two of one replica, three of three, and one of five, some with a consumer. One in memory is more,
/// for when files take nothing any more.
pub(super) async fn make(cluster: &Cluster, with_memory: bool) -> Result<Vec<Target>> {
    let jetstream = open(cluster, 0, Duration::from_secs(5)).await?;
    let most = cluster.nodes().len();
    let mut plan = vec![
        ("ONE-A", 1, true),
        ("ONE-B", 1, false),
        ("THREE-A", 3, true),
        ("THREE-B", 3, false),
        ("THREE-C", 3, true),
        (WIDE, 5, true),
    ];
    plan.extend(with_memory.then_some((MEMORY, 3, true)));
    for (name, replicas, has_consumer) in plan.iter().copied() {
        let config = Config {
            name: name.to_owned(),
            subjects: vec![name.to_owned()],
            num_replicas: most.min(replicas),
            storage: if name == MEMORY { StorageType::Memory } else { StorageType::File },
            ..Config::default()
        };
        let stream =
            patiently(name, async || jetstream.get_or_create_stream(config.clone()).await).await?;
        if has_consumer {
            let durable =
                pull::Config { durable_name: Some("reader".to_owned()), ..pull::Config::default() };
            patiently(name, async || {
                stream.get_or_create_consumer("reader", durable.clone()).await
            })
            .await?;
        }
    }
    Ok(plan.into_iter().map(|(name, ..)| Target { stream: name, subject: name }).collect())
}

/// Publishes so many bytes to a stream, until something is refused; that may be what is wanted.
pub(super) async fn fill(cluster: &Cluster, node: usize, stream: &str, bytes: usize) -> Result<()> {
    const MESSAGE: usize = 128 << 10;
    let jetstream = open(cluster, node, Duration::from_secs(5)).await?;
    let mut left = bytes.div_ceil(MESSAGE);
    while left > 0 {
        let batch = left.min(16);
        let sent = (0..batch).map(async |_| {
            let sent = jetstream.publish(stream.to_owned(), vec![b'f'; MESSAGE].into()).await;
            match sent {
                Ok(acknowledged) => acknowledged.await.is_ok(),
                Err(_) => false,
            }
        });
        if !join_all(sent).await.into_iter().all(|worked| worked) {
            break;
        }
        left -= batch;
    }
    Ok(())
}

async fn open(cluster: &Cluster, node: usize, limit: Duration) -> Result<Context> {
    let mut jetstream = jetstream::new(cluster.client(Account::App, node).await?);
    jetstream.set_timeout(limit);
    Ok(jetstream)
}

/// Writes to every stream, by a client of one server.
pub(super) struct Writes {
    jetstream: Context,
    targets: Vec<Target>,
    /// Streams that were made to try the meta API and perhaps not deleted.
    left: Mutex<BTreeSet<String>>,
}

/// What worked, and when it first did; and what never did.
#[derive(Default)]
pub(super) struct Attempt {
    pub(super) worked: BTreeMap<String, Instant>,
    pub(super) failed: BTreeSet<String>,
}

impl Writes {
    pub(super) async fn to(cluster: &Cluster, node: usize, targets: &[Target]) -> Result<Self> {
        Ok(Self {
            jetstream: open(cluster, node, ONE_TRY).await?,
            targets: targets.to_vec(),
            left: Mutex::default(),
        })
    }

    /// Tries all at the same time, each until it works or the limit is over.
    pub(super) async fn attempt(&self, limit: Duration) -> Attempt {
        let end = Instant::now() + limit;
        let streams = self.targets.iter().map(async |target| {
            let at = until(end, async || self.publish(target.subject).await).await;
            (target.stream.to_owned(), at)
        });
        let meta =
            async { (META.to_owned(), until(end, async || self.make_and_delete().await).await) };
        let (streams, meta) = tokio::join!(join_all(streams), meta);
        let mut attempt = Attempt::default();
        for (name, at) in streams.into_iter().chain([meta]) {
            match at {
                Some(at) => drop(attempt.worked.insert(name, at)),
                None => drop(attempt.failed.insert(name)),
            }
        }
        attempt
    }

    async fn publish(&self, subject: &'static str) -> Result<()> {
        let sent = self.jetstream.publish(subject, "written".into()).await;
        sent.map_err(Error::client("publish"))?.await.map_err(Error::client("publish"))?;
        Ok(())
    }

    /// A stream in memory, so that a full disk is not what is tried here. Each has a new name: one that was given to a
    /// server which is away would never come about.
    async fn make_and_delete(&self) -> Result<()> {
        let name = format!("{SPARE}-{}", number());
        let config = Config {
            name: name.clone(),
            subjects: vec![name.clone()],
            storage: StorageType::Memory,
            ..Config::default()
        };
        self.left().insert(name.clone());
        let made = self.jetstream.create_stream(config).await;
        made.map_err(Error::client("make a stream"))?;
        self.jetstream.delete_stream(&name).await.map_err(Error::client("delete a stream"))?;
        self.left().remove(&name);
        Ok(())
    }

    /// Deletes what is left of the tries. It may never have come about.
    pub(super) async fn tidy(&self) {
        let left = std::mem::take(&mut *self.left());
        join_all(left.iter().map(async |name| self.jetstream.delete_stream(name).await)).await;
    }

    fn left(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When it first worked.
async fn until(end: Instant, attempt: impl AsyncFn() -> Result<()>) -> Option<Instant> {
    loop {
        let one = tokio::time::timeout(2 * ONE_TRY, attempt()).await;
        if matches!(one, Ok(Ok(()))) {
            return Some(Instant::now());
        }
        if Instant::now() >= end {
            return None;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// A number that no stream had before.
fn number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
