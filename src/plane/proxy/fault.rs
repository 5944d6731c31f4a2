//! Faults: what the framework reports as errors, told to the client in the words of a refusal.
//!
//! The one place where a `pingora::Error` becomes a status. The cause goes to the log only.

use std::time::Instant;

use pingora::{Error, ErrorSource, ErrorType};
use pingora_proxy::{FailToProxy, Session};

use super::ctx::{Course, Ctx};
use super::forward::Forward;
use super::{reply, verdict};
use crate::listen::deadline::{self, Late, Watch};
use crate::listen::refuse::refusal;
use crate::upstream::sentence::sentence;
use gatekeeper_core::refusal::{Kind, Refusal};

/// An error that carries a refusal of our own through the framework, to `answer`.
pub fn refused(course: &mut Course, refusal: impl Into<Refusal>, cause: &'static str) -> Box<Error> {
    let refusal = course.fail(refusal.into(), Some(cause.into()));
    Error::explain(ErrorType::HTTPStatus(refusal.kind.status), cause)
}

/// Answers a request that failed, if it still can be answered.
pub async fn answer(session: &mut Session, error: &Error, ctx: &mut Ctx) -> FailToProxy {
    let late = deadline::watch(Watch::late);
    let refusal = match (&ctx.course.failure, ctx.arrival().and_then(|arrival| arrival.connection.fault()), late) {
        (Some(failure), ..) => failure.refusal.clone(),
        (None, Some(fault), _) => refusal(fault),
        (None, None, Some(Late { kind, .. })) => match ctx.route().and_then(|route| route.terms.auth.as_ref()) {
            Some(auth) if kind == Kind::CREDENTIALS_INVALID => auth.expired(),
            _ => kind.into(),
        },
        (None, None, None) => classify(error),
    };
    let cause = late.map_or_else(|| cause(error, ctx).into(), |late| late.cause.into());
    let client_gone = refusal.kind == Kind::CLIENT_GONE;
    // What is answered now is ours, and may be taken slowly: the service has no part in it.
    verdict::conclude(ctx, Some(refusal.kind), Instant::now());
    verdict::leave(ctx);
    let status = refusal.kind.status;
    // The framework closes the connection after a failure: the client is told.
    session.set_keepalive(None);
    if client_gone || reply::status_sent(session).is_some() {
        ctx.course.fail(refusal, Some(cause));
    } else if let Err(error) = reply::refuse(session, refusal, Some(cause), ctx).await {
        log::debug!("a response could not be sent: {error}");
    }
    FailToProxy { error_code: if client_gone { 0 } else { status }, can_reuse_downstream: false }
}

/// What happened, for the log: of an upstream, its address first.
fn cause(error: &Error, ctx: &Ctx) -> String {
    if *error.esource() != ErrorSource::Upstream {
        return error.to_string();
    }
    let left = ctx.forward().and_then(Forward::left_endpoint);
    let Some(endpoint) = ctx.forward().and_then(|forward| forward.endpoint(left.as_deref())) else {
        return sentence(error);
    };
    match endpoint.peer._address.as_inet() {
        Some(address) => format!("{address}: {}", sentence(error)),
        None => format!("{}: {}", endpoint.url, sentence(error)),
    }
}

/// What an error means to the client.
fn classify(error: &Error) -> Refusal {
    use ErrorType::*;
    let kind = match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, ReadTimedout) => Kind::REQUEST_TIMEOUT,
        (ErrorSource::Downstream, WriteError | WriteTimedout | ReadError | ConnectionClosed | H2Error) => {
            Kind::CLIENT_GONE
        }
        (ErrorSource::Downstream, _) => {
            return Refusal::malformed("request_body", "the request's body cannot be read");
        }
        (ErrorSource::Upstream, ConnectTimedout | TLSHandshakeTimedout | ReadTimedout | WriteTimedout) => {
            Kind::UPSTREAM_TIMEOUT
        }
        (
            ErrorSource::Upstream,
            ConnectRefused | ConnectNoRoute | ConnectError | SocketError | TLSHandshakeFailure | InvalidCert
            | TLSWantX509Lookup | HandshakeError,
        ) => Kind::UPSTREAM_UNREACHABLE,
        (ErrorSource::Upstream, _) => Kind::UPSTREAM_FAILED,
        _ => Kind::INTERNAL,
    };
    kind.into()
}
