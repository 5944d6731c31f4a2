//! Errors of the administration API (RFC 9457).

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use gatekeeper_client::FaultAt;
use gatekeeper_model::fault::Faults;

/// An error, as a problem document.
pub struct Problem(Box<gatekeeper_client::Problem>);

impl Problem {
    /// A problem with a stable code and a sentence.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Problem(Box::new(gatekeeper_client::Problem {
            r#type: format!("urn:gatekeeper:error:{code}"),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.into(),
            errors: Vec::new(),
        }))
    }

    /// The gateway's own fault. The cause is in the log.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        log::error!("administration: {cause}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "internal error: see the gateway's log")
    }

    /// A change that would be lost.
    pub fn handing_over() -> Self {
        let text = "an upgrade is in progress: repeat the request after it";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "handing_over", text)
    }

    /// A configuration that was refused, with every fault, and the revision that goes on.
    pub fn refused(faults: &Faults, revision: u64) -> Self {
        let mut problem = Problem::of_faults("invalid_configuration", faults);
        problem.0.detail = format!("reload rejected, still running revision {revision}:\n{faults}");
        problem
    }

    /// A request that can't be understood, with every fault.
    pub fn invalid(faults: &Faults) -> Self {
        Problem::of_faults("invalid_request", faults)
    }

    fn of_faults(code: &'static str, faults: &Faults) -> Self {
        let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, faults.to_string());
        problem.0.errors = faults.faults().into_iter().map(FaultAt::from).collect();
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        (status, [(CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}
