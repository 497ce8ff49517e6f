//! One bounded request to a server: size limit, status, and the reason when
//! there is no answer. Small answers are taken whole, the detail as it arrives.
//! Deadlines belong to the caller, which drops the future.

use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::body::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Identity, redirect};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::failure::{Failure, Reason};
use super::names::{Addresses, Host};
use crate::config::{Limits, Target, Tls};

/// Asks one server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    body: Size,
    /// Of an answer that is taken whole: far more than a well server sends, and little enough that decoding
    /// something else does not take the memory of the exporter.
    small_body: Size,
}

/// A limit to the size of a body.
#[derive(Debug, Clone, Copy)]
struct Size {
    bytes: u64,
    setting: &'static str,
}

/// A complete answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The decompressed body.
    pub body: Vec<u8>,
    /// From sending the request to the last byte.
    pub elapsed: Duration,
}

/// Bodies from this size on are read off the threads that serve requests.
const LARGE_BODY: usize = 64 << 10;

impl Answer {
    /// What `read` makes of the answer, of a large one on a thread that may block.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn read<T: Send + 'static>(
        self,
        read: impl FnOnce(&Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        if self.body.len() < LARGE_BODY {
            return read(&self);
        }
        tokio::task::spawn_blocking(move || read(&self))
            .await
            .unwrap_or_else(|_| Err(Failure::new(Reason::Internal, "decoding ended early")))
    }
}

/// A target that no client can be built for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file of the TLS settings cannot be read.
    #[error("target \"{target}\": cannot read {file}: {source}", file = file.display())]
    Read {
        /// The target's name.
        target: String,
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the TLS settings does not hold what it should.
    #[error("target \"{target}\": {file} holds no {expected} in PEM format: {source}", file = file.display())]
    Pem {
        /// The target's name.
        target: String,
        /// The file.
        file: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// Why not.
        source: reqwest::Error,
    },
    /// A file of authorities has none, so nothing could ever be trusted.
    #[error("target \"{target}\": {file} holds no certificate in PEM format", file = file.display())]
    NoAuthority {
        /// The target's name.
        target: String,
        /// The file.
        file: PathBuf,
    },
    /// The credentials cannot stand in a header.
    #[error("target \"{target}\": {what} has a character that an HTTP header cannot carry")]
    Header {
        /// The target's name.
        target: String,
        /// The setting, never its value.
        what: String,
    },
    /// The certificate cannot be checked against this name.
    #[error(
        "target \"{target}\": tls.server_name is an address; write the name in the certificate"
    )]
    ServerName {
        /// The target's name.
        target: String,
    },
    /// The HTTP client refuses the settings.
    #[error("target \"{target}\": cannot build an HTTP client: {source}")]
    Build {
        /// The target's name.
        target: String,
        /// Why not.
        source: reqwest::Error,
    },
}

/// Answers questions: a server that is asked, or what stands for one.
pub trait Ask: Sync {
    /// Asks for `path`, which starts with a slash and may have a query.
    ///
    /// # Errors
    /// When there is no complete answer; a status other than 200 is no error here.
    fn ask(&self, path: &str) -> impl Future<Output = Result<Answer, Failure>> + Send;
}

impl Ask for Client {
    async fn ask(&self, path: &str) -> Result<Answer, Failure> {
        self.get(path).await
    }
}

