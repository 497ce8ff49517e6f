//! A real Prometheus, asked over its API.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::http_client;
use crate::rules::Scale;
use crate::{Error, Port, Process, Result, tool};

const POLL: Duration = Duration::from_millis(250);
const START_LIMIT: Duration = Duration::from_secs(120);
/// An hour of many series is a large answer, and a busy machine answers late, which is nothing that a test is about.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// The labels of a series, and its samples: seconds since the epoch, and value.
pub type Samples = (Value, Vec<(f64, f64)>);

/// What a job scrapes.
#[derive(Clone, Debug)]
pub struct Job<'j> {
    /// The name, which becomes the label `job`.
    pub name: &'j str,
    /// The `tier` parameter; nothing asks for everything.
    pub tier: Option<&'j str>,
    /// The exporters, each as host and port.
    pub addresses: Vec<String>,
}

/// What a Prometheus is to do, every second.
#[derive(Clone, Debug, Default)]
pub struct Watch<'w> {
    /// What it scrapes.
    pub jobs: Vec<Job<'w>>,
    /// What it evaluates.
    pub rules: Vec<PathBuf>,
    /// Whom it sends alerts: host and port.
    pub alertmanager: Option<String>,
}

impl Watch<'static> {
    /// The exporters at `addresses` with one job for each tier, as the README says, and the shipped rules with short
    /// durations, which are written below `dir`.
    pub fn as_shipped(addresses: &[String], dir: &Path) -> Result<Self> {
        let rules = dir.join("rules");
        std::fs::create_dir_all(&rules).map_err(Error::file("cannot create", &rules))?;
        let job = |name, tier| Job { name, tier: Some(tier), addresses: addresses.to_vec() };
        let jobs = vec![
            job("nats-exporter-base", "base,exporter"),
            job("nats-exporter-persistence", "persistence"),
        ];
        Ok(Self { jobs, rules: Scale::default().write_rules(&rules)?, alertmanager: None })
    }
}

impl Watch<'_> {
    fn config(&self) -> String {
        let mut text =
            "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
                .to_owned();
        let _ = writeln!(text, "rule_files: {:?}", self.rules);
        if let Some(address) = &self.alertmanager {
            let _ = writeln!(
                text,
                "alerting: {{alertmanagers: [{{static_configs: [{{targets: [{address:?}]}}]}}]}}"
            );
        }
        text.push_str("scrape_configs:\n");
        for Job { name, tier, addresses } in &self.jobs {
            let parameters = tier.map(|tier| format!("params: {{tier: [{tier}]}}, "));
            let parameters = parameters.unwrap_or_default();
            let _ = writeln!(
                text,
                "  - {{job_name: {name}, {parameters}static_configs: [{{targets: {addresses:?}}}]}}"
            );
        }
        text
    }
}

/// A running Prometheus; it ends with the value.
#[derive(Debug)]
pub struct Prometheus {
    client: reqwest::Client,
    port: Port,
    process: Process,
    log: PathBuf,
}

impl Prometheus {
    /// Starts one whose files are in the directory `dir`, which is made, and waits until it answers.
    pub async fn start(dir: &Path, watch: &Watch<'_>) -> Result<Self> {
        Self::start_with(dir, &watch.config()).await
    }

