//! From the raw configuration to the checked one, a function for each section.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use regex::Regex;

use super::entry::{Entry, Reason};
use super::read::{Context, Given, Section};
use super::{Config, Detail, Discovery, Filter, JetStream, Limits, Log, LogFormat, Probe, Scrape};
use super::{DnsTarget, ListenAddress, Target, UNIX_PREFIX, Web, allow, secret, target};

/// Where name servers listen.
const DNS_PORT: u16 = 53;

/// The request of a Prometheus has some hundred bytes, and proxies add to it.
const LEAST_HEADER_BYTES: usize = 1024;

/// Longer than every value that is not a name, such as a reason or a state.
const LEAST_LABEL_VALUE_BYTES: usize = 64;

/// Looking a name up more often would only load the name server.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// Reads everything. The result is of use only if no problem was noted.
pub(super) fn config(context: &Context, mut root: Section) -> Config {
    let web = web(root.section("web"));
    let log = log(root.section("log"));
    let scrape = scrape(root.section("scrape"));
    let jetstream = jetstream(root.section("jetstream"));
    let limits = limits(root.section("limits"));
    let discovery = discovery(root.section("discovery"));
    let mut probe = probe(root.section("probe"));
    let (mut targets, mut dns_targets) =
        target::targets(context, &mut root, !probe.allow.is_empty());
    labels(&mut root, &mut targets, &mut dns_targets, &mut probe);
    root.finish();
    Config { web, log, scrape, jetstream, limits, discovery, probe, targets, dns_targets }
}

/// The labels for targets that have none of their own.
fn labels(
    root: &mut Section,
    targets: &mut [Target],
    dns_targets: &mut [DnsTarget],
    probe: &mut Probe,
) {
    if let Some(cluster) = root.take("cluster", Entry::name) {
        let found = dns_targets.iter_mut().map(|target| &mut target.template);
        let allowed = probe.allow.iter_mut().map(|allowed| &mut allowed.template);
        for target in targets.iter_mut().chain(found).chain(allowed) {
            target.cluster.get_or_insert_with(|| cluster.clone());
        }
    }
    let server = root.take("server", |entry| match (&*targets, &*dns_targets) {
        ([_] | [], []) => entry.name(),
        (targets, []) => Err(format!(
            "one name cannot stand for {} targets; write the key server in the section of each target",
            targets.len()
        )),
        _ => Err(target::MANY_SERVERS.to_owned()),
    });
    if let (Some(server), [target]) = (server, targets) {
        target.server.get_or_insert(server);
    }
}

fn discovery(mut section: Section) -> Discovery {
    let discovery = Discovery {
        interval: section
            .setting("interval", |entry| match entry.time_out()? {
                interval if interval < SHORTEST_INTERVAL => {
                    Err(format!("{} is too often; write \"1s\" or more", entry.shown()))
                }
                interval => Ok(interval),
            })
            .value,
        timeout: section.setting("timeout", Entry::time_out).value,
        grace: section.setting("grace", Entry::duration).value,
        nameserver: section.take("nameserver", nameserver),
    };
    section.finish();
    discovery
}

fn nameserver(entry: &Entry) -> Result<SocketAddr, Reason> {
    let text = entry.text()?;
    let alone = || Some(SocketAddr::from((text.parse::<IpAddr>().ok()?, DNS_PORT)));
    text.parse().ok().or_else(alone).ok_or_else(|| {
        format!(
            "{text:?} is not the address of a name server; \
             write one such as \"10.96.0.10\", \"10.96.0.10:53\" or \"[fd00::10]:53\""
        )
    })
}

fn probe(mut section: Section) -> Probe {
    let probe =
        Probe {
            allow: allow::allowed(&mut section),
            max_targets: section
                .setting("max_targets", |entry| match entry.whole()? {
                    0 => Err("0 leaves no room for any; to refuse all, leave probe.allow empty"
                        .to_owned()),
                    count => Ok(count),
                })
                .value,
            idle: section.setting("idle", Entry::time_out).value,
        };
    section.finish();
    probe
}

