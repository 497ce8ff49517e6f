//! Work that takes long, on threads that give way to everything else.
//!
//! Reading and writing the detail of a large server takes all of a core for a while. The base tier
//! must not wait for it, on a machine with few cores either.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};

use tokio::sync::oneshot;

/// How much less of a core such a thread gets when others want it: the number of `nice`.
const NICENESS: i32 = 19;

/// The work has not come to its end, which is a defect.
#[derive(Debug, thiserror::Error)]
#[error("a background thread ended early")]
pub struct Ended;

/// Runs `work` on a thread of its own, named `name`.
///
/// Dropping the future does not stop the work.
///
/// # Errors
/// When there can be no more threads, or `work` panics.
pub async fn run<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Ended> {
    let (sender, result) = oneshot::channel();
    let work = move || {
        // Nobody waits any more when this fails.
        let _ = sender.send(work());
    };
    start(name, work);
    result.await.map_err(|_| Ended)
}

/// Starts `work` on a thread of its own, named `name`. When there can be no more threads, the log says so and `work` is
/// dropped.
pub fn start(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = spawn(name, work) {
        tracing::error!("cannot start a thread: {error}");
    }
}

/// Drops something large, which takes milliseconds, where nobody has to wait for it.
pub fn drop_later(value: impl Send + 'static) {
    // When there can be no more threads, the value is dropped here.
    let _ = spawn("drop", move || drop(value));
}

/// Starts a thread that gives way.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    let spawned = thread.spawn(move || {
        give_way();
        work();
    });
    spawned.map(drop)
}

/// Work in many parts, done on the calling thread and, from the second part on, on another one as
/// well, whichever has time. Results come in the order of the parts.
pub struct Shared<W, R> {
    /// Makes what does the work, once for each thread.
    worker: fn() -> Worker<W, R>,
    own: Worker<W, R>,
    other: Option<Other<W, R>>,
    /// Parts that were taken.
    taken: usize,
    /// Results that were given back.
    given: usize,
    /// Results whose turn has not come.
    done: BTreeMap<usize, R>,
}

/// Parts that may wait for the other thread. With fewer it stands idle while this one does a part.
const WAITING: usize = 4;

/// What does the work.
pub type Worker<W, R> = Box<dyn FnMut(W) -> R + Send>;

/// The other thread. It ends when the sender is gone.
struct Other<W, R> {
    work: SyncSender<(usize, W)>,
    done: Receiver<(usize, R)>,
}

impl<W: Send + 'static, R: Send + 'static> Shared<W, R> {
    /// Nothing is done yet, and there is no other thread.
    #[must_use]
    pub fn new(worker: fn() -> Worker<W, R>) -> Self {
        Self { worker, own: worker(), other: None, taken: 0, given: 0, done: BTreeMap::new() }
    }

    /// Takes a part, and does it here when the other thread is busy.
    pub fn push(&mut self, work: W) {
        let number = self.taken;
        self.taken += 1;
        if number == 1 {
            self.other = Other::start(self.worker);
        }
        let refused = match &self.other {
            None => Some(work),
            Some(other) => match other.work.try_send((number, work)) {
                Ok(()) => None,
                Err(TrySendError::Full((_, work)) | TrySendError::Disconnected((_, work))) => {
                    Some(work)
                }
            },
        };
        if let Some(work) = refused {
            self.done.insert(number, (self.own)(work));
        }
    }

    /// The next result, when it is there.
    pub fn ready(&mut self) -> Option<R> {
        if let Some(other) = &self.other {
            self.done.extend(other.done.try_iter());
        }
        let result = self.done.remove(&self.given)?;
        self.given += 1;
        Some(result)
    }

    /// The results that were not given back yet.
    ///
    /// # Panics
    /// When the work panicked on the other thread.
    pub fn finish(mut self) -> impl Iterator<Item = R> {
        if let Some(Other { work, done }) = self.other.take() {
            drop(work);
            self.done.extend(done);
        }
        assert_eq!(self.given + self.done.len(), self.taken, "a background thread ended early");
        self.done.into_values()
    }
}

impl<W: Send + 'static, R: Send + 'static> Other<W, R> {
    /// Nothing when there can be no more threads: one is enough.
    fn start(worker: fn() -> Worker<W, R>) -> Option<Self> {
        let (work, received) = sync_channel::<(usize, W)>(WAITING);
        let (results, done) = channel();
        let spawned = spawn("second", move || {
            let mut worker = worker();
            for (number, work) in received {
                if results.send((number, worker(work))).is_err() {
                    break;
                }
            }
        });
        spawned.ok().map(|()| Self { work, done })
    }
}

impl<W, R> std::fmt::Debug for Shared<W, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("taken", &self.taken).finish_non_exhaustive()
    }
}

/// Lowers the priority of the calling thread. Where that is refused, everything works all the same.
fn give_way() {
    // On Linux this is about the thread, not about the process.
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!("cannot lower the priority of a thread: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn results_and_panics_come_back() {
        assert_eq!(run("test", || 7).await.unwrap(), 7);
        assert!(run("test", || panic!("on purpose")).await.is_err());
    }

    #[test]
    fn shared_work_is_done_once_and_comes_in_order() {
        for parts in [0, 1, 2, 500] {
            let mut shared = Shared::new(|| Box::new(|number: u64| number * number));
            let mut results = Vec::new();
            for part in 0..parts {
                shared.push(part);
                results.extend(std::iter::from_fn(|| shared.ready()));
            }
            results.extend(shared.finish());
            assert_eq!(results, (0..parts).map(|part| part * part).collect::<Vec<_>>());
        }
    }

    #[test]
    #[should_panic(expected = "ended early")]
    fn work_that_panics_elsewhere_is_missed() {
        let mut shared = Shared::new(|| {
            Box::new(|part: u64| {
                std::thread::sleep(std::time::Duration::from_millis(20 * part));
                assert_ne!(std::thread::current().name(), Some("second"), "on purpose");
            })
        });
        (0..3).for_each(|part| shared.push(part));
        let _ = shared.finish();
    }

    #[tokio::test]
    async fn only_the_thread_gives_way() {
        let own = rustix::process::getpriority_process(None).unwrap();
        let there = run("test", || rustix::process::getpriority_process(None).unwrap()).await;
        let least = 19;
        assert_eq!(there.unwrap(), (own + NICENESS).min(least));
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), own);
    }
}
