//! The addresses of the host that a client asks: looked up as the system does,
//! or put in by somebody else.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::watch;

/// The addresses of one host, which somebody else looks up and puts in: a request never waits for it.
#[derive(Debug, Clone, Default)]
pub struct Addresses(Arc<Mutex<Vec<IpAddr>>>);

impl Addresses {
    /// Puts in the newest ones.
    pub fn set(&self, addresses: Vec<IpAddr>) {
        *lock(&self.0) = addresses;
    }
}

impl Resolve for Addresses {
    fn resolve(&self, name: Name) -> Resolving {
        let addresses = lock(&self.0).clone();
        Box::pin(async move {
            if addresses.is_empty() {
                return Err(format!("{} has no address in DNS", name.as_str()).into());
            }
            Ok(Box::new(addresses.into_iter().map(|ip| SocketAddr::from((ip, 0)))) as Addrs)
        })
    }
}

/// A host that the system looks up whenever a connection is made, whatever name the connection is for.
///
/// One look-up at a time, shared by all who want it: the system's cannot be ended, and with name servers that are
/// silent each takes a thread for tens of seconds. Requests give up long before, and more come with every scrape.
#[derive(Debug)]
pub(super) struct Host {
    name: String,
    look_up: fn(&str) -> io::Result<Vec<SocketAddr>>,
    current: Mutex<Option<Waiting>>,
}

/// A place to wait for the end of a look-up.
type Waiting = watch::Receiver<Option<Result<Vec<SocketAddr>, Arc<io::Error>>>>;

impl Host {
    /// The host of this name, as it stands in a URL.
    pub(super) fn new(name: &str) -> Self {
        // Literal IPv6 addresses stand in brackets in a URL.
        let name = name.trim_matches(['[', ']']).to_owned();
        Self { name, look_up: system, current: Mutex::default() }
    }

    /// Joins the look-up that is under way, or begins one.
    fn join(&self) -> io::Result<Waiting> {
        let mut current = lock(&self.current);
        if let Some(waiting) = current.as_ref().filter(|waiting| is_under_way(waiting)) {
            return Ok(waiting.clone());
        }
        let (found, waiting) = watch::channel(None);
        let (name, look_up) = (self.name.clone(), self.look_up);
        // Not one of those that the runtime keeps for work that blocks: those are few, and answers are written on them.
        std::thread::Builder::new().name("look-up".to_owned()).spawn(move || {
            found.send_replace(Some(look_up(&name).map_err(Arc::new)));
        })?;
        *current = Some(waiting.clone());
        Ok(waiting)
    }
}

fn is_under_way(waiting: &Waiting) -> bool {
    waiting.borrow().is_none() && waiting.has_changed().is_ok()
}

/// The port is a placeholder: the client puts that of its URL in.
fn system(name: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((name, 0).to_socket_addrs()?.collect())
}

impl Resolve for Host {
    fn resolve(&self, _: Name) -> Resolving {
        let joined = self.join();
        Box::pin(async move {
            let mut waiting = joined?;
            let found = waiting.wait_for(Option::is_some).await?.clone();
            let addresses = found.ok_or("the look-up ended early")??;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{LazyLock, Mutex};

    use super::*;

    /// How often was looked up.
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    /// What a look-up waits for.
    static ANSWERS: LazyLock<(Sender<bool>, Mutex<Receiver<bool>>)> = LazyLock::new(|| {
        let (sender, receiver) = channel();
        (sender, Mutex::new(receiver))
    });

    fn slow(_: &str) -> io::Result<Vec<SocketAddr>> {
        COUNT.fetch_add(1, Ordering::SeqCst);
        let is_there = ANSWERS.1.lock().unwrap().recv().unwrap();
        let address = SocketAddr::from(([192, 0, 2, 1], 0));
        if is_there { Ok(vec![address]) } else { Err(io::Error::other("no such host")) }
    }

    fn name() -> Name {
        "n1.test".parse().unwrap()
    }

    #[tokio::test]
    async fn one_look_up_at_a_time_however_many_give_up() {
        let host = Host { look_up: slow, ..Host::new("n1.test") };
        for _ in 0..100 {
            // A request that gives up at once.
            drop(host.resolve(name()));
        }
        let (one, other) = (host.resolve(name()), host.resolve(name()));
        ANSWERS.0.send(true).unwrap();
        for found in [one, other] {
            assert_eq!(found.await.ok().unwrap().count(), 1);
        }
        assert_eq!(COUNT.load(Ordering::SeqCst), 1);

        let next = host.resolve(name());
        ANSWERS.0.send(false).unwrap();
        let error = next.await.err().unwrap();
        assert!(error.to_string().contains("no such host"), "{error}");
        assert_eq!(COUNT.load(Ordering::SeqCst), 2, "an answer is not kept");
    }

    #[tokio::test]
    async fn the_system_knows_the_loopback() {
        for host in ["localhost", "127.0.0.1"] {
            let found = Host::new(host).resolve(name()).await.ok().unwrap();
            assert!(found.map(|address| address.ip()).all(|ip| ip.is_loopback()), "{host}");
        }
        assert_eq!(Host::new("[::1]").name, "::1");
    }
}
