//! `/healthz`: what its statuses and texts mean on each version.

use std::sync::Mutex;
use std::time::Duration;

use nats_exporter::nats::client::{Answer, Ask};
use nats_exporter::nats::endpoint::Endpoint;
use nats_exporter::nats::failure::{Failure, Reason};
use nats_exporter::nats::healthz::{self, Check, Health};
use nats_exporter::nats::version::Version;

use super::endpoints::introduce;
use crate::parts;
use crate::stage::{Answers, RUNTIME, Server};

/// A server whose answers to the three kinds of questions are known.
struct Said<'s> {
    wide: &'s [u8],
    enabled: &'s [u8],
    server: &'s [u8],
    asked: Mutex<Vec<String>>,
}

impl Ask for Said<'_> {
    async fn ask(&self, path: &str) -> Result<Answer, Failure> {
        self.asked.lock().expect("nobody panicked").push(path.to_owned());
        let said = match path {
            "/healthz" | "/healthz?details=true" => self.wide,
            "/healthz?js-enabled-only=true" => self.enabled,
            "/healthz?js-server-only=true" => self.server,
            other => panic!("{other} is not to be asked"),
        };
        answer(said).ok_or_else(|| Failure::new(Reason::Connect, "nothing was said"))
    }
}

/// Reads `503 {...}`; nothing when it does not begin with a status.
fn answer(said: &[u8]) -> Option<Answer> {
    let (status, body) = said.split_at_checked(3)?;
    let status = std::str::from_utf8(status).ok()?.parse().ok().filter(|s| *s >= 100)?;
    Some(Answer { status, body: body.to_vec(), elapsed: Duration::from_millis(3) })
}

/// The version, then the answers to the widest question and to the two narrower ones.
pub(super) fn check(input: &[u8]) {
    let [version, wide, enabled, server] = parts(input);
    let version: Option<Version> = std::str::from_utf8(version).ok().and_then(|v| v.parse().ok());
    let said = Said { wide, enabled, server, asked: Mutex::default() };
    let core = RUNTIME.block_on(healthz::ask_core(&said, version));
    said.asked.lock().expect("nobody panicked").clear();
    let all = version.map(|version| RUNTIME.block_on(healthz::ask_all(&said, version)));

    let mut asked = said.asked.into_inner().expect("nobody panicked");
    let questions = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), questions, "a question was asked twice");
    if let Ok(core) = &core {
        assert!(core.get(Check::Core).is_some() && is_a_walk(core), "{core:?}");
    }
    if let Some(Ok(all)) = &all {
        assert!(all.get(Check::Core).is_some() && is_a_walk(all), "{all:?}");
        let is_well = all.get(Check::Assets).is_some_and(|checked| checked.ok);
        assert_eq!(is_well, says_ok(wide), "{all:?}");
    }
    let stage = Server::default();
    let varz = introduce(&stage, "A");
    let _ = stage.shown(&Answers {
        varz: Some(varz),
        core: Some(stage.note(Endpoint::HealthzCore, core)),
        health: all.map(|all| stage.note(Endpoint::Healthz, all)),
        ..Answers::default()
    });
}

/// Whether what is known is from the inside out, and ends at what is failing.
fn is_a_walk(health: &Health) -> bool {
    let known = Check::ALL.map(|check| health.get(check).map(|checked| checked.ok));
    known.windows(2).all(|pair| pair[0] == Some(true) || pair[1].is_none())
}

/// Whether a server says that all is well, read by another way than the exporter's.
fn says_ok(said: &[u8]) -> bool {
    let Some(answer) = answer(said).filter(|answer| answer.status == 200) else { return false };
    let body: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    body.is_some_and(|body| body["status"] == "ok")
}
