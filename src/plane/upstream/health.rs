//! What the active health checks of one target say.
//!
//! ```text
//!            rise good                 a slow answer
//!  unknown ------------> healthy <---------------------> degraded
//!     |                     |         a quick answer        |
//!     | fall bad            | fall bad                      | fall bad
//!     v                     v                               |
//!  unhealthy <--------------+-------------------------------+
//!     |
//!     +--- rise good ---> healthy, or degraded if the last of them was slow
//! ```
//!
//! Good and bad ones count in a row. All but the unhealthy are available, also who was not checked yet. Known inaccuracy: one
//! answer decides between healthy and degraded, so a target whose answers take about the settable time goes to and fro.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use gatekeeper_core::health::State;
use gatekeeper_core::retry::part;

/// When a target's state changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// So many good checks in a row make it healthy.
    pub rise: u32,
    /// So many bad checks in a row make it unhealthy.
    pub fall: u32,
    /// A good answer that took longer is slow.
    pub slow: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds { rise: 2, fall: 3, slow: Duration::from_secs(1) }
    }
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered as it should, in this time.
    Good(Duration),
    /// It did not.
    Bad,
}

/// A change of a target's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
}

/// What the checks of a target have found so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Findings {
    /// What it is.
    pub state: State,
    /// When it was last checked.
    pub last_check: Option<Instant>,
    /// How long its latest good answer took.
    pub response_time: Option<Duration>,
    /// Bad checks.
    pub error_count: u64,
    /// Good checks.
    pub success_count: u64,
    /// How many of the latest came out alike.
    in_a_row: u32,
    latest_good: bool,
}

impl Findings {
    fn count(&mut self, outcome: Outcome, now: Instant) {
        let good = matches!(outcome, Outcome::Good(_));
        self.in_a_row = if good == self.latest_good { self.in_a_row.saturating_add(1) } else { 1 };
        self.latest_good = good;
        self.last_check = Some(now);
        match outcome {
            Outcome::Good(took) => (self.response_time, self.success_count) = (Some(took), self.success_count + 1),
            Outcome::Bad => self.error_count += 1,
        }
    }

    fn next(&self, outcome: Outcome, thresholds: &Thresholds) -> State {
        match (self.state, outcome) {
            (_, Outcome::Bad) if self.in_a_row >= thresholds.fall => State::Unhealthy,
            (State::Unknown | State::Unhealthy, Outcome::Good(_)) if self.in_a_row < thresholds.rise => self.state,
            (_, Outcome::Good(took)) if took > thresholds.slow => State::Degraded,
            (_, Outcome::Good(_)) => State::Healthy,
            (state, Outcome::Bad) => state,
        }
    }
}

/// The health of one target: written by its checker, read by all requests. It outlives a change of the thresholds.
#[derive(Debug)]
pub struct Health {
    available: AtomicBool,
    findings: Mutex<Findings>,
}

impl Default for Health {
    /// A target that was not checked yet.
    fn default() -> Self {
        Health { available: AtomicBool::new(true), findings: Mutex::default() }
    }
}

impl Health {
    /// Whether it may get requests.
    pub fn is_available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }

    /// Counts a check. The change of state, if that is the consequence.
    pub fn observe(&self, outcome: Outcome, thresholds: &Thresholds, now: Instant) -> Option<Transition> {
        let mut findings = self.findings.lock();
        findings.count(outcome, now);
        let (from, to) = (findings.state, findings.next(outcome, thresholds));
        findings.state = to;
        self.available.store(to != State::Unhealthy, Ordering::Relaxed);
        (from != to).then_some(Transition { from, to })
    }

    /// What was found so far.
    pub fn findings(&self) -> Findings {
        *self.findings.lock()
    }
}

