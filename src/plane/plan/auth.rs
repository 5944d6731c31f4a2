//! Compiles how clients show who they are, and what routes ask of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderName;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use reqwest::Url;

use super::limits::Limits;
use crate::observe::Claims;
use crate::policy::auth::api_key::{self, ApiKey, ApiKeys};
use crate::policy::auth::certificate::{Certificates, Entry};
use crate::policy::auth::compile::compile as compile_issuers;
use crate::policy::auth::credential::{TOKEN_FROM, TokenFrom};
use crate::policy::auth::failures::Failures;
use crate::policy::auth::fetch::{self, Authorities, Client};
use crate::policy::auth::forward::{self, Forward};
use crate::policy::auth::identity::Identity;
use crate::policy::auth::introspection::{self, Introspection};
use crate::policy::auth::told::Telling;
use crate::policy::auth::{Auth, Method, RouteAuth};
use gatekeeper_model::raw::{self, Policy};
use gatekeeper_model::secret::masked;
use gatekeeper_model::value::Period;
use gatekeeper_model::{Fault, Faults, Place, did_you_mean, quoted};

/// Compiles how clients show who they are; `None` if the configuration does not say. What did not change keeps what it has
/// learnt.
pub fn compile(
    raw: &raw::Auth,
    rates: &Limits,
    previous: Option<&Auth>,
    claims: &Claims,
    faults: &mut Faults,
) -> Option<Arc<Auth>> {
    let place = Place::new("auth");
    let before = faults.len();
    let authorities = raw.ca.as_deref().map(Authorities::read).transpose();
    let authorities = authorities.map_err(|fault| faults.add(Fault::saying(place.key("ca"), fault))).ok().flatten();
    let client = Client::new(authorities.as_ref());
    let client = client.map_err(|fault| faults.add(Fault::saying(place.clone(), fault))).ok();
    let same_authorities = previous.is_some_and(|previous| previous.authorities == authorities);
    let failures = failures(raw, previous, &place.key("failures"), faults);
    let previous = previous.filter(|_| same_authorities);
    let mut compiler = Compiler { raw, rates, previous, client, place: &place, faults };
    compiler.check();
    let (introspection, api_keys) = (compiler.introspection(), compiler.api_keys());
    let (certificates, forward, telling) = (compiler.certificates(), compiler.forward(), compiler.telling());
    let issuers = (!raw.jwt.is_empty()).then(|| {
        let previous = previous.and_then(|auth| auth.issuers.as_ref());
        compile_issuers(&raw.jwt, previous, authorities.as_ref(), &place.key("jwt"), faults)
    });
    let names = Method::ALL.iter().map(|method| method.name()).chain([""]);
    (faults.len() == before).then(|| {
        Arc::new(Auth {
            realm: raw.realm.as_str().into(),
            authorities,
            issuers: issuers.flatten(),
            introspection,
            api_keys,
            certificates,
            forward,
            telling,
            hides: raw.hide_credentials.0,
            failures,
            metrics: names.map(|name| claims.policy("auth", name)).collect(),
        })
    })
}

/// What a route asks for; `None` if it is public, or if `auth` is set up but has faults of its own.
pub fn of_route(
    raw: &raw::Route,
    auth: Option<&Arc<Auth>>,
    is_set_up: bool,
    place: &Place,
    faults: &mut Faults,
) -> Option<RouteAuth> {
    let public = raw.is_public.unwrap_or(auth.is_none());
    let asked = [
        ("is_public", raw.is_public == Some(false)),
        ("auth", !raw.auth.is_empty()),
        ("access", raw.access.is_some()),
        ("token_from", raw.token_from.is_some()),
        ("close_at_expiry", raw.close_at_expiry.0),
        ("shadow", raw.shadow.contains(&Policy::Auth) || raw.shadow.contains(&Policy::Access)),
    ];
    let asked = asked.iter().filter(|(_, asked)| *asked).map(|(key, _)| *key);
    let Some(auth) = auth.filter(|_| !public) else {
        let is_open = raw.is_public == Some(true);
        let why = if is_open { "the route is public" } else { "there is no auth section" };
        if is_open || !(is_set_up || faults.was_pruned(&Place::new("auth"))) {
            asked.for_each(|key| faults.add(Fault::saying(place.key(key), format!("has no effect: {why}"))));
        }
        return None;
    };
    let methods = methods(raw, auth, place, faults);
    check_tokens(raw, &methods, place, faults);
    if raw.shadow.contains(&Policy::Access) && raw.access.is_none() {
        faults.add(Fault::saying(place.key("shadow"), "the route has no access to try"));
    }
    let token_from = raw.token_from.as_deref().and_then(|text| token_from(text, &place.key("token_from"), faults));
    let shadow = raw.shadow.contains(&Policy::Auth);
    Some(RouteAuth { auth: auth.clone(), methods: methods.into(), token_from, shadow })
}

