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

use std::cell::Cell;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::protocols::l4::ext::get_tcp_info;
use pingora::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use super::Proxy;
use super::fairness::{Blame, Fairness};
use super::holding::{Holding, Wait};
use crate::alarm::Alarm;
use crate::listen::connection::Connection;
use crate::listen::ledger::Full;
use crate::plan::route::Timeouts;
use gatekeeper_core::refusal::Kind;

/// How long the gentle way may take.
const GRACE: Duration = Duration::from_millis(300);

/// Lets the framework's timer for an HTTP/2 client that takes nothing go first: it knows whom to blame.
const SLACK: Duration = Duration::from_millis(50);

tokio::task_local! {
    /// The watch of this task: all that the framework's callbacks and the guard around them share is the task.
    static WATCH: Watch;
}

/// Acts on the watch of this task; nothing happens where there is none.
pub fn watch<T: Default>(act: impl FnOnce(&Watch) -> T) -> T {
    WATCH.try_with(act).unwrap_or_default()
}

/// What is being waited for in a task, and how long that may take.
#[derive(Default)]
pub struct Watch {
    phase: Cell<Phase>,
    /// How long nothing may happen.
    patience: Cell<Option<Duration>>,
    /// When something happened last, but for what `touched` says.
    last: Cell<Option<Instant>>,
    /// Something happened since the clock was looked at.
    touched: Cell<bool>,
    end: Cell<Option<Instant>>,
    /// When the credential ends by which the request was let in.
    expiry: Cell<Option<Instant>>,
    upstream: Cell<Option<RawFd>>,
    /// When the framework was told how long an upstream of HTTP/2 may be silent; it begins to count when it is connected.
    timed: Cell<Option<Instant>>,
    /// How much later its timer fires therefore.
    lag: Cell<Duration>,
    late: Cell<Option<Late>>,
    fairness: Fairness,
    client: Client,
    /// What the answer has of its connection's room.
    pub holding: Holding,
}

/// What the task waits for on its client's side.
#[derive(Default)]
struct Client {
    /// It is one of several on a connection that others read and write.
    is_shared: bool,
    /// More of a body is wanted.
    asked: Cell<bool>,
    /// What was written is not taken.
    full: Cell<bool>,
    /// The stream's connection.
    connection: Option<Arc<Connection>>,
    /// What the connection's client had taken when the stream was last woken.
    taken: Cell<u64>,
}

impl Client {
    /// The stream was woken. Whether its client took something, as far as that can be known.
    fn takes(&self) -> bool {
        let taken = self.connection.as_ref().map_or(0, |connection| connection.taken());
        taken > self.taken.replace(taken)
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Nothing,
    Upload,
    Head,
    Body,
    Upgraded,
    Rest,
}

/// Why time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// What the client is told.
    pub kind: Kind,
    /// What the log is told.
    pub cause: &'static str,
    /// When that was.
    at: Instant,
    /// If the upstream is told to be late, it is.
    sure: bool,
}

/// Whether a task may go on.
#[derive(Default)]
enum Room {
    /// It may; `beginning` if its answer may begin while room is short.
    Free { beginning: bool },
    /// Not before this.
    Later(Instant),
    /// It has to end.
    GivenUp,
    /// There is no watch.
    #[default]
    Unwatched,
}

impl Watch {
    /// The watch of a stream of HTTP/2.
    fn of_stream(connection: Option<Arc<Connection>>) -> Self {
        Watch { client: Client { is_shared: true, connection, ..Client::default() }, ..Watch::default() }
    }

    /// An attempt begins, which has to be over at that time.
    pub fn connecting(&self, end: Option<Instant>) {
        self.rest();
        self.end.set(end);
    }

    /// The attempt has a connection.
    pub fn connected(&self, upstream: RawFd) {
        self.upstream.set(Some(upstream));
    }

    /// The framework was told how long an upstream may be silent.
    pub fn timed(&self, now: Instant) {
        self.timed.set(Some(now));
    }

