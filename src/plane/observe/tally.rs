//! Counting without locks or look-ups, and the way from counts to the `prometheus` crate's families.
//!
//! The crate's own labelled metrics look a label set up under a lock and cannot forget a route that is gone while a
//! request of it still runs; these can, because what is shown is decided by whoever collects.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::core::Desc;
use prometheus::proto;
use prometheus::proto::{LabelPair, MetricFamily, MetricType};

/// Counts by key, in a table of fixed size with open addressing. Keys that find no place are counted together.
pub(super) struct Tally<K, const N: usize> {
    cells: [OnceLock<(K, AtomicU64)>; N],
    overflow: AtomicU64,
}

impl<K, const N: usize> Default for Tally<K, N> {
    fn default() -> Self {
        Tally { cells: [const { OnceLock::new() }; N], overflow: AtomicU64::new(0) }
    }
}

impl<K: Copy + PartialEq, const N: usize> Tally<K, N> {
    /// Counts a key; the search for its cell begins at `hint`. Only a key's first time may wait, for another key's first.
    pub fn add(&self, hint: usize, key: K) {
        let (before, from) = self.cells.split_at(hint % N);
        for cell in from.iter().chain(before) {
            let (held, count) = cell.get_or_init(|| (key, AtomicU64::new(0)));
            if *held == key {
                count.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        self.overflow.fetch_add(1, Ordering::Relaxed);
    }

    /// All counts; None is the key of those that found no place.
    pub fn counts(&self) -> impl Iterator<Item = (Option<K>, u64)> {
        let overflow = self.overflow.load(Ordering::Relaxed);
        let counted = self.cells.iter().filter_map(OnceLock::get);
        counted
            .map(|(key, count)| (Some(*key), count.load(Ordering::Relaxed)))
            .chain((overflow > 0).then_some((None, overflow)))
    }
}

/// The upper bounds of the buckets, in microseconds: half a millisecond to a minute.
const BOUNDS: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000, 60_000_000,
];

/// A histogram of durations. The count is the sum of the buckets, so a scrape is always consistent with itself.
/// The sum and the buckets of what is usual are in one line of the processor's cache.
#[derive(Default)]
#[repr(C, align(64))]
pub(super) struct Durations {
    microseconds: AtomicU64,
    buckets: [AtomicU64; BOUNDS.len() + 1],
}

impl Durations {
    pub fn observe(&self, duration: Duration) {
        let microseconds = duration.as_micros() as u64;
        let at = BOUNDS.iter().position(|bound| microseconds <= *bound).unwrap_or(BOUNDS.len());
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    fn histogram(&self) -> proto::Histogram {
        let mut total = 0;
        let cumulative = self.buckets.each_ref().map(|bucket| {
            total += bucket.load(Ordering::Relaxed);
            total
        });
        let bucket = |(count, bound): (&u64, &u64)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_cumulative_count(*count);
            bucket.set_upper_bound(seconds(*bound));
            bucket
        };
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(cumulative.iter().zip(&BOUNDS).map(bucket).collect());
        histogram.set_sample_count(total);
        histogram.set_sample_sum(seconds(self.microseconds.load(Ordering::Relaxed)));
        histogram
    }

    /// As a metric with one label.
    pub fn metric(&self, label: &str, value: &str) -> proto::Metric {
        let mut metric = proto::Metric::from_label(labels(&[(label, value)]));
        metric.set_histogram(self.histogram());
        metric
    }
}

fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}

/// A metric's description, for the registry to find duplicates by.
pub(super) fn describe(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Desc> {
    Desc::new(name.into(), help.into(), labels.iter().map(|label| label.to_string()).collect(), HashMap::new())
}

/// A counter's or gauge's value under its labels.
pub(crate) fn sample(label: &[(&str, &str)], kind: MetricType, value: f64) -> proto::Metric {
    let mut metric = proto::Metric::from_label(labels(label));
    if kind == MetricType::COUNTER {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

/// All metrics of one name.
pub(crate) fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<proto::Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.into());
    family.set_help(help.into());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).into());
        pair.set_value((*value).into());
        pair
    };
    pairs.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn keys_without_a_place_are_counted_together() {
        let tally = Tally::<u16, 4>::default();
        for key in [1, 5, 9, 2, 1, 7, 8, 7] {
            tally.add(key.into(), key);
        }
        let counts: BTreeMap<_, _> = tally.counts().collect();
        assert_eq!(counts, BTreeMap::from([(None, 3), (Some(1), 2), (Some(2), 1), (Some(5), 1), (Some(9), 1)]));
    }

    proptest! {
        #[test]
        fn counts_like_a_map(keys in prop::collection::vec((0u16..20, any::<usize>()), 0..200)) {
            let (tally, mut model) = (Tally::<u16, 32>::default(), BTreeMap::new());
            let hints: BTreeMap<u16, usize> = keys.iter().copied().collect();
            for (key, _) in keys {
                tally.add(hints[&key], key);
                *model.entry(Some(key)).or_insert(0) += 1;
            }
            prop_assert_eq!(tally.counts().collect::<BTreeMap<_, _>>(), model);
        }

        #[test]
        fn a_bucket_counts_what_is_at_most_its_bound(micros in prop::collection::vec(0u64..100_000_000, 0..50)) {
            let durations = Durations::default();
            micros.iter().for_each(|micros| durations.observe(Duration::from_micros(*micros)));
            let histogram = durations.histogram();
            for bucket in histogram.get_bucket() {
                let slow = micros.iter().filter(|micros| seconds(**micros) <= bucket.upper_bound()).count();
                prop_assert_eq!(bucket.cumulative_count(), slow as u64);
            }
            prop_assert_eq!(histogram.get_sample_count(), micros.len() as u64);
            prop_assert!((histogram.get_sample_sum() - seconds(micros.iter().sum())).abs() < 1e-6);
        }
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let durations = Durations::default();
        durations.observe(Duration::from_micros(500));
        assert_eq!(durations.histogram().get_bucket()[0].cumulative_count(), 1);
    }
}