impl Client {
    /// A client for `target`; it reads the files of the TLS settings, and connects to nothing yet.
    /// `addresses` are those of its host, when somebody else looks them up.
    pub fn new(
        target: &Target,
        addresses: Option<&Addresses>,
        limits: &Limits,
        connect_timeout: Duration,
    ) -> Result<Self, ClientError> {
        install_crypto_provider();
        let build = |source| ClientError::Build { target: target.name.clone(), source };
        let mut url = target.url.clone();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("nats-exporter/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers(target)?)
            // A proxy would answer for a dead server, and a redirect leads to another one.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .http1_only()
            .connect_timeout(connect_timeout)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(4)
            .pool_idle_timeout(Duration::from_secs(90));
        builder = match addresses {
            Some(addresses) => builder.dns_resolver(Arc::new(addresses.clone())),
            None => builder.dns_resolver(Arc::new(Host::new(url.host_str().unwrap_or_default()))),
        };
        if target.url.scheme() == "https" {
            builder = tls(builder, &target.name, &target.tls)?;
            if let Some(name) = &target.tls.server_name {
                // The client checks the certificate against the host of the URL. So the URL gets
                // the wanted name, and every name leads to the real host.
                let is_address = name.parse::<IpAddr>().is_ok();
                // An address would be asked instead of the target: it needs no look-up.
                if is_address || url.set_host(Some(name)).is_err() {
                    return Err(ClientError::ServerName { target: target.name.clone() });
                }
            }
        } else {
            // Saves loading the system's trust store for nothing.
            builder = builder.tls_certs_only([]);
        }
        Ok(Self {
            http: builder.build().map_err(build)?,
            base: url.as_str().trim_end_matches('/').to_owned(),
            body: Size { bytes: limits.body_bytes, setting: "limits.body_bytes" },
            small_body: Size {
                bytes: limits.small_body_bytes,
                setting: "limits.small_body_bytes and limits.body_bytes",
            },
        })
    }

    /// Asks for `path`, which starts with a slash and may have a query.
    ///
    /// # Errors
    /// When there is no complete answer within the size limit; a status other than 200 is no
    /// error here.
    pub async fn get(&self, path: &str) -> Result<Answer, Failure> {
        let started = Instant::now();
        let mut body = Incoming::new(self.send(path).await?, self.small_body)?;
        let status = body.response.status().as_u16();
        // The announced length is the server's word: reserve a part of it and grow on evidence.
        let announced = body.response.content_length().unwrap_or(0);
        let mut whole = Vec::with_capacity(usize::try_from(announced.min(1 << 20)).unwrap_or(0));
        while let Some(chunk) = body.chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body: whole, elapsed: started.elapsed() })
    }

    /// Asks for `path`, takes nothing but 200 for an answer, and leaves it to the caller to take the
    /// body as it arrives.
    ///
    /// # Errors
    /// As [`Client::get_ok`].
    pub async fn open(&self, path: &str) -> Result<Incoming, Failure> {
        let body = Incoming::new(self.send(path).await?, self.body)?;
        match body.response.status().as_u16() {
            200 => Ok(body),
            status => Err(Failure::of_status(path, status)),
        }
    }

    /// Sends the request, twice when the first connection was closed without an answer.
    ///
    /// A kept connection may be closed by the other side, such as a proxy whose idle time-out equals
    /// the scrape interval, while the request is on its way. A new one tells whether the server is
    /// away.
    async fn send(&self, path: &str) -> Result<reqwest::Response, Failure> {
        let request = || self.http.get(format!("{}{path}", self.base)).send();
        let error = match request().await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let failure = describe(&error);
        let closed = matches!(failure.reason, Reason::Truncated | Reason::Connect);
        if closed && !error.is_connect() {
            return request().await.map_err(|error| describe(&error));
        }
        Err(failure)
    }

    /// Asks for `path` and takes nothing but 200 for an answer.
    ///
    /// # Errors
    /// As [`Client::get`], and [`Reason::Status`].
    pub async fn get_ok(&self, path: &str) -> Result<Answer, Failure> {
        let answer = self.get(path).await?;
        if answer.status == 200 { Ok(answer) } else { Err(Failure::of_status(path, answer.status)) }
    }
}

/// A body that is arriving, with a limit to its size.
#[derive(Debug)]
pub struct Incoming {
    response: reqwest::Response,
    limit: Size,
    left: u64,
}

impl Incoming {
    fn new(response: reqwest::Response, limit: Size) -> Result<Self, Failure> {
        let body = Self { response, limit, left: limit.bytes };
        if body.response.content_length() > Some(limit.bytes) {
            Err(body.too_large())
        } else {
            Ok(body)
        }
    }

