//! The breaker under a scheduler that tries out in which order threads may come to its atomics and its lock. (All
//! orders are tried as sequentially consistent ones; the breaker relies on no other.)

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use shuttle::thread;

use super::*;

#[allow(dead_code, clippy::duplicate_mod)]
#[path = "machine.rs"]
mod machine;
#[allow(dead_code, clippy::duplicate_mod)]
#[path = "window.rs"]
mod window;

mod sync {
    pub use shuttle::sync::atomic::AtomicU64;

    pub struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Mutex(shuttle::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> shuttle::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }
}

const RUNS: usize = 3000;
const SECOND: Duration = Duration::from_secs(1);

/// A breaker, and how often it opened.
fn breaker(failures: Failures, now: Instant) -> (Arc<machine::Breaker>, Arc<AtomicUsize>) {
    let policy = Policy { failures, probe_timeout: 10 * SECOND, ..Policy::default() };
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let observer = move |transition: Transition| {
        count.fetch_add(usize::from(transition.state() == State::Open), SeqCst);
    };
    (Arc::new(machine::Breaker::new(policy, now, observer)), opened)
}

/// One that opened and whose wait is over at the time returned.
fn tripped() -> (Arc<machine::Breaker>, Arc<AtomicUsize>, Instant) {
    let now = Instant::now();
    let (breaker, opened) = breaker(Failures::Consecutive(1), now);
    admit(&breaker, now).unwrap().settle(Verdict::Failure, now);
    (breaker, opened, now + 60 * SECOND)
}

fn admit(breaker: &Arc<machine::Breaker>, now: Instant) -> Option<machine::Permit> {
    breaker.admit(Asker::default(), now).ok()
}

fn at_once<const N: usize>(run: impl Fn(usize) + Send + Sync + 'static) {
    let run = Arc::new(run);
    let threads: [_; N] = std::array::from_fn(|n| {
        let run = Arc::clone(&run);
        thread::spawn(move || run(n))
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn check(body: impl Fn() + Send + Sync + 'static) {
    let body = Arc::new(body);
    let again = Arc::clone(&body);
    shuttle::check_random(move || body(), RUNS);
    shuttle::check_pct(move || again(), RUNS, 3);
}

/// Every way out of a probe but failure, by four threads that all want one.
#[test]
fn a_probe_slot_is_never_doubled_and_never_lost() {
    check(|| {
        let (breaker, opened, now) = tripped();
        let (shared, probing) = (Arc::clone(&breaker), AtomicUsize::new(0));
        at_once::<4>(move |n| {
            for round in 0..2 {
                let Some(mut permit) = admit(&shared, now).filter(machine::Permit::is_probe) else { continue };
                assert_eq!(probing.fetch_add(1, SeqCst), 0, "two probes at a time");
                thread::yield_now();
                probing.fetch_sub(1, SeqCst);
                match n + round {
                    0 | 3 => permit.settle(Verdict::Neutral, now),
                    1 => permit.settle(Verdict::Success, now),
                    2 => permit.tell_early(Verdict::Neutral, now),
                    _ => drop(permit),
                }
            }
        });
        assert_eq!(opened.load(SeqCst), 1);
        assert!(admit(&breaker, now).is_some(), "the slot is lost");
    });
}

#[test]
fn a_probe_that_opens_again_lets_nobody_pass() {
    check(|| {
        let (breaker, opened, now) = tripped();
        let (shared, probes) = (Arc::clone(&breaker), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&probes);
        at_once::<4>(move |_| {
            let Some(permit) = admit(&shared, now) else { return };
            count.fetch_add(1, SeqCst);
            permit.settle(Verdict::Failure, now);
        });
        assert_eq!((probes.load(SeqCst), opened.load(SeqCst)), (1, 2));
        assert_eq!(breaker.look(Asker::default(), now), Err(Open { retry_after: 120 * SECOND }));
    });
}

#[test]
fn a_lost_probe_is_replaced_once() {
    check(|| {
        let (breaker, _, now) = tripped();
        let lost = std::sync::Mutex::new(admit(&breaker, now));
        let (later, probes) = (now + 10 * SECOND, Arc::new(AtomicUsize::new(0)));
        let (shared, count, held) =
            (Arc::clone(&breaker), Arc::clone(&probes), Arc::new(std::sync::Mutex::new(vec![])));
        let hands = Arc::clone(&held);
        at_once::<4>(move |n| {
            if n == 0 {
                let lost = lost.lock().unwrap().take();
                return drop(lost);
            }
            if let Some(permit) = admit(&shared, later) {
                count.fetch_add(1, SeqCst);
                hands.lock().unwrap().push(permit);
            }
        });
        assert_eq!(probes.load(SeqCst), 1);
        assert!(admit(&breaker, later).is_none(), "the lost one gave back a slot that was not its own");
        held.lock().unwrap().clear();
        assert!(admit(&breaker, later).is_some());
    });
}

#[test]
fn failures_at_once_open_once() {
    check(|| {
        let now = Instant::now();
        let ratio = Failures::Ratio { rate: Rate(1.0), window: SECOND, min_requests: 3 };
        for failures in [Failures::Consecutive(3), ratio] {
            let (breaker, opened) = breaker(failures, now);
            let shared = Arc::clone(&breaker);
            let permits: [_; 3] = std::array::from_fn(|_| std::sync::Mutex::new(admit(&breaker, now)));
            at_once::<3>(move |n| {
                let permit = permits[n].lock().unwrap().take();
                permit.unwrap().settle(Verdict::Failure, now);
                let _ = shared.look(Asker::default(), now);
            });
            assert_eq!((opened.load(SeqCst), breaker.state(now)), (1, State::Open));
        }
    });
}

#[test]
fn what_a_reset_ended_is_never_counted() {
    check(|| {
        let now = Instant::now();
        let ratio = Failures::Ratio { rate: Rate(1.0), window: SECOND, min_requests: 2 };
        for failures in [Failures::Consecutive(2), ratio] {
            let (breaker, _) = breaker(failures, now);
            let shared = Arc::clone(&breaker);
            let permits: [_; 3] = std::array::from_fn(|_| std::sync::Mutex::new(admit(&breaker, now)));
            at_once::<4>(move |n| match permits.get(n) {
                Some(permit) => permit.lock().unwrap().take().unwrap().settle(Verdict::Failure, now),
                None => shared.reset(),
            });
            assert_eq!(breaker.state(now), State::Closed);
            admit(&breaker, now).unwrap().settle(Verdict::Failure, now);
            assert_eq!(breaker.state(now), State::Closed, "an old failure was counted");
        }
    });
}
