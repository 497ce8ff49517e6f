//! What `/probe` may ask: patterns of the configuration against addresses of a query.

use clap::Parser as _;
use nats_exporter::cli::Cli;
use nats_exporter::config::{Asked, Config};
use nats_exporter::web::query;

use crate::parts;

/// The pattern, then the query.
pub(super) fn check(input: &[u8]) {
    let [pattern, query] = parts(input).map(String::from_utf8_lossy);
    let pattern = pattern.trim();
    let asked = match query::probe(&query) {
        Ok((target, _)) => target,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let Ok(Some(asked)) = Asked::parse(&asked) else { return };
    assert_eq!(
        Asked::parse(&asked.to_string()),
        Ok(Some(asked.clone())),
        "it is read as it is written"
    );

    let flags = Cli::parse_from(["nats-exporter"]).flags;
    let variables = [("NATS_EXPORTER_PROBE_ALLOW".to_owned(), pattern.to_owned())];
    let Ok(config) = Config::load(&flags, variables) else { return };
    for allowed in &config.probe.allow {
        let Some(target) = allowed.target(&asked) else { continue };
        let url = &target.url;
        assert!(asked.is_of(&target), "{asked} is asked as {url}");
        assert_eq!(url.scheme(), allowed.template.url.scheme());
        assert_eq!(url.port_or_known_default(), allowed.template.url.port_or_known_default());
        assert!(url.username().is_empty() && url.password().is_none(), "{url}");
        assert!(url.path() == "/" && url.query().is_none() && url.fragment().is_none(), "{url}");
        // The name of the template is the pattern as it was written.
        let (_, rest) = allowed.template.name.split_once("://").expect("a pattern has a scheme");
        let host = url.host_str().expect("a server has a host").to_lowercase();
        if let Some(suffix) = rest.strip_prefix('*') {
            let suffix = suffix.split(':').next().unwrap_or_default().to_lowercase();
            assert!(
                suffix.is_ascii().then(|| host.ends_with(&suffix)) != Some(false),
                "{host} {suffix}"
            );
            assert!(host.parse::<std::net::IpAddr>().is_err(), "{host} is no name");
        }
    }
}
