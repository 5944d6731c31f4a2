//! Compiles one route: where it leads, what is sent there, how long that may take.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::compile::{Context, Services};
use super::route::{Action, HostSent, PathSent, Respond, Retry, Route, RouteAccess, Split, Terms};
use super::{Edge, access, auth, shield};
use crate::listen::deadline::Timeouts;
use crate::policy::cors::Cors;
use crate::policy::limit::Endpoint;
use crate::policy::security_headers::SecurityHeaders;
use crate::upstream::service::Service;
use crate::upstream::shares::Shares;
use crate::upstream::sticky::{self, Sticky};
use gatekeeper_core::retry::{Backoff, Conditions, Repeatable};
use gatekeeper_core::route::path::canonicalise;
use gatekeeper_core::route::{PathPattern, Template};
use gatekeeper_model::raw::{self, Config, EncodedReserved, NonIdempotent, Policy};
use gatekeeper_model::{Fault, Faults, Place, did_you_mean};

/// A route as it is written, and what is known of it already.
pub struct Written<'a> {
    /// The whole configuration.
    pub config: &'a Config,
    /// The route.
    pub raw: &'a raw::Route,
    /// Its name, for all who keep it.
    pub name: Arc<str>,
    /// What its path looks like; absent if that is faulty.
    pub path: Option<PathPattern>,
    /// Where it is written.
    pub place: Place<'static>,
}

/// Compiles a route.
pub fn compile<'a>(
    written: &'a Written<'a>,
    context: &'a Context<'a>,
    edge: Option<&Arc<Edge>>,
    services: &mut Services,
    faults: &mut Faults,
) -> Option<Route> {
    let Written { config, raw, name, path: pattern, place } = written;
    let pattern = pattern.as_ref();
    let mut compiler = Compiler { config, raw, pattern, context, services, place, faults };
    let action = compiler.action();
    let path = compiler.path();
    let host = compiler.host();
    let shield = shield::of_route(config, raw, &place.key("shields"), compiler.faults);
    let retry = retry(raw, place, compiler.faults);
    let cors = edge.and_then(|edge| compiler.cors(edge));
    let security = compiler.security(edge);
    let auth =
        auth::of_route(raw, edge.and_then(|edge| edge.auth.as_ref()), config.auth.is_some(), place, compiler.faults);
    let access = raw.access.as_ref().map(|raw| RouteAccess {
        access: access::compile(raw, pattern, &place.key("access"), compiler.faults),
        shadow: compiler.raw.shadow.contains(&Policy::Access),
        metrics: context.claims.policy("access", ""),
    });
    let limits = edge.map(|edge| edge.rates.of_route(raw, place, compiler.faults));
    let compress = raw.compress.map_or(config.compression.enabled.0, |setting| setting.0);
    let terms = Terms {
        host: host?,
        rejects_reserved: raw.encoded_reserved == EncodedReserved::Reject,
        shield: shield?,
        cors: cors?,
        security,
        auth,
        close_at_expiry: raw.close_at_expiry.0,
        limits: limits?,
        timeouts: timeouts(raw),
        retry: retry?,
        breaks: raw.circuit_breaker_enabled.0,
        compression: if compress { config.compression.level } else { 0 },
    };
    Some(Route {
        name: name.clone(),
        origin: context.owners.of(place),
        name_hash: Endpoint::hash(&raw.name),
        metrics: context.claims.route(name),
        edge: edge?.clone(),
        terms: Arc::new(terms),
        action: action?,
        path: path?,
        access: access.map(Box::new),
        pattern: pattern?.clone(),
    })
}

fn timeouts(raw: &raw::Route) -> Timeouts {
    let idle = raw.timeouts.idle;
    Timeouts {
        total: raw.timeout.map(|period| period.0),
        connect: raw.timeouts.connect.0,
        first_byte: raw.timeouts.first_byte.unwrap_or(idle).0,
        idle: idle.0,
        websocket_idle: raw.websocket.idle.unwrap_or(idle).0,
        websocket_life: raw.websocket.max_life.map(|period| period.0),
    }
}

