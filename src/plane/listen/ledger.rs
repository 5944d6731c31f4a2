//! Answers that clients have not taken yet: how many bytes of them wait, on each connection and in all.
//!
//! A byte waits from when it is handed to the framework for writing until the connection's tap has written it. Behind an
//! answer that is not taken the framework's pipe fills, too: some half a megabyte of pieces and of the buffers they are
//! read into ([`PIPE`]), which nobody can count from outside. So what is charged is what waits and, as long as something
//! does, the pipes of those answers of which much has waited. Small answers are charged nothing, and never touch what all
//! connections share.
//!
//! * `limits.buffered_answers` bounds the sum. Where it is reached, an answer that has not begun is not read from its
//!   service until there is room (`deadline::holding`), and connections that take nothing are made to give up theirs
//!   (`trimmer`).
//! * All streams of an HTTP/2 connection share [`SHARE`] in the same way.
//!
//! Known inaccuracy: the tap writes heads and frames, too, so that a little less is counted than there is. What an aborted
//! stream had waiting is forgotten when the stream ends, as far as its last pieces tell (`settle_down`). Which of the
//! streams of an HTTP/2 connection are behind is not known: their pipes are charged in proportion to what waits.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::trimmer::Pace;

/// What stays of a connection's bytes when an answer of it ends.
const REST: u64 = 64 * 1024;
/// What the framework has read ahead of an answer that is not taken.
const PIPE: u64 = 512 * 1024;
/// What the streams of a connection have in their pipes for each byte that waits, at most.
const PIPES: u64 = 5;
/// What the answers on one connection may be charged before its next answer is read.
const SHARE: u64 = 4 << 20;
/// An answer of which so much waited once is charged from then on.
const NOTABLE: u64 = 32 * 1024;
/// Who has taken nothing for so long may have to make room for others on the same connection.
const IDLE: Duration = Duration::from_secs(1);

/// All connections' answers that wait.
#[derive(Debug)]
pub struct Ledger {
    began: Instant,
    total: AtomicU64,
    encoders: AtomicU64,
    budget: AtomicU64,
    /// How often an answer began to wait for room.
    waits: AtomicU64,
    accounts: Mutex<Vec<Weak<Account>>>,
}

/// One connection's.
#[derive(Debug)]
pub struct Account {
    ledger: Arc<Ledger>,
    waiting: AtomicU64,
    /// What notable answers have waiting, as of their last piece.
    notable: AtomicU64,
    /// How many of them there are.
    long: AtomicU64,
    /// What it is charged; changed under the lock.
    charged: AtomicU64,
    charging: Mutex<()>,
    /// What was taken of notable answers.
    taken: AtomicU64,
    listed: AtomicBool,
    answers: Mutex<Vec<Weak<Held>>>,
    /// How fast it takes what waits.
    pub(super) pace: Mutex<Pace>,
}

/// Why an answer is not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// Other answers on the same connection wait to be taken.
    Connection,
    /// Answers of all connections do.
    Ledger,
}

/// An answer of which much waits.
#[derive(Debug)]
pub struct Held {
    account: Arc<Account>,
    waiting: AtomicU64,
    taken: AtomicU64,
    /// When something of it was taken last, in milliseconds of the ledger.
    moved: AtomicU64,
    given_up: AtomicBool,
    task: Mutex<Option<Waker>>,
}

/// Memory of an encoder that counts as long as this lives.
#[must_use]
#[derive(Debug)]
pub struct EncoderRoom(Arc<Ledger>, u64);

impl Ledger {
    /// Nothing waits.
    pub fn new(budget: u64) -> Arc<Ledger> {
        Arc::new(Ledger {
            began: Instant::now(),
            total: AtomicU64::new(0),
            encoders: AtomicU64::new(0),
            budget: AtomicU64::new(budget),
            waits: AtomicU64::new(0),
            accounts: Mutex::default(),
        })
    }

    /// An account for a connection.
    pub fn open(self: &Arc<Self>) -> Arc<Account> {
        Arc::new(Account {
            ledger: self.clone(),
            waiting: AtomicU64::new(0),
            notable: AtomicU64::new(0),
            long: AtomicU64::new(0),
            charged: AtomicU64::new(0),
            charging: Mutex::default(),
            taken: AtomicU64::new(0),
            listed: AtomicBool::new(false),
            answers: Mutex::default(),
            pace: Mutex::default(),
        })
    }

