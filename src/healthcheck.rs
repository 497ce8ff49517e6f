//! `nats-exporter healthcheck`: asks the exporter beside it whether it can be scraped.
//!
//! It is for containers, which have no shell and no curl. It asks `/-/ready`, because Docker's "healthy" is what
//! others wait for (`depends_on`) and send requests by. That answer does not depend on any NATS server, so an outage of
//! theirs never makes the exporter unhealthy. Where the exporter asks for a password or a certificate, that it asks is
//! the answer: it does so only while it runs.

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::StatusCode;
use rustls::AlertDescription;

use crate::cli::Flags;
use crate::config::{Config, ConfigError, ListenAddress, process_environment};
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
    /// Where it listens is known to systemd only.
    #[error(
        "web.systemd_socket: where the exporter listens is known to systemd only; leave the setting \
         out here, and write the address with --web.listen-address"
    )]
    Systemd,
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
    let web = Config::web(flags, process_environment())?;
    if web.systemd_socket {
        return Err(Unhealthy::Systemd);
    }
    let has_port =
        |address: &ListenAddress| !matches!(address, ListenAddress::Tcp(a) if a.port() == 0);
    let address = web.listen_addresses.into_iter().find(has_port).ok_or(Unhealthy::NoPort)?;
    install_crypto_provider();
    // Nothing secret is sent, and the certificate need not be for the loopback.
    let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true);
    // An error of HTTP/2 does not say what TLS said.
    let client = client.http1_only().timeout(PATIENCE);
    let (client, hosts) = match address {
        ListenAddress::Tcp(address) => {
            (client, reachable(address).iter().map(ToString::to_string).collect())
        }
        ListenAddress::Unix(path) => (client.unix_socket(path), vec!["localhost".to_owned()]),
    };
    let unanswered = |url: &str, source| Unhealthy::NoAnswer { url: url.to_owned(), source };
    let client = client.build().map_err(|source| unanswered("its address", source))?;
    // The web configuration file may be another one than the exporter started with.
    let schemes: &[&str] = if web.config_file.is_some() { &["https", "http"] } else { &["http"] };
    let mut failure = Unhealthy::NoPort;
    for (host, (turn, scheme)) in
        hosts.iter().flat_map(|host| schemes.iter().enumerate().map(move |s| (host, s)))
    {
        let url = format!("{scheme}://{host}/-/ready");
        let found = match client.get(&url).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            // Whether it is ready is said to users only, and to those whose turn it is; but it runs.
            Ok(answer) if is_turned_away(answer.status()) => return Ok(()),
            Ok(answer) => Unhealthy::Status { url, status: answer.status().as_u16() },
            Err(source) if *scheme == "https" && wants_certificate(&source) => return Ok(()),
            Err(source) => unanswered(&url, source.without_url()),
        };
        // Where neither way gets an answer, the one that the file asks for tells more.
        if turn == 0 || matches!(found, Unhealthy::Status { .. }) {
            failure = found;
        }
    }
    Err(failure)
}

/// Whether an exporter answers like this who does not say whether it is ready.
fn is_turned_away(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS)
}

/// Whether the other side speaks TLS and ended it because we have no certificate.
fn wants_certificate(error: &reqwest::Error) -> bool {
    let is_set_up = !error.is_connect();
    let mut cause = error.source();
    while let Some(error) = cause {
        cause = error.source();
        // With TLS 1.3 a client is refused when it believes to be in. It may be waiting then, or about to send the
        // request, or writing, as below.
        let ended = |error: &hyper::Error| error.is_incomplete_message() || error.is_canceled();
        if error.downcast_ref::<hyper::Error>().is_some_and(ended) {
            return is_set_up;
        }
        let Some(mut error) = error.downcast_ref::<io::Error>() else { continue };
        // An error of TLS travels within one or two of I/O, which do not show it as their cause.
        while let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            error = inner;
        }
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        return match tls {
            Some(rustls::Error::AlertReceived(alert)) => matches!(
                alert,
                AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure
            ),
            Some(_) => false,
            None => {
                is_set_up
                    && matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
            }
        };
    }
    false
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
