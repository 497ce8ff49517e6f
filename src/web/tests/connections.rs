//! How connections begin, last and end.

use super::*;

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let server = Running::start(Fake::default());
    let mut client = server.connect().await;
    for _ in 0..3 {
        assert_eq!(client.ask("GET /metrics").await.status(), 200);
    }
}

#[tokio::test]
async fn every_listener_is_served() {
    let any_port = "127.0.0.1:0";
    let web = listening(&[any_port, any_port]);
    let listeners = Listeners::bind(&web, USUAL, Arc::default()).unwrap();
    let addresses = tcp(&listeners);
    assert_ne!(addresses[0], addresses[1]);
    let routes = Routes::new(Arc::new(Fake::default()));
    tokio::spawn(async move {
        let open = Access::load(None, Arc::default()).unwrap();
        super::super::serve(listeners, &open, routes, std::future::pending()).await;
    });
    for address in addresses {
        let mut client = Client(TcpStream::connect(address).await.unwrap());
        assert_eq!(client.ask("GET /-/healthy").await.status(), 200);
    }
}

#[tokio::test]
async fn a_new_connection_takes_the_place_of_the_one_that_has_waited_longest() {
    let server = Running::start_within(Fake::default(), Limits { connections: 2, ..USUAL });
    let mut oldest = server.connect().await;
    oldest.0.write_all(b"GET /").await.unwrap();
    let mut kept = server.connect().await;
    assert_eq!(kept.ask("GET /-/healthy").await.status(), 200);
    let mut new = server.connect().await;
    assert_eq!(new.ask("GET /-/healthy").await.status(), 200);
    assert!(oldest.is_closed().await);
    assert_eq!(kept.ask("GET /-/healthy").await.status(), 200);
    assert_eq!(server.fake.meter.hits(Limit::Connections), 1);
    assert_eq!(server.fake.meter.connections(), 2);
}

#[tokio::test]
async fn a_connection_in_use_keeps_its_place() {
    let server = Running::start_within(Fake::default(), Limits { connections: 1, ..USUAL });
    let mut first = server.connect().await;
    first.send("GET /probe?target=gated").await;
    server.fake.waiting.notified().await;
    let mut second = server.connect().await;
    second.send("GET /-/healthy").await;
    let early = timeout(Duration::from_millis(100), second.read(false)).await;
    assert!(early.is_err(), "served beyond the limit: {early:?}");
    server.fake.gate.notify_one();
    assert_eq!(first.receive(false).await.status(), 200);
    assert_eq!(second.receive(false).await.status(), 200, "the first gives way when it is done");
    assert!(first.is_closed().await);
    assert_eq!(server.fake.meter.hits(Limit::Connections), 1);
}

#[tokio::test]
async fn no_listener_keeps_another_waiting() {
    let any_port = "127.0.0.1:0";
    let listeners =
        Listeners::bind(&listening(&[any_port, any_port]), USUAL, Arc::default()).unwrap();
    let addresses = tcp(&listeners);
    let clients: Vec<_> = [0, 0, 0, 1]
        .map(|listener| std::net::TcpStream::connect(addresses[listener]).unwrap())
        .into();
    let mut first = 0;
    let mut accepted = Vec::new();
    for _ in &clients {
        let (_, peer) = listeners.next(&mut first).await;
        accepted.push(peer);
    }
    let lonely = Peer::Network(clients[3].local_addr().unwrap());
    assert!(accepted[..2].contains(&lonely), "{lonely} is behind {accepted:?}");
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let head = Duration::from_millis(50);
    let server = Running::start_within(Fake::default(), Limits { head, ..USUAL });
    let mut silent = server.connect().await;
    let mut slow = server.connect().await;
    slow.0.write_all(b"GET /metrics HTTP/1.1\r\nHost:").await.unwrap();
    assert!(silent.is_closed().await);
    assert!(slow.is_closed().await);
    assert_eq!(server.fake.meter.hits(Limit::HeaderTimeout), 2);
}

