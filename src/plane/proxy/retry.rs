//! Whether a request whose attempt failed is tried once more (SEMANTICS 6).
//!
//! An attempt is given up for another only when all that the other needs is at hand: the route's conditions allow it, the
//! body can be sent again, nothing of an answer went out, an endpoint is taken, the budget has paid, and the time left is
//! longer than the wait. So the client gets the last real response of the upstream, unless the last attempt had none.
//!
//! * A retry after a failed connect costs the budget nothing: no target has had the request. Nor does one after the target
//!   declared that it did not process it.
//! * While the service's breaker is not closed there are no retries, but for a probe: it is to find out whether the
//!   service works, and that it may do without one of its targets.
//! * `Retry-After` is the word of the target that said it: it is kept where the same one is asked again.
//! * Who waits holds no place of a `max_in_flight`, neither the service's nor a target's. After the wait it asks for both like
//!   a request that comes, and may be told that the service is busy.
//! * No request waits longer than [`LONGEST_WAIT`], or than its total timeout.

use std::time::{Duration, Instant};

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue};
use pingora_proxy::Session;

use super::ctx::Forwarded;
use super::forward::{Forward, Next};
use crate::listen::deadline;
use crate::observe::metrics::What;
use crate::plan::route::Route;
use crate::upstream::pool::Choice;
use gatekeeper_core::breaker::State;
use gatekeeper_core::retry::Failure;

/// How long a request waits for its next attempt at most.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Prepares another attempt, if there may be one. `response` is what the upstream answered, if it did.
pub fn prepare(session: &Session, request: &mut Forwarded, failure: Failure, response: Option<&HeaderMap>) -> bool {
    let Forwarded { route, forward, .. } = request;
    if !is_worth_it(session, route, forward, failure) {
        return false;
    }
    let end = forward.end;
    let now = Instant::now();
    let left = end.map_or(LONGEST_WAIT, |end| end.saturating_duration_since(now).min(LONGEST_WAIT));
    if !matches!(failure, Failure::Status(_)) {
        // There is no answer that could still be passed on: its room is free.
        forward.attempt = None;
    }
    if !may_go_again(route, forward, now) {
        return false;
    }
    let asked = response.and_then(|response| response.get(RETRY_AFTER));
    let Some(mut next) = next(route, forward, failure, asked, left, now) else { return false };
    forward.service.metrics.count(What::Retry, failure.name());
    forward.attempt = None;
    if !next.wait.is_zero() {
        give_back(forward, &mut next);
    }
    forward.next = Some(next);
    forward.began = now;
    forward.blamed |= forward.failed;
    (forward.status, forward.failed) = (None, false);
    deadline::watch(|watch| watch.forgive(end));
    true
}

fn is_worth_it(session: &Session, route: &Route, forward: &Forward, failure: Failure) -> bool {
    let request = session.req_header();
    let keyed = || has_key(&request.headers);
    route.terms.retry.conditions.allow(failure, &request.method, keyed)
        && forward.attempts <= route.terms.retry.count
        && session.response_written().is_none()
        && !session.as_ref().retry_buffer_truncated()
}

/// Whether a request has the one key by which its service recognises it when it comes again. An empty one is none, and so is
/// an empty text in quotes, as the field is defined.
fn has_key(headers: &HeaderMap) -> bool {
    let mut keys = headers.get_all("idempotency-key").iter();
    let key = keys.next().map(|key| key.as_bytes().trim_ascii());
    key.is_some_and(|key| !matches!(key, b"" | b"\"\"")) && keys.next().is_none()
}

fn may_go_again(route: &Route, forward: &Forward, now: Instant) -> bool {
    !route.terms.breaks
        || forward.permit.as_ref().is_some_and(|permit| permit.is_probe())
        || forward.service.breaker.as_ref().is_none_or(|breaker| breaker.state(now) == State::Closed)
}

fn next(
    route: &Route,
    forward: &Forward,
    failure: Failure,
    asked: Option<&HeaderValue>,
    left: Duration,
    now: Instant,
) -> Option<Next> {
    let retries = forward.attempts.saturating_sub(1);
    let Choice::Taken(slot) = forward.service.choose(forward.key, &forward.tried, now) else { return None };
    let asked = asked.filter(|_| forward.tried.contains(&slot.endpoint.standing.id));
    let wait = route.terms.retry.backoff.wait(retries, fastrand::u64(..), asked, left)?;
    if failure.costs() && !forward.service.budget.take(now) {
        forward.service.metrics.count(What::BudgetExhausted, "");
        return None;
    }
    Some(Next { slot: Some(slot), wait })
}

/// Gives back what is scarce for the time of a wait: others would be refused for a request that does nothing. It comes
/// back like any other (`attempt::next_slot`).
fn give_back(forward: &mut Forward, next: &mut Next) {
    forward.pass = None;
    drop(next.slot.take_if(|slot| slot.endpoint.is_capped()));
}
