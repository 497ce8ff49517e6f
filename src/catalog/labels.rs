//! A label set, rendered once and written for every metric of an entity.
//!
//! Rendering is the larger part of encoding when it is done for each sample.

use std::fmt::Write;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

/// A label set as it stands between the braces.
///
/// The encoder writes a name, an equals sign, and an escaped value in quotes. So all but the last
/// value are escaped here, and stand in front of the last name as if they were a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    head: String,
    last: String,
}

impl Labels {
    /// Renders labels. Those with an empty value are left out: an empty label is the same as none.
    pub fn render<'l>(pairs: impl IntoIterator<Item = (&'l str, &'l str)>) -> Self {
        let mut labels = Self { head: String::new(), last: String::new() };
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            if !labels.head.is_empty() {
                let last = std::mem::take(&mut labels.last);
                labels.head.push_str("=\"");
                escape(&last, &mut labels.head);
                labels.head.push_str("\",");
            }
            labels.head.push_str(name);
            labels.last.push_str(value);
        }
        labels.head.shrink_to_fit();
        labels
    }

    /// The label set as it stands between the braces.
    #[must_use]
    pub fn to_text(&self) -> String {
        if self.head.is_empty() {
            return String::new();
        }
        let mut text = format!("{}=\"", self.head);
        escape(&self.last, &mut text);
        text.push('"');
        text
    }
}

/// Escapes backslash, quote and line feed, as both text formats want it.
fn escape(value: &str, out: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        if self.head.is_empty() {
            return Ok(());
        }
        let mut label = encoder.encode_label();
        let mut name = label.encode_label_key()?;
        name.write_str(&self.head)?;
        let mut value = name.encode_label_value()?;
        value.write_str(&self.last)?;
        value.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_and_escapes() {
        let labels = Labels::render([("a", "1\"2"), ("b", ""), ("c", "x\\y\nz")]);
        assert_eq!(labels.to_text(), r#"a="1\"2",c="x\\y\nz""#);
        assert_eq!(Labels::render([("a", "")]).to_text(), "");
        assert_eq!(Labels::render([]).to_text(), "");
    }
}
