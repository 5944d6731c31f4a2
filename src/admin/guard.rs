//! Who may ask administration, and by which name.
//!
//! A web page can give its own name the address of this listener, and then read what is there with the browser of
//! somebody who can reach it. So requests must name an IP address, `localhost` or a name of `admin.hosts`; on a unix socket,
//! which no browser reaches, any name will do.
//!
//! What changes or tells more than that the process is alive needs the token. An address that showed too many wrong ones
//! has to wait, with the right one, too: else the budget would not slow guessing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::actor::{Actor, Role, origin};
use super::connection::Caller;
use super::problem::Problem;
use super::tokens;
use crate::Control;
use gatekeeper_core::refusal::Refusal;
use gatekeeper_core::route::canonical_host;
use gatekeeper_plane::policy::auth::failures::Failures;

/// Wrong tokens of an address in a minute.
const WRONG_TOKENS: u32 = 20;

/// The budget of wrong tokens.
pub fn budget() -> Failures {
    Failures::new(WRONG_TOKENS, Duration::from_secs(60))
}

/// Every request passes here: it is counted on its connection, and must name this listener.
pub async fn receive(
    State(control): State<Arc<Control>>,
    ConnectInfo(Caller(connection)): ConnectInfo<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let _answering = connection.answering();
    if connection.peer.is_some() && !is_named(&control, &request) {
        let text = "the administration listener does not accept this Host: use an IP address or localhost, or list the name in admin.hosts";
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", text).into_response();
    }
    next.run(request).await
}

/// Whether the request names us. One without a host (HTTP/1.0) comes from no browser.
fn is_named(control: &Control, request: &Request) -> bool {
    let host = request.headers().get(HOST).map(|host| host.as_bytes());
    let Some(host) = host.or(request.uri().authority().map(|authority| authority.as_str().as_bytes())) else {
        return true;
    };
    let Some(host) = std::str::from_utf8(host).ok().and_then(|host| canonical_host(host).ok()) else { return false };
    host == "localhost"
        || host.starts_with('[')
        || host.parse::<std::net::Ipv4Addr>().is_ok()
        || control.plane.live.plan().edge.admin_hosts.iter().any(|pattern| pattern.matches(&host))
}

/// Lets only those pass that show a token, and tells the handler who acts.
pub async fn authenticate(
    State(control): State<Arc<Control>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    mut request: Request,
    next: Next,
) -> Response {
    match identify(&control, &caller, request.headers()).await {
        Ok(Some(actor)) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Ok(None) => {
            let text = "the administration token is missing or invalid";
            let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", text);
            ([(WWW_AUTHENTICATE, "Bearer realm=\"gatekeeper administration\"")], problem).into_response()
        }
        Err(refusal) => {
            let text = "too many wrong administration tokens from this address";
            let mut response =
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_wrong_tokens", text).into_response();
            response.headers_mut().extend(refusal.headers.clone());
            response
        }
    }
}

/// Lets only those pass that have this role, or one that may do more.
pub async fn require(State(role): State<Role>, actor: Actor, request: Request, next: Next) -> Response {
    if actor.role >= role {
        return next.run(request).await;
    }
    let text =
        format!("this needs the role {}, and {} has the role {}", role.as_str(), actor.name, actor.role.as_str());
    Problem::new(StatusCode::FORBIDDEN, "forbidden", text).into_response()
}

/// Whose token is shown; nobody if there is none or it is wrong, an error if the address has to wait.
pub async fn identify(
    control: &Control,
    Caller(connection): &Caller,
    headers: &HeaderMap,
) -> Result<Option<Actor>, Refusal> {
    let Some(token) = bearer(headers) else { return Ok(None) };
    let now = Instant::now();
    control.wrong_tokens.admit(connection.peer, now)?;
    if control.token.is(token) {
        return Ok(Some(Actor::of_admin_token(connection.peer)));
    }
    if let Some((name, role)) = tokens::identify(control, token).await {
        return Ok(Some(Actor { name: format!("token {name}").into(), role, address: connection.peer }));
    }
    control.wrong_tokens.note(connection.peer, now);
    log::warn!("administration: invalid token from {}", origin(connection.peer));
    Ok(None)
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_follows_bearer() {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer(&headers), None);
        headers.insert(AUTHORIZATION, "bearer abc".parse().unwrap());
        assert_eq!(bearer(&headers), Some(&b"abc"[..]));
        headers.insert(AUTHORIZATION, "Basic abc".parse().unwrap());
        assert_eq!(bearer(&headers), None);
    }
}
