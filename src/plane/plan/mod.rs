//! The plan: the configuration compiled into what requests need, immutable, with one constructor (`compile`).
//!
//! A request is routed by one plan and keeps the `Arc` of its route and service to its end, not of the plan: a websocket
//! that lives for a week must not hold a week of old plans.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::listen::entrance::Entrance;
use crate::listen::http2::Http2;
use crate::listen::limits::Limits;
use crate::listen::reception::Rules;
use crate::observe::PolicyMetrics;
use crate::policy::auth::Auth;
use crate::policy::auth::provider::Provider;
use crate::policy::cors::Cors;
use crate::policy::security_headers::SecurityHeaders;
use crate::policy::shield::Front;
use crate::upstream::names::Names;
use crate::upstream::service::Service;
use gatekeeper_core::limit::Ledger;
use gatekeeper_core::net::Networks;
use gatekeeper_core::route::{HostPattern, Table};
use gatekeeper_model::raw::Reset;

mod access;
mod alike;
pub mod asked;
mod auth;
mod bounds;
pub mod candidate;
pub mod compile;
mod cors;
pub mod decision;
pub mod explain;
mod exposure;
pub mod gauges;
pub mod grpc;
pub mod hops;
mod judged;
pub mod limits;
pub mod lint;
pub mod listeners;
pub mod live;
pub mod names;
pub mod present;
mod protected;
pub mod route;
mod route_parts;
pub mod route_tests;
mod shield;
mod slips;
pub mod walk;

pub use route_parts::MOST_RETRIES;

/// Everything a request needs to know of the configuration.
pub struct Plan {
    /// Counts the plans of this process, from 1; 0 is a plan that does not serve.
    pub generation: u64,
    /// The revision of the configuration, as it is told: the store's, or where there is none, the generation.
    pub revision: u64,
    /// Which route a request takes.
    pub table: Table,
    /// The routes, by the table's indices.
    pub routes: Box<[Arc<route::Route>]>,
    /// The services, by name.
    pub services: HashMap<Arc<str>, Arc<Service>>,
    /// What holds for every request.
    pub edge: Arc<Edge>,
    /// What each listener asks of its connections.
    pub entrances: Vec<Entrance>,
}

/// What holds for every request, before and after its route is known.
pub struct Edge {
    /// `//` counts as `/`.
    pub merge_slashes: bool,
    /// The gateway's own paths on the public listeners; empty if they are only on the administration listener.
    pub own_paths: Vec<(String, OwnPath)>,
    /// The names by which the administration listener may be asked.
    pub admin_hosts: Box<[HostPattern]>,
    /// Whom and what is turned away before a route is chosen.
    pub shields: Front,
    /// What shields refused, those of routes included.
    pub shielded: PolicyMetrics,
    /// Who may say where a request came from.
    pub trusted: Networks,
    /// Which request headers are deleted because they tell an upstream who the user is.
    pub identity: names::HeaderNames,
    /// Which request headers a client's `Connection` must not take away.
    pub protected: HashSet<http::HeaderName>,
    /// What connections may take.
    pub limits: Limits,
    /// What they may do with HTTP/2.
    pub http2: Http2,
    /// How clients show who they are.
    pub auth: Option<Arc<Auth>>,
    /// Which pages may read what the gateway answers before a route is known.
    pub cors: Option<Cors>,
    /// What preflights were answered: accepted, or refused.
    pub preflights: PolicyMetrics,
    /// What routes that do not say otherwise have of it.
    pub(crate) cors_defaults: cors::Defaults,
    /// What browsers are to be careful with, likewise.
    pub security: Option<Arc<SecurityHeaders>>,
    /// How often clients may come.
    pub rates: limits::Limits,
    /// Where that is counted.
    pub ledger: Arc<dyn Ledger>,
    /// How responses tell of limits, if they do.
    pub limit_headers: Option<Reset>,
    /// How the names of targets become addresses.
    pub names: Arc<Names>,
    /// Where an ACME client writes its challenges.
    pub acme_webroot: Option<PathBuf>,
    /// The access log shows whole addresses of clients.
    pub shows_clients: bool,
    /// Request headers the access log shows.
    pub logged_headers: Box<[http::HeaderName]>,
}

impl Edge {
    /// Who publishes keys that have to be fetched.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        let issuers = self.auth.iter().filter_map(|auth| auth.issuers.as_ref());
        issuers.flat_map(|issuers| issuers.providers())
    }

    /// What all connections are held to.
    pub fn rules(&self) -> Rules {
        Rules { limits: self.limits, budgets: self.http2.budgets, trusted: self.trusted.clone() }
    }
}

/// A path the gateway itself answers on the public listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnPath {
    /// This process is alive.
    Health,
    /// The plan is loaded, the listeners are up, the gateway is not stopping.
    Ready,
}
