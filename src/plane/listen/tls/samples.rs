//! What the tests of TLS stand on: an authority of their own, and two ends that meet.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    CipherSuite, ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion,
    version,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::certificates::{Certificates, Resolver, read_certificates};
use super::negotiation::{ClientAuth, Negotiation, server_config};

pub struct Authority {
    folder: TempDir,
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority { folder: tempfile::tempdir().unwrap(), certificate, issuer: Issuer::new(params, key) }
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The files of a certificate for these names.
    pub fn pair(&self, names: &[&str]) -> (String, String) {
        self.issue(names, |_| ())
    }

    pub fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let name = uuid::Uuid::now_v7();
        (self.file(&format!("{name}.pem"), &certificate.pem()), self.file(&format!("{name}.key"), &key.serialize_pem()))
    }

    pub fn resolver(&self, names: &[&[&str]]) -> Arc<Resolver> {
        let pairs: Vec<_> = names.iter().map(|names| self.pair(names)).collect();
        Resolver::new(Certificates::read(&pairs).unwrap())
    }

    pub fn client_auth(&self, required: bool) -> Negotiation {
        let ca = self.file("ca.pem", &self.certificate.pem());
        Negotiation { client_auth: Some(ClientAuth { required, ca }), ..Default::default() }
    }

    pub fn client(
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

pub const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// What the two ends saw of a connection.
#[derive(Debug)]
pub struct Met {
    pub server_certificate: CertificateDer<'static>,
    pub client_certificate: Option<CertificateDer<'static>>,
    pub version: ProtocolVersion,
    pub suite: CipherSuite,
    pub protocol: Option<Vec<u8>>,
    pub kind: HandshakeKind,
}

/// A byte there and back: in TLS 1.3 a client learns only then whether its certificate was taken.
pub async fn meet(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, name: &str) -> Result<Met, String> {
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

pub fn default_server(resolver: &Arc<Resolver>) -> Arc<ServerConfig> {
    server_config(&Negotiation::default(), resolver.clone()).unwrap()
}
