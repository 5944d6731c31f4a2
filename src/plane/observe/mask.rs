//! What must not reach a log, and what is written in its place.
//!
//! * A query parameter's value is `***` unless its name is listed; names are kept. A part without `=` may be a bare
//!   token, so it is masked as well unless listed. `;` separates like `&`: some upstreams read it so. Names are compared
//!   as they were sent, without decoding: an unusual spelling is masked, never shown.
//! * A Referer loses its user information and fragment, and its query is masked.
//! * Credential headers are recognised by words in their names, too many rather than too few.

use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gatekeeper_model::raw::ClientAddress;

const MASK: &[u8] = b"***";

/// Words that mark a header as a credential.
const CREDENTIAL_WORDS: [&str; 13] = [
    "authoriz",
    "authentic",
    "x-auth",
    "cookie",
    "token",
    "secret",
    "passw",
    "apikey",
    "-key",
    "jwt",
    "credential",
    "signature",
    "session",
];

/// A credential whose name does not say so: browsers' websockets carry tokens in it.
const CREDENTIAL: &str = "sec-websocket-protocol";

/// What only looks like one.
const HARMLESS: &str = "idempotency-key";

/// Whether a header may carry a credential: such a header is never logged.
pub fn is_credential_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == CREDENTIAL || (name != HARMLESS && CREDENTIAL_WORDS.iter().any(|word| name.contains(word)))
}

/// Appends the query with its values masked, except those of the parameters `shown`.
pub(super) fn query(query: &[u8], shown: &[String], out: &mut Vec<u8>) {
    for part in query.split_inclusive(|byte| matches!(byte, b'&' | b';')) {
        let (part, separator) = match part.split_last() {
            Some((last @ (b'&' | b';'), rest)) => (rest, Some(*last)),
            _ => (part, None),
        };
        parameter(part, shown, out);
        out.extend(separator);
    }
}

fn parameter(part: &[u8], shown: &[String], out: &mut Vec<u8>) {
    let equals = part.iter().position(|byte| *byte == b'=');
    let name = equals.and_then(|at| part.get(..at)).unwrap_or(part);
    if part.is_empty() || shown.iter().any(|shown| shown.as_bytes() == name) {
        return out.extend_from_slice(part);
    }
    if equals.is_some() {
        out.extend_from_slice(name);
        out.push(b'=');
    }
    out.extend_from_slice(MASK);
}

/// Appends a Referer without what it may give away.
pub(super) fn referer(referer: &[u8], shown: &[String], out: &mut Vec<u8>) {
    let (url, _fragment) = cut(referer, b'#');
    let (place, parameters) = cut(url, b'?');
    without_user(place, out);
    if let Some(parameters) = parameters {
        out.push(b'?');
        query(parameters, shown, out);
    }
}

/// `scheme://user:password@host/path` without its user. Whatever stands before an `@` in the authority goes.
fn without_user(place: &[u8], out: &mut Vec<u8>) {
    let authority = place.windows(2).position(|two| two == b"//").map_or(0, |at| at + 2);
    let (scheme, rest) = place.split_at_checked(authority).unwrap_or((place, &[]));
    let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    let user = rest.iter().take(end).rposition(|byte| *byte == b'@').map_or(0, |at| at + 1);
    out.extend_from_slice(scheme);
    out.extend_from_slice(rest.get(user..).unwrap_or_default());
}

fn cut(text: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    let mut parts = text.splitn(2, |byte| *byte == at);
    (parts.next().unwrap_or_default(), parts.next())
}

/// The client's address as it is written. The hash is keyed: without the key it cannot be searched for.
pub(super) fn client(address: IpAddr, how: ClientAddress, key: &impl BuildHasher) -> String {
    let address = address.to_canonical();
    match how {
        ClientAddress::Full => address.to_string(),
        ClientAddress::Truncated => truncated(address).to_string(),
        ClientAddress::Hashed => format!("{:016x}", key.hash_one(address)),
    }
}

