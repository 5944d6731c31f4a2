//! What the policies of a route would say of a request: told by `explain`, through the functions that serve requests, without
//! counting anything.

use std::fmt;
use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use http::request::Parts;
use serde::{Deserialize, Serialize};

use super::route::Route;
use super::walk::Asked;
use crate::policy::auth::identity::Identity;
use crate::policy::auth::{Judgement, Method, Question, User, Visitor, Why};
use crate::policy::limit::{Charges, Counted, Limit, told};
use gatekeeper_core::limit::Answer;
use gatekeeper_core::limit::Standing;
use gatekeeper_core::refusal::{Kind, Refusal};

/// What the policies say.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Judged {
    /// Who the user is, or who would be asked, or `public`.
    pub auth: Option<String>,
    /// What the user must be, and is.
    pub access: Option<String>,
    /// The limits that hold.
    pub limits: Vec<LimitStanding>,
}

/// Where a request's subject stands with a limit.
#[derive(Debug, Deserialize, Serialize)]
pub struct LimitStanding {
    /// The rule.
    pub rule: String,
    /// Whom it counts the request for.
    pub subject: String,
    /// What was used.
    pub used: u32,
    /// What is left.
    pub left: u32,
    /// After how many seconds there is one more.
    pub reset: u64,
    /// It only tells that it would refuse.
    pub shadow: bool,
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [("auth", &self.auth), ("access", &self.access)];
        for (label, text) in lines.into_iter().filter_map(|(label, text)| Some((label, text.as_ref()?))) {
            writeln!(f, "{label:<11} {text}")?;
        }
        for (place, limit) in self.limits.iter().enumerate() {
            let label = if place == 0 { "limits" } else { "" };
            writeln!(f, "{label:<11} {limit}")?;
        }
        Ok(())
    }
}

impl fmt::Display for LimitStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LimitStanding { rule, subject, used, left, reset, shadow } = self;
        let trial = if *shadow { ", on trial" } else { "" };
        write!(f, "{rule}: {subject} used {used}, {left} left")?;
        if *used > 0 { write!(f, ", one more in {reset} s{trial}") } else { f.write_str(trial) }
    }
}

impl LimitStanding {
    /// Where what is counted stands with a limit.
    pub fn of(limit: &Limit, counted: &Counted, standing: &Standing, shadow: bool) -> Self {
        LimitStanding {
            rule: limit.name.to_string(),
            subject: limit.subject.said(counted),
            used: standing.used,
            left: standing.left,
            reset: standing.reset.as_secs() + u64::from(standing.reset.subsec_nanos() > 0),
            shadow,
        }
    }
}

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
        judged.limits.push(LimitStanding::of(limit, &counted, standing, charge.shadow));
    }
    let (_, refusal) = told(&limits, &charges, &decision, None, None, SystemTime::now());
    refusal.map_or(Ok(()), Err)
}
