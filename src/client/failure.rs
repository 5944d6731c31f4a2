//! Why a call of the administration API failed.

use crate::Problem;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No server answers at this address, or not in time.
    #[error("no gateway answers at {address}: {cause}")]
    Unreachable {
        /// The gateway's address.
        address: String,
        /// What the system says about it.
        cause: String,
    },
    /// Something answers at this address, but not the administration API.
    #[error("the server at {address} is not a gatekeeper")]
    NotAGatekeeper {
        /// The gateway's address.
        address: String,
    },
    /// The answer is longer than any of a gateway.
    #[error("the answer of {address} is over 64 MiB")]
    TooLarge {
        /// The gateway's address.
        address: String,
    },
    /// The gateway refused the call. The problem says why.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The answer is JSON, but not what the API specifies: the gateway may have another version.
    #[error("cannot understand the gateway's answer: {0}")]
    Unexpected(serde_json::Error),
    /// The arguments of the call are invalid.
    #[error("{0}")]
    Invalid(String),
    /// The client cannot be created.
    #[error("{0}")]
    Unusable(String),
}
