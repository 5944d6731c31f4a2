//! Who a client is (SEMANTICS 4).
//!
//! A route takes some of the methods that are set up. The first whose credential a request brings decides; what comes after it
//! is not looked at, so that a wrong token is not made good by a key beside it. Most requests are judged at once; where
//! someone else has to be asked, the question is returned, and resolved while the request waits.
//!
//! Signed tokens: `issuer` judges them with `token` (read), `key` and `key_set` (whose keys), `claims` (what it must say)
//! and `cache` (seen before); `provider` fetches keys through `fetch`; `compile` makes all that from the configuration.
//!
//! Who is known without work (a token that was verified lately, a key that there is) passes before the budget of failures is
//! looked at: nobody shall suffer from neighbours behind the same address.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::{HOST, ORIGIN, UPGRADE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method as HttpMethod, StatusCode};
use smallvec::SmallVec;

use super::cors::Cors;
use super::refusal::{Kind, Refusal};
use crate::listen::connection::ClientCertificate;
use crate::record::PolicyMetrics;
use api_key::{ApiKey, ApiKeys};
use certificate::Certificates;
use credential::{Token, TokenFrom};
use failures::Failures;
use forward::{Decision, Forward};
use identity::Identity;
use introspection::{Introspection, Opinion};
use issuer::{Issuers, Verdict};
use rejection::Rejection;
use remote::Unavailable;
use token::LONGEST;
use told::Telling;

pub mod api_key;
mod cache;
pub mod certificate;
mod claims;
pub mod compile;
pub mod credential;
pub mod failures;
pub mod fetch;
pub mod forward;
pub mod identity;
pub mod introspection;
pub mod issuer;
mod json;
pub mod keeper;
mod key;
mod key_set;
pub mod provider;
pub mod rejection;
pub mod remote;
mod token;
pub mod told;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod vectors;

/// All that is set up to know clients by.
pub struct Auth {
    /// What the protected place is called.
    pub realm: Box<str>,
    /// Whose word is taken for those that are asked, beside the system's authorities.
    pub authorities: Option<fetch::Authorities>,
    /// Whose tokens are taken.
    pub issuers: Option<Issuers>,
    /// Who is asked about tokens that can't be judged here.
    pub introspection: Option<Arc<Introspection>>,
    /// Keys in a header.
    pub api_keys: Option<ApiKeys>,
    /// Certificates.
    pub certificates: Option<Certificates>,
    /// Who decides on whole requests.
    pub forward: Option<Arc<Forward>>,
    /// What upstreams are told of users.
    pub telling: Arc<Telling>,
    /// Credentials stay here.
    pub hides: bool,
    /// The budget of failures.
    pub failures: Arc<Failures>,
    /// What was decided, by method, in the order of [`Method::ALL`]; behind them what brought no credential.
    pub metrics: Box<[PolicyMetrics]>,
}

/// How a client shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A token with a signature.
    Jwt,
    /// A token that someone else knows.
    Introspection,
    /// A key in a header.
    ApiKey,
    /// A certificate.
    Certificate,
    /// The whole request, of which someone else decides.
    Forward,
}

/// What a route asks for.
pub struct RouteAuth {
    /// All that is set up.
    pub auth: Arc<Auth>,
    /// What the route takes, in this order.
    pub methods: SmallVec<[Method; 5]>,
    /// Where else a token may be.
    pub token_from: Option<TokenFrom>,
    /// What is wrong is told and passes.
    pub shadow: bool,
}

/// A request and where it comes from.
#[derive(Clone, Copy)]
pub struct Visitor<'a> {
    /// The request.
    pub request: &'a Parts,
    /// Its canonical path.
    pub path: &'a str,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The client's certificate.
    pub certificate: Option<&'a ClientCertificate>,
    /// It came over TLS.
    pub tls: bool,
    /// What the peer says of where the request came from is believed.
    pub trusted: bool,
    /// Which pages may use the route.
    pub cors: Option<&'a Cors>,
    /// Now.
    pub now: (Instant, SystemTime),
}

/// A user who was recognised.
#[derive(Clone, Debug)]
pub struct User {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// By what it was recognised.
    pub by: Method,
    /// The key it was recognised by.
    pub key: Option<Arc<ApiKey>>,
    /// What else upstreams are told.
    pub told: Box<[(HeaderName, HeaderValue)]>,
}