pub(super) fn web(mut section: Section) -> Web {
    let context = section.context;
    let web = Web {
        listen_addresses: section.list("listen_addresses", listen_address),
        systemd_socket: section.setting("systemd_socket", Entry::switch).value,
        config_file: section.take("config_file", |entry| match entry.text()? {
            // A flag or a variable is of where the program was started.
            path if !path.is_empty() && entry.place.origin != context.file => Ok(path.into()),
            _ => secret::path(context, entry),
        }),
        enable_lifecycle: section.setting("enable_lifecycle", Entry::switch).value,
        max_requests: section.setting("max_requests", Entry::whole).value,
        max_connections: section
            .setting("max_connections", |entry| match entry.whole()? {
                0 => Err("0 lets nobody in; write a number such as 256".to_owned()),
                count => Ok(count),
            })
            .value,
        max_header_bytes: section
            .setting("max_header_bytes", |entry| match entry.whole()? {
                bytes if bytes < LEAST_HEADER_BYTES => Err(format!(
                    "{bytes} may be too few for the request of a Prometheus; \
                     write {LEAST_HEADER_BYTES} or more"
                )),
                bytes => Ok(bytes),
            })
            .value,
        max_body_bytes: section.setting("max_body_bytes", Entry::whole).value,
        header_timeout: section.setting("header_timeout", Entry::time_out).value,
        idle_timeout: section.setting("idle_timeout", Entry::time_out).value,
        stall_timeout: section.setting("stall_timeout", Entry::time_out).value,
        drain_timeout: section.setting("drain_timeout", Entry::duration).value,
    };
    section.finish();
    web
}

