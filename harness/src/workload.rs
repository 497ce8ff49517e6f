//! Streams, consumers and messages of many kinds, to have something to look at.
//!
//! What there is to make is listed in `assets`; this module makes it, keeps the clients that belong to
//! it, and reads back from the servers what came of it. Making it again changes nothing.

mod assets;
mod fill;
mod flow;
mod traffic;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{PullConsumer, PushConsumer};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::stream::{StorageType, Stream};
use async_nats::jetstream::{self, AckKind, Context};
use futures_util::{StreamExt, TryStreamExt};
use tokio::task::JoinHandle;

use crate::{Account, Cluster, Error, Result};
use assets::Consumer;
pub use fill::{Filled, fill_store};
pub use flow::Flow;

/// A new cluster refuses streams until it knows what its servers can hold.
const MAKE_LIMIT: Duration = Duration::from_secs(30);
const API_LIMIT: Duration = Duration::from_secs(5);
const FETCH_LIMIT: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(250);

/// How the assets are to be made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The replicas of those streams that are to survive a server: 1 or 3.
    pub replicas: usize,
}

/// One stream, as the servers tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamMade {
    /// The account, `$G` in a cluster without accounts.
    pub account: String,
    /// The name.
    pub name: String,
    /// How many servers hold it.
    pub replicas: usize,
    /// In memory instead of in files?
    pub memory: bool,
    /// How many messages it holds.
    pub messages: u64,
    /// The sequence number of its last message.
    pub last_sequence: u64,
    /// The stream that it mirrors.
    pub mirror: Option<String>,
    /// The streams it takes messages from.
    pub sources: Vec<String>,
    /// Metadata without the servers' own (`_nats.`).
    pub metadata: HashMap<String, String>,
    /// Its consumers, by name.
    pub consumers: Vec<ConsumerMade>,
}

/// One consumer, as the servers tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerMade {
    /// The name.
    pub name: String,
    /// Does it last without clients?
    pub durable: bool,
    /// For push consumers: is there a subscriber? Nothing for pull consumers.
    pub push_bound: Option<bool>,
    /// Messages that it has not delivered yet.
    pub pending: u64,
    /// Messages delivered and not acknowledged.
    pub ack_pending: usize,
    /// Of those, the ones delivered more than once.
    pub redelivered: usize,
    /// Metadata without the servers' own (`_nats.`).
    pub metadata: HashMap<String, String>,
}

/// The assets of a cluster, and the clients that belong to them. Dropping it lets these clients go;
/// streams and consumers stay.
#[derive(Debug)]
pub struct Workload {
    accounts: bool,
    app: Side,
    aux: Side,
    clients: Vec<JoinHandle<()>>,
    traffic: Vec<JoinHandle<()>>,
}

/// One account's way in.
#[derive(Clone, Debug)]
struct Side {
    client: Client,
    jetstream: Context,
}

impl Side {
    async fn open(cluster: &Cluster, account: Account) -> Result<Self> {
        let client = cluster.roaming_client(account).await?;
        let mut jetstream = jetstream::new(client.clone());
        jetstream.set_timeout(API_LIMIT);
        Ok(Self { client, jetstream })
    }
}

impl Workload {
    /// Makes everything that is missing, and delivers some messages.
    pub async fn make(cluster: &Cluster, plan: Plan) -> Result<Self> {
        let mut workload = Self {
            accounts: cluster.has_accounts(),
            app: Side::open(cluster, Account::App).await?,
            aux: Side::open(cluster, Account::Aux).await?,
            clients: Vec::new(),
            traffic: Vec::new(),
        };
        let with_metadata = cluster.version_is_at_least(2, 10);
        for asset in assets::streams(plan.replicas, with_metadata) {
            let jetstream = &workload.side(asset.account).jetstream;
            let stream = patiently(&asset.config.name, async || {
                jetstream.get_or_create_stream(asset.config.clone()).await
            })
            .await?;
            for consumer in &asset.consumers {
                make_consumer(&stream, consumer).await?;
            }
            publish(jetstream, &stream, &asset.messages).await?;
        }
        workload.leave_traces().await?;
        workload.attach_clients().await?;
        Ok(workload)
    }

    fn side(&self, account: Account) -> &Side {
        if account == Account::Aux { &self.aux } else { &self.app }
    }

