//! Lint: what compiles but can hardly be meant. Lints are shown by `check` and `reload`; nothing is refused for them.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use super::Plan;
use super::compile::active;
use super::route::Route;
use gatekeeper_core::net::is_broad;
use gatekeeper_model::raw::{Config, Timeouts};
use gatekeeper_model::usual::Preset;
use gatekeeper_model::{Fault, Faults, Place};

/// Adds the lints of a compiled configuration.
pub fn lint(config: &Config, plan: &Plan, faults: &mut Faults) {
    shadowed_routes(config, plan, faults);
    hidden_by_own_paths(config, plan, faults);
    unused_services(config, faults);
    contradictory_timeouts(config, faults);
    unverified_upstreams(config, faults);
    public_administration(config, faults);
    closed_shields(config, plan, faults);
    unanswered_preflights(config, plan, faults);
    believed_identity(config, plan, faults);
    kept_parameters(config, plan, faults);
    own_listeners(config, faults);
    broad_trust(config, faults);
}

fn broad_trust(config: &Config, faults: &mut Faults) {
    for (index, network) in config.trusted_proxies.iter().enumerate().filter(|(_, network)| is_broad(network)) {
        let text = format!("whoever connects from {network} can pose as any client, in address lists, limits and logs");
        let place = Place::new("trusted_proxies").index(index);
        faults.warn(Fault::saying(place, text).with_hint("list the addresses of your own load balancers"));
    }
}

fn shadowed_routes(config: &Config, plan: &Plan, faults: &mut Faults) {
    let routes: Vec<_> = active(config).collect();
    for shadow in plan.table.shadowed() {
        let Some((index, _)) = routes.get(shadow.route) else { continue };
        let winners = shadow.by.iter().filter_map(|by| routes.get(*by)).map(|(_, route)| format!("{:?}", route.name));
        let winners = winners.collect::<Vec<_>>().join(" and ");
        let text = format!("never matches: {winners} matches all of its requests first");
        let hint = "remove it, or give it a higher priority";
        faults.warn(Fault::saying(Place::new("routes").index(*index), text).with_hint(hint));
    }
}

fn hidden_by_own_paths(config: &Config, plan: &Plan, faults: &mut Faults) {
    for (index, route) in active(config) {
        if plan.edge.own_paths.iter().any(|(path, _)| *path == route.path_pattern) {
            let text = format!("{:?} is answered by the gateway itself", route.path_pattern);
            let place = Place::new("routes").index(index).key("path_pattern");
            faults.warn(
                Fault::saying(place, text).with_hint("rename it under own_paths, or set own_paths.public: false"),
            );
        }
    }
}

fn unused_services(config: &Config, faults: &mut Faults) {
    let mut used = BTreeSet::new();
    // Whoever switched a route off means to keep what it needs.
    for route in &config.routes {
        used.extend(route.target_service.as_deref());
        used.extend(route.split.iter().flat_map(|split| split.services.iter().map(|share| share.service.as_str())));
    }
    for name in config.services.keys().filter(|name| !used.contains(name.as_str())) {
        faults.warn(Fault::saying(Place::new("services").key(name), "no route uses this service"));
    }
}

fn contradictory_timeouts(config: &Config, faults: &mut Faults) {
    for (index, route) in active(config) {
        let Some(total) = route.timeout else { continue };
        // The default may well be longer than a short timeout; only what was written can contradict it.
        let connect = Some(route.timeouts.connect).filter(|connect| *connect != Timeouts::preset().connect);
        for (key, period) in [("connect", connect), ("first_byte", route.timeouts.first_byte)] {
            if period.is_some_and(|period| period > total) {
                let place = Place::new("routes").index(index).key("timeouts").key(key);
                faults.warn(Fault::saying(place, "longer than the route's timeout, which ends the request first"));
            }
        }
    }
}

fn public_administration(config: &Config, faults: &mut Faults) {
    let address = config.admin.address.parse::<std::net::SocketAddr>();
    if address.is_ok_and(|address| !address.ip().is_loopback()) {
        let place = Place::new("admin").key("address");
        let hint = "keep it on loopback or a unix socket, or see to it that only your own machines reach it";
        faults.warn(Fault::saying(place, "others may read the metrics here").with_hint(hint));
    }
}

