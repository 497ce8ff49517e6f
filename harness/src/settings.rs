//! What a cluster is asked to be, and the configuration file that follows from it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The accounts of a cluster that has accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    /// The system account.
    Sys,
    /// An account with JetStream and limits.
    App,
    /// An account with JetStream and no limits.
    Aux,
}

impl Account {
    /// The name, as in monitoring answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sys => "SYS",
            Self::App => "APP",
            Self::Aux => "AUX",
        }
    }

    /// The user, who is also the password.
    #[must_use]
    pub fn user(self) -> &'static str {
        match self {
            Self::Sys => "sys",
            Self::App => "app",
            Self::Aux => "aux",
        }
    }
}

/// Certificate and key, in PEM files, for monitoring over HTTPS.
#[derive(Clone, Debug)]
pub struct MonitorTls {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Everything that the servers of a cluster have in common.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Settings {
    pub(crate) version: String,
    pub(crate) nodes: usize,
    pub(crate) jetstream: bool,
    pub(crate) accounts: bool,
    pub(crate) cluster_name: String,
    pub(crate) name_prefix: String,
    pub(crate) server_names: bool,
    pub(crate) max_mem: String,
    pub(crate) max_file: String,
    pub(crate) max_ha_assets: Option<u32>,
    pub(crate) http_base_path: String,
    pub(crate) monitor_tls: Option<MonitorTls>,
    pub(crate) store_sizes: HashMap<usize, u64>,
    pub(crate) extra_config: String,
    /// The variable GOMEMLIMIT of the servers.
    pub(crate) memory_limit: Option<String>,
    /// Routes pass through gates, so that servers can be cut off from each other.
    pub(crate) gates: bool,
}

impl Settings {
    pub(crate) fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            nodes: 1,
            jetstream: false,
            accounts: false,
            cluster_name: "C1".to_owned(),
            name_prefix: "n".to_owned(),
            server_names: true,
            max_mem: "128MB".to_owned(),
            max_file: "512MB".to_owned(),
            max_ha_assets: None,
            http_base_path: String::new(),
            monitor_tls: None,
            store_sizes: HashMap::new(),
            extra_config: String::new(),
            memory_limit: None,
            gates: false,
        }
    }
}

/// The ports of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) client: u16,
    pub(crate) route: u16,
    pub(crate) monitor: u16,
}

/// The text of one server's configuration file. `peers` are the ports on which it finds the other servers.
pub(crate) fn config_text(
    settings: &Settings,
    name: &str,
    max_file: &str,
    ports: Ports,
    peers: &[u16],
    store: &Path,
) -> String {
    let mut text = String::new();
    let mut line = |parts: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{parts}"); // Writing to a string cannot fail.
    };
    if settings.server_names {
        line(format_args!("server_name: {name:?}"));
    }
    line(format_args!("listen: \"127.0.0.1:{}\"", ports.client));
    let scheme = if settings.monitor_tls.is_some() { "https" } else { "http" };
    line(format_args!("{scheme}: \"127.0.0.1:{}\"", ports.monitor));
    if let Some(tls) = &settings.monitor_tls {
        // Monitoring takes its certificate from the block of the client port. Clients may do without.
        line(format_args!(
            "tls {{ cert_file: \"{}\", key_file: \"{}\" }}\nallow_non_tls: true",
            tls.certificate.display(),
            tls.key.display()
        ));
    }
    if !settings.http_base_path.is_empty() {
        line(format_args!("http_base_path: {:?}", settings.http_base_path));
    }
    if settings.jetstream {
        let assets = settings.max_ha_assets;
        let limits = assets.map(|assets| format!(", limits: {{ max_ha_assets: {assets} }}"));
        line(format_args!(
            "jetstream {{ store_dir: \"{}\", max_mem: {}, max_file: {}{} }}",
            store.display(),
            settings.max_mem,
            max_file,
            limits.unwrap_or_default()
        ));
    }
    if settings.nodes > 1 {
        let routes: Vec<String> =
            peers.iter().map(|port| format!("\"nats-route://127.0.0.1:{port}\"")).collect();
        // Servers tell each other their addresses and would find a way around a gate. Nothing listens on
        // port 1, so what they tell is of no use.
        let advertise = if settings.gates { ", advertise: \"127.0.0.1:1\"" } else { "" };
        line(format_args!(
            "cluster {{ name: {:?}, listen: \"127.0.0.1:{}\", routes: [{}]{advertise} }}",
            settings.cluster_name,
            ports.route,
            routes.join(", ")
        ));
    }
    if settings.accounts {
        line(format_args!("{}", accounts_text(settings.jetstream)));
    }
    text + &settings.extra_config + "\n"
}

fn accounts_text(jetstream: bool) -> String {
    let limits =
        "jetstream: { max_mem: 64MB, max_file: 256MB, max_streams: 50, max_consumers: 100 },";
    let (app, aux) = if jetstream { (limits, "jetstream: enabled,") } else { ("", "") };
    format!(
        "accounts {{\n  \
           SYS: {{ users: [{{ user: sys, password: sys }}] }}\n  \
           APP: {{ {app} users: [{{ user: app, password: app }}] }}\n  \
           AUX: {{ {aux} users: [{{ user: aux, password: aux }}] }}\n\
         }}\n\
         system_account: SYS"
    )
}
