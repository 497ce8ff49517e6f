//! A server that answers as a real one did: with bodies and statuses from `tests/fixtures`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{JoinHandle, JoinSet};

/// The top of the recordings.
pub(crate) const FIXTURES: &str = "tests/fixtures";

/// What one server said at one time.
#[derive(Debug, Clone)]
pub(crate) enum Recording {
    /// Answers by the name of the question.
    Answers(BTreeMap<String, Recorded>),
    /// Nothing listened.
    Refuses,
    /// Connections were accepted, and nothing came.
    Hangs,
}

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Index {
    Silence(String),
    Answers(BTreeMap<String, Entry>),
}

#[derive(Deserialize)]
struct Entry {
    file: PathBuf,
    status: u16,
}

impl Recording {
    /// Reads the recording of one server.
    pub(crate) fn load(folder: &Path) -> Self {
        let read = |file: &Path| {
            let path = folder.join(file);
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let answers =
            match serde_json::from_slice(&read(Path::new("index.json"))).expect("an index") {
                Index::Silence(how) if how == "refuses" => return Self::Refuses,
                Index::Silence(how) if how == "hangs" => return Self::Hangs,
                Index::Silence(how) => panic!("{how}: no such way to be silent"),
                Index::Answers(answers) => answers,
            };
        let recorded =
            |entry: Entry| Recorded { status: entry.status, body: Bytes::from(read(&entry.file)) };
        Self::Answers(answers.into_iter().map(|(name, entry)| (name, recorded(entry))).collect())
    }

    /// The servers of a scenario by name: the folders in `folder`, or `folder` itself.
    pub(crate) fn servers(folder: &Path) -> BTreeMap<String, Self> {
        let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
        if folder.join("index.json").exists() {
            return BTreeMap::from([("server".to_owned(), Self::load(folder))]);
        }
        folders(folder).iter().map(|path| (name(path), Self::load(path))).collect()
    }

    /// The body of an answer as JSON.
    pub(crate) fn json(&self, question: &str) -> Option<serde_json::Value> {
        let Self::Answers(answers) = self else { return None };
        serde_json::from_slice(&answers.get(question)?.body).ok()
    }
}

/// The folders in `folder`, sorted.
pub(crate) fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut folders: Vec<_> =
        entries.map(|entry| entry.expect("a folder").path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// The detail without configuration was not recorded: it is the other one with less in it.
const WITHOUT_CONFIG: &str = "jsz.full without config";

/// Takes the configuration of streams and consumers out of a detail.
fn without_config(body: &Bytes) -> Bytes {
    // What was recorded of a broken server need not be JSON.
    let Ok(mut detail) = serde_json::from_slice::<serde_json::Value>(body) else {
        return body.clone();
    };
    let lists = |value: &'static str| move |parent: &mut serde_json::Value| parent[value].take();
    let mut accounts = lists("account_details")(&mut detail);
    for account in accounts.as_array_mut().into_iter().flatten() {
        for stream in account["stream_detail"].as_array_mut().into_iter().flatten() {
            stream.as_object_mut().expect("a stream").remove("config");
            for consumer in stream["consumer_detail"].as_array_mut().into_iter().flatten() {
                consumer.as_object_mut().expect("a consumer").remove("config");
            }
        }
    }
    detail["account_details"] = accounts;
    Bytes::from(detail.to_string())
}

/// The name of the question in the recordings; nothing for what the exporter is not to ask.
fn question(path_and_query: &str) -> Option<&'static str> {
    Some(match path_and_query {
        "/varz" => "varz",
        "/routez" => "routez",
        "/jsz" => "jsz",
        "/jsz?consumers=true&config=true&limit=1000000"
        | "/jsz?consumers=true&config=true&limit=1024" => "jsz.full",
        "/jsz?consumers=true&limit=1000000" | "/jsz?consumers=true&limit=1024" => WITHOUT_CONFIG,
        "/healthz" => "healthz",
        "/healthz?details=true" => "healthz.details",
        "/healthz?js-enabled-only=true" => "healthz.js-enabled-only",
        "/healthz?js-server-only=true" => "healthz.js-server-only",
        _ => return None,
    })
}

/// A server that plays recordings. Needs a runtime; ended with the value.
pub(crate) struct Replay {
    address: SocketAddr,
    playing: Arc<Mutex<Playing>>,
    accepting: Option<JoinHandle<()>>,
    /// Keeps the port while nothing listens, so that no other test gets it.
    _reserved: TcpSocket,
}

struct Playing {
    recording: Recording,
    unexpected: Vec<String>,
}

impl Replay {
    /// Starts to play.
    pub(crate) fn start(recording: Recording) -> Self {
        let reserved = socket(SocketAddr::from(([127, 0, 0, 1], 0)));
        let playing = Playing { recording, unexpected: Vec::new() };
        let mut replay = Self {
            address: reserved.local_addr().expect("it is bound"),
            playing: Arc::new(Mutex::new(playing)),
            accepting: None,
            _reserved: reserved,
        };
        replay.listen();
        replay
    }

