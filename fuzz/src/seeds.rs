//! Inputs to begin with: what real servers said (`tests/fixtures`) and what people write (`tests/config`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::SEPARATOR;
use crate::targets::TOML;

/// Patterns of `probe.allow` and queries, as people write them and as others try to get around them.
const PROBES: &[(&str, &str)] = &[
    ("http://*.nats.svc:8222", "target=nats-0.nats.svc:8222&tier=base"),
    ("https://nats.example", "target=https%3A%2F%2Fnats.example"),
    ("http://10.0.0.0/8:8222", "target=http://0xa.1:8222&collect[]=server"),
    ("http://[fd00::]/64:8222", "target=[fd00::5]:8222"),
    ("http://[fd00:0::1]:8222", "target=http://[fd00::1]:8222/"),
    ("http://127.0.0.1:8222", "target=http://good:8222\\@2130706433:8222"),
    ("http://*.x:80", "target=user@a.x:80"),
    ("http://*.xn--bcher-kva.example", "target=http://a.B%C3%BCcher.example%2523"),
];

/// Web configuration files, beside a certificate and its key.
const WEB_FILES: &[&str] = &[
    "",
    "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n",
    "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n  client_auth_type: RequireAndVerifyClientCert\n  \
     client_ca_file: cert.pem\n  client_allowed_sans: [prometheus.example, 10.0.0.1]\n  min_version: TLS12\n  \
     max_version: TLS13\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n  \
     prefer_server_cipher_suites: true\n  curve_preferences: [X25519, CurveP256]\n",
    "tls_server_config:\n  cert: |\n    -----BEGIN CERTIFICATE-----\n    MAA=\n    -----END CERTIFICATE-----\n  key: secret\n",
    "http_server_config:\n  http2: false\n  headers:\n    Content-Security-Policy: default-src 'self'\n    \
     X-Frame-Options: deny\n    X-Content-Type-Options: nosniff\n    X-XSS-Protection: \"1\"\n    \
     Strict-Transport-Security: max-age=31536000\n",
    "basic_auth_users:\n  prometheus: $2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\n",
    "rate_limit:\n  interval: 1s\n  burst: 20\n",
    "# nothing\ntls_server_confg: {}\n",
];

/// How many seeds of one kind are whole scrapes: each has all of a server, and they are much alike.
const MOST_SCRAPES: usize = 64;

/// The folder of this package.
fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Inputs of `target` that once did not go well.
///
/// # Panics
/// When they cannot be read.
#[must_use]
pub fn regressions(target: &str) -> Vec<Vec<u8>> {
    files(&here().join("regressions").join(target)).iter().map(|path| read(path)).collect()
}

/// The inputs for `target` to begin with, each once.
///
/// # Panics
/// When there are none, or they cannot be read.
#[must_use]
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let seeds: BTreeSet<Vec<u8>> = match target {
        "config" => configurations(),
        "web" => WEB_FILES.iter().map(|text| text.as_bytes().to_vec()).collect(),
        "probe" => PROBES.iter().map(|(pattern, query)| join(&[pattern, query])).collect(),
        _ => {
            let mut servers = recordings(&here().join("../tests/fixtures"));
            if target == "scrape" {
                let every = servers.len().div_ceil(MOST_SCRAPES);
                servers = servers.into_iter().step_by(every).collect();
            }
            servers.iter().flat_map(|server| server.seeds(target)).collect()
        }
    };
    assert!(!seeds.is_empty(), "there is nothing for {target}");
    seeds.into_iter().collect()
}

/// What one server said at one time: status and body of each question.
struct Recording {
    version: String,
    answers: BTreeMap<String, (u16, Vec<u8>)>,
}

#[derive(Deserialize)]
struct Entry {
    file: PathBuf,
    status: u16,
}

impl Recording {
    fn body(&self, question: &str) -> Option<Vec<u8>> {
        self.answers.get(question).map(|(_, body)| body.clone())
    }

    /// Status and body in one text.
    fn answer(&self, question: &str) -> Vec<u8> {
        let whole =
            |(status, body): &(u16, Vec<u8>)| [status.to_string().as_bytes(), b" ", body].concat();
        self.answers.get(question).map(whole).unwrap_or_default()
    }

    fn wide_health(&self) -> Vec<u8> {
        let details = self.answer("healthz.details");
        if details.is_empty() || self.version.starts_with("2.9.") {
            self.answer("healthz")
        } else {
            details
        }
    }

    fn seeds(&self, target: &str) -> Vec<Vec<u8>> {
        let narrow = ["healthz.js-enabled-only", "healthz.js-server-only"];
        match target {
            "varz" | "jsz" => self.body(target).into_iter().collect(),
            "routez" => {
                let twice = |body: Vec<u8>| [body.clone(), join(&[body.clone(), body])];
                self.body(target).into_iter().flat_map(twice).collect()
            }
            "detail" => {
                let detail =
                    |body: Vec<u8>| [join(&[&b"z1"[..], &body]), join(&[&b"\xff0"[..], &body])];
                self.body("jsz.full").into_iter().flat_map(detail).collect()
            }
            "health" => {
                let [enabled, server] = narrow.map(|question| self.answer(question));
                vec![join(&[
                    self.version.clone().into_bytes(),
                    self.wide_health(),
                    enabled,
                    server,
                ])]
            }
            "scrape" => {
                let [enabled, server] = narrow.map(|question| self.answer(question));
                let is_old = ["2.9.", "2.10."].iter().any(|old| self.version.starts_with(old));
                vec![join(&[
                    self.answer("varz"),
                    self.answer("routez"),
                    if is_old { enabled } else { server },
                    self.answer("jsz"),
                    self.answer("jsz.full"),
                    self.wide_health(),
                ])]
            }
            other => panic!("{other} takes nothing that servers say"),
        }
    }
}

/// All recordings below `folder`, whose own folders are named after versions.
fn recordings(folder: &Path) -> Vec<Recording> {
    let mut found = Vec::new();
    for version in folders(folder) {
        let name = version.file_name().and_then(|name| name.to_str()).expect("a version");
        let mut left = vec![version.clone()];
        while let Some(folder) = left.pop() {
            left.extend(folders(&folder));
            let index = folder.join("index.json");
            if !index.exists() {
                continue;
            }
            // An index that is a word is of a server that said nothing.
            let Ok(index) = serde_json::from_slice::<BTreeMap<String, Entry>>(&read(&index)) else {
                continue;
            };
            let answer = |entry: Entry| (entry.status, read(&folder.join(entry.file)));
            let answers = index.into_iter().map(|(question, entry)| (question, answer(entry)));
            found.push(Recording { version: name.to_owned(), answers: answers.collect() });
        }
    }
    found
}

fn configurations() -> BTreeSet<Vec<u8>> {
    let seed = |path: &PathBuf| match path.extension()?.to_str()? {
        "yaml" => Some(read(path)),
        "toml" => Some([TOML, &read(path)].concat()),
        _ => None,
    };
    files(&here().join("../tests/config")).iter().filter_map(seed).collect()
}

fn join(parts: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
    parts.join(&SEPARATOR)
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What is in `folder`, sorted; nothing when there is no such folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut entries: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    entries
}

fn files(folder: &Path) -> Vec<PathBuf> {
    entries(folder).into_iter().filter(|path| path.is_file()).collect()
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    entries(folder).into_iter().filter(|path| path.is_dir()).collect()
}