/// The time of a later head begins with its first byte: until then the connection is idle.
#[tokio::test]
async fn a_later_head_has_its_own_time() {
    let head = Duration::from_millis(200);
    let server = Running::start_within(Fake::default(), Limits { head, ..USUAL });
    let mut client = server.connect().await;
    assert_eq!(client.ask("GET /-/healthy").await.status(), 200);
    tokio::time::sleep(head * 2).await;
    assert_eq!(client.ask("GET /-/healthy").await.status(), 200);
    client.0.write_all(b"GET").await.unwrap();
    assert!(client.is_closed().await);
    assert_eq!(server.fake.meter.hits(Limit::HeaderTimeout), 1);
}

#[tokio::test]
async fn a_connection_that_is_not_used_is_closed() {
    let idle = Duration::from_millis(50);
    let server = Running::start_within(Fake::default(), Limits { idle, ..USUAL });
    let mut client = server.connect().await;
    client.send("GET /probe?target=gated").await;
    server.fake.waiting.notified().await;
    tokio::time::sleep(idle * 2).await;
    server.fake.gate.notify_one();
    assert_eq!(client.receive(false).await.status(), 200, "a scrape is no idleness");
    assert!(client.is_closed().await);
    assert_eq!(server.fake.meter.hits(Limit::IdleTimeout), 1);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = Running::start(Fake::default());
    let request = format!("GET /metrics\nX-Padding: {}", "x".repeat(32 * 1024));
    let mut client = server.connect().await;
    client.send(&request).await;
    assert_eq!(client.receive(true).await.status(), 431);
    assert!(client.is_closed().await);
    assert_eq!(server.fake.meter.hits(Limit::HeaderBytes), 1);
}

#[tokio::test]
async fn a_body_is_not_waited_for() {
    let server = Running::start(Fake::default());
    let answer = server.ask("POST /-/reload\nContent-Length: 10000").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("connection"), Some("close"), "the body would be the next request");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let server = Running::start(Fake::default());
    let answer = server.ask("POST /-/reload\nContent-Length: 1000000000").await;
    assert_eq!(answer.status(), 413);
    assert_eq!(server.fake.meter.hits(Limit::BodyBytes), 1);
}

#[tokio::test]
async fn a_scrape_lasts_until_the_client_has_it() {
    let server = Running::start(Fake::default().max_requests(1));
    let mut slow = server.connect().await;
    slow.send("GET /probe?target=large").await;
    slow.0.readable().await.unwrap();
    assert_eq!(server.ask("GET /metrics").await.status(), 503);
    assert_eq!(slow.receive(false).await.body.len(), LARGE);
    assert_eq!(server.ask("GET /metrics").await.status(), 200);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let stall = Duration::from_millis(50);
    let limits = Limits { stall, ..USUAL };
    let server = Running::start_within(Fake::default().max_requests(1), limits);
    let mut stuck = server.connect().await;
    stuck.send("GET /probe?target=large").await;
    stuck.0.readable().await.unwrap();
    let free = async {
        while server.ask("GET /metrics").await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, free).await.expect("the answer is kept for ever");
    assert_eq!(server.fake.meter.hits(Limit::StallTimeout), 1);
    assert!(server.fake.meter.hits(Limit::Requests) > 0);
}

#[tokio::test]
async fn shutdown_waits_for_what_is_in_flight() {
    let mut server = Running::start(Fake::default());
    let mut busy = server.connect().await;
    busy.send("GET /probe?target=gated").await;
    server.fake.waiting.notified().await;
    let mut idle = server.connect().await;
    assert_eq!(idle.ask("GET /-/healthy").await.status(), 200);
    let mut unused = server.connect().await;

    server.shut_down();
    assert!(idle.is_closed().await, "idle connections have nothing to finish");
    assert!(TcpStream::connect(server.address).await.is_err(), "still listening");
    server.fake.gate.notify_one();
    let answer = busy.receive(false).await;
    assert_eq!(answer.status(), 200);
    assert!(busy.is_closed().await);
    assert!(unused.is_closed().await);
    let waited = Instant::now();
    server.ended().await;
    assert!(waited.elapsed() < USUAL.drain / 2, "waited for nothing");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let drain = Duration::from_millis(50);
    let mut server = Running::start_within(Fake::default(), Limits { drain, ..USUAL });
    let mut stuck = server.connect().await;
    stuck.send("GET /probe?target=gated").await;
    server.fake.waiting.notified().await;
    server.shut_down();
    server.ended().await;
    assert!(stuck.is_closed().await);
}
