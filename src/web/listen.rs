//! Opening the sockets that are listened on.
//!
//! `[::]` takes IPv4 as well, whatever the system's default is, and becomes
//! `0.0.0.0` where there is no IPv6: one default address works everywhere. Sockets
//! can also be at a path, or come from systemd.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::{fmt, fs, io};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tracing::{debug, info, warn};

use crate::config::{ListenAddress, Web};

/// Connections that the system keeps for us until they are accepted.
const BACKLOG: i32 = 1024;

/// Bits at the end of an IPv6 address that a client may choose as it likes.
const CLIENT_BITS: u32 = 64;

/// The exporter cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Address {
        /// The address as configured.
        address: ListenAddress,
        /// What the system says.
        source: io::Error,
    },
    /// There is nothing from systemd.
    #[error(
        "web.systemd_socket is set, and systemd has handed over no socket; start the exporter by its \
         socket unit, or take the setting out"
    )]
    NoSocket,
    /// What systemd has handed over cannot be used.
    #[error("socket {number} of systemd is none that takes connections (ListenStream=)")]
    Socket {
        /// Which of the sockets, from 1.
        number: usize,
        /// What the system says.
        source: io::Error,
    },
}

/// A connection, whatever it runs over.
pub(super) type Stream = Box<dyn Connection>;

/// What is needed of a connection.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin> Connection for C {}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// Somebody on the network.
    Network(SocketAddr),
    /// Somebody on this machine, through a Unix socket.
    Local,
}

/// Whoever may be the same client as another; nothing for everybody on this machine.
pub(super) type Origin = Option<IpAddr>;

impl Peer {
    /// The IP address, and of one of IPv6 the network: a client has that for itself.
    pub(super) fn origin(self) -> Origin {
        let Self::Network(address) = self else { return None };
        Some(match address.ip().to_canonical() {
            IpAddr::V6(address) => {
                IpAddr::V6((address.to_bits() & (u128::MAX << CLIENT_BITS)).into())
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => address.fmt(f),
            Self::Local => f.write_str("unix"),
        }
    }
}

/// An open listener.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    /// The file is removed in the end, unless it is somebody else's.
    Unix(UnixListener, Option<PathBuf>),
}

impl Listener {
    /// The next connection, and who is at its other end.
    pub(super) fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Stream, Peer)>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(context).map_ok(|(stream, peer)| {
                // Answers are written in large pieces; waiting to fill a packet only delays.
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(%peer, %error, "the connection will be slower");
                }
                (Box::new(stream) as Stream, Peer::Network(peer))
            }),
            Self::Unix(listener, _) => listener
                .poll_accept(context)
                .map_ok(|(stream, _)| (Box::new(stream) as Stream, Peer::Local)),
        }
    }

    /// Where it listens, with the real port.
    pub(super) fn address(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            Self::Unix(listener, _) => {
                let address = listener.local_addr()?;
                Ok(ListenAddress::Unix(address.as_pathname().unwrap_or(Path::new("")).to_owned()))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, Some(path)) = self
            && let Err(error) = fs::remove_file(&path)
        {
            debug!(path = %path.display(), %error, "the socket is left behind");
        }
    }
}

/// Opens what the configuration says. The order is kept.
pub(super) fn open_all(web: &Web) -> Result<Vec<Listener>, BindError> {
    let listeners = if web.systemd_socket { inherited()? } else { open_addresses(web)? };
    for listener in &listeners {
        if let Ok(address) = listener.address() {
            info!(%address, "listening");
        }
    }
    Ok(listeners)
}

fn open_addresses(web: &Web) -> Result<Vec<Listener>, BindError> {
    let tcp = |address: &ListenAddress| match address {
        ListenAddress::Tcp(address) => Some(*address),
        ListenAddress::Unix(_) => None,
    };
    let all: Vec<SocketAddr> = web.listen_addresses.iter().filter_map(tcp).collect();
    let open = |address: &ListenAddress| {
        let listener = match address {
            ListenAddress::Tcp(address) => open_tcp(*address, &all).map(Listener::Tcp),
            ListenAddress::Unix(path) => open_unix(path),
        };
        listener.map_err(|source| BindError::Address { address: address.clone(), source })
    };
    web.listen_addresses.iter().map(open).collect()
}

/// The sockets that systemd has opened. They are given away once.
fn inherited() -> Result<Vec<Listener>, BindError> {
    let mut given = ListenFd::from_env();
    if given.len() == 0 {
        return Err(BindError::NoSocket);
    }
    let mut take = |at| -> io::Result<Option<Listener>> {
        if let Ok(listener) = given.take_tcp_listener(at) {
            let Some(listener) = listener else { return Ok(None) };
            listener.set_nonblocking(true)?;
            return TcpListener::from_std(listener).map(|l| Some(Listener::Tcp(l)));
        }
        let Some(listener) = given.take_unix_listener(at)? else { return Ok(None) };
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(|l| Some(Listener::Unix(l, None)))
    };
    let mut listeners = Vec::new();
    let mut at = 0;
    while let Some(listener) =
        take(at).map_err(|source| BindError::Socket { number: at + 1, source })?
    {
        listeners.push(listener);
        at += 1;
    }
    Ok(listeners)
}

/// Listens at a path. A socket that an exporter left there when it was killed is in nobody's use.
fn open_unix(path: &Path) -> io::Result<Listener> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && !is_listened_on(path)? {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    Ok(Listener::Unix(listener, Some(path.to_owned())))
}

fn is_listened_on(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        _ => Ok(true),
    }
}

/// `all` are the addresses listened on in the end.
fn open_tcp(address: SocketAddr, all: &[SocketAddr]) -> io::Result<TcpListener> {
    match open_socket(address, all) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && no_ipv6(&error) => {
            let instead = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            warn!(%address, %instead, %error, "there is no IPv6 here, listening on IPv4 only");
            open_socket(instead, all)
        }
        result => result,
    }
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
    use super::super::tests::listening as web;
    use super::*;

    #[test]
    fn the_addresses_that_a_client_has_are_of_one_origin() {
        let origin = |ip: &str| Peer::Network((ip.parse::<IpAddr>().unwrap(), 1).into()).origin();
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::2:3", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(origin(one) == origin(other), same, "{one} {other}");
        }
        assert_eq!(Peer::Local.origin(), None);
    }

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
        let first = open_all(&web(&["127.0.0.1:0"])).unwrap();
        let taken = first[0].address().unwrap().to_string();
        let error = open_all(&web(&[&taken])).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on {taken}"));
        let BindError::Address { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn a_path_is_taken_over_only_from_the_dead() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let at = format!("unix:{}", path.display());
        let first = open_all(&web(&[&at])).unwrap();
        assert!(open_all(&web(&[&at])).is_err(), "somebody listens there");
        drop(first);
        assert!(!path.exists(), "it is removed in the end");
        // Killed: the file stays.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(open_all(&web(&[&at])).unwrap());
        fs::write(&path, "a file of somebody").unwrap();
        assert!(open_all(&web(&[&at])).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file of somebody");
    }

    #[test]
    fn without_systemd_there_is_no_socket() {
        let web = Web { systemd_socket: true, ..web(&[":7777"]) };
        assert!(matches!(open_all(&web), Err(BindError::NoSocket)));
    }

    #[tokio::test]
    async fn every_interface_means_both_families() {
        let listeners = open_all(&web(&["[::]:0"])).unwrap();
        let ListenAddress::Tcp(address) = listeners[0].address().unwrap() else { panic!("TCP") };
        let port = address.port();
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        if address.is_ipv6() {
            tokio::net::TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, port)).await.unwrap();
        }
    }
}
