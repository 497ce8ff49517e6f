"""The persistence tier: the switch, the meta group, storage, streams, consumers. From a cluster down to a consumer."""

from . import parts, queries, rules
from .dashboard import Board
from .panels import (
    BLUE, FEW_POINTS, GREEN, NEUTRAL, NONE_WANTED, NONE_WANTED_BUT_NO_CALL, ORANGE, PLAIN, RED, STATES, Label, Query,
    Value, about, field, link, series, stat, steps, table, timeline, watched,
)
from .queries import CONSUMER, STREAM, among

# More servers, or replicas, than this are not drawn as lines at once: the largest are.
MOST = 25
# Streams and consumers that are drawn as lines.
TOP = 10
# Rows of the tables of streams and consumers; those in trouble have tables of their own.
ROWS = 500
IN_TROUBLE = 100

SERVER_NAME = "{{nats_cluster}} {{server}}"
STREAM_NAME = "{{nats_cluster}} {{account}} {{stream}}"
CONSUMER_NAME = "{{nats_cluster}} {{account}} {{stream}} {{consumer}}"

# What a share of storage is that nobody is called for yet, and from when on somebody is.
FILLS_UP = "NatsJetStreamStorageFillingUp"
WITHIN = rf"\], ({rules.NUMBER})\)"


def build():
    board = Board(
        "nats-persistence",
        "JetStream: whether it is on, the meta group, storage, streams and consumers. A click on a stream or a "
        "consumer shows that one alone.",
        ["nats_cluster", "server_matches", "server", "account", "stream_matches", "stream", "consumer"],
        tiers=["persistence"],
    )
    _meta(board)
    _capacity(board)
    _api(board)
    _streams(board)
    _replication(board)
    _consumers(board)
    _details(board)
    return board.model


def _by_server(expr):
    return f"topk({MOST}, max by (nats_cluster, server) ({expr}))"


def _server(expr):
    return f"max by (nats_cluster, server) ({expr})"


def _stream(expr):
    return f"max by ({STREAM}) ({expr})"


def _consumer(expr):
    return f"max by ({CONSUMER}) ({expr})"


ACCOUNT_COLUMN = Label("account", "Account")
STREAM_COLUMN = Label(
    "stream", "Stream", width=150,
    link=link("nats-persistence", "This stream alone", nats_cluster=field("nats_cluster"), account=field("account"),
              stream=field("stream")),
)
CONSUMER_COLUMN = Label(
    "consumer", "Consumer", width=150,
    link=link("nats-persistence", "This consumer alone", nats_cluster=field("nats_cluster"), account=field("account"),
              stream=field("stream"), consumer=field("consumer")),
)
OF_STREAM = (parts.CLUSTER_COLUMN, ACCOUNT_COLUMN, STREAM_COLUMN)
OF_CONSUMER = (*OF_STREAM, CONSUMER_COLUMN)


