//! Places for connections: how many there are, what happens on each, and whose turn to go it is.
//!
//! A client that sends its request slowly, or none, takes next to nothing but its place. So it has a time
//! to use it, and when the places run out, who has waited for a request longest gives way: however many of
//! them there are, a new connection is served at once. When none is waiting, the connection gives way whose
//! request has been in hand longest. Only scrapes keep their places, and `web.max_requests` bounds those: a client
//! that does not take the answer to a question that costs nothing would have its place for nothing.
//!
//! On HTTP/1 [`Impatient`](super::stall) sees a client that does not take its answer. It does not see a client of HTTP/2
//! that keeps the connection alive and lets one of its streams stand still, so answers are followed here.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::server::Limits;
use crate::limits::{Limit, Meter};

/// The places of all connections.
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<Vec<Weak<Place>>>,
    /// Told when somebody may give way who might not before.
    displaceable: Arc<Notify>,
    meter: Arc<Meter>,
}

/// The place of one connection; free again when this is dropped.
pub(super) struct Place {
    phase: watch::Sender<Phase>,
    /// Whether the connection has streams, so that what goes over it is of no request in particular.
    is_shared: AtomicBool,
    displaceable: Arc<Notify>,
    meter: Arc<Meter>,
    _slot: OwnedSemaphorePermit,
}

/// What happens on a connection.
#[derive(Debug)]
enum Phase {
    /// Nothing, since then.
    Idle(Instant),
    /// The head of a request is expected or arriving, since then.
    Head(Instant),
    /// Requests are being answered.
    Busy(HashMap<u64, InHand>),
    /// It has to give way.
    Displaced,
}

/// A request that is being answered.
#[derive(Debug)]
struct InHand {
    /// Since when.
    since: Instant,
    /// Since when nothing has been taken of the answer of a stream; nothing where that is not for us to see, or there is
    /// no answer yet.
    taken: Option<Instant>,
    keeps_place: bool,
}

impl InHand {
    fn new() -> Self {
        Self { since: Instant::now(), taken: None, keeps_place: false }
    }
}

impl Places {
    pub(super) fn new(count: usize, meter: Arc<Meter>) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS))),
            taken: Mutex::default(),
            displaceable: Arc::default(),
            meter,
        }
    }

    /// A place for a new connection. When there is none, somebody gives way, as soon as somebody may.
    pub(super) async fn take(&self) -> Arc<Place> {
        let slot = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => self.make_room().await,
        };
        self.meter.opened();
        let place = Arc::new(Place {
            phase: watch::Sender::new(Phase::Head(Instant::now())),
            is_shared: AtomicBool::new(false),
            displaceable: Arc::clone(&self.displaceable),
            meter: Arc::clone(&self.meter),
            _slot: slot,
        });
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|place| place.strong_count() > 0);
        taken.push(Arc::downgrade(&place));
        place
    }

    async fn make_room(&self) -> OwnedSemaphorePermit {
        self.meter.hit(Limit::Connections, 1);
        let free = Arc::clone(&self.free).acquire_owned();
        let displace = async {
            while !self.displace() {
                warn!("as many connections are open as may be, and all have a scrape: one waits");
                self.displaceable.notified().await;
            }
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            biased;
            slot = free => slot.expect("the semaphore is never closed"),
            never = displace => match never {},
        }
    }

    /// Has the connection give way that needs its place least; false when all are kept.
    fn displace(&self) -> bool {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let need = |place: Arc<Place>| Some((place.phase.borrow().need()?, Arc::clone(&place)));
        let mut places: Vec<_> = taken.iter().filter_map(Weak::upgrade).filter_map(need).collect();
        places.sort_unstable_by_key(|(need, _)| *need);
        places.iter().any(|(_, place)| place.give_way())
    }
}

/// How much a connection needs its place, the least first: one that waits for a request, and one with a request in
/// hand. Among them the one for which that has been so longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Waiting(Instant),
    InHand(Instant),
}

