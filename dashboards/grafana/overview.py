"""The overview: which layer is broken, and may I restart? Two lanes, the base tier left, the persistence tier right."""

from . import parts, queries
from .dashboard import Board
from .panels import (
    BLUE, FEW_POINTS, GREEN, NEUTRAL, NONE_WANTED, NONE_WANTED_BUT_NO_CALL, ORANGE, PURPLE, RED, STATES, VERDICTS,
    Label, Query, Value, about, link, series, stat, steps, table, watched,
)

THIS_CLUSTER = "${__field.labels.nats_cluster}"


def build():
    board = Board(
        "nats-overview",
        "Which layer is broken, and may I restart? Above all clusters, then one row for each: core messaging left, "
        "JetStream right.",
        ["nats_cluster"],
        tiers=["base", "persistence", "exporter"],
    )
    _answers(board)
    _cluster(board)
    _exporter(board)
    return board.model


def _answers(board):
    to_base = [link("nats-base", "Base tier", nats_cluster=THIS_CLUSTER)]
    to_persistence = [link("nats-persistence", "Persistence tier", nats_cluster=THIS_CLUSTER)]
    board.line(
        7,
        stat(
            "Base tier", 4,
            about(
                "The worst state of any server of the cluster in core messaging: server processes, clients, routes.",
                good="ok. The lanes below name the server.",
                alerts=["NatsBaseMajorityDown", "NatsBaseServerDown", "NatsBaseServerIsolated"],
            ),
            Query(queries.base_state_of_cluster(), "{{nats_cluster}}"),
            states=STATES, unit="none", background=True, links=to_base,
        ),
        stat(
            "Persistence tier", 4,
            about(
                "The worst state of any server of the cluster in JetStream: its switch, the meta group, storage, "
                "streams, consumers.",
                good="ok. When only this one is broken, core messaging goes on, and a restart would break that too.",
                alerts=["NatsJetStreamMetaQuorumLost", "NatsJetStreamDisabledOnServer"],
            ),
            Query(queries.persistence_state("cluster", "nats_cluster"), "{{nats_cluster}}"),
            states=STATES, unit="none", background=True, links=to_persistence,
        ),
        stat(
            "May one server be restarted?", 6,
            about(
                "Whether any one server of the cluster may be stopped now, whichever it is. One at a time, and look "
                "here again before the next.",
                good="SAFE. UNKNOWN means that something that could be against it is not seen: treat it as a no.",
            ),
            Query(queries.verdict_of_cluster(), "{{nats_cluster}}"),
            states=VERDICTS, unit="none", background=True, missing="UNKNOWN - treat as no",
        ),
        parts.blockers("Why not", 10),
    )
    board.line(
        7,
        parts.reasons("base", "Base tier: why", 12),
        parts.reasons("persistence", "Persistence tier: why", 12),
    )
    board.line(
        7,
        parts.firing("base", "Firing: base tier", 12),
        parts.firing("persistence", "Firing: persistence tier", 12),
    )
    board.line(
        8,
        table(
            "Servers", 24,
            about(
                "One row for each server: both tiers, and whether this one may be restarted. A click leads to the "
                "server. NO USE is a server that switched its JetStream off: a restart would not break more in "
                "JetStream, but throws its clients off, and it comes up on the same full or broken disk.",
                good="ok, ok and SAFE. An upgrade goes by the verdict: never two servers at once.",
                alerts=["NatsBaseServerDown", "NatsJetStreamDisabledOnServer", "NatsBaseVersionSkew"],
            ),
            parts.CLUSTER_COLUMN,
            Label("server", "Server", link=parts.server_link("nats-base", "Base tier of this server")),
            Value("base", "Base tier", queries.base_state("cluster"), "none", STATES, missing="no data",
                  link=parts.server_link("nats-base", "Base tier of this server")),
            Value("persistence", "Persistence tier", queries.persistence_state("cluster"), "none", STATES,
                  missing="no data", link=parts.server_link("nats-persistence", "Persistence tier of this server")),
            Value("restart", "May it be restarted?", queries.verdict_of_server("cluster"), "none", VERDICTS,
                  missing="UNKNOWN - treat as no", width=260),
            Value("start", "Running since",
                  "1000 * max by (nats_cluster, server) (nats_server_start_time_seconds<cluster>)", "dateTimeFromNow"),
            Label("version", "Version"),
            Value("info", None, "max by (nats_cluster, server, version) (nats_server_info<cluster>)"),
            sort=[("Base tier", True), ("Persistence tier", True), ("Cluster", False), ("Server", False)],
        ),
    )