def _meta(board):
    board.section("Switch and meta group")
    board.line(
        4,
        parts.meta_leader(5, " ({{nats_cluster}})"),
        parts.meta_members(5, " ({{nats_cluster}})"),
        stat(
            "Leader moves in 15 minutes", 4,
            about(
                "How often a server began or ceased to lead the meta group; one move is both.",
                good="0, and up to 6 in a rolling restart.",
                alerts=["NatsJetStreamMetaElections"],
            ),
            Query(
                "sum by (nats_cluster) (" + _server("changes(nats_jetstream_meta_is_leader<cluster>[15m])") + ")",
                "{{nats_cluster}}",
            ),
            unit="short", thresholds=watched("NatsJetStreamMetaElections"), missing="no meta group",
        ),
        stat(
            "Servers not wholly seen", 4,
            about(
                "Servers that may lead streams and consumers that nobody sees: they cannot be asked, or something of "
                "them was left out. Alerts on missing leaders wait for them.",
                good="none. While there is one, streams and consumers below may be fewer than there are.",
                alerts=["NatsExporterCoverageGap", "NatsExporterSeriesDropped"],
            ),
            Query(
                "max by (nats_cluster) (nats:jetstream_hidden:count<cluster>)"
                " or on (nats_cluster) 0 * max by (nats_cluster) (nats_jetstream_enabled<cluster>)",
                "{{nats_cluster}}",
            ),
            unit="short", thresholds=NONE_WANTED_BUT_NO_CALL,
        ),
        stat(
            "Streams and consumers", 6,
            about(
                "Streams that are seen, and consumers with series of their own. Those that come and go are counted "
                "further down.",
                good="what is usual here.",
            ),
            Query(
                f"count by (nats_cluster) (nats:stream_leader_seen:max<stream>) or {parts.no_streams()}",
                "streams ({{nats_cluster}})",
            ),
            Query(
                f"count by (nats_cluster) ({_consumer('nats_jetstream_consumer_pending_messages<consumer>')})",
                "consumers ({{nats_cluster}})",
            ),
            unit="short", thresholds=NEUTRAL, missing="none is seen",
        ),
    )
    board.line(
        8,
        parts.persistence_states("State of each server", 12, "server", SERVER_NAME),
        timeline(
            "Health checks of JetStream", 12,
            about(
                "nats_jetstream_health_check_ok",
                good="passes everywhere. They are evidence, and no reason to restart: a liveness probe must not ask "
                     "them.",
                alerts=["NatsJetStreamHealthCheckFailing", "NatsJetStreamProbeWouldRestart"],
            ),
            Query("max by (nats_cluster, server, check) (nats_jetstream_health_check_ok<server>)",
                  SERVER_NAME + " {{check}}"),
            states={1: ("passes", GREEN), 0: ("FAILS", RED)}, missing="not reached",
        ),
    )
    board.line(
        8,
        parts.reasons("persistence", "Why", 12, "server"),
        timeline(
            "Who leads the meta group", 12,
            about(
                "nats_jetstream_meta_is_leader",
                good="one leader, and it stays. Two at once for seconds belong to a partition.",
                alerts=["NatsJetStreamMetaElections", "NatsJetStreamMetaLeadersDisagree"],
            ),
            Query(_server("nats_jetstream_meta_is_leader<server>"), SERVER_NAME),
            states={1: ("leads", GREEN), 0: ("follows", BLUE)}, missing="not told",
        ),
    )
    board.line(
        8,
        table(
            "Servers and the meta group", 14,
            about(
                "Whether JetStream runs on each server, and whether the server knows a meta leader. One that knows "
                "none while the others do is cut off from the meta group, or is stuck catching up with it.",
                good="on, a leader that is known and the same everywhere, and current.",
                alerts=["NatsJetStreamMetaNoLeaderOnServer", "NatsJetStreamDisabledOnServer",
                        "NatsJetStreamMetaLeadersDisagree"],
            ),
            parts.CLUSTER_COLUMN,
            parts.SERVER_COLUMN,
            Value("state", "State", queries.persistence_state(), "none", STATES, missing="no data"),
            Value(
                "on", "JetStream",
                f"""
                {_server("nats_jetstream_enabled<server>")}
                  - on (nats_cluster, server)
                ({_server("nats_jetstream_configured<server>")} == bool 0)
                  or
                {_server("nats_jetstream_enabled<server>")}""",
                "none", {1: ("on", GREEN), 0: ("OFF", RED), -1: ("not configured", BLUE)}, missing="not told",
            ),
            Value("knows", "Knows the meta leader", _server("nats_jetstream_meta_leader_known<server>"), "none",
                  {1: ("yes", GREEN), 0: ("NO", RED)}, missing="not told"),
            Value("leads", None,
                  "max by (nats_cluster, server, leader) (nats_jetstream_meta_leader_info<server>)"),
            Label("leader", "Which"),
            Value("current", "Leader calls it current", _server("nats:meta_peer_current:max<server>"), "none",
                  {1: ("yes", GREEN), 0: ("NO", ORANGE)}, missing="not told"),
            Value("groups", "Raft groups", _server("nats_jetstream_ha_assets<server>"), "short"),
            sort=[("State", True), ("Server", False)],
        ),
        table(
            "Members of the meta group", 10,
            about(
                "What the meta leader says of each member, by the name that the servers use among themselves.",
                good="all current, none offline, nothing behind, last seen within seconds.",
                alerts=["NatsJetStreamMetaPeerNotCurrent", "NatsJetStreamMetaGroupIncomplete"],
            ),
            parts.CLUSTER_COLUMN,
            Label("peer", "Member", width=140),
            Value("current", "Current",
                  "max by (nats_cluster, peer) (nats_jetstream_meta_peer_current<cluster>)", "none",
                  {1: ("yes", GREEN), 0: ("NO", ORANGE)}),
            Value("offline", "Offline",
                  "max by (nats_cluster, peer) (nats_jetstream_meta_peer_offline<cluster>)", "none",
                  {0: ("no", GREEN), 1: ("YES", RED)}),
            Value("lag", "Behind by", "max by (nats_cluster, peer) (nats_jetstream_meta_peer_lag_operations<cluster>)"),
            Value("seen", "Last seen",
                  "max by (nats_cluster, peer) (nats_jetstream_meta_peer_last_seen_seconds<cluster>)"),
            sort=[("Current", False), ("Member", False)], missing="no leader that could tell",
        ),
    )
    board.line(
        8,
        series(
            "Waiting in the meta group", 12,
            about(
                "nats_jetstream_meta_pending_operations",
                "Requests and questions that wait are shown where servers tell.",
                good="near 0. A pile that grows means that creating and changing takes longer and longer.",
                alerts=["NatsJetStreamMetaBacklog"],
            ),
            Query(_by_server("nats_jetstream_meta_pending_operations<server>"), SERVER_NAME + " operations"),
            Query(_by_server("nats_jetstream_meta_pending_requests<server>"), SERVER_NAME + " requests"),
            Query(_by_server("nats_jetstream_meta_pending_infos<server>"), SERVER_NAME + " questions"),
            thresholds=watched("NatsJetStreamMetaBacklog"), unit="short",
        ),
        series(
            "Raft groups", 12,
            about(
                "nats_jetstream_ha_assets",
                good="below the line, and spread evenly. Many make starts and elections slow.",
                alerts=["NatsJetStreamHaAssetsHigh"],
            ),
            Query(_by_server("nats_jetstream_ha_assets<server>"), SERVER_NAME),
            Query("min by (nats_cluster) (nats_jetstream_max_ha_assets<server>)", "{{nats_cluster}} limit"),
            thresholds=watched("NatsJetStreamHaAssetsHigh"), unit="short", limit_lines={"B"},
        ),
    )


