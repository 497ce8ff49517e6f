//! The time formats of the monitoring endpoints: RFC 3339 instants with Go's
//! zero time for "never", integer nanoseconds, and Go's duration text.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{self, Deserialize, Deserializer, Visitor};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An instant on the server's clock, in nanoseconds since the Unix epoch: from 1677 to 2262.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Parses RFC 3339 text.
    ///
    /// Go prints year 1 for an instant that was never set, for example
    /// `first_ts` of an empty stream: that is `Ok(None)`, and so is what is out of range.
    ///
    /// # Errors
    /// When `text` is not an instant.
    pub fn parse(text: &str) -> Result<Option<Self>, time::error::Parse> {
        let instant = OffsetDateTime::parse(text, &Rfc3339)?;
        Ok(i64::try_from(instant.unix_timestamp_nanos()).ok().map(Self))
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub fn seconds(self) -> f64 {
        // Whole seconds and the rest apart: one division would lose the last digits.
        let whole = self.0.div_euclid(1_000_000_000);
        let rest = self.0.rem_euclid(1_000_000_000);
        whole as f64 + rest as f64 / 1e9
    }

    /// Seconds from `earlier` to `self`; negative when `earlier` is later.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        (i128::from(self.0) - i128::from(earlier.0)) as f64 / 1e9
    }
}

impl From<SystemTime> for Timestamp {
    fn from(instant: SystemTime) -> Self {
        let nanoseconds = match instant.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
        };
        Self(nanoseconds)
    }
}

/// Decodes an instant that may be missing, null or Go's zero time.
pub(crate) fn instant<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Timestamp>, D::Error> {
    struct Instant;

    impl Visitor<'_> for Instant {
        type Value = Option<Timestamp>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an RFC 3339 time")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Timestamp::parse(text)
                .map_err(|_| E::invalid_value(de::Unexpected::Other("other text"), &self))
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }

    source.deserialize_any(Instant)
}

/// Integer nanoseconds, as most durations are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanoseconds(pub i64);

impl Nanoseconds {
    /// The same in seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl<'de> Deserialize<'de> for Nanoseconds {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        i64::deserialize(source).map(Self)
    }
}

/// A duration printed by Go (`385µs`, `1.945272ms`, `1m2s`), as in `rtt`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GoDuration(Duration);

impl GoDuration {
    /// Parses the text; nothing when it is not a duration.
    ///
    /// Known units are `ns`, `µs` (both signs that look like it, and `us`),
    /// `ms`, `s`, `m` and `h`, and the `d` and `y` of the servers' uptimes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "0" {
            return Some(Self(Duration::ZERO));
        }
        let mut seconds = 0.0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let number: f64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            seconds += number
                * match &rest[..letters] {
                    "ns" => 1e-9,
                    "µs" | "μs" | "us" => 1e-6,
                    "ms" => 1e-3,
                    "s" => 1.0,
                    "m" => 60.0,
                    "h" => 3_600.0,
                    "d" => 86_400.0,
                    "y" => 365.0 * 86_400.0,
                    _ => return None,
                };
            rest = &rest[letters..];
        }
        (!text.is_empty()).then_some(())?;
        Duration::try_from_secs_f64(seconds).ok().map(Self)
    }

    /// The same in seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0.as_secs_f64()
    }
}

/// Decodes a duration in Go's text; one that cannot be read is as good as none.
pub(crate) fn duration_text<'de, D: Deserializer<'de>>(
    source: D,
) -> Result<Option<GoDuration>, D::Error> {
    let text = Option::<String>::deserialize(source)?;
    Ok(text.as_deref().and_then(GoDuration::parse))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_keep_their_fraction_and_zero_is_never() {
        let instant = Timestamp::parse("2026-11-23T08:07:13.840781474Z").unwrap().unwrap();
        assert!((instant.seconds() - 1_795_421_233.840_781_5).abs() < 1e-6);
        assert_eq!(Timestamp::parse("0001-01-01T00:00:00Z").unwrap(), None);
        assert!(Timestamp::parse("yesterday").is_err());
    }

    #[test]
    fn differences_keep_nanoseconds() {
        let parse = |text| Timestamp::parse(text).unwrap().unwrap();
        let earlier = parse("2026-11-23T08:07:13.000000001Z");
        let later = parse("2026-11-23T09:07:13+01:00");
        assert!((later.seconds_since(earlier) + 1e-9).abs() < 1e-15);
    }

    #[test]
    fn go_durations() {
        for (text, seconds) in [
            ("0s", 0.0),
            ("385µs", 385e-6),
            ("385\u{3bc}s", 385e-6),
            ("1.945272ms", 1.945_272e-3),
            ("1m2s", 62.0),
            ("1h0m0.5s", 3_600.5),
            ("1y2d3h", 365.0 * 86_400.0 + 2.0 * 86_400.0 + 10_800.0),
        ] {
            let parsed = GoDuration::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert!((parsed.seconds() - seconds).abs() < 1e-9, "{text}: {parsed:?}");
        }
        for text in ["", "s", "12", "1.2.3s", "-1s", "5 s", "1week"] {
            assert_eq!(GoDuration::parse(text), None, "{text}");
        }
    }
}
