//! The one constructor of a plan: raw configuration in, everything that requests need out, or all faults at once.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::alike::Alike;
use super::names::{self, HeaderNames};
use super::route::Route;
use super::route_parts::Written;
use super::{
    Edge, OwnPath, Plan, auth, bounds, cors, exposure, limits, lint, listeners, protected, route_parts, route_tests,
    shield, slips,
};
use crate::listen::entrance::Entrance;
use crate::listen::http2::Http2;
use crate::listen::limits::Limits;
use crate::observe::Claims;
use crate::observe::is_credential_header;
use crate::policy::security_headers::SecurityHeaders;
use crate::upstream::names::Names;
use crate::upstream::service::{Lineage, Service};
use gatekeeper_core::limit::Local;
use gatekeeper_core::net::{self, Networks};
use gatekeeper_core::route::{
    Clash, Conditions, Further, HeaderCondition, HostPattern, PathPattern, QueryCondition, Table,
};
use gatekeeper_model::raw::{self, Config};
use gatekeeper_model::{Fault, Faults, Owners, Place};

/// The services by name.
pub type Services = HashMap<Arc<str>, Arc<Service>>;

/// What compiling needs beside the configuration. Nothing of it is touched.
pub struct Context<'a> {
    /// The plan that serves now.
    pub previous: Option<&'a Plan>,
    /// How names are looked up, if that is known already.
    pub names: Option<Arc<Names>>,
    /// What the plan counts in.
    pub claims: &'a Claims<'a>,
    /// Who declared the objects.
    pub owners: &'a Owners<'a>,
}

impl Context<'_> {
    /// What holds for every request in the plan that serves now.
    fn edge(&self) -> Option<&Edge> {
        self.previous.map(|plan| &*plan.edge)
    }

    /// Builds a service; faults are reported below `at`.
    pub(super) fn service(
        &self,
        name: &str,
        raw: &raw::Service,
        defaults: &raw::UpstreamPool,
        at: &Place<'_>,
        faults: &mut Faults,
    ) -> Option<Arc<Service>> {
        let previous = self.previous.and_then(|plan| plan.services.get(name));
        let lineage = Lineage { name, origin: self.owners.of(at), previous, metrics: self.claims.service(name) };
        Service::build(lineage, raw, defaults, at, faults)
    }
}

/// Compiles a configuration. Faults and lints are added to `faults`, which may hold those of loading it; there is a
/// plan if and only if there is no fault.
pub(super) fn compile(config: &Config, context: &Context, faults: &mut Faults) -> Option<Plan> {
    let edge = compile_edge(config, context, faults).map(Arc::new);
    let entrances = compile_entrances(config, faults);
    let mut services = compile_services(config, context, faults);
    let (routes, conditions) = compile_routes(config, context, edge.as_ref(), &mut services, faults);
    let table = match Table::build(conditions) {
        Ok(table) => table,
        Err(clashes) => {
            clashes.iter().for_each(|clash| faults.add(clash_fault(config, clash)));
            return None;
        }
    };
    if !faults.is_empty() {
        return None;
    }
    let plan = Plan { generation: 0, revision: 0, table, routes: routes.into(), services, edge: edge?, entrances };
    lint::lint(config, &plan, faults);
    exposure::lint(config, &plan, faults);
    slips::lint(config, faults);
    route_tests::run(config, &plan, faults);
    faults.is_empty().then_some(plan)
}

