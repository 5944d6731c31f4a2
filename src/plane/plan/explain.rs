//! Why a request goes where it goes, told by the witness that explains: it looks at what a request would meet, changes nothing, and tells what it saw.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures::FutureExt;
use http::header::ORIGIN;
use http::request::Parts;

use super::Plan;
use super::asked::Asked;
use super::judged;
use super::present::is_websocket;
use super::route::{Action, HostSent, Route, RouteAccess};
use super::walk::{self, End, Entrant, Onward, Routed, Witness};
use crate::listen::entrance::Entrance;
use crate::policy::auth::identity::Identity;
use crate::policy::auth::{User, Visitor, fetch};
use crate::policy::cors::preflight_method;
use crate::policy::flood::Flood;
use crate::policy::shield::{Addresses, announces_body};
use crate::upstream::admission::{self, busy, no_target};
use crate::upstream::pool::Outlook;
use crate::upstream::service::Service;
use crate::upstream::shares::Shares;
use crate::upstream::sticky::Who;
use gatekeeper_core::breaker::Asker;
use gatekeeper_core::refusal::{Kind, Refusal};
use gatekeeper_core::reports::{Answered, Considered, Explanation, Sent};
use gatekeeper_core::route::{Candidate, Failed, Lookup};

/// What is supposed of a request that is to be explained.
pub struct Inquired<'a> {
    /// Where it comes in.
    pub entrance: &'a Entrance,
    /// Its client's address; none is a peer on a unix socket.
    pub client: Option<IpAddr>,
    /// Who is to be taken for its user.
    pub user: Option<&'a Arc<Identity>>,
    /// The plan serves: what is known of the services' targets is as it is.
    pub serves: bool,
}

impl Plan {
    /// Tells what becomes of a request. Nothing is counted, and nobody's turn is taken.
    pub fn explain(&self, request: &Parts, inquired: &Inquired) -> Explanation {
        let listener = (self.entrances.len() > 1).then(|| inquired.entrance.called().shown().into());
        let told = Explanation { listener, ..Explanation::default() };
        let mut explainer = Explainer { request, inquired, user: None, now: Instant::now(), told, denied: Vec::new() };
        // It waits for nobody.
        let refused = explainer.go(self).now_or_never().unwrap_or_else(|| Err(Kind::INTERNAL.into())).err();
        explainer.told.answer = refused.map(Answered::from).or(explainer.told.answer);
        explainer.told
    }
}

struct Explainer<'a> {
    request: &'a Parts,
    inquired: &'a Inquired<'a>,
    user: Option<User>,
    now: Instant,
    told: Explanation,
    /// What a preflight asks for in vain.
    denied: Vec<String>,
}

/// A request before its service.
struct Entering<'a, 'b> {
    explainer: &'a mut Explainer<'b>,
    bound: &'a Bound,
}

/// Where a request is bound for.
struct Bound {
    route: Arc<Route>,
    service: Arc<Service>,
    asker: Asker,
    sent: Sent,
}

impl Explainer<'_> {
    async fn go(&mut self, plan: &Plan) -> Result<(), Refusal> {
        let Some(bound) = walk::walk(plan, self.request, self).await? else { return Ok(()) };
        walk::admit(&mut Entering { explainer: self, bound: &bound }).await?;
        self.told.sent = Some(bound.sent);
        Ok(())
    }

    fn client(&self) -> Option<IpAddr> {
        self.inquired.client
    }

    fn visitor<'v>(&'v self, at: &Routed<'v>) -> Visitor<'v> {
        Visitor {
            request: at.request,
            path: &at.asked.path,
            address: self.client(),
            certificate: None,
            tls: self.inquired.entrance.tls.is_some(),
            trusted: false,
            cors: at.route.terms.cors.as_ref(),
            now: (self.now, SystemTime::now()),
            until: None,
        }
    }

    fn limits(&mut self, route: &Route) -> Result<(), Refusal> {
        let path = self.told.path.as_deref().unwrap_or_default();
        let counted = judged::Counted { request: self.request, path, client: self.client(), user: self.user.as_ref() };
        let (standings, refusal) = judged::limits(route, &counted, self.now);
        self.told.policies.limits = standings;
        refusal.map_or(Ok(()), Err)
    }

    /// What the browser makes of a preflight's answer.
    fn preflight(&self) -> String {
        match self.denied.as_slice() {
            [] => "a preflight, answered by the gateway: the browser sends the request".into(),
            denied => {
                format!(
                    "a preflight, answered by the gateway: the browser does not send the request, {}",
                    denied.join(", ")
                )
            }
        }
    }

    fn answers(&mut self, status: u16, detail: String) {
        self.told.answer = Some(Answered { status, code: None, detail, cause: None });
    }
}

