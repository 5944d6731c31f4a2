//! Errors of the administration API (RFC 9457).

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use gatekeeper_model::fault::{Fault, Faults};

/// An error, as a problem document.
#[derive(Serialize)]
pub struct Problem {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
}

impl Problem {
    /// A problem with a stable code and a sentence.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Problem {
            r#type: format!("urn:gatekeeper:error:{code}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            errors: Vec::new(),
        }
    }

    /// A change that would be lost.
    pub fn handing_over() -> Self {
        let text = "another process takes over at this moment: ask it again";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "handing_over", text)
    }

    /// A configuration that was refused, with every fault.
    pub fn refused(faults: &Faults) -> Self {
        Problem::of_faults("invalid_configuration", faults)
    }

    /// A request that can't be understood, with every fault.
    pub fn invalid(faults: &Faults) -> Self {
        Problem::of_faults("invalid_request", faults)
    }

    fn of_faults(code: &'static str, faults: &Faults) -> Self {
        let errors = faults.faults().into_iter().cloned().collect();
        Problem { errors, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, faults.to_string()) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        (status, [(CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}
