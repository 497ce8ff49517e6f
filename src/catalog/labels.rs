//! Label sets, rendered once and written for every metric of an entity.
//!
//! Rendering is the larger part of encoding when it is done for each sample.

use std::fmt::Write;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

/// The rendered label sets of many entities in one text.
#[derive(Debug, Default)]
pub struct Rendered {
    text: String,
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
    /// Renders labels. Those with an empty value are left out: an empty label is the same as none.
    pub fn add<'l>(&mut self, pairs: impl IntoIterator<Item = (&'l str, &'l str)>) -> Place {
        let text = &mut self.text;
        let start = text.len();
        let mut last = "";
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            if !last.is_empty() {
                text.push_str("=\"");
                escape(last, text);
                text.push_str("\",");
            }
            text.push_str(name);
            last = value;
        }
        let middle = text.len();
        text.push_str(last);
        Place { start, middle, end: text.len() }
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

    #[test]
    fn renders_and_escapes() {
        let mut rendered = Rendered::default();
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
