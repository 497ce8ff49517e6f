"""The base tier: server processes, clients, routes. JetStream is here only where its probes would restart a server."""

from . import parts, queries
from .dashboard import Board
from .panels import (
    BLUE, FEW_POINTS, GREEN, NONE_WANTED_BUT_NO_CALL, ORANGE, RED, STATES, Label, Query, Value, about, matrix, series,
    stat, table, timeline, watched, watched_below,
)

# More servers or pairs than this are not drawn as lines at once: the largest are.
MOST = 25
# More pairs than this are not put into the matrix: the missing ones come first.
PAIRS = 2500

NAME = "{{nats_cluster}} {{server}}"
PAIR = "{{nats_cluster}} {{server}} to {{remote}}"


def build():
    board = Board(
        "nats-base",
        "Core messaging: server processes, clients and routes. Nothing here depends on JetStream, but for the probes "
        "that do.",
        ["nats_cluster", "server_matches", "server"],
        tiers=["base"],
    )
    _health(board)
    _routes(board)
    _traffic(board)
    _clients(board)
    _resources(board)
    return board.model


def _by_server(expr, count=MOST):
    return f"topk({count}, max by (nats_cluster, server) ({expr}))"


def _by_pair(expr, count=MOST):
    return f"topk({count}, max by (nats_cluster, server, remote) ({expr}))"


def _health(board):
    board.section("Health")
    board.line(
        8,
        parts.base_states("State of each server", 12, "server", NAME),
        timeline(
            "Health checks", 12,
            about(
                "nats_health_check_ok",
                good="passes everywhere. core fails while a server starts or drains; varz fails when it does not "
                     "answer.",
                alerts=["NatsBaseServerNotReady", "NatsBaseServerDown"],
            ),
            Query("max by (nats_cluster, server, check) (nats_health_check_ok<server>)", NAME + " {{check}}"),
            states={1: ("passes", GREEN), 0: ("FAILS", RED)},
        ),
    )
    board.line(
        8,
        parts.reasons("base", "Why", 12, "server"),
        table(
            "Probes of Kubernetes", 12,
            about(
                "Which paths would fail a probe now. Paths of the persistence tier fail because of JetStream: as a "
                "liveness probe they restart servers whose messaging works.",
                good="passes everywhere. Use a path of the base tier for liveness, on this version of the server.",
                alerts=["NatsJetStreamProbeWouldRestart", "NatsProbeRestartStorm"],
            ),
            parts.CLUSTER_COLUMN,
            Label("server", "Server", width=110),
            Label("tier", "Tier", width=110),
            Label("path", "Path", wrap=True),
            Value(
                "A", "A probe now",
                """
                label_replace(
                  max by (nats_cluster, server, path) (nats_health_probe_would_fail<server>),
                  "tier", "base", "path", ".*"
                )
                  or
                label_replace(
                  2 * max by (nats_cluster, server, path) (nats_jetstream_health_probe_would_fail<server>),
                  "tier", "persistence", "path", ".*"
                )""",
                unit="none",
                states={0: ("passes", GREEN), 1: ("FAILS", RED), 2: ("FAILS because of JetStream", ORANGE)},
                width=215,
            ),
            sort=[("A probe now", True)],
        ),
        other_tiers=["persistence"],
    )
    board.line(
        9,
        table(
            "Servers", 24,
            about(
                "What each server is, since when it runs, and what is about to end.",
                good="one version in a cluster, no start that nobody planned, certificates with more than a month to "
                     "go, clocks that agree.",
                alerts=["NatsBaseVersionSkew", "NatsBaseRestartLoop", "NatsBaseTlsCertificateExpiring",
                        "NatsBaseClockSkew"],
            ),
            parts.CLUSTER_COLUMN,
            parts.SERVER_COLUMN,
            Value("state", "State", queries.base_state(), "none", STATES, missing="no data"),
            Label("version", "Version"),
            Label("go_version", "Go"),
            Label("host", "Host"),
            Value("info", None, "max by (nats_cluster, server, version, go_version, host) (nats_server_info<server>)"),
            Value("start", "Running since",
                  "1000 * max by (nats_cluster, server) (nats_server_start_time_seconds<server>)", "dateTimeFromNow"),
            Value("starts", "Starts in 24 h",
                  "max by (nats_cluster, server) (changes(nats:server_start_time_seconds:max<server>[24h]))", "short"),
            Value("loop", "Starts in 30 min",
                  "max by (nats_cluster, server) (changes(nats:server_start_time_seconds:max<server>[30m]))", "short",
                  thresholds=watched("NatsBaseRestartLoop")),
            Value("config", "Configuration of",
                  "1000 * max by (nats_cluster, server) (nats_server_config_load_time_seconds<server>)",
                  "dateTimeFromNow"),
            Value("certificate", "Certificate left",
                  "min by (nats_cluster, server) (nats_server_tls_certificate_not_after_seconds<server>) - time()",
                  "dtdurations", thresholds=watched_below("NatsBaseTlsCertificateExpiring"),
                  missing="none, or not told", missing_colour=BLUE),
            Value("clock", "Clock is off by",
                  "max by (nats_cluster, server) (abs(nats_server_clock_offset_seconds<server>))", "s",
                  thresholds=watched("NatsBaseClockSkew")),
            sort=[("State", True), ("Cluster", False), ("Server", False)],
        ),
    )


