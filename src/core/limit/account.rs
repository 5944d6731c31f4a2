//! What one subject has spent under one rule.
//!
//! A quota's numbers may change and what was spent remains. With another algorithm it is forgotten.

use super::gcra::Gcra;
use super::quota::{Algorithm, Quota, Standing};
use super::window::Window;

/// What one subject has spent: 24 bytes, since a rule may have a million of them.
#[derive(Debug)]
pub enum Account {
    /// By a sliding window.
    Window(Window),
    /// By a rate.
    Gcra(Gcra),
}

impl Account {
    /// Of a subject's first request.
    pub fn new(quota: &Quota, now: u64) -> Self {
        match quota.algorithm {
            Algorithm::Window => Account::Window(Window::One(now)),
            Algorithm::Gcra { .. } => Account::Gcra(Gcra::new(quota, now)),
        }
    }

    /// Where the subject stands.
    pub fn look(&self, quota: &Quota, now: u64) -> Standing {
        match (self, quota.algorithm) {
            (Account::Window(window), Algorithm::Window) => window.look(quota.length(), quota.capacity(), now),
            (Account::Gcra(gcra), Algorithm::Gcra { .. }) => gcra.look(quota, now),
            _ => Standing::new(0, quota.capacity(), 0),
        }
    }

    /// Counts a request that was admitted. Where the subject stands then.
    pub fn commit(&mut self, quota: &Quota, now: u64) -> Standing {
        match (&mut *self, quota.algorithm) {
            (Account::Window(window), Algorithm::Window) => window.commit(quota.length(), quota.capacity(), now),
            (Account::Gcra(gcra), Algorithm::Gcra { .. }) => gcra.commit(quota, now),
            _ => {
                *self = Account::new(quota, now);
                self.look(quota, now)
            }
        }
    }

    /// Whether it can be forgotten.
    pub fn is_empty(&self, quota: &Quota, now: u64) -> bool {
        match self {
            Account::Window(window) => window.is_empty(quota.length(), now),
            Account::Gcra(gcra) => gcra.is_empty(now),
        }
    }

    /// Bytes on the heap.
    pub fn heap(&self) -> usize {
        match self {
            Account::Window(window) => window.heap(),
            Account::Gcra(_) => 0,
        }
    }
}