fn listen_address(entry: &Entry) -> Result<ListenAddress, Reason> {
    let text = entry.text()?;
    if let Some(path) = text.strip_prefix(UNIX_PREFIX) {
        return match Path::new(path) {
            path if path.is_absolute() => Ok(ListenAddress::Unix(path.to_owned())),
            _ => Err(format!(
                "{text:?} has no absolute path; write one such as \"unix:/run/nats-exporter/metrics.sock\""
            )),
        };
    }
    let every = text.strip_prefix(':').and_then(|port| port.parse().ok());
    let every = every.map(|port: u16| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    every.or_else(|| text.parse().ok()).map(ListenAddress::Tcp).ok_or_else(|| {
        format!(
            "{text:?} is not an address to listen on; write \":7777\" for every address, \
             one such as \"127.0.0.1:7777\" or \"[::1]:7777\", or \"unix:\" and a path"
        )
    })
}

fn log(mut section: Section) -> Log {
    let level = section.setting("level", |entry| {
        let level = entry.text()?.to_owned();
        Log::parse_level(&level).map(|_| level)
    });
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = section.setting("format", |entry| entry.word(&formats));
    section.finish();
    Log { level: level.value, format: format.value }
}

fn scrape(mut section: Section) -> Scrape {
    let timeout = section.setting("timeout", Entry::time_out);
    let margin = section.setting("timeout_margin", Entry::duration);
    let whole = timeout.value;
    if margin.value >= whole {
        let reason = format!(
            "a margin of {} leaves nothing of a time-out of {}; write a shorter margin or a longer time-out",
            humantime::format_duration(margin.value),
            humantime::format_duration(whole)
        );
        let place = margin.place.or(timeout.place);
        section.context.report(place.unwrap_or_else(|| section.place("timeout")), reason);
    }
    let mut part = |key| {
        let Given { value, place } = section.setting(key, Entry::time_out);
        // Only what somebody wrote can be a mistake; the defaults give way to a short time-out.
        if let Some(place) = place.filter(|_| value > whole) {
            let reason = format!(
                "{} is more than the whole scrape may take; write at most scrape.timeout, which is {}",
                humantime::format_duration(value),
                humantime::format_duration(whole)
            );
            section.context.report(place, reason);
        }
        value.min(whole)
    };
    let (base_timeout, persistence_timeout) = (part("base_timeout"), part("persistence_timeout"));
    let connect_timeout = section.take("connect_timeout", |entry| match entry.time_out()? {
        wait if wait >= base_timeout => Err(format!(
            "{} leaves no time for an answer; write less than scrape.base_timeout, which is {}",
            humantime::format_duration(wait),
            humantime::format_duration(base_timeout)
        )),
        wait => Ok(wait),
    });
    section.finish();
    Scrape {
        timeout: whole,
        timeout_margin: margin.value,
        // Shorter than the time-out of a request, so that a host that is gone is told from a process that
        // takes connections and does not answer; and less than half of it, because the core question follows when
        // /varz has failed to connect, and has to find out by itself in time.
        connect_timeout: connect_timeout.unwrap_or(base_timeout * 2 / 5),
        base_timeout,
        persistence_timeout,
    }
}

fn jetstream(mut section: Section) -> JetStream {
    let levels = [
        ("server", Detail::Server),
        ("streams", Detail::Streams),
        ("consumers", Detail::Consumers),
        ("all", Detail::All),
    ];
    let detail = section.setting("detail", |entry| entry.word(&levels)).value;
    let detail_interval = section.setting("detail_interval", Entry::duration).value;
    let detail_max_age = section.take("detail_max_age", |entry| match entry.duration()? {
        age if age < detail_interval => Err(format!(
            "{} is less than jetstream.detail_interval, so detail would come and go; write at least {}",
            humantime::format_duration(age),
            humantime::format_duration(detail_interval)
        )),
        age => Ok(age),
    });
    let config_interval = section.setting("config_interval", Entry::duration).value;
    let fold = section.setting("fold_ephemeral_consumers", Entry::switch).value;
    let jetstream = JetStream {
        detail,
        detail_interval,
        detail_max_age: detail_max_age.unwrap_or(detail_interval),
        config_interval,
        fold_ephemeral_consumers: fold,
        accounts: filter(section.section("accounts")),
        streams: filter(section.section("streams")),
        consumers: filter(section.section("consumers")),
        stream_metadata_labels: metadata_labels(&mut section, "stream_metadata_labels"),
        consumer_metadata_labels: metadata_labels(&mut section, "consumer_metadata_labels"),
    };
    section.finish();
    jetstream
}

fn filter(mut section: Section) -> Filter {
    let filter = Filter {
        include: section.list("include", expression),
        exclude: section.list("exclude", expression),
    };
    section.finish();
    filter
}

/// The expression is also tried alone: `a)(b` is wrong, but would be right between parentheses.
fn expression(entry: &Entry) -> Result<Regex, Reason> {
    let text = entry.text()?;
    let compiled = Regex::new(text).and_then(|_| Regex::new(&format!("^(?:{text})$")));
    compiled.map_err(|error| {
        // The lines before the last repeat the expression with a mark below it.
        let message = error.to_string();
        let last = message.lines().last().unwrap_or_default();
        let message = last.trim_start_matches("error: ");
        format!("{text:?} is not a regular expression: {message}; a literal character may need a backslash")
    })
}

/// Keys of metadata, none of which may hide another once it is the name of a label.
fn metadata_labels(section: &mut Section, key: &'static str) -> Vec<String> {
    let mut labels: HashMap<String, String> = HashMap::new();
    section.list(key, |item| {
        let name = item.text()?;
        if name.is_empty() {
            return Err("this is empty; write a key of the metadata".to_owned());
        }
        let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let label: String = name.chars().map(legal).collect();
        match labels.insert(label.clone(), name.to_owned()) {
            Some(other) => Err(format!(
                "{name:?} and {other:?} would both be the label {label:?}; remove one of them"
            )),
            None => Ok(name.to_owned()),
        }
    })
}

fn limits(mut section: Section) -> Limits {
    let bytes = |entry: &Entry| match entry.whole() {
        Ok(0) => {
            Err("0 would refuse every answer; write a number of bytes such as 268435456".to_owned())
        }
        other => other,
    };
    let limits = Limits {
        body_bytes: section.setting("body_bytes", bytes).value,
        small_body_bytes: section.setting("small_body_bytes", bytes).value,
        label_value_bytes: section
            .setting("label_value_bytes", |entry| match entry.whole()? {
                bytes @ 1..LEAST_LABEL_VALUE_BYTES => Err(format!(
                    "{bytes} would cut what is no name; \
                     write {LEAST_LABEL_VALUE_BYTES} or more, or 0 for no limit"
                )),
                bytes => Ok(bytes),
            })
            .value,
        series_per_target: section.setting("series_per_target", Entry::whole).value,
    };
    section.finish();
    Limits { small_body_bytes: limits.small_body_bytes.min(limits.body_bytes), ..limits }
}
