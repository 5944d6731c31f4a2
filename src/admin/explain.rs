//! Explanations over the administration API: what would become of a request now, with what limits have counted so far.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::input::Body;
use super::problem::Problem;
use crate::Control;
use gatekeeper_core::reports::Explanation;
use gatekeeper_plane::plan::Plan;
use gatekeeper_plane::plan::route_tests::{FORMS, parse_request};
use gatekeeper_plane::policy::auth::identity::{Claims, Identity, texts};

/// A request to be explained.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Inquiry {
    /// `GET /path` or `GET https://host/path`.
    pub request: String,
    /// Its headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The listener it comes by, by name or address; the first one if absent.
    #[serde(default)]
    pub listener: Option<String>,
    /// The client's address.
    #[serde(default)]
    pub from: Option<IpAddr>,
    /// Who is to be taken for its user.
    #[serde(default)]
    pub user: Option<String>,
    /// What is to be known of that user.
    #[serde(default)]
    pub claims: Claims,
}

impl Inquiry {
    /// Explains it by a plan; the error says what is wrong with it.
    pub fn answer(self, plan: &Plan) -> Result<Explanation, String> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let request = parse_request(&self.request, headers)
            .map_err(|fault| format!("{:?} is no request ({fault}); it has the form {FORMS}", self.request))?;
        let entrance = plan.entrance(self.listener.as_deref()).map_err(|unknown| unknown.to_string())?;
        let user = self.user.map(|subject| Arc::new(pretended(subject, self.claims, plan)));
        Ok(plan.explain(&request, entrance, self.from, user.as_ref()))
    }
}

fn pretended(subject: String, claims: Claims, plan: &Plan) -> Identity {
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
    let explained = inquiry.answer(&control.plane.live.plan());
    explained.map(Json).map_err(|fault| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", fault))
}