/// The methods that a route names, or all that are set up.
fn methods(raw: &raw::Route, auth: &Auth, place: &Place, faults: &mut Faults) -> Vec<Method> {
    if raw.auth.is_empty() {
        return Method::ALL.into_iter().filter(|method| auth.offers(*method)).collect();
    }
    let named = raw.auth.iter().enumerate();
    named.filter_map(|(index, name)| method(name, auth, &place.key("auth").index(index), faults)).collect()
}

/// A method by its name, if it is set up.
fn method(name: &str, auth: &Auth, place: &Place, faults: &mut Faults) -> Option<Method> {
    let Some(method) = Method::parse(name) else {
        let names = Method::ALL.map(Method::name);
        let fault = Fault::new(place.clone(), format!("{name:?}"), names.join(", "));
        faults.add(match did_you_mean(name, names) {
            Some(hint) => fault.with_hint(hint),
            None => fault,
        });
        return None;
    };
    let is_offered = auth.offers(method);
    if !is_offered {
        faults.add(Fault::saying(place.clone(), format!("{:?} is not set up under auth", method.name())));
    }
    is_offered.then_some(method)
}

/// What is said of tokens makes sense where tokens are taken.
fn check_tokens(raw: &raw::Route, methods: &[Method], place: &Place, faults: &mut Faults) {
    let takes_tokens = methods.iter().any(|method| matches!(method, Method::Jwt | Method::Introspection));
    for (key, asked) in [("token_from", raw.token_from.is_some()), ("close_at_expiry", raw.close_at_expiry.0)] {
        if asked && !takes_tokens && faults.is_empty() {
            faults.add(Fault::saying(place.key(key), "the route takes no tokens"));
        }
    }
}

fn token_from(text: &str, place: &Place, faults: &mut Faults) -> Option<TokenFrom> {
    let parsed = TokenFrom::parse(text);
    if parsed.is_none() {
        faults.push(place.clone(), format!("{text:?}"), TOKEN_FROM);
    }
    parsed
}

fn failures(raw: &raw::Auth, previous: Option<&Auth>, place: &Place, faults: &mut Faults) -> Arc<Failures> {
    let raw = &raw.failures;
    if !(1..=100_000).contains(&raw.max) {
        faults.push(place.key("max"), raw.max.to_string(), "1 to 100000");
    }
    if !(Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&raw.window.0) {
        faults.push(place.key("window"), raw.window.to_string(), "1s to 24h");
    }
    let kept = previous.map(|auth| &auth.failures).filter(|previous| previous.is(raw.max, raw.window.0)).cloned();
    kept.unwrap_or_else(|| Arc::new(Failures::new(raw.max, raw.window.0)))
}

/// No request waits longer for an answer.
const LONGEST_ANSWER: Period = Period::from_secs(60);
/// An answer holds no longer: what was revoked meanwhile would still be let in.
const LONGEST_CACHE: Period = Period::from_secs(3600);

struct Compiler<'a, 'f> {
    raw: &'a raw::Auth,
    rates: &'a Limits,
    previous: Option<&'a Auth>,
    client: Option<Client>,
    place: &'f Place<'static>,
    faults: &'f mut Faults,
}

