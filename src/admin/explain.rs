//! Explanations over the administration API: what would become of a request now, with what limits have counted so far.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::input::Body;
use super::problem::Problem;
use crate::Control;
use gatekeeper_client::{Explanation, Inquiry};
use gatekeeper_plane::plan::Plan;
use gatekeeper_plane::plan::explain::Inquired;
use gatekeeper_plane::plan::route_tests::{FORMS, parse_request};
use gatekeeper_plane::policy::auth::identity::{Claims, Identity, texts};

/// Explains a request by a plan, which serves or not; the error says what is wrong with the request.
pub fn answer(inquiry: Inquiry, plan: &Plan, serves: bool) -> Result<Explanation, String> {
    let headers = inquiry.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let request = parse_request(&inquiry.request, headers)
        .map_err(|fault| format!("{:?} is not a request ({fault}); the form is {FORMS}", inquiry.request))?;
    let entrance = plan.entrance(inquiry.listener.as_deref(), &request).map_err(|unknown| unknown.to_string())?;
    let user = inquiry.user.map(|subject| {
        let mut user = pretended(subject, inquiry.claims, plan);
        let more = inquiry.roles.into_iter().map(String::into_boxed_str);
        user.roles = user.roles.into_iter().chain(more).collect();
        Arc::new(user)
    });
    Ok(plan.explain(&request, &Inquired { entrance, client: inquiry.from, user: user.as_ref(), serves }))
}

fn pretended(subject: String, mut claims: Claims, plan: &Plan) -> Identity {
    claims.entry("sub").or_insert_with(|| subject.as_str().into());
    let issuers = plan.edge.auth.as_ref().and_then(|auth| auth.issuers.as_ref());
    let usual = issuers.and_then(|issuers| issuers.first_name()).unwrap_or("jwt");
    let issuer = claims.get("iss").and_then(|iss| iss.as_str()).unwrap_or(usual).to_owned();
    if let Some(identity) = issuers.and_then(|issuers| issuers.pretended(&issuer, &subject, claims.clone())) {
        return identity;
    }
    Identity {
        issuer: issuer.into(),
        subject: subject.into(),
        roles: texts(claims.get("roles")),
        scopes: texts(claims.get("scope").or(claims.get("scp"))),
        claims,
        ..Identity::default()
    }
}

/// Explains a request.
pub async fn explain(
    State(control): State<Arc<Control>>,
    Body(inquiry): Body<Inquiry>,
) -> Result<Json<Explanation>, Problem> {
    let explained = answer(inquiry, &control.plane.live.plan(), true);
    explained.map(Json).map_err(|fault| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", fault))
}
