//! Who the client is, for a request that is served: step 8 of the walk.

use std::time::Instant;

use http::HeaderValue;
use http::header::RETRY_AFTER;

use super::ctx::{Arrived, Course};
use crate::listen::deadline;
use crate::plan::route::Route;
use crate::plan::walk::Routed;
use crate::policy::auth::{Blame, Denial, Judgement, RouteAuth, User, Visitor, Why, fetch};
use gatekeeper_core::refusal::{Kind, Refusal};

/// Finds out who the client is: `user`. Who is asked about whole requests may have an answer of its own.
pub async fn identify(
    at: &Routed<'_>,
    arrival: &Arrived,
    course: &mut Course,
    user: &mut Option<User>,
) -> Result<Option<Box<fetch::Answer>>, Refusal> {
    let Some(auth) = &at.route.terms.auth else { return Ok(None) };
    let visitor = visitor(at, arrival, course);
    // A turn is kept until a failure is counted.
    let (judged, _turn) = match auth.judge(&visitor) {
        Judgement::Known(user) => (Ok(user), None),
        Judgement::Refused(denial) => (Err(denial), None),
        Judgement::Pending(question) => {
            let resolved = Box::pin(auth.resolve(question, &visitor)).await;
            course.now = Instant::now();
            resolved
        }
    };
    match judged {
        Ok(known) => {
            welcome(auth, at.route, &known, course);
            *user = Some(known);
            Ok(None)
        }
        Err(denial) => deny(auth, denial, arrival, course),
    }
}

fn visitor<'a>(at: &Routed<'a>, arrival: &'a Arrived, course: &Course) -> Visitor<'a> {
    let connection = &arrival.connection;
    Visitor {
        request: at.request,
        path: &at.asked.path,
        address: arrival.address(),
        certificate: connection.certificate.as_ref(),
        tls: connection.is_tls(),
        trusted: arrival.client.trusted,
        cors: at.route.terms.cors.as_ref(),
        now: (course.began.instant, course.began.time),
        until: at.route.terms.timeouts.total.map(|total| course.began.instant + total),
    }
}

fn welcome(auth: &RouteAuth, route: &Route, user: &User, course: &Course) {
    if let Some(metrics) = auth.auth.metrics(Some(user.by)) {
        metrics.accepted.inc();
    }
    if let Some(end) = user.identity.expires.filter(|_| route.terms.close_at_expiry) {
        let left = end.duration_since(course.began.time).unwrap_or_default();
        deadline::watch(|watch| watch.admitted_until(course.began.instant.checked_add(left)));
    }
}

fn deny(
    auth: &RouteAuth,
    denial: Denial,
    arrival: &Arrived,
    course: &mut Course,
) -> Result<Option<Box<fetch::Answer>>, Refusal> {
    let metrics = auth.auth.metrics(denial.by);
    let refusal = match denial.why {
        Why::Answer(reply, blame) => {
            let refusal = Refusal::new(Kind::ACCESS_DENIED, "the authentication service denied the request");
            if !auth.shadow {
                metrics.inspect(|metrics| metrics.refused.inc());
                note(auth, blame, arrival, course);
                course.fail(refusal, None);
                return Ok(Some(reply));
            }
            refusal
        }
        Why::Unavailable(cause) => {
            metrics.inspect(|metrics| metrics.unavailable.inc());
            course.cause = (!auth.shadow).then(|| cause.into());
            Refusal::from(Kind::AUTH_UNAVAILABLE).with_header(RETRY_AFTER, HeaderValue::from_static("1"))
        }
        Why::Refusal(refusal, blame) => {
            note(auth, blame, arrival, course);
            refusal
        }
    };
    let told = refusal.kind != Kind::AUTH_UNAVAILABLE;
    if auth.shadow {
        metrics.inspect(|metrics| metrics.would_refuse.inc());
        course.trials.note(&refusal);
        return Ok(None);
    }
    metrics.filter(|_| told).inspect(|metrics| metrics.refused.inc());
    Err(refusal)
}

/// Counts a wrong credential, unless authentication is in shadow mode: the budget is one for all routes.
fn note(auth: &RouteAuth, blame: Blame, arrival: &Arrived, course: &Course) {
    if blame == Blame::Counted && !auth.shadow {
        auth.auth.failures.note(arrival.address(), course.now);
    }
}
