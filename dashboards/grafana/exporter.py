"""The exporter: can what the other dashboards show be believed?"""

from . import parts
from .dashboard import Board
from .panels import (
    BLUE, GREEN, NEUTRAL, NONE_WANTED_BUT_NO_CALL, ORANGE, RED, Label, Query, Value, about, matrix, series, stat, table,
    watched, watched_below,
)

# More lines than this are not drawn at once: the highest are.
MOST = 25
# More answers than this are not put into the matrix: those that fail come first.
ANSWERS = 2500

ENDPOINT = "{{nats_cluster}} {{server}} {{endpoint}}"
EXPORTER = "{{job}} {{instance}}"

# Prometheus knows an exporter by its job, also while it is down and shows nothing.
EXPORTERS = 'job=~".*nats-exporter.*",job=~"$job",instance=~"$instance"'


def build():
    board = Board(
        "nats-exporter",
        "Whether the exporter sees everything, and how it fares itself. What it does not see is missing elsewhere.",
        ["job", "instance", "nats_cluster", "server_matches", "server", "endpoint"],
        tiers=["base", "persistence", "exporter"],
    )
    _believable(board)
    _endpoints(board)
    _complete(board)
    _scrapes(board)
    _process(board)
    return board.model


def _by_endpoint(expr):
    return f"topk({MOST}, max by (nats_cluster, server, endpoint) ({expr}))"


def _by_server(expr):
    return f"max by (nats_cluster, server) ({expr})"


def _by_exporter(expr):
    return f"max by (job, instance) ({expr})"


def _believable(board):
    board.section("Can it be believed?")
    board.line(
        4,
        stat(
            "Exporters that answer", 5,
            about(
                "Exporters that Prometheus can scrape, and those that it cannot.",
                good="0 that do not answer. One that does not answer says nothing about NATS.",
                alerts=["NatsExporterDown", "NatsExporterAbsent", "NatsJetStreamNotWatched"],
            ),
            Query(f"sum(min by (instance) (up{{{EXPORTERS}}}))", "answer"),
            Query(f"sum(min by (instance) (up{{{EXPORTERS}}}) == bool 0)", "do not",
                  thresholds=NONE_WANTED_BUT_NO_CALL),
            unit="short", thresholds=NEUTRAL,
        ),
        stat(
            "Endpoints that fail", 4,
            about(
                "Endpoints of servers that gave nothing that could be read. What they would show is missing.",
                good="0, while all servers are up.",
                alerts=["NatsExporterEndpointFailing", "NatsJetStreamNotAnswering"],
            ),
            Query(
                "sum(min by (nats_cluster, server, endpoint) (nats_exporter_endpoint_up<endpoint>) == bool 0)",
                "failing",
            ),
            unit="short", thresholds=NONE_WANTED_BUT_NO_CALL,
        ),
        stat(
            "Oldest answer", 4,
            about(
                "nats_exporter_endpoint_age_seconds", "The oldest of all.",
                good="seconds. With jetstream.detail_interval it is up to that interval.",
            ),
            Query("max(nats_exporter_endpoint_age_seconds<endpoint>)", "age"),
            unit="s", thresholds=NEUTRAL,
        ),
        stat(
            "Series cut, 15 min", 4,
            about(
                "nats_exporter_series_dropped_total",
                good="0. Otherwise some streams and consumers are not watched.",
                alerts=["NatsExporterSeriesDropped"],
            ),
            Query(f"sum({_by_server('increase(nats_exporter_series_dropped_total<server>[15m])')})", "cut"),
            unit="short", thresholds=watched("NatsExporterSeriesDropped"), decimals=0, missing="no JetStream",
        ),
        stat(
            "Accounts missing", 4,
            about(
                "nats_exporter_accounts_missing",
                good="0.",
                alerts=["NatsExporterAccountsMissing"],
            ),
            Query(f"sum({_by_server('nats_exporter_accounts_missing<server>')})", "missing"),
            unit="short", thresholds=watched("NatsExporterAccountsMissing"), missing="servers do not tell",
        ),
        stat(
            "Configuration", 3,
            about(
                "nats_exporter_config_last_reload_successful",
                "That of the web configuration file counts where there is one.",
                good="in use. Otherwise the exporter would not start with the configuration that it has.",
                alerts=["NatsExporterConfigRejected"],
            ),
            Query(
                "min(nats_exporter_config_last_reload_successful<exporter>)"
                " * (min(nats_exporter_web_config_last_reload_successful<exporter>) or vector(1))", "newest"),
            unit="none", states={1: ("in use", GREEN), 0: ("REFUSED", ORANGE)},
        ),
    )
    board.line(
        7,
        parts.firing("exporter", "Firing: exporter", 24),
    )


