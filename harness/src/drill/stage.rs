//! Everything that runs in a drill: servers, traffic, exporters, Prometheus and Alertmanager.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::plan::{Drill, Fault};
use super::{POLL, WATCHDOG};
use crate::check::{self, Judged};
use crate::rules::Scale;
use crate::workload::Flow;
use crate::{
    Alertmanager, Call, Cluster, Error, Exporter, MonitorGate, Port, Prometheus, Result, Watch,
};

/// The store of the server whose disk is to be full.
const SMALL_DISK: u64 = 12 << 20;
/// What JetStream may use where that is to be reached.
const SMALL_LIMIT: &str = "24MB";

/// Within this time the rules and `nats-exporter check` are of one mind.
const AGREE: Duration = Duration::from_secs(30);

/// What runs in a drill.
pub(super) struct Stage {
    // The order matters: who watches ends before what is watched.
    prometheus: Prometheus,
    alertmanager: Alertmanager,
    /// One for all servers, or one for each; none while it is dead.
    pub(super) exporters: Vec<Option<Exporter>>,
    pub(super) jsz: Vec<MonitorGate>,
    pub(super) flow: Flow,
    pub(super) cluster: Cluster,
    pub(super) sidecars: bool,
    binary: PathBuf,
    /// The ports of dead exporters.
    ports: Vec<Option<Port>>,
}

impl Stage {
    /// Starts everything that the drill needs.
    pub(super) async fn set(drill: &Drill, version: &str, exporter: &Path) -> Result<Self> {
        let mut builder = Cluster::builder(version).nodes(3).jetstream(true);
        builder = match drill.fault {
            Fault::DiskFull | Fault::DiskFullAndProbed => builder.store_size(0, SMALL_DISK),
            Fault::MaxFileReached => builder.max_file(SMALL_LIMIT),
            Fault::Partition => builder.gates(true),
            // Else the route would be cut before the replica lags far.
            Fault::LaggingReplica => builder.gates(true).extra_config("write_deadline: \"60s\""),
            Fault::SlowConsumer => builder.extra_config("max_pending: 1MB"),
            Fault::RollingRestart => {
                builder.extra_config("lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"2s\"")
            }
            _ => builder,
        };
        let cluster = builder.start().await?;
        let flow = Flow::start(&cluster).await?;
        let mut jsz = Vec::new();
        if matches!(drill.fault, Fault::JszHangs | Fault::JszHangsEverywhere) {
            for node in cluster.nodes() {
                jsz.push(MonitorGate::to(&node.monitor_url()).await?);
            }
        }
        let watchers = if drill.sidecars { cluster.nodes().len() } else { 1 };
        let ports = (0..watchers).map(|_| Port::any().map(Some)).collect::<Result<Vec<_>>>()?;
        let addresses: Vec<String> =
            ports.iter().flatten().map(|port| format!("127.0.0.1:{}", port.number())).collect();
        let dir = cluster.dir();
        let alertmanager = Alertmanager::start(&dir.join("alertmanager"), Scale::default()).await?;
        let mut watch = Watch::as_shipped(&addresses, dir)?;
        watch.alertmanager = Some(alertmanager.address().to_owned());
        let prometheus = Prometheus::start(&dir.join("prometheus"), &watch).await?;
        let mut stage = Self {
            prometheus,
            alertmanager,
            exporters: (0..watchers).map(|_| None).collect(),
            jsz,
            flow,
            cluster,
            sidecars: drill.sidecars,
            binary: exporter.to_owned(),
            ports,
        };
        for watcher in 0..watchers {
            stage.start_exporter(watcher).await?;
        }
        Ok(stage)
    }

    pub(super) async fn start_exporter(&mut self, watcher: usize) -> Result<()> {
        let Some(port) = self.ports[watcher].take() else { return Ok(()) };
        let mut targets = if self.jsz.is_empty() {
            self.cluster.monitor_urls()
        } else {
            self.jsz.iter().map(MonitorGate::url).collect()
        };
        if self.sidecars {
            targets = vec![targets.swap_remove(watcher)];
        }
        let log = self.cluster.dir().join(format!("exporter-{watcher}.log"));
        self.exporters[watcher] = Some(Exporter::start(&self.binary, port, targets, log).await?);
        Ok(())
    }

    pub(super) fn kill_exporter(&mut self, watcher: usize) {
        self.ports[watcher] =
            self.exporters[watcher].take().map(Exporter::kill).or(self.ports[watcher].take());
    }

    /// Who was called so far.
    pub(super) fn calls(&self) -> Vec<Call> {
        self.alertmanager.calls()
    }