fn unverified_upstreams(config: &Config, faults: &mut Faults) {
    for (name, service) in &config.services {
        if service.tls.as_ref().is_some_and(|tls| !tls.verify.0) {
            let place = Place::new("services").key(name).key("tls").key("verify");
            faults.warn(
                Fault::saying(place, "anyone on the way can pose as this service").with_hint("for development only"),
            );
        }
    }
}

/// Address lists that let nobody pass: mostly by someone who takes `deny` for what holds for all that `allow` leaves.
fn closed_shields(config: &Config, plan: &Plan, faults: &mut Faults) {
    let front = (Place::new("shields"), &plan.edge.shields.addresses);
    let places = active(config).map(|(index, _)| Place::new("routes").index(index).key("shields"));
    let of_routes = places.zip(plan.routes.iter().map(|route| &route.terms.shield.addresses));
    for (place, addresses) in of_routes.chain([front]) {
        if addresses.is_closed() {
            let hint = "deny wins over allow: to let only some pass, list them under allow alone";
            faults.warn(Fault::saying(place.key("deny"), "no client passes").with_hint(hint));
        }
    }
}

/// Routes whose preflights can't be what a page needs: they bring no credentials and no header but the names of those to come.
fn unanswered_preflights(config: &Config, plan: &Plan, faults: &mut Faults) {
    for ((index, raw), route) in active(config).zip(&plan.routes) {
        let place = Place::new("routes").index(index);
        if route.terms.cors.is_some() && !raw.headers.is_empty() {
            let text = "preflights do not bring these headers, so that they are not this route's";
            let hint = "tell the versions apart by path, if web pages are to use them";
            faults.warn(Fault::saying(place.key("headers"), text).with_hint(hint));
        }
        if raw.cors.as_ref().is_some_and(|cors| !cors.enabled.0) && route.terms.auth.is_some() {
            let text = "preflights bring no credentials, and are refused before the service could answer them";
            faults.warn(Fault::saying(place.key("cors"), text).with_hint("leave cors to the gateway here"));
        }
    }
    let options = |methods: &[String]| methods.is_empty() || methods.iter().any(|method| method == "OPTIONS");
    if !options(&config.shields.methods) && plan.routes.iter().any(|route| route.terms.cors.is_some()) {
        faults.warn(Fault::saying(Place::new("shields").key("methods"), "without OPTIONS every preflight is refused"));
    }
}

/// Headers that are deleted from what clients send, where something is to be decided by what clients send.
fn believed_identity(config: &Config, plan: &Plan, faults: &mut Faults) {
    let mut places = Vec::new();
    for (index, rule) in config.rate_limits.iter().enumerate() {
        let place = Place::new("rate_limits").index(index).key("limit_type");
        places.extend(rule.limit_type.strip_prefix("header:").map(|name| (place, name)));
    }
    for (index, route) in active(config) {
        let place = Place::new("routes").index(index);
        places.extend(route.headers.keys().map(|name| (place.key("headers").key(name), name.as_str())));
        let sticky = route.split.as_ref().and_then(|split| split.sticky_by.as_deref()?.strip_prefix("header:"));
        places.extend(sticky.map(|name| (place.key("split").key("sticky_by"), name)));
    }
    let forward = config.auth.iter().filter_map(|auth| auth.forward.as_ref()).flat_map(|auth| &auth.request_headers);
    let place = Place::new("auth").key("forward").key("request_headers");
    places.extend(forward.enumerate().map(|(index, name)| (place.index(index), name.as_str())));
    for (place, name) in places {
        if plan.edge.identity.contains(&name.to_ascii_lowercase()) {
            let text = format!("{name} says who the user is: what clients send under this name is not to be believed");
            faults.warn(Fault::saying(place, text).with_hint("use another header, or a claim"));
        } else if name.contains('_') {
            let text = format!("{name} is deleted on its way to the service: some take `_` for `-`");
            faults.warn(Fault::saying(place, text).with_hint("write the name with `-`"));
        }
    }
}

