//! A set of keys (RFC 7517 5): those of it that can be used. Others are skipped; those that are too weak are told of.
//!
//! A token that names a key is tried with the keys of that name and no other (OpenID Connect Core 10.1). One that names none is
//! tried with all. Where no key of a set has a name, the names that tokens give say nothing, and are not looked at.

use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::json;
use super::key::{Key, WEAK};
use super::rejection::Reason;
use super::token::Token;

/// No longer set is read.
pub const LONGEST: usize = 512 * 1024;
/// Of a set so many keys are used, the first ones.
pub const MOST: usize = 200;
/// So many keys are tried with a token.
const TRIED: usize = 8;

/// So many keys that are too weak are told of.
const TOLD: usize = 8;

/// A set of keys.
pub struct KeySet {
    keys: Box<[Key]>,
    /// Names say which key a token means.
    is_named: bool,
    weak: Vec<String>,
    /// Why the last one is not taken that is not.
    skipped: Option<&'static str>,
}

/// What came of verifying a token with a set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// A key of the set signed it.
    Yes,
    /// The key it names did not sign it, or does not fit its algorithm.
    No(Reason),
    /// It names a key that the set does not have, or none, and no key of the set signed it.
    Unknown(Reason),
}

impl KeySet {
    /// A set of one.
    pub fn one(key: Key) -> KeySet {
        KeySet { is_named: key.id.is_some(), keys: [key].into(), weak: Vec::new(), skipped: None }
    }

    /// Reads a set, which may hold no key that can be used.
    pub fn read(text: &[u8]) -> Result<KeySet, String> {
        if text.len() > LONGEST {
            return Err(format!("the key set is longer than {} KiB", LONGEST / 1024));
        }
        let set = json::object(text).ok_or("the key set is not a JSON object")?;
        let list = set.get("keys").and_then(Value::as_array).ok_or("the key set has no list of keys")?;
        let (mut keys, mut weak, mut skipped) = (Vec::new(), Vec::new(), None);
        for jwk in list {
            match jwk.as_object().ok_or("an entry is not an object").and_then(Key::jwk) {
                Ok(key) if keys.len() < MOST => keys.push(key),
                Ok(_) => break,
                Err(why) => {
                    skipped = Some(why);
                    weak.extend(told(jwk, why).filter(|_| weak.len() < TOLD));
                }
            }
        }
        Ok(KeySet { is_named: keys.iter().any(|key| key.id.is_some()), keys: keys.into(), weak, skipped })
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Sentences about keys that are too weak to be taken.
    pub fn weak(&self) -> &[String] {
        &self.weak
    }

    /// Why no key can be used, if none can.
    pub fn emptiness(&self) -> Option<String> {
        let last = self.skipped.map(|why| format!("; the last key: {why}")).unwrap_or_default();
        self.is_empty().then(|| format!("the key set has no usable key{last}"))
    }

    /// Whether a key fits one of these algorithms.
    pub fn fits(&self, algorithms: &[Algorithm]) -> bool {
        self.keys.iter().any(|key| algorithms.iter().any(|algorithm| key.fits(*algorithm)))
    }

    /// Verifies a token with the keys that it may mean.
    pub fn verify(&self, token: &Token) -> Verified {
        let kid = token.kid.as_deref().filter(|_| self.is_named);
        let meant = self.keys.iter().filter(|key| kid.is_none() || key.id.as_deref() == kid);
        let is_known = kid.is_some() && meant.clone().next().is_some();
        let mut fitting = meant.filter(|key| key.fits(token.algorithm)).take(TRIED).peekable();
        let why = if fitting.peek().is_some() { Reason::Signature } else { Reason::Key };
        match fitting.any(|key| key.verify(token.algorithm, token.signed.as_bytes(), token.signature)) {
            true => Verified::Yes,
            false if is_known => Verified::No(why),
            false => Verified::Unknown(why),
        }
    }
}

/// What is told of a key that is not taken, if it is worth a word.
fn told(jwk: &Value, why: &'static str) -> Option<String> {
    let name = jwk.get("kid").and_then(Value::as_str).map_or("without a name".into(), |name| format!("{name:?}"));
    WEAK.contains(&why).then(|| format!("the key {name:.80} is ignored: {why}"))
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
        assert_eq!(verify(&set, &token(&second, "1")), Verified::No(Reason::Signature));
        assert_eq!(verify(&set, &token(&second, "3")), Verified::Unknown(Reason::Key));
        assert_eq!(verify(&set, &token(&second, "")), Verified::Unknown(Reason::Key));
        assert_eq!(verify(&set, &second.sign(r#"{"alg":"EdDSA"}"#, "{}")), Verified::Yes);
        assert_eq!(verify(&set, &nameless.token(&json!({}))), Verified::Unknown(Reason::Signature));
        let mut open = nameless.jwk.clone();
        open.as_object_mut().unwrap().remove("kid");
        // A key without a name is not the one that a token names, unless names are not in use.
        let set = json!({"keys": [first.jwk, open]}).to_string();
        assert_eq!(verify(&set, &token(&nameless, "3")), Verified::Unknown(Reason::Key));
        assert_eq!(verify(&set, &token(&nameless, "1")), Verified::No(Reason::Signature));
        assert_eq!(verify(&set, &nameless.token(&json!({}))), Verified::Yes);
        assert_eq!(verify(&set, &Signer::p256("1").token(&json!({}))), Verified::No(Reason::Key));
        let set = json!({"keys": [open]}).to_string();
        assert_eq!(verify(&set, &token(&nameless, "3")), Verified::Yes);
        assert_eq!(verify(&set, &token(&second, "3")), Verified::Unknown(Reason::Signature));
    }

    #[test]
    fn two_keys_of_one_name_are_both_tried_but_not_hundreds() {
        let signers: Vec<_> = (0..9).map(|_| Signer::ed25519("same")).collect();
        let set = key_set(&signers.iter().collect::<Vec<_>>());
        let outcomes: Vec<_> = signers.iter().map(|signer| verify(&set, &signer.token(&json!({})))).collect();
        assert_eq!(outcomes[..8], [Verified::Yes; 8]);
        assert_eq!(outcomes[8], Verified::No(Reason::Signature));
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
        for text in [r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct"}]}"#, r#"{"keys":[1]}"#] {
            let set = KeySet::read(text.as_bytes()).unwrap();
            assert!(set.is_empty() && set.emptiness().is_some(), "{text}");
        }
        for text in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":null}"#, &long] {
            assert!(KeySet::read(text.as_bytes()).is_err(), "{:.50}", text);
        }
        assert!(KeySet::read(format!(r#"{{"keys":[],{}"#, &key_set(&[&good])[1..]).as_bytes()).is_err());
    }
    #[test]
    fn weak_keys_are_told_of() {
        let weak = |kid: &str| json!({"kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43), "kid": kid});
        let mut list = vec![json!({"kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43)}), json!({"kty": "future"})];
        list.extend((0..20).map(|number| weak(&number.to_string())));
        let set = KeySet::read(json!({"keys": list}).to_string().as_bytes()).unwrap();
        assert_eq!(
            set.weak()[..2],
            [
                "the key without a name is ignored: it is a point of small order",
                "the key \"0\" is ignored: it is a point of small order"
            ]
        );
        assert_eq!((set.len(), set.weak().len()), (0, TOLD));
    }
}
