//! The limits of connections, for those of HTTP/2.

use std::fs;

use reqwest::Version;

use super::*;

/// A server with TLS, and a client that speaks HTTP/2 to it.
fn start(fake: Fake, limits: Limits) -> (Running, reqwest::Client) {
    let (server, certificate, _) = start_among_files(fake, limits);
    let authority = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([authority]);
    (server, client.build().unwrap())
}

/// A server with TLS, its certificate, and the folder of its web.yml.
fn start_among_files(fake: Fake, limits: Limits) -> (Running, String, tempfile::TempDir) {
    crate::nats::client::install_crypto_provider();
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap().pem();
    fs::write(folder.path().join("cert.pem"), &certificate).unwrap();
    fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
    let file = folder.path().join("web.yml");
    fs::write(&file, TLS).unwrap();
    let access = Access::load(Some(&file), Arc::default()).unwrap();
    (Running::start_behind(access, fake, limits), certificate, folder)
}

const TLS: &str = "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n";

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

/// A client of HTTP/2 that does nothing of what a server asks for, and takes nothing but heads.
struct Stubborn(tokio_rustls::client::TlsStream<TcpStream>);

/// Types of frames, as RFC 9113 numbers them.
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// `SETTINGS_INITIAL_WINDOW_SIZE` of 0.
const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];

impl Stubborn {
    async fn connect(server: &Running, certificate: &str) -> Self {
        use rustls::pki_types::pem::PemObject as _;
        use rustls::pki_types::{CertificateDer, ServerName};

        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
        let mut config =
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(server.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut client = Self(connector.connect(name, stream).await.unwrap());
        client.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        client.send(SETTINGS, 0, 0, &NO_WINDOW).await;
        client
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).unwrap();
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, stream];
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).await.unwrap();
        self.0.flush().await.unwrap();
    }

    async fn ask(&mut self, stream: u8, path: &str) {
        // GET and https are in the table of HPACK, a path and a host are written out; nothing follows.
        let mut head = vec![0x82, 0x87, 0x04, path.len().try_into().unwrap()];
        head.extend_from_slice(path.as_bytes());
        head.extend_from_slice(b"\x01\x08exporter");
        self.send(HEADERS, 0x5, stream, &head).await;
    }

    /// The type of the next frame of these kinds on `stream`, where 0 is the connection itself; nothing when it ends.
    async fn next(&mut self, stream: u8, kinds: &[u8]) -> Option<u8> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            self.0.read_exact(&mut vec![0; length.try_into().unwrap()]).await.ok()?;
            if head[8] == stream && kinds.contains(&head[3]) {
                return Some(head[3]);
            }
        }
    }
}

#[tokio::test]
async fn who_does_not_go_when_tls_changes_is_not_answered() {
    let (server, certificate, folder) = start_among_files(Fake::default(), USUAL);
    let mut client = Stubborn::connect(&server, &certificate).await;
    client.ask(1, "/-/healthy").await;
    let frames = [HEADERS, RESET];
    assert_eq!(timeout(PATIENCE, client.next(1, &frames)).await.unwrap(), Some(HEADERS));
    let text = format!("{TLS}http_server_config: {{http2: false}}\n");
    fs::write(folder.path().join("web.yml"), text).unwrap();
    assert_eq!(timeout(PATIENCE, client.next(0, &[GOAWAY])).await.unwrap(), Some(GOAWAY));
    client.ask(3, "/-/healthy").await;
    let answer = timeout(PATIENCE, client.next(3, &frames)).await.unwrap();
    assert_ne!(answer, Some(HEADERS));
}

#[tokio::test]
async fn who_takes_no_answer_to_a_question_that_costs_nothing_gives_way() {
    let limits = Limits { connections: 1, ..USUAL };
    let (server, certificate, _folder) = start_among_files(Fake::default(), limits);
    let mut clients = Vec::new();
    for path in ["/-/healthy", "/nothing", "/probe?target=nobody", "/", "/-/healthy"] {
        let mut client = Stubborn::connect(&server, &certificate).await;
        client.ask(1, path).await;
        assert_eq!(timeout(PATIENCE, client.next(1, &[HEADERS])).await.unwrap(), Some(HEADERS));
        clients.push(client);
    }
    assert_eq!(server.fake.meter.hits(Limit::StallTimeout), 0, "that would have been too late");
}