impl Witness for Explainer<'_> {
    type Outcome = Option<Bound>;

    fn entrance(&self) -> &Entrance {
        self.inquired.entrance
    }

    fn understood(&mut self, asked: &Asked, _request: &Parts) {
        self.told.path = Some(asked.path.to_string());
        self.told.host = asked.host.as_deref().map(String::from);
    }

    fn admit(&self, addresses: &Addresses) -> Result<(), Refusal> {
        addresses.admit(self.client())
    }

    fn guard(&self, flood: &Flood) -> Result<(), Refusal> {
        flood.look(self.client())
    }

    fn choose(&mut self, plan: &Plan, asked: &Asked, request: &Parts) {
        // A preflight is for the route of the request that it announces.
        let announced =
            plan.preflight(asked, request).and_then(|_| preflight_method(&request.method, &request.headers));
        let lookup = asked.lookup(request);
        let lookup = announced.as_ref().map_or(lookup, |method| Lookup { method, ..lookup });
        let candidates = plan.table.explain(&lookup);
        self.told.candidates = candidates.iter().map(|candidate| considered(plan, candidate)).collect();
    }

    fn routed(&mut self, at: &Routed) {
        self.told.route = Some(at.route.name.to_string());
        let Some((origin, cors)) = at.request.headers.get(ORIGIN).zip(at.route.terms.cors.as_ref()) else { return };
        let told = cors.told(origin);
        self.denied = if cors.admits(origin) { cors.missed(&at.request.headers) } else { vec![told.clone()] };
        self.told.policies.cors = Some(told);
    }

    fn admit_body(&self, at: &Routed) -> Result<(), Refusal> {
        at.route.terms.shield.admit_body(&at.request.headers, announces_body(&at.request.headers))
    }

    async fn authenticate(&mut self, at: &Routed<'_>) -> Result<Option<Box<fetch::Answer>>, Refusal> {
        let (told, user) = match (&at.route.terms.auth, self.inquired.user) {
            (None, _) => ("public".into(), Ok(None)),
            (Some(_), Some(identity)) => judged::pretended(identity),
            (Some(auth), None) => judged::who(auth, &self.visitor(at)),
        };
        self.told.policies.auth = Some(told);
        self.user = user?;
        Ok(None)
    }

    fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    fn authorise(&mut self, access: &RouteAccess, judged: Result<(), Refusal>) -> Result<(), Refusal> {
        let told = judged.as_ref().map_or_else(|refusal| refusal.detail.to_string(), |()| "granted".into());
        self.told.policies.access = Some(told);
        if access.shadow { Ok(()) } else { judged }
    }

    async fn charge(&mut self, at: &Routed<'_>) -> Result<(), Refusal> {
        self.limits(at.route)
    }

    fn service<'r>(&self, at: &Routed<'r>) -> Option<&'r Arc<Service>> {
        let user = self.user.as_ref().and_then(|user| user.identity.name());
        at.route.service(at.request, Who { address: self.client(), user }, Shares::peek)
    }

    fn end(&mut self, end: End<'_>) -> Option<Bound> {
        match end {
            End::Own(own) => self.answers(200, format!("the gateway's own path: {own:?}")),
            End::Challenge(challenge) => {
                let read =
                    challenge.read().map(|text| format!("the response to an ACME challenge, {} bytes", text.len()));
                match read {
                    Ok(detail) => self.answers(200, detail),
                    Err(refusal) => self.told.answer = Some(refusal.into()),
                }
            }
            End::Preflight => self.answers(204, self.preflight()),
            End::Others(reply) => {
                self.answers(reply.status.as_u16(), "the answer of the forward authentication service".into())
            }
            End::Redirect(status, place) => {
                let why =
                    if self.told.route.is_none() { "the listener redirects to https (redirect_https), " } else { "" };
                let place = String::from_utf8_lossy(place.as_bytes());
                self.answers(status.as_u16(), format!("{why}Location: {place}"));
            }
            End::Respond(fixed) => {
                self.answers(fixed.status.as_u16(), format!("a fixed response of {} bytes", fixed.body.len()));
            }
            End::LastHop(_) => self.answers(200, "Max-Forwards is 0, so the gateway answers itself".into()),
            End::Forward(onward) => return Some(bound(&onward)),
        }
        None
    }
}

