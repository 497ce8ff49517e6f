//! One request at a time, shared by everybody who wants its answer.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::nats::failure::{Failure, Reason};

/// Something that was read from a server, and when.
#[derive(Debug)]
pub struct Reading<T> {
    /// What was read.
    pub value: T,
    /// When the request was sent, on the exporter's clock.
    pub at: SystemTime,
    /// When the request was sent, for ages.
    pub started: Instant,
    /// From sending the request to having decoded the answer.
    pub elapsed: Duration,
}

/// A request that gave nothing.
#[derive(Debug, Clone)]
pub struct Failed {
    /// Why.
    pub failure: Failure,
    /// How long it took to find out.
    pub elapsed: Duration,
}

/// How a request ended.
pub type Outcome<T> = Result<Arc<Reading<T>>, Failed>;

/// At most one request in flight; callers that come meanwhile get the same answer.
///
/// The request runs in a task of its own: it goes on when a caller gives up, so that its answer
/// is there for the next one, and it ends at its own time-out.
#[derive(Debug)]
pub struct Flight<T> {
    current: Arc<Mutex<Option<Waiting<T>>>>,
}

impl<T> Default for Flight<T> {
    fn default() -> Self {
        Self { current: Arc::default() }
    }
}

impl<T: Send + Sync + 'static> Flight<T> {
    /// Joins the request in flight, or sends `request` with `timeout` for its whole life.
    ///
    /// `ended` is called once for each request that was sent, before anybody gets the outcome, and
    /// is told whether a caller gave up before; see [`Waiting::or_timeout`].
    pub fn join<F>(
        &self,
        timeout: Duration,
        request: impl FnOnce() -> F,
        ended: impl FnOnce(&Outcome<T>, bool) + Send + 'static,
    ) -> Waiting<T>
    where
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = current.as_ref().filter(|waiting| waiting.in_flight()) {
            return Waiting { started: Instant::now(), ..waiting.clone() };
        }
        let (sender, outcome) = watch::channel(None);
        let given_up = Arc::new(AtomicBool::new(false));
        let (request, late) = (request(), Arc::clone(&given_up));
        let slot = Arc::clone(&self.current);
        tokio::spawn(async move {
            let outcome = run(timeout, request).await;
            ended(&outcome, late.load(Ordering::Relaxed));
            // The answer belongs to those who wait; kept here, it would stay until the next request.
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            *slot = None;
            sender.send_replace(Some(outcome));
        });
        let waiting = Waiting { outcome, given_up, started: Instant::now() };
        *current = Some(waiting.clone());
        waiting
    }
}

async fn run<T>(
    timeout: Duration,
    request: impl Future<Output = Result<T, Failure>>,
) -> Outcome<T> {
    let (at, started) = (SystemTime::now(), Instant::now());
    let result = tokio::time::timeout(timeout, request).await.unwrap_or_else(|_| {
        let text = format!("no complete answer within {}", humantime::format_duration(timeout));
        Err(Failure::new(Reason::Timeout, text))
    });
    let elapsed = started.elapsed();
    match result {
        Ok(value) => Ok(Arc::new(Reading { value, at, started, elapsed })),
        Err(failure) => Err(Failed { failure, elapsed }),
    }
}

/// A place in the queue for an answer.
#[derive(Debug)]
pub struct Waiting<T> {
    outcome: watch::Receiver<Option<Outcome<T>>>,
    given_up: Arc<AtomicBool>,
    started: Instant,
}

impl<T> Clone for Waiting<T> {
    fn clone(&self) -> Self {
        Self {
            outcome: self.outcome.clone(),
            given_up: Arc::clone(&self.given_up),
            started: self.started,
        }
    }
}

impl<T> Waiting<T> {
    fn in_flight(&self) -> bool {
        self.outcome.borrow().is_none() && self.outcome.has_changed().is_ok()
    }

