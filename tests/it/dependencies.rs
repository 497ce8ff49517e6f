//! What the program is made of: `docs/decisions/dependencies.md` says what each crate is for and counts what it brings,
//! `deny.toml` lists those that run code of their own while they are built.
//!
//! `UPDATE=1 cargo test` rewrites the counts and adds rows, whose purpose somebody has to write.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use serde::Deserialize;

use crate::support::is_update;

const PAGE: &str = "docs/decisions/dependencies.md";

/// For what images and archives are built.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// The table of the program's dependencies begins with this, the one of the tests' with the next.
const OF_PROGRAM: &str = "| crate | features | brings | alone | for | instead of |\n| --- | --- | --: | --: | --- | --- |\n";
const OF_TESTS: &str = "| for tests | for |\n| --- | --- |\n";

/// How the sentence with the counts begins.
const COUNT: &str = "The program is made of ";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

/// One line of a `Cargo.toml`.
#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    uses_default_features: bool,
    features: Vec<String>,
    /// Nothing for a crate of the workspace.
    source: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn metadata(arguments: &[&str]) -> Metadata {
    let all = [&["metadata", "--locked", "--format-version=1"], arguments].concat();
    serde_json::from_str(&cargo(&all)).expect("what cargo says can be read")
}

/// Who needs whom; a crate is its name and version.
struct Graph(BTreeMap<String, BTreeSet<String>>);

impl Graph {
    /// What the program is built of, by the kinds of edges that `cargo tree` knows.
    fn of_program(edges: &str) -> Self {
        let tree = cargo(&[
            "tree",
            "--locked",
            "--package=nats-exporter",
            "--target",
            TARGET,
            "--edges",
            edges,
            "--prefix=depth",
            "--no-dedupe",
            "--format=,{p}",
        ]);
        let mut graph = BTreeMap::<_, BTreeSet<_>>::new();
        let mut path: Vec<String> = Vec::new();
        for line in tree.lines() {
            let (depth, package) = line.split_once(',').expect("a depth and a crate");
            let name: Vec<&str> = package.split(' ').take(2).collect();
            let name = name.join(" ");
            path.truncate(depth.parse().expect("a number"));
            if let Some(parent) = path.last() {
                graph.entry(parent.clone()).or_default().insert(name.clone());
            }
            graph.entry(name.clone()).or_default();
            path.push(name);
        }
        Self(graph)
    }

    fn root(&self) -> &str {
        self.0.keys().find(|name| name.starts_with("nats-exporter ")).expect("the program")
    }

    /// The direct dependency with this name.
    fn direct(&self, name: &str) -> &str {
        let children = &self.0[self.root()];
        let found = children.iter().find(|child| child.split(' ').next() == Some(name));
        found.unwrap_or_else(|| panic!("{name} is in no tree"))
    }

    /// All that `start` needs, itself not counted, where nobody may need `without`.
    fn below<'a>(&'a self, start: &'a str, without: Option<&str>) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        let mut open = vec![start];
        while let Some(name) = open.pop() {
            let children = self.0[name].iter().map(String::as_str);
            open.extend(children.filter(|child| Some(*child) != without && found.insert(*child)));
        }
        found
    }
}

fn features(dependency: &Dependency) -> String {
    let default = dependency.uses_default_features.then_some("default");
    let features: Vec<_> =
        default.into_iter().chain(dependency.features.iter().map(String::as_str)).collect();
    features.join(", ")
}

/// What stands in the page before a table, the cells of its rows, and what stands behind it.
fn table<'a>(page: &'a str, head: &str) -> (&'a str, Vec<Vec<&'a str>>, &'a str) {
    let (before, rest) = page.split_once(head).unwrap_or_else(|| panic!("{PAGE} has no {head}"));
    let end = rest.find("\n\n").map_or(rest.len(), |end| end + 1);
    let cells = |line: &'a str| line.trim_matches('|').split('|').map(str::trim).collect();
    (before, rest[..end].lines().map(cells).collect(), &rest[end..])
}

