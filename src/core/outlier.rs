//! Ejection: a target whose attempts fail one after another gets no more requests for a while.
//!
//! The time is `base` the first time, and grows by `base` with each ejection after it, up to `cap`; for each `base` that a
//! target has been back it is one `base` shorter again. Never more than half of a service's targets are ejected at once:
//! of one none, of two or three one. A target that would be one too many stays, and is ejected by a later failure once
//! another has come back. A success does not end an ejection, only the failures in a row; a failure that arrives during an
//! ejection counts for nothing.
//!
//! That half is decided under a lock, which only a target's failure that reaches the threshold takes. All else is one
//! atomic load (the question whether it is ejected, a success after a success) or two.
//!
//! Targets outlive their group: when a service's targets change, a new group is made of those that stay. As soon as it counts,
//! those come back that are too many now. Known inaccuracy: a group that requests from before the change still use has a lock of
//! its own, so that both may eject one at the same moment. Times are kept in milliseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// When a target is ejected, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// So many failed attempts in a row.
    pub failures: u32,
    /// For this time at first; it grows by as much each time.
    pub base: Duration,
    /// For this time at most.
    pub cap: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { failures: 5, base: Duration::from_secs(30), cap: Duration::from_secs(300) }
    }
}

impl Policy {
    /// Whether a target is ever ejected.
    pub fn is_on(&self) -> bool {
        self.failures != u32::MAX
    }
}

/// A target as its attempts have it.
#[derive(Debug)]
pub struct Conduct {
    start: Instant,
    /// Failures in a row.
    failures: AtomicU32,
    /// The end of the latest ejection, in milliseconds since the start.
    until: AtomicU64,
    /// How many times `base` the latest ejection took. Written under the group's lock.
    times: AtomicU32,
    /// Its last attempt succeeded.
    answers: AtomicBool,
}

impl Conduct {
    /// A target of which nothing is known. Each of a service may have started at another time.
    pub fn new(start: Instant) -> Self {
        Conduct {
            start,
            failures: AtomicU32::new(0),
            until: AtomicU64::new(0),
            times: AtomicU32::new(0),
            answers: AtomicBool::new(false),
        }
    }

    /// Whether it gets no requests.
    pub fn is_ejected(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != 0 && until > self.millis(now)
    }

    /// The end of its ejection, if it is ejected.
    pub fn ejected_until(&self, now: Instant) -> Option<Instant> {
        let until = self.until.load(Ordering::Relaxed);
        if until > self.millis(now) { self.start.checked_add(Duration::from_millis(until)) } else { None }
    }

    /// How long its latest ejection has been over, if there was one.
    pub fn back_for(&self, now: Instant) -> Option<Duration> {
        match self.until.load(Ordering::Relaxed) {
            0 => None,
            until => Some(Duration::from_millis(self.millis(now).saturating_sub(until))),
        }
    }