def _endpoints(board):
    board.section("Endpoints")
    board.line(
        9,
        matrix(
            "What could be read", 14,
            about(
                "nats_exporter_endpoint_up",
                f"With more than {ANSWERS} answers those that fail come first, and others are left out.",
                good="yes in every cell. varz, routez and healthz_core are the base tier, and the others persistence: "
                     "a row in which only the latter fail is a server whose JetStream hangs.",
                alerts=["NatsExporterEndpointFailing", "NatsJetStreamNotAnswering"],
            ),
            f"""
            label_join(
              bottomk({ANSWERS}, min by (nats_cluster, server, endpoint) (nats_exporter_endpoint_up<endpoint>)),
              "of", " ", "nats_cluster", "server"
            )""",
            row="of", column="endpoint", states={1: ("yes", GREEN), 0: ("NO", RED)}, missing="nothing was asked",
        ),
        table(
            "Why not", 10,
            about(
                "nats_exporter_endpoint_failure_info",
                good="empty.",
                alerts=["NatsExporterEndpointFailing"],
            ),
            parts.CLUSTER_COLUMN,
            parts.SERVER_COLUMN,
            Label("endpoint", "Endpoint"),
            Label("reason", "Reason"),
            Value("A", None,
                  "max by (nats_cluster, server, endpoint, reason) (nats_exporter_endpoint_failure_info<endpoint>)"),
            sort=[("Server", False)], missing="nothing fails that is seen",
        ),
    )
    board.line(
        8,
        series(
            f"Duration of requests: the {MOST} longest", 8,
            about(
                "nats_exporter_endpoint_duration_seconds",
                good="well below the time-out. jsz_detail takes longest, and holds up nothing else.",
            ),
            Query(_by_endpoint("nats_exporter_endpoint_duration_seconds<endpoint>"), ENDPOINT),
        ),
        series(
            f"Age of what is shown: the {MOST} oldest", 8,
            about(
                "nats_exporter_endpoint_age_seconds",
                good="seconds; for jsz_detail up to jetstream.detail_interval. A line that rises is an endpoint that "
                     "is not asked any more.",
            ),
            Query(_by_endpoint("nats_exporter_endpoint_age_seconds<endpoint>"), ENDPOINT),
        ),
        series(
            "Failures by reason", 8,
            about(
                "nats_exporter_endpoint_errors_total",
                good="nothing. dns and connect are the way to the server, timeout is the server, decode and truncated "
                     "are what it says.",
                alerts=["NatsExporterEndpointFailing"],
            ),
            Query(
                """
                sum by (endpoint, reason) (
                  max by (nats_cluster, server, endpoint, reason) (
                    rate(nats_exporter_endpoint_errors_total<endpoint>[$__rate_interval])
                  )
                )""",
                "{{endpoint}} {{reason}}",
            ),
            unit="cps", bars=True, stacked=True, missing="no failure that is known",
        ),
    )
    board.line(
        8,
        table(
            "Last good answer", 24,
            about(
                "nats_exporter_last_success_timestamp_seconds",
                good="seconds ago, or as long ago as the interval between scrapes.",
                alerts=["NatsExporterEndpointFailing"],
            ),
            parts.CLUSTER_COLUMN,
            parts.SERVER_COLUMN,
            Label("endpoint", "Endpoint"),
            Value(
                "A", "Last good answer",
                """
                bottomk(500, 1000 * max by (nats_cluster, server, endpoint) (
                  nats_exporter_last_success_timestamp_seconds<endpoint>
                ))""",
                "dateTimeFromNow",
            ),
            sort=[("Last good answer", False)], missing="there was none",
        ),
    )