/// The page with the features and counts of now.
fn counted(page: &str) -> String {
    let (before, rows, after) = table(page, OF_PROGRAM);
    let said: BTreeMap<_, _> = rows.iter().map(|cells| (cells[0], &cells[4..])).collect();
    let graph = Graph::of_program("normal,build");
    let all = graph.below(graph.root(), None).len();
    let linked = Graph::of_program("normal,no-proc-macro");
    let linked = linked.below(linked.root(), None).len();

    let mut page = String::new();
    for line in before.lines() {
        if line.starts_with(COUNT) {
            let building = all - linked;
            write!(
                page,
                "{COUNT}{linked} crates of others, and {building} more are needed to build it."
            )
        } else {
            page.write_str(line)
        }
        .expect("a string grows");
        page.push('\n');
    }
    page.push_str(OF_PROGRAM);
    for dependency in of_program() {
        let name = graph.direct(&dependency.name);
        let brings = graph.below(name, None).len();
        let alone = all - graph.below(graph.root(), Some(name)).len();
        let (purpose, instead) = match said.get(&*dependency.name) {
            Some([purpose, instead]) => (*purpose, *instead),
            _ => ("", ""),
        };
        let features = features(&dependency);
        let row = [
            &*dependency.name,
            &features,
            &brings.to_string(),
            &alone.to_string(),
            purpose,
            instead,
        ];
        writeln!(page, "| {} |", row.join(" | ")).expect("a string grows");
    }
    page + after
}

/// The direct dependencies of the program, in alphabetical order.
fn of_program() -> Vec<Dependency> {
    let packages = metadata(&["--no-deps"]).packages;
    let program = packages.into_iter().find(|package| package.name == "nats-exporter");
    let dependencies = program.expect("the program").dependencies.into_iter();
    let mut found: Vec<_> = dependencies.filter(|it| it.kind.as_deref() != Some("dev")).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

#[test]
fn the_page_counts_every_dependency_and_says_what_it_is_for() {
    let found = fs::read_to_string(PAGE).expect("the page");
    let expected = counted(&found);
    if is_update() {
        fs::write(PAGE, &expected).expect("it can be written");
    }
    let found = fs::read_to_string(PAGE).expect("the page");
    assert!(found == expected, "{PAGE} is old; `make docs` writes its counts:\n{expected}");
    assert!(found.contains(COUNT), "the page says how many there are");
    for cells in table(&found, OF_PROGRAM).1 {
        assert!(!cells[4].is_empty(), "{PAGE} does not say what {} is for", cells[0]);
    }
}

#[test]
fn the_page_says_what_tests_need_more() {
    let page = fs::read_to_string(PAGE).expect("the page");
    let rows: BTreeMap<_, _> =
        table(&page, OF_TESTS).1.into_iter().map(|cells| (cells[0].to_owned(), cells[1])).collect();
    let program: BTreeSet<_> = of_program().into_iter().map(|it| it.name).collect();
    let all = metadata(&["--no-deps"]).packages.into_iter().flat_map(|it| it.dependencies);
    let others = all.filter(|it| it.source.is_some() && !program.contains(&it.name));
    let others: BTreeSet<_> = others.map(|it| it.name).collect();
    assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), others);
    assert!(rows.values().all(|purpose| !purpose.is_empty()), "{rows:?}");
}

/// cargo-deny refuses a crate that is not in the list; here, one that is in it for nothing.
#[test]
fn the_list_of_what_runs_while_it_is_built_is_the_true_one() {
    let deny = config::Config::builder().add_source(config::File::with_name("deny.toml"));
    let list = deny.build().expect("TOML").get_array("bans.build.allow-build-scripts");
    let list = list.expect("a list").into_iter().map(|name| name.into_string().expect("a name"));
    let list: BTreeSet<_> = list.collect();

    // What cargo says of features that nobody wants is in its metadata, and not in its trees.
    let tree = ["tree", "--locked", "--workspace", "--edges=all", "--prefix=none", "--format={p}"];
    let platform = "x86_64-unknown-linux-gnu";
    let tree = cargo(&[&tree[..], &["--target", platform]].concat());
    let needed: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let packages = metadata(&["--filter-platform", platform]).packages.into_iter();
    let is_run = |it: &Package| it.targets.iter().any(|it| it.kind == ["custom-build"]);
    let running = packages.filter(|it| needed.contains(&*it.name) && is_run(it));
    assert_eq!(list, running.map(|it| it.name).collect());
}
