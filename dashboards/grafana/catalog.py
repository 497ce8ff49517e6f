"""What the exporter shows: name, type, help, labels and tier of each metric, and the reasons for states.

Read from docs/metrics.md, which is written from the catalogue in src/catalog. So a panel has its help text and its unit
from the same place as the metric, and cannot ask for a metric that does not exist.
"""

import dataclasses
import functools
import pathlib
import re

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
DOCUMENT = TOP / "docs" / "metrics.md"


class Wrong(Exception):
    """What is wrong with a dashboard, for the person who writes it."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """A row of a table in docs/metrics.md, with what stands above the table."""

    name: str
    kind: str
    help: str
    labels: frozenset
    tiers: frozenset


@functools.cache
def metrics():
    """All metrics by name."""
    found = {}
    labels, tiers = frozenset(), frozenset()
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("Labels: "):
            said, _, rest = line.partition(" Tier: ")
            labels = frozenset(re.findall(r"`(\w+)`", said)) - {"metadata_KEY"}
            tiers = frozenset(rest.split(".")[0].split(" or "))
        elif row := re.fullmatch(r"\| `([a-z_]+)` \| (gauge|counter|info) \| (.+?) \| .+ \|", line):
            name, kind, text = row.groups()
            found[name] = Metric(name, kind, text, labels, tiers)
    if not found:
        raise Wrong(f"there are no metrics in {DOCUMENT}; was its form changed?")
    return found


def metric(name):
    """The metric of this name."""
    if name not in metrics():
        raise Wrong(f"there is no metric {name} in docs/metrics.md")
    return metrics()[name]


@functools.cache
def reasons():
    """The state that each reason gives to a tier: (tier, reason) to state."""
    rows = re.findall(r"^\| (base|persistence) \| `(\w+)` \| (\w+) \| .+ \|$", DOCUMENT.read_text(), re.MULTILINE)
    if not rows:
        raise Wrong(f"there are no reasons in {DOCUMENT}; was its form changed?")
    return {(tier, reason): state for tier, reason, state in rows}


# What a name ends in, and the unit in Grafana of the value and of its rate. Instants are multiplied by 1000.
UNITS = [
    (r"(_timestamp|_start_time|_load_time|_not_after)_seconds", "dateTimeFromNow", None),
    (r"_seconds(_total)?", "s", "percentunit"),
    (r"_bytes(_total)?", "bytes", "binBps"),
    (r"_messages(_total)?", "short", "mps"),
    (r"_requests(_total)?", "short", "reqps"),
    (r":ratio(_rate5m)?", "percentunit", None),
    (r".*", "short", "cps"),
]


def unit(name, is_rate=False):
    """The unit of a metric or a recorded series, by its name."""
    for ending, of_value, of_rate in UNITS:
        if re.fullmatch(r".*?" + ending, name):
            return of_rate if is_rate and of_rate else of_value
    return "short"
