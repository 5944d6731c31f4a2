//! Deadlines that hold: how long an exchange may wait, told by one watch per task and enforced from outside of it.
//!
//! The framework's own timeouts begin anew with every byte it reads or writes, so that a peer who trickles beats them.
//! Here the callbacks tell a watch what is being waited for, and a guard around the whole task looks at it whenever the
//! task has to wait:
//!
//! * Connecting is bounded by the framework (`connect`, or what is left of the total).
//! * Upload: the silence of the client, and of an upstream that does not read: `idle`.
//! * Head: `first_byte` from the end of the upload. Bytes of a head and informational responses are no progress.
//! * Body: `idle` from one piece of the body to the next. An upgraded connection counts both directions.
//! * Rest: the upstream has ended its answer, the client has not yet taken it: `idle`.
//! * In both, what the client takes is progress as well, as little as it may be. Of a client of HTTP/1 the stream tells (and
//!   the kernel holds little of what was not sent, `listen::accept`, so that it tells soon). A stream of HTTP/2 goes on when
//!   it is woken and its connection took bytes since it last was: it is woken for its client's credit, but not for others'.
//! * An answer of the gateway's own: `limits.keep_alive` for the client to take it.
//! * The end: the route's total, an upgraded connection's longest life, or the end of the credential by which the request
//!   was let in, whatever happens.
//!
//! When a deadline has passed, the gentle way comes first: the socket of an HTTP/1 upstream is shut down, and a client's
//! HTTP/1 connection is no longer read (`listen::tap`). The framework's own error then leads to a proper answer, or to one
//! broken off, and to the log. Where that changes nothing within `GRACE` (a client that takes nothing, HTTP/2 on both
//! sides) the task's future is dropped: the client's connection or stream ends, and `settle_lost` writes the log.
//!
//! The descriptor that is shut down can't be another connection's by then. The framework hands a connection back to its
//! pool, or closes it, and calls `error_while_proxy` or `logging` in the same poll of this very task, and both forget the
//! descriptor; the guard acts only between polls. Nor can it be one that is done and about to be pooled: it is forgotten
//! as soon as the answer's end is seen. (A connection given up while its TLS says goodbye is still open, and ours.)
//!
//! Who is waited for: whatever the upstream speaks, the stream of an HTTP/1 client knows whether its next bytes are wanted
//! or what it is sent is not taken. A stream of HTTP/2 has no such sign. There the upstream's socket shows whether it
//! takes what there is and has something to say; where that can't be known (HTTP/2, a unix socket) the client is taken to
//! be slow as long as its request is not whole. What that says of the service is another question, which `fairness`
//! answers: what is not sure speaks against nobody, and neither does silence within an answer to a client of HTTP/2.
//!
//! For a silent HTTP/2 upstream the framework's timer makes a 504 where it can tell the limits apart (`attempt::silence`),
//! and a client of HTTP/1 gets one in any case; otherwise the client's stream is reset.

mod client;
mod fairness;
mod guard;
mod holding;
mod late;
mod timeouts;
mod upstream;
mod watch;

pub use fairness::Blame;
pub use guard::{Guarded, guard};
pub use late::Late;
pub use timeouts::Timeouts;
pub use watch::Watch;

tokio::task_local! {
    /// The watch of this task: all that the framework's callbacks and the guard around them share is the task.
    static WATCH: Watch;
}

/// Acts on the watch of this task; nothing happens where there is none.
pub fn watch<T: Default>(act: impl FnOnce(&Watch) -> T) -> T {
    WATCH.try_with(act).unwrap_or_default()
}
