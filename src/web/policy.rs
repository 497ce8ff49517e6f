//! Who may come in, and what every answer carries: the web configuration file
//! in force.

use std::sync::Arc;

use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderValue, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{HeaderMap, StatusCode};

use super::listen::Peer;
use super::rate::Bucket;
use super::reply::{self, Reply};
use super::tls::{Tls, Unusable};
use super::users::{Users, Verdict};
use crate::config::WebFile;
use crate::listener::Listener;

/// The web configuration file in force; without one, everybody may come in.
#[derive(Default)]
pub(super) struct Policy {
    pub(super) file: Option<WebFile>,
    pub(super) tls: Option<Tls>,
    users: Option<Arc<Users>>,
    rate: Option<Arc<Bucket>>,
    counts: Arc<Listener>,
}

impl Policy {
    /// Puts `file` in force after `old`. What did not change goes on as it is: connections, passwords that are known.
    pub(super) fn new(file: WebFile, old: &Self, counts: &Arc<Listener>) -> Result<Self, Unusable> {
        let before = old.file.as_ref();
        let tls = match (&file.tls, before) {
            (None, _) => None,
            (tls, Some(before)) if (tls, file.http2) == (&before.tls, before.http2) => {
                old.tls.clone()
            }
            (Some(tls), _) => Some(Tls::new(tls, file.http2)?),
        };
        let users = match before {
            Some(before) if before.users == file.users => old.users.clone(),
            _ if file.users.is_empty() => None,
            _ => Some(Arc::new(Users::new(&file.users, Arc::clone(counts)))),
        };
        let rate = match (file.rate_limit, &old.rate) {
            (Some(limit), Some(bucket)) if bucket.limit() == limit => Some(Arc::clone(bucket)),
            (limit, _) => limit.map(|limit| Arc::new(Bucket::new(limit))),
        };
        Ok(Self { tls, users, rate, counts: Arc::clone(counts), file: Some(file) })
    }

    /// Whether a request of `peer` with these headers is answered; if not, how it is turned away.
    pub(super) async fn admit(&self, headers: &HeaderMap, peer: Peer) -> Result<(), Reply> {
        if self.rate.as_ref().is_some_and(|bucket| !bucket.take()) {
            self.counts.rate_limited.add();
            return Err(reply::later(
                StatusCode::TOO_MANY_REQUESTS,
                "There are more requests than rate_limit allows.",
            ));
        }
        let Some(users) = &self.users else {
            return Ok(());
        };
        match users.judge(headers, peer.origin()).await {
            Verdict::Right => Ok(()),
            Verdict::Wrong => {
                self.counts.unauthorized.add();
                Err(unauthorized())
            }
            Verdict::Busy => Err(reply::later(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many passwords are being checked.",
            )),
        }
    }

    /// Puts on the headers of every answer. The file goes before the answer, the answer before the defaults.
    pub(super) fn dress(&self, reply: &mut Reply) {
        let headers = reply.headers_mut();
        for (name, value) in self.file.iter().flat_map(|file| &file.headers) {
            headers.insert(name, value.clone());
        }
        for (name, value) in [
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "deny"),
            (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        ] {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
    }
}

fn unauthorized() -> Reply {
    let mut reply =
        reply::text(StatusCode::UNAUTHORIZED, "This needs the name and the password of a user.");
    let challenge = HeaderValue::from_static("Basic realm=\"nats-exporter\", charset=\"UTF-8\"");
    reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    reply
}
