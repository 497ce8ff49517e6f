//! `nats-exporter healthcheck`: asks the exporter beside it whether it can be scraped.
//!
//! It is for containers, which have no shell and no curl. It asks `/-/ready`, because Docker's "healthy" is what
//! others wait for (`depends_on`) and send requests by. That answer does not depend on any NATS server, so an outage of
//! theirs never makes the exporter unhealthy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::cli::Flags;
use crate::config::{Config, ConfigError, process_environment};
use crate::nats::client::install_crypto_provider;

/// Far longer than an answer takes that needs nobody else, and shorter than Docker waits.
const PATIENCE: Duration = Duration::from_secs(4);

/// Why the exporter is not known to be healthy.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// It cannot be told where the exporter listens.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It listens on a port that the system chose.
    #[error(
        "web.listen_addresses: port 0 is another one at every start; write a port for the \
         exporter to be found at"
    )]
    NoPort,
    /// It does not answer.
    #[error("the exporter does not answer at {url}: {source}")]
    NoAnswer {
        /// What was asked.
        url: String,
        /// Why there was no answer.
        source: reqwest::Error,
    },
    /// It says that it is not ready, or it is not the exporter who answers.
    #[error("{url} answers with {status}")]
    Status {
        /// What was asked.
        url: String,
        /// The status of HTTP.
        status: u16,
    },
}

/// Asks the exporter that was started with the same flags, file and environment.
///
/// # Errors
/// When it is not ready, or cannot be asked.
pub async fn run(flags: &Flags) -> Result<(), Unhealthy> {
    let addresses = Config::listen_addresses(flags, process_environment())?;
    let address = addresses.into_iter().find(|a| a.port() != 0).ok_or(Unhealthy::NoPort)?;
    install_crypto_provider();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE);
    let unanswered = |url: &str, source| Unhealthy::NoAnswer { url: url.to_owned(), source };
    let client = client.build().map_err(|source| unanswered("its address", source))?;
    let mut failure = Unhealthy::NoPort;
    for address in reachable(address) {
        let url = format!("http://{address}/-/ready");
        failure = match client.get(&url).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => Unhealthy::Status { url, status: answer.status().as_u16() },
            Err(source) => unanswered(&url, source.without_url()),
        };
    }
    Err(failure)
}

/// Where something is found that listens on `address`. Every IPv6 address means every IPv4 address as well, and only
/// that where there is no IPv6.
fn reachable(address: SocketAddr) -> Vec<SocketAddr> {
    let ips: Vec<IpAddr> = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![Ipv4Addr::LOCALHOST.into()],
        IpAddr::V6(ip) if ip.is_unspecified() => {
            vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]
        }
        ip => vec![ip],
    };
    ips.into_iter().map(|ip| SocketAddr::new(ip, address.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_reached_over_the_loopback() {
        let cases: &[(&str, &[&str])] = &[
            ("[::]:7777", &["[::1]:7777", "127.0.0.1:7777"]),
            ("0.0.0.0:80", &["127.0.0.1:80"]),
            ("192.0.2.1:80", &["192.0.2.1:80"]),
        ];
        for (listened, expected) in cases {
            let found = reachable(listened.parse().unwrap());
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, *expected, "{listened}");
        }
    }
}
