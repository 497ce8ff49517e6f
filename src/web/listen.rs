//! Opening the sockets that are listened on.
//!
//! `[::]` takes IPv4 as well, whatever the system's default is, and becomes
//! `0.0.0.0` where there is no IPv6: one default address works everywhere.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tracing::{info, warn};

/// Connections that the system keeps for us until they are accepted.
const BACKLOG: i32 = 1024;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address as configured.
    pub address: SocketAddr,
    /// What the system says.
    pub source: io::Error,
}

/// Opens a listener for each address. The order is kept.
pub(super) fn open_all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, BindError> {
    addresses.iter().map(|&address| open(address, addresses)).collect()
}

/// `all` are the addresses listened on in the end.
fn open(address: SocketAddr, all: &[SocketAddr]) -> Result<TcpListener, BindError> {
    let failed = |source| BindError { address, source };
    let listener = match open_socket(address, all) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && no_ipv6(&error) => {
            let instead = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            warn!(%address, %instead, %error, "there is no IPv6 here, listening on IPv4 only");
            open_socket(instead, all)
        }
        result => result,
    }
    .map_err(failed)?;
    info!(address = %listener.local_addr().map_err(failed)?, "listening");
    Ok(listener)
}

fn open_socket(address: SocketAddr, all: &[SocketAddr]) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!takes_ipv4(address, all))?;
    }
    // Elsewhere this option lets another program take the address over.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Whether the socket for the IPv6 `address` also takes IPv4: when it is for every interface, and
/// IPv4 on that port has no listener of its own, which would be in its way.
fn takes_ipv4(address: SocketAddr, all: &[SocketAddr]) -> bool {
    let in_the_way = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
    address.ip().is_unspecified() && (address.port() == 0 || !all.iter().any(in_the_way))
}

/// Whether `error` says that the system has no IPv6, rather than that the port is taken or
/// forbidden, which IPv4 would not change.
fn no_ipv6(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ipv4_is_taken_along_unless_it_has_its_own_listener() {
        let cases: &[(&str, &[&str], bool)] = &[
            ("[::]:7777", &["[::]:7777"], true),
            ("[::]:7777", &["[::]:7777", "0.0.0.0:7778"], true),
            ("[::]:7777", &["0.0.0.0:7777", "[::]:7777"], false),
            ("[::]:7777", &["[::]:7777", "127.0.0.1:7777"], false),
            ("[::]:0", &["[::]:0", "127.0.0.1:0"], true),
            ("[::1]:7777", &["[::1]:7777"], false),
        ];
        for (one, all, expected) in cases {
            let all: Vec<_> = all.iter().map(|text| address(text)).collect();
            assert_eq!(takes_ipv4(address(one), &all), *expected, "{one} among {all:?}");
        }
    }

    #[test]
    fn only_missing_ipv6_is_a_reason_for_ipv4() {
        for kind in [io::ErrorKind::AddrNotAvailable, io::ErrorKind::Unsupported] {
            assert!(no_ipv6(&kind.into()), "{kind}");
        }
        for kind in [io::ErrorKind::AddrInUse, io::ErrorKind::PermissionDenied] {
            assert!(!no_ipv6(&kind.into()), "{kind}");
        }
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let first = open_all(&[address("127.0.0.1:0")]).unwrap();
        let taken = first[0].local_addr().unwrap();
        let error = open_all(&[taken]).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on {taken}"));
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn every_interface_means_both_families() {
        let listeners = open_all(&[address("[::]:0")]).unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        if listeners[0].local_addr().unwrap().is_ipv6() {
            tokio::net::TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, port)).await.unwrap();
        }
    }
}
