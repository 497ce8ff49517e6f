//! The configuration: defaults < file < environment < flags, validated.
//!
//! There are two stages. `layers` lays the sources over each other and keeps
//! everything as it was written; `build` and `target` turn that into the types
//! below, which hold nothing that is not checked. `read` and `entry` are between
//! the two: they take values out and note what is wrong, for `error` to tell.

mod allow;
mod build;
mod entry;
mod error;
mod layers;
mod log;
mod read;
mod secret;
mod target;
mod web_file;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;
use reqwest::Url;
use reqwest::header::HeaderName;
use secrecy::SecretString;

pub use self::allow::{Allowed, Asked, NoAddress};
pub use self::error::{ConfigError, Place, Problem};
use self::read::{Context, Section};
pub use self::web_file::{ClientAuth, RateLimit, TlsServer, TlsVersion, WebFile};
use crate::cli::Flags;

/// Everything the running exporter needs to know, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The listener.
    pub web: Web,
    /// What is written to the log.
    pub log: Log,
    /// How long a scrape may take.
    pub scrape: Scrape,
    /// What is asked of JetStream and what of it is shown.
    pub jetstream: JetStream,
    /// What protects the exporter and Prometheus from too much.
    pub limits: Limits,
    /// How names in DNS are looked up.
    pub discovery: Discovery,
    /// What `/probe` may ask that is not a target.
    pub probe: Probe,
    /// The servers, no two with the same name.
    pub targets: Vec<Target>,
    /// The names in DNS that stand for servers, no two with the same name. There is at least one of
    /// these or of the servers, unless `/probe` may ask others.
    pub dns_targets: Vec<DnsTarget>,
}

impl Config {
    /// Reads the file that the flags or the environment name, if any, and lays both over it.
    ///
    /// Files with secrets are read here, so calling it again is how a reload works.
    ///
    /// # Errors
    ///
    /// Tells everything that is wrong, without secrets.
    pub fn load(
        flags: &Flags,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        take(flags, environment, |context, root| {
            let config = build::config(context, root);
            let named_variables = context.named_variables.borrow();
            let unknown = layers::unknown_variables(context.environment, &named_variables);
            context.problems.borrow_mut().extend(unknown);
            config
        })
    }

    /// Reads only where and how an exporter with this configuration listens. What is wrong with the rest is passed
    /// over: a file that became wrong does not stop an exporter that runs.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or this section is wrong.
    pub fn web(
        flags: &Flags,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Web, ConfigError> {
        take(flags, environment, |_, mut root| build::web(root.section("web")))
    }
}

/// Lays the sources over each other and gives them to `build`; its result holds only if it noted no problem.
fn take<T>(
    flags: &Flags,
    environment: impl IntoIterator<Item = (String, String)>,
    build: impl FnOnce(&Context, Section) -> T,
) -> Result<T, ConfigError> {
    let environment = environment.into_iter().collect();
    let file = layers::file(flags, &environment);
    let entries = layers::merge(file.as_ref(), &environment, flags)?;
    let name = file.as_ref().map(|file| file.path.display().to_string());
    let name = name.unwrap_or_else(|| "configuration".to_owned());
    let context = Context::new(name, layers::directory(file.as_ref()), &environment);
    let taken = build(&context, Section::root(&context, entries));
    context.result(taken)
}

/// The variables of this process, for [`Config::load`]; those that are not Unicode are left out.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The listener.
#[derive(Debug, Clone)]
pub struct Web {
    /// Addresses to listen on; never empty.
    pub listen_addresses: Vec<ListenAddress>,
    /// Whether the sockets come from systemd instead.
    pub systemd_socket: bool,
    /// The web configuration file.
    pub config_file: Option<PathBuf>,
    /// Whether `POST /-/reload` is answered.
    pub enable_lifecycle: bool,
    /// Scrapes served at the same time; more are answered 503. 0 is no limit.
    pub max_requests: usize,
    /// Open connections; for one more, another has to give way. At least 1.
    pub max_connections: usize,
    /// Largest head of a request.
    pub max_header_bytes: usize,
    /// Largest body of a request.
    pub max_body_bytes: u64,
    /// How long the head of a request may take to arrive.
    pub header_timeout: Duration,
    /// How long a connection is kept between two requests.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub stall_timeout: Duration,
    /// How long requests in flight may take to finish at the end.
    pub drain_timeout: Duration,
}

/// Where the exporter listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// Over TCP.
    Tcp(SocketAddr),
    /// At a path, for programs on the same machine.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX_PREFIX}{}", path.display()),
        }
    }
}

