//! One attempt to have a request answered by an endpoint.
//!
//! Every error leaves here with its retry decided (`retry`): an undecided one panics in the framework.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::{ALPN, HttpPeer};
use pingora::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::Session;
use tokio::time::sleep;

use super::ctx::Forwarded;
use super::forward::{Forward, Next};
use super::patience::wait;
use super::stop::Stop;
use super::{admit, fault, response, retry, shared, verdict};
use crate::listen::deadline::{self, Timeouts, Watch};
use crate::plan::present::{Present, is_websocket};
use crate::plan::{MOST_RETRIES, grpc};
use crate::upstream::admission::{busy, no_target};
use crate::upstream::endpoint::Slot;
use crate::upstream::lane::Upload;
use crate::upstream::pool::Choice;
use crate::upstream::service::NoSlot;
use gatekeeper_core::refusal::Kind;
use gatekeeper_core::retry::Failure;

/// Attempts a request may take in all.
pub const MAX_ATTEMPTS: usize = MOST_RETRIES as usize + 1;

/// Takes the endpoint of the first attempt: whoever finds none is refused before it has spent anything. Tells when that was.
pub async fn reserve(session: &mut Session, forward: &mut Forward, now: Instant) -> Result<Instant, Stop> {
    let (slot, now) = match choose(forward, now) {
        Choice::Taken(slot) => (slot, now),
        Choice::Busy => (Box::pin(queue(session, forward)).await?, Instant::now()),
        Choice::Nobody => return Err(no_target(&forward.service).into()),
    };
    forward.next = Some(Next { slot: Some(slot), wait: Duration::ZERO });
    Ok(now)
}

/// An endpoint whose turn it is; nobody overtakes those who wait.
fn choose(forward: &Forward, now: Instant) -> Choice {
    match forward.service.memory.line.waiting() {
        0 => forward.service.choose(forward.key, &forward.tried, now),
        _ => Choice::Busy,
    }
}

/// The way to the next endpoint to try.
pub async fn next_peer(session: &mut Session, request: &mut Forwarded<'_>) -> Result<Box<HttpPeer>> {
    let Forwarded { course, route, present, forward, .. } = request;
    let end = forward.end;
    let mut slot = match next_slot(session, forward).await {
        Ok(slot) => slot,
        Err(Stop::Refused(refusal)) => {
            return Err(fault::refused(course, refusal, "no target could accept the request"));
        }
        Err(Stop::Gone(error)) => return Err(error),
    };
    let left = end.map(|end| end.saturating_duration_since(Instant::now()));
    if left.is_some_and(|left| left.is_zero()) {
        return Err(fault::refused(course, Kind::UPSTREAM_TIMEOUT, "the timeout of the route is over"));
    }
    // HTTP/2 has another way to begin a websocket, which few upstreams know.
    let websocket = is_websocket(session.req_header(), *present);
    let mut peer = slot.peer(|| (!websocket).then(|| upload(session)));
    let connect = route.terms.timeouts.connect;
    peer.options.total_connection_timeout = Some(left.map_or(connect, |left| left.min(connect)));
    peer.options.read_timeout = silence(&route.terms.timeouts, left, &peer.options.alpn, !session.is_body_empty());
    if peer.options.read_timeout.is_some() {
        deadline::watch(|watch| watch.timed(Instant::now()));
    }
    forward.attempts += 1;
    forward.tried.push(slot.endpoint.standing.id);
    forward.noted = false;
    forward.attempt = Some(slot);
    deadline::watch(|watch| watch.connecting(end));
    Ok(peer)
}

/// The endpoint that was taken for this attempt, when its wait is over; or one whose turn it is.
async fn next_slot(session: &mut Session, forward: &mut Forward) -> Result<Slot, Stop> {
    let next = forward.next.take();
    if let Some(time) = next.as_ref().map(|next| next.wait).filter(|wait| !wait.is_zero()) {
        Box::pin(wait(session, sleep(time))).await?;
        Box::pin(admit::come_back(session, forward)).await?;
    }
    if let Some(slot) = next.and_then(|next| next.slot) {
        if slot.endpoint.is_in_service() {
            return Ok(slot);
        }
        // It went while we waited.
        return Ok(match forward.service.choose(forward.key, &forward.tried, Instant::now()) {
            Choice::Taken(other) => other,
            Choice::Busy | Choice::Nobody => slot,
        });
    }
    match choose(forward, Instant::now()) {
        Choice::Taken(slot) => Ok(slot),
        Choice::Busy => Box::pin(queue(session, forward)).await,
        Choice::Nobody => Err(no_target(&forward.service).into()),
    }
}