def _capacity(board):
    within_a_day, within_hours = (rules.limit(FILLS_UP, severity, WITHIN) for severity in ("warning", "critical"))
    board.section("Capacity")
    board.line(
        9,
        table(
            "Storage of each server", 24,
            about(
                "What replicas use, what the limits of streams reserve, and what there may be. Time left goes by the "
                "pace of the last six hours; without one the store does not grow.",
                good="a share below the first limit, and more than a day left. The disk may be smaller than the "
                     "limit, which is not seen here, and of a server whose JetStream is off nothing is known.",
                alerts=["NatsJetStreamStorageHigh", "NatsJetStreamStorageFillingUp", "NatsJetStreamReservationFull",
                        "NatsJetStreamMemoryHigh", "NatsJetStreamVolumeNearlyFull"],
            ),
            parts.CLUSTER_COLUMN,
            parts.SERVER_COLUMN,
            Value("state", "State", queries.persistence_state(), "none", STATES, missing="no data"),
            Value("used", "File used", _server("nats_jetstream_storage_used_bytes<server>")),
            Value("reserved", "File reserved", _server("nats_jetstream_storage_reserved_bytes<server>")),
            Value("limit", "File limit", _server("nats_jetstream_storage_limit_bytes<server>")),
            Value("share", "Share used", _server("nats:jetstream_storage:ratio<server>"),
                  thresholds=watched("NatsJetStreamStorageHigh")),
            Value("promised", "Share reserved", _server("nats:jetstream_reserved:ratio<server>"),
                  thresholds=watched("NatsJetStreamReservationFull")),
            Value(
                "left", "Full in",
                """
                min by (nats_cluster, server) (
                  (nats_jetstream_storage_limit_bytes<server> - nats_jetstream_storage_used_bytes<server>)
                    / (deriv(nats_jetstream_storage_used_bytes<server>[6h]) > 0)
                )
                  or on (nats_cluster, server)
                -1 + 0 * max by (nats_cluster, server) (nats_jetstream_storage_used_bytes<server>)""",
                "dtdurations", states={-1: ("does not grow", BLUE)},
                thresholds=steps((None, RED), (within_hours, ORANGE), (within_a_day, GREEN)),
            ),
            Value("memory", "Memory used", _server("nats_jetstream_memory_used_bytes<server>")),
            Value("memory_limit", "Memory limit", _server("nats_jetstream_memory_limit_bytes<server>")),
            Value("memory_share", "Memory share", _server("nats:jetstream_memory:ratio<server>"),
                  thresholds=watched("NatsJetStreamMemoryHigh")),
            Value("streams", "Replicas of streams", _server("nats_jetstream_streams<server>"), "short"),
            sort=[("State", True), ("Share used", True)], missing="no JetStream",
        ),
    )
    board.line(
        8,
        series(
            "File storage used", 6,
            about("nats_jetstream_storage_used_bytes", good="steady, or going up and down with retention."),
            Query(_by_server("nats_jetstream_storage_used_bytes<server>"), SERVER_NAME),
            missing="no JetStream",
        ),
        series(
            "Share of file storage", 6,
            about(
                "The share of its file storage that JetStream uses on each server.",
                good="below the first line. At 100 % streams refuse messages.",
                alerts=["NatsJetStreamStorageHigh", "NatsJetStreamStorageFillingUp"],
            ),
            Query(_by_server("nats:jetstream_storage:ratio<server>"), SERVER_NAME),
            thresholds=watched("NatsJetStreamStorageHigh"), missing="no JetStream",
        ),
        series(
            "Share of file storage reserved", 6,
            about(
                "The share of file storage that the limits of streams add up to.",
                good="below the line. Above it no stream with a limit fits on the server.",
                alerts=["NatsJetStreamReservationFull"],
            ),
            Query(_by_server("nats:jetstream_reserved:ratio<server>"), SERVER_NAME),
            thresholds=watched("NatsJetStreamReservationFull"), missing="no JetStream",
        ),
        series(
            "Share of memory storage", 6,
            about(
                "The share of its memory storage that JetStream uses on each server.",
                good="below the line. A restart loses memory streams with one replica.",
                alerts=["NatsJetStreamMemoryHigh"],
            ),
            Query(_by_server("nats:jetstream_memory:ratio<server>"), SERVER_NAME),
            thresholds=watched("NatsJetStreamMemoryHigh"), missing="no JetStream",
        ),
    )


def _api(board):
    board.section("API")
    board.line(
        8,
        series(
            "Requests", 8,
            about("nats_jetstream_api_requests_total", good="what is usual here."),
            Query(_by_server("rate(nats_jetstream_api_requests_total<server>[$__rate_interval])"), SERVER_NAME),
            missing="no JetStream",
        ),
        series(
            "Share of errors", 8,
            about(
                "The share of requests that are answered with an error, over five minutes. Failed publishes are "
                "counted nowhere: look at what is stored.",
                good="below the line; some clients ask for what may not exist, which is no fault.",
                alerts=["NatsJetStreamApiErrors"],
            ),
            Query("max by (nats_cluster) (nats:jetstream_api_errors:ratio_rate5m<cluster>)", "{{nats_cluster}}"),
            thresholds=watched("NatsJetStreamApiErrors"), missing="no requests",
        ),
        series(
            "Requests at work", 8,
            about(
                "nats_jetstream_api_inflight_requests",
                good="near 0.",
                alerts=["NatsJetStreamApiBacklog"],
            ),
            Query(_by_server("nats_jetstream_api_inflight_requests<server>"), SERVER_NAME),
            thresholds=watched("NatsJetStreamApiBacklog"), unit="short", missing="no JetStream",
        ),
    )


# A stream or a consumer of a table has a value in all of its columns that it can have.
LARGEST = f"topk({ROWS}, {_stream('nats_jetstream_stream_bytes<stream>')})"
FURTHEST = f"topk({ROWS}, {_consumer('nats_jetstream_consumer_pending_messages<consumer>')})"