    /// A deleted message, duplicates, messages that are not acknowledged or delivered twice, a full
    /// stream: once, since repeating it would change the numbers.
    async fn leave_traces(&self) -> Result<()> {
        let jetstream = &self.app.jetstream;
        let orders = get_stream(jetstream, "ORDERS").await?;
        if orders.cached_info().state.deleted_count.unwrap_or_default() == 0 {
            let deleted = orders.delete_message(10).await;
            deleted.map_err(Error::client("delete a message of ORDERS"))?;
            publish_duplicates(jetstream).await?;
        }
        leave_unacknowledged(&orders, "proc", 10, 4, 2).await?;
        let work = get_stream(jetstream, "WORK").await?;
        leave_unacknowledged(&work, "worker", 8, 5, 0).await?;
        let alerts = get_stream(&self.aux.jetstream, "ALERTS").await?;
        leave_unacknowledged(&alerts, "pager", 5, 4, 0).await?;
        fill_limited(jetstream).await
    }

    /// The clients that make a push consumer bound and a pull request wait.
    async fn attach_clients(&mut self) -> Result<()> {
        let orders = get_stream(&self.app.jetstream, "ORDERS").await?;
        let bound: PushConsumer =
            orders.get_consumer("push_bound").await.map_err(Error::client("look up push_bound"))?;
        let mut messages =
            bound.messages().await.map_err(Error::client("subscribe to push_bound"))?;
        self.clients.push(tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                if let Ok(message) = message {
                    let _ = message.ack().await;
                }
            }
        }));
        let waiting: PullConsumer =
            orders.get_consumer("eu_only").await.map_err(Error::client("look up eu_only"))?;
        self.clients.push(tokio::spawn(async move {
            loop {
                let request = waiting.fetch().max_messages(1).expires(Duration::from_secs(60));
                if let Ok(mut batch) = request.messages().await {
                    while batch.next().await.is_some() {}
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }));
        Ok(())
    }

    /// What is there now, in the servers' own words, sorted by account and name. Waits for streams that
    /// are electing a leader, and fails after half a minute when one stays without.
    pub async fn describe(&self) -> Result<Vec<StreamMade>> {
        let mut made = Vec::new();
        if self.accounts {
            describe(&self.app.jetstream, Account::App.name(), &mut made).await?;
            describe(&self.aux.jetstream, Account::Aux.name(), &mut made).await?;
        } else {
            describe(&self.app.jetstream, "$G", &mut made).await?;
        }
        made.sort_by(|a, b| (&a.account, &a.name).cmp(&(&b.account, &b.name)));
        Ok(made)
    }

    /// Starts light traffic, some of it core messaging and some of it for the streams. It goes on
    /// through faults as far as it can. Does nothing while it runs already.
    pub fn start_traffic(&mut self) {
        if self.traffic.is_empty() {
            self.traffic = traffic::start(&self.app, &self.aux);
        }
    }

    /// Stops the traffic. Messages under way may still arrive.
    pub fn stop_traffic(&mut self) {
        for task in self.traffic.drain(..) {
            task.abort();
        }
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.stop_traffic();
        for task in self.clients.drain(..) {
            task.abort();
        }
    }
}

