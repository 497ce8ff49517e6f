//! The web configuration file, in front of the real program: who may come in, over what, and what happens when the
//! files change. Below are what the file may say, and what the listener may be.

#[path = "web_config/file.rs"]
mod file;
#[path = "web_config/sockets.rs"]
mod sockets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nats_exporter::nats::client::install_crypto_provider;
use nats_harness::Prometheus;
use reqwest::header::HeaderMap;
use reqwest::{Certificate, Client, ClientBuilder, Identity, Version};

use crate::support::authority::Authority;
use crate::support::exporter::Exporter;
use crate::support::samples::Samples;

const PATIENCE: Duration = Duration::from_secs(30);

/// The lowest cost of bcrypt: nothing here is about time.
const COST: u32 = 4;

/// An exporter behind a web configuration file.
struct Guarded {
    exporter: Exporter,
    file: PathBuf,
}

/// An answer, or that there was none.
struct Answer {
    status: u16,
    version: Version,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Guarded {
    /// Starts one with `text` as its file, among the files of `authority`.
    fn start(authority: &Authority, text: &str) -> Self {
        let file = authority.write("web.yml", text);
        let exporter = Exporter::start(&[format!("--web.config.file={}", file.display())]);
        Self { exporter, file }
    }

    fn rewrite(&self, text: &str) {
        std::fs::write(&self.file, text).unwrap();
    }

    async fn ask(&self, client: &Client, scheme: &str, path: &str, user: &str) -> Option<Answer> {
        let mut request = client.get(format!("{scheme}://{}{path}", self.exporter.address()));
        if let Some((name, password)) = user.split_once(':') {
            request = request.basic_auth(name, Some(password));
        }
        let mut response = request.send().await.ok()?;
        let (status, version) = (response.status().as_u16(), response.version());
        let headers = response.headers().clone();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.ok()? {
            body.extend_from_slice(&chunk);
        }
        Some(Answer { status, version, headers, body: String::from_utf8(body).unwrap() })
    }

    /// The status of an answer over TLS; nothing when there was no answer.
    async fn status(&self, client: &Client) -> Option<u16> {
        Some(self.ask(client, "https", "/-/healthy", "").await?.status)
    }

    async fn samples(&self, client: &Client, scheme: &str, user: &str) -> Samples {
        let answer = self.ask(client, scheme, "/metrics?tier=exporter", user).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        Samples::parse(&answer.body)
    }

    /// `healthcheck` with the same flags.
    fn is_healthy(&self) -> std::process::Output {
        std::process::Command::new(env!("CARGO_BIN_EXE_nats-exporter"))
            .arg("healthcheck")
            .arg(format!("--web.listen-address={}", self.exporter.address()))
            .arg(format!("--web.config.file={}", self.file.display()))
            .output()
            .unwrap()
    }
}

/// A client that trusts `authority` alone.
fn trusting(authority: &Authority) -> ClientBuilder {
    install_crypto_provider();
    let ca = std::fs::read(authority.file("ca.pem")).unwrap();
    Client::builder().no_proxy().tls_certs_only([Certificate::from_pem(&ca).unwrap()])
}

/// A client that shows a certificate for `name`, which `signer` signs.
fn showing(authority: &Authority, signer: &Authority, name: &str) -> Client {
    let (certificate, key) = signer.sign(&format!("client-{name}"), name);
    let pem = [std::fs::read(certificate).unwrap(), std::fs::read(key).unwrap()].concat();
    trusting(authority).identity(Identity::from_pem(&pem).unwrap()).build().unwrap()
}

fn anybody() -> Client {
    install_crypto_provider();
    Client::builder().no_proxy().tls_certs_only([]).build().unwrap()
}

/// An authority that has signed a certificate for the exporter.
fn authority() -> Authority {
    let authority = Authority::new();
    authority.sign("server", "127.0.0.1");
    authority
}

const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";

fn mutual(more: &str) -> String {
    format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n{more}")
}

fn users(passwords: &[(&str, &str)]) -> String {
    let hash = |(name, password): &(&str, &str)| {
        format!("  {name}: {}\n", bcrypt::hash(password, COST).unwrap())
    };
    format!("basic_auth_users:\n{}", passwords.iter().map(hash).collect::<String>())
}

/// Waits until `wanted` holds.
async fn until(wanted: impl AsyncFn() -> bool, what: &str) {
    let end = Instant::now() + PATIENCE;
    while !wanted().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn with_tls_clients_choose_http2_unless_it_is_off() {
    let authority = authority();
    let guarded = Guarded::start(&authority, TLS);
    let client = trusting(&authority).build().unwrap();
    let answer = guarded.ask(&client, "https", "/metrics", "").await.unwrap();
    assert_eq!((answer.status, answer.version), (200, Version::HTTP_2));
    let samples = Samples::parse(&answer.body);
    let ends =
        samples.value("nats_exporter_web_certificate_not_after_timestamp_seconds", &[]).unwrap();
    assert_eq!(ends, 4_102_444_800.0, "2100-01-01");
    assert_eq!(samples.value("nats_exporter_web_config_last_reload_successful", &[]).unwrap(), 1.0);
    let old = trusting(&authority).http1_only().build().unwrap();
    let answer = guarded.ask(&old, "https", "/metrics", "").await.unwrap();
    assert_eq!((answer.status, answer.version), (200, Version::HTTP_11));
    assert!(guarded.ask(&old, "http", "/metrics", "").await.is_none(), "nothing is plain");
    assert!(guarded.status(&anybody()).await.is_none(), "the certificate is of this authority");
    let health = guarded.is_healthy();
    assert!(health.status.success(), "{health:?}");

    guarded.rewrite(&format!("{TLS}http_server_config: {{http2: false}}\n"));
    until(
        || async {
            let client = trusting(&authority).build().unwrap();
            guarded.ask(&client, "https", "/", "").await.unwrap().version == Version::HTTP_11
        },
        "HTTP/2 stays on",
    )
    .await;
}

#[tokio::test]
async fn a_head_of_http2_has_its_limit() {
    let authority = authority();
    let guarded = Guarded::start(&authority, TLS);
    let client = trusting(&authority).build().unwrap();
    let url = format!("https://{}/-/healthy", guarded.exporter.address());
    let large = client.get(&url).header("x-padding", "x".repeat(32 * 1024)).send().await;
    assert!(large.is_err() || large.unwrap().status() == 431);
    let small = client.get(&url).header("x-padding", "x".repeat(8 * 1024)).send().await.unwrap();
    assert_eq!((small.status().as_u16(), small.version()), (200, Version::HTTP_2));
}

#[tokio::test]
async fn without_the_right_certificate_nobody_comes_in() {
    let (authority, stranger) = (authority(), Authority::new());
    let guarded = Guarded::start(&authority, &mutual(""));
    let right = showing(&authority, &authority, "prometheus.example");
    assert_eq!(guarded.status(&trusting(&authority).build().unwrap()).await, None);
    assert_eq!(guarded.status(&showing(&authority, &stranger, "prometheus.example")).await, None);
    assert_eq!(guarded.status(&right).await, Some(200));
    // Older TLS tells the client earlier; it is refused all the same.
    let old = trusting(&authority).tls_version_max(reqwest::tls::Version::TLS_1_2);
    assert_eq!(guarded.status(&old.build().unwrap()).await, None);
    let samples = guarded.samples(&right, "https", "").await;
    assert!(samples.value("nats_exporter_web_failed_handshakes_total", &[]).unwrap() >= 3.0);
    let health = guarded.is_healthy();
    assert!(health.status.success(), "{health:?}");
}

#[tokio::test]
async fn versions_are_kept_to() {
    let authority = authority();
    let guarded = Guarded::start(&authority, &format!("{TLS}  min_version: TLS13\n"));
    let client = |version| trusting(&authority).tls_version_max(version).build().unwrap();
    let (old, new) = (reqwest::tls::Version::TLS_1_2, reqwest::tls::Version::TLS_1_3);
    assert_eq!(guarded.status(&client(new)).await, Some(200));
    assert_eq!(guarded.status(&client(old)).await, None);

    let guarded = Guarded::start(&authority, &mutual("  max_version: TLS12\n"));
    assert_eq!(guarded.status(&client(old)).await, None, "there is no certificate");
    let right = showing(&authority, &authority, "prometheus.example");
    assert_eq!(guarded.status(&right).await, Some(200));
    let health = guarded.is_healthy();
    assert!(health.status.success(), "{health:?}");
}

#[tokio::test]
async fn a_certificate_has_to_be_for_an_allowed_name() {
    let authority = authority();
    let text = mutual("  client_allowed_sans: [prometheus.example, 192.0.2.7]\n");
    let guarded = Guarded::start(&authority, &text);
    for (name, expected) in [
        ("prometheus.example", Some(200)),
        ("192.0.2.7", Some(200)),
        ("other.example", None),
        ("a.prometheus.example", None),
        ("192.0.2.8", None),
    ] {
        let client = showing(&authority, &authority, name);
        assert_eq!(guarded.status(&client).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_verified_can_be_required() {
    let (authority, stranger) = (authority(), Authority::new());
    let text = format!("{TLS}  client_auth_type: RequireAnyClientCert\n");
    let guarded = Guarded::start(&authority, &text);
    assert_eq!(guarded.status(&trusting(&authority).build().unwrap()).await, None);
    assert_eq!(guarded.status(&showing(&authority, &stranger, "anyone.example")).await, Some(200));

    let text =
        format!("{TLS}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n");
    let guarded = Guarded::start(&authority, &text);
    assert_eq!(guarded.status(&trusting(&authority).build().unwrap()).await, Some(200));
    assert_eq!(guarded.status(&showing(&authority, &stranger, "anyone.example")).await, None);
}

#[tokio::test]
async fn only_users_are_answered_and_each_password_is_checked_once() {
    let authority = authority();
    let text = users(&[("alice", "right"), ("bob", "other")]);
    let guarded = Guarded::start(&authority, &text);
    let client = anybody();
    for path in ["/", "/metrics", "/probe", "/-/healthy", "/-/ready", "/-/reload", "/nothing"] {
        for user in ["", "alice:wrong", "alice:other", "mallory:right"] {
            let answer = guarded.ask(&client, "http", path, user).await.unwrap();
            assert_eq!(answer.status, 401, "{path} {user}");
            assert!(answer.header("www-authenticate").starts_with("Basic "), "{path} {user}");
            assert!(!answer.body.contains("nats_"), "{}", answer.body);
        }
    }
    let checks = "nats_exporter_web_password_checks_total";
    for _ in 0..3 {
        guarded.samples(&client, "http", "alice:right").await;
    }
    let samples = guarded.samples(&client, "http", "bob:other").await;
    // Three wrong ones and two right ones, however often they came.
    assert_eq!(samples.value(checks, &[]).unwrap(), 5.0);
    assert_eq!(samples.value("nats_exporter_web_unauthorized_requests_total", &[]).unwrap(), 28.0);
    let health = guarded.is_healthy();
    assert!(health.status.success(), "{health:?}");

    // Who was taken out is out, though the connection and the password are known.
    guarded.rewrite(&users(&[("bob", "other")]));
    until(
        || async { guarded.ask(&client, "http", "/", "alice:right").await.unwrap().status == 401 },
        "alice stays",
    )
    .await;
    guarded.samples(&client, "http", "bob:other").await;
}

#[tokio::test]
async fn every_answer_has_the_headers_of_the_file_and_the_rate_is_kept() {
    let authority = authority();
    let text = "http_server_config:\n  headers:\n    X-Frame-Options: sameorigin\n    \
                Strict-Transport-Security: max-age=31536000\n    X-XSS-Protection: 0\n";
    let guarded = Guarded::start(&authority, text);
    let client = anybody();
    for path in ["/", "/-/healthy", "/nothing", "/metrics?tier=exporter"] {
        let answer = guarded.ask(&client, "http", path, "").await.unwrap();
        assert_eq!(answer.header("x-frame-options"), "sameorigin", "{path}");
        assert_eq!(answer.header("strict-transport-security"), "max-age=31536000", "{path}");
        assert_eq!(answer.header("x-xss-protection"), "0", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"), "{path}");
    }
    guarded.rewrite("rate_limit: {interval: 1h, burst: 2}\n");
    let mut statuses = BTreeMap::new();
    until(
        || {
            let answer = guarded.ask(&client, "http", "/-/healthy", "");
            async { answer.await.unwrap().status == 429 }
        },
        "there is no limit",
    )
    .await;
    for _ in 0..5 {
        let answer = guarded.ask(&client, "http", "/-/healthy", "").await.unwrap();
        *statuses.entry(answer.status).or_insert(0) += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(429, 5)]));
    let health = guarded.is_healthy();
    assert!(health.status.success(), "who floods it would have it restarted: {health:?}");
}

#[tokio::test]
async fn a_file_that_keeps_fewer_out_needs_a_restart() {
    let authority = authority();
    let allowed = "  client_allowed_sans: [a.example]\n";
    let text = mutual(allowed) + &users(&[("alice", "right")]);
    let guarded = Guarded::start(&authority, &text);
    let client = showing(&authority, &authority, "a.example");
    let current = "nats_exporter_web_config_last_reload_successful";
    let is_current = async || {
        let samples = guarded.samples(&client, "https", "alice:right").await;
        samples.value(current, &[]).unwrap() == 1.0
    };
    // Most are beginnings of the file, as a full disk or an editor leaves them.
    let users_at = text.find("basic_auth_users").unwrap();
    let clients_at = text.find("  client_auth_type").unwrap();
    let cut = [
        ("", "web.yml: tls_server_config: "),
        (&text[..users_at], "web.yml: basic_auth_users: "),
        (&text[..clients_at], "web.yml: tls_server_config.client_auth_type: "),
        (&text.replace(allowed, ""), "web.yml: tls_server_config.client_allowed_sans: "),
    ];
    for (cut, told) in cut {
        guarded.rewrite(cut);
        until(async || !is_current().await, "nobody tells").await;
        let log = guarded.exporter.log();
        assert!(log.contains(told) && log.contains("restart the exporter"), "{log}");
        for (scheme, client, user) in [
            ("http", &anybody(), "alice:right"),
            ("https", &trusting(&authority).build().unwrap(), "alice:right"),
            ("https", &showing(&authority, &authority, "b.example"), "alice:right"),
        ] {
            assert!(guarded.ask(client, scheme, "/", user).await.is_none(), "{cut}");
        }
        assert_eq!(guarded.ask(&client, "https", "/", "").await.unwrap().status, 401, "{cut}");
        guarded.rewrite(&text);
        until(is_current, "it stays broken").await;
    }
}

#[tokio::test]
async fn a_new_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
    let (authority, next) = (authority(), authority());
    let guarded = Guarded::start(&authority, TLS);
    let (before, after) = (trusting(&authority).build().unwrap(), trusting(&next).build().unwrap());
    assert_eq!((guarded.status(&before).await, guarded.status(&after).await), (Some(200), None));

    // A certificate that is not of the key, as between the writing of two files.
    copy(&next, &authority, "server.pem");
    let current = "nats_exporter_web_config_last_reload_successful";
    until(
        || async {
            guarded.samples(&before, "https", "").await.value(current, &[]).unwrap() == 0.0
        },
        "nobody tells that the file is broken",
    )
    .await;
    assert_eq!(guarded.status(&trusting(&authority).build().unwrap()).await, Some(200));
    let log = guarded.exporter.log();
    assert!(log.contains("web.yml: tls_server_config: the certificate and the key"), "{log}");

    copy(&next, &authority, "server.key");
    until(|| async { guarded.status(&after).await == Some(200) }, "the old one stays").await;
    assert_eq!(guarded.samples(&after, "https", "").await.value(current, &[]).unwrap(), 1.0);
    assert_eq!(guarded.status(&before).await, None, "the connection with the old one has ended");

    // Whatever is wrong now, what was right goes on.
    for text in ["tls_server_config: [", "tls_server_config: {cert_fil: x}\n"] {
        guarded.rewrite(text);
        until(
            || async {
                guarded.samples(&after, "https", "").await.value(current, &[]).unwrap() == 0.0
            },
            "nobody tells that the file is broken",
        )
        .await;
        assert_eq!(guarded.status(&trusting(&next).build().unwrap()).await, Some(200));
        guarded.rewrite(TLS);
        until(
            || async {
                guarded.samples(&after, "https", "").await.value(current, &[]).unwrap() == 1.0
            },
            "it stays broken",
        )
        .await;
    }
    assert!(
        guarded.exporter.log().contains("did you mean cert_file?"),
        "{}",
        guarded.exporter.log()
    );
}

fn copy(from: &Authority, to: &Authority, name: &str) {
    std::fs::copy(from.file(name), to.file(name)).unwrap();
}

#[tokio::test]
async fn a_client_of_an_authority_that_was_taken_out_has_to_go() {
    let (authority, next) = (authority(), Authority::new());
    let guarded = Guarded::start(&authority, &mutual(""));
    let (old, new) =
        (showing(&authority, &authority, "a.example"), showing(&authority, &next, "b.example"));
    assert_eq!((guarded.status(&old).await, guarded.status(&new).await), (Some(200), None));
    // The server's certificate stays; who signs those of clients is another one now.
    std::fs::copy(next.file("ca.pem"), authority.file("next.pem")).unwrap();
    guarded.rewrite(&mutual("").replace("ca.pem", "next.pem"));
    until(|| async { guarded.status(&new).await == Some(200) }, "the old authority stays").await;
    assert_eq!(guarded.status(&old).await, None, "its connection was kept");
}

#[tokio::test]
async fn prometheus_scrapes_with_certificate_and_password() {
    let authority = authority();
    let text = mutual("") + &users(&[("prometheus", "scrape me")]);
    let guarded = Guarded::start(&authority, &text);
    let (certificate, key) = authority.sign("prometheus", "prometheus.example");
    let job = |name: &str, password: &str| {
        format!(
            "  - job_name: {name}\n    scheme: https\n    \
             static_configs: [{{targets: [\"{}\"]}}]\n    \
             basic_auth: {{username: prometheus, password: \"{password}\"}}\n    \
             tls_config: {{ca_file: {:?}, cert_file: {certificate:?}, key_file: {key:?}}}\n",
            guarded.exporter.address(),
            authority.file("ca.pem"),
        )
    };
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{}{}",
        job("right", "scrape me"),
        job("wrong", "let me in"),
    );
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start_with(folder.path(), &config).await.unwrap();
    prometheus.until("up{job=\"right\"}", 1, 1.0, PATIENCE).await.unwrap();
    prometheus.until("up{job=\"wrong\"}", 1, 0.0, PATIENCE).await.unwrap();
    let scrapes = "count_over_time(up{job=\"right\"}[1m]) >= bool 4";
    prometheus.until(scrapes, 1, 1.0, PATIENCE).await.unwrap();
    let checks = prometheus.query("nats_exporter_web_password_checks_total").await.unwrap();
    assert_eq!(checks.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [2.0]);
}

/// The program with `arguments`, to its end.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_nats-exporter"))
        .args(arguments)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn check(file: &Path) -> (Option<i32>, String) {
    run(&["--config.check", "--web.config.file", file.to_str().unwrap()])
}