    /// Whether its last attempt succeeded.
    pub fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// An attempt succeeded.
    pub fn succeeded(&self) {
        if !self.answers() {
            self.answers.store(true, Ordering::Relaxed);
        }
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    fn eject(&self, policy: &Policy, now: Instant) -> Duration {
        let (now, base) = (self.millis(now), millis(policy.base).max(1));
        let calm = now.saturating_sub(self.until.load(Ordering::Relaxed)) / base;
        let longest = u32::try_from(millis(policy.cap).div_ceil(base)).unwrap_or(u32::MAX).max(1);
        let before = u64::from(self.times.load(Ordering::Relaxed)).saturating_sub(calm) as u32;
        let times = before.saturating_add(1).min(longest);
        let time = base.saturating_mul(times.into()).min(millis(policy.cap));
        self.times.store(times, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        self.until.store(now.saturating_add(time), Ordering::Relaxed);
        Duration::from_millis(time)
    }

    fn come_back(&self, now: Instant) {
        self.until.store(self.millis(now), Ordering::Relaxed);
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.start))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The targets of one service, of which at most half are ejected.
#[derive(Debug)]
pub struct Group {
    policy: Policy,
    targets: Box<[Arc<Conduct>]>,
    ejecting: Mutex<()>,
}

impl Group {
    /// A group of these targets. Those that are ejected stay so.
    pub fn new(policy: Policy, targets: Vec<Arc<Conduct>>) -> Self {
        Group { policy, targets: targets.into(), ejecting: Mutex::new(()) }
    }

    /// Lets those come back that are more than half.
    pub fn keep_to_half(&self, now: Instant) {
        let _alone = self.ejecting.lock();
        let ejected = self.targets.iter().filter(|target| target.is_ejected(now));
        ejected.skip(self.targets.len() / 2).for_each(|target| target.come_back(now));
    }

    /// An attempt at one of its targets failed. The time of its ejection, if that is the consequence.
    pub fn failed(&self, target: &Conduct, now: Instant) -> Option<Duration> {
        target.answers.store(false, Ordering::Relaxed);
        if target.is_ejected(now) {
            return None;
        }
        let failures = target.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < self.policy.failures { None } else { self.eject(target, now) }
    }

    /// Ends the ejection of one of its targets, whose past counts no longer. Whether it was ejected.
    pub fn readmit(&self, target: &Conduct, now: Instant) -> bool {
        let _alone = self.ejecting.lock();
        target.failures.store(0, Ordering::Relaxed);
        target.times.store(0, Ordering::Relaxed);
        let ejected = target.is_ejected(now);
        if ejected {
            target.come_back(now);
        }
        ejected
    }

    /// How many are ejected.
    pub fn ejected(&self, now: Instant) -> usize {
        self.targets.iter().filter(|target| target.is_ejected(now)).count()
    }

    fn eject(&self, target: &Conduct, now: Instant) -> Option<Duration> {
        let _alone = self.ejecting.lock();
        let may = !target.is_ejected(now) && self.ejected(now) < self.targets.len() / 2;
        may.then(|| target.eject(&self.policy, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy(failures: u32, base: u64, cap: u64) -> Policy {
        Policy { failures, base: Duration::from_millis(base), cap: Duration::from_millis(cap) }
    }

    fn group(policy: Policy, targets: usize, start: Instant) -> Group {
        Group::new(policy, (0..targets).map(|_| Arc::new(Conduct::new(start))).collect())
    }

    fn fail(group: &Group, index: usize, times: u32, now: Instant) -> Option<Duration> {
        (0..times).filter_map(|_| group.failed(&group.targets[index], now)).last()
    }

    /// A target as the rules have it, with time in steps of a millisecond.
    #[derive(Default, Clone)]
    struct Model {
        in_a_row: u32,
        left: u64,
        back: u64,
        times: u64,
    }

    impl Model {
        fn pass_a_millisecond(&mut self, base: u64) {
            if self.left > 0 {
                self.left -= 1;
                self.back = 0;
                return;
            }
            self.back += 1;
            if self.back == base {
                self.back = 0;
                self.times = self.times.saturating_sub(1);
            }
        }

        fn fail(&mut self, failures: u32, base: u64, cap: u64, may_go: bool) -> bool {
            if self.left > 0 {
                return false;
            }
            self.in_a_row += 1;
            if self.in_a_row < failures || !may_go {
                return false;
            }
            self.times = (self.times + 1).min(cap.div_ceil(base));
            *self = Model { in_a_row: 0, left: (self.times * base).min(cap), back: 0, times: self.times };
            true
        }
    }

    proptest! {
        #[test]
        fn ejection_is_the_model(
            (failures, base, steps) in (1_u32..4, 1_u64..40, 1_u64..6),
            odd in 0_u64..40,
            targets in 1_usize..8,
            attempts in proptest::collection::vec((0_usize..8, 0_u32..4, prop_oneof![3 => Just(0_u64), 1 => 0_u64..200]), 1..200),
        ) {
            let (start, cap) = (Instant::now(), base * steps + odd % base);
            let group = group(policy(failures, base, cap), targets, start);
            let mut models = vec![Model::default(); targets];
            let mut now = start;
            for (index, luck, pause) in attempts {
                (0..pause).for_each(|_| models.iter_mut().for_each(|model| model.pass_a_millisecond(base)));
                now += Duration::from_millis(pause);
                let (index, others) = (index % targets, models.iter().filter(|model| model.left > 0).count());
                if luck == 0 {
                    group.targets[index].succeeded();
                    models[index].in_a_row = 0;
                } else {
                    let ejected = group.failed(&group.targets[index], now).is_some();
                    prop_assert_eq!(ejected, models[index].fail(failures, base, cap, others < targets / 2));
                }
                for (target, model) in group.targets.iter().zip(&models) {
                    let left = target.ejected_until(now).map_or(0, |until| (until - now).as_millis() as u64);
                    prop_assert_eq!((left, target.is_ejected(now)), (model.left, model.left > 0));
                }
                prop_assert!(group.ejected(now) <= targets / 2);
            }
        }
    }

    #[test]
    fn never_more_than_half_are_ejected() {
        let now = Instant::now();
        for (targets, most) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (9, 4)] {
            let group = group(Policy::default(), targets, now);
            (0..targets).for_each(|index| _ = fail(&group, index, 20, now));
            assert_eq!(group.ejected(now), most, "of {targets}");
        }
    }

    #[test]
    fn one_too_many_is_ejected_when_another_is_back() {
        let now = Instant::now();
        let group = group(policy(5, 1000, 9000), 3, now);
        assert_eq!((fail(&group, 0, 5, now), fail(&group, 1, 50, now)), (Some(SECOND), None));
        assert_eq!(fail(&group, 1, 1, now + SECOND), Some(SECOND));
        assert_eq!([0, 1].map(|index| group.targets[index].is_ejected(now + SECOND)), [false, true]);
    }

    #[test]
    fn the_time_grows_and_shrinks_again() {
        let group = group(policy(5, 1000, 3500), 2, Instant::now());
        let mut now = group.targets[0].start + SECOND;
        let mut eject_after = |calm: Duration| {
            now += calm;
            let time = fail(&group, 0, 5, now).unwrap();
            assert!(group.targets[0].is_ejected(now + time - Duration::from_millis(1)));
            now += time;
            assert!(!group.targets[0].is_ejected(now));
            time.as_millis()
        };
        let none = Duration::ZERO;
        assert_eq!([none; 6].map(&mut eject_after), [1000, 2000, 3000, 3500, 3500, 3500]);
        assert_eq!([SECOND, SECOND * 2, SECOND / 2, SECOND * 60].map(eject_after), [3500, 3000, 3500, 1000]);
    }

    #[test]
    fn after_an_ejection_failures_count_anew() {
        let now = Instant::now();
        let group = group(policy(5, 1000, 1000), 2, now);
        assert_eq!(fail(&group, 0, 9, now), Some(SECOND));
        assert_eq!((fail(&group, 0, 4, now + SECOND), fail(&group, 0, 1, now + SECOND)), (None, Some(SECOND)));
    }

    #[test]
    fn one_that_is_readmitted_has_no_past() {
        let now = Instant::now();
        let group = group(policy(5, 1000, 9000), 2, now);
        assert_eq!(fail(&group, 0, 5, now), Some(SECOND));
        assert_eq!(fail(&group, 0, 5, now + SECOND), Some(2 * SECOND));
        let later = now + SECOND + SECOND;
        assert!(group.targets[0].is_ejected(later));
        assert!(group.readmit(&group.targets[0], later) && !group.readmit(&group.targets[0], later));
        assert_eq!((group.ejected(later), group.targets[0].back_for(later)), (0, Some(Duration::ZERO)));
        assert_eq!((fail(&group, 0, 4, later), fail(&group, 0, 1, later)), (None, Some(SECOND)));
        assert!(!group.readmit(&group.targets[1], later));
        assert_eq!(group.targets[1].back_for(later), None, "it was never away");
    }

    #[test]
    fn a_smaller_group_lets_come_back_who_is_too_many() {
        let now = Instant::now();
        let before = group(Policy::default(), 4, now);
        assert!([0, 1].map(|index| fail(&before, index, 5, now)).iter().all(Option::is_some));
        let after = Group::new(Policy::default(), before.targets[..3].to_vec());
        assert_eq!(after.ejected(now), 2);
        after.keep_to_half(now);
        assert_eq!([0, 1, 2].map(|index| after.targets[index].is_ejected(now)), [true, false, false]);
        assert_eq!((fail(&after, 1, 9, now), fail(&after, 2, 9, now)), (None, None));
    }

    /// Threads fail all targets while the time goes on; another looks. It reads the clock after the targets, so that
    /// whoever took the place of one that came back is not counted beside it.
    #[test]
    fn threads_never_eject_more_than_half() {
        const TARGETS: usize = 5;
        let (start, clock, over) = (Instant::now(), AtomicU64::new(0), AtomicBool::new(false));
        let group = group(policy(2, 3, 9), TARGETS, start);
        let time = || start + Duration::from_millis(clock.load(Ordering::SeqCst));
        let work = |seed: usize| {
            let failed = |n: &usize| {
                clock.fetch_add(u64::from(n.is_multiple_of(8)), Ordering::SeqCst);
                group.failed(&group.targets[(n * 7 + seed) % TARGETS], time()).is_some()
            };
            (0..60_000).filter(failed).count()
        };
        let look = || {
            let untils: Vec<u64> = group.targets.iter().map(|target| target.until.load(Ordering::SeqCst)).collect();
            let now = clock.load(Ordering::SeqCst);
            untils.iter().filter(|until| **until > now).count()
        };
        let watch = || std::iter::from_fn(|| (!over.load(Ordering::SeqCst)).then(look)).max();
        let (ejections, most) = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || work(seed))).collect();
            let watcher = scope.spawn(watch);
            let ejections: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            over.store(true, Ordering::SeqCst);
            (ejections, watcher.join().unwrap().unwrap())
        });
        assert!(ejections > 10, "{ejections} ejections");
        assert!(most <= TARGETS / 2, "{most} of {TARGETS}");
    }

