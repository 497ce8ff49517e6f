//! The program as its users meet it: start, end, reload, log, page, credentials, TLS.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nats_harness::monitor::{Fault, Question, Setup};
use nats_harness::{Cluster, MonitorTls, newest};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::support::authority::Authority;
use super::support::exporter::Exporter;
use super::support::model::Model;
use super::support::monitor::Monitor;
use super::support::samples::Samples;

/// Far longer than anything here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the program to its end, which has to come soon.
fn run(arguments: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nats-exporter"))
        .arg("--web.listen-address=127.0.0.1:0")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // Read meanwhile, or a full pipe would hold it.
    let mut standard = child.stdout.take().expect("it is piped");
    let reader = std::thread::spawn(move || {
        let mut output = Vec::new();
        standard.read_to_end(&mut output).map(|_| output)
    });
    ends(&mut child, &format!("{arguments:?}"));
    let mut output = child.wait_with_output().expect("it has ended");
    output.stdout = reader.join().expect("no panic").expect("it can be read");
    output
}

/// Waits for the end of a process, and kills it when that does not come.
fn ends(child: &mut Child, what: &str) {
    let end = Instant::now() + PATIENCE;
    while child.try_wait().expect("it can be waited for").is_none() {
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it does not end: {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn send(exporter: &Exporter, signal: Signal) {
    let pid = i32::try_from(exporter.pid()).expect("a process id");
    kill(Pid::from_raw(pid), signal).expect("it runs");
}

fn write(folder: &TempDir, name: &str, content: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).expect("the folder can be written");
    path
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn with_file(path: &Path) -> [String; 1] {
    [format!("--config.file={}", path.display())]
}

/// Waits until `wanted` holds.
async fn until(what: &str, wanted: impl Fn() -> bool) {
    let wait = async {
        while !wanted() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "not in time: {what}");
}

async fn post(exporter: &Exporter, path: &str) -> u16 {
    nats_exporter::nats::client::install_crypto_provider();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build();
    let client = client.expect("a client");
    let response = client.post(format!("{}{path}", exporter.url())).send().await;
    response.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn without_arguments_it_asks_the_server_beside_it() {
    let checked = run(&["--config.check"]);
    assert!(checked.status.success(), "{checked:?}");
    assert_eq!(text(&checked.stdout), "the configuration is valid\n");
    let page = Exporter::start::<&str>(&[]).get("/").await;
    assert_eq!(page.status, 200);
    assert!(
        page.body.contains("127.0.0.1:8222</bdi></a> at http://127.0.0.1:8222<"),
        "{}",
        page.body
    );
}

#[test]
fn mistakes_end_it_with_2_and_a_message() {
    let folder = folder();
    let bad = write(&folder, "bad.yaml", "scrape: {timeout: soon}\n");
    let certificate = write(&folder, "empty.pem", "");
    let target =
        format!("targets: [{{url: \"https://h\", tls: {{ca_file: {}}}}}]\n", certificate.display());
    let empty_ca = write(&folder, "ca.yaml", &target);
    let bad = with_file(&bad);
    let missing = with_file(&folder.path().join("missing.yaml"));
    let empty_ca = with_file(&empty_ca);
    let checked = run(&["--config.check", &empty_ca[0]]);
    assert_eq!(checked.status.code(), Some(2), "{checked:?}");
    assert!(text(&checked.stderr).contains("empty.pem"), "{checked:?}");
    for (arguments, message) in [
        (["--no-such-flag"], "--no-such-flag"),
        (["--scrape.timeout=5"], "scrape.timeout"),
        (["127.0.0.1:8222"], "http://127.0.0.1:8222"),
        ([bad[0].as_str()], "scrape.timeout"),
        ([missing[0].as_str()], "missing.yaml"),
        ([empty_ca[0].as_str()], "empty.pem"),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {output:?}");
        let said = text(&output.stderr);
        assert!(said.contains(message), "{arguments:?}: {said}");
        assert!(text(&output.stdout).is_empty());
    }
}

#[test]
fn it_lists_its_metrics() {
    let list = run(&["--list-metrics"]);
    assert!(list.status.success());
    let list = text(&list.stdout);
    for start in
        ["nats_up gauge base {nats_cluster, server} ", "nats_server_in_messages_total counter "]
    {
        assert!(list.lines().any(|line| line.starts_with(start)), "{start} is missing");
    }
    assert!(list.lines().count() > 100);
}

/// A target that takes connections and says nothing.
async fn hanging() -> Monitor {
    let monitor = Monitor::start(Model::default()).await;
    for question in Question::ALL {
        monitor.gate.spoil(question, Fault::Stall);
    }
    monitor
}

#[tokio::test]
async fn it_ends_when_asked_whatever_its_targets_do() {
    let mut gone = Monitor::start(Model::default()).await;
    gone.gate.stop().await;
    let hanging = hanging().await;
    for url in [gone.url(), hanging.url()] {
        let mut exporter = Exporter::start(&[&url]);
        send(&exporter, Signal::SIGTERM);
        let status = exporter.ended(PATIENCE).await.expect("it ends");
        assert!(status.success(), "{status} {}", exporter.log());
    }
}

#[tokio::test]
async fn it_ends_during_a_scrape() {
    let monitor = hanging().await;
    let mut exporter = Exporter::start(&[monitor.url()]);
    let url = exporter.url().trim_start_matches("http://").to_owned();
    let mut scraper = tokio::net::TcpStream::connect(url).await.expect("it listens");
    let request = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut scraper, request).await.expect("it reads");
    monitor.asked(Question::Varz, 1).await;
    send(&exporter, Signal::SIGTERM);
    let status = exporter.ended(PATIENCE).await.expect("it ends");
    assert!(status.success(), "{status} {}", exporter.log());
}

#[test]
fn it_ends_at_once_at_its_start() {
    for wait in [0, 2, 5, 10, 20, 40] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_nats-exporter"))
            .args(["--web.listen-address=127.0.0.1:0"])
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        std::thread::sleep(Duration::from_millis(wait));
        let pid = i32::try_from(child.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
        ends(&mut child, &format!("asked after {wait} ms"));
    }
}

fn reload_ok(samples: &Samples) -> Option<f64> {
    samples.value("nats_exporter_config_last_reload_successful", &[])
}

#[tokio::test]
async fn a_reload_takes_what_is_good_and_keeps_what_was() {
    let first = Monitor::start(Model::new("first", (2, 15, 1))).await;
    let second = Monitor::start(Model::new("second", (2, 10, 26))).await;
    let folder = folder();
    let one = format!("targets: [\"{}\"]\n", first.url());
    let both = format!("targets: [\"{}\", \"{}\"]\n", first.url(), second.url());
    let file = write(&folder, "exporter.yaml", &one);
    let exporter = Exporter::start(&with_file(&file));
    let up = |samples: &Samples, server: &str| samples.value("nats_up", &[("server", server)]);
    let samples = exporter.samples("/metrics").await;
    assert_eq!((up(&samples, "first"), up(&samples, "second")), (Some(1.0), None));

    std::fs::write(&file, &both).expect("the file can be written");
    send(&exporter, Signal::SIGHUP);
    until("the reload", || exporter.log().contains("configuration reloaded")).await;
    let samples = exporter.samples("/metrics").await;
    assert_eq!((up(&samples, "first"), up(&samples, "second")), (Some(1.0), Some(1.0)));
    assert_eq!(reload_ok(&samples), Some(1.0));

    std::fs::write(&file, "targets: [nonsense]\n").expect("the file can be written");
    send(&exporter, Signal::SIGHUP);
    until("the refusal", || exporter.log().contains("the old configuration stays in use")).await;
    let samples = exporter.samples("/metrics").await;
    assert_eq!((up(&samples, "first"), up(&samples, "second")), (Some(1.0), Some(1.0)));
    assert_eq!(reload_ok(&samples), Some(0.0));
    assert!(exporter.log().contains("nonsense"), "{}", exporter.log());

    std::fs::write(&file, &one).expect("the file can be written");
    send(&exporter, Signal::SIGHUP);
    let good_again = |samples: &Samples| reload_ok(samples) == Some(1.0);
    let samples = exporter.until("/metrics", PATIENCE, good_again).await;
    assert_eq!((up(&samples, "first"), up(&samples, "second")), (Some(1.0), None));
}

#[tokio::test]
async fn a_reload_over_http_has_to_be_allowed() {
    let folder = folder();
    let file = write(&folder, "exporter.yaml", "targets: [\"http://127.0.0.1:1\"]\n");
    let [flag] = with_file(&file);
    let closed = Exporter::start(&[&flag]);
    assert_eq!(post(&closed, "/-/reload").await, 403);
    let open = Exporter::start(&[flag.as_str(), "--web.enable-lifecycle"]);
    assert_eq!(post(&open, "/-/reload").await, 200);
    until("the reload", || open.log().contains("configuration reloaded")).await;
    std::fs::write(&file, "targets: 5\n").expect("the file can be written");
    assert_eq!(post(&open, "/-/reload").await, 500);
    for exporter in [closed, open] {
        for path in ["/-/healthy", "/-/ready"] {
            assert_eq!(exporter.get(path).await.status, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn it_listens_on_every_address() {
    // The first address is the helper's.
    let exporter = Exporter::start(&["--web.listen-address=127.0.0.1:0", "http://127.0.0.1:1"]);
    let log = exporter.log();
    let listening = log.lines().filter(|line| line.contains("listening")).count();
    until("both", || exporter.log().matches("listening").count() == 2).await;
    assert!(listening >= 1);
    let log = exporter.log();
    let ports: Vec<&str> = log
        .lines()
        .filter_map(|line| line.split_once("127.0.0.1:"))
        .map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default())
        .collect();
    assert_eq!(ports.len(), 2, "{log}");
    assert_ne!(ports[0], ports[1]);
    for port in ports {
        let address = format!("127.0.0.1:{port}");
        tokio::net::TcpStream::connect(address).await.expect("it listens");
    }
}

#[tokio::test]
async fn a_failing_endpoint_has_one_log_line_for_each_change() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = Exporter::start(&["--log.format=json".to_owned(), monitor.url()]);
    for _ in 0..2 {
        monitor.gate.spoil(Question::Routez, Fault::answer(500, ""));
        for _ in 0..5 {
            exporter.samples("/metrics").await;
        }
        monitor.gate.heal();
        for _ in 0..5 {
            exporter.samples("/metrics").await;
        }
    }
    until("the log", || exporter.log().matches("answers again").count() >= 2).await;
    let log = exporter.log();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.iter().all(serde_json::Value::is_object));
    let about: Vec<_> = lines
        .iter()
        .filter(|line| line["endpoint"] == "routez")
        .map(|line| (line["level"].as_str(), line["reason"].as_str()))
        .collect();
    let (fails, again) = ((Some("WARN"), Some("status")), (Some("INFO"), None));
    assert_eq!(about, [fails, again, fails, again], "{log}");
    let others = lines.iter().filter(|line| line.get("endpoint").is_some()).count();
    assert_eq!(others, 4, "nothing else failed: {log}");
}

const SECRETS: [&str; 4] = ["pa55word", "cGE1NXdvcmQ", "t0ken-from-file", "bW9uaXRvcjpwYTU1d29yZA"];

fn has_no_secret(what: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{what} shows {secret}: {text}");
    }
}

#[tokio::test]
async fn credentials_arrive_at_the_server_and_nowhere_else() {
    let monitor = Monitor::start(Model::default()).await;
    let broken = Monitor::start(Model::new("n2", (2, 15, 1))).await;
    for question in Question::ALL {
        broken.gate.spoil(question, Fault::answer(401, ""));
    }
    let folder = folder();
    write(&folder, "token", "t0ken-from-file\n");
    let hostile = "<script>alert('x')</script>&\\\"quoted\\\"";
    let file = format!(
        "web: {{enable_lifecycle: true}}\n\
         log: {{level: trace}}\n\
         targets:\n\
         - name: \"{hostile}\"\n  \
           url: \"http://monitor:pa55word@{}\"\n  \
           headers: {{X-Token: {{file: token}}}}\n\
         - \"http://monitor:pa55word@{}\"\n\
         - \"http://monitor:pa55word@127.0.0.1:1\"\n",
        monitor.gate.address(),
        broken.gate.address()
    );
    let file = write(&folder, "exporter.yaml", &file);
    let exporter = Exporter::start(&with_file(&file));
    let metrics = exporter.get("/metrics").await;
    let samples = Samples::parse(&metrics.body);
    assert_eq!(samples.value("nats_up", &[("server", "n1")]), Some(1.0));
    for request in monitor.requests() {
        assert_eq!(request.headers["authorization"], "Basic bW9uaXRvcjpwYTU1d29yZA==");
        assert_eq!(request.headers["x-token"], "t0ken-from-file");
        assert!(request.headers["user-agent"].starts_with("nats-exporter/"));
    }
    let page = exporter.get("/").await.body;
    assert!(!page.contains("<script"), "{page}");
    assert!(
        page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;quoted&quot;")
    );
    for (what, body) in [("the page", page), ("the metrics", metrics.body)] {
        has_no_secret(what, &body);
    }
    for path in ["/probe", "/probe?target=none", "/metrics?tier=none", "/none"] {
        has_no_secret(path, &exporter.get(path).await.body);
    }
    std::fs::write(&file, "targets: [\"htp://monitor:pa55word@h:1\"]\n").expect("written");
    assert_eq!(post(&exporter, "/-/reload").await, 500);
    until("the refusal", || exporter.log().contains("stays in use")).await;
    has_no_secret("the log", &exporter.log());
    let refused = run(&["http://monitor:pa55word@h:1/?x"]);
    assert_eq!(refused.status.code(), Some(2));
    has_no_secret("the message", &text(&refused.stderr));
}

#[tokio::test]
async fn a_path_before_the_endpoints_is_kept_and_a_slash_at_the_end_does_not_matter() {
    let setup = Setup { prefix: "/nats/one".to_owned(), ..Setup::default() };
    let monitor = Monitor::start_with(Model::default(), setup).await;
    for end in ["", "/", "//"] {
        let exporter = Exporter::start(&[format!("{}{end}", monitor.url())]);
        let samples = exporter.samples("/metrics").await;
        let up: Vec<_> = samples.find("nats_exporter_endpoint_up", &[("server", "n1")]).collect();
        assert_eq!(up.len(), 6, "{end:?}");
        assert!(up.iter().all(|sample| sample.text == "1"), "{end:?} {up:?}");
        let labels = [("url", monitor.url())];
        let labels = labels.each_ref().map(|(name, url)| (*name, url.as_str()));
        assert_eq!(samples.value("nats_exporter_target_info", &labels), Some(1.0));
    }
}

#[tokio::test]
async fn a_compressed_answer_has_the_same_text() {
    let monitor = Monitor::start(Model::default()).await;
    let exporter = Exporter::start(&[monitor.url()]);
    // Health and lifecycle answers are short; the list of metrics of one topic does not change.
    let path = "/metrics?collect[]=stream&collect[]=consumer";
    let plain = exporter.get(path).await.body;
    nats_exporter::nats::client::install_crypto_provider();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).no_gzip().build();
    let request = client.expect("a client").get(format!("{}{path}", exporter.url()));
    let mut response = request.header("accept-encoding", "gzip").send().await.expect("an answer");
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.expect("the whole answer") {
        body.extend_from_slice(&chunk);
    }
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut unpacked).expect("gzip");
    assert_eq!(unpacked, plain);
    assert!(body.len() < plain.len() / 2);
}

/// The configuration for one HTTPS target with these keys of its section `tls`.
fn tls_target(authority: &Authority, url: &str, keys: &[(&str, String)]) -> PathBuf {
    let mut file = format!("targets:\n- url: \"{url}\"\n  tls:\n");
    for (key, value) in keys {
        let _ = writeln!(file, "    {key}: {value}");
    }
    authority.write("exporter.yaml", &file)
}

async fn reason_of_varz(file: &Path) -> Option<String> {
    let samples = Exporter::start(&with_file(file)).samples("/metrics").await;
    let labels = [("endpoint", "varz")];
    let reason = samples.find("nats_exporter_endpoint_failure_info", &labels).next();
    let reason = reason.map(|sample| sample.labels["reason"].clone());
    assert_eq!(samples.value("nats_up", &[]), Some(f64::from(u8::from(reason.is_none()))));
    reason
}

#[tokio::test]
async fn tls_checks_the_server_and_shows_a_certificate_of_its_own() {
    let authority = Authority::new();
    let setup = Setup { tls: Some(authority.acceptor("monitor.example")), ..Setup::default() };
    let monitor = Monitor::start_with(Model::default(), setup).await;
    let (certificate, key) = authority.sign("client", "exporter.example");
    let path = |path: &Path| path.display().to_string();
    let ca = ("ca_file", path(&authority.file("ca.pem")));
    let cert = ("cert_file", path(&certificate));
    let key = ("key_file", path(&key));
    let name = ("server_name", "monitor.example".to_owned());
    let wrong_name = ("server_name", "other.example".to_owned());
    let stranger = Authority::new();
    let wrong_ca = ("ca_file", path(&stranger.file("ca.pem")));
    let tls = Some("tls".to_owned());
    for (what, keys, reason) in [
        ("all is right", vec![&ca, &cert, &key, &name], None),
        ("the certificate is for another name", vec![&ca, &cert, &key], tls.clone()),
        ("another name is wanted", vec![&ca, &cert, &key, &wrong_name], tls.clone()),
        ("another authority is trusted", vec![&wrong_ca, &cert, &key, &name], tls.clone()),
        ("the system is trusted", vec![&cert, &key, &name], tls.clone()),
        ("no certificate is shown", vec![&ca, &name], tls.clone()),
    ] {
        let keys: Vec<_> = keys.into_iter().cloned().collect();
        let file = tls_target(&authority, &monitor.url(), &keys);
        assert_eq!(reason_of_varz(&file).await, reason, "{what}");
    }
    let skip = ("insecure_skip_verify", "true".to_owned());
    let file = tls_target(&authority, &monitor.url(), &[cert, key, skip]);
    assert_eq!(reason_of_varz(&file).await, None, "any certificate will do");
}

#[tokio::test]
async fn a_real_server_is_asked_over_https() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("server", "127.0.0.1");
    let cluster =
        Cluster::builder(newest()).monitor_tls(MonitorTls { certificate, key }).start().await;
    let cluster = cluster.expect("a server");
    let url = cluster.node(0).monitor_url();
    let ca =
        |authority: &Authority| vec![("ca_file", authority.file("ca.pem").display().to_string())];
    let file = tls_target(&authority, &url, &ca(&authority));
    assert_eq!(reason_of_varz(&file).await, None);
    let stranger = Authority::new();
    let file = tls_target(&authority, &url, &ca(&stranger));
    assert_eq!(reason_of_varz(&file).await.as_deref(), Some("tls"));
}
