//! Compiles shields.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::compile::{parse_method, wrong_items};
use crate::policy::flood::Flood;
use crate::policy::shield::{Addresses, Front, MEDIA_TYPES, MediaTypes, Methods, Shield};
use gatekeeper_core::net::{self, Networks};
use gatekeeper_model::raw::{self, Config, Mode, Policy};
use gatekeeper_model::{Fault, Faults, Place};

/// Compiles what stands before the choice of a route. A flood guard that did not change keeps its counts.
pub fn front(config: &Config, previous: Option<&Arc<Flood>>, faults: &mut Faults) -> Option<Front> {
    let (raw, place) = (&config.shields, Place::new("shields"));
    let addresses = addresses(&raw.allow, &raw.deny, &place, faults);
    let flood = raw.flood.as_ref().map(|raw| flood(raw, previous, &place.key("flood"), faults));
    let methods = methods(&raw.methods, &place.key("methods"), faults);
    Some(Front { addresses: addresses?, methods, flood, shadow: raw.mode == Mode::Shadow })
}

/// Compiles what stands before a route.
pub fn of_route(config: &Config, route: &raw::Route, place: &Place, faults: &mut Faults) -> Option<Shield> {
    let (raw, shadow) = (&route.shields, route.shadow.contains(&Policy::Shields));
    let addresses = addresses(&raw.allow, &raw.deny, place, faults);
    let types = MediaTypes::parse(&raw.content_types);
    wrong_items(&place.key("content_types"), &raw.content_types, types.as_ref().err(), MEDIA_TYPES, faults);
    Some(Shield {
        addresses: addresses?,
        types: Some(types.ok()?).filter(|_| !raw.content_types.is_empty()),
        max_body: raw.max_body.or(config.shields.max_body).map(|size| size.0),
        shadow,
    })
}

fn addresses(allow: &[String], deny: &[String], place: &Place, faults: &mut Faults) -> Option<Addresses> {
    let mut networks = |key: &str, texts: &[String]| {
        let networks = Networks::parse(texts);
        wrong_items(&place.key(key), texts, networks.as_ref().err(), net::ALLOWED, faults);
        networks.ok()
    };
    let (allowed, denied) = (networks("allow", allow), networks("deny", deny));
    Some(Addresses { allow: Some(allowed?).filter(|_| !allow.is_empty()), deny: denied? })
}

fn methods(texts: &[String], place: &Place, faults: &mut Faults) -> Option<Methods> {
    let mut methods = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let parsed = parse_method(text).map(|method| methods.push(method));
        parsed.unwrap_or_else(|fault| faults.add(Fault::saying(place.index(index), fault)));
    }
    if methods.is_empty() { None } else { Methods::new(methods) }
}

const REQUESTS: RangeInclusive<u32> = 1..=1_000_000;
const WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

fn flood(raw: &raw::Flood, previous: Option<&Arc<Flood>>, place: &Place, faults: &mut Faults) -> Arc<Flood> {
    if !REQUESTS.contains(&raw.requests) {
        faults.push(place.key("requests"), raw.requests.to_string(), "1 to 1000000");
    }
    if !WINDOW.contains(&raw.window.0) {
        faults.push(place.key("window"), raw.window.to_string(), "1s to 60s");
    }
    let unchanged = previous.filter(|flood| flood.is(raw.requests, raw.window.0)).cloned();
    unchanged.unwrap_or_else(|| Arc::new(Flood::new(raw.requests, raw.window.0)))
}
