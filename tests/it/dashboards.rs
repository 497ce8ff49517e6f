//! The dashboards in `dashboards/`, checked without Grafana: their form, what their queries read, and whether each panel
//! shows something in the situation that it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::LazyLock;

use nats_harness::{repository, rules};
use regex::Regex;
use serde_json::Value;

use crate::alerts::{counters, promql, series};

#[path = "dashboards/live.rs"]
mod live;

/// The files, which are named like the uid of what is in them.
const UIDS: [&str; 4] = ["nats-overview", "nats-base", "nats-persistence", "nats-exporter"];

/// The newest schema that Grafana 12.0 knows. Later versions bring a dashboard up to theirs.
const SCHEMA: i64 = 41;

/// What Grafana 12 and 13 have and no plugin is needed for.
const PANELS: [&str; 5] = ["stat", "gauge", "timeseries", "state-timeline", "table"];

/// A variable of the dashboard, those of Grafana left out.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\$\{?([a-z]\w*)").unwrap());

/// A variable, those of Grafana included: `${name}`, `${name:format}` or `$name`.
static ANY_VARIABLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$\{\w+(:\w+)?\}|\$\w+").unwrap());

/// A link of a panel or a cell to a dashboard, in two parts.
static LINK: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#""/d/([\w-]+)\?([^"]*)""#).unwrap());

/// The smallest share of servers that is a majority; nobody has a thousand.
const MAJORITY: f64 = 0.501;

/// What every alert has, besides the labels of its rule.
const OF_ALERTS: [&str; 19] = [
    "alertname",
    "alertstate",
    "severity",
    "tier",
    "scope",
    "restart",
    "nats_cluster",
    "server",
    "account",
    "stream",
    "consumer",
    "peer",
    "remote",
    "endpoint",
    "job",
    "instance",
    "path",
    "target",
    "persistentvolumeclaim",
];

/// A query of a panel, an annotation or a variable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Query {
    /// Dashboard, panel and query, for messages.
    place: String,
    /// As it is in the file.
    expr: String,
}

impl Query {
    /// The expression as Grafana sends it when `value` is chosen in every variable.
    fn with(&self, value: &str) -> String {
        let times = [("$__rate_interval", "20s"), ("$__interval", "5s"), ("$__range", "5m")];
        let expr = times.iter().fold(self.expr.clone(), |e, (name, time)| e.replace(name, time));
        ANY_VARIABLE.replace_all(&expr, regex::NoExpand(value)).into_owned()
    }
}

fn dashboards() -> Vec<(&'static str, Value)> {
    let read = |uid: &'static str| {
        let path = repository().join("dashboards").join(format!("{uid}.json"));
        let text = fs::read_to_string(&path).unwrap();
        (uid, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{uid}: {error}")))
    };
    UIDS.into_iter().map(read).collect()
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value[key].as_array().into_iter().flatten()
}

/// Text that has to be there.
fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// Rows and panels, those in closed rows too.
fn placed(dashboard: &Value) -> Vec<&Value> {
    list(dashboard, "panels")
        .flat_map(|top| std::iter::once(top).chain(list(top, "panels")))
        .collect()
}

/// Every panel with its dashboard, and where it is, for messages.
fn panels<'d>(dashboards: &'d [(&'static str, Value)]) -> Vec<(String, &'d Value)> {
    let of = |(uid, dashboard): &'d (&'static str, Value)| {
        let panels = placed(dashboard).into_iter().filter(|panel| panel["type"] != "row");
        panels.map(move |panel| (format!("{uid}: {}", text(panel, "title")), panel))
    };
    dashboards.iter().flat_map(of).collect()
}

