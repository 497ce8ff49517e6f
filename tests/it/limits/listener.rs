//! What clients may take: connections, time, sizes, scrapes.

use std::time::Duration;

use nats_harness::monitor::{Fault, Question};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{OWN, PATIENCE, hits, is_hit};
use crate::support::exporter::Exporter;
use crate::support::model::Model;
use crate::support::monitor::Monitor;

/// An exporter beside a server that does not exist.
fn alone(variables: &[(&str, &str)]) -> Exporter {
    Exporter::start_with(&["http://127.0.0.1:1"], variables)
}

fn address(exporter: &Exporter) -> &str {
    exporter.url().trim_start_matches("http://")
}

async fn connect(exporter: &Exporter) -> TcpStream {
    TcpStream::connect(address(exporter)).await.unwrap()
}

/// Sends `text` and returns what came back until the connection ended.
async fn exchange(exporter: &Exporter, text: &str) -> String {
    let mut client = connect(exporter).await;
    client.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, client.read_to_end(&mut answer)).await.expect("it is closed");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits until the other side ends the connection.
async fn is_closed(client: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, client.read_to_end(&mut rest)).await.expect("it is closed");
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_has_its_time() {
    let exporter = alone(&[("NATS_EXPORTER_WEB_HEADER_TIMEOUT", "1s")]);
    let mut slow = connect(&exporter).await;
    let drip = async {
        for byte in b"GET /metrics HTTP/1.1\r\nX-Padding: ".iter().chain([b'x'; 2_000].iter()) {
            if slow.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, drip).await.expect("it is cut off");
    assert_eq!(is_hit(&exporter, "web.header_timeout").await, 1.0);
}

/// The time of a head that comes slowly and the time between requests are an hour, so whoever is served has
/// taken the place of somebody.
#[tokio::test]
async fn slow_clients_take_nobody_the_place() {
    let exporter = alone(&[
        ("NATS_EXPORTER_WEB_MAX_CONNECTIONS", "3"),
        ("NATS_EXPORTER_WEB_HEADER_TIMEOUT", "1h"),
        ("NATS_EXPORTER_WEB_IDLE_TIMEOUT", "1h"),
    ]);
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut client = connect(&exporter).await;
        client.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
        slow.push(client);
    }
    let samples = timeout(PATIENCE, exporter.samples(OWN)).await.expect("it is served");
    assert!(hits(&samples, "web.max_connections") == 18.0, "{samples:?}");
    assert!(samples.value("nats_exporter_connections", &[]) <= Some(3.0), "{samples:?}");
    is_closed(&mut slow[0]).await;
}

