//! Whose requests a limit counts together.
//!
//! `per_user` is the user, who is issuer and subject; where nobody is known, the address. `per_ip` is an IPv4 address or an
//! IPv6 network of 64 bits. Those who lack the claim or the header that a limit counts by share one count, and so do peers on
//! unix sockets that say of no client.

use std::fmt;
use std::net::IpAddr;

use ahash::RandomState;
use http::{HeaderMap, HeaderName};

use crate::policy::auth::identity::{Identity, claim, text};
use gatekeeper_core::net::network;

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A user's.
    User,
    /// An address's.
    Address,
    /// A route's.
    Endpoint,
    /// All.
    Global,
    /// Those of users with the same value of a claim.
    Claim(Box<str>),
    /// Those with the same value of a header.
    Header(HeaderName),
}

/// What a request can be counted by.
#[derive(Clone, Copy)]
pub struct Counted<'a> {
    /// The user, if one is known.
    pub user: Option<&'a Identity>,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The route.
    pub endpoint: Endpoint<'a>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
}

/// A route's name, and a hash that stands for it, for which the name need not be fetched from memory.
#[derive(Clone, Copy)]
pub struct Endpoint<'a> {
    /// The name.
    pub name: &'a str,
    /// What [`Endpoint::hash`] makes of it.
    pub hash: u64,
}

impl Endpoint<'_> {
    /// The hash of a name. It need not be secret: names are the operator's.
    pub fn hash(name: &str) -> u64 {
        RandomState::with_seeds(1, 2, 3, 4).hash_one(name)
    }
}

/// The forms of `limit_type`, for error texts.
pub const LIMIT_TYPES: &str = "per_user, per_ip, per_endpoint, global, claim:NAME or header:NAME";

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::User => f.write_str("per_user"),
            Subject::Address => f.write_str("per_ip"),
            Subject::Endpoint => f.write_str("per_endpoint"),
            Subject::Global => f.write_str("global"),
            Subject::Claim(name) => write!(f, "claim:{name}"),
            Subject::Header(name) => write!(f, "header:{name}"),
        }
    }
}

impl Subject {
    /// Understands the text that names it.
    pub fn parse(text: &str) -> Option<Subject> {
        Some(match text.split_once(':') {
            None => match text {
                "per_user" => Subject::User,
                "per_ip" => Subject::Address,
                "per_endpoint" => Subject::Endpoint,
                "global" => Subject::Global,
                _ => return None,
            },
            Some(("claim", name)) if !name.is_empty() => Subject::Claim(name.into()),
            Some(("header", name)) => Subject::Header(HeaderName::from_bytes(name.as_bytes()).ok()?),
            Some(_) => return None,
        })
    }

    /// The subject a request is counted for, as a hash.
    pub fn key(&self, counted: &Counted, hasher: &RandomState) -> u64 {
        // What one kind of subject is called, another may be called too.
        match self {
            Subject::User => match counted.user.filter(|user| !user.subject.is_empty()) {
                Some(user) => hasher.hash_one((0_u8, &*user.issuer, &*user.subject)),
                None => hasher.hash_one((1_u8, counted.address.map(network))),
            },
            Subject::Address => hasher.hash_one((1_u8, counted.address.map(network))),
            Subject::Endpoint => hasher.hash_one(counted.endpoint.hash),
            Subject::Global => 0,
            Subject::Claim(name) => {
                let value = counted.user.and_then(|user| claim(&user.claims, name)).and_then(text);
                hasher.hash_one(value.as_deref())
            }
            Subject::Header(name) => hasher.hash_one(counted.headers.get(name).map(|value| value.as_bytes())),
        }
    }

    /// The subject in words, for those who ask where it stands.
    pub fn said(&self, counted: &Counted) -> String {
        let address = || counted.address.map_or("no address".into(), |address| network(address).to_string());
        match self {
            Subject::User => match counted.user.filter(|user| !user.subject.is_empty()) {
                Some(user) => format!("{} ({})", user.subject, user.issuer),
                None => address(),
            },
            Subject::Address => address(),
            Subject::Endpoint => counted.endpoint.name.into(),
            Subject::Global => "all".into(),
            Subject::Claim(name) => {
                let value = counted.user.and_then(|user| claim(&user.claims, name)).and_then(text);
                format!("{name}={}", value.unwrap_or_default())
            }
            Subject::Header(name) => {
                let value =
                    counted.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
                format!("{name}: {}", value.unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_understood() {
        assert_eq!(Subject::parse("claim:org.id"), Some(Subject::Claim("org.id".into())));
        assert_eq!(Subject::parse("header:X-Plan"), Some(Subject::Header(HeaderName::from_static("x-plan"))));
        for wrong in ["", "user", "per_user:x", "claim", "claim:", "header:a b", "cookie:a"] {
            assert_eq!(Subject::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn who_is_who_is_counted_together() {
        let hasher = RandomState::new();
        let mut headers = HeaderMap::new();
        headers.insert("x-plan", "free".parse().unwrap());
        let user = |issuer: &str, subject: &str| Identity {
            issuer: issuer.into(),
            subject: subject.into(),
            claims: [("org".into(), "o".into())].into_iter().collect(),
            ..Identity::default()
        };
        let (a, other_issuer, anonymous) = (user("i", "a"), user("j", "a"), user("forward", ""));
        let key = |kind: &str, user: Option<&Identity>, address: &str| {
            let endpoint = Endpoint { name: "r", hash: Endpoint::hash("r") };
            let counted = Counted { user, address: address.parse().ok(), endpoint, headers: &headers };
            Subject::parse(kind).unwrap().key(&counted, &hasher)
        };
        assert_eq!(key("per_user", Some(&a), "192.0.2.1"), key("per_user", Some(&a), "192.0.2.2"));
        assert_ne!(key("per_user", Some(&a), ""), key("per_user", Some(&other_issuer), ""));
        assert_eq!(key("per_user", None, "192.0.2.1"), key("per_ip", Some(&a), "192.0.2.1"));
        assert_eq!(key("per_user", Some(&anonymous), "192.0.2.1"), key("per_user", None, "192.0.2.1"));
        assert_eq!(key("per_ip", None, "2001:db8::1"), key("per_ip", None, "2001:db8::ffff:0:0:2"));
        assert_ne!(key("per_ip", None, "2001:db8::1"), key("per_ip", None, "2001:db8:0:1::1"));
        assert_eq!(key("claim:org", Some(&a), ""), key("claim:org", Some(&other_issuer), ""));
        assert_ne!(key("claim:org", Some(&a), ""), key("claim:org", None, ""));
        assert_eq!(key("header:x-plan", None, ""), key("header:x-plan", Some(&a), ""));
        assert_ne!(key("header:x-plan", None, ""), key("header:x-other", None, ""));
        let at = |name| {
            let endpoint = Endpoint { name, hash: Endpoint::hash(name) };
            Subject::Endpoint.key(&Counted { user: None, address: None, endpoint, headers: &headers }, &hasher)
        };
        assert_eq!(at("r"), key("per_endpoint", Some(&a), "192.0.2.1"));
        assert_ne!(at("r"), at("s"));
    }
}
