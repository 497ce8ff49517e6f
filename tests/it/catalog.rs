//! The catalogue keeps its own rules, and the documents say what it says.
//!
//! `UPDATE=1 cargo test` rewrites `docs/metrics.md`.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use nats_exporter::catalog::{Description, Family, Kind, Topic, describe};
use nats_exporter::docs;
use nats_exporter::tier::Tier;
use nats_exporter::verdict::{BaseReason, PersistenceReason, State};

use crate::support::is_update;

const DOCUMENT: &str = "docs/metrics.md";

/// Every metric with its table.
fn families() -> Vec<(Description, Family)> {
    let tables = describe().into_iter();
    tables
        .flat_map(|table| table.families.clone().into_iter().map(move |f| (table.clone(), f)))
        .collect()
}

/// The metrics for which `broken` holds.
fn broken(broken: impl Fn(&Description, &Family) -> bool) -> Vec<String> {
    let families = families().into_iter();
    families.filter(|(table, family)| broken(table, family)).map(|(_, f)| f.sample_name()).collect()
}

fn none() -> Vec<String> {
    Vec::new()
}

fn legal(name: &str, more: &str) -> bool {
    let mut characters = name.chars();
    let first = characters.next().is_some_and(|c| c.is_ascii_lowercase());
    first && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c))
}

#[test]
fn no_two_metrics_have_the_same_name() {
    let mut seen = BTreeSet::new();
    for (_, family) in families() {
        // A gauge called like the samples of a counter would be the same metric, too.
        assert!(seen.insert(family.sample_name()), "twice: {}", family.name);
        assert!(
            family.kind == Kind::Gauge || seen.insert(family.name.to_owned()),
            "{}",
            family.name
        );
    }
    assert!(seen.len() > 150, "the catalogue was walked: {}", seen.len());
}

#[test]
fn names_are_legal_and_no_suffix_is_taken_that_a_format_gives_a_meaning() {
    assert_eq!(broken(|_, family| !legal(family.name, "_")), none());
    let reserved = ["_total", "_created", "_bucket", "_count", "_sum", "_gsum", "_gcount"];
    assert_eq!(broken(|_, f| reserved.iter().any(|suffix| f.name.ends_with(suffix))), none());
    assert_eq!(broken(|_, family| family.name.contains("__")), none());
}

#[test]
fn a_name_tells_the_tier() {
    const BASE: [&str; 4] = ["nats_server_", "nats_route_", "nats_health_", "nats_up"];
    let of_tier = |name: &str, tier: Tier| match tier {
        Tier::Base => BASE.iter().any(|prefix| name.starts_with(prefix)),
        Tier::Persistence => name.starts_with("nats_jetstream_"),
        Tier::Exporter => false,
    };
    let of_both = |name: &str, topic: Topic| match topic {
        Topic::Tier => name.starts_with("nats_tier_"),
        Topic::Exporter => name.starts_with("nats_exporter_") || name.starts_with("process_"),
        _ => false,
    };
    let wrong = broken(|table, family| {
        let by_tier = table.tiers.len() == 1 && of_tier(family.name, table.tiers[0]);
        !(by_tier || of_both(family.name, table.topic))
    });
    assert_eq!(wrong, none());
    // What is asked for by topic must not depend on whom the metric is about.
    let odd = broken(|table, family| {
        family.name.starts_with("nats_jetstream_") && table.tiers != [Tier::Persistence]
    });
    assert_eq!(odd, none());
}

/// Some tables have entities of both tiers. Only the state of a tier, and how the exporter asks,
/// are things that both have.
#[test]
fn only_states_and_the_exporter_are_about_both_tiers() {
    for table in describe() {
        let shared = matches!(table.topic, Topic::Tier | Topic::Exporter);
        assert!(!table.tiers.is_empty() && (table.tiers.len() == 1 || shared), "{table:?}");
        assert_eq!(table.tiers.contains(&Tier::Exporter), table.tiers == [Tier::Exporter]);
    }
}

#[test]
fn units_are_base_units_and_end_the_name() {
    let parts = |name: &'static str| name.split('_').collect::<BTreeSet<_>>();
    let scaled = [
        "ms",
        "ns",
        "us",
        "millis",
        "milliseconds",
        "nanoseconds",
        "microseconds",
        "minutes",
        "hours",
        "kb",
        "mb",
        "kib",
        "mib",
        "kilobytes",
        "megabytes",
        "percent",
    ];
    assert_eq!(broken(|_, f| parts(f.name).iter().any(|part| scaled.contains(part))), none());
    let units = ["seconds", "bytes"];
    let inside = |family: &Family| {
        let mut words = family.name.split('_').rev();
        let _last = words.next();
        words.any(|word| units.contains(&word))
    };
    assert_eq!(broken(|_, family| inside(family)), none());
    // What is a time or a size by its name has the unit, too.
    let timely = [
        "time",
        "timestamp",
        "duration",
        "interval",
        "deadline",
        "age",
        "wait",
        "rtt",
        "window",
        "threshold",
        "offset",
        "remaining",
    ];
    let sized = ["memory", "storage", "payload"];
    // A threshold has the unit of what its owner limits.
    let exempt = |name: &str| name.ends_with("_monitor_threshold");
    let wrong = broken(|_, family| {
        let last = family.name.rsplit('_').next().unwrap_or_default();
        !exempt(family.name) && (timely.contains(&last) || sized.contains(&last))
    });
    assert_eq!(wrong, none());
}