    /// The servers, by number and name.
    pub(super) fn servers(&self) -> impl Iterator<Item = (usize, String)> {
        self.cluster.nodes().iter().map(|node| (node.index(), node.name()))
    }

    /// Waits until no alert fires or is about to, and a restart is safe.
    pub(super) async fn until_calm(&self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let alerts = format!("ALERTS{{alertname!=\"{WATCHDOG}\"}}");
            let alerts = self.names(&alerts, "alertname").await?;
            let safe = self.verdict("").await?;
            let called = self.calls().iter().any(|call| call.alert() == WATCHDOG);
            if alerts.is_empty() && safe == Some(true) && called {
                return Ok(());
            }
            if Instant::now() >= end {
                let blockers = self.blockers().await?;
                let what = format!(
                    "calm; there are {alerts:?}, the verdict is {safe:?} for {blockers:?}, the watchdog called: {called}"
                );
                return Err(Error::Timeout { what, limit });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The restart verdict for a server, or for the cluster when it has no name.
    pub(super) async fn verdict(&self, server: &str) -> Result<Option<bool>> {
        let found =
            self.prometheus.query(&format!("nats:restart_safe:bool{{server={server:?}}}")).await?;
        Ok(found.first().map(|(_, value)| *value > 0.5))
    }

    /// The servers of which the rules and `nats-exporter check` do not say the same, one sentence each. While something
    /// changes they see it at different moments, so they have some time to agree.
    ///
    /// A new start is no reason here: in a drill the rules forget it earlier than the command.
    pub(super) async fn disputes(&self, exporter: &Path) -> Result<Vec<String>> {
        if self.exporters.iter().all(Option::is_none) {
            return Ok(Vec::new());
        }
        let end = Instant::now() + AGREE;
        loop {
            let report = check::ask(exporter, self.named_targets()).await?;
            let mut disputes = Vec::new();
            for (_, name) in self.servers() {
                let said = report.of(&name)?;
                let recorded = match self.verdict(&name).await? {
                    Some(true) => Judged::Safe,
                    Some(false) => Judged::Unsafe,
                    None => Judged::Unknown,
                };
                if said.verdict != recorded {
                    let blockers = self.blockers().await?;
                    if blockers.contains("recent_restart") && recorded == Judged::Unsafe {
                        continue;
                    }
                    disputes.push(format!(
                        "check calls {name} {} for {:?}, {:?} not seen, and the rules {} for {blockers:?}",
                        said.verdict.as_str(),
                        said.reasons,
                        said.unseen,
                        recorded.as_str(),
                    ));
                }
            }
            if disputes.is_empty() || Instant::now() >= end {
                return Ok(disputes);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The servers as targets with their names, by the way that the exporters ask them.
    fn named_targets(&self) -> Vec<String> {
        if self.jsz.is_empty() {
            return self.cluster.named_targets();
        }
        let gates = self.servers().zip(&self.jsz);
        gates.map(|((_, name), gate)| format!("{name},{}", gate.url())).collect()
    }

    /// The reasons against a restart.
    pub(super) async fn blockers(&self) -> Result<BTreeSet<String>> {
        self.names("nats:restart_blocker:bool == 1", "reason").await
    }

    async fn names(&self, expression: &str, label: &str) -> Result<BTreeSet<String>> {
        let found = self.prometheus.query(expression).await?;
        Ok(found.iter().filter_map(|(l, _)| l[label].as_str().map(str::to_owned)).collect())
    }

    /// Whose base tier was not ok, or not seen, at any time of the last `window`.
    pub(super) async fn base_troubles(&self, window: Duration) -> Result<Vec<String>> {
        let seconds = window.as_secs();
        let state = r#"nats_tier_state{tier="base",state="ok"}"#;
        let lowest = self.prometheus.query(&format!("min_over_time({state}[{seconds}s])")).await?;
        let seen = self.prometheus.query(&format!("count_over_time({state}[{seconds}s])")).await?;
        let of = |found: &[(Value, f64)], name: &str| {
            found.iter().find(|(labels, _)| labels["server"] == name).map(|(_, value)| *value)
        };
        let mut troubles = Vec::new();
        for (_, name) in self.servers() {
            if of(&lowest, &name) != Some(1.0) {
                troubles.push(format!("the base tier of {name} was not ok all the time"));
            }
            // A scrape may fall out on a busy machine; a lane that went dark would be most of them.
            let share = of(&seen, &name).unwrap_or_default() / window.as_secs_f64();
            if share < 0.9 {
                troubles.push(format!(
                    "the base tier of {name} was seen only {:.0} % of the time",
                    share * 100.0
                ));
            }
        }
        Ok(troubles)
    }
}
