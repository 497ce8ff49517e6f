//! The two lanes: a row for each server, a column for each tier, and whether it may be restarted.
//!
//! On a narrow screen the rows become cards. A table that is not shown as one is none for some
//! screen readers, so what is what is said by roles as well.

use std::fmt::{self, Formatter};

use super::cluster::write_name;
use super::escaped::{Escaped, Name, Probe};
use super::sign;
use crate::report::words::{capital, duration};
use crate::report::{Against, Cluster, Server, Tier};

/// The table of a cluster's servers. `number` is its place on the page.
pub(super) fn write_table(f: &mut Formatter<'_>, cluster: &Cluster, number: usize) -> fmt::Result {
    f.write_str("<table role=\"table\">\n<caption>")?;
    write_name(f, cluster)?;
    f.write_str(": its servers</caption>\n")?;
    f.write_str(HEAD)?;
    cluster.servers.iter().try_for_each(|server| write_row(f, server, number))?;
    f.write_str("</tbody>\n</table>\n")
}

const HEAD: &str = r#"<thead role="rowgroup">
<tr role="row">
<th scope="col" role="columnheader">Server</th>
<th scope="col" role="columnheader">Base tier: core messaging</th>
<th scope="col" role="columnheader">Persistence tier: JetStream</th>
<th scope="col" role="columnheader">Restart it?</th>
</tr>
</thead>
<tbody role="rowgroup">
"#;

fn write_row(f: &mut Formatter<'_>, server: &Server, number: usize) -> fmt::Result {
    let name = Name(&server.name);
    write!(f, "<tr role=\"row\">\n<th scope=\"row\" role=\"rowheader\">{name}")?;
    write_facts(f, server)?;
    write!(f, "<p class=\"small\"><a href=\"{}\">Its metrics</a></p>", Probe(&server.target))?;
    f.write_str("</th>\n<td role=\"cell\" data-label=\"Base tier\">")?;
    write_tier(f, &server.base)?;
    f.write_str("<p class=\"small\">Asked now.</p></td>\n")?;
    f.write_str("<td role=\"cell\" data-label=\"Persistence tier\">")?;
    write_persistence(f, server)?;
    f.write_str("</td>\n<td role=\"cell\" data-label=\"Restart it?\">")?;
    write_restart(f, server, number)?;
    f.write_str("</td>\n</tr>\n")
}

/// Version, uptime, and what it has.
fn write_facts(f: &mut Formatter<'_>, server: &Server) -> fmt::Result {
    let mut facts: Vec<String> =
        server.version.iter().map(|version| Escaped(version).to_string()).collect();
    facts.extend(server.uptime_seconds.map(|seconds| format!("up {}", duration(seconds))));
    facts.extend(server.streams.map(|streams| match streams {
        1 => "1 stream".to_owned(),
        streams => format!("{streams} streams"),
    }));
    if server.leads_meta {
        facts.push("meta leader".to_owned());
    }
    if facts.is_empty() { Ok(()) } else { write!(f, "<p class=\"small\">{}</p>", facts.join(", ")) }
}

fn write_tier(f: &mut Formatter<'_>, tier: &Tier) -> fmt::Result {
    write!(f, "{}", sign::state(tier.state))?;
    write_list(f, &tier.reasons, |f, why| {
        write!(f, "<code>{}</code> {}", Escaped(why.reason), Escaped(why.meaning))
    })
}

fn write_persistence(f: &mut Formatter<'_>, server: &Server) -> fmt::Result {
    let Some(tier) = &server.persistence else {
        return f.write_str("<p>JetStream is not configured.</p>");
    };
    write_tier(f, tier)?;
    match server.streams_age_seconds {
        // Younger than the page takes to arrive.
        Some(age) if age < 2.0 => f.write_str("<p class=\"small\">Streams: asked now.</p>"),
        Some(age) => write!(f, "<p class=\"small\">Streams: as of {} ago.</p>", duration(age)),
        None => f.write_str("<p class=\"small\">Its streams were not seen.</p>"),
    }
}

fn write_restart(f: &mut Formatter<'_>, server: &Server, number: usize) -> fmt::Result {
    let (sign, sentence) = sign::of_server(server);
    write!(f, "{sign}")?;
    if let Some(sentence) = sentence {
        write!(f, "<p>{sentence}</p>")?;
    }
    if let Some(note) = server.restart.note {
        write!(f, "<p>{}.</p>", Escaped(&capital(note)))?;
    }
    let own: Vec<&Against> = server.restart.of("server").collect();
    write_list(f, &own, |f, against| write_against(f, against))?;
    if server.restart.of("cluster").next().is_some() {
        write!(f, "<p><a href=\"#why-{number}\">What is said above</a> is against it.</p>")?;
    } else if server.restart.answer == "unknown" {
        write!(f, "<p><a href=\"#why-{number}\">What was not seen</a> could be against it.</p>")?;
    }
    Ok(())
}

/// A reason against a restart, and whom it is about.
pub(super) fn write_against(f: &mut Formatter<'_>, against: &Against) -> fmt::Result {
    write!(f, "{} ({})", Escaped(against.meaning), Name(&against.subjects()))
}

/// A list, if there is anything in it.
pub(super) fn write_list<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    write_item: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    f.write_str("<ul>")?;
    for item in items {
        f.write_str("<li>")?;
        write_item(f, item)?;
        f.write_str("</li>")?;
    }
    f.write_str("</ul>")
}
