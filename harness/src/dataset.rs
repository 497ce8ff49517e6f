//! Many streams and consumers on a running server, for measurements at a large scale.
//!
//! It speaks the JetStream API itself: the client's own functions ask the server several times for
//! what one request does. Making it again changes nothing, and completes what was interrupted.

use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, HeaderMap, Request, ServerAddr};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use crate::Error;

/// A large server is busy for a while when hundreds of requests arrive at once.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// A new cluster refuses streams until it knows what its servers can hold.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(250);
/// Long enough that nothing is redelivered by the clock: numbers are to stand still.
const ACK_WAIT: Duration = Duration::from_secs(24 * 3600);
/// The code of API errors that may be gone in a moment, such as the lack of a leader.
const TEMPORARY: u64 = 503;

/// How much is made.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Dataset {
    /// How many streams.
    #[arg(long, value_name = "NUMBER", default_value_t = 5000)]
    pub streams: u32,

    /// How many consumers on each stream.
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    pub consumers: u32,

    /// How many messages each stream has got.
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    pub messages: u64,

    /// How many servers hold each stream.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub replicas: u32,

    /// How many streams are made at a time.
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub parallel: u16,
}

/// Makes what is missing on a server, given with user and password if it wants them.
pub async fn make(server: &str, plan: Dataset) -> Result<(), Error> {
    // The password of a URL is nobody's business.
    let host = server.rsplit('@').next().unwrap_or(server);
    let action = format!("connect to {host}");
    let address: ServerAddr = server.parse().map_err(|error| failed(&action, &error))?;
    let mut options = ConnectOptions::new().request_timeout(Some(REQUEST_LIMIT));
    // The client does not take them from the URL by itself.
    if let (Some(user), Some(password)) = (address.username(), address.password()) {
        options = options.user_and_password(user.to_owned(), password.to_owned());
    }
    let client = options.connect(address).await.map_err(|error| failed(&action, &error))?;
    let client = &client;
    stream::iter(1..=plan.streams)
        .map(|number| async move { Asset::new(client, plan, number).make().await })
        .buffer_unordered(usize::from(plan.parallel))
        .try_collect()
        .await
}

/// A stream with its consumers and messages.
struct Asset<'a> {
    client: &'a Client,
    plan: Dataset,
    number: u32,
    name: String,
    subject: String,
}

impl<'a> Asset<'a> {
    fn new(client: &'a Client, plan: Dataset, number: u32) -> Self {
        let (name, subject) = (format!("ORDERS-{number:05}"), format!("orders.{number:05}"));
        Self { client, plan, number, name, subject }
    }

    async fn make(&self) -> Result<(), Error> {
        let published = self.make_stream().await?;
        for message in published..self.plan.messages {
            self.publish(message).await?;
        }
        for consumer in 1..=self.plan.consumers {
            let name = format!("worker-{consumer:02}");
            let delivered = self.make_consumer(consumer, &name).await?;
            // The server keeps the state of a consumer that was ever used, and reads a file for each
            // of the others whenever it is asked.
            if delivered == 0 {
                self.consume(&name).await?;
            }
        }
        Ok(())
    }

    /// Returns how many messages it has ever got.
    async fn make_stream(&self) -> Result<u64, Error> {
        let limited = self.number.is_multiple_of(3);
        let config = json!({
            "name": self.name,
            "subjects": [format!("{}.>", self.subject)],
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "num_replicas": self.plan.replicas,
            "max_msgs": if limited { 100_000 } else { -1 },
        });
        let made = self.ask(&format!("$JS.API.STREAM.CREATE.{}", self.name), &config).await?;
        Ok(made["state"]["last_seq"].as_u64().unwrap_or_default())
    }

