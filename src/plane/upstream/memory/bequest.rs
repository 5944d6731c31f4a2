//! What a service's memory hands over to the process that succeeds this one: what was done by hand and who registered.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Memory, Registering};
use crate::upstream::names::Answer;
use gatekeeper_model::Faults;

/// What a service hands over.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bequest {
    drained: bool,
    drained_targets: Vec<String>,
    registrations: Vec<Instance>,
    /// Those of the names of who registered, so that nobody waits for their being looked up.
    addresses: BTreeMap<String, Vec<IpAddr>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Instance {
    url: String,
    weight: u32,
    ttl: Option<Duration>,
    left: Option<Duration>,
}

impl Bequest {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        *self == Bequest::default()
    }
}

impl Memory {
    /// What is handed over.
    pub fn bequest(&self, now: Instant) -> Bequest {
        let known = self.known.lock();
        let valid = || known.registrations.values().filter(|registration| registration.is_valid(now));
        let hosts = valid().filter_map(|registration| registration.target.name());
        let addressed = hosts.filter_map(|host| Some((host.to_owned(), known.addresses.get(host)?.clone())));
        Bequest {
            drained: self.is_drained(),
            drained_targets: known.drained.iter().map(|url| url.to_string()).collect(),
            addresses: addressed.collect(),
            registrations: valid()
                .map(|registration| Instance {
                    url: registration.target.url.to_string(),
                    weight: registration.target.weight,
                    ttl: registration.ttl,
                    left: registration.expires.map(|expires| expires.saturating_duration_since(now)),
                })
                .collect(),
        }
    }

    /// Takes over what another process knew; registrations only where they are taken.
    pub fn inherit(&self, bequest: Bequest, takes_registrations: bool, now: Instant) {
        for (host, addresses) in bequest.addresses {
            self.learn(&host, &Answer { addresses, is_whole: true, fresh_for: Duration::ZERO });
        }
        for instance in bequest.registrations.into_iter().filter(|_| takes_registrations) {
            let registering = Registering::compile(&instance.url, instance.weight, None, &mut Faults::default());
            let Some(registering) = registering else { continue };
            self.register(Registering { ttl: instance.ttl, ..registering }, now);
            self.postpone(&instance.url, instance.left.map(|left| now + left));
        }
        self.drain(bequest.drained);
        for url in bequest.drained_targets {
            self.drain_target(&url.into(), true, now);
        }
    }

    fn postpone(&self, url: &str, expires: Option<Instant>) {
        if let Some(registration) = self.known.lock().registrations.get_mut(url) {
            registration.expires = expires;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_is_what_was_known() {
        let (memory, heir, now) = (Memory::default(), Memory::default(), Instant::now());
        assert!(memory.bequest(now).is_empty());
        let registering = |url: &str, ttl| Registering::compile(url, 3, ttl, &mut Faults::default()).unwrap();
        memory.register(registering("http://10.0.0.1:80", Some(10)), now);
        memory.register(registering("http://a.test:80", None), now);
        memory.register(registering("http://10.0.0.2:80", Some(1)), now);
        let addresses = vec!["10.0.0.9".parse().unwrap()];
        memory.learn("a.test", &Answer { addresses, is_whole: true, fresh_for: Duration::ZERO });
        memory.drain(true);
        memory.drain_target(&"http://10.0.0.1:80".into(), true, now);
        let later = now + Duration::from_secs(4);
        let bequest = memory.bequest(later);
        let sent = serde_json::to_vec(&bequest).unwrap();
        heir.inherit(serde_json::from_slice(&sent).unwrap(), true, later);
        assert_eq!(heir.bequest(later), bequest);
        let told = heir.registrations(later);
        assert_eq!(told.len(), 2, "what was not renewed is not handed over");
        assert_eq!(told[0].left, Some(Duration::from_secs(6)));
        let stranger = Memory::default();
        stranger.inherit(bequest, false, later);
        assert!(stranger.registrations(later).is_empty() && stranger.is_drained());
    }
}
