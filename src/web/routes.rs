//! From a request to an answer: which path does what, and how each of them
//! says no. Nothing here knows about sockets.

use std::sync::Arc;

use hyper::body::Body;
use hyper::header::{ALLOW, CONTENT_ENCODING, HeaderValue, VARY};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use tokio::task;
use tokio::time::Instant;
use tracing::{debug, error};

use super::accept::{self, Coding};
use super::backend::Backend;
use super::body::Pieces;
use super::guard::guard;
use super::in_flight::{InFlight, Permit};
use super::query::{self, QueryError};
use super::reply::{self, Reply};
use super::status;
use crate::background;
use crate::exporter::Refused;
use crate::limits::Limit;
use crate::scrape::Selection;
use crate::tier::Tier;

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Page,
    Metrics,
    Probe,
    Healthy,
    Ready,
    Reload,
}

impl Route {
    const ALL: [Self; 6] =
        [Self::Page, Self::Metrics, Self::Probe, Self::Healthy, Self::Ready, Self::Reload];

    const fn path(self) -> &'static str {
        match self {
            Self::Page => "/",
            Self::Metrics => "/metrics",
            Self::Probe => "/probe",
            Self::Healthy => "/-/healthy",
            Self::Ready => "/-/ready",
            Self::Reload => "/-/reload",
        }
    }

    /// The methods as the `Allow` header lists them.
    const fn methods(self) -> &'static str {
        match self {
            Self::Reload => "POST, PUT",
            _ => "GET, HEAD",
        }
    }

    fn allows(self, method: &Method) -> bool {
        self.methods().split(", ").any(|allowed| allowed == method.as_str())
    }

    fn find(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|route| route.path() == path)
    }
}

/// Answers requests.
pub(super) struct Routes<B> {
    backend: Arc<B>,
    scrapes: InFlight,
    reloads: InFlight,
}

impl<B: Backend> Routes<B> {
    pub(super) fn new(backend: Arc<B>) -> Self {
        Self { backend, scrapes: InFlight::default(), reloads: InFlight::default() }
    }

    /// Answers one request, whatever happens on the way. The body of the request is not read, and one that is
    /// said to be large is refused.
    pub(super) async fn answer<T: Body>(&self, request: Request<T>) -> Reply {
        let arrived = Instant::now();
        let (head, body) = request.into_parts();
        let length = body.size_hint().lower();
        drop(body);
        let reply = match guard(self.dispatch(&head, length, arrived)).await {
            Ok(reply) => reply,
            Err(panic) => broken(&head, &panic),
        };
        debug!(
            method = %head.method,
            path = head.uri.path(),
            status = reply.status().as_u16(),
            elapsed = ?arrived.elapsed(),
            "answered"
        );
        reply
    }

    async fn dispatch(&self, head: &Parts, length: u64, arrived: Instant) -> Reply {
        let limit = self.backend.settings().max_body_bytes;
        if length > limit {
            self.backend.hit(Limit::BodyBytes);
            return too_large(limit);
        }
        let Some(route) = Route::find(head.uri.path()) else {
            return not_found();
        };
        if !route.allows(&head.method) {
            return not_allowed(route);
        }
        let query = head.uri.query().unwrap_or_default();
        match route {
            Route::Page => self.page(head, query, arrived).await,
            Route::Metrics => match query::metrics(query) {
                Ok(selection) => self.scrape(head, selection, None, arrived).await,
                Err(error) => self.bad_query(&error),
            },
            Route::Probe => match query::probe(query) {
                Ok((target, selection)) => {
                    self.scrape(head, selection, Some(target), arrived).await
                }
                Err(error) => self.bad_query(&error),
            },
            Route::Healthy => reply::text(StatusCode::OK, "The exporter is alive."),
            Route::Ready => self.ready(),
            Route::Reload => self.reload(head).await,
        }
    }

    /// A permit for one more scrape, unless there are as many as may be, which is counted.
    fn enter(&self, head: &Parts, limit: usize) -> Option<Permit> {
        let permit = self.scrapes.enter(limit, head.extensions.get());
        if permit.is_none() {
            self.backend.hit(Limit::Requests);
        }
        permit
    }

    async fn page(&self, head: &Parts, query: &str, arrived: Instant) -> Reply {
        let settings = self.backend.settings();
        let Some(permit) = self.enter(head, settings.max_requests) else {
            return too_many(settings.max_requests);
        };
        let both = Selection {
            tiers: [Tier::Base, Tier::Persistence].into_iter().collect(),
            topics: None,
        };
        // Trouble of the persistence tier must not delay the page: a server that is well has answered long
        // before, and that one has not is what the page then says.
        let deadline = arrived + settings.page_patience;
        let scrape = match self.backend.scrape(both, None, deadline).await {
            Ok(scrape) => scrape,
            Err(refused) => return broken(head, &refused.to_string()),
        };
        let backend = Arc::clone(&self.backend);
        let work = move || {
            // The thread goes on when the client leaves, and is one of those that are counted until then.
            let _permit = permit;
            backend.report(scrape)
        };
        match background::run("report", work).await {
            Ok(report) => {
                let holds = query == status::HOLD;
                let page = status::page(&report, &self.backend.targets(), holds);
                reply::html(page, status::style::POLICY)
            }
            Err(error) => broken(head, &error.to_string()),
        }
    }

