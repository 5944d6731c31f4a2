//! What is spoken on a connection, and what its next bytes are.

use std::time::Instant;

use crate::listen::farewell::Farewell;
use gatekeeper_core::frames::{Budgets, Frames};
use gatekeeper_core::wire::{self, Inspector, Step};

/// What is spoken on a connection.
pub(super) enum Speech {
    /// It may turn out to be HTTP/2.
    Undecided,
    /// HTTP/1: the inspector, and how many heads were handed on.
    One(Box<Inspector>, u64),
    /// HTTP/2.
    Two(Box<Frames>),
    /// The answer to what was refused, then nothing any more.
    Farewell(Farewell),
}

/// What the next bytes of an HTTP/1 client are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The next request's, which has to wait for its turn.
    Later,
    /// A request's first.
    Begin,
    /// A head's.
    Head,
    /// A body's, or another protocol's.
    Body,
}

impl Speech {
    /// HTTP/1, from its first byte.
    pub fn one(limits: wire::Limits) -> Self {
        Speech::One(Box::new(Inspector::new(limits)), 0)
    }

    /// HTTP/2, from its first byte.
    pub fn two(budgets: Budgets) -> Self {
        Speech::Two(Box::new(Frames::new(budgets, Instant::now())))
    }

    /// Judges bytes that begin where nothing is released yet.
    pub fn judge(&mut self, next: Next, bytes: &[u8]) -> Step {
        let Speech::One(inspector, heads) = self else { return Step::More };
        if next == Next::Later || bytes.is_empty() {
            return Step::More;
        }
        let step = inspector.inspect(bytes);
        if next != Next::Body && matches!(step, Step::Release(_)) {
            *heads += 1;
        }
        step
    }
}
