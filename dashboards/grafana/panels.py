"""The kinds of panels, with what all of one kind have in common.

What they keep: a panel has a title, a unit and a description that says what good looks like and which alerts watch it.
Its limits are those of the alerts. Colours come with words. What is not there is told, and is never green. Numbers of
now are asked for now (instant queries), so that an old one is not taken for them.
"""

import dataclasses

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat as stats, statetimeline, table as tables, timeseries
from grafana_foundation_sdk.models import common, dashboard, table as table_models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from . import catalog, queries, rules
from .catalog import Wrong

# Well, a ticket, somebody is called, not known, and what is neither good nor bad.
GREEN, ORANGE, RED, PURPLE, BLUE = "green", "orange", "red", "purple", "blue"
PLAIN = "text"

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

# For lines that are chosen among tens of thousands of series at each point.
FEW_POINTS = 150

# An alert at "more than 0" is a colour from just above it: Grafana's steps include their limit.
JUST_ABOVE_ZERO = 0.001

STATES = {
    queries.OK: ("ok", GREEN),
    queries.DEGRADED: ("degraded", ORANGE),
    queries.UNKNOWN: ("unknown", PURPLE),
    queries.DOWN: ("DOWN", RED),
    queries.NO_JETSTREAM: ("no JetStream", BLUE),
}
VERDICTS = {
    queries.VERDICT_YES: ("SAFE - one at a time", GREEN),
    queries.VERDICT_NO: ("DO NOT RESTART", RED),
    queries.VERDICT_UNKNOWN: ("UNKNOWN - treat as no", PURPLE),
    queries.VERDICT_NO_USE: ("NO USE - mend the cause", ORANGE),
}


@dataclasses.dataclass
class Placed:
    """A panel and its width in the grid of 24 columns."""

    builder: object
    width: int
    tiers: set


# ------------------------------------------------------------------------------------------ words and limits


def about(*what, good, alerts=()):
    """A description: what is shown (the name of a metric stands for its help), what good looks like, who watches."""
    known = catalog.metrics()
    lines = [" ".join(known[part].help if part in known else part for part in what), f"**Good:** {good}"]
    if alerts:
        links = [f"[{name}]({rules.runbook(name)})" for name in alerts]
        lines.append(f"**Alerts:** {', '.join(links)}")
    return "\n\n".join(lines)


COLOURS = {"warning": ORANGE, "critical": RED}


def steps(*pairs):
    """Colours from limits on, the first one without a limit."""
    return [dashboard.Threshold(value=value, color=colour) for value, colour in pairs]


def watched(alert):
    """The limits of an alert as steps, for values that are bad when they are high."""
    limits = sorted((limit or JUST_ABOVE_ZERO, COLOURS[severity]) for severity, limit in rules.limits(alert).items())
    return steps((None, GREEN), *limits)


def watched_below(alert):
    """The limits of an alert as steps, for values that are bad when they are low."""
    limits = sorted((limit, COLOURS[severity]) for severity, limit in rules.limits(alert).items())
    ends, colours = zip(*limits)
    return steps(*zip((None, *ends), (*colours, GREEN)))


NONE_WANTED = steps((None, GREEN), (1, RED))
NONE_WANTED_BUT_NO_CALL = steps((None, GREEN), (1, ORANGE))
NEUTRAL = steps((None, BLUE))


def words(states, missing="no data", colour=PURPLE):
    """Mappings of values to words and colours; what is missing has its own."""
    found = []
    if states:
        options = {
            str(value): dashboard.ValueMappingResult(text=text, color=tint, index=index)
            for index, (value, (text, tint)) in enumerate(states.items())
        }
        found.append(dashboard.ValueMap(options=options))
    result = dashboard.ValueMappingResult(text=missing, color=colour, index=len(states or ()))
    special = dashboard.DashboardSpecialValueMapOptions(match=dashboard.SpecialValueMatch.NULL_AND_NAN, result=result)
    found.append(dashboard.SpecialValueMap(options=special))
    return found


def link(uid, title, **variables):
    """A link of a value to another place; the values of variables are fields of its row, or given."""
    chosen = "".join(f"&var-{name}={value}" for name, value in variables.items())
    url = f"/d/{uid}?${{__url_time_range}}&${{datasource:queryparam}}{chosen}"
    return {"title": title, "url": url, "targetBlank": False}


