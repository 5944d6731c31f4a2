//! A weighted choice among a few: exact shares, evenly mixed, without a lock.
//!
//! Tickets `0..total` are dealt in the order `n * stride mod total`. With a stride that has no common divisor with the
//! total, every ticket comes up once per round, so each share is exact after `total` choices; with a stride near the
//! golden ratio, neighbours in time lie far apart, so a heavy one is not served in bursts. Sticky choices take the
//! ticket from a hash instead of from the counter.

use std::sync::atomic::{AtomicU32, Ordering};

/// A weighted choice among `0..n`.
#[derive(Debug)]
pub struct Shares {
    /// The upper end of each one's tickets.
    ends: Box<[u32]>,
    total: u32,
    stride: u32,
    dealt: AtomicU32,
}

impl Shares {
    /// A choice by these weights; `None` if they are all zero (or add up to more than 32 bits).
    pub fn new(weights: &[u32]) -> Option<Self> {
        let mut total = 0u32;
        let mut ends = Vec::with_capacity(weights.len());
        for weight in reduced(weights) {
            total = total.checked_add(weight)?;
            ends.push(total);
        }
        if total == 0 {
            return None;
        }
        Some(Shares { ends: ends.into(), total, stride: stride(total), dealt: AtomicU32::new(0) })
    }

    /// The next one in turn.
    pub fn next(&self) -> usize {
        self.dealt_at(self.dealt.fetch_add(1, Ordering::Relaxed))
    }

    /// The one whose turn is next, which it remains.
    pub fn peek(&self) -> usize {
        self.dealt_at(self.dealt.load(Ordering::Relaxed))
    }

    fn dealt_at(&self, turn: u32) -> usize {
        self.owner((u64::from(turn) * u64::from(self.stride) % u64::from(self.total)) as u32)
    }

    /// The one that belongs to this hash, always the same.
    pub fn of_hash(&self, hash: u64) -> usize {
        self.owner((hash % u64::from(self.total)) as u32)
    }

    /// Whether one has a share at all.
    pub fn takes_part(&self, index: usize) -> bool {
        let begin = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(index).is_some_and(|end| *end > begin)
    }

    fn owner(&self, ticket: u32) -> usize {
        self.ends.partition_point(|end| *end <= ticket)
    }
}

/// The same shares in the smallest numbers.
pub fn reduced(weights: &[u32]) -> Vec<u32> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    weights.iter().map(|weight| weight / divisor).collect()
}

/// A hash that is the same in every process and version (FNV-1a, its bits mixed), for sticky choices.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

fn stride(total: u32) -> u32 {
    let near_golden = (f64::from(total) * 0.618_034) as u32;
    (near_golden.max(1)..).find(|stride| gcd(*stride, total) == 1).unwrap_or(1)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(shares: &Shares, n: usize, rounds: usize) -> Vec<usize> {
        let mut counts = vec![0; n];
        (0..rounds).for_each(|_| counts[shares.next()] += 1);
        counts
    }

    #[test]
    fn shares_are_exact_after_each_round() {
        for weights in [vec![1], vec![1, 1, 1], vec![5, 1, 4], vec![90, 10], vec![7, 0, 3], vec![1000, 1]] {
            let shares = Shares::new(&weights).unwrap();
            let counts = count(&shares, weights.len(), shares.total as usize * 3);
            let divisor = weights.iter().copied().fold(0, gcd);
            let wanted: Vec<usize> = weights.iter().map(|w| (w / divisor) as usize * 3).collect();
            assert_eq!(counts, wanted, "{weights:?}");
        }
    }

    #[test]
    fn a_heavy_one_is_not_served_in_bursts() {
        let shares = Shares::new(&[5, 5]).unwrap();
        assert_ne!(shares.next(), shares.next());
        let shares = Shares::new(&[7, 3]).unwrap();
        let longest = (0..100).map(|_| shares.next()).fold((0, 0), |(run, longest): (u32, u32), chosen| {
            let run = if chosen == 0 { run + 1 } else { 0 };
            (run, longest.max(run))
        });
        assert!(longest.1 <= 3, "a run of {}", longest.1);
    }

    #[test]
    fn who_has_no_weight_takes_no_part() {
        let shares = Shares::new(&[0, 3, 0, 1]).unwrap();
        assert_eq!([0, 1, 2, 3, 4].map(|index| shares.takes_part(index)), [false, true, false, true, false]);
    }

    #[test]
    fn no_weight_is_no_choice() {
        assert!(Shares::new(&[]).is_none());
        assert!(Shares::new(&[0, 0]).is_none());
        assert!(Shares::new(&[u32::MAX, u32::MAX - 1]).is_none());
    }

    #[test]
    fn a_hash_finds_the_same_one_and_the_shares_hold() {
        let shares = Shares::new(&[90, 10]).unwrap();
        let mut counts = [0; 2];
        for n in 0..10_000u32 {
            let hash = stable_hash(&n.to_be_bytes());
            assert_eq!(shares.of_hash(hash), shares.of_hash(hash));
            counts[shares.of_hash(hash)] += 1;
        }
        assert!((800..1200).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn the_stable_hash_is_stable() {
        assert_eq!(stable_hash(b""), 0xecba_3df2_c338_3c52);
        assert_eq!(stable_hash(b"user-1"), 0x37e1_a4c1_4b42_972d);
    }
}
