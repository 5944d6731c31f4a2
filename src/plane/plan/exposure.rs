//! Lints of listeners: what is meant for clients that show a certificate, and can be reached without one.
//!
//! A listener that only redirects to https serves nothing, and is passed over.

use std::collections::BTreeMap;

use super::Plan;
use super::compile::active;
use crate::listen::called::{Called, named};
use crate::policy::auth::Method;
use gatekeeper_model::raw::{Config, Listen, Route};
use gatekeeper_model::{Fault, Faults, Place};

/// Adds the lints of a compiled configuration.
pub fn lint(config: &Config, plan: &Plan, faults: &mut Faults) {
    unused_client_auth(config, faults);
    certificates_elsewhere(config, plan, faults);
    services_beside(config, plan, faults);
}

/// A listener that no route is limited to: all that it serves is served elsewhere, too.
fn unused_client_auth(config: &Config, faults: &mut Faults) {
    let Some(open) = config.listen.iter().find(|listen| serves(listen) && !requires(listen)) else { return };
    for (index, listen) in config.listen.iter().enumerate().filter(|(_, listen)| requires(listen)) {
        let is_meant = |route: &Route| !route.listeners.is_empty() && answering(config, route).any(|own| own == index);
        if active(config).any(|(_, route)| is_meant(route)) {
            continue;
        }
        let place = Place::new("listen").index(index).key("tls").key("client_auth");
        let other = Called::of(open).shown();
        let text =
            format!("no route is limited to this listener: what it serves, {other} serves without a certificate");
        let hint = format!("name it under the `listeners` of its routes: [{:?}]", Called::of(listen).shown());
        faults.warn(Fault::saying(place, text).with_hint(hint));
    }
}

/// Routes by which a certificate may come, on listeners that ask for none.
fn certificates_elsewhere(config: &Config, plan: &Plan, faults: &mut Faults) {
    for ((index, raw), route) in active(config).zip(&plan.routes) {
        let Some(auth) = &route.terms.auth else { continue };
        let is_named = raw.auth.iter().any(|method| method == Method::Certificate.name());
        if !is_named && auth.methods[..] != [Method::Certificate] {
            continue;
        }
        let asks = |listen: &&Listen| listen.tls.as_ref().is_some_and(|tls| tls.client_auth.is_some());
        let mut listeners = answering(config, raw).filter_map(|listener| config.listen.get(listener));
        if let Some(other) = listeners.find(|listen| serves(listen) && !asks(listen)) {
            let text = format!("takes certificates, but answers on {}, which asks for none", Called::of(other).shown());
            let place = Place::new("routes").index(index).key("auth");
            faults.warn(
                Fault::saying(place, text).with_hint("limit the route to a listener with client_auth (listeners)"),
            );
        }
    }
}

/// Open routes to a service that another route keeps for clients with a certificate.
fn services_beside(config: &Config, plan: &Plan, faults: &mut Faults) {
    let is_kept = |route: &Route| {
        !route.listeners.is_empty() && answering(config, route).filter_map(|own| config.listen.get(own)).all(requires)
    };
    let kept = active(config).filter(|(_, route)| is_kept(route));
    let kept: BTreeMap<&str, &str> =
        kept.flat_map(|(_, route)| destinations(route).map(|service| (service, route.name.as_str()))).collect();
    for ((index, raw), route) in active(config).zip(&plan.routes) {
        let mut listeners = answering(config, raw).filter_map(|listener| config.listen.get(listener));
        let open = listeners.find(|listen| serves(listen) && !requires(listen));
        let service = destinations(raw).find_map(|service| kept.get_key_value(service));
        if let (Some(open), Some((service, keeper)), None) = (open, service, &route.terms.auth) {
            let open = Called::of(open).shown();
            let text = format!(
                "lets everyone on {open} reach the service {service:?}, which {keeper:?} keeps for clients with a certificate"
            );
            let hint = "limit it to the same listeners, or ask who the client is";
            faults.warn(Fault::saying(Place::new("routes").index(index), text).with_hint(hint));
        }
    }
}

/// The listeners a route answers on, by their places in the configuration.
fn answering(config: &Config, route: &Route) -> impl Iterator<Item = usize> {
    let called: Vec<_> = config.listen.iter().map(Called::of).collect();
    let all = if route.listeners.is_empty() { 0..called.len() } else { 0..0 };
    all.chain(route.listeners.iter().filter_map(move |text| named(&called, text).ok()))
}

fn destinations(route: &Route) -> impl Iterator<Item = &str> {
    let split = route.split.iter().flat_map(|split| split.services.iter().map(|share| share.service.as_str()));
    route.target_service.as_deref().into_iter().chain(route.target_url.as_deref()).chain(split)
}

fn serves(listen: &Listen) -> bool {
    listen.redirect_https.is_none()
}

/// Nobody comes in without a certificate.
fn requires(listen: &Listen) -> bool {
    let auth = listen.tls.as_ref().and_then(|tls| tls.client_auth.as_ref());
    auth.is_some_and(|auth| auth.required.0)
}
