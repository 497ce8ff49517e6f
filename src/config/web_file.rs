//! The web configuration file: TLS, users and headers of the listener, in the
//! format that the exporters of Prometheus share.
//!
//! It is read like the configuration: all problems are told at once, and an
//! unknown key is one. What the file can say and this exporter cannot do is
//! refused, never left out. `docs/decisions/web.md` says what that is.

mod tls;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bcrypt::HashParts;
use config::{Map, Value, ValueKind};
use reqwest::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS, X_XSS_PROTECTION,
};

use super::entry::{Entry, Reason};
use super::error::ConfigError;
use super::layers::{self, Environment};
use super::read::{Context, Section};

pub use self::tls::{ClientAuth, TlsServer, TlsVersion};

/// The setting that names the file.
const NAMED_BY: &str = "web.config_file";

/// The least cost that there is.
const CHEAPEST: u32 = 4;

/// A check of a hash with this cost takes a core some twenty seconds; each step more doubles that.
const DEAREST: u32 = 18;

/// What a web configuration file says, with the files that it names.
// No `Debug`: there are a key and hashes of passwords in it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebFile {
    /// The side of TLS that is the server's; nothing is plain HTTP.
    pub tls: Option<TlsServer>,
    /// Whether clients with TLS may choose HTTP/2.
    pub http2: bool,
    /// Headers of every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// bcrypt hashes of passwords by the names of the users; empty asks nobody for a password.
    pub users: BTreeMap<String, String>,
    /// How many requests are answered; nothing is no limit.
    pub rate_limit: Option<RateLimit>,
}

/// How many requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// One more request is allowed each time this has passed.
    pub interval: Duration,
    /// Requests that may come at once; at least one.
    pub burst: u32,
}

impl WebFile {
    /// Reads the file and those that it names.
    ///
    /// # Errors
    ///
    /// Tells everything that is wrong, without secrets.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|reason| ConfigError::Unreadable {
            path: path.to_owned(),
            named_by: NAMED_BY,
            reason,
        })?;
        let entries: Map<String, Value> = layers::yaml(path, &text)?;
        let environment = Environment::new();
        let directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let context = Context::new(path.display().to_string(), directory, &environment);
        let read = file(Section::root(&context, entries));
        context.result(read)
    }

    /// The keys of what keeps strangers out, and whether this file has it.
    #[must_use]
    pub fn locks(&self) -> [(&'static str, bool); 4] {
        let tls = |is_locked: fn(&TlsServer) -> bool| self.tls.as_ref().is_some_and(is_locked);
        let verifies = |tls: &TlsServer| {
            matches!(tls.client_auth, ClientAuth::Verified { required: true, .. })
        };
        [
            ("tls_server_config", self.tls.is_some()),
            ("tls_server_config.client_auth_type", tls(verifies)),
            (
                "tls_server_config.client_allowed_sans",
                tls(|tls| !tls.client_allowed_sans.is_empty()),
            ),
            ("basic_auth_users", !self.users.is_empty()),
        ]
    }
}

fn file(mut root: Section) -> WebFile {
    let tls = tls::read(root.section("tls_server_config"));
    let (http2, headers) = http(root.section("http_server_config"));
    let users = users(root.section("basic_auth_users"));
    let rate_limit = rate_limit(root.section("rate_limit"));
    root.finish();
    WebFile { tls, http2, headers, users, rate_limit }
}

/// The headers that can be set, and the values that they can have where there are few.
const HEADERS: [(&str, HeaderName, &[&str]); 5] = [
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY, &[]),
    ("X-Frame-Options", X_FRAME_OPTIONS, &["deny", "sameorigin"]),
    ("X-Content-Type-Options", X_CONTENT_TYPE_OPTIONS, &["nosniff"]),
    ("X-XSS-Protection", X_XSS_PROTECTION, &[]),
    ("Strict-Transport-Security", STRICT_TRANSPORT_SECURITY, &[]),
];

fn http(mut section: Section) -> (bool, Vec<(HeaderName, HeaderValue)>) {
    let http2 = section.take("http2", Entry::switch).unwrap_or(true);
    let mut headers = section.section("headers");
    let mut set = Vec::new();
    for (key, name, values) in HEADERS {
        if let Some(Some(value)) = headers.take(key, |entry| header_value(entry, values)) {
            set.push((name, value));
        }
    }
    headers.finish();
    section.finish();
    (http2, set)
}

/// Nothing for an empty one, which is the same as not written.
fn header_value(entry: &Entry, values: &[&str]) -> Result<Option<HeaderValue>, Reason> {
    let text = match &entry.kind {
        // Where a header is a number, people write one.
        ValueKind::I64(number) => number.to_string(),
        _ => entry.text()?.to_owned(),
    };
    if text.is_empty() {
        return Ok(None);
    }
    if !values.is_empty() && !values.contains(&text.as_str()) {
        return Err(format!("{text:?} is not known here; write {}", values.join(" or ")));
    }
    let value = HeaderValue::from_str(&text)
        .map_err(|_| format!("{text:?} has characters that a header cannot have"))?;
    Ok(Some(value))
}

fn users(section: Section) -> BTreeMap<String, String> {
    let context = section.context;
    let mut users = BTreeMap::new();
    for (name, entry) in section.into_entries() {
        let hash = match hash(&entry) {
            Ok(_) if name.contains(':') => {
                Err("a name with a colon cannot be sent by any client".to_owned())
            }
            other => other,
        };
        match hash {
            Ok(hash) => drop(users.insert(name, hash)),
            Err(reason) => context.report(entry.place, reason),
        }
    }
    users
}

/// The hash of a password. The message does not repeat it: it may be the password itself.
fn hash(entry: &Entry) -> Result<String, Reason> {
    let text = entry.text()?;
    let parts: HashParts = text.parse().map_err(|_| {
        "this is not a bcrypt hash; make one with: htpasswd -nBC 10 \"\" | tr -d ':\\n'".to_owned()
    })?;
    match parts.get_cost() {
        cost if cost < CHEAPEST => Err(format!(
            "bcrypt has no cost of {cost}, so no password would ever be right; make a hash with one of 10"
        )),
        cost if cost > DEAREST => Err(format!(
            "a check of a password would take a core minutes with a cost of {cost}; make a hash \
             with one of {DEAREST} or less, such as 10"
        )),
        _ => Ok(text.to_owned()),
    }
}

fn rate_limit(mut section: Section) -> Option<RateLimit> {
    let interval = section.take("interval", |entry| match entry.kind {
        ValueKind::I64(0) => Ok(Duration::ZERO),
        _ => entry.duration(),
    });
    let burst = section.take("burst", Entry::whole::<u32>);
    let interval = interval.filter(|interval| !interval.is_zero());
    if interval.is_some() && burst.unwrap_or(0) == 0 {
        section.report("burst", "no request would ever be answered; write a number such as 20");
    }
    section.finish();
    Some(RateLimit { interval: interval?, burst: burst? })
}