    /// Plays something else from now on. Connections are closed, as by a restart.
    pub(crate) async fn play(&mut self, recording: Recording) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            let _ = accepting.await;
        }
        self.playing.lock().expect("nobody panicked").recording = recording;
        self.listen();
    }

    fn listen(&mut self) {
        if !matches!(self.playing.lock().expect("nobody panicked").recording, Recording::Refuses) {
            let listener = socket(self.address).listen(64).expect("the port is ours");
            self.accepting = Some(tokio::spawn(accept(listener, Arc::clone(&self.playing))));
        }
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The address, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked and is not to be asked.
    pub(crate) fn unexpected(&self) -> Vec<String> {
        self.playing.lock().expect("nobody panicked").unexpected.clone()
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("Linux can");
    socket.set_reuseport(true).expect("Linux can");
    socket.bind(address).expect("the port is free or ours");
    socket
}

async fn accept(listener: TcpListener, playing: Arc<Mutex<Playing>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let playing = Arc::clone(&playing);
        connections.spawn(async move {
            let service = service_fn(|request| {
                let playing = Arc::clone(&playing);
                async move { answer(&request, &playing).await }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            // A connection that is kept would have to be closed when something else is played,
            // and whether the exporter sees that in time is a matter of luck.
            http.keep_alive(false);
            // A connection that ends without an answer is what some recordings are about.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// No answer was recorded, so the connection is closed without one.
#[derive(Debug, thiserror::Error)]
#[error("not recorded")]
struct NotRecorded;

async fn answer(
    request: &Request<Incoming>,
    playing: &Mutex<Playing>,
) -> Result<Response<Full<Bytes>>, NotRecorded> {
    let asked = request.uri().path_and_query().map_or("", |path| path.as_str()).to_owned();
    let Some(question) = question(&asked).filter(|_| request.method() == "GET") else {
        let mut playing = playing.lock().expect("nobody panicked");
        playing.unexpected.push(format!("{} {asked}", request.method()));
        let mut response = Response::new(Full::from("404 page not found\n"));
        *response.status_mut() = StatusCode::NOT_FOUND;
        return Ok(response);
    };
    let recorded = {
        let playing = playing.lock().expect("nobody panicked");
        match &playing.recording {
            Recording::Answers(answers) if question == WITHOUT_CONFIG => {
                let full = answers.get("jsz.full").cloned();
                Ok(full.map(|full| Recorded { body: without_config(&full.body), ..full }))
            }
            Recording::Answers(answers) => Ok(answers.get(question).cloned()),
            Recording::Refuses => Ok(None),
            Recording::Hangs => Err(std::future::pending::<Infallible>()),
        }
    };
    match recorded {
        Ok(Some(Recorded { status, body })) => {
            let mut response = Response::new(Full::from(body));
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            Ok(response)
        }
        Ok(None) => Err(NotRecorded),
        Err(never) => match never.await {},
    }
}
