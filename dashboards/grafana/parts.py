"""Panels and columns that more than one dashboard has."""

import dataclasses

from . import catalog, queries, rules
from .catalog import Wrong
from .panels import (
    BLUE, GREEN, JUST_ABOVE_ZERO, NONE_WANTED, NONE_WANTED_BUT_NO_CALL, ORANGE, RED, STATES, Label, Query, Value, about,
    field, link, stat, steps, table, timeline,
)

CLUSTER_COLUMN = Label("nats_cluster", "Cluster", empty="not known", width=120)
SERVER_COLUMN = Label("server", "Server")

# nats:restart_blocker:bool says why in one word.
BLOCKERS = {
    "meta_quorum": "The meta group would lose its quorum",
    "meta_leader_unknown": "Knows no meta leader",
    "stream_quorum": "A stream would lose its quorum",
    "stream_without_leader": "Has a replica of a stream without a leader",
    "single_replica_stream": "Has the only replica of a stream",
    "only_server": "Is the only server of its cluster",
    "server_down": "A server is down",
    "route_mesh_incomplete": "A route between servers is missing",
    "recent_restart": "A server started in the last five minutes",
    "jetstream_switched_off": "JetStream of a server switched itself off",
    "meta_peer_behind": "A member of the meta group is not current",
    "stream_replica_behind": "A replica of a stream is not current",
    "consumer_without_leader": "A consumer has no leader",
    "assets_unhealthy": "A server calls streams or consumers unwell",
}

SEVERITIES = {"critical": ("critical", RED), "warning": ("warning", ORANGE), "info": ("info", BLUE)}
RESTARTS = {
    "harmful": ("HARMFUL: do not", RED),
    "harmless": ("harmless, no help", BLUE),
    "helps": ("helps", GREEN),
}


def blockers(title, width):
    """Why a server should not be restarted."""
    if unknown := set(BLOCKERS) - rules.blockers():
        raise Wrong(f"nats:restart_blocker:bool gives no reason {', '.join(sorted(unknown))}")
    said = {reason: (text, None) for reason, text in BLOCKERS.items()}
    return table(
        title, width,
        about(
            "The reasons against a restart that hold now: one with a server is about that server, one without is about "
            "the whole cluster, whichever server it would be.",
            good="empty, while the verdict beside it is SAFE. Empty beside UNKNOWN means that not all is known.",
        ),
        CLUSTER_COLUMN,
        Label("server", "Server", empty="any", width=110),
        Label("reason", "What speaks against it", words=said),
        Value("A", None, "max by (nats_cluster, server, reason) (nats:restart_blocker:bool<cluster>) == 1"),
        sort=[("Server", False)],
        missing="nothing that is known: see the verdict",
    )


def reasons(tier, title, width, scope="cluster"):
    """Why a tier is in the state in which it is. In a row for a cluster, its name is above."""
    said = {reason: (text, None) for (of, reason), text in catalog.reasons().items() if of == tier}
    return table(
        title, width,
        about(
            f"Why servers are not well in the {tier} tier, as the exporter judges it.",
            good="empty, while the state of the tier is ok. Empty without a state means that nothing is known.",
        ),
        CLUSTER_COLUMN if scope == "server" else dataclasses.replace(CLUSTER_COLUMN, title=None),
        Label("server", "Server", width=110),
        Label("reason", "Reason", words=said),
        Value("A", None, f'max by (nats_cluster, server, reason) (nats_tier_reason<{scope},tier="{tier}">) == 1'),
        sort=[("Server", False)],
        missing="no reason: see the state",
    )


def firing(tier, title, width, *more):
    """The alerts of a tier that fire now."""
    more_labels = "".join(f", {column.name}" for column in more)
    # What is about an exporter may have no cluster.
    matcher = "" if tier != "exporter" else "|"
    expr = f"""
        max by (severity, alertname, restart, nats_cluster{more_labels}) (
          ALERTS{{nats_cluster=~"$nats_cluster{matcher}",alertstate="firing",tier="{tier}"}}
        )"""
    if tier == "exporter":
        expr = expr.replace('tier="exporter"', 'tier="exporter",alertname!="NatsAlertingWatchdog"')
    runbooks = rules.runbook("NatsBaseServerDown").replace("NatsBaseServerDown", field("alertname"))
    return table(
        title, width,
        about(
            f"Alerts of the {tier} tier that fire now, and what a restart of a NATS server would do about each. A "
            "click on a name opens its runbook.",
            good="empty, while the rules in alerts/ are loaded.",
        ),
        Label("severity", "Severity", words=SEVERITIES, width=115),
        Label("alertname", "Alert", width=250, link={"title": "Runbook", "url": runbooks, "targetBlank": True}),
        Label("restart", "A restart is", words=RESTARTS, width=140),
        CLUSTER_COLUMN,
        *more,
        Value("A", None, expr),
        sort=[("Severity", False)],
        missing="no alert fires, or the rules are not loaded",
    )


