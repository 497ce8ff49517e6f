//! An exporter and who scrapes it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{Limits, Scene};
use crate::monitor::HOSTILE;
use crate::samples::Samples;
use crate::{Error, Exporter, Port, Result};

/// How long a scrape is waited for that should have ended long ago.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// The name of a metric with its labels.
pub(super) type Series = (String, BTreeMap<String, String>);

/// An exporter with its own settings and targets.
#[derive(Debug)]
pub(super) struct Scraper {
    pub(super) exporter: Exporter,
    http: reqwest::Client,
    limits: Limits,
}

/// An answer of the exporter.
#[derive(Debug)]
pub(super) struct Scrape {
    /// With the hostile part of names taken off, so that they can be compared with those of well servers.
    pub(super) samples: Samples,
    pub(super) elapsed: Duration,
}

impl Scraper {
    /// Starts an exporter. `name` is for its files.
    pub(super) async fn start(
        scene: &Scene,
        name: &str,
        limits: Limits,
        targets: impl IntoIterator<Item = String>,
    ) -> Result<Self> {
        let file = |end: &str| scene.cluster.dir().join(format!("{name}.{end}"));
        let settings = file("yml");
        std::fs::write(&settings, limits.settings())
            .map_err(Error::file("cannot write", &settings))?;
        let arguments = [format!("--config.file={}", settings.display())].into_iter();
        let arguments = arguments.chain(targets);
        let exporter =
            Exporter::listening(&scene.exporter, Port::any()?, arguments, file("log")).await?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(limits.announced + PATIENCE)
            // One that is kept for longer would count as something that the exporter has left behind.
            .pool_idle_timeout(Duration::from_secs(3))
            .build()
            .map_err(Error::client("make an HTTP client"))?;
        Ok(Self { exporter, http, limits })
    }

    /// Scrapes `path` as Prometheus does, with its time-out announced.
    pub(super) async fn scrape(&self, path: &str) -> Result<Scrape> {
        let url = self.exporter.url() + path;
        let failed = |reason: String| Error::Monitor { url: url.clone(), reason };
        let started = Instant::now();
        let body = async {
            let announced = self.limits.announced.as_secs_f64().to_string();
            let request = self.http.get(&url);
            let request = request.header("X-Prometheus-Scrape-Timeout-Seconds", announced);
            let mut response = request.send().await?.error_for_status()?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await? {
                body.extend_from_slice(&chunk);
            }
            Ok::<_, reqwest::Error>(body)
        };
        let body = body.await.map_err(|error| failed(format!("{error:?}")))?;
        let elapsed = started.elapsed();
        let text = String::from_utf8(body).map_err(|error| failed(error.to_string()))?;
        let mut samples = Samples::read(&text).map_err(failed)?;
        for value in samples.0.iter_mut().flat_map(|sample| sample.labels.values_mut()) {
            if value.contains(HOSTILE) {
                *value = value.replace(HOSTILE, "");
            }
        }
        Ok(Scrape { samples, elapsed })
    }

    /// Scrapes the base tier, and everything, at the same time.
    pub(super) async fn scrape_both(&self) -> Result<(Scrape, Scrape)> {
        tokio::try_join!(self.scrape("/metrics?tier=base"), self.scrape("/metrics"))
    }

    /// Scrapes `path` until its series are as wanted.
    pub(super) async fn until(
        &self,
        path: &str,
        limit: Duration,
        mut wanted: impl FnMut(&BTreeSet<Series>) -> Result<(), String>,
    ) -> Result<Samples> {
        let end = Instant::now() + limit;
        loop {
            let samples = self.scrape(path).await?.samples;
            match wanted(&series(&samples)) {
                Ok(()) => return Ok(samples),
                Err(what) if Instant::now() >= end => return Err(Error::Timeout { what, limit }),
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }
}

/// All series but those about the exporter.
pub(super) fn series(samples: &Samples) -> BTreeSet<Series> {
    let of_servers = samples.0.iter().filter(|sample| !sample.name.starts_with("nats_exporter_"));
    of_servers.map(|sample| (sample.name.clone(), sample.labels.clone())).collect()
}
