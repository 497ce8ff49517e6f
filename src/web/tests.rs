//! The web server over real sockets, in front of an exporter that does what
//! the name of the target says. This file has the exporter and the client; the
//! tests are below, about answers and about connections.

mod connections;
mod http2;
mod routes;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::access::Access;
use super::backend::{Backend, Settings, Shown};
use super::deadline::Allowance;
use super::listen::Peer;
use super::routes::Routes;
use super::server::{Limits, Listeners};
use crate::background::{self, Ended};
use crate::cli::Cli;
use crate::config::{Config, ListenAddress, Web};
use crate::exporter::Refused;
use crate::exposition::Format;
use crate::exposition::packed::{Packed, Packer};
use crate::limits::{Limit, Meter};
use crate::report::{Report, SCHEMA};
use crate::scrape::Selection;

/// Far longer than anything here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(20);

/// The defaults, as far as they matter here.
pub(super) const USUAL: Limits = Limits {
    connections: 256,
    head_bytes: 16 * 1024,
    head: Duration::from_secs(10),
    idle: Duration::from_secs(75),
    stall: Duration::from_secs(30),
    drain: Duration::from_secs(5),
};

/// What one scrape was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    target: Option<String>,
    topics: Option<usize>,
    budget: Duration,
}

/// An exporter that asks nobody. Targets: `n1` answers at once, `large` with much text, `gated`
/// when the gate opens, `panics` and `unwritable` never.
struct Fake {
    settings: Mutex<Settings>,
    ready: bool,
    reload: fn() -> Result<(), String>,
    /// What is done when nobody is named.
    all: &'static str,
    asked: Mutex<Vec<Asked>>,
    /// Told when a gated scrape begins.
    waiting: Notify,
    gate: Notify,
    meter: Arc<Meter>,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            settings: Mutex::new(Settings {
                enable_lifecycle: true,
                max_requests: 0,
                max_body_bytes: 16 * 1024,
                allowance: Allowance {
                    timeout: Duration::from_secs(20),
                    margin: Duration::from_millis(500),
                },
                page_patience: Duration::from_secs(3),
            }),
            ready: true,
            reload: || Ok(()),
            all: "n1",
            asked: Mutex::default(),
            waiting: Notify::new(),
            gate: Notify::new(),
            meter: Arc::default(),
        }
    }
}

impl Fake {
    fn max_requests(self, limit: usize) -> Self {
        self.settings.lock().unwrap().max_requests = limit;
        self
    }

    fn lifecycle(self, on: bool) -> Self {
        self.settings.lock().unwrap().enable_lifecycle = on;
        self
    }
}

/// Enough text to fill every buffer on the way to a client that does not read.
const LARGE: usize = 32 * 1024 * 1024;

impl Backend for Fake {
    type Scrape = String;

    async fn scrape(
        &self,
        selection: Selection,
        target: Option<String>,
        deadline: Instant,
    ) -> Result<String, Refused> {
        let name = target.clone().unwrap_or_else(|| self.all.to_owned());
        self.asked.lock().unwrap().push(Asked {
            target,
            topics: selection.topics.map(|topics| topics.len()),
            budget: deadline - Instant::now(),
        });
        match name.as_str() {
            "gated" => {
                self.waiting.notify_one();
                self.gate.notified().await;
            }
            "panics" => panic!("asked to"),
            "n1" | "large" | "unwritable" => {}
            "full" => return Err(Refused::Full(3)),
            _ => {
                let known = vec!["n1".to_owned(), "large".to_owned()];
                return Err(Refused::Unknown { name, known });
            }
        }
        Ok(name)
    }

    async fn write(
        &self,
        scrape: String,
        format: Format,
        _: Instant,
    ) -> Result<Vec<Arc<Packed>>, Ended> {
        let text = match scrape.as_str() {
            "unwritable" => return background::run("test", || panic!("asked to")).await,
            "large" => "x".repeat(LARGE),
            _ => format!("{format:?}\n{}", "nats_server_up 1\n".repeat(100)),
        };
        let mut packer = Packer::default();
        packer.write_str(&text).unwrap();
        Ok(vec![Arc::new(packer.finish())])
    }

