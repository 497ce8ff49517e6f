//! What is answered.

use std::io::Read;

use super::*;

#[tokio::test]
async fn every_path_answers_or_says_why_not() {
    let server = Running::start(Fake::default());
    let cases = [
        ("GET /", 200, "<h1>NATS status</h1>"),
        ("GET /metrics", 200, "Classic\nnats_server_up 1\n"),
        ("GET /metrics?tier=base", 200, "Classic\nnats_server_up 1\n"),
        ("GET /metrics?tier=core", 400, "there is no tier \"core\"; write base, "),
        ("GET /metrics?target=n1", 400, "write /probe?target=NAME."),
        ("GET /probe?target=n1", 200, "Classic\nnats_server_up 1\n"),
        ("GET /probe?target=n9", 404, "there is no target \"n9\"; the targets are: n1, large"),
        ("GET /probe?target=full", 503, "3 servers that are no targets are known, "),
        ("GET /probe", 400, "exactly once, not 0 times. The targets are: n1, large\n"),
        ("GET /probe?target=n1&target=n1", 400, "not 2 times. The targets are: n1, large\n"),
        ("GET /-/healthy", 200, "alive"),
        ("GET /-/ready", 200, "ready"),
        ("POST /-/reload", 200, "reloaded"),
        ("PUT /-/reload", 200, "reloaded"),
        ("GET /-/reload", 405, "/-/reload understands POST, PUT."),
        ("POST /metrics", 405, "/metrics understands GET, HEAD."),
        ("OPTIONS /", 405, "/ understands GET, HEAD."),
        ("GET /metrics/", 404, "\n  /metrics\n  /probe\n"),
        ("GET /favicon.ico", 404, "What there is:\n  /\n"),
    ];
    for (request, status, contained) in cases {
        let answer = server.ask(request).await;
        assert_eq!(answer.status(), status, "{request}: {answer:?}");
        assert!(answer.text().contains(contained), "{request}: {}", answer.text());
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{request}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{request}");
        assert!(answer.header("content-type").is_some(), "{request}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{request}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'"), "{request}: {policy}");
        assert_eq!(policy.contains("style-src"), request == "GET /", "{request}: {policy}");
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = Running::start(Fake::default());
    for path in ["/", "/metrics", "/probe?target=n1", "/-/healthy", "/-/ready", "/nowhere"] {
        // On one connection: a body would be taken for the beginning of the next answer.
        let mut client = server.connect().await;
        let head = client.ask(&format!("HEAD {path}")).await;
        let get = client.ask(&format!("GET {path}")).await;
        for name in ["content-type", "content-length", "vary"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {path}");
        }
        assert_eq!(head.status(), get.status(), "{path}");
    }
}

#[tokio::test]
async fn the_client_chooses_format_and_coding() {
    let server = Running::start(Fake::default());
    let plain = server.ask("GET /metrics").await;
    assert_eq!(plain.header("content-type"), Some(Format::Classic.content_type()));
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.header("vary"), Some("Accept, Accept-Encoding"));

    let request = "GET /metrics\nAccept: application/openmetrics-text\nAccept-Encoding: gzip";
    let zipped = server.ask(request).await;
    assert_eq!(zipped.header("content-type"), Some(Format::OpenMetrics.content_type()));
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    assert_eq!(zipped.header("vary"), Some("Accept, Accept-Encoding"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&zipped.body[..]).read_to_string(&mut text).unwrap();
    assert!(text.starts_with("OpenMetrics\nnats_server_up 1\n"), "{text}");
}

#[tokio::test]
async fn a_scrape_is_asked_for_what_the_request_says() {
    let server = Running::start(Fake::default());
    let timeout = "X-Prometheus-Scrape-Timeout-Seconds";
    let topic = crate::catalog::Topic::ALL[1].as_str();
    let cases = [
        ("GET /metrics".to_owned(), None, None, 20_000),
        (format!("GET /metrics?collect%5B%5D={topic}"), None, Some(1), 20_000),
        (format!("GET /probe?target=n1\n{timeout}: 5"), Some("n1"), None, 4_500),
        (format!("GET /metrics\n{timeout}: soon"), None, None, 20_000),
    ];
    for (request, target, topics, budget) in cases {
        assert_eq!(server.ask(&request).await.status(), 200, "{request}");
        let asked = server.fake.asked.lock().unwrap().pop().unwrap();
        assert_eq!((asked.target.as_deref(), asked.topics), (target, topics), "{request}");
        let budget = Duration::from_millis(budget);
        let spent = budget.checked_sub(asked.budget).expect("more than the budget");
        assert!(spent < Duration::from_secs(2), "{request}: {:?}", asked.budget);
    }
}

#[tokio::test]
async fn reload_is_off_unless_switched_on() {
    let server = Running::start(Fake::default().lifecycle(false));
    let answer = server.ask("POST /-/reload").await;
    assert_eq!(answer.status(), 403);
    assert!(answer.text().contains("--web.enable-lifecycle"), "{}", answer.text());
}

