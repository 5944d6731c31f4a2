//! Tokens that were verified before: the hit is what a request pays.
//!
//! A token is found by all of its bytes. It holds until its own end, and as long as the keys are those it was verified
//! with: their generation is kept beside it. The weight of all is bounded; the least used go first.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use ahash::{AHasher, RandomState};
use quick_cache::Weighter;
use quick_cache::sync::{Cache as Inner, DefaultLifecycle};
use serde_json::Value;

use super::identity::Identity;

/// How many bytes all tokens of a list of issuers may weigh.
const CAPACITY: u64 = 16 * 1024 * 1024;
/// How many that usually are.
const USUAL: usize = 8192;

/// Tokens that were verified before.
pub struct Cache(Inner<Box<[u8]>, Seen, Bytes, Ends>);

/// A token that was verified.
#[derive(Clone)]
pub struct Seen {
    /// Whose it is.
    pub identity: Arc<Identity>,
    /// Until when it is taken.
    pub until: SystemTime,
    /// The place of its issuer in the list.
    pub entry: usize,
    /// The generation of the keys.
    pub generation: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Cache(Inner::with(USUAL, CAPACITY, Bytes, Ends::default(), DefaultLifecycle::default()))
    }
}

impl Cache {
    /// What is known of a token.
    pub fn get(&self, token: &[u8]) -> Option<Seen> {
        self.0.get(token)
    }

    /// Keeps a token.
    pub fn keep(&self, token: &[u8], seen: Seen) {
        self.0.insert(token.into(), seen);
    }

    /// About how many bytes all weigh.
    pub fn weight(&self) -> u64 {
        self.0.weight()
    }
}

/// Hashes only the ends of tokens: signatures, which differ where anything differs. (An issuer with a key that makes one
/// signature good for many tokens could fill one place with them; it would slow the look-up of its own.)
#[derive(Clone, Default)]
struct Ends(RandomState);

/// So much of a signature says which it is.
const END: usize = 32;

struct EndHasher(AHasher);

impl BuildHasher for Ends {
    type Hasher = EndHasher;

    fn build_hasher(&self) -> EndHasher {
        EndHasher(self.0.build_hasher())
    }
}

impl Hasher for EndHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes.last_chunk::<END>().map_or(bytes, |end| end));
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Box<[u8]>, Seen> for Bytes {
    fn weight(&self, token: &Box<[u8]>, seen: &Seen) -> u64 {
        let claims: usize = seen.identity.claims.iter().map(|(name, value)| member(name, value)).sum();
        // Roles and scopes once more, and what holds all together.
        (token.len() + 2 * claims + 256) as u64
    }
}

fn member(name: &str, value: &Value) -> usize {
    // A hash, a name, a value, two places in the object's table.
    96 + name.len() + weight(value)
}

fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => 32 + text.len(),
        Value::Array(list) => 32 + list.iter().map(weight).sum::<usize>(),
        Value::Object(object) => 96 + object.iter().map(|(name, value)| member(name, value)).sum::<usize>(),
        _ => 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_end_alike_are_told_apart() {
        let (cache, end) = (Cache::default(), "x".repeat(END));
        let seen = Seen { identity: Arc::default(), until: SystemTime::now(), entry: 7, generation: 0 };
        cache.keep(format!("a{end}").as_bytes(), seen);
        let found = |token: String| cache.get(token.as_bytes()).map(|seen| seen.entry);
        assert_eq!(found(format!("a{end}")), Some(7));
        assert_eq!((found(format!("b{end}")), found(end.clone()), found("x".into())), (None, None, None));
    }
}
