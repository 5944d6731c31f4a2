//! The promises, against slow and obvious models.

mod accounts;
mod ledgers;
mod tables;

use fastrand::Rng;

use super::quota::nanos;
use super::*;
use std::time::Duration;

fn window(max: u32, window: Duration) -> Quota {
    Quota { max, window, algorithm: Algorithm::Window }
}

fn gcra(max: u32, burst: u32, window: Duration) -> Quota {
    Quota { max, window, algorithm: Algorithm::Gcra { burst } }
}

/// Gaps between requests, of all kinds: none, the tiniest, evenly spaced, about a slot, about a window.
fn gap(rng: &mut Rng, quota: &Quota) -> u64 {
    let length = nanos(quota.window);
    let even = quota.interval();
    match rng.u8(0..24) {
        0..4 => 0,
        4 => 1,
        5..11 => rng.u64(0..=even),
        11..14 => even,
        14..16 => rng.u64(0..=3 * even),
        16 => length / 128,
        17 => rng.u64(0..=length / 64),
        18 => length,
        19 => length - 1,
        20 => length - length / 128,
        21 => rng.u64(0..=length),
        22 => rng.u64(0..=even / 8),
        _ => rng.u64(0..=3 * length),
    }
}

/// Moments of requests, beginning anywhere. Gaps of one kind come in rows.
fn moments(seed: u64, quota: &Quota, count: usize) -> Vec<u64> {
    let mut rng = Rng::with_seed(seed);
    let mut now = rng.u64(0..1 << 60);
    let mut moments = Vec::with_capacity(count);
    while moments.len() < count {
        let (row, same, jitter) = (rng.usize(1..=count / 4), gap(&mut rng, quota), rng.bool());
        for _ in 0..row {
            now += if jitter { rng.u64(0..=2 * same) } else { same };
            moments.push(now);
        }
    }
    moments
}

/// No window that begins with an admitted request (so none at all) holds more than it may.
fn assert_promise(admitted: &[u64], quota: &Quota) {
    let max = quota.max as usize;
    for (first, beyond) in admitted.iter().zip(admitted.get(max..).unwrap_or_default()) {
        assert!(beyond - first >= nanos(quota.window), "{} of {quota:?} from {first} to {beyond}", max + 1);
    }
}

/// No time holds more than a burst and what comes at the rate.
fn assert_rate(admitted: &[u64], quota: &Quota) {
    for (index, first) in admitted.iter().enumerate() {
        let burst = quota.capacity() as usize;
        for (beyond, last) in admitted[index..].iter().enumerate().skip(burst).take(200) {
            let regained = (beyond + 1 - burst) as u64 * quota.interval();
            assert!(last - first >= regained, "{} of {quota:?} from {first} to {last}", beyond + 1);
        }
    }
}

/// What a reset says is true to the nanosecond.
fn assert_reset(look: impl Fn(u64) -> Standing, now: u64) {
    let standing = look(now);
    let reset = nanos(standing.reset);
    assert_eq!(standing.admitted, standing.left > 0, "{standing:?}");
    assert_eq!(reset == 0, standing.used == 0, "{standing:?}");
    if reset > 0 {
        let (before, after) = (look(now + reset - 1), look(now + reset));
        assert_eq!(before.left, standing.left, "{standing:?} {before:?}");
        assert!(after.left > standing.left && after.admitted, "{standing:?} {after:?}");
    }
}
