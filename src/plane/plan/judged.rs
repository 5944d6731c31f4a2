//! What the policies of a route would say of a request: told by `explain`, through the functions that serve requests, without
//! counting anything.

use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use http::request::Parts;

use super::route::Route;
use super::walk::Asked;
use crate::policy::auth::identity::Identity;
use crate::policy::auth::{Judgement, Method, Question, User, Visitor, Why};
use crate::policy::limit::{Charges, Counted, told};
use gatekeeper_core::limit::Answer;
use gatekeeper_core::refusal::{Kind, Refusal};
use gatekeeper_core::reports::Judged;

/// Judges a request. `pretended` is who is to be taken for its user.
pub fn judge(
    route: &Route,
    asked: &Asked,
    request: &Parts,
    address: Option<IpAddr>,
    pretended: Option<&std::sync::Arc<Identity>>,
    judged: &mut Judged,
) -> Result<Option<User>, Refusal> {
    let user = who(route, asked, request, address, pretended, judged)?;
    if let (Some(access), Some(auth), Some(user)) = (&route.access, &route.terms.auth, &user) {
        let captured = |name: &str| route.pattern.captures(&asked.path)?.get(name);
        let missing = access.access.check(&user.identity, &captured).err();
        judged.access = Some(missing.map_or("granted".into(), |missing| missing.to_string()));
        if let Some(missing) = missing.filter(|_| !access.shadow) {
            return Err(auth.insufficient(missing.to_string(), "", user.by));
        }
    }
    limits(route, asked, request, address, user.as_ref(), judged)?;
    Ok(user)
}

fn who(
    route: &Route,
    asked: &Asked,
    request: &Parts,
    address: Option<IpAddr>,
    pretended: Option<&std::sync::Arc<Identity>>,
    judged: &mut Judged,
) -> Result<Option<User>, Refusal> {
    let Some(auth) = &route.terms.auth else {
        judged.auth = Some("public".into());
        return Ok(None);
    };
    if let Some(identity) = pretended {
        judged.auth = Some(format!("{} ({}), as told", identity.subject, identity.issuer));
        return Ok(Some(User::known(identity.clone(), Method::Jwt)));
    }
    let visitor = Visitor {
        request,
        path: &asked.path,
        address,
        certificate: None,
        tls: false,
        trusted: false,
        cors: route.terms.cors.as_ref(),
        now: (Instant::now(), SystemTime::now()),
        until: None,
    };
    let methods: Vec<&str> = auth.methods.iter().map(|method| method.name()).collect();
    let methods = methods.join(", ");
    match auth.judge(&visitor) {
        Judgement::Known(user) => {
            judged.auth = Some(format!("{} ({}), by {}", user.identity.subject, user.identity.issuer, user.by.name()));
            Ok(Some(user))
        }
        Judgement::Pending(question) => {
            judged.auth = Some(match question {
                Question::Keys(_) => "the keys of the token's issuer would be fetched".into(),
                Question::Token(_) => "the token would be asked about (introspection)".into(),
                Question::Request => "the request would be asked about (forward)".into(),
            });
            Ok(None)
        }
        Judgement::Refused(denial) => {
            judged.auth = Some(format!("required: {methods}"));
            match denial.why {
                Why::Refusal(refusal, _) if !auth.shadow => Err(refusal),
                Why::Unavailable(_) if !auth.shadow => Err(Kind::AUTH_UNAVAILABLE.into()),
                _ => Ok(None),
            }
        }
    }
}

fn limits(
    route: &Route,
    asked: &Asked,
    request: &Parts,
    address: Option<IpAddr>,
    user: Option<&User>,
    judged: &mut Judged,
) -> Result<(), Refusal> {
    let identity = user.map(|user| &*user.identity);
    let counted = Counted { user: identity, address, endpoint: route.endpoint(), headers: &request.headers };
    let limits = route.terms.limits.holding(&asked.path, user.and_then(|user| user.key.as_deref()));
    let charges: Charges = limits.iter().map(|limit| limit.charge(&counted, route.terms.limits.shadow)).collect();
    let Answer::Now(decision) = route.edge.ledger.look(&charges, Instant::now()) else { return Ok(()) };
    for ((limit, charge), standing) in limits.iter().zip(&charges).zip(&decision.standings) {
        judged.limits.push(limit.report(&counted, standing, charge.shadow));
    }
    let (_, refusal) = told(&limits, &charges, &decision, None, None, SystemTime::now());
    refusal.map_or(Ok(()), Err)
}
