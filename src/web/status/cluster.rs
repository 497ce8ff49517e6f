//! A cluster: the answer first, then what is wrong in which layer and what to do, then the servers.

use std::fmt::{self, Formatter};

use super::escaped::{Escaped, Name};
use super::servers::{write_against, write_list, write_table};
use super::sign;
use crate::report::advice::{RUNBOOKS, Trouble};
use crate::report::{Cluster, Tier};

/// The cluster, as it is called in a heading.
pub(super) fn write_name(f: &mut Formatter<'_>, cluster: &Cluster) -> fmt::Result {
    if cluster.name.is_empty() {
        f.write_str("Cluster of unknown name")
    } else {
        write!(f, "Cluster {}", Name(&cluster.name))
    }
}

/// The section of a cluster. `number` is its place on the page.
pub(super) fn write_cluster(
    f: &mut Formatter<'_>,
    cluster: &Cluster,
    number: usize,
) -> fmt::Result {
    writeln!(f, "<section aria-labelledby=\"cluster-{number}\">")?;
    write!(f, "<h2 id=\"cluster-{number}\">{} <span>", sign::of_cluster(cluster))?;
    write_name(f, cluster)?;
    writeln!(f, "</span></h2>\n<p>{}</p>", summary(cluster))?;
    f.write_str("<div class=\"layers\">\n")?;
    write_base(f, cluster)?;
    write_persistence(f, cluster)?;
    f.write_str("</div>\n")?;
    write_against_any(f, cluster, number)?;
    write_table(f, cluster, number)?;
    f.write_str("</section>\n")
}

/// What the answer for the whole cluster means just now.
fn summary(cluster: &Cluster) -> &'static str {
    let mut servers = cluster.servers.iter();
    let nothing_is_wrong = cluster.advice.troubles.is_empty();
    if servers.all(|server| server.base.state == "down") {
        return "No server answers: they are down, or this exporter is cut off from them.";
    }
    match cluster.restart {
        "safe" if nothing_is_wrong => {
            "Nothing is wrong. Restart one server, and look here again before the next."
        }
        "safe" => "A restart breaks nothing more. Whether it helps: see what to do first.",
        "unsafe" if nothing_is_wrong => {
            "Nothing is broken, but a restart would be a risk now: see below why."
        }
        "unsafe" => "A restart can make it worse. The table says of each server whether it would.",
        _ => "Not everything was seen that could be against a restart: see the list below.",
    }
}

fn write_base(f: &mut Formatter<'_>, cluster: &Cluster) -> fmt::Result {
    write_layer(f, cluster.base, "Base tier: core messaging")?;
    let tiers: Vec<&Tier> = cluster.servers.iter().map(|server| &server.base).collect();
    write_state(f, cluster.base, &tiers)?;
    write_trouble(f, cluster, "base", cluster.base)?;
    f.write_str("</div>\n")
}

fn write_persistence(f: &mut Formatter<'_>, cluster: &Cluster) -> fmt::Result {
    write_layer(f, cluster.persistence.unwrap_or("none"), "Persistence tier: JetStream")?;
    if let Some(state) = cluster.persistence {
        let tiers = cluster.servers.iter().filter_map(|server| server.persistence.as_ref());
        write_state(f, state, &tiers.collect::<Vec<_>>())?;
        write_trouble(f, cluster, "persistence", state)?;
    } else {
        f.write_str("<p>JetStream is not configured.</p>\n")?;
    }
    if let Some(meta) = &cluster.meta {
        writeln!(
            f,
            "<p class=\"small\">Meta group: {} leads, {} of {} current, {} needed.</p>",
            Name(&meta.leader),
            meta.current,
            meta.size,
            meta.quorum
        )?;
    }
    f.write_str("</div>\n")
}

/// The beginning of what is said of a layer.
fn write_layer(f: &mut Formatter<'_>, state: &str, title: &str) -> fmt::Result {
    writeln!(f, "<div class=\"layer {state}\">\n<h3>{title}</h3>")
}

/// The worst state, and on how many servers.
fn write_state(f: &mut Formatter<'_>, state: &str, tiers: &[&Tier]) -> fmt::Result {
    let such = tiers.iter().filter(|tier| tier.state == state).count();
    writeln!(f, "<p>{} on {such} of {}</p>", sign::state(state), tiers.len())
}

fn write_trouble(
    f: &mut Formatter<'_>,
    cluster: &Cluster,
    layer: &str,
    state: &str,
) -> fmt::Result {
    let mut troubles = cluster.advice.troubles.iter();
    match troubles.find(|trouble| trouble.layer == layer) {
        Some(trouble) => write_advice(f, trouble),
        None if state == "ok" => f.write_str("<p>Nothing is wrong.</p>\n"),
        // Such as a persistence tier that cannot be seen because its server is down.
        None => f.write_str("<p>This follows from the other tier: begin there.</p>\n"),
    }
}

fn write_advice(f: &mut Formatter<'_>, trouble: &Trouble) -> fmt::Result {
    let Trouble { wrong, first, avoid, runbook, .. } = trouble;
    let page = runbook.trim_start_matches(RUNBOOKS).trim_end_matches(".md");
    writeln!(f, "<p><strong>{}.</strong></p>", Escaped(wrong))?;
    writeln!(f, "<dl>\n<dt>What to do first</dt>\n<dd>{}</dd>", Escaped(first))?;
    writeln!(f, "<dt>What not to do</dt>\n<dd>{}</dd>\n</dl>", Escaped(avoid))?;
    writeln!(f, "<p>Runbook: <a href=\"{}\">{}</a></p>", Escaped(runbook), Escaped(page))
}

/// What is against a restart of any server, and what was not seen, once for all of them.
fn write_against_any(f: &mut Formatter<'_>, cluster: &Cluster, number: usize) -> fmt::Result {
    let against = cluster.against_any();
    if against.is_empty() && cluster.unseen.is_empty() {
        return Ok(());
    }
    writeln!(f, "<div class=\"why\" id=\"why-{number}\">")?;
    if !against.is_empty() {
        f.write_str("<h3>Against a restart of any server</h3>\n")?;
        write_list(f, &against, write_against)?;
    }
    if !cluster.unseen.is_empty() {
        f.write_str("<h3>Not seen, and could be against it</h3>\n")?;
        write_list(f, &cluster.unseen, |f, what| write!(f, "{}", Name(what)))?;
    }
    f.write_str("</div>\n")
}
