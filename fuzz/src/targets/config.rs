//! A configuration file, and a web configuration file.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use clap::Parser as _;
use nats_exporter::cli::Cli;
use nats_exporter::config::{Config, ConfigError, WebFile};
use tempfile::TempDir;

/// Where the file is, which is in memory where that can be had.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a folder can be made")
});

/// A file that begins with this is taken for TOML. Both languages take it for a comment.
pub(crate) const TOML: &[u8] = b"# TOML\n";

pub(super) fn check(input: &[u8]) {
    let name = if input.starts_with(TOML) { "c.toml" } else { "c.yaml" };
    let file = FOLDER.path().join(name);
    std::fs::write(&file, input).expect("it can be written");
    let (once, again) = (load(&file), load(&file));
    assert_eq!(format!("{once:?}"), format!("{again:?}"));
    match once {
        Ok(config) => {
            let mut names = BTreeSet::new();
            let dns = config.dns_targets.iter().map(|target| &target.template);
            for target in config.targets.iter().chain(dns) {
                assert!(names.insert(&target.name), "{} comes twice", target.name);
                assert!(target.url.username().is_empty() && target.url.password().is_none());
                assert!(matches!(target.url.scheme(), "http" | "https"));
            }
            assert!(!config.web.listen_addresses.is_empty());
            assert!(!names.is_empty() || !config.probe.allow.is_empty(), "nothing to ask");
            assert!(config.jetstream.detail_max_age >= config.jetstream.detail_interval);
        }
        Err(error) => names_the_file(&error, name),
    }
}

/// A certificate with its key, for web configuration files that name them.
static CERTIFIED: LazyLock<()> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["exporter.example".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).and_then(|it| it.self_signed(&key));
    let certificate = certificate.expect("a certificate").pem();
    for (name, text) in [("cert.pem", certificate), ("key.pem", key.serialize_pem())] {
        std::fs::write(FOLDER.path().join(name), text).expect("it can be written");
    }
});

pub(super) fn web(input: &[u8]) {
    LazyLock::force(&CERTIFIED);
    let file = FOLDER.path().join("web.yml");
    std::fs::write(&file, input).expect("it can be written");
    match (WebFile::load(&file), WebFile::load(&file)) {
        (Ok(once), Ok(again)) => {
            assert!(once == again, "it is not read alike twice");
            assert!(once.users.keys().all(|name| !name.is_empty()), "a user without a name");
            assert!(once.users.values().all(|hash| hash.starts_with("$2")), "{:?}", once.users);
            let asks = once.tls.iter().all(|tls| !tls.certificates.is_empty());
            assert!(asks, "TLS without a certificate");
        }
        (Err(once), Err(again)) => {
            assert_eq!(once.to_string(), again.to_string());
            names_the_file(&once, "web.yml");
        }
        _ => panic!("it is right and wrong"),
    }
}

fn load(file: &Path) -> Result<Config, ConfigError> {
    let file = file.to_str().expect("its name is text");
    let flags = Cli::parse_from(["nats-exporter", "--config.file", file]).flags;
    let variables = [("TOKEN", "t0k3n"), ("EMPTY", "")];
    Config::load(&flags, variables.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

fn names_the_file(error: &ConfigError, name: &str) {
    if let ConfigError::Invalid(problems) = error {
        assert!(!problems.is_empty(), "something is wrong, and nothing is told");
        for problem in problems {
            assert!(problem.place.origin.ends_with(name), "{problem}");
            assert!(!problem.reason.is_empty(), "{problem}");
        }
    }
    assert!(error.to_string().contains(name), "{error}");
}