    /// The request's head is sent. A connection that is shared is not ours to shut down.
    pub fn asked(&self, timeouts: &Timeouts, shared: bool, uploading: bool) {
        let timed = self.timed.take().filter(|_| shared);
        self.lag.set(timed.map(|timed| timed.elapsed()).unwrap_or_default());
        if shared {
            self.upstream.set(None);
        }
        self.fairness.asked(timeouts.total, !uploading);
        match uploading {
            true => self.enter(Phase::Upload, timeouts.idle),
            false => self.enter(Phase::Head, timeouts.first_byte),
        }
    }

    /// A piece of the request's body came, perhaps the last.
    pub fn uploaded(&self, timeouts: &Timeouts, last: bool) {
        self.touched.set(true);
        if last {
            self.fairness.whole();
        }
        if last && self.phase.get() == Phase::Upload {
            self.enter(Phase::Head, timeouts.first_byte);
        }
    }

    /// A client of HTTP/1 is waited for: for more of a body.
    pub fn asks_client(&self) {
        self.client.asked.set(true);
    }

    /// A client of HTTP/1 is waited for: to take what was written.
    pub fn fills_client(&self) {
        self.client.full.set(true);
    }

    /// The response's head came, perhaps without a body to follow.
    pub fn answered(&self, timeouts: &Timeouts, bodiless: bool) {
        self.enter(Phase::Body, timeouts.idle);
        self.downloaded(bodiless);
    }

    /// A piece of the response's body came, perhaps the last.
    pub fn downloaded(&self, last: bool) {
        self.touched.set(true);
        if last {
            self.phase.set(Phase::Rest);
            self.upstream.set(None);
        }
    }

    /// An answer of the gateway's own is sent.
    pub fn answering(&self, patience: Duration) {
        self.enter(Phase::Rest, patience);
        self.upstream.set(None);
    }

    /// The connection is no longer HTTP's.
    pub fn upgraded(&self, timeouts: &Timeouts) {
        self.enter(Phase::Upgraded, timeouts.websocket_idle);
        self.end.set(timeouts.websocket_life.map(|life| Instant::now() + life));
    }

    /// The request was let in until then.
    pub fn admitted_until(&self, expiry: Option<Instant>) {
        self.expiry.set(expiry);
    }

    /// The task was woken, and not by its alarm.
    fn woken(&self) {
        if self.client.is_shared && self.is_taken() && self.client.takes() {
            self.touched.set(true);
        }
    }

    /// A client of HTTP/1 took some of what it did not take before.
    pub fn client_takes(&self) {
        if self.is_taken() {
            self.touched.set(true);
        }
    }

    /// The attempt is over, its connection no longer ours.
    pub fn rest(&self) {
        self.phase.set(Phase::Nothing);
        self.patience.set(None);
        self.upstream.set(None);
    }

    /// The attempt is given up for another, whyever it is, with the request's end as it was.
    pub fn forgive(&self, end: Option<Instant>) {
        self.phase.set(Phase::Nothing);
        self.patience.set(None);
        self.end.set(end);
        self.late.set(None);
    }

    /// The request is over.
    pub fn forget(&self) {
        self.rest();
        self.end.set(None);
        self.expiry.set(None);
        self.late.set(None);
        self.fairness.forget();
        self.holding.end();
    }

    /// Why time was over, if it was.
    pub fn late(&self) -> Option<Late> {
        self.late.get()
    }

    /// Against whom it speaks that time was over, or is now.
    pub fn blame(&self) -> Blame {
        match self.late.get() {
            Some(late) if !late.sure => Blame::default(),
            Some(late) => self.fairness.judge(late.at),
            None => self.fairness.judge(Instant::now()),
        }
    }

    /// The framework's timer for a silent upstream was the first to find that time is over.
    pub fn notice(&self) {
        if self.late.get().is_none() {
            let now = Instant::now();
            let is_end = self.end.get().is_some_and(|end| end <= now);
            self.late.set(Some(Late { sure: true, ..self.why(is_end, now) }));
        }
    }

