"""Panels and columns that more than one dashboard has."""

from . import catalog, queries, rules
from .catalog import Wrong
from .panels import (
    BLUE, GREEN, JUST_ABOVE_ZERO, NONE_WANTED, NONE_WANTED_BUT_NO_CALL, ORANGE, PURPLE, RED, STATES, Label, Query,
    Value, about, field, link, stat, steps, table, timeline,
)

# There is a variable to choose it by.
CLUSTER_COLUMN = Label("nats_cluster", "Cluster", empty="not known", width=95, filterable=False)
SERVER_COLUMN = Label("server", "Server")

# nats:restart_blocker:bool says why in one word. The weight tells what to do about it, and the heaviest come first.
BREAKS_MORE, MEND_FIRST, WAIT = 3, 2, 1
WEIGHTS = {
    BREAKS_MORE: ("breaks more", RED),
    MEND_FIRST: ("not yet: mend this", ORANGE),
    WAIT: ("not yet: wait", BLUE),
}
BLOCKERS = {
    "only_server": (BREAKS_MORE, "Is the only server of its cluster"),
    "meta_quorum": (BREAKS_MORE, "The meta group would lose its quorum"),
    "stream_quorum": (BREAKS_MORE, "A stream would lose its quorum"),
    "single_replica_stream": (BREAKS_MORE, "Has the only replica of a stream"),
    "stream_without_leader": (BREAKS_MORE, "Has a replica of a stream without a leader"),
    "server_down": (MEND_FIRST, "A server is down"),
    "jetstream_switched_off": (MEND_FIRST, "JetStream of a server switched itself off"),
    "meta_leader_unknown": (MEND_FIRST, "Knows no meta leader"),
    "route_mesh_incomplete": (MEND_FIRST, "A route between servers is missing"),
    "meta_peer_behind": (MEND_FIRST, "A member of the meta group is not current"),
    "stream_replica_behind": (MEND_FIRST, "A replica of a stream is not current"),
    "consumer_without_leader": (MEND_FIRST, "A consumer has no leader"),
    "assets_unhealthy": (MEND_FIRST, "A server calls streams or consumers unwell"),
    "recent_restart": (WAIT, "A server started in the last five minutes"),
}

SEVERITIES = {"critical": ("critical", RED), "warning": ("warning", ORANGE), "info": ("info", BLUE)}
RESTARTS = {
    "harmful": ("HARMFUL: do not", RED),
    "harmless": ("harmless, no help", BLUE),
    "helps": ("helps", GREEN),
}


def _weighed(selector, weights):
    """The series with a reason, as the number that their reason weighs."""
    parts = []
    for weight in sorted(set(weights.values()), reverse=True):
        reasons = "|".join(reason for reason, of_reason in weights.items() if of_reason == weight)
        parts.append(f'{weight} * ({selector % reasons} == 1)')
    return f"max by (nats_cluster, server, reason) ({' or '.join(parts)})"


def blockers(title, width):
    """Why a server should not be restarted."""
    if unlike := set(BLOCKERS) ^ rules.blockers():
        raise Wrong(f"nats:restart_blocker:bool and the texts of its reasons differ in {', '.join(sorted(unlike))}")
    return table(
        title, width,
        about(
            "The reasons against a restart that hold now, the heaviest first: one with a server is about restarting that "
            "server, one without is about restarting any that has not the trouble itself.",
            good="empty, while the verdict beside it is SAFE. Empty beside UNKNOWN means that not all is known.",
        ),
        CLUSTER_COLUMN,
        Label("server", "Server", empty="any", width=100),
        Label("reason", "What speaks against it", words={key: (text, None) for key, (_, text) in BLOCKERS.items()}),
        Value("A", "A restart now", _weighed('nats:restart_blocker:bool<cluster,reason=~"%s">',
                                             {key: weight for key, (weight, _) in BLOCKERS.items()}),
              "none", WEIGHTS, width=150),
        sort=[("A restart now", True), ("Cluster", False), ("Server", False)],
        missing="nothing that is known: see the verdict",
    )


