//! Which of the listeners are meant: by a route, a test or a question.

use http::request::Parts;

use super::Plan;
use crate::listen::called::{Called, Unknown, named};
use crate::listen::entrance::Entrance;
use gatekeeper_core::route::ListenerId;
use gatekeeper_model::raw::{Config, Listen};
use gatekeeper_model::{Fault, Faults, Place};

impl Plan {
    /// The entrance that a text names; without one, the entrance that a described request comes by most likely.
    pub fn entrance(&self, named_by: Option<&str>, request: &Parts) -> Result<&Entrance, Unknown> {
        let called: Vec<_> = self.entrances.iter().map(Entrance::called).collect();
        let found = match named_by {
            Some(text) => self.entrances.get(named(&called, text)?),
            None => usual(&self.entrances, request.uri.scheme_str()),
        };
        let unlisted = || Unknown { text: "there is no listener".into(), hint: "declare one under listen".into() };
        found.ok_or_else(unlisted)
    }
}

/// The first entrance that speaks the scheme of a URL. A path alone does not say how it comes: it means the first entrance
/// that does more than redirect.
fn usual<'e>(entrances: &'e [Entrance], scheme: Option<&str>) -> Option<&'e Entrance> {
    let of_scheme = |entrance: &&Entrance| match scheme {
        Some("https") => entrance.tls.is_some(),
        Some("http") => entrance.tls.is_none(),
        _ => false,
    };
    let serves = |entrance: &&Entrance| entrance.redirect_https.is_none();
    let found = entrances.iter().find(of_scheme).or_else(|| entrances.iter().find(serves));
    found.or(entrances.first())
}

/// The ids of the configuration's listeners, in its order.
pub fn ids(listen: &[Listen]) -> Vec<ListenerId> {
    let id = |(index, own): (usize, &Listen)| {
        let before = listen.iter().take(index).filter(|other| other.address == own.address).count();
        ListenerId::new(&own.address, before)
    };
    listen.iter().enumerate().map(id).collect()
}

/// The listeners a route answers on; those that do not exist are reported.
pub fn of_route(config: &Config, asked: &[String], place: &Place, faults: &mut Faults) -> Vec<ListenerId> {
    if asked.is_empty() {
        return Vec::new();
    }
    let (called, ids) = (config.listen.iter().map(Called::of).collect::<Vec<_>>(), ids(&config.listen));
    let mut found = Vec::new();
    for (index, text) in asked.iter().enumerate() {
        match named(&called, text) {
            Ok(listener) => found.extend(ids.get(listener)),
            Err(unknown) => faults.add(Fault::saying(place.index(index), unknown.text).with_hint(unknown.hint)),
        }
    }
    found
}

/// Reports names that are empty, or taken: by another listener's name or address.
pub fn check_names(listen: &[Listen], faults: &mut Faults) {
    for (index, own) in listen.iter().enumerate() {
        let Some(name) = &own.name else { continue };
        let place = Place::new("listen").index(index).key("name");
        let is_taken = listen.iter().take(index).any(|other| other.name.as_ref() == Some(name));
        let is_address = listen.iter().enumerate().any(|(other, listen)| other != index && listen.address == *name);
        if name.is_empty() {
            faults.push(place, "an empty name", "a name");
        } else if is_taken || is_address {
            faults.add(Fault::saying(place, format!("another listener is called {name:?}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_by_what_speaks_its_scheme_or_serves() {
        let entrance =
            |address: &str, redirect_https| Entrance { address: address.into(), redirect_https, ..Entrance::default() };
        let found = |entrances: &[Entrance], scheme| usual(entrances, scheme).map(|entrance| entrance.address.clone());
        let (plain, inside) = (entrance("plain", Some(443)), entrance("inside", None));
        let both = [plain.clone(), inside.clone()];
        for (scheme, address) in [(None, "inside"), (Some("http"), "plain"), (Some("https"), "inside")] {
            assert_eq!(found(&both, scheme).as_deref(), Some(address), "{scheme:?}");
            assert_eq!(found(&both[..1], scheme).as_deref(), Some("plain"), "{scheme:?}");
        }
        assert_eq!(found(&[], None), None);
    }

    #[test]
    fn an_id_depends_on_the_address_alone() {
        let listen = |addresses: &[&str]| -> Vec<Listen> {
            addresses.iter().map(|address| Listen { address: (*address).into(), ..Listen::default() }).collect()
        };
        let (one, other) = (ids(&listen(&["a", "b", "b"])), ids(&listen(&["b", "new", "a", "b"])));
        assert_eq!((one[0], one[1], one[2]), (other[2], other[0], other[3]));
        assert!(one[1] != one[2] && !one.contains(&other[1]));
    }
}
