//! Words that all outputs for people share: names that are safe to show, lengths of time, moments.

use std::fmt::Write as _;
use std::time::Duration;

use time::OffsetDateTime;

/// A name, which is the users' data: what would steer a terminal, end a line or turn text around is shown as an escape.
#[must_use]
pub fn shown(name: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    name.chars().fold(String::with_capacity(name.len()), |mut text, c| {
        if steers(c) {
            text.extend(c.escape_unicode());
        } else {
            text.push(c);
        }
        text
    })
}

/// The two largest units of a length of time.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let largest = units.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(units.len() - 1);
    let mut text = format!("{}{}", seconds / units[largest].0, units[largest].1);
    if let Some((unit, name)) = units.get(largest + 1) {
        let _ = write!(text, "{}{name}", seconds % units[largest].0 / unit);
    }
    text
}

/// A moment, as RFC 3339 writes it in UTC; nothing when no calendar has it.
#[must_use]
pub fn moment(since_epoch: u64) -> Option<String> {
    let moment = OffsetDateTime::from_unix_timestamp(since_epoch.try_into().ok()?).ok()?;
    let (hour, minute, second) = moment.to_hms();
    Some(format!("{}T{hour:02}:{minute:02}:{second:02}Z", moment.date()))
}

/// The word with a capital letter in front.
#[must_use]
pub fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().collect::<String>() + letters.as_str())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in
            [(0.4, "0s"), (59.0, "59s"), (61.0, "1m1s"), (3600.0, "1h0m"), (200_000.0, "2d7h")]
        {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn moments_are_in_utc() {
        assert_eq!(moment(1_767_323_045).as_deref(), Some("2026-01-02T03:04:05Z"));
        assert_eq!(moment(u64::MAX), None);
    }

    #[test]
    fn names_steer_nothing() {
        assert_eq!(shown("a\u{1b}[2Jb\n\u{202e}c"), "a\\u{1b}[2Jb\\u{a}\\u{202e}c");
        assert_eq!(shown("a\u{2028}b\u{61c}c"), "a\\u{2028}b\\u{61c}c");
        assert_eq!(shown("żółć 🦀"), "żółć 🦀");
    }
}
