//! What can be done to an answer on its way.

use std::io::{self, Write as _};
use std::sync::LazyLock;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::Answer;

/// More than the exporter reads of any answer by default.
const TOO_MANY_BYTES: u64 = (1 << 30) + 1;
/// What the bomb becomes.
const BOMB_BYTES: usize = 4 << 20;
const DRIP: Duration = Duration::from_secs(1);

/// What [`Fault::HostileNames`] puts behind every name: all that a text format, a log or a terminal could trip over.
pub const HOSTILE: &str = "\\ \" } 1\nnats_up{server=\"fake\"} 0\r\n# EOF\n{a=\"b\",} \\n \t\u{0}\u{1b}[31m\u{7f}\u{2028}\u{202e}e\u{301} 🦀\\";

/// What is done to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is answered.
    Stall,
    /// The head and most of the body arrive, and then nothing.
    StallInBody,
    /// One byte a second arrives.
    Drip,
    /// The connection ends in the middle of the body.
    Cut,
    /// The connection ends without an answer.
    Close,
    /// The head announces more than the exporter reads.
    Oversized,
    /// Blanks in chunks, without end.
    Endless,
    /// A small body that becomes a large one.
    GzipBomb,
    /// The answer says that it is gzip, and is not.
    BadGzip,
    /// Something answers that does not speak HTTP.
    NotHttp,
    /// This status, with a page of HTML.
    Status(u16),
    /// The client is sent to the same server's `/varz`.
    Redirect,
    /// This text.
    Body(&'static str),
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
    /// Sends the spoiled answer; returns whether the connection can be used again.
    pub(super) async fn send(
        self,
        answer: &Answer,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<bool> {
        let good = whole(answer);
        let bytes = match self {
            Self::Stall => std::future::pending().await,
            Self::StallInBody | Self::Cut => {
                to.write_all(&good[..good.len() - 7]).await?;
                if self == Self::StallInBody {
                    std::future::pending::<()>().await;
                }
                return Ok(false);
            }
            Self::Drip => {
                for byte in good {
                    to.write_u8(byte).await?;
                    tokio::time::sleep(DRIP).await;
                }
                return Ok(true);
            }
            Self::Close => return Ok(false),
            Self::Oversized => {
                to.write_all(&head(200, &format!("Content-Length: {TOO_MANY_BYTES}"))).await?;
                return blanks(to).await;
            }
            Self::Endless => {
                to.write_all(&head(200, "Transfer-Encoding: chunked")).await?;
                return blanks(to).await;
            }
            Self::GzipBomb => with_body(200, "Content-Encoding: gzip\r\n", &BOMB),
            Self::BadGzip => {
                with_body(answer.status, "Content-Encoding: gzip\r\n", answer.body.as_bytes())
            }
            Self::NotHttp => {
                to.write_all(b"220 mail.example ESMTP\r\n\r\n").await?;
                return Ok(false);
            }
            Self::Status(status) => with_body(status, "", b"<html><h1>No</h1></html>"),
            Self::Redirect => with_body(302, "Location: /varz\r\n", b""),
            Self::Body(text) => with_body(200, "", text.as_bytes()),
            Self::CutJson => {
                let text = answer.body.trim_end().as_bytes();
                with_body(answer.status, "", &text[..text.len() - 1])
            }
            Self::MoreBehind => {
                with_body(answer.status, "", (answer.body.clone() + "{}").as_bytes())
            }
            Self::Nested => {
                let text = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
                with_body(200, "", text.as_bytes())
            }
            Self::OtherTypes => changed(answer, |body| replace(body, &json!({ "no": "leaf" }))),
            Self::NegativeNumbers => changed(answer, |body| replace(body, &json!(-1.5e300))),
            Self::Nulls => changed(answer, |body| replace(body, &Value::Null)),
            Self::HostileNames => changed(answer, make_hostile),
        };
        to.write_all(&bytes).await?;
        Ok(true)
    }
}

fn head(status: u16, length: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Text\r\nContent-Type: application/json\r\n{length}\r\n\r\n").into()
}

fn with_body(status: u16, more: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = head(status, &format!("{more}Content-Length: {}", body.len()));
    bytes.extend_from_slice(body);
    bytes
}

/// An answer as it is.
pub(super) fn whole(answer: &Answer) -> Vec<u8> {
    with_body(answer.status, "", answer.body.as_bytes())
}

/// The answer with its JSON changed; one that is no JSON stays as it is.
fn changed(answer: &Answer, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let Ok(mut body) = serde_json::from_str(&answer.body) else { return whole(answer) };
    change(&mut body);
    with_body(answer.status, "", body.to_string().as_bytes())
}

/// Replaces all that is no container.
fn replace(value: &mut Value, replacement: &Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|value| replace(value, replacement)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|value| replace(value, replacement));
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

/// Made once, because without optimisation it takes a while.
static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let blanks = [b' '; 1 << 14];
    for _ in 0..BOMB_BYTES / blanks.len() {
        encoder.write_all(&blanks).expect("memory can be written to");
    }
    encoder.finish().expect("memory can be written to")
});

/// Sends chunks of blanks until the client has enough.
async fn blanks(to: &mut (impl AsyncWrite + Unpin)) -> io::Result<bool> {
    let mut chunk = b"4000\r\n".to_vec();
    chunk.resize(chunk.len() + 0x4000, b' ');
    chunk.extend_from_slice(b"\r\n");
    loop {
        to.write_all(&chunk).await?;
    }
}
