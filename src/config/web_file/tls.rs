//! The section about TLS.

use std::fs;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CipherSuite, NamedGroup};

use crate::config::entry::{Entry, Reason};
use crate::config::read::Section;
use crate::config::secret;

/// The server's side of TLS.
#[derive(PartialEq, Eq)]
pub struct TlsServer {
    /// The server's own certificate and those that lead to an authority.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The key of the first certificate.
    pub key: PrivateKeyDer<'static>,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// What the certificate of a client has to be for, one of these; empty is anything.
    pub client_allowed_sans: Vec<String>,
    /// Oldest version of the protocol.
    pub min_version: TlsVersion,
    /// Newest version of the protocol.
    pub max_version: TlsVersion,
    /// Ciphers in the order of preference; empty means all.
    pub cipher_suites: Vec<CipherSuite>,
    /// Groups for the exchange of keys in the order of preference; empty means all.
    pub curves: Vec<NamedGroup>,
    /// Whether the order of the server counts rather than that of the client.
    pub prefer_server_order: bool,
}

impl Clone for TlsServer {
    fn clone(&self) -> Self {
        Self {
            certificates: self.certificates.clone(),
            key: self.key.clone_key(),
            client_auth: self.client_auth.clone(),
            client_allowed_sans: self.client_allowed_sans.clone(),
            cipher_suites: self.cipher_suites.clone(),
            curves: self.curves.clone(),
            ..*self
        }
    }
}

/// What is asked of clients.
#[derive(Clone, PartialEq, Eq)]
pub enum ClientAuth {
    /// No certificate.
    None,
    /// A certificate, whoever signed it.
    Any {
        /// Whether a client without one is refused.
        required: bool,
    },
    /// A certificate that one of these authorities signed.
    Verified {
        /// Whether a client without one is refused.
        required: bool,
        /// Who may have signed.
        authorities: Vec<CertificateDer<'static>>,
    },
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// What the section says; nothing when it says nothing.
pub(super) fn read(mut section: Section) -> Option<TlsServer> {
    if section.is_empty() {
        return None;
    }
    let mut missing = Vec::new();
    let mut part = |section: &mut Section, keys: [&'static str; 2]| {
        if !keys.iter().any(|key| section.has(key)) {
            missing.push(keys);
        }
    };
    part(&mut section, CERTIFICATE);
    part(&mut section, KEY);
    let certificates = one_of(&mut section, CERTIFICATE, certificates);
    let key = one_of(&mut section, KEY, private_key);
    for [file, inline] in missing {
        section
            .report("", format!("TLS needs a certificate and its key; write {file} or {inline}"));
    }
    let client_auth = client_auth(&mut section);
    let client_allowed_sans = allowed_sans(&mut section, &client_auth);
    let min = section.take("min_version", tls_version).unwrap_or(TlsVersion::Tls12);
    let max = section.take("max_version", tls_version).unwrap_or(TlsVersion::Tls13);
    if min > max {
        section.report("min_version", "this is newer than max_version, so nothing is left between");
    }
    let cipher_suites = section.list("cipher_suites", cipher_suite);
    let curves = section.list("curve_preferences", curve);
    let prefer = section.take("prefer_server_cipher_suites", Entry::switch).unwrap_or(true);
    section.finish();
    Some(TlsServer {
        certificates: certificates?,
        key: key?,
        client_auth,
        client_allowed_sans,
        min_version: min,
        max_version: max,
        cipher_suites,
        curves,
        prefer_server_order: prefer,
    })
}

/// Keys for one thing: the path of a file, and the text itself.
const CERTIFICATE: [&str; 2] = ["cert_file", "cert"];
const KEY: [&str; 2] = ["key_file", "key"];
const AUTHORITIES: [&str; 2] = ["client_ca_file", "client_ca"];

/// What is in a file or in the value itself, whichever of the keys is set.
fn one_of<T>(
    section: &mut Section,
    [file, inline]: [&'static str; 2],
    parse: fn(&[u8]) -> Result<T, Reason>,
) -> Option<T> {
    if section.has(file) && section.has(inline) {
        section
            .report(inline, format!("{file} and {inline} exclude each other; write one of them"));
    }
    let context = section.context;
    let read = section.take(file, |entry| {
        let path = secret::path(context, entry)?;
        let bytes = fs::read(&path)
            .map_err(|reason| format!("cannot read {}: {reason}", path.display()))?;
        parse(&bytes).map_err(|reason| format!("{} {reason}", path.display()))
    });
    let written = section.take(inline, |entry| {
        parse(entry.text()?.as_bytes()).map_err(|reason| format!("the text {reason}"))
    });
    read.or(written)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Reason> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => {
            Err("holds no certificate; it has to begin with -----BEGIN CERTIFICATE-----".to_owned())
        }
    }
}

/// The parser's own words could repeat a part of the key.
fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Reason> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        "holds no private key that can be used; it has to begin with -----BEGIN PRIVATE KEY-----, \
         and may not be encrypted"
            .to_owned()
    })
}