/// Tries until it works, and gives the last error when it does not.
pub(crate) async fn patiently<T, E: std::fmt::Display>(
    what: &str,
    attempt: impl AsyncFn() -> Result<T, E>,
) -> Result<T> {
    let end = Instant::now() + MAKE_LIMIT;
    loop {
        match attempt().await {
            Ok(made) => return Ok(made),
            Err(error) if Instant::now() >= end => {
                return Err(Error::client(format!("make or look up {what}"))(error));
            }
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

/// Patiently as well: a stream that is electing its leader does not answer.
async fn get_stream(jetstream: &Context, name: &str) -> Result<Stream> {
    patiently(name, async || jetstream.get_stream(name).await).await
}

async fn make_consumer(stream: &Stream, consumer: &Consumer) -> Result<()> {
    patiently(consumer.name(), async || match consumer {
        Consumer::Pull(config) => {
            stream.get_or_create_consumer(consumer.name(), config.clone()).await.map(drop)
        }
        Consumer::Push(config) => {
            stream.get_or_create_consumer(consumer.name(), config.clone()).await.map(drop)
        }
    })
    .await
}

/// Publishes what the stream was never given yet.
async fn publish(jetstream: &Context, stream: &Stream, messages: &assets::Messages) -> Result<()> {
    let action = format!("publish to {}", stream.cached_info().config.name);
    for number in stream.cached_info().state.last_sequence..messages.count {
        let text = format!("message {number}");
        publish_one(jetstream, messages.subject(number), HeaderMap::new(), text, &action).await?;
    }
    Ok(())
}

async fn publish_duplicates(jetstream: &Context) -> Result<()> {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "the-same-each-time");
    for _ in 0..6 {
        let (headers, text) = (headers.clone(), "duplicate".to_owned());
        publish_one(jetstream, "orders.eu.new", headers, text, "publish a duplicate").await?;
    }
    Ok(())
}

/// Publishes one message. Word of a new stream takes a moment to reach the other servers, so this tries
/// again as long as no stream wants the message.
async fn publish_one(
    jetstream: &Context,
    subject: &'static str,
    headers: HeaderMap,
    text: String,
    action: &str,
) -> Result<()> {
    let end = Instant::now() + MAKE_LIMIT;
    loop {
        let sent = jetstream
            .publish_with_headers(subject, headers.clone(), text.clone().into())
            .await
            .map_err(Error::client(action))?;
        match sent.await {
            Ok(_) => return Ok(()),
            Err(error)
                if error.kind() == PublishErrorKind::StreamNotFound && Instant::now() < end =>
            {
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(Error::client(action)(error)),
        }
    }
}

/// Takes messages from a consumer, acknowledges some, sends some back to get them once more, and leaves
/// the rest. Does nothing when some are left already.
async fn leave_unacknowledged(
    stream: &Stream,
    name: &str,
    take: usize,
    acknowledge: usize,
    again: usize,
) -> Result<()> {
    let action = format!("take messages from {name}");
    let consumer: PullConsumer = stream.get_consumer(name).await.map_err(Error::client(&action))?;
    if consumer.cached_info().num_ack_pending > 0 {
        return Ok(());
    }
    let messages = fetch(&consumer, take, &action).await?;
    for (index, message) in messages.iter().enumerate() {
        if index < acknowledge {
            message.double_ack().await.map_err(Error::client(&action))?;
        } else if index < acknowledge + again {
            let back = message.double_ack_with(AckKind::Nak(None)).await;
            back.map_err(Error::client(&action))?;
        }
    }
    if again > 0 {
        fetch(&consumer, again, &action).await?;
    }
    Ok(())
}

/// So many messages, or fewer when they do not come in time.
async fn fetch(
    consumer: &PullConsumer,
    count: usize,
    action: &str,
) -> Result<Vec<jetstream::Message>> {
    let end = Instant::now() + MAKE_LIMIT;
    let mut messages = Vec::new();
    while messages.len() < count && Instant::now() < end {
        let left = count - messages.len();
        let batch = consumer.fetch().max_messages(left).expires(FETCH_LIMIT).messages().await;
        let mut batch = batch.map_err(Error::client(action))?;
        while let Some(Ok(message)) = batch.next().await {
            messages.push(message);
        }
    }
    Ok(messages)
}

/// Publishes until the stream that refuses new messages when full does so.
async fn fill_limited(jetstream: &Context) -> Result<()> {
    let payload = vec![b'x'; 4096];
    for number in 0..64 {
        let subject = format!("limited.{}", number % 16);
        let sent = jetstream
            .publish(subject, payload.clone().into())
            .await
            .map_err(Error::client("publish to LIMITED"))?;
        if sent.await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn describe(jetstream: &Context, account: &str, made: &mut Vec<StreamMade>) -> Result<()> {
    let names: Vec<String> =
        patiently("the list of streams", async || jetstream.stream_names().try_collect().await)
            .await?;
    for name in names {
        let stream = get_stream(jetstream, &name).await?;
        let mut consumers: Vec<ConsumerMade> = patiently(&name, async || {
            stream.consumers().map_ok(ConsumerMade::from).try_collect().await
        })
        .await?;
        consumers.sort_by(|a, b| a.name.cmp(&b.name));
        made.push(stream_made(account, &stream, consumers));
    }
    Ok(())
}

fn stream_made(account: &str, stream: &Stream, consumers: Vec<ConsumerMade>) -> StreamMade {
    let info = stream.cached_info();
    let config = info.config.clone();
    StreamMade {
        account: account.to_owned(),
        name: config.name,
        replicas: config.num_replicas,
        memory: config.storage == StorageType::Memory,
        messages: info.state.messages,
        last_sequence: info.state.last_sequence,
        mirror: config.mirror.map(|mirror| mirror.name),
        sources: config.sources.into_iter().flatten().map(|source| source.name).collect(),
        metadata: own_metadata(config.metadata),
        consumers,
    }
}

impl From<jetstream::consumer::Info> for ConsumerMade {
    fn from(info: jetstream::consumer::Info) -> Self {
        Self {
            name: info.name,
            durable: info.config.durable_name.is_some(),
            push_bound: info.config.deliver_subject.is_some().then_some(info.push_bound),
            pending: info.num_pending,
            ack_pending: info.num_ack_pending,
            redelivered: info.num_redelivered,
            metadata: own_metadata(info.config.metadata),
        }
    }
}

/// Servers of 2.11 and later add their own.
fn own_metadata(mut metadata: HashMap<String, String>) -> HashMap<String, String> {
    metadata.retain(|name, _| !name.starts_with("_nats."));
    metadata
}
