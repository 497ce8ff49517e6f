//! Detailed `/jsz`: what comes is cut, reduced and joined while it arrives.

use std::sync::Arc;

use nats_exporter::detail::book::Book;
use nats_exporter::detail::{Detail, Known, Reader};
use nats_exporter::nats::endpoint::Endpoint;
use nats_exporter::nats::failure::Failure;
use serde::de::IgnoredAny;

use super::endpoints::introduce;
use crate::exposition::Family;
use crate::stage::{Answers, CONFIG, Server};
use crate::{SEPARATOR, parts};

/// The first part chooses: its first byte the size of the chunks, its second what is known of the server. The others are pages.
pub(super) fn check(input: &[u8]) {
    let [choices, pages] = parts(input);
    let chunk = usize::from(choices.first().copied().unwrap_or(0)) + 1;
    let choice = choices.get(1).copied().unwrap_or(b'0');
    let own_name = (choice & 1 == 1).then(|| "n1".to_owned());
    let pages: Vec<_> = pages.split(|byte| *byte == SEPARATOR).collect();
    let known = Known { own_name: own_name.clone(), book: None };
    let whole = read(&pages, usize::MAX, known.clone());
    let cut = read(&pages, chunk, known);
    assert_eq!(whole.is_ok(), cut.is_ok(), "{whole:?} {cut:?}");
    let (Ok((whole, book)), Ok((cut, _))) = (whole, cut) else { return };
    for page in &pages {
        let other: Result<IgnoredAny, _> = serde_json::from_slice(page);
        let is_json = other.as_ref().map_err(ToString::to_string).map(|_| ());
        // The pieces are less deep than the whole.
        let is_deep = is_json.as_ref().is_err_and(|error| error.starts_with("recursion limit"));
        assert!(is_json.is_ok() || is_deep, "{is_json:?}");
    }
    assert_eq!(shown(whole), shown(cut), "chunks of {chunk}");
    let known = Known { own_name, book: Some(Arc::new(book)) };
    let (completed, _) = read(&pages, chunk, known).expect("it was read before");
    let _ = shown(completed);
}

fn read(pages: &[&[u8]], chunk: usize, known: Known) -> Result<(Detail, Book), Failure> {
    let mut reader = Reader::new(CONFIG.jetstream.clone(), known);
    for page in pages {
        for chunk in page.chunks(chunk) {
            reader.push(chunk)?;
        }
        reader.end_page()?;
    }
    reader.finish()
}

fn shown(detail: Detail) -> Vec<Family> {
    let server = Server::default();
    let varz = introduce(&server, detail.server_id.as_deref().unwrap_or_default());
    let detail = server.note(Endpoint::JszDetail, Ok(detail));
    server.shown(&Answers { varz: Some(varz), detail: Some(detail), ..Answers::default() })
}
