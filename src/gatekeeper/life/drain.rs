//! The end of a gateway, and the signals that bring it.
//!
//! TERM: not ready; the lame-duck delay, in which everything is served as before; accepting stops; requests in flight
//! finish, within the grace. Succeeded (an upgrade): the same without the delay, and accepting leaves it all to the
//! successor, administration too. INT, or a second TERM: at once. TERM to one that was succeeded: within the grace.
//!
//! As soon as the gateway is not ready, each HTTP/1 response says `Connection: close`. A connection that is idle then is not
//! closed under a request that may be on its way: it has a last moment to send it, and one that was only just accepted
//! a longer one. HTTP/2 has GOAWAY for that.
//!
//! Known inaccuracy: a request whose head is still on its way when that moment is over is cut, and so is what the
//! kernel takes in between the last accept and the closing of a listener that nobody else holds.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use super::Life;
use gatekeeper_admin::process::Process;
use gatekeeper_model::raw;
use gatekeeper_plane::listen::accept::Stages;

const POLL: Duration = Duration::from_millis(10);
/// For the next request of a connection that was idle when accepting stopped.
const LAST_REQUEST: Duration = Duration::from_millis(500);
/// For the first request of a connection that was accepted just before, its handshakes included.
const FIRST_REQUEST: Duration = Duration::from_secs(2);
/// For the last bytes of settled responses.
const LAST_BYTES: Duration = Duration::from_secs(5);

/// What the process is told from outside.
pub struct Heard {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
}

/// What follows from what is heard.
pub struct Signals {
    life: Arc<Life>,
    stages: Stages,
    drain: raw::Drain,
}

/// Why a gateway ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Told,
    Succeeded,
}

impl Signals {
    /// Follows what is heard until the process is to end.
    pub async fn follow(self, heard: Heard) {
        let Heard { mut term, mut int, mut hup, mut usr1 } = heard;
        let reason = loop {
            tokio::select! {
                _ = term.recv() => break Reason::Told,
                () = self.life.succession.succeeded() => break Reason::Succeeded,
                _ = int.recv() => {
                    self.life.succession.give_up().await;
                    return;
                }
                _ = hup.recv() => self.reload(),
                _ = usr1.recv() => self.life.plane.observers.log.reopen(),
            }
        };
        tokio::select! {
            () = self.end(reason) => {}
            () = self.keep_reopening(&mut usr1) => {}
            () = self.told_again(reason, &mut term) => log::warn!("stopped at once: second TERM"),
            _ = int.recv() => log::warn!("stopped at once"),
        }
    }
}

impl Heard {
    /// Hears signals from now on, before there is who follows them: none of them kills a gateway that begins to serve.
    pub fn from_now_on() -> io::Result<Heard> {
        // Any runtime tells us of them later, but this has to be said within one.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _within = runtime.enter();
        Ok(Heard {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
        })
    }
}

impl Signals {
    /// What follows from what is heard.
    pub fn new(life: Arc<Life>, stages: Stages, drain: raw::Drain) -> Self {
        Signals { life, stages, drain }
    }

    fn reload(&self) {
        if !self.life.may_reload() {
            log::error!("reload rejected: an upgrade is in progress");
            return;
        }
        let life = self.life.clone();
        // A thread of the runtime's would be waited for at the end, and reading may hang.
        let reload = std::thread::Builder::new().name("reload".into()).spawn(move || life.reload().is_ok());
        if let Err(error) = reload {
            log::error!("reload failed: {error}");
        }
    }

    async fn keep_reopening(&self, signal: &mut Signal) {
        while signal.recv().await.is_some() {
            self.life.plane.observers.log.reopen();
        }
        std::future::pending().await
    }

    /// Waits until nobody waits for us any more.
    async fn told_again(&self, reason: Reason, term: &mut Signal) {
        term.recv().await;
        if reason == Reason::Succeeded {
            // It is the whole service that is told to stop, for the first time.
            let _ = timeout(self.drain.grace.0, term.recv()).await;
        }
    }

    async fn end(&self, reason: Reason) {
        self.life.plane.stop_being_ready();
        let grace = match reason {
            Reason::Told => {
                self.life.systemd.stopping().await;
                self.life.succession.give_up().await;
                tokio::time::sleep(self.drain.lame_duck.map_or(Duration::ZERO, |delay| delay.0)).await;
                self.drain.grace.0
            }
            Reason::Succeeded => {
                self.stages.administer_no_more.send_replace(true);
                self.drain.upgrade_grace.0
            }
        };
        self.stages.accept_no_more.send_replace(true);
        match timeout(grace, self.finish()).await {
            Ok(()) => log::info!("stopped: all requests have finished"),
            Err(_) => log::warn!("stopped with requests in flight: the grace period is over"),
        }
        if reason == Reason::Succeeded {
            // The answer to whoever asked for the upgrade.
            let _ = timeout(LAST_BYTES, self.stages.administer_no_more.closed()).await;
        }
    }

    /// Lets the requests in flight finish.
    async fn finish(&self) {
        let metrics = &self.life.plane.observers.metrics;
        let all_gone = || metrics.open_connections() == 0;
        until(LAST_REQUEST, all_gone).await;
        until(FIRST_REQUEST, || metrics.newcomers() == 0).await;
        self.stages.close_idle.send_replace(true);
        // A settled response may still be on its way to its client, and a stream of HTTP/2 that crossed our GOAWAY to us.
        let mut calm = Instant::now();
        while !all_gone() && calm.elapsed() < LAST_BYTES {
            if metrics.requests_in_flight() > 0 {
                calm = Instant::now();
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Waits for something, at most so long.
async fn until(longest: Duration, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() && began.elapsed() < longest {
        tokio::time::sleep(POLL).await;
    }
}