fn compile_edge(config: &Config, context: &Context, faults: &mut Faults) -> Option<Edge> {
    check_listeners(config, faults);
    check_numbers(config, faults);
    check_store(config, faults);
    bounds::check(config, faults);
    let own_paths = compile_own_paths(config, faults);
    let admin_hosts = compile_admin_hosts(config, faults);
    let logged_headers = compile_logged_headers(config, faults);
    let trusted = Networks::parse(&config.trusted_proxies);
    wrong_items(&Place::new("trusted_proxies"), &config.trusted_proxies, trusted.as_ref().err(), net::ALLOWED, faults);
    let claims = context.claims;
    let rates = limits::compile(config, context.edge().map(|edge| &edge.rates), claims, context.owners, faults);
    let previous = context.edge().and_then(|edge| edge.auth.as_deref());
    let auth = config.auth.as_ref().map(|raw| auth::compile(raw, &rates, previous, claims, faults));
    let cors_defaults = cors::Defaults::compile(config.cors.as_ref(), faults);
    let cors = cors_defaults.of_route(None, &[], &Place::new("cors"), faults);
    let security = config.shields.security_headers.as_ref();
    let place = Place::new("shields").key("security_headers");
    let security = security.map(|raw| SecurityHeaders::compile(raw, &place, faults));
    let identity = HeaderNames::parse(&config.identity_headers);
    wrong_items(
        &Place::new("identity_headers"),
        &config.identity_headers,
        identity.as_ref().err(),
        names::ALLOWED,
        faults,
    );
    let flood = context.edge().and_then(|edge| edge.shields.flood.as_ref());
    let shields = shield::front(config, flood, faults);
    let names = context.names.clone().or_else(|| Names::compile(&config.dns, &Place::new("dns"), faults).map(Arc::new));
    Some(Edge {
        merge_slashes: config.paths.merge_slashes.0,
        own_paths,
        admin_hosts,
        shields: shields?,
        shielded: claims.policy("shields", ""),
        trusted: trusted.ok()?,
        identity: identity.ok()?.and(told(config)),
        protected: protected::names(config),
        limits: Limits::compile(&config.limits, faults),
        http2: Http2::compile(&config.http2, faults),
        auth: flatten(auth)?,
        cors: cors?,
        preflights: claims.policy("cors", ""),
        cors_defaults,
        security: flatten(security)?.map(Arc::new),
        rates,
        ledger: Arc::new(Local),
        limit_headers: config.rate_limit_headers.enabled.0.then_some(config.rate_limit_headers.reset),
        names: names?,
        acme_webroot: config.acme_webroot.as_ref().map(PathBuf::from),
        shows_clients: config.access_log.client_address == raw::ClientAddress::Full,
        logged_headers,
    })
}

/// What is there and has no fault, or is not there.
fn flatten<T>(compiled: Option<Option<T>>) -> Option<Option<T>> {
    match compiled {
        Some(compiled) => compiled.map(Some),
        None => Some(None),
    }
}

/// The headers that upstreams are told of users in: clients must not be able to send them.
fn told(config: &Config) -> impl Iterator<Item = String> {
    let auth = config.auth.iter();
    let names = auth.clone().flat_map(|auth| auth.headers.keys().cloned());
    let forward = auth.filter_map(|auth| auth.forward.as_ref());
    names.chain(forward.flat_map(|forward| forward.response_headers.iter().cloned()))
}

fn compile_entrances(config: &Config, faults: &mut Faults) -> Vec<Entrance> {
    let listeners = config.listen.iter().zip(listeners::ids(&config.listen)).enumerate();
    let place = |index| Place::new("listen").index(index);
    listeners.filter_map(|(index, (raw, id))| Entrance::compile(raw, id, &place(index), faults)).collect()
}

/// Reports those items of a list that are wrong.
pub(super) fn wrong_items(
    list: &Place,
    items: &[String],
    wrong: Option<&Vec<usize>>,
    allowed: &str,
    faults: &mut Faults,
) {
    for index in wrong.into_iter().flatten() {
        let found = items.get(*index).map(String::as_str).unwrap_or_default();
        faults.push(list.index(*index), format!("{found:?}"), allowed);
    }
}

fn check_listeners(config: &Config, faults: &mut Faults) {
    let mut seen = HashSet::new();
    let admin = (Place::new("admin").key("address"), &config.admin.address);
    let public = config.listen.iter().enumerate();
    let all = public.map(|(index, listen)| (Place::new("listen").index(index).key("address"), &listen.address));
    for (place, address) in all.chain([admin]) {
        if !is_address(address) {
            faults.push(place, format!("{address:?}"), "HOST:PORT with an IP address as host, or unix:/path");
        } else if !address.ends_with(":0") && !seen.insert(address) {
            faults.add(Fault::saying(place, format!("{address:?} is listened on twice")));
        }
    }
    listeners::check_names(&config.listen, faults);
    if config.listen.is_empty() {
        faults.push(Place::new("listen"), "an empty list", "at least one address");
    }
}

