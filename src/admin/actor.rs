//! Who acts: known from the first line of an administration handler to the line in the log.
//!
//! The guard finds out whose token a request shows and puts the [`Actor`] into the request; a handler takes it as an argument.
//! A handler that is reached without one fails (500): nothing is done anonymously.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::problem::Problem;
use gatekeeper_store::audit::Author;

/// Who acts, by which right, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The name of the token.
    pub name: Arc<str>,
    /// What the token permits.
    pub role: Role,
    /// The caller's address; none on a unix socket.
    pub address: Option<IpAddr>,
}

/// What a token permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// To read.
    Viewer,
    /// To read, and to act on what runs: reset, drain, reload.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// All roles, each of which may do what the ones before it may.
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// The role of this name.
    pub fn of_name(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

impl Actor {
    /// The holder of the token that the gateway made when it started for the first time.
    pub fn of_admin_token(address: Option<IpAddr>) -> Self {
        Actor { name: "admin token".into(), role: Role::Admin, address }
    }
}

impl Actor {
    /// The same in the words of the store.
    pub fn author(&self) -> Author {
        Author { name: self.name.to_string(), role: self.role.as_str().into(), address: self.address }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} from {}", self.name, origin(self.address))
    }
}

/// Where a caller is, as the log shows it.
pub fn origin(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "the unix socket".into(), |address| address.to_string())
}

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || Problem::internal(format!("{} was reached without an actor", parts.uri.path()));
        parts.extensions.get().cloned().ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Request;
    use axum::http::StatusCode;
    use axum::response::IntoResponse;

    use super::*;

    #[tokio::test]
    async fn a_handler_without_an_actor_fails() {
        let (mut parts, ()) = Request::new(()).into_parts();
        let refused = Actor::from_request_parts(&mut parts, &()).await.err();
        assert_eq!(refused.map(|problem| problem.into_response().status()), Some(StatusCode::INTERNAL_SERVER_ERROR));
        let actor = Actor::of_admin_token("192.0.2.1".parse().ok());
        parts.extensions.insert(actor.clone());
        assert_eq!(Actor::from_request_parts(&mut parts, &()).await.ok(), Some(actor));
    }

    #[test]
    fn the_log_shows_who_acts_and_from_where() {
        let actor = Actor::of_admin_token("192.0.2.1".parse().ok());
        assert_eq!(actor.to_string(), "the admin token from 192.0.2.1");
        assert_eq!(Actor::of_admin_token(None).to_string(), "the admin token from the unix socket");
    }
}