def _complete(board):
    board.section("Is it complete?")
    board.line(
        8,
        series(
            "Age of the configuration of streams and consumers", 8,
            about(
                "nats_exporter_jetstream_config_age_seconds",
                good="up to jetstream.config_interval, which is five minutes unless set.",
            ),
            Query(f"topk({MOST}, {_by_server('nats_exporter_jetstream_config_age_seconds<server>')})",
                  "{{nats_cluster}} {{server}}"),
            missing="no JetStream",
        ),
        series(
            "Streams and consumers without a configuration yet", 8,
            about("nats_exporter_jetstream_config_unknown", good="0, but for minutes after many are made."),
            Query(f"topk({MOST}, {_by_server('nats_exporter_jetstream_config_unknown<server>')})",
                  "{{nats_cluster}} {{server}}"),
            unit="short", missing="no JetStream",
        ),
        series(
            "Fields that the exporter does not know", 8,
            about(
                "nats_exporter_unknown_fields_total",
                good="0. Otherwise the server is newer than the exporter, which may show less than it could.",
                alerts=["NatsExporterUnknownFields"],
            ),
            Query(
                f"""
                topk({MOST}, max by (nats_cluster, server, endpoint) (
                  increase(nats_exporter_unknown_fields_total<endpoint>[6h])
                ))""",
                ENDPOINT,
            ),
            unit="short",
        ),
    )
    board.line(
        8,
        table(
            "Targets", 14,
            about(
                "nats_exporter_target_info",
                good="one row for each server, and no duplicate.",
                alerts=["NatsExporterTargetDuplicate", "NatsExporterCoverageGap"],
            ),
            parts.CLUSTER_COLUMN,
            parts.SERVER_COLUMN,
            Label("target", "Target"),
            Label("url", "Address"),
            Value("info", None, "max by (nats_cluster, server, target, url) (nats_exporter_target_info<server>)"),
            Value("duplicate", "Duplicate",
                  "max by (nats_cluster, server, target) (nats_exporter_target_duplicate<server>)", "none",
                  {1: ("YES: not shown", ORANGE), 0: ("no", GREEN)}, missing="no", missing_colour=BLUE),
            sort=[("Cluster", False), ("Server", False)],
        ),
        table(
            "Members of the meta group that nobody watches", 10,
            about(
                "Members of the meta group that are no server of any exporter, by the name that the servers use.",
                good="empty. Otherwise there is no verdict on a restart, and streams that they lead are not seen.",
                alerts=["NatsExporterCoverageGap"],
            ),
            parts.CLUSTER_COLUMN,
            Label("peer", "Member"),
            Value("A", "Current",
                  "nats:meta_peer_unwatched:max<cluster>", "none", {1: ("yes", BLUE), 0: ("NO", ORANGE)}),
            sort=[("Member", False)], missing="none that is known",
        ),
    )
    board.line(
        7,
        table(
            "Names in DNS", 16,
            about(
                "Targets that are names in DNS, and what the last answer was.",
                good="every look-up has an answer. Servers that are gone are asked on for discovery.grace.",
                alerts=["NatsExporterDiscoveryFailing"],
            ),
            Label("instance", "Exporter", width=150),
            Label("target", "Target"),
            Value("lookup", "Last look-up", _by_name("nats_exporter_discovery_last_lookup_successful"), "none",
                  {1: ("answered", GREEN), 0: ("FAILED", ORANGE)}, width=110),
            Value("answer", "Last answer",
                  f"1000 * {_by_name('nats_exporter_discovery_last_success_timestamp_seconds')}", "dateTimeFromNow",
                  missing="never", width=140),
            Value("servers", "Servers", _by_name("nats_exporter_discovery_servers"), "short", width=80),
            Value("gone", "Gone", _by_name("nats_exporter_discovery_servers_gone"), "short", width=70),
            Value("passed", "IPv6 passed over", _by_name("nats_exporter_discovery_addresses_passed_over"), "short",
                  width=110),
            sort=[("Target", False)], missing="no target is a name in DNS",
        ),
        series(
            "Probes that were refused", 8,
            about(
                "nats_exporter_probe_refused_total",
                good="no table_full. not_allowed is somebody who asks for what probe.allow does not name.",
                alerts=["NatsExporterProbesRefused"],
            ),
            Query(
                """
                sum by (reason) (
                  max by (job, instance, reason) (rate(nats_exporter_probe_refused_total<exporter>[$__rate_interval]))
                )""",
                "{{reason}}",
            ),
            unit="reqps", bars=True, stacked=True,
        ),
    )