#[tokio::test]
async fn a_connection_that_is_not_used_is_closed() {
    let exporter = alone(&[("NATS_EXPORTER_WEB_IDLE_TIMEOUT", "300ms")]);
    let mut client = connect(&exporter).await;
    client.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: exporter\r\n\r\n").await.unwrap();
    is_closed(&mut client).await;
    assert!(is_hit(&exporter, "web.idle_timeout").await > 0.0);
    assert_eq!(hits(&exporter.samples(OWN).await, "web.header_timeout"), 0.0);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_431() {
    let exporter = alone(&[("NATS_EXPORTER_WEB_MAX_HEADER_BYTES", "1024")]);
    let long = "x".repeat(2_000);
    let many = "X: y\r\n".repeat(101);
    for head in [
        format!("GET /metrics HTTP/1.1\r\nX-Padding: {long}\r\n\r\n"),
        format!("GET /metrics?tier={long} HTTP/1.1\r\nHost: exporter\r\n\r\n"),
        format!("GET /metrics HTTP/1.1\r\n{many}\r\n"),
    ] {
        let answer = exchange(&exporter, &head).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let counted = |samples: &_| hits(samples, "web.max_header_bytes") == 3.0;
    assert!(counted(&exporter.until(OWN, PATIENCE, counted).await));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_answered_413() {
    let variables = [
        ("NATS_EXPORTER_WEB_MAX_BODY_BYTES", "1000"),
        ("NATS_EXPORTER_WEB_ENABLE_LIFECYCLE", "true"),
    ];
    let exporter = alone(&variables);
    for (bytes, status) in [(1000, "200"), (1001, "413")] {
        let body = "x".repeat(bytes);
        let request = format!(
            "POST /-/reload HTTP/1.1\r\nHost: exporter\r\nConnection: close\r\nContent-Length: {bytes}\r\n\r\n{body}"
        );
        let answer = exchange(&exporter, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes}: {answer}");
    }
    let samples = exporter.samples(OWN).await;
    assert_eq!(hits(&samples, "web.max_body_bytes"), 1.0);
    assert_eq!(samples.value("nats_exporter_config_last_reload_successful", &[]), Some(1.0));
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_given_up() {
    let monitor = Monitor::start(Model::default()).await;
    // Names so long that the answer does not fit the buffers of the system.
    let many = (0..70).map(|number| format!("STREAM-{number:0>3000}")).collect();
    monitor.change(|model| model.streams = many);
    let variables = [
        ("NATS_EXPORTER_WEB_STALL_TIMEOUT", "300ms"),
        ("NATS_EXPORTER_LIMITS_LABEL_VALUE_BYTES", "0"),
        ("NATS_EXPORTER_WEB_MAX_REQUESTS", "1"),
    ];
    let exporter = Exporter::start_with(&[monitor.url()], &variables);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stuck = socket.connect(address(&exporter).parse().unwrap()).await.unwrap();
    stuck.write_all(b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n").await.unwrap();
    assert_eq!(timeout(PATIENCE, stuck.read_u8()).await.unwrap().unwrap(), b'H', "it has begun");
    let free = async {
        while exporter.get(OWN).await.status == 503 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, free).await.expect("the answer is not kept");
    assert_eq!(hits(&exporter.samples(OWN).await, "web.stall_timeout"), 1.0);
}

#[tokio::test]
async fn a_scrape_beyond_the_limit_is_answered_503() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter =
        Exporter::start_with(&[monitor.url()], &[("NATS_EXPORTER_WEB_MAX_REQUESTS", "1")]);
    monitor.gate.spoil(Question::Varz, Fault::Gated);
    let second = async {
        monitor.asked(Question::Varz, 1).await;
        let answer = exporter.get(OWN).await;
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert_eq!(exporter.get("/-/healthy").await.status, 200, "that is no scrape");
        monitor.gate.open();
    };
    let (first, ()) = tokio::join!(exporter.get("/metrics"), second);
    assert_eq!(first.status, 200);
    assert_eq!(hits(&exporter.samples(OWN).await, "web.max_requests"), 1.0);
}

/// What is asked may take an hour, so without the limit the exporter would not end here.
#[tokio::test]
async fn the_end_does_not_wait_for_a_scrape_for_ever() {
    let monitor = Monitor::start(Model::default()).await;
    monitor.gate.spoil(Question::Varz, Fault::Stall);
    let variables = [
        ("NATS_EXPORTER_WEB_DRAIN_TIMEOUT", "300ms"),
        ("NATS_EXPORTER_SCRAPE_TIMEOUT", "1h"),
        ("NATS_EXPORTER_SCRAPE_BASE_TIMEOUT", "1h"),
        ("NATS_EXPORTER_SCRAPE_PERSISTENCE_TIMEOUT", "1h"),
    ];
    let mut exporter = Exporter::start_with(&[monitor.url()], &variables);
    let mut client = connect(&exporter).await;
    client.write_all(b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n").await.unwrap();
    monitor.asked(Question::Varz, 1).await;
    kill(Pid::from_raw(i32::try_from(exporter.pid()).unwrap()), Signal::SIGTERM).unwrap();
    let status = exporter.ended(PATIENCE).await.expect("it ends");
    assert!(status.success(), "{status}");
    assert!(exporter.log().contains("too long to finish"), "{}", exporter.log());
    is_closed(&mut client).await;
}