/// What the address of a socket in the file system begins with.
const UNIX_PREFIX: &str = "unix:";

/// What is written to the log.
#[derive(Debug, Clone)]
pub struct Log {
    /// Least severe level that is written, or a filter of `tracing-subscriber`.
    pub level: String,
    /// The shape of a line.
    pub format: LogFormat,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How long a scrape may take.
#[derive(Debug, Clone)]
pub struct Scrape {
    /// Longest scrape when Prometheus announces no time-out.
    pub timeout: Duration,
    /// Taken off the announced time-out, for the answer to travel.
    pub timeout_margin: Duration,
    /// Longest wait for a connection to a server: for its address, for TCP and for TLS together.
    pub connect_timeout: Duration,
    /// Longest wait for an endpoint of the base tier.
    pub base_timeout: Duration,
    /// Longest wait for an endpoint of the persistence tier.
    pub persistence_timeout: Duration,
}

/// What is asked of JetStream and what of it is shown.
#[derive(Debug, Clone)]
pub struct JetStream {
    /// How deep `/jsz` is asked.
    pub detail: Detail,
    /// How often the servers are asked for the detailed `/jsz`; zero asks at every scrape.
    pub detail_interval: Duration,
    /// Oldest detail that is shown; at least `detail_interval`.
    pub detail_max_age: Duration,
    /// How old the configuration of streams and consumers gets before it is asked for again.
    pub config_interval: Duration,
    /// Whether consumers without a durable name, and those of MQTT sessions, are summed per stream.
    pub fold_ephemeral_consumers: bool,
    /// Which accounts are shown.
    pub accounts: Filter,
    /// Which streams are shown.
    pub streams: Filter,
    /// Which consumers are shown.
    pub consumers: Filter,
    /// Keys of stream metadata that become labels of `nats_jetstream_stream_metadata_info`.
    pub stream_metadata_labels: Vec<String>,
    /// Keys of consumer metadata that become labels of `nats_jetstream_consumer_metadata_info`.
    pub consumer_metadata_labels: Vec<String>,
}

/// How deep `/jsz` is asked; each level contains those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Server and meta group.
    Server,
    /// Also accounts and streams with their replicas, mirrors and sources.
    Streams,
    /// Also consumers.
    Consumers,
    /// Also the settings of consumers and each of their replicas.
    All,
}

/// Names that are shown: those that match `include`, if any is given, and match no `exclude`.
///
/// The expressions are anchored at both ends.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// A name must match one of these, unless there is none.
    pub include: Vec<Regex>,
    /// A name must match none of these.
    pub exclude: Vec<Regex>,
}

impl Filter {
    /// Whether everything is shown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether `name` is shown.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        let matches = |expressions: &[Regex]| expressions.iter().any(|e| e.is_match(name));
        (self.include.is_empty() || matches(&self.include)) && !matches(&self.exclude)
    }
}

/// What protects the exporter and Prometheus from too much.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest body of one answer of a server, in bytes after decompression.
    pub body_bytes: u64,
    /// Largest body of an answer other than the detailed `/jsz`; at most `body_bytes`.
    pub small_body_bytes: u64,
    /// Longest label value that is shown whole, in bytes; 0 is no limit.
    pub label_value_bytes: usize,
    /// Most series of accounts, streams and consumers from one target; 0 is no limit.
    pub series_per_target: usize,
}

