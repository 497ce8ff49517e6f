//! The body of an answer: handed out in pieces, so that it is pulled by the
//! client rather than pushed at it.
//!
//! An encoder that writes while the client reads would become a second source
//! of pieces here; nothing else would have to know.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

use super::in_flight::Permit;

/// Bytes handed out at once. hyper takes the next piece when this one is on its way, so that a
/// body, and the permit it holds, lives as long as the client needs to take it.
const PIECE: usize = 64 * 1024;

/// The body of an answer.
pub(super) struct Pieces {
    rest: Bytes,
    /// Held until the last piece is handed out, because the memory is held as long.
    _permit: Option<Permit>,
}

impl Pieces {
    /// A body for an answer that needs no permit.
    pub(super) fn new(content: impl Into<Bytes>) -> Self {
        Self { rest: content.into(), _permit: None }
    }

    /// A body that gives `permit` back when it is gone.
    pub(super) fn holding(content: impl Into<Bytes>, permit: Permit) -> Self {
        Self { rest: content.into(), _permit: Some(permit) }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_comes_whole_and_in_pieces() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let content: Vec<u8> = (0..=250).cycle().take(length).collect();
            let mut body = Pieces::new(content.clone());
            assert_eq!(body.size_hint().exact(), Some(length as u64));
            let (mut pieces, mut collected) = (0, Vec::new());
            while let Some(frame) = body.frame().await {
                collected.extend_from_slice(&frame.unwrap().into_data().unwrap());
                pieces += 1;
            }
            assert_eq!(collected, content);
            assert_eq!(pieces, length.div_ceil(PIECE));
        }
    }
}