def _cluster(board):
    board.section("Cluster $nats_cluster: base tier left, persistence tier right", repeat="nats_cluster")
    to_persistence = [link("nats-persistence", "Persistence tier", nats_cluster=THIS_CLUSTER)]
    board.line(
        4,
        stat(
            "Servers up", 4,
            about(
                "Servers that answer, or that their peers have routes to, and which share of all that is.",
                good="100 %. At half of them or fewer the majority is gone.",
                alerts=["NatsBaseServerDown", "NatsBaseMajorityDown"],
            ),
            Query("max by (nats_cluster) (nats:servers_up:sum<cluster>)", "up"),
            Query(
                "max by (nats_cluster) (nats:servers_up:sum<cluster> / (nats:servers:count<cluster> > 0))", "of all",
                unit="percentunit", thresholds=steps((None, RED), (0.501, ORANGE), (1, GREEN)),
            ),
            unit="short",
        ),
        stat(
            "Routes missing", 4,
            about(
                "Links between servers of the cluster that should be there and are not, as both ends count them.",
                good="0. Links to a server that is down or starting are missed too, and the alert leaves those out.",
                alerts=["NatsBaseRouteMeshIncomplete", "NatsBaseServerIsolated"],
            ),
            Query("sum by (nats_cluster) (nats:route_peers_missing:max<cluster>)", "missing"),
            unit="short", thresholds=NONE_WANTED_BUT_NO_CALL, missing="no routes known",
        ),
        stat(
            "Clients connected", 4,
            about("Client connections that are open on all servers of the cluster.",
                  good="what is usual here. A fall on all servers at once is a network or a client roll-out."),
            Query("sum by (nats_cluster) (max by (nats_cluster, server) (nats_server_connections<cluster>))",
                  "clients"),
            unit="short",
        ),
        parts.meta_leader(4, "", to_persistence),
        parts.meta_members(4, "", to_persistence),
        stat(
            "Servers with JetStream", 4,
            about(
                "Servers on which JetStream runs, and those on which it has switched itself off: full disk, I/O "
                "error, no permission.",
                good="0 switched off.",
                alerts=["NatsJetStreamDisabledOnServer"],
            ),
            Query("sum by (nats_cluster) (max by (nats_cluster, server) (nats_jetstream_enabled<cluster>))", "on"),
            Query(
                """
                sum by (nats_cluster) (
                  max by (nats_cluster, server) (nats_tier_reason<cluster,tier="persistence",reason="switched_off">)
                )""",
                "switched off", thresholds=NONE_WANTED,
            ),
            unit="short", missing="no JetStream", links=to_persistence,
        ),
    )
    board.line(
        4,
        stat(
            "Servers not ready", 4,
            about(
                "Servers that are up and take no clients: they start, recover a large store, or drain.",
                good="0, except in a roll-out.",
                alerts=["NatsBaseServerNotReady"],
            ),
            Query("max by (nats_cluster) (nats:servers_up:sum<cluster> - nats:servers_ready:sum<cluster>)",
                  "not ready"),
            unit="short", thresholds=NONE_WANTED_BUT_NO_CALL,
        ),
        stat(
            "Slow consumers cut, 5 min", 4,
            about(
                "Connections that were cut in the last five minutes because they did not read fast enough. Core "
                "messages to them are lost.",
                good="0. Routes and gateways among them mean that messages between servers were lost.",
                alerts=["NatsBaseSlowRoutes", "NatsBaseSlowClients"],
            ),
            Query('sum by (nats_cluster) (nats:slow_consumers:increase5m<cluster,kind!~"routes|gateways">)', "clients",
                  thresholds=parts.SLOW_CONSUMERS),
            Query('sum by (nats_cluster) (nats:slow_consumers:increase5m<cluster,kind=~"routes|gateways">)', "routes",
                  thresholds=watched("NatsBaseSlowRoutes")),
            unit="short", decimals=0,
        ),
        stat(
            "Starts in 30 minutes", 4,
            about(
                "How often the server that was started most often was started in the last half hour.",
                good="0, or 1 in a roll-out.",
                alerts=["NatsBaseRestartLoop", "NatsProbeRestartStorm"],
            ),
            Query("max by (nats_cluster) (changes(nats:server_start_time_seconds:max<cluster>[30m]))", "starts"),
            unit="short", thresholds=watched("NatsBaseRestartLoop"),
        ),
        stat(
            "Fullest store", 4,
            about(
                "The share of its file storage that JetStream uses on the fullest server that tells, and how many "
                "servers do not tell. One whose JetStream is off is among those, and may be the one with the full "
                "disk.",
                good="below the first limit, and 0 not known. At 100 % streams refuse messages. A disk that is smaller "
                     "than the limit is full earlier, and is not seen here.",
                alerts=["NatsJetStreamStorageHigh", "NatsJetStreamStorageFillingUp"],
            ),
            Query("max by (nats_cluster) (nats:jetstream_storage:ratio<cluster>)", "of those known",
                  thresholds=watched("NatsJetStreamStorageHigh")),
            Query(
                f"""
                count by (nats_cluster) (
                  nats:server_up:max<cluster>
                    unless on ({queries.SERVER})
                  nats:jetstream_storage:ratio<cluster>
                    unless on ({queries.SERVER})
                  max by ({queries.SERVER}) (nats_jetstream_configured<cluster>) == 0
                )
                  or on (nats_cluster)
                0 * max by (nats_cluster) (nats:jetstream_storage:ratio<cluster>)""",
                "not known", unit="short", thresholds=steps((None, BLUE), (1, PURPLE)),
            ),
            unit="percentunit", decimals=0, missing="not known", links=to_persistence,
        ),
        parts.leaderless_streams(4, "streams", to_persistence),
        parts.streams_behind(4, "streams", to_persistence),
    )
    board.line(
        8,
        parts.base_states("Base tier by server", 12, "cluster", "{{server}}"),
        parts.persistence_states("Persistence tier by server", 12, "cluster", "{{server}}"),
    )
    board.line(
        8,
        series(
            "Messages in and out", 6,
            about(
                "Messages on all connections of all servers; those between servers count twice.",
                good="what is usual here, and in and out change together.",
            ),
            Query(
                """
                sum by (nats_cluster) (
                  max by (nats_cluster, server) (rate(nats_server_in_messages_total<cluster>[$__rate_interval]))
                )""",
                "in",
            ),
            Query(
                """
                sum by (nats_cluster) (
                  max by (nats_cluster, server) (rate(nats_server_out_messages_total<cluster>[$__rate_interval]))
                )""",
                "out",
            ),
        ),
        series(
            "Slow consumers by kind", 6,
            about(
                "nats_server_slow_consumers_total", "In the last five minutes.",
                good="nothing. Clients are a ticket, routes and gateways a call.",
                alerts=["NatsBaseSlowRoutes", "NatsBaseSlowClients"],
            ),
            Query("sum by (nats_cluster, kind) (nats:slow_consumers:increase5m<cluster>)", "{{kind}}"),
            unit="short", bars=True, stacked=True,
        ),
        series(
            "API errors", 6,
            about(
                "The share of JetStream API requests that are answered with an error. Failed publishes are not among "
                "them.",
                good="below the limit; some clients ask for what may not exist, which is no fault.",
                alerts=["NatsJetStreamApiErrors"],
            ),
            Query("max by (nats_cluster) (nats:jetstream_api_errors:ratio_rate5m<cluster>)", "errors"),
            thresholds=watched("NatsJetStreamApiErrors"), unit="percentunit", missing="no requests",
        ),
        series(
            "Stored and acknowledged", 6,
            about(
                "Messages that all streams store, and deliveries that all consumers acknowledge.",
                good="what is usual here. Stored at 0 with publishers at work means that streams refuse messages.",
            ),
            Query(
                """
                sum by (nats_cluster) (
                  max by (nats_cluster, account, stream) (
                    rate(nats_jetstream_stream_published_messages_total<cluster>[$__rate_interval])
                  )
                )""",
                "stored",
            ),
            Query(
                """
                sum by (nats_cluster) (
                  max by (nats_cluster, account, stream, consumer) (
                    rate(nats_jetstream_consumer_ack_floor_consumer_sequence<cluster>[$__rate_interval])
                  )
                )""",
                "acknowledged",
            ),
            unit="mps", points=FEW_POINTS, missing="no streams are seen",
        ),
    )


def _exporter(board):
    board.section("The exporter: can this be believed?")
    board.line(
        7,
        stat(
            "Exporters that answer", 6,
            about(
                "Exporters that Prometheus can scrape, and those that it cannot. Their jobs have nats-exporter in the "
                "name.",
                good="0 that do not answer. What an exporter does not see is missing above, and not well.",
                alerts=["NatsExporterDown", "NatsExporterAbsent"],
            ),
            Query('sum(min by (instance) (up{job=~".*nats-exporter.*"}))', "answer"),
            Query('sum(min by (instance) (up{job=~".*nats-exporter.*"}) == bool 0)', "do not answer",
                  thresholds=NONE_WANTED_BUT_NO_CALL),
            unit="short", thresholds=NEUTRAL, links=[link("nats-exporter", "Exporter")],
        ),
        parts.firing("exporter", "Firing: exporter", 18),
    )
