//! A connection whose client has stopped reading is given up.
//!
//! hyper has a time-out for headers that do not come, but none for an answer
//! that nobody takes; such a client would keep the answer in memory for ever.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::place::Place;
use crate::limits::Limit;

/// A stream on which a write that makes no progress for a while is an error, and whose place is told what
/// goes over it.
pub(super) struct Impatient<S> {
    stream: S,
    patience: Duration,
    /// Runs while a write waits. Made at the first wait, since most answers never wait.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    place: Arc<Place>,
}

impl<S> Impatient<S> {
    pub(super) fn new(stream: S, patience: Duration, place: Arc<Place>) -> Self {
        Self { stream, patience, timer: None, waiting: false, place }
    }

    /// As [`watch`](Self::watch), and tells the place of bytes that the client took.
    fn watch_write(
        &mut self,
        context: &mut Context<'_>,
        attempt: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if matches!(attempt, Poll::Ready(Ok(1..))) {
            self.place.sent();
        }
        self.watch(context, attempt)
    }

    /// Passes on what `attempt` came to, unless it has been waiting for too long.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        attempt: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if attempt.is_ready() {
            self.waiting = false;
            return attempt;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(Instant::now() + self.patience);
        }
        ready!(timer.as_mut().poll(context));
        self.place.hit(Limit::StallTimeout);
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the client does not take the answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let attempt = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.place.received();
        }
        attempt
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch_write(context, attempt)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.watch_write(context, attempt)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, attempt)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, attempt)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::web::place::Places;

    const PATIENCE: Duration = Duration::from_secs(30);

    async fn place() -> Arc<Place> {
        Places::new(1, Arc::default()).take().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_given_up() {
        let (ours, _theirs) = duplex(16);
        let place = place().await;
        let started = Instant::now();
        let error = Impatient::new(ours, PATIENCE, place).write_all(&[0; 17]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_is_not() {
        let (ours, mut theirs) = duplex(16);
        let reader = tokio::spawn(async move {
            let mut taken = 0;
            loop {
                sleep(PATIENCE / 2).await;
                match theirs.read(&mut [0; 16]).await.unwrap() {
                    0 => return taken,
                    length => taken += length,
                }
            }
        });
        let mut stream = Impatient::new(ours, PATIENCE, place().await);
        stream.write_all(&[0; 160]).await.unwrap();
        drop(stream);
        assert_eq!(reader.await.unwrap(), 160);
    }
}
