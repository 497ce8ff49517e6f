//! In front of a server's monitoring port: a gate that passes questions on, and spoils the answers to some of them.
//!
//! The HTTP is written by hand, because a library would not let an answer end in the middle. What can be done to an
//! answer is in `fault`.

mod fault;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub use fault::{Fault, HOSTILE};

use crate::{Answer, Error, Result};

/// What is asked of a monitoring port, as far as it is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Whether `target`, a path with its query, is this question.
    fn is(self, target: &str) -> bool {
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

/// A gate in front of a monitoring port; it ends with the value, and then its port refuses connections.
#[derive(Debug)]
pub struct MonitorGate {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// What the connections of a gate have in common.
#[derive(Debug)]
struct State {
    url: String,
    http: reqwest::Client,
    fault: Mutex<Option<(Question, Fault)>>,
    /// Answers that are being spoiled.
    spoiling: watch::Sender<usize>,
    /// Told when all connections are to end.
    hang_up: watch::Sender<()>,
}

impl MonitorGate {
    /// A gate in front of a monitoring address such as `http://127.0.0.1:8222`, which passes everything.
    pub async fn to(url: &str) -> Result<Self> {
        let failed = || Error::file("cannot listen in front of", url);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let state = Arc::new(State {
            url: url.to_owned(),
            http: crate::cluster::http_client()?,
            fault: Mutex::default(),
            spoiling: watch::Sender::default(),
            hang_up: watch::Sender::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { address, state, task })
    }

    /// Its address, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Spoils the answers to `question` from now on, and no others.
    pub fn spoil(&self, question: Question, fault: Fault) {
        *self.state.fault() = Some((question, fault));
    }

    /// Passes everything from now on. What is being spoiled stays so until its client goes away.
    pub fn heal(&self) {
        *self.state.fault() = None;
    }

    /// Ends all connections, in use or not; new ones are taken.
    pub fn hang_up(&self) {
        self.state.hang_up.send_replace(());
    }

    /// Waits until no answer is being spoiled.
    pub async fn idle(&self) {
        // The sender is ours, so the wait ends only when nothing is left.
        let _ = self.state.spoiling.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for MonitorGate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn fault(&self) -> std::sync::MutexGuard<'_, Option<(Question, Fault)>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault_of(&self, target: &str) -> Option<Fault> {
        let fault = *self.fault();
        fault.filter(|(question, _)| question.is(target)).map(|(_, fault)| fault)
    }

    /// What the server behind the gate says.
    async fn ask(&self, target: &str) -> Answer {
        let url = format!("{}{target}", self.url);
        let ask = async {
            let mut response = self.http.get(url).send().await?;
            let status = response.status().as_u16();
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await? {
                body.extend_from_slice(&chunk);
            }
            Ok::<_, reqwest::Error>(Answer { status, body: String::from_utf8_lossy(&body).into() })
        };
        ask.await.unwrap_or_else(|error| Answer { status: 502, body: error.to_string() })
    }
}

/// An answer that is being spoiled.
struct Spoiling<'s>(&'s State);

impl<'s> Spoiling<'s> {
    fn new(state: &'s State) -> Self {
        state.spoiling.send_modify(|count| *count += 1);
        Self(state)
    }
}

impl Drop for Spoiling<'_> {
    fn drop(&mut self) {
        self.0.spoiling.send_modify(|count| *count -= 1);
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new(); // They end with this task.
    while let Ok((connection, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let mut hang_up = state.hang_up.subscribe();
        connections.spawn(async move {
            tokio::select! {
                () = serve(connection, &state) => {}
                _ = hang_up.changed() => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Answers the questions of one connection until it ends, or an answer ends it.
async fn serve(connection: TcpStream, state: &State) {
    let (mut from, mut to) = connection.into_split();
    while let Some(target) = read_target(&mut from).await {
        let respond = async {
            let fault = state.fault_of(&target);
            let _spoiling = fault.map(|_| Spoiling::new(state));
            let answer = state.ask(&target).await;
            match fault {
                None => to.write_all(&fault::whole(&answer)).await.is_ok(),
                Some(fault) => fault.send(&answer, &mut to).await.unwrap_or(false),
            }
        };
        let goes_on = tokio::select! {
            goes_on = respond => goes_on,
            // A client sends nothing before it has its answer, so this is its end.
            _ = from.read_u8() => false,
        };
        if !goes_on {
            return;
        }
    }
}

/// Reads the head of a request; nothing at the end of the connection.
async fn read_target(from: &mut OwnedReadHalf) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head);
    head.split(' ').nth(1).map(str::to_owned)
}
