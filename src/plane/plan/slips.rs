//! Lints of slips of the pen: what compiles, but does less than it seems to.

use super::compile::active;
use gatekeeper_core::net::meant_network;
use gatekeeper_core::route::PathPattern;
use gatekeeper_model::raw::Config;
use gatekeeper_model::{Fault, Faults, Place};

/// Adds the lints of a configuration.
pub fn lint(config: &Config, faults: &mut Faults) {
    no_routes(config, faults);
    lone_slashes(config, faults);
    kept_prefixes(config, faults);
    cut_networks(config, faults);
}

fn no_routes(config: &Config, faults: &mut Faults) {
    if active(config).next().is_none() {
        let text = if config.routes.is_empty() { "there are no routes" } else { "no route is active" };
        let lint = Fault::saying(Place::new("routes"), format!("{text}: every request is answered with 404"));
        faults.warn(lint.with_hint("`gatekeeper config init` prints an example"));
    }
}

/// `/api/` matches itself alone, where `/api/*` is meant.
fn lone_slashes(config: &Config, faults: &mut Faults) {
    let is_lone = |pattern: &str| pattern.len() > 1 && pattern.ends_with('/');
    for (index, route) in active(config).filter(|(_, route)| is_lone(&route.path_pattern)) {
        let pattern = &route.path_pattern;
        let wildcard = format!("{pattern}*");
        if active(config).any(|(_, other)| other.path_pattern == wildcard) {
            continue;
        }
        let text = format!("{pattern:?} matches this one path, and nothing below it");
        let place = Place::new("routes").index(index).key("path_pattern");
        faults.warn(Fault::saying(place, text).with_hint(format!("{wildcard:?} also matches what is below")));
    }
}

fn kept_prefixes(config: &Config, faults: &mut Faults) {
    for (index, route) in active(config) {
        let Some(prefix) = &route.strip_prefix else { continue };
        let pattern = PathPattern::parse(&route.path_pattern);
        if pattern.is_ok_and(|pattern| pattern.never_begins_with(prefix.trim_end_matches('/'))) {
            let text = format!("strips nothing: no path of {:?} begins with {prefix:?}", route.path_pattern);
            faults.warn(Fault::saying(Place::new("routes").index(index).key("strip_prefix"), text));
        }
    }
}

/// `10.0.0.1/8` is all of `10.0.0.0/8`.
fn cut_networks(config: &Config, faults: &mut Faults) {
    let (shields, trusted) = (Place::new("shields"), Place::new("trusted_proxies"));
    let mut lists = vec![
        (trusted, &config.trusted_proxies),
        (shields.key("allow"), &config.shields.allow),
        (shields.key("deny"), &config.shields.deny),
    ];
    for (index, route) in config.routes.iter().enumerate() {
        let place = Place::new("routes").index(index).key("shields");
        lists.push((place.key("allow"), &route.shields.allow));
        lists.push((place.key("deny"), &route.shields.deny));
    }
    for (place, networks) in lists {
        for (index, network) in networks.iter().enumerate() {
            if let Some(meant) = meant_network(network) {
                let lint = Fault::saying(place.index(index), format!("{network} means all of {meant}"));
                faults.warn(lint.with_hint("write the network, or the address alone"));
            }
        }
    }
}
