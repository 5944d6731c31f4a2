//! Writes that wait until every gateway of a fleet serves them: `?wait=2s&nodes=all`. Those that do not in time are named, and the
//! answer is 202.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Query, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use gatekeeper_model::value::Period;
use gatekeeper_model::{Faults, Place, quoted};
use serde::Deserialize;

use crate::Control;
use crate::desk::now;
use crate::nodes::LIVE;
use crate::problem::Problem;
use crate::writes::REVISION;

/// The gateways that do not serve a write yet.
const BEHIND: HeaderName = HeaderName::from_static("x-gatekeeper-nodes-behind");
/// The longest that a write waits.
const LONGEST: Duration = Duration::from_secs(30);
/// How long it waits if nothing is said.
const USUAL: Duration = Duration::from_secs(2);
/// How often the gateways are looked at.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Waiting {
    wait: Option<String>,
    nodes: Option<String>,
}

/// Waits for the other gateways, if that is asked for.
pub async fn serve(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    let waiting = Query::<Waiting>::try_from_uri(request.uri()).map(|Query(waiting)| waiting).unwrap_or_default();
    let patience = match patience(&waiting) {
        Ok(patience) => patience,
        Err(problem) => return problem.into_response(),
    };
    let mut response = next.run(request).await;
    let revision = response.headers().get(REVISION).and_then(|revision| revision.to_str().ok()?.parse().ok());
    if let (Some(patience), Some(revision), true) = (patience, revision, response.status().is_success()) {
        let behind = behind(&control, revision, Instant::now() + patience).await;
        if let (Ok(value), false) = (HeaderValue::from_str(&behind.join(", ")), behind.is_empty()) {
            *response.status_mut() = StatusCode::ACCEPTED;
            response.headers_mut().insert(BEHIND, value);
        }
    }
    response
}

/// How long to wait, if the write is to wait for all gateways.
fn patience(waiting: &Waiting) -> Result<Option<Duration>, Problem> {
    let mut faults = Faults::default();
    let for_all = match waiting.nodes.as_deref() {
        None => false,
        Some("all") => true,
        Some(other) => {
            faults.push(Place::new("nodes"), quoted(other), "all");
            false
        }
    };
    let patience = waiting.wait.as_deref().map(|text| text.parse::<Period>().ok().map(|period| period.0));
    let patience = match patience {
        None => USUAL,
        Some(Some(patience)) if patience <= LONGEST => patience,
        Some(_) => {
            faults.push(
                Place::new("wait"),
                quoted(waiting.wait.as_deref().unwrap_or_default()),
                "a time of at most 30s",
            );
            USUAL
        }
    };
    if faults.is_empty() { Ok(for_all.then_some(patience)) } else { Err(Problem::invalid(&faults)) }
}

/// The gateways that live and do not serve a revision by then.
async fn behind(control: &Control, revision: u64, until: Instant) -> Vec<String> {
    let Some(keeping) = control.desk.keeping() else { return Vec::new() };
    loop {
        let nodes = keeping.store.nodes(now() - LIVE).await.unwrap_or_default();
        let others = nodes.into_iter().filter(|node| node.id != control.node.id && node.revision < revision);
        let behind: Vec<String> = others.map(|node| format!("{} ({})", node.name, node.address)).collect();
        if behind.is_empty() || Instant::now() >= until {
            return behind;
        }
        tokio::time::sleep(LOOK).await;
    }
}
