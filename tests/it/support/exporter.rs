//! The real program as a child process, on a port of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::samples::Samples;

/// A running exporter; ended with the value.
pub(crate) struct Exporter {
    child: Child,
    url: String,
    log: Arc<Mutex<String>>,
}

/// An answer of the exporter.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: String,
    pub(crate) elapsed: Duration,
}

impl Exporter {
    /// Starts the program with `arguments` behind those for a free port, and waits until it
    /// listens.
    pub(crate) fn start<S: AsRef<str>>(arguments: &[S]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// As [`Exporter::start`], with environment variables.
    pub(crate) fn start_with<S: AsRef<str>>(arguments: &[S], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nats-exporter"));
        command.envs(variables.iter().copied());
        Self::start_as(command, arguments)
    }

    /// As [`Exporter::start`], by a `command` that becomes the program.
    pub(crate) fn start_as<S: AsRef<str>>(mut command: Command, arguments: &[S]) -> Self {
        command
            .arg("--web.listen-address=127.0.0.1:0")
            .args(arguments.iter().map(AsRef::as_ref))
            .stdin(Stdio::null());
        Self::run(&mut command)
    }

    /// Runs a command that becomes the program, and waits until it listens.
    pub(crate) fn run(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped"));
        let log = Arc::new(Mutex::new(String::new()));
        let address = read_until_listening(&mut lines, &log);
        let copy = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
                copy.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        Self { child, url: format!("http://{address}"), log }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").expect("it has a scheme")
    }

    /// The address of the exporter, without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to the log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it has ended by itself, for at most `patience`.
    pub(crate) async fn ended(&mut self, patience: Duration) -> Option<std::process::ExitStatus> {
        let end = Instant::now() + patience;
        loop {
            let status = self.child.try_wait().expect("it can be waited for");
            if status.is_some() || Instant::now() > end {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks for `path` with request `headers`.
    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        nats_exporter::nats::client::install_crypto_provider();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let mut request = client.get(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let started = Instant::now();
        let response = request.send().await.expect("the exporter answers");
        let status = response.status().as_u16();
        let content_type =
            response.headers().get("content-type").map_or("", |v| v.to_str().unwrap());
        let content_type = content_type.to_owned();
        #[expect(clippy::disallowed_methods, reason = "the exporter of a test is trusted")]
        let body = response.text().await.expect("the answer is complete");
        Answer { status, content_type, body, elapsed: started.elapsed() }
    }

    /// Asks for `path`.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    /// The samples of `path`, which has to answer 200.
    pub(crate) async fn samples(&self, path: &str) -> Samples {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        Samples::parse(&answer.body)
    }

    /// Scrapes `path` until `wanted` holds, for at most `patience`; the last samples in any case.
    pub(crate) async fn until(
        &self,
        path: &str,
        patience: Duration,
        mut wanted: impl FnMut(&Samples) -> bool,
    ) -> Samples {
        let end = Instant::now() + patience;
        loop {
            let samples = self.samples(path).await;
            if wanted(&samples) || Instant::now() > end {
                return samples;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_until_listening(lines: &mut impl BufRead, log: &Mutex<String>) -> String {
    loop {
        let mut line = String::new();
        let length = lines.read_line(&mut line).unwrap_or(0);
        log.lock().unwrap().push_str(&line);
        assert!(length > 0, "the program ended: {}", log.lock().unwrap());
        if let Some((_, rest)) = line.split_once("127.0.0.1:")
            && line.contains("listening")
        {
            let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
            return format!("127.0.0.1:{port}");
        }
    }
}
