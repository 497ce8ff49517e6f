//! Finds the other servers of a cluster by the routes to them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::config::{Config, Target};
use crate::scrape::Scrape;

/// Targets for servers that have a route to one that was asked, and were not asked themselves.
///
/// They are asked as the target that knows them is: with its scheme, path, credentials and certificates, at its port or
/// at `port`. An address that is asked already is not asked twice, whatever answers there.
pub(super) fn targets(scrape: &Scrape, config: &Config, port: Option<u16>) -> Vec<Target> {
    let names: BTreeSet<&str> = scrape
        .snapshots
        .iter()
        .filter_map(|snapshot| Some(&*snapshot.learned.as_ref()?.server_name))
        .collect();
    let mut asked: BTreeSet<String> = config.targets.iter().map(Target::address).collect();
    let mut found = Vec::new();
    for snapshot in &scrape.snapshots {
        let Some(known_by) = config.targets.iter().find(|target| target.name == snapshot.target)
        else {
            continue;
        };
        let routes = snapshot.base.routez().into_iter().flat_map(|routez| &routez.routes);
        for route in routes {
            let is_known = route.remote_name.as_deref().is_some_and(|name| names.contains(name));
            let address: Option<IpAddr> = route.ip.as_deref().and_then(|ip| ip.parse().ok());
            if let Some(address) = address.filter(|_| !is_known)
                && let Some(target) = at(known_by, address, port)
                && asked.insert(target.address())
            {
                found.push(target);
            }
        }
    }
    found
}

fn at(known_by: &Target, address: IpAddr, port: Option<u16>) -> Option<Target> {
    let mut target = known_by.clone();
    target.url.set_ip_host(address).ok()?;
    if port.is_some() {
        target.url.set_port(port).ok()?;
    }
    target.name = target.address();
    target.server = None;
    Some(target)
}
