//! The configuration of streams and consumers, kept from the answer that had it
//! for the answers that do not.
//!
//! Asking for it doubles an answer and costs the server three times as much, and it seldom changes. An
//! entry belongs to an account, a stream, a consumer and the time of its creation, so what is
//! made anew under an old name never shows the configuration of what was there before. That of a stream
//! belongs to the size of its raft group as well: with the number of replicas that it had before, a stream that
//! has fewer now would look like one that was not started.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use super::StreamDetail;
use crate::nats::jsz::{Consumer, ConsumerConfig, RaftGroup, Stream, StreamConfig};
use crate::nats::time::Timestamp;

/// What one server said of its configuration at one time.
#[derive(Debug, Default)]
pub struct Book {
    accounts: HashMap<String, HashMap<String, StreamEntry>>,
}

#[derive(Debug)]
struct StreamEntry {
    created: Option<Timestamp>,
    /// Of its raft group.
    size: Option<usize>,
    config: Arc<StreamConfig>,
    /// By name.
    consumers: Vec<ConsumerEntry>,
}

#[derive(Debug)]
struct ConsumerEntry {
    name: Box<str>,
    created: Option<Timestamp>,
    config: Arc<ConsumerConfig>,
}

impl Book {
    /// Gives the streams of an account, and their consumers, the configuration that they have
    /// not brought along. Consumers have to be sorted by name.
    pub fn complete(&self, account: &str, streams: &mut [StreamDetail]) {
        let Some(entries) = self.accounts.get(account) else { return };
        for StreamDetail { stream, consumers, .. } in streams {
            let Some(entry) = entries.get(&stream.name) else { continue };
            let is_same = same(entry.created, stream.created) && entry.size == size(stream);
            if stream.config.is_none() && is_same {
                stream.config = Some(Arc::clone(&entry.config));
            }
            let mut entries = entry.consumers.iter().peekable();
            for consumer in consumers.iter_mut().filter(|consumer| consumer.config.is_none()) {
                while entries.next_if(|entry| entry.name < consumer.name).is_some() {}
                let entry = entries.peek().filter(|entry| entry.name == consumer.name);
                if let Some(entry) = entry.filter(|entry| same(entry.created, consumer.created)) {
                    consumer.config = Some(Arc::clone(&entry.config));
                }
            }
        }
    }
}

fn size(stream: &Stream) -> Option<usize> {
    stream.cluster.as_ref().map(RaftGroup::size)
}

/// Whether two times of creation are known and the same.
fn same(one: Option<Timestamp>, other: Option<Timestamp>) -> bool {
    one.is_some() && one == other
}

/// Fills a book.
#[derive(Debug, Default)]
pub struct Writer {
    book: Book,
    streams: HashSet<Arc<StreamConfig>>,
    consumers: HashSet<Arc<ConsumerConfig>>,
}

impl Writer {
    /// Makes a stream share its configuration with those that have the same.
    pub fn share_stream(&mut self, stream: &mut Stream) {
        share(&mut self.streams, &mut stream.config);
    }

    /// Makes a consumer share its configuration with those that have the same: most do.
    pub fn share_consumer(&mut self, consumer: &mut Consumer) {
        share(&mut self.consumers, &mut consumer.config);
    }

    /// Notes the configuration that the streams of an account and their consumers have brought
    /// along. Consumers have to be sorted by name.
    pub fn note(&mut self, account: &str, streams: &[StreamDetail]) {
        for StreamDetail { stream, consumers, .. } in streams {
            let Some(config) = &stream.config else { continue };
            let entry = |consumer: &Consumer| {
                let config = Arc::clone(consumer.config.as_ref()?);
                let (name, created) = (consumer.name.clone(), consumer.created);
                Some(ConsumerEntry { name, created, config })
            };
            let mut entries = Vec::with_capacity(consumers.len());
            entries.extend(consumers.iter().filter_map(entry));
            let entry = StreamEntry {
                created: stream.created,
                size: size(stream),
                config: Arc::clone(config),
                consumers: entries,
            };
            let account = self.book.accounts.entry(account.to_owned()).or_default();
            account.insert(stream.name.clone(), entry);
        }
    }

    /// The book.
    #[must_use]
    pub fn finish(self) -> Book {
        self.book
    }
}

/// Replaces `value` by an equal one that is there already.
fn share<T: Hash + Eq>(all: &mut HashSet<Arc<T>>, value: &mut Option<Arc<T>>) {
    let Some(value) = value else { return };
    match all.get(value) {
        Some(other) => *value = Arc::clone(other),
        None => {
            all.insert(Arc::clone(value));
        }
    }
}