def field(name):
    """What a row of a table has in a column, for a link."""
    return f"${{__data.fields.{name}:percentencode}}"


# ---------------------------------------------------------------------------------------------------- queries


@dataclasses.dataclass
class Query:
    """An expression and how its series are called."""

    expr: str
    legend: str = ""
    unit: str = None
    thresholds: list = None
    words: dict = None


def _target(query, ref, instant, is_table=False):
    target = prometheus.Dataquery().expr(queries.expand(query.expr)).ref_id(ref).datasource(DATASOURCE)
    target = target.instant() if instant else target.range()
    if is_table:
        return target.format(PromQueryFormat.TABLE)
    return target.format(PromQueryFormat.TIME_SERIES).legend_format(query.legend)


def _unit(query):
    read = queries.names(query.expr)
    return query.unit or catalog.unit(read[0], is_rate="rate(" in query.expr)


def _property(name, value):
    return dashboard.DynamicConfigValue(id_val=name, value=value)


def _thresholds(limits):
    return dashboard.ThresholdsConfig(mode=dashboard.ThresholdsMode.ABSOLUTE, steps=limits)


def _common(builder, title, text, asked, unit, limits, mappings, missing):
    builder = builder.title(title).description(text).datasource(DATASOURCE).unit(unit).mappings(mappings)
    builder = builder.thresholds(builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(limits))
    if not asked:
        raise Wrong(f"{title} asks for nothing")
    return builder.no_value(missing)


def _placed(builder, width, asked):
    tiers = set().union(*(queries.tiers(query.expr) for query in asked))
    return Placed(builder, width, tiers)


# ----------------------------------------------------------------------------------------------------- panels


def stat(title, width, text, *asked, states=None, thresholds=None, unit=None, missing="no data", names=False,
         background=False, links=(), decimals=None):
    """Numbers or words of now, one for each series; `states` puts words in the place of some values."""
    thresholds = thresholds or NEUTRAL
    builder = _common(
        stats.Panel(), title, text, asked, unit or _unit(asked[0]), thresholds, words(states, missing), missing
    )
    text_mode = common.BigValueTextMode.NAME if names else common.BigValueTextMode.AUTO
    colour_mode = common.BigValueColorMode.BACKGROUND_SOLID if background else common.BigValueColorMode.VALUE
    builder = (
        builder.text_mode(text_mode)
        .color_mode(colour_mode)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
    )
    if decimals is not None:
        builder = builder.decimals(decimals)
    if background:
        # One below the other, and each below its name: words of several clusters are too small to read otherwise.
        builder = builder.orientation(common.VizOrientation.HORIZONTAL).wide_layout(False)
    for index, query in enumerate(asked):
        ref = chr(ord("A") + index)
        builder = builder.with_target(_target(query, ref, instant=True))
        own = []
        if query.unit:
            own.append(_property("unit", query.unit))
        if query.thresholds:
            own.append(_property("thresholds", _thresholds(query.thresholds)))
        if query.words:
            own.append(_property("mappings", words(query.words, missing)))
        if own:
            builder = builder.override_by_query(ref, own)
    if links:
        builder = builder.data_links([_data_link(**one) for one in links])
    return _placed(builder, width, asked)


def _data_link(title, url, targetBlank):
    return builders.DashboardLink(title).url(url).target_blank(targetBlank)


# How far an axis goes at least, so that nothing but zeros is a line at the foot of a scale that makes sense. Durations
# have no such end: a millisecond may be much.
LEAST_SCALES = {"percentunit": 1, "short": 1, "cps": 1, "mps": 1, "reqps": 1, "bytes": 1024, "binBps": 1024}


def _legend(asked):
    """A table of many lines that can be sorted; a list where their number is known."""
    legend = common_builders.VizLegendOptions().show_legend(True).placement(common.LegendPlacement.BOTTOM)
    if not any("{{" in query.legend for query in asked):
        return legend.display_mode(common.LegendDisplayMode.LIST).calcs(["lastNotNull"])
    legend = legend.display_mode(common.LegendDisplayMode.TABLE).calcs(["lastNotNull", "max"])
    return legend.sort_by("Last *").sort_desc(True)


