"""How expressions are written here, and how they are checked.

A selector says for which variables of the dashboard it is, between < and >, and may have further matchers:

    nats_tier_state<cluster,tier="base">     nats_tier_state{nats_cluster=~"$nats_cluster",tier="base"}
    nats_up<server>                          nats_up{nats_cluster=~"$nats_cluster",server=~"$server",...}

Where there is a server or a stream, what is typed for its name counts too.

Every expression ends in labels of its own choice, never those of the scrape: numbers that only a leader knows move
between sidecars, and two exporters of one cluster are to look like one.
"""

import re

from . import catalog, rules
from .catalog import Wrong

# The variables of each scope, which are labels of the same name.
SCOPES = {
    "cluster": ["nats_cluster"],
    "server": ["nats_cluster", "server"],
    "account": ["nats_cluster", "account"],
    "stream": ["nats_cluster", "account", "stream"],
    "consumer": ["nats_cluster", "account", "stream", "consumer"],
    "endpoint": ["nats_cluster", "server", "endpoint"],
    "exporter": ["job", "instance"],
}

# What Prometheus itself has, and what it adds to every series.
FROM_PROMETHEUS = {"up", "ALERTS", "scrape_duration_seconds", "scrape_samples_scraped"}
OF_A_SCRAPE = {"job", "instance"}

# Names of what is grouped, for aggregations and matching.
CLUSTER = "nats_cluster"
SERVER = "nats_cluster, server"
STREAM = "nats_cluster, account, stream"
CONSUMER = "nats_cluster, account, stream, consumer"

# Variables in which people type a regular expression for a part of a name. The other ones cannot take any: Grafana
# escapes what is chosen or typed there. An empty one is true of every name.
TYPED = {"server": "server_matches", "stream": "stream_matches"}

SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)<(\w+)((?:,[^<>]*)?)>")
NAME = re.compile(r"\b(?:nats_|nats:|process_|scrape_)[\w:]*|\b(?:up|ALERTS)\b")


def names(expr):
    """The metrics and recorded series that an expression reads, in order."""
    bare = re.sub(r'"[^"]*"', "", expr)
    labels = {label for metric in catalog.metrics().values() for label in metric.labels}
    return [name for name in NAME.findall(bare) if name not in labels]


def typed(label):
    """The matcher for what is typed for a label."""
    return f'{label}=~".*(?:${TYPED[label]}).*"'


def expand(expr):
    """The expression for Grafana; everything that it reads exists."""
    for name in names(expr):
        if name not in catalog.metrics() and name not in rules.recorded() | FROM_PROMETHEUS:
            raise Wrong(f"there is no metric or recorded series {name}: {expr}")

    def selector(found):
        name, scope, more = found.groups()
        if scope not in SCOPES:
            raise Wrong(f"there is no scope {scope}: {expr}")
        metric = catalog.metrics().get(name)
        for label in SCOPES[scope]:
            if metric and label not in metric.labels | OF_A_SCRAPE:
                raise Wrong(f"{name} has no label {label}: {expr}")
        matchers = [f'{label}=~"${label}"' for label in SCOPES[scope]]
        matchers += [typed(label) for label in SCOPES[scope] if label in TYPED]
        return name + "{" + ",".join(matchers) + more + "}"

    return " ".join(SELECTOR.sub(selector, expr).split())


def tiers(expr):
    """The tiers of the metrics that an expression reads; a series that both tiers have counts for the one it names."""
    found = set()
    for name in names(expr):
        if name in catalog.metrics():
            of_metric = catalog.metric(name).tiers
            found |= of_metric if len(of_metric) == 1 else set()
    return found


# How the state of a tier is drawn as a number; the order is that of docs/metrics.md, from well to worse.
NO_JETSTREAM, OK, DEGRADED, UNKNOWN, DOWN = range(-1, 4)


def _worst(tier, by, scope):
    """The worst state that is said, as a number."""
    state = f'nats_tier_state<{scope},tier="{tier}",state="%s">'
    return f"""
        max by ({by}) (
          {DEGRADED} * {state % "degraded"} or {UNKNOWN} * {state % "unknown"} or {DOWN} * {state % "down"}
        )"""


def base_state(scope="server"):
    """The state of the base tier of each server. Where its exporter is gone too, its peers say: down or unknown."""
    return f"""
        {_worst("base", SERVER, scope)}
          or on ({SERVER})
        {UNKNOWN} + (max by ({SERVER}) (nats:server_up:max<{scope}>) == bool 0)"""


def base_state_of_cluster():
    """The worst state of the base tier of each cluster."""
    return f"max by ({CLUSTER}) ({base_state('cluster')})"


def persistence_state(scope="server", by=SERVER):
    """The state of the persistence tier, or that JetStream is not configured."""
    return f"""
        {_worst("persistence", by, scope)}
          or on ({by})
        0 * (max by ({by}) (nats_jetstream_configured<{scope}>) == 0) - 1"""


# How the verdict is drawn: 0 and 1 as it is recorded.
VERDICT_NO, VERDICT_YES, VERDICT_UNKNOWN, VERDICT_NO_USE = range(4)


def verdict_of_cluster():
    """May one server be restarted, whichever it is?"""
    return f"""
        max by ({CLUSTER}) (nats:restart_safe:bool<cluster,server="">)
          or on ({CLUSTER})
        {VERDICT_UNKNOWN} + 0 * max by ({CLUSTER}) (nats:servers:count<cluster>)"""


def verdict_of_server(scope="server"):
    """May this server be restarted? One that switched its JetStream off does no more harm, and comes up no better."""
    verdict = f'max by ({SERVER}) (nats:restart_safe:bool<{scope},server!="">)'
    switched_off = f'max by ({SERVER}) (nats_tier_reason<{scope},tier="persistence",reason="switched_off">)'
    return f"""
        {VERDICT_NO_USE} * ({switched_off} == 1 and on ({SERVER}) {verdict} == {VERDICT_YES})
          or on ({SERVER})
        {verdict}
          or on ({SERVER})
        {VERDICT_UNKNOWN} + 0 * max by ({SERVER}) (nats:server_up:max<{scope}>)"""


def among(expr, chosen, by):
    """The expression for those series only that another expression has."""
    return f"({expr}) and on ({by}) ({chosen})"
