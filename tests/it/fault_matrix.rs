//! The matrix of faults with one target and low time limits; `make faults` has ten, the usual limits, and ten thousand
//! scrapes.

use std::path::Path;
use std::time::Duration;

use nats_harness::faults::{Limits, Outcome, Place, Run, Scene, report};
use nats_harness::{newest, runs};

/// Faults that stall take all of it, and a machine that runs all tests at once needs some of it.
const LIMITS: Limits = Limits {
    announced: Duration::from_secs(5),
    base: Duration::from_secs(2),
    persistence: Duration::from_secs(4),
    margin: Duration::from_millis(500),
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_breaks_leaves_the_rest_of_the_base_tier_complete_and_in_time() {
    let exporter = Path::new(env!("CARGO_BIN_EXE_nats-exporter"));
    let scene = Scene::set(newest(), 3, exporter, LIMITS).await.unwrap();
    let hold = async |run: &Run| run.hold(&scene).await.unwrap();
    let all = Place::all().map(|place| Run { place, targets: 1 });
    let outcomes = runs::hold(all, usize::MAX, hold, |_, _| ()).await;
    let is_well = |outcome: &Outcome| outcome.cells.iter().all(|cell| cell.problems.is_empty());
    let wrong = outcomes.iter().map(|(_, outcome)| outcome).filter(|outcome| !is_well(outcome));
    let wrong: Vec<String> = wrong.map(report::lines).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
