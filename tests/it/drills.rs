//! The drills that are held with every change; `make drills` holds all of them.

use std::collections::BTreeSet;
use std::path::Path;

use nats_harness::drill::{plan, report};
use nats_harness::{newest, rules};

/// A machine that runs all tests at once may be late; `make drills` is stricter.
async fn hold(name: &str, version: &str) {
    let drill = plan::find(name).expect("there is such a drill");
    let outcome = drill.run(version, Path::new(env!("CARGO_BIN_EXE_nats-exporter"))).await;
    match outcome {
        Ok(outcome) => assert!(outcome.problems.is_empty(), "{}", report::line(&outcome)),
        Err(nats_harness::Error::NamespacesUnavailable { reason }) => {
            nats_harness::leave_out(&format!("mount namespaces, refused here: {reason}"));
        }
        Err(error) => panic!("{name} could not be held: {error}"),
    }
}

/// The incident: JetStream is broken, core messaging is fine, and nobody is to restart anything.
#[tokio::test]
async fn a_full_disk_calls_the_data_team_alone() {
    hold("disk-full", "2.10.26").await;
}

#[tokio::test]
async fn two_dead_servers_call_the_platform_team_alone() {
    hold("two-killed", newest()).await;
}

#[test]
fn the_plan_names_alerts_and_receivers_that_there_are() {
    let rules = rules::FILES.iter().flat_map(|file| rules::read(file).unwrap().groups);
    let rules: Vec<rules::Rule> = rules.flat_map(|group| group.rules).collect();
    let mut names = BTreeSet::new();
    for drill in plan::ALL {
        assert!(names.insert(drill.name), "{} is there twice", drill.name);
        let must = drill.must.iter().flat_map(|list| list.iter()).map(|e| (e.alert, e.receiver));
        for (alert, receiver) in must.chain(drill.may.iter().copied()) {
            let of_name = rules.iter().filter(|rule| rule.alert.as_deref() == Some(alert));
            let called = of_name.map(|rule| {
                let team = if rule.labels["tier"] == "persistence" { "data" } else { "platform" };
                let how = if rule.labels["severity"] == "critical" { "page" } else { "ticket" };
                format!("{how}-{team}")
            });
            assert!(
                called.into_iter().any(|c| c == receiver),
                "{}: {alert} at {receiver}",
                drill.name
            );
        }
        for reason in drill.reasons {
            let known = rules.iter().filter_map(|rule| rule.labels.get("reason"));
            assert!(known.into_iter().any(|known| known == reason), "{}: {reason}", drill.name);
        }
    }
}