fn is_address(text: &str) -> bool {
    text.parse::<std::net::SocketAddr>().is_ok() || text.strip_prefix("unix:").is_some_and(|path| path.starts_with('/'))
}

fn check_store(config: &Config, faults: &mut Faults) {
    if config.store.location().is_none() {
        let allowed = "sqlite:FILE, postgres://USER@HOST/DATABASE, or none";
        faults.push(Place::new("store").key("url"), format!("{:?}", config.store.url), allowed);
    }
}

fn check_numbers(config: &Config, faults: &mut Faults) {
    let threads = config.threads.unwrap_or(1);
    let numbers = [
        (Place::new("threads"), threads, 1..=1024, "1 to 1024"),
        (Place::new("compression").key("level"), config.compression.level as usize, 1..=9, "1 to 9"),
        (Place::new("upstream_pool").key("size"), config.upstream_pool.size, 1..=1_000_000, "1 to 1000000"),
        (Place::new("access_log").key("queue"), config.access_log.queue, 16..=10_000_000, "16 to 10000000"),
    ];
    for (place, found, range, allowed) in numbers {
        if !range.contains(&found) {
            faults.push(place, found.to_string(), allowed);
        }
    }
}

fn compile_own_paths(config: &Config, faults: &mut Faults) -> Vec<(String, OwnPath)> {
    let own = &config.own_paths;
    let mut paths = Vec::new();
    for (key, path, what) in [("health", &own.health, OwnPath::Health), ("ready", &own.ready, OwnPath::Ready)] {
        match PathPattern::parse(path) {
            Ok(pattern) if pattern.is_exact() => paths.push((path.clone(), what)),
            _ => faults.push(Place::new("own_paths").key(key), format!("{path:?}"), "a path without wildcards"),
        }
    }
    if own.health == own.ready {
        faults.add(Fault::saying(Place::new("own_paths").key("ready"), "the same path as own_paths.health"));
    }
    if own.public.0 { paths } else { Vec::new() }
}

fn compile_admin_hosts(config: &Config, faults: &mut Faults) -> Box<[HostPattern]> {
    let place = Place::new("admin").key("hosts");
    let hosts = config.admin.hosts.iter().enumerate();
    let parse = |(index, host): (usize, &String)| {
        HostPattern::parse(host).map_err(|fault| faults.add(Fault::saying(place.index(index), fault))).ok()
    };
    hosts.filter_map(parse).collect()
}

fn compile_logged_headers(config: &Config, faults: &mut Faults) -> Box<[http::HeaderName]> {
    let mut names = Vec::new();
    for (index, text) in config.access_log.request_headers.iter().enumerate() {
        let place = Place::new("access_log").key("request_headers").index(index);
        match http::HeaderName::from_bytes(text.as_bytes()) {
            Ok(name) if is_credential_header(name.as_str()) || is_key_header(config, &name) => {
                faults.add(Fault::saying(place, format!("{text:?} carries credentials, which are never logged")));
            }
            Ok(name) => names.push(name),
            Err(_) => faults.push(place, format!("{text:?}"), "a header name"),
        }
    }
    names.into()
}

fn is_key_header(config: &Config, name: &http::HeaderName) -> bool {
    let keys = config.auth.as_ref().and_then(|auth| auth.api_keys.as_ref());
    keys.is_some_and(|keys| keys.header.eq_ignore_ascii_case(name.as_str()))
}

fn compile_services(config: &Config, context: &Context, faults: &mut Faults) -> Services {
    let mut services = HashMap::new();
    for (name, raw) in &config.services {
        let place = Place::new("services").key(name);
        if let Some(service) = context.service(name, raw, &config.upstream_pool, &place, faults) {
            services.insert(service.name.clone(), service);
        }
    }
    services
}