    /// Waits until `deadline`; nothing when the request is still in flight then.
    pub async fn until(&mut self, deadline: Instant) -> Option<Outcome<T>> {
        let wait = self.outcome.wait_for(Option::is_some);
        match tokio::time::timeout_at(deadline, wait).await {
            Ok(Ok(outcome)) => outcome.clone(),
            Ok(Err(_)) => Some(Err(Failed {
                failure: Failure::new(Reason::Internal, "the request's task ended early"),
                elapsed: self.started.elapsed(),
            })),
            Err(_) => None,
        }
    }

    /// Waits until `deadline`; a request that is still in flight then counts as timed out.
    ///
    /// `given_up` is called with that outcome by the first caller of a request that gives up.
    pub async fn or_timeout(
        mut self,
        deadline: Instant,
        given_up: impl FnOnce(&Outcome<T>),
    ) -> Outcome<T> {
        if let Some(outcome) = self.until(deadline).await {
            return outcome;
        }
        let outcome = Err(Failed {
            failure: Failure::new(
                Reason::Timeout,
                "no complete answer before the end of the scrape",
            ),
            elapsed: self.started.elapsed(),
        });
        if !self.given_up.swap(true, Ordering::Relaxed) {
            given_up(&outcome);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const LONG: Duration = Duration::from_secs(60);

    fn soon() -> Instant {
        Instant::now() + LONG / 2
    }

    #[tokio::test(start_paused = true)]
    async fn callers_share_one_request() {
        let flight = Flight::default();
        let sent = Arc::new(AtomicUsize::new(0));
        let request = || {
            let sent = Arc::clone(&sent);
            async move {
                sent.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(7)
            }
        };
        let (first, second) =
            (flight.join(LONG, request, |_, _| ()), flight.join(LONG, request, |_, _| ()));
        let (first, second) =
            tokio::join!(first.or_timeout(soon(), |_| ()), second.or_timeout(soon(), |_| ()));
        assert_eq!((first.unwrap().value, second.unwrap().value), (7, 7));
        assert_eq!(sent.load(Ordering::SeqCst), 1);
        let third = flight.join(LONG, request, |_, _| ()).or_timeout(soon(), |_| ()).await;
        assert_eq!(third.unwrap().value, 7);
        assert_eq!(sent.load(Ordering::SeqCst), 2, "an answered request is not reused");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_gives_up_and_the_request_goes_on() {
        let flight = Flight::default();
        let slow = || async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Ok(1)
        };
        let early = Instant::now() + Duration::from_secs(1);
        let late = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&late);
        let ended = move |_: &Outcome<u8>, late| told.store(late, Ordering::Relaxed);
        let waiting = flight.join(LONG, slow, ended);
        let other = waiting.clone();
        let mut told = 0;
        let gave_up = waiting.or_timeout(early, |_| told += 1).await.unwrap_err();
        assert_eq!(gave_up.failure.reason, Reason::Timeout);
        assert!(other.or_timeout(early, |_| told += 1).await.is_err());
        assert_eq!(told, 1, "the time-out of one request is told once");
        let joined = flight.join(LONG, || async { unreachable!("one is in flight") }, |_, _| ());
        assert_eq!(joined.or_timeout(soon(), |_| ()).await.unwrap().value, 1);
        assert!(late.load(Ordering::Relaxed), "the end of the request knows");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_ends_at_its_own_time_out() {
        let flight: Flight<u8> = Flight::default();
        let never = || std::future::pending();
        let failed =
            flight.join(Duration::from_secs(2), never, |_, _| ()).or_timeout(soon(), |_| ()).await;
        assert_eq!(failed.unwrap_err().failure.reason, Reason::Timeout);
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_and_the_next_request_is_sent() {
        let flight: Flight<u8> = Flight::default();
        let failed = flight
            .join(LONG, || async { panic!("on purpose") }, |_, _| ())
            .or_timeout(soon(), |_| ())
            .await;
        assert_eq!(failed.unwrap_err().failure.reason, Reason::Internal);
        let next =
            flight.join(LONG, || async { Ok(3) }, |_, _| ()).or_timeout(soon(), |_| ()).await;
        assert_eq!(next.unwrap().value, 3);
    }
}
