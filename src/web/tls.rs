//! The server's side of TLS, from what the web configuration file says.
//!
//! Sessions are not resumed, so that the certificate of a client is verified
//! for every connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion, version,
};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::config::{ClientAuth, TlsServer, TlsVersion};

/// What is agreed with a client that may choose HTTP/2.
pub(super) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// TLS ready for use, and when its certificate ends.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) not_after: Option<SystemTime>,
}

/// A part of the section that cannot be used.
#[derive(Debug)]
pub(super) struct Unusable {
    /// The key, within the section.
    pub(super) key: &'static str,
    pub(super) reason: String,
}

impl Tls {
    pub(super) fn new(server: &TlsServer, http2: bool) -> Result<Self, Unusable> {
        let provider = Arc::new(provider(server));
        let unusable = |key, what: &str| {
            let what = what.to_owned();
            move |error: Error| Unusable { key, reason: format!("{what}: {error}") }
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(server))
            .map_err(unusable("cipher_suites", "nothing is left that a client could choose"))?;
        let builder = match verifier(server, &provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(server.certificates.clone(), server.key.clone_key())
            .map_err(unusable("", "the certificate and the key cannot be used"))?;
        let protocols: &[&[u8]] = if http2 { &[HTTP2, HTTP1] } else { &[HTTP1] };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config.ignore_client_order = server.prefer_server_order;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), not_after: not_after(&server.certificates) })
    }
}

fn versions(server: &TlsServer) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::Tls12, &version::TLS12), (TlsVersion::Tls13, &version::TLS13)];
    let range = server.min_version..=server.max_version;
    all.into_iter().filter(|(is, _)| range.contains(is)).map(|(_, version)| version).collect()
}

/// The ciphers and groups that are wanted, in their order. A version of which no cipher is named keeps
/// all of its own: the list was made for TLS 1.2, which does not name those of TLS 1.3.
fn provider(server: &TlsServer) -> CryptoProvider {
    let all = ring::default_provider();
    let wanted = &server.cipher_suites;
    let place = |suite| wanted.iter().position(|name| *name == suite);
    let (old, new): (Vec<_>, Vec<_>) =
        all.cipher_suites.iter().copied().partition(|suite| suite.tls13().is_none());
    let pick = |suites: Vec<rustls::SupportedCipherSuite>| {
        let mut named: Vec<_> =
            suites.iter().copied().filter(|suite| place(suite.suite()).is_some()).collect();
        named.sort_by_key(|suite| place(suite.suite()));
        if named.is_empty() { suites } else { named }
    };
    let cipher_suites = pick(new).into_iter().chain(pick(old)).collect();
    let mut kx_groups = all.kx_groups.clone();
    if !server.curves.is_empty() {
        let place = |group| server.curves.iter().position(|name| *name == group);
        kx_groups.retain(|group| place(group.name()).is_some());
        kx_groups.sort_by_key(|group| place(group.name()));
    }
    CryptoProvider { cipher_suites, kx_groups, ..all }
}

fn not_after(certificates: &[CertificateDer<'_>]) -> Option<SystemTime> {
    let (_, certificate) = parse_x509_certificate(certificates.first()?).ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// What judges the certificates of clients; nothing where none are asked for.
fn verifier(
    server: &TlsServer,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Unusable> {
    let (required, authorities) = match &server.client_auth {
        ClientAuth::None => return Ok(None),
        ClientAuth::Any { required } => (*required, None),
        ClientAuth::Verified { required, authorities } => {
            let unusable = |reason: String| Unusable {
                key: "client_ca_file",
                reason: format!(
                    "an authority for certificates of clients cannot be used: {reason}"
                ),
            };
            let mut roots = RootCertStore::empty();
            for authority in authorities {
                roots.add(authority.clone()).map_err(|error| unusable(error.to_string()))?;
            }
            let roots = Arc::new(roots);
            let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
            (*required, Some(builder.build().map_err(|error| unusable(error.to_string()))?))
        }
    };
    Ok(Some(Arc::new(Clients {
        required,
        authorities,
        allowed: server.client_allowed_sans.clone(),
        algorithms: provider.signature_verification_algorithms,
    })))
}

/// Takes a certificate of which the client has the key, if it is signed and named as it has to be.
#[derive(Debug)]
struct Clients {
    /// Whether a client without a certificate is refused.
    required: bool,
    /// Who may have signed; nothing is anybody.
    authorities: Option<Arc<dyn ClientCertVerifier>>,
    /// The certificate has to be for one of these names; empty is any.
    allowed: Vec<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Clients {
    fn is_allowed(&self, certificate: &CertificateDer<'_>) -> Result<bool, Error> {
        if self.allowed.is_empty() {
            return Ok(true);
        }
        let unreadable = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, certificate) =
            parse_x509_certificate(certificate).map_err(|error| unreadable(error.to_string()))?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| unreadable(error.to_string()))?;
        let mut names = names.iter().flat_map(|names| &names.value.general_names);
        Ok(names.any(|name| self.allowed.iter().any(|allowed| is_named(name, allowed))))
    }
}

fn is_named(name: &GeneralName<'_>, allowed: &str) -> bool {
    match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
            *name == allowed
        }
        GeneralName::IPAddress(bytes) => allowed.parse().is_ok_and(|ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets() == **bytes,
            IpAddr::V6(ip) => ip.octets() == **bytes,
        }),
        _ => false,
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authorities.as_ref().map_or(&[], |authorities| authorities.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(authorities) = &self.authorities {
            authorities.verify_client_cert(certificate, intermediates, now)?;
        }
        if self.is_allowed(certificate)? {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
