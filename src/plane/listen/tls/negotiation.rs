//! What a listener negotiates with its clients: versions, suites, protocols, whether they show a certificate.
//!
//! All but the certificates is fixed in a `ServerConfig`, and a new one ends resumption of older sessions. Early data (0-RTT) is never accepted.
//! Where clients' certificates are asked for, no session is resumed: each resumption hands out a new ticket, so that a
//! certificate could outlive its expiry without end.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{CipherSuite, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::certificates::{Resolver, read_certificates};

/// Sessions that clients without tickets may resume.
const REMEMBERED_SESSIONS: usize = 4096;

/// What a listener negotiates.
#[derive(Clone, Debug, Default)]
pub struct Negotiation {
    /// TLS 1.3 only; else 1.2 too.
    pub only_1_3: bool,
    /// IANA's names of the cipher suites, the preferred first; all safe ones when empty.
    pub suites: Vec<String>,
    /// Offer HTTP/2 before HTTP/1.1.
    pub http2: bool,
    /// Ask for the client's certificate.
    pub client_auth: Option<ClientAuth>,
}

/// How clients show who they are.
#[derive(Clone, Debug)]
pub struct ClientAuth {
    /// No connection without a certificate. Else one may be absent, but never wrong.
    pub required: bool,
    /// The file of the authorities that clients' certificates come from.
    pub ca: String,
}

/// The configuration of a listener. Each fault is a sentence and the key it belongs to.
pub fn server_config(
    negotiation: &Negotiation,
    certificates: Arc<Resolver>,
) -> Result<Arc<ServerConfig>, Vec<(&'static str, String)>> {
    let provider = provider(&negotiation.suites).map_err(|fault| ("suites", fault));
    let verifier = verifier(negotiation.client_auth.as_ref()).map_err(|fault| ("ca", fault));
    let (provider, verifier) = match (provider, verifier) {
        (Ok(provider), Ok(verifier)) => (provider, verifier),
        (provider, verifier) => return Err(provider.err().into_iter().chain(verifier.err()).collect()),
    };
    let versions: &[&SupportedProtocolVersion] =
        if negotiation.only_1_3 { &[&version::TLS13] } else { &[&version::TLS13, &version::TLS12] };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|_| vec![("suites", "none of the suites is for the versions that are allowed".into())])?;
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(certificates);
    config.alpn_protocols = protocols(negotiation.http2);
    config.ignore_client_order = !negotiation.suites.is_empty();
    if negotiation.client_auth.is_none() {
        config.session_storage = ServerSessionMemoryCache::new(REMEMBERED_SESSIONS);
        config.ticketer = ring::Ticketer::new().map_err(|error| vec![("", format!("no session tickets: {error}"))])?;
    } else {
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    Ok(Arc::new(config))
}

pub(super) fn protocols(http2: bool) -> Vec<Vec<u8>> {
    let offered: &[&str] = if http2 { &["h2", "http/1.1"] } else { &["http/1.1"] };
    offered.iter().map(|name| name.as_bytes().to_vec()).collect()
}

fn provider(asked: &[String]) -> Result<Arc<CryptoProvider>, String> {
    let mut provider = ring::default_provider();
    let known = std::mem::take(&mut provider.cipher_suites);
    let find = |name: &String| known.iter().find(|known| suite_name(known.suite()) == *name).copied();
    let unknown: Vec<_> = asked.iter().filter(|name| find(name).is_none()).map(String::as_str).collect();
    if !unknown.is_empty() {
        let allowed: Vec<_> = known.iter().map(|known| suite_name(known.suite())).collect();
        return Err(format!("unknown: {}; allowed: {}", unknown.join(", "), allowed.join(", ")));
    }
    provider.cipher_suites = if asked.is_empty() { known } else { asked.iter().filter_map(find).collect() };
    Ok(Arc::new(provider))
}

/// IANA's name; the library's differs for TLS 1.3.
fn suite_name(suite: CipherSuite) -> String {
    suite.as_str().unwrap_or_default().replacen("TLS13_", "TLS_", 1)
}

fn verifier(auth: Option<&ClientAuth>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let Some(auth) = auth else { return Ok(WebPkiClientVerifier::no_client_auth()) };
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(&auth.ca)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{} holds an authority that can't be used: {error}", auth.ca))?;
    }
    let provider = Arc::new(ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if auth.required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| format!("{} can't be used: {error}", auth.ca))
}

#[cfg(test)]
mod tests {
    use rcgen::DnType;
    use rustls::{HandshakeKind, ProtocolVersion};

    use super::super::samples::{Authority, BOTH, default_server, meet};
    use super::super::subject::subject_and_fingerprint;
    use super::*;

