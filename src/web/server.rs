//! Connections: accepting them, how many there may be, how long they may take,
//! and how they end. What is answered on them is none of its business.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::listen::{self, BindError};
use super::reply::Reply;
use super::stall::Impatient;

/// What a connection may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Open connections at the same time; more wait to be accepted.
    pub(super) connections: usize,
    /// From the end of one request to the end of the next one's head. Includes the time that a
    /// connection is idle, so it has to be longer than the usual scrape interval of a minute.
    pub(super) head: Duration,
    /// How long a client may not take anything of an answer that is ready for it.
    pub(super) stall: Duration,
    /// How long requests in flight may take to finish at the end.
    pub(super) drain: Duration,
}

impl Limits {
    /// Far more than Prometheus, a few probes and a person need.
    pub(super) const USUAL: Self = Self {
        connections: 256,
        head: Duration::from_secs(75),
        stall: Duration::from_secs(30),
        drain: Duration::from_secs(5),
    };
}

/// Largest head of a request, in bytes.
const HEAD_BYTES: usize = 16 * 1024;

/// What hyper keeps of a connection in memory each way, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// Rest after a failure to accept. Most are a lack of file descriptors, which other connections
/// have to give back first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Open listeners.
pub(super) struct Listeners {
    sockets: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    limits: Limits,
}

impl Listeners {
    /// Listens on every address.
    pub(super) fn bind(addresses: &[SocketAddr], limits: Limits) -> Result<Self, BindError> {
        let sockets = listen::open_all(addresses)?;
        let real = |(listener, &address): (&TcpListener, &SocketAddr)| {
            listener.local_addr().map_err(|source| BindError { address, source })
        };
        let addresses = sockets.iter().zip(addresses).map(real).collect::<Result<_, _>>()?;
        Ok(Self { sockets, addresses, limits })
    }

    /// The addresses listened on, with real ports, in the order in which they were given.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves requests with `answer` until `shutdown`; then listens no longer, and ends when the
    /// requests in flight are answered or have had their time.
    pub(super) async fn serve<A, F>(self, answer: A, shutdown: impl Future<Output = ()>)
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let graceful = GracefulShutdown::new();
        // Every connection ends when this is dropped, be it that `serve` itself is dropped.
        let (cut, _) = watch::channel(());
        tokio::select! {
            () = shutdown => {}
            never = self.accept(&answer, &graceful, &cut) => match never {},
        }
        let drain = self.limits.drain;
        drop(self);
        info!(connections = graceful.count(), "listening no longer, finishing requests");
        if timeout(drain, graceful.shutdown()).await.is_err() {
            warn!(?drain, "some requests took too long to finish and are cut off");
        }
    }

    async fn accept<A, F>(
        &self,
        answer: &A,
        graceful: &GracefulShutdown,
        cut: &watch::Sender<()>,
    ) -> Infallible
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let mut slots = Slots::new(self.limits.connections);
        loop {
            let slot = slots.take().await;
            let (stream, peer) = self.next().await;
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let reply = answer(request);
                async { Ok::<_, Infallible>(reply.await) }
            });
            let stream = TokioIo::new(Impatient::new(stream, self.limits.stall));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.head)
                .max_header_size(HEAD_BYTES)
                .max_buf_size(BUFFER_BYTES)
                .serve_connection(stream, service);
            let connection = graceful.watch(connection);
            let mut cut = cut.subscribe();
            tokio::spawn(async move {
                tokio::select! {
                    end = connection => if let Err(error) = end {
                        debug!(%peer, %error, "connection lost");
                    },
                    _ = cut.changed() => debug!(%peer, "connection cut off"),
                }
                drop(slot);
            });
        }
    }

    /// The next connection from any listener. Failures are logged and waited out: whatever they
    /// are, listening no longer would be worse.
    async fn next(&self) -> (TcpStream, SocketAddr) {
        let mut failing = false;
        loop {
            match self.poll_sockets().await {
                Ok((stream, peer)) => {
                    // Answers are written in large pieces; waiting to fill a packet only delays.
                    if let Err(error) = stream.set_nodelay(true) {
                        debug!(%peer, %error, "the connection will be slower");
                    }
                    return (stream, peer);
                }
                Err(error) if is_of_the_client(&error) => {
                    debug!(%error, "a client left before its connection was accepted");
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn!(%error, "cannot accept connections, trying again");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn poll_sockets(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|context| {
            let mut polls = self.sockets.iter().map(|listener| listener.poll_accept(context));
            polls.find(Poll::is_ready).unwrap_or(Poll::Pending)
        })
        .await
    }
}

/// Whether only one connection failed, and the next may well succeed.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}

/// Places for connections.
struct Slots {
    free: Arc<Semaphore>,
    /// Keeps the log at one line each time the places run out.
    full: bool,
}

impl Slots {
    fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), full: false }
    }

    /// A place, as soon as there is one.
    async fn take(&mut self) -> OwnedSemaphorePermit {
        if let Ok(slot) = Arc::clone(&self.free).try_acquire_owned() {
            self.full = false;
            return slot;
        }
        if !std::mem::replace(&mut self.full, true) {
            warn!("as many connections are open as may be, more have to wait");
        }
        Arc::clone(&self.free).acquire_owned().await.expect("the semaphore is never closed")
    }
}
