//! Answers of the gateway's own: refusals (RFC 9457, or gRPC's trailers-only form), redirects, fixed responses.
//!
//! The one place where a refusal becomes a response.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, MAX_FORWARDS, VIA};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use pingora::Result;
use pingora::protocols::http::HttpTask;
use pingora_proxy::Session;

use super::ctx::Ctx;
use super::response::{self, OWN_FIELDS, Told};
use super::{body, date};
use crate::listen::deadline;
use crate::plan::grpc;
use crate::plan::route::Respond;
use crate::policy::auth::fetch;
use gatekeeper_core::problem;
use gatekeeper_core::refusal::{Kind, Refusal};

/// Says that the gateway, not an upstream, answered with an error, and which.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-gatekeeper-error");

/// An unread request body up to this size is read to its end, so that the connection can serve on.
const DRAINED_BODY: u64 = 64 * 1024;

/// An answer of the gateway's own.
pub struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    is_preflight: bool,
}

impl Answer {
    fn new(status: StatusCode, headers: Vec<(HeaderName, HeaderValue)>, body: Bytes) -> Self {
        Answer { status, headers, body, is_preflight: false }
    }

    /// A redirect.
    pub fn redirect(status: StatusCode, place: HeaderValue) -> Self {
        Answer::new(status, vec![(LOCATION, place)], Bytes::new())
    }

    /// A plain text.
    pub fn text(body: Bytes) -> Self {
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("text/plain"))];
        Answer::new(StatusCode::OK, headers, body)
    }

    /// A fixed response.
    pub fn fixed(fixed: &Respond) -> Self {
        Answer::new(fixed.status, fixed.headers.clone(), fixed.body.clone())
    }

    /// The answer to a request that may be forwarded no further (RFC 9110 9.3.7, 9.3.8). What of a TRACE is sent back is what
    /// shows its way, and nothing that may be a secret.
    pub fn last_hop(request: &Parts) -> Self {
        if request.method != Method::TRACE {
            return Answer::new(StatusCode::OK, Vec::new(), Bytes::new());
        }
        let mut received = format!("TRACE {} {:?}\r\n", request.uri.path(), request.version).into_bytes();
        for name in [HOST, VIA, MAX_FORWARDS] {
            for value in request.headers.get_all(&name) {
                received.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
            }
        }
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("message/http"))];
        Answer::new(StatusCode::OK, headers, received.into())
    }

    /// The answer of someone whom we asked, like an upstream's: without what belongs to the connection to it.
    pub fn of_others(mut reply: fetch::Answer) -> Self {
        response::strip(&mut reply.headers);
        let headers = reply.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Answer::new(reply.status, headers, reply.body.into())
    }

    /// The answer to a preflight.
    pub fn preflight() -> Self {
        Answer { is_preflight: true, ..Answer::new(StatusCode::NO_CONTENT, Vec::new(), Bytes::new()) }
    }

    /// What /health and /ready say.
    pub fn status(good: bool) -> Self {
        let (status, body) = match good {
            true => (StatusCode::OK, &b"{\"status\":\"ok\"}\n"[..]),
            false => (StatusCode::SERVICE_UNAVAILABLE, &b"{\"status\":\"stopping\"}\n"[..]),
        };
        let headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        Answer::new(status, headers, Bytes::from_static(body))
    }

    fn problem(refusal: &Refusal, instance: &str, request_id: &str) -> Self {
        let kind = refusal.kind;
        let mut headers = refusal.headers.clone();
        headers.push((CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE)));
        headers.push((CACHE_CONTROL, HeaderValue::from_static("no-store")));
        headers.push((ERROR_CODE, HeaderValue::from_static(kind.code)));
        let status = StatusCode::from_u16(kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Answer::new(status, headers, problem::document(refusal, Some(instance), request_id).into())
    }

    /// The form gRPC clients understand: HTTP 200, the verdict in the headers, no body.
    fn grpc(refusal: &Refusal) -> Self {
        let kind = refusal.kind;
        let message = HeaderValue::from_str(&percent_encode(&refusal.detail));
        let mut headers = refusal.headers.clone();
        headers.extend([
            (CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (HeaderName::from_static("grpc-status"), HeaderValue::from(u16::from(kind.grpc_status))),
            (HeaderName::from_static("grpc-message"), message.unwrap_or(HeaderValue::from_static(kind.code))),
            (ERROR_CODE, HeaderValue::from_static(kind.code)),
        ]);
        Answer::new(StatusCode::OK, headers, Bytes::new())
    }
}

