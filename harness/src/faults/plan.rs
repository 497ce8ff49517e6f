//! The table of faults: where something can break, how, and which reason the exporter has to report.

use std::sync::LazyLock;
use std::time::Duration;

use crate::monitor::{Fault, Question, gzip};

/// Something that is done to the answers to one question.
#[derive(Debug)]
pub struct Case {
    /// What it is, for people.
    pub what: &'static str,
    /// What it is.
    pub fault: Fault,
    /// The reason of the endpoints; nothing when the answer can be read.
    pub reason: Option<&'static str>,
}

impl Case {
    /// The reason that the endpoints report which ask `question`.
    #[must_use]
    pub fn reason_of(&self, question: Question) -> Option<&'static str> {
        let is_health = matches!(question, Question::Healthz | Question::HealthzWide);
        match &self.fault {
            // A server that is unwell says it with these, so there the body decides.
            Fault::Answer(500 | 503, _) if is_health => Some("decode"),
            _ => self.reason,
        }
    }
}

/// More than the exporter reads of any answer by default.
const TOO_MANY_BYTES: u64 = (1 << 30) + 1;
/// What the bomb becomes.
const BOMB_BYTES: usize = 4 << 20;
const PAGE: &str = "<html><h1>No</h1></html>";

fn case(what: &'static str, fault: Fault, reason: &'static str) -> Case {
    Case { what, fault, reason: Some(reason) }
}

/// What can be done to answers.
pub static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    vec![
        case("stalls before the head", Fault::Stall, "timeout"),
        case("stalls in the body", Fault::StallInBody, "timeout"),
        case("drips, one byte a second", Fault::Drip(Duration::from_secs(1)), "timeout"),
        case("is cut in the body", Fault::Cut, "truncated"),
        case("closes without an answer", Fault::Close, "truncated"),
        case("announces more than is read", Fault::Oversized(TOO_MANY_BYTES), "too_large"),
        case("sends without end", Fault::Endless, "too_large"),
        case("is a gzip bomb", Fault::Gzip(gzip(&[b' '; BOMB_BYTES]).into()), "too_large"),
        case("says it is gzip and is not", Fault::BadGzip, "decode"),
        case("speaks no HTTP", Fault::NotHttp, "decode"),
        case("redirects", Fault::Redirect("/varz".into()), "status"),
        case("answers 204", Fault::answer(204, PAGE), "status"),
        case("answers 401", Fault::answer(401, PAGE), "status"),
        case("answers 403", Fault::answer(403, PAGE), "status"),
        case("answers 404", Fault::answer(404, PAGE), "status"),
        case("answers 429", Fault::answer(429, PAGE), "status"),
        case("answers 500 with a page", Fault::answer(500, PAGE), "status"),
        case("answers 502", Fault::answer(502, PAGE), "status"),
        case("answers 503 with a page", Fault::answer(503, PAGE), "status"),
        case("is empty", Fault::answer(200, ""), "decode"),
        case("is HTML", Fault::answer(200, "<!DOCTYPE html><h1>Welcome</h1>"), "decode"),
        case("is noise", Fault::answer(200, "\u{0}\u{1}\u{fffd}\u{7f}{[\"\\"), "decode"),
        case(
            "is not UTF-8",
            Fault::Gzip(gzip(b"{\"server_id\":\"\xff\xfe\",\"status\":\"\xff\"}").into()),
            "decode",
        ),
        case("is `null`", Fault::answer(200, "null"), "decode"),
        case("is a list", Fault::answer(200, "[1, 2, 3]"), "decode"),
        case("is an empty object", Fault::answer(200, "{}"), "decode"),
        case("is nested a hundred thousand deep", Fault::Nested, "decode"),
        case("is JSON without its end", Fault::CutJson, "truncated"),
        case("is JSON with more behind", Fault::MoreBehind, "decode"),
        case("has other types", Fault::OtherTypes, "decode"),
        case("has negative counts", Fault::NegativeNumbers, "decode"),
        case("has nulls everywhere", Fault::Nulls, "decode"),
        Case { what: "has hostile names", fault: Fault::HostileNames, reason: None },
    ]
});