def _routes(board):
    board.section("Routes")
    board.line(
        9,
        stat(
            "Routes missing", 4,
            about(
                "Links that should be there and are not, by cluster, as each end counts them.",
                good="0. Links to a server that is down or starting are missed too, and the alert leaves those out.",
                alerts=["NatsBaseRouteMeshIncomplete", "NatsBaseServerIsolated"],
            ),
            Query("sum by (nats_cluster) (nats:route_peers_missing:max<server>)", "{{nats_cluster}}"),
            unit="short", thresholds=NONE_WANTED_BUT_NO_CALL, missing="no routes known",
        ),
        matrix(
            "Who has a route to whom", 20,
            about(
                "nats_route_connected",
                f"The row has a route to the column. With more than {PAIRS} pairs those that miss come first, and the "
                "others are left out.",
                good="yes in every cell but the dots. A column of NO is a server that is down; a row and a column of "
                     "NO one that is cut off.",
                alerts=["NatsBaseRouteMeshIncomplete"],
            ),
            f"""
            label_join(
              bottomk({PAIRS}, max by (nats_cluster, server, remote) (nats_route_connected<server>)),
              "from", " ", "nats_cluster", "server"
            )""",
            row="from", column="remote", states={1: ("yes", GREEN), 0: ("NO", RED)}, missing="no routes known",
        ),
    )
    board.line(
        8,
        series(
            "Round trip", 8,
            about(
                "nats_route_rtt_seconds", f"The {MOST} longest.",
                good="what the network between the servers needs: below 50 ms for one cluster.",
                alerts=["NatsBaseRouteRttHigh"],
            ),
            Query(_by_pair("nats_route_rtt_seconds<server>"), PAIR),
            thresholds=watched("NatsBaseRouteRttHigh"), points=FEW_POINTS, missing="no routes known",
        ),
        series(
            "Waiting to be sent", 8,
            about(
                "nats_route_pending_bytes", f"The {MOST} highest.",
                good="near 0. What piles up here is cut as a slow consumer in the end, and messages are lost.",
                alerts=["NatsBaseRoutePendingHigh", "NatsBaseSlowRoutes"],
            ),
            Query(_by_pair("nats_route_pending_bytes<server>"), PAIR),
            thresholds=watched("NatsBaseRoutePendingHigh"), points=FEW_POINTS, missing="no routes known",
        ),
        series(
            "Routes made anew in 15 minutes", 8,
            about(
                "How often a server made a route anew.",
                good="0, but for restarts, which the alert leaves out.",
                alerts=["NatsBaseRouteFlapping"],
            ),
            Query(_by_server("changes(nats_route_newest_start_time_seconds<server>[15m])"), NAME),
            thresholds=watched("NatsBaseRouteFlapping"), unit="short", missing="no routes known",
        ),
    )
    board.line(
        8,
        series(
            "Messages between servers", 12,
            about(
                "Messages that each server receives from its peers, and sends to them (below zero).",
                good="in balance with the interest of clients; one server far above the others serves most "
                     "subscribers.",
            ),
            Query(
                f"""
                topk({MOST}, sum by (nats_cluster, server) (
                  max by (nats_cluster, server, remote) (rate(nats_route_in_messages_total<server>[$__rate_interval]))
                ))""",
                NAME + " in",
            ),
            Query(
                f"""
                0 - topk({MOST}, sum by (nats_cluster, server) (
                  max by (nats_cluster, server, remote) (rate(nats_route_out_messages_total<server>[$__rate_interval]))
                ))""",
                NAME + " out",
            ),
            both_ways=True, points=FEW_POINTS, missing="no routes known",
        ),
        series(
            "Bytes between servers", 12,
            about(
                "Bytes that each server receives from its peers, and sends to them (below zero).",
                good="well below what the network can do.",
            ),
            Query(
                f"""
                topk({MOST}, sum by (nats_cluster, server) (
                  max by (nats_cluster, server, remote) (rate(nats_route_in_bytes_total<server>[$__rate_interval]))
                ))""",
                NAME + " in",
            ),
            Query(
                f"""
                0 - topk({MOST}, sum by (nats_cluster, server) (
                  max by (nats_cluster, server, remote) (rate(nats_route_out_bytes_total<server>[$__rate_interval]))
                ))""",
                NAME + " out",
            ),
            both_ways=True, points=FEW_POINTS, missing="no routes known",
        ),
    )