/// A reload waits here for the test, and for its end.
static RELOADING: std::sync::Barrier = std::sync::Barrier::new(2);

#[tokio::test]
async fn one_reload_at_a_time_takes_a_thread() {
    let reload = || {
        RELOADING.wait();
        RELOADING.wait();
        Ok(())
    };
    let wait = || tokio::task::spawn_blocking(|| RELOADING.wait());
    let server = Running::start(Fake { reload, ..Fake::default() });
    let mut first = server.connect().await;
    first.send("POST /-/reload").await;
    wait().await.unwrap();
    let second = server.ask("POST /-/reload").await;
    assert_eq!((second.status(), second.header("retry-after")), (503, Some("1")));
    wait().await.unwrap();
    assert_eq!(first.receive(false).await.status(), 200);
}

#[tokio::test]
async fn a_failed_reload_says_why() {
    let reload = || Err("targets.yaml: no such file".to_owned());
    let server = Running::start(Fake { reload, ..Fake::default() });
    let answer = server.ask("POST /-/reload").await;
    assert_eq!(answer.status(), 500);
    assert!(answer.text().contains("targets.yaml: no such file"), "{}", answer.text());
}

#[tokio::test]
async fn not_ready_is_503_and_still_healthy() {
    let server = Running::start(Fake { ready: false, ..Fake::default() });
    assert_eq!(server.ask("GET /-/ready").await.status(), 503);
    assert_eq!(server.ask("GET /-/healthy").await.status(), 200);
}

#[tokio::test]
async fn a_panic_is_one_failed_request() {
    let reload = || panic!("asked to");
    let server = Running::start(Fake { reload, ..Fake::default() }.max_requests(1));
    let mut client = server.connect().await;
    for request in ["GET /probe?target=panics", "GET /probe?target=unwritable", "POST /-/reload"] {
        let answer = client.ask(request).await;
        assert_eq!(answer.status(), 500, "{request}");
        assert!(!answer.text().contains("asked to"), "{request}");
        // Same connection, and the permit came back.
        assert_eq!(client.ask("GET /metrics").await.status(), 200, "after {request}");
    }
}

#[tokio::test]
async fn too_many_scrapes_are_turned_away() {
    let server = Running::start(Fake::default().max_requests(1));
    let mut first = server.connect().await;
    first.send("GET /probe?target=gated").await;
    server.fake.waiting.notified().await;

    let answer = server.ask("GET /metrics").await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.text().contains("1 scrapes are under way"), "{}", answer.text());
    assert_eq!(server.ask("GET /-/healthy").await.status(), 200, "only scrapes are limited");

    server.fake.gate.notify_one();
    assert_eq!(first.receive(false).await.status(), 200);
    assert_eq!(server.ask("GET /metrics").await.status(), 200);
}

#[tokio::test]
async fn the_page_is_a_scrape_of_both_tiers_with_little_patience() {
    let server = Running::start(Fake::default());
    for patience in [3, 2].map(Duration::from_secs) {
        server.fake.settings.lock().unwrap().page_patience = patience;
        assert_eq!(server.ask("GET /").await.status(), 200);
        let asked = server.fake.asked.lock().unwrap().pop().unwrap();
        assert_eq!((asked.target, asked.topics), (None, None));
        assert!(asked.budget <= patience, "{:?}", asked.budget);
    }
}

#[tokio::test]
async fn the_page_may_look_as_its_sheet_says_and_do_nothing_else() {
    let server = Running::start(Fake::default());
    let answer = server.ask("GET /").await;
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("script"), "{policy}");
    for (request, refreshes) in [("GET /", true), ("GET /?hold", false)] {
        let answer = server.ask(request).await;
        let found = answer.text().contains("http-equiv=\"refresh\" content=\"15\"");
        assert_eq!(found, refreshes, "{request}: {}", answer.text());
    }
}

#[tokio::test]
async fn the_page_counts_as_a_scrape_and_fails_as_one() {
    let server = Running::start(Fake { all: "gated", ..Fake::default() }.max_requests(1));
    let mut first = server.connect().await;
    first.send("GET /").await;
    server.fake.waiting.notified().await;
    for request in ["GET /", "GET /metrics"] {
        let answer = server.ask(request).await;
        assert_eq!(answer.status(), 503, "{request}");
        assert!(answer.text().contains("1 scrapes are under way"), "{}", answer.text());
    }
    server.fake.gate.notify_one();
    assert_eq!(first.receive(false).await.status(), 200);

    for all in ["panics", "unwritable"] {
        let server = Running::start(Fake { all, ..Fake::default() }.max_requests(1));
        for _ in 0..2 {
            assert_eq!(server.ask("GET /").await.status(), 500, "{all}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_back() {
    let server = Running::start(Fake::default().max_requests(1));
    let mut first = server.connect().await;
    first.send("GET /probe?target=gated").await;
    server.fake.waiting.notified().await;
    drop(first);
    let free = async {
        while server.ask("GET /metrics").await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, free).await.expect("the place stays taken");
}
