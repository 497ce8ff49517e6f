//! What Prometheus, probes and people see: `/metrics`, `/probe`, a status page,
//! health, readiness and reload, over HTTP/1.
//!
//! [`Server`] joins the two halves: `server` has the connections, `routes` has
//! the answers. Everything else serves one of them.

mod accept;
mod backend;
mod body;
mod deadline;
mod guard;
mod in_flight;
mod listen;
mod query;
mod reply;
mod routes;
mod server;
mod stall;
mod status;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

pub use listen::BindError;

use crate::exporter::Exporter;
use routes::Routes;
use server::{Limits, Listeners};

/// The web server of an exporter, listening.
pub struct Server {
    listeners: Listeners,
    exporter: Arc<Exporter>,
}

impl Server {
    /// Listens on every address of `web.listen_addresses`. Clients can connect from now on, and
    /// are answered when [`run`](Self::run) is.
    ///
    /// # Errors
    ///
    /// When one of the addresses cannot be listened on.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time.
    pub fn bind(exporter: Arc<Exporter>) -> Result<Self, BindError> {
        let addresses = &exporter.config().web.listen_addresses;
        let listeners = Listeners::bind(addresses, Limits::USUAL)?;
        Ok(Self { listeners, exporter })
    }

    /// The addresses listened on, in the order of the configuration, with the real port where
    /// that says 0.
    #[must_use]
    pub fn local_addresses(&self) -> &[SocketAddr] {
        self.listeners.addresses()
    }

    /// Answers requests until `shutdown` is ready. Then stops listening, gives the requests in
    /// flight five seconds to finish, cuts off what is left, and ends.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        serve(self.listeners, Routes::new(self.exporter), shutdown).await;
    }
}

async fn serve<B: backend::Backend>(
    listeners: Listeners,
    routes: Routes<B>,
    shutdown: impl Future<Output = ()>,
) {
    let routes = Arc::new(routes);
    let answer = move |request| {
        let routes = Arc::clone(&routes);
        async move { routes.answer(request).await }
    };
    listeners.serve(answer, shutdown).await;
}