def series(title, width, text, *asked, thresholds=None, unit=None, bars=False, stacked=False, both_ways=False,
           missing="no data", limit_lines=None, points=None):
    """Numbers over time; a gap is a gap. The limits of alerts are dashed lines. Fewer points spare Prometheus."""
    unit = unit or _unit(asked[0])
    builder = _common(
        timeseries.Panel(), title, text, asked, unit, thresholds or steps((None, GREEN)), words(None, missing), missing
    )
    lines = common.GraphThresholdsStyleMode.DASHED if thresholds else common.GraphThresholdsStyleMode.OFF
    tooltip = (
        common_builders.VizTooltipOptions()
        .mode(common.TooltipDisplayMode.MULTI)
        .sort(common.SortOrder.DESCENDING)
    )
    builder = (
        builder.draw_style(common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE)
        .line_width(1)
        .fill_opacity(60 if bars else 8)
        .show_points(common.VisibilityMode.AUTO)
        .span_nulls(False)
        .thresholds_style(common_builders.GraphThresholdsStyleConfig().mode(lines))
        .color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC))
        .legend(_legend(asked))
        .tooltip(tooltip)
    )
    if stacked:
        builder = builder.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    least = LEAST_SCALES.get(unit)
    builder = builder.axis_soft_min(-least if both_ways else 0)
    if least:
        builder = builder.axis_soft_max(least)
    if points is not None:
        builder = builder.max_data_points(points)
    for index, query in enumerate(asked):
        ref = chr(ord("A") + index)
        builder = builder.with_target(_target(query, ref, instant=False))
        if limit_lines and ref in limit_lines:
            dashed = common.LineStyle(fill="dash", dash=[6, 6])
            builder = builder.override_by_query(ref, [
                _property("custom.lineStyle", dashed),
                _property("custom.fillOpacity", 0),
            ])
    return _placed(builder, width, asked)


def timeline(title, width, text, *asked, states, missing="no data"):
    """States over time, one line for each series, twenty on a page."""
    builder = _common(statetimeline.Panel(), title, text, asked, "none", steps((None, PURPLE)), words(states, missing),
                      missing)
    legend = (
        common_builders.VizLegendOptions()
        .show_legend(True)
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
    )
    builder = (
        builder.merge_values(True)
        .show_value(common.VisibilityMode.AUTO)
        .per_page(20)
        .fill_opacity(80)
        .legend(legend)
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.SINGLE))
        # Not by thresholds: Grafana would show their ranges in the place of our words.
        .color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.FIXED).fixed_color(PURPLE))
    )
    for index, query in enumerate(asked):
        builder = builder.with_target(_target(query, chr(ord("A") + index), instant=False))
    return _placed(builder, width, asked)


# ----------------------------------------------------------------------------------------------------- tables


@dataclasses.dataclass
class Label:
    """A column with a label of the series; `words` puts words in the place of its values."""

    name: str
    title: str
    words: dict = None
    empty: str = "–"
    width: int = None
    link: dict = None
    wrap: bool = False
    filterable: bool = True


@dataclasses.dataclass
class Value:
    """A column with the values of an expression; without a title it is asked for its labels only."""

    name: str
    title: str
    expr: str
    unit: str = None
    states: dict = None
    thresholds: list = None
    missing: str = "unknown"
    missing_colour: str = PURPLE
    width: int = None
    link: dict = None


# What a column may shrink to, so that all of them fit, and what "a few seconds ago" needs.
NARROW = 70
OF_AGES = 145


class _Options(table_models.Options):
    """Options of a table with pages, where Grafana 12.0 and 12.1 look for it (the footer) and where later ones do."""

    def to_json(self):
        return super().to_json() | {"enablePagination": True}


class _Table(tables.Panel):
    def build(self):
        panel = super().build()
        panel.options = _Options(**vars(panel.options))
        return panel


