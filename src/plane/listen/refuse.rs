//! The answer to what never became a request: a head that was refused, or did not arrive in time.
//!
//! It is an answer like all others: problem+json with a request id, counted by its code, logged.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, Version};

use super::connection::Connection;
use crate::Plane;
use crate::proxy::request_id;
use gatekeeper_core::event::{Event, Facts};
use gatekeeper_core::problem;
use gatekeeper_core::refusal::{Kind, Refusal};
use gatekeeper_core::wire::{Fault, HeadFault};

/// A head did not arrive in time.
pub const HEAD_TIMEOUT: Fault =
    &HeadFault { status: 408, code: "head_timeout", text: "the request's head took too long to arrive" };

/// Refuses what has arrived on a connection; the bytes are the whole answer.
pub fn refuse(plane: &Plane, connection: &Connection, fault: Fault, is_head: bool, began: SystemTime) -> Vec<u8> {
    let id = request_id::new(began);
    let id = id.to_str().unwrap_or_default();
    record(plane, connection, fault, id, began);
    answer(fault, id, is_head)
}

/// The bytes of the answer to a fault. The one to HEAD has no body.
pub fn answer(fault: Fault, id: &str, is_head: bool) -> Vec<u8> {
    let body = problem::document(&refusal(fault), None, id);
    let reason = http::StatusCode::from_u16(fault.status).ok().and_then(|status| status.canonical_reason());
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

fn record(plane: &Plane, connection: &Connection, fault: Fault, id: &str, began: SystemTime) {
    plane.metrics.refused(fault.code);
    let plan = plane.live.plan();
    let client = plan.edge.trusted.client(connection.source.map(|source| source.ip()), &HeaderMap::new());
    let method = Method::from_bytes(b"-").unwrap_or_default();
    let event = Event {
        facts: Facts {
            started: began,
            duration: began.elapsed().unwrap_or(Duration::ZERO),
            client: client.address,
            version: Version::HTTP_11,
            status: fault.status,
            upstream_time: None,
            attempts: 0,
            bytes_in: 0,
            bytes_out: 0,
            error_code: Some(fault.code),
            truncated: false,
        },
        request_id: id,
        method: &method,
        path: "",
        query: None,
        host: "",
        route: None,
        service: None,
        user: None,
        error_message: Some(fault.text),
        would_refuse: None,
        headers: &HeaderMap::new(),
        logged_headers: &[],
    };
    plane.metrics.record(&event, &plane.unrouted, None);
    plane.log.push(&event);
}