/// What is thought of a request.
pub enum Judgement<'a> {
    /// Its user is known.
    Known(User),
    /// Someone has to be asked.
    Pending(Question<'a>),
    /// It does not pass.
    Refused(Denial),
}

/// What someone else has to be asked.
pub enum Question<'a> {
    /// Which keys there are now.
    Keys(&'a str),
    /// Whether a token is good.
    Token(&'a str),
    /// Whether the request may pass.
    Request,
}

/// A request that does not pass.
pub struct Denial {
    /// Which method decided; none if there was no credential.
    pub by: Option<Method>,
    /// Why.
    pub why: Why,
}

/// Why a request does not pass.
pub enum Why {
    /// It is refused. The credential was wrong, if that is to be counted.
    Refusal(Refusal, Blame),
    /// Who was asked answers the client itself.
    Answer(Box<fetch::Answer>, Blame),
    /// Nobody could tell; why not is for the log.
    Unavailable(String),
}

/// Whether a refusal counts among the failures of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// It does.
    Counted,
    /// It does not.
    None,
}

impl Method {
    /// All of them; the order in which they are tried if a route says nothing else.
    pub const ALL: [Method; 5] =
        [Method::Jwt, Method::Introspection, Method::ApiKey, Method::Certificate, Method::Forward];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Jwt => "jwt",
            Method::Introspection => "introspection",
            Method::ApiKey => "api_key",
            Method::Certificate => "certificate",
            Method::Forward => "forward",
        }
    }

    /// What the word stands for.
    pub fn parse(name: &str) -> Option<Method> {
        Method::ALL.into_iter().find(|method| method.name() == name)
    }
}

impl Auth {
    /// Whether a method is set up.
    pub fn offers(&self, method: Method) -> bool {
        match method {
            Method::Jwt => self.issuers.is_some(),
            Method::Introspection => self.introspection.is_some(),
            Method::ApiKey => self.api_keys.is_some(),
            Method::Certificate => self.certificates.is_some(),
            Method::Forward => self.forward.is_some(),
        }
    }

    /// The counts of a method, or of requests that brought no credential.
    pub fn metrics(&self, by: Option<Method>) -> Option<&PolicyMetrics> {
        self.metrics.get(by.map_or(Method::ALL.len(), |method| method as usize))
    }
}

