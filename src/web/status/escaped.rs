//! Text that stays text, whatever it says.

use std::fmt::{self, Display, Formatter};

use crate::report::words::shown;

/// Text that cannot end the element or the attribute it stands in, nor turn around what comes
/// behind it.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text = shown(self.0);
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

/// A name, which may be written from right to left: the text around it stays where it is.
pub(super) struct Name<'a>(pub(super) &'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<bdi>{}</bdi>", Escaped(self.0))
    }
}

/// The address that asks one target for its metrics.
pub(super) struct Probe<'a>(pub(super) &'a str);

impl Display for Probe<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("/probe?target=")?;
        // Percent-encoding leaves no character that HTML would take for its own.
        form_urlencoded::byte_serialize(self.0.as_bytes()).try_for_each(|part| f.write_str(part))
    }
}