fn truncated(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & (!0 << 8)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (!0 << 80)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::RandomState;

    fn masked(text: &str, shown: &[&str]) -> String {
        let shown: Vec<String> = shown.iter().map(|name| name.to_string()).collect();
        let mut out = Vec::new();
        query(text.as_bytes(), &shown, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn masked_referer(text: &str) -> String {
        let mut out = Vec::new();
        referer(text.as_bytes(), &["page".into()], &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_masked_unless_listed() {
        assert_eq!(masked("page=2&token=hush", &["page"]), "page=2&token=***");
        assert_eq!(masked("page=2;token=hush", &["page"]), "page=2;token=***");
        assert_eq!(masked("eyJhbGciOi", &["page"]), "***");
        assert_eq!(masked("page&a", &["page"]), "page&***");
        assert_eq!(masked("=hush&a=b=hush&&%ff=%zz&", &[]), "=***&a=***&&%ff=***&");
        assert_eq!(
            masked("PAGE=hush&p%61ge=hush&pages=hush&pag=hush", &["page"]),
            "PAGE=***&p%61ge=***&pages=***&pag=***"
        );
        assert_eq!(masked("", &[]), "");
    }

    #[test]
    fn referers_keep_only_their_place() {
        assert_eq!(masked_referer("https://a.example/x?page=1&t=hush#hush"), "https://a.example/x?page=1&t=***");
        assert_eq!(masked_referer("https://me:hush@a.example/x@y?"), "https://a.example/x@y?");
        assert_eq!(masked_referer("https://a.example/#hush?t=hush"), "https://a.example/");
        assert_eq!(masked_referer("/local?hush"), "/local?***");
        assert_eq!(masked_referer("me:hush@a.example"), "a.example");
    }

    #[test]
    fn addresses_are_truncated_or_hashed() {
        let (key, other) = (RandomState::new(), RandomState::new());
        let show = |address: &str, how| client(address.parse().unwrap(), how, &key);
        assert_eq!(show("203.0.113.77", ClientAddress::Full), "203.0.113.77");
        assert_eq!(show("203.0.113.77", ClientAddress::Truncated), "203.0.113.0");
        assert_eq!(show("::ffff:203.0.113.77", ClientAddress::Truncated), "203.0.113.0");
        assert_eq!(show("2001:db8:1:2:3:4:5:6", ClientAddress::Truncated), "2001:db8:1::");
        let hashed = show("203.0.113.77", ClientAddress::Hashed);
        assert_eq!(hashed, show("::ffff:203.0.113.77", ClientAddress::Hashed));
        assert_ne!(hashed, show("203.0.113.78", ClientAddress::Hashed));
        assert_ne!(hashed, client("203.0.113.77".parse().unwrap(), ClientAddress::Hashed, &other));
        assert_eq!(hashed.len(), 16);
    }

    #[test]
    fn knows_credentials() {
        let credentials = "Authorization Cookie Set-Cookie Proxy-Authorization X-Api-Key Api-Key X-Auth-Token apikey \
                           X-Access-Token X-Amz-Security-Token Private-Token Cf-Access-Jwt-Assertion X-CSRF-Token \
                           X-Auth Authentication Ocp-Apim-Subscription-Key X-Session-Id X-Client-Secret X-Password Sec-WebSocket-Protocol";
        for name in credentials.split_whitespace() {
            assert!(is_credential_header(name), "{name}");
        }
        for name in ["Accept", "X-Request-Id", "Content-Type", "X-Forwarded-For", "traceparent", "Idempotency-Key"] {
            assert!(!is_credential_header(name), "{name}");
        }
    }

    proptest! {
        /// Upper-case letters stand for secrets: they only ever follow a `=` or make up a whole part.
        #[test]
        fn no_unlisted_value_survives(parts in prop::collection::vec(("[a-y%]{0,3}", "[A-Z=?%]{1,5}", any::<bool>()), 0..6)) {
            let text: Vec<_> = parts.iter().map(|(n, v, bare)| if *bare { format!("A{v}").replace('=', "") } else { format!("{n}={v}") }).collect();
            prop_assert!(!masked(&text.join("&"), &["z"]).contains(|c: char| c.is_ascii_uppercase()));
        }
    }
}
