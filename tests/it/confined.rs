//! The program where it may do nothing: no file system to write to, no privilege, nobody's user.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use nats_harness::{Cluster, leave_out, newest};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regex::Regex;
use tempfile::TempDir;

use crate::support::exporter::Exporter;

const PATIENCE: Duration = Duration::from_secs(20);

/// Becomes the program with everything read-only but the folder for what strace sees.
const SCRIPT: &str = r#"
set -eu
traces=$1
shift
mount --bind "$traces" "$traces"
while read -r _ _ _ _ place _; do
    [ "$place" = "$traces" ] || mount -o remount,bind,ro "$place" 2>/dev/null || true
done </proc/self/mountinfo
if touch "$traces/../written" 2>/dev/null; then
    echo "it is not read-only" >&2
    exit 1
fi
exec "$@"
"#;

/// What strace writes of a call by which a file is written, or changed otherwise.
const WRITES: &str = "O_(WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)|^(creat|truncate|mkdir|mknod|rename|\
                      link|symlink|unlink|rmdir|chmod|chown|fchmodat|fchownat|utime|l?setxattr|l?removexattr)";

/// A folder that others can read, with the program in it: that of cargo may be ours alone.
struct Cell {
    folder: TempDir,
    is_root: bool,
    is_traced: bool,
}

impl Cell {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_nats-exporter"), folder.path().join("nats-exporter")).unwrap();
        fs::create_dir(folder.path().join("traces")).unwrap();
        let traced = Command::new("strace").args(["-qq", "--trace=none", "true"]).status();
        let is_traced = traced.is_ok_and(|status| status.success());
        Self { folder, is_root: nix::unistd::geteuid().is_root(), is_traced }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The start of a command line that becomes the program, with what it does in files called `name`.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new("unshare");
        if !self.is_root {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "--propagation=private", "sh", "-c", SCRIPT, "sh"]);
        command.arg(self.file("traces"));
        if self.is_traced {
            let output = self.file("traces").join(name);
            command.args([
                "strace",
                "--daemonize",
                "-ff",
                "--seccomp-bpf",
                "-q",
                "--trace=%file",
                "--output",
            ]);
            command.arg(output);
        }
        command.arg("setpriv");
        if self.is_root {
            // Without a name space of users these are real.
            command.args(["--reuid=65532", "--regid=65532", "--clear-groups"]);
        }
        command.args(["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]);
        command.arg(self.file("nats-exporter"));
        command
    }

    async fn run(&self, name: &str, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::from(self.command(name));
        command.args(arguments).output().await.expect("unshare starts")
    }

    /// What strace saw, once it saw the end of all.
    async fn seen(&self) -> String {
        let read = || {
            let files = fs::read_dir(self.file("traces")).unwrap().map(|file| file.unwrap().path());
            files.map(|file| fs::read_to_string(file).unwrap()).collect::<Vec<_>>()
        };
        let all = async {
            while !read().iter().all(|seen| seen.trim_end().ends_with("+++")) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("strace sees the ends");
        read().concat()
    }
}

/// Files that a process holds open to write to.
fn written(pid: u32) -> Vec<PathBuf> {
    let proc = Path::new("/proc").join(pid.to_string());
    let numbers = fs::read_dir(proc.join("fd")).unwrap().map(|entry| entry.unwrap().file_name());
    let is_written = |number: &std::ffi::OsString| {
        let (Ok(file), Ok(info)) = (
            fs::metadata(proc.join("fd").join(number)),
            fs::read_to_string(proc.join("fdinfo").join(number)),
        ) else {
            return false; // It is closed meanwhile.
        };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags");
        let flags = u32::from_str_radix(flags.trim(), 8).expect("octal");
        file.is_file() && flags & 3 != 0
    };
    let files = numbers.filter(is_written);
    files.map(|number| fs::read_link(proc.join("fd").join(number)).unwrap_or_default()).collect()
}

#[tokio::test]
async fn it_runs_as_nobody_on_a_read_only_root_and_opens_no_file_to_write_to() {
    let cell = Cell::new();
    let version = cell.run("version", &["--version"]).await;
    let said = String::from_utf8_lossy(&version.stderr);
    if !version.status.success() && said.contains("unshare: ") {
        return leave_out(&format!("mount namespaces, refused here: {said}"));
    }
    assert!(version.status.success(), "{said}");

    let server = Cluster::builder(newest()).jetstream(true).start().await.unwrap();
    let config = cell.file("exporter.yml");
    let configure = |timeout: &str| {
        let url = server.node(0).monitor_url();
        let text = format!("targets: [\"{url}\"]\nscrape: {{timeout: {timeout}}}\n");
        fs::write(&config, text).unwrap();
    };
    configure("20s");
    let flag = format!("--config.file={}", config.display());
    let mut exporter = Exporter::start_as(cell.command("exporter"), &[&flag]);
    let samples = exporter.samples("/metrics").await;
    assert_eq!(samples.value("nats_up", &[]), Some(1.0));
    assert_eq!(exporter.get("/").await.status, 200);
    let status = fs::read_to_string(format!("/proc/{}/status", exporter.pid())).unwrap();
    let is_said = |line: &str| status.lines().any(|it| it == line);
    assert!(is_said("NoNewPrivs:\t1"), "{status}");
    if cell.is_root {
        assert!(is_said("Uid:\t65532\t65532\t65532\t65532"), "{status}");
        assert!(is_said("CapPrm:\t0000000000000000"), "{status}");
    }

    configure("30s");
    let pid = Pid::from_raw(i32::try_from(exporter.pid()).unwrap());
    kill(pid, Signal::SIGHUP).unwrap();
    let reloaded = async {
        while !exporter.log().contains("configuration reloaded") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reloaded).await.expect("it reloads");
    exporter.samples("/metrics").await;
    assert_eq!(written(exporter.pid()), Vec::<PathBuf>::new());

    let (_, port) = exporter.url().rsplit_once(':').unwrap();
    let listening = format!("--web.listen-address=127.0.0.1:{port}");
    let health = cell.run("healthcheck", &["healthcheck", &listening]).await;
    assert!(health.status.success(), "{health:?}");
    let check = cell.run("check", &["check", &flag]).await;
    assert!(String::from_utf8_lossy(&check.stdout).contains("n1"), "{check:?}");
    kill(pid, Signal::SIGTERM).unwrap();
    assert!(exporter.ended(PATIENCE).await.expect("it ends").success(), "{}", exporter.log());

    if !cell.is_traced {
        return leave_out("strace, which is not here or may not trace");
    }
    let seen = cell.seen().await;
    let reads = seen.lines().filter(|line| line.contains("exporter.yml\", O_RDONLY")).count();
    assert!(reads >= 3, "its start, the reload and the check read the file: {seen}");
    let writes = Regex::new(WRITES).unwrap();
    let mut control = Command::new("strace");
    control.args(["-qq", "--trace=%file", "touch"]).arg(cell.file("control"));
    let control = String::from_utf8(control.output().unwrap().stderr).unwrap();
    assert!(control.lines().any(|line| writes.is_match(line)), "what touch does: {control}");
    let writes: Vec<_> = seen.lines().filter(|line| writes.is_match(line)).collect();
    assert!(writes.is_empty(), "{writes:#?}");
}
