//! The configuration: sample files in `tests/config`, the sources over each other, the
//! documentation.
//!
//! `UPDATE=1 cargo test` rewrites the expected messages and the table of settings.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{CommandFactory, Parser};
use nats_exporter::cli::Cli;
use nats_exporter::config::{
    Config, ConfigError, Detail, DnsTarget, ListenAddress, LogFormat, Records,
};
use nats_exporter::settings::{FILE_VARIABLE, Fallback, SETTINGS, Setting, Shape};
use secrecy::ExposeSecret;

use crate::support::is_update;

const SAMPLES: &str = "tests/config";
const DOCUMENT: &str = "docs/configuration.md";

/// Loads with these arguments and variables, each written `NAME=value`.
fn load(arguments: &[&str], variables: &[&str]) -> Result<Config, ConfigError> {
    let arguments = [&["nats-exporter"], arguments].concat();
    let flags = Cli::try_parse_from(arguments).unwrap_or_else(|error| panic!("{error}")).flags;
    let pair =
        |variable: &&str| variable.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()));
    Config::load(&flags, variables.iter().filter_map(pair))
}

fn valid(arguments: &[&str], variables: &[&str]) -> Config {
    load(arguments, variables).unwrap_or_else(|error| panic!("{error}"))
}

fn message(arguments: &[&str], variables: &[&str]) -> String {
    load(arguments, variables).map(|_| ()).expect_err("this should be refused").to_string()
}

fn invalid_samples() -> Vec<PathBuf> {
    let files = fs::read_dir(SAMPLES).expect("the samples are there");
    let mut files: Vec<PathBuf> = files
        .filter_map(|file| file.ok().map(|file| file.path()))
        .filter(|path| path.to_string_lossy().contains("invalid-"))
        .filter(|path| path.extension().is_some_and(|extension| extension != "err"))
        .collect();
    files.sort();
    files
}

/// The message that belongs to `invalid-x.yaml` is in `invalid-x.yaml.err`.
#[test]
fn each_mistake_has_its_message() {
    let mut wrong = Vec::new();
    for file in invalid_samples() {
        let file = file.to_string_lossy().into_owned();
        let found = message(&["--config.file", &file], &[]) + "\n";
        let told = found.replace("secrets/", "").replace("config/secrets", "");
        assert!(!["secret", "0123", "cr@et"].iter().any(|secret| told.contains(secret)), "{found}");
        let expected = format!("{file}.err");
        if is_update() {
            fs::write(&expected, &found).expect("the message can be written");
        }
        if fs::read_to_string(&expected).unwrap_or_default() != found {
            wrong.push(found);
        }
    }
    assert!(
        wrong.is_empty(),
        "messages that differ from those beside the files:\n{}",
        wrong.concat()
    );
}

#[test]
fn nothing_means_the_defaults() {
    for config in [valid(&[], &[]), valid(&["--config.file=tests/config/valid-nothing.yaml"], &[])]
    {
        let every = "[::]:7777".parse().expect("an address");
        assert_eq!(config.web.listen_addresses, [ListenAddress::Tcp(every)]);
        assert!(!config.web.systemd_socket && config.web.config_file.is_none());
        assert!(!config.web.enable_lifecycle);
        assert_eq!(config.web.max_requests, 200);
        assert_eq!(config.web.max_connections, 256);
        assert_eq!((config.web.max_header_bytes, config.web.max_body_bytes), (16 << 10, 16 << 10));
        assert_eq!(config.scrape.connect_timeout, Duration::from_millis(1200));
        assert_eq!(config.limits.small_body_bytes, 32 << 20);
        assert_eq!(config.limits.label_value_bytes, 1024);
        assert_eq!((config.log.level.as_str(), config.log.format), ("info", LogFormat::Text));
        assert_eq!(config.scrape.timeout, Duration::from_secs(10));
        assert_eq!(config.scrape.timeout_margin, Duration::from_millis(500));
        assert_eq!(config.scrape.base_timeout, Duration::from_secs(3));
        assert_eq!(config.scrape.persistence_timeout, Duration::from_secs(8));
        assert_eq!(config.jetstream.detail, Detail::Consumers);
        assert_eq!(config.jetstream.detail_interval, Duration::ZERO);
        assert_eq!(config.jetstream.detail_max_age, Duration::ZERO);
        assert!(config.jetstream.fold_ephemeral_consumers);
        assert!(config.jetstream.streams.allows("anything"));
        assert_eq!(config.limits.body_bytes, 1024 * 1024 * 1024);
        assert_eq!(config.limits.series_per_target, 250_000);
        let [target] = config.targets.as_slice() else { panic!("one target") };
        assert_eq!(
            (target.url.as_str(), target.name.as_str()),
            ("http://127.0.0.1:8222/", "127.0.0.1:8222")
        );
        assert!(target.server.is_none() && target.cluster.is_none() && target.basic_auth.is_none());
    }
}

