//! What `/probe` may ask that is not a target: patterns of addresses, and how what matches one is
//! asked.
//!
//! What is compared is what the URL type makes of an address, and that is also what is asked: `0x7f.1`
//! is 127.0.0.1 in both places, and `user@host` is refused before.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use reqwest::Url;

use super::Target;
use super::entry::{Entry, Reason};
use super::read::Section;
use super::target::{self, Access};

const EXAMPLES: &str =
    "\"http://nats-0.nats:8222\", \"https://*.nats.svc:8222\" or \"http://10.0.0.0/8:8222\"";

/// Servers that may be asked though they are no targets.
#[derive(Debug, Clone)]
pub struct Allowed {
    pattern: Pattern,
    /// How each of them is asked. Its name is the pattern, and the host of its URL only an example.
    pub template: Target,
}

impl Allowed {
    /// The target for `asked`, when the pattern matches.
    #[must_use]
    pub fn target(&self, asked: &Asked) -> Option<Target> {
        let url = asked.url(self.template.url.scheme())?;
        let is_port = url.port_or_known_default() == self.template.url.port_or_known_default();
        if !is_port || !self.pattern.matches(&url) {
            return None;
        }
        let mut target = Target { url, ..self.template.clone() };
        target.name = target.address();
        Some(target)
    }
}

/// The address of a server that somebody wants to have asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    url: Url,
    /// Only host and port were written.
    any_scheme: bool,
}