def _traffic(board):
    board.section("Traffic")
    board.line(
        8,
        series(
            "Messages", 12,
            about(
                "Messages that each server receives on all connections, and sends (below zero).",
                good="what is usual here. A server at 0 while others work has no clients and no routes.",
            ),
            Query(_by_server("rate(nats_server_in_messages_total<server>[$__rate_interval])"), NAME + " in"),
            Query("0 - " + _by_server("rate(nats_server_out_messages_total<server>[$__rate_interval])"), NAME + " out"),
            both_ways=True,
        ),
        series(
            "Bytes", 12,
            about(
                "Bytes that each server receives on all connections, and sends (below zero).",
                good="what is usual here, and well below what the network can do.",
            ),
            Query(_by_server("rate(nats_server_in_bytes_total<server>[$__rate_interval])"), NAME + " in"),
            Query("0 - " + _by_server("rate(nats_server_out_bytes_total<server>[$__rate_interval])"), NAME + " out"),
            both_ways=True,
        ),
    )
    board.line(
        8,
        series(
            "Mean size of a message", 12,
            about(
                "Bytes received by messages received.",
                good="steady. A jump means that somebody sends something else.",
            ),
            Query(
                _by_server(
                    "rate(nats_server_in_bytes_total<server>[$__rate_interval])"
                    " / (rate(nats_server_in_messages_total<server>[$__rate_interval]) > 0)"
                ),
                NAME,
            ),
            unit="bytes",
        ),
        series(
            "Share of messages from clients", 12,
            about(
                "Which share of the messages that a server receives comes from its clients, and not from other "
                "servers. Only servers of 2.12.9, 2.14.1 and later tell.",
                good="steady. Near 0 where no client publishes to this server.",
            ),
            Query(
                _by_server(
                    "rate(nats_server_in_client_messages_total<server>[$__rate_interval])"
                    " / (rate(nats_server_in_messages_total<server>[$__rate_interval]) > 0)"
                ),
                NAME,
            ),
            unit="percentunit", missing="servers do not tell",
        ),
    )


def _clients(board):
    board.section("Clients")
    board.line(
        8,
        series(
            "Connections", 8,
            about(
                "nats_server_connections", "The dashed line is the limit, where there is one.",
                good="spread evenly over the servers, and below the limit.",
            ),
            Query(_by_server("nats_server_connections<server>"), NAME),
            Query("min by (nats_cluster) (nats_server_max_connections<server>)", "{{nats_cluster}} limit"),
            limit_lines={"B"},
        ),
        series(
            "Connections by the limit", 8,
            about(
                "The share of max_connections that is in use.",
                good="below the first line. At 100 % clients are refused.",
                alerts=["NatsBaseConnectionsNearLimit"],
            ),
            Query(_by_server("nats:connections:ratio<server>"), NAME),
            thresholds=watched("NatsBaseConnectionsNearLimit"), missing="no limit",
        ),
        series(
            "Connections opened", 8,
            about(
                "nats_server_connections_opened_total",
                good="near 0. Clients that come again and again cost more than those that stay; the alert also wants "
                     "more than 5 % of the open ones each second.",
                alerts=["NatsBaseConnectionChurn"],
            ),
            Query(_by_server("rate(nats_server_connections_opened_total<server>[$__rate_interval])"), NAME),
            thresholds=watched("NatsBaseConnectionChurn"), unit="cps",
        ),
    )
    board.line(
        8,
        series(
            "Slow consumers in 5 minutes", 8,
            about(
                "nats_server_slow_consumers_total",
                good="nothing. Clients are a ticket; routes and gateways are a call, because messages between servers "
                     "were lost.",
                alerts=["NatsBaseSlowClients", "NatsBaseSlowRoutes"],
            ),
            Query("sum by (nats_cluster, kind) (nats:slow_consumers:increase5m<server>)", "{{nats_cluster}} {{kind}}"),
            unit="short", bars=True, stacked=True, thresholds=watched("NatsBaseSlowRoutes"),
        ),
        series(
            "Stale connections in 10 minutes", 8,
            about(
                "nats_server_stale_connections_total",
                good="few. Many at once is a network that drops packets.",
                alerts=["NatsBaseStaleConnections"],
            ),
            Query(
                f"topk({MOST}, max by (nats_cluster, server, kind) "
                "(increase(nats_server_stale_connections_total<server>[10m])))",
                NAME + " {{kind}}",
            ),
            unit="short", bars=True, thresholds=watched("NatsBaseStaleConnections"), missing="servers do not tell",
        ),
        series(
            "Clients slowed down", 8,
            about(
                "nats_server_stalled_clients_total",
                good="near 0. It comes before slow consumers are cut.",
            ),
            Query(_by_server("rate(nats_server_stalled_clients_total<server>[$__rate_interval])"), NAME),
            unit="cps", missing="servers do not tell",
        ),
    )
    board.line(
        8,
        series(
            "Subscriptions", 8,
            about("nats_server_subscriptions", good="steady. One that only grows is a client that never unsubscribes."),
            Query(_by_server("nats_server_subscriptions<server>"), NAME),
        ),
        series(
            "Leafnodes", 8,
            about("nats_server_leafnode_connections", good="as many as there are leafnodes, and steady."),
            Query(_by_server("nats_server_leafnode_connections<server>"), NAME),
        ),
        series(
            "Refused for their account", 8,
            about("nats_server_pinned_account_failures_total", good="nothing."),
            Query(_by_server("increase(nats_server_pinned_account_failures_total<server>[5m])"), NAME),
            unit="short", thresholds=NONE_WANTED_BUT_NO_CALL, missing="none that is known",
        ),
    )


