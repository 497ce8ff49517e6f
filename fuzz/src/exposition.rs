//! A strict reader of both text formats, written after their specifications and by nothing that the exporter uses.
//!
//! It takes less than a scraper would: only what the exporter may write. So there is no exemplar, no time of a sample, no
//! number that is not finite, no unit line, and a family is one block: help, type, samples.

use std::collections::{BTreeMap, BTreeSet};

use nats_exporter::exposition::Format;

/// One metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// The name of its samples.
    pub name: String,
    /// Whether it only rises.
    pub is_counter: bool,
    /// Its help, without escapes.
    pub help: String,
    /// Its series, in the order in which they stand.
    pub samples: Vec<Sample>,
}

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Names and values, without escapes.
    pub labels: BTreeMap<String, String>,
    /// The number as it was written: 64 bits do not fit a float.
    pub text: String,
}

impl Sample {
    /// The number as a scraper has it.
    ///
    /// # Panics
    /// Never: it was checked.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.text.parse().expect("it was checked")
    }
}

/// What is wrong with a text, and the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong(pub String);

fn wrong<T>(what: &str, line: &str) -> Result<T, Wrong> {
    Err(Wrong(format!("{what}: {line:?}")))
}

/// Reads a whole exposition.
///
/// # Errors
/// Says what a strict reader does not take.
pub fn read(text: &str, format: Format) -> Result<Vec<Family>, Wrong> {
    let body = match format {
        Format::OpenMetrics => text.strip_suffix("# EOF\n"),
        Format::Classic => Some(text),
    };
    let Some(body) = body else { return wrong("no end", text) };
    if !body.is_empty() && !body.ends_with('\n') {
        return wrong("the last line does not end", body);
    }
    let (mut families, mut names) = (Vec::<Family>::new(), BTreeSet::new());
    let mut series = BTreeSet::new();
    // Only a line feed ends a line: a carriage return is a part of it.
    let mut lines = body.split_terminator('\n').peekable();
    while let Some(line) = lines.next() {
        let Some((title, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' '))
        else {
            return wrong("no help where a family begins", line);
        };
        let kind = lines.next().unwrap_or_default();
        let Some(kind) = kind.strip_prefix("# TYPE ").and_then(|l| l.strip_prefix(title)) else {
            return wrong("no type of the same family behind the help", kind);
        };
        let is_counter = match kind {
            " gauge" => false,
            " counter" => true,
            _ => return wrong("no such type", kind),
        };
        let name = match (format, is_counter) {
            (Format::OpenMetrics, true) => format!("{title}_total"),
            _ => title.to_owned(),
        };
        if !is_name(&name, true) || is_counter != name.ends_with("_total") {
            return wrong("not the name of such a metric", &name);
        }
        if !names.insert(name.clone()) {
            return wrong("a family comes twice", &name);
        }
        let mut family = Family { name, is_counter, help: unescaped(help)?, samples: Vec::new() };
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let sample = sample(line, &family)?;
            if !series.insert((family.name.clone(), sample.labels.clone())) {
                return wrong("a series comes twice", line);
            }
            family.samples.push(sample);
        }
        if family.samples.is_empty() {
            return wrong("a family without samples", &family.name);
        }
        families.push(family);
    }
    Ok(families)
}

fn sample(line: &str, family: &Family) -> Result<Sample, Wrong> {
    let Some(rest) = line.strip_prefix(&family.name) else {
        return wrong("a sample of another family", line);
    };
    let mut labels = BTreeMap::new();
    let Some(number) = (match rest.strip_prefix('{') {
        Some(inside) => read_labels(inside, &mut labels)?,
        None => rest,
    })
    .strip_prefix(' ') else {
        return wrong("no number behind the labels", line);
    };
    if !is_number(number) {
        return wrong("no finite number", line);
    }
    if family.is_counter && number.starts_with('-') {
        return wrong("a negative counter", line);
    }
    Ok(Sample { labels, text: number.to_owned() })
}

