//! The body of an answer: handed out in pieces, so that it is pulled by the
//! client rather than pushed at it.
//!
//! An exposition is kept compressed, so that a client that reads slowly holds little. For one that
//! does not take gzip, each piece is unpacked when its turn comes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

use super::accept::Coding;
use super::in_flight::Permit;
use super::place::Answering;
use crate::exposition::packed::{self, Packed, Unpacker};

/// The body of an answer.
pub(super) struct Pieces {
    source: Source,
    /// Held until the last piece is handed out, because the memory is held as long.
    _permit: Option<Permit>,
    /// Held as long, because so long the connection is in use.
    answering: Option<Answering>,
}

enum Source {
    /// As they are. hyper takes the next piece when one is on its way, so that a body, and the permit
    /// it holds, lives as long as the client needs to take it.
    Plain { pieces: VecDeque<Bytes>, left: u64 },
    /// Unpacked when they are asked for.
    Packed(Unpacker),
}

impl Pieces {
    /// A body for an answer that needs no permit.
    pub(super) fn new(content: impl Into<Bytes>) -> Self {
        Self { source: Source::plain([content.into()]), _permit: None, answering: None }
    }

    /// An exposition of `texts` in `coding`, which gives `permit` back when it is gone.
    pub(super) fn exposition(texts: &[Arc<Packed>], coding: Coding, permit: Permit) -> Self {
        let texts = texts.iter().map(Arc::as_ref);
        let source = match coding {
            Coding::Gzip => Source::plain(packed::gzip(texts)),
            Coding::Identity => Source::Packed(Unpacker::new(texts)),
        };
        Self { source, _permit: Some(permit), answering: None }
    }

    /// The same body, which ends `answering` when it is gone.
    pub(super) fn until_sent(self, answering: Answering) -> Self {
        answering.taken();
        Self { answering: Some(answering), ..self }
    }
}

impl Source {
    fn plain(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let pieces: VecDeque<_> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self::Plain { pieces, left }
    }

    fn left(&self) -> u64 {
        match self {
            Self::Plain { left, .. } => *left,
            Self::Packed(unpacker) => unpacker.left(),
        }
    }

    fn next(&mut self) -> Option<Bytes> {
        match self {
            Self::Plain { pieces, left } => {
                let piece = pieces.pop_front()?;
                *left -= piece.len() as u64;
                Some(piece)
            }
            Self::Packed(unpacker) => unpacker.next_piece(),
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(answering) = &self.answering {
            answering.taken();
        }
        Poll::Ready(self.source.next().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.source.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.source.left())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Read as _;

    use http_body_util::BodyExt;

    use super::*;
    use crate::exposition::packed::Packer;
    use crate::web::in_flight::InFlight;

    async fn collect(mut body: Pieces) -> Vec<u8> {
        let announced = body.size_hint().exact().expect("a length");
        let mut collected = Vec::new();
        while let Some(frame) = body.frame().await {
            assert!(!body.is_end_stream() || body.size_hint().exact() == Some(0));
            collected.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        assert_eq!(collected.len() as u64, announced);
        collected
    }

    fn packed(text: &str) -> Arc<Packed> {
        let mut packer = Packer::default();
        packer.write_str(text).unwrap();
        Arc::new(packer.finish())
    }

    #[tokio::test]
    async fn plain_bodies_come_as_they_are() {
        for length in [0, 1, 100_000] {
            let content: Vec<u8> = (0..=250).cycle().take(length).collect();
            assert_eq!(collect(Pieces::new(content.clone())).await, content);
        }
    }

    #[tokio::test]
    async fn expositions_come_in_both_codings() {
        let permit = || InFlight::default().enter(0, None).unwrap();
        let line = |number: u64| format!("n\u{fc}mber{{id=\"{number}\"}} {}\n", number * 7919);
        let long: String = (0..60_000).map(line).collect();
        assert!(long.len() > 4 * (256 << 10), "several blocks");
        for texts in [vec![""], vec!["short", "", "er"], vec!["a", &long, "z", &long]] {
            let whole = texts.concat();
            let texts: Vec<_> = texts.into_iter().map(packed).collect();
            let plain = collect(Pieces::exposition(&texts, Coding::Identity, permit())).await;
            assert_eq!(String::from_utf8(plain).unwrap(), whole);
            let zipped = collect(Pieces::exposition(&texts, Coding::Gzip, permit())).await;
            assert!(whole.len() < 1000 || zipped.len() < whole.len() / 2);
            let mut unzipped = String::new();
            // Reads one member only, as strict clients do.
            let mut decoder = flate2::read::GzDecoder::new(&zipped[..]);
            decoder.read_to_string(&mut unzipped).unwrap();
            assert_eq!(unzipped, whole);
        }
    }
}