impl Phase {
    /// Nothing for a connection that keeps its place, or has lost it already.
    fn need(&self) -> Option<Need> {
        match self {
            Self::Idle(since) | Self::Head(since) => Some(Need::Waiting(*since)),
            Self::Busy(requests) if requests.values().any(|request| request.keeps_place) => None,
            Self::Busy(requests) => {
                requests.values().map(|request| Need::InHand(request.since)).min()
            }
            Self::Displaced => None,
        }
    }

    /// When the connection has to end if nothing else happens, because of which limit, and in words. Nothing while a request
    /// is being answered.
    fn end(&self, limits: &Limits) -> Option<(Instant, Limit, &'static str)> {
        match self {
            Self::Idle(since) => Some((*since + limits.idle, Limit::IdleTimeout, "not used")),
            Self::Head(since) => {
                Some((*since + limits.head, Limit::HeaderTimeout, "the request does not come"))
            }
            Self::Busy(requests) => {
                requests.values().filter_map(|r| r.taken).min().map(|taken| {
                    (taken + limits.stall, Limit::StallTimeout, "an answer is not taken")
                })
            }
            Self::Displaced => None,
        }
    }
}

impl Place {
    /// Notes that the connection has streams, each with one request, and is set up.
    pub(super) fn is_shared_by_streams(&self) {
        self.is_shared.store(true, Ordering::Relaxed);
        self.phase.send_if_modified(|phase| {
            let is_new = matches!(phase, Phase::Head(_));
            if is_new {
                *phase = Phase::Idle(Instant::now());
            }
            is_new
        });
    }

    fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Relaxed)
    }

    /// Notes that the client sent something.
    pub(super) fn received(&self) {
        if self.is_shared() {
            return;
        }
        self.phase.send_if_modified(|phase| {
            let begins = matches!(phase, Phase::Idle(_));
            if begins {
                *phase = Phase::Head(Instant::now());
            }
            begins
        });
    }

    /// Notes that the client took something; the end of an answer is on its way when the answer is done.
    pub(super) fn sent(&self) {
        if self.is_shared() {
            return;
        }
        self.phase.send_if_modified(|phase| {
            let is_idle = matches!(phase, Phase::Idle(_));
            if is_idle {
                *phase = Phase::Idle(Instant::now());
            }
            is_idle
        });
    }

    /// Counts that this connection hit `limit`.
    pub(super) fn hit(&self, limit: Limit) {
        self.meter.hit(limit, 1);
    }

    /// Notes that a request came; it is being answered until the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        let mut request = 0;
        self.phase.send_if_modified(|phase| {
            match phase {
                Phase::Idle(_) | Phase::Head(_) => {
                    *phase = Phase::Busy([(request, InHand::new())].into());
                }
                Phase::Busy(requests) => {
                    request = requests.keys().max().map_or(0, |last| last + 1);
                    requests.insert(request, InHand::new());
                }
                Phase::Displaced => {}
            }
            true
        });
        Answering(Claim { request, place: Arc::clone(self) })
    }

    /// Changes what is known of a request that is being answered; `change` says whether that is to be told.
    fn change(&self, request: u64, change: impl FnOnce(&mut InHand) -> bool) {
        self.phase.send_if_modified(|phase| match phase {
            Phase::Busy(requests) => requests.get_mut(&request).is_some_and(change),
            _ => false,
        });
    }

    /// Tells who waits for a place when this one may have to give way.
    fn tell_if_displaceable(&self) {
        if self.phase.borrow().need().is_some() {
            self.displaceable.notify_one();
        }
    }

    /// Whether it does: a scrape may just have begun.
    fn give_way(&self) -> bool {
        self.phase.send_if_modified(|phase| {
            let may = phase.need().is_some();
            if may {
                *phase = Phase::Displaced;
            }
            may
        })
    }

    /// Returns when the connection has to end, with the reason.
    pub(super) async fn overdue(&self, limits: &Limits) -> &'static str {
        let mut phases = self.phase.subscribe();
        loop {
            let end = {
                let phase = phases.borrow_and_update();
                if matches!(*phase, Phase::Displaced) {
                    return "gave way to another";
                }
                phase.end(limits)
            };
            match end {
                Some((end, limit, reason)) if end <= Instant::now() => {
                    self.hit(limit);
                    return reason;
                }
                // Something may be taken meanwhile, so the end is looked at again.
                Some((end, ..)) => drop(timeout_at(end, phases.changed()).await),
                None => drop(phases.changed().await),
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.meter.closed();
    }
}