impl Compiler<'_, '_> {
    fn check(&mut self) {
        let raw = self.raw;
        let (jwt, introspection) = (!raw.jwt.is_empty(), raw.introspection.is_some());
        let other = raw.api_keys.is_some() || raw.certificates.is_some() || raw.forward.is_some();
        if !jwt && !introspection && !other {
            let allowed = "one or more of jwt, introspection, api_keys, certificates, forward";
            self.faults.push(self.place.clone(), "no way to show who one is", allowed);
        }
        if raw.realm.is_empty()
            || !raw.realm.bytes().all(|byte| matches!(byte, b' '..=b'~') && !b"\"\\".contains(&byte))
        {
            self.faults.push(self.place.key("realm"), format!("{:?}", raw.realm), "printable ASCII without quotes");
        }
    }

    /// A period that may be no longer than this.
    fn bounded(&mut self, period: Period, longest: Period, place: Place) -> Duration {
        if period > longest {
            self.faults.push(place, period.to_string(), format!("at most {longest}"));
        }
        period.0
    }

    fn introspection(&mut self) -> Option<Arc<Introspection>> {
        let raw = self.raw.introspection.as_ref()?;
        let place = self.place.key("introspection");
        let timeout = self.bounded(raw.timeout, LONGEST_ANSWER, place.key("timeout"));
        let holds = self.bounded(raw.cache, LONGEST_CACHE, place.key("cache"));
        let url = self.url(&raw.url, raw.allow_http.0, place.key("url"));
        let credentials = match (&raw.client_id, &raw.client_secret) {
            (Some(id), Some(secret)) => Some((id.clone(), secret.reveal().to_owned())),
            (None, None) => None,
            _ => {
                self.faults.add(Fault::saying(place.clone(), "client_id and client_secret go together"));
                None
            }
        };
        if raw.style == raw::IntrospectionStyle::Bearer && credentials.is_some() {
            let fault = "the bearer style shows the client's token, not a client_id";
            self.faults.add(Fault::saying(place.key("client_id"), fault));
        }
        let settings = introspection::Settings {
            url: url?,
            style: raw.style,
            credentials,
            timeout,
            holds,
            roles_claim: raw.roles_claim.clone().unwrap_or("roles".into()),
        };
        let previous = self.previous.and_then(|auth| auth.introspection.as_ref());
        let kept = previous.filter(|previous| *previous.settings() == settings).cloned();
        kept.or_else(|| Some(Arc::new(Introspection::new(settings, self.client.clone()?))))
    }

    fn forward(&mut self) -> Option<Arc<Forward>> {
        let raw = self.raw.forward.as_ref()?;
        let place = self.place.key("forward");
        let timeout = self.bounded(raw.timeout, LONGEST_ANSWER, place.key("timeout"));
        let url = self.url(&raw.url, raw.allow_http.0, place.key("url"));
        let sent = self.names(&raw.request_headers, place.key("request_headers"));
        let taken = self.names(&raw.response_headers, place.key("response_headers"));
        let subject = self.name(&raw.subject_header, place.key("subject_header"));
        let settings = forward::Settings { url: url?, timeout, sent, taken, subject: subject? };
        let previous = self.previous.and_then(|auth| auth.forward.as_ref());
        let kept = previous.filter(|previous| *previous.settings() == settings).cloned();
        kept.or_else(|| Some(Arc::new(Forward::new(settings, self.client.clone()?))))
    }

    fn api_keys(&mut self) -> Option<ApiKeys> {
        let raw = self.raw.api_keys.as_ref()?;
        let place = self.place.key("api_keys");
        let header = self.name(&raw.header, place.key("header"));
        let mut seen = std::collections::HashMap::new();
        let mut keys = Vec::new();
        for (index, key) in raw.keys.iter().enumerate() {
            let place = place.key("keys").index(index);
            let hash = api_key::read_hash(&key.hash);
            match hash {
                None => self.faults.add(wrong_hash(&key.hash, place.key("hash"))),
                Some(hash) => {
                    if let Some(first) = seen.insert(hash, index) {
                        let fault = format!("the same key as auth.api_keys.keys[{first}]");
                        self.faults.add(Fault::saying(place.key("hash"), fault));
                    }
                }
            }
            keys.extend(hash.zip(self.key(key, &place)));
        }
        Some(ApiKeys::new(header?, keys))
    }

