//! What a client is recognised by, where its requests are to stay together.

use std::net::IpAddr;

use http::HeaderName;
use http::request::Parts;

use super::shares::stable_hash;

/// The forms it may have, for error texts.
pub const ALLOWED: &str = "user, ip, header:NAME or cookie:NAME";

/// What keeps a client at the service or target once chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// Who the client has proved to be: the user, else the certificate; the address of one that proved nothing.
    User,
    /// Its address.
    Ip,
    /// A header's value.
    Header(HeaderName),
    /// A cookie's value.
    Cookie(String),
}

/// What a client can be recognised by, beside its request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Who<'a> {
    /// Its address.
    pub address: Option<IpAddr>,
    /// Who it has proved to be: to whom, and by which name.
    pub user: Option<(&'a [u8], &'a [u8])>,
}

impl Sticky {
    /// Understands the text that names it.
    pub fn parse(text: &str) -> Option<Sticky> {
        match text.split_once(':') {
            None if text == "user" => Some(Sticky::User),
            None => (text == "ip").then_some(Sticky::Ip),
            Some(("header", name)) => HeaderName::from_bytes(name.as_bytes()).ok().map(Sticky::Header),
            Some(("cookie", name)) if HeaderName::from_bytes(name.as_bytes()).is_ok() => {
                Some(Sticky::Cookie(name.into()))
            }
            Some(_) => None,
        }
    }

    /// `None` if the client brings nothing to be recognised by: it then takes its turn.
    pub fn hash(&self, request: &Parts, client: Who) -> Option<u64> {
        match self {
            Sticky::User if client.user.is_some() => {
                client.user.map(|(issuer, subject)| stable_hash(issuer).rotate_left(1) ^ stable_hash(subject))
            }
            Sticky::User | Sticky::Ip => client.address.map(|address| match address {
                IpAddr::V4(v4) => stable_hash(&v4.octets()),
                IpAddr::V6(v6) => stable_hash(&v6.octets()),
            }),
            Sticky::Header(name) => request.headers.get(name).map(|value| stable_hash(value.as_bytes())),
            Sticky::Cookie(name) => cookie(request, name).map(stable_hash),
        }
    }
}

/// A cookie's value (RFC 6265 4.2.1; the first of the name counts).
fn cookie<'a>(request: &'a Parts, name: &str) -> Option<&'a [u8]> {
    let headers = request.headers.get_all(http::header::COOKIE).iter();
    headers.flat_map(|value| value.as_bytes().split(|byte| *byte == b';')).find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &'static str, value: &str) -> Parts {
        http::Request::get("/").header(name, value).body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let request = request("cookie", "xab=0; ab=1;  ab=2; abc=3");
        assert_eq!(cookie(&request, "ab"), Some(&b"1"[..]));
        assert_eq!(cookie(&request, "abc"), Some(&b"3"[..]));
        assert_eq!(cookie(&request, "b"), None);
    }

    #[test]
    fn who_brings_nothing_to_be_recognised_by_is_not_sticky() {
        let by_header = Sticky::Header(HeaderName::from_static("x-tenant"));
        let unknown = Who::default();
        assert!(by_header.hash(&request("x-other", "1"), unknown).is_none());
        assert_eq!(by_header.hash(&request("x-tenant", "1"), unknown), Some(stable_hash(b"1")));
        assert!(Sticky::Ip.hash(&request("a", "1"), unknown).is_none());
    }

    #[test]
    fn a_user_is_known_by_what_it_proved_before_its_address() {
        let stranger = Who { address: "192.0.2.1".parse().ok(), user: None };
        let user = Who { user: Some((b"i", b"proved")), ..stranger };
        let hash = |sticky: Sticky, client| sticky.hash(&request("a", "1"), client);
        assert_eq!(hash(Sticky::User, stranger), Some(stable_hash(&[192, 0, 2, 1])));
        let other = Who { user: Some((b"j", b"proved")), ..stranger };
        assert_eq!(hash(Sticky::User, user), hash(Sticky::User, Who { address: None, ..user }));
        assert_ne!(hash(Sticky::User, user), hash(Sticky::User, other));
        assert_eq!(hash(Sticky::Ip, user), hash(Sticky::Ip, stranger));
    }
}
