//! What Prometheus, probes and people see: `/metrics`, `/probe`, a status page,
//! health, readiness and reload, over HTTP/1 and, with TLS, HTTP/2.
//!
//! [`Server`] joins the halves: `server` has the connections, `access` says who
//! may come in, `routes` has the answers. Everything else serves one of them.

mod accept;
mod access;
mod backend;
mod body;
mod connection;
mod deadline;
mod guard;
mod in_flight;
mod listen;
mod place;
mod policy;
pub mod query;
mod rate;
mod reply;
mod routes;
mod server;
mod stall;
mod status;
#[cfg(test)]
mod tests;
mod tls;
mod users;

use std::sync::Arc;

pub use access::Access;
pub use listen::BindError;

use hyper::Request;
use hyper::body::Incoming;

use crate::config::ListenAddress;
use crate::exporter::Exporter;
use routes::Routes;
use server::{Limits, Listeners};

/// The web server of an exporter, listening.
pub struct Server {
    listeners: Listeners,
    access: Access,
    exporter: Arc<Exporter>,
}

impl Server {
    /// Listens where the configuration says. Clients can connect from now on, and those who have
    /// `access` are answered when [`run`](Self::run) is.
    ///
    /// # Errors
    ///
    /// When one of the addresses cannot be listened on, or systemd hands over nothing.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time.
    pub fn bind(exporter: Arc<Exporter>, access: Access) -> Result<Self, BindError> {
        let web = &exporter.config().web;
        let listeners = Listeners::bind(web, Limits::of(web), Arc::clone(exporter.meter()))?;
        Ok(Self { listeners, access, exporter })
    }

    /// The addresses listened on, in the order of the configuration, with the real port where
    /// that says 0.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<ListenAddress> {
        self.listeners.addresses()
    }

    /// Answers requests until `shutdown` is ready. Then stops listening, gives the requests in
    /// flight `web.drain_timeout` to finish, cuts off what is left, and ends.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        serve(self.listeners, &self.access, Routes::new(self.exporter), shutdown).await;
    }
}

async fn serve<B: backend::Backend>(
    listeners: Listeners,
    access: &Access,
    routes: Routes<B>,
    shutdown: impl Future<Output = ()>,
) {
    let routes = Arc::new(routes);
    let answer = move |request: Request<Incoming>| {
        let routes = Arc::clone(&routes);
        async move { routes.answer(request).await }
    };
    listeners.serve(access, answer, shutdown).await;
}
