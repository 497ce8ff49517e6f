//! Content negotiation: which text format and which coding a client wants.
//!
//! Follows RFC 9110, section 12.5, leniently: what cannot be read is passed
//! over, and a client that accepts nothing of ours still gets classic text,
//! because an answer in the wrong format says more than none.

use hyper::HeaderMap;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};

use crate::exposition::Format;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it is.
    Identity,
    /// gzip.
    Gzip,
}

/// The format to write for a client with these headers.
///
/// OpenMetrics has to be named: wildcards stand for classic text, which everyone can read. Where
/// both are wanted equally, naming OpenMetrics is taken as knowing what to do with it.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let mut openmetrics = Preference::default();
    let mut classic = Preference::default();
    for element in elements(headers, &ACCEPT) {
        match element.name.as_str() {
            "application/openmetrics-text" => match element.parameter("version") {
                Some("1.0.0") => openmetrics.offer(3, element.weight),
                None => openmetrics.offer(2, element.weight),
                // 0.0.1 is the draft, which Prometheus lists next to 1.0.0; nobody asks for it alone.
                Some(_) => {}
            },
            "text/plain" => match element.parameter("version") {
                Some("0.0.4") => classic.offer(3, element.weight),
                None => classic.offer(2, element.weight),
                // 1.0.0 is classic text with quoted names, which we do not write.
                Some(_) => {}
            },
            "text/*" => classic.offer(1, element.weight),
            "*/*" => classic.offer(0, element.weight),
            _ => {}
        }
    }
    match openmetrics.weight() {
        Some(weight) if weight > 0.0 && weight >= classic.weight().unwrap_or(0.0) => {
            Format::OpenMetrics
        }
        _ => Format::Classic,
    }
}

/// The coding to use for a client with these headers.
pub(super) fn coding(headers: &HeaderMap) -> Coding {
    let mut gzip = Preference::default();
    let mut identity = Preference::default();
    for element in elements(headers, &ACCEPT_ENCODING) {
        match element.name.as_str() {
            "gzip" | "x-gzip" => gzip.offer(1, element.weight),
            "identity" => identity.offer(1, element.weight),
            "*" => gzip.offer(0, element.weight),
            _ => {}
        }
    }
    match gzip.weight() {
        Some(weight) if weight > 0.0 && weight >= identity.weight().unwrap_or(0.0) => Coding::Gzip,
        _ => Coding::Identity,
    }
}

/// What a client says about one thing that we can send.
///
/// The most specific element decides, even against a higher weight elsewhere: `text/plain;q=0.1`
/// is meant, whatever `*/*` says.
#[derive(Default)]
struct Preference(Option<(u8, f64)>);

impl Preference {
    fn offer(&mut self, precision: u8, weight: f64) {
        let better = self.0.is_none_or(|(known, known_weight)| {
            precision > known || (precision == known && weight > known_weight)
        });
        if better {
            self.0 = Some((precision, weight));
        }
    }

    fn weight(&self) -> Option<f64> {
        self.0.map(|(_, weight)| weight)
    }
}

/// One element of a list such as `Accept`.
struct Element {
    name: String,
    parameters: Vec<(String, String)>,
    /// The `q` parameter: 0 refuses, 1 is the most and the default.
    weight: f64,
}

impl Element {
    /// Nothing when the weight cannot be read: guessing it could turn a refusal into a wish.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = split(text, ';');
        let name = parts.next()?.trim().to_ascii_lowercase();
        let mut parameters = Vec::new();
        let mut weight = 1.0;
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim().trim_matches('"'));
            if key == "q" {
                weight = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?;
            } else {
                parameters.push((key, value.to_owned()));
            }
        }
        Some(Self { name, parameters, weight })
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The elements of a list header, which may be spread over several lines.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Element> + 'a {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| split(line, ','))
        .filter_map(Element::parse)
}

