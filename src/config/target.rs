//! The list of targets: plain URLs and sections, their credentials and names. A target is a server, or
//! a name in DNS that stands for several.

use config::ValueKind;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::entry::{Entry, Reason};
use super::error::Place;
use super::read::{Context, Section};
use super::secret::{self, Sources};
use super::{BasicAuth, DnsTarget, Records, Target, Tls};

const EXAMPLE: &str = "http://127.0.0.1:8222";

/// What a target of the list stands for.
struct Listed {
    place: Place,
    /// Where its servers are told, when that is DNS.
    records: Option<Records>,
    target: Target,
}

/// Reads the targets, those that are servers and those that are names in DNS; wrong ones are noted
/// and left out. Without the list there is the default, unless `others_are_asked`.
pub(super) fn targets(
    context: &Context,
    root: &mut Section,
    others_are_asked: bool,
) -> (Vec<Target>, Vec<DnsTarget>) {
    let is_given = root.has("targets");
    let mut items = root.items("targets");
    if others_are_asked && !is_given {
        items.clear();
    }
    let mut targets: Vec<Listed> = Vec::new();
    for item in items {
        let place = item.place.clone();
        let target = if item.is_section() {
            from_section(Section::of_entry(context, item))
        } else {
            from_text(context, &item)
        };
        targets.extend(target.map(|(records, target)| Listed { place, records, target }));
    }
    refuse_doubles(context, &targets);
    let (mut servers, mut names) = (Vec::new(), Vec::new());
    for Listed { records, target, .. } in targets {
        match records {
            None => servers.push(target),
            Some(records) => names.push(DnsTarget { records, template: target }),
        }
    }
    (servers, names)
}

/// Two targets with one name, or one server asked twice, would write the same series twice.
fn refuse_doubles(context: &Context, targets: &[Listed]) {
    for (index, Listed { place, records, target }) in targets.iter().enumerate() {
        let earlier = |same: &dyn Fn(&Target) -> bool,
                       records: &dyn Fn(Option<Records>) -> bool| {
            let mut earlier = targets[..index].iter();
            earlier.find(|e| same(&e.target) && records(e.records)).map(|e| &e.place.key)
        };
        if let Some(earlier) = earlier(&|earlier| earlier.url == target.url, &|r| r == *records) {
            let reason = format!("{earlier} has the same URL; list each server once");
            context.report(place.clone(), reason);
        } else if let Some(earlier) = earlier(&|earlier| earlier.name == target.name, &|_| true) {
            let name = &target.name;
            let reason =
                format!("{earlier} has the name {name:?} as well; give one of them another name");
            context.report(place.clone(), reason);
        }
    }
}

/// A target that is only a URL, perhaps with the name of the server before it as the NATS
/// project's exporter has it: `n1,http://127.0.0.1:8222`.
fn from_text(context: &Context, entry: &Entry) -> Option<(Option<Records>, Target)> {
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
        let address = Address::parse(url)?;
        if id.is_some() && address.records.is_some() {
            return Err(MANY_SERVERS.to_owned());
        }
        Ok((id.map(str::to_owned), address))
    });
    match parsed {
        Ok((id, Address { url, records, credentials })) => {
            let name = id.clone().unwrap_or_else(|| default_name(records, &url));
            let access = Access { basic_auth: credentials, ..Access::default() };
            Some((records, Target { server: id, ..access.to(name, url) }))
        }
        Err(reason) => {
            context.report(entry.place.clone(), reason);
            None
        }
    }
}

fn from_section(mut section: Section) -> Option<(Option<Records>, Target)> {
    let name = section.take("name", Entry::name);
    if let Some(name) = &name {
        section.belongs_to(name);
    }
    if !section.has("url") {
        section.report("url", format!("this key is missing; write a URL such as {EXAMPLE:?}"));
    }
    let address = section.take("url", |entry| Address::parse(entry.text()?));
    let records = address.as_ref().and_then(|address| address.records);
    let server = section.take("server", |entry| match records {
        None => entry.name(),
        Some(_) => Err(MANY_SERVERS.to_owned()),
    });
    let expected_peers = section.take("expected_peers", Entry::whole);
    let is_plain = address.as_ref().is_some_and(|address| address.url.scheme() == "http");
    let (url, credentials) = address.map(|address| (address.url, address.credentials)).unzip();
    let access = access(&mut section, is_plain, credentials.flatten());
    section.finish();
    let url = url?;
    let name = name.unwrap_or_else(|| default_name(records, &url));
    Some((records, Target { server, expected_peers, ..access.to(name, url) }))
}

/// How a server is asked, whichever it is.
#[derive(Default)]
pub(super) struct Access {
    cluster: Option<String>,
    tls: Tls,
    basic_auth: Option<BasicAuth>,
    headers: Vec<(HeaderName, SecretString)>,
}

impl Access {
    /// The target that is asked like this.
    pub(super) fn to(self, name: String, url: Url) -> Target {
        let Self { cluster, tls, basic_auth, headers } = self;
        Target { name, url, cluster, server: None, expected_peers: None, tls, basic_auth, headers }
    }
}

