//! What systemd is told (sd_notify). Without systemd nothing is told to anybody.
//!
//! Its socket takes a few messages; when systemd does not read them, sending waits. So a thread of its own sends them, in
//! their order, and nobody else ever waits for systemd, or only a moment where its knowing comes first.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Messages that wait to be sent; more are lost.
const QUEUE: usize = 64;
/// For a message that has to be sent before anything else happens.
const MOMENT: Duration = Duration::from_secs(1);

/// Tells systemd.
#[derive(Clone)]
pub struct Systemd(Option<SyncSender<Message>>);

struct Message {
    text: String,
    sent: oneshot::Sender<()>,
}

impl Systemd {
    /// Tells the systemd that has started this process, if one has.
    pub fn of_this_process() -> io::Result<Systemd> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(Systemd(None));
        }
        let (queue, messages) = sync_channel(QUEUE);
        thread::Builder::new().name("systemd".into()).spawn(move || send(messages))?;
        Ok(Systemd(Some(queue)))
    }

    /// This serves now.
    pub fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// A reload begins; `ready` says that it ended, well or not.
    pub fn reloading(&self) {
        let now = NotifyState::monotonic_usec_now();
        self.tell(&[NotifyState::Reloading].into_iter().chain(now).collect::<Vec<_>>());
    }

    /// The request path answers.
    pub fn feed_watchdog(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// Another process serves from now on; only its word counts.
    pub async fn succeeded_by(&self, pid: u32) {
        self.tell_first(&[NotifyState::MainPid(pid)]).await;
    }

    /// No new requests are wanted.
    pub async fn stopping(&self) {
        self.tell_first(&[NotifyState::Stopping, NotifyState::Status("stopping: waiting for requests in flight")])
            .await;
    }

    /// Tells it, and waits a moment until it is told.
    async fn tell_first(&self, state: &[NotifyState<'_>]) {
        if let Some(sent) = self.tell(state)
            && timeout(MOMENT, sent).await.is_err()
        {
            log::warn!("systemd does not read notifications");
        }
    }

    fn tell(&self, state: &[NotifyState<'_>]) -> Option<oneshot::Receiver<()>> {
        let queue = self.0.as_ref()?;
        let lines: Vec<String> = state.iter().map(ToString::to_string).collect();
        let (sent, told) = oneshot::channel();
        if queue.try_send(Message { text: lines.join("\n"), sent }).is_err() {
            log::warn!("systemd does not read notifications: one was lost");
            return None;
        }
        Some(told)
    }
}

fn send(messages: Receiver<Message>) {
    for Message { text, sent } in messages {
        if let Err(error) = sd_notify::notify(&[NotifyState::Custom(&text)]) {
            log::warn!("cannot notify systemd: {error}");
        }
        // Most do not wait for it.
        let _ = sent.send(());
    }
}
