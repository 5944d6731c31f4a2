//! TLS of the listeners: which certificate a client is shown, what is negotiated, whom we take a client for.
//!
//! The rule: the certificate that names the host exactly, else one that names `*.` and its parent (a wildcard is one
//! whole label), else the first one; the last also for clients that name no host. Names are a certificate's subject
//! alternative names, never its common name. If two certificates claim one name, the earlier in the list has it.
//!
//! Certificates change in place (`Resolver::replace`); handshakes under way keep the old ones. What else is in a
//! `ServerConfig` is fixed, and a new one ends resumption of older sessions. Early data (0-RTT) is never accepted.
//! Where clients' certificates are asked for, no session is resumed: each resumption hands out a new ticket, so that a
//! certificate could outlive its expiry without end.

use std::collections::HashMap;
use std::sync::Arc;

use ::ring::digest::{SHA256, digest};
use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use x509_parser::der_parser::asn1_rs::ToDer;
use x509_parser::prelude::{
    AttributeTypeAndValue, FromDer, GeneralName, RelativeDistinguishedName, X509Certificate, X509Name,
};

/// Sessions that clients without tickets may resume.
const REMEMBERED_SESSIONS: usize = 4096;

/// The certificates of a listener, at least one.
#[derive(Debug)]
pub struct Certificates {
    first: Arc<CertifiedKey>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// From and until when each one is valid, in seconds since 1970.
    validity: Vec<[i64; 2]>,
}

impl Certificates {
    /// Reads pairs of PEM files: a chain, the server's certificate first, and its key. Each fault is a sentence and the
    /// index of the pair.
    pub fn read(pairs: &[(String, String)]) -> Result<Self, Vec<(usize, String)>> {
        let mut faults = Vec::new();
        let mut read = Vec::new();
        for (index, (chain, key)) in pairs.iter().enumerate() {
            match read_pair(chain, key) {
                Ok(pair) => read.push(pair),
                Err(fault) => faults.push((index, fault)),
            }
        }
        match read.first() {
            Some((first, _)) if faults.is_empty() => Ok(Self::index(first.clone(), read)),
            None if faults.is_empty() => Err(vec![(0, "a TLS listener needs a certificate".into())]),
            _ => Err(faults),
        }
    }

    fn index(first: Arc<CertifiedKey>, read: Vec<(Arc<CertifiedKey>, Leaf)>) -> Self {
        let mut index = Certificates { first, exact: HashMap::new(), wildcard: HashMap::new(), validity: Vec::new() };
        for (key, leaf) in read {
            index.validity.push(leaf.validity);
            for name in leaf.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut index.wildcard, parent.to_owned()),
                    None => (&mut index.exact, name),
                };
                names.entry(name).or_insert_with(|| key.clone());
            }
        }
        index
    }

    /// What is worth a warning: the index of the pair, and a sentence.
    pub fn lints(&self, now: jiff::Timestamp) -> Vec<(usize, String)> {
        let now = now.as_second();
        let told = |seconds| jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default();
        let lint = |[from, until]: &[i64; 2]| {
            let early = (now < *from).then(|| format!("the certificate is not valid before {}", told(*from)));
            early.or_else(|| (now > *until).then(|| format!("the certificate expired at {}", told(*until))))
        };
        self.validity.iter().map(lint).enumerate().filter_map(|(index, lint)| Some((index, lint?))).collect()
    }

    /// The certificate for a host name in lower case.
    fn choose(&self, host: Option<&str>) -> &Arc<CertifiedKey> {
        let named = host.and_then(|host| {
            let wildcard = || self.wildcard.get(host.split_once('.')?.1);
            self.exact.get(host).or_else(wildcard)
        });
        named.unwrap_or(&self.first)
    }
}

/// What we need of a server's certificate.
struct Leaf {
    names: Vec<String>,
    validity: [i64; 2],
}