    /// What all of it takes, by estimation.
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed) + self.encoders.load(Relaxed)
    }

    /// What it may take.
    pub fn budget(&self) -> u64 {
        self.budget.load(Relaxed)
    }

    /// It may take as much from now on.
    pub fn set_budget(&self, budget: u64) {
        self.budget.store(budget, Relaxed);
    }

    /// Room for an encoder: a quarter of the budget is for them.
    pub fn encoder(self: &Arc<Self>, bytes: u64) -> Option<EncoderRoom> {
        let room = EncoderRoom(self.clone(), bytes);
        let before = self.encoders.fetch_add(bytes, Relaxed);
        (before + bytes <= self.budget() / 4 && self.total() <= self.budget()).then_some(room)
    }

    /// An answer begins to wait for room.
    pub fn count_wait(&self) {
        self.waits.fetch_add(1, Relaxed);
    }

    /// How many did since the last call.
    pub(super) fn take_waits(&self) -> u64 {
        self.waits.swap(0, Relaxed)
    }

    /// Connections that have, or lately had, much waiting.
    pub(super) fn accounts(&self) -> Vec<Arc<Account>> {
        let mut accounts = self.accounts.lock();
        let mut found = Vec::with_capacity(accounts.len());
        accounts.retain(|account| {
            let account = account.upgrade().filter(|account| !account.is_done());
            found.extend(account.clone());
            account.is_some()
        });
        found
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for EncoderRoom {
    fn drop(&mut self) {
        self.0.encoders.fetch_sub(self.1, Relaxed);
    }
}

impl Account {
    /// So many bytes were handed on to be written.
    pub fn add(&self, bytes: u64) {
        self.waiting.fetch_add(bytes, Relaxed);
        self.charge();
    }

    /// So many bytes were written.
    pub fn take(&self, bytes: u64) {
        if self.waiting.load(Relaxed) > 0 {
            let before = self.update(|waiting| waiting.saturating_sub(bytes));
            if self.long.load(Relaxed) > 0 {
                self.taken.fetch_add(before.min(bytes), Relaxed);
                self.charge();
            }
        }
    }

    /// Where encoders find room.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Whether so much waits that room may soon be short.
    pub fn is_tight(&self) -> bool {
        self.ledger.total() >= self.ledger.budget() / 4 || self.charged.load(Relaxed) >= SHARE / 4
    }

    /// Whether another answer has to wait until it is read.
    pub fn full(&self) -> Option<Full> {
        if self.ledger.total() >= self.ledger.budget() {
            return Some(Full::Ledger);
        }
        if self.charged.load(Relaxed) >= SHARE {
            self.settle_down();
        }
        (self.charged.load(Relaxed) >= SHARE).then_some(Full::Connection)
    }

    /// An answer of the connection may have been given up with bytes that waited: no more wait than the answers under way
    /// know of.
    pub fn settle_down(&self) {
        let most = self.notable.load(Relaxed) + REST;
        if self.waiting.load(Relaxed) > most {
            self.update(|waiting| waiting.min(most));
            self.charge();
        }
    }

    /// An answer that begins to be notable, if it does.
    pub fn note(self: &Arc<Self>, waiting: u64) -> Option<Arc<Held>> {
        if waiting < NOTABLE {
            return None;
        }
        let held = Arc::new(Held {
            account: self.clone(),
            waiting: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            moved: AtomicU64::new(self.ledger.now()),
            given_up: AtomicBool::new(false),
            task: Mutex::default(),
        });
        self.long.fetch_add(1, Relaxed);
        self.charge();
        let mut answers = self.answers.lock();
        answers.retain(|answer| answer.strong_count() > 0);
        answers.push(Arc::downgrade(&held));
        drop(answers);
        if !self.listed.swap(true, Relaxed) {
            self.ledger.accounts.lock().push(Arc::downgrade(self));
        }
        Some(held)
    }

    /// Gives up the answer that was taken from least lately, if that is long ago, for others on the same connection.
    pub fn make_room(&self) {
        let idle = u64::try_from(IDLE.as_millis()).unwrap_or(u64::MAX);
        let much = self.held().into_iter().filter(|held| held.waiting.load(Relaxed) >= NOTABLE);
        let longest = much.min_by_key(|held| held.moved.load(Relaxed));
        if let Some(held) = longest.filter(|held| held.moved.load(Relaxed) + idle <= self.ledger.now()) {
            held.give_up();
        }
    }

    /// Gives up all answers of which much waits; how much that gives back, and whether there was one that had not been
    /// given up before.
    pub(super) fn give_up(&self) -> (u64, bool) {
        let fresh = self.held().iter().filter(|held| held.give_up()).count() > 0;
        (self.charged.load(Relaxed), fresh)
    }

    /// How much waits.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// How much was taken while much waited.
    pub fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    fn held(&self) -> Vec<Arc<Held>> {
        self.answers.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Nothing notable waits any more: it is listed no longer.
    fn is_done(&self) -> bool {
        let done = self.long.load(Relaxed) == 0;
        if done {
            self.listed.store(false, Relaxed);
        }
        done
    }

    fn update(&self, to: impl Fn(u64) -> u64) -> u64 {
        self.waiting.fetch_update(Relaxed, Relaxed, |waiting| Some(to(waiting))).unwrap_or_default()
    }

    /// Charges what there is by now. Whoever changes something calls it afterwards, so that the last one sees it all.
    fn charge(&self) {
        if self.long.load(Relaxed) == 0 && self.charged.load(Relaxed) == 0 {
            return;
        }
        let _charging = self.charging.lock();
        let now = cost(self.waiting.load(Relaxed), self.long.load(Relaxed));
        let before = self.charged.swap(now, Relaxed);
        if now > before {
            self.ledger.total.fetch_add(now - before, Relaxed);
        } else {
            self.ledger.total.fetch_sub(before - now, Relaxed);
        }
    }
}

/// What a connection is charged of which so much waits, with so many notable answers.
fn cost(waiting: u64, long: u64) -> u64 {
    if waiting == 0 || long == 0 {
        return 0;
    }
    waiting + (long * PIPE).min(PIPE + waiting * PIPES)
}

impl Drop for Account {
    fn drop(&mut self) {
        self.ledger.total.fetch_sub(*self.charged.get_mut(), Relaxed);
    }
}

impl Held {
    /// As of now so much of it waits, and so much was taken.
    pub fn moved(&self, waiting: u64, taken: u64) {
        let before = self.waiting.swap(waiting, Relaxed);
        if waiting > before {
            self.account.notable.fetch_add(waiting - before, Relaxed);
        } else {
            self.account.notable.fetch_sub(before - waiting, Relaxed);
        }
        if taken > self.taken.swap(taken, Relaxed) {
            self.moved.store(self.account.ledger.now(), Relaxed);
        }
    }

    /// This is its task, should it have to end.
    pub fn wakes(&self, task: &Waker) {
        let mut known = self.task.lock();
        if known.as_ref().is_none_or(|known| !known.will_wake(task)) {
            *known = Some(task.clone());
        }
    }

    /// It has to end, for its client does not take it and the room is needed.
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Relaxed)
    }

    /// Whether it had not been before.
    fn give_up(&self) -> bool {
        let fresh = !self.given_up.swap(true, Relaxed);
        if let Some(task) = self.task.lock().take() {
            task.wake();
        }
        fresh
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.notable.fetch_sub(*self.waiting.get_mut(), Relaxed);
        self.account.long.fetch_sub(1, Relaxed);
        self.account.settle_down();
        self.account.charge();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn held(account: &Arc<Account>, waiting: u64) -> Arc<Held> {
        account.add(waiting);
        let held = account.note(waiting).unwrap();
        held.moved(waiting, 0);
        held
    }

    #[test]
    fn small_answers_cost_nothing_and_large_ones_until_they_are_taken() {
        let ledger = Ledger::new(1 << 30);
        let account = ledger.open();
        account.add(NOTABLE);
        assert!(account.note(NOTABLE - 1).is_none());
        assert_eq!(ledger.total(), 0);
        let one = held(&account, NOTABLE);
        assert_eq!(ledger.total(), 2 * NOTABLE + PIPE);
        account.take(60);
        assert_eq!(ledger.total(), 2 * NOTABLE - 60 + PIPE);
        account.take(u64::MAX);
        account.take(1);
        assert_eq!((ledger.total(), account.waiting()), (0, 0), "nothing waits: the pipe runs empty");
        account.add(MIB);
        drop(one);
        assert_eq!(ledger.total(), 0, "what is left is a short rest");
        let _other = held(&account, MIB);
        drop(account);
        assert!(ledger.total() > MIB);
        drop(_other);
        assert_eq!(ledger.total(), 0, "a connection that ends takes all of it along");
    }

    #[test]
    fn what_an_aborted_answer_had_waiting_is_forgotten() {
        let ledger = Ledger::new(1 << 30);
        let account = ledger.open();
        let (one, other) = (held(&account, 2 * MIB), held(&account, 3 * MIB));
        assert_eq!(account.full(), Some(Full::Connection));
        drop(other);
        assert_eq!(account.waiting(), 2 * MIB + REST);
        drop(one);
        assert_eq!((account.full(), ledger.total()), (None, 0));
    }

    #[test]
    fn a_full_ledger_stops_everyone_and_a_full_connection_itself() {
        let ledger = Ledger::new(8 * MIB);
        let (one, other) = (ledger.open(), ledger.open());
        let _held = held(&one, 5 * MIB);
        assert_eq!((one.full(), other.full()), (Some(Full::Connection), None));
        let _more = held(&other, 3 * MIB);
        assert_eq!((one.full(), other.full()), (Some(Full::Ledger), Some(Full::Ledger)));
        ledger.set_budget(u64::MAX);
        assert_eq!((one.full(), other.full()), (Some(Full::Connection), None));
    }

    #[test]
    fn idle_streams_are_not_charged_for_a_slow_one() {
        let ledger = Ledger::new(1 << 30);
        let account = ledger.open();
        let idle: Vec<_> = (0..99).map(|_| held(&account, NOTABLE)).collect();
        account.take(u64::MAX);
        account.add(100_000);
        assert!(account.full().is_none() && ledger.total() < 2 * MIB, "{}", ledger.total());
        drop(idle);
    }

    #[test]
    fn who_moved_least_lately_gives_way_but_nobody_who_just_moved() {
        let ledger = Ledger::new(1 << 30);
        let account = ledger.open();
        let (one, other) = (held(&account, NOTABLE), held(&account, NOTABLE));
        account.make_room();
        assert!(!one.is_given_up() && !other.is_given_up());
        // A ledger that began long ago.
        let long_ago = Instant::now().checked_sub(2 * IDLE).unwrap();
        let aged = Ledger { began: long_ago, ..Arc::into_inner(Ledger::new(1 << 30)).unwrap() };
        let account = Arc::new(aged).open();
        let (one, other) = (held(&account, NOTABLE), held(&account, NOTABLE));
        one.moved.store(5, Relaxed);
        account.make_room();
        assert!(one.is_given_up() && !other.is_given_up());
    }

    #[test]
    fn encoders_have_a_quarter() {
        let ledger = Ledger::new(400);
        let rooms = (ledger.encoder(60), ledger.encoder(40));
        assert!(rooms.0.is_some() && rooms.1.is_some() && ledger.encoder(1).is_none());
        assert_eq!(ledger.total(), 100);
        drop(rooms);
        assert_eq!(ledger.total(), 0);
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_all_connections(steps in prop::collection::vec((0..3_usize, 0..6_u8, 0..200_000_u64), 0..200)) {
            let ledger = Ledger::new(u64::MAX);
            let accounts = [ledger.open(), ledger.open(), ledger.open()];
            let mut answers = Vec::new();
            for (which, step, bytes) in steps {
                let account = &accounts[which];
                match step {
                    0 | 1 => account.add(bytes),
                    2 => account.take(bytes),
                    3 => answers.extend(account.note(bytes)),
                    4 => drop(answers.pop()),
                    _ => account.settle_down(),
                }
                let cost = |account: &Arc<Account>| cost(account.waiting(), account.long.load(Relaxed));
                prop_assert_eq!(ledger.total(), accounts.iter().map(cost).sum::<u64>());
            }
        }
    }
}
