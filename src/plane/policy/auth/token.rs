//! A compact signed token, read but not believed (RFC 7515 7.1, RFC 7519 7.2).
//!
//! * Three parts of base64url without padding or stray bits; the first two are JSON objects in which no name stands
//!   twice. What has another shape or no such header is no token of this kind: someone else may know it.
//! * `alg` names one of the signature algorithms: `none` is none of them. Which of them is right is not the token's to say.
//! * `crit` is refused whatever it names. `typ`, `cty`, `jku`, `jwk`, `x5u`, `x5c` are not looked at.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::identity::Claims;
use super::json;
use super::rejection::Reason;

/// No longer token is read.
pub const LONGEST: usize = 8 * 1024;

/// What a token says, and what was signed how.
pub struct Token<'t> {
    /// The algorithm it claims.
    pub algorithm: Algorithm,
    /// The name of its key, any text.
    pub kid: Option<String>,
    /// What it says.
    pub claims: Claims,
    /// What was signed.
    pub signed: &'t str,
    /// The signature, in base64url.
    pub signature: &'t str,
}

/// Why a token was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is no compact signed token.
    Foreign,
    /// It is one, but not a good one.
    Bad(Reason),
}

impl<'t> Token<'t> {
    /// Reads a token.
    pub fn read(text: &'t str) -> Result<Self, Unread> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Unread::Foreign)?;
        let (header, payload) = signed.split_once('.').ok_or(Unread::Foreign)?;
        let header = part(header).filter(|_| !payload.contains('.')).ok_or(Unread::Foreign)?;
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(Unread::Foreign)?;
        let algorithm = algorithm.parse().map_err(|_| Unread::Bad(Reason::Algorithm))?;
        if header.contains_key("crit") {
            return Err(Unread::Bad(Reason::Extension));
        }
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(Unread::Bad(Reason::Malformed)),
        };
        let claims = part(payload).ok_or(Unread::Bad(Reason::Malformed))?;
        Ok(Token { algorithm, kid, claims, signed, signature })
    }
}

fn part(text: &str) -> Option<Claims> {
    json::object(&URL_SAFE_NO_PAD.decode(text).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(text: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn read(header: &str, payload: &str) -> Result<(Algorithm, Option<String>), Unread> {
        let text = format!("{}.{}.{}", encode(header), encode(payload), encode("signature"));
        Token::read(&text).map(|token| (token.algorithm, token.kid))
    }

    #[test]
    fn headers_are_read() {
        let bad = |rejection| Err(Unread::Bad(rejection));
        let cases = [
            (r#"{"alg":"HS256"}"#, Ok((Algorithm::HS256, None))),
            (
                r#"{"alg":"EdDSA","typ":"x","kid":"../../etc/passwd'--"}"#,
                Ok((Algorithm::EdDSA, Some("../../etc/passwd'--".into()))),
            ),
            (
                r#"{"alg":"RS256","kid":"","jku":"http://x/","jwk":{},"x5u":1,"x5c":[]}"#,
                Ok((Algorithm::RS256, Some("".into()))),
            ),
            (r#"{"alg":"none"}"#, bad(Reason::Algorithm)),
            (r#"{"alg":"None"}"#, bad(Reason::Algorithm)),
            (r#"{"alg":""}"#, bad(Reason::Algorithm)),
            (r#"{"alg":"hs256"}"#, bad(Reason::Algorithm)),
            (r#"{"alg":"ES512"}"#, bad(Reason::Algorithm)),
            (r#"{"alg":"RSA-OAEP"}"#, bad(Reason::Algorithm)),
            (r#"{"alg":"HS256","crit":["exp"]}"#, bad(Reason::Extension)),
            (r#"{"alg":"HS256","crit":null}"#, bad(Reason::Extension)),
            (r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#, bad(Reason::Extension)),
            (r#"{"alg":"HS256","kid":1}"#, bad(Reason::Malformed)),
            (r#"{"alg":"HS256","kid":null}"#, bad(Reason::Malformed)),
            (r#"{"alg":"HS256","alg":"none"}"#, Err(Unread::Foreign)),
            (r#"{"alg":["HS256"]}"#, Err(Unread::Foreign)),
            (r#"{}"#, Err(Unread::Foreign)),
            (r#"["HS256"]"#, Err(Unread::Foreign)),
            ("", Err(Unread::Foreign)),
        ];
        for (header, expected) in cases {
            assert_eq!(read(header, "{}"), expected, "{header}");
        }
    }

    #[test]
    fn claims_are_an_object() {
        for payload in ["", "x", "[]", "1", r#"{"sub":"a","sub":"b"}"#, r#"{"a":{"b":1,"b":2}}"#, "{}{}"] {
            assert_eq!(read(r#"{"alg":"HS256"}"#, payload), Err(Unread::Bad(Reason::Malformed)), "{payload}");
        }
    }

    #[test]
    fn other_shapes_are_foreign_and_sloppy_encodings_are_bad() {
        let (header, payload) = (encode(r#"{"alg":"HS256"}"#), encode("{}"));
        for text in
            ["", ".", "..", "a.b.c", &header, &format!("{header}.{payload}"), &format!("{header}.{payload}.s.t")]
        {
            assert_eq!(Token::read(text).err(), Some(Unread::Foreign), "{text}");
        }
        for text in [format!("{header}.{payload}=.s"), format!("{header}. {payload}.s"), format!("{header}.e31.s")] {
            assert_eq!(Token::read(&text).err(), Some(Unread::Bad(Reason::Malformed)), "{text}");
        }
        for text in
            [format!("{header}=.{payload}.s"), format!("{header}\n.{payload}.s"), format!("é{header}.{payload}.s")]
        {
            assert_eq!(Token::read(&text).err(), Some(Unread::Foreign), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([a-zA-Z0-9_=é-]{0,20}\\.?){0,6}") {
            let _ = Token::read(&text);
        }
    }
}
