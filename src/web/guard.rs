//! Keeps a panic in one request from reaching anything else.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// Runs `future`; a panic in it becomes an error with the message of the panic.
///
/// In place rather than in a task of its own, so that dropping it still cancels the work.
pub(super) async fn guard<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(|context| {
        // Sound in the sense of unwind safety: a future that panicked is not polled again, and
        // what it shares with others (counters, channels) is left whole by their destructors.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(message(&*panic))),
        }
    })
    .await
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_error() {
        assert_eq!(guard(async { 7 }).await, Ok(7));
        let late = async {
            tokio::task::yield_now().await;
            panic!("number {}", 7)
        };
        assert_eq!(guard::<_>(late).await.map(|(): ()| ()), Err("number 7".to_owned()));
    }
}
