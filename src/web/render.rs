//! From a scrape to the bytes that are sent: encoding and compression, on a
//! thread that may block, because both take long for a large scrape.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use tokio::task::{self, JoinError};

use super::accept::Coding;
use super::backend::Backend;
use super::body::Pieces;
use super::in_flight::Permit;
use crate::exposition::Format;

/// Bodies shorter than this, in bytes, fit a packet and are sent as they are.
const WORTH_COMPRESSING: usize = 1000;

/// A body and the coding it is in.
pub(super) struct Rendered {
    /// What to send.
    pub(super) body: Pieces,
    /// The coding used, which is not the one asked for when the body is small.
    pub(super) coding: Coding,
}

/// Encodes and compresses `scrape`.
///
/// The permit goes along, because a thread under way is not stopped when the client leaves.
///
/// # Errors
///
/// When the encoder panics, or the runtime is going away.
pub(super) async fn render<B: Backend>(
    scrape: B::Scrape,
    format: Format,
    coding: Coding,
    permit: Permit,
) -> Result<Rendered, JoinError> {
    let work = task::spawn_blocking(move || {
        let (content, coding) = compressed(B::encode(scrape, format), coding);
        Rendered { body: Pieces::holding(content, permit), coding }
    });
    work.await
}

/// `text` in `coding`, or as it is when compressing is not worth it.
fn compressed(text: String, coding: Coding) -> (Bytes, Coding) {
    if coding == Coding::Identity || text.len() < WORTH_COMPRESSING {
        return (text.into(), Coding::Identity);
    }
    match gzip(text.as_bytes()) {
        Ok(content) => (content.into(), Coding::Gzip),
        Err(error) => {
            tracing::warn!(%error, "cannot compress, so the answer is sent as it is");
            (text.into(), Coding::Identity)
        }
    }
}

/// Level 1: higher levels take a multiple of the time to save little of what is left.
fn gzip(content: &[u8]) -> io::Result<Vec<u8>> {
    // Exposition text shrinks to about a twelfth; room for an eighth saves most of the copying.
    let mut encoder = GzEncoder::new(Vec::with_capacity(content.len() / 8), Compression::new(1));
    encoder.write_all(content)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn gzip_can_be_read_again() {
        let text = "nats_server_up 1\n".repeat(1000);
        let (content, coding) = compressed(text.clone(), Coding::Gzip);
        assert_eq!(coding, Coding::Gzip);
        assert!(content.len() < text.len() / 10, "{} bytes", content.len());
        let mut read = String::new();
        flate2::read::GzDecoder::new(&content[..]).read_to_string(&mut read).unwrap();
        assert_eq!(read, text);
    }

    #[test]
    fn small_or_unasked_bodies_are_sent_as_they_are() {
        for (length, coding) in
            [(WORTH_COMPRESSING - 1, Coding::Gzip), (WORTH_COMPRESSING * 4, Coding::Identity)]
        {
            let (content, used) = compressed("x".repeat(length), coding);
            assert_eq!((content.len(), used), (length, Coding::Identity));
        }
    }
}
