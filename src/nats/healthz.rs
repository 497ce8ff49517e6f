//! `/healthz`: four questions with one order, and how each version is asked them.
//!
//! A server goes through its checks from the inside out: does it accept connections, is
//! JetStream on, is there a meta leader that we follow, are all local streams and consumers
//! well. The parameters end the walk early, and which parameter ends it where changed between
//! versions:
//!
//! | parameter | 2.9, 2.10 | 2.11 and later |
//! |---|---|---|
//! | `js-server-only` | after the meta check | before any JetStream check |
//! | `js-meta-only` | unknown, so ignored: the full walk | after the meta check |
//! | `js-enabled-only` | after the enabled check | after the enabled check |
//! | `details` | from 2.10 | yes |
//!
//! So a wide answer that passes answers all the narrower questions, and one that fails often
//! says where it stopped. The server logs every failing request, which is why no request is
//! sent whose answer is known.

use serde::Deserialize;

use super::client::{Answer, Ask};
use super::decode::{decode_any, null_is_default};
use super::failure::{Failure, Reason};
use super::version::Version;

/// One of the questions, from the innermost to the outermost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// Are all configured listeners open, and is the server not draining?
    Core,
    /// Is JetStream on, if it is configured?
    Enabled,
    /// Is there a meta leader, and is this server current with it?
    Meta,
    /// Are all streams and consumers of this server well?
    Assets,
}

impl Check {
    /// All questions, from the innermost to the outermost.
    pub const ALL: [Self; 4] = [Self::Core, Self::Enabled, Self::Meta, Self::Assets];

    /// The value of the `check` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Enabled => "enabled",
            Self::Meta => "meta",
            Self::Assets => "assets",
        }
    }
}

/// The answer to one question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Checked {
    /// Whether it is well.
    pub ok: bool,
    /// HTTP status of the request that told, which may have been a wider one.
    pub status: u16,
    /// How long that request took, in seconds.
    pub seconds: f64,
}

/// What the health endpoint said, question by question.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Health {
    checked: [Option<Checked>; 4],
    /// Failing accounts, streams and consumers, sorted; from 2.10.
    pub failing: Vec<FailingAsset>,
    /// Whether something could not be written to the disk, as the text of an error says; from 2.14.
    pub write_failed: bool,
}

impl Health {
    /// The answer to `check`; nothing when the walk ended before it or the version cannot tell.
    #[must_use]
    pub fn get(&self, check: Check) -> Option<Checked> {
        self.checked[check as usize]
    }

    /// The innermost question whose answer is no.
    #[must_use]
    pub fn first_failing(&self) -> Option<Check> {
        Check::ALL.into_iter().find(|check| self.get(*check).is_some_and(|checked| !checked.ok))
    }

    /// Records that the walk of `answer` passed everything before `failing`, and failed there.
    fn stopped_at(&mut self, failing: Check, answer: &Exchange) {
        for check in Check::ALL.into_iter().take_while(|check| *check <= failing) {
            self.learn(check, check < failing, answer);
        }
    }

    /// Records that the walk of `answer` passed everything up to `last`.
    fn passed(&mut self, last: Check, answer: &Exchange) {
        for check in Check::ALL.into_iter().take_while(|check| *check <= last) {
            self.learn(check, true, answer);
        }
    }

    /// The first answer stands: a later request is a narrower one, for what is still open.
    fn learn(&mut self, check: Check, ok: bool, answer: &Exchange) {
        self.checked[check as usize].get_or_insert(Checked {
            ok,
            status: answer.status,
            seconds: answer.seconds,
        });
    }
}

/// A stream or consumer that the server calls unwell.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default)]
pub struct FailingAsset {
    /// The account.
    #[serde(deserialize_with = "null_is_default")]
    pub account: String,
    /// The stream; empty for an account.
    #[serde(deserialize_with = "null_is_default")]
    pub stream: String,
    /// The consumer; empty for an account or a stream.
    #[serde(deserialize_with = "null_is_default")]
    pub consumer: String,
    /// `STREAM`, `CONSUMER` or `ACCOUNT`.
    #[serde(rename = "type", deserialize_with = "null_is_default")]
    pub kind: String,
}

/// How far a version's parameters reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// 2.9: no details, and 503 for every failure.
    Plain,
    /// 2.10: details.
    Details,
    /// 2.11 and later: a parameter for the base layer alone.
    CoreOnly,
}

