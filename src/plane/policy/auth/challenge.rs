//! How a client is told that it did not pass, and what it could show (RFC 6750 3, RFC 9110 11.6.1).

use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;

use super::rejection::Rejection;
use super::{Blame, Denial, Judgement, Method, RouteAuth, Why};
use gatekeeper_core::refusal::{Kind, Refusal};

impl RouteAuth {
    /// A token that one of its issuer's rules rejects.
    pub(super) fn rejected<'a>(&self, why: &Rejection) -> Judgement<'a> {
        let sentence = why.sentence();
        let error = format!("error=\"invalid_token\", error_description=\"{sentence}\"");
        let refusal = self.challenged(Refusal::new(Kind::CREDENTIALS_INVALID, sentence), Some(&error));
        let refusal = match why.cause() {
            Some(cause) => refusal.because(cause),
            None => refusal,
        };
        Judgement::Refused(denied(Some(Method::Jwt), refusal, Blame::Counted))
    }

    pub(super) fn invalid<'a>(&self, by: Method, text: &'static str) -> Judgement<'a> {
        Judgement::Refused(self.refused(by, text))
    }

    pub(super) fn refused(&self, by: Method, text: &'static str) -> Denial {
        let refusal = match by {
            Method::Jwt | Method::Introspection => {
                let error = format!("error=\"invalid_token\", error_description=\"{text}\"");
                self.challenged(Refusal::new(Kind::CREDENTIALS_INVALID, text), Some(&error))
            }
            _ => self.unauthenticated(text),
        };
        denied(Some(by), refusal, Blame::Counted)
    }

    pub(super) fn unauthenticated(&self, text: &'static str) -> Refusal {
        self.challenged(Refusal::new(Kind::CREDENTIALS_INVALID, text), None)
    }

    pub(super) fn missing(&self) -> Refusal {
        let takes = |method| self.takes(method);
        let token = takes(Method::Jwt) || takes(Method::Introspection);
        let text = match (token, takes(Method::ApiKey), takes(Method::Certificate)) {
            (true, true, true) => "send a bearer token or an API key, or present a client certificate",
            (true, true, false) => "send a bearer token or an API key",
            (true, false, true) => "send a bearer token, or present a client certificate",
            (true, false, false) => "send a bearer token",
            (false, true, true) => "send an API key, or present a client certificate",
            (false, true, false) => "send an API key",
            (false, false, true) => "present a client certificate",
            (false, false, false) => "the request carries no credentials",
        };
        self.challenged(Refusal::new(Kind::CREDENTIALS_MISSING, text), None)
    }

    /// The refusal of a request that outlived the credential by which it was let in.
    pub fn expired(&self) -> Refusal {
        let error = "error=\"invalid_token\", error_description=\"the token has expired\"";
        self.challenged(Refusal::new(Kind::CREDENTIALS_INVALID, "the credential has expired"), Some(error))
    }

    /// The refusal of a user who is not what a route asks for (RFC 6750 3.1).
    pub fn insufficient(&self, text: String, scopes: &str, by: Method) -> Refusal {
        let refusal = Refusal::new(Kind::ACCESS_DENIED, text);
        match by {
            Method::Jwt | Method::Introspection if scopes.is_empty() => {
                self.challenged(refusal, Some("error=\"insufficient_scope\""))
            }
            Method::Jwt | Method::Introspection => {
                self.challenged(refusal, Some(&format!("error=\"insufficient_scope\", scope=\"{scopes}\"")))
            }
            _ => refusal,
        }
    }

    /// Adds what a client could show (RFC 9110 11.6.1).
    fn challenged(&self, refusal: Refusal, error: Option<&str>) -> Refusal {
        let scheme = match self.methods.first() {
            _ if self.takes(Method::Jwt) || self.takes(Method::Introspection) => "Bearer",
            _ if self.takes(Method::ApiKey) => "ApiKey",
            _ => "Certificate",
        };
        let error = error.map(|error| format!(", {error}")).unwrap_or_default();
        match HeaderValue::from_str(&format!("{scheme} realm=\"{}\"{error}", self.auth.realm)) {
            Ok(challenge) => refusal.with_header(WWW_AUTHENTICATE, challenge),
            Err(_) => refusal,
        }
    }
}

pub(super) fn denied(by: Option<Method>, refusal: Refusal, blame: Blame) -> Denial {
    Denial { by, why: Why::Refusal(refusal, blame) }
}

pub(super) fn unknown_keys() -> Denial {
    unavailable(Method::Jwt, "the keys of the token's issuer could not be fetched".into())
}

pub(super) fn unavailable(by: Method, why: String) -> Denial {
    Denial { by: Some(by), why: Why::Unavailable(why) }
}
