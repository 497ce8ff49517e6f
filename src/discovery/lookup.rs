//! Asks DNS as the system would: its name servers, its search domains and its hosts file.
//!
//! Unlike a resolver for connections it keeps "there is no such name" apart from "that is not known",
//! over all search domains: the first is an answer, the second is none. Nothing is cached, because it
//! is to be seen what has changed; and the files of the system are read anew each time, because a
//! look-up is rare.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;

/// A server that DNS tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    /// Its name, without a dot at the end, or its address.
    pub(super) host: String,
    /// Its port; nothing when DNS does not tell it.
    pub(super) port: Option<u16>,
    /// The addresses of the name.
    pub(super) addresses: Vec<IpAddr>,
}

impl Service {
    /// The one at `address`.
    pub(super) fn at(address: IpAddr) -> Self {
        Self { host: address.to_string(), port: None, addresses: Vec::new() }
    }
}

/// Asks DNS.
pub(super) struct Resolver {
    client: TokioResolver,
    /// What is put behind a name that is not whole, in this order.
    search: Vec<Name>,
    /// A name with so many dots is tried as it is first.
    dots: usize,
}

impl Resolver {
    /// Asks `nameserver`, or those of the system. What the system says of search domains holds in both
    /// cases, where it says anything.
    ///
    /// # Errors
    /// When the system's name servers are wanted and not known. The error is a sentence.
    pub(super) fn new(nameserver: Option<SocketAddr>) -> Result<Self, String> {
        let system = read_system_conf();
        let (config, mut options) = match nameserver {
            None => system.map_err(|error| format!("cannot use /etc/resolv.conf: {error}"))?,
            Some(nameserver) => {
                let (config, options) = system.unwrap_or_default();
                let (domain, search, _) = config.into_parts();
                let servers = vec![server(nameserver)];
                (ResolverConfig::from_parts(domain, search, servers), options)
            }
        };
        options.cache_size = 0;
        let search = match config.search() {
            [] => config.domain().cloned().into_iter().collect(),
            search => search.to_vec(),
        };
        let ResolverOpts { ndots: dots, .. } = options;
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let client = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { client, search, dots })
    }

    /// The addresses of `name`; none when it has none or does not exist.
    ///
    /// # Errors
    /// When that is not known.
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let found = self.first(name, &[RecordType::A, RecordType::AAAA]).await?;
        let address = |data: RData| match data {
            RData::A(address) => Some(IpAddr::from(address.0)),
            RData::AAAA(address) => Some(IpAddr::from(address.0)),
            _ => None,
        };
        let mut addresses: Vec<IpAddr> = found.into_iter().filter_map(address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses)
    }

    /// The services of `name` with the addresses of their hosts; none when it has none or does not
    /// exist.
    ///
    /// # Errors
    /// When that is not known, or one of the hosts cannot be looked up.
    pub(super) async fn services(&self, name: &str) -> Result<Vec<Service>, String> {
        let mut services = Vec::new();
        for data in self.first(name, &[RecordType::SRV]).await? {
            // A dot for a target says that there is no such service.
            let RData::SRV(service) = data else { continue };
            if service.target.is_root() {
                continue;
            }
            let whole = service.target.to_utf8();
            let addresses = self.addresses(&whole).await?;
            let host = whole.trim_end_matches('.').to_owned();
            services.push(Service { host, port: Some(service.port), addresses });
        }
        services.sort_unstable_by(|a, b| (&a.host, a.port).cmp(&(&b.host, b.port)));
        services.dedup_by(|a, b| (&a.host, a.port) == (&b.host, b.port));
        Ok(services)
    }

    /// The records of the first of the names that `name` can mean that has any.
    async fn first(&self, name: &str, types: &[RecordType]) -> Result<Vec<RData>, String> {
        let mut failed = None;
        for name in self.candidates(name)? {
            let mut records = Vec::new();
            let mut missing = None;
            for record_type in types {
                match self.records(&name, *record_type).await {
                    Ok(found) => records.extend(found),
                    Err(error) => missing = missing.or(Some(error)),
                }
            }
            // Some name servers answer nothing but an error when they are asked for IPv6.
            if !records.is_empty() {
                let is_partial = matches!(records.first(), Some(RData::AAAA(_)));
                return match missing {
                    Some(error) if is_partial => Err(error),
                    _ => Ok(records),
                };
            }
            failed = failed.or(missing);
        }
        failed.map_or_else(|| Ok(Vec::new()), Err)
    }

    async fn records(&self, name: &Name, record_type: RecordType) -> Result<Vec<RData>, String> {
        match self.client.lookup(name.clone(), record_type).await {
            Ok(lookup) => Ok(lookup
                .answers()
                .iter()
                .filter(|record| record.record_type() == record_type)
                .map(|record| record.data.clone())
                .collect()),
            Err(error) if is_answer(&error) => Ok(Vec::new()),
            Err(error) => Err(format!("{name} {record_type}: {error}")),
        }
    }

    /// The whole names that `name` can mean, in the order in which the system tries them.
    fn candidates(&self, name: &str) -> Result<Vec<Name>, String> {
        let parsed = Name::from_utf8(name).map_err(|error| format!("{name}: {error}"))?;
        if parsed.is_fqdn() {
            return Ok(vec![parsed]);
        }
        let mut whole = parsed.clone();
        whole.set_fqdn(true);
        // What becomes too long with a search domain cannot be meant.
        let longer =
            self.search.iter().filter_map(|domain| parsed.clone().append_domain(domain).ok());
        let mut names: Vec<Name> = longer.collect();
        let first = name.matches('.').count() >= self.dots;
        names.insert(if first { 0 } else { names.len() }, whole);
        Ok(names)
    }
}

fn server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

/// Whether the name server says that there is nothing.
fn is_answer(error: &NetError) -> bool {
    error.is_no_records_found()
}
