//! A NATS server's monitoring port that can break anywhere.
//!
//! The HTTP is written by hand, because a library would not let an answer end in the middle. What
//! a healthy server says is in [`model`](super::model).

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::model::Model;

/// What is asked, as far as behaviours tell questions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Route {
    /// `/varz`.
    Varz,
    /// `/routez`.
    Routez,
    /// `/healthz`, whatever its parameters.
    Healthz,
    /// `/jsz` without parameters.
    Jsz,
    /// `/jsz` with parameters.
    JszDetail,
}

impl Route {
    pub(crate) const ALL: [Self; 5] =
        [Self::Varz, Self::Routez, Self::Healthz, Self::Jsz, Self::JszDetail];

    fn of(target: &str) -> Option<Self> {
        Some(match target.split_once('?') {
            None if target == "/varz" => Self::Varz,
            None if target == "/routez" => Self::Routez,
            None if target == "/jsz" => Self::Jsz,
            None if target == "/healthz" => Self::Healthz,
            Some(("/jsz", _)) => Self::JszDetail,
            Some(("/healthz", _)) => Self::Healthz,
            _ => return None,
        })
    }
}

/// How a question is answered.
#[derive(Debug, Clone, Default)]
pub(crate) enum Behaviour {
    /// As the model says.
    #[default]
    Good,
    /// As the model says, after this time.
    After(Duration),
    /// As the model says, once [`Monitor::open_gate`] is called.
    Gated,
    /// With this status and this body.
    Answer(u16, String),
    /// With this body and status 200, as gzip.
    Gzip(Vec<u8>),
    /// As the model says, as gzip.
    GoodGzip,
    /// As the model says, in chunks.
    GoodChunked,
    /// As the model says, a byte at a time with a pause before each.
    Drip(Duration),
    /// Takes the request and says nothing.
    Stall,
    /// Announces the body, sends a part of it, and says no more.
    StallInBody,
    /// Announces the body, sends a part of it, and closes the connection.
    Cut,
    /// Announces this many bytes and sends blanks.
    Oversized(u64),
    /// Sends blanks in chunks, without end.
    Endless,
    /// Sends the client elsewhere.
    Redirect(String),
    /// Takes the request and closes the connection.
    Close,
    /// Answers with something that is not HTTP.
    Garbage,
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Path and query, without the prefix of the monitor.
    pub(crate) target: String,
    /// Header values by names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

/// A running monitor; it ends with the value.
pub(crate) struct Monitor {
    address: SocketAddr,
    scheme: &'static str,
    prefix: String,
    state: Arc<Mutex<State>>,
    gate: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    model: Model,
    prefix: String,
    by_route: HashMap<Route, Behaviour>,
    by_target: HashMap<String, Behaviour>,
    requests: Vec<Request>,
    /// Now and at most, by path without query.
    in_flight: HashMap<String, (usize, usize)>,
}

impl State {
    fn behaviour(&self, target: &str) -> Behaviour {
        let by_target = self.by_target.get(target);
        let by_route = || self.by_route.get(&Route::of(target)?);
        by_target.or_else(by_route).cloned().unwrap_or_default()
    }
}

/// Settings of a monitor that is not the usual one.
#[derive(Default)]
pub(crate) struct Setup {
    /// Path in front of all endpoints, with a slash in front and none behind.
    pub(crate) prefix: String,
    /// Speaks HTTPS.
    pub(crate) tls: Option<TlsAcceptor>,
}

impl Monitor {
    /// Starts a monitor for `model` on a free port.
    pub(crate) async fn start(model: Model) -> Self {
        Self::start_with(model, Setup::default()).await
    }

    /// As [`Monitor::start`], with other settings.
    pub(crate) async fn start_with(model: Model, setup: Setup) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if setup.tls.is_some() { "https" } else { "http" };
        let state = State { model, prefix: setup.prefix.clone(), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let (gate, opened) = watch::channel(false);
        let task = tokio::spawn(accept(listener, Arc::clone(&state), setup.tls, opened));
        Self { address, scheme, prefix: setup.prefix, state, gate, task }
    }

    /// The address to configure, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.address, self.prefix)
    }

