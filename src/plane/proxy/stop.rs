//! Why a request goes no further.

use pingora::Error;

use gatekeeper_core::refusal::Refusal;

/// Why a request goes no further.
#[derive(Debug)]
pub enum Stop {
    /// The gateway refuses it.
    Refused(Refusal),
    /// Its client went away, or broke a rule, while it waited.
    Gone(Box<Error>),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl From<Box<Error>> for Stop {
    fn from(error: Box<Error>) -> Self {
        Stop::Gone(error)
    }
}