impl Dialect {
    fn of(version: Version) -> Self {
        match version {
            v if v >= Version(2, 11, 0) => Self::CoreOnly,
            v if v >= Version(2, 10, 0) => Self::Details,
            _ => Self::Plain,
        }
    }
}

const ENABLED_ONLY: &str = "/healthz?js-enabled-only=true";
const SERVER_ONLY: &str = "/healthz?js-server-only=true";

/// Paths that Kubernetes probes use, as values of the `path` label.
pub const PROBE_PATHS: [&str; 3] = ["/healthz", ENABLED_ONLY, SERVER_ONLY];

/// Whether a probe on `path` depends on JetStream on this version.
#[must_use]
pub fn probe_needs_jetstream(path: &str, version: Version) -> bool {
    !(path == SERVER_ONLY && Dialect::of(version) == Dialect::CoreOnly)
}

/// Whether this version names the streams and consumers that are unwell.
#[must_use]
pub fn names_failing_assets(version: Version) -> bool {
    Dialect::of(version) != Dialect::Plain
}

/// Whether a probe on `path` fails on a server whose innermost failing question is `failing`.
///
/// `clustered` says whether JetStream is: a standalone 2.10 server looks for streams that it
/// could not load where a clustered one looks for its meta leader.
#[must_use]
pub fn probe_fails(path: &str, failing: Check, version: Version, clustered: bool) -> bool {
    let last = match (path, Dialect::of(version)) {
        (ENABLED_ONLY, _) => Check::Enabled,
        (SERVER_ONLY, Dialect::CoreOnly) => Check::Core,
        (SERVER_ONLY, Dialect::Details) if !clustered => Check::Assets,
        (SERVER_ONLY, _) => Check::Meta,
        _ => Check::Assets,
    };
    failing <= last
}

/// Asks only whether the server accepts connections, in the narrowest way that its version has.
///
/// Without a version, the one parameter is used that means the same everywhere.
pub async fn ask_core(client: &impl Ask, version: Option<Version>) -> Result<Health, Failure> {
    let path = match version.map(Dialect::of) {
        Some(Dialect::CoreOnly) => SERVER_ONLY,
        _ => ENABLED_ONLY,
    };
    let answer = ask(client, path).await?;
    let mut health = Health::default();
    if answer.listeners_closed() {
        health.stopped_at(Check::Core, &answer);
    } else {
        health.passed(Check::Core, &answer);
    }
    Ok(health)
}

/// Asks all questions with as few requests as the version allows: one when all is well.
pub async fn ask_all(client: &impl Ask, version: Version) -> Result<Health, Failure> {
    let dialect = Dialect::of(version);
    let path = if dialect == Dialect::Plain { "/healthz" } else { "/healthz?details=true" };
    let mut wide = ask(client, path).await?;
    let mut health = Health { write_failed: wide.write_failed, ..Health::default() };
    if wide.passed() {
        health.passed(Check::Assets, &wide);
        return Ok(health);
    }
    if wide.listeners_closed() {
        health.stopped_at(Check::Core, &wide);
        return Ok(health);
    }
    if !wide.failing.is_empty() {
        health.stopped_at(Check::Assets, &wide);
        health.failing = std::mem::take(&mut wide.failing);
        return Ok(health);
    }
    if wide.jetstream_off() {
        health.stopped_at(Check::Enabled, &wide);
        return Ok(health);
    }
    // The listeners are checked first, so they are open. What failed is behind them.
    health.passed(Check::Core, &wide);
    let enabled = ask(client, ENABLED_ONLY).await?;
    if !enabled.passed() {
        let failing = if enabled.listeners_closed() { Check::Core } else { Check::Enabled };
        health.stopped_at(failing, &enabled);
        return Ok(health);
    }
    health.passed(Check::Enabled, &enabled);
    if dialect == Dialect::Plain {
        // 2.9 does not say what failed. Here `js-server-only` is the meta check.
        let meta = ask(client, SERVER_ONLY).await?;
        if meta.passed() {
            health.passed(Check::Meta, &meta);
            health.stopped_at(Check::Assets, &wide);
            return Ok(health);
        }
        health.stopped_at(Check::Meta, &meta);
    } else {
        health.stopped_at(Check::Meta, &wide);
    }
    Ok(health)
}