fn read_pair(chain_file: &str, key_file: &str) -> Result<(Arc<CertifiedKey>, Leaf), String> {
    let chain = read_certificates(chain_file)?;
    let key = PrivateKeyDer::from_pem_slice(&read(key_file)?)
        .map_err(|_| format!("{key_file} holds no private key that can be read"))?;
    let leaf = chain.first().and_then(|der| read_leaf(der));
    let leaf = leaf.ok_or_else(|| format!("{chain_file} names its hosts in a way that can't be read"))?;
    let pair = CertifiedKey::from_der(chain, key, &ring::default_provider())
        .map_err(|error| format!("{key_file} does not fit {chain_file}: {error}"))?;
    Ok((Arc::new(pair), leaf))
}

fn read_leaf(der: &[u8]) -> Option<Leaf> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let alternatives = certificate.subject_alternative_name().ok()?;
    let names = alternatives.iter().flat_map(|extension| &extension.value.general_names);
    let host = |name: &GeneralName| match name {
        GeneralName::DNSName(host) => Some(host.to_ascii_lowercase()),
        _ => None,
    };
    let validity = certificate.validity();
    Some(Leaf {
        names: names.filter_map(host).collect(),
        validity: [validity.not_before.timestamp(), validity.not_after.timestamp()],
    })
}

/// The authorities in a file.
pub fn read_authorities(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    read_certificates(file)
}

fn read_certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(&read(file)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("{file} is not PEM: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{file} holds no certificate"));
    }
    if certificates.iter().any(|der| X509Certificate::from_der(der).is_err()) {
        return Err(format!("{file} holds a certificate that can't be read"));
    }
    Ok(certificates)
}

fn read(file: &str) -> Result<Vec<u8>, String> {
    gatekeeper_model::files::read(file).map_err(|error| format!("{file} can't be read: {error}"))
}

/// Chooses among certificates that may be replaced at any time.
#[derive(Debug)]
pub struct Resolver {
    current: ArcSwap<Certificates>,
}

impl Resolver {
    /// Begins with these.
    pub fn new(certificates: Certificates) -> Arc<Self> {
        Arc::new(Resolver { current: ArcSwap::from_pointee(certificates) })
    }

    /// Until when each of the certificates is valid, in seconds since 1970.
    pub fn ends(&self) -> Vec<i64> {
        self.current.load().validity.iter().map(|[_, until]| *until).collect()
    }

    /// From now on, handshakes use the certificates of another one.
    pub fn adopt(&self, other: &Resolver) {
        self.current.store(other.current.load_full());
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load().choose(hello.server_name()).clone())
    }
}

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

fn protocols(http2: bool) -> Vec<Vec<u8>> {
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

/// Who a client's certificate says it is: its subject by RFC 4514, in ASCII, so that two subjects never look the same;
/// and the SHA-256 of the whole in hexadecimal. `None` for what is no certificate.
pub fn subject_and_fingerprint(der: &[u8]) -> Option<(String, String)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let fingerprint = digest(&SHA256, der);
    Some((subject(certificate.subject()), hexadecimal(fingerprint.as_ref())))
}

/// The most specific part first.
fn subject(name: &X509Name) -> String {
    let part = |part: &RelativeDistinguishedName| part.iter().map(attribute).collect::<Vec<_>>().join("+");
    let mut parts: Vec<_> = name.iter_rdn().map(part).collect();
    parts.reverse();
    parts.join(",")
}

/// RFC 4514, section 3: the types that have a name.
const TYPES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