    fn enter(&self, phase: Phase, patience: Duration) {
        self.phase.set(phase);
        self.patience.set(Some(patience));
        self.fairness.step(patience);
        self.touched.set(true);
    }

    /// Whether the task may go on. An answer that has not begun waits while there is no room for it, which is no silence of
    /// its service's.
    fn room(&self) -> Room {
        if self.holding.is_given_up() {
            self.late.set(Some(no_room(Full::Connection, Instant::now())));
            return Room::GivenUp;
        }
        let beginning = self.awaits_head();
        self.go_on();
        let may_wait = (beginning || self.phase.get() == Phase::Upload) && self.late.get().is_none();
        match if may_wait { self.holding.wait(self.upstream.get()) } else { Wait::No } {
            Wait::No => Room::Free { beginning: beginning && self.holding.is_tight() },
            Wait::Until(again) => {
                self.touched.set(true);
                Room::Later(again)
            }
            Wait::TooLong(full) => {
                self.give_up(no_room(full, Instant::now()));
                Room::Free { beginning: false }
            }
        }
    }

    fn awaits_head(&self) -> bool {
        self.phase.get() == Phase::Head
    }

    /// When something has to have happened.
    fn due(&self) -> Option<Instant> {
        let silence = self.patience.get().and_then(|patience| {
            if self.touched.take() {
                let now = Instant::now();
                self.last.set(Some(now));
                self.fairness.tick(now);
            }
            Some(self.last.get()? + patience + SLACK)
        });
        silence.into_iter().chain(self.end.get()).chain(self.expiry.get()).min()
    }

    /// Time is over. Whether a gentle way is left.
    fn expire(&self) -> bool {
        if self.late.get().is_some() {
            return false;
        }
        let now = Instant::now();
        let over = |time: &Cell<Option<Instant>>| time.get().is_some_and(|time| time <= now);
        let late = if over(&self.expiry) {
            expired(now)
        } else if self.holding.is_waiting() {
            no_room(Full::Ledger, now)
        } else {
            self.why(over(&self.end), now)
        };
        if self.client.is_shared && late.kind == Kind::CLIENT_GONE {
            // Nothing gentle frees a stream that is stuck.
            self.late.set(Some(late));
            return false;
        }
        self.give_up(late);
        true
    }

    fn give_up(&self, late: Late) {
        self.late.set(Some(late));
        self.expiry.set(None);
        self.patience.set(None);
        self.end.set(Some(late.at + GRACE + self.lag.get()));
        if let Some(upstream) = self.upstream.take() {
            // Should it fail, the grace will pass.
            let _ = shutdown(upstream, Shutdown::Both);
        }
    }

    fn why(&self, is_end: bool, at: Instant) -> Late {
        let phase = self.phase.get();
        let (kind, cause) = match phase {
            Phase::Upload if self.asks() => (Kind::REQUEST_TIMEOUT, "the client was slow to ask"),
            Phase::Body if self.fills() => (Kind::CLIENT_GONE, "the client did not take the answer"),
            Phase::Rest => (Kind::CLIENT_GONE, "the client did not take the answer"),
            Phase::Upgraded if is_end => (Kind::UPSTREAM_TIMEOUT, "the websocket's life is over"),
            Phase::Upgraded => (Kind::UPSTREAM_TIMEOUT, "the websocket fell silent"),
            _ if is_end => (Kind::UPSTREAM_TIMEOUT, "the request's time is over"),
            Phase::Upload => (Kind::UPSTREAM_TIMEOUT, "the upstream did not take the request"),
            Phase::Body => (Kind::UPSTREAM_TIMEOUT, "the upstream fell silent"),
            Phase::Head | Phase::Nothing => (Kind::UPSTREAM_TIMEOUT, "the upstream did not begin to answer"),
        };
        Late { kind, cause, at, sure: phase != Phase::Body || !self.client.is_shared }
    }