fn compile_routes(
    config: &Config,
    context: &Context,
    edge: Option<&Arc<Edge>>,
    services: &mut Services,
    faults: &mut Faults,
) -> (Vec<Arc<Route>>, Vec<Conditions>) {
    let count = config.routes.len();
    let (mut routes, mut conditions, mut terms) =
        (Vec::with_capacity(count), Vec::with_capacity(count), Alike::default());
    for (index, raw) in config.routes.iter().enumerate() {
        let place = Place::new("routes").index(index);
        if raw.name.is_empty() {
            faults.push(place.key("name"), "an empty name", "a name");
        }
        let path = PathPattern::parse(&raw.path_pattern);
        let path = path.map_err(|fault| faults.add(Fault::saying(place.key("path_pattern"), fault))).ok();
        let written = Written { config, raw, name: raw.name.as_str().into(), path, place };
        let taken = compile_conditions(&written, faults);
        let route = route_parts::compile(&written, context, edge, services, faults);
        if let (Some(taken), Some(mut route), true) = (taken, route, raw.is_active.0) {
            terms.share(&mut route.terms);
            routes.push(Arc::new(route));
            conditions.push(taken);
        }
    }
    (routes, conditions)
}

fn compile_conditions(written: &Written, faults: &mut Faults) -> Option<Conditions> {
    let Written { config, raw, name, path, place } = written;
    let before = faults.len();
    let mut collect = |at: Place, result: Result<(), String>| {
        result.unwrap_or_else(|fault| faults.add(Fault::saying(at, fault)));
    };
    let (mut hosts, mut methods, mut headers, mut query) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (index, host) in raw.hosts.iter().enumerate() {
        collect(place.key("hosts").index(index), HostPattern::parse(host).map(|host| hosts.push(host)));
    }
    for (index, method) in raw.methods.iter().enumerate() {
        collect(place.key("methods").index(index), parse_method(method).map(|method| methods.push(method)));
    }
    for (name, condition) in &raw.headers {
        let compiled = HeaderCondition::compile(name, condition);
        collect(place.key("headers").key(name), compiled.map(|condition| headers.push(condition)));
    }
    for (name, condition) in &raw.query {
        let compiled = QueryCondition::compile(name, condition);
        collect(place.key("query").key(name), compiled.map(|condition| query.push(condition)));
    }
    let listeners = listeners::of_route(config, &raw.listeners, &place.key("listeners"), faults);
    let (true, Some(path)) = (faults.len() == before, path) else { return None };
    Some(Conditions {
        name: name.clone(),
        path: path.clone(),
        methods: methods.into_iter().collect(),
        priority: raw.priority,
        further: Further::new(hosts, listeners, headers, query),
    })
}

pub(super) fn parse_method(text: &str) -> Result<http::Method, String> {
    let wrong = || format!("found {text:?}, allowed: a method in capital letters, such as GET or POST");
    let method = http::Method::from_bytes(text.as_bytes()).map_err(|_| wrong())?;
    if method == http::Method::CONNECT {
        return Err("CONNECT is never routed".into());
    }
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) { Err(wrong()) } else { Ok(method) }
}

fn clash_fault(config: &Config, clash: &Clash) -> Fault {
    let nth = |position: usize| active(config).nth(position);
    let first = nth(clash.first).map(|(_, route)| route.name.as_str()).unwrap_or_default();
    let second = nth(clash.second).map_or(0, |(index, _)| index);
    let host = clash.host.as_ref().map(|host| format!(" for the host {host}")).unwrap_or_default();
    let text = format!("matches exactly what the route {first:?} matches{host}");
    Fault::saying(Place::new("routes").index(second), text)
        .with_hint("give one of them a priority, or another condition")
}

/// The routes that take part, with their place in the configuration.
pub(super) fn active(config: &Config) -> impl Iterator<Item = (usize, &raw::Route)> {
    config.routes.iter().map(|route| &**route).enumerate().filter(|(_, route)| route.is_active.0)
}