/// Waits for room at an endpoint.
async fn queue(session: &mut Session, forward: &Forward) -> Result<Slot, Stop> {
    let Forward { service, key, end, .. } = forward;
    let came = Instant::now();
    let left = end.map(|end| end.saturating_duration_since(came));
    let slot = wait(session, async {
        let slot = service.room(*key, left).await;
        service.metrics.waited(came.elapsed());
        slot
    });
    Ok(slot.await?.map_err(|none| match none {
        NoSlot::Busy => busy(),
        NoSlot::Nobody => no_target(service),
    })?)
}

/// The framework's own limit of an upstream's silence, counted from the request's head and anew at each read. It is wanted
/// for HTTP/2 only, where nothing else leads to a 504: no longer than the request may take, no shorter than any silence
/// that is allowed, and so not at all while a body of any length may still be on its way.
fn silence(timeouts: &Timeouts, left: Option<Duration>, alpn: &ALPN, has_body: bool) -> Option<Duration> {
    let allowed = (!has_body).then_some(timeouts.first_byte.max(timeouts.idle));
    left.into_iter().chain(allowed).min().filter(|_| alpn.get_max_http_version() > 1)
}

/// What a request is going to send after its head.
fn upload(session: &mut Session) -> Upload {
    let headers = &session.req_header().headers;
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    match length {
        _ if session.is_body_empty() => Upload::Nothing,
        Some(length) => Upload::Bytes(length),
        None if grpc::is_call(session.req_header()) => Upload::Call,
        None => Upload::Unknown,
    }
}

/// After a connection that could not be made.
pub fn after_failed_connect(
    session: &Session,
    request: &mut Forwarded,
    peer: &HttpPeer,
    error: Box<Error>,
) -> Box<Error> {
    let connect = Some(request.route.terms.timeouts.connect);
    let hurried = *error.etype() == ErrorType::ConnectTimedout && peer.options.total_connection_timeout < connect;
    let stale = shared::is_stale(&error);
    shared::note(&error, request.forward);
    let failure = if stale { Failure::Refused } else { Failure::Connect };
    verdict::note_failed_connect(request.forward, failure, hurried);
    let again = retry::prepare(session, request, failure, None);
    told(error, peer, again)
}

/// After a failure on a connection that had been made.
pub fn after_failed_exchange(
    session: &Session,
    request: &mut Forwarded,
    peer: &HttpPeer,
    error: Box<Error>,
) -> Box<Error> {
    let given_up = request.forward.next.is_some();
    let failure = if given_up { None } else { failure(&error) };
    if let Some(failure) = failure {
        verdict::note_failure(request.forward, failure);
    }
    deadline::watch(Watch::rest);
    shared::note(&error, request.forward);
    let again = failure.is_some_and(|failure| {
        let answered = request.forward.status.is_some();
        !answered && retry::prepare(session, request, failure, None)
    });
    told(error, peer, given_up || again)
}

/// How an attempt failed, if it was the upstream that did. When time is over the client's side may break off first, because
/// it is no longer read then: whose fault that is says the watch, not the error.
fn failure(error: &Error) -> Option<Failure> {
    let by_upstream = *error.esource() == ErrorSource::Upstream;
    if by_upstream && matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout) {
        deadline::watch(Watch::notice);
    }
    match deadline::watch(Watch::late) {
        Some(late) => (late.kind == Kind::UPSTREAM_TIMEOUT).then_some(Failure::Timeout),
        None if shared::is_unprocessed(error) => by_upstream.then_some(Failure::Refused),
        None => by_upstream.then_some(Failure::Reset),
    }
}

fn told(error: Box<Error>, peer: &HttpPeer, again: bool) -> Box<Error> {
    let mut error = error.more_context(format!("target {}", peer._address));
    error.set_retry(again);
    error
}