/// Splits at `separator` except within double quotes, where it is an ordinary character.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(name: &HeaderName, lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), HeaderValue::from_static(line))).collect()
    }

    const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;\
        escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
        text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,\
        */*;q=0.1";
    const PROMETHEUS_2_42: &str = "application/openmetrics-text;version=1.0.0,\
        application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    const PROMETHEUS_3_TEXT_FIRST: &str = "text/plain;version=0.0.4;q=0.5,\
        application/openmetrics-text;version=1.0.0;q=0.4,*/*;q=0.1";
    const BROWSER: &str =
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";

    #[test]
    fn the_format_follows_the_highest_weight() {
        use Format::{Classic, OpenMetrics};
        let cases: &[(&[&str], Format)] = &[
            (&[], Classic),
            (&[""], Classic),
            (&["*/*"], Classic),
            (&["text/plain"], Classic),
            (&["text/*"], Classic),
            (&["application/*"], Classic),
            (&["application/json"], Classic),
            (&[BROWSER], Classic),
            (&[PROMETHEUS_3], OpenMetrics),
            (&[PROMETHEUS_2_42], OpenMetrics),
            (&[PROMETHEUS_3_TEXT_FIRST], Classic),
            (&["application/openmetrics-text"], OpenMetrics),
            (&["Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8"], OpenMetrics),
            (&["application/openmetrics-text; version=\"1.0.0\""], OpenMetrics),
            (&["application/openmetrics-text; version=0.0.1"], Classic),
            (&["application/openmetrics-text; version=2.0.0, text/plain;q=0.1"], Classic),
            (&["application/openmetrics-text, */*"], OpenMetrics),
            (&["text/plain, application/openmetrics-text"], OpenMetrics),
            (&["application/openmetrics-text;q=0.5, */*"], Classic),
            (&["application/openmetrics-text;q=0.5, text/plain;q=0.1, */*"], OpenMetrics),
            (&["application/openmetrics-text;q=0"], Classic),
            (&["application/openmetrics-text;q=0, text/plain;q=0"], Classic),
            (
                &["application/openmetrics-text;q=0;version=1.0.0, application/openmetrics-text"],
                Classic,
            ),
            (&["application/openmetrics-text;q=high"], Classic),
            (&["application/openmetrics-text;q=NaN"], Classic),
            (&["application/openmetrics-text;q=7"], Classic),
            (&["text/plain;q=0.2", "application/openmetrics-text;q=0.3"], OpenMetrics),
            (&["text/plain;note=\"a,b;q=0\";q=0.4, application/openmetrics-text;q=0.3"], Classic),
            (&[";;;,,=,\""], Classic),
        ];
        for (lines, expected) in cases {
            assert_eq!(format(&headers(&ACCEPT, lines)), *expected, "{lines:?}");
        }
    }

    #[test]
    fn gzip_only_when_it_is_allowed() {
        use Coding::{Gzip, Identity};
        let cases: &[(&[&str], Coding)] = &[
            (&[], Identity),
            (&[""], Identity),
            (&["gzip"], Gzip),
            (&["GZIP"], Gzip),
            (&["x-gzip"], Gzip),
            (&["deflate, gzip;q=0.5, br"], Gzip),
            (&["br", "gzip"], Gzip),
            (&["gzip;q=0"], Identity),
            (&["gzip; q=0.000"], Identity),
            (&["gzip;q=0, *"], Identity),
            (&["*"], Gzip),
            (&["*;q=0"], Identity),
            (&["*;q=0, gzip"], Gzip),
            (&["identity"], Identity),
            (&["identity, gzip;q=0.5"], Identity),
            (&["gzip, identity;q=0.5"], Gzip),
            (&["gzip, identity"], Gzip),
            (&["gzip;q=2"], Identity),
            (&["gzipped"], Identity),
        ];
        for (lines, expected) in cases {
            assert_eq!(coding(&headers(&ACCEPT_ENCODING, lines)), *expected, "{lines:?}");
        }
    }
}