fn everything() -> Config {
    let file = "--config.file=tests/config/valid-everything.yaml";
    valid(&[file], &["NATS_EXPORTER_TOKEN=from variable\r\n"])
}

#[test]
fn a_file_can_set_everything() {
    let config = everything();
    let addresses: Vec<String> =
        config.web.listen_addresses.iter().map(ToString::to_string).collect();
    let expected = ["[::]:9222", "127.0.0.1:7777", "[::1]:7777", "unix:/run/exporter.sock"];
    assert_eq!(addresses, expected);
    assert!(config.web.systemd_socket);
    let web_file = Some(Path::new("tests/config/web.yml"));
    assert_eq!(config.web.config_file.as_deref(), web_file, "beside the file that names it");
    let flags = ["--config.file=tests/config/valid-everything.yaml", "--web.config.file=web.yml"];
    let config = valid(&flags, &["NATS_EXPORTER_TOKEN=x"]);
    let web_file = Some(Path::new("web.yml"));
    assert_eq!(config.web.config_file.as_deref(), web_file, "where the program was started");
    assert!(config.web.enable_lifecycle);
    let web = &config.web;
    assert_eq!((web.max_requests, web.max_connections), (0, 1000));
    assert_eq!((web.max_header_bytes, web.max_body_bytes), (64 << 10, 0));
    let times = [web.header_timeout, web.idle_timeout, web.stall_timeout, web.drain_timeout];
    assert_eq!(times.map(|time| time.as_secs()), [1, 120, 2, 0]);
    assert_eq!(config.discovery.timeout, Duration::from_secs(4));
    assert_eq!(config.scrape.connect_timeout, Duration::from_secs(5));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.scrape.timeout, Duration::from_secs(90));
    assert_eq!(config.scrape.timeout_margin, Duration::ZERO);
    assert_eq!(config.scrape.base_timeout, Duration::from_secs(90));
    assert_eq!(config.scrape.persistence_timeout, Duration::from_millis(500));
    let jetstream = &config.jetstream;
    assert_eq!(jetstream.detail, Detail::All);
    assert_eq!(jetstream.detail_interval, Duration::from_secs(60));
    assert_eq!(jetstream.detail_max_age, Duration::from_secs(120));
    assert!(!jetstream.fold_ephemeral_consumers);
    assert_eq!(jetstream.stream_metadata_labels, ["team", "cost center"]);
    assert_eq!(jetstream.consumer_metadata_labels, ["team"]);
    let limits = &config.limits;
    assert_eq!((limits.body_bytes, limits.small_body_bytes), (1 << 20, 64 << 10));
    assert_eq!((limits.series_per_target, limits.label_value_bytes), (0, 64));
}

#[test]
fn filters_are_anchored_and_exclusion_goes_first() {
    let jetstream = everything().jetstream;
    let shown = |filter: &nats_exporter::config::Filter, names: &[&str]| -> Vec<String> {
        names.iter().filter(|name| filter.allows(name)).map(ToString::to_string).collect()
    };
    assert_eq!(shown(&jetstream.accounts, &["A", "B", "C", "AA", "xC"]), ["A", "C"]);
    assert_eq!(shown(&jetstream.streams, &["ORDERS_1", "MY_ORDERS_1", "ORDERS"]), ["ORDERS_1"]);
    assert_eq!(shown(&jetstream.consumers, &["tmp", "tmppp", "tmpx", "t"]), ["tmpx", "t"]);
}

