//! How bodies become types: null and missing are the same, and fields that
//! nobody knows are counted.

use serde::de::{Deserialize, DeserializeOwned, Deserializer};

use super::failure::{Failure, Reason};

/// An answer of a monitoring endpoint that names the process which gave it. Every version does, so
/// an answer without the name is from something else.
pub trait Answer: DeserializeOwned {
    /// The `server_id` of the answer.
    fn server_id(&self) -> Option<&str>;
}

/// An answer that says which of its fields the exporter knows without showing them.
pub trait Body: Answer {
    /// Paths of fields that are known and not shown, with `*` for the entries of a list
    /// or of an object, and a final `**` for everything below.
    const KNOWN: &'static [&'static str];

    /// Paths of what the exporter does not know in the fields that are read [`Apart`].
    fn unknown_apart(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A field that costs nothing but itself when it holds something else than expected. That counts as
/// unknown then, as new fields within it do.
#[derive(Debug, Clone, Default)]
pub struct Apart<T> {
    /// What it holds; nothing when it is missing, null or not as expected.
    pub value: Option<T>,
    /// Paths below the field; an empty one is the field itself.
    unknown: Vec<String>,
}

impl<T> Apart<T> {
    /// The paths of what is unknown in it, when the field is called `name`.
    pub(super) fn unknown(&self, name: &str) -> Vec<String> {
        let path = |below: &String| format!("{name}.{below}").trim_end_matches('.').to_owned();
        self.unknown.iter().map(path).collect()
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Apart<T> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let content = serde_json::Value::deserialize(source)?;
        if content.is_null() {
            return Ok(Self { value: None, unknown: Vec::new() });
        }
        let mut unknown = Vec::new();
        let read = serde_ignored::deserialize(content, |path| unknown.push(path.to_string()));
        Ok(match read {
            Ok(value) => Self { value: Some(value), unknown },
            Err(_) => Self { value: None, unknown: vec![String::new()] },
        })
    }
}

/// Most unknown fields that are named for one answer.
const MOST_UNKNOWN: usize = 1_000;

/// Decodes a body, and returns the paths of the fields that are new to the exporter.
///
/// # Errors
/// [`Reason::Truncated`] when the text ends too early, [`Reason::Decode`] when it is not JSON
/// or a field has another type; the message says where.
pub fn decode<T: Body>(body: &[u8]) -> Result<(T, Vec<String>), Failure> {
    let mut unknown = Vec::new();
    refuse_list(body)?;
    let mut source = serde_json::Deserializer::from_slice(body);
    let value: T = serde_ignored::deserialize(&mut source, |path| {
        let path = path.to_string().replace(".?", "");
        if unknown.len() < MOST_UNKNOWN && !T::KNOWN.iter().any(|known| matches(known, &path)) {
            unknown.push(path);
        }
    })
    .and_then(|value| source.end().map(|()| value))
    .map_err(|error| describe(body, &error))?;
    let value = from_a_server(value)?;
    unknown.extend(value.unknown_apart());
    unknown.truncate(MOST_UNKNOWN);
    Ok((value, unknown))
}

/// Decodes an object that names no process.
///
/// # Errors
/// As [`decode`].
pub fn decode_any<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    refuse_list(body)?;
    serde_json::from_slice(body).map_err(|error| describe(body, &error))
}

/// A list would do for an object otherwise, with the fields in the order of the type.
fn refuse_list(body: &[u8]) -> Result<(), Failure> {
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(Failure::new(Reason::Decode, "a list instead of an object"));
    }
    Ok(())
}

/// Refuses an answer that names no process.
///
/// # Errors
/// [`Reason::Decode`] when it does not.
pub fn from_a_server<T: Answer>(value: T) -> Result<T, Failure> {
    if value.server_id().is_some_and(|id| !id.is_empty()) {
        return Ok(value);
    }
    Err(Failure::new(Reason::Decode, "no server_id: not the answer of a NATS server"))
}

fn describe(body: &[u8], error: &serde_json::Error) -> Failure {
    if error.is_eof() && body.iter().any(|byte| !byte.is_ascii_whitespace()) {
        return Failure::new(Reason::Truncated, format!("the JSON text ends too early: {error}"));
    }
    let html = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<');
    let what = if html { "HTML instead of JSON" } else { "unexpected content" };
    Failure::new(Reason::Decode, format!("{what}: {error}"))
}