/// How what the section is about is asked. `in_url` are the credentials of its URL.
pub(super) fn access(section: &mut Section, is_plain: bool, in_url: Option<BasicAuth>) -> Access {
    let cluster = section.take("cluster", Entry::name);
    let tls = tls(section.section("tls"), is_plain);
    let basic_auth = basic_auth(section);
    let headers = headers(section.section("headers"));
    let authorized = headers.iter().any(|(name, _)| *name == AUTHORIZATION);
    match (in_url.is_some(), basic_auth.is_some(), authorized) {
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
    Access { cluster, tls, basic_auth: basic_auth.or(in_url), headers }
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

fn headers(section: Section) -> Vec<(HeaderName, SecretString)> {
    let context = section.context;
    let mut headers: Vec<(HeaderName, SecretString)> = Vec::new();
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
        } else if headers.iter().any(|(known, _)| *known == name) {
            context
                .report(place, "this header is set twice, as capitals do not matter; remove one");
        } else {
            headers.push((name, value));
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

/// Why a name is refused to a target that stands for several servers.
pub(super) const MANY_SERVERS: &str = "one name cannot stand for all servers of a DNS name; \
                            remove it, and each server is called as it calls itself";

/// A URL and the credentials that were written in it.
struct Address {
    url: Url,
    /// What in DNS tells the servers, when the host is not one itself.
    records: Option<Records>,
    credentials: Option<BasicAuth>,
}

impl Address {
    fn parse(text: &str) -> Result<Self, Reason> {
        let shown = without_secrets(text);
        let (records, plain) = Records::of(text);
        if !text.contains("://") {
            let (prefix, host) = (records.map_or("", Records::prefix), without_secrets(plain));
            return Err(format!("\"{shown}\" is not a URL; write \"{prefix}http://{host}\""));
        }
        let mut url = Url::parse(plain).map_err(|reason| {
            let hint =
                if plain.is_ascii() { "write one" } else { "write the host in ASCII (xn--...)," };
            format!("\"{shown}\" is not a URL ({reason}); {hint} such as {EXAMPLE:?}")
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
        if url.path().contains('@') {
            return Err(format!(
                "\"{shown}\" has an @ behind its first /; write a / in a user or password as %2F"
            ));
        }
        let credentials = credentials(&url)?;
        let kept = url.path().trim_end_matches('/').to_owned();
        url.set_path(&kept);
        let removed = url.set_username("").and_then(|()| url.set_password(None));
        removed.map_err(|()| format!("\"{shown}\" has no host; write one such as {EXAMPLE:?}"))?;
        if let Some(records) = records {
            refuse_no_name(records, plain, &url)?;
        }
        Ok(Self { url, records, credentials })
    }
}

/// Refuses what cannot be looked up, and a port where the records have it.
fn refuse_no_name(records: Records, plain: &str, url: &Url) -> Result<(), Reason> {
    if url.domain().is_none() {
        let (prefix, plain) = (records.prefix(), url.as_str().trim_end_matches('/'));
        return Err(format!(
            "an IP address is not looked up in DNS; write \"{plain}\" without {prefix}"
        ));
    }
    // The URL type leaves out the usual port of its scheme.
    let authority = plain.split_once("://").map_or(plain, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if records == Records::Services && host.contains(':') {
        return Err("the port is told by the SRV records; leave it out of the URL".to_owned());
    }
    Ok(())
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
/// A wrong URL may have its `@` and `?` anywhere, so this rather hides too much. Without any `@` it may be one that was
/// cut within its password, as a list is at a comma.
fn without_secrets(text: &str) -> String {
    let (before, host) = text.rsplit_once('@').map_or(("", text), |(user, host)| (user, host));
    let host = host.split_once(['?', '#']).map_or(host, |(host, _)| host);
    match before.split_once("://") {
        _ if before.is_empty() => without_password(host),
        Some((scheme, _)) => format!("{scheme}://***@{host}"),
        None => format!("***@{host}"),
    }
}

/// A URL without `@`, and without what is behind its host and is no port.
fn without_password(text: &str) -> String {
    let start = text.find("://").map_or(0, |scheme| scheme + 3);
    let (scheme, rest) = text.split_at(start);
    let end = rest.find(']').or_else(|| rest.find(':')).unwrap_or(rest.len());
    let (host, behind) = rest.split_at(end);
    let Some((bracket, port)) = behind.split_once(':') else { return text.to_owned() };
    let port = port.split('/').next().unwrap_or_default();
    let is_port = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    if is_port { text.to_owned() } else { format!("{scheme}{host}{bracket}:***") }
}

/// Host, port and path of a server; of a name in DNS the URL as it was written.
fn default_name(records: Option<Records>, url: &Url) -> String {
    if let Some(records) = records {
        return format!("{}{}", records.prefix(), url.as_str().trim_end_matches('/'));
    }
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    format!("{host}:{port}{path}")
}
