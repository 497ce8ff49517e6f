//! Light traffic that goes on through faults.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use futures_util::StreamExt;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::Side;

const PACE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(1);

/// A task for core messaging and one for each subject of the streams, so that trouble with one does not
/// slow down the others. Failures are ignored: faults are what the traffic is watched under.
pub(super) fn start(app: &Side, aux: &Side) -> Vec<JoinHandle<()>> {
    let app_subjects = ["orders.eu.new", "orders.us.new", "events.click", "work.job"];
    let app_stores =
        app_subjects.map(|subject| tokio::spawn(store(app.jetstream.clone(), subject)));
    let mut tasks = Vec::from(app_stores);
    tasks.extend([
        tokio::spawn(store(aux.jetstream.clone(), "metrics.cpu")),
        tokio::spawn(talk(app.client.clone())),
        tokio::spawn(answer(app.client.clone())),
        tokio::spawn(work(app.jetstream.clone())),
    ]);
    tasks
}

async fn talk(client: Client) {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let _ = client.publish("chat.room", "hello".into()).await;
        let _ = timeout(PATIENCE, client.request("chat.ask", "how are you?".into())).await;
    }
}

async fn answer(client: Client) {
    loop {
        if let Ok(mut questions) = client.queue_subscribe("chat.>", "answerers".to_owned()).await {
            while let Some(question) = questions.next().await {
                if let Some(reply) = question.reply {
                    let _ = client.publish(reply, "well".into()).await;
                }
            }
        }
        sleep(PATIENCE).await;
    }
}

async fn store(jetstream: Context, subject: &'static str) {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        if let Ok(sent) = jetstream.publish(subject, "traffic".into()).await {
            let _ = timeout(PATIENCE, sent).await;
        }
    }
}

async fn work(jetstream: Context) {
    loop {
        if let Ok(worker) =
            jetstream.get_consumer_from_stream::<pull::Config, _, _>("worker", "WORK").await
        {
            work_for(&worker).await;
        }
        sleep(PATIENCE).await;
    }
}

async fn work_for(worker: &PullConsumer) {
    while let Ok(mut batch) = worker.fetch().max_messages(20).expires(PATIENCE).messages().await {
        while let Some(Ok(message)) = batch.next().await {
            let _ = message.ack().await;
        }
        sleep(PACE).await;
    }
}
