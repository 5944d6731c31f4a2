//! API keys: known by their SHA-256 alone. A key is long and random, so nothing slower is needed; who makes up keys meets the
//! budget of failures first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderName;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use super::identity::Identity;
use crate::policy::limit::Limit;

/// The keys, and the header they come in.
#[derive(Debug)]
pub struct ApiKeys {
    /// The header.
    pub header: HeaderName,
    keys: HashMap<Hash, Arc<ApiKey>>,
}

/// A key.
#[derive(Debug)]
pub struct ApiKey {
    /// Whose it is.
    pub owner: Arc<Identity>,
    /// Rules that hold for it beside those of a route.
    pub limits: Box<[Arc<Limit>]>,
}

/// Of a key.
pub type Hash = [u8; 32];

/// What a hash begins with, where it is written.
const PREFIX: &str = "sha256:";

impl ApiKeys {
    /// These keys. The first one counts where two have one hash.
    pub fn new(header: HeaderName, keys: impl IntoIterator<Item = (Hash, ApiKey)>) -> Self {
        let mut known = HashMap::new();
        keys.into_iter().for_each(|(hash, key)| {
            known.entry(hash).or_insert_with(|| Arc::new(key));
        });
        ApiKeys { header, keys: known }
    }

    /// The key with this text, if it has not ended.
    pub fn find(&self, key: &[u8], now: SystemTime) -> Option<&Arc<ApiKey>> {
        let found = self.keys.get(&hash(key))?;
        found.owner.expires.is_none_or(|end| now < end).then_some(found)
    }
}

/// The hash of a key.
pub fn hash(key: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, key).as_ref());
    hash
}

/// Reads a hash as it is written: `sha256:` and 64 hexadecimal digits.
pub fn read_hash(text: &str) -> Option<Hash> {
    let digits = text.strip_prefix(PREFIX)?;
    let mut hash = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, place) in hash.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(place..place + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// Writes a hash as it is read.
pub fn write_hash(hash: Hash) -> String {
    hash.iter().fold(PREFIX.to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// A new key: 32 random bytes. `None` if the system has none.
pub fn new_key() -> Option<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(format!("gk_{}", URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(owner: &str, expires: Option<SystemTime>) -> ApiKey {
        let owner = Identity { subject: owner.into(), expires, ..Identity::default() };
        ApiKey { owner: Arc::new(owner), limits: Box::default() }
    }

    #[test]
    fn a_key_is_found_by_its_hash_until_it_ends() {
        let now = SystemTime::now();
        let made = new_key().unwrap();
        let keys = ApiKeys::new(
            HeaderName::from_static("x-api-key"),
            [(hash(made.as_bytes()), key("a", None)), (hash(b"b"), key("b", Some(now)))],
        );
        let owner = |text: &str, now| keys.find(text.as_bytes(), now).map(|key| key.owner.subject.to_string());
        assert_eq!(owner(&made, now), Some("a".into()));
        assert_eq!(owner(&made[1..], now), None);
        assert_eq!(owner("", now), None);
        assert_eq!(owner("b", now), None);
        assert_eq!(owner("b", now - Duration::from_secs(1)), Some("b".into()));
    }

    #[test]
    fn hashes_are_read_as_they_are_written() {
        let hashed = hash(b"key");
        assert_eq!(read_hash(&write_hash(hashed)), Some(hashed));
        let wrong = ["", "sha256:", "sha1:00", &write_hash(hashed)[..70], &(write_hash(hashed) + "0"), "plain"];
        for wrong in wrong {
            assert_eq!(read_hash(wrong), None, "{wrong}");
        }
        assert_eq!(read_hash(&format!("sha256:{}", "é".repeat(32))), None);
    }

    #[test]
    fn no_key_comes_twice() {
        assert_ne!(new_key(), new_key());
        assert!(new_key().unwrap().len() > 40);
    }
}
