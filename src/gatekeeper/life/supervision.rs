//! The gateway under supervision: the probe that vouches for the request path, and what systemd is told of it.
//!
//! READY is said when a probe has been answered for the first time, so the listeners accept and the plan serves. From then
//! on the watchdog is fed only while probes are answered in time: a gateway whose requests hang is restarted even though
//! its administration, on a runtime of its own, still answers.
//!
//! A probe is a connection of our own: it is accepted, read, judged and answered where clients' are, on the same threads, but
//! belongs to no listener, so it needs no certificate and no PROXY header. It stands in no log and no count of requests.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Life;

/// For a probe where no watchdog says how long.
const PROBE: Duration = Duration::from_secs(1);
/// Probes in the watchdog's time.
const PROBES: u32 = 3;

/// Watches over the request path.
pub struct Supervisor {
    life: Arc<Life>,
    door: mpsc::Sender<UnixStream>,
}

impl Supervisor {
    /// A supervisor whose probes go through this door.
    pub fn new(life: Arc<Life>, door: mpsc::Sender<UnixStream>) -> Self {
        Supervisor { life, door }
    }

    /// Whether the request path answers in time.
    async fn probe(&self, limit: Duration) -> bool {
        timeout(limit, self.ask()).await.is_ok_and(|answered| answered.is_ok())
    }

    async fn ask(&self) -> io::Result<()> {
        let (mut ours, theirs) = UnixStream::pair()?;
        self.door.send(theirs).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
        ours.write_all(b"GET / HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n").await?;
        let mut begin = [0; b"HTTP/1.1 200 ".len()];
        ours.read_exact(&mut begin).await?;
        if &begin == b"HTTP/1.1 200 " { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    async fn feed(&self, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // systemd watches over what runs, not over what stops.
        while self.life.plane.is_ready() {
            ticks.tick().await;
            match self.probe(every).await {
                true => self.life.systemd.feed_watchdog(),
                false => log::error!("the request path does not answer: the systemd watchdog is not notified"),
            }
        }
    }
}

impl Supervisor {
    /// Takes over when the request path answers, and then feeds the watchdog as long as it does.
    pub async fn watch(self) {
        while !self.probe(PROBE).await {
            log::warn!("the request path does not answer yet");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.life.take_over().await;
        self.life.systemd.ready(&self.life.serving());
        // No time at all is systemd's way to say that nobody watches.
        if let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) {
            self.feed(limit / PROBES).await;
        }
    }
}
