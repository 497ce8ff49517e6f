//! Finds the other servers of a cluster by the routes to them.

use std::collections::BTreeSet;

use reqwest::Url;

use crate::config::Target;
use crate::nats::routez::Routez;
use crate::scrape::Scrape;
use crate::snapshot::Snapshot;

/// A server that was found.
pub(super) struct Found {
    /// How to ask it.
    pub(super) target: Target,
    /// Whether the address is only where a connection came from, which need not be the server's own. Then silence there
    /// says nothing; the server is missed by its name.
    pub(super) is_guess: bool,
}

/// Targets for servers of the same clusters that were not asked: the hosts of the configured routes, by name as they are
/// written there, and the addresses of servers that have a route and another name than all that were asked.
///
/// They are asked as the target that knows them is: with its scheme, path, credentials and certificates, at its port or
/// at `port`. An address that is asked already is not asked twice, whatever answers there.
pub(super) fn targets(scrape: &Scrape, known: &[Target], port: Option<u16>) -> Vec<Found> {
    let names: BTreeSet<&str> = scrape.snapshots.iter().filter_map(Snapshot::own_name).collect();
    let mut asked: BTreeSet<String> = known.iter().map(Target::address).collect();
    let mut found = Vec::new();
    for snapshot in scrape.snapshots.iter().filter(|snapshot| knows_more(snapshot, &names)) {
        let known_by = known.iter().find(|target| target.name == snapshot.target);
        for (host, is_guess) in hosts(snapshot, &names) {
            let target = known_by.and_then(|known_by| known_by.at(&host, port));
            if let Some(target) = target.filter(|target| asked.insert(target.address())) {
                found.push(Found { target, is_guess });
            }
        }
    }
    found
}

/// Whether the server has or misses routes to servers that were not asked.
fn knows_more(snapshot: &Snapshot, names: &BTreeSet<&str>) -> bool {
    let remotes = snapshot.base.routez().map(|routez| routez.remotes().into_keys().collect());
    let remotes: BTreeSet<&str> = remotes.unwrap_or_default();
    let connected = snapshot.base.routez().map_or(0, Routez::peers);
    let expected = snapshot.base.peers.as_ref().map_or(0, |peers| peers.expected);
    !remotes.is_subset(names) || connected.max(expected) >= names.len() as u64
}

/// Hosts, and whether each is a guess.
fn hosts(snapshot: &Snapshot, names: &BTreeSet<&str>) -> Vec<(String, bool)> {
    let configured = snapshot.base.varz().into_iter().flat_map(|varz| &varz.cluster.urls);
    // What is written there is host and port.
    let host = |url: &String| {
        Some((Url::parse(&format!("nats-route://{url}")).ok()?.host_str()?.to_owned(), false))
    };
    let is_asked = |name: &Option<String>| name.as_deref().is_some_and(|name| names.contains(name));
    let routes = snapshot.base.routez().into_iter().flat_map(|routez| &routez.routes);
    let strangers = routes.filter(|route| !is_asked(&route.remote_name));
    let addresses = strangers.filter_map(|route| Some((route.ip.clone()?, true)));
    configured.filter_map(host).chain(addresses).collect()
}