    fn report(&self, scrape: String) -> Report {
        assert_ne!(scrape, "unwritable", "asked to");
        Report { schema: SCHEMA, asked_at: 0, clusters: Vec::new(), unseen: Vec::new() }
    }

    fn settings(&self) -> Settings {
        *self.settings.lock().unwrap()
    }

    fn hit(&self, limit: Limit) {
        self.meter.hit(limit, 1);
    }

    fn reload(&self) -> Result<(), String> {
        (self.reload)()
    }

    fn is_ready(&self) -> bool {
        self.ready
    }

    fn targets(&self) -> Vec<Shown> {
        ["n1", "large"]
            .map(|name| Shown { name: name.to_owned(), url: format!("http://{name}:8222") })
            .into()
    }
}

/// The section that listens on these addresses.
pub(super) fn listening(addresses: &[&str]) -> Web {
    let flags = addresses.iter().map(|address| format!("--web.listen-address={address}"));
    let arguments = std::iter::once("nats-exporter".to_owned()).chain(flags);
    let cli = <Cli as clap::Parser>::try_parse_from(arguments).unwrap();
    Config::web(&cli.flags, []).unwrap()
}

fn tcp(listeners: &Listeners) -> Vec<SocketAddr> {
    let address = |address| match address {
        ListenAddress::Tcp(address) => address,
        ListenAddress::Unix(path) => panic!("{}", path.display()),
    };
    listeners.addresses().into_iter().map(address).collect()
}

/// A server that is running.
struct Running {
    address: SocketAddr,
    fake: Arc<Fake>,
    shutdown: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(fake: Fake) -> Self {
        Self::start_within(fake, USUAL)
    }

    fn start_within(fake: Fake, limits: Limits) -> Self {
        Self::start_behind(Access::load(None, Arc::default()).unwrap(), fake, limits)
    }

    fn start_behind(access: Access, fake: Fake, limits: Limits) -> Self {
        let fake = Arc::new(fake);
        let any_port = listening(&["127.0.0.1:0"]);
        let listeners = Listeners::bind(&any_port, limits, Arc::clone(&fake.meter)).unwrap();
        let address = tcp(&listeners)[0];
        let routes = Routes::new(Arc::clone(&fake));
        let (shutdown, told) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            super::serve(listeners, &access, routes, async {
                let _ = told.await;
            })
            .await;
        });
        Self { address, fake, shutdown: Some(shutdown), task }
    }

    fn shut_down(&mut self) {
        let _ = self.shutdown.take().expect("shut down only once").send(());
    }

    async fn ended(self) {
        timeout(PATIENCE, self.task).await.expect("the server does not end").unwrap();
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Asks on a connection of its own.
    async fn ask(&self, request: &str) -> Answer {
        self.connect().await.ask(request).await
    }
}

/// A connection that is kept.
struct Client(TcpStream);

impl Client {
    /// Sends `request`: method and path, then header lines if any.
    async fn send(&mut self, request: &str) {
        let (line, headers) = request.split_once('\n').unwrap_or((request, ""));
        let mut text = format!("{line} HTTP/1.1\r\nHost: exporter\r\n");
        for header in headers.lines() {
            text.push_str(header);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    async fn receive(&mut self, head_only: bool) -> Answer {
        timeout(PATIENCE, self.read(head_only))
            .await
            .expect("no answer")
            .expect("the connection ended")
    }

    async fn ask(&mut self, request: &str) -> Answer {
        self.send(request).await;
        self.receive(request.starts_with("HEAD ")).await
    }

    /// Nothing when the connection ends first.
    async fn read(&mut self, head_only: bool) -> Option<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        let mut answer = Answer { head, body: Vec::new() };
        if !head_only {
            let length = answer.header("content-length").unwrap().parse().unwrap();
            answer.body.resize(length, 0);
            self.0.read_exact(&mut answer.body).await.ok()?;
        }
        Some(answer)
    }

    async fn is_closed(&mut self) -> bool {
        let end = timeout(PATIENCE, self.0.read(&mut [0; 1])).await.expect("still open");
        !matches!(end, Ok(1..))
    }
}

/// What came back.
#[derive(Debug)]
struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}