def _of_largest(expr):
    return among(_stream(expr), LARGEST, STREAM)


def _of_furthest(expr):
    return among(_consumer(expr), FURTHEST, CONSUMER)


def _worst(expr):
    return f"topk({IN_TROUBLE}, {expr})"


RATE_OF_STREAM = _stream("rate(nats_jetstream_stream_published_messages_total<stream>[$__rate_interval])")
RATE_OF_ACKS = _consumer("rate(nats_jetstream_consumer_ack_floor_consumer_sequence<consumer>[$__rate_interval])")
ACK_SHARE = _consumer(
    "nats_jetstream_consumer_ack_pending<consumer> / (nats_jetstream_consumer_max_ack_pending<consumer> > 0)"
)
STUCK = rules.limit("NatsJetStreamConsumerAckStuck", "warning")
REDELIVERED = rules.limit("NatsJetStreamConsumerRedeliveries", "warning")
BEHIND = rules.limit("NatsJetStreamConsumerLagGrowing", "warning")
FULL = rules.limit("NatsJetStreamStreamRejectsWrites", "warning")
LAG = rules.limit("NatsJetStreamStreamReplicaLag", "warning")
# In the place of a number of streams.
NO_LIMIT = -1


def _some(condition, known):
    """How many meet a condition: a number as long as any is known, else nothing."""
    return f"sum by (nats_cluster) ({condition}) or {known}"


def watched_as(limit):
    """A single limit of a warning, where its alert has other conditions too."""
    return steps((None, GREEN), (limit, ORANGE))