/// What `client_auth_type` can be.
#[derive(Clone, Copy)]
enum Policy {
    No,
    Any { required: bool },
    Verify { required: bool },
}

fn client_auth(section: &mut Section) -> ClientAuth {
    let words = [
        ("NoClientCert", Policy::No),
        ("RequestClientCert", Policy::Any { required: false }),
        ("RequireAnyClientCert", Policy::Any { required: true }),
        ("VerifyClientCertIfGiven", Policy::Verify { required: false }),
        ("RequireAndVerifyClientCert", Policy::Verify { required: true }),
    ];
    let policy = section.take("client_auth_type", |entry| entry.word(&words));
    let is_given = AUTHORITIES.iter().any(|key| section.has(key));
    let authorities = one_of(section, AUTHORITIES, certificates);
    let [file, inline] = AUTHORITIES;
    match policy.unwrap_or(Policy::No) {
        Policy::Verify { required } => {
            if !is_given {
                let reason = format!(
                    "certificates of clients cannot be verified without their authority; write {file} or {inline}"
                );
                section.report("client_auth_type", reason);
            }
            ClientAuth::Verified { required, authorities: authorities.unwrap_or_default() }
        }
        other => {
            if is_given {
                let reason = format!(
                    "{file} and {inline} are of use only where certificates of clients are verified; \
                     write RequireAndVerifyClientCert or VerifyClientCertIfGiven, or take them out"
                );
                section.report("client_auth_type", reason);
            }
            match other {
                Policy::Any { required } => ClientAuth::Any { required },
                _ => ClientAuth::None,
            }
        }
    }
}

fn allowed_sans(section: &mut Section, client_auth: &ClientAuth) -> Vec<String> {
    let key = "client_allowed_sans";
    if !section.has(key) {
        section.list(key, Entry::name);
        return Vec::new();
    }
    let sans = section.list(key, Entry::name);
    let is_required = matches!(
        client_auth,
        ClientAuth::Any { required: true } | ClientAuth::Verified { required: true, .. }
    );
    if !is_required {
        let reason = "a client without a certificate has no name that could be compared; set \
                      client_auth_type to RequireAndVerifyClientCert";
        section.report(key, reason);
    }
    if sans.is_empty() {
        section
            .report(key, "nobody is in this list; write at least one name, or leave the key out");
    }
    sans
}

fn tls_version(entry: &Entry) -> Result<TlsVersion, Reason> {
    match entry.text()? {
        "TLS12" => Ok(TlsVersion::Tls12),
        "TLS13" => Ok(TlsVersion::Tls13),
        "TLS10" | "TLS11" => {
            Err(format!("{} is no longer safe and not supported; write TLS12", entry.shown()))
        }
        _ => Err(format!("{} is not known here; write TLS12 or TLS13", entry.shown())),
    }
}

/// By the names that Go gives them. Those of TLS 1.3 have no other.
const CIPHER_SUITES: [(&str, CipherSuite); 9] = [
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
];

fn cipher_suite(entry: &Entry) -> Result<CipherSuite, Reason> {
    let name = entry.text()?;
    let known = CIPHER_SUITES.iter().find(|(known, _)| *known == name);
    known.map(|(_, suite)| *suite).ok_or_else(|| {
        let what = if name.contains("_CBC_") || name.starts_with("TLS_RSA_") {
            "is weak and not supported; take it out, or write one of"
        } else {
            "is not a cipher suite that is known here; write one of"
        };
        let known: Vec<&str> = CIPHER_SUITES.iter().map(|(name, _)| *name).collect();
        format!("{name:?} {what} {}", known.join(", "))
    })
}

fn curve(entry: &Entry) -> Result<NamedGroup, Reason> {
    match entry.text()? {
        "X25519" => Ok(NamedGroup::X25519),
        "CurveP256" => Ok(NamedGroup::secp256r1),
        "CurveP384" => Ok(NamedGroup::secp384r1),
        name => Err(format!("{name:?} is not supported; write X25519, CurveP256 or CurveP384")),
    }
}
