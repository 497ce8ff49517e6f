//! The restart verdict against reality, in short; `make verdicts` tries many states and versions.

use std::path::Path;

use nats_harness::newest;
use nats_harness::verdicts::{Judged, Round, State, Trial};

/// Stops the first server of which this is said.
async fn stop_one(state: State, verdict: Judged) -> Trial {
    let round = Round {
        version: newest().to_owned(),
        state,
        servers: 3,
        only: Some(verdict),
        exporter: Path::new(env!("CARGO_BIN_EXE_nats-exporter")).to_owned(),
        evidence: None,
    };
    let mut outcome = round.hold().await.unwrap();
    outcome.trials.pop().expect("a server of which this is said")
}

#[tokio::test]
async fn writes_go_on_without_a_server_that_is_safe_to_stop() {
    let trial = stop_one(State::Healthy, Judged::Safe).await;
    assert!(trial.lost.is_empty() && trial.failed_before.is_empty(), "{trial:#?}");
}

#[tokio::test]
async fn streams_stop_with_a_server_that_is_not_safe_to_stop() {
    let trial = stop_one(State::OneDown, Judged::Unsafe).await;
    assert!(trial.reasons.contains("stream_quorum"), "{trial:#?}");
    assert!(trial.lost.contains("THREE-A") && trial.lost.contains("meta API"), "{trial:#?}");
}
