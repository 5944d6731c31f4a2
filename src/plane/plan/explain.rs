//! Why a request goes where it goes: the walk, told step by step through the very functions that serve requests.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;

use super::judged;
use super::route::{Action, HostSent, Route};
use super::walk::{Asked, Decision, lookup};
use super::{Plan, hops};
use crate::listen::entrance::Entrance;
use crate::policy::auth::identity::Identity;
use crate::policy::shield::announces_body;
use crate::upstream::service::Service;
use crate::upstream::sticky::Who;
use gatekeeper_core::refusal::Refusal;
use gatekeeper_core::reports::{Answered, Considered, Explanation, Sent};
use gatekeeper_core::route::{Candidate, Failed, ListenerId};

impl Plan {
    /// Tells what becomes of a request of a client that comes by one of the entrances; no address is a peer on a unix socket.
    /// `pretended` is who is to be taken for its user. Turns of splits and targets go on by one, nothing else changes: the
    /// flood guard is not asked, nothing is counted.
    pub fn explain(
        &self,
        request: &Parts,
        entrance: &Entrance,
        client: Option<IpAddr>,
        pretended: Option<&Arc<Identity>>,
    ) -> Explanation {
        let listener = (self.entrances.len() > 1).then(|| entrance.called().shown().into());
        let mut told = Explanation { listener, ..Explanation::default() };
        if let Err(refusal) = self.tell(request, entrance.id, client, pretended, &mut told) {
            told.answer = Some(refusal.into());
        }
        told
    }

    fn tell(
        &self,
        request: &Parts,
        listener: ListenerId,
        client: Option<IpAddr>,
        pretended: Option<&Arc<Identity>>,
        told: &mut Explanation,
    ) -> Result<(), Refusal> {
        self.require(request)?;
        let asked = self.inspect(request, listener)?;
        told.path = Some(asked.path.to_string());
        told.host = asked.host.as_deref().map(String::from);
        let front = &self.edge.shields;
        let methods = front.methods.as_ref().map_or(Ok(()), |methods| methods.admit(&request.method));
        front.addresses.admit(client).and(methods).or_else(|refusal| passed(refusal, front.shadow))?;
        let candidates = self.table.explain(&lookup(&asked, request));
        told.candidates = candidates.iter().map(|candidate| self.considered(candidate)).collect();
        let route = match self.decide(&asked, request)? {
            Decision::Route(route) => route,
            Decision::Preflight(route) => {
                told.route = Some(route.name.to_string());
                let judged = route.terms.shield.addresses.admit(client);
                judged.or_else(|refusal| passed(refusal, route.terms.shield.shadow))?;
                let detail = "a preflight, answered by the gateway".into();
                told.answer = Some(Answered { status: 204, code: None, detail });
                return Ok(());
            }
            Decision::Own(own) => {
                let detail = format!("the gateway's own path: {own:?}");
                told.answer = Some(Answered { status: 200, code: None, detail });
                return Ok(());
            }
        };
        told.route = Some(route.name.to_string());
        let body = || route.terms.shield.admit_body(&request.headers, announces_body(&request.headers));
        let judged = route.terms.shield.addresses.admit(client).and_then(|()| body());
        judged.or_else(|refusal| passed(refusal, route.terms.shield.shadow))?;
        let user = judged::judge(route, &asked, request, client, pretended, &mut told.policies)?;
        match &route.action {
            Action::Redirect(status, to) => {
                let place = route.redirect_to(to, &asked)?;
                let detail = format!("Location: {}", String::from_utf8_lossy(place.as_bytes()));
                told.answer = Some(Answered { status: status.as_u16(), code: None, detail });
            }
            Action::Respond(fixed) => {
                let detail = format!("a fixed response of {} bytes", fixed.body.len());
                told.answer = Some(Answered { status: fixed.status.as_u16(), code: None, detail });
            }
            Action::Forward(_) | Action::Split(_) if hops::left(request, asked.present)? == Some(0) => {
                let detail = "Max-Forwards is used up, and the gateway answers".into();
                told.answer = Some(Answered { status: 200, code: None, detail });
            }
            Action::Forward(_) | Action::Split(_) => {
                let user = user.as_ref().map(|user| &*user.identity);
                told.sent =
                    self.sent(route, request, &asked, Who { address: client, user: user.and_then(Identity::name) })?;
            }
        }
        Ok(())
    }

    fn considered(&self, candidate: &Candidate) -> Considered {
        let name = self.routes.get(candidate.route).map(|route| route.name.to_string());
        let failed = candidate.failed.map(|failed| match failed {
            Failed::Listener => "listeners".into(),
            Failed::Header(name) => format!("header {name}"),
            Failed::Query(name) => format!("query parameter {name}"),
            Failed::Method => "method".into(),
        });
        Considered { route: name.unwrap_or_default(), failed, won_by: candidate.won_by.map(|rule| rule.to_string()) }
    }

    fn sent(&self, route: &Route, request: &Parts, asked: &Asked, who: Who) -> Result<Option<Sent>, Refusal> {
        let Some(service) = route.service(request, who) else { return Ok(None) };
        let path = route.upstream_path(asked, self.edge.merge_slashes)?;
        let target = asked.query.map_or(path.to_string(), |query| format!("{path}?{query}"));
        let or = match &route.action {
            Action::Split(split) => split.services.iter().map(|other| other.name.to_string()).collect(),
            _ => Vec::new(),
        };
        Ok(Some(Sent {
            service: service.name.to_string(),
            targets: service.targets.iter().map(|target| target.url.to_string()).collect(),
            target,
            host: host_sent(route, service, asked),
            or: or.into_iter().filter(|name: &String| **name != *service.name).collect(),
        }))
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

/// What is on trial refuses nothing.
fn passed(refusal: Refusal, shadow: bool) -> Result<(), Refusal> {
    if shadow { Ok(()) } else { Err(refusal) }
}
