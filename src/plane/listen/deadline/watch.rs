//! What is being waited for in a task, and how long that may take.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::Client;
use super::fairness::{Blame, Fairness};
use super::holding::{Holding, Wait};
use super::late::Late;
use super::timeouts::Timeouts;
use super::upstream::Upstream;
use crate::listen::connection::Connection;
use crate::listen::ledger::Full;
use gatekeeper_core::refusal::Kind;

/// How long the gentle way may take.
pub(super) const GRACE: Duration = Duration::from_millis(300);

/// Lets the framework's timer for an HTTP/2 client that takes nothing go first: it knows whom to blame.
const SLACK: Duration = Duration::from_millis(50);

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
    upstream: Upstream,
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

/// Whether a task may go on.
#[derive(Default)]
pub(super) enum Room {
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
    pub(super) fn of_stream(connection: Option<Arc<Connection>>) -> Self {
        Watch { client: Client::of_stream(connection), ..Watch::default() }
    }

    /// An attempt begins, which has to be over at that time.
    pub fn connecting(&self, end: Option<Instant>) {
        self.rest();
        self.end.set(end);
    }

    /// The attempt has a connection.
    pub fn connected(&self, upstream: RawFd) {
        self.upstream.connected(upstream);
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
            self.upstream.forget();
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
            self.upstream.forget();
        }
    }

    /// An answer of the gateway's own is sent.
    pub fn answering(&self, patience: Duration) {
        self.enter(Phase::Rest, patience);
        self.upstream.forget();
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
    pub(super) fn woken(&self) {
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
        self.upstream.forget();
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
    pub(super) fn room(&self) -> Room {
        if self.holding.is_given_up() {
            self.late.set(Some(Late::no_room(Full::Connection, Instant::now())));
            return Room::GivenUp;
        }
        let beginning = self.awaits_head();
        self.client.go_on();
        let may_wait = (beginning || self.phase.get() == Phase::Upload) && self.late.get().is_none();
        match if may_wait { self.holding.wait(self.upstream.socket()) } else { Wait::No } {
            Wait::No => Room::Free { beginning: beginning && self.holding.is_tight() },
            Wait::Until(again) => {
                self.touched.set(true);
                Room::Later(again)
            }
            Wait::TooLong(full) => {
                self.give_up(Late::no_room(full, Instant::now()));
                Room::Free { beginning: false }
            }
        }
    }

    pub(super) fn awaits_head(&self) -> bool {
        self.phase.get() == Phase::Head
    }

    /// When something has to have happened.
    pub(super) fn due(&self) -> Option<Instant> {
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
    pub(super) fn expire(&self) -> bool {
        if self.late.get().is_some() {
            return false;
        }
        let now = Instant::now();
        let over = |time: &Cell<Option<Instant>>| time.get().is_some_and(|time| time <= now);
        let late = if over(&self.expiry) {
            Late::expired(now)
        } else if self.holding.is_waiting() {
            Late::no_room(Full::Ledger, now)
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
        self.upstream.shut_down();
    }

    fn why(&self, is_end: bool, at: Instant) -> Late {
        let phase = self.phase.get();
        let (kind, cause) = match phase {
            Phase::Upload if self.asks() => (Kind::REQUEST_TIMEOUT, "the client was too slow to send the request"),
            Phase::Body if self.fills() => (Kind::CLIENT_GONE, "the client did not read the response"),
            Phase::Rest => (Kind::CLIENT_GONE, "the client did not read the response"),
            Phase::Upgraded if is_end => (Kind::UPSTREAM_TIMEOUT, "the websocket reached its longest life"),
            Phase::Upgraded => (Kind::UPSTREAM_TIMEOUT, "the websocket was idle for too long"),
            _ if is_end => (Kind::UPSTREAM_TIMEOUT, "the timeout of the route is over"),
            Phase::Upload => (Kind::UPSTREAM_TIMEOUT, "the service did not read the request"),
            Phase::Body => (Kind::UPSTREAM_TIMEOUT, "the service paused for too long"),
            Phase::Head | Phase::Nothing => (Kind::UPSTREAM_TIMEOUT, "the service did not begin to respond in time"),
        };
        Late { kind, cause, at, sure: phase != Phase::Body || !self.client.is_shared }
    }

    /// Whether an answer is on its way to the client.
    fn is_taken(&self) -> bool {
        matches!(self.phase.get(), Phase::Body | Phase::Rest)
    }

    /// Whether the client is waited for, which still has to send.
    fn asks(&self) -> bool {
        if self.client.is_shared { self.upstream.takes() } else { self.client.asked.get() }
    }

    /// Whether the client is waited for, which does not take what it is sent.
    fn fills(&self) -> bool {
        self.client.full.get() || self.upstream.has_more()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            watch.upstream.socket().is_none()
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
}
