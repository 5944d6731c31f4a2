//! A rule's table: what is remembered, forgotten and taken together.

use std::collections::HashMap;
use std::time::Instant;

use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

use super::super::sketch::Sketch;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A subject's key, as mixed as a hash.
fn key(subject: u64) -> u64 {
    (subject + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

fn offer(table: &Table, quota: &Quota, subject: u64, now: Instant) -> bool {
    let key = key(subject);
    let mut shard = table.shard(key).lock();
    let now = table.moment(now);
    let (standing, found) = shard.look(key, quota, now);
    standing.admitted && table.commit(&mut shard, key, found, quota, now).admitted
}

proptest! {
    /// With too little room, subjects go from accounts to sketches and back, and none is forgotten on the way.
    #[test]
    fn nobody_gets_more_for_want_of_room(
        seed: u64, max in 1..8_u32, burst in 1..8_u32, room in 1..12_u32, by_rate: bool,
    ) {
        let quota = if by_rate { gcra(max, burst, SECOND) } else { window(max, SECOND) };
        let (mut rng, start, mut now) = (Rng::with_seed(seed), Instant::now(), 0);
        let table = Table::new(quota, room, start);
        let mut admitted = HashMap::<u64, Vec<u64>>::new();
        for _ in 0..3000 {
            now += gap(&mut rng, &window(20, SECOND));
            let subject = rng.u64(0..20);
            if offer(&table, &quota, subject, start + Duration::from_nanos(now)) {
                admitted.entry(subject).or_default().push(now);
            }
            prop_assert!(table.subjects() <= room as usize);
        }
        for moments in admitted.values() {
            if by_rate { assert_rate(moments, &quota) } else { assert_promise(moments, &quota) }
        }
    }

    #[test]
    fn a_sketch_counts_the_current_interval_and_the_one_before(seed: u64, max in 1..50_u32) {
        let (quota, fewer) = (window(max, SECOND), window(max / 2, SECOND));
        let mut sketch = Sketch::new(16, 0);
        let mut model = HashMap::<u64, u32>::new();
        for now in moments(seed, &quota, 500) {
            let interval = now / nanos(SECOND);
            let standing = sketch.look(1, &quota, now);
            let counted = |interval| model.get(&interval).copied().unwrap_or(0);
            prop_assert_eq!(standing.used, counted(interval) + counted(interval.saturating_sub(1)));
            assert_reset(|now| sketch.look(1, &quota, now), now);
            assert_reset(|now| sketch.look(1, &fewer, now), now);
            if standing.admitted {
                sketch.commit(1, &quota, now);
                *model.entry(interval).or_default() += 1;
            }
        }
    }
}

#[test]
fn who_is_limited_is_never_forgotten() {
    let (quota, start) = (window(1, SECOND), Instant::now());
    let table = Table::new(quota, 1000, start);
    for subject in 0..1000 {
        assert!(offer(&table, &quota, subject, start));
    }
    assert_eq!((table.subjects(), table.overflowed()), (1000, 0));
    let others = (1000..100_000).filter(|subject| offer(&table, &quota, *subject, start + SECOND / 2)).count();
    assert!(others > 1000, "{others}");
    assert_eq!((table.subjects(), table.overflowed()), (1000, others as u64));
    assert!(table.memory() < (1000 * 76) + (1 << 20) + 16_384);
    for subject in 0..1000 {
        assert!(!offer(&table, &quota, subject, start + SECOND - Duration::from_nanos(1)));
    }
    // Then there is room again, for subjects that the sketches know nothing of any more.
    for subject in 200_000..200_500 {
        assert!(offer(&table, &quota, subject, start + 3 * SECOND), "{subject}");
    }
    assert_eq!((table.subjects() <= 1000, table.overflowed()), (true, others as u64));
}

#[test]
fn the_forgotten_make_room() {
    let (quota, start) = (window(5, 60 * SECOND), Instant::now());
    let table = Table::new(quota, 1_000_000, start);
    for subject in 0..300_000 {
        // 1000 subjects come in a second, so 60000 are in a window.
        assert!(offer(&table, &quota, subject, start + subject as u32 * SECOND / 1000));
    }
    assert!((60_000..200_000).contains(&table.subjects()), "{}", table.subjects());
    table.sweep(start + 300 * SECOND);
    assert_eq!(table.subjects(), 60_000 - 1);
    assert!(table.memory() < 60_000 * 76, "{}", table.memory());
    table.sweep(start + 400 * SECOND);
    assert_eq!(table.subjects(), 0);
    assert!(table.memory() < 16_384);
}

#[test]
fn a_rate_is_forgotten_when_it_is_whole_again() {
    let (quota, start) = (gcra(4, 2, SECOND), Instant::now());
    let table = Table::new(quota, 1000, start);
    (0..2).for_each(|_| assert!(offer(&table, &quota, 1, start)));
    table.sweep(start + SECOND / 2 - Duration::from_nanos(1));
    assert_eq!(table.subjects(), 1);
    table.sweep(start + SECOND / 2);
    assert_eq!(table.subjects(), 0);
}

#[test]
fn light_subjects_take_less_than_100_bytes() {
    for requests in [1, 2] {
        let (quota, start) = (window(1000, 60 * SECOND), Instant::now());
        let table = Table::new(quota, 1_000_000, start);
        for subject in 0..300_000 {
            (0..requests).for_each(|_| assert!(offer(&table, &quota, subject, start)));
            if subject > 10_000 && subject % 1000 == 0 {
                let each = table.memory() / table.subjects();
                assert!((45..62).contains(&each), "{each} bytes of {subject}");
            }
        }
    }
}

#[test]
fn a_table_holds_for_other_numbers() {
    let table = Table::new(gcra(5, 5, SECOND), 1000, Instant::now());
    assert!(table.holds_for(&gcra(7, 3, SECOND)));
    assert!(!table.holds_for(&gcra(5, 5, 2 * SECOND)));
    assert!(!table.holds_for(&window(5, SECOND)));
}
