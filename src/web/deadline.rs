//! How long a scrape may take: what Prometheus announces, less a margin for
//! the answer to be written and to travel, and never more than the configuration allows.

use std::time::Duration;

use hyper::HeaderMap;
use tracing::debug;

/// In this header Prometheus announces its scrape time-out, in seconds.
pub(super) const ANNOUNCEMENT: &str = "x-prometheus-scrape-timeout-seconds";

/// An announced time-out that is shorter is taken for this one. What a server does not answer within it counts as failed,
/// for whoever scrapes, so it has to be time enough for a server that is well.
const SHORTEST: Duration = Duration::from_millis(500);

/// What the configuration says about the length of a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    /// Longest scrape, and the length of one whose time-out is not announced.
    pub(super) timeout: Duration,
    /// Taken off the announced time-out.
    pub(super) margin: Duration,
}

/// The parts of a scrape, each from the arrival of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    /// What the servers have not answered by then is not waited for.
    pub(super) asking: Duration,
    /// What is not written by then is left out: half of the margin is for the answer to travel.
    pub(super) writing: Duration,
}

impl Allowance {
    /// How long a scrape with these headers may take.
    ///
    /// At most half of the announced time-out is taken off: with a time-out shorter than the
    /// margin there would be nothing left, and half a scrape beats none.
    pub(super) fn budget(self, headers: &HeaderMap) -> Budget {
        let announced = announced(headers).map(|announced| announced.max(SHORTEST));
        let margin = announced.map_or(self.margin, |announced| self.margin.min(announced / 2));
        let asking = announced
            .map_or(self.timeout, |announced| announced.saturating_sub(margin).min(self.timeout));
        Budget { asking, writing: asking + margin / 2 }
    }
}

/// The announced time-out; nothing if there is none, or none that makes sense.
fn announced(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(ANNOUNCEMENT)?;
    let announced = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|announced| !announced.is_zero());
    if announced.is_none() {
        debug!(?value, "the announced scrape time-out is not a positive number of seconds");
    }
    announced
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn the_budget_is_the_announced_time_less_the_margin() {
        let allowance =
            Allowance { timeout: Duration::from_secs(20), margin: Duration::from_millis(500) };
        let cases = [
            (None, 20_000),
            (Some("10"), 9_500),
            (Some("10.25"), 9_750),
            (Some(" 10 "), 9_500),
            (Some("1e1"), 9_500),
            (Some("20.5"), 20_000),
            (Some("60"), 20_000),
            (Some("1"), 500),
            (Some("0.6"), 300),
            (Some("0.01"), 250),
            (Some("1e-9"), 250),
            (Some("0"), 20_000),
            (Some("-0"), 20_000),
            (Some("-3"), 20_000),
            (Some("NaN"), 20_000),
            (Some("inf"), 20_000),
            (Some("1e300"), 20_000),
            (Some("10s"), 20_000),
            (Some(""), 20_000),
            (Some("\u{fc}"), 20_000),
        ];
        for (value, expected) in cases {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(ANNOUNCEMENT, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let budget = allowance.budget(&headers);
            assert_eq!(budget.asking, Duration::from_millis(expected), "{value:?}");
            let margin = allowance.margin.min(budget.asking);
            assert_eq!(budget.writing, budget.asking + margin / 2, "{value:?}");
        }
    }

    #[test]
    fn a_margin_of_nothing_takes_nothing_off() {
        let allowance = Allowance { timeout: Duration::from_secs(20), margin: Duration::ZERO };
        let headers = [(ANNOUNCEMENT.parse().unwrap(), HeaderValue::from_static("7"))];
        let budget = allowance.budget(&headers.into_iter().collect());
        let seven = Duration::from_secs(7);
        assert_eq!(budget, Budget { asking: seven, writing: seven });
    }
}