    /// Whether an answer is on its way to the client.
    fn is_taken(&self) -> bool {
        matches!(self.phase.get(), Phase::Body | Phase::Rest)
    }

    /// Whether the client is waited for, which still has to send.
    fn asks(&self) -> bool {
        if self.client.is_shared { self.upstream.get().is_none_or(takes) } else { self.client.asked.get() }
    }

    /// Whether the client is waited for, which does not take what it is sent.
    fn fills(&self) -> bool {
        self.client.full.get() || self.upstream.get().is_some_and(has_more)
    }

    /// The task goes on; what it waits for shows when it waits again.
    fn go_on(&self) {
        self.client.asked.set(false);
        self.client.full.set(false);
    }
}

fn expired(at: Instant) -> Late {
    let cause = "the credential ended by which the request was let in";
    Late { kind: Kind::CREDENTIALS_INVALID, cause, at, sure: true }
}

fn no_room(full: Full, at: Instant) -> Late {
    let (kind, cause) = match full {
        Full::Connection => (Kind::CLIENT_GONE, "the client did not take its answers, and room was needed"),
        Full::Ledger => (Kind::SERVICE_BUSY, "answers that nobody took left no room for this one"),
    };
    Late { kind, cause, at, sure: false }
}

/// Whether the peer takes what is written, as far as that can be known: then it is the client who is waited for.
fn takes(socket: RawFd) -> bool {
    get_tcp_info(socket).map_or(true, |info| info.tcpi_notsent_bytes == 0)
}

/// Whether something of the peer waits to be read: then it is the client who is waited for.
fn has_more(socket: RawFd) -> bool {
    recv(socket, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT).is_ok_and(|bytes| bytes > 0)
}

/// What a task does.
type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Enforces the deadlines of the requests that are served within; `None` if the work had to be dropped for one.
pub fn guard<'a, T: 'a>(work: Work<'a, T>) -> impl Future<Output = Option<T>> + Send + 'a {
    guard_by(Watch::default(), work)
}

fn guard_by<'a, T: 'a>(watch: Watch, work: Work<'a, T>) -> impl Future<Output = Option<T>> + Send + 'a {
    WATCH.scope(watch, Guard { work: Some(work), alarm: Alarm::default() })
}

struct Guard<'a, T> {
    work: Option<Work<'a, T>>,
    /// One for all the deadlines of a task.
    alarm: Alarm,
}

impl<T> Future for Guard<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        if !this.alarm.rings() {
            watch(Watch::woken);
        }
        while let Some(work) = &mut this.work {
            let again = match watch(Watch::room) {
                Room::GivenUp => {
                    this.work = None;
                    break;
                }
                Room::Later(again) => Some(again),
                Room::Free { beginning } => {
                    let mut polled = work.as_mut().poll(cx);
                    if beginning && polled.is_pending() && watch(Watch::awaits_head) {
                        // What was read is handed from one half of the exchange to the other, and counted.
                        polled = work.as_mut().poll(cx);
                    }
                    if let Poll::Ready(done) = polled {
                        return Poll::Ready(Some(done));
                    }
                    None
                }
                Room::Unwatched => return work.as_mut().poll(cx).map(Some),
            };
            let due = watch(|watch| {
                watch.holding.wakes(cx.waker());
                watch.due()
            });
            let Some(next) = again.into_iter().chain(due).min() else { return Poll::Pending };
            ready!(this.alarm.poll(next.into(), cx));
            if due == Some(next) && !watch(Watch::expire) {
                this.work = None;
            }
        }
        Poll::Ready(None)
    }
}

/// The framework's proxy, with a guard around each request that has a task of its own: those of HTTP/2. The requests of an
/// HTTP/1 connection are guarded with their connection, by the door.
pub struct Guarded(pub Arc<HttpProxy<Proxy>>);