impl RouteAuth {
    /// What is thought of a request. Nothing is counted.
    pub fn judge<'a>(&self, visitor: &Visitor<'a>) -> Judgement<'a> {
        for method in &self.methods {
            let judged = match method {
                Method::Jwt | Method::Introspection => self.by_token(visitor),
                Method::ApiKey => self.by_key(visitor),
                Method::Certificate => self.by_certificate(visitor),
                Method::Forward => self
                    .auth
                    .failures
                    .admit(visitor.address, visitor.now.0)
                    .map(|()| Some(Judgement::Pending(Question::Request))),
            };
            match judged {
                Ok(None) => {}
                Ok(Some(judgement)) => return judgement,
                Err(refusal) => return Judgement::Refused(denied(Some(*method), refusal, Blame::None)),
            }
        }
        Judgement::Refused(denied(None, self.missing(), Blame::None))
    }

    /// Asks, and judges the answer.
    pub async fn resolve(&self, question: Question<'_>, visitor: &Visitor<'_>) -> Result<User, Denial> {
        match question {
            Question::Keys(token) => self.with_new_keys(token, visitor).await,
            Question::Token(token) => self.introspect(token).await,
            Question::Request => self.ask_about(visitor).await,
        }
    }

    fn takes(&self, method: Method) -> bool {
        self.methods.contains(&method)
    }

    fn by_token<'a>(&self, visitor: &Visitor<'a>) -> Result<Option<Judgement<'a>>, Refusal> {
        let Some(token) = credential::token(&visitor.request.headers, self.token_from.as_ref())? else {
            return Ok(None);
        };
        check_origin(&token, visitor)?;
        let Ok(text) = std::str::from_utf8(token.text) else {
            return Ok(Some(self.invalid(Method::Jwt, "the token is malformed")));
        };
        let issuers = self.auth.issuers.as_ref().filter(|_| self.takes(Method::Jwt));
        if let Some(identity) = issuers.and_then(|issuers| issuers.recognise(text, visitor.now.1)) {
            return Ok(Some(Judgement::Known(User::known(identity, Method::Jwt))));
        }
        let introspection = self.auth.introspection.as_ref().filter(|_| self.takes(Method::Introspection));
        if let Some(Opinion::Good(identity)) = introspection.and_then(|introspection| introspection.known(text)) {
            return Ok(Some(Judgement::Known(User::known(identity, Method::Introspection))));
        }
        self.auth.failures.admit(visitor.address, visitor.now.0)?;
        if !(1..=LONGEST).contains(&text.len()) {
            let why = if text.is_empty() { Rejection::Malformed } else { Rejection::TooLong };
            return Ok(Some(self.invalid(Method::Jwt, why.sentence())));
        }
        let verdict = issuers.map(|issuers| issuers.judge(text, visitor.now.1));
        Ok(Some(self.by_verdict(verdict.unwrap_or(Verdict::Foreign(Rejection::Issuer)), text)))
    }

    fn by_verdict<'a>(&self, verdict: Verdict, token: &'a str) -> Judgement<'a> {
        match verdict {
            Verdict::Accepted(identity) => Judgement::Known(User::known(identity, Method::Jwt)),
            Verdict::Rejected(Rejection::Unavailable) => Judgement::Refused(unknown_keys()),
            Verdict::Rejected(why) => self.invalid(Method::Jwt, why.sentence()),
            Verdict::Ask(_) => Judgement::Pending(Question::Keys(token)),
            Verdict::Foreign(why) => self.foreign(token, why),
        }
    }

    /// A token that nobody here knows anything of.
    fn foreign<'a>(&self, token: &'a str, why: Rejection) -> Judgement<'a> {
        match self.auth.introspection.as_ref().filter(|_| self.takes(Method::Introspection)) {
            None => self.invalid(Method::Jwt, why.sentence()),
            Some(introspection) => match introspection.known(token) {
                Some(Opinion::Good(identity)) => Judgement::Known(User::known(identity, Method::Introspection)),
                Some(Opinion::Bad) => self.invalid(Method::Introspection, INACTIVE),
                None => Judgement::Pending(Question::Token(token)),
            },
        }
    }

    fn by_key<'a>(&self, visitor: &Visitor<'a>) -> Result<Option<Judgement<'a>>, Refusal> {
        let Some(keys) = &self.auth.api_keys else { return Ok(None) };
        let Some(key) = credential::only(&visitor.request.headers, &keys.header)? else { return Ok(None) };
        if let Some(key) = keys.find(key.as_bytes(), visitor.now.1) {
            let user = User::known(key.owner.clone(), Method::ApiKey);
            return Ok(Some(Judgement::Known(User { key: Some(key.clone()), ..user })));
        }
        self.auth.failures.admit(visitor.address, visitor.now.0)?;
        Ok(Some(self.invalid(Method::ApiKey, "there is no such key, or it has ended")))
    }

    fn by_certificate<'a>(&self, visitor: &Visitor<'a>) -> Result<Option<Judgement<'a>>, Refusal> {
        let (Some(listed), Some(certificate)) = (&self.auth.certificates, visitor.certificate) else { return Ok(None) };
        let text = |value: &'a HeaderValue| std::str::from_utf8(value.as_bytes()).unwrap_or_default();
        let found = listed.find(text(&certificate.subject), text(&certificate.fingerprint));
        Ok(Some(match found {
            Some(identity) => Judgement::Known(User::known(identity, Method::Certificate)),
            None => {
                let refusal = self.unauthenticated("nobody is known by this certificate");
                Judgement::Refused(denied(Some(Method::Certificate), refusal, Blame::None))
            }
        }))
    }

    async fn with_new_keys(&self, token: &str, visitor: &Visitor<'_>) -> Result<User, Denial> {
        let Some(issuers) = &self.auth.issuers else { return Err(unknown_keys()) };
        match self.by_verdict(issuers.settle(token, visitor.now.1).await, token) {
            Judgement::Known(user) => Ok(user),
            Judgement::Refused(denial) => Err(denial),
            Judgement::Pending(Question::Token(token)) => self.introspect(token).await,
            Judgement::Pending(_) => Err(unknown_keys()),
        }
    }

    async fn introspect(&self, token: &str) -> Result<User, Denial> {
        let by = Method::Introspection;
        let Some(introspection) = &self.auth.introspection else { return Err(self.refused(by, INACTIVE)) };
        match introspection.ask(token).await {
            Ok(Opinion::Good(identity)) => Ok(User::known(identity, by)),
            Ok(Opinion::Bad) => Err(self.refused(by, INACTIVE)),
            Err(Unavailable(why)) => Err(unavailable(by, format!("introspection: {why}"))),
        }
    }

    async fn ask_about(&self, visitor: &Visitor<'_>) -> Result<User, Denial> {
        let by = Method::Forward;
        let Some(forward) = &self.auth.forward else { return Err(denied(None, self.missing(), Blame::None)) };
        match forward.ask(visitor).await {
            Ok(Decision::Pass(identity, told)) => Ok(User { told: told.into(), ..User::known(Arc::new(identity), by) }),
            Ok(Decision::Answer(reply)) => {
                let shown = forward.settings().sent.iter().any(|name| visitor.request.headers.contains_key(name));
                let wrong = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&reply.status);
                let blame = if shown && wrong { Blame::Counted } else { Blame::None };
                Err(Denial { by: Some(by), why: Why::Answer(Box::new(reply), blame) })
            }
            Err(Unavailable(why)) => Err(unavailable(by, format!("forward authentication: {why}"))),
        }
    }

    fn invalid<'a>(&self, by: Method, text: &'static str) -> Judgement<'a> {
        Judgement::Refused(self.refused(by, text))
    }

    fn refused(&self, by: Method, text: &'static str) -> Denial {
        let refusal = match by {
            Method::Jwt | Method::Introspection => {
                let error = format!("error=\"invalid_token\", error_description=\"{text}\"");
                self.challenged(Refusal::new(Kind::CREDENTIALS_INVALID, text), Some(&error))
            }
            _ => self.unauthenticated(text),
        };
        denied(Some(by), refusal, Blame::Counted)
    }

    fn unauthenticated(&self, text: &'static str) -> Refusal {
        self.challenged(Refusal::new(Kind::CREDENTIALS_INVALID, text), None)
    }

    fn missing(&self) -> Refusal {
        self.challenged(Refusal::new(Kind::CREDENTIALS_MISSING, "this needs credentials"), None)
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
        let bearer = self.takes(Method::Jwt) || self.takes(Method::Introspection);
        let scheme = if bearer {
            "Bearer"
        } else if self.takes(Method::ApiKey) {
            "ApiKey"
        } else {
            "Certificate"
        };
        let error = error.map(|error| format!(", {error}")).unwrap_or_default();
        match HeaderValue::from_str(&format!("{scheme} realm=\"{}\"{error}", self.auth.realm)) {
            Ok(challenge) => refusal.with_header(WWW_AUTHENTICATE, challenge),
            Err(_) => refusal,
        }
    }
}