/// The time to the next check: the interval, longer or shorter by a random part of the jitter (at most the interval), so
/// that the checks of many targets do not keep step.
pub fn next_delay(interval: Duration, jitter: Duration, random: u64) -> Duration {
    let jitter = jitter.min(interval);
    (interval - jitter).saturating_add(part(jitter.saturating_mul(2), random))
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Degraded, Healthy, Unhealthy, Unknown};
    use proptest::prelude::*;

    const QUICK: Outcome = Outcome::Good(Duration::from_millis(100));
    const SLOW: Outcome = Outcome::Good(Duration::from_millis(101));
    const BAD: Outcome = Outcome::Bad;

    fn thresholds(rise: u32, fall: u32) -> Thresholds {
        Thresholds { rise, fall, slow: Duration::from_millis(100) }
    }

    fn outcomes(text: &str) -> impl Iterator<Item = Outcome> {
        text.chars().map(|letter| match letter {
            'q' => QUICK,
            's' => SLOW,
            _ => BAD,
        })
    }

    /// From a state, reached by these checks, by these further ones (quick, slow, bad) to a state.
    #[test]
    fn each_transition_is_as_drawn() {
        let table = [
            ("", "", Unknown, Unknown),
            ("", "q", Unknown, Unknown),
            ("", "bb", Unknown, Unknown),
            ("", "qbbqbbqb", Unknown, Unknown),
            ("", "qq", Unknown, Healthy),
            ("", "sq", Unknown, Healthy),
            ("", "qs", Unknown, Degraded),
            ("", "bbb", Unknown, Unhealthy),
            ("", "qbbb", Unknown, Unhealthy),
            ("qq", "q", Healthy, Healthy),
            ("qq", "bb", Healthy, Healthy),
            ("qq", "bbqbb", Healthy, Healthy),
            ("qq", "s", Healthy, Degraded),
            ("qq", "bbs", Healthy, Degraded),
            ("qq", "bbb", Healthy, Unhealthy),
            ("ss", "s", Degraded, Degraded),
            ("ss", "bb", Degraded, Degraded),
            ("ss", "q", Degraded, Healthy),
            ("ss", "bbb", Degraded, Unhealthy),
            ("bbb", "b", Unhealthy, Unhealthy),
            ("bbb", "q", Unhealthy, Unhealthy),
            ("bbb", "s", Unhealthy, Unhealthy),
            ("bbb", "qbqb", Unhealthy, Unhealthy),
            ("bbb", "qq", Unhealthy, Healthy),
            ("bbb", "qs", Unhealthy, Degraded),
        ];
        for (before, then, from, to) in table {
            let (health, thresholds) = (Health::default(), thresholds(2, 3));
            outcomes(before).for_each(|outcome| _ = health.observe(outcome, &thresholds, Instant::now()));
            assert_eq!(health.findings().state, from, "{before}");
            let mut changes = outcomes(then).filter_map(|outcome| health.observe(outcome, &thresholds, Instant::now()));
            let wanted = (from != to).then_some(Transition { from, to });
            assert_eq!((changes.next(), changes.next()), (wanted, None), "{before} {then}");
            assert_eq!(health.is_available(), to != Unhealthy, "{before} {then}");
        }
    }

    #[test]
    fn what_was_found_is_kept() {
        let (health, thresholds, start) = (Health::default(), thresholds(2, 3), Instant::now());
        assert_eq!(health.findings(), Findings::default());
        assert!(health.is_available());
        let at = |n: u32| start + Duration::from_secs(n.into());
        outcomes("qsbb").zip(0..).for_each(|(outcome, n)| _ = health.observe(outcome, &thresholds, at(n)));
        let found = health.findings();
        assert_eq!((found.last_check, found.response_time), (Some(at(3)), Some(Duration::from_millis(101))));
        assert_eq!((found.success_count, found.error_count), (2, 2));
    }

    proptest! {
        /// The state by the whole history, read backwards at each check.
        #[test]
        fn the_state_follows_from_the_history(checks in "[qsb]{0,60}", rise in 1_usize..4, fall in 1_usize..4) {
            let (health, mut state) = (Health::default(), Unknown);
            let thresholds = thresholds(rise as u32, fall as u32);
            for end in 1..=checks.len() {
                let history = &checks[..end];
                let good = history.len() - history.trim_end_matches(['q', 's']).len();
                let bad = history.len() - history.trim_end_matches('b').len();
                let answers = matches!(state, Healthy | Degraded);
                let next = match &history[end - 1..] {
                    "b" => if bad >= fall { Unhealthy } else { state },
                    "q" => if answers || good >= rise { Healthy } else { state },
                    _ => if answers || good >= rise { Degraded } else { state },
                };
                let change = (next != state).then_some(Transition { from: state, to: next });
                let observed = outcomes(&history[end - 1..]).find_map(|outcome| health.observe(outcome, &thresholds, Instant::now()));
                prop_assert_eq!(observed, change);
                state = next;
                prop_assert_eq!((health.findings().state, health.is_available()), (state, state != Unhealthy));
            }
        }

        #[test]
        fn a_delay_is_the_interval_give_or_take_the_jitter(interval in 0_u32..1_000_000, jitter in 0_u32..2_000_000, random: u64) {
            let (interval, jitter) = (Duration::from_millis(interval.into()), Duration::from_millis(jitter.into()));
            let delay = next_delay(interval, jitter, random).as_secs_f64();
            let part = random as f64 / 2_f64.powi(63) - 1.0;
            let wanted = interval.as_secs_f64() + jitter.min(interval).as_secs_f64() * part;
            prop_assert!((delay - wanted).abs() < 1e-6, "{delay} instead of {wanted}");
        }
    }

    #[test]
    fn no_interval_and_no_jitter_are_too_much() {
        assert_eq!(next_delay(Duration::ZERO, Duration::MAX, u64::MAX), Duration::ZERO);
        assert!(next_delay(Duration::MAX, Duration::MAX, u64::MAX) > Duration::from_secs(1 << 32));
    }
}
