//! Free ports on the loopback interface.
//!
//! A server that was killed has to come back on its old port, so a port must stay ours while nothing
//! listens on it. Two things see to that: the ports lie below the range from which the kernel takes
//! those of outgoing connections, and each is marked by an abstract Unix socket, which excludes other
//! tests and other test processes and vanishes with the process.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::{Error, Result};

/// Between the ports of well-known services and the kernel's own (32768 and up by default).
const RANGE: std::ops::Range<u16> = 12_000..32_000;
const ATTEMPTS: usize = 2_000;

/// A free port, kept for its holder until dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _mark: UnixListener,
}

impl Port {
    /// Any free port.
    pub fn any() -> Result<Self> {
        let span = u64::from(RANGE.end - RANGE.start);
        (0..ATTEMPTS)
            .find_map(|_| {
                let random = RandomState::new().hash_one(std::process::id()) % span;
                Self::take(RANGE.start + u16::try_from(random).ok()?)
            })
            .ok_or(Error::NoPorts)
    }

    /// This port if it is free, else any.
    pub fn prefer(number: u16) -> Result<Self> {
        Self::take(number).map_or_else(Self::any, Ok)
    }

    /// The port's number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    fn take(number: u16) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("nats-harness-port-{number}")).ok()?;
        let mark = UnixListener::bind_addr(&name).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, _mark: mark })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_one_holder() {
        let port = Port::any().unwrap();
        assert!(Port::take(port.number()).is_none());
        let number = port.number();
        drop(port);
        assert!(Port::take(number).is_some());
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let port = Port::any().unwrap();
        let number = port.number();
        drop(port);
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).unwrap();
        assert_ne!(Port::prefer(number).unwrap().number(), number);
    }
}
