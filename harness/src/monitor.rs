//! A monitoring port that can break anywhere, in front of a real server or with answers that somebody makes up.
//!
//! The HTTP is written by hand, because a library would not let an answer end in the middle. What can be done to an
//! answer is in `fault`.

mod fault;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub use fault::{Fault, HOSTILE, gzip, replace_leaves};

use crate::{Answer, Error, Result};

/// What is asked of a monitoring port, as far as it is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Whatever it is.
    Any,
    /// `/varz`.
    Varz,
    /// `/routez`.
    Routez,
    /// `/healthz`, whatever its parameters.
    Healthz,
    /// `/healthz?details=true`, the widest form of versions from 2.10 on.
    HealthzWide,
    /// `/jsz`, whatever its parameters.
    Jsz,
    /// `/jsz` without parameters.
    JszPlain,
    /// `/jsz` with parameters.
    JszDetail,
}

impl Question {
    /// Those into which all that the exporter asks falls apart.
    pub const ALL: [Self; 5] =
        [Self::Varz, Self::Routez, Self::Healthz, Self::JszPlain, Self::JszDetail];

    /// Whether `target`, a path with its query, is this question.
    #[must_use]
    pub fn is(self, target: &str) -> bool {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match self {
            Self::Any => true,
            Self::Varz => path == "/varz",
            Self::Routez => path == "/routez",
            Self::Healthz => path == "/healthz",
            Self::HealthzWide => target == "/healthz?details=true",
            Self::Jsz => path == "/jsz",
            Self::JszPlain => path == "/jsz" && query.is_empty(),
            Self::JszDetail => path == "/jsz" && !query.is_empty(),
        }
    }
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// Path and query, without the prefix of the port.
    pub target: String,
    /// Header values by names in lower case.
    pub headers: BTreeMap<String, String>,
}

/// Answers in a server's place.
pub trait Server: Send + Sync + 'static {
    /// Is told of each request when it arrives, whatever becomes of it.
    fn arrived(&self, request: &Request);

    /// What is said to `target`, a path with its query, before anything is done to it.
    fn answer(&self, target: &str) -> Answer;
}

/// How a port is reached, where that is not as usual.
#[derive(Clone, Default)]
pub struct Setup {
    /// Path in front of all endpoints, with a slash in front and none behind.
    pub prefix: String,
    /// Speaks HTTPS.
    pub tls: Option<TlsAcceptor>,
}

/// A monitoring port; it ends with the value, and then its port refuses connections.
#[derive(Debug)]
pub struct MonitorGate {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// What the connections of a port have in common.
struct State {
    behind: Behind,
    setup: Setup,
    faults: Mutex<Faults>,
    /// Whether answers that wait for it go.
    opened: watch::Sender<bool>,
    /// Requests that are being answered, now and at most, by path without query.
    in_flight: watch::Sender<BTreeMap<String, (usize, usize)>>,
    /// Told when all connections are to end.
    hang_up: watch::Sender<()>,
}

/// Who answers.
enum Behind {
    Real { url: String, http: reqwest::Client },
    MadeUp(Arc<dyn Server>),
}

/// What is done to which answers.
#[derive(Default)]
struct Faults {
    by_target: BTreeMap<String, Fault>,
    by_question: BTreeMap<Question, Fault>,
}

impl MonitorGate {
    /// A port in front of a monitoring address such as `http://127.0.0.1:8222`, which passes everything.
    pub async fn to(url: &str) -> Result<Self> {
        let http = crate::cluster::http_client()?;
        Self::start(Behind::Real { url: url.to_owned(), http }, Setup::default()).await
    }

    /// A port that answers as `server` says.
    pub async fn of(server: Arc<dyn Server>, setup: Setup) -> Result<Self> {
        Self::start(Behind::MadeUp(server), setup).await
    }