/// A request that is being answered, until it is dropped.
pub(super) struct Answering(Claim);

impl Answering {
    /// What the connection keeps its place by, if the request turns out to be a scrape.
    pub(super) fn claim(&self) -> Claim {
        self.0.clone()
    }

    /// Notes that the client has room for more of the answer.
    pub(super) fn taken(&self) {
        if !self.0.place.is_shared() {
            return;
        }
        self.0.place.change(self.0.request, |request| {
            // Only the first time is waited for; the later ones move an end that is looked at when it comes.
            request.taken.replace(Instant::now()).is_none()
        });
    }
}

/// Travels with a request to where it is known whether its connection keeps its place.
#[derive(Clone)]
pub(super) struct Claim {
    request: u64,
    place: Arc<Place>,
}

impl Claim {
    /// The connection keeps its place until the result is dropped.
    pub(super) fn keep(&self) -> Kept {
        self.set(true);
        Kept(self.clone())
    }

    fn set(&self, keeps_place: bool) {
        self.place.change(self.request, |request| {
            request.keeps_place = keeps_place;
            // Nobody waits for this.
            false
        });
    }
}

/// The connection of a request keeps its place, until this is dropped.
pub(super) struct Kept(Claim);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.set(false);
        self.0.place.tell_if_displaceable();
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.place.phase.send_if_modified(|phase| {
            if let Phase::Busy(requests) = phase {
                requests.remove(&self.0.request);
                if requests.is_empty() {
                    *phase = Phase::Idle(Instant::now());
                }
            }
            matches!(phase, Phase::Idle(_))
        });
        self.0.place.tell_if_displaceable();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::web::body::Pieces;
    use crate::web::tests::USUAL;

    /// The place of a connection that has streams.
    async fn shared() -> Arc<Place> {
        let place = Places::new(1, Arc::default()).take().await;
        place.is_shared_by_streams();
        place
    }

    async fn lasts(place: &Place) -> Duration {
        let started = Instant::now();
        let end = timeout(Duration::from_secs(3600), place.overdue(&USUAL)).await;
        end.expect("it is never given up");
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_ends() {
        let place = Places::new(1, Arc::default()).take().await;
        assert_eq!(lasts(&place).await, USUAL.head);
        let place = shared().await;
        assert_eq!(lasts(&place).await, USUAL.idle);
        // What a client sends to keep the connection alive is no request.
        let again = Arc::clone(&place);
        tokio::spawn(async move {
            loop {
                again.received();
                again.sent();
                sleep(USUAL.idle / 10).await;
            }
        });
        let underway = place.begin();
        sleep(USUAL.idle * 2).await;
        drop(underway);
        assert_eq!(lasts(&place).await, USUAL.idle);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_take_its_time_but_has_to_be_taken() {
        let place = shared().await;
        let underway = place.begin();
        let ended = timeout(USUAL.idle * 10, place.overdue(&USUAL)).await;
        assert!(ended.is_err(), "it is being answered");
        let _body = Pieces::new("text").until_sent(underway);
        assert_eq!(lasts(&place).await, USUAL.stall);
        assert_eq!(place.meter.hits(Limit::StallTimeout), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_stream_does_not_cover_for_another() {
        let place = shared().await;
        let _stuck = Pieces::new("text").until_sent(place.begin());
        let busy = Arc::clone(&place);
        tokio::spawn(async move {
            loop {
                drop(Pieces::new("text").until_sent(busy.begin()));
                sleep(USUAL.stall / 10).await;
            }
        });
        assert_eq!(lasts(&place).await, USUAL.stall);
    }
}
