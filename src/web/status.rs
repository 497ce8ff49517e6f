//! The page at `/`: which layer is broken, would a restart make it worse, and where everything
//! else is.
//!
//! It shows a [`Report`] and decides nothing. One document that needs no scripts and nothing from
//! elsewhere, so that it works in every browser; it loads itself again. The text says everything,
//! and the [style] sheet makes it quick to see.

mod cluster;
mod escaped;
mod servers;
mod sign;
pub(super) mod style;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Formatter};

use self::cluster::write_cluster;
use self::escaped::{Escaped, Name, Probe};
use self::servers::write_list;
use super::backend::Shown;
use crate::report::Report;
use crate::report::advice::RUNBOOKS;
use crate::report::words::moment;

/// Seconds after which the page loads itself again, unless it is told to hold still.
const REFRESH: u32 = 15;

/// The query of a page that stays as it is, for those who read slowly or have it read to them.
pub(super) const HOLD: &str = "hold";

/// The page. `holds` keeps it from loading itself again.
pub(super) fn page(report: &Report, targets: &[Shown], holds: bool) -> String {
    Page { report, targets, holds }.to_string()
}

struct Page<'a> {
    report: &'a Report,
    targets: &'a [Shown],
    holds: bool,
}

impl Display for Page<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_head(f)?;
        f.write_str("<body>\n<header>\n<h1>NATS status</h1>\n")?;
        self.write_age(f)?;
        f.write_str("</header>\n<main>\n")?;
        if let (unseen @ [_, ..], []) = (&*self.report.unseen, &*self.report.clusters) {
            f.write_str("<p>Nobody was asked.</p>\n")?;
            write_list(f, unseen, |f, what| write!(f, "Not seen: {}.", Escaped(what)))?;
        } else if self.targets.is_empty() {
            f.write_str("<p>No targets are configured, so nobody was asked.</p>\n")?;
        } else if self.report.clusters.is_empty() {
            f.write_str("<p>Nothing was seen of any target; the log says why.</p>\n")?;
        }
        for (at, cluster) in self.report.clusters.iter().enumerate() {
            write_cluster(f, cluster, at + 1)?;
        }
        f.write_str("</main>\n<footer>\n")?;
        write_links(f, self.targets)?;
        f.write_str("</footer>\n</body>\n</html>\n")
    }
}

impl Page<'_> {
    fn write_head(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n",
        )?;
        if !self.holds {
            writeln!(f, "<meta http-equiv=\"refresh\" content=\"{REFRESH}\">")?;
        }
        f.write_str("<title>")?;
        // So that a tab in the background tells as well.
        if let [cluster] = self.report.clusters.as_slice() {
            write!(f, "{}: {} - ", sign::answer(cluster.restart), Escaped(&cluster.name))?;
        }
        writeln!(f, "NATS status</title>\n<style>{}</style>\n</head>", style::SHEET)
    }

    fn write_age(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("<p>")?;
        if let Some(moment) = moment(self.report.asked_at) {
            let text = moment.replace('T', " ").replace('Z', " UTC");
            write!(f, "The servers were asked at <time datetime=\"{moment}\">{text}</time>. ")?;
        }
        if self.holds {
            f.write_str("This page holds still: <a href=\"/\">ask again</a>.</p>\n")
        } else {
            write!(f, "They are asked again every {REFRESH} seconds: ")?;
            writeln!(f, "<a href=\"/?{HOLD}\">hold still</a>.</p>")
        }
    }
}

fn write_links(f: &mut Formatter<'_>, targets: &[Shown]) -> fmt::Result {
    f.write_str(LINKS)?;
    write!(f, "<li><a href=\"{RUNBOOKS}README.md\">Runbooks</a></li>\n</ul>\n")?;
    if !targets.is_empty() {
        f.write_str("<h2>Metrics of one target</h2>\n")?;
        write_list(f, targets, |f, Shown { name, url }| {
            write!(f, "<a href=\"{}\">{}</a> at {}", Probe(name), Name(name), Escaped(url))
        })?;
    }
    f.write_str(concat!(
        "\n</nav>\n<p>nats-exporter ",
        env!("CARGO_PKG_VERSION"),
        ": asks NATS servers how they are and tells Prometheus.</p>\n"
    ))
}

const LINKS: &str = concat!(
    r#"<nav aria-label="More">
<h2>More</h2>
<ul class="links">
<li><a href="/metrics">All metrics</a></li>
<li><a href="/metrics?tier=base">Base tier</a></li>
<li><a href="/metrics?tier=persistence">Persistence tier</a></li>
<li><a href="/-/healthy">Exporter alive</a></li>
<li><a href="/-/ready">Exporter ready</a></li>
<li><a href=""#,
    env!("CARGO_PKG_REPOSITORY"),
    "\">Documentation</a></li>\n"
);
