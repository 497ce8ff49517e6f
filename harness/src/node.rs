//! One server: start, stop, faults, and questions to its monitoring port.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::ports::Port;
use crate::process::Process;
use crate::settings::{Ports, Settings, config_text};
use crate::{Error, Result};

/// How long a server may take to open its monitoring port.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long a server may take to end when asked to.
const STOP_LIMIT: Duration = Duration::from_secs(10);
const FREEZE_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// One `nats-server` of a [`Cluster`](crate::Cluster).
#[derive(Debug)]
pub struct Node {
    index: usize,
    settings: Arc<Settings>,
    binary: PathBuf,
    dir: PathBuf,
    held: Held,
    peers: Vec<u16>,
    http: reqwest::Client,
    state: Mutex<State>,
}

/// The ports of a server, held as long as the node exists.
#[derive(Debug)]
pub(crate) struct Held {
    client: Port,
    route: Port,
    monitor: Port,
}

impl Held {
    pub(crate) fn take() -> Result<Self> {
        Ok(Self { client: Port::any()?, route: Port::any()?, monitor: Port::any()? })
    }

    pub(crate) fn numbers(&self) -> Ports {
        Ports {
            client: self.client.number(),
            route: self.route.number(),
            monitor: self.monitor.number(),
        }
    }
}

#[derive(Debug)]
struct State {
    name: String,
    store_size: Option<u64>,
    max_file: String,
    process: Option<Process>,
    frozen: bool,
}

