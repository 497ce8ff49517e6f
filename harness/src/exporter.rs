//! The exporter as a program beside a cluster.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cluster::http_client;
use crate::{Error, Port, Process, Result};

const READY_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(200);

/// A running exporter; it ends with the value.
#[derive(Debug)]
pub struct Exporter {
    process: Process,
    port: Port,
    log: PathBuf,
}

impl Exporter {
    /// Starts the program `binary` on a port, with its log in the file `log`, and waits until a scrape of the
    /// base tier, which is quick on any server, brings samples.
    pub async fn start(
        binary: &Path,
        port: Port,
        arguments: impl IntoIterator<Item = String>,
        log: PathBuf,
    ) -> Result<Self> {
        let exporter = Self::listening(binary, port, arguments, log).await?;
        exporter.wait_for("/metrics?tier=base", has_samples).await?;
        Ok(exporter)
    }

    /// As [`start`](Self::start), and waits for nothing but that it is ready, whatever its targets are.
    pub(crate) async fn listening(
        binary: &Path,
        port: Port,
        arguments: impl IntoIterator<Item = String>,
        log: PathBuf,
    ) -> Result<Self> {
        let listen = format!("--web.listen-address=127.0.0.1:{}", port.number());
        let arguments = std::iter::once(listen).chain(arguments);
        let exporter = Self { process: Process::start(binary, arguments, &log)?, port, log };
        exporter.wait_for("/-/ready", |status, _| status == 200).await?;
        Ok(exporter)
    }

    /// Its host and port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    /// Its address, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it, and gives its port to the next one.
    #[must_use]
    pub fn kill(self) -> Port {
        self.process.kill();
        self.port
    }

    async fn wait_for(&self, path: &str, good: fn(u16, &str) -> bool) -> Result<()> {
        let url = self.url() + path;
        let http = http_client()?;
        let end = Instant::now() + READY_LIMIT;
        loop {
            let last = match get(&http, &url).await {
                Ok((status, body)) if good(status, &body) => return Ok(()),
                Ok((status, _)) => format!("status {status}"),
                Err(error) => format!("{error:?}"),
            };
            if let Some(status) = self.process.ended() {
                return Err(self.failed(&url, &format!("the exporter ended ({status})")));
            }
            if Instant::now() >= end {
                return Err(self.failed(&url, &last));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn failed(&self, url: &str, reason: &str) -> Error {
        // The log goes with the cluster's directory, so it is shown now.
        Error::Monitor {
            url: url.to_owned(),
            reason: format!("{reason}; its log:\n{}", self.log()),
        }
    }
}

async fn get(http: &reqwest::Client, url: &str) -> reqwest::Result<(u16, String)> {
    let mut response = http.get(url).send().await?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
    }
    Ok((response.status().as_u16(), String::from_utf8_lossy(&body).into_owned()))
}

fn has_samples(status: u16, body: &str) -> bool {
    status == 200 && body.lines().any(|line| !line.is_empty() && !line.starts_with('#'))
}