def _resources(board):
    board.section("Resources")
    board.line(
        8,
        series(
            "Processor", 6,
            about(
                "nats_server_cpu_cores", "The dashed line is what a server may use.",
                good="well below the line.",
            ),
            Query(_by_server("nats_server_cpu_cores<server>"), NAME),
            Query("min by (nats_cluster) (nats_server_gomaxprocs<server>)", "{{nats_cluster}} may use"),
            limit_lines={"B"},
        ),
        series(
            "Processor by what it may use", 6,
            about(
                "The share of the cores that the server may use at the same time.",
                good="below the line. Above it routes and Raft get late, and elections follow.",
                alerts=["NatsBaseCpuSaturated"],
            ),
            Query(_by_server("nats:cpu:ratio<server>"), NAME),
            thresholds=watched("NatsBaseCpuSaturated"),
        ),
        series(
            "Memory", 6,
            about(
                "nats_server_memory_bytes", "The dashed line is the soft limit, where there is one.",
                good="steady, and below the limit.",
            ),
            Query(_by_server("nats_server_memory_bytes<server>"), NAME),
            Query("min by (nats_cluster) (nats_server_memory_limit_bytes<server>)", "{{nats_cluster}} limit"),
            limit_lines={"B"},
        ),
        series(
            "Memory by the limit", 6,
            about(
                "The share of the soft limit of memory that is in use.",
                good="below the line.",
                alerts=["NatsBaseMemoryNearLimit"],
            ),
            Query(_by_server("nats:memory:ratio<server>"), NAME),
            thresholds=watched("NatsBaseMemoryNearLimit"), missing="no limit",
        ),
    )
    board.section("Limits, and who asks the monitoring port", closed=True)
    board.line(
        9,
        table(
            "Limits", 16,
            about(
                "What is configured for clients on each server.",
                good="the same on all servers of a cluster.",
            ),
            parts.CLUSTER_COLUMN,
            parts.SERVER_COLUMN,
            Value("connections", "Connections",
                  "max by (nats_cluster, server) (nats_server_max_connections<server>)", "short",
                  missing="no limit", missing_colour=BLUE),
            Value("subscriptions", "Subscriptions",
                  "max by (nats_cluster, server) (nats_server_max_subscriptions<server>)",
                  "short", missing="no limit", missing_colour=BLUE),
            Value("payload", "Message", "max by (nats_cluster, server) (nats_server_max_payload_bytes<server>)"),
            Value("pending", "Waiting for one client",
                  "max by (nats_cluster, server) (nats_server_max_pending_bytes<server>)"),
            Value("deadline", "A write may take",
                  "max by (nats_cluster, server) (nats_server_write_deadline_seconds<server>)"),
            Value("ping", "Ping every", "max by (nats_cluster, server) (nats_server_ping_interval_seconds<server>)"),
            Value("cores", "Cores", "max by (nats_cluster, server) (nats_server_cpu_cores_available<server>)", "short"),
            sort=[("Cluster", False), ("Server", False)],
        ),
        series(
            "Requests to the monitoring port", 8,
            about(
                "nats_server_http_requests_total", "Summed over the servers.",
                good="no more than the exporter and the probes ask. /connz and /subsz cost a busy server a lot.",
            ),
            Query(
                """
                sum by (nats_cluster, path) (
                  max by (nats_cluster, server, path) (rate(nats_server_http_requests_total<server>[$__rate_interval]))
                )""",
                "{{nats_cluster}} {{path}}",
            ),
            unit="reqps",
        ),
    )
