//! Why a request goes where it goes: the walk, told step by step through the very functions that serve requests.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use serde::{Deserialize, Serialize};

use super::judged::{self, Judged};
use super::route::{Action, HostSent, Route};
use super::walk::{Asked, Decision, lookup};
use super::{Plan, hops};
use crate::listen::entrance::Entrance;
use crate::policy::auth::identity::Identity;
use crate::policy::shield::announces_body;
use crate::upstream::service::Service;
use crate::upstream::sticky::Who;
use gatekeeper_core::refusal::Refusal;
use gatekeeper_core::route::{Candidate, Failed, ListenerId};

/// A request, told step by step.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Explanation {
    /// The listener it came by, by name or address, where there are several.
    pub listener: Option<String>,
    /// The canonical path; absent if there is none.
    pub path: Option<String>,
    /// The canonical host.
    pub host: Option<String>,
    /// Every route whose host and path match, the first in precedence first.
    pub candidates: Vec<Considered>,
    /// The route that was taken.
    pub route: Option<String>,
    /// What the route's policies say.
    #[serde(flatten)]
    pub policies: Judged,
    /// What is sent where.
    pub sent: Option<Sent>,
    /// What the gateway answers itself.
    pub answer: Option<Answered>,
}

/// A route that was considered.
#[derive(Debug, Deserialize, Serialize)]
pub struct Considered {
    /// Its name.
    pub route: String,
    /// The first condition that does not hold.
    pub failed: Option<String>,
    /// For the winner: the rule that put it before the next route that would have taken the request.
    pub won_by: Option<String>,
}

/// What is sent where.
#[derive(Debug, Deserialize, Serialize)]
pub struct Sent {
    /// The service.
    pub service: String,
    /// Its targets.
    pub targets: Vec<String>,
    /// The request line's target.
    pub target: String,
    /// The Host.
    pub host: String,
    /// The other services of a split, if the choice between them is left to the moment.
    pub or: Vec<String>,
}

/// What the gateway answers itself.
#[derive(Debug, Deserialize, Serialize)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// Which refusal it is, if it is one.
    pub code: Option<String>,
    /// What it says.
    pub detail: String,
}

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

impl From<Refusal> for Answered {
    fn from(refusal: Refusal) -> Self {
        Answered {
            status: refusal.kind.status,
            code: Some(refusal.kind.code.into()),
            detail: refusal.detail.to_string(),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(listener) = &self.listener {
            writeln!(f, "listener    {listener}")?;
        }
        writeln!(f, "path        {}", self.path.as_deref().unwrap_or("none"))?;
        writeln!(f, "host        {}", self.host.as_deref().unwrap_or("none"))?;
        for (place, candidate) in self.candidates.iter().enumerate() {
            let label = if place == 0 { "candidates" } else { "" };
            let verdict = match (&candidate.failed, &candidate.won_by) {
                (Some(failed), _) => format!("refused by its {failed}"),
                (None, Some(rule)) => format!("taken: {rule}"),
                (None, None) if self.route.as_deref() == Some(&candidate.route) => "taken".into(),
                (None, None) => "would take it too".into(),
            };
            writeln!(f, "{label:<11} {:<24} {verdict}", candidate.route)?;
        }
        write!(f, "{}", self.policies)?;
        if let Some(sent) = &self.sent {
            writeln!(f, "service     {} ({})", sent.service, sent.targets.join(", "))?;
            if !sent.or.is_empty() {
                writeln!(f, "or          {}", sent.or.join(", "))?;
            }
            writeln!(f, "sends       {} with Host: {}", sent.target, sent.host)?;
        }
        match &self.answer {
            Some(answer) => match &answer.code {
                Some(code) => writeln!(f, "answers     {} {code}: {}", answer.status, answer.detail),
                None => writeln!(f, "answers     {}: {}", answer.status, answer.detail),
            },
            None => Ok(()),
        }
    }
}