    async fn start(behind: Behind, setup: Setup) -> Result<Self> {
        let failed = || Error::file("cannot listen on", "a port of the loopback address");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let state = Arc::new(State {
            behind,
            setup,
            faults: Mutex::default(),
            opened: watch::Sender::new(false),
            in_flight: watch::Sender::default(),
            hang_up: watch::Sender::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { address, state, task })
    }

    /// Its address, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        let Setup { prefix, tls } = &self.state.setup;
        let scheme = if tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{prefix}", self.address)
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Spoils the answers to `question` from now on.
    pub fn spoil(&self, question: Question, fault: Fault) {
        self.state.faults().by_question.insert(question, fault);
    }

    /// Spoils the answers to requests for exactly `target` from now on.
    pub fn spoil_target(&self, target: &str, fault: Fault) {
        self.state.faults().by_target.insert(target.to_owned(), fault);
    }

    /// Passes everything from now on. What is being spoiled stays so until its client goes away.
    pub fn heal(&self) {
        *self.state.faults() = Faults::default();
    }

    /// Lets the answers go that wait for it, now and later; see [`Fault::Gated`].
    pub fn open(&self) {
        self.state.opened.send_replace(true);
    }

    /// Ends all connections, in use or not; new ones are taken.
    pub fn hang_up(&self) {
        self.state.hang_up.send_replace(());
    }

    /// Ends all connections and takes no more.
    pub async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// The most requests for `path` that were being answered at one time.
    #[must_use]
    pub fn most_in_flight(&self, path: &str) -> usize {
        self.state.in_flight.borrow().get(path).map_or(0, |(_, most)| *most)
    }

    /// Waits until no request is being answered.
    pub async fn idle(&self) {
        let nothing = |counts: &BTreeMap<_, _>| counts.values().all(|(now, _)| *now == 0);
        // The sender is ours, so the wait ends only when nothing is left.
        let _ = self.state.in_flight.subscribe().wait_for(nothing).await;
    }
}

impl Drop for MonitorGate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault_of(&self, target: &str) -> Option<Fault> {
        let faults = self.faults();
        let by_question = || faults.by_question.iter().find(|(question, _)| question.is(target));
        faults.by_target.get(target).or_else(|| Some(by_question()?.1)).cloned()
    }

    /// What is said before anything is done to it.
    async fn answer(&self, target: &str) -> Answer {
        let (url, http) = match &self.behind {
            Behind::MadeUp(server) => return server.answer(target),
            Behind::Real { url, http } => (url, http),
        };
        let ask = async {
            let mut response = http.get(format!("{url}{target}")).send().await?;
            let status = response.status().as_u16();
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await? {
                body.extend_from_slice(&chunk);
            }
            Ok::<_, reqwest::Error>(Answer { status, body: String::from_utf8_lossy(&body).into() })
        };
        ask.await.unwrap_or_else(|error| Answer { status: 502, body: error.to_string() })
    }

    /// Sends an answer; returns whether the connection can be used again.
    async fn respond(&self, target: &str, to: &mut (impl AsyncWrite + Unpin)) -> bool {
        let fault = self.fault_of(target);
        match &fault {
            Some(Fault::After(time)) => tokio::time::sleep(*time).await,
            // The sender is ours.
            Some(Fault::Gated) => {
                let _ = self.opened.subscribe().wait_for(|opened| *opened).await;
            }
            _ => {}
        }
        let answer = self.answer(target).await;
        let sent = match fault {
            None => fault::send_whole(&answer, to).await,
            Some(fault) => fault.send(&answer, to).await,
        };
        sent.unwrap_or(false)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

/// A request that is being answered.
struct InFlight<'s> {
    state: &'s State,
    path: String,
}

impl<'s> InFlight<'s> {
    fn new(state: &'s State, target: &str) -> Self {
        let path = target.split('?').next().unwrap_or_default().to_owned();
        state.in_flight.send_modify(|counts| {
            let (now, most) = counts.entry(path.clone()).or_default();
            *now += 1;
            *most = (*most).max(*now);
        });
        Self { state, path }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.state.in_flight.send_modify(|counts| {
            counts.entry(std::mem::take(&mut self.path)).or_default().0 -= 1;
        });
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new(); // They end with this task.
    while let Ok((connection, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let mut hang_up = state.hang_up.subscribe();
        connections.spawn(async move {
            let serve = async {
                match &state.setup.tls {
                    None => serve(connection, &state).await,
                    Some(tls) => {
                        // A client that does not trust us goes away here, as it should.
                        if let Ok(connection) = tls.accept(connection).await {
                            serve(connection, &state).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = serve => {}
                _ = hang_up.changed() => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Answers the requests of one connection until it ends, or an answer ends it.
async fn serve(connection: impl AsyncRead + AsyncWrite, state: &State) {
    let (mut from, mut to) = tokio::io::split(connection);
    while let Some(mut request) = read_request(&mut from).await {
        request.target = match request.target.strip_prefix(&state.setup.prefix) {
            Some(target) => target.to_owned(),
            // Nobody knows it, as on a server with a base path.
            None => format!("outside of the prefix: {}", request.target),
        };
        if let Behind::MadeUp(server) = &state.behind {
            server.arrived(&request);
        }
        let _in_flight = InFlight::new(state, &request.target);
        let goes_on = tokio::select! {
            biased;
            goes_on = state.respond(&request.target, &mut to) => goes_on,
            // A client sends nothing before it has its answer, so this is its end.
            _ = from.read_u8() => false,
        };
        if !goes_on {
            let _ = to.shutdown().await;
            return;
        }
    }
}

/// Reads the head of a request; nothing at the end of the connection.
async fn read_request(from: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines();
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Some(Request { target, headers: headers.collect() })
}
