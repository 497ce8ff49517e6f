//! One connection: TLS if there is to be, the version of HTTP, and what can
//! end it besides its client.

use std::pin::{Pin, pin};
use std::sync::Arc;

use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::access::Access;
use super::body::Pieces;
use super::listen::{Peer, Stream};
use super::place::Place;
use super::policy::Policy;
use super::reply::Reply;
use super::server::Limits;
use super::stall::Impatient;
use super::tls;
use crate::limits::Limit;
use crate::listener::{Count, Listener};

/// What hyper keeps in memory each way, in bytes: of a connection, or of a stream of HTTP/2. Of a connection the head
/// of a request, if that is more.
const BUFFER_BYTES: usize = 64 * 1024;

/// Requests at the same time on one connection of HTTP/2. A client keeps more to itself until there is room.
const STREAMS: u32 = 100;

/// What a client of HTTP/2 may send ahead of a body, which nobody reads: the least that there is.
const WINDOW_BYTES: u32 = 65_535;

/// Streams that a client may open and cancel before we have seen them; more end the connection.
const CANCELLED_STREAMS: usize = 20;

/// What answers requests.
pub(super) trait Answer: Send + Sync + 'static {
    /// Answers a request.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Reply> + Send;
}

impl<A, F> Answer for A
where
    A: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Reply> + Send,
{
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Reply> + Send {
        self(request)
    }
}

/// What all connections have in common.
pub(super) struct Host<A> {
    limits: Limits,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    policy: watch::Receiver<Arc<Policy>>,
    counts: Arc<Listener>,
    answer: A,
}

impl<A: Answer> Host<A> {
    pub(super) fn new(limits: Limits, access: &Access, answer: A) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            // The place has the times.
            .header_read_timeout(None)
            .max_header_size(limits.head_bytes)
            .max_buf_size(BUFFER_BYTES.max(limits.head_bytes));
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_pending_accept_reset_streams(CANCELLED_STREAMS)
            .max_header_list_size(limits.head_bytes.try_into().unwrap_or(u32::MAX))
            .max_send_buf_size(BUFFER_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        let counts = Arc::clone(access.counts());
        Self { limits, http1, http2, policy: access.subscribe(), counts, answer }
    }

    /// Serves a connection until it ends or has to give up its place. It finishes what is in flight at the first value
    /// of `finish`, and ends at once when the sender is gone.
    pub(super) async fn attend(
        self: Arc<Self>,
        stream: Stream,
        peer: Peer,
        place: Arc<Place>,
        finish: watch::Receiver<()>,
    ) {
        tokio::select! {
            // What has arrived in time counts, however busy the machine is.
            biased;
            () = self.serve(stream, peer, &place, finish) => {}
            reason = place.overdue(&self.limits) => debug!(%peer, reason, "connection ended"),
        }
    }

    async fn serve(
        self: &Arc<Self>,
        stream: Stream,
        peer: Peer,
        place: &Arc<Place>,
        mut finish: watch::Receiver<()>,
    ) {
        let tls = self.tls();
        let stream = Impatient::new(stream, self.limits.stall, Arc::clone(place));
        let requests =
            Requests { host: Arc::clone(self), place: Arc::clone(place), peer, tls: tls.clone() };
        let Some(config) = &tls else {
            let connection = self.http1.serve_connection(TokioIo::new(stream), requests);
            return self.run(connection, None, peer, place, finish).await;
        };
        let handshake = TlsAcceptor::from(Arc::clone(config)).accept(stream);
        let mut unfinished = FailedUnlessDone(Some(&self.counts.failed_handshakes));
        let stream = tokio::select! {
            // Whatever is told to a connection that is not set up yet, it has nothing to finish.
            _ = finish.changed() => return,
            end = handshake => match end {
                Ok(stream) => stream,
                Err(error) => return debug!(%peer, %error, "TLS is not set up"),
            },
        };
        unfinished.done();
        if stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2) {
            place.is_shared_by_streams();
            let connection = self.http2.serve_connection(TokioIo::new(stream), requests);
            self.run(connection, tls.as_ref(), peer, place, finish).await;
        } else {
            let connection = self.http1.serve_connection(TokioIo::new(stream), requests);
            self.run(connection, tls.as_ref(), peer, place, finish).await;
        }
    }

    /// Drives `connection`, which was set up with `tls`, until it ends or has to.
    async fn run<C>(
        &self,
        connection: C,
        tls: Option<&Arc<ServerConfig>>,
        peer: Peer,
        place: &Place,
        mut finish: watch::Receiver<()>,
    ) where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let mut connection = pin!(connection);
        let mut policy = self.policy.clone();
        loop {
            tokio::select! {
                end = connection.as_mut() => {
                    if let Err(error) = end {
                        if error.is_parse_too_large() {
                            place.hit(Limit::HeaderBytes);
                        }
                        debug!(%peer, %error, "connection lost");
                    }
                    return;
                }
                told = finish.changed() => match told {
                    Ok(()) => connection.as_mut().graceful_shutdown(),
                    Err(_) => return debug!(%peer, "connection cut off"),
                },
                // A client has to show itself anew where other certificates are asked for.
                Ok(()) = policy.changed() => {
                    if !self.is_in_force(tls) {
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }

    /// How a client has to set up TLS now; nothing is plain HTTP.
    fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.policy.borrow().tls.as_ref().map(|tls| Arc::clone(&tls.config))
    }

    /// Whether a connection that was set up with `tls` would be set up in the same way now.
    fn is_in_force(&self, tls: Option<&Arc<ServerConfig>>) -> bool {
        self.tls().as_ref().map(Arc::as_ptr) == tls.map(Arc::as_ptr)
    }

    async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Reply {
        let policy = Arc::clone(&self.policy.borrow());
        // Nobody reads it, so on HTTP/1 it would be taken for the next request.
        let is_in_the_way = request.version() < Version::HTTP_2 && !request.body().is_end_stream();
        let mut reply = match policy.admit(request.headers(), peer).await {
            Ok(()) => self.answer.answer(request).await,
            Err(refusal) => refusal,
        };
        policy.dress(&mut reply);
        if is_in_the_way {
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

/// Counts a failed handshake, whatever ends it, unless it is done.
struct FailedUnlessDone<'c>(Option<&'c Count>);

impl FailedUnlessDone<'_> {
    fn done(&mut self) {
        self.0 = None;
    }
}

impl Drop for FailedUnlessDone<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.0 {
            count.add();
        }
    }
}

/// The requests of one connection.
struct Requests<A> {
    host: Arc<Host<A>>,
    place: Arc<Place>,
    peer: Peer,
    /// How the connection was set up; nothing for plain HTTP.
    tls: Option<Arc<ServerConfig>>,
}

/// TLS was set up in a way that is not in force any more. The client was asked to go, and may not want to.
#[derive(Debug, thiserror::Error)]
#[error("the connection was set up in a way that would no longer do")]
struct Outdated;

impl<A: Answer> Service<Request<Incoming>> for Requests<A> {
    type Response = Response<Pieces>;
    type Error = Outdated;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Outdated>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if !self.host.is_in_force(self.tls.as_ref()) {
            return Box::pin(std::future::ready(Err(Outdated)));
        }
        let (host, peer, answering) = (Arc::clone(&self.host), self.peer, self.place.begin());
        request.extensions_mut().insert(answering.claim());
        Box::pin(async move {
            let reply = host.answer(request, peer).await;
            Ok(reply.map(|body| body.until_sent(answering)))
        })
    }
}
