//! Who a client is (SEMANTICS 4).
//!
//! Signed tokens: `issuer` judges them with `token` (read), `key` and `key_set` (whose keys), `claims` (what it must say)
//! and `cache` (seen before); `provider` fetches keys through `fetch`; `compile` makes all that from the configuration.

pub mod cache;
pub mod claims;
pub mod compile;
pub mod fetch;
pub mod identity;
pub mod issuer;
pub mod json;
pub mod key;
pub mod key_set;
pub mod provider;
pub mod rejection;
pub mod token;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod vectors;