/// An answer of a monitoring port.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Node {
    pub(crate) fn new(
        index: usize,
        settings: Arc<Settings>,
        binary: PathBuf,
        dir: PathBuf,
        held: Held,
        peers: Vec<u16>,
        http: reqwest::Client,
    ) -> Self {
        let state = State {
            name: format!("{}{}", settings.name_prefix, index + 1),
            store_size: settings.store_sizes.get(&index).copied(),
            max_file: settings.max_file.clone(),
            process: None,
            frozen: false,
        };
        let state = Mutex::new(state);
        Self { index, settings, binary, dir, held, peers, http, state }
    }

    /// Its place in the cluster, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The server's name, as in monitoring answers. Without configured names it is the server's id,
    /// which is new after each start.
    #[must_use]
    pub fn name(&self) -> String {
        self.state().name.clone()
    }

    /// The process id; nothing while it is not running.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let state = self.state();
        state.process.as_ref().filter(|process| process.ended().is_none()).map(Process::pid)
    }

    /// Is the process there? A frozen one is.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.pid().is_some()
    }

    /// Is it stopped by [`freeze`](Self::freeze)?
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.state().frozen
    }

    /// Where its monitoring endpoints are, with the base path and without a slash at the end.
    #[must_use]
    pub fn monitor_url(&self) -> String {
        let scheme = if self.settings.monitor_tls.is_some() { "https" } else { "http" };
        let port = self.held.monitor.number();
        format!("{scheme}://127.0.0.1:{port}{}", self.settings.http_base_path)
    }

    /// Where clients connect.
    #[must_use]
    pub fn client_url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.held.client.number())
    }

    /// The port for monitoring.
    #[must_use]
    pub fn monitor_port(&self) -> u16 {
        self.held.monitor.number()
    }

    /// Everything the server has logged, over all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The file of [`log`](Self::log).
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// The directory of its JetStream store. Looks empty from here when its size is limited, since
    /// that file system is visible to the server alone.
    #[must_use]
    pub fn store_dir(&self) -> PathBuf {
        self.dir.join("js")
    }

    // ------------------------------------------------------------------------------- start, stop

    /// Starts it on its ports, and returns when its monitoring port answers. That does not mean that
    /// it is healthy: see [`Cluster::wait_ready`](crate::Cluster::wait_ready).
    pub async fn start(&self) -> Result<()> {
        self.spawn()?;
        self.wait_monitor().await
    }

    /// Starts the process and does not wait for anything.
    pub(crate) fn spawn(&self) -> Result<()> {
        if self.is_alive() {
            return Err(Error::AlreadyRunning { node: self.name() });
        }
        let mut state = self.state();
        let store = self.store_dir();
        fs::create_dir_all(&store).map_err(Error::file("cannot create", &store))?;
        let ports = self.held.numbers();
        let text =
            config_text(&self.settings, &state.name, &state.max_file, ports, &self.peers, &store);
        let config = self.dir.join("nats.conf");
        fs::write(&config, text).map_err(Error::file("cannot write", &config))?;
        let limit = self.settings.memory_limit.as_ref().map(|limit| format!("GOMEMLIMIT={limit}"));
        // `env` is replaced by the server, which keeps its process id.
        let program = if limit.is_some() { Path::new("env") } else { &self.binary };
        let mut arguments: Vec<&OsStr> = Vec::new();
        if let Some(limit) = &limit {
            arguments.extend([OsStr::new(limit), self.binary.as_os_str()]);
        }
        arguments.extend([OsStr::new("-c"), config.as_os_str()]);
        let process = match state.store_size {
            None => Process::start(program, arguments, &self.log_path())?,
            Some(bytes) => self.start_with_store(program, &arguments, &store, bytes)?,
        };
        state.process = Some(process);
        state.frozen = false;
        Ok(())
    }

    fn start_with_store(
        &self,
        program: &Path,
        arguments: &[&OsStr],
        store: &Path,
        bytes: u64,
    ) -> Result<Process> {
        crate::process::check_namespaces(store)?;
        Process::start_with_store(program, arguments, &self.log_path(), store, bytes)
    }

    pub(crate) async fn wait_monitor(&self) -> Result<()> {
        let end = Instant::now() + START_LIMIT;
        loop {
            if let Ok(varz) = self.json("/varz").await {
                if !self.settings.server_names
                    && let Some(name) = varz["server_name"].as_str()
                {
                    name.clone_into(&mut self.state().name);
                }
                return Ok(());
            }
            let status = self.state().process.as_ref().and_then(Process::ended);
            if let Some(status) = status {
                let log = last_lines(&self.log(), 15);
                return Err(Error::Exited { node: self.name(), status, log });
            }
            if Instant::now() >= end {
                let what = format!("an answer from {}", self.monitor_url());
                return Err(Error::Timeout { what, limit: START_LIMIT });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends it in good order (SIGTERM); kills it when that takes more than ten seconds.
    pub async fn stop(&self) -> Result<()> {
        let Some(process) = self.take_process() else {
            return Ok(());
        };
        process.stop(STOP_LIMIT).await
    }

    /// Kills it (SIGKILL), and returns when it is gone.
    #[expect(clippy::unused_async, reason = "all faults are awaited alike")]
    pub async fn kill(&self) -> Result<()> {
        if let Some(process) = self.take_process() {
            process.kill();
        }
        Ok(())
    }

    /// [`stop`](Self::stop), then [`start`](Self::start).
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.start().await
    }

    /// Restarts it under another name, with the same ports and store.
    pub async fn rename_and_restart(&self, new_name: &str) -> Result<()> {
        self.stop().await?;
        new_name.clone_into(&mut self.state().name);
        self.start().await
    }

    /// Sets the size of its store from the next start on; nothing removes the limit. With a limit the
    /// store is empty after each start, and fills again from the other servers.
    pub fn set_store_size(&self, bytes: Option<u64>) {
        self.state().store_size = bytes;
    }

    /// Sets the file storage that it has for JetStream from the next start on, in nats-server's notation.
    pub fn set_max_file(&self, size: &str) {
        size.clone_into(&mut self.state().max_file);
    }

    // ------------------------------------------------------------------------------------ faults

    /// Stops the process in its tracks (SIGSTOP), and returns when it stands still; connections stay
    /// open.
    pub async fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)?;
        self.state().frozen = true;
        // The signal is taken by each thread in its own time, and one of them may still answer.
        let end = Instant::now() + FREEZE_LIMIT;
        while self.pid().is_some_and(|pid| !stands_still(pid)) {
            if Instant::now() >= end {
                let what = format!("{} standing still", self.name());
                return Err(Error::Timeout { what, limit: FREEZE_LIMIT });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Lets a frozen process go on (SIGCONT).
    #[expect(clippy::unused_async, reason = "all faults are awaited alike")]
    pub async fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)?;
        self.state().frozen = false;
        Ok(())
    }

    /// Sends it into lame duck mode (SIGUSR2): it sends its clients away, and ends after a while.
    #[expect(clippy::unused_async, reason = "all faults are awaited alike")]
    pub async fn lame_duck(&self) -> Result<()> {
        self.signal(Signal::SIGUSR2)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Err(Error::NotRunning { node: self.name() });
        }
        self.state().process.as_ref().map_or(Ok(()), |process| process.signal(signal))
    }

    // -------------------------------------------------------------------------------- monitoring

    /// Asks its monitoring port, for example `/healthz?js-enabled-only=true`; two seconds at most.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        let url = self.monitor_url() + path;
        let failed = |error: reqwest::Error| Error::Monitor {
            url: url.clone(),
            reason: format!("{error:?}"), // The chain of causes is only in this form.
        };
        let mut response = self.http.get(&url).send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { status: response.status().as_u16(), body })
    }

    /// The same for an answer in JSON, whatever its status.
    pub async fn json(&self, path: &str) -> Result<serde_json::Value> {
        let answer = self.get(path).await?;
        serde_json::from_str(&answer.body).map_err(|error| Error::Monitor {
            url: self.monitor_url() + path,
            reason: format!("status {}, not JSON: {error}", answer.status),
        })
    }

    fn take_process(&self) -> Option<Process> {
        let mut state = self.state();
        state.frozen = false;
        state.process.take()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Are all threads of the process stopped?
fn stands_still(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    threads.flatten().all(|thread| {
        // The state follows the program's name, which is in parentheses. A thread may just have ended.
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    })
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