def _override(column):
    found = []
    if isinstance(column, Label):
        found.append(_property("noValue", column.empty))
        found.append(_property("mappings", words(column.words, column.empty, PLAIN)))
        # Only where people choose rows by it: the sign for it takes room that headings need.
        if column.filterable:
            found.append(_property("custom.filterable", True))
        if column.words and any(colour for _, colour in column.words.values()):
            found.append(_property("custom.cellOptions", common.TableColorTextCellOptions()))
        elif column.wrap:
            # Grafana 12.0 and 12.1 look into the options of the cell, later ones beside them.
            found.append(_property("custom.cellOptions", common.TableAutoCellOptions(wrap_text=True)))
            found.append(_property("custom.wrapText", True))
    else:
        unit = column.unit or _unit(Query(column.expr))
        found.append(_property("unit", unit))
        if unit == "dateTimeFromNow" and not column.width:
            found.append(_property("custom.width", OF_AGES))
        found.append(_property("mappings", words(column.states, column.missing, column.missing_colour)))
        if column.thresholds:
            found.append(_property("thresholds", _thresholds(column.thresholds)))
        if column.states or column.thresholds:
            found.append(_property("custom.cellOptions", common.TableColorTextCellOptions()))
        if column.states and not column.thresholds:
            found.append(_property("custom.align", common.FieldTextAlignment.LEFT))
    if column.width:
        found.append(_property("custom.width", column.width))
    if column.link:
        found.append(_property("links", [column.link]))
    return found


def table(title, width, text, *columns, sort=(), missing="no data"):
    """A table with pages. Rows of several queries that have the same labels become one."""
    values = [column for column in columns if isinstance(column, Value)]
    asked = [Query(column.expr) for column in values]
    builder = _common(_Table(), title, text, asked, "none", NEUTRAL, words(None, missing), missing)
    transformations = []
    if len(values) > 1:
        transformations.append(dashboard.DataTransformerConfig(id_val="merge", options={}))
    fields = {
        column.name if isinstance(column, Label) else f"Value #{column.name}" if len(values) > 1 else "Value": column
        for column in columns
    }
    hidden = {name: True for name, column in fields.items() if column.title is None}
    hidden |= {"Time": True, "__name__": True}
    transformations.append(dashboard.DataTransformerConfig(id_val="organize", options={
        "excludeByName": hidden,
        "indexByName": {name: index for index, name in enumerate(fields)},
        "renameByName": {name: column.title for name, column in fields.items() if column.title},
    }))
    builder = (
        builder.transformations(transformations)
        .min_width(NARROW)
        .override_by_regexp(".*", [_property("custom.wrapHeaderText", True)])
        .cell_height(common.TableCellHeight.SM)
        .footer(common_builders.TableFooterOptions().show(False).reducer([]).enable_pagination(True))
        .color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
    )
    for column in values:
        builder = builder.with_target(_target(Query(column.expr), column.name, instant=True, is_table=True))
    for column in columns:
        if column.title:
            builder = builder.override_by_name(column.title, _override(column))
    if sort:
        states = [common_builders.TableSortByFieldState().display_name(name).desc(down) for name, down in sort]
        builder = builder.sort_by(states)
    return _placed(builder, width, asked)


def matrix(title, width, text, expr, row, column, states, missing):
    """A table with a row for each value of one label and a column for each value of another."""
    asked = [Query(expr)]
    builder = _common(_Table(), title, text, asked, "none", steps((None, PURPLE)), words(states, "·", PLAIN), missing)
    options = {"rowField": row, "columnField": column, "valueField": "Value", "emptyValue": "null"}
    builder = (
        builder.transformations([dashboard.DataTransformerConfig(id_val="groupingToMatrix", options=options)])
        .cell_height(common.TableCellHeight.SM)
        .cell_options(common.TableColorTextCellOptions())
        .align(common.FieldTextAlignment.CENTER)
        .min_width(NARROW)
        .override_by_name(f"{row}\\{column}", [
            _property("displayName", "Server"),
            _property("custom.cellOptions", common.TableAutoCellOptions()),
            _property("custom.align", common.FieldTextAlignment.LEFT),
            _property("custom.width", 200),
        ])
        .sort_by([common_builders.TableSortByFieldState().display_name("Server").desc(False)])
        .footer(common_builders.TableFooterOptions().show(False).reducer([]).enable_pagination(True))
        .color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .with_target(_target(asked[0], "A", instant=True, is_table=True))
    )
    return _placed(builder, width, asked)
