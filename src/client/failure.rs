//! Why a call of the administration API failed.

use crate::Problem;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody answers at this address, or not in time.
    #[error("no gateway answers at {address}: {cause}")]
    Unreachable {
        /// The gateway's address.
        address: String,
        /// What the system says about it.
        cause: String,
    },
    /// Something answers at this address, but not the administration API.
    #[error("what answers at {address} is not a gatekeeper")]
    NotAGatekeeper {
        /// The gateway's address.
        address: String,
    },
    /// The gateway refused, and says why.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The answer is JSON, but not what the API promises: the gateway may be of another version.
    #[error("the gateway's answer: {0}")]
    Unexpected(serde_json::Error),
    /// The call can't be made with these arguments.
    #[error("{0}")]
    Invalid(String),
    /// No client can be set up.
    #[error("{0}")]
    Unusable(String),
}
