//! Which log lines are written.

use tracing_subscriber::EnvFilter;

use super::Log;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Log {
    /// The filter that `level` describes; the error says why it describes none.
    pub fn filter(&self) -> Result<EnvFilter, String> {
        Self::parse_level(&self.level)
    }

    /// A word alone has to be a level: the parser would take `verbose` for the name of a module
    /// and let everything in it through, and nothing else.
    pub(super) fn parse_level(text: &str) -> Result<EnvFilter, String> {
        let hint = "write error, warn, info, debug or trace, or a list such as \
                    \"info,nats_exporter=debug\"";
        let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        let mut words = text.split(',').map(str::trim);
        if let Some(word) = words.find(|word| !word.contains(['=', '[', ']']) && !is_level(word)) {
            return Err(format!("{word:?} is not a level; {hint}"));
        }
        EnvFilter::try_new(text)
            .map_err(|reason| format!("{text:?} is not a filter ({reason}); {hint}"))
    }
}