#[test]
fn targets_are_named_labelled_and_cleaned() {
    let config = everything();
    let seen: Vec<_> = config
        .targets
        .iter()
        .map(|t| (t.name.as_str(), t.url.as_str(), t.cluster.as_deref(), t.server.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [
            ("nats-0.example:8222", "http://nats-0.example:8222/", Some("east"), None),
            ("n1", "https://nats-1.example/nats", Some("east"), Some("n1")),
            ("nats-2.example:8222", "http://nats-2.example:8222/", Some("east"), None),
            ("third", "https://nats-3.example:8443/prefix", Some("west"), Some("n3")),
        ]
    );
}

#[test]
fn credentials_come_from_url_file_and_variable() {
    let config = everything();
    let credentials = |index: usize| {
        let auth = config.targets[index].basic_auth.as_ref().expect("credentials");
        (auth.username.clone(), auth.password.expose_secret().to_owned())
    };
    assert_eq!(credentials(2), ("monitor".to_owned(), "p@ss".to_owned()));
    assert_eq!(credentials(3), ("monitor".to_owned(), "0123".to_owned()));
    let target = &config.targets[3];
    let header = |name: &str| {
        let (_, value) = target.headers.iter().find(|(key, _)| *key == name).expect("the header");
        value.expose_secret().to_owned()
    };
    assert_eq!(header("x-token"), "0123");
    assert_eq!(header("x-file"), "0123");
    assert_eq!(header("x-variable"), "from variable");
    assert_eq!(target.tls.ca_file.as_deref(), Some(Path::new("tests/config/secrets/ca.pem")));
    assert!(target.tls.insecure_skip_verify);
    assert_eq!(target.expected_peers, Some(2));
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("p@ss") && !shown.contains("p%40ss") && !shown.contains("0123"),
        "{shown}"
    );
}

#[test]
fn toml_works_too_and_defaults_give_way_to_a_short_timeout() {
    let file = "--config.file=tests/config/valid-one-target.toml";
    let config = valid(&[file], &["MONITOR_USER=monitor"]);
    let second = Duration::from_secs(1);
    assert_eq!(
        (config.scrape.base_timeout, config.scrape.persistence_timeout),
        (second * 2, second * 2)
    );
    assert_eq!(config.jetstream.detail_max_age, second * 30);
    let target = &config.targets[0];
    assert_eq!((target.name.as_str(), target.server.as_deref()), ("[::1]:443", Some("n0")));
    let auth = target.basic_auth.as_ref().expect("credentials");
    assert_eq!((auth.username.as_str(), auth.password.expose_secret()), ("monitor", "0123"));
}

#[test]
fn a_flag_goes_before_a_variable_and_a_variable_before_the_file() {
    let file = "NATS_EXPORTER_CONFIG_FILE=tests/config/valid-one-target.toml";
    let user = "MONITOR_USER=monitor";
    let timeout = |arguments: &[&str], variables: &[&str]| {
        valid(arguments, variables).scrape.timeout.as_secs()
    };
    assert_eq!(timeout(&[], &[]), 10);
    assert_eq!(timeout(&[], &[file, user]), 2);
    assert_eq!(timeout(&[], &[file, user, "NATS_EXPORTER_SCRAPE_TIMEOUT=3s"]), 3);
    assert_eq!(timeout(&[], &[file, user, "NATS_EXPORTER_SCRAPE_TIMEOUT= "]), 2);
    let flag = "--scrape.timeout=4s";
    assert_eq!(timeout(&[flag], &[file, user, "NATS_EXPORTER_SCRAPE_TIMEOUT=3s"]), 4);
    let targets = valid(&["n2,http://b:2"], &[file, user]).targets;
    assert_eq!(targets.len(), 1, "arguments replace the targets of the file");
    assert_eq!(targets[0].server.as_deref(), Some("n2"));
}

#[test]
fn switches_can_be_turned_off_again() {
    let on = "NATS_EXPORTER_WEB_ENABLE_LIFECYCLE=true";
    assert!(valid(&["--web.enable-lifecycle"], &[]).web.enable_lifecycle);
    assert!(!valid(&["--web.enable-lifecycle=false"], &[on]).web.enable_lifecycle);
}

