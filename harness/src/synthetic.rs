//! Answers of servers that do not exist: the monitoring bodies of a system of any size.
//!
//! A real server with 200,000 consumers needs more memory than a machine for tests has (4.7 GB for
//! 50,000 on 2.14.6). A [`Site`] has the same to say, in the form of that version, from a few numbers:
//! its [`Shape`] and the [`Moment`]. The same two give the same body; with each tick counters grow, with
//! each epoch other servers lead.
//!
//! A body is made in pieces while it is read, so that its size does not matter.
//!
//! ```
//! use nats_harness::synthetic::{Moment, Request, Shape, Site};
//!
//! # fn example() -> Result<(), nats_harness::Error> {
//! let site = Site::new(Shape { streams: 20_000, servers: 3, replicas: 3, ..Shape::default() })?;
//! let request = Request::parse("/jsz?consumers=true");
//! let answer = site.answer(0, &request, Moment::default());
//! let bytes: usize = answer.pieces.map(|piece| piece.len()).sum();
//! # Ok(())
//! # }
//! ```
//!
//! Left out: direct consumers, push consumers, streams with sources, and every fault.

mod json;
mod jsz;
mod model;
mod request;
mod server;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::{Error, Result};
pub use jsz::Jsz;
pub use request::{Query, Request};

/// A piece of a body is about so large; the last one is smaller.
pub const PIECE: usize = 64 * 1024;

/// 2026-01-01T00:00:00Z, when the servers of [`Site::new`] were started.
const STARTED: u64 = 1_767_225_600_000_000_000;
/// What [`Moment::at_tick`] takes as the time between two answers.
const TICK: u64 = 15_000_000_000;

/// How much there is. All numbers are of the whole system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Streams with consumers.
    pub streams: u64,
    /// Consumers of each of them.
    pub consumers_per_stream: u64,
    /// Accounts over which the streams are spread evenly.
    pub accounts: u64,
    /// 1 (standalone) or 3 (a cluster).
    pub servers: u64,
    /// How many servers hold each stream: 1, or 3 if there are as many servers.
    pub replicas: u64,
    /// Further streams, which mirror one of the others and have no consumers.
    pub mirrors: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            streams: 100,
            consumers_per_stream: 10,
            accounts: 1,
            servers: 1,
            replicas: 1,
            mirrors: 0,
        }
    }
}

/// The state of the system, apart from what stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Counters grow with it.
    pub tick: u64,
    /// Another epoch, other leaders.
    pub epoch: u64,
    /// The servers' clock in nanoseconds since 1970; 0 is the time of their start.
    pub now: u64,
}

impl Moment {
    /// Some time after the start of a [`Site::new`], the more the higher the tick.
    #[must_use]
    pub fn at_tick(tick: u64) -> Self {
        Self { tick, epoch: 0, now: STARTED + tick * TICK }
    }
}

/// The simulated servers.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    shape: Shape,
    /// In nanoseconds since 1970.
    started: u64,
}

/// What a server answers.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The value of the header `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub pieces: Pieces,
}

/// The pieces of a body, made when they are asked for.
#[derive(Debug)]
pub enum Pieces {
    /// Of a short body: at most one.
    Whole(Option<Vec<u8>>),
    /// Of `/jsz`.
    Jsz(Box<Jsz>),
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Whole(body) => body.take(),
            Self::Jsz(jsz) => jsz.next(),
        }
    }
}

impl Site {
    /// Servers that were started at the beginning of 2026. Fails when there cannot be such a system.
    pub fn new(shape: Shape) -> Result<Self> {
        Self::started(shape, Duration::from_nanos(STARTED))
    }

    /// The same, started at this time since 1970.
    pub fn started(shape: Shape, started: Duration) -> Result<Self> {
        let refuse = |reason: &str| Err(Error::Shape { reason: reason.to_owned() });
        match shape {
            Shape { servers: 0 | 2 | 4.., .. } => refuse("servers are 1 or 3"),
            Shape { replicas: 0 | 2 | 4.., .. } => refuse("replicas are 1 or 3"),
            Shape { replicas: 3, servers: 1, .. } => refuse("3 replicas need 3 servers"),
            Shape { accounts: 0, .. } => refuse("there is at least one account"),
            Shape { mirrors: 1.., streams, accounts, .. } if streams < accounts => {
                refuse("mirrors need a stream in each account")
            }
            shape => {
                let started = u64::try_from(started.as_nanos()).unwrap_or(STARTED);
                Ok(Self { shape, started })
            }
        }
    }

    /// The shape.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// What the server with this index answers. The pieces do not borrow from the site.
    #[must_use]
    pub fn answer(&self, server: u64, request: &Request, moment: Moment) -> Answer {
        let moment = Moment { now: moment.now.max(self.started), ..moment };
        let short = |status, content_type, body| Answer {
            status,
            content_type,
            pieces: Pieces::Whole(Some(body)),
        };
        let json = "application/json";
        let text = "text/plain; charset=utf-8";
        match request {
            Request::Varz => short(200, json, self.varz(server, moment)),
            Request::Routez => short(200, json, self.routez(server, moment)),
            Request::Healthz => short(200, json, br#"{"status":"ok"}"#.to_vec()),
            Request::Jsz(query)
                if query.leader_only
                    && self.meta_leader(moment.epoch).is_some_and(|leader| leader != server) =>
            {
                short(400, text, b"filtered response: not leader".to_vec())
            }
            Request::Jsz(query) => {
                let jsz = Jsz::new(*self, server, query.clone(), moment);
                Answer { status: 200, content_type: json, pieces: Pieces::Jsz(Box::new(jsz)) }
            }
            Request::Bad(reason) => short(400, text, reason.clone().into_bytes()),
            Request::Unknown => short(404, text, b"404 page not found\n".to_vec()),
        }
    }
}

/// The whole body, for a path with query such as `/jsz?consumers=true&config=true`.
pub fn body(shape: Shape, server: u64, path: &str, moment: Moment) -> Result<Vec<u8>> {
    let mut pieces = Site::new(shape)?.answer(server, &Request::parse(path), moment).pieces;
    let mut whole = pieces.next().unwrap_or_default();
    for piece in pieces {
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}
