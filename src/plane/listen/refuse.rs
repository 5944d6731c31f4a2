//! The answer to what never became a request: a head that was refused, or did not arrive in time.
//!
//! It is an answer like all others: problem+json with a request id, counted by its code, logged.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};

use super::connection::Connection;
use super::reception::Reception;
use gatekeeper_core::event::{Arrival, Event, Outcome, Way};
use gatekeeper_core::problem;
use gatekeeper_core::refusal::{Kind, Refusal};
use gatekeeper_core::request_id;
use gatekeeper_core::wire::{Fault, HeadFault};

/// A head did not arrive in time.
pub const HEAD_TIMEOUT: Fault =
    &HeadFault { status: 408, code: "head_timeout", text: "the request's head took too long to arrive" };

/// Refuses what has arrived on a connection in the time that was waited for it; the bytes are the whole answer.
pub fn refuse(
    reception: &Reception,
    connection: &Connection,
    fault: Fault,
    is_head: bool,
    waited: Duration,
) -> Vec<u8> {
    let began = SystemTime::now() - waited;
    let id = request_id::new(began);
    let id = id.to_str().unwrap_or_default();
    record(reception, connection, fault, id, (began, waited));
    answer(fault, id, is_head)
}

/// The bytes of the answer to a fault. The one to HEAD has no body.
pub fn answer(fault: Fault, id: &str, is_head: bool) -> Vec<u8> {
    let body = problem::document(&refusal(fault), None, id);
    let reason = StatusCode::from_u16(fault.status).ok().and_then(|status| status.canonical_reason());
    let mut answer = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: {}\r\ncache-control: no-store\r\nx-gatekeeper-error: {}\r\nx-request-id: {id}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        fault.status,
        reason.unwrap_or_default(),
        problem::MEDIA_TYPE,
        fault.code,
        body.len()
    )
    .into_bytes();
    if !is_head {
        answer.extend_from_slice(&body);
    }
    answer
}

/// What a fault means to the client.
pub fn refusal(fault: Fault) -> Refusal {
    let kind = Kind { status: fault.status, code: fault.code, ..Kind::BAD_REQUEST };
    Refusal::new(kind, fault.text).and_close()
}

/// Nothing is told of a head that was refused but when it came, from where, and why it was refused: what it says is not
/// to be believed.
fn record(
    reception: &Reception,
    connection: &Connection,
    fault: Fault,
    id: &str,
    (began, waited): (SystemTime, Duration),
) {
    let observers = &reception.observers;
    observers.metrics.refused(fault.code);
    let client = reception.rules().trusted.client(connection.source.map(|source| source.ip()), &HeaderMap::new());
    let arrival = Arrival { request_id: Some(id), started: began, client: client.address };
    let outcome = Outcome {
        status: StatusCode::from_u16(fault.status).ok(),
        error_code: Some(fault.code),
        error_message: Some(fault.text),
        ..Outcome::after(waited)
    };
    let event = Event::of(arrival, None, Way::default(), outcome);
    observers.tell(&event, &observers.metrics.counting(&observers.unrouted, None), None);
}
