//! What the framework reports of a connection to a service, in a sentence for the log, for `why` and for `services`.

use pingora::Error;
use pingora::ErrorType::{self, *};

/// The longest cause that is worth a line of the log.
const LONGEST_CAUSE: usize = 200;

/// What went wrong.
pub fn sentence(error: &Error) -> String {
    if let Some(whole) = whole(error.etype()) {
        return whole.into();
    }
    let cause = cause(error);
    let cause = cause.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_CAUSE);
    format!("{}: {}", beginning(error.etype()), cause.collect::<String>())
}

/// The root's words; what stands above it may hold all that the target sent. Of TLS, the framework's last word tells more.
fn cause(error: &Error) -> String {
    let root = error.root_cause();
    let telling = if *error.etype() == TLSHandshakeFailure { Some(innermost(error)) } else { root.downcast_ref() };
    let context = telling.and_then(|error| error.context.as_ref());
    context.map_or_else(|| root.to_string(), |context| context.as_str().to_owned())
}

/// The framework's own error that is nearest to the root.
fn innermost(error: &Error) -> &Error {
    let cause = error.cause.as_deref();
    let below = cause.and_then(|cause| cause.downcast_ref().or_else(|| cause.downcast_ref().map(Box::as_ref)));
    below.map_or(error, innermost)
}

/// Errors whose cause says nothing more.
fn whole(fault: &ErrorType) -> Option<&'static str> {
    Some(match fault {
        ConnectRefused => "connection refused",
        ConnectTimedout => "connecting timed out",
        ConnectNoRoute => "no route to host",
        TLSHandshakeTimedout => "the TLS handshake timed out",
        ConnectionClosed => "the connection was closed",
        _ => return None,
    })
}

fn beginning(fault: &ErrorType) -> &'static str {
    match fault {
        ConnectError | SocketError | BindError => "cannot connect",
        TLSHandshakeFailure | InvalidCert => "TLS failed",
        InvalidHTTPHeader | InvalidH2 | HandshakeError => "invalid response",
        ReadTimedout | WriteTimedout => "timed out",
        _ => "incomplete response",
    }
}
