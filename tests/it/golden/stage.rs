//! Plays a recorded scenario to the real program, and makes what it says comparable.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nats_exporter::build_info::REVISION;

use crate::support::exporter::Exporter;
use crate::support::replay::{FIXTURES, Recording, Replay, folders};
use crate::support::samples::Samples;

/// Phases of a fault, in the order of time. The first is played and not compared: it is what the
/// exporter saw before.
const PHASES: [&str; 4] = ["before", "during", "restarted-still-full", "survivor-restarted"];

/// A text format, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    Classic,
}

impl Format {
    fn accept(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text;version=1.0.0",
            Self::Classic => "text/plain;version=0.0.4",
        }
    }
}

/// A recorded scenario.
pub(super) struct Stage {
    folder: PathBuf,
    name: String,
    phases: Vec<&'static str>,
}

/// What the exporter said in one phase.
pub(super) struct Scene {
    /// Version, scenario and phase.
    pub(super) name: String,
    /// As it was said.
    pub(super) text: String,
    /// Without what differs from run to run.
    pub(super) normal: String,
    /// What each server said.
    pub(super) recordings: BTreeMap<String, Recording>,
}

impl Scene {
    pub(super) fn samples(&self) -> Samples {
        Samples::parse(&self.text)
    }
}

impl Stage {
    /// The scenario in `folder`, whose last parts are version and name.
    pub(super) fn new(folder: &Path) -> Self {
        let parts: Vec<_> = folder.iter().filter_map(|part| part.to_str()).collect();
        let name = parts[parts.len() - 2..].join("/");
        let is_there = |phase: &&str| folder.join(phase).is_dir();
        let phases = PHASES.into_iter().filter(is_there).collect();
        Self { folder: folder.to_owned(), name, phases }
    }

    /// The scenario called `name`: version and scenario.
    pub(super) fn named(name: &str) -> Self {
        Self::new(&Path::new(FIXTURES).join(name))
    }

    /// The names of what is compared.
    pub(super) fn scenes(&self) -> Vec<String> {
        if self.phases.is_empty() {
            return vec![self.name.clone()];
        }
        self.phases[1..].iter().map(|phase| format!("{}/{phase}", self.name)).collect()
    }

    fn recordings(&self, phase: &str) -> BTreeMap<String, Recording> {
        Recording::servers(&self.folder.join(phase))
    }

    /// Starts the program and plays all phases to it, one scrape for each.
    pub(super) async fn play(&self, format: Format) -> Vec<Scene> {
        let first = self.phases.first().copied().unwrap_or_default();
        let mut servers: BTreeMap<String, Replay> = self
            .recordings(first)
            .into_iter()
            .map(|(name, recording)| (name, Replay::start(recording)))
            .collect();
        let mut arguments: Vec<_> = servers.values().map(Replay::url).collect();
        if self.name.ends_with("process-frozen") {
            // Somebody has to wait for the end of it.
            arguments.push("--scrape.timeout=2s".to_owned());
        }
        let exporter = Exporter::start(&arguments);
        let mut scenes = Vec::new();
        if first.is_empty() {
            let name = self.name.clone();
            scenes.push(look(&exporter, format, name, &servers, self.recordings(first)).await);
        } else {
            exporter.get("/metrics").await;
        }
        for phase in self.phases.iter().skip(1) {
            let recordings = self.recordings(phase);
            for (name, recording) in &recordings {
                let server = servers.get_mut(name).expect("the same servers in all phases");
                server.play(recording.clone()).await;
            }
            let name = format!("{}/{phase}", self.name);
            scenes.push(look(&exporter, format, name, &servers, recordings).await);
        }
        for server in servers.values() {
            assert_eq!(server.unexpected(), Vec::<String>::new(), "{}", self.name);
        }
        scenes
    }
}

/// Every scene there is, played once for all tests that only look.
pub(super) fn all() -> &'static [Scene] {
    static ALL: OnceLock<Vec<Scene>> = OnceLock::new();
    // The tests have runtimes of their own, so this one gets a thread of its own.
    let play = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut scenes = Vec::new();
            for version in folders(Path::new(FIXTURES)) {
                for folder in folders(&version) {
                    scenes.extend(Stage::new(&folder).play(Format::OpenMetrics).await);
                }
            }
            scenes
        })
    };
    ALL.get_or_init(|| std::thread::spawn(play).join().expect("all scenes can be played"))
}

async fn look(
    exporter: &Exporter,
    format: Format,
    name: String,
    servers: &BTreeMap<String, Replay>,
    recordings: BTreeMap<String, Recording>,
) -> Scene {
    let answer = exporter.get_with("/metrics", &[("accept", format.accept())]).await;
    assert_eq!(answer.status, 200, "{name}: {}", answer.body);
    let (media_type, _) = format.accept().split_once(';').expect("a version");
    assert!(answer.content_type.starts_with(media_type), "{name}: {}", answer.content_type);
    let normal = normalise(&answer.body, servers);
    Scene { name, text: answer.body, normal, recordings }
}

/// Metrics whose values belong to the run, not to what was recorded.
const VARYING: [&str; 11] = [
    "nats_server_clock_offset_seconds",
    "nats_health_check_duration_seconds",
    "nats_jetstream_health_check_duration_seconds",
    "nats_exporter_endpoint_duration_seconds",
    "nats_exporter_endpoint_age_seconds",
    "nats_exporter_jetstream_config_age_seconds",
    "nats_exporter_last_success_timestamp_seconds",
    "nats_exporter_config_last_reload_success_timestamp_seconds",
    "nats_exporter_connections",
    "nats_exporter_tasks",
    "process_",
];

const VARIES: &str = "<varies>";

/// Replaces what differs from run to run, so that the series stay to be seen.
fn normalise(text: &str, servers: &BTreeMap<String, Replay>) -> String {
    // A request that times out is counted when it ends, which may be just after the scrape.
    let late = text.contains("reason=\"timeout\"");
    let mut normal = String::new();
    for line in text.lines() {
        if late && line.contains("nats_exporter_endpoint_errors") {
            continue;
        }
        let mut line = line.to_owned();
        if !line.starts_with('#') {
            if VARYING.iter().any(|name| line.starts_with(name)) {
                let end = line.rfind(' ').expect("a value");
                line.replace_range(end + 1.., VARIES);
            }
            if line.starts_with("nats_exporter_build_info") {
                for own in [env!("CARGO_PKG_VERSION"), REVISION] {
                    line = line.replace(&format!("\"{own}\""), &format!("\"{VARIES}\""));
                }
            }
            for (name, server) in servers {
                line = line.replace(
                    &format!("127.0.0.1:{}\"", server.port()),
                    &format!("127.0.0.1:<{name}>\""),
                );
            }
        }
        normal.push_str(&line);
        normal.push('\n');
    }
    normal
}