/// The most attempts beyond the first.
pub const MOST_RETRIES: u32 = 10;

fn retry(raw: &raw::Route, place: &Place, faults: &mut Faults) -> Option<Retry> {
    let before = faults.len();
    if raw.retry_count > MOST_RETRIES {
        faults.push(place.key("retry_count"), raw.retry_count.to_string(), format!("0 to {MOST_RETRIES}"));
    }
    let place = place.key("retry");
    if raw.retry.backoff.max < raw.retry.backoff.base {
        let (base, allowed) = (raw.retry.backoff.base, format!("at most {} (max)", raw.retry.backoff.max));
        faults.push(place.key("backoff").key("base"), base.to_string(), allowed);
    }
    let mut statuses = Vec::new();
    for (index, on) in raw.retry.on.iter().enumerate() {
        match StatusCode::from_bytes(on.0.as_bytes()) {
            Ok(status) if status.is_client_error() || status.is_server_error() => statuses.push(status),
            _ if ["connect", "reset", "timeout"].contains(&&*on.0) => {}
            _ => {
                faults.push(place.key("on").index(index), format!("{:?}", on.0), "connect, reset, timeout, 400 to 599")
            }
        }
    }
    let on = |what: &str| raw.retry.on.iter().any(|on| on.0 == what);
    let conditions = Conditions {
        connect: on("connect"),
        reset: on("reset"),
        timeout: on("timeout"),
        statuses: statuses.into(),
        repeatable: match raw.retry.non_idempotent {
            NonIdempotent::Never => Repeatable::Idempotent,
            NonIdempotent::Keyed => Repeatable::Keyed,
            NonIdempotent::Always => Repeatable::All,
        },
    };
    let backoff = Backoff { base: raw.retry.backoff.base.0, cap: raw.retry.backoff.max.0 };
    (faults.len() == before).then_some(Retry { count: raw.retry_count, conditions, backoff })
}

struct Compiler<'a, 'f> {
    config: &'a Config,
    raw: &'a raw::Route,
    pattern: Option<&'a PathPattern>,
    context: &'a Context<'a>,
    services: &'f mut Services,
    place: &'f Place<'static>,
    faults: &'f mut Faults,
}