/// How names in DNS are looked up.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// From one look-up of a name to the next.
    pub interval: Duration,
    /// Longest look-up.
    pub timeout: Duration,
    /// How long a server is asked on whose address has gone from DNS.
    pub grace: Duration,
    /// Whom to ask; nothing is the system's name servers.
    pub nameserver: Option<SocketAddr>,
}

/// What `/probe` may ask that is not a target.
#[derive(Debug, Clone)]
pub struct Probe {
    /// What is allowed; the first that matches says how the server is asked.
    pub allow: Vec<Allowed>,
    /// As many such servers are remembered at a time.
    pub max_targets: usize,
    /// How long one is remembered that nobody asks for.
    pub idle: Duration,
}

/// A name in DNS that stands for servers.
#[derive(Debug, Clone)]
pub struct DnsTarget {
    /// What is looked up.
    pub records: Records,
    /// How each server is asked. Its name is that of the whole, and the host of its URL is what is
    /// looked up.
    pub template: Target,
}

/// What in DNS tells the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Records {
    /// Addresses, each of one server: `dns+http://`.
    Addresses,
    /// Services, each with the host and the port of one server: `dnssrv+http://`.
    Services,
}

impl Records {
    const ALL: [Self; 2] = [Self::Addresses, Self::Services];

    /// What stands before the scheme of the URL.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Addresses => "dns+",
            Self::Services => "dnssrv+",
        }
    }

    /// What a URL asks for, and the rest of it; nothing when its host is the server.
    fn of(url: &str) -> (Option<Self>, &str) {
        let found = |records: Self| Some((Some(records), url.strip_prefix(records.prefix())?));
        Self::ALL.into_iter().find_map(found).unwrap_or((None, url))
    }
}

/// One server.
#[derive(Debug, Clone)]
pub struct Target {
    /// What `/probe?target=` and the log call it: configured, or `host:port` of the URL.
    pub name: String,
    /// Base address of the monitoring port, without credentials or query; see [`Target::base_url`].
    pub url: Url,
    /// The `nats_cluster` label, when it is not to be learned.
    pub cluster: Option<String>,
    /// The `server` label, when it is not to be learned.
    pub server: Option<String>,
    /// How many other servers this one should have routes to, when it is not to be learned.
    pub expected_peers: Option<u32>,
    /// How to verify the server and what to show it.
    pub tls: Tls,
    /// Basic authentication.
    pub basic_auth: Option<BasicAuth>,
    /// Headers sent with every request.
    pub headers: Vec<(HeaderName, SecretString)>,
}

impl Target {
    /// Host and port of the URL.
    #[must_use]
    pub fn address(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port_or_known_default().unwrap_or_default();
        format!("{host}:{port}")
    }

    /// The server at `host`, a name or an address, asked like this one, at `port` or the same; its name
    /// is its address. Nothing when no URL can have such a host.
    #[must_use]
    pub fn at(&self, host: &str, port: Option<u16>) -> Option<Self> {
        let mut target = self.clone();
        let is_v6 = host.contains(':') && !host.starts_with('[');
        let host = if is_v6 { format!("[{host}]") } else { host.to_owned() };
        target.url.set_host(Some(&host)).ok()?;
        if port.is_some() {
            target.url.set_port(port).ok()?;
        }
        target.name = target.address();
        target.server = None;
        Some(target)
    }

    /// The URL without a slash at the end, which the URL type adds to a bare host.
    #[must_use]
    pub fn base_url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }
}

/// How to verify a server and what to show it. The files are read when the client is built.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// PEM file with the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client certificate chain; together with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of the client certificate.
    pub key_file: Option<PathBuf>,
    /// Name that the certificate must carry, when it is not the host of the URL.
    pub server_name: Option<String>,
    /// Whether any certificate will do.
    pub insecure_skip_verify: bool,
}

/// Basic authentication.
#[derive(Debug, Clone)]
pub struct BasicAuth {
    /// The user.
    pub username: String,
    /// The password.
    pub password: SecretString,
}
