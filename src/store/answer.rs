//! Answers to writes with an `Idempotency-Key`: the same write gets the same answer again.

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The digest of the write. The same key with another digest is a mistake of the client.
    pub digest: String,
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// When it was given, in milliseconds since 1970.
    pub at: i64,
}
