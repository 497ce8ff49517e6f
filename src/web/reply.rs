//! Answers, and the headers that tell what they are.

use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
};
use hyper::{Response, StatusCode};

use super::body::Pieces;

/// An answer, ready to be sent.
pub(super) type Reply = Response<Pieces>;

/// A body of the given type.
pub(super) fn ok(content_type: &'static str, body: Pieces) -> Reply {
    let mut reply = Response::new(body);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// One or more sentences for people; the line end is added.
pub(super) fn text(status: StatusCode, sentences: impl Into<String>) -> Reply {
    let mut sentences = sentences.into();
    sentences.push('\n');
    let mut reply = ok("text/plain; charset=utf-8", Pieces::new(sentences));
    *reply.status_mut() = status;
    reply
}

/// Sentences for a client that is turned away now and may come again in a second.
pub(super) fn later(status: StatusCode, sentences: impl Into<String>) -> Reply {
    let mut reply = text(status, sentences);
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}

/// A page for browsers, and what they may do for it.
pub(super) fn html(page: String, policy: &'static str) -> Reply {
    let mut reply = ok("text/html; charset=utf-8", Pieces::new(page));
    reply.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    reply
}