impl HttpServerApp for Guarded {
    // Written as `async_trait` would write it, but for the box around the box.
    fn process_new_http<'a, 'b, 'c>(
        self: &'a Arc<Self>,
        session: ServerSession,
        shutdown: &'b ShutdownWatch,
    ) -> Work<'c, Option<ReusedHttpStream>>
    where
        'a: 'c,
        'b: 'c,
    {
        let is_http2 = session.is_http2();
        let connection = session.digest().filter(|_| is_http2).and_then(Connection::of_digest).cloned();
        let work = self.0.process_new_http(session, shutdown);
        if is_http2 { Box::pin(async { guard_by(Watch::of_stream(connection), work).await.flatten() }) } else { work }
    }

    fn http_cleanup<'a, 'c>(&'a self) -> Work<'c, ()>
    where
        'a: 'c,
    {
        self.0.http_cleanup()
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.0.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.0.server_options.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    fn timeouts() -> Timeouts {
        let long = Duration::from_secs(3600);
        let (total, websocket_life) = (None, None);
        Timeouts { total, connect: long, first_byte: long, idle: long, websocket_idle: long, websocket_life }
    }

    fn waits(watch: &Watch) -> Duration {
        let due = watch.due().map(|due| due.saturating_duration_since(Instant::now() + SLACK));
        due.map_or(Duration::MAX, |due| Duration::from_secs_f64(due.as_secs_f64().round()))
    }

    #[test]
    fn each_phase_has_its_own_patience() {
        let seconds = Duration::from_secs;
        let timeouts =
            Timeouts { first_byte: seconds(20), idle: seconds(30), websocket_idle: seconds(40), ..timeouts() };
        let watch = Watch::default();
        watch.connecting(None);
        assert_eq!(waits(&watch), Duration::MAX);
        watch.asked(&timeouts, false, true);
        assert_eq!(waits(&watch), seconds(30));
        watch.uploaded(&timeouts, true);
        assert_eq!(waits(&watch), seconds(20));
        watch.answered(&timeouts, false);
        assert_eq!(waits(&watch), seconds(30));
        // An upload that goes on behind the answer's head does not bring the head's patience back.
        watch.uploaded(&timeouts, true);
        assert_eq!(waits(&watch), seconds(30));
        watch.upgraded(&Timeouts { websocket_life: Some(seconds(10)), ..timeouts });
        assert_eq!(waits(&watch), seconds(10));
        watch.forget();
        assert_eq!(waits(&watch), Duration::MAX);
    }

    #[test]
    fn a_connection_is_forgotten_when_it_is_shared_or_done() {
        let watch = Watch::default();
        let forgotten = |act: &dyn Fn()| {
            watch.connected(7);
            act();
            watch.upstream.get().is_none()
        };
        assert!(!forgotten(&|| watch.asked(&timeouts(), false, true)));
        assert!(!forgotten(&|| watch.answered(&timeouts(), false)));
        assert!(!forgotten(&|| watch.downloaded(false)));
        assert!(forgotten(&|| watch.asked(&timeouts(), true, true)));
        assert!(forgotten(&|| watch.answered(&timeouts(), true)));
        assert!(forgotten(&|| watch.downloaded(true)));
        assert!(forgotten(&|| watch.rest()));
        assert!(forgotten(&|| watch.forget()));
        assert!(forgotten(&|| watch.connecting(None)));
    }

    /// Waits until it is told to end, which may be never.
    async fn work(end: impl Fn() -> bool) -> Option<Late> {
        watch(|watch| watch.connecting(Some(Instant::now() + MOMENT)));
        std::future::poll_fn(|_| if end() { Poll::Ready(watch(Watch::late)) } else { Poll::Pending }).await
    }

    #[tokio::test]
    async fn work_that_listens_ends_by_itself() {
        let late = guard(Box::pin(work(|| watch(Watch::late).is_some()))).await;
        assert_eq!(late.flatten().map(|late| late.kind), Some(Kind::UPSTREAM_TIMEOUT));
    }

    #[tokio::test]
    async fn work_that_does_not_is_dropped() {
        let started = Instant::now();
        assert_eq!(guard(Box::pin(work(|| false))).await, None);
        assert!(started.elapsed() >= GRACE);
    }
}
