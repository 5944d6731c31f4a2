//! Bodies: how long a request's may be, what becomes of the rest of one that is refused, and how much waits of an answer's.

use std::sync::Arc;

use bytes::Bytes;
use pingora::Result;
use pingora_proxy::Session;

use super::ctx::Forwarded;
use super::fault;
use crate::listen::deadline;
use crate::listen::ledger::Account;
use crate::policy::shield::too_long;

/// Ends a request whose body turns out longer than its route takes. The piece that makes it so does not go upstream,
/// and what an upgraded connection carries is no body.
pub fn check_length(session: &Session, request: &mut Forwarded) -> Result<()> {
    match request.route.terms.shield.max_body {
        Some(max) if session.body_bytes_read() as u64 > max && !session.was_upgraded() => {
            // Towards an HTTP/2 upstream, errors of the client's side alone end the exchange.
            Err(fault::refused(request.course, too_long(max), "the body is longer than its limit").into_down())
        }
        _ => Ok(()),
    }
}

/// Counts a piece of an answer that is handed on to be written.
pub fn hand_on(session: &Session, body: Option<&Bytes>, account: &Arc<Account>) {
    let Some(body) = body else { return };
    let (bytes, taken) = (body.len() as u64, session.body_bytes_sent() as u64);
    account.add(bytes);
    deadline::watch(|watch| watch.holding.hand_on(account, bytes, taken));
}

/// Leaves out a last piece that is empty, as HTTP/2's often is. The framework would write it to an HTTP/1 upstream as a
/// chunk without length, which is a body's end, and then the end once more: the next request's first bytes.
pub fn end_once(body: &mut Option<Bytes>, last: bool) {
    if last && body.as_ref().is_some_and(Bytes::is_empty) {
        *body = None;
    }
}

/// Reads on, for a while, what a client still sends of a body that was refused. Data that arrives at a closed
/// connection resets it, and the client would never read why (RFC 9112 9.6). A stream of HTTP/2 ends without that.
pub async fn linger(session: &mut Session) {
    let waits = session.req_header().headers.contains_key(http::header::EXPECT) && session.body_bytes_read() == 0;
    if session.as_http1().is_some()
        && !waits
        && let Err(error) = session.drain_request_body().await
    {
        log::debug!("the rest of a refused body was not read: {error}");
    }
}