impl<'a> Compiler<'a, '_> {
    fn action(&mut self) -> Option<Action> {
        let raw = self.raw;
        let given = [
            ("target_service", raw.target_service.is_some()),
            ("target_url", raw.target_url.is_some()),
            ("split", raw.split.is_some()),
            ("redirect", raw.redirect.is_some()),
            ("respond", raw.respond.is_some()),
        ];
        let names: Vec<&str> = given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        if names.len() != 1 {
            let all = "target_service, target_url, split, redirect, respond";
            let text = match names.len() {
                0 => format!("no destination: add one of {all}"),
                many => format!("{many} destinations: keep one of {}", names.join(", ")),
            };
            self.faults.add(Fault::saying(self.place.clone(), text));
            return None;
        }
        if let Some(name) = &raw.target_service {
            return self.service(name, self.place.key("target_service")).map(Action::Forward);
        }
        if let Some(url) = &raw.target_url {
            return self.single_target(url).map(Action::Forward);
        }
        if let Some(split) = &raw.split {
            return self.split(split);
        }
        if let Some(redirect) = &raw.redirect {
            return self.redirect(redirect);
        }
        raw.respond.as_ref().and_then(|respond| self.respond(respond))
    }

    /// `None` has faults.
    fn cors(&mut self, edge: &Edge) -> Option<Option<Cors>> {
        let methods: Vec<Method> = self.raw.methods.iter().filter_map(|text| text.parse().ok()).collect();
        edge.cors_defaults.of_route(self.raw.cors.as_deref(), &methods, &self.place.key("cors"), self.faults)
    }

    fn security(&mut self, edge: Option<&Arc<Edge>>) -> Option<Arc<SecurityHeaders>> {
        let common = || edge.and_then(|edge| edge.security.clone());
        let Some(raw) = &self.raw.shields.security_headers else { return common() };
        let place = self.place.key("shields").key("security_headers");
        SecurityHeaders::compile(raw, &place, self.faults).map(Arc::new)
    }

    fn service(&mut self, name: &str, place: Place) -> Option<Arc<Service>> {
        let found = self.services.get(name).cloned();
        let declared = self.config.services.contains_key(name);
        if found.is_none() && !declared && !self.faults.was_pruned(&Place::new("services").key(name)) {
            let known: Vec<&str> = self.config.services.keys().map(String::as_str).collect();
            let others = || {
                if known.is_empty() {
                    "no services are declared".into()
                } else {
                    format!("declared: {}", known.join(", "))
                }
            };
            let hint = did_you_mean(name, known.iter().copied()).unwrap_or_else(others);
            self.faults.add(Fault::saying(place, format!("there is no service {name:?}")).with_hint(hint));
        }
        found
    }

    /// A service of its own for a route that names a URL. Routes that name the same URL share it.
    fn single_target(&mut self, url: &str) -> Option<Arc<Service>> {
        if let Some(shared) = self.services.get(url) {
            return Some(shared.clone());
        }
        let raw = raw::Service::of(vec![raw::Target::Url(url.into())]);
        let mut faults = Faults::default();
        let service = self.context.service(url, &raw, &self.config.upstream_pool, self.place, &mut faults);
        for fault in faults.faults() {
            self.faults.push(self.place.key("target_url"), fault.found.clone(), fault.allowed.clone());
        }
        let service = service?;
        self.services.insert(service.name.clone(), service.clone());
        Some(service)
    }

    fn split(&mut self, split: &raw::Split) -> Option<Action> {
        let place = self.place.key("split");
        let mut services = Vec::new();
        for (index, share) in split.services.iter().enumerate() {
            let here = place.key("services").index(index);
            if share.weight > 1000 {
                self.faults.push(here.key("weight"), share.weight.to_string(), "0 to 1000");
            }
            services.extend(self.service(&share.service, here.key("service")));
        }
        let weights: Vec<u32> = split.services.iter().map(|share| share.weight).collect();
        let shares = Shares::new(&weights);
        if shares.is_none() {
            self.faults.push(place.key("services"), "no service with a weight above 0", "at least one");
        }
        let sticky = match split.sticky_by.as_deref().map(Sticky::parse) {
            Some(Some(sticky)) => Some(sticky),
            Some(None) => {
                let found = format!("{:?}", split.sticky_by.as_deref().unwrap_or_default());
                self.faults.push(place.key("sticky_by"), found, sticky::ALLOWED);
                None
            }
            None => None,
        };
        let complete = services.len() == split.services.len();
        let split = Split { shares: shares?, services: services.into(), sticky };
        complete.then(|| Action::Split(Box::new(split)))
    }

    fn redirect(&mut self, redirect: &raw::Redirect) -> Option<Action> {
        let place = self.place.key("redirect");
        if !matches!(redirect.status, 301 | 302 | 303 | 307 | 308) {
            self.faults.push(place.key("status"), redirect.status.to_string(), "301, 302, 303, 307 or 308");
        }
        if !["/", "http://", "https://"].iter().any(|beginning| redirect.to.starts_with(beginning)) {
            self.faults.push(
                place.key("to"),
                format!("{:?}", redirect.to),
                "a path, or a URL with http:// or https://",
            );
        }
        if redirect.to.chars().any(char::is_control) {
            self.faults.push(place.key("to"), format!("{:?}", redirect.to), "no control characters");
        }
        let to = self.template(&redirect.to, place.key("to"), &["host", "path", "query"])?;
        Some(Action::Redirect(StatusCode::from_u16(redirect.status).ok()?, to))
    }

    fn respond(&mut self, respond: &raw::Respond) -> Option<Action> {
        let place = self.place.key("respond");
        let status = StatusCode::from_u16(respond.status).ok().filter(|_| (200..600).contains(&respond.status));
        if status.is_none() {
            self.faults.push(place.key("status"), respond.status.to_string(), "200 to 599");
        }
        let mut headers = Vec::new();
        for (name, value) in &respond.headers {
            match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
                (Ok(name), _) if FRAMING.contains(&name) => {
                    let fault = format!("{name} is set by the gateway itself");
                    self.faults.add(Fault::saying(place.key("headers").key(name.as_str()), fault));
                }
                (Ok(name), Ok(value)) => headers.push((name, value)),
                _ => {
                    self.faults.push(place.key("headers").key(name), format!("{value:?}"), "a header's name and value")
                }
            }
        }
        Some(Action::Respond(Box::new(Respond { status: status?, headers, body: Bytes::from(respond.body.clone()) })))
    }

    fn path(&mut self) -> Option<PathSent> {
        match (&self.raw.strip_prefix, &self.raw.rewrite) {
            (None, None) => Some(PathSent::Kept),
            (Some(_), Some(_)) => {
                let fault = "strip_prefix and rewrite both say which path is sent";
                self.faults.add(Fault::saying(self.place.key("rewrite"), fault).with_hint("keep one of them"));
                None
            }
            (Some(prefix), None) => self.prefix(prefix),
            (None, Some(rewrite)) => {
                let place = self.place.key("rewrite");
                if !rewrite.starts_with('/') || rewrite.contains(['?', '#']) {
                    self.faults.push(
                        place.clone(),
                        format!("{rewrite:?}"),
                        "a path that begins with /, without a query",
                    );
                }
                self.template(rewrite, place, &[]).map(PathSent::Rewritten)
            }
        }
    }

    fn prefix(&mut self, prefix: &str) -> Option<PathSent> {
        let place = self.place.key("strip_prefix");
        let trimmed = prefix.trim_end_matches('/');
        let canonical = canonicalise(trimmed.as_bytes(), true).is_ok_and(|canonical| canonical == trimmed);
        if !canonical {
            self.faults.push(place, format!("{prefix:?}"), "the beginning of a path, such as /api/v1");
            return None;
        }
        let pattern = &self.raw.path_pattern;
        let leads = pattern.strip_prefix(trimmed).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if !leads && !pattern.contains(['{', '*']) {
            let found = format!("{prefix:?}, which {pattern:?} does not begin with");
            self.faults.push(place, found, "a prefix of path_pattern");
        }
        Some(PathSent::Stripped(trimmed.into()))
    }

    fn host(&mut self) -> Option<HostSent> {
        match &*self.raw.host {
            "preserve" => Some(HostSent::Kept),
            "target" => Some(HostSent::Target),
            name => {
                let valid =
                    name.parse::<http::uri::Authority>().is_ok_and(|authority| !authority.as_str().contains('@'));
                if !valid {
                    self.faults.push(self.place.key("host"), format!("{name:?}"), "preserve, target or a host name");
                }
                HeaderValue::from_str(name).ok().filter(|_| valid).map(HostSent::Fixed)
            }
        }
    }

    fn template(&mut self, text: &str, place: Place, beside: &[&str]) -> Option<Template> {
        let template = match Template::parse(text) {
            Ok(template) => template,
            Err(fault) => {
                self.faults.add(Fault::saying(place, fault));
                return None;
            }
        };
        let pattern = self.pattern?;
        let known = |name: &&str| pattern.offers(name) || beside.contains(name);
        let unknown: Vec<&str> = template.names().filter(|name| !known(name)).collect();
        for name in &unknown {
            let offered: Vec<String> =
                pattern.names().chain(beside.iter().copied()).map(|n| format!("{{{n}}}")).collect();
            let allowed = if offered.is_empty() { "nothing in braces".into() } else { offered.join(", ") };
            self.faults.push(place.clone(), format!("{{{name}}}, which path_pattern does not capture"), allowed);
        }
        unknown.is_empty().then_some(template)
    }
}

const FRAMING: [HeaderName; 3] =
    [http::header::CONTENT_LENGTH, http::header::TRANSFER_ENCODING, http::header::CONNECTION];
