//! The plain page at `/`: what this is, and where everything else is.
//!
//! One document without scripts, styles or anything from elsewhere, so that it
//! works in every browser and under the strictest content security policy.

use std::fmt::{self, Display, Formatter};

use super::backend::Shown;

/// The page.
pub(super) fn page(targets: &[Shown]) -> String {
    Page(targets).to_string()
}

struct Page<'a>(&'a [Shown]);

impl Display for Page<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        if self.0.is_empty() {
            f.write_str("<p>No targets are configured.</p>\n")?;
        } else {
            f.write_str("<ul>\n")?;
            self.0.iter().try_for_each(|target| write_target(f, target))?;
            f.write_str("</ul>\n")?;
        }
        f.write_str(TAIL)
    }
}

fn write_target(f: &mut Formatter<'_>, target: &Shown) -> fmt::Result {
    f.write_str("<li><a href=\"/probe?target=")?;
    // Percent-encoding leaves no character that HTML would take for its own.
    form_urlencoded::byte_serialize(target.name.as_bytes())
        .try_for_each(|part| f.write_str(part))?;
    writeln!(f, "\">{}</a> at {}</li>", Escaped(&target.name), Escaped(&target.url))
}

/// Text that cannot end the element or the attribute it stands in.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
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

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>NATS exporter</title>
</head>
<body>
<main>
<h1>NATS exporter</h1>
<p>Asks NATS servers how they are and tells Prometheus.</p>
<h2>Metrics</h2>
<ul>
<li><a href="/metrics">All metrics</a></li>
<li><a href="/metrics?tier=base">Base tier</a>: servers, clients and routes</li>
<li><a href="/metrics?tier=persistence">Persistence tier</a>: JetStream</li>
</ul>
<h2>Targets</h2>
"#;

const TAIL: &str = concat!(
    r#"<h2>The exporter</h2>
<ul>
<li><a href="/-/healthy">Alive</a></li>
<li><a href="/-/ready">Ready to be scraped</a></li>
</ul>
</main>
<footer>
<p>Version "#,
    env!("CARGO_PKG_VERSION"),
    "</p>\n</footer>\n</body>\n</html>\n"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str, url: &str) -> Shown {
        Shown { name: name.to_owned(), url: url.to_owned() }
    }

    #[test]
    fn the_page_links_to_everything() {
        let page = page(&[target("n1:8222", "http://n1:8222"), target("b&c", "http://b")]);
        for link in [
            "/metrics",
            "/metrics?tier=base",
            "/metrics?tier=persistence",
            "/probe?target=n1%3A8222",
            "/probe?target=b%26c",
            "/-/healthy",
            "/-/ready",
        ] {
            assert!(page.contains(&format!("href=\"{link}\"")), "no link to {link} in {page}");
        }
        assert!(page.contains(env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn names_cannot_break_out() {
        let hostile = "\"><script>alert('1')</script>&amp;";
        let page = page(&[target(hostile, hostile)]);
        assert!(!page.contains("<script"), "{page}");
        let shown = "&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;amp;";
        assert_eq!(page.matches(shown).count(), 2, "{page}");
    }

    #[test]
    fn no_targets_is_said_in_words() {
        assert!(page(&[]).contains("No targets are configured."));
    }
}