def _by_name(metric):
    return f"max by (instance, target) ({metric}<exporter>)"


def _scrapes(board):
    board.section("Scrapes by Prometheus")
    board.line(
        8,
        series(
            "Duration of scrapes", 8,
            about(
                "How long Prometheus waits for an answer; it gives up after its scrape_timeout, which is usually 10 s.",
                good="below the line.",
                alerts=["NatsExporterScrapeSlow"],
            ),
            Query(_by_exporter(f"scrape_duration_seconds{{{EXPORTERS}}}"), EXPORTER),
            thresholds=watched("NatsExporterScrapeSlow"), unit="s",
        ),
        series(
            "Samples in a scrape", 8,
            about(
                "How many samples an answer has.",
                good="steady, and below what Prometheus may take (sample_limit).",
            ),
            Query(_by_exporter(f"scrape_samples_scraped{{{EXPORTERS}}}"), EXPORTER),
            unit="short",
        ),
        series(
            "Scrapes answered", 8,
            about("nats_exporter_scrapes_total",
                  good="what Prometheus asks, by its scrape_interval and the number of jobs."),
            Query(_by_exporter("rate(nats_exporter_scrapes_total<exporter>[$__rate_interval])"), EXPORTER),
            unit="reqps",
        ),
    )


def _process(board):
    board.section("The process")
    # The names of these metrics are those of many programs.
    own = "and on (job, instance) nats_exporter_targets<exporter>"
    board.line(
        8,
        series(
            "Processor", 8,
            about("process_cpu_seconds_total", "In cores.",
                  good="far below one core; it rises with streams and consumers."),
            Query(_by_exporter(f"rate(process_cpu_seconds_total<exporter>[$__rate_interval]) {own}"), EXPORTER),
            unit="short",
        ),
        series(
            "Memory", 8,
            about("process_resident_memory_bytes", good="steady. It does not grow with time."),
            Query(_by_exporter(f"process_resident_memory_bytes<exporter> {own}"), EXPORTER),
        ),
        series(
            "Open files", 8,
            about("process_open_fds", "The dashed line is the limit, where there is one.", good="far below the limit."),
            Query(_by_exporter(f"process_open_fds<exporter> {own}"), EXPORTER),
            Query(f"min(process_max_fds<exporter> {own})", "limit"),
            unit="short", limit_lines={"B"},
        ),
    )
    board.line(
        7,
        table(
            "Exporters", 24,
            about(
                "Version, start and configuration of each exporter.",
                good="one version, and the newest configuration in use everywhere.",
                alerts=["NatsExporterConfigRejected", "NatsExporterCertificateExpiring"],
            ),
            Label("job", "Job"),
            Label("instance", "Exporter"),
            Label("version", "Version"),
            Value("info", None, "max by (job, instance, version) (nats_exporter_build_info<exporter>)"),
            Value("targets", "Targets", _by_exporter("nats_exporter_targets<exporter>"), "short"),
            Value("start", "Running since", f"1000 * {_by_exporter(f'process_start_time_seconds<exporter> {own}')}",
                  "dateTimeFromNow"),
            Value("config", "Newest configuration",
                  _by_exporter("nats_exporter_config_last_reload_successful<exporter>"), "none",
                  {1: ("in use", GREEN), 0: ("REFUSED", ORANGE)}),
            Value("loaded", "Configuration of",
                  f"1000 * {_by_exporter('nats_exporter_config_last_reload_success_timestamp_seconds<exporter>')}",
                  "dateTimeFromNow"),
            Value("web", "Web configuration",
                  _by_exporter("nats_exporter_web_config_last_reload_successful<exporter>"), "none",
                  {1: ("in use", GREEN), 0: ("REFUSED", ORANGE)}, missing="none", missing_colour=BLUE),
            Value("certificate", "Certificate left",
                  f"{_by_exporter('nats_exporter_web_certificate_not_after_timestamp_seconds<exporter>')} - time()",
                  "dtdurations", thresholds=watched_below("NatsExporterCertificateExpiring"),
                  missing="no TLS", missing_colour=BLUE),
            Value("threads", "Threads", _by_exporter(f"process_threads<exporter> {own}"), "short"),
            sort=[("Exporter", False)], missing="no exporter answers",
        ),
    )
