//! Label sets, rendered once and written for every metric of an entity.
//!
//! Rendering is the larger part of encoding when it is done for each sample.

use std::borrow::Cow;
use std::fmt::Write;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use ring::digest::{SHA256, digest};

/// The rendered label sets of many entities in one text.
#[derive(Debug)]
pub struct Rendered {
    text: String,
    /// Longest value that is shown whole, in bytes; 0 is no limit.
    limit: usize,
    /// Values that were longer.
    cut: u64,
}

/// Where a label set stands in the text of [`Rendered`].
#[derive(Debug, Clone, Copy)]
pub struct Place {
    start: usize,
    middle: usize,
    end: usize,
}

/// A label set as it stands between the braces.
///
/// The encoder writes a name, an equals sign, and an escaped value in quotes. So all but the last
/// value are escaped here, and stand in front of the last name as if they were a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Labels<'t> {
    head: &'t str,
    last: &'t str,
}

impl Rendered {
    /// Nothing yet. Values longer than `limit` bytes are cut, unless it is 0.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { text: String::new(), limit, cut: 0 }
    }

    /// Renders labels. Those with an empty value are left out: an empty label is the same as none.
    pub fn add<'l>(&mut self, pairs: impl IntoIterator<Item = (&'l str, &'l str)>) -> Place {
        let start = self.text.len();
        let mut last = Cow::Borrowed("");
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            if !last.is_empty() {
                self.text.push_str("=\"");
                escape(&last, &mut self.text);
                self.text.push_str("\",");
            }
            self.text.push_str(name);
            last = self.limited(value);
        }
        let middle = self.text.len();
        self.text.push_str(&last);
        Place { start, middle, end: self.text.len() }
    }

    /// `value` as it is shown.
    fn limited<'l>(&mut self, value: &'l str) -> Cow<'l, str> {
        if self.limit == 0 || value.len() <= self.limit {
            return Cow::Borrowed(value);
        }
        self.cut += 1;
        Cow::Owned(shorten(value, self.limit))
    }

    /// How many values were longer than the limit.
    #[must_use]
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// The label set that was rendered there.
    #[must_use]
    pub fn get(&self, place: Place) -> Labels<'_> {
        let Place { start, middle, end } = place;
        Labels { head: &self.text[start..middle], last: &self.text[middle..end] }
    }
}

impl Labels<'_> {
    /// The label set as it stands between the braces.
    #[must_use]
    pub fn to_text(self) -> String {
        if self.head.is_empty() {
            return String::new();
        }
        let mut text = format!("{}=\"", self.head);
        escape(self.last, &mut text);
        text.push('"');
        text
    }
}

/// The beginning of a value that is longer than `limit`, and a hash of all of it.
///
/// Two values that are shown differ if they differ: the hash is one of cryptography, for others choose the
/// values, and what was cut is longer than the limit, so that it is like no value that was not.
fn shorten(value: &str, limit: usize) -> String {
    let boundary = (0..=limit).rev().find(|at| value.is_char_boundary(*at));
    let mut short = value[..boundary.unwrap_or_default()].to_owned();
    short.push('~');
    for byte in &digest(&SHA256, value.as_bytes()).as_ref()[..HASH_BYTES] {
        // Writing into memory cannot fail.
        let _ = write!(short, "{byte:02x}");
    }
    short
}

/// Enough that nobody finds two values with the same one.
const HASH_BYTES: usize = 16;

/// Escapes backslash, quote and line feed, as both text formats want it.
fn escape(value: &str, out: &mut String) {
    let mut rest = value;
    while let Some(at) = rest.find(['\\', '"', '\n']) {
        out.push_str(&rest[..at]);
        out.push('\\');
        out.push(if rest[at..].starts_with('\n') { 'n' } else { char::from(rest.as_bytes()[at]) });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        if self.head.is_empty() {
            return Ok(());
        }
        let mut label = encoder.encode_label();
        let mut name = label.encode_label_key()?;
        name.write_str(self.head)?;
        let mut value = name.encode_label_value()?;
        value.write_str(self.last)?;
        value.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `value` is shown as, and whether that counts as cut.
    fn shown(value: &str, limit: usize) -> (String, u64) {
        let mut rendered = Rendered::new(limit);
        let place = rendered.add([("a", value)]);
        let text = rendered.get(place).to_text();
        (text.trim_start_matches("a=\"").trim_end_matches('"').to_owned(), rendered.cut())
    }

    #[test]
    fn long_values_are_cut_and_stay_different() {
        assert_eq!(shown("12345678", 8), ("12345678".to_owned(), 0));
        assert_eq!(shown(&"x".repeat(1 << 20), 0).1, 0);
        // What `sha256sum` says of it.
        let hash = "15e2b0d3c33891ebb0f1ef609ec41942";
        assert_eq!(shown("123456789", 8), (format!("12345678~{hash}"), 1));
        assert_ne!(shown("123456780", 8).0, shown("123456789", 8).0);
        // Who is called like something that was cut is cut again.
        let (cut, _) = shown("123456789", 8);
        assert_ne!(shown(&cut, 8).0, cut);
        // A character of two bytes is not torn, and the rest of it does not make a short value.
        let (torn, _) = shown("1234567\u{fc}\u{fc}", 8);
        assert!(torn.starts_with("1234567~"), "{torn}");
    }

    #[test]
    fn renders_and_escapes() {
        let mut rendered = Rendered::new(0);
        for (pairs, expected) in [
            (&[("a", "1\"2"), ("b", ""), ("c", "x\\y\nz")][..], r#"a="1\"2",c="x\\y\nz""#),
            (&[("a", "")], ""),
            (&[("a", "\n\u{fc}\"\"\\"), ("b", "1")], "a=\"\\n\u{fc}\\\"\\\"\\\\\",b=\"1\""),
            (&[], ""),
        ] {
            let place = rendered.add(pairs.iter().copied());
            assert_eq!(rendered.get(place).to_text(), expected);
        }
    }
}
