//! Which listener a request came by, for routes that answer on some of them only.

use ahash::RandomState;

/// A listener, the same one over reloads: what its address as written hashes to. An address whose port the system chooses may
/// be listened on more than once, so listeners with one address are numbered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(u64);

impl ListenerId {
    /// The listener with this address, after `before` others that have it too. The hash need not be secret: addresses are the
    /// operator's.
    pub fn new(address: &str, before: usize) -> Self {
        ListenerId(RandomState::with_seeds(1, 2, 3, 4).hash_one((address, before)))
    }
}
