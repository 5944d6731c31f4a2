//! An entrance: what one listener asks of its connections, compiled.
//!
//! A reload replaces entrances by their addresses. Where TLS is asked for as before, only the certificates change, so
//! that sessions can still be resumed. Where clients are asked for something else than before (certificates of theirs, TLS
//! itself, a PROXY header), the connections that were made under the old rule end.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;

use super::called::Called;
use super::cohort::Cohort;
use super::tls::certificates::{Certificates, Resolver, read_certificates};
use super::tls::negotiation::{ClientAuth, Negotiation, server_config};
use gatekeeper_core::route::ListenerId;
use gatekeeper_model::raw::{Listen, Tls, TlsVersion};
use gatekeeper_model::{Fault, Faults, Place};

/// What one listener asks of its connections.
#[derive(Clone, Debug, Default)]
pub struct Entrance {
    /// Which listener it is.
    pub id: ListenerId,
    /// What routes call it, if that is not its address.
    pub name: Option<String>,
    /// The address as it is written in the configuration.
    pub address: String,
    /// HTTP/2 may begin without TLS.
    pub h2c: bool,
    /// Trusted peers begin with a PROXY header.
    pub proxy_protocol: bool,
    /// Every request is sent to https at this port.
    pub redirect_https: Option<u16>,
    /// TLS, if it is spoken.
    pub tls: Option<Encrypted>,
    /// Only the gateway's own probes come this way.
    pub is_for_probes: bool,
    /// The connections that came in by the same rule.
    pub cohort: Arc<Cohort>,
}

/// TLS of an entrance.
#[derive(Clone, Debug)]
pub struct Encrypted {
    /// What handshakes use.
    pub config: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
    asked: Tls,
    /// The authorities that clients' certificates come from.
    authorities: Vec<CertificateDer<'static>>,
}

impl Entrance {
    /// Compiles a listener; certificates are read.
    pub fn compile(raw: &Listen, id: ListenerId, place: &Place, faults: &mut Faults) -> Option<Entrance> {
        let before = faults.len();
        if raw.tls.is_some() && (raw.h2c.0 || raw.redirect_https.is_some()) {
            let key = if raw.h2c.0 { "h2c" } else { "redirect_https" };
            faults.add(Fault::saying(place.key(key), "is for listeners without tls"));
        }
        if raw.redirect_https == Some(0) {
            faults.push(place.key("redirect_https"), "0", "a port, 1 to 65535");
        }
        let tls = raw.tls.as_ref().map(|tls| Encrypted::compile(tls, &place.key("tls"), faults));
        (faults.len() == before).then(|| Entrance {
            id,
            name: raw.name.clone(),
            address: raw.address.clone(),
            h2c: raw.h2c.0,
            proxy_protocol: raw.proxy_protocol.0,
            redirect_https: raw.redirect_https,
            tls: tls.flatten(),
            is_for_probes: false,
            cohort: Arc::default(),
        })
    }

    /// The way the gateway's own probes come.
    pub fn for_probes() -> Entrance {
        Entrance { is_for_probes: true, ..Entrance::default() }
    }

    /// What routes and questions may call it.
    pub fn called(&self) -> Called<'_> {
        Called { name: self.name.as_deref(), address: &self.address }
    }

    /// What clients had to do to come in.
    fn rule(&self) -> impl PartialEq + use<> {
        (self.proxy_protocol, self.tls.as_ref().map(Encrypted::rule))
    }

    /// This entrance, with the TLS sessions of the one it replaces, and its connections if they came in by the same rule.
    pub fn succeeding(&self, previous: &Entrance) -> Entrance {
        let mut next = self.clone();
        if self.rule() == previous.rule() {
            next.cohort = previous.cohort.clone();
        }
        if let (Some(new), Some(old)) = (&mut next.tls, &previous.tls)
            && new.asked == old.asked
            // Without resumption there is nothing to keep, and the authorities' file may have changed.
            && new.asked.client_auth.is_none()
        {
            old.resolver.adopt(&new.resolver);
            *new = old.clone();
        }
        next
    }

    /// Another one has taken its place: what came in by a rule that holds no longer ends.
    pub fn give_way(&self, next: &Entrance) {
        if !Arc::ptr_eq(&self.cohort, &next.cohort) {
            self.cohort.outdate();
        }
    }
}

impl Encrypted {
    /// The files of the certificates that are shown now, and until when each is valid, in seconds since 1970.
    pub fn certificates(&self) -> impl Iterator<Item = (&str, i64)> {
        self.asked.certificates.iter().map(|pair| &*pair.cert).zip(self.resolver.ends())
    }

    fn rule(&self) -> impl PartialEq + use<> {
        let Tls { min_version, cipher_suites, client_auth, .. } = self.asked.clone();
        (min_version, cipher_suites, client_auth, self.authorities.clone())
    }

    fn compile(raw: &Tls, place: &Place, faults: &mut Faults) -> Option<Encrypted> {
        let pairs: Vec<_> = raw.certificates.iter().map(|pair| (pair.cert.clone(), pair.key.clone())).collect();
        let of_pair = |index| match pairs.is_empty() {
            true => place.key("certificates"),
            false => place.key("certificates").index(index),
        };
        let certificates = Certificates::read(&pairs)
            .map_err(|wrong| {
                wrong.into_iter().for_each(|(index, text)| faults.add(Fault::saying(of_pair(index), text)))
            })
            .ok();
        for (index, lint) in certificates.iter().flat_map(|found| found.lints(jiff::Timestamp::now())) {
            faults.warn(Fault::saying(of_pair(index), lint));
        }
        let resolver = Resolver::new(certificates?);
        let client_auth = raw.client_auth.as_ref();
        // Read before those that are verified against: should the file change in between, connections end that need not.
        let authorities = client_auth.and_then(|auth| read_certificates(&auth.ca).ok()).unwrap_or_default();
        let negotiation = Negotiation {
            only_1_3: raw.min_version == TlsVersion::V13,
            suites: raw.cipher_suites.clone(),
            http2: raw.http2.0,
            client_auth: client_auth.map(|auth| ClientAuth { required: auth.required.0, ca: auth.ca.clone() }),
        };
        match server_config(&negotiation, resolver.clone()) {
            Ok(config) => Some(Encrypted { config, resolver, asked: raw.clone(), authorities }),
            Err(wrong) => {
                for (key, text) in wrong {
                    let place = match key {
                        "ca" => place.key("client_auth").key("ca"),
                        _ => place.key("cipher_suites"),
                    };
                    faults.add(Fault::saying(place, text));
                }
                None
            }
        }
    }
}