#[test]
fn lists_are_repeated_as_flags_and_have_commas_as_variables() {
    let flags = ["--web.listen-address=:1", "--web.listen-address", "0.0.0.0:2"];
    assert_eq!(valid(&flags, &[]).web.listen_addresses.len(), 2);
    let config = valid(&[], &["NATS_EXPORTER_JETSTREAM_STREAMS_EXCLUDE=KV_.*, OBJ_.*"]);
    assert!(!config.jetstream.streams.allows("OBJ_x") && config.jetstream.streams.allows("X"));
}

#[test]
fn targets_in_the_environment_have_commas_or_blanks_between() {
    let variable = "NATS_EXPORTER_TARGETS=n1,http://a:1, http://b:2\n n3,https://c,http://d:4";
    let config = valid(&[], &[variable]);
    let names: Vec<&str> = config.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["n1", "b:2", "n3", "d:4"]);
}

#[test]
fn names_in_dns_are_targets_of_their_own() {
    let variable =
        "NATS_EXPORTER_TARGETS=dns+http://u:p@a:1/x/ http://b:2,dnssrv+https://_m._tcp.c";
    let config = valid(&["--cluster=east"], &[variable]);
    let [server] = config.targets.as_slice() else { panic!("one server") };
    assert_eq!(server.name, "b:2");
    let found: Vec<_> = config
        .dns_targets
        .iter()
        .map(|DnsTarget { records, template }| {
            (*records, template.name.as_str(), template.url.as_str(), template.basic_auth.is_some())
        })
        .collect();
    assert_eq!(
        found,
        [
            (Records::Addresses, "dns+http://a:1/x", "http://a:1/x", true),
            (Records::Services, "dnssrv+https://_m._tcp.c", "https://_m._tcp.c/", false),
        ]
    );
    assert!(config.dns_targets.iter().all(|t| t.template.cluster.as_deref() == Some("east")));
    let nameserver = valid(&[], &["NATS_EXPORTER_DISCOVERY_NAMESERVER=10.0.0.1"]);
    let nameserver = nameserver.discovery.nameserver.expect("it is set");
    assert_eq!(nameserver.to_string(), "10.0.0.1:53");
}

#[test]
fn who_answers_only_probes_has_no_target() {
    let allow = "--probe.allow=http://10.0.0.0/8:8222";
    assert!(valid(&[allow], &[]).targets.is_empty());
    assert_eq!(valid(&[allow, "http://a:1"], &[]).targets.len(), 1);
    let variable = "NATS_EXPORTER_PROBE_ALLOW=http://a:1, http://*.b:1";
    assert_eq!(valid(&["--cluster=east"], &[variable]).probe.allow.len(), 2);
}

#[test]
fn labels_may_come_from_the_downward_api() {
    let config = valid(&[], &["NATS_EXPORTER_SERVER=nats-0", "NATS_EXPORTER_CLUSTER=east"]);
    let target = &config.targets[0];
    assert_eq!(
        (target.server.as_deref(), target.cluster.as_deref()),
        (Some("nats-0"), Some("east"))
    );
}

#[test]
fn variables_of_kubernetes_services_are_passed_over() {
    let variables = [
        "NATS_EXPORTER_SERVICE_HOST=10.0.0.1",
        "NATS_EXPORTER_SERVICE_PORT=7777",
        "NATS_EXPORTER_SERVICE_PORT_METRICS=7777",
        "NATS_EXPORTER_PORT=tcp://10.0.0.1:7777",
        "NATS_EXPORTER_PORT_7777_TCP=tcp://10.0.0.1:7777",
        "NATS_EXPORTER_PORT_7777_TCP_PROTO=tcp",
        "NATS_EXPORTER_CENTRAL_SERVICE_HOST=10.0.0.1",
        "NATS_EXPORTER_CENTRAL_PORT=tcp://10.0.0.1:7777",
        "NATS_EXPORTER_CENTRAL_PORT_7777_TCP_ADDR=10.0.0.1",
        "NATS_URL=nats://10.0.0.1:4222",
    ];
    assert_eq!(valid(&[], &variables).targets.len(), 1);
}

