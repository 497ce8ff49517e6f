//! A whole scrape of one server, over HTTP: the way that everything goes together.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use clap::Parser as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use nats_exporter::catalog;
use nats_exporter::cli::Cli;
use nats_exporter::config::Config;
use nats_exporter::exporter::{Exporter, ScrapeRequest};
use nats_exporter::exposition::Format;
use nats_exporter::scrape::Selection;
use nats_exporter::tier::{Tier, TierSet};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::exposition::{Family, read};
use crate::parts;
use crate::stage::{RUNTIME, unpacked};

/// What the server says: `/varz`, `/routez`, the narrow `/healthz`, plain `/jsz`, detailed `/jsz`, the wide `/healthz`.
type Said = [Bytes; 6];

/// The server. It has a thread of its own, so that it answers whatever the exporter does.
struct Server {
    address: SocketAddr,
    said: Arc<Mutex<Said>>,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let said = Arc::new(Mutex::new(Said::default()));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    listener.set_nonblocking(true).expect("sockets can");
    let shared = Arc::clone(&said);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(serve(listener, shared));
    });
    Server { address, said }
});

async fn serve(listener: std::net::TcpListener, said: Arc<Mutex<Said>>) {
    let listener = TcpListener::from_std(listener).expect("it does not block");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let said = Arc::clone(&said);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                std::future::ready(Ok::<_, Infallible>(answer(&request, &said)))
            });
            let http = hyper::server::conn::http1::Builder::new();
            // The exporter hangs up when its scrape is over.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Answers what is said, which may begin with a status; 404 when nothing is.
fn answer(request: &Request<Incoming>, said: &Mutex<Said>) -> Response<Full<Bytes>> {
    let place = match (request.uri().path(), request.uri().query()) {
        ("/varz", _) => 0,
        ("/routez", _) => 1,
        ("/healthz", Some("js-enabled-only=true" | "js-server-only=true")) => 2,
        ("/jsz", None) => 3,
        ("/jsz", Some(_)) => 4,
        _ => 5,
    };
    let said = said.lock().expect("nobody panicked")[place].clone();
    let status = said.get(..3).and_then(|status| StatusCode::from_bytes(status).ok());
    let status = status.filter(|status| !status.is_informational());
    let (status, body) = match status {
        Some(status) => (status, said.slice(3..)),
        None if said.is_empty() => (StatusCode::NOT_FOUND, said),
        None => (StatusCode::OK, said),
    };
    // An answer of these has no body by the protocol.
    let is_empty = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let mut response = Response::new(Full::from(if is_empty { Bytes::new() } else { body }));
    *response.status_mut() = status;
    response
}

/// Families of the base tier, but those that tell when and how fast something was asked, or what is asked in another way
/// when the wide health check tells nothing.
static BASE: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let tables = catalog::describe().into_iter().filter(|table| table.tiers == [Tier::Base]);
    let families = tables.flat_map(|table| table.families).map(|family| family.sample_name());
    let is_fixed =
        |name: &String| !name.starts_with("nats_health_") && !name.ends_with("_offset_seconds");
    families.filter(is_fixed).collect()
});

/// Nothing here is about time, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn check(input: &[u8]) {
    let said = parts(input).map(Bytes::copy_from_slice);
    let whole = scrape(&said);
    let [varz, routez, core, ..] = said;
    let without = scrape(&[varz, routez, core, Bytes::new(), Bytes::new(), Bytes::new()]);
    let base = |families: Vec<Family>| -> Vec<Family> {
        families.into_iter().filter(|family| BASE.contains(&family.name)).collect()
    };
    assert_eq!(base(whole), base(without), "the base tier with and without JetStream");
}

/// Asks the server by an exporter that has just been started, and reads what it shows.
fn scrape(said: &Said) -> Vec<Family> {
    SERVER.said.lock().expect("nobody panicked").clone_from(said);
    let flags = Cli::parse_from(["nats-exporter", &format!("http://{}", SERVER.address)]).flags;
    let times = ["TIMEOUT", "BASE_TIMEOUT", "PERSISTENCE_TIMEOUT"];
    let patience = format!("{}s", PATIENCE.as_secs());
    let patient = times.map(|name| (format!("NATS_EXPORTER_SCRAPE_{name}"), patience.clone()));
    let config = Config::load(&flags, patient).expect("the flags are valid");
    let again = config.clone();
    let exporter = Exporter::new(config, Box::new(move || Ok(again.clone())));
    let exporter = exporter.expect("no file is read");
    let selection = Selection {
        tiers: [Tier::Base, Tier::Persistence].into_iter().collect::<TierSet>(),
        topics: None,
    };
    let text = RUNTIME.block_on(async {
        let deadline = Instant::now() + PATIENCE;
        let request = ScrapeRequest { selection, target: None, deadline };
        let scrape = exporter.scrape(request).await.expect("all targets are asked");
        let texts = exporter.write(scrape, Format::OpenMetrics, deadline).await;
        unpacked(&texts.expect("no thread panics"))
    });
    let families = read(&text, Format::OpenMetrics).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    let asked = families.iter().find(|family| family.name == "nats_exporter_endpoint_failure_info");
    for failed in asked.into_iter().flat_map(|family| &family.samples) {
        // A panic while something is asked is caught, and is a defect all the same.
        assert_ne!(failed.labels["reason"], "internal", "{:?}", failed.labels);
    }
    families
}