#[test]
fn help_is_one_line_and_ends_with_a_stop() {
    let wrong = broken(|_, family| {
        let help = family.help;
        let starts = help.starts_with(|c: char| c.is_ascii_uppercase() || c == '1');
        let one_line = !help.contains(['\n', '\r', '\t', '\\', '"', '|']) && !help.contains("  ");
        !(starts && help.ends_with('.') && !help.ends_with("..") && one_line && help.len() > 10)
    });
    assert_eq!(wrong, none());
    let mut seen = BTreeSet::new();
    let pairs: Vec<_> = families();
    // The checks of both tiers share their words; nothing else says the same as another one.
    let twice: Vec<_> = pairs
        .iter()
        .filter(|(_, f)| !f.name.contains("health_check"))
        .filter(|(_, family)| !seen.insert(family.help))
        .map(|(_, family)| family.name)
        .collect();
    assert_eq!(twice, Vec::<&str>::new(), "the same help twice");
}

#[test]
fn the_source_says_which_endpoint() {
    let known = [
        "/varz",
        "/routez",
        "/jsz",
        "/healthz",
        "/proc",
        "exporter",
        "verdict",
        "configuration, /varz",
    ];
    assert_eq!(broken(|_, f| !known.iter().any(|s| f.source.starts_with(s))), none());
    assert_eq!(broken(|_, family| family.source.contains(['|', '\n'])), none());
}

#[test]
fn label_names_are_legal_and_each_comes_once() {
    for table in describe() {
        let names: BTreeSet<_> = table.labels.iter().collect();
        assert_eq!(names.len(), table.labels.len(), "{table:?}");
        for label in table.labels {
            assert!(legal(label, "_") && !label.starts_with("__"), "{label}");
            // Prometheus sets these when it scrapes, and renames those that come with a sample.
            assert!(!["job", "instance", "le", "quantile"].contains(label), "{label}");
        }
    }
}

/// An election or a restart must not end the series of a number.
#[test]
fn labels_that_change_by_themselves_are_only_on_infos() {
    let changing = ["leader", "server_id", "version", "raft_group", "cid", "git_commit", "ip"];
    let wrong = broken(|table, family| {
        let changes = table.labels.iter().any(|label| changing.contains(label));
        changes && !family.name.ends_with("_info")
    });
    assert_eq!(wrong, none());
    assert_eq!(broken(|_, f| f.name.ends_with("_info") && f.kind == Kind::Counter), none());
}

/// What the alert rules and dashboards read, by the names of the samples.
const CONTRACT: &str = "
    nats_up nats_health_check_ok nats_server_info nats_server_start_time_seconds
    nats_server_clock_offset_seconds nats_server_tls_certificate_not_after_seconds
    nats_server_connections nats_server_max_connections nats_server_connections_opened_total
    nats_server_subscriptions nats_server_in_messages_total nats_server_out_messages_total
    nats_server_in_bytes_total nats_server_out_bytes_total nats_server_slow_consumers_total
    nats_server_stale_connections_total nats_server_cpu_cores nats_server_gomaxprocs
    nats_server_memory_bytes nats_server_memory_limit_bytes

    nats_route_peers nats_route_peers_expected nats_route_connected nats_route_pending_bytes
    nats_route_rtt_seconds nats_route_newest_start_time_seconds nats_route_in_messages_total
    nats_route_in_bytes_total nats_route_out_messages_total nats_route_out_bytes_total

    nats_jetstream_enabled nats_jetstream_storage_used_bytes nats_jetstream_storage_limit_bytes
    nats_jetstream_storage_reserved_bytes nats_jetstream_memory_used_bytes
    nats_jetstream_memory_limit_bytes nats_jetstream_memory_reserved_bytes
    nats_jetstream_api_requests_total nats_jetstream_api_errors_total
    nats_jetstream_api_inflight_requests nats_jetstream_ha_assets

    nats_jetstream_meta_leader_known nats_jetstream_meta_is_leader nats_jetstream_meta_leader_info
    nats_jetstream_meta_cluster_size nats_jetstream_meta_peer_current
    nats_jetstream_meta_peer_offline nats_jetstream_meta_peer_lag_operations
    nats_jetstream_meta_peer_last_seen_seconds nats_jetstream_meta_pending_operations
    nats_jetstream_meta_snapshot_duration_seconds

    nats_jetstream_stream_leader_known nats_jetstream_stream_is_leader
    nats_jetstream_stream_replicas_configured nats_jetstream_stream_replica_current
    nats_jetstream_stream_replica_lag_operations nats_jetstream_stream_replica_last_seen_seconds
    nats_jetstream_stream_messages nats_jetstream_stream_bytes nats_jetstream_stream_limit_bytes
    nats_jetstream_stream_published_messages_total

    nats_jetstream_consumer_leader_known nats_jetstream_consumer_pending_messages
    nats_jetstream_consumer_ack_pending nats_jetstream_consumer_max_ack_pending
    nats_jetstream_consumer_redelivered_messages nats_jetstream_consumer_waiting_pulls
    nats_jetstream_consumer_ack_floor_stream_sequence
    nats_jetstream_consumer_last_ack_timestamp_seconds

    nats_exporter_endpoint_up nats_exporter_endpoint_duration_seconds
    nats_exporter_endpoint_errors_total nats_exporter_last_success_timestamp_seconds
    nats_exporter_series_dropped_total nats_exporter_unknown_fields_total nats_exporter_build_info