#[test]
fn messages_name_the_variable_the_flag_or_the_argument() {
    let cases: &[(&[&str], &[&str], &str)] = &[
        (
            &[],
            &["NATS_EXPORTER_SCRAPE__TIMEOUT=5s"],
            "environment variable NATS_EXPORTER_SCRAPE__TIMEOUT: no setting has this name; \
             did you mean NATS_EXPORTER_SCRAPE_TIMEOUT?",
        ),
        (
            &[],
            &["NATS_EXPORTER_TARGET=http://a:1"],
            "environment variable NATS_EXPORTER_TARGET: no setting has this name; \
             did you mean NATS_EXPORTER_TARGETS?",
        ),
        (
            &[],
            &["NATS_EXPORTER_WEB_PORT=7777"],
            "environment variable NATS_EXPORTER_WEB_PORT: no setting has this name; \
             docs/configuration.md lists them all",
        ),
        (
            &[],
            &["NATS_EXPORTER_SCRAPE_TIMEOUT=5"],
            "environment variable NATS_EXPORTER_SCRAPE_TIMEOUT: scrape.timeout: \
             \"5\" has no unit; write \"5s\" for seconds",
        ),
        (
            &["--log.level=loud"],
            &[],
            "flag --log.level: log.level: \"loud\" is not a level; write error, warn, info, debug \
             or trace, or a list such as \"info,nats_exporter=debug\"",
        ),
        (
            &["http://a:1", "127.0.0.1:8222"],
            &[],
            "argument TARGET_URL: targets[1]: \"127.0.0.1:8222\" is not a URL; \
             write \"http://127.0.0.1:8222\"",
        ),
        (
            &["--server=n1", "http://a:1", "http://b:1"],
            &[],
            "flag --server: server: one name cannot stand for 2 targets; \
             write the key server in the section of each target",
        ),
        (
            &["--config.file=nowhere.yaml"],
            &[],
            "cannot read the configuration file nowhere.yaml (named by --config.file): \
             No such file or directory (os error 2)",
        ),
        (
            &[],
            &["NATS_EXPORTER_CONFIG_FILE=exporter.conf"],
            "cannot tell the language of the configuration file exporter.conf (named by \
             NATS_EXPORTER_CONFIG_FILE); give it the extension .yaml, .yml or .toml",
        ),
    ];
    for (arguments, variables, expected) in cases {
        assert_eq!(message(arguments, variables), *expected);
    }
}

/// A row that nothing reads would be an unknown key as soon as somebody used it.
#[test]
fn every_setting_is_read_from_its_variable() {
    for setting in SETTINGS {
        let value = match setting.fallback {
            Fallback::Value(value) => value,
            Fallback::Words(_) if setting.key.ends_with("_max_age") => "0s",
            Fallback::Words(_) if setting.key == "scrape.connect_timeout" => "1s",
            Fallback::Words(_) if setting.key == "discovery.nameserver" => "[fd00::10]:53",
            Fallback::Words(_) if setting.key == "probe.allow" => "http://[fd00::]/8:8222",
            Fallback::Words(_) => "x",
        };
        valid(&[], &[&format!("{}={value}", setting.variable())]);
    }
    let names: BTreeSet<String> = SETTINGS.iter().map(Setting::variable).collect();
    assert_eq!(names.len(), SETTINGS.len(), "two settings have the same variable");
}

#[test]
fn the_help_tells_every_flag() {
    Cli::command().debug_assert();
    let help = Cli::command().render_help().to_string();
    let words: Vec<&str> = help.split_whitespace().collect();
    let help = words.join(" ");
    for setting in SETTINGS.iter().filter(|setting| setting.flag.is_some()) {
        let description = setting.description.trim_end_matches('.');
        assert!(help.contains(description), "the help lacks {description:?}");
        assert!(help.contains(&setting.variable()), "the help lacks {}", setting.variable());
    }
    assert!(help.contains(FILE_VARIABLE) && help.contains("NATS_EXPORTER_TARGETS"));
}

fn table_of_settings() -> String {
    let head = "| key | environment variable | flag | default | meaning |\n|---|---|---|---|---|\n";
    SETTINGS.iter().map(row).fold(head.to_owned(), |table, row| table + &row)
}

