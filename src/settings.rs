//! The list of settings: what can be set, under which name in the file, in the
//! environment and on the command line, and what holds when it is not set.
//!
//! The flags and their help, the variables that are known, the defaults and the
//! table in `docs/configuration.md` are all made from this list.

/// What every environment variable of the exporter begins with.
pub const VARIABLE_PREFIX: &str = "NATS_EXPORTER_";

/// The variable that names the configuration file, like `--config.file`.
pub const FILE_VARIABLE: &str = "NATS_EXPORTER_CONFIG_FILE";

/// One thing that can be set.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Where it is in the file: the names of the sections and its own, with dots between.
    pub key: &'static str,
    /// The flag without its dashes; none if it has no flag.
    pub flag: Option<&'static str>,
    /// How many values it takes and of what sort.
    pub shape: Shape,
    /// What holds when it is not set.
    pub fallback: Fallback,
    /// One sentence for the help and the documentation.
    pub description: &'static str,
}

/// How many values a setting takes; the text is what the help calls a value.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Exactly one.
    One(&'static str),
    /// A list: repeated as a flag, with commas between as a variable.
    Many(&'static str),
    /// `true` or `false`; the bare flag means `true`.
    Switch,
    /// The servers, which are arguments on the command line.
    Targets,
}

/// What holds when a setting is not set.
#[derive(Debug, Clone, Copy)]
pub enum Fallback {
    /// This value, written as a variable would have it.
    Value(&'static str),
    /// What these words say.
    Words(&'static str),
}

impl Setting {
    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        let key = self.key.replace('.', "_").to_uppercase();
        format!("{VARIABLE_PREFIX}{key}")
    }

    /// The setting with this key.
    #[must_use]
    pub fn find(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }
}

/// All settings, in the order of the documentation.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "targets",
        flag: None,
        shape: Shape::Targets,
        fallback: Fallback::Value("http://127.0.0.1:8222"),
        description: "The NATS servers to ask.",
    },
    Setting {
        key: "cluster",
        flag: Some("cluster"),
        shape: Shape::One("NAME"),
        fallback: Fallback::Words("learned from the server"),
        description: "Cluster label of the targets that have none of their own.",
    },
    Setting {
        key: "server",
        flag: Some("server"),
        shape: Shape::One("NAME"),
        fallback: Fallback::Words("learned from the server"),
        description: "Server label of the target, when there is exactly one.",
    },
    Setting {
        key: "web.listen_addresses",
        flag: Some("web.listen-address"),
        shape: Shape::Many("ADDRESS"),
        fallback: Fallback::Value(":7777"),
        description: "Addresses to listen on; `:PORT` means every address of the machine, `unix:/PATH` a Unix socket.",
    },
    Setting {
        key: "web.systemd_socket",
        flag: Some("web.systemd-socket"),
        shape: Shape::Switch,
        fallback: Fallback::Value("false"),
        description: "Whether to listen on the sockets that systemd hands over, instead of on addresses.",
    },
    Setting {
        key: "web.config_file",
        flag: Some("web.config.file"),
        shape: Shape::One("FILE"),
        fallback: Fallback::Words("none"),
        description: "Web configuration file of the Prometheus exporters: TLS, client certificates, users \
                      and headers.",
    },
    Setting {
        key: "web.enable_lifecycle",
        flag: Some("web.enable-lifecycle"),
        shape: Shape::Switch,
        fallback: Fallback::Value("false"),
        description: "Whether `POST /-/reload` reads the configuration again.",
    },
    Setting {
        key: "web.max_requests",
        flag: Some("web.max-requests"),
        shape: Shape::One("COUNT"),
        fallback: Fallback::Value("200"),
        description: "Most scrapes served at the same time; 0 is no limit.",
    },
    Setting {
        key: "web.max_connections",
        flag: Some("web.max-connections"),
        shape: Shape::One("COUNT"),
        fallback: Fallback::Value("256"),
        description: "Most open connections; for one more, the one that has waited longest for a request is closed.",
    },
    Setting {
        key: "web.max_header_bytes",
        flag: None,
        shape: Shape::One("BYTES"),
        fallback: Fallback::Value("16384"),
        description: "Largest head of a request, its URL included; at most 100 header lines in any case.",
    },
    Setting {
        key: "web.max_body_bytes",
        flag: None,
        shape: Shape::One("BYTES"),
        fallback: Fallback::Value("16384"),
        description: "Largest body of a request; no request needs one, and none is read.",
    },
    Setting {
        key: "web.header_timeout",
        flag: None,
        shape: Shape::One("DURATION"),
        fallback: Fallback::Value("10s"),
        description: "How long a client may take to send the head of a request.",
    },
    Setting {
        key: "web.idle_timeout",
        flag: None,
        shape: Shape::One("DURATION"),
        fallback: Fallback::Value("75s"),
        description: "How long a connection is kept between two requests; longer than a scrape interval saves Prometheus a new one.",
    },
    Setting {
        key: "web.stall_timeout",
        flag: None,
        shape: Shape::One("DURATION"),
        fallback: Fallback::Value("30s"),
        description: "How long a client may take nothing of its answer.",
    },
    Setting {
        key: "web.drain_timeout",
        flag: None,
        shape: Shape::One("DURATION"),
        fallback: Fallback::Value("5s"),
        description: "How long requests in flight may take to finish when the exporter ends.",
    },
    Setting {
        key: "log.level",
        flag: Some("log.level"),
        shape: Shape::One("LEVEL"),
        fallback: Fallback::Value("info"),
        description: "Least severe level that is logged: error, warn, info, debug or trace, \
                      or a list such as `info,nats_exporter=debug`.",
    },
    Setting {
        key: "log.format",
        flag: Some("log.format"),
        shape: Shape::One("FORMAT"),
        fallback: Fallback::Value("text"),
        description: "Shape of a log line: text or json.",
    },
    Setting {
        key: "scrape.timeout",
        flag: Some("scrape.timeout"),
        shape: Shape::One("DURATION"),
        fallback: Fallback::Value("10s"),
        description: "Longest scrape when Prometheus announces no time-out, and never more than this.",
    },
    Setting {
        key: "scrape.timeout_margin",
        flag: Some("scrape.timeout-margin"),
        shape: Shape::One("DURATION"),
        fallback: Fallback::Value("500ms"),
        description: "Taken off the time-out that Prometheus announces, so that the answer arrives in time.",
    },
    Setting {
        key: "scrape.connect_timeout",
        flag: None,
        shape: Shape::One("DURATION"),
        fallback: Fallback::Words("two fifths of scrape.base_timeout"),
        description: "Longest wait for a connection to a server: DNS, TCP and TLS together.",
    },
    Setting {
        key: "scrape.base_timeout",
        flag: None,
        shape: Shape::One("DURATION"),
        fallback: Fallback::Value("3s"),
        description: "Longest wait for an endpoint of the base tier; \
                      the default is lowered to `scrape.timeout`.",
    },
    Setting {
        key: "scrape.persistence_timeout",
        flag: None,
        shape: Shape::One("DURATION"),
        fallback: Fallback::Value("8s"),
        description: "Longest wait for an endpoint of the persistence tier; \
                      the default is lowered to `scrape.timeout`.",
    },
    Setting {
        key: "jetstream.detail",
        flag: Some("jetstream.detail"),
        shape: Shape::One("LEVEL"),
        fallback: Fallback::Value("consumers"),
        description: "How much of JetStream is shown: server, streams, consumers or all, which has also \
                      the settings and the replicas of consumers; each contains those before it.",
    },
    Setting {
        key: "jetstream.detail_interval",
        flag: Some("jetstream.detail-interval"),
        shape: Shape::One("DURATION"),
        fallback: Fallback::Value("0s"),
        description: "How often the servers are asked for detail, all in the same scrape; `0s` asks at every scrape.",
    },
    Setting {
        key: "jetstream.detail_max_age",
        flag: None,
        shape: Shape::One("DURATION"),
        fallback: Fallback::Words("jetstream.detail_interval"),
        description: "Oldest detail that is shown; at least the interval.",
    },
    Setting {
        key: "jetstream.config_interval",
        flag: Some("jetstream.config-interval"),
        shape: Shape::One("DURATION"),
        fallback: Fallback::Value("5m"),
        description: "How often the configuration of streams and consumers is asked for; what is new is asked for earlier. \
                      While that fails, the last one is shown for twelve times as long. \
                      It costs a server more than everything else; `0s` asks with every detail.",
    },
    Setting {
        key: "jetstream.fold_ephemeral_consumers",
        flag: Some("jetstream.fold-ephemeral-consumers"),
        shape: Shape::Switch,
        fallback: Fallback::Value("true"),
        description: "Whether consumers without a durable name, and those of MQTT sessions, are summed per stream.",
    },
    Setting {
        key: "jetstream.accounts.include",
        flag: None,
        shape: Shape::Many("REGEX"),
        fallback: Fallback::Words("all"),
        description: "Accounts to show.",
    },
    Setting {
        key: "jetstream.accounts.exclude",
        flag: None,
        shape: Shape::Many("REGEX"),
        fallback: Fallback::Words("none"),
        description: "Accounts to leave out.",
    },
    Setting {
        key: "jetstream.streams.include",
        flag: None,
        shape: Shape::Many("REGEX"),
        fallback: Fallback::Words("all"),
        description: "Streams to show.",
    },
    Setting {
        key: "jetstream.streams.exclude",
        flag: None,
        shape: Shape::Many("REGEX"),
        fallback: Fallback::Words("none"),
        description: "Streams to leave out.",
    },
    Setting {
        key: "jetstream.consumers.include",
        flag: None,
        shape: Shape::Many("REGEX"),
        fallback: Fallback::Words("all"),
        description: "Consumers to show.",
    },
    Setting {
        key: "jetstream.consumers.exclude",
        flag: None,
        shape: Shape::Many("REGEX"),
        fallback: Fallback::Words("none"),
        description: "Consumers to leave out.",
    },
    Setting {
        key: "jetstream.stream_metadata_labels",
        flag: None,
        shape: Shape::Many("KEY"),
        fallback: Fallback::Words("none"),
        description: "Keys of stream metadata that become labels of `nats_jetstream_stream_metadata_info`.",
    },
    Setting {
        key: "jetstream.consumer_metadata_labels",
        flag: None,
        shape: Shape::Many("KEY"),
        fallback: Fallback::Words("none"),
        description: "Keys of consumer metadata that become labels of `nats_jetstream_consumer_metadata_info`.",
    },
    Setting {
        key: "limits.body_bytes",
        flag: None,
        shape: Shape::One("BYTES"),
        fallback: Fallback::Value("1073741824"),
        description: "Largest answer of a server that is read, in bytes after decompression.",
    },
    Setting {
        key: "limits.small_body_bytes",
        flag: None,
        shape: Shape::One("BYTES"),
        fallback: Fallback::Value("33554432"),
        description: "The same for all answers other than the detailed `/jsz`; never more than `limits.body_bytes`.",
    },
    Setting {
        key: "limits.series_per_target",
        flag: Some("limits.series-per-target"),
        shape: Shape::One("COUNT"),
        fallback: Fallback::Value("250000"),
        description: "Most series of accounts, streams and consumers from one target; 0 is no limit.",
    },
    Setting {
        key: "limits.label_value_bytes",
        flag: None,
        shape: Shape::One("BYTES"),
        fallback: Fallback::Value("1024"),
        description: "Longest label value that is shown whole; a longer one is cut there, with a hash of all of it behind. 0 is no limit.",
    },
    Setting {
        key: "discovery.interval",
        flag: None,
        shape: Shape::One("DURATION"),
        fallback: Fallback::Value("30s"),
        description: "How often the names of `dns+http` and `dnssrv+http` targets are looked up.",
    },
    Setting {
        key: "discovery.timeout",
        flag: None,
        shape: Shape::One("DURATION"),
        fallback: Fallback::Value("10s"),
        description: "Longest look-up of a name.",
    },
    Setting {
        key: "discovery.grace",
        flag: None,
        shape: Shape::One("DURATION"),
        fallback: Fallback::Value("5m"),
        description: "How long a server is asked on, and shown as down, whose address has gone from DNS.",
    },
    Setting {
        key: "discovery.nameserver",
        flag: None,
        shape: Shape::One("ADDRESS"),
        fallback: Fallback::Words("the system's"),
        description: "The name server to ask; port 53 when none is written.",
    },
    Setting {
        key: "probe.allow",
        flag: Some("probe.allow"),
        shape: Shape::Many("PATTERN"),
        fallback: Fallback::Words("none"),
        description: "Servers that `/probe` may ask though they are no targets, such as `http://*.nats.svc:8222` \
                      or `http://10.0.0.0/8:8222`.",
    },
    Setting {
        key: "probe.max_targets",
        flag: None,
        shape: Shape::One("COUNT"),
        fallback: Fallback::Value("500"),
        description: "Most servers that are no targets and that `/probe` knows at the same time.",
    },
    Setting {
        key: "probe.idle",
        flag: None,
        shape: Shape::One("DURATION"),
        fallback: Fallback::Value("15m"),
        description: "How long such a server is remembered when nobody asks for it.",
    },
];
