//! Answers for which there is no room yet are not read from their services (`listen::ledger`).
//!
//! What holds an answer back is the guard around its task: it does not go on with a request whose answer is about to
//! begin. Until then nothing of the answer is in memory, and the service's own buffers fill. Small answers go on in any
//! case: the head that waits in the socket tells which they are. Where it can't be seen (TLS, HTTP/2), all have to wait.
//!
//! Once an answer has begun it is read as far as the framework's pipe goes, which can't be held back.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use crate::listen::ledger::{Account, Full, Held};

/// Between the first two looks for room; later ones are further apart.
const SOONEST: Duration = Duration::from_millis(5);
/// Between any two.
const LATEST: Duration = Duration::from_millis(100);
/// An answer waits so long for others on its connection, of which nothing is taken, before one of them has to give way.
const TURN: Duration = Duration::from_secs(1);
/// An answer of at most so many bytes is small.
const SMALL: u64 = 64 * 1024;
/// So much of an answer is looked at.
const SIGHT: usize = 8 * 1024;

/// What a task's request has of its connection's room.
#[derive(Default)]
pub struct Holding {
    account: RefCell<Option<Arc<Account>>>,
    held: RefCell<Option<Arc<Held>>>,
    /// What was handed on of the answer.
    handed: Cell<u64>,
    /// How long it may wait while nothing is taken.
    patience: Cell<Duration>,
    waits: Cell<Option<Waits>>,
}

#[derive(Clone, Copy)]
struct Waits {
    /// When the connection's client took something last, or it began; and how much had been taken by then.
    moved: Instant,
    taken: u64,
    pause: Duration,
}

/// Whether an answer has to wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Wait {
    /// It may begin.
    No,
    /// Until this, then there may be room.
    Until(Instant),
    /// It has waited too long.
    TooLong(Full),
}

impl Holding {
    /// A request is sent to a service; what its answer has waiting counts here.
    pub fn begin(&self, account: &Arc<Account>, patience: Duration) {
        self.handed.set(0);
        self.patience.set(patience);
        self.account.replace(Some(account.clone()));
    }

    /// The answer is over.
    pub fn end(&self) {
        self.held.take();
        self.account.take();
        self.waits.take();
    }

    /// It has to make room for others.
    pub fn is_given_up(&self) -> bool {
        self.held.borrow().as_ref().is_some_and(|held| held.is_given_up())
    }

    /// Whether it is being held back.
    pub fn is_waiting(&self) -> bool {
        self.waits.get().is_some()
    }

    /// Whether room may soon be short.
    pub fn is_tight(&self) -> bool {
        self.account.borrow().as_ref().is_some_and(|account| account.is_tight())
    }

    /// This is the task to wake should it have to end.
    pub fn wakes(&self, task: &Waker) {
        if let Some(held) = &*self.held.borrow() {
            held.wakes(task);
        }
    }

    /// Whether an answer that is about to begin has to wait for room.
    pub fn wait(&self, upstream: Option<RawFd>) -> Wait {
        let account = self.account.borrow();
        let Some((account, full)) = account.as_ref().and_then(|account| Some((account, account.full()?))) else {
            self.waits.take();
            return Wait::No;
        };
        if upstream.is_some_and(goes_on) {
            return Wait::No;
        }
        let (now, taken) = (Instant::now(), account.taken());
        let mut waits = self.waits.get().unwrap_or_else(|| {
            account.ledger().count_wait();
            Waits { moved: now, taken, pause: SOONEST }
        });
        if waits.taken != taken {
            // Who takes something soon has room for more.
            (waits.moved, waits.taken, waits.pause) = (now, taken, SOONEST);
        }
        if full == Full::Connection && now.saturating_duration_since(waits.moved) >= TURN {
            account.make_room();
        }
        let pause = waits.pause;
        self.waits.set(Some(Waits { pause: (pause * 2).min(LATEST), ..waits }));
        match now.saturating_duration_since(waits.moved) > self.patience.get() {
            true => Wait::TooLong(full),
            false => Wait::Until(now + pause),
        }
    }

    /// So many bytes more were handed on to be written, and so many in all were taken.
    pub fn hand_on(&self, account: &Arc<Account>, bytes: u64, taken: u64) {
        let handed = self.handed.get() + bytes;
        self.handed.set(handed);
        let waiting = handed.saturating_sub(taken);
        let mut held = self.held.borrow_mut();
        if held.is_none() {
            *held = account.note(waiting);
        }
        if let Some(held) = &*held {
            held.moved(waiting, taken);
        }
    }
}

/// Whether a request may go on: nothing of its answer has come, or the answer is small.
fn goes_on(upstream: RawFd) -> bool {
    let mut seen = [0; SIGHT];
    match recv(upstream, &mut seen, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
        Ok(bytes) => is_small(seen.get(..bytes).unwrap_or_default()),
        Err(Errno::EINTR) => false,
        Err(_) => true,
    }
}

/// Whether what has come of an answer says that it is small. The end of the connection is.
fn is_small(seen: &[u8]) -> bool {
    if seen.is_empty() {
        return true;
    }
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(head)) = response.parse(seen) else { return false };
    let field = |name: &str| response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    match (response.code, field("content-length"), field("transfer-encoding")) {
        (Some(101 | 204 | 304), ..) => true,
        (_, Some(length), None) => std::str::from_utf8(length.value)
            .ok()
            .and_then(|length| length.parse().ok())
            .is_some_and(|n: u64| n <= SMALL),
        (_, None, Some(_)) => seen.len() < SIGHT && seen.get(head..).unwrap_or_default().ends_with(b"0\r\n\r\n"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_small_shows_in_what_has_come() {
        let small = [
            "",
            "HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\nbegin",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ];
        let not = [
            "HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nuntil it closes",
            "HTTP/1.1 103 Early Hints\r\n\r\n",
            "\u{17}\u{3}\u{3}encrypted",
        ];
        assert!(small.iter().all(|seen| is_small(seen.as_bytes())), "{small:?}");
        assert!(!not.iter().any(|seen| is_small(seen.as_bytes())), "{not:?}");
    }

    #[test]
    fn looks_for_room_come_further_and_further_apart() {
        let holding = Holding::default();
        assert_eq!(holding.wait(None), Wait::No, "no answer, nothing to wait for");
        let ledger = crate::listen::ledger::Ledger::new(0);
        let account = ledger.open();
        holding.begin(&account, Duration::from_secs(3600));
        let pause = || {
            assert!(matches!(holding.wait(None), Wait::Until(_)));
            holding.waits.get().unwrap().pause
        };
        let pauses: Vec<_> = (0..8).map(|_| pause()).collect();
        assert!(pauses[0] == 2 * SOONEST && pauses.is_sorted() && pauses[7] == LATEST, "{pauses:?}");
        holding.begin(&account, Duration::ZERO);
        assert_eq!(holding.wait(None), Wait::TooLong(Full::Ledger));
        ledger.set_budget(1);
        assert!(holding.wait(None) == Wait::No && !holding.is_waiting());
    }
}
