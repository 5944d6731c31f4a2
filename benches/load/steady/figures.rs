//! What was measured, and its quantiles.

use std::time::Duration;

/// What was measured. Every latency is kept, so that quantiles are exact.
pub(crate) struct Figures {
    pub(crate) latencies: Vec<Duration>,
    pub(crate) lags: Vec<Duration>,
    pub(crate) failed: usize,
    pub(crate) wrong: usize,
    pub(crate) elapsed: Duration,
}

impl Figures {
    pub(crate) fn new(count: usize) -> Self {
        let [latencies, lags] = [(); 2].map(|()| Vec::with_capacity(count));
        Self { latencies, lags, failed: 0, wrong: 0, elapsed: Duration::ZERO }
    }

    pub(crate) fn answered(&mut self, latency: Duration, status: u16) {
        self.latencies.push(latency);
        self.wrong += usize::from(status >= 400);
    }

    pub(crate) fn failed(&mut self, latency: Duration) {
        self.latencies.push(latency);
        self.failed += 1;
    }

    pub(crate) fn to_json(&self) -> String {
        let (requests, seconds) = (self.latencies.len(), self.elapsed.as_secs_f64());
        let at = |millionths| micros(quantile(&self.latencies, millionths));
        let points: Vec<_> = quantiles().map(|point| format!("[{},{:.1}]", point as f64 / 1e6, at(point))).collect();
        format!(
            "{{\"requests\":{requests},\"failed\":{},\"wrong\":{},\"seconds\":{seconds:.3},\"rate\":{:.1},\"lag_us\":{:.1},\
             \"p50\":{:.1},\"p90\":{:.1},\"p99\":{:.1},\"p999\":{:.1},\"max\":{:.1},\"distribution\":[{}]}}",
            self.failed,
            self.wrong,
            (requests - self.failed) as f64 / seconds,
            micros(quantile(&self.lags, 990_000)),
            at(500_000),
            at(900_000),
            at(990_000),
            at(999_000),
            at(1_000_000),
            points.join(",")
        )
    }
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// The least of the sorted times that so many of them do not exceed.
pub(crate) fn quantile(sorted: &[Duration], millionths: usize) -> Duration {
    let rank = (sorted.len() * millionths).div_ceil(1_000_000);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// From 0 to 0.9999 in millionths, closer and closer together.
fn quantiles() -> impl Iterator<Item = usize> {
    let decades = [10_000_usize, 1_000, 100, 10].into_iter();
    let steps = |decade| [100, 70, 50, 40, 30, 20, 15].map(move |step| 1_000_000 - step * decade);
    decades.flat_map(steps).chain([999_900])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_quantiles_from_the_times_themselves() {
        let times: Vec<_> = (1..=1000).map(Duration::from_micros).collect();
        let at = |millionths| quantile(&times, millionths).as_micros();
        assert_eq!([0, 500_000, 500_001, 999_000, 999_900, 1_000_000].map(at), [1, 500, 501, 999, 1000, 1000]);
        assert_eq!(quantile(&[], 500_000), Duration::ZERO);
        let points: Vec<_> = quantiles().collect();
        assert!(points.is_sorted() && points.contains(&990_000) && points.contains(&999_000));
    }
}