const INACTIVE: &str = "the token is not valid, or no longer";

impl User {
    /// A user who was recognised by that.
    pub fn known(identity: Arc<Identity>, by: Method) -> User {
        User { identity, by, key: None, told: Box::default() }
    }
}

fn denied(by: Option<Method>, refusal: Refusal, blame: Blame) -> Denial {
    Denial { by, why: Why::Refusal(refusal, blame) }
}

fn unknown_keys() -> Denial {
    unavailable(Method::Jwt, "the keys of the token's issuer could not be fetched".into())
}

fn unavailable(by: Method, why: String) -> Denial {
    Denial { by: Some(by), why: Why::Unavailable(why) }
}

/// What browsers send by themselves, a page of another origin must not use: neither for a websocket, which no preflight
/// asks for, nor to change something (SEMANTICS 4.8).
fn check_origin(token: &Token, visitor: &Visitor) -> Result<(), Refusal> {
    let Parts { headers, method, uri, .. } = visitor.request;
    let harmless = [HttpMethod::GET, HttpMethod::HEAD, HttpMethod::OPTIONS].contains(method);
    if !token.ambient || (harmless && !headers.contains_key(UPGRADE)) {
        return Ok(());
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let host = headers.get(HOST).map(HeaderValue::as_bytes).or(uri.authority().map(|host| host.as_str().as_bytes()));
    let own = origin.as_bytes().splitn(3, |byte| *byte == b'/').nth(2);
    if host.is_some_and(|host| own.is_some_and(|own| own.eq_ignore_ascii_case(host)))
        || visitor.cors.is_some_and(|cors| cors.trusts(origin))
    {
        return Ok(());
    }
    Err(Refusal::new(Kind::ORIGIN_DENIED, "a page of this origin may not use the token of a cookie here"))
}
