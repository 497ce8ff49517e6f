//! Serves what synthetic servers have to say, each on a port of its own, until it is killed.
//!
//! For measurements: it stands for servers with more streams than this machine can hold. To have it
//! die with its parent, start it as a [`nats_harness::Process`].

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its ports are what it prints")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use clap::Parser;
use futures_util::{StreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use nats_harness::Error;
use nats_harness::synthetic::{Moment, Request, Shape, Site};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

type Body = BoxBody<Bytes, Infallible>;

/// Serves the monitoring endpoints of servers that do not exist.
///
/// Besides those of NATS it answers GET /requests (what was asked of this server, how often, and how
/// many answers of /jsz were under way at most) and POST /elect (other leaders everywhere).
#[derive(Parser)]
#[command(name = "synthetic")]
struct Arguments {
    /// Streams with consumers.
    #[arg(long, value_name = "NUMBER", default_value_t = 5000)]
    streams: u64,

    /// Consumers of each stream.
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    consumers: u64,

    /// Accounts over which the streams are spread.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    accounts: u64,

    /// 1, or 3 for a cluster.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    servers: u64,

    /// How many servers hold each stream: 1 or 3.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    replicas: u64,

    /// Further streams, which are mirrors without consumers.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    mirrors: u64,

    /// How long a server works on a /jsz with accounts, streams or consumers before it answers.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    delay_ms: u64,

    /// The port of the first server; the others follow. 0 lets the kernel choose each.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("synthetic: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> Result<(), Error> {
    let shape = Shape {
        streams: arguments.streams,
        consumers_per_stream: arguments.consumers,
        accounts: arguments.accounts,
        servers: arguments.servers,
        replicas: arguments.replicas,
        mirrors: arguments.mirrors,
    };
    let system = Arc::new(System {
        site: Site::started(shape, clock())?,
        delay: Duration::from_millis(arguments.delay_ms),
        tick: AtomicU64::new(0),
        epoch: AtomicU64::new(0),
    });
    let (mut servers, mut urls) = (Vec::new(), Vec::new());
    for index in 0..shape.servers {
        let port = match arguments.port {
            0 => 0,
            first => first.saturating_add(u16::try_from(index).unwrap_or(u16::MAX)),
        };
        let (listener, url) = listen(port).await.map_err(|error| Error::Monitor {
            url: format!("http://127.0.0.1:{port}"),
            reason: format!("cannot listen there: {error}"),
        })?;
        urls.push(url);
        let server = Server { index, system: Arc::clone(&system), counts: Mutex::default() };
        servers.push(accept(listener, Arc::new(server)));
    }
    println!("{}", json!({ "urls": urls }));
    futures_util::future::join_all(servers).await;
    Ok(())
}

async fn listen(port: u16) -> std::io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}

fn clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

async fn accept(listener: TcpListener, server: Arc<Server>) {
    loop {
        // It fails when there are too many connections, which is over in a moment.
        match listener.accept().await {
            Ok((stream, _)) => {
                // As a real server does; else a small answer may wait for 40 ms to fill a packet.
                let _ = stream.set_nodelay(true);
                drop(tokio::spawn(converse(stream, Arc::clone(&server))));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn converse(stream: TcpStream, server: Arc<Server>) {
    // A delay of acknowledgements would count as the server's time.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(server.answer(request).await) }
    });
    // A client that goes away in the middle is no fault of this program.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// What all servers share.
struct System {
    site: Site,
    delay: Duration,
    /// One for all: a counter grows whichever server tells of it.
    tick: AtomicU64,
    epoch: AtomicU64,
}

struct Server {
    index: u64,
    system: Arc<System>,
    counts: Mutex<Counts>,
}

/// What was asked.
#[derive(Default)]
struct Counts {
    requests: BTreeMap<String, u64>,
    /// Of `/jsz`, by path and query.
    under_way: BTreeMap<String, Level>,
    detailed: Level,
}

/// How many there are, and were at most.
#[derive(Clone, Copy, Default)]
struct Level {
    now: u64,
    most: u64,
}

impl Level {
    fn rise(&mut self) {
        self.now += 1;
        self.most = self.most.max(self.now);
    }
}

impl Server {
    async fn answer(self: Arc<Self>, request: hyper::Request<Incoming>) -> Response<Body> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        match (request.method(), path.as_str()) {
            (&Method::POST, "/elect") => {
                let epoch = self.system.epoch.fetch_add(1, Ordering::Relaxed) + 1;
                return whole(StatusCode::OK, &json!({ "epoch": epoch }));
            }
            (_, "/requests") => return whole(StatusCode::OK, &self.requests()),
            _ => {}
        }
        let request = Request::parse(&path);
        let under_way = UnderWay::begin(Arc::clone(&self), path, &request);
        let system = &self.system;
        let tick = if request.is_detailed() {
            tokio::time::sleep(system.delay).await;
            system.tick.fetch_add(1, Ordering::Relaxed) + 1
        } else {
            system.tick.load(Ordering::Relaxed)
        };
        let moment = Moment {
            tick,
            epoch: system.epoch.load(Ordering::Relaxed),
            now: u64::try_from(clock().as_nanos()).unwrap_or_default(),
        };
        let answer = system.site.answer(self.index, &request, moment);
        // Each piece is made when the connection has room for it.
        let pieces = stream::iter(answer.pieces).map(move |piece| {
            let _until_the_body_ends = &under_way;
            Ok(Frame::data(Bytes::from(piece)))
        });
        let body = BodyExt::boxed(StreamBody::new(pieces));
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
        respond(status, answer.content_type, body)
    }

    fn requests(&self) -> Value {
        let counts = self.counts();
        let most: BTreeMap<_, _> =
            counts.under_way.iter().map(|(path, level)| (path, level.most)).collect();
        json!({
            "requests": counts.requests,
            "most_in_flight": most,
            "most_detailed_in_flight": counts.detailed.most,
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes that an answer is under way, until it is dropped.
struct UnderWay {
    server: Arc<Server>,
    path: String,
    jsz: bool,
    detailed: bool,
}

impl UnderWay {
    fn begin(server: Arc<Server>, path: String, request: &Request) -> Self {
        let jsz = matches!(request, Request::Jsz(_));
        let detailed = request.is_detailed();
        let mut counts = server.counts();
        *counts.requests.entry(path.clone()).or_default() += 1;
        if jsz {
            counts.under_way.entry(path.clone()).or_default().rise();
        }
        if detailed {
            counts.detailed.rise();
        }
        drop(counts);
        Self { server, path, jsz, detailed }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut counts = self.server.counts();
        if let Some(level) = counts.under_way.get_mut(&self.path).filter(|_| self.jsz) {
            level.now -= 1;
        }
        if self.detailed {
            counts.detailed.now -= 1;
        }
    }
}

fn whole(status: StatusCode, body: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_string()));
    respond(status, "application/json", BodyExt::boxed(body))
}

fn respond(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}