fn attribute(attribute: &AttributeTypeAndValue) -> String {
    let id = attribute.attr_type().to_id_string();
    let kind = TYPES.iter().find(|(known, _)| *known == id).map_or(id.as_str(), |(_, name)| name);
    let value = match attribute.as_str() {
        Ok(text) => escaped(text),
        Err(_) => format!("#{}", hexadecimal(&attribute.attr_value().to_der_vec().unwrap_or_default())),
    };
    format!("{kind}={value}")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (place, byte) in text.bytes().enumerate() {
        let at_edge = place == 0 || place + 1 == text.len();
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => escaped.extend(['\\', byte.into()]),
            b' ' if at_edge => escaped.push_str("\\ "),
            b'#' if place == 0 => escaped.push_str("\\#"),
            b' '..=b'~' => escaped.push(byte.into()),
            _ => escaped.extend(['\\'].into_iter().chain(hexadecimal(&[byte]).chars())),
        }
    }
    escaped
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyPair};
    use rustls::client::Resumption;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    struct Authority {
        folder: TempDir,
        certificate: rcgen::Certificate,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Authority {
        fn new() -> Authority {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            Authority { folder: tempfile::tempdir().unwrap(), certificate, issuer: Issuer::new(params, key) }
        }

        fn file(&self, name: &str, text: &str) -> String {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        }

        /// The files of a certificate for these names.
        fn pair(&self, names: &[&str]) -> (String, String) {
            self.issue(names, |_| ())
        }

        fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
            let mut params =
                CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
            change(&mut params);
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            let name = uuid::Uuid::now_v7();
            (
                self.file(&format!("{name}.pem"), &certificate.pem()),
                self.file(&format!("{name}.key"), &key.serialize_pem()),
            )
        }

        fn resolver(&self, names: &[&[&str]]) -> Arc<Resolver> {
            let pairs: Vec<_> = names.iter().map(|names| self.pair(names)).collect();
            Resolver::new(Certificates::read(&pairs).unwrap())
        }

        fn client_auth(&self, required: bool) -> Negotiation {
            let ca = self.file("ca.pem", &self.certificate.pem());
            Negotiation { client_auth: Some(ClientAuth { required, ca }), ..Default::default() }
        }

        fn client(
            &self,
            versions: &[&'static SupportedProtocolVersion],
            own: Option<&(String, String)>,
        ) -> ClientConfig {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.der().clone()).unwrap();
            let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(versions)
                .unwrap()
                .with_root_certificates(roots);
            match own {
                None => builder.with_no_client_auth(),
                Some((chain, key)) => {
                    let key = PrivateKeyDer::from_pem_file(key).unwrap();
                    builder.with_client_auth_cert(read_certificates(chain).unwrap(), key).unwrap()
                }
            }
        }
    }

    const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

    /// What the two ends saw of a connection.
    #[derive(Debug)]
    struct Met {
        server_certificate: CertificateDer<'static>,
        client_certificate: Option<CertificateDer<'static>>,
        version: ProtocolVersion,
        suite: CipherSuite,
        protocol: Option<Vec<u8>>,
        kind: HandshakeKind,
    }

    /// A byte there and back: in TLS 1.3 a client learns only then whether its certificate was taken.
    async fn meet(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, name: &str) -> Result<Met, String> {
        let (near, far) = duplex(4096);
        let acceptor = TlsAcceptor::from(server.clone());
        let serving = async {
            let mut stream = acceptor.accept(far).await.map_err(|error| format!("server: {error}"))?;
            let byte = stream.read_u8().await.map_err(|error| format!("server: {error}"))?;
            stream.write_u8(byte).await.unwrap();
            stream.flush().await.unwrap();
            Ok::<_, String>(stream.get_ref().1.peer_certificates().map(|chain| chain[0].clone().into_owned()))
        };
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connecting = async {
            let mut stream = TlsConnector::from(client.clone()).connect(name, near).await?;
            stream.write_u8(7).await?;
            assert_eq!(stream.read_u8().await?, 7);
            let connection = stream.get_ref().1;
            Ok::<_, std::io::Error>(Met {
                server_certificate: connection.peer_certificates().unwrap()[0].clone().into_owned(),
                client_certificate: None,
                version: connection.protocol_version().unwrap(),
                suite: connection.negotiated_cipher_suite().unwrap().suite(),
                protocol: connection.alpn_protocol().map(<[u8]>::to_vec),
                kind: connection.handshake_kind().unwrap(),
            })
        };
        let (served, connected) = tokio::join!(serving, connecting);
        match (served, connected) {
            (Ok(client_certificate), Ok(met)) => Ok(Met { client_certificate, ..met }),
            (served, connected) => Err(format!("{served:?}; client: {:?}", connected.err())),
        }
    }

    fn default_server(resolver: &Arc<Resolver>) -> Arc<ServerConfig> {
        server_config(&Negotiation::default(), resolver.clone()).unwrap()
    }

    #[tokio::test]
    async fn the_host_chooses_the_certificate() {
        let authority = Authority::new();
        let names: [&[&str]; 4] =
            [&["first.test", "127.0.0.1"], &["*.wild.test"], &["One.wild.test", "other.test"], &["other.test"]];
        let resolver = authority.resolver(&names);
        let server = default_server(&resolver);
        let client = Arc::new(authority.client(&BOTH, None));
        let shown =
            async |host| read_leaf(&meet(&server, &client, host).await?.server_certificate).ok_or("?".to_owned());
        for (host, place) in
            [("first.test", 0), ("two.wild.test", 1), ("one.wild.test", 2), ("ONE.wild.test", 2), ("other.test", 2)]
        {
            let expected: Vec<_> =
                names[place].iter().filter(|name| !name.starts_with('1')).map(|name| name.to_lowercase()).collect();
            assert_eq!(shown(host).await.unwrap().names, expected, "{host}");
        }
        assert_eq!(shown("127.0.0.1").await.unwrap().names, ["first.test"], "no name: the first");
        for unknown in ["wild.test", "a.two.wild.test", "elsewhere"] {
            let fault = shown(unknown).await.err().unwrap();
            assert!(fault.contains("first.test"), "the first, which does not fit {unknown}: {fault}");
        }
    }

    #[tokio::test]
    async fn certificates_change_while_clients_connect() {
        let authority = Authority::new();
        let pairs = [authority.pair(&["host.test"]), authority.pair(&["host.test"])];
        let read = |place: usize| Certificates::read(&pairs[place..=place]).unwrap();
        let ders = [read(0), read(1)].map(|certificates| certificates.first.cert[0].clone());
        let resolver = Resolver::new(read(0));
        let server = default_server(&resolver);
        let mut client = authority.client(&BOTH, None);
        client.resumption = Resumption::disabled();
        let client = Arc::new(client);
        let mut seen = [0; 2];
        for round in 0..40 {
            let replacing = async {
                for _ in 0..round % 8 {
                    tokio::task::yield_now().await;
                }
                resolver.adopt(&Resolver::new(read(round / 8 % 2)));
            };
            let (met, ()) = tokio::join!(meet(&server, &client, "host.test"), replacing);
            seen[ders.iter().position(|der| *der == met.as_ref().unwrap().server_certificate).unwrap()] += 1;
        }
        assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
        for place in [1, 0] {
            resolver.adopt(&Resolver::new(read(place)));
            assert_eq!(meet(&server, &client, "host.test").await.unwrap().server_certificate, ders[place]);
        }
    }

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

    #[test]
    fn every_wrong_pair_is_told() {
        let authority = Authority::new();
        let (one, other) = (authority.pair(&["one.test"]), authority.pair(&["other.test"]));
        let garbage = authority.file("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let broken = authority.file("broken.pem", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
        let half_garbage = [&one.0, &garbage].map(|file| std::fs::read_to_string(file).unwrap()).concat();
        let absent = "/absent.pem".to_owned();
        let pairs = [
            one.clone(),
            (one.0.clone(), other.1.clone()),
            (absent.clone(), one.1.clone()),
            (one.0.clone(), absent),
            (one.1.clone(), one.1.clone()),
            (one.0.clone(), one.0.clone()),
            (garbage, one.1.clone()),
            (broken, one.1.clone()),
            (authority.file("chain.pem", &half_garbage), one.1.clone()),
        ];
        let faults = Certificates::read(&pairs).unwrap_err();
        let expected = [
            (1, "does not fit"),
            (2, "/absent.pem can't be read: No such file"),
            (3, "/absent.pem can't be read: No such file"),
            (4, "holds no certificate"),
            (5, "holds no private key"),
            (6, "garbage.pem holds a certificate that can't be read"),
            (7, "broken.pem is not PEM"),
            (8, "chain.pem holds a certificate that can't be read"),
        ];
        assert_eq!(faults.len(), expected.len(), "{faults:#?}");
        for ((index, fault), (place, sentence)) in faults.iter().zip(expected) {
            assert!(*index == place && fault.contains(sentence), "{index}: {fault}, not {place}: {sentence}");
        }
        assert_eq!(Certificates::read(&[]).unwrap_err()[0].1, "a TLS listener needs a certificate");
        assert!(Certificates::read(&[one, other]).is_ok());
    }

    #[test]
    fn a_certificate_outside_its_time_is_a_lint() {
        let authority = Authority::new();
        let dated = authority.issue(&["host.test"], |params| {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        });
        let certificates = Certificates::read(&[authority.pair(&["host.test"]), dated]).unwrap();
        let lints = |time: &str| certificates.lints(time.parse().unwrap());
        assert_eq!(lints("2001-06-01T00:00:00Z"), []);
        assert_eq!(lints("2002-01-01T00:00:00Z"), [], "the last second counts");
        let expired = "the certificate expired at 2002-01-01T00:00:00Z";
        assert_eq!(lints("2002-01-01T00:00:01Z"), [(1, expired.to_owned())]);
        let early = "the certificate is not valid before 2001-01-01T00:00:00Z";
        assert_eq!(lints("2000-01-01T00:00:00Z"), [(1, early.to_owned())]);
    }

    #[test]
    fn subjects_cannot_pass_for_each_other() {
        let subject_of = |attributes: &[(DnType, DnValue)]| {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            for (kind, value) in attributes {
                params.distinguished_name.push(kind.clone(), value.clone());
            }
            let key = KeyPair::generate().unwrap();
            subject_and_fingerprint(params.self_signed(&key).unwrap().der()).unwrap().0
        };
        let text = |text: &str| DnValue::Utf8String(text.into());
        let honest = [
            (DnType::CountryName, text("DE")),
            (DnType::OrganizationName, text("Bank")),
            (DnType::CommonName, text("a")),
        ];
        assert_eq!(subject_of(&honest), "CN=a,O=Bank,C=DE");
        for (value, shown) in [
            ("a,O=Bank,C=DE", r"CN=a\,O=Bank\,C=DE"),
            ("a+b", r"CN=a\+b"),
            (r"a\,b", r"CN=a\\\,b"),
            ("#00", r"CN=\#00"),
            (" a  b ", r"CN=\ a  b\ "),
            (" ", r"CN=\ "),
            ("é\r\n\0", r"CN=\c3\a9\0d\0a\00"),
            ("\"<x>;", r#"CN=\"\<x\>\;"#),
        ] {
            assert_eq!(subject_of(&[(DnType::CommonName, text(value))]), shown);
        }
        let serial = DnType::CustomDnType(vec![2, 5, 4, 5]);
        assert_eq!(subject_of(&[(serial, text("7"))]), "2.5.4.5=7");
        let wide = DnValue::BmpString("a".try_into().unwrap());
        assert_eq!(subject_of(&[(DnType::CommonName, wide)]), "CN=#1e020061");
        assert_eq!(subject_of(&[]), "");
    }

    #[test]
    fn the_fingerprint_is_openssls() {
        let authority = Authority::new();
        let (chain, _) = authority.pair(&["host.test"]);
        let der = read_certificates(&chain).unwrap().remove(0);
        let (_, fingerprint) = subject_and_fingerprint(&der).unwrap();
        let openssl = std::process::Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in", &chain])
            .output()
            .unwrap();
        let told = String::from_utf8(openssl.stdout).unwrap();
        assert_eq!(told.trim().split_once('=').unwrap().1.replace(':', "").to_lowercase(), fingerprint);
        assert_eq!(subject_and_fingerprint(b"no certificate"), None);
        assert_eq!(subject_and_fingerprint(&der[..der.len() - 1]), None);
    }
}