def base_states(title, width, scope, legend):
    """The state of the base tier of each server over time."""
    return timeline(
        title, width,
        about(
            "nats_tier_state",
            "For a server whose exporter is gone as well it is what its peers say: down when none has a route to it, "
            "else unknown.",
            good="ok everywhere. degraded at a start or in lame duck mode is usual.",
            alerts=["NatsBaseServerDown", "NatsBaseServerIsolated", "NatsBaseServerNotReady", "NatsBaseMajorityDown"],
        ),
        Query(queries.base_state(scope), legend),
        states={key: value for key, value in STATES.items() if key != queries.NO_JETSTREAM},
    )


def persistence_states(title, width, scope, legend):
    """The state of the persistence tier of each server over time."""
    return timeline(
        title, width,
        about(
            "nats_tier_state",
            good="ok everywhere. DOWN here with ok in the base tier means that clients of core messaging are served: a "
                 "restart would throw them off.",
            alerts=["NatsJetStreamDisabledOnServer", "NatsJetStreamMetaQuorumLost", "NatsJetStreamNotAnswering",
                    "NatsJetStreamHealthCheckFailing"],
        ),
        Query(queries.persistence_state(scope), legend),
        states=STATES,
    )


def no_streams(scope="cluster"):
    """0 where the servers say that there are no streams, so that nothing is a number only where it is known."""
    return f"max by (nats_cluster) (nats_jetstream_streams<{scope}>) == 0"


def leaderless_streams(width, legend, links=(), scope="cluster"):
    """How many streams no server leads."""
    return stat(
        "Streams without a leader", width,
        about(
            "Streams of which no server says that it leads them: nothing can be published to them.",
            good="0. The alert waits while a server is not seen that may be the leader.",
            alerts=["NatsJetStreamStreamLeaderless"],
        ),
        Query(f"sum by (nats_cluster) (nats:stream_leader_seen:max<{scope}> == bool 0) or {no_streams()}", legend),
        thresholds=NONE_WANTED, unit="short", links=links, missing="no streams seen",
    )


def streams_behind(width, legend, links=(), scope="cluster"):
    """How many streams have fewer current replicas than they should."""
    return stat(
        "Streams with replicas behind", width,
        about(
            "Streams with fewer current replicas than they should have. Those without a leader are not among them: "
            "nobody knows of their replicas.",
            good="0, except for minutes after a restart.",
            alerts=["NatsJetStreamStreamReplicasMissing"],
        ),
        Query(
            f"""
            sum by (nats_cluster) (
              (nats:stream_replicas_current:sum<{scope}> or nats:stream_replicas:count<{scope}>)
                < bool on (nats_cluster, account, stream)
              nats:stream_replicas_configured:max<{scope}>
            ) or {no_streams()}""",
            legend,
        ),
        thresholds=NONE_WANTED_BUT_NO_CALL, unit="short", links=links, missing="no streams seen",
    )


def meta_leader(width, legend, links=()):
    """Who leads the meta group."""
    return stat(
        "Meta leader", width,
        about(
            "Who leads the meta group, as the servers say. It decides where streams and consumers live.",
            good="one name. Two names for more than some seconds mean that the group is split.",
            alerts=["NatsJetStreamMetaQuorumLost", "NatsJetStreamMetaLeadersDisagree"],
        ),
        Query("max by (nats_cluster) (nats_jetstream_meta_leader_known<cluster>) == 0", f"NO LEADER{legend}"),
        Query("max by (nats_cluster, leader) (nats_jetstream_meta_leader_info<cluster>)", f"{{{{leader}}}}{legend}"),
        names=True, unit="none", thresholds=steps((None, RED), (1, GREEN)), missing="no meta group", links=links,
    )


def meta_members(width, legend, links=()):
    """Members of the meta group that are current, and how many of them may go."""
    return stat(
        "Meta members current", width,
        about(
            "Members of the meta group that its leader calls current, and how many of them may go before it loses its "
            "quorum. Without a leader nobody knows, and there is no number.",
            good="all members current, and at least 1 to spare.",
            alerts=["NatsJetStreamMetaOneFailureFromLoss", "NatsJetStreamMetaPeerNotCurrent"],
        ),
        Query("max by (nats_cluster) (nats:meta_peers_current:sum<cluster>)", f"current{legend}"),
        Query(
            """
            max by (nats_cluster) (
              nats:meta_peers_current:sum<cluster>
                - on (nats_cluster)
              nats:meta_quorum_size:max<cluster>
                and on (nats_cluster)
              nats:meta_quorum_size:max<cluster> > 1
            )""",
            f"to spare{legend}",
            thresholds=steps((None, RED), (0, ORANGE), (1, GREEN)),
        ),
        unit="short", missing="not known", links=links,
    )


def server_link(uid, title):
    """From a row with a server to the dashboard of it."""
    return link(uid, title, nats_cluster=field("nats_cluster"), server=field("server"))


SLOW_CONSUMERS = steps((None, GREEN), (JUST_ABOVE_ZERO, ORANGE))
