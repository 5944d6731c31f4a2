//! Errors of the administration API (RFC 9457).

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use gatekeeper_client::FaultAt;
use gatekeeper_model::fault::Faults;
use gatekeeper_model::object::Kind;
use gatekeeper_model::{Place, did_you_mean, quoted};
use gatekeeper_store::failure::Failure;

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

    /// A change that would not serve, with every fault.
    pub fn of_change(faults: &Faults) -> Self {
        Problem::of_faults("invalid_configuration", faults)
    }

    /// The same for a change of one object: faults in it have their places within it.
    pub fn of_object(faults: &Faults, kind: Kind, name: &str) -> Self {
        let mut problem = Problem::of_change(faults);
        for (told, fault) in problem.0.errors.iter_mut().zip(faults.faults()) {
            if let Some(place) = fault.place.within(kind.section(), name) {
                let path = place.to_string();
                (told.place, told.path) = (path.clone(), path);
            }
        }
        problem.0.detail = problem.0.errors.iter().map(|error| format!("{}\n", told(error))).collect();
        problem
    }

    /// There is nowhere to keep what the API makes.
    pub fn no_store() -> Self {
        let text = "the file alone configures this gateway (store.url is none): edit the file, then reload";
        Problem::new(StatusCode::CONFLICT, "no_store", text)
    }

    /// A file declares the object.
    pub fn owned_by_file(kind: Kind, name: &str, place: &str) -> Self {
        let name = quoted(name);
        let text = format!("the {} {name} is declared in {place}: change it there, then reload", kind.noun());
        Problem::new(StatusCode::CONFLICT, "owned_by_file", text)
    }

    /// The name is used.
    pub fn taken(kind: Kind, name: &str, owner: &str) -> Self {
        let text = format!("the {} name {} is taken: it is managed by {owner}", kind.noun(), quoted(name));
        Problem::new(StatusCode::CONFLICT, "taken", text)
    }

    /// An object that was made by hand differs from the file that is applied.
    pub fn made_by_hand(kind: Kind, name: &str) -> Self {
        let text = format!(
            "the {} {} was made through the API, and the file says otherwise: repeat with take_over to let the file own it",
            kind.noun(),
            quoted(name)
        );
        Problem::new(StatusCode::CONFLICT, "taken", text)
    }

    /// The object must not exist, and does.
    pub fn already_there(kind: Kind, name: &str) -> Self {
        let text = format!("If-None-Match is *, and there is a {} {}", kind.noun(), quoted(name));
        Problem::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", text)
    }

    /// Who acts may not do this.
    pub fn forbidden(text: &str) -> Self {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", text)
    }

    /// A declarative file that says nothing, which can hardly be meant.
    pub fn empty_file() -> Self {
        let text = "the file is empty; to remove everything, apply `routes: []` with prune";
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", text)
    }

    /// A stream more than there may be.
    pub fn too_many_watchers() -> Self {
        let text = "as many clients watch as may at a time: close another stream";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_watchers", text)
    }

    /// A parameter that means nothing.
    pub fn unknown_parameter(name: &str, known: &[String]) -> Self {
        let hint =
            did_you_mean(name, known.iter().map(String::as_str)).map_or_else(String::new, |hint| format!("; {hint}"));
        let text = format!("{} is neither a parameter nor a field{hint}", quoted(name));
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", text)
    }

    /// A key that stands for another request.
    pub fn key_reused() -> Self {
        let text = "this Idempotency-Key was used for another request: use a new key for each request";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", text)
    }

    /// The gateway accepts only writes that say which version they change.
    pub fn if_match_required() -> Self {
        let text = "this gateway requires If-Match with the etag of the object (admin.require_if_match)";
        Problem::new(StatusCode::PRECONDITION_REQUIRED, "precondition_required", text)
    }

    /// There is no such revision.
    pub fn unknown_revision(number: u64) -> Self {
        Problem::new(StatusCode::NOT_FOUND, "unknown_revision", format!("there is no revision {number}"))
    }

    /// A change while the process is being replaced.
    pub fn upgrading() -> Self {
        let text = "an upgrade is in progress, and the new process may already have read the configuration: repeat the request after the upgrade";
        Problem::new(StatusCode::CONFLICT, "upgrade_under_way", text)
    }

    /// The length of a page, if it may be so long.
    pub fn check_limit(limit: u32) -> Result<u32, Problem> {
        if (1..=1000).contains(&limit) {
            return Ok(limit);
        }
        let mut faults = Faults::default();
        faults.push(Place::new("limit"), limit.to_string(), "1 to 1000");
        Err(Problem::invalid(&faults))
    }

    /// Others refer to what is to be removed.
    pub fn in_use(kind: Kind, name: &str, users: &[&str]) -> Self {
        let shown: Vec<String> = users.iter().take(10).map(|user| quoted(user)).collect();
        let more = if users.len() > shown.len() { ", …" } else { "" };
        let routes = if users.len() == 1 { "route" } else { "routes" };
        let text = format!("the {} {} is used by the {routes} {}{more}", kind.noun(), quoted(name), shown.join(", "));
        Problem::new(StatusCode::CONFLICT, "in_use", text)
    }

    /// There is no such object.
    pub fn unknown_object(kind: Kind, key: &str) -> Self {
        let code = match kind {
            Kind::Service => "unknown_service",
            Kind::Route => "unknown_route",
            Kind::RateLimit => "unknown_rate_limit",
            Kind::Cors => "unknown_cors",
        };
        Problem::new(StatusCode::NOT_FOUND, code, format!("there is no {} {}", kind.noun(), quoted(key)))
    }

    /// The object has another version than the client believes.
    pub fn other_version(etag: &str) -> Self {
        let text = format!("If-Match does not name the current version, which is {etag}: read the object again");
        Problem::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", text)
    }

    /// The store did not do what it was asked.
    pub fn of_store(failure: Failure) -> Self {
        match failure {
            Failure::Taken { name } => {
                Problem::new(StatusCode::CONFLICT, "taken", format!("the name {} is taken", quoted(&name)))
            }
            Failure::Stale { .. } => Problem::busy(),
            failure => {
                log::error!("administration: {failure}");
                let text = "the store does not answer, so that nothing can be changed; requests are served as before";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", text)
            }
        }
    }

    /// Other changes came first, again and again.
    pub fn busy() -> Self {
        let text = "other gateways are changing the configuration at the same time: repeat the request";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text)
    }

    fn of_faults(code: &'static str, faults: &Faults) -> Self {
        let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, faults.to_string());
        problem.0.errors = faults.faults().into_iter().map(FaultAt::from).collect();
        problem
    }
}

/// A fault in a line.
fn told(error: &FaultAt) -> String {
    let place = if error.place.is_empty() { String::new() } else { format!("{}: ", error.place) };
    let hint = if error.hint.is_empty() { String::new() } else { format!("; {}", error.hint) };
    match error.allowed.as_str() {
        "" => format!("{place}{}{hint}", error.found),
        allowed => format!("{place}found {}, allowed: {allowed}{hint}", error.found),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        (status, [(CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}
