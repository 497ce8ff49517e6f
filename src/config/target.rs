//! The list of servers: plain URLs and sections, their credentials and names.

use std::collections::HashMap;

use config::ValueKind;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::entry::{Entry, Reason};
use super::error::Place;
use super::read::{Context, Section};
use super::secret::{self, Sources};
use super::{BasicAuth, Target, Tls};

const EXAMPLE: &str = "http://127.0.0.1:8222";

/// Reads the targets; wrong ones are noted and left out.
pub(super) fn targets(context: &Context, root: &mut Section) -> Vec<Target> {
    let items = root.items("targets");
    let mut targets: Vec<(Place, Target)> = Vec::new();
    for item in items {
        let place = item.place.clone();
        let target = if item.is_section() {
            from_section(Section::of_entry(context, item))
        } else {
            from_text(context, &item)
        };
        targets.extend(target.map(|target| (place, target)));
    }
    refuse_doubles(context, &targets);
    targets.into_iter().map(|(_, target)| target).collect()
}

/// Two targets with one name, or one server asked twice, would write the same series twice.
fn refuse_doubles(context: &Context, targets: &[(Place, Target)]) {
    for (index, (place, target)) in targets.iter().enumerate() {
        let earlier = |same: &dyn Fn(&Target) -> bool| {
            targets[..index].iter().find(|(_, earlier)| same(earlier)).map(|(place, _)| &place.key)
        };
        if let Some(earlier) = earlier(&|earlier| earlier.url == target.url) {
            let reason = format!("{earlier} has the same URL; list each server once");
            context.report(place.clone(), reason);
        } else if let Some(earlier) = earlier(&|earlier| earlier.name == target.name) {
            let name = &target.name;
            let reason =
                format!("{earlier} has the name {name:?} as well; give one of them another name");
            context.report(place.clone(), reason);
        }
    }
}

/// A target that is only a URL, perhaps with the name of the server before it as the NATS
/// project's exporter has it: `n1,http://127.0.0.1:8222`.
fn from_text(context: &Context, entry: &Entry) -> Option<Target> {
    let parsed = entry.text().map_err(|_| {
        let shown = entry.shown();
        format!("{shown} is not a target; write a URL such as {EXAMPLE:?}, or a section with the key url")
    });
    let parsed = parsed.and_then(|text| {
        let named = text.split_once(',').filter(|(id, _)| !id.contains([':', '/', '@']));
        let (id, url) = named.map_or((None, text), |(id, url)| (Some(id.trim()), url.trim()));
        if id == Some("") {
            return Err("there is no name before the comma; write one, or the URL alone".to_owned());
        }
        Ok((id.map(str::to_owned), Address::parse(url)?))
    });
    match parsed {
        Ok((id, Address { url, credentials })) => Some(Target {
            name: id.clone().unwrap_or_else(|| default_name(&url)),
            url,
            cluster: None,
            server: id,
            expected_peers: None,
            tls: Tls::default(),
            basic_auth: credentials,
            headers: HashMap::new(),
        }),
        Err(reason) => {
            context.report(entry.place.clone(), reason);
            None
        }
    }
}

fn from_section(mut section: Section) -> Option<Target> {
    let name = section.take("name", Entry::name);
    if let Some(name) = &name {
        section.belongs_to(name);
    }
    if !section.has("url") {
        section.report("url", format!("this key is missing; write a URL such as {EXAMPLE:?}"));
    }
    let address = section.take("url", |entry| Address::parse(entry.text()?));
    let cluster = section.take("cluster", Entry::name);
    let server = section.take("server", Entry::name);
    let expected_peers = section.take("expected_peers", Entry::whole);
    let is_plain = address.as_ref().is_some_and(|address| address.url.scheme() == "http");
    let tls = tls(section.section("tls"), is_plain);
    let basic_auth = basic_auth(&mut section);
    let headers = headers(section.section("headers"));
    let authorized = headers.contains_key(&AUTHORIZATION);
    let in_url = address.as_ref().is_some_and(|address| address.credentials.is_some());
    match (in_url, basic_auth.is_some(), authorized) {
        (true, true, _) => {
            section
                .report("basic_auth", "the URL has credentials as well; remove them from the URL");
        }
        (true, _, true) => {
            section.report(
                "headers.Authorization",
                "the URL has credentials as well; remove one of them",
            );
        }
        (_, true, true) => {
            section
                .report("headers.Authorization", "basic_auth is set as well; remove one of them");
        }
        _ => {}
    }
    section.finish();
    let Address { url, credentials } = address?;
    Some(Target {
        name: name.unwrap_or_else(|| default_name(&url)),
        url,
        cluster,
        server,
        expected_peers,
        tls,
        basic_auth: basic_auth.or(credentials),
        headers,
    })
}

