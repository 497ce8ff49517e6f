//! The limits of connections, for those of HTTP/2.

use std::fs;

use reqwest::Version;

use super::*;

/// A server with TLS, and a client that speaks HTTP/2 to it.
fn start(fake: Fake, limits: Limits) -> (Running, reqwest::Client) {
    crate::nats::client::install_crypto_provider();
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap().pem();
    fs::write(folder.path().join("cert.pem"), &certificate).unwrap();
    fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
    let file = folder.path().join("web.yml");
    fs::write(&file, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}").unwrap();
    let access = Access::load(Some(&file), Arc::default()).unwrap();
    let authority = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([authority]);
    (Running::start_behind(access, fake, limits), client.build().unwrap())
}

async fn ask(
    server: &Running,
    client: &reqwest::Client,
    path: &str,
) -> reqwest::Result<reqwest::Response> {
    client.get(format!("https://{}{path}", server.address)).send().await
}

#[tokio::test]
async fn a_stream_that_stands_still_is_given_up() {
    let limits = Limits { stall: Duration::from_millis(50), ..USUAL };
    let (server, client) = start(Fake::default().max_requests(1), limits);
    let stuck = ask(&server, &client, "/probe?target=large").await.unwrap();
    assert_eq!((stuck.status().as_u16(), stuck.version()), (200, Version::HTTP_2));
    let free = async {
        // The same connection, which is anything but idle, and another one when it has ended.
        while !ask(&server, &client, "/metrics").await.is_ok_and(|a| a.status() == 200) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, free).await.expect("the answer is kept for ever");
    drop(stuck);
}

#[tokio::test]
async fn an_idle_connection_makes_room() {
    let soon = Duration::from_millis(50);
    let limits = Limits { head: soon, idle: soon, connections: 1, ..USUAL };
    let (server, client) = start(Fake::default(), limits);
    let answer = ask(&server, &client, "/-/healthy").await.unwrap();
    assert_eq!(answer.version(), Version::HTTP_2);
    // There is one place, and the first client would hold it. Who is accepted is also sent away, for want of TLS.
    assert!(server.connect().await.is_closed().await);
    drop(client);
}

#[tokio::test]
async fn who_does_not_set_up_tls_has_to_go() {
    let limits = Limits { head: Duration::from_millis(50), ..USUAL };
    let (server, _) = start(Fake::default(), limits);
    assert!(server.connect().await.is_closed().await);
}

#[tokio::test]
async fn shutdown_waits_for_streams_in_flight() {
    let (mut server, client) = start(Fake::default(), USUAL);
    let url = format!("https://{}/probe?target=gated", server.address);
    let busy = tokio::spawn(client.get(url).send());
    server.fake.waiting.notified().await;
    server.shut_down();
    server.fake.gate.notify_one();
    assert_eq!(busy.await.unwrap().unwrap().status(), 200);
    server.ended().await;
}