    /// Host and port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Answers questions of `route` like this from now on.
    pub(crate) fn set(&self, route: Route, behaviour: Behaviour) {
        self.lock().by_route.insert(route, behaviour);
    }

    /// Answers requests for exactly `target` like this from now on.
    pub(crate) fn set_target(&self, target: &str, behaviour: Behaviour) {
        self.lock().by_target.insert(target.to_owned(), behaviour);
    }

    /// Answers everything as the model says from now on.
    pub(crate) fn heal(&self) {
        let mut state = self.lock();
        state.by_route.clear();
        state.by_target.clear();
    }

    /// Changes what the server says.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Model)) {
        change(&mut self.lock().model);
    }

    /// What the model says to `target`: status and body.
    pub(crate) fn says(&self, target: &str) -> (u16, String) {
        self.lock().model.answer(target)
    }

    /// Lets gated answers go, now and later.
    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Forgets the requests so far.
    pub(crate) fn forget(&self) {
        self.lock().requests.clear();
    }

    /// The requests since the start, or since they were forgotten.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    /// Paths and queries of the requests for `path`, in the order in which they came.
    pub(crate) fn targets(&self, path: &str) -> Vec<String> {
        let requests = self.requests().into_iter().map(|request| request.target);
        requests.filter(|target| target.split('?').next() == Some(path)).collect()
    }

    /// How often `route` was asked.
    pub(crate) fn count(&self, route: Route) -> usize {
        let state = self.lock();
        state.requests.iter().filter(|r| Route::of(&r.target) == Some(route)).count()
    }

    /// The most requests for `path` that were being answered at one time.
    pub(crate) fn most_in_flight(&self, path: &str) -> usize {
        self.lock().in_flight.get(path).map_or(0, |(_, most)| *most)
    }

    /// Waits until `route` was asked `count` times.
    pub(crate) async fn asked(&self, route: Route, count: usize) {
        let wait = async {
            while self.count(route) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "{route:?} was asked {} times", self.count(route));
    }

    /// Waits until no request is being answered.
    pub(crate) async fn idle(&self) {
        let wait = async {
            while self.lock().in_flight.values().any(|(now, _)| *now > 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "requests are still being answered");
    }

    /// Ends all connections and takes no more.
    pub(crate) async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    state: Arc<Mutex<State>>,
    tls: Option<TlsAcceptor>,
    gate: watch::Receiver<bool>,
) {
    // Its tasks end with it.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (state, tls, gate) = (Arc::clone(&state), tls.clone(), gate.clone());
        connections.spawn(async move {
            match tls {
                None => serve(stream, state, gate).await,
                Some(tls) => {
                    // A client that does not trust us goes away here, as it should.
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, state, gate).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Answers the requests of one connection until it ends, or an answer ends it.
async fn serve<S>(stream: S, state: Arc<Mutex<State>>, gate: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    while let Some(request) = read_request(&mut reader).await {
        let flying = Flying::new(&state, request);
        let mut rest = [0; 1];
        let goes_on = tokio::select! {
            biased;
            sent = respond(&mut writer, &state, &flying.target, gate.clone()) => sent.unwrap_or(false),
            // A client sends nothing before it has its answer, so this is its end.
            _ = reader.read(&mut rest) => false,
        };
        if !goes_on {
            let _ = writer.shutdown().await;
            return;
        }
    }
}

async fn read_request(reader: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(reader.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines();
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Some(Request { target, headers: headers.collect() })
}

/// A request that is being answered.
struct Flying<'s> {
    state: &'s Mutex<State>,
    target: String,
}

impl<'s> Flying<'s> {
    fn new(state: &'s Mutex<State>, mut request: Request) -> Self {
        let mut locked = state.lock().unwrap();
        request.target = match request.target.strip_prefix(&locked.prefix) {
            Some(target) => target.to_owned(),
            // Answered with 404, as by a server with a base path.
            None => format!("outside the prefix: {}", request.target),
        };
        let target = request.target.clone();
        locked.requests.push(request);
        let (now, most) = locked.in_flight.entry(path(&target)).or_default();
        *now += 1;
        *most = (*most).max(*now);
        drop(locked);
        Self { state, target }
    }
}

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap();
        state.in_flight.entry(path(&self.target)).or_default().0 -= 1;
    }
}

fn path(target: &str) -> String {
    target.split('?').next().unwrap_or_default().to_owned()
}

fn head(status: u16, more: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Text\r\nContent-Type: application/json\r\n{more}\r\n").into_bytes()
}

fn complete(status: u16, body: &[u8]) -> Vec<u8> {
    let mut answer = head(status, &format!("Content-Length: {}\r\n", body.len()));
    answer.extend_from_slice(body);
    answer
}

/// `body` as gzip.
pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let more = format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", body.len());
    let mut answer = head(200, &more);
    answer.extend_from_slice(body);
    answer
}

/// Sends an answer; returns whether the connection can be used again.
async fn respond(
    writer: &mut (impl AsyncWrite + Unpin),
    state: &Mutex<State>,
    target: &str,
    mut gate: watch::Receiver<bool>,
) -> std::io::Result<bool> {
    let behaviour = state.lock().unwrap().behaviour(target);
    let says = || state.lock().unwrap().model.answer(target);
    let good = || {
        let (status, body) = says();
        complete(status, body.as_bytes())
    };
    let text = match behaviour {
        Behaviour::Good => good(),
        Behaviour::After(time) => {
            tokio::time::sleep(time).await;
            good()
        }
        Behaviour::Gated => {
            let _ = gate.wait_for(|open| *open).await;
            good()
        }
        Behaviour::Answer(status, body) => complete(status, body.as_bytes()),
        Behaviour::Gzip(body) => gzipped(&body),
        Behaviour::GoodGzip => gzipped(&gzip(says().1.as_bytes())),
        Behaviour::GoodChunked => {
            let mut answer = head(200, "Transfer-Encoding: chunked\r\n");
            for chunk in says().1.as_bytes().chunks(100) {
                answer.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                answer.extend_from_slice(chunk);
                answer.extend_from_slice(b"\r\n");
            }
            answer.extend_from_slice(b"0\r\n\r\n");
            answer
        }
        Behaviour::Drip(pause) => {
            for byte in good() {
                if pause.is_zero() {
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(pause).await;
                }
                writer.write_all(&[byte]).await?;
                writer.flush().await?;
            }
            return Ok(true);
        }
        Behaviour::Stall => std::future::pending().await,
        Behaviour::StallInBody | Behaviour::Cut => {
            let answer = good();
            writer.write_all(&answer[..answer.len() - 7]).await?;
            writer.flush().await?;
            if matches!(behaviour, Behaviour::StallInBody) {
                std::future::pending::<()>().await;
            }
            return Ok(false);
        }
        Behaviour::Oversized(bytes) => {
            writer.write_all(&head(200, &format!("Content-Length: {bytes}\r\n"))).await?;
            return blanks(writer, bytes, false).await;
        }
        Behaviour::Endless => {
            writer.write_all(&head(200, "Transfer-Encoding: chunked\r\n")).await?;
            return blanks(writer, u64::MAX, true).await;
        }
        Behaviour::Redirect(location) => {
            head(302, &format!("Location: {location}\r\nContent-Length: 0\r\n"))
        }
        Behaviour::Close => return Ok(false),
        Behaviour::Garbage => {
            writer.write_all(b"220 mail.example ESMTP\r\n\r\n").await?;
            writer.flush().await?;
            return Ok(false);
        }
    };
    writer.write_all(&text).await?;
    writer.flush().await?;
    Ok(true)
}

/// Sends `bytes` blanks, or until the client has enough.
async fn blanks(
    writer: &mut (impl AsyncWrite + Unpin),
    mut bytes: u64,
    chunked: bool,
) -> std::io::Result<bool> {
    let blanks = vec![b' '; 1 << 14];
    while bytes > 0 {
        let length = bytes.min(blanks.len() as u64);
        let piece = &blanks[..usize::try_from(length).unwrap()];
        if chunked {
            writer.write_all(format!("{length:x}\r\n").as_bytes()).await?;
        }
        writer.write_all(piece).await?;
        if chunked {
            writer.write_all(b"\r\n").await?;
        }
        bytes -= length;
    }
    writer.flush().await?;
    Ok(false)
}
