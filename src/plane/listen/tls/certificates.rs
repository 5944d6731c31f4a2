//! The certificates of a listener, and which of them a client is shown.
//!
//! The rule: the certificate that names the host exactly, else one that names `*.` and its parent (a wildcard is one
//! whole label), else the first one; the last also for clients that name no host. Names are a certificate's subject
//! alternative names, never its common name. If two certificates claim one name, the earlier in the list has it.
//!
//! Certificates change in place (`Resolver::adopt`); handshakes under way keep the old ones.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use gatekeeper_model::files;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

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
    let leaf = leaf.ok_or_else(|| format!("{chain_file} names its hosts in a way that is malformed"))?;
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

/// The certificates in a file: a chain, or the authorities that clients' come from.
pub fn read_certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(&read(file)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("{file} is not PEM: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{file} holds no certificate"));
    }
    if certificates.iter().any(|der| X509Certificate::from_der(der).is_err()) {
        return Err(format!("{file} holds a certificate that is malformed"));
    }
    Ok(certificates)
}

fn read(file: &str) -> Result<Vec<u8>, String> {
    files::read(file).map_err(|error| files::unreadable(file, &error))
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

#[cfg(test)]
mod tests {
    use rustls::client::Resumption;

    use super::super::samples::{Authority, BOTH, default_server, meet};
    use super::*;

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
            (2, "/absent.pem: No such file"),
            (3, "/absent.pem: No such file"),
            (4, "holds no certificate"),
            (5, "holds no private key"),
            (6, "garbage.pem holds a certificate that is malformed"),
            (7, "broken.pem is not PEM"),
            (8, "chain.pem holds a certificate that is malformed"),
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
}
