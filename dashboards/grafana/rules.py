"""What the rules record, and at which limits they call somebody.

Read from alerts/, so that the thresholds of panels are those of the alerts, and a panel cannot name an alert or a
recorded series that does not exist.
"""

import functools
import math
import re

from .catalog import TOP, Wrong

FILES = ["recording", "base", "persistence", "exporter", "extra"]

# A number, or a product of numbers such as 30 * 86400.
NUMBER = r"\d+(?:\.\d+)?(?: \* \d+(?:\.\d+)?)*"


@functools.cache
def blocks():
    """Each rule as (kind, name, text), where the kind is alert or record."""
    found = []
    for name in FILES:
        text = (TOP / "alerts" / f"{name}.rules.yml").read_text()
        parts = re.split(r"^ *- (alert|record): (\S+)$", text, flags=re.MULTILINE)
        found += zip(parts[1::3], parts[2::3], parts[3::3])
    return found


@functools.cache
def recorded():
    """The names of all recorded series."""
    return {name for kind, name, _ in blocks() if kind == "record"}


@functools.cache
def blockers():
    """The reasons that nats:restart_blocker:bool may give."""
    texts = [text for _, name, text in blocks() if name == "nats:restart_blocker:bool"]
    return {reason for text in texts for reason in re.findall(r"labels: {reason: (\w+)}", text)}


@functools.cache
def alerts():
    """All alerts: name to a dictionary of severity and text."""
    found = {}
    for kind, name, text in blocks():
        if kind == "alert":
            severity = re.search(r"severity: (\w+)", text).group(1)
            found.setdefault(name, {})[severity] = text
    return found


def alert(name):
    """The rules of an alert by severity."""
    if name not in alerts():
        raise Wrong(f"there is no alert {name} in alerts/")
    return alerts()[name]


def runbook(name):
    """The address of the page that tells what to do about an alert."""
    return re.search(r"runbook_url: (\S+)", next(iter(alert(name).values()))).group(1)


def limit(name, severity, pattern=rf" (?:<|<=|>|>=) ({NUMBER})(?![\d.)])"):
    """The number behind the first comparison in the expression of an alert, or what else the pattern finds."""
    text = alert(name).get(severity, "")
    found = re.search(pattern, re.split(r"\n +labels:", text)[0])
    if not found:
        raise Wrong(f"{name} of severity {severity} compares with no number")
    return math.prod(float(factor) for factor in found.group(1).split(" * "))


def limits(name):
    """The numbers of an alert by severity."""
    return {severity: limit(name, severity) for severity in alert(name)}