    /// Two threads fail at the same moment: in even rounds two targets of which one may go, in odd rounds the same one.
    /// Many targets make the decision long enough to meet in it.
    #[test]
    fn two_at_once_eject_one() {
        const ROUNDS: u32 = 2000;
        let (start, arrived) = (Instant::now(), AtomicU32::new(0));
        let groups = [0, 1].map(|_| group(policy(1, 1000, 1000), 1002, start));
        groups[0].targets[502..].iter().for_each(|target| target.until.store(u64::MAX, Ordering::Relaxed));
        let fail_together = |thread: usize| {
            let failed = |round: &u32| {
                let odd = (round % 2) as usize;
                arrived.fetch_add(1, Ordering::SeqCst);
                let mut spins = 0_u32;
                while arrived.load(Ordering::SeqCst) < round * 2 {
                    spins += 1;
                    if spins > 10_000 { std::thread::yield_now() } else { std::hint::spin_loop() }
                }
                let target = &groups[odd].targets[thread * (1 - odd)];
                groups[odd].failed(target, start + SECOND * *round * 2).is_some()
            };
            (1..=ROUNDS).filter(failed).count()
        };
        let ejections: usize = std::thread::scope(|scope| {
            let threads = [0, 1].map(|thread| scope.spawn(move || fail_together(thread)));
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(ejections, ROUNDS as usize);
    }
}
