//! How late a task of this process is woken up: what a busy machine takes from everybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

const PACE: Duration = Duration::from_millis(100);

/// Measures until it is dropped.
#[derive(Debug)]
pub(super) struct Lateness {
    worst: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Lateness {
    pub(super) fn watch() -> Self {
        let worst = Arc::new(AtomicU64::new(0));
        let highest = Arc::clone(&worst);
        let task = tokio::spawn(async move {
            loop {
                let begin = Instant::now();
                tokio::time::sleep(PACE).await;
                let late = begin.elapsed().saturating_sub(PACE).as_millis();
                highest.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Self { worst, task }
    }

    /// The worst so far.
    pub(super) fn worst(&self) -> Duration {
        Duration::from_millis(self.worst.load(Ordering::Relaxed))
    }
}

impl Drop for Lateness {
    fn drop(&mut self) {
        self.task.abort();
    }
}
