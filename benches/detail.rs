//! The parts of a large scrape: splitting, reading, finding leaders, writing and compressing.
//!
//! `cargo bench` runs them on generated answers of 500 streams with ten consumers each, on one thread and
//! on as many as the program takes. For a whole scrape beside a real server see `bench/compare`.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, Divan};
use nats_exporter::assets::{Assets, Pool, Source};
use nats_exporter::config::Config;
use nats_exporter::detail::{Detail, Known, Reader};
use nats_exporter::exporter::Own;
use nats_exporter::exposition::packed::Packer;
use nats_exporter::exposition::{Format, Writer};
use nats_exporter::flight::Reading;
use nats_exporter::memory::Memory;
use nats_exporter::nats::split::Splitter;
use nats_exporter::scrape::{Scrape, Selection};
use nats_exporter::snapshot::{Base, Identity, Persistence, Snapshot};
use nats_exporter::tier::TierSet;
use nats_harness::synthetic::{Moment, Shape, body};

fn main() {
    Divan::from_args().main();
}

const STREAMS: u64 = 500;
const CONSUMERS: u64 = 10;

/// Parts as they come from a socket.
const CHUNK: usize = 128 << 10;

static BARE: LazyLock<Vec<u8>> = LazyLock::new(|| answer("/jsz?consumers=true"));
static FULL: LazyLock<Vec<u8>> = LazyLock::new(|| answer("/jsz?consumers=true&config=true"));

static CONFIG: LazyLock<Arc<Config>> = LazyLock::new(|| {
    let cli: nats_exporter::cli::Cli =
        clap::Parser::parse_from(["nats-exporter", "--limits.series-per-target=0"]);
    let flags = cli.flags;
    let none = std::iter::empty::<(String, String)>();
    Arc::new(Config::load(&flags, none).expect("the flags are valid"))
});

fn answer(question: &str) -> Vec<u8> {
    let shape = Shape { streams: STREAMS, consumers_per_stream: CONSUMERS, ..Shape::default() };
    body(shape, 0, question, Moment::default()).expect("the shape is possible")
}

fn read(answer: &[u8], known: Known) -> Detail {
    let mut reader = Reader::new(CONFIG.jetstream.clone(), known);
    for chunk in answer.chunks(CHUNK) {
        reader.push(chunk).expect("it is an answer");
    }
    reader.end_page().expect("it is whole");
    reader.finish().expect("it is whole").0
}

/// What was read, as a scrape has it.
fn reading() -> Arc<Reading<Detail>> {
    Arc::new(Reading {
        value: read(&FULL, Known::default()),
        at: SystemTime::UNIX_EPOCH,
        started: tokio::time::Instant::now(),
        elapsed: Duration::ZERO,
    })
}

fn identity() -> Identity {
    Identity { cluster: "n1".to_owned(), server: "n1".to_owned() }
}

#[divan::bench]
fn split(bencher: Bencher) {
    bencher.counter(BytesCount::of_slice(&**BARE)).bench(|| {
        let mut splitter = Splitter::default();
        for chunk in BARE.chunks(CHUNK) {
            let take = |piece, text: &[u8]| {
                black_box((piece, text));
            };
            splitter.push(chunk, take).expect("it is an answer");
        }
        splitter.finish().expect("it is whole");
    });
}

#[divan::bench]
fn read_without_configuration(bencher: Bencher) {
    bencher.counter(BytesCount::of_slice(&**BARE)).bench(|| read(&BARE, Known::default()));
}

#[divan::bench]
fn read_with_configuration(bencher: Bencher) {
    bencher.counter(BytesCount::of_slice(&**FULL)).bench(|| read(&FULL, Known::default()));
}

/// Three servers that all hold everything.
#[divan::bench]
fn find_leaders(bencher: Bencher) {
    let shape = Shape {
        streams: STREAMS,
        consumers_per_stream: CONSUMERS,
        servers: 3,
        replicas: 3,
        ..Shape::default()
    };
    let question = "/jsz?consumers=true&config=true";
    let details: Vec<_> = (0..3)
        .map(|server| {
            let answer = body(shape, server, question, Moment::default());
            let value = read(&answer.expect("the shape is possible"), Known::default());
            let (at, started) = (SystemTime::UNIX_EPOCH, tokio::time::Instant::now());
            Arc::new(Reading { value, at, started, elapsed: Duration::ZERO })
        })
        .collect();
    let source = |(at, detail): (usize, &Arc<Reading<Detail>>)| Source {
        at,
        identity: identity(),
        own_name: Some(format!("n{}", at + 1)),
        clustered: true,
        detail: Arc::clone(detail),
    };
    bencher
        .counter(ItemsCount::new(STREAMS * CONSUMERS))
        .with_inputs(|| details.iter().enumerate().map(source).collect())
        .bench_values(|sources| {
            let assets = Assets::new(sources, Arc::clone(&CONFIG));
            assert_eq!(assets.led_consumers().count() as u64, STREAMS * CONSUMERS);
        });
}

#[divan::bench]
fn write_and_compress(bencher: Bencher) {
    let reading = reading();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let scrape = || {
        let snapshot = Snapshot {
            found: None,
            target: "t".to_owned(),
            url: "http://t".to_owned(),
            identity: identity(),
            learned: None,
            base: Base::default(),
            persistence: Some(Persistence {
                detail: Some(Ok(Arc::clone(&reading))),
                own_name: Some("n1".to_owned()),
                clustered: Some(false),
                ..Persistence::default()
            }),
            endpoints: Vec::new(),
            memory: Arc::new(Memory::default()),
        };
        let own = Own { scrapes: 1, targets: 1, ..Own::default() };
        let selection = Selection { tiers: TierSet::ALL, topics: None };
        Scrape::new(selection, vec![snapshot], own, Arc::clone(&CONFIG), &Pool::default())
    };
    bencher.counter(ItemsCount::new(STREAMS * CONSUMERS)).with_inputs(scrape).bench_values(
        |scrape| {
            let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
            let writer = Writer::default();
            let texts = runtime.block_on(writer.write(scrape, Format::OpenMetrics, deadline));
            texts.expect("it is written")
        },
    );
}

#[divan::bench]
fn compress(bencher: Bencher) {
    let line = |number: u64| {
        format!(
            "nats_jetstream_consumer_pending_messages{{nats_cluster=\"n1\",account=\"$G\",stream=\"ORDERS-{:05}\",consumer=\"worker-{:02}\"}} {}\n",
            number / CONSUMERS,
            number % CONSUMERS,
            number * 7919 % 1000
        )
    };
    let text: String = (0..50_000).map(line).collect();
    bencher.counter(BytesCount::of_str(&text)).bench(|| {
        let mut packer = Packer::default();
        packer.write_str(&text).expect("memory takes everything");
        packer.finish()
    });
}
