//! One value of the raw configuration, and what it can be taken for.

use std::time::Duration;

use config::ValueKind;

use super::error::Place;

/// What a value may not be, and what to write instead.
pub(super) type Reason = String;

/// No setting needs more, and far longer ones overflow the clock.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// One value and where it was written.
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) kind: ValueKind,
}

impl Entry {
    pub(super) fn is_section(&self) -> bool {
        matches!(self.kind, ValueKind::Table(_))
    }

    /// The value as it can be repeated in a message. Not for secrets.
    pub(super) fn shown(&self) -> String {
        match &self.kind {
            ValueKind::String(text) => format!("{text:?}"),
            ValueKind::Table(_) => "a section".to_owned(),
            ValueKind::Array(_) => "a list".to_owned(),
            ValueKind::Nil => "nothing".to_owned(),
            ValueKind::Boolean(value) => value.to_string(),
            ValueKind::Float(value) => value.to_string(),
            ValueKind::I64(value) => value.to_string(),
            ValueKind::U64(value) => value.to_string(),
            ValueKind::I128(value) => value.to_string(),
            ValueKind::U128(value) => value.to_string(),
        }
    }

    /// Text that was written as text; the message does not repeat it.
    ///
    /// A number is refused rather than converted: YAML reads `0123` as 123.
    pub(super) fn text(&self) -> Result<&str, Reason> {
        match &self.kind {
            ValueKind::String(text) => Ok(text),
            ValueKind::Table(_) | ValueKind::Array(_) | ValueKind::Nil => {
                Err("this is not text; write one value".to_owned())
            }
            _ => Err("this is a number or a truth value, not text; write it in quotes".to_owned()),
        }
    }

    /// Text that says something.
    pub(super) fn name(&self) -> Result<String, Reason> {
        match self.text()? {
            "" => Err("this is empty; write a name, or leave the key out".to_owned()),
            text if text.trim() != text => {
                Err(format!("{text:?} has blanks around it; write {:?}", text.trim()))
            }
            text => Ok(text.to_owned()),
        }
    }

    /// `true` or `false`.
    pub(super) fn switch(&self) -> Result<bool, Reason> {
        match &self.kind {
            ValueKind::Boolean(value) => Ok(*value),
            ValueKind::String(text) if text == "true" => Ok(true),
            ValueKind::String(text) if text == "false" => Ok(false),
            _ => Err(format!("{} is neither true nor false; write one of them", self.shown())),
        }
    }

    /// A whole number that is not negative and fits.
    pub(super) fn whole<T: TryFrom<u64>>(&self) -> Result<T, Reason> {
        let number = match &self.kind {
            ValueKind::I64(value) => u64::try_from(*value).ok(),
            ValueKind::U64(value) => Some(*value),
            ValueKind::String(text) => text.parse().ok(),
            _ => None,
        };
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            let shown = self.shown();
            format!(
                "{shown} is not a whole number that fits; write digits only, without sign or unit"
            )
        })
    }

    /// A duration with its units.
    pub(super) fn duration(&self) -> Result<Duration, Reason> {
        let shown = self.shown();
        let text = match &self.kind {
            ValueKind::String(text) => text,
            _ => &shown,
        };
        if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
            return Err(format!("{shown} has no unit; write \"{text}s\" for seconds"));
        }
        let duration = humantime::parse_duration(text).map_err(|_| {
            format!("{shown} is not a duration; write one such as \"5s\", \"1m30s\" or \"500ms\"")
        })?;
        if duration > LONGEST {
            return Err(format!("{shown} is too long; write \"24h\" or less"));
        }
        Ok(duration)
    }

    /// A duration that is not zero.
    pub(super) fn time_out(&self) -> Result<Duration, Reason> {
        match self.duration()? {
            Duration::ZERO => {
                Err(format!("{} leaves no time at all; write one such as \"5s\"", self.shown()))
            }
            duration => Ok(duration),
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, Reason> {
        let found = match &self.kind {
            ValueKind::String(text) => words.iter().find(|(word, _)| word == text),
            _ => None,
        };
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let words = words.join(" or ");
            format!("{} is not known here; write {words}", self.shown())
        })
    }
}