    fn key(&mut self, raw: &raw::ApiKey, place: &Place) -> Option<ApiKey> {
        if raw.owner.is_empty() || raw.owner.chars().any(char::is_control) {
            self.faults.push(place.key("owner"), format!("{:?}", raw.owner), "a name");
        }
        let expires = raw.expires.as_deref().and_then(|text| {
            let end = point_in_time(text);
            if end.is_none() {
                let allowed = "a time such as 2027-01-31T00:00:00Z, or a date";
                self.faults.push(place.key("expires"), format!("{text:?}"), allowed);
            }
            end
        });
        let owner = Identity {
            issuer: "api_key".into(),
            subject: raw.owner.as_str().into(),
            roles: boxed(&raw.roles),
            scopes: boxed(&raw.scopes),
            claims: [("sub".into(), raw.owner.as_str().into())].into_iter().collect(),
            expires,
            ..Identity::default()
        };
        let limits = self.rates.named(&raw.rate_limits, &place.key("rate_limits"), self.faults);
        Some(ApiKey { owner: Arc::new(owner), limits: limits.into() })
    }

    fn certificates(&mut self) -> Option<Certificates> {
        let raw = self.raw.certificates.as_ref()?;
        if raw.subjects.is_empty() {
            self.faults.push(self.place.key("certificates").key("subjects"), "an empty list", "a subject, or \"*\"");
        }
        let entry = |raw: &raw::CertificateSubject| Entry {
            subject: Some(raw.subject.as_str().into()).filter(|_| raw.subject != "*"),
            roles: boxed(&raw.roles),
            scopes: boxed(&raw.scopes),
        };
        Some(Certificates::new(raw.subjects.iter().map(entry).collect()))
    }

    fn telling(&mut self) -> Arc<Telling> {
        let mut headers = Vec::new();
        for (name, claim) in &self.raw.headers {
            let place = self.place.key("headers").key(name);
            if claim.is_empty() {
                self.faults.push(place.clone(), "an empty text", "the name of a claim");
            }
            headers.extend(self.name(name, place).map(|name| (name, claim.as_str().into())));
        }
        let telling = Telling::new(headers);
        let previous = self.previous.map(|auth| &auth.telling);
        previous.filter(|previous| ***previous == telling).cloned().unwrap_or_else(|| Arc::new(telling))
    }

    fn url(&mut self, text: &str, allow_http: bool, place: Place) -> Option<Url> {
        let url = fetch::address(text, allow_http);
        if url.is_none() {
            self.faults.push(place, quoted(&masked(text)), fetch::ALLOWED);
        }
        url
    }

    fn names(&mut self, texts: &[String], place: Place) -> Box<[HeaderName]> {
        texts.iter().enumerate().filter_map(|(index, text)| self.name(text, place.index(index))).collect()
    }

    fn name(&mut self, text: &str, place: Place) -> Option<HeaderName> {
        let usable = |name: &HeaderName| !text.contains('*') && !FRAMING.contains(&name.as_str());
        let name = HeaderName::from_bytes(text.as_bytes()).ok().filter(usable);
        if name.is_none() {
            self.faults.push(place, format!("{text:?}"), "a header name that says nothing of a connection");
        }
        name
    }
}

/// Fields that say where a message goes and where it ends.
const FRAMING: [&str; 7] = ["connection", "content-length", "host", "keep-alive", "te", "transfer-encoding", "upgrade"];

/// The text itself is never shown: it may be the key.
fn wrong_hash(text: &str, place: Place) -> Fault {
    let is_bare = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (found, hint) = match is_bare {
        true => ("64 digits alone".into(), "write sha256: before them"),
        false => {
            (format!("a text of {} characters", text.chars().count()), "`gatekeeper key` makes a key and its hash")
        }
    };
    Fault::new(place, found, "sha256: and 64 hexadecimal digits (sha256:9f86d0…)").with_hint(hint)
}

fn boxed(texts: &[String]) -> Box<[Box<str>]> {
    texts.iter().map(|text| text.as_str().into()).collect()
}

/// A time with its zone, or the beginning of a day in UTC.
fn point_in_time(text: &str) -> Option<SystemTime> {
    let of_day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok().map(|day| day.timestamp());
    text.parse::<Timestamp>().ok().or_else(of_day).map(SystemTime::from)
}