    #[tokio::test]
    async fn versions_suites_and_protocols() {
        let authority = Authority::new();
        let resolver = authority.resolver(&[&["host.test"]]);
        let old = Arc::new(authority.client(&[&version::TLS12], None));
        let mut new = authority.client(&BOTH, None);
        new.alpn_protocols = protocols(true);
        let new = Arc::new(new);
        let server = default_server(&resolver);
        assert_eq!(meet(&server, &old, "host.test").await.unwrap().version, ProtocolVersion::TLSv1_2);
        let met = meet(&server, &new, "host.test").await.unwrap();
        assert_eq!((met.version, met.protocol.unwrap()), (ProtocolVersion::TLSv1_3, b"http/1.1".to_vec()));

        let suites = ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"].map(str::to_owned).to_vec();
        let strict = Negotiation { only_1_3: true, suites, http2: true, client_auth: None };
        let server = server_config(&strict, resolver.clone()).unwrap();
        assert!(meet(&server, &old, "host.test").await.unwrap_err().contains("Version"));
        let met = meet(&server, &new, "host.test").await.unwrap();
        assert_eq!((met.suite, met.protocol.unwrap()), (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, b"h2".to_vec()));

        let suites = vec!["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256".to_owned()];
        let server = server_config(&Negotiation { suites, ..Default::default() }, resolver).unwrap();
        assert_eq!(meet(&server, &new, "host.test").await.unwrap().version, ProtocolVersion::TLSv1_2);
    }

    #[test]
    fn faults_of_the_negotiation_come_together() {
        let authority = Authority::new();
        let resolver = authority.resolver(&[&["host.test"]]);
        let faults = |negotiation: &Negotiation| server_config(negotiation, resolver.clone()).unwrap_err();
        let suites = ["TLS_AES_128_GCM_SHA256", "RC4", "TLS_RSA_WITH_NULL_MD5"].map(str::to_owned).to_vec();
        let client_auth = Some(ClientAuth { required: true, ca: "/absent".into() });
        let told = faults(&Negotiation { suites, client_auth, ..Default::default() });
        assert_eq!(told.len(), 2);
        assert!(
            told[0].1.starts_with("unknown: RC4, TLS_RSA_WITH_NULL_MD5; allowed: TLS_AES_256_GCM_SHA384, "),
            "{told:?}"
        );
        assert_eq!(told[1].0, "ca");
        let suites = vec!["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".to_owned()];
        let told = faults(&Negotiation { only_1_3: true, suites, ..Default::default() });
        assert_eq!(told, [("suites", "none of the suites is for the versions that are allowed".to_owned())]);
        let ca = authority.file("empty.pem", "");
        let told = faults(&Negotiation { client_auth: Some(ClientAuth { required: false, ca }), ..Default::default() });
        assert!(told[0].1.ends_with("empty.pem holds no certificate"), "{told:?}");
    }

    #[tokio::test]
    async fn sessions_are_resumed_until_the_configuration_changes() {
        let authority = Authority::new();
        let resolver = authority.resolver(&[&["host.test"]]);
        for version in BOTH {
            let server = default_server(&resolver);
            let client = Arc::new(authority.client(&[version], None));
            let mut kinds = Vec::new();
            for server in [&server, &server, &default_server(&resolver)] {
                kinds.push(meet(server, &client, "host.test").await.unwrap().kind);
            }
            assert!(server.ticketer.enabled(), "clients keep their sessions themselves");
            assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Full], "{version:?}");
        }
    }

    #[tokio::test]
    async fn clients_show_certificates() {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let resolver = authority.resolver(&[&["host.test"]]);
        let known = authority.issue(&[], |params| params.distinguished_name.push(DnType::OrganizationName, "Peer"));
        let unknown = stranger.pair(&[]);
        for version in BOTH {
            for required in [true, false] {
                let server = server_config(&authority.client_auth(required), resolver.clone()).unwrap();
                let client = Arc::new(authority.client(&[version], Some(&known)));
                for _ in 0..2 {
                    let met = meet(&server, &client, "host.test").await.unwrap();
                    assert_eq!((met.kind, met.client_certificate.is_some()), (HandshakeKind::Full, true));
                }
                let meet = async |own| meet(&server, &Arc::new(authority.client(&[version], own)), "host.test").await;
                let der = meet(Some(&known)).await.unwrap().client_certificate.unwrap();
                assert!(subject_and_fingerprint(&der).unwrap().0.starts_with("O=Peer"));
                assert!(meet(Some(&unknown)).await.unwrap_err().contains("server: invalid peer certificate"));
                match meet(None).await {
                    Ok(met) => assert!(!required && met.client_certificate.is_none()),
                    Err(fault) => assert!(required && fault.contains("peer sent no certificates"), "{fault}"),
                }
            }
        }
    }
}
