//! What can be done to an answer on its way.

use std::borrow::Cow;
use std::io::{self, Read as _};
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzEncoder;
use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::Answer;

/// What [`Fault::HostileNames`] puts behind every name: all that a text format, a log or a terminal could trip over.
pub const HOSTILE: &str = "\\ \" } 1\nnats_up{server=\"fake\"} 0\r\n# EOF\n{a=\"b\",} \\n \t\u{0}\u{1b}[31m\u{7f}\u{2028}\u{202e}e\u{301} 🦀\\";

/// What is done to an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It comes after this time.
    After(Duration),
    /// It comes once [`MonitorGate::open`](super::MonitorGate::open) is called.
    Gated,
    /// Nothing is answered.
    Stall,
    /// The head and most of the body arrive, and then nothing.
    StallInBody,
    /// One byte arrives at a time, with a pause before each.
    Drip(Duration),
    /// The connection ends in the middle of the body.
    Cut,
    /// The connection ends without an answer.
    Close,
    /// The head announces this many bytes; blanks follow.
    Oversized(u64),
    /// Blanks in chunks, without end.
    Endless,
    /// This body with status 200, which the head calls gzip whatever it is.
    Gzip(Cow<'static, [u8]>),
    /// The head calls the answer gzip, and it is not.
    BadGzip,
    /// No fault: the answer comes as gzip.
    GoodGzip,
    /// No fault: the answer comes in chunks.
    GoodChunked,
    /// Something answers that does not speak HTTP.
    NotHttp,
    /// This status and this body.
    Answer(u16, Cow<'static, str>),
    /// The client is sent there.
    Redirect(Cow<'static, str>),
    /// The JSON ends before its last byte.
    CutJson,
    /// The JSON is followed by more.
    MoreBehind,
    /// Lists within lists, a hundred thousand deep.
    Nested,
    /// All that is no list or object becomes an object.
    OtherTypes,
    /// All that is no list or object becomes a large negative number with a fraction.
    NegativeNumbers,
    /// All that is no list or object becomes `null`.
    Nulls,
    /// Names end in [`HOSTILE`]; a healthy `/healthz` has a stream and an account of such a name that are unwell.
    HostileNames,
}

impl Fault {
    /// This status and this body.
    pub fn answer(status: u16, body: impl Into<Cow<'static, str>>) -> Self {
        Self::Answer(status, body.into())
    }

    /// Sends the spoiled answer; returns whether the connection can be used again.
    pub(super) async fn send(
        self,
        answer: &Answer,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<bool> {
        const GZIP: &str = "Content-Encoding: gzip\r\n";
        let text = answer.body.as_bytes();
        let bytes = match self {
            // Who sends has waited already.
            Self::After(_) | Self::Gated => whole(answer),
            Self::Stall => std::future::pending().await,
            Self::StallInBody | Self::Cut => {
                let good = whole(answer);
                to.write_all(&good[..good.len() - 7]).await?;
                to.flush().await?;
                if self == Self::StallInBody {
                    std::future::pending::<()>().await;
                }
                return Ok(false);
            }
            Self::Drip(pause) => {
                for byte in whole(answer) {
                    if pause.is_zero() {
                        tokio::task::yield_now().await;
                    } else {
                        tokio::time::sleep(pause).await;
                    }
                    to.write_u8(byte).await?;
                    to.flush().await?;
                }
                return Ok(true);
            }
            Self::Close => return Ok(false),
            Self::Oversized(bytes) => {
                to.write_all(&head(200, &format!("Content-Length: {bytes}"))).await?;
                return blanks(to).await;
            }
            Self::Endless => {
                to.write_all(&head(200, "Transfer-Encoding: chunked")).await?;
                return blanks(to).await;
            }
            Self::Gzip(body) => with_body(200, GZIP, &body),
            Self::BadGzip => with_body(answer.status, GZIP, text),
            Self::GoodGzip => with_body(answer.status, GZIP, &gzip(text)),
            Self::GoodChunked => {
                let mut bytes = head(answer.status, "Transfer-Encoding: chunked");
                for chunk in text.chunks(100).chain([&[][..]]) {
                    bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes
            }
            Self::NotHttp => {
                to.write_all(b"220 mail.example ESMTP\r\n\r\n").await?;
                to.flush().await?;
                return Ok(false);
            }
            Self::Answer(status, body) => with_body(status, "", body.as_bytes()),
            Self::Redirect(there) => with_body(302, &format!("Location: {there}\r\n"), b""),
            Self::CutJson => {
                let text = answer.body.trim_end().as_bytes();
                with_body(answer.status, "", &text[..text.len() - 1])
            }
            Self::MoreBehind => with_body(answer.status, "", &[text, b"{}"].concat()),
            Self::Nested => {
                let text = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
                with_body(200, "", text.as_bytes())
            }
            Self::OtherTypes => {
                changed(answer, |body| replace_leaves(body, &json!({ "no": "leaf" })))
            }
            Self::NegativeNumbers => changed(answer, |body| replace_leaves(body, &json!(-1.5e300))),
            Self::Nulls => changed(answer, |body| replace_leaves(body, &Value::Null)),
            Self::HostileNames => changed(answer, make_hostile),
        };
        send_bytes(&bytes, to).await
    }
}

/// Sends an answer as it is; returns whether the connection can be used again.
pub(super) async fn send_whole(
    answer: &Answer,
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<bool> {
    send_bytes(&whole(answer), to).await
}

async fn send_bytes(bytes: &[u8], to: &mut (impl AsyncWrite + Unpin)) -> io::Result<bool> {
    to.write_all(bytes).await?;
    to.flush().await?;
    Ok(true)
}

/// `body` as gzip.
#[must_use]
pub fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(body, Compression::default());
    let mut compressed = Vec::new();
    // What is read from and written to is memory.
    let _ = encoder.read_to_end(&mut compressed);
    compressed
}

fn head(status: u16, length: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Text\r\nContent-Type: application/json\r\n{length}\r\n\r\n").into()
}

fn with_body(status: u16, more: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = head(status, &format!("{more}Content-Length: {}", body.len()));
    bytes.extend_from_slice(body);
    bytes
}

fn whole(answer: &Answer) -> Vec<u8> {
    with_body(answer.status, "", answer.body.as_bytes())
}

/// The answer with its JSON changed; one that is no JSON stays as it is.
fn changed(answer: &Answer, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let Ok(mut body) = serde_json::from_str(&answer.body) else { return whole(answer) };
    change(&mut body);
    with_body(answer.status, "", body.to_string().as_bytes())
}

/// Replaces all that is no list or object.
pub fn replace_leaves(value: &mut Value, replacement: &Value) {
    match value {
        Value::Array(items) => {
            for item in items {
                replace_leaves(item, replacement);
            }
        }
        Value::Object(fields) => {
            for value in fields.values_mut() {
                replace_leaves(value, replacement);
            }
        }
        leaf => *leaf = replacement.clone(),
    }
}

fn make_hostile(body: &mut Value) {
    if body["status"] == "ok" {
        let name = format!("healthy{HOSTILE}");
        *body = json!({
            "status": "unavailable",
            "errors": [{ "type": "STREAM", "account": name, "stream": name, "error": name }],
        });
    }
    extend_names(body);
}

/// Puts [`HOSTILE`] behind what servers, clusters, accounts, streams and consumers are called.
fn extend_names(value: &mut Value) {
    const NAMES: [&str; 7] =
        ["server_name", "name", "stream_name", "remote_name", "leader", "system_account", "id"];
    match value {
        Value::Array(items) => items.iter_mut().for_each(extend_names),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if NAMES.contains(&key.as_str()) => text.push_str(HOSTILE),
                    other => extend_names(other),
                }
            }
        }
        _ => {}
    }
}

/// Sends chunks of blanks until the client has enough.
async fn blanks(to: &mut (impl AsyncWrite + Unpin)) -> io::Result<bool> {
    let mut chunk = b"4000\r\n".to_vec();
    chunk.resize(chunk.len() + 0x4000, b' ');
    chunk.extend_from_slice(b"\r\n");
    loop {
        to.write_all(&chunk).await?;
    }
}
