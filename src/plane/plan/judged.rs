//! What the policies of a route would say of a request: told by `explain`, through the functions that serve requests, without
//! counting anything.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::request::Parts;

use super::route::Route;
use crate::policy::auth::identity::Identity;
use crate::policy::auth::{Judgement, Method, Question, RouteAuth, User, Visitor, Why};
use crate::policy::limit::{self, Charges, told};
use gatekeeper_core::limit::Answer;
use gatekeeper_core::refusal::{Kind, Refusal};
use gatekeeper_core::reports::LimitStanding;

/// Who the user of a route that asks for one is, in words and by name, or why the request is refused.
pub fn who(auth: &RouteAuth, visitor: &Visitor) -> (String, Result<Option<User>, Refusal>) {
    match auth.judge(visitor) {
        Judgement::Known(user) => (format!("{}, by {}", shown(&user.identity), user.by.name()), Ok(Some(user))),
        Judgement::Pending(question) => (would_ask(&question).into(), Ok(None)),
        Judgement::Refused(denial) => {
            let methods: Vec<&str> = auth.methods.iter().map(|method| method.name()).collect();
            let refusal = match denial.why {
                Why::Refusal(refusal, _) => refusal,
                Why::Answer(..) => Kind::ACCESS_DENIED.into(),
                Why::Unavailable(_) => Kind::AUTH_UNAVAILABLE.into(),
            };
            let refused = if auth.shadow { Ok(None) } else { Err(refusal) };
            (format!("required: {}", methods.join(", ")), refused)
        }
    }
}

/// Who is to be taken for the user.
pub fn pretended(identity: &Arc<Identity>) -> (String, Result<Option<User>, Refusal>) {
    (format!("{}, assumed", shown(identity)), Ok(Some(User::known(identity.clone(), Method::Jwt))))
}

fn shown(identity: &Identity) -> String {
    format!("{} ({})", identity.subject, identity.issuer)
}

fn would_ask(question: &Question) -> &'static str {
    match question {
        Question::Keys(_) => "the keys of the token's issuer would be fetched",
        Question::Token(_) => "the introspection service would judge the token",
        Question::Request => "the forward authentication service would decide",
    }
}

/// A request as limits see it.
pub struct Counted<'a> {
    /// The request.
    pub request: &'a Parts,
    /// Its canonical path.
    pub path: &'a str,
    /// Its client's address.
    pub client: Option<IpAddr>,
    /// Its user.
    pub user: Option<&'a User>,
}

/// Where a request stands with the limits of its route, and whether they refuse it.
pub fn limits(route: &Route, counted: &Counted, now: Instant) -> (Vec<LimitStanding>, Option<Refusal>) {
    let Counted { request, path, client, user } = *counted;
    let identity = user.map(|user| &*user.identity);
    let counted =
        limit::Counted { user: identity, address: client, endpoint: route.endpoint(), headers: &request.headers };
    let limits = route.terms.limits.holding(path, user.and_then(|user| user.key.as_deref()));
    let charges: Charges = limits.iter().map(|limit| limit.charge(&counted, route.terms.limits.shadow)).collect();
    let Answer::Now(decision) = route.edge.ledger.look(&charges, now) else { return (Vec::new(), None) };
    let standings = limits.iter().zip(&charges).zip(&decision.standings);
    let standings = standings.map(|((limit, charge), standing)| limit.report(&counted, standing, charge.shadow));
    let (_, refusal) = told(&limits, &charges, &decision, None, None, SystemTime::now());
    (standings.collect(), refusal)
}
