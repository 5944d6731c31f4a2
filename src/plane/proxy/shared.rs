//! What an error says of a connection that requests share, and of a request on it (RFC 9113 6.8, 8.7).

use h2::Reason;
use pingora::{Error, ErrorType};

use super::forward::Forward;

/// Whether the upstream declared that it did not process the request: it is going away and named an earlier one as the last
/// that it did, or it refused the stream.
pub fn is_unprocessed(error: &Error) -> bool {
    let Some(cause) = cause(error) else { return false };
    let refused = cause.is_reset() && cause.reason() == Some(Reason::REFUSED_STREAM);
    cause.is_remote() && (cause.is_go_away() || refused)
}

/// Whether a connection of the pool was found to be lost before anything was sent on it.
pub fn is_stale(error: &Error) -> bool {
    *error.etype() == ErrorType::H2Error && cause(error).is_some()
}

/// Takes note of what an error says of the connection: one that is lost gets no more requests, and a stream that the
/// upstream ended is not reset by us.
pub fn note(error: &Error, forward: &mut Forward) {
    let stream = forward.attempt.as_mut().and_then(|attempt| attempt.stream.as_mut());
    if let (Some(stream), Some(cause)) = (stream, cause(error)) {
        let lost = cause.is_go_away() || cause.is_io();
        if lost {
            stream.close();
        }
        if lost || cause.is_remote() {
            stream.ended();
        }
    }
}

fn cause(error: &Error) -> Option<&h2::Error> {
    error.root_cause().downcast_ref()
}
