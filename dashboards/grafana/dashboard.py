"""What all dashboards have in common: variables, annotations, links to each other, and where panels are put."""

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.models import dashboard

from . import queries
from .catalog import Wrong
from .panels import BLUE, DATASOURCE, ORANGE, PURPLE

# uid and title, in the order of the links.
ALL = {
    "nats-overview": "NATS / Overview",
    "nats-base": "NATS / Base tier",
    "nats-persistence": "NATS / Persistence tier",
    "nats-exporter": "NATS / Exporter",
}
TAG = "nats-exporter"

# Grafana 12.0 and 12.1 know this version of the schema and none after it; later ones bring it up to theirs.
SCHEMA_VERSION = 41

GRID = 24

# Where each variable finds its values. What only a leader knows has no server, so server is not asked for there.
VALUES = {
    "nats_cluster": ("Cluster", "label_values(nats_up, nats_cluster)"),
    "server": ("Server", f"label_values(nats_up<cluster,{queries.typed('server')}>, server)"),
    "account": ("Account", "label_values(nats_jetstream_stream_is_leader<cluster>, account)"),
    "stream": (
        "Stream", f"label_values(nats_jetstream_stream_is_leader<account,{queries.typed('stream')}>, stream)"
    ),
    "consumer": ("Consumer", "label_values(nats_jetstream_consumer_pending_messages<stream>, consumer)"),
    "endpoint": ("Endpoint", "label_values(nats_exporter_endpoint_up<server>, endpoint)"),
    "job": ("Job", "label_values(nats_exporter_targets, job)"),
    "instance": ("Exporter", 'label_values(nats_exporter_targets{job=~"$job"}, instance)'),
}


# Where people type: what is in the box at first, which is true of all.
TYPED = {"server_matches": "Server matches", "stream_matches": "Stream matches"}
ANYTHING = ".*"


def _typed(name):
    """A box for a regular expression."""
    return (
        builders.TextBoxVariable(name)
        .label(TYPED[name])
        .description("A regular expression for a part of the name; ^ and $ are its ends. Empty or .* is all.")
        .default_value(ANYTHING)
        .current(dashboard.VariableOption(selected=True, text=ANYTHING, value=ANYTHING))
    )


def _variable(name):
    """All values unless some are chosen. "All" asks for no list of names, and takes series without the label too."""
    label, query = VALUES[name]
    query = queries.expand(query)
    return (
        builders.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query({"query": query, "refId": "Variable"})
        .definition(query)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.NATURAL_ASC)
    )


def _annotation(name, colour, text, expr, value_is_time=False):
    expr = queries.expand(expr)
    return (
        builders.AnnotationQuery()
        .name(name)
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color(colour)
        .target(prometheus.Dataquery().expr(expr).ref_id("Anno").range())
        # Where Grafana before 12 looked, and where people look.
        .expr(expr)
        .title_format(name)
        .text_format(text)
        .tag_keys("nats_cluster,server")
        .use_value_for_time(value_is_time)
    )


def _annotations():
    info = "max by (nats_cluster, server, version) (nats_server_info<cluster>)"
    before = "last_over_time(nats_server_info<cluster>[1h] offset $__rate_interval)"
    leads = "max by (nats_cluster, server) (nats_jetstream_meta_is_leader<cluster>)"
    changes = "max by (nats_cluster, server) (changes(nats_jetstream_meta_is_leader<cluster>[$__rate_interval]))"
    return [
        # The start itself, also of a server that was away for long.
        _annotation(
            "Server started", BLUE, "{{server}} of {{nats_cluster}} started",
            "1000 * max by (nats_cluster, server) (nats_server_start_time_seconds<cluster>)",
            value_is_time=True,
        ),
        _annotation(
            "Meta leader elected", ORANGE, "{{server}} leads the meta group of {{nats_cluster}}",
            f"({changes} > bool 0) == 1 and on (nats_cluster, server) {leads} == 1",
        ),
        # A server that was seen in the last hour, and not with this version.
        _annotation(
            "Version changed", PURPLE, "{{server}} of {{nats_cluster}} runs {{version}}",
            f"""{info}
              unless on (nats_cluster, server, version) max by (nats_cluster, server, version) ({before})
              and on (nats_cluster, server) max by (nats_cluster, server) ({before})""",
        ),
    ]


def _link(uid, title):
    return (
        builders.DashboardLink(title)
        .type(dashboard.DashboardLinkType.LINK)
        .url(f"/d/{uid}")
        .icon("dashboard")
        .tooltip("The same selection and time range there")
        .include_vars(True)
        .keep_time(True)
    )


class Board:
    """A dashboard in the making: rows, and in them lines of panels with one height."""

    def __init__(self, uid, text, variables, tiers):
        self.uid = uid
        self.tiers = tiers
        self.y = 0
        self.id = 0
        self.row = None
        self.built = builders.Dashboard(ALL[uid]).uid(uid).description(text).tags([TAG])
        self.built = (
            self.built.readonly()
            .refresh("30s")
            .time("now-3h", "now")
            .timezone("browser")
            .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
            .with_variable(builders.DatasourceVariable("datasource").label("Data source").type("prometheus"))
            .annotations(_annotations())
        )
        for name in variables:
            self.built = self.built.with_variable(_typed(name) if name in TYPED else _variable(name))
        for other, title in ALL.items():
            if other != uid:
                self.built = self.built.link(_link(other, title))
        self.model = self.built.build()
        self.model.schema_version = SCHEMA_VERSION
        self.model.panels = []

    def _next_id(self):
        self.id += 1
        return self.id

    def section(self, title, closed=False, repeat=None):
        """Starts a row. What is in a closed one is not asked for until somebody opens it."""
        place = dashboard.GridPos(h=1, w=GRID, x=0, y=self.y)
        row = builders.Row(title).collapsed(closed).grid_pos(place).id(self._next_id()).build()
        row.repeat = repeat
        self.y += 1
        self.model.panels.append(row)
        self.row = row if closed else None

    def line(self, height, *panels, other_tiers=()):
        """Puts panels beside each other."""
        x = 0
        for placed in panels:
            panel = placed.builder.build()
            if foreign := placed.tiers - set(self.tiers) - set(other_tiers):
                raise Wrong(f"{self.uid}: {panel.title} shows the {', '.join(sorted(foreign))} tier")
            panel.id_val = self._next_id()
            panel.grid_pos = dashboard.GridPos(h=height, w=placed.width, x=x, y=self.y)
            x += placed.width
            (self.row or self.model).panels.append(panel)
        if x != GRID:
            raise Wrong(f"{self.uid}: the line of {panel.title} is {x} columns wide, not {GRID}")
        self.y += height
