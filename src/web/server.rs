//! Connections: accepting them, how many there may be, how long they may take,
//! and how they end. What is answered on them is none of its business.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::access::Access;
use super::connection::{Answer, Host};
use super::listen::{self, BindError, Listener, Peer, Stream};
use super::place::Places;
use crate::config::{ListenAddress, Web};
use crate::limits::Meter;

/// What a connection may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Open connections at the same time; for one more, another has to give way.
    pub(super) connections: usize,
    /// Largest head of a request, in bytes.
    pub(super) head_bytes: usize,
    /// How long the head of a request may take to arrive, the first one from the start of the connection, so that
    /// setting up TLS counts.
    pub(super) head: Duration,
    /// How long a connection is kept between two requests.
    pub(super) idle: Duration,
    /// How long a client may not take anything of an answer that is ready for it.
    pub(super) stall: Duration,
    /// How long requests in flight may take to finish at the end.
    pub(super) drain: Duration,
}

impl Limits {
    /// Those of the configuration.
    pub(super) fn of(web: &Web) -> Self {
        Self {
            connections: web.max_connections,
            head_bytes: web.max_header_bytes,
            head: web.header_timeout,
            idle: web.idle_timeout,
            stall: web.stall_timeout,
            drain: web.drain_timeout,
        }
    }
}

/// Rest after a failure to accept. Most are a lack of file descriptors, which other connections
/// have to give back first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Open listeners.
pub(super) struct Listeners {
    sockets: Vec<Listener>,
    limits: Limits,
    places: Places,
}

impl Listeners {
    /// Listens where the configuration says. `meter` counts the limits that are hit.
    pub(super) fn bind(web: &Web, limits: Limits, meter: Arc<Meter>) -> Result<Self, BindError> {
        let sockets = listen::open_all(web)?;
        Ok(Self { sockets, limits, places: Places::new(limits.connections, meter) })
    }

    /// The addresses listened on, with real ports, in the order in which they were given.
    pub(super) fn addresses(&self) -> Vec<ListenAddress> {
        self.sockets.iter().filter_map(|listener| listener.address().ok()).collect()
    }

    /// Serves requests of those who have access with `answer` until `shutdown`; then listens no
    /// longer, and ends when the requests in flight are answered or have had their time.
    pub(super) async fn serve<A: Answer>(
        self,
        access: &Access,
        answer: A,
        shutdown: impl Future<Output = ()>,
    ) {
        let host = Arc::new(Host::new(self.limits, access, answer));
        // Connections finish at its first value, and end when it is dropped, be it that `serve` itself is dropped.
        let finish = watch::Sender::new(());
        tokio::select! {
            () = shutdown => {}
            never = self.accept(&host, &finish) => match never {},
            never = access.follow() => match never {},
        }
        let drain = self.limits.drain;
        drop(self);
        info!(connections = finish.receiver_count(), "listening no longer, finishing requests");
        let _ = finish.send(());
        if timeout(drain, finish.closed()).await.is_err() {
            warn!(?drain, "some requests took too long to finish and are cut off");
        }
    }

    async fn accept<A: Answer>(
        &self,
        host: &Arc<Host<A>>,
        finish: &watch::Sender<()>,
    ) -> Infallible {
        let mut first = 0;
        loop {
            let (stream, peer) = self.next(&mut first).await;
            let place = self.places.take().await;
            let (host, finish) = (Arc::clone(host), finish.subscribe());
            tokio::spawn(async move { host.attend(stream, peer, place, finish).await });
        }
    }

    /// The next connection from any listener, see [`poll_sockets`](Self::poll_sockets) for the order. Failures are logged and waited out: whatever they
    /// are, listening no longer would be worse.
    pub(super) async fn next(&self, first: &mut usize) -> (Stream, Peer) {
        let mut failing = false;
        loop {
            match self.poll_sockets(first).await {
                Ok(accepted) => return accepted,
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

    /// Asks each listener, beginning with number `first`. The one behind the one that had a connection is the next first:
    /// however many come to one of them, the others have their turn.
    async fn poll_sockets(&self, first: &mut usize) -> io::Result<(Stream, Peer)> {
        let count = self.sockets.len();
        poll_fn(|context| {
            for place in (*first..*first + count).map(|place| place % count) {
                if let Poll::Ready(accepted) = self.sockets[place].poll_accept(context) {
                    *first = place + 1;
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Whether only one connection failed, and the next may well succeed.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}
