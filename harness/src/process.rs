//! A child process that cannot outlive its owner.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::{Error, Result};

const POLL: Duration = Duration::from_millis(20);

/// A running program in its own process group. It is killed on drop, and by the kernel when this
/// process dies in any other way.
#[derive(Debug)]
pub struct Process {
    child: Mutex<Child>,
    pid: u32,
}

impl Process {
    /// Starts a program; what it prints is appended to the file `log`.
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        log: &Path,
    ) -> Result<Self> {
        let mut command = with_parent();
        command.arg(program).args(arguments);
        Self::spawn(command, &program.display().to_string(), log)
    }

    /// The same inside a mount namespace of its own, with a file system of `bytes` at `store`. The
    /// namespace and with it the mount end with the process.
    pub(crate) fn start_with_store(
        program: &Path,
        arguments: &[&OsStr],
        log: &Path,
        store: &Path,
        bytes: u64,
    ) -> Result<Self> {
        let mut command = in_namespace();
        command
            // Changing the user namespace makes the kernel forget the wish to die with the parent, so
            // setpriv comes last; each program replaces the one before, so the process id stays.
            .arg(r#"mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@""#)
            .args(["sh", &bytes.to_string()])
            .arg(store)
            .args(parts(&with_parent()))
            .arg(program)
            .args(arguments);
        Self::spawn(command, &program.display().to_string(), log)
    }

    fn spawn(mut command: Command, program: &str, log: &Path) -> Result<Self> {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(Error::file("cannot open", log))?;
        let err = out.try_clone().map_err(Error::file("cannot open", log))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = spawn_from_lasting_thread(command)
            .map_err(|source| Error::Spawn { program: program.to_owned(), source })?;
        let pid = child.id();
        Ok(Self { child: Mutex::new(child), pid })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, or nothing while it runs.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    /// Sends a signal to it and its own children; does nothing when it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = self.child();
        // As long as its end was not taken note of, its id cannot belong to another process.
        if matches!(child.try_wait(), Ok(Some(_))) {
            return Ok(());
        }
        let group = Pid::from_raw(self.pid.cast_signed());
        killpg(group, signal).map_err(|source| Error::Signal { pid: self.pid, source })
    }

    /// Waits for its end, at most for `limit`.
    pub async fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks it to end, and kills it when it does not do so within `limit`.
    pub async fn stop(&self, limit: Duration) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        self.signal(Signal::SIGCONT)?;
        if self.wait(limit).await.is_none() {
            self.kill();
        }
        Ok(())
    }

    /// Kills it, and returns when it is gone.
    pub fn kill(&self) {
        // The group can only be missing when all of it has ended.
        let _ = self.signal(Signal::SIGKILL);
        let _ = self.child().wait();
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Can a process here get a mount namespace of its own and mount something in it?
pub(crate) fn check_namespaces(scratch: &Path) -> Result<()> {
    let unavailable = |reason: String| Error::NamespacesUnavailable { reason };
    let output = in_namespace()
        .arg(r#"mount -t tmpfs -o size=65536 tmpfs "$1""#)
        .arg("sh")
        .arg(scratch)
        .output()
        .map_err(|error| unavailable(format!("cannot run unshare: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(unavailable(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// The start of a command line for a shell script in its own mount namespace.
fn in_namespace() -> Command {
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command
}

/// The start of a command line whose program is killed when its parent dies; without the tool for
/// that, `env`, which only runs the program.
fn with_parent() -> Command {
    static HAS_SETPRIV: LazyLock<bool> = LazyLock::new(|| {
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "true"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    if *HAS_SETPRIV {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        command
    } else {
        Command::new("env")
    }
}

fn parts(command: &Command) -> impl Iterator<Item = &OsStr> {
    std::iter::once(command.get_program()).chain(command.get_args())
}

/// "Parent" means the thread that started the process: were it a test's thread or one of a runtime,
/// the servers would be killed when that thread ends. So one thread that never ends starts them all.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    type Order = (Command, Sender<io::Result<Child>>);
    static SPAWNER: LazyLock<Sender<Order>> = LazyLock::new(|| {
        let (sender, orders) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in orders {
                // A dropped child is not killed, but nobody waits for the answer only in a panic.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (sender, answer) = channel();
    let ended = "the thread that starts processes has ended";
    SPAWNER.send((command, sender)).map_err(|_| io::Error::other(ended))?;
    answer.recv().map_err(|_| io::Error::other(ended))?
}