    /// Returns how many messages it has ever delivered.
    async fn make_consumer(&self, number: u32, name: &str) -> Result<u64, Error> {
        let mut subject = format!("$JS.API.CONSUMER.CREATE.{}.{name}", self.name);
        let mut config = json!({
            "durable_name": name,
            "name": name,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": u64::try_from(ACK_WAIT.as_nanos()).unwrap_or(u64::MAX),
            "max_ack_pending": 1000,
            "replay_policy": "instant",
        });
        if number.is_multiple_of(10) {
            let filter = format!("{}.new", self.subject);
            subject = format!("{subject}.{filter}");
            config["filter_subject"] = filter.into();
        }
        let request = json!({"stream_name": self.name, "config": config});
        let made = self.ask(&subject, &request).await?;
        Ok(made["delivered"]["consumer_seq"].as_u64().unwrap_or_default())
    }

    async fn publish(&self, number: u64) -> Result<(), Error> {
        let subject =
            format!("{}.{}", self.subject, if number.is_multiple_of(2) { "new" } else { "paid" });
        let payload = format!(r#"{{"stream":{},"order":{number}}}"#, self.number);
        // A message that was stored, and whose acknowledgement came too late, is not stored twice.
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{}-{number}", self.name));
        patiently(&format!("publish to {subject}"), async || {
            let request = Request::new().headers(headers.clone()).payload(payload.clone().into());
            self.send(&subject, request).await
        })
        .await?;
        Ok(())
    }

    /// One message delivered and acknowledged, another only delivered.
    async fn consume(&self, consumer: &str) -> Result<(), Error> {
        let wanted = self.plan.messages.min(2);
        let action = format!("fetch from {} {consumer}", self.name);
        // Messages come under their own subjects, so they need a subscription and not a request.
        let inbox = self.client.new_inbox();
        let messages = self.client.subscribe(inbox.clone()).await;
        let messages = messages.map_err(|error| failed(&action, &error))?;
        let next = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", self.name);
        let fetch = json!({"batch": wanted, "no_wait": true}).to_string();
        let fetch = self.client.publish_with_reply(next, inbox, fetch.into()).await;
        fetch.map_err(|error| failed(&action, &error))?;
        let mut messages = std::pin::pin!(messages.take(usize::try_from(wanted).unwrap_or(2)));
        for acknowledge in [true, false] {
            let message = tokio::time::timeout(REQUEST_LIMIT, messages.next()).await;
            // Without a subject to answer to it is a status, such as "no messages".
            let Some(message) = message.map_err(|error| failed(&action, &error))? else { break };
            let Some(reply) = message.reply else { break };
            if acknowledge {
                // With a request the server confirms it, so that the numbers stand when all is made.
                let acknowledged = self.client.request(reply, "+ACK".into()).await;
                acknowledged.map_err(|error| failed(&action, &error))?;
            }
        }
        Ok(())
    }

    async fn ask(&self, subject: &str, body: &Value) -> Result<Value, Error> {
        let payload = body.to_string();
        patiently(subject, async || {
            self.send(subject, Request::new().payload(payload.clone().into())).await
        })
        .await
    }

    async fn send(&self, subject: &str, request: Request) -> Result<Value, Refusal> {
        let answer = self.client.send_request(subject.to_owned(), request).await;
        let answer = answer.map_err(|error| Refusal { reason: error.to_string(), last: false })?;
        let answer: Value = serde_json::from_slice(&answer.payload)
            .map_err(|error| Refusal { reason: error.to_string(), last: true })?;
        match answer.get("error") {
            None => Ok(answer),
            Some(error) => Err(Refusal {
                reason: error["description"].as_str().unwrap_or("unknown error").to_owned(),
                last: error["code"].as_u64() != Some(TEMPORARY),
            }),
        }
    }
}

/// Why a request was not done.
struct Refusal {
    reason: String,
    /// Asking again does not help.
    last: bool,
}

async fn patiently(
    action: &str,
    mut attempt: impl AsyncFnMut() -> Result<Value, Refusal>,
) -> Result<Value, Error> {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Ok(answer) => return Ok(answer),
            Err(refusal) if refusal.last || Instant::now() >= end => {
                return Err(failed(action, &refusal.reason));
            }
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

fn failed(action: &str, reason: &impl ToString) -> Error {
    Error::Client { action: action.to_owned(), reason: reason.to_string() }
}
