//! Why time was over.

use std::time::Instant;

use crate::listen::ledger::Full;
use gatekeeper_core::refusal::Kind;

/// Why time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// What the client is told.
    pub kind: Kind,
    /// What the log is told.
    pub cause: &'static str,
    /// When that was.
    pub(super) at: Instant,
    /// If the upstream is told to be late, it is.
    pub(super) sure: bool,
}

impl Late {
    /// The request may go on no longer, for it was let in until then.
    pub(super) fn expired(at: Instant) -> Late {
        let cause = "the credential of the request has expired";
        Late { kind: Kind::CREDENTIALS_INVALID, cause, at, sure: true }
    }

    /// There is no room for the answer.
    pub(super) fn no_room(full: Full, at: Instant) -> Late {
        let (kind, cause) = match full {
            Full::Connection => (Kind::CLIENT_GONE, "the client did not read its responses, and memory was needed"),
            Full::Ledger => {
                (Kind::SERVICE_BUSY, "the memory for responses is used up by responses that clients do not read")
            }
        };
        Late { kind, cause, at, sure: false }
    }
}