/// Public routes beside protected ones of the same service. Some servers cut `;parameters` off a path before they look where
/// it leads, and would serve under the one what the other protects.
fn kept_parameters(config: &Config, plan: &Plan, faults: &mut Faults) {
    let protected = plan.routes.iter().filter(|route| is_protected(route));
    let protected: HashMap<&str, &str> =
        protected.flat_map(|route| route.services().iter().map(|service| (&*service.name, &*route.name))).collect();
    for ((index, _), route) in active(config).zip(&plan.routes) {
        let cuts = !route.terms.rejects_reserved && !route.pattern.is_exact() && !is_protected(route);
        let beside = route.services().iter().find_map(|service| protected.get(&*service.name));
        if let Some(beside) = beside.filter(|_| cuts) {
            let text = format!(
                "the route is public and keeps `;` beside {beside:?}, which is protected and of the same service"
            );
            let hint = "reject, unless the service takes `;` for a part of a path's name as the gateway does";
            let place = Place::new("routes").index(index).key("encoded_reserved");
            faults.warn(Fault::saying(place, text).with_hint(hint));
        }
    }
}

fn is_protected(route: &Route) -> bool {
    let shield = &route.terms.shield;
    route.terms.auth.as_ref().is_some_and(|auth| !auth.shadow) || (shield.addresses.allow.is_some() && !shield.shadow)
}

/// Addresses of others that are our own: what is sent there comes back to us.
fn own_listeners(config: &Config, faults: &mut Faults) {
    let mut asked = Vec::new();
    for (name, service) in &config.services {
        let place = Place::new("services").key(name).key("targets");
        asked.extend(service.targets.iter().enumerate().map(|(index, target)| (place.index(index), target.url())));
    }
    for (index, route) in active(config) {
        asked.extend(route.target_url.as_deref().map(|url| (Place::new("routes").index(index).key("target_url"), url)));
    }
    if let Some(auth) = &config.auth {
        let place = Place::new("auth");
        asked.extend(auth.forward.iter().map(|asked| (place.key("forward").key("url"), &*asked.url)));
        asked.extend(auth.introspection.iter().map(|asked| (place.key("introspection").key("url"), &*asked.url)));
    }
    let listeners = config.listen.iter().map(|listen| &listen.address).chain([&config.admin.address]);
    for (place, url) in asked {
        if listeners.clone().any(|listener| leads_to(url, listener)) {
            let text = "this is one of the gateway's own listeners: what is sent there comes back";
            faults.warn(Fault::saying(place, text).with_hint("name the service's own address"));
        }
    }
}

/// Whether a URL leads to a listener, as far as can be told without looking up names or the machine's addresses.
fn leads_to(url: &str, listener: &str) -> bool {
    if url.starts_with("unix:") {
        return url == listener;
    }
    let (Ok(url), Ok(listener)) = (reqwest::Url::parse(url), listener.parse::<SocketAddr>()) else { return false };
    let ours = listener.ip().to_canonical();
    let same = |ip: IpAddr| {
        let (ip, everywhere) = (ip.to_canonical(), ours.is_unspecified());
        ip == ours
            || (everywhere && ip.is_loopback() && (ours.is_ipv6() || ip.is_ipv4()))
            || (ip.is_unspecified() && (everywhere || ours.is_loopback()))
    };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let same_host = match host.parse::<IpAddr>() {
        Ok(ip) => same(ip),
        Err(_) => host == "localhost" && (ours.is_loopback() || ours.is_unspecified()),
    };
    same_host && url.port_or_known_default() == Some(listener.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ours_is_known_in_every_spelling() {
        for (url, listener, wanted) in [
            ("http://127.0.0.1:8000", "127.0.0.1:8000", true),
            ("http://127.0.0.1:8000/check?a=b", "0.0.0.0:8000", true),
            ("http://localhost:8000", "0.0.0.0:8000", true),
            ("http://LOCALHOST:8000", "[::1]:8000", true),
            ("http://[::1]:8000", "[::]:8000", true),
            ("http://[::ffff:127.0.0.1]:8000", "127.0.0.1:8000", true),
            ("http://0.0.0.0:8000", "127.0.0.1:8000", true),
            ("https://127.0.0.1", "0.0.0.0:443", true),
            ("unix:/run/g.sock", "unix:/run/g.sock", true),
            ("unix:/run/h.sock", "unix:/run/g.sock", false),
            ("http://127.0.0.1:8001", "127.0.0.1:8000", false),
            ("http://127.0.0.2:8000", "127.0.0.1:8000", false),
            ("http://192.0.2.1:8000", "0.0.0.0:8000", false),
            ("http://app.example.org:8000", "0.0.0.0:8000", false),
            ("http://127.0.0.1:8000", "unix:/run/g.sock", false),
        ] {
            assert_eq!(leads_to(url, listener), wanted, "{url} {listener}");
        }
    }
}