impl Entrant for Entering<'_, '_> {
    type Stop = Refusal;

    fn look(&mut self) -> Result<(), Refusal> {
        let Bound { route, service, asker, .. } = self.bound;
        admission::look(service, route.terms.breaks, *asker, self.explainer.now)
    }

    fn enter(&mut self) -> Result<bool, Refusal> {
        let service = &self.bound.service;
        Ok(service.settings.room.is_none_or(|room| service.gate.has_room(room)))
    }

    async fn look_at_limits(&mut self) -> Result<(), Refusal> {
        self.charge().await
    }

    /// It would wait, unless too many do.
    async fn queue(&mut self) -> Result<(), Refusal> {
        let service = &self.bound.service;
        let is_full = service.settings.room.is_some_and(|room| service.gate.line.waiting() >= room.queue.length);
        if is_full { Err(busy()) } else { Ok(()) }
    }

    fn take_leave(&mut self) -> Result<(), Refusal> {
        Ok(())
    }

    /// Nobody has looked for the targets of a plan that does not serve.
    async fn reserve(&mut self) -> Result<(), Refusal> {
        let service = &self.bound.service;
        match service.pool().outlook(self.explainer.now) {
            Outlook::Nobody if self.explainer.inquired.serves => Err(no_target(service)),
            Outlook::Busy if service.memory.line.waiting() >= service.settings.queue.length => Err(busy()),
            Outlook::Room | Outlook::Busy | Outlook::Nobody => Ok(()),
        }
    }

    async fn charge(&mut self) -> Result<(), Refusal> {
        self.explainer.limits(&self.bound.route)
    }
}

fn considered(plan: &Plan, candidate: &Candidate) -> Considered {
    let name = plan.routes.get(candidate.route).map(|route| route.name.to_string());
    let failed = candidate.failed.map(|failed| match failed {
        Failed::Listener => "listeners".into(),
        Failed::Header(name) => format!("header {name}"),
        Failed::Query(name) => format!("query parameter {name}"),
        Failed::Method => "method".into(),
    });
    Considered { route: name.unwrap_or_default(), failed, won_by: candidate.won_by.map(|rule| rule.to_string()) }
}

fn bound(onward: &Onward) -> Bound {
    let Onward { at, service, .. } = onward;
    let uploads = announces_body(&at.request.headers) && !is_websocket(at.request, at.asked.present);
    let asker = Asker { route: at.route.name_hash, uploads };
    Bound { route: at.route.clone(), service: (*service).clone(), asker, sent: sent(onward) }
}

fn sent(onward: &Onward) -> Sent {
    let Onward { at, service, path, .. } = onward;
    let or = match &at.route.action {
        Action::Split(split) => split.services.iter().map(|other| other.name.to_string()).collect(),
        _ => Vec::new(),
    };
    Sent {
        service: service.name.to_string(),
        targets: service.targets.iter().map(|target| target.url.to_string()).collect(),
        target: at.asked.query.map_or(path.to_string(), |query| format!("{path}?{query}")),
        host: host_sent(at.route, service, at.asked),
        or: or.into_iter().filter(|name: &String| **name != *service.name).collect(),
    }
}

fn host_sent(route: &Route, service: &Service, asked: &Asked) -> String {
    match &route.terms.host {
        HostSent::Kept => asked.host.as_deref().unwrap_or_default().into(),
        HostSent::Fixed(name) => String::from_utf8_lossy(name.as_bytes()).into_owned(),
        HostSent::Target => {
            let names = service.targets.iter().map(|target| String::from_utf8_lossy(target.authority.as_bytes()));
            names.collect::<Vec<_>>().join(" or ")
        }
    }
}
