//! A route as requests see it: what is done with a request that took it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::listen::deadline::Timeouts;
use crate::observe::PolicyMetrics;
use crate::observe::metrics::RouteMetrics;
use crate::plan::Edge;
use crate::plan::asked::Asked;
use crate::plan::limits::RouteLimits;
use crate::policy::access::Access;
use crate::policy::auth::RouteAuth;
use crate::policy::cors::Cors;
use crate::policy::limit::Endpoint;
use crate::policy::security_headers::SecurityHeaders;
use crate::policy::shield::Shield;
use crate::upstream::service::Service;
use crate::upstream::shares::Shares;
use crate::upstream::sticky::{Sticky, Who};
use gatekeeper_core::refusal::{Kind, Refusal};
use gatekeeper_core::retry::{Backoff, Conditions};
use gatekeeper_core::route::path::{canonicalise_derived, strip_prefix};
use gatekeeper_core::route::{PathPattern, Template};
use gatekeeper_model::Origin;

/// A route. With many routes they are in nobody's cache: what decides on every request comes first, close together.
#[repr(C)]
pub struct Route {
    /// On what terms it takes requests.
    pub terms: Arc<Terms>,
    /// What held for every request when the route was compiled.
    pub edge: Arc<Edge>,
    /// Its metrics.
    pub metrics: RouteMetrics,
    /// What stands for its name where requests are counted.
    pub name_hash: u64,
    /// Its name.
    pub name: Arc<str>,
    /// What the user must be.
    pub access: Option<Box<RouteAccess>>,
    /// What is done with a request.
    pub action: Action,
    /// The path sent upstream.
    pub path: PathSent,
    /// What its path looks like, for the captures.
    pub pattern: PathPattern,
    /// Who declared it.
    pub origin: Origin,
}

/// On what terms a route takes requests. Routes with the same share them, so that the processor's cache holds them for all.
#[derive(PartialEq)]
pub struct Terms {
    /// The Host sent upstream.
    pub host: HostSent,
    /// `;`, %2F and its like in a path are refused.
    pub rejects_reserved: bool,
    /// Whom and what it turns away.
    pub shield: Shield,
    /// Which pages may read its answers.
    pub cors: Option<Cors>,
    /// What browsers are to be careful with.
    pub security: Option<Arc<SecurityHeaders>>,
    /// How clients show who they are; nobody has to if absent.
    pub auth: Option<RouteAuth>,
    /// A response ends with the credential by which its request was let in.
    pub close_at_expiry: bool,
    /// How often clients may come.
    pub limits: RouteLimits,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// When a request is tried once more.
    pub retry: Retry,
    /// The circuit breaker of the service holds for its requests.
    pub breaks: bool,
    /// The level responses are compressed with; 0 for not at all.
    pub compression: u32,
}

/// What is done with a request.
pub enum Action {
    /// It goes to a service.
    Forward(Arc<Service>),
    /// It goes to one of several services.
    Split(Box<Split>),
    /// It is told to go elsewhere.
    Redirect(StatusCode, Template),
    /// It is answered at once.
    Respond(Box<Respond>),
}

/// What a user must be to take a route.
pub struct RouteAccess {
    /// This.
    pub access: Access,
    /// What is missing is told and passes.
    pub shadow: bool,
    /// What was decided.
    pub metrics: PolicyMetrics,
}

/// A weighted choice of services.
pub struct Split {
    /// The shares, one for each service.
    pub shares: Shares,
    /// The services.
    pub services: Box<[Arc<Service>]>,
    /// What keeps a client at the service once chosen.
    pub sticky: Option<Sticky>,
}

/// A fixed response.
pub struct Respond {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: Bytes,
}

/// The path sent upstream.
pub enum PathSent {
    /// As it came, canonical.
    Kept,
    /// Without these leading segments.
    Stripped(Box<str>),
    /// Another one.
    Rewritten(Template),
}

/// The Host sent upstream.
#[derive(PartialEq)]
pub enum HostSent {
    /// As it came.
    Kept,
    /// The target's.
    Target,
    /// Another one.
    Fixed(HeaderValue),
}

/// When a request is tried once more.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Attempts beyond the first.
    pub count: u32,
    /// After what, and which requests.
    pub conditions: Conditions,
    /// How long to wait before.
    pub backoff: Backoff,
}

impl Route {
    /// The route as requests are counted by it.
    pub fn endpoint(&self) -> Endpoint<'_> {
        Endpoint { name: &self.name, hash: self.name_hash }
    }

    /// The service this request goes to; `None` if the gateway answers it itself. Where nothing keeps a client at one of
    /// several, `deal` says whose turn it is.
    pub fn service(&self, request: &Parts, client: Who, deal: fn(&Shares) -> usize) -> Option<&Arc<Service>> {
        match &self.action {
            Action::Forward(service) => Some(service),
            Action::Split(split) => split.services.get(split.choose(request, client, deal)),
            Action::Redirect(..) | Action::Respond(_) => None,
        }
    }

    /// All services that its requests may go to.
    pub fn services(&self) -> &[Arc<Service>] {
        match &self.action {
            Action::Forward(service) => std::slice::from_ref(service),
            Action::Split(split) => &split.services,
            Action::Redirect(..) | Action::Respond(_) => &[],
        }
    }

    /// The path sent upstream. What a change produces is canonicalised again; one that leaves the canonical form by a dot
    /// segment was smuggled in by a capture and is refused.
    pub fn upstream_path<'a>(&self, asked: &'a Asked, merge_slashes: bool) -> Result<Cow<'a, str>, Refusal> {
        let changed: Cow<'a, str> = match &self.path {
            PathSent::Kept => return Ok(Cow::Borrowed(&asked.path)),
            PathSent::Stripped(prefix) => Cow::Borrowed(strip_prefix(&asked.path, prefix).unwrap_or(&asked.path)),
            PathSent::Rewritten(template) => {
                let captures = self.pattern.captures(&asked.path);
                Cow::Owned(template.expand(|name| captures.as_ref()?.get(name)))
            }
        };
        match canonicalise_derived(&changed, merge_slashes) {
            Ok(Cow::Borrowed(_)) => Ok(changed),
            Ok(Cow::Owned(canonical)) => Ok(Cow::Owned(canonical)),
            Err(_) => Err(Refusal::malformed("path_rewritten", "the rewritten path has no canonical form")),
        }
    }

    /// Where a redirect leads.
    pub fn redirect_to(&self, template: &Template, asked: &Asked) -> Result<HeaderValue, Refusal> {
        let captures = self.pattern.captures(&asked.path);
        let query = asked.query.map(|query| format!("?{query}")).unwrap_or_default();
        let place = template.expand(|name| match name {
            "host" => asked.host.as_deref(),
            "path" => Some(&asked.path),
            "query" => Some(&query),
            _ => captures.as_ref()?.get(name),
        });
        // `//host` would lead to another host: a capture must not be able to make that of a path.
        let place = if place.starts_with('/') { format!("/{}", place.trim_start_matches('/')) } else { place };
        HeaderValue::from_str(&place).map_err(|_| Refusal::new(Kind::INTERNAL, "the redirect has no valid Location"))
    }
}

impl Split {
    fn choose(&self, request: &Parts, client: Who, deal: fn(&Shares) -> usize) -> usize {
        match self.sticky.as_ref().and_then(|sticky| sticky.hash(request, client)) {
            Some(hash) => self.shares.of_hash(hash),
            None => deal(&self.shares),
        }
    }
}
