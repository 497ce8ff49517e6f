//! Between two programs: a gate for TCP connections that can be shut or slow.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::{Error, Port, Result};

/// What a [`Gate`] does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Passes it on.
    Open,
    /// Passes on so many bytes a second, for each connection and direction.
    Slow(u32),
    /// Resets all connections, and new ones at once.
    Shut,
}

/// Passes connections on to one port.
#[derive(Debug)]
pub(crate) struct Gate {
    port: Port,
    way: watch::Sender<Way>,
    task: JoinHandle<()>,
}

impl Gate {
    /// A gate in front of a port of this machine, open.
    pub(crate) async fn to(target: u16) -> Result<Self> {
        let port = Port::any()?;
        let address = (Ipv4Addr::LOCALHOST, port.number());
        let failed = Error::file("cannot listen on", format!("port {}", port.number()));
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let (way, ways) = watch::channel(Way::Open);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new(); // They end with this task.
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(pass(connection, target, ways.clone()));
            }
        });
        Ok(Self { port, way, task })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(connection: TcpStream, target: u16, mut way: watch::Receiver<Way>) {
    if *way.borrow_and_update() == Way::Shut {
        return;
    }
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
    let (from_client, to_client) = connection.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, way.clone()) => {}
        () = copy(from_server, to_client, way.clone()) => {}
        _ = way.wait_for(|way| *way == Way::Shut) => {}
    }
}

/// Copies until an end closes.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: watch::Receiver<Way>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
        let current = *way.borrow();
        if let Way::Slow(rate) = current {
            tokio::time::sleep(Duration::from_secs_f64(length as f64 / f64::from(rate))).await;
        }
    }
}