";

#[test]
fn everything_that_rules_and_dashboards_read_is_there() {
    let names: BTreeSet<_> = families().iter().map(|(_, f)| f.sample_name()).collect();
    let missing: Vec<_> = CONTRACT.split_whitespace().filter(|n| !names.contains(*n)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn labels_that_rules_and_dashboards_read_are_there() {
    for (name, label) in [
        ("nats_health_check_ok", "check"),
        ("nats_server_info", "version"),
        ("nats_server_slow_consumers", "kind"),
        ("nats_server_stale_connections", "kind"),
        ("nats_route_connected", "remote"),
        ("nats_route_pending_bytes", "remote"),
        ("nats_route_rtt_seconds", "remote"),
        ("nats_route_in_messages", "remote"),
        ("nats_jetstream_meta_leader_info", "leader"),
        ("nats_jetstream_meta_peer_current", "peer"),
        ("nats_jetstream_stream_replica_current", "peer"),
        ("nats_jetstream_stream_replica_lag_operations", "peer"),
        ("nats_jetstream_stream_limit_bytes", "discard"),
        ("nats_exporter_endpoint_up", "server"),
        ("nats_exporter_endpoint_up", "endpoint"),
        ("nats_exporter_endpoint_errors", "reason"),
    ] {
        let found = families().into_iter().find(|(_, family)| family.name == name);
        let (table, _) = found.unwrap_or_else(|| panic!("{name} is missing"));
        assert!(table.labels.contains(&label), "{name} has no {label}");
    }
}

#[test]
fn states_reasons_and_topics_are_told_apart() {
    let states: BTreeSet<_> = State::ALL.iter().map(|state| state.as_str()).collect();
    assert_eq!(states.len(), State::ALL.len());
    let topics: BTreeSet<_> = Topic::ALL.iter().map(|topic| topic.as_str()).collect();
    assert_eq!(topics.len(), Topic::ALL.len());
    let base: Vec<_> = BaseReason::ALL.iter().map(|reason| reason.describe()).collect();
    let persistence: Vec<_> = PersistenceReason::ALL.iter().map(|r| r.describe()).collect();
    for reasons in [base, persistence] {
        let names: BTreeSet<_> = reasons.iter().map(|(name, ..)| *name).collect();
        let meanings: BTreeSet<_> = reasons.iter().map(|(.., meaning)| *meaning).collect();
        assert_eq!((names.len(), meanings.len()), (reasons.len(), reasons.len()));
        for (name, state, meaning) in reasons {
            assert!(legal(name, "_"), "{name}");
            assert_ne!(state, State::Ok, "{name} would be a reason to be well");
            assert!(meaning.ends_with('.') && !meaning.contains(['|', '\n']), "{meaning}");
        }
    }
}

#[test]
fn the_document_of_the_metrics_is_what_the_catalogue_says() {
    let expected = docs::metrics();
    if is_update() {
        fs::write(DOCUMENT, &expected).expect("it can be written");
    }
    let found = fs::read_to_string(DOCUMENT).unwrap_or_default();
    assert!(found == expected, "{DOCUMENT} is old; UPDATE=1 cargo test writes it");
}

#[test]
fn every_metric_is_in_the_document_and_in_the_list_once() {
    let (document, list) = (docs::metrics(), docs::list());
    for (_, family) in families() {
        let name = family.sample_name();
        assert_eq!(document.matches(&format!("| `{name}` |")).count(), 1, "{name}");
        let lines = list.lines().filter(|line| line.starts_with(&format!("{name} ")));
        assert_eq!(lines.count(), 1, "{name}");
    }
    assert_eq!(list.lines().count(), families().len());
    let columns = |line: &&str| line.starts_with('|') && !line.starts_with("| ---");
    for row in document.lines().filter(columns) {
        assert_eq!(row.matches('|').count(), 5, "four columns: {row}");
    }
}

#[test]
fn the_program_lists_the_metrics() {
    let output = Command::new(env!("CARGO_BIN_EXE_nats-exporter"))
        .arg("--list-metrics")
        .output()
        .expect("the program runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).expect("text"), docs::list());
}