    async fn scrape(
        &self,
        head: &Parts,
        selection: Selection,
        target: Option<String>,
        arrived: Instant,
    ) -> Reply {
        let settings = self.backend.settings();
        let Some(permit) = self.enter(head, settings.max_requests) else {
            return too_many(settings.max_requests);
        };
        let budget = settings.allowance.budget(&head.headers);
        let scrape = match self.backend.scrape(selection, target, arrived + budget.asking).await {
            Ok(scrape) => scrape,
            Err(refused) => return refuse(&refused),
        };
        let format = accept::format(&head.headers);
        let coding = accept::coding(&head.headers);
        match self.backend.write(scrape, format, arrived + budget.writing).await {
            Ok(texts) => {
                let body = Pieces::exposition(&texts, coding, permit);
                let mut reply = reply::ok(format.content_type(), body);
                let headers = reply.headers_mut();
                headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
                if coding == Coding::Gzip {
                    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                reply
            }
            Err(error) => broken(head, &error.to_string()),
        }
    }

    fn bad_query(&self, error: &QueryError) -> Reply {
        let mut sentences = format!("{error}.");
        if matches!(error, QueryError::TargetCount(_)) {
            let names: Vec<_> = self.backend.targets().into_iter().map(|t| t.name).collect();
            sentences.push_str(" The targets are: ");
            sentences.push_str(&names.join(", "));
        }
        reply::text(StatusCode::BAD_REQUEST, sentences)
    }

    fn ready(&self) -> Reply {
        if self.backend.is_ready() {
            reply::text(StatusCode::OK, "The exporter is ready to be scraped.")
        } else {
            reply::text(StatusCode::SERVICE_UNAVAILABLE, "The exporter is not ready to be scraped.")
        }
    }

    async fn reload(&self, head: &Parts) -> Reply {
        if !self.backend.settings().enable_lifecycle {
            return reply::text(
                StatusCode::FORBIDDEN,
                "Reloading over HTTP is off; start the exporter with --web.enable-lifecycle.",
            );
        }
        // Threads that wait for each other would take the place of those that write answers.
        let Some(permit) = self.reloads.enter(1, None) else {
            return reply::later(
                StatusCode::SERVICE_UNAVAILABLE,
                "The configuration is being reloaded.",
            );
        };
        let backend = Arc::clone(&self.backend);
        let work = move || {
            let _permit = permit;
            backend.reload()
        };
        match task::spawn_blocking(work).await {
            Ok(Ok(())) => reply::text(StatusCode::OK, "The configuration is reloaded."),
            Ok(Err(error)) => reply::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("The configuration stays as it was: {error}"),
            ),
            Err(error) => broken(head, &error.to_string()),
        }
    }
}

/// Something of ours broke. The log says what; the client need not know.
fn broken(head: &Parts, error: &str) -> Reply {
    error!(method = %head.method, path = head.uri.path(), error, "a request was not answered");
    reply::text(
        StatusCode::INTERNAL_SERVER_ERROR,
        "This is a fault of the exporter; its log says more.",
    )
}

/// A server is not asked. The sentence has no secrets: what it names was asked for, or is a file of ours.
fn refuse(refused: &Refused) -> Reply {
    let status = match refused {
        Refused::Unknown { .. } => StatusCode::NOT_FOUND,
        Refused::NoAddress(_) => StatusCode::BAD_REQUEST,
        Refused::NotAllowed { .. } => StatusCode::FORBIDDEN,
        Refused::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
        Refused::Client(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    reply::text(status, refused.to_string())
}

fn too_many(limit: usize) -> Reply {
    reply::later(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("{limit} scrapes are under way, which is as many as --web.max-requests allows."),
    )
}

fn too_large(limit: u64) -> Reply {
    reply::text(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!(
            "No request needs a body, and one of more than web.max_body_bytes, {limit}, is refused."
        ),
    )
}

fn not_allowed(route: Route) -> Reply {
    let methods = route.methods();
    let mut reply = reply::text(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} understands {methods}.", route.path()),
    );
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    reply
}

fn not_found() -> Reply {
    let mut sentences = "There is nothing here. What there is:".to_owned();
    for route in Route::ALL {
        sentences.push_str("\n  ");
        sentences.push_str(route.path());
    }
    reply::text(StatusCode::NOT_FOUND, sentences)
}