fn tls(mut section: Section, is_plain: bool) -> Tls {
    if is_plain && !section.is_empty() {
        section.report("", "this has no effect on an http URL; write https, or remove it");
    }
    let context = section.context;
    if section.has("cert_file") != section.has("key_file") {
        let missing = if section.has("cert_file") { "key_file" } else { "cert_file" };
        section.report(missing, "a client certificate and its key go together; write both or none");
    }
    let mut file = |key| section.take(key, |entry| secret::readable(context, entry));
    let (ca_file, cert_file, key_file) = (file("ca_file"), file("cert_file"), file("key_file"));
    let server_name = section.take("server_name", Entry::name);
    let insecure_skip_verify =
        section.take("insecure_skip_verify", Entry::switch).unwrap_or_default();
    section.finish();
    Tls { ca_file, cert_file, key_file, server_name, insecure_skip_verify }
}

fn basic_auth(target: &mut Section) -> Option<BasicAuth> {
    const USERNAME: Sources =
        Sources { inline: Some("username"), file: "username_file", variable: "username_env" };
    const PASSWORD: Sources =
        Sources { inline: Some("password"), file: "password_file", variable: "password_env" };
    let is_set = target.has("basic_auth");
    let mut section = target.section("basic_auth");
    if !is_set {
        return None;
    }
    let username = USERNAME.take(&mut section);
    let password = PASSWORD.take(&mut section);
    let username = username.map(|username| username.expose_secret().to_owned());
    if username.as_ref().is_some_and(|username| username.contains(':')) {
        section
            .report("username", "this contains a colon, which basic authentication cannot express");
    }
    section.finish();
    Some(BasicAuth { username: username?, password: password? })
}

fn headers(section: Section) -> HashMap<HeaderName, SecretString> {
    let context = section.context;
    let mut headers = HashMap::new();
    for (name, entry) in section.into_entries() {
        let place = entry.place.clone();
        let Some(value) = header_value(context, entry) else {
            continue;
        };
        let Ok(name) = HeaderName::try_from(name) else {
            context
                .report(place, "this is not the name of a header; write one such as \"X-Token\"");
            continue;
        };
        if HeaderValue::from_str(value.expose_secret()).is_err() {
            context.report(
                place,
                "the value cannot be sent in a header; it may hold no control characters",
            );
        } else if headers.insert(name, value).is_some() {
            context
                .report(place, "this header is set twice, as capitals do not matter; remove one");
        }
    }
    headers
}

fn header_value(context: &Context, entry: Entry) -> Option<SecretString> {
    const SOURCES: Sources = Sources { inline: None, file: "file", variable: "env" };
    if entry.is_section() {
        let mut section = Section::of_entry(context, entry);
        let value = SOURCES.take(&mut section);
        section.finish();
        return value;
    }
    let ValueKind::String(text) = entry.kind else {
        let hint = "write the value in quotes, or a section with the key file or env";
        context.report(entry.place, format!("this is not text; {hint}"));
        return None;
    };
    Some(text.into())
}

/// A URL and the credentials that were written in it.
struct Address {
    url: Url,
    credentials: Option<BasicAuth>,
}

impl Address {
    fn parse(text: &str) -> Result<Self, Reason> {
        let shown = without_secrets(text);
        if !text.contains("://") {
            return Err(format!("\"{shown}\" is not a URL; write \"http://{shown}\""));
        }
        let mut url = Url::parse(text).map_err(|reason| {
            format!("\"{shown}\" is not a URL ({reason}); write one such as {EXAMPLE:?}")
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            let hint = format!("write the address of the monitoring port, such as {EXAMPLE:?}");
            return Err(format!("\"{shown}\" begins with neither http:// nor https://; {hint}"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!(
                "\"{shown}\" has more after its path; leave out what follows ? or #"
            ));
        }
        let credentials = credentials(&url)?;
        let kept = url.path().trim_end_matches('/').to_owned();
        url.set_path(&kept);
        let removed = url.set_username("").and_then(|()| url.set_password(None));
        removed.map_err(|()| format!("\"{shown}\" has no host; write one such as {EXAMPLE:?}"))?;
        Ok(Self { url, credentials })
    }
}

fn credentials(url: &Url) -> Result<Option<BasicAuth>, Reason> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decode = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err("the credentials in the URL are not UTF-8 when decoded".to_owned()),
    };
    let username = decode(url.username())?;
    if username.contains(':') {
        return Err(
            "the user in the URL contains a colon, which basic authentication cannot express"
                .into(),
        );
    }
    let password = decode(url.password().unwrap_or_default())?.into();
    Ok(Some(BasicAuth { username, password }))
}

/// A URL, or what was meant to be one, without user, password and query.
///
/// A wrong URL may have its `@` and `?` anywhere, so this rather hides too much.
fn without_secrets(text: &str) -> String {
    let (before, host) = text.rsplit_once('@').map_or(("", text), |(user, host)| (user, host));
    let host = host.split_once(['?', '#']).map_or(host, |(host, _)| host);
    match before.split_once("://") {
        _ if before.is_empty() => host.to_owned(),
        Some((scheme, _)) => format!("{scheme}://***@{host}"),
        None => format!("***@{host}"),
    }
}

fn default_name(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    format!("{host}:{port}{path}")
}
