//! TLS towards a service's targets: whom they are believed to be, what we show them.
//!
//! Files are read and judged when the plan is built, so that a wrong one is a sentence of the configuration check and
//! not a failed request. Connections are shared only between peers of the same TLS settings: `group_key` is a hash of
//! all that was read, because the framework's own key leaves the authorities out.

use std::sync::Arc;

use pingora::tls::{CertificateDer, PrivateKeyDer, RootCertStore};
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::pki_types::pem::PemObject;

use super::shares::stable_hash;
use gatekeeper_model::files;
use gatekeeper_model::raw::UpstreamTls;

/// A service's TLS settings, read and judged.
#[derive(Default)]
pub(super) struct ClientTls {
    authorities: Option<Arc<[WrappedX509]>>,
    certificate: Option<Arc<CertKey>>,
    /// The file of the certificate, and until when it is valid, in seconds since 1970.
    valid_until: Option<(Box<str>, i64)>,
    server_name: Option<String>,
    unverified: bool,
    group_key: u64,
}

impl ClientTls {
    /// Reads the files; each error names the key it belongs to.
    pub fn read(raw: &UpstreamTls) -> Result<Self, Vec<(&'static str, String)>> {
        let mut faults = Vec::new();
        let mut seen = Vec::new();
        let authorities = raw
            .ca
            .as_deref()
            .and_then(|path| read_certificates(path, &mut seen).map_err(|fault| faults.push(("ca", fault))).ok());
        let certificate = match (&raw.client_certificate, &raw.client_key) {
            (Some(certificate), Some(key)) => read_pair(certificate, key, &mut seen).map_err(|f| faults.push(f)).ok(),
            (None, None) => None,
            (None, Some(_)) => {
                faults.push(("client_key", "client_certificate is missing beside it".into()));
                None
            }
            (Some(_), None) => {
                faults.push(("client_certificate", "client_key is missing beside it".into()));
                None
            }
        };
        if !faults.is_empty() {
            return Err(faults);
        }
        seen.push(u8::from(raw.verify.0));
        let (certificate, end) = certificate.unzip();
        Ok(ClientTls {
            authorities: authorities.map(|ders| ders.into_iter().map(wrap).collect()),
            certificate,
            valid_until: raw.client_certificate.as_deref().map(Box::from).zip(end),
            server_name: raw.server_name.clone(),
            unverified: !raw.verify.0,
            group_key: stable_hash(&seen),
        })
    }

    /// The file of our certificate, if we show one, and until when it is valid, in seconds since 1970.
    pub fn valid_until(&self) -> Option<(&str, i64)> {
        self.valid_until.as_ref().map(|(file, end)| (&**file, *end))
    }

    /// Distinguishes connections made with other settings.
    pub fn group_key(&self) -> u64 {
        self.group_key
    }

    pub fn apply(&self, peer: &mut HttpPeer) {
        if let Some(name) = &self.server_name {
            peer.sni.clone_from(name);
        }
        peer.options.ca.clone_from(&self.authorities);
        peer.client_cert_key.clone_from(&self.certificate);
        peer.options.verify_cert = !self.unverified;
        peer.options.verify_hostname = !self.unverified;
        peer.group_key = self.group_key;
    }
}

fn read_certificates(path: &str, seen: &mut Vec<u8>) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("{path} is not PEM: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{path} holds no certificate"));
    }
    for certificate in &certificates {
        let usable = RootCertStore::empty().add(certificate.clone()).is_ok()
            && x509_parser::parse_x509_certificate(certificate).is_ok();
        if !usable {
            return Err(format!("{path} holds a certificate that is malformed"));
        }
        seen.extend_from_slice(certificate);
    }
    Ok(certificates)
}

/// A certificate with its key, and until when it is valid.
fn read_pair(certificate: &str, key: &str, seen: &mut Vec<u8>) -> Result<(Arc<CertKey>, i64), (&'static str, String)> {
    let chain = read_certificates(certificate, seen).map_err(|fault| ("client_certificate", fault))?;
    let pem = read(key).map_err(|fault| ("client_key", fault))?;
    let secret =
        PrivateKeyDer::from_pem_slice(&pem).map_err(|_| ("client_key", format!("{key} holds no private key")))?;
    let fits = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_root_certificates(RootCertStore::empty())
                .with_client_auth_cert(chain.clone(), secret.clone_key())
        });
    fits.map_err(|error| ("client_key", format!("{key} does not fit {certificate}: {error}")))?;
    seen.extend_from_slice(secret.secret_der());
    let leaf = chain.first().and_then(|der| x509_parser::parse_x509_certificate(der).ok());
    let end = leaf.map_or(0, |(_, leaf)| leaf.validity().not_after.timestamp());
    let chain = chain.into_iter().map(|der| der.to_vec()).collect();
    Ok((Arc::new(CertKey::new(chain, secret.secret_der().to_vec())), end))
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    files::read(path).map_err(|error| files::unreadable(path, &error))
}

fn wrap(der: CertificateDer<'static>) -> WrappedX509 {
    WrappedX509::new(der.to_vec(), parse_x509)
}
