//! What a request brings to show whose it is (RFC 6750, SEMANTICS 4.7 and 4.8).
//!
//! A token in the query is none: it would stand in logs and histories. Two Authorization fields are refused, since who reads
//! the other one than we do sees another user. A scheme that is not ours is no credential.

use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue};

use gatekeeper_core::refusal::Refusal;

/// Where else than in Authorization a token may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFrom {
    /// In a cookie.
    Cookie(Box<str>),
    /// Among the protocols that a websocket's client asks for.
    Subprotocol,
}

/// A token, and where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// The token; it may be anything.
    pub text: &'a [u8],
    /// Browsers send it by themselves, whatever page asks.
    pub ambient: bool,
}

/// The forms of `token_from`, for error texts.
pub const TOKEN_FROM: &str = "cookie:NAME or subprotocol";

/// What stands before the token in `Sec-WebSocket-Protocol`.
pub const SUBPROTOCOL: &str = "bearer";

impl TokenFrom {
    /// Understands the text that names it.
    pub fn parse(text: &str) -> Option<TokenFrom> {
        match text.split_once(':') {
            None => (text == "subprotocol").then_some(TokenFrom::Subprotocol),
            Some(("cookie", name)) => {
                HeaderName::from_bytes(name.as_bytes()).ok().map(|_| TokenFrom::Cookie(name.into()))
            }
            Some(_) => None,
        }
    }
}

/// The token a request brings.
pub fn token<'a>(headers: &'a HeaderMap, also: Option<&TokenFrom>) -> Result<Option<Token<'a>>, Refusal> {
    if let Some(field) = only(headers, &AUTHORIZATION)? {
        // Another scheme is for the upstream, as a cookie beside it is for us.
        if let Some(text) = bearer(field.as_bytes()) {
            return Ok(Some(Token { text, ambient: false }));
        }
    }
    Ok(match also {
        Some(TokenFrom::Cookie(name)) => cookie(headers, name.as_bytes())?.map(|text| Token { text, ambient: true }),
        Some(TokenFrom::Subprotocol) => after_subprotocol(headers).map(|text| Token { text, ambient: false }),
        None => None,
    })
}

/// The one value of a field that must not be there twice.
pub fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut fields = headers.get_all(name).iter();
    match (fields.next(), fields.next()) {
        (_, Some(_)) => Err(repeated()),
        (field, None) => Ok(field),
    }
}

fn repeated() -> Refusal {
    Refusal::malformed("credentials_repeated", "more than one credential of a kind")
}

/// Whether a field of Authorization holds a token.
pub fn is_bearer(field: &[u8]) -> bool {
    bearer(field).is_some()
}

/// Whether a client asks for the protocol that its token comes in.
pub fn asks_for_subprotocol(headers: &HeaderMap) -> bool {
    protocols(headers).any(|protocol| protocol == SUBPROTOCOL.as_bytes())
}

fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = field.split_at_checked(6)?;
    let token = rest.trim_ascii();
    let parted = rest.first().is_none_or(|byte| *byte == b' ');
    (scheme.eq_ignore_ascii_case(b"bearer") && parted).then_some(token)
}

/// Two cookies of that name are refused: the upstream may read the other one.
fn cookie<'a>(headers: &'a HeaderMap, name: &[u8]) -> Result<Option<&'a [u8]>, Refusal> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="));
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(repeated()),
        (value, None) => Ok(value.filter(|value| !value.is_empty())),
    }
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    fields.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

fn after_subprotocol(headers: &HeaderMap) -> Option<&[u8]> {
    let mut protocols = protocols(headers).skip_while(|protocol| *protocol != SUBPROTOCOL.as_bytes());
    protocols.next();
    protocols.next()
}

/// Takes the token out of the protocols that are asked for: it is none that an upstream could speak.
pub fn remove_subprotocol(headers: &mut HeaderMap) {
    let Some(token) = after_subprotocol(headers).map(<[u8]>::to_vec) else { return };
    let rest: Vec<&[u8]> =
        protocols(headers).filter(|protocol| *protocol != SUBPROTOCOL.as_bytes() && *protocol != token).collect();
    match HeaderValue::from_bytes(&rest.join(&b", "[..])) {
        Ok(rest) if !rest.is_empty() => headers.insert(SEC_WEBSOCKET_PROTOCOL, rest),
        _ => headers.remove(SEC_WEBSOCKET_PROTOCOL),
    };
}