/// What is asked of a server, each broken alone.
pub const QUESTIONS: [Question; 7] = [
    Question::Varz,
    Question::Routez,
    Question::Healthz,
    Question::HealthzWide,
    Question::JszPlain,
    Question::JszDetail,
    Question::Jsz,
];

/// A way in which a whole target is broken, from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Nobody listens on its port.
    Refused,
    /// Its name is not in DNS.
    NoName,
    /// It is to speak TLS and speaks plain HTTP.
    NoTls,
    /// It is to speak TLS and does not answer the greeting.
    SilentTls,
    /// It takes connections and says nothing.
    Silent,
}

impl Broken {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Refused, Self::NoName, Self::NoTls, Self::SilentTls, Self::Silent];

    /// Its name in arguments.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::NoName => "no-name",
            Self::NoTls => "no-tls",
            Self::SilentTls => "silent-tls",
            Self::Silent => "silent",
        }
    }

    /// What it is, for people.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Refused => "connections are refused",
            Self::NoName => "its name is not in DNS",
            Self::NoTls => "`https`, and it speaks plain HTTP",
            Self::SilentTls => "`https`, and nothing answers the greeting",
            Self::Silent => "it takes connections and says nothing",
        }
    }

    /// The reason of every endpoint.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Refused | Self::SilentTls => "connect",
            Self::NoName => "dns",
            Self::NoTls => "tls",
            Self::Silent => "timeout",
        }
    }
}

/// The endpoints of the exporter that are of the base tier.
pub const BASE: [&str; 3] = ["varz", "routez", "healthz_core"];
/// All endpoints.
pub const ENDPOINTS: [&str; 6] = ["varz", "routez", "healthz_core", "jsz", "jsz_detail", "healthz"];
/// Those that are asked of a server of which nothing is known: the form of the wide `/healthz` depends on the version.
pub const ASKED_AT_FIRST: [&str; 5] = ["varz", "routez", "healthz_core", "jsz", "jsz_detail"];

impl Question {
    /// Its name in arguments.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Varz => "varz",
            Self::Routez => "routez",
            Self::Healthz => "healthz",
            Self::HealthzWide => "healthz-wide",
            Self::Jsz => "jsz",
            Self::JszPlain => "jsz-plain",
            Self::JszDetail => "jsz-detail",
        }
    }

    /// What is asked, for people.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Any => "everything",
            Self::Varz => "`/varz`",
            Self::Routez => "`/routez`",
            Self::Healthz => "`/healthz`, every form",
            Self::HealthzWide => "`/healthz`, the wide form alone",
            Self::JszPlain => "`/jsz`, the plain form alone",
            Self::JszDetail => "`/jsz`, the detail alone",
            Self::Jsz => "`/jsz`, every form",
        }
    }

    /// The endpoints of the exporter that ask it.
    #[must_use]
    pub const fn endpoints(self) -> &'static [&'static str] {
        match self {
            Self::Any => &ENDPOINTS,
            Self::Varz => &["varz"],
            Self::Routez => &["routez"],
            Self::Healthz => &["healthz_core", "healthz"],
            Self::HealthzWide => &["healthz"],
            Self::JszPlain => &["jsz"],
            Self::JszDetail => &["jsz_detail"],
            Self::Jsz => &["jsz", "jsz_detail"],
        }
    }

    /// Whether a series of the base tier is made from the answer. `check` is its label of that name.
    pub(super) fn makes(self, metric: &str, check: Option<&str>) -> bool {
        match self {
            Self::Varz => {
                metric.starts_with("nats_server_")
                    || metric == "nats_route_peers_expected"
                    || metric == "nats_health_check_status_code" && check == Some("varz")
            }
            Self::Routez => metric.starts_with("nats_route_"),
            Self::Healthz => metric.starts_with("nats_health_") && check != Some("varz"),
            Self::Any => metric != "nats_up",
            Self::HealthzWide | Self::JszPlain | Self::JszDetail | Self::Jsz => false,
        }
    }
}