/// Whether `path` (`routes.0.rid`) is what `known` (`routes.*.rid`) describes.
fn matches(known: &str, path: &str) -> bool {
    let (mut known, mut path) = (known.split('.'), path.split('.'));
    loop {
        match (known.next(), path.next()) {
            (Some("**"), _) | (None, None) => return true,
            (Some(expected), Some(found)) if expected == "*" || expected == found => {}
            _ => return false,
        }
    }
}

/// Takes null for the default value: servers print `"leafs": null` for an empty list.
pub(crate) fn null_is_default<'de, D, T>(source: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(source)?.unwrap_or_default())
}

/// A limit that is printed as −1 when there is none.
pub(crate) fn signed_limit(limit: Option<i64>) -> Option<u64> {
    limit.and_then(|limit| u64::try_from(limit).ok())
}

/// A limit that is none when it is zero or negative.
pub(crate) fn positive(limit: Option<i64>) -> Option<u64> {
    signed_limit(limit).filter(|limit| *limit > 0)
}

/// A limit that is printed as 18446744073709551615 when there is none.
pub(crate) fn unsigned_limit(limit: Option<u64>) -> Option<u64> {
    limit.filter(|limit| *limit != u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Sample {
        #[serde(default)]
        id: Option<String>,
        #[serde(default)]
        known: Option<u64>,
        #[serde(default, deserialize_with = "null_is_default")]
        list: Vec<Sample>,
        #[serde(default)]
        waits: Apart<Waits>,
    }

    #[derive(Debug, Default, Deserialize)]
    struct Waits {
        time: Option<u64>,
    }

    impl Answer for Sample {
        fn server_id(&self) -> Option<&str> {
            self.id.as_deref()
        }
    }

    impl Body for Sample {
        const KNOWN: &'static [&'static str] = &["hidden", "list.*.hidden", "deep.**"];

        fn unknown_apart(&self) -> Vec<String> {
            self.waits.unknown("waits")
        }
    }

    #[test]
    fn unknown_fields_are_named_and_known_ones_are_not() {
        let body = br#"{"id":"A","known":1,"hidden":2,"deep":{"a":[1]},"new":3,
            "list":[{"hidden":1,"newer":{"x":1}}]}"#;
        let (sample, unknown) = decode::<Sample>(body).unwrap();
        assert_eq!((sample.known, sample.list.len()), (Some(1), 1));
        assert_eq!(unknown, ["new", "list.0.newer"]);
    }

    #[test]
    fn what_is_read_apart_costs_nothing_but_itself() {
        for (waits, time, new) in [
            (r#"{"time":7}"#, Some(7), &[][..]),
            (r#"{"time":7,"new":{"deep":1}}"#, Some(7), &["waits.new"]),
            (r#"{"time":-7}"#, None, &["waits"]),
            (r#"{"time":"7ms"}"#, None, &["waits"]),
            (r#""7ms""#, None, &["waits"]),
            ("null", None, &[]),
        ] {
            let body = format!(r#"{{"id":"A","known":1,"waits":{waits}}}"#);
            let (sample, unknown) = decode::<Sample>(body.as_bytes()).unwrap();
            assert_eq!(sample.known, Some(1), "{waits}");
            assert_eq!(sample.waits.value.and_then(|waits| waits.time), time, "{waits}");
            assert_eq!(unknown, new, "{waits}");
        }
    }

    #[test]
    fn null_is_missing() {
        let (sample, _) = decode::<Sample>(br#"{"id":"A","known":null,"list":null}"#).unwrap();
        assert_eq!((sample.known, sample.list.len()), (None, 0));
    }

    #[test]
    fn failures_say_what_is_wrong() {
        for (body, reason) in [
            (&b"{\"known\":1"[..], Reason::Truncated),
            (b"", Reason::Decode),
            (b"<html></html>", Reason::Decode),
            (b"{\"known\":\"one\"}", Reason::Decode),
            (b"{\"known\":1}", Reason::Decode),
            (b"{\"id\":\"\"}", Reason::Decode),
            (b"{} {}", Reason::Decode),
            (b"[1]", Reason::Decode),
        ] {
            assert_eq!(decode::<Sample>(body).unwrap_err().reason, reason, "{body:?}");
        }
    }

    #[test]
    fn unlimited_is_nothing() {
        assert_eq!(signed_limit(Some(-1)), None);
        assert_eq!(signed_limit(Some(0)), Some(0));
        assert_eq!(unsigned_limit(Some(u64::MAX)), None);
        assert_eq!(unsigned_limit(Some(7)), Some(7));
    }
}
