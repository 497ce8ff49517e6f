//! The demo, with a stand-in for the exporter: what it tells, and that nothing outlives it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const STAND_IN: &str = r#"#!/usr/bin/env python3
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"a_sample 1\n")

assert len(sys.argv) == 5, sys.argv
port = int(sys.argv[1].removeprefix("--web.listen-address=127.0.0.1:"))
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"#;

#[test]
fn ends_by_itself() {
    let mut demo = Demo::start(&["--for", "1"]);
    let text = demo.text_to_end();
    assert!(demo.wait().success(), "{text}");
    assert!(text.contains("The time is over"), "{text}");
    demo.assert_nothing_left();
}

#[test]
fn ends_on_sigterm_and_tells_of_lost_servers() {
    let mut demo = Demo::start(&[]);
    signal(demo.pids[2], Signal::SIGKILL);
    assert_eq!(demo.line_with("has ended"), "n3 has ended; the others go on.");
    signal(demo.child.id(), Signal::SIGTERM);
    assert!(demo.wait().success());
    demo.assert_nothing_left();
}

#[test]
fn a_killed_demo_leaves_no_processes() {
    let mut demo = Demo::start(&[]);
    signal(demo.child.id(), Signal::SIGKILL);
    demo.wait();
    demo.assert_no_process_left();
}

#[test]
fn tells_why_the_exporter_did_not_come_up() {
    let dir = TempDir::new().unwrap();
    let script = executable(dir.path(), "#!/bin/sh\necho no such option >&2\nexit 3\n");
    let output = Command::new(env!("CARGO_BIN_EXE_demo")).arg("--exporter").arg(script).output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success());
    assert!(text.contains("exit status: 3") && text.contains("no such option"), "{text}");
}

/// A demo that is up.
struct Demo {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    /// Of the three servers and the exporter.
    pids: Vec<u32>,
    scratch: PathBuf,
    _dir: TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let scratch = dir.path().join("scratch");
        fs::create_dir(&scratch).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_demo"))
            .arg("--exporter")
            .arg(executable(dir.path(), STAND_IN))
            .args(arguments)
            .env("TMPDIR", &scratch)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut demo = Self { child, lines, pids: Vec::new(), scratch, _dir: dir };
        for _ in 0..4 {
            let line = demo.line_with(" pid ");
            let pid = line.split(" pid ").nth(1).unwrap().split_whitespace().next().unwrap();
            demo.pids.push(pid.parse().unwrap());
        }
        demo.line_with("Running");
        demo
    }

    fn line_with(&mut self, text: &str) -> String {
        let lines = self.lines.by_ref().lines().map(Result::unwrap);
        let mut seen = Vec::new();
        for line in lines {
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
        panic!("no line with {text:?} in {seen:#?}");
    }

    fn text_to_end(&mut self) -> String {
        let mut text = String::new();
        self.lines.read_to_string(&mut text).unwrap();
        text
    }

    fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    fn assert_no_process_left(&self) {
        for pid in &self.pids {
            let place = PathBuf::from(format!("/proc/{pid}"));
            // After the death of the parent somebody else has to reap them, which takes a moment.
            for _ in 0..100 {
                if !place.exists()
                    || fs::read(place.join("cmdline")).is_ok_and(|line| line.is_empty())
                {
                    break;
                }
                sleep(Duration::from_millis(50));
            }
            let line = fs::read_to_string(place.join("cmdline")).unwrap_or_default();
            assert!(line.is_empty(), "{pid} is left: {line}");
        }
    }

    fn assert_nothing_left(&self) {
        self.assert_no_process_left();
        assert_eq!(fs::read_dir(&self.scratch).unwrap().count(), 0);
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn executable(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("exporter");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}
