//! Waits within a request during which its client may go: nothing is sent on for one that is no longer there.

use std::future::Future;

use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;

/// Waits for something; an error of the client's side if it goes meanwhile. A client that still has a body to send is not
/// looked at: what it sends would have to be kept.
pub async fn wait<T>(session: &mut Session, work: impl Future<Output = T>) -> Result<T> {
    if !session.is_body_empty() {
        return Ok(work.await);
    }
    tokio::select! {
        biased;
        done = work => Ok(done),
        gone = session.downstream_session.read_body_or_idle(true) => {
            let unasked = || Error::explain(ErrorType::ConnectionClosed, "the client sent more than it announced");
            Err(gone.err().unwrap_or_else(unasked).into_down())
        }
    }
}
