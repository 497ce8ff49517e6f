//! Between two programs: a gate for TCP connections that can be shut or slow, and one for HTTP that holds back `/jsz`.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::{Error, Port, Result};

/// What a [`Gate`] does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Passes it on.
    Open,
    /// Passes on so many bytes a second, for each connection and direction.
    Slow(u32),
    /// Resets all connections, and new ones at once.
    Shut,
}

/// Passes connections on to one port.
#[derive(Debug)]
pub(crate) struct Gate {
    port: Port,
    way: watch::Sender<Way>,
    task: JoinHandle<()>,
}

impl Gate {
    /// A gate in front of a port of this machine, open.
    pub(crate) async fn to(target: u16) -> Result<Self> {
        let port = Port::any()?;
        let listener = listen(port.number()).await?;
        let (way, ways) = watch::channel(Way::Open);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new(); // They end with this task.
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(pass(connection, target, ways.clone()));
            }
        });
        Ok(Self { port, way, task })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(connection: TcpStream, target: u16, mut way: watch::Receiver<Way>) {
    if *way.borrow_and_update() == Way::Shut {
        return;
    }
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
    let (from_client, to_client) = connection.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, way.clone()) => {}
        () = copy(from_server, to_client, way.clone()) => {}
        _ = way.wait_for(|way| *way == Way::Shut) => {}
    }
}

/// Copies until an end closes.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: watch::Receiver<Way>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
        let current = *way.borrow();
        if let Way::Slow(rate) = current {
            tokio::time::sleep(Duration::from_secs_f64(length as f64 / f64::from(rate))).await;
        }
    }
}

/// Passes HTTP requests on to a server, and holds back those for `/jsz` while it is told to: what a server does
/// whose JetStream waits for a lock or a disk.
#[derive(Debug)]
pub struct JszGate {
    address: SocketAddr,
    holds: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl JszGate {
    /// A gate in front of a monitoring address such as `http://127.0.0.1:8222`, open.
    pub async fn to(url: &str) -> Result<Self> {
        let listener = listen(0).await?;
        let address = listener.local_addr().map_err(Error::file("cannot listen for", url))?;
        let holds = Arc::new(AtomicBool::new(false));
        let client = crate::cluster::http_client()?;
        let task = tokio::spawn(serve(listener, url.to_owned(), client, Arc::clone(&holds)));
        Ok(Self { address, holds, task })
    }

    /// Its address, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether requests for `/jsz` get no answer.
    pub fn hold(&self, hold: bool) {
        self.holds.store(hold, Ordering::Relaxed);
    }
}

impl Drop for JszGate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    url: String,
    client: reqwest::Client,
    holds: Arc<AtomicBool>,
) {
    let mut connections = JoinSet::new(); // They end with this task.
    while let Ok((connection, _)) = listener.accept().await {
        let (url, client, holds) = (url.clone(), client.clone(), Arc::clone(&holds));
        connections.spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                let (client, holds) = (client.clone(), Arc::clone(&holds));
                let target = format!("{url}{}", request.uri());
                async move {
                    if request.uri().path() == "/jsz" && holds.load(Ordering::Relaxed) {
                        std::future::pending::<()>().await;
                    }
                    Ok::<_, Infallible>(ask(&client, &target).await.unwrap_or_else(|_| refused()))
                }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), answer).await;
        });
    }
}

async fn ask(client: &reqwest::Client, target: &str) -> reqwest::Result<Response<Full<Bytes>>> {
    let mut answer = client.get(target).send().await?;
    let mut response = Response::new(());
    *response.status_mut() = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
    }
    Ok(response.map(|()| Full::new(body.into())))
}

fn refused() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}

async fn listen(port: u16) -> Result<TcpListener> {
    let address = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(address)
        .await
        .map_err(Error::file("cannot listen on", format!("port {port}")))
}