    /// The next part of the body; nothing at its end.
    ///
    /// # Errors
    /// When the body is larger than it may be, or ends early.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        let chunk = self.response.chunk().await.map_err(|error| cut(&error))?;
        let length = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        self.left = self.left.checked_sub(length).ok_or_else(|| self.too_large())?;
        Ok(chunk)
    }

    fn too_large(&self) -> Failure {
        let Size { bytes, setting } = self.limit;
        let text = format!("the body is larger than {bytes} bytes, see {setting}");
        Failure::new(Reason::TooLarge, text)
    }
}

/// Chooses the one provider of cryptography, for the program and for the tests.
pub fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that the process has one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

fn headers(target: &Target) -> Result<HeaderMap, ClientError> {
    let secret = |what: &str, value: &str| {
        let mut value = HeaderValue::from_str(value).map_err(|_| ClientError::Header {
            target: target.name.clone(),
            what: what.to_owned(),
        })?;
        value.set_sensitive(true);
        Ok(value)
    };
    let mut headers = HeaderMap::new();
    if let Some(auth) = &target.basic_auth {
        let pair = format!("{}:{}", auth.username, auth.password.expose_secret());
        let value = format!("Basic {}", BASE64.encode(pair));
        headers.insert(AUTHORIZATION, secret("basic_auth", &value)?);
    }
    for (name, value) in &target.headers {
        let value = secret(&format!("headers.{name}"), value.expose_secret())?;
        headers.insert(name.clone(), value);
    }
    Ok(headers)
}

fn tls(
    mut builder: reqwest::ClientBuilder,
    target: &str,
    tls: &Tls,
) -> Result<reqwest::ClientBuilder, ClientError> {
    let read = |file: &Path| {
        std::fs::read(file).map_err(|source| ClientError::Read {
            target: target.to_owned(),
            file: file.to_owned(),
            source,
        })
    };
    let pem = |file: &Path, expected| {
        let (target, file) = (target.to_owned(), file.to_owned());
        move |source| ClientError::Pem { target, file, expected, source }
    };
    if let Some(file) = &tls.ca_file {
        let authorities =
            Certificate::from_pem_bundle(&read(file)?).map_err(pem(file, "certificate"))?;
        if authorities.is_empty() {
            return Err(ClientError::NoAuthority { target: target.to_owned(), file: file.clone() });
        }
        builder = builder.tls_certs_only(authorities);
    }
    if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
        let mut both = read(cert)?;
        both.push(b'\n');
        both.extend(read(key)?);
        let identity =
            Identity::from_pem(&both).map_err(pem(cert, "certificate with its private key"))?;
        builder = builder.identity(identity);
    }
    if tls.insecure_skip_verify {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    Ok(builder)
}

/// Names the reason why a request got no answer.
fn describe(error: &reqwest::Error) -> Failure {
    let chain = chain(error);
    let reason = if causes(error).any(is_tls) {
        Reason::Tls
    } else if chain.contains("dns error") {
        Reason::Dns
    } else if error.is_timeout() && !error.is_connect() {
        Reason::Timeout
    } else if chain.contains("connection closed before message completed") {
        Reason::Truncated
    } else if chain.contains("parse") {
        // Something answers on this port that does not speak HTTP.
        Reason::Decode
    } else {
        Reason::Connect
    };
    Failure::new(reason, chain)
}

/// Whether an error is of TLS. It comes in one I/O error or in several within each other, and those
/// do not list what they hold among their sources.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<rustls::Error>()
        || error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .is_some_and(|inner| is_tls(inner))
}

/// Names the reason why a body ended early.
fn cut(error: &reqwest::Error) -> Failure {
    let reason = if error.is_decode() && chain(error).contains("gzip") {
        Reason::Decode
    } else {
        Reason::Truncated
    };
    Failure::new(reason, chain(error))
}

fn causes<'e>(
    error: &'e reqwest::Error,
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

/// The causes of an error in one line, without the URL, which may hold a secret path.
fn chain(error: &reqwest::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = cause.to_string();
        // Wrappers repeat the text of what they wrap.
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
    }
    if texts.is_empty() { "no answer".to_owned() } else { texts.join(": ") }
}