def _streams(board):
    full = _stream('nats:stream_bytes:ratio<stream,discard="new">')
    board.section("Streams")
    board.line(
        4,
        parts.leaderless_streams(5, "{{nats_cluster}}", scope="stream"),
        parts.streams_behind(5, "{{nats_cluster}}", scope="stream"),
        stat(
            "Nearly refusing messages", 5,
            about(
                f"Streams that refuse messages when they are full (discard new), and are over {FULL * 100:g} % of "
                "their bytes.",
                good="0.",
                alerts=["NatsJetStreamStreamRejectsWrites"],
            ),
            Query(
                f"""
                {_some(f"{full} > bool {FULL:g}", parts.no_streams())}
                  or on (nats_cluster)
                {NO_LIMIT} + 0 * max by (nats_cluster) (nats:stream_leader_seen:max<stream>)""",
                "{{nats_cluster}}",
            ),
            unit="short", thresholds=NONE_WANTED_BUT_NO_CALL, states={NO_LIMIT: ("none has such a limit", BLUE)},
            missing="no streams seen",
        ),
        stat(
            "Messages lost", 5,
            about(
                "Messages that replicas have lost to damage of their stores, added up.",
                good="0. A store that lost messages has a bad disk, or a server that was killed while it wrote.",
                alerts=["NatsJetStreamMessagesLost"],
            ),
            Query(
                f"""
                sum by (nats_cluster) (
                  max by (nats_cluster, server, account, stream) (nats_jetstream_stream_replica_lost_messages<stream>)
                ) or {parts.no_streams()}""",
                "{{nats_cluster}}",
            ),
            unit="short", thresholds=watched("NatsJetStreamMessagesLost"),
        ),
        stat(
            "With a single replica", 4,
            about(
                "Streams with one replica. While their server restarts, nobody can publish to them.",
                good="what was meant. They count as a reason against a restart of their server.",
            ),
            Query(
                _some("nats:stream_replicas_configured:max<stream> == bool 1", parts.no_streams()), "{{nats_cluster}}"
            ),
            unit="short", thresholds=NEUTRAL,
        ),
    )
    board.line(
        8,
        table(
            "Streams in trouble", 16,
            about(
                f"Streams without a leader, with replicas that miss or are over {LAG:g} operations behind, with lost "
                f"messages, or nearly full. Up to {IN_TROUBLE} for each; a dash is none of that kind.",
                good="empty.",
                alerts=["NatsJetStreamStreamLeaderless", "NatsJetStreamStreamReplicasMissing",
                        "NatsJetStreamStreamReplicaLag", "NatsJetStreamMessagesLost",
                        "NatsJetStreamStreamRejectsWrites"],
            ),
            *OF_STREAM,
            Value("leader", "Leader", _worst(f"{_stream('nats:stream_leader_seen:max<stream>')} == 0"), "none",
                  {0: ("NONE", RED)}, missing="–", missing_colour=PLAIN),
            Value(
                "replicas", "Replicas missing",
                _worst(f"""
                  (
                    nats:stream_replicas_configured:max<stream> - on ({STREAM}) nats:stream_replicas_current:sum<stream>
                  ) > 0
                """),
                "short", thresholds=NONE_WANTED_BUT_NO_CALL, missing="–", missing_colour=PLAIN,
            ),
            Value("lag", "Worst replica behind by",
                  _worst(f"{_stream('nats_jetstream_stream_replica_lag_operations<stream>')} > {LAG:g}"), "short",
                  thresholds=watched("NatsJetStreamStreamReplicaLag"), missing="–", missing_colour=PLAIN),
            Value("lost", "Messages lost",
                  _worst(f"{_stream('nats_jetstream_stream_replica_lost_messages<stream>')} > 0"), "short",
                  thresholds=watched("NatsJetStreamMessagesLost"), missing="–", missing_colour=PLAIN),
            Value("full", "Share of its bytes", _worst(f"{full} > {FULL:g}"), "percentunit",
                  thresholds=watched("NatsJetStreamStreamRejectsWrites"), missing="–", missing_colour=PLAIN),
            sort=[("Leader", False), ("Replicas missing", True)],
            missing="no stream in trouble is seen",
        ),
        table(
            "Streams that vanished", 8,
            about(
                "Streams that were there an hour ago and that no server reports now, with the messages that they had. "
                f"Up to {IN_TROUBLE}. While a server is not wholly seen there are none here, because it may have them.",
                good="empty. A stream that was deleted on purpose goes from here after an hour.",
                alerts=["NatsJetStreamStreamVanished"],
            ),
            *OF_STREAM,
            Value(
                "A", "Messages then",
                _worst(f"""
                  {_stream("nats_jetstream_stream_messages<stream> offset 1h")}
                    unless on ({STREAM})
                  nats:stream_leader_seen:max<stream>
                    and on (nats_cluster)
                  nats:servers_up:sum<cluster> > 0
                    unless on (nats_cluster)
                  nats:jetstream_hidden:count<cluster> > 0
                """),
                "short", width=110,
            ),
            sort=[("Stream", False)], missing="none that is known",
        ),
    )
    board.line(
        12,
        table(
            f"Streams: the {ROWS} largest", 24,
            about(
                "One row for each stream. A click on its name shows that one alone, here and in all panels below. "
                "Others are found with the variables on top.",
                good="a leader, all replicas current, no lag, and a last message as young as its publishers make it.",
                alerts=["NatsJetStreamStreamLeaderless", "NatsJetStreamStreamReplicasMissing",
                        "NatsJetStreamStreamReplicaLag"],
            ),
            *OF_STREAM,
            Label("leader", "Leader", empty="not seen"),
            Value("who", None,
                  among(f"max by ({STREAM}, leader) (nats_jetstream_stream_leader_info<stream>)", LARGEST, STREAM)),
            Value("known", "Leader known", _of_largest("nats:stream_leader_seen:max<stream>"), "none",
                  {1: ("yes", GREEN), 0: ("NO", RED)}),
            Value("current", "Replicas current",
                  _of_largest("nats:stream_replicas_current:sum<stream> or nats:stream_replicas:count<stream>"),
                  "short"),
            Value("wanted", "of", _of_largest("nats:stream_replicas_configured:max<stream>"), "short"),
            Value("messages", "Messages", _of_largest("nats_jetstream_stream_messages<stream>"), "short"),
            Value("bytes", "Bytes", LARGEST),
            Value("share", "Share of limit", _of_largest("nats:stream_bytes:ratio<stream>"),
                  "percentunit", missing="no limit", missing_colour=BLUE),
            Value("lag", "Worst replica",
                  _of_largest("nats_jetstream_stream_replica_lag_operations<stream>"), "short",
                  thresholds=watched("NatsJetStreamStreamReplicaLag"), missing="no replicas",
                  missing_colour=BLUE),
            Value("rate", "Stored per second", among(RATE_OF_STREAM, LARGEST, STREAM), "mps"),
            Value("last", "Last message",
                  among(f"1000 * {_stream('nats_jetstream_stream_last_timestamp_seconds<stream>')}", LARGEST, STREAM),
                  "dateTimeFromNow", missing="empty", missing_colour=BLUE),
            Value("consumers", "Consumers",
                  _of_largest("nats_jetstream_stream_consumers<stream>"), "short"),
            sort=[("Bytes", True)], missing="no stream is seen",
        ),
    )
    board.line(
        8,
        series(
            f"Bytes: the {TOP} largest", 12,
            about("nats_jetstream_stream_bytes", good="steady, or going up and down with retention."),
            Query(f"topk({TOP}, {_stream('nats_jetstream_stream_bytes<stream>')})", STREAM_NAME),
            missing="no stream is seen", points=FEW_POINTS,
        ),
        series(
            f"Stored per second: the {TOP} busiest", 12,
            about(
                "Messages that streams store each second.",
                good="what their publishers send. 0 with publishers at work means that the stream refuses messages, "
                     "or has no leader.",
            ),
            Query(f"topk({TOP}, {RATE_OF_STREAM})", STREAM_NAME),
            unit="mps", missing="no stream is seen", points=FEW_POINTS,
        ),
    )


def _replication(board):
    board.section("Replication")
    by_peer = "max by (nats_cluster, account, stream, peer) ({})".format
    board.line(
        8,
        series(
            f"Replicas behind: the {MOST} furthest", 12,
            about(
                "nats_jetstream_stream_replica_lag_operations",
                good="near 0, and coming down after a restart.",
                alerts=["NatsJetStreamStreamReplicaLag", "NatsJetStreamStreamReplicasMissing"],
            ),
            Query(f"topk({MOST}, {by_peer('nats_jetstream_stream_replica_lag_operations<stream>')})",
                  STREAM_NAME + " on {{peer}}"),
            thresholds=watched("NatsJetStreamStreamReplicaLag"), unit="short", missing="no replicated stream is seen",
            points=FEW_POINTS,
        ),
        series(
            f"Replicas last seen: the {MOST} longest ago", 12,
            about(
                "nats_jetstream_stream_replica_last_seen_seconds",
                good="some seconds. A line that rises is a replica that is gone.",
            ),
            Query(f"topk({MOST}, {by_peer('nats_jetstream_stream_replica_last_seen_seconds<stream>')})",
                  STREAM_NAME + " on {{peer}}"),
            missing="no replicated stream is seen", points=FEW_POINTS,
        ),
    )


