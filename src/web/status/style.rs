//! How the page looks: a sheet that is a part of it, and the only one that a browser may follow.

/// What stands in the `style` element.
pub(in crate::web) const SHEET: &str = include_str!("style.css");

/// What the page may do: nothing but to look as [`SHEET`] says, which is known by its hash. No
/// scripts, nothing from elsewhere, nobody to frame it.
pub(in crate::web) const POLICY: &str = "default-src 'none'; \
     style-src 'sha256-Lx6xITOtsfvvnQ4QMp/GY9z4NymI91RDhv/E6YV9+5k='; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use ring::digest::{SHA256, digest};

    use super::*;

    #[test]
    fn the_policy_has_the_hash_of_the_sheet() {
        let hash = STANDARD.encode(digest(&SHA256, SHEET.as_bytes()));
        assert!(POLICY.contains(&format!("style-src 'sha256-{hash}';")), "it is {hash}");
        assert!(!SHEET.contains("url(") && !SHEET.contains("@import"), "nothing from elsewhere");
        assert!(!SHEET.contains('<'), "it would end the element");
    }

    /// Red, green and blue of `--name: #rrggbb;` in a block of the sheet.
    fn colours(block: &str) -> BTreeMap<&str, [f64; 3]> {
        let lines =
            block.lines().filter_map(|line| line.trim().strip_prefix("--")?.split_once(": #"));
        let part = |hex: &str, at: usize| {
            let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        lines.map(|(name, hex)| (name, [part(hex, 0), part(hex, 2), part(hex, 4)])).collect()
    }

    /// As the Web Content Accessibility Guidelines reckon it.
    fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
        let luminance = |[r, g, b]: [f64; 3]| 0.2126 * r + 0.7152 * g + 0.0722 * b;
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn everything_is_readable_by_day_and_by_night() {
        let (day, night) = SHEET.split_once("prefers-color-scheme").unwrap();
        for sheet in [day, night] {
            let colours = colours(sheet);
            let pairs = ["text", "quiet", "link"]
                .into_iter()
                .flat_map(|front| ["ground", "raised"].map(|behind| (front, behind)));
            let signs = ["good", "bad", "middling", "unknown"].map(|sign| ("on-sign", sign));
            for (front, behind) in pairs.chain(signs) {
                let contrast = contrast(colours[front], colours[behind]);
                assert!(contrast >= 4.5, "{front} on {behind}: {contrast}");
            }
        }
    }
}
