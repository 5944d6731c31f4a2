//! A set of keys (RFC 7517 5): those of it that can be used; others are skipped.

use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::json;
use super::key::Key;
use super::rejection::Rejection;
use super::token::Token;

/// No longer set is read.
pub const LONGEST: usize = 512 * 1024;
/// Of a set so many keys are used, the first ones.
pub const MOST: usize = 200;
/// So many keys are tried with a token.
const TRIED: usize = 8;

/// A set of keys: at least one.
pub struct KeySet(Box<[Key]>);

/// What came of verifying a token with a set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// A key of the set signed it.
    Yes,
    /// The key it names did not sign it, or does not fit its algorithm.
    No(Rejection),
    /// It names a key that the set does not have, or none, and no key of the set signed it.
    Unknown(Rejection),
}

impl KeySet {
    /// A set of one.
    pub fn one(key: Key) -> KeySet {
        KeySet([key].into())
    }

    /// Reads a set; says why if it has no usable key.
    pub fn read(text: &[u8]) -> Result<KeySet, String> {
        if text.len() > LONGEST {
            return Err(format!("it is longer than {} KiB", LONGEST / 1024));
        }
        let set = json::object(text).ok_or("it is no JSON object")?;
        let list = set.get("keys").and_then(Value::as_array).ok_or("it has no list of keys")?;
        let mut why = "it holds no key";
        let usable =
            list.iter().filter_map(|jwk| match jwk.as_object().ok_or("an entry is no object").and_then(Key::jwk) {
                Ok(key) => Some(key),
                Err(fault) => {
                    why = fault;
                    None
                }
            });
        let keys: Box<[Key]> = usable.take(MOST).collect();
        if keys.is_empty() {
            return Err(format!("it holds no key that can be used; of the last: {why}"));
        }
        Ok(KeySet(keys))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a key fits one of these algorithms.
    pub fn fits(&self, algorithms: &[Algorithm]) -> bool {
        self.0.iter().any(|key| algorithms.iter().any(|algorithm| key.fits(*algorithm)))
    }

    /// Verifies a token with the keys of the name it gives, then with those without a name; if it gives none, with all.
    pub fn verify(&self, token: &Token) -> Verified {
        let kid = token.kid.as_deref();
        let named = self.0.iter().filter(|key| kid.is_some() && key.id.as_deref() == kid);
        let others = self.0.iter().filter(|key| kid.is_none() || key.id.is_none());
        let is_known = named.clone().next().is_some();
        let mut fitting = named.chain(others).filter(|key| key.fits(token.algorithm)).take(TRIED).peekable();
        let why = if fitting.peek().is_some() { Rejection::Signature } else { Rejection::Key };
        match fitting.any(|key| key.verify(token.algorithm, token.signed.as_bytes(), token.signature)) {
            true => Verified::Yes,
            false if is_known => Verified::No(why),
            false => Verified::Unknown(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::samples::{Signer, key_set};
    use super::*;

    fn verify(set: &str, token: &str) -> Verified {
        KeySet::read(set.as_bytes()).unwrap().verify(&Token::read(token).unwrap())
    }

    #[test]
    fn the_name_chooses_the_key() {
        let (first, second, nameless) = (Signer::ed25519("1"), Signer::ed25519("2"), Signer::ed25519(""));
        let token = |signer: &Signer, kid: &str| signer.sign(&json!({"alg": "EdDSA", "kid": kid}).to_string(), "{}");
        let set = key_set(&[&first, &second]);
        assert_eq!(verify(&set, &first.token(&json!({}))), Verified::Yes);
        assert_eq!(verify(&set, &second.token(&json!({}))), Verified::Yes);
        assert_eq!(verify(&set, &token(&second, "1")), Verified::No(Rejection::Signature));
        assert_eq!(verify(&set, &token(&second, "3")), Verified::Unknown(Rejection::Key));
        assert_eq!(verify(&set, &token(&second, "")), Verified::Unknown(Rejection::Key));
        assert_eq!(verify(&set, &second.sign(r#"{"alg":"EdDSA"}"#, "{}")), Verified::Yes);
        assert_eq!(verify(&set, &nameless.token(&json!({}))), Verified::Unknown(Rejection::Signature));
        let mut open = nameless.jwk.clone();
        open.as_object_mut().unwrap().remove("kid");
        let set = json!({"keys": [first.jwk, open]}).to_string();
        assert_eq!(verify(&set, &token(&nameless, "3")), Verified::Yes);
        assert_eq!(verify(&set, &token(&second, "3")), Verified::Unknown(Rejection::Signature));
        assert_eq!(verify(&set, &Signer::p256("1").token(&json!({}))), Verified::No(Rejection::Key));
    }

    #[test]
    fn two_keys_of_one_name_are_both_tried_but_not_hundreds() {
        let signers: Vec<_> = (0..9).map(|_| Signer::ed25519("same")).collect();
        let set = key_set(&signers.iter().collect::<Vec<_>>());
        let outcomes: Vec<_> = signers.iter().map(|signer| verify(&set, &signer.token(&json!({})))).collect();
        assert_eq!(outcomes[..8], [Verified::Yes; 8]);
        assert_eq!(outcomes[8], Verified::No(Rejection::Signature));
    }

    #[test]
    fn what_can_not_be_used_is_skipped() {
        let good = Signer::ed25519("good");
        let set = json!({"keys": [
            1, null, {}, {"kty": "oct", "k": "AAAA", "kid": "s"}, {"kty": "future", "kid": "f"},
            {"kty": "RSA", "use": "enc"}, good.jwk
        ]});
        assert_eq!(KeySet::read(set.to_string().as_bytes()).map(|set| set.len()), Ok(1));
        let many: Vec<_> = (0..3000).map(|_| &good.jwk).collect();
        assert_eq!(KeySet::read(json!({"keys": many}).to_string().as_bytes()).map(|set| set.len()), Ok(MOST));
        let long = format!("{}{}", key_set(&[&good]), " ".repeat(LONGEST));
        for text in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct"}]}"#, &long]
        {
            assert!(KeySet::read(text.as_bytes()).is_err(), "{:.50}", text);
        }
        assert!(KeySet::read(format!(r#"{{"keys":[],{}"#, &key_set(&[&good])[1..]).as_bytes()).is_err());
    }
}
