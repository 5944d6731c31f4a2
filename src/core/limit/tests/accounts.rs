//! One subject's account.

use proptest::prelude::{Just, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::super::account::Account;
use super::*;

const SECOND: u64 = 1_000_000_000;

/// A subject that offers requests.
struct Subject {
    account: Option<Account>,
}

impl Subject {
    fn new() -> Self {
        Subject { account: None }
    }

    fn look(&self, quota: &Quota, now: u64) -> Standing {
        let nothing = Standing::new(0, quota.capacity(), 0);
        self.account.as_ref().map_or(nothing, |account| account.look(quota, now))
    }

    fn offer(&mut self, quota: &Quota, now: u64) -> bool {
        let admitted = self.look(quota, now).admitted;
        if admitted {
            match &mut self.account {
                Some(account) => {
                    let told = account.commit(quota, now);
                    assert_eq!(told, account.look(quota, now), "what is told of a request is what the next one finds");
                }
                None => self.account = Some(Account::new(quota, now)),
            }
        }
        admitted
    }
}

fn windows() -> impl Strategy<Value = Duration> {
    let seconds = prop_oneof![Just(1), Just(2), Just(60), Just(3600), 1..100_000_u64];
    prop_oneof![4 => seconds.prop_map(Duration::from_secs), 2 => (1..SECOND).prop_map(Duration::from_nanos), 2 => (1..5000_u64).prop_map(Duration::from_nanos)]
}

fn maxima() -> impl Strategy<Value = u32> {
    prop_oneof![1..4_u32, 60..70_u32, 1..2000_u32]
}

proptest! {
    #[test]
    fn no_window_holds_more(seed: u64, max in maxima(), length in windows()) {
        let quota = window(max, length);
        let mut subject = Subject::new();
        let mut offers = moments(seed, &quota, 4 * max as usize + 300);
        offers.retain(|now| subject.offer(&quota, *now));
        assert_promise(&offers, &quota);
    }

    #[test]
    fn few_are_counted_exactly(seed: u64, max in 1..=64_u32, length in windows()) {
        let quota = window(max, length);
        let (mut subject, mut model) = (Subject::new(), Vec::<u64>::new());
        for now in moments(seed, &quota, 1000) {
            model.retain(|moment| now - moment < nanos(length));
            let reset = model.first().map_or(0, |first| first + nanos(length) - now);
            prop_assert_eq!(subject.look(&quota, now), Standing::new(model.len() as u32, max, reset));
            if subject.offer(&quota, now) {
                model.push(now);
            }
        }
    }

    #[test]
    fn a_reset_is_true(seed: u64, max in maxima(), length in windows()) {
        let quota = window(max, length);
        let mut subject = Subject::new();
        for now in moments(seed, &quota, 3 * max as usize + 300) {
            assert_reset(|now| subject.look(&quota, now), now);
            subject.offer(&quota, now);
            assert_reset(|now| subject.look(&quota, now), now);
        }
    }

    #[test]
    fn another_maximum_keeps_what_was_counted(seed: u64, maxima in prop::collection::vec(maxima(), 2..10), length in windows()) {
        let mut rng = Rng::with_seed(seed);
        let (mut subject, mut admitted, mut now) = (Subject::new(), Vec::new(), 0);
        for max in maxima {
            let quota = window(max, length);
            for _ in 0..rng.usize(0..2 * max as usize) {
                now += gap(&mut rng, &quota).min(nanos(length) / 64);
                let in_window = admitted.iter().rev().take_while(|moment| now - **moment < nanos(length)).count();
                let standing = subject.look(&quota, now);
                prop_assert!(standing.used as usize >= in_window && standing.left <= max);
                assert_reset(|now| subject.look(&quota, now), now);
                if subject.offer(&quota, now) {
                    admitted.push(now);
                }
            }
        }
    }

    #[test]
    fn a_rate_is_a_leaking_bucket(seed: u64, max in maxima(), burst in 1..300_u32, length in windows()) {
        let quota = gcra(max, burst, length);
        let (interval, full) = (quota.interval(), quota.interval() * u64::from(burst));
        let (mut subject, mut level, mut then) = (Subject::new(), 0_u64, 0);
        let mut admitted = Vec::new();
        for now in moments(seed, &quota, 1000) {
            level = level.saturating_sub(now - then);
            then = now;
            assert_reset(|now| subject.look(&quota, now), now);
            let fits = level + interval <= full;
            prop_assert_eq!(subject.offer(&quota, now), fits);
            if fits {
                level += interval;
                admitted.push(now);
            }
            prop_assert_eq!(u64::from(subject.look(&quota, now).left), (full - level) / interval);
        }
        assert_rate(&admitted, &quota);
    }
}

/// Evenly spaced offers, as many in a window as the factor says, over ten windows: the part of what may pass.
fn share(quota: &Quota, start: u64, factor: u64) -> f64 {
    let (max, length) = (u64::from(quota.max), nanos(quota.window));
    let moment = |n: u64| start + (u128::from(n) * u128::from(length) / u128::from(max * factor)) as u64;
    let mut subject = Subject::new();
    let passed = (0..10 * max * factor).filter(|n| subject.offer(quota, moment(*n))).count();
    passed as f64 / (10 * max) as f64
}

#[test]
fn steady_traffic_gets_98_percent() {
    let maxima = [1, 2, 3, 5, 10, 32, 63, 64, 65, 66, 70, 80, 97, 100, 127, 128, 129, 200, 333, 1000, 10_000];
    for max in maxima {
        for (length, start) in [(1, 1), (7, 123_456_789), (60, 7), (3600, 1_111_111_111_111), (31_536_000, 987_654_321)]
        {
            for factor in [1, 2] {
                let quota = window(max, Duration::from_secs(length));
                let share = share(&quota, start, factor);
                assert!(share >= 0.985, "{share} of {max} in {length} s, offered {factor} times");
                let quota = gcra(max, max, Duration::from_secs(length));
                assert!(self::share(&quota, start, factor) >= 0.98, "a rate of {max} in {length} s");
            }
        }
    }
}

#[test]
fn any_number_from_1_to_500_gets_98_percent() {
    let least = (1..500).flat_map(|max| {
        let quota = window(max, Duration::from_secs(60));
        [1, 2].map(|factor| (share(&quota, 7_777_777, factor) * 1e4) as u32)
    });
    let least = least.min().unwrap();
    assert!(least >= 9850, "{least}");
}

#[test]
fn an_account_is_small() {
    assert_eq!(size_of::<Account>(), 24);
}

#[test]
fn who_comes_late_counts_with_the_newest() {
    for (max, before) in [(3, 1), (100, 80)] {
        let quota = window(max, Duration::from_secs(1));
        let mut subject = Subject::new();
        (0..before).for_each(|_| assert!(subject.offer(&quota, 5 * SECOND)));
        assert!(subject.offer(&quota, 4 * SECOND + 1));
        let (late, newest) = (subject.look(&quota, 4 * SECOND), subject.look(&quota, 5 * SECOND));
        assert_eq!((late.used, late.reset), (before + 1, newest.reset + Duration::from_secs(1)));
        assert_eq!(subject.look(&quota, 6 * SECOND - 1).used, before + 1);
        assert_eq!(subject.look(&quota, 6 * SECOND + SECOND / 60).used, 0);
    }
}

#[test]
fn after_a_calm_window_few_are_counted_exactly_again() {
    let quota = window(1000, Duration::from_secs(64));
    let mut subject = Subject::new();
    (0..1000).for_each(|n| assert!(subject.offer(&quota, n)));
    assert!(!subject.offer(&quota, 64 * SECOND));
    let heavy = subject.account.as_ref().unwrap().heap();
    assert!((520..=536).contains(&heavy), "{heavy}");
    assert!(subject.offer(&quota, 129 * SECOND + 5));
    assert_eq!(subject.account.as_ref().unwrap().heap(), 0);
    assert_eq!(subject.look(&quota, 193 * SECOND + 4).used, 1);
    assert_eq!(subject.look(&quota, 193 * SECOND + 5).used, 0);
}

#[test]
fn the_longest_windows_work_for_centuries() {
    let quota = window(2, Duration::from_secs(31_536_000));
    let mut subject = Subject::new();
    for year in 0..140 {
        let now = year * nanos(quota.window);
        let passed = (0..5).filter(|n| subject.offer(&quota, now + n)).count();
        assert_eq!(passed, 2, "{year}");
    }
}

#[test]
fn senseless_quotas_do_no_harm() {
    for length in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        for (max, burst) in [(0, 0), (1, u32::MAX), (u32::MAX, 1), (u32::MAX, u32::MAX)] {
            for quota in [window(max, length), gcra(max, burst, length)] {
                let mut subject = Subject::new();
                for now in (0..200).chain([u64::MAX / 4 - 1, u64::MAX / 4]) {
                    subject.offer(&quota, now);
                    subject.look(&quota, now);
                }
                assert!(quota.capacity() > 0 && nanos(quota.span()) > 0);
            }
        }
    }
}