/// What is not the address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the target is not the address of a server: {0}; write host:port, or http://host:port")]
pub struct NoAddress(&'static str);

impl Asked {
    /// Reads `host:port` or a URL without anything behind its port. Nothing when the text looks like
    /// neither, as the name of a target does.
    ///
    /// # Errors
    /// When it looks like an address and has something in it that a server's does not.
    pub fn parse(text: &str) -> Result<Option<Self>, NoAddress> {
        let any_scheme = !text.contains("://");
        if any_scheme && !text.contains(':') {
            return Ok(None);
        }
        if text.contains('@') {
            return Err(NoAddress("it has credentials"));
        }
        let whole = if any_scheme { format!("http://{text}") } else { text.to_owned() };
        let url = Url::parse(&whole).map_err(|_| NoAddress("it cannot be read"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(NoAddress("it begins with neither http:// nor https://"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(NoAddress("it has more than a host and a port"));
        }
        Ok(Some(Self { url, any_scheme }))
    }

    /// The address with `scheme`; nothing when another one was written.
    fn url(&self, scheme: &str) -> Option<Url> {
        if self.url.scheme() == scheme {
            return Some(self.url.clone());
        }
        // The port that was written may be the usual one of http, which the URL type leaves out.
        let port = self.url.port_or_known_default();
        let mut url = self.url.clone();
        let changed =
            self.any_scheme && url.set_scheme(scheme).is_ok() && url.set_port(port).is_ok();
        changed.then_some(url)
    }

    /// Whether this is the address of `target`.
    #[must_use]
    pub fn is_of(&self, target: &Target) -> bool {
        let url = self.url(target.url.scheme());
        url.is_some_and(|url| {
            url.host() == target.url.host()
                && url.port_or_known_default() == target.url.port_or_known_default()
        })
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.any_scheme {
            return f.write_str(self.url.as_str().trim_end_matches('/'));
        }
        // The URL type leaves out a port that is the usual one, without which this would be a name.
        let host = self.url.host_str().unwrap_or_default();
        write!(f, "{host}:{}", self.url.port_or_known_default().unwrap_or_default())
    }
}

/// Which hosts match.
#[derive(Debug, Clone)]
enum Pattern {
    /// This name.
    Name(String),
    /// Names with one or more labels before this, which begins with a dot.
    Below(String),
    /// Addresses, perhaps a single one.
    Network(IpNet),
}

impl Pattern {
    fn matches(&self, url: &Url) -> bool {
        match (self, url.domain()) {
            (Self::Name(name), Some(host)) => host == name,
            (Self::Below(suffix), Some(host)) => {
                host.strip_suffix(suffix.as_str()).is_some_and(|labels| !labels.is_empty())
            }
            (Self::Network(network), None) => {
                address(url).is_some_and(|address| network.contains(&address))
            }
            _ => false,
        }
    }

    /// A host that matches, as a URL has it.
    fn example(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Below(suffix) => format!("any{suffix}"),
            Self::Network(network) => match network.addr() {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            },
        }
    }
}

/// The address that the host of a URL is.
fn address(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

/// Reads `probe.allow`; wrong items are noted and left out.
pub(super) fn allowed(probe: &mut Section) -> Vec<Allowed> {
    let context = probe.context;
    let allowed = |item: Entry| {
        if item.is_section() {
            return from_section(Section::of_entry(context, item));
        }
        let parsed = item.text().and_then(parse);
        let (pattern, url) =
            parsed.map_err(|reason| context.report(item.place.clone(), reason)).ok()?;
        let name = item.text().unwrap_or_default().to_owned();
        Some(Allowed { pattern, template: Access::default().to(name, url) })
    };
    probe.items("allow").into_iter().filter_map(allowed).collect()
}

fn from_section(mut section: Section) -> Option<Allowed> {
    if !section.has("url") {
        section.report("url", format!("this key is missing; write a pattern such as {EXAMPLES}"));
    }
    let parsed = section.take("url", |entry| {
        let (pattern, url) = parse(entry.text()?)?;
        Ok((entry.text()?.to_owned(), pattern, url))
    });
    let is_plain = parsed.as_ref().is_some_and(|(_, _, url)| url.scheme() == "http");
    let access = target::access(&mut section, is_plain, None);
    section.finish();
    let (name, pattern, url) = parsed?;
    Some(Allowed { pattern, template: access.to(name, url) })
}

/// A pattern, and a URL that it matches.
fn parse(text: &str) -> Result<(Pattern, Url), Reason> {
    // Credentials are repeated in no message.
    if text.contains('@') {
        return Err("a pattern has no credentials; write a section with basic_auth".to_owned());
    }
    let wrong = |why: &str| format!("{text:?} {why}; write one such as {EXAMPLES}");
    // The URL type would leave others out, begin something behind the host with them, or read them as something else.
    let is_part = |c: char| match c {
        '-' | '.' | '_' | '*' | ':' | '/' | '[' | ']' => true,
        _ if c.is_ascii() => c.is_ascii_alphanumeric(),
        _ => !c.is_whitespace() && !c.is_control(),
    };
    if !text.chars().all(is_part) {
        return Err(wrong("has a character that no address has"));
    }
    let (scheme, rest) = text
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        .ok_or_else(|| wrong("begins with neither http:// nor https://"))?;
    let end = match rest.strip_prefix('[') {
        Some(v6) => v6.find(']').map_or(rest.len(), |end| end + 2),
        None => rest.find([':', '/']).unwrap_or(rest.len()),
    };
    let (host, rest) = rest.split_at(end);
    let (length, port) = match rest.strip_prefix('/') {
        Some(rest) => rest.split_once(':').map_or((Some(rest), None), |(l, p)| (Some(l), Some(p))),
        None => (None, rest.strip_prefix(':')),
    };
    let port = match port {
        Some(port) => {
            format!(
                ":{}",
                port.parse::<u16>().map_err(|_| wrong("has no port number behind its host"))?
            )
        }
        None if length.is_some() || rest.is_empty() => String::new(),
        None => return Err(wrong("has more than a host and a port")),
    };
    let pattern = match length {
        Some(length) => network(host, length).map_err(|why| wrong(&why))?,
        None => hosts(scheme, host).map_err(|why| wrong(&why))?,
    };
    let url = Url::parse(&format!("{scheme}://{}{port}", pattern.example()));
    Ok((pattern, url.map_err(|_| wrong("is not the address of servers"))?))
}

fn network(host: &str, length: &str) -> Result<Pattern, String> {
    let address: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
    let address = address
        .map_err(|_| "has something behind its host that only an IP address may have".to_owned())?;
    let length =
        length.parse().map_err(|_| "has no number of bits behind its address".to_owned())?;
    let network = IpNet::new(address, length)
        .map_err(|_| "has more bits behind its address than that has".to_owned())?;
    if network.trunc() != network {
        return Err(format!("is not the beginning of its network, which is {}", network.trunc()));
    }
    Ok(Pattern::Network(network))
}

fn hosts(scheme: &str, host: &str) -> Result<Pattern, String> {
    let (name, below) = host.strip_prefix("*.").map_or((host, false), |name| (name, true));
    if name.contains('*') {
        return Err("has a * that is not its whole first label".to_owned());
    }
    // As the URL type writes it: in lower case, and an address in its usual form.
    let url = Url::parse(&format!("{scheme}://{name}"));
    let url = url.map_err(|_| "has no host that can be asked".to_owned())?;
    match (url.domain(), address(&url)) {
        (Some(name), _) if below => Ok(Pattern::Below(format!(".{name}"))),
        (Some(name), _) => Ok(Pattern::Name(name.to_owned())),
        (None, Some(address)) if !below => Ok(Pattern::Network(address.into())),
        _ => Err("has no host that can be asked".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, asked: &str) -> bool {
        let (pattern, url) = parse(pattern).unwrap();
        let allowed = Allowed { pattern, template: Access::default().to(String::new(), url) };
        let asked = Asked::parse(asked).unwrap().expect("an address");
        allowed.target(&asked).is_some()
    }

    #[test]
    fn what_is_meant_matches() {
        for (pattern, asked) in [
            ("http://nats-0.nats:8222", "http://nats-0.nats:8222"),
            ("http://nats-0.nats:8222", "nats-0.nats:8222"),
            ("https://nats-0.nats:8222", "nats-0.nats:8222"),
            ("https://nats-0.nats:80", "nats-0.nats:80"),
            ("http://nats-0.nats", "http://NATS-0.nats:80/"),
            ("http://NATS-0.nats:1", "nats-0.nats:1"),
            ("http://*.nats:8222", "nats-0.nats:8222"),
            ("http://*.nats:8222", "a.b.nats:8222"),
            ("http://10.0.0.0/8:8222", "10.1.2.3:8222"),
            ("http://10.0.0.0/8:8222", "http://0xa.1:8222"),
            ("http://127.0.0.1:8222", "http://0177.1:8222"),
            ("http://127.1:8222", "http://2130706433:8222"),
            ("http://[fd00::]/64:8222", "[fd00::5]:8222"),
            ("http://[fd00:0::1]:8222", "http://[fd00::1]:8222"),
        ] {
            assert!(matches(pattern, asked), "{pattern} {asked}");
        }
    }

    #[test]
    fn what_is_behind_a_host_is_no_part_of_it() {
        for pattern in [
            "http://nats.example#:8222",
            "http://*.nats.example?x:8222",
            "http://*.nats.example\\:8222",
            "http://*.nats.example\u{3}:8222",
            "http://*.nats.example :8222",
            "http://*.nats.ex\tample:8222",
            "http://*.nats.ex%61mple:8222",
            "http://nats.example:8222/metrics",
        ] {
            assert!(parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn what_only_looks_like_it_does_not_match() {
        for (pattern, asked) in [
            ("http://*.nats.example:8222", "evil-nats.example:8222"),
            ("http://*.nats.example:8222", "nats.example:8222"),
            ("http://*.nats.example:8222", "http://.nats.example:8222"),
            ("http://*.nats.example:8222", "a.nats.example.evil:8222"),
            ("http://*.nats.example:8222", "a.nats.example.:8222"),
            ("http://nats.example:8222", "a.nats.example:8222"),
            ("http://nats.example:8222", "nats.example:8223"),
            ("http://nats.example:8222", "http://nats.example"),
            ("http://nats.example:8222", "https://nats.example:8222"),
            ("http://10.0.0.0/8:8222", "11.0.0.1:8222"),
            ("http://10.0.0.0/8:8222", "10.0.0.1.evil:8222"),
            ("http://10.0.0.0/8:8222", "[::ffff:10.0.0.1]:8222"),
            ("http://0.0.0.0/0:8222", "nats.example:8222"),
            ("http://[fd00::]/64:8222", "[fd00:0:0:1::1]:8222"),
        ] {
            assert!(!matches(pattern, asked), "{pattern} {asked}");
        }
    }

    #[test]
    fn an_address_is_told_with_its_port() {
        for (written, told) in [
            ("nats.example:80", "nats.example:80"),
            ("nats.example:", "nats.example:80"),
            ("[fd00:0::1]:8222", "[fd00::1]:8222"),
            ("http://nats.example:8222/", "http://nats.example:8222"),
            ("https://nats.example", "https://nats.example"),
        ] {
            let asked = Asked::parse(written).unwrap().unwrap();
            assert_eq!(asked.to_string(), told, "{written}");
            assert_eq!(Asked::parse(told).unwrap(), Some(asked));
        }
    }

    #[test]
    fn names_are_no_addresses_and_some_addresses_are_refused() {
        for name in ["n1", "nats-0.nats", "a b", "10.0.0.1"] {
            assert_eq!(Asked::parse(name), Ok(None), "{name}");
        }
        for address in [
            "user@host:8222",
            "http://user:password@host:8222",
            "http://host:8222/path",
            "http://good:8222\\@evil",
            "http://host:8222?query",
            "http://host:8222#fragment",
            "ftp://host:8222",
            "http://:8222",
            "host:port",
            "host:99999",
            "fd00::1:8222",
        ] {
            assert!(Asked::parse(address).is_err(), "{address}");
        }
    }
}