/// One request and what it said.
#[derive(Debug)]
struct Exchange {
    status: u16,
    seconds: f64,
    body: Body,
    /// The streams and the like among the errors of the body, which are not there any more.
    failing: Vec<FailingAsset>,
    /// Whether one of the errors is a failed write.
    write_failed: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(deserialize_with = "null_is_default")]
    status: String,
    error: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    errors: Vec<Named>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    #[serde(flatten)]
    asset: FailingAsset,
    error: Option<String>,
}

impl Named {
    fn is_of_asset(&self) -> bool {
        matches!(self.asset.kind.as_str(), "ACCOUNT" | "STREAM" | "CONSUMER")
    }
}

async fn ask(client: &impl Ask, path: &str) -> Result<Exchange, Failure> {
    client.ask(path).await?.read(Exchange::read).await
}

impl Exchange {
    /// Takes the body for what it is, whatever its content type: 2.9 calls failures plain text.
    fn read(answer: &Answer) -> Result<Self, Failure> {
        if !matches!(answer.status, 200 | 500 | 503) {
            return Err(Failure::of_status("/healthz", answer.status));
        }
        let mut body: Body = decode_any(&answer.body)?;
        let agrees = match body.status.as_str() {
            "ok" => answer.status == 200,
            // With details, 2.10.19 says it with status 200.
            "unavailable" | "error" => true,
            _ => false,
        };
        if !agrees {
            return Err(Failure::new(
                Reason::Decode,
                format!("/healthz answered with status {} and another word", answer.status),
            ));
        }
        // There can be tens of thousands, so what is to be done with all of them is done here.
        let texts = body.errors.iter().filter_map(|named| named.error.as_ref());
        let write_failed = texts.chain(&body.error).any(|text| text.contains("write error"));
        let assets: Vec<Named>;
        (assets, body.errors) = body.errors.into_iter().partition(Named::is_of_asset);
        let mut failing: Vec<_> = assets.into_iter().map(|named| named.asset).collect();
        failing.sort();
        let (status, seconds) = (answer.status, answer.elapsed.as_secs_f64());
        Ok(Self { status, seconds, body, failing, write_failed })
    }

    fn passed(&self) -> bool {
        self.body.status == "ok"
    }

    /// Whether the walk ended at the listeners: 500 from 2.10 on, and told by the text on 2.9.
    fn listeners_closed(&self) -> bool {
        self.status == 500
            || self.tells(|text| text.starts_with("failed to be ready for connections"))
            || self.body.errors.iter().any(|named| named.asset.kind == "CONNECTION")
    }

    /// Whether the walk ended at the enabled check: told by the number of the error, on all versions.
    fn jetstream_off(&self) -> bool {
        self.tells(|text| text.ends_with("(10076)"))
    }