/// Reads labels behind the opening brace, and returns what follows the closing one.
fn read_labels<'l>(
    mut rest: &'l str,
    labels: &mut BTreeMap<String, String>,
) -> Result<&'l str, Wrong> {
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        if !labels.is_empty() {
            let Some(after) = rest.strip_prefix(',') else { return wrong("no comma", rest) };
            rest = after;
        }
        let Some((name, after)) = rest.split_once("=\"") else { return wrong("no label", rest) };
        if !is_name(name, false) {
            return wrong("not the name of a label", name);
        }
        let mut escaped = false;
        let end = after.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let Some(end) = end else { return wrong("a label does not end", after) };
        if labels.insert(name.to_owned(), unescaped(&after[..end])?).is_some() {
            return wrong("a label comes twice", name);
        }
        rest = &after[end + 1..];
    }
}

/// A text without the three escapes that there are.
fn unescaped(text: &str) -> Result<String, Wrong> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => plain.push('\n'),
                Some(same @ ('\\' | '"')) => plain.push(same),
                _ => return wrong("no such escape", text),
            },
            other => plain.push(other),
        }
    }
    Ok(plain)
}

fn is_name(text: &str, of_metric: bool) -> bool {
    let legal =
        |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || of_metric && byte == b':';
    text.bytes().all(legal) && text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

/// Whether a text is a number as `realnumber` of OpenMetrics has it.
fn is_number(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let is_whole = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = |text: &'_ str| text.strip_prefix(['-', '+']).unwrap_or(text).to_owned();
    let mantissa = unsigned(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((&mantissa, "0"));
    is_whole(whole)
        && is_whole(fraction)
        && exponent.is_none_or(|exponent| is_whole(&unsigned(exponent)))
        && text.parse::<f64>().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_total x\\\\y\\nz\n# TYPE a_total counter\na_total{b=\"\\\"},\\\\\\n\r\",c=\"\"} 1\na_total 2.5e3\n";

    #[test]
    fn what_is_well_formed_is_read() {
        let families = read(GOOD, Format::Classic).unwrap();
        let [family] = &families[..] else { panic!("one family") };
        assert_eq!((family.help.as_str(), family.is_counter), ("x\\y\nz", true));
        assert_eq!(family.samples[0].labels["b"], "\"},\\\n\r");
        assert!((family.samples[1].value() - 2500.0).abs() < 1e-9);
        let open = GOOD.replace("# HELP a_total", "# HELP a").replace("# TYPE a_total", "# TYPE a");
        assert_eq!(read(&(open + "# EOF\n"), Format::OpenMetrics).unwrap(), families);
        assert_eq!(read("# EOF\n", Format::OpenMetrics).unwrap(), []);
    }

    #[test]
    fn what_is_not_is_refused() {
        for (good, bad) in [
            ("a_total 2.5e3", "a_total 2.5e3 7"),
            ("a_total 2.5e3", "a_total NaN"),
            ("a_total 2.5e3", "a_total +Inf"),
            ("a_total 2.5e3", "a_total 1e999"),
            ("a_total 2.5e3", "a_total -1"),
            ("a_total 2.5e3", "a_total"),
            ("a_total 2.5e3", "a_total 0x1"),
            ("a_total 2.5e3", "b_total 1"),
            ("a_total 2.5e3", "a_total{c=\"\",b=\"\\\"},\\\\\\n\r\"} 1"),
            ("a_total 2.5e3\n", "a_total 2.5e3"),
            ("a_total 2.5e3\n", "a_total 2.5e3\n\n"),
            ("counter", "gauge"),
            ("counter", "histogram"),
            ("# TYPE a_total counter\n", ""),
            ("c=\"\"", "b=\"\""),
            ("c=\"\"", "1c=\"\""),
            ("c=\"\"", "c=\"\\t\""),
            ("c=\"\"", "c=\"\n\""),
            (",c=", ";c="),
        ] {
            assert!(GOOD.contains(good), "{good}");
            let text = GOOD.replacen(good, bad, 1);
            assert!(read(&text, Format::Classic).is_err(), "{text}");
        }
        assert!(read(&GOOD.repeat(2), Format::Classic).is_err(), "twice");
        assert!(read(GOOD, Format::OpenMetrics).is_err(), "no end");
    }
}
