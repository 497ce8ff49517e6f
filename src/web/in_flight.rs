//! How many scrapes are served at the same time. As long as one is, its connection keeps its place.
//!
//! A counter rather than a semaphore, because the limit may change at every
//! reload while scrapes are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::place::{Claim, Kept};

/// Counts the scrapes under way.
#[derive(Debug, Clone, Default)]
pub(super) struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    /// A permit for one more scrape, unless `limit` of them are under way; 0 is no limit.
    pub(super) fn enter(&self, limit: usize, claim: Option<&Claim>) -> Option<Permit> {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (limit == 0 || count < limit).then_some(count + 1)
            })
            .ok()
            .map(|_| Permit { count: Arc::clone(&self.0), _place: claim.map(Claim::keep) })
    }
}

/// One scrape under way; it ends when this is dropped.
pub(super) struct Permit {
    count: Arc<AtomicUsize>,
    _place: Option<Kept>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_what_is_held() {
        let in_flight = InFlight::default();
        let first = in_flight.enter(2, None).unwrap();
        let second = in_flight.enter(2, None).unwrap();
        assert!(in_flight.enter(2, None).is_none());
        drop(first);
        let third = in_flight.enter(2, None).unwrap();
        assert!(in_flight.enter(1, None).is_none(), "a lower limit holds at once");
        assert!(in_flight.enter(0, None).is_some(), "0 is no limit");
        drop((second, third));
        assert!(in_flight.enter(1, None).is_some());
    }
}