fn queries_of_panels(dashboards: &[(&'static str, Value)]) -> Vec<Query> {
    let of = |(place, panel): (String, &Value)| {
        let targets = list(panel, "targets").map(move |target| Query {
            place: format!("{place}, {}", text(target, "refId")),
            expr: text(target, "expr").to_owned(),
        });
        targets.collect::<Vec<_>>()
    };
    panels(dashboards).into_iter().flat_map(of).collect()
}

fn queries_of_annotations(dashboards: &[(&'static str, Value)]) -> Vec<Query> {
    let of = |(uid, dashboard): &(&'static str, Value)| {
        let queries = list(&dashboard["annotations"], "list").map(|annotation| Query {
            place: format!("{uid}: annotation {}", text(annotation, "name")),
            expr: text(&annotation["target"], "expr").to_owned(),
        });
        queries.collect::<Vec<_>>()
    };
    dashboards.iter().flat_map(of).collect()
}

/// What the rules record, the exporter shows, and Prometheus has of its own.
fn known() -> promql::Series {
    let mut known = series();
    let mut add = |name: &str, labels: &[&str]| {
        known.insert(name.to_owned(), labels.iter().map(|label| (*label).to_owned()).collect());
    };
    add("ALERTS", &OF_ALERTS);
    add("scrape_samples_scraped", &["job", "instance"]);
    known
}

#[test]
fn dashboards_can_be_imported_as_they_are() {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(repository().join("dashboards")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        files.extend(name.strip_suffix(".json").map(str::to_owned));
    }
    assert_eq!(files, UIDS.map(str::to_owned).into());
    for (uid, dashboard) in dashboards() {
        assert_eq!(dashboard["uid"], uid);
        assert!(text(&dashboard, "title").starts_with("NATS / "), "{uid}");
        assert!(!text(&dashboard, "description").is_empty(), "{uid}");
        // Grafana gives ids of its own; inputs would be asked for in an import and not in provisioning.
        assert!(dashboard["id"].is_null() && dashboard["__inputs"].is_null(), "{uid}");
        assert_eq!(
            (&dashboard["schemaVersion"], &dashboard["editable"]),
            (&SCHEMA.into(), &false.into()),
            "{uid}"
        );
    }
}

#[test]
fn panels_are_placed_side_by_side() {
    for (uid, dashboard) in dashboards() {
        let (mut ids, mut taken) = (BTreeSet::new(), BTreeMap::new());
        for panel in placed(&dashboard) {
            let title = text(panel, "title");
            assert!(
                ids.insert(panel["id"].as_u64().unwrap()),
                "{uid}: the id of {title} is there twice"
            );
            let [x, y, width, height] =
                ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            assert!(width > 0 && height > 0 && x + width <= 24, "{uid}: {title} is outside");
            for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
                if let Some(other) = taken.insert(cell, title) {
                    panic!("{uid}: {title} lies on {other}");
                }
            }
        }
        // Nothing is left empty: the cells fill whole lines.
        assert_eq!(taken.len() % 24, 0, "{uid} has holes");
    }
}

#[test]
fn every_panel_says_what_it_shows_and_what_is_good() {
    for (place, panel) in panels(&dashboards()) {
        assert!(PANELS.contains(&text(panel, "type")), "{place} is a {}", panel["type"]);
        assert!(!text(panel, "title").is_empty(), "{place}");
        assert!(
            text(panel, "description").contains("**Good:**"),
            "{place} does not say what is good"
        );
        let defaults = &panel["fieldConfig"]["defaults"];
        assert!(!text(defaults, "unit").is_empty(), "{place} has no unit");
        assert!(list(panel, "targets").next().is_some(), "{place} asks nothing");
        let mut names = BTreeSet::new();
        for target in list(panel, "targets") {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{place}");
            assert!(names.insert(text(target, "refId")), "{place} has two queries of one name");
        }
    }
}

/// Where nothing is known, a panel says so in words, and is not green.
#[test]
fn no_data_is_never_green() {
    for (place, panel) in panels(&dashboards()) {
        let config = &panel["fieldConfig"];
        let missing = text(&config["defaults"], "noValue");
        assert!(missing.len() > 3 && missing.parse::<f64>().is_err(), "{place} says {missing:?}");
        let of_overrides = list(config, "overrides").flat_map(|o| list(o, "properties"));
        let of_overrides = of_overrides.filter(|property| property["id"] == "mappings");
        let mappings = std::iter::once(&config["defaults"]["mappings"])
            .chain(of_overrides.map(|p| &p["value"]));
        for mapping in mappings {
            let special = mapping.as_array().into_iter().flatten().find(|m| m["type"] == "special");
            let special =
                special.unwrap_or_else(|| panic!("{place} does not say how nothing looks"));
            assert_eq!(special["options"]["match"], "null+nan", "{place}");
            let colour = text(&special["options"]["result"], "color");
            assert!(
                ["purple", "blue", "text", "orange", "red"].contains(&colour),
                "{place}: nothing is {colour}"
            );
        }
        // What is below every limit may be green only where there is a value.
        let steps = &config["defaults"]["thresholds"]["steps"];
        assert!(
            steps[0]["value"].is_null() && steps.as_array().is_some_and(|s| !s.is_empty()),
            "{place}"
        );
    }
}

#[test]
fn variables_take_many_values_and_keep_to_the_data_source() {
    for (uid, dashboard) in dashboards() {
        let variables: Vec<_> = list(&dashboard["templating"], "list").collect();
        assert_eq!(
            (text(variables[0], "name"), text(variables[0], "type")),
            ("datasource", "datasource"),
            "{uid}"
        );
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for variable in &variables[1..] {
            let name = text(variable, "name");
            if variable["type"] == "textbox" {
                assert_eq!(variable["query"], ".*", "{uid}: {name} leaves something out");
            } else {
                assert_eq!(variable["type"], "query", "{uid}: {name}");
                assert_eq!(variable["datasource"]["uid"], "${datasource}", "{uid}: {name}");
                // With each change of the time range.
                assert_eq!(variable["refresh"], 2, "{uid}: {name}");
                let many = [
                    &variable["multi"],
                    &variable["includeAll"],
                    &(variable["allValue"] == ".*").into(),
                ];
                assert_eq!(many, [&Value::Bool(true); 3], "{uid}: {name}");
                let query = text(&variable["query"], "query");
                assert!(query.starts_with("label_values("), "{uid}: {name} asks {query}");
                for used in VARIABLE.captures_iter(query) {
                    assert!(
                        names.contains(&used[1]),
                        "{uid}: {name} asks for {}, which comes later",
                        &used[1]
                    );
                }
            }
            names.insert(name);
        }
        for query in queries_of_panels(&[(uid, dashboard.clone())]) {
            for used in VARIABLE.captures_iter(&query.expr) {
                assert!(
                    names.contains(&used[1]),
                    "{}: there is no variable {}",
                    query.place,
                    &used[1]
                );
            }
        }
        for name in names {
            let text = dashboard.to_string();
            let is_used = VARIABLE.captures_iter(&text).any(|used| &used[1] == name);
            assert!(is_used, "{uid}: nothing uses {name}");
        }
    }
}

#[test]
fn links_keep_selection_and_time_range() {
    for (uid, dashboard) in dashboards() {
        let mut to = BTreeSet::new();
        for link in list(&dashboard, "links") {
            assert_eq!(
                (&link["keepTime"], &link["includeVars"]),
                (&true.into(), &true.into()),
                "{uid}"
            );
            to.insert(text(link, "url").trim_start_matches("/d/").to_owned());
        }
        let others: BTreeSet<_> =
            UIDS.iter().filter(|o| **o != uid).map(|o| (*o).to_owned()).collect();
        assert_eq!(to, others, "{uid}");
        // Links in panels and cells.
        let text = dashboard.to_string();
        for link in LINK.captures_iter(&text) {
            assert!(UIDS.contains(&&link[1]), "{uid} leads to {}", &link[1]);
            assert!(
                link[2].contains("${__url_time_range}"),
                "{uid}: {} loses the time range",
                &link[0]
            );
        }
    }
}

#[test]
fn starts_elections_and_versions_are_marked() {
    for (uid, dashboard) in dashboards() {
        let names: Vec<_> =
            list(&dashboard["annotations"], "list").map(|a| text(a, "name")).collect();
        assert_eq!(names, ["Server started", "Meta leader elected", "Version changed"], "{uid}");
    }
}

#[test]
fn queries_read_what_there_is_whatever_is_chosen() {
    let dashboards = dashboards();
    let known = known();
    let counters = counters();
    let mut queries = queries_of_panels(&dashboards);
    assert!(queries.len() > 200, "only {} queries", queries.len());
    queries.extend(queries_of_annotations(&dashboards));
    for query in queries {
        let place = &query.place;
        for value in [".*", "(one|two\\\\.three)", "one"] {
            let expr = promql::parse(&query.with(value));
            let labels = promql::labels(&expr, &known);
            for (selector, around) in promql::selectors(&expr) {
                let name = promql::name(selector);
                let chosen = selector
                    .matchers
                    .matchers
                    .iter()
                    .any(|matcher| ["nats_cluster", "job"].contains(&matcher.name.as_str()));
                assert!(
                    chosen || !known[name].contains("nats_cluster"),
                    "{place}: {name} of all clusters"
                );
                let as_rate = promql::is_rate(&around);
                assert!(!counters.contains(name) || as_rate, "{place}: {name} is a counter");
            }
            // Series of two exporters for one server, or of two sidecars for one stream, would be two rows.
            let of_scrape = ["job", "instance"].iter().any(|label| labels.contains(*label));
            assert!(
                !of_scrape || place.starts_with("nats-exporter") || place.contains("exporter"),
                "{place}: {labels:?}"
            );
        }
    }
}

#[test]
fn legends_use_labels_that_are_there() {
    let known = known();
    let used = Regex::new(r"\{\{\s*(\w+)\s*\}\}").unwrap();
    for (place, panel) in panels(&dashboards()) {
        for target in list(panel, "targets") {
            let query = Query { place: place.clone(), expr: text(target, "expr").to_owned() };
            let labels = promql::labels(&promql::parse(&query.with(".*")), &known);
            for used in used.captures_iter(text(target, "legendFormat")) {
                assert!(
                    labels.contains(&used[1]),
                    "{place}: there is no label {} in {labels:?}",
                    &used[1]
                );
            }
        }
    }
}

/// A label that no column is named after would be a column all the same, behind the others.
#[test]
fn tables_have_no_column_without_a_title() {
    let known = known();
    let mut tables = 0;
    for (place, panel) in panels(&dashboards()) {
        let organized = list(panel, "transformations").find(|step| step["id"] == "organize");
        let Some(organized) = organized.filter(|_| panel["type"] == "table") else { continue };
        tables += 1;
        let named = |label: &String| {
            ["renameByName", "excludeByName"]
                .iter()
                .any(|o| !organized["options"][o][label].is_null())
        };
        for target in list(panel, "targets") {
            let query = Query { place: place.clone(), expr: text(target, "expr").to_owned() };
            let labels = promql::labels(&promql::parse(&query.with(".*")), &known);
            let bare: Vec<_> = labels.iter().filter(|label| !named(label)).collect();
            assert!(bare.is_empty(), "{place}: {bare:?}");
        }
    }
    assert!(tables > 10, "{tables}");
}

/// The numbers in the expressions of an alert, products multiplied.
fn numbers(expr: &str) -> Vec<f64> {
    let product = Regex::new(r"\d+(?:\.\d+)?(?: \* \d+(?:\.\d+)?)*").unwrap();
    let factors = |product: &str| product.split(" * ").map(|f| f.parse::<f64>().unwrap()).product();
    product.find_iter(expr).map(|found| factors(found.as_str())).collect()
}

/// Colours change where alerts begin, and panels name the alerts that watch what they show.
#[test]
fn limits_are_those_of_the_alerts() {
    let rules = rules::FILES.iter().flat_map(|file| rules::read(file).unwrap().groups);
    let mut alerts: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for rule in rules.flat_map(|group| group.rules) {
        if let Some(name) = rule.alert {
            alerts.entry(name).or_default().extend(numbers(&rule.expr));
        }
    }
    let named = Regex::new(r"docs/runbooks/(\w+)\.md").unwrap();
    let mut shown = BTreeSet::new();
    let mut limits = 0;
    for (place, panel) in panels(&dashboards()) {
        let own: BTreeSet<String> =
            named.captures_iter(text(panel, "description")).map(|n| n[1].to_owned()).collect();
        for name in &own {
            assert!(alerts.contains_key(name), "{place} names {name}, which is no alert");
        }
        let of_overrides =
            list(&panel["fieldConfig"], "overrides").flat_map(|o| list(o, "properties"));
        let of_overrides = of_overrides.filter(|p| p["id"] == "thresholds").map(|p| &p["value"]);
        for thresholds in of_overrides.chain([&panel["fieldConfig"]["defaults"]["thresholds"]]) {
            for limit in list(thresholds, "steps").filter_map(|step| step["value"].as_f64()) {
                // Whether there is one at all is no limit of an alert, and a majority is more than a half.
                if (limit.fract() == 0.0 && limit.abs() <= 1.0) || limit == MAJORITY {
                    continue;
                }
                limits += 1;
                let of_alert = own.iter().flat_map(|name| &alerts[name]);
                // A hair beside the limit, where more than it is the trouble.
                let near = |number: &f64| (number - limit).abs() <= 0.002 * limit.abs().max(1.0);
                assert!(of_alert.clone().any(near), "{place}: {limit} is none of {own:?}");
            }
        }
        shown.extend(own);
    }
    assert!(limits > 20, "only {limits} limits");
    // It fires when everything is well.
    shown.insert("NatsAlertingWatchdog".to_owned());
    let unseen: Vec<_> = alerts.keys().filter(|name| !shown.contains(*name)).collect();
    assert_eq!(unseen, Vec::<&String>::new(), "no panel shows these");
}
