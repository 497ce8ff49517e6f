//! A real Alertmanager, and the people it calls: a web server that keeps what arrives, and at whom.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::cluster::http_client;
use crate::prometheus::{fetch, until_ready};
use crate::rules::Scale;
use crate::{Error, Port, Process, Result};

/// One alert of one notification.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who was called: the name of the receiver, such as `page-data`.
    pub receiver: String,
    /// The labels of the alert.
    pub labels: BTreeMap<String, String>,
    /// Whether it fires, or has ended.
    pub firing: bool,
    /// When the notification arrived.
    pub at: Instant,
}

impl Call {
    /// The name of the alert.
    #[must_use]
    pub fn alert(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }
}

/// A running Alertmanager with the shipped example as its configuration; it ends with the value.
#[derive(Debug)]
pub struct Alertmanager {
    address: String,
    calls: Arc<Mutex<Vec<Call>>>,
    listener: JoinHandle<()>,
    _process: Process,
    _port: Port,
}

impl Alertmanager {
    /// Starts one whose files are in the directory `dir`, which is made.
    pub async fn start(dir: &Path, scale: Scale) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(Error::file("cannot create", dir))?;
        let listening =
            TcpListener::bind("127.0.0.1:0").await.and_then(|l| Ok((l.local_addr()?, l)));
        let (receivers, listener) = listening.map_err(Error::file("cannot listen for", dir))?;
        let calls = Arc::default();
        let listener = tokio::spawn(listen(listener, Arc::clone(&calls)));

        let file = dir.join("alertmanager.yml");
        scale.write_alertmanager(&format!("http://{receivers}"), &file)?;
        let binary = fetch("alertmanager").await?;
        let port = Port::any()?;
        let address = format!("127.0.0.1:{}", port.number());
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.path={}", dir.join("data").display()),
            format!("--web.listen-address={address}"),
            "--cluster.listen-address=".to_owned(),
        ];
        let log: PathBuf = dir.join("log");
        let process = Process::start(&binary, arguments, &log)?;
        until_ready(&http_client()?, &format!("http://{address}"), &process, &log).await?;
        Ok(Self { address, calls, listener, _process: process, _port: port })
    }

    /// Its host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// All calls so far, in the order of their arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen(listener: TcpListener, calls: Arc<Mutex<Vec<Call>>>) {
    let mut connections = JoinSet::new(); // They end with this task.
    while let Ok((connection, _)) = listener.accept().await {
        let calls = Arc::clone(&calls);
        connections.spawn(async move {
            let answer = service_fn(|request| {
                let calls = Arc::clone(&calls);
                async move { Ok::<_, Infallible>(keep(request, &calls).await) }
            });
            // Alertmanager tries again when its connection fails.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), answer).await;
        });
    }
}

async fn keep(request: Request<Incoming>, calls: &Mutex<Vec<Call>>) -> Response<Empty<Bytes>> {
    let receiver = request.uri().path().trim_start_matches('/').to_owned();
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    let notification: Value = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
    let at = Instant::now();
    let alerts = notification["alerts"].as_array().into_iter().flatten();
    let new = alerts.map(|alert| Call {
        receiver: receiver.clone(),
        labels: serde_json::from_value(alert["labels"].clone()).unwrap_or_default(),
        firing: alert["status"] == "firing",
        at,
    });
    calls.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
    Response::new(Empty::new())
}