def _consumers(board):
    board.section("Consumers")
    # Some are seen, or the servers say that there are none.
    no_consumers = """
        0 * max by (nats_cluster) (nats_jetstream_consumer_pending_messages<cluster>)
          or
        max by (nats_cluster) (nats_jetstream_consumers<cluster>) == 0"""
    board.line(
        4,
        stat(
            "Consumers without a leader", 6,
            about(
                "Consumers that no server leads, added up: they deliver nothing.",
                good="0. The alert waits while a server is not seen that may be the leader.",
                alerts=["NatsJetStreamConsumersLeaderless"],
            ),
            Query(_some("nats:stream_consumers_without_leader:max<stream>", parts.no_streams()), "{{nats_cluster}}"),
            unit="short", thresholds=NONE_WANTED,
        ),
        stat(
            "Out of acknowledgements", 6,
            about(
                f"Consumers that have used over {STUCK * 100:g} % of their max_ack_pending. The alert also wants that "
                "nothing was acknowledged for ten minutes.",
                good="0. Others are slow clients, or clients that forget to acknowledge.",
                alerts=["NatsJetStreamConsumerAckStuck"],
            ),
            Query(_some(f"{ACK_SHARE} > bool {STUCK:g}", no_consumers), "{{nats_cluster}}"),
            unit="short", thresholds=NONE_WANTED_BUT_NO_CALL, missing="no consumer is seen",
        ),
        stat(
            "Far behind", 6,
            about(
                f"Consumers with over {BEHIND:g} messages before them. The alert also wants that they grow in number.",
                good="what is usual here: batches may be far behind on purpose.",
                alerts=["NatsJetStreamConsumerLagGrowing"],
            ),
            Query(
                _some(f"{_consumer('nats_jetstream_consumer_pending_messages<consumer>')} > bool {BEHIND:g}",
                      no_consumers),
                "{{nats_cluster}}",
            ),
            unit="short", thresholds=NEUTRAL, missing="no consumer is seen",
        ),
        stat(
            "Redelivering", 6,
            about(
                f"Consumers with over {REDELIVERED:g} messages out for a second or later time.",
                good="0. Otherwise clients fail at the same messages again and again, or take longer than ack_wait.",
                alerts=["NatsJetStreamConsumerRedeliveries"],
            ),
            Query(
                _some(f"{_consumer('nats_jetstream_consumer_redelivered_messages<consumer>')} > bool {REDELIVERED:g}",
                      no_consumers),
                "{{nats_cluster}}",
            ),
            unit="short", thresholds=NONE_WANTED_BUT_NO_CALL, missing="no consumer is seen",
        ),
    )
    board.line(
        8,
        table(
            "Consumers in trouble", 16,
            about(
                f"Consumers that have used over {STUCK * 100:g} % of their max_ack_pending, redeliver over "
                f"{REDELIVERED:g} messages, or have over {BEHIND:g} before them that grow in number. Up to "
                f"{IN_TROUBLE} for each; a dash is none of that kind.",
                good="empty.",
                alerts=["NatsJetStreamConsumerAckStuck", "NatsJetStreamConsumerRedeliveries",
                        "NatsJetStreamConsumerLagGrowing"],
            ),
            *OF_CONSUMER,
            Value("acks", "Acks outstanding", _worst(f"{ACK_SHARE} > {STUCK:g}"), "percentunit",
                  thresholds=watched_as(STUCK), missing="–", missing_colour=PLAIN),
            Value(
                "redelivered", "Redelivered",
                _worst(f"{_consumer('nats_jetstream_consumer_redelivered_messages<consumer>')} > {REDELIVERED:g}"),
                "short", thresholds=watched_as(REDELIVERED), missing="–", missing_colour=PLAIN,
            ),
            Value(
                "pending", "Before it, and more and more",
                _worst(f"""
                  {_consumer('nats_jetstream_consumer_pending_messages<consumer>')} > {BEHIND:g}
                    and on ({CONSUMER})
                  {_consumer('deriv(nats_jetstream_consumer_pending_messages<consumer>[15m])')} > 0
                """),
                "short", thresholds=watched_as(BEHIND), missing="–", missing_colour=PLAIN,
            ),
            sort=[("Before it, and more and more", True)],
            missing="no consumer in trouble is seen",
        ),
        table(
            "Streams with consumers without a leader", 8,
            about(
                "How many consumers of a stream no server leads.",
                good="empty.",
                alerts=["NatsJetStreamConsumersLeaderless"],
            ),
            *OF_STREAM,
            Value("A", "Consumers", _worst("nats:stream_consumers_without_leader:max<stream> > 0"), "short",
                  thresholds=watched("NatsJetStreamConsumersLeaderless")),
            sort=[("Consumers", True)],
            missing="no such consumer is seen",
        ),
    )
    board.line(
        12,
        table(
            f"Consumers: the {ROWS} that are furthest behind", 24,
            about(
                "One row for each consumer. A click on its name shows that one alone. Those that come and go are "
                "counted further down.",
                good="few messages before it, few out for acknowledgement, a last acknowledgement as young as its "
                     "messages. A pull consumer with messages before it and no waiting pull has no client that "
                     "fetches.",
                alerts=["NatsJetStreamConsumerAckStuck", "NatsJetStreamConsumerLagGrowing",
                        "NatsJetStreamConsumerRedeliveries", "NatsJetStreamConsumerOwnerLimit"],
            ),
            *OF_CONSUMER,
            Label("leader", "Leader", empty="not told"),
            Value("who", None,
                  among(f"max by ({CONSUMER}, leader) (nats_jetstream_consumer_leader_info<consumer>)", FURTHEST,
                        CONSUMER)),
            Value("pending", "Before it", FURTHEST, "short"),
            Value("out", "Not acked",
                  _of_furthest("nats_jetstream_consumer_ack_pending<consumer>"), "short"),
            Value("may", "of", _of_furthest("nats_jetstream_consumer_max_ack_pending<consumer>"),
                  "short", missing="no limit", missing_colour=BLUE),
            Value("share", "Share", among(ACK_SHARE, FURTHEST, CONSUMER), "percentunit", thresholds=watched_as(STUCK),
                  missing="no limit", missing_colour=BLUE),
            Value("redelivered", "Redelivered",
                  _of_furthest("nats_jetstream_consumer_redelivered_messages<consumer>"), "short",
                  thresholds=watched_as(REDELIVERED)),
            Value("waiting", "Waiting pulls",
                  _of_furthest("nats_jetstream_consumer_waiting_pulls<consumer>"), "short",
                  missing="push", missing_colour=BLUE),
            Value("bound", "Client bound",
                  _of_furthest("nats_jetstream_consumer_push_bound<consumer>"), "none",
                  {1: ("yes", GREEN), 0: ("NO", ORANGE)}, missing="pull", missing_colour=BLUE),
            Value("rate", "Acks per second", among(RATE_OF_ACKS, FURTHEST, CONSUMER), "mps"),
            Value("ack", "Last ack",
                  among(f"1000 * {_consumer('nats_jetstream_consumer_last_ack_timestamp_seconds<consumer>')}", FURTHEST,
                        CONSUMER),
                  "dateTimeFromNow", missing="never", missing_colour=BLUE),
            sort=[("Before it", True)], missing="no consumer is seen",
        ),
    )
    board.line(
        8,
        series(
            f"Messages before it: the {TOP} furthest behind", 8,
            about(
                "nats_jetstream_consumer_pending_messages",
                good="near 0, or coming down.",
                alerts=["NatsJetStreamConsumerLagGrowing"],
            ),
            Query(f"topk({TOP}, {_consumer('nats_jetstream_consumer_pending_messages<consumer>')})", CONSUMER_NAME),
            unit="short", thresholds=watched_as(BEHIND), missing="no consumer is seen", points=FEW_POINTS,
        ),
        series(
            f"Acknowledged per second: the {TOP} busiest", 8,
            about(
                "How fast the acknowledgements of consumers move on.",
                good="as fast as their streams store. 0 with messages before it is a client that hangs.",
                alerts=["NatsJetStreamConsumerAckStuck"],
            ),
            Query(f"topk({TOP}, {RATE_OF_ACKS})", CONSUMER_NAME),
            unit="mps", missing="no consumer is seen", points=FEW_POINTS,
        ),
        series(
            f"Delivered per second: the {TOP} busiest", 8,
            about(
                "nats_jetstream_consumer_delivered_messages_total",
                good="about what is acknowledged. Far more means that messages are delivered again and again.",
                alerts=["NatsJetStreamConsumerRedeliveries"],
            ),
            Query(
                f"topk({TOP}, "
                + _consumer("rate(nats_jetstream_consumer_delivered_messages_total<consumer>[$__rate_interval])") + ")",
                CONSUMER_NAME,
            ),
            missing="no consumer is seen", points=FEW_POINTS,
        ),
    )