    /// Whether `told` holds for an error text.
    fn tells(&self, told: impl Fn(&str) -> bool) -> bool {
        let named = self.body.errors.iter().map(|named| &named.error);
        named.chain([&self.body.error]).flatten().any(|text| told(text))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const V2_9: Version = Version(2, 9, 10);
    const V2_10: Version = Version(2, 10, 26);
    const V2_11: Version = Version(2, 11, 11);

    #[test]
    fn a_walk_answers_everything_up_to_where_it_stopped() {
        let body = Body::default();
        let failing = Vec::new();
        let answer = Exchange { status: 503, seconds: 0.5, body, failing, write_failed: false };
        let mut health = Health::default();
        health.stopped_at(Check::Meta, &answer);
        let ok = |check| health.get(check).map(|checked| checked.ok);
        assert_eq!(
            Check::ALL.map(ok),
            [Some(true), Some(true), Some(false), None],
            "the assets were not looked at"
        );
        assert_eq!(health.first_failing(), Some(Check::Meta));
    }

    #[test]
    fn probes_fail_by_version() {
        // The columns of the table that was measured on real servers: path, then the innermost
        // failing question for which a probe of a clustered server fails.
        for (version, server_only) in
            [(V2_9, Check::Meta), (V2_10, Check::Meta), (V2_11, Check::Core)]
        {
            for failing in Check::ALL {
                let fails = |path| probe_fails(path, failing, version, true);
                assert!(fails("/healthz"));
                assert_eq!(fails(ENABLED_ONLY), failing <= Check::Enabled);
                assert_eq!(fails(SERVER_ONLY), failing <= server_only, "{version:?} {failing:?}");
            }
        }
        assert!(probe_fails(SERVER_ONLY, Check::Assets, V2_10, false));
        assert!(!probe_fails(SERVER_ONLY, Check::Assets, V2_9, false));
        assert!(!probe_needs_jetstream(SERVER_ONLY, V2_11));
        assert!(probe_needs_jetstream(SERVER_ONLY, V2_10));
        assert!(probe_needs_jetstream(ENABLED_ONLY, V2_11));
    }

    fn read(status: u16, body: &str) -> Result<Exchange, Failure> {
        let elapsed = std::time::Duration::from_millis(5);
        Exchange::read(&Answer { status, body: body.as_bytes().to_vec(), elapsed })
    }

    #[test]
    fn closed_listeners_are_told_by_status_or_text() {
        let text =
            r#"{"status":"error","error":"failed to be ready for connections after 1ms: server"}"#;
        assert!(read(500, text).unwrap().listeners_closed());
        assert!(read(503, text).unwrap().listeners_closed(), "2.9");
        let details = r#"{"status":"error","errors":[{"type":"CONNECTION","error":"x"}]}"#;
        assert!(read(503, details).unwrap().listeners_closed());
        let off = r#"{"status":"unavailable","error":"JetStream not enabled (10076)"}"#;
        assert!(!read(503, off).unwrap().listeners_closed());
        assert!(read(503, off).unwrap().jetstream_off());
    }

    #[test]
    fn the_word_counts_and_not_the_status() {
        let off = r#"{"status":"error","errors":[{"type":"JETSTREAM","error":"JetStream not enabled (10076)"}]}"#;
        let answer = read(200, off).unwrap(); // 2.10.19
        assert!(!answer.passed() && answer.jetstream_off());
        assert!(read(200, r#"{"status":"ok"}"#).unwrap().passed());
    }

    #[test]
    fn failed_writes_are_told_by_the_text() {
        let says = |text: &str| {
            let body = format!(
                r#"{{"status":"error","errors":[{{"type":"STREAM","account":"A","stream":"S","error":"{text}"}}]}}"#
            );
            read(503, &body).unwrap().write_failed
        };
        // A full disk of a clustered and of a standalone server, and a store that was deleted.
        assert!(says("JetStream stream 'A > S' is not current: stream write error: store"));
        assert!(says("JetStream stream 'A > S' write error: write 3.blk: no space left on device"));
        assert!(says("JetStream stream 'A > S' is not current: node write error: open 2.blk"));
        assert!(!says("JetStream stream 'A > S' is not current: group node unhealthy"));
    }

    /// Says the same to every question.
    struct Says(String);

    impl Ask for Says {
        async fn ask(&self, _: &str) -> Result<Answer, Failure> {
            let body = self.0.clone().into_bytes();
            Ok(Answer { status: 503, body, elapsed: std::time::Duration::ZERO })
        }
    }

    #[test]
    fn many_failing_assets_are_read_where_nobody_waits_for_them() {
        let says = |count: usize| {
            let failing = |n| format!(r#"{{"type":"STREAM","account":"A","stream":"S{n:06}"}}"#);
            let errors: Vec<_> = (0..count).rev().map(failing).collect();
            Says(format!(r#"{{"status":"error","errors":[{}]}}"#, errors.join(",")))
        };
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (release, held) = std::sync::mpsc::channel::<()>();
            // The one thread that may block is busy.
            let busy = tokio::task::spawn_blocking(move || held.recv());
            let few = says(10);
            assert!(ask_all(&few, V2_11).now_or_never().is_some(), "not worth a thread");
            let many = says(10_000);
            let mut asking = std::pin::pin!(ask_all(&many, V2_11));
            assert!((&mut asking).now_or_never().is_none());
            release.send(()).unwrap();
            busy.await.unwrap().unwrap();
            let health = asking.await.unwrap();
            assert_eq!(health.first_failing(), Some(Check::Assets));
            assert_eq!((health.failing.len(), &*health.failing[0].stream), (10_000, "S000000"));
        });
    }

    #[test]
    fn what_is_not_a_health_answer_is_a_failure() {
        assert_eq!(read(404, "404 page not found").unwrap_err().reason, Reason::Status);
        assert_eq!(read(200, "<html>").unwrap_err().reason, Reason::Decode);
        assert_eq!(read(200, "{}").unwrap_err().reason, Reason::Decode);
        assert_eq!(read(503, r#"{"status":"ok"}"#).unwrap_err().reason, Reason::Decode);
        assert_eq!(read(500, "oops").unwrap_err().reason, Reason::Decode);
    }
}
