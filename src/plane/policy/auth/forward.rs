//! Forward authentication: a service of the user's own decides on each request, by its head.
//!
//! It is sent a GET with the chosen headers of the request, its Origin, X-Forwarded-Method, -Proto, -Host, -Uri and -For, and
//! `Via` with our name, so that a question that comes to us ourselves does not go round for ever. 2xx lets the request pass,
//! and the chosen headers of that answer go upstream; another answer below 500 goes to the client (a login page's redirect,
//! for example), without the fields of its connection; none, a 101, or 500 and more, is a 503.

use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::Url;

use super::Visitor;
use super::credential::is_bearer;
use super::fetch::{Answer, Client};
use super::identity::{Claims, Identity};
use super::remote::{Remote, Unavailable};
use crate::policy::via;
use gatekeeper_core::net::is_origin;

/// A service that decides.
pub struct Forward {
    settings: Settings,
    remote: Remote,
}

/// How it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where.
    pub url: Url,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Request headers it is sent.
    pub sent: Box<[HeaderName]>,
    /// Headers of its answer that go upstream.
    pub taken: Box<[HeaderName]>,
    /// The header of its answer that says who the user is.
    pub subject: HeaderName,
}

/// What it decided.
pub enum Decision {
    /// The request may pass, as this user, with these headers.
    Pass(Identity, Vec<(HeaderName, HeaderValue)>),
    /// The client gets this answer.
    Answer(Answer),
}

impl Forward {
    /// Asks by this client.
    pub fn new(settings: Settings, client: Client) -> Self {
        let remote = Remote::new("forward authentication", settings.url.clone(), settings.timeout, client);
        Forward { settings, remote }
    }

    /// How it is asked.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// When a question has to be answered that comes up now, and until when it is worth while to wait for a turn to ask it.
    pub fn deadline(&self) -> (Instant, Instant) {
        let deadline = self.remote.deadline();
        (deadline, self.remote.worth_while(deadline))
    }

    /// Asks about a request.
    pub async fn ask(&self, visitor: &Visitor<'_>, deadline: Instant) -> Result<Decision, Unavailable> {
        let mut headers = HeaderMap::new();
        let believed = |name: &&HeaderName| visitor.trusted || !is_origin(name.as_str());
        for name in self.settings.sent.iter().filter(believed) {
            if *name == COOKIE {
                cookies(&visitor.request.headers).and_then(|line| headers.insert(COOKIE, line));
                continue;
            }
            for value in visitor.request.headers.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        tell(visitor, &mut headers);
        let reply = self.remote.ask(self.remote.question(Method::GET).headers(headers), deadline).await?;
        if reply.status.is_informational() {
            return Err(Unavailable(format!("the service answered {}", reply.status)));
        }
        Ok(if reply.status.is_success() { self.pass(&reply) } else { Decision::Answer(reply) })
    }

    /// Whether it judges by what browsers send by themselves: cookies, and passwords of `Basic` and its kin.
    pub fn sees_ambient(&self, headers: &HeaderMap) -> bool {
        let password = || headers.get_all(AUTHORIZATION).iter().any(|field| !is_bearer(field.as_bytes()));
        self.settings
            .sent
            .iter()
            .any(|name| (*name == COOKIE && headers.contains_key(COOKIE)) || (*name == AUTHORIZATION && password()))
    }

    fn pass(&self, reply: &Answer) -> Decision {
        let taken = |name: &HeaderName| reply.headers.get(name).map(|value| (name.clone(), value.clone()));
        let subject = reply.headers.get(&self.settings.subject).and_then(|value| value.to_str().ok());
        let mut claims = Claims::new();
        for (name, value) in self.settings.taken.iter().filter_map(taken) {
            claims.insert(name.as_str().into(), String::from_utf8_lossy(value.as_bytes()).into());
        }
        let user = Identity {
            issuer: "forward".into(),
            subject: subject.unwrap_or_default().into(),
            claims,
            ..Identity::default()
        };
        Decision::Pass(user, self.settings.taken.iter().filter_map(taken).collect())
    }
}

/// All cookies in one line, as the service gets them: of two lines one might read the first and the other the last.
fn cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&lines.join(&b"; "[..])).ok().filter(|line| !line.is_empty())
}

/// What it is told of a request beside its headers: the path is the one that its route was chosen by, not another spelling of it.
fn tell(visitor: &Visitor, headers: &mut HeaderMap) {
    let request = visitor.request;
    let uri = request.uri.query().map_or(visitor.path.to_owned(), |query| format!("{}?{query}", visitor.path));
    let said = |name: &str| request.headers.get(name).filter(|_| visitor.trusted).cloned();
    let host = said("x-forwarded-host").or_else(|| request.headers.get(HOST).cloned());
    let scheme = || HeaderValue::from_static(if visitor.tls { "https" } else { "http" });
    let authority = || request.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    let told = [
        ("x-forwarded-method", HeaderValue::from_str(request.method.as_str()).ok()),
        ("x-forwarded-proto", said("x-forwarded-proto").or_else(|| Some(scheme()))),
        ("x-forwarded-host", host.or_else(authority)),
        ("x-forwarded-uri", HeaderValue::from_str(&uri).ok()),
        ("origin", request.headers.get(ORIGIN).cloned()),
        ("via", Some(via::with_ours(&request.headers, request.version))),
        ("x-forwarded-for", visitor.address.and_then(|address| HeaderValue::from_str(&address.to_string()).ok())),
    ];
    for (name, value) in told {
        value.and_then(|value| headers.insert(HeaderName::from_static(name), value));
    }
}
