//! `deploy/kubernetes/rolling-restart`, with a stand-in for kubectl: there is no cluster of Kubernetes here, and what counts
//! is that nothing is deleted after a no.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use clap::Parser;
use nats_exporter::cli::Cli;

const SCRIPT: &str = "deploy/kubernetes/rolling-restart";

/// Three pods, of which `nats-2` is of the newest revision. The check of `nats-1` ends with the code in `CODE_OF_1`, that of
/// `nats-0` with 0.
const KUBECTL: &str = r#"#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
*"get statefulset"*spec.replicas*) echo 3 ;;
*"get statefulset"*serviceName*) echo nats-headless ;;
*"get statefulset"*updateRevision*) echo new ;;
*"get pod nats-2 -o"*) echo new ;;
*"get pod"*"-o"*) echo old ;;
*"--server nats-1"*) exit "$CODE_OF_1" ;;
esac
"#;

/// Runs the script, and returns its exit code with what kubectl was told.
fn run(arguments: &[&str], code_of_1: i32) -> (Option<i32>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let kubectl = dir.path().join("kubectl");
    fs::write(&kubectl, KUBECTL).unwrap();
    fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).unwrap();
    let calls = dir.path().join("calls");
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new(SCRIPT)
        .args(arguments)
        .env("PATH", path)
        .env("CALLS", &calls)
        .env("CODE_OF_1", code_of_1.to_string())
        .output()
        .unwrap();
    let calls = fs::read_to_string(calls).unwrap_or_default();
    (output.status.code(), calls.lines().map(str::to_owned).collect())
}

fn deleted(calls: &[String]) -> Vec<&str> {
    calls.iter().filter_map(|call| call.split_once("delete pod ")).map(|call| call.1).collect()
}

#[test]
fn old_pods_go_one_after_the_other_and_new_ones_stay() {
    // With 3 the server may be restarted, although something is wrong elsewhere.
    for code in [0, 3] {
        let (status, calls) = run(&["nats"], code);
        assert_eq!((status, deleted(&calls)), (Some(0), vec!["nats-1", "nats-0"]), "{calls:?}");
        let position = |what: &str| calls.iter().position(|call| call.contains(what)).unwrap();
        assert!(position("--server nats-1") < position("delete pod nats-1"));
        assert!(position("wait --for=condition=Ready pod/nats-1") < position("--server nats-0"));
        assert!(position("delete pod nats-1") < position("wait --for=condition=Ready pod/nats-1"));
    }
}

#[test]
fn nothing_is_deleted_after_a_no() {
    // The check failed, was wrong, says no, or cannot tell.
    for code in [1, 2, 4, 5] {
        let (status, calls) = run(&["nats"], code);
        assert_eq!((status, deleted(&calls)), (Some(code), vec![]), "{calls:?}");
        assert!(!calls.iter().any(|call| call.contains("--server nats-0")), "it goes no further");
    }
}

#[test]
fn the_central_exporter_is_asked_when_there_is_one() {
    let (status, calls) = run(&["-n", "messaging", "-w", "2m", "-c", "nats-exporter", "nats"], 0);
    assert_eq!(status, Some(0));
    assert!(calls.iter().all(|call| call.starts_with("--namespace messaging ")), "{calls:?}");
    let expected = "--namespace messaging exec deployment/nats-exporter -- /usr/bin/nats-exporter check \
                    restart --server nats-1 --wait 2m http://nats-1.nats-headless:8222";
    assert!(calls.contains(&expected.to_owned()), "{calls:?}");
}

/// The program takes what the script asks it for.
#[test]
fn the_program_knows_the_check() {
    for arguments in [&["nats"][..], &["-c", "nats-exporter", "nats"]] {
        let (_, calls) = run(arguments, 0);
        let checks: Vec<&str> = calls
            .iter()
            .filter_map(|call| call.split_once(" -- /usr/bin/"))
            .map(|call| call.1)
            .collect();
        assert_eq!(checks.len(), 2, "{calls:?}");
        for check in checks {
            let parsed = Cli::try_parse_from(check.split(' '));
            assert!(parsed.is_ok_and(|cli| cli.command.is_some()), "{check}");
        }
    }
}

#[test]
fn without_a_name_nothing_is_done() {
    assert_eq!(run(&[], 0), (Some(2), vec![]));
    assert_eq!(run(&["--all"], 0), (Some(2), vec![]));
}
