//! The targets: what each takes, and what has to hold.

mod config;
mod detail;
mod endpoints;
mod health;
mod probe;
mod scrape;

pub(crate) use config::TOML;

/// Something that takes bytes.
#[derive(Debug)]
pub struct Target {
    /// What it is called.
    pub name: &'static str,
    /// What it takes, in a few words.
    pub takes: &'static str,
    /// What holds for each input, beside that nothing panics, hangs, or takes more memory than it may.
    pub holds: &'static str,
    /// Longest input that is worth while, in bytes.
    pub longest: usize,
    pub(crate) check: fn(&[u8]),
}

const SHOWN: &str = "A strict reader takes the exposition in both formats, and both say the same: each family and each series once, \
     every number finite, no counter negative.";

/// All targets, in the order of the documentation.
pub const ALL: &[Target] = &[
    Target {
        name: "varz",
        takes: "the body of `/varz`",
        holds: SHOWN,
        longest: 16 << 10,
        check: endpoints::varz,
    },
    Target {
        name: "routez",
        takes: "bodies of `/routez`, one after the other",
        holds: "The same; and no route counter falls while the process is the same.",
        longest: 16 << 10,
        check: endpoints::routez,
    },
    Target {
        name: "jsz",
        takes: "the body of plain `/jsz`",
        holds: "The same.",
        longest: 16 << 10,
        check: endpoints::jsz,
    },
    Target {
        name: "detail",
        takes: "pages of detailed `/jsz`, in chunks of any size, with and without configuration",
        holds: "The same; what is shown does not depend on the chunks; and what is taken is JSON by another decoder too.",
        longest: 64 << 10,
        check: detail::check,
    },
    Target {
        name: "health",
        takes: "a version, and statuses and bodies of the questions of `/healthz`",
        holds: "The same; no question is asked twice; the questions that are answered are the innermost ones, and only the last \
                of them may be failing; all is well exactly when the widest answer is `ok` with status 200.",
        longest: 8 << 10,
        check: health::check,
    },
    Target {
        name: "scrape",
        takes: "statuses and bodies of all endpoints of one server, over HTTP",
        holds: "The same, and the base tier is what it is without any answer of JetStream, to the byte.",
        longest: 64 << 10,
        check: scrape::check,
    },
    Target {
        name: "config",
        takes: "a configuration file in YAML or TOML",
        holds: "An error names the file for each problem; a configuration that is taken has addresses to listen on and targets \
                with different names and without credentials in their URLs; reading it again gives the same.",
        longest: 8 << 10,
        check: config::check,
    },
    Target {
        name: "probe",
        takes: "a pattern of `probe.allow`, and the query of `/probe`",
        holds: "What is allowed to be asked has the scheme, the port and the host of the pattern, and nothing else in its URL.",
        longest: 1 << 10,
        check: probe::check,
    },
    Target {
        name: "web",
        takes: "a web configuration file",
        holds: "An error names the file for each problem; with TLS there is a certificate, and each user has a name and a bcrypt \
                hash; reading it again gives the same.",
        longest: 8 << 10,
        check: config::web,
    },
];