fn row(setting: &Setting) -> String {
    let flag = match (setting.flag, setting.shape) {
        (Some(flag), Shape::Switch) => format!("`--{flag}`"),
        (Some(flag), Shape::One(value)) => format!("`--{flag}={value}`"),
        (Some(flag), _) => format!("`--{flag}=...`, repeated"),
        (None, Shape::Targets) => "`TARGET_URL...`".to_owned(),
        (None, _) => "-".to_owned(),
    };
    let default = match setting.fallback {
        Fallback::Value(value) => format!("`{value}`"),
        Fallback::Words(words) if words.contains('.') => format!("`{words}`"),
        Fallback::Words(words) => words.to_owned(),
    };
    let (key, variable, description) = (setting.key, setting.variable(), setting.description);
    format!("| `{key}` | `{variable}` | {flag} | {default} | {description} |\n")
}

#[test]
fn the_documentation_lists_every_setting() {
    let (begin, end) = ("<!-- settings: begin -->\n", "<!-- settings: end -->");
    let document = fs::read_to_string(DOCUMENT).expect("the documentation is there");
    let (before, rest) = document.split_once(begin).expect("the beginning of the table");
    let (table, after) = rest.split_once(end).expect("the end of the table");
    let expected = table_of_settings();
    if is_update() {
        fs::write(DOCUMENT, [before, begin, &expected, end, after].concat())
            .expect("it can be written");
    } else {
        assert_eq!(
            table, expected,
            "run the tests with UPDATE=1 to rewrite the table in {DOCUMENT}"
        );
    }
}

/// The messages about unknown keys list those that are known; the documentation has to have them.
#[test]
fn the_documentation_lists_every_key_of_a_target() {
    let document = fs::read_to_string(DOCUMENT).expect("the documentation is there");
    for (sample, section) in [("target", ""), ("tls", "tls."), ("basic-auth", "basic_auth.")] {
        let file = format!("--config.file={SAMPLES}/invalid-unknown-{sample}-key.yaml");
        let message = message(&[&file], &[]);
        let (_, known) = message.split_once("nown here: ").expect("the known keys");
        for key in known.split(", ").filter(|key| !["tls", "basic_auth", "headers"].contains(key)) {
            assert!(
                document.contains(&format!("| `{section}{key}` |")),
                "{section}{key} is not documented"
            );
        }
    }
}

/// Blocks of the documentation in `language`.
fn examples(language: &str) -> Vec<String> {
    let document = fs::read_to_string(DOCUMENT).expect("the documentation is there");
    let fence = format!("```{language}\n");
    let blocks = document.split(&fence).skip(1);
    blocks.filter_map(|rest| rest.split_once("```").map(|(block, _)| block.to_owned())).collect()
}

#[test]
fn the_examples_of_the_documentation_are_valid() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("configuration-examples");
    fs::create_dir_all(folder.join("secrets")).expect("a folder for the examples");
    for file in ["ca.pem", "client.pem", "client.key", "nats-password", "token"] {
        fs::write(folder.join("secrets").join(file), "text").expect("a file for the examples");
    }
    let mut complete = Vec::new();
    for language in ["yaml", "toml"] {
        let examples = examples(language);
        assert!(!examples.is_empty(), "no example in {language}");
        for (index, example) in examples.iter().enumerate() {
            let file = folder.join(format!("{index}.{language}"));
            fs::write(&file, example).expect("the example can be written");
            let file = format!("--config.file={}", file.display());
            let config = valid(&[&file], &["NATS_PASSWORD=text", "NATS_TOKEN=text"]);
            if example.starts_with("# Complete") {
                complete.push(format!("{config:?}"));
            }
        }
    }
    assert_eq!(complete.len(), 2, "a complete example in each language");
    assert_eq!(complete[0], complete[1], "the complete examples say the same");
}

/// A list is cut at commas and blanks, whatever they stand in.
#[test]
fn no_part_of_a_password_is_told_that_a_list_was_cut_within() {
    for password in ["S3cret,tail", "S3cret tail", "[S3cret,tail", "4711/S3cret", "47/tail/S3cret"]
    {
        let variable = format!("NATS_EXPORTER_TARGETS=http://monitor:{password}@nats:8222");
        let told = message(&[], &[&variable]);
        assert!(!["S3cret", "tail"].iter().any(|part| told.contains(part)), "{told}");
        assert!(told.contains("NATS_EXPORTER_TARGETS"), "{told}");
    }
    for url in ["http://[::1]:x", "http://nats:82x/jsz", "nats:8222x"] {
        let told = message(&[url], &[]);
        assert!(told.contains(url.rsplit_once(':').unwrap().0), "{told}");
    }
}
