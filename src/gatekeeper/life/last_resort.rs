//! The last resort: who is told twice to stop ends, whatever hangs.
//!
//! It listens on a thread of its own, needs nothing of the rest of the gateway, and says nothing: standard error may be what
//! hangs. What ends by itself in the meantime ends better.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// For an end of one's own accord, once told for the second time.
const PATIENCE: Duration = Duration::from_secs(3);

/// Ends the process some time after the second TERM or INT from now on.
pub fn stand_by() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (term, int) = {
        let _within = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let thread = std::thread::Builder::new().name("last-resort".into());
    thread.spawn(move || runtime.block_on(end_when_told_twice(term, int))).map(drop)
}

async fn end_when_told_twice(mut term: Signal, mut int: Signal) {
    for _ in 0..2 {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
    tokio::time::sleep(PATIENCE).await;
    std::process::exit(1);
}
