//! How many requests are answered: a bucket of tokens that fills with time.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::RateLimit;

/// Gives out `burst` tokens at once, and then one each `interval`.
#[derive(Debug)]
pub(super) struct Bucket {
    limit: RateLimit,
    /// When it will be full; in the past if it is.
    full_at: Mutex<Instant>,
}

impl Bucket {
    pub(super) fn new(limit: RateLimit) -> Self {
        Self { limit, full_at: Mutex::new(Instant::now()) }
    }

    pub(super) fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&self) -> bool {
        let now = Instant::now();
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let then = (*full_at).max(now) + self.limit.interval;
        let whole: Duration = self.limit.interval.saturating_mul(self.limit.burst);
        let is_there = then - now <= whole;
        if is_there {
            *full_at = then;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_one_each_interval() {
        let interval = Duration::from_secs(2);
        let bucket = Bucket::new(RateLimit { interval, burst: 3 });
        let taken = |count: usize| (0..count).filter(|_| bucket.take()).count();
        assert_eq!(taken(10), 3);
        sleep(interval).await;
        assert_eq!(taken(10), 1);
        sleep(Duration::from_millis(1_999)).await;
        assert_eq!(taken(10), 0);
        sleep(interval * 100).await;
        assert_eq!(taken(10), 3, "no more than the burst is saved up");
    }
}