    /// As [`Prometheus::start`], with this configuration.
    pub async fn start_with(dir: &Path, config: &str) -> Result<Self> {
        let binary = fetch("prometheus").await?;
        std::fs::create_dir_all(dir).map_err(Error::file("cannot create", dir))?;
        let file = dir.join("prometheus.yml");
        std::fs::write(&file, config).map_err(Error::file("cannot write", &file))?;
        let port = Port::any()?;
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", dir.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{}", port.number()),
        ];
        let log = dir.join("log");
        let process = Process::start(&binary, arguments, &log)?;
        let prometheus = Self { client: http_client()?, port, process, log };
        until_ready(&prometheus.client, &prometheus.url(), &prometheus.process, &prometheus.log)
            .await?;
        Ok(prometheus)
    }

    /// Its address, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// An answer as it is.
    pub async fn text(&self, path: &str) -> Result<String> {
        get(&self.client, &format!("{}/{path}", self.url())).await
    }

    /// The `data` of an answer of the API, such as `metadata`.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let body = self.text(&format!("api/v1/{path}")).await?;
        let failed = |reason: String| Error::Monitor {
            url: format!("{}/api/v1/{path}", self.url()),
            reason,
        };
        let mut answer: Value =
            serde_json::from_str(&body).map_err(|error| failed(format!("{error}: {body}")))?;
        if answer["status"] == "success" { Ok(answer["data"].take()) } else { Err(failed(body)) }
    }

    /// The labels and values of an instant query.
    pub async fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>> {
        let data = self.evaluate(expression).await?;
        let series = data["result"].as_array().cloned().unwrap_or_default();
        let value = |series: &Value| series["value"][1].as_str()?.parse().ok();
        Ok(series.iter().filter_map(|s| Some((s["metric"].clone(), value(s)?))).collect())
    }

    /// The labels and the samples, each with its time in seconds since the epoch, that these series had in the last
    /// `window`.
    pub async fn samples(&self, selector: &str, window: Duration) -> Result<Vec<Samples>> {
        let expression = format!("{selector}[{}s]", window.as_secs());
        let data = self.evaluate(&expression).await?;
        let sample = |pair: &Value| Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?));
        let series = data["result"].as_array().into_iter().flatten().map(|series| {
            let values = series["values"].as_array().into_iter().flatten();
            (series["metric"].clone(), values.filter_map(sample).collect())
        });
        Ok(series.collect())
    }

    async fn evaluate(&self, expression: &str) -> Result<Value> {
        let url = reqwest::Url::parse_with_params("http://host/query", [("query", expression)]);
        let encoded = url.ok().and_then(|url| Some(url.query()?.to_owned())).unwrap_or_default();
        self.get(&format!("query?{encoded}")).await
    }

    /// Asks until there are so many series, each with this value.
    pub async fn until(
        &self,
        expression: &str,
        count: usize,
        value: f64,
        limit: Duration,
    ) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let found = self.query(expression).await?;
            if found.len() == count && found.iter().all(|(_, v)| (v - value).abs() < 1e-9) {
                return Ok(());
            }
            if Instant::now() >= end {
                let what = format!("{expression} is {count} times {value}; it is {found:?}");
                return Err(Error::Timeout { what, limit });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The path of a program, fetched beside the runtime.
pub(crate) async fn fetch(program: &'static str) -> Result<PathBuf> {
    let failed = |error: tokio::task::JoinError| Error::Fetch {
        program: program.to_owned(),
        reason: error.to_string(),
    };
    tokio::task::spawn_blocking(move || tool(program)).await.map_err(failed)?
}

/// Waits until a program of Prometheus says that it is ready.
pub(crate) async fn until_ready(
    client: &reqwest::Client,
    url: &str,
    process: &Process,
    log: &Path,
) -> Result<()> {
    let end = Instant::now() + START_LIMIT;
    let url = format!("{url}/-/ready");
    while get(client, &url).await.is_err() {
        let ended = process.ended().map(|status| format!("ended ({status})"));
        if let Some(reason) = ended.or((Instant::now() >= end).then(|| "not ready".to_owned())) {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            return Err(Error::Monitor { url, reason: format!("{reason}; its log:\n{log}") });
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// The body of an answer with status 200.
async fn get(client: &reqwest::Client, url: &str) -> Result<String> {
    let failed = |reason: String| Error::Monitor { url: url.to_owned(), reason };
    let response = client.get(url).timeout(ANSWER_LIMIT).send().await;
    let mut response = response.map_err(|error| failed(format!("{error:?}")))?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(error.to_string()))? {
        body.extend_from_slice(&chunk);
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    if response.status() == reqwest::StatusCode::OK {
        Ok(body)
    } else {
        Err(failed(format!("status {}: {body}", response.status())))
    }
}