/// Notes the connection an attempt has.
pub fn note_connection(upstream: RawFd, reused: bool, forward: &mut Forward) -> Result<()> {
    check_time()?;
    if let Some(slot) = forward.attempt.as_mut().filter(|_| !reused) {
        slot.opened(upstream);
    }
    deadline::watch(|watch| watch.connected(upstream));
    Ok(())
}

/// Notes that the request's head is sent.
pub fn note_request(session: &mut Session, upstream: &RequestHeader, request: &mut Forwarded) {
    let timeouts = &request.route.terms.timeouts;
    let uploading = uploads(session, request.present);
    let shared = upstream.version == Version::HTTP_2;
    deadline::watch(|watch| watch.holding.begin(&request.arrival.connection.account, timeouts.idle));
    deadline::watch(|watch| watch.asked(timeouts, shared, uploading));
    if let Some(slot) = &mut request.forward.attempt {
        slot.asked(shared);
    }
}

/// Whether a request has a body, which is still to come.
pub fn uploads(session: &mut Session, present: Present) -> bool {
    !session.is_body_empty() && !is_websocket(session.req_header(), present)
}

/// Notes the response's head: how long it took from the request's, and what is waited for now.
pub fn note_response(session: &Session, response: &ResponseHeader, request: &mut Forwarded) -> Result<()> {
    let upgraded = response.status == StatusCode::SWITCHING_PROTOCOLS;
    if upgraded && !is_websocket(session.req_header(), request.present) {
        return Err(
            Error::explain(ErrorType::InvalidHTTPHeader, "a 101 response to a request without an upgrade").into_up()
        );
    }
    if response.status.is_informational() && !upgraded {
        return Ok(());
    }
    if !response::is_framed(&response.headers) {
        return Err(Error::explain(ErrorType::InvalidHTTPHeader, "a transfer coding other than chunked").into_up());
    }
    check_time()?;
    if upgraded {
        request.arrival.connection.upgrade();
    }
    request.forward.upstream_time = Some(request.course.began.instant.elapsed());
    request.forward.status = Some(response.status);
    verdict::note_head(session, response, request.forward);
    if retry::prepare(session, request, Failure::Status(response.status), Some(&response.headers)) {
        return Err(Error::explain(ErrorType::HTTPStatus(response.status.as_u16()), "given up for a retry").into_up());
    }
    verdict::tell_early(request.forward);
    let bodiless = session.req_header().method == Method::HEAD || is_bodiless(response);
    let timeouts = &request.route.terms.timeouts;
    deadline::watch(|watch| match upgraded {
        true => watch.upgraded(timeouts),
        false => watch.answered(timeouts, bodiless),
    });
    Ok(())
}

fn is_bodiless(response: &ResponseHeader) -> bool {
    matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || response.headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0")
}

/// Notes a piece of the request's body. Framing without content is no progress.
pub fn note_upload(body: Option<&Bytes>, last: bool, request: &mut Forwarded) {
    if last || has_content(body) {
        deadline::watch(|watch| watch.uploaded(&request.route.terms.timeouts, last));
    }
    if let Some(permit) = request.forward.permit.as_mut().filter(|_| last) {
        permit.arrived(Instant::now);
    }
}

/// Hands a piece of the request's body over: where it matters who takes it, its lane learns when it was taken.
pub fn hand_over(body: &mut Option<Bytes>, forward: &Forward) {
    let stream = forward.attempt.as_ref().and_then(|slot| slot.stream.as_ref());
    if let Some(stream) = stream {
        *body = body.take().map(|piece| stream.piece(piece));
    }
}

/// Notes a piece of the response's body. What ends because we ended it is not whole, even if its length is not told.
pub fn note_download(body: Option<&Bytes>, last: bool) -> Result<()> {
    check_time()?;
    if last || has_content(body) {
        deadline::watch(|watch| watch.downloaded(last));
    }
    Ok(())
}

fn has_content(body: Option<&Bytes>) -> bool {
    body.is_some_and(|body| !body.is_empty())
}

fn check_time() -> Result<()> {
    match deadline::watch(Watch::late) {
        Some(late) => Err(Error::explain(ErrorType::HTTPStatus(late.kind.status), late.cause).into_up()),
        None => Ok(()),
    }
}
