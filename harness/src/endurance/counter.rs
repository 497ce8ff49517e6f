//! Between an exporter and a server: counts the requests, and those for `/jsz` that are under way at the same time.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http_body_util::{Either, Empty};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::{Error, Result};

/// Passes requests on to one port of this machine.
#[derive(Debug)]
pub(super) struct Counter {
    address: SocketAddr,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

/// What was asked so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: AtomicUsize,
    pub(super) jsz: AtomicUsize,
    pub(super) most_jsz: AtomicUsize,
    jsz_now: AtomicUsize,
}

impl Counter {
    pub(super) async fn to(target: u16) -> Result<Self> {
        let listening = Error::file("cannot listen for", format!("port {target}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(listening)?;
        let counts = Arc::new(Counts::default());
        let task = tokio::spawn(serve(listener, target, Arc::clone(&counts)));
        Ok(Self { address, counts, task })
    }

    /// Its address, without a slash at the end.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, target: u16, counts: Arc<Counts>) {
    let mut connections = JoinSet::new(); // They end with this task.
    while let Ok((connection, _)) = listener.accept().await {
        let counts = Arc::clone(&counts);
        connections.spawn(async move {
            let answer = service_fn(|request| {
                let passing = Passing::of(&request, &counts);
                async move {
                    let answer = pass(request, target).await;
                    Ok::<_, Infallible>(answer.map_or_else(
                        |_| refused(),
                        |answer| answer.map(|body| Either::Left(Counted { body, passing })),
                    ))
                }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), answer).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn pass(
    request: Request<Incoming>,
    target: u16,
) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(server)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

fn refused() -> Response<Either<Counted, Empty<Bytes>>> {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}

/// A request for `/jsz` that is under way as long as this is there; nothing for another one.
struct Passing(Option<Arc<Counts>>);

impl Passing {
    fn of(request: &Request<Incoming>, counts: &Arc<Counts>) -> Self {
        counts.requests.fetch_add(1, Ordering::Relaxed);
        if request.uri().path() != "/jsz" {
            return Self(None);
        }
        counts.jsz.fetch_add(1, Ordering::Relaxed);
        let now = counts.jsz_now.fetch_add(1, Ordering::SeqCst) + 1;
        counts.most_jsz.fetch_max(now, Ordering::SeqCst);
        Self(Some(Arc::clone(counts)))
    }

    fn end(&mut self) {
        if let Some(counts) = self.0.take() {
            counts.jsz_now.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.end();
    }
}

/// A body as it comes. Its request ends before the end is passed on: once the exporter has it, it may ask again.
struct Counted {
    body: Incoming,
    passing: Passing,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) || self.body.is_end_stream() {
            self.passing.end();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
