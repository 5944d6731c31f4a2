//! Names of request headers that something in the configuration judges by. A client's `Connection` must not take them away:
//! the service would see another request than the one that was let in (SEMANTICS 2.2).

use std::collections::HashSet;

use http::HeaderName;
use http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_ENCODING,
    CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST, MAX_FORWARDS, ORIGIN, SEC_WEBSOCKET_PROTOCOL, VIA,
};

use gatekeeper_model::raw::Config;

/// What the gateway itself judges by, whatever its configuration.
const ALWAYS: [HeaderName; 14] = [
    ACCEPT_ENCODING,
    ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD,
    AUTHORIZATION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    COOKIE,
    EXPECT,
    HOST,
    MAX_FORWARDS,
    ORIGIN,
    SEC_WEBSOCKET_PROTOCOL,
    VIA,
];

/// All names that are judged by: conditions of routes, the keys of limits and of balancing, what a client is recognised by,
/// and what whoever decides is told. What is no name is a fault elsewhere.
pub fn names(config: &Config) -> HashSet<HeaderName> {
    let routes = &config.routes;
    let conditions = routes.iter().flat_map(|route| route.headers.keys().map(String::as_str));
    let limits = config.rate_limits.iter().filter_map(|rule| of_header(&rule.limit_type));
    let splits = routes.iter().filter_map(|route| of_header(route.split.as_ref()?.sticky_by.as_deref()?));
    let balanced =
        config.services.values().filter_map(|service| of_header(service.load_balancing.strip_prefix("hash:")?));
    let auth = config.auth.as_ref();
    let key = auth.and_then(|auth| auth.api_keys.as_ref()).map(|keys| keys.header.as_str());
    let told = auth.and_then(|auth| auth.forward.as_ref());
    let told = told.into_iter().flat_map(|forward| forward.request_headers.iter().map(String::as_str));
    let named = conditions.chain(limits).chain(splits).chain(balanced).chain(key).chain(told).chain([KEY_OF_RETRIES]);
    named.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).chain(ALWAYS).collect()
}

/// What a retry may depend on.
const KEY_OF_RETRIES: &str = "idempotency-key";

fn of_header(text: &str) -> Option<&str> {
    text.strip_prefix("header:")
}