/// The status of the response whose head went out, if one did. Informational ones answer nothing, but for the last of them:
/// after a 101 the connection is no longer HTTP's.
pub fn status_sent(session: &Session) -> Option<StatusCode> {
    let sent = session.response_written().map(|response| response.status);
    sent.filter(|status| !status.is_informational() || *status == StatusCode::SWITCHING_PROTOCOLS)
}

/// Answers a request, or refuses it.
pub async fn answer(session: &mut Session, answer: Result<Answer, Refusal>, ctx: &mut Ctx) -> Result<()> {
    match answer {
        Ok(answer) => send(session, answer, ctx).await,
        Err(refusal) => {
            let cause = ctx.course.cause.take();
            refuse(session, refusal, cause, ctx).await
        }
    }
}

/// Refuses a request and remembers why.
pub async fn refuse(session: &mut Session, refusal: Refusal, cause: Option<Box<str>>, ctx: &mut Ctx) -> Result<()> {
    if refusal.close {
        session.set_keepalive(None);
    }
    let answer = if grpc::is_call(session.req_header()) {
        Answer::grpc(&refusal)
    } else {
        let canonical = ctx.arrival().and_then(|arrival| arrival.canonical_path.as_deref());
        Answer::problem(&refusal, canonical.unwrap_or(session.req_header().uri.path()), ctx.id())
    };
    let mid_body = matches!(refusal.kind, Kind::BODY_TOO_LARGE | Kind::MEDIA_TYPE | Kind::FLOOD);
    ctx.course.fail(refusal, cause);
    send(session, answer, ctx).await?;
    ctx.course.answered = true;
    if mid_body {
        body::linger(session).await;
    }
    Ok(())
}

/// Sends an answer of the gateway's own.
async fn send(session: &mut Session, answer: Answer, ctx: &mut Ctx) -> Result<()> {
    response::give_up_encoding(session, ctx.route());
    match can_drain(session) {
        // Or the framework ends the connection for what is unread.
        true => session.set_close_on_response_before_downstream_finish(false),
        false => session.set_keepalive(None),
    }
    let tasks = written(session, answer, ctx);
    session.write_response_tasks(tasks).await.map(|_| ())
}

/// An answer as it is written, with all that every response has to tell.
fn written(session: &Session, answer: Answer, ctx: &mut Ctx) -> Vec<HttpTask> {
    let limits = ctx.course.limits.take();
    let edge = ctx.edge();
    let mut head = http::Response::new(()).into_parts().0;
    head.status = answer.status;
    head.headers.reserve(answer.headers.len() + OWN_FIELDS);
    for (name, value) in answer.headers {
        head.headers.append(name, value);
    }
    Told::of_own(ctx, &edge, limits, answer.is_preflight).complete(session, &mut head.headers);
    date::keep(session, &mut head.headers, ctx.arrival().map(|arrival| &*arrival.connection));
    let bodyless = answer.status == StatusCode::NO_CONTENT || answer.status == StatusCode::NOT_MODIFIED;
    if !bodyless {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(answer.body.len()));
    }
    let silent = bodyless || answer.body.is_empty() || session.req_header().method == Method::HEAD;
    let mut tasks = vec![HttpTask::Header(Box::new(head.into()), silent)];
    if !silent {
        tasks.push(HttpTask::Body(Some(answer.body), true));
    }
    // Nothing else bounds a client that does not take what is not an upstream's.
    deadline::watch(|watch| watch.answering(edge.limits.keep_alive));
    tasks
}

/// Whether what is left of the request's body is worth reading. Without a length nobody knows how long that takes.
fn can_drain(session: &mut Session) -> bool {
    if session.is_body_empty() || session.is_body_done() {
        return true;
    }
    // A client that was not told to continue either sends the body all the same, or ends the connection (RFC 9110 10.1.1):
    // what comes is the body in any case, and the time for it is short.
    let length = session.req_header().headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|length| length.parse().ok()).is_some_and(|length: u64| length <= DRAINED_BODY)
}

/// gRPC's percent-encoding of a status message (grpc/doc/PROTOCOL-HTTP2.md).
fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'%' | 0..b' ' | 0x7f.. => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push(char::from(byte)),
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_problem_document() {
        let refusal = Refusal::new(Kind::NO_ROUTE, "nothing \"here\"");
        let answer = Answer::problem(&refusal, "/a\"b", "id-1");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let wanted = serde_json::json!({
            "type": "urn:gatekeeper:error:no_route", "title": "No matching route", "status": 404,
            "detail": "nothing \"here\"", "instance": "/a\"b", "code": "no_route", "request_id": "id-1",
        });
        assert_eq!(body, wanted);
        assert!(answer.headers.contains(&(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))));
    }

    #[test]
    fn a_grpc_message_is_percent_encoded() {
        assert_eq!(percent_encode("50 % ü\n"), "50 %25 %C3%BC%0A");
    }
}