/// Takes the token out of the cookies.
pub fn remove_cookie(headers: &mut HeaderMap, name: &str) {
    let is_it =
        |pair: &&[u8]| pair.trim_ascii().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='));
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let rest: Vec<&[u8]> = pairs.filter(|pair| !is_it(pair)).map(<[u8]>::trim_ascii).collect();
    match HeaderValue::from_bytes(&rest.join(&b"; "[..])) {
        Ok(rest) if !rest.is_empty() => headers.insert(COOKIE, rest),
        _ => headers.remove(COOKIE),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_token_is_where_it_may_be() {
        let (cookie, protocol) = (TokenFrom::Cookie("session".into()), TokenFrom::Subprotocol);
        type Case<'a> = (&'a [(&'static str, &'a str)], Option<&'a TokenFrom>, Option<&'a str>);
        let cases: &[Case] = &[
            (&[], None, None),
            (&[("authorization", "Bearer a.b.c")], None, Some("a.b.c")),
            (&[("authorization", "bEARER   a")], None, Some("a")),
            (&[("authorization", "Bearer")], None, Some("")),
            (&[("authorization", "Bearer ")], None, Some("")),
            (&[("authorization", "Bearera")], None, None),
            (&[("authorization", "Basic eDp5")], None, None),
            (&[("authorization", "Bearer a b")], None, Some("a b")),
            (&[("cookie", "x=1; session=tok")], Some(&cookie), Some("tok")),
            (&[("cookie", "xsession=tok; sessionx=1; session=")], Some(&cookie), None),
            (&[("cookie", "session=tok")], None, None),
            (&[("cookie", "session=tok"), ("authorization", "Bearer a")], Some(&cookie), Some("a")),
            (&[("cookie", "session=tok"), ("authorization", "Basic a")], Some(&cookie), Some("tok")),
            (&[("sec-websocket-protocol", "chat, bearer, tok")], Some(&protocol), Some("tok")),
            (
                &[("sec-websocket-protocol", "bearer"), ("sec-websocket-protocol", "tok, chat")],
                Some(&protocol),
                Some("tok"),
            ),
            (&[("sec-websocket-protocol", "chat, bearer")], Some(&protocol), None),
            (&[("sec-websocket-protocol", "bearer, tok")], None, None),
        ];
        for (fields, also, wanted) in cases {
            let headers = headers(fields);
            let found = token(&headers, *also).unwrap().map(|token| std::str::from_utf8(token.text).unwrap());
            assert_eq!(found, *wanted, "{fields:?}");
        }
        let twice = headers(&[("authorization", "Bearer a"), ("authorization", "Basic b")]);
        assert_eq!(token(&twice, None).unwrap_err().kind.status, 400);
        let twice = headers(&[("cookie", "session=tok; a=1"), ("cookie", "session=tok")]);
        assert_eq!(token(&twice, Some(&cookie)).unwrap_err().kind.status, 400);
    }

    #[test]
    fn a_token_is_taken_out() {
        let mut protocols =
            headers(&[("sec-websocket-protocol", "chat, bearer, tok"), ("sec-websocket-protocol", "v2")]);
        remove_subprotocol(&mut protocols);
        assert_eq!(protocols["sec-websocket-protocol"], "chat, v2");
        let mut alone = headers(&[("sec-websocket-protocol", "bearer, tok")]);
        remove_subprotocol(&mut alone);
        assert!(alone.is_empty());
        let mut cookies = headers(&[("cookie", "a=1; session=tok; b=2"), ("cookie", "session=x")]);
        remove_cookie(&mut cookies, "session");
        assert_eq!(cookies["cookie"], "a=1; b=2");
        let mut alone = headers(&[("cookie", "session=tok")]);
        remove_cookie(&mut alone, "session");
        assert!(alone.is_empty());
    }

    #[test]
    fn places_are_understood() {
        assert_eq!(TokenFrom::parse("cookie:a"), Some(TokenFrom::Cookie("a".into())));
        assert_eq!(TokenFrom::parse("subprotocol"), Some(TokenFrom::Subprotocol));
        for wrong in ["", "cookie", "cookie:", "cookie:a b", "header", "query:token"] {
            assert_eq!(TokenFrom::parse(wrong), None, "{wrong}");
        }
    }
}
