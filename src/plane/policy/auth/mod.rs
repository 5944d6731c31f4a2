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

use http::request::Parts;
use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::cors::Cors;
use crate::observe::PolicyMetrics;
use api_key::{ApiKey, ApiKeys};
use certificate::{Certificates, ClientCertificate};
use credential::TokenFrom;
use failures::Failures;
use forward::Forward;
use gatekeeper_core::refusal::Refusal;
use identity::Identity;
use introspection::Introspection;
use issuer::Issuers;
use told::Telling;

pub mod api_key;
mod cache;
pub mod certificate;
mod challenge;
mod claims;
pub mod compile;
pub mod credential;
mod edwards;
pub mod failures;
pub mod fetch;
pub mod forward;
pub mod identity;
pub mod introspection;
pub mod issuer;
mod json;
mod judge;
mod key;
mod key_set;
mod page;
pub mod provider;
pub mod rejection;
pub mod remote;
mod token;
pub mod told;
pub mod turns;

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

impl PartialEq for RouteAuth {
    fn eq(&self, other: &Self) -> bool {
        let RouteAuth { auth, methods, token_from, shadow } = self;
        Arc::ptr_eq(auth, &other.auth)
            && (methods, token_from, shadow) == (&other.methods, &other.token_from, &other.shadow)
    }
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
    /// When the route's time is over.
    pub until: Option<Instant>,
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

    /// Who may vouch for a user, each once: the issuers of tokens, and the other methods that are set up. Known inaccuracy: who
    /// is asked about tokens may name other issuers.
    pub fn vouchers(&self) -> Vec<Arc<str>> {
        let issuers = self.issuers.iter().flat_map(Issuers::names);
        let others = Method::ALL.into_iter().filter(|method| *method != Method::Jwt && self.offers(*method));
        let mut all: Vec<Arc<str>> = Vec::new();
        for name in issuers.chain(others.map(|method| method.name().into())) {
            if !all.contains(&name) {
                all.push(name);
            }
        }
        all
    }

    /// The counts of a method, or of requests that brought no credential.
    pub fn metrics(&self, by: Option<Method>) -> Option<&PolicyMetrics> {
        self.metrics.get(by.map_or(Method::ALL.len(), |method| method as usize))
    }
}

impl RouteAuth {
    /// Whether the route takes a method.
    pub fn takes(&self, method: Method) -> bool {
        self.methods.contains(&method)
    }
}

impl User {
    /// A user who was recognised by that.
    pub fn known(identity: Arc<Identity>, by: Method) -> User {
        User { identity, by, key: None, told: Box::default() }
    }
}