def _details(board):
    board.section("Consumers that come and go", closed=True)
    of_kind = "nats_cluster, account, stream, kind"

    def folded(name):
        return f"sum by ({of_kind}) (max by (nats_cluster, server, account, stream, kind) ({name}<stream>))"

    most = f"topk({ROWS}, {folded('nats_jetstream_folded_consumers')})"

    def of_most(name):
        return among(folded(name), most, of_kind)

    board.line(
        10,
        table(
            "Folded consumers", 24,
            about(
                "nats_jetstream_folded_consumers", "Added up over the servers.",
                good="what is usual here. One number that only grows is a client that makes consumers and leaves them.",
            ),
            *OF_STREAM,
            Label("kind", "Kind"),
            Value("count", "Consumers", most, "short"),
            Value("pending", "Before them", of_most("nats_jetstream_folded_consumer_pending_messages"), "short"),
            Value("out", "Not acked", of_most("nats_jetstream_folded_consumer_ack_pending"), "short"),
            Value("redelivered", "Redelivered",
                  of_most("nats_jetstream_folded_consumer_redelivered_messages"), "short"),
            Value("waiting", "Waiting pulls", of_most("nats_jetstream_folded_consumer_waiting_pulls"), "short"),
            sort=[("Consumers", True)], missing="none is seen",
        ),
    )
    board.section("Mirrors and sources", closed=True)
    of_source = "nats_cluster, account, stream, kind, source, filter, external"
    by_source = f"max by ({of_source}) ({{}})".format
    worst = f"topk({ROWS}, {by_source('nats_jetstream_stream_source_failing<stream>')})"
    board.line(
        10,
        table(
            "Mirrors and sources", 16,
            about(
                "Where streams copy from, and how far they are behind.",
                good="works everywhere, nothing to copy, seen within seconds.",
                alerts=["NatsJetStreamStreamOwnerLimit"],
            ),
            *OF_STREAM,
            Label("kind", "Kind"),
            Label("source", "From"),
            Label("filter", "Filter"),
            Label("external", "By"),
            Value("failing", "State", worst, "none", {0: ("works", GREEN), 1: ("FAILS", RED)}),
            Value("lag", "To copy",
                  among(by_source("nats_jetstream_stream_source_lag_messages<stream>"), worst, of_source), "short"),
            Value("seen", "Last seen",
                  among(by_source("nats_jetstream_stream_source_last_seen_seconds<stream>"), worst, of_source), "s",
                  missing="never"),
            sort=[("State", True), ("To copy", True)], missing="no stream copies from another",
        ),
        series(
            f"To copy: the {TOP} furthest behind", 8,
            about("nats_jetstream_stream_source_lag_messages", good="near 0, or coming down."),
            Query(
                f"topk({TOP}, {by_source('nats_jetstream_stream_source_lag_messages<stream>')})",
                STREAM_NAME + " from {{source}}",
            ),
            unit="short", missing="no stream copies from another",
        ),
    )
    board.section("Limits of owners", closed=True)
    board.line(
        10,
        table(
            "Limits of owners of streams", 12,
            about(
                "Limits that the owners of streams set in metadata (io.nats.monitor.*), durations in seconds.",
                good="what the owner meant. An alert tells when one is passed.",
                alerts=["NatsJetStreamStreamOwnerLimit"],
            ),
            *OF_STREAM,
            Label("threshold", "Limit"),
            Value("A", "Value", f"topk({ROWS}, nats:stream_owner_limit:max<stream>)", "short"),
            sort=[("Stream", False)], missing="no owner has set a limit",
        ),
        table(
            "Limits of owners of consumers", 12,
            about(
                "Limits that the owners of consumers set in metadata (io.nats.monitor.*), durations in seconds.",
                good="what the owner meant. An alert tells when one is passed.",
                alerts=["NatsJetStreamConsumerOwnerLimit"],
            ),
            *OF_CONSUMER,
            Label("threshold", "Limit"),
            Value("A", "Value", f"topk({ROWS}, nats:consumer_owner_limit:max<consumer>)", "short"),
            sort=[("Consumer", False)], missing="no owner has set a limit",
        ),
    )
    board.section("Snapshots of the meta group, disks, accounts, what servers call unwell", closed=True)
    board.line(
        8,
        series(
            "Last snapshot took", 8,
            about(
                "nats_jetstream_meta_snapshot_duration_seconds",
                good="far below a second. Long ones hold up the meta group.",
            ),
            Query(_by_server("nats_jetstream_meta_snapshot_duration_seconds<server>"), SERVER_NAME),
            missing="servers do not tell",
        ),
        series(
            "Entries since the last snapshot", 8,
            about(
                "nats_jetstream_meta_snapshot_pending_entries",
                good="up and down. One that only grows means that no snapshot is made, and the next start takes long.",
            ),
            Query(_by_server("nats_jetstream_meta_snapshot_pending_entries<server>"), SERVER_NAME),
            missing="servers do not tell",
        ),
        series(
            "Size since the last snapshot", 8,
            about("nats_jetstream_meta_snapshot_pending_bytes", good="up and down, as the entries."),
            Query(_by_server("nats_jetstream_meta_snapshot_pending_bytes<server>"), SERVER_NAME),
            missing="servers do not tell",
        ),
    )
    board.line(
        8,
        series(
            "Waiting for the disk", 8,
            about("nats_jetstream_disk_io_waiters", good="near 0. What waits here is a disk that is too slow."),
            Query(_by_server("nats_jetstream_disk_io_waiters<server>"), SERVER_NAME),
            unit="short", missing="servers do not tell",
        ),
        series(
            "Time spent waiting for the disk", 8,
            about("nats_jetstream_disk_io_wait_seconds_total", "As a share of time; several may wait at once.",
                  good="near 0."),
            Query(_by_server("rate(nats_jetstream_disk_io_wait_seconds_total<server>[$__rate_interval])"), SERVER_NAME),
            missing="servers do not tell",
        ),
        table(
            "What servers call unwell", 8,
            about(
                "nats_jetstream_health_failing_asset_info",
                good="empty.",
                alerts=["NatsJetStreamHealthCheckFailing"],
            ),
            parts.CLUSTER_COLUMN,
            parts.SERVER_COLUMN,
            Label("type", "Type"),
            Label("account", "Account"),
            Label("stream", "Stream"),
            Label("consumer", "Consumer"),
            Value(
                "A", None,
                """
                max by (nats_cluster, server, type, account, stream, consumer) (
                  nats_jetstream_health_failing_asset_info<server>
                )""",
            ),
            sort=[("Server", False)], missing="nothing that is seen",
        ),
    )
    of_account = "max by (nats_cluster, account) ({})".format
    board.line(
        9,
        table(
            "Accounts", 24,
            about(
                "What each account uses in the whole cluster, and what it may use.",
                good="well below the limits, where there are any.",
            ),
            parts.CLUSTER_COLUMN,
            ACCOUNT_COLUMN,
            Value("file", "File used", of_account("nats_jetstream_account_storage_used_bytes<account>")),
            Value("file_limit", "of", of_account("nats_jetstream_account_storage_limit_bytes<account>"),
                  missing="no limit", missing_colour=BLUE),
            Value("memory", "Memory used", of_account("nats_jetstream_account_memory_used_bytes<account>")),
            Value("memory_limit", "of memory", of_account("nats_jetstream_account_memory_limit_bytes<account>"),
                  missing="no limit", missing_colour=BLUE),
            Value("requests", "API requests per second",
                  of_account("rate(nats_jetstream_account_api_requests_total<account>[$__rate_interval])"), "reqps"),
            Value("errors", "API errors per second",
                  of_account("rate(nats_jetstream_account_api_errors_total<account>[$__rate_interval])"), "reqps"),
            sort=[("File used", True)], missing="no account is seen",
        ),
    )
