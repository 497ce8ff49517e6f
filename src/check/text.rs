//! A report for people: a line for each server, and below what to do about the cluster.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use crate::report::words::{capital, duration, shown};
use crate::report::{Against, Cluster, Report, Server, Tier};

const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const MIDDLING: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const UNKNOWN: Style = AnsiColor::Magenta.on_default();

/// The whole report, or the part about the server `only`.
pub(super) fn report(report: &Report, only: Option<&str>) -> String {
    let mut text = String::new();
    let about = |server: &&Server| only.is_none_or(|only| server.name == only);
    for cluster in &report.clusters {
        let servers: Vec<&Server> = cluster.servers.iter().filter(about).collect();
        if !servers.is_empty() {
            if !text.is_empty() {
                text.push('\n');
            }
            write_cluster(&mut text, cluster, &servers);
        }
    }
    if report.clusters.is_empty() {
        for what in &report.unseen {
            let _ = writeln!(text, "{UNKNOWN}Not seen:{UNKNOWN:#} {}.", shown(what));
        }
    }
    if let (Some(only), true) = (only, text.is_empty()) {
        let names: Vec<String> = report.servers().map(|server| shown(&server.name)).collect();
        let _ = writeln!(
            text,
            "No server called {} was seen; seen are {}.",
            shown(only),
            names.join(", ")
        );
    }
    text
}

/// Why a restart of the server is waited for.
pub(super) fn waiting(report: &Report, name: &str) -> String {
    let servers: Vec<&Server> = report.servers().filter(|server| server.name == name).collect();
    let Some(server) = servers.first() else {
        return format!("waiting: {} is not seen", shown(name));
    };
    let reasons: Vec<&str> = server.restart.reasons.iter().map(|reason| reason.meaning).collect();
    let unseen = report.clusters.iter().find(|cluster| cluster.servers.contains(server));
    let unseen = unseen.map(|cluster| cluster.unseen.join("; ")).unwrap_or_default();
    let why = if reasons.is_empty() { shown(&unseen) } else { reasons.join("; ") };
    format!("waiting: {}: {why}", shown(name))
}

fn write_cluster(text: &mut String, cluster: &Cluster, servers: &[&Server]) {
    let name = if cluster.name.is_empty() { "not known".to_owned() } else { shown(&cluster.name) };
    let persistence = cluster.persistence.unwrap_or("no JetStream");
    let _ = writeln!(
        text,
        "{BOLD}Cluster {name}{BOLD:#}: base tier {}, persistence tier {}, restart of any one server {}",
        state(cluster.base),
        state(persistence),
        answer(cluster.restart)
    );
    if let Some(meta) = &cluster.meta {
        let _ = writeln!(
            text,
            "Meta group: {} leads, {} of {} members are current, {} are needed",
            shown(&meta.leader),
            meta.current,
            meta.size,
            meta.quorum
        );
    }
    let width = |column: fn(&Server) -> String| {
        servers.iter().map(|s| column(s).chars().count()).max().unwrap_or(0)
    };
    let widths = [width(name_of), width(base_of), width(persistence_of), width(facts_of)];
    for server in servers {
        write_server(text, server, widths);
    }
    let against_any: Vec<String> = cluster.against_any().iter().map(against).collect();
    if !against_any.is_empty() {
        let _ = writeln!(text, "{BAD}Against any restart:{BAD:#} {}.", against_any.join("; "));
    }
    for what in &cluster.unseen {
        let _ = writeln!(text, "{UNKNOWN}Not seen:{UNKNOWN:#} {}.", shown(what));
    }
    write_advice(text, cluster);
}

fn write_server(text: &mut String, server: &Server, widths: [usize; 4]) {
    let [name, base, persistence, facts] = widths;
    let tier = |text: String, state: &str, width: usize| {
        let style = style_of(state);
        format!("{style}{text:width$}{style:#}")
    };
    let worst = server.persistence.as_ref().map_or("no JetStream", |tier| tier.state);
    let _ = write!(
        text,
        "  {:name$}  {}  {}  {:facts$}  restart {}",
        name_of(server),
        tier(base_of(server), server.base.state, base),
        tier(persistence_of(server), worst, persistence),
        facts_of(server),
        answer(server.restart.answer)
    );
    let mut why: Vec<String> = server.restart.of("server").map(against).collect();
    if why.is_empty() && !server.restart.reasons.is_empty() {
        why.push("see below".to_owned());
    }
    why.extend(server.restart.note.map(str::to_owned));
    if !why.is_empty() {
        let _ = write!(text, ": {}", why.join("; "));
    }
    text.push('\n');
}

fn write_advice(text: &mut String, cluster: &Cluster) {
    if cluster.advice.troubles.is_empty() {
        let what = match cluster.restart {
            "safe" => {
                "Nothing is wrong. Restart one server at a time, and check again before the next."
            }
            "unsafe" => {
                "Nothing is broken, but not every server can be spared now: see the lines above."
            }
            _ => "Nothing is known to be wrong, and not everything was seen: treat that as a no.",
        };
        let _ = writeln!(text, "{what}");
    }
    for trouble in &cluster.advice.troubles {
        let _ = writeln!(
            text,
            "{BOLD}{} tier:{BOLD:#} {}.",
            capital(trouble.layer),
            shown(&trouble.wrong)
        );
        let _ = writeln!(text, "  First: {}", trouble.first);
        let _ = writeln!(text, "  {BAD}Not:{BAD:#}   {}", trouble.avoid);
        let _ = writeln!(text, "  More:  {}", trouble.runbook);
    }
}

fn against(reason: &Against) -> String {
    format!("{} ({})", reason.meaning, shown(&reason.subjects()))
}

fn name_of(server: &Server) -> String {
    shown(&server.name)
}

fn base_of(server: &Server) -> String {
    format!("base {}", tier_text(&server.base))
}

fn persistence_of(server: &Server) -> String {
    server.persistence.as_ref().map_or_else(
        || "no JetStream".to_owned(),
        |tier| format!("persistence {}", tier_text(tier)),
    )
}

fn tier_text(tier: &Tier) -> String {
    let reasons: Vec<&str> = tier.reasons.iter().map(|why| why.reason).collect();
    let state = word(tier.state);
    if reasons.is_empty() { state.to_owned() } else { format!("{state}: {}", reasons.join(", ")) }
}

/// Version, uptime, and what it has.
fn facts_of(server: &Server) -> String {
    let mut facts: Vec<String> = server.version.iter().map(|version| shown(version)).collect();
    facts.extend(server.uptime_seconds.map(|seconds| format!("up {}", duration(seconds))));
    facts.extend(server.streams.map(|streams| format!("{streams} streams")));
    if server.leads_meta {
        facts.push("meta leader".to_owned());
    }
    facts.join(", ")
}

fn style_of(state: &str) -> Style {
    match state {
        "ok" | "safe" => GOOD,
        "degraded" => MIDDLING,
        "down" | "unsafe" => BAD,
        "unknown" => UNKNOWN,
        _ => Style::new(),
    }
}

/// The state, the worst of all in capitals.
fn word(state: &str) -> &str {
    if state == "down" { "DOWN" } else { state }
}

fn state(state: &str) -> String {
    let style = style_of(state);
    format!("{style}{}{style:#}", word(state))
}

fn answer(answer: &str) -> String {
    let style = style_of(answer);
    format!("{style}{}{style:#}", answer.to_uppercase())
}