# The reasons of nats_tier_reason in so few words that they fit on a line: Grafana gives a row the height that the
# reason itself needs, and not the words in its place.
REASONS = {
    "base": {
        "unreachable": "No connection to the monitoring port",
        "not_answering": "Takes connections and does not answer: it hangs",
        "unreadable": "Answers with what is no /varz of a NATS server",
        "starting": "Starts, and takes no clients yet",
        "draining": "Drains for its end: lame duck mode",
        "isolated": "Has no route to any other server",
        "route_missing": "Has no route to some other server",
        "slow_consumers": "Has cut slow connections in the last five minutes",
    },
    "persistence": {
        "server_unreachable": "Cannot be asked: see the base tier",
        "jsz_unavailable": "Its /jsz does not answer: a lock or a disk hangs",
        "switched_off": "Has switched itself off: full or broken disk, no permission",
        "draining": "Is off, because the server drains for its end",
        "off_unclear": "Is off, and whether it should be on is not told",
        "unverified": "Is on, and whether its streams are well is not told",
        "no_meta_leader": "Knows no meta leader: nothing can be created or changed",
        "recovering": "Starts, and reads its store",
        "meta_unhealthy": "Is not current with the meta leader, or cannot write",
        "meta_peer_behind": "Leads the meta group, and a member is away or behind",
        "assets_unhealthy": "Calls streams or consumers unwell",
        "stream_without_leader": "Holds a stream, and knows no leader of it",
        "stream_replica_behind": "Leads a stream, and a replica is away or behind",
        "consumer_without_leader": "Holds a consumer, and knows no leader of it",
        "storage_full": "Has reached its file storage limit: streams refuse messages",
        "messages_lost": "Has lost messages to damage of its store",
    },
}
# The states that they give, from the worst on.
WORST_FIRST = {"down": queries.DOWN, "unknown": queries.UNKNOWN, "degraded": queries.DEGRADED}


def reasons(tier, title, width, scope="cluster"):
    """Why a tier is in the state in which it is."""
    states = {reason: state for (of, reason), state in catalog.reasons().items() if of == tier}
    if unlike := set(REASONS[tier]) ^ set(states):
        raise Wrong(f"docs/metrics.md and the texts of its reasons differ in {', '.join(sorted(unlike))}")
    return table(
        title, width,
        about(
            f"Why servers are not well in the {tier} tier, as the exporter judges it, the worst first.",
            good="empty, while the state of the tier is ok. Empty without a state means that nothing is known.",
        ),
        Value("A", "State", _weighed(f'nats_tier_reason<{scope},tier="{tier}",reason=~"%s">',
                                     {reason: WORST_FIRST[state] for reason, state in states.items()}),
              "none", STATES, width=110),
        CLUSTER_COLUMN,
        Label("server", "Server", width=110),
        Label("reason", "Reason", words={reason: (text, None) for reason, text in REASONS[tier].items()}),
        sort=[("State", True), ("Cluster", False), ("Server", False)],
        missing="no reason: see the state",
    )


# Where alerts are told apart. Those on streams, consumers and routes are counted: one dead server may be thousands.
PLACES = {
    "base": ["server"],
    "persistence": ["server"],
    "exporter": ["server", "target", "endpoint", "job", "instance"],
}


def firing(tier, title, width):
    """The alerts of a tier that fire now."""
    # What is about an exporter may have no cluster.
    matchers = 'nats_cluster=~"$nats_cluster"'
    if tier == "exporter":
        matchers = 'nats_cluster=~"$nats_cluster|",alertname!="NatsAlertingWatchdog"'
    places = ", ".join(f'"{label}"' for label in PLACES[tier])
    expr = f"""
        count by (severity, alertname, restart, nats_cluster, where) (
          label_replace(
            label_join(ALERTS{{{matchers},alertstate="firing",tier="{tier}"}}, "where", " ", {places}),
            "where", "$1", "where", " *(.*?) *"
          )
        )"""
    runbooks = rules.runbook("NatsBaseServerDown").replace("NatsBaseServerDown", field("alertname"))
    return table(
        title, width,
        about(
            f"Alerts of the {tier} tier that fire now, and what a restart of a NATS server would do about each. Those "
            "about the same place, such as one for each stream, are counted. A click on a name opens its runbook.",
            good="empty, while the rules in alerts/ are loaded.",
        ),
        Label("severity", "Severity", words=SEVERITIES, width=110),
        Label("alertname", "Alert", width=285, link={"title": "Runbook", "url": runbooks, "targetBlank": True}),
        Label("restart", "A restart is", words=RESTARTS, width=140),
        CLUSTER_COLUMN,
        Label("where", "Where", wrap=True),
        Value("A", "Count", expr, "short", width=65),
        sort=[("Severity", False), ("Alert", False)],
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
                    "NatsJetStreamHealthCheckFailing", "NatsJetStreamNotWatched"],
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
        "Streams lacking replicas", width,
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
        # Names are shown, and nothing has none.
        Query("absent(nats_jetstream_meta_leader_known<cluster>)", "not known", thresholds=steps((None, PURPLE))),
        names=True, unit="none", thresholds=steps((None, RED), (1, GREEN)), missing="not known", links=links,
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
