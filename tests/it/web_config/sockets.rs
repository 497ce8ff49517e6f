//! What the listener may be besides an address.

use std::net::TcpListener;
use std::os::unix::fs::FileTypeExt as _;
use std::process::{Command, Stdio};

use super::*;

fn unix(path: &Path) -> Client {
    install_crypto_provider();
    Client::builder().no_proxy().tls_certs_only([]).unix_socket(path).build().unwrap()
}

#[tokio::test]
async fn a_socket_can_be_at_a_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("exporter.sock");
    let address = format!("--web.listen-address=unix:{}", path.display());
    let mut exporter = Exporter::start(&[&address]);
    let ask = || unix(&path).get("http://localhost/-/healthy").send();
    assert_eq!(ask().await.unwrap().status(), 200);
    assert_eq!(
        exporter.get("/-/healthy").await.status,
        200,
        "the other address is listened on too"
    );
    assert_eq!(run(&["healthcheck", &address]), (Some(0), String::new()));
    let (code, said) = run(&[&address]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot listen on unix:"), "{said}");

    let pid = nix::unistd::Pid::from_raw(i32::try_from(exporter.pid()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    exporter.ended(PATIENCE).await.unwrap();
    assert!(std::fs::symlink_metadata(&path).unwrap().file_type().is_socket(), "it is left behind");
    let (code, said) = run(&["healthcheck", &address]);
    assert_eq!(code, Some(1), "{said}");
    let mut exporter = Exporter::start(&[&address]);
    assert_eq!(ask().await.unwrap().status(), 200);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(exporter.pid()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    exporter.ended(PATIENCE).await.unwrap();
    assert!(!path.exists(), "it is removed at the end");
}

/// As systemd does it: the socket is open before the program starts, and is its third file.
#[tokio::test]
async fn systemd_can_open_the_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let script = "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" \"$@\"";
    let exporter = Exporter::run(
        Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_nats-exporter"), "--web.systemd-socket"])
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener))),
    );
    assert_eq!(exporter.address(), address);
    assert_eq!(exporter.get("/-/healthy").await.status, 200);

    let (code, said) = run(&["--web.systemd-socket"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("systemd has handed over no socket"), "{said}");
}
