//! Whether a clock that ran out speaks against a service (SEMANTICS 7.1).
//!
//! A breaker is shared, and no client may open it for others by being slow. So a service fails by the clock only if it had
//! the request whole, and for a fair time: as long as the clock of the step gives it (`first_byte`; `idle` within an
//! answer), or half of the route's `timeout`, whichever is shorter. A request is whole when the last piece of its body
//! entered the pipe to the upstream: from then on nobody waits for the client. The time of a target begins with its
//! attempt, the time of the service with the first one.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The part of a route's `timeout` that is fair.
const FAIR_PART: u32 = 2;

/// Since when a request is whole, and what is fair.
#[derive(Default)]
pub struct Fairness {
    whole: Cell<Mark>,
    /// When the attempt under way began.
    asked: Cell<Mark>,
    /// What the step under way may take.
    patience: Cell<Duration>,
    /// The fair part of the route's timeout.
    part: Cell<Option<Duration>>,
}

/// Against whom something speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blame {
    /// The target of the attempt.
    pub target: bool,
    /// The service.
    pub service: bool,
}

/// When something happened. `Now` becomes a time when somebody looks at the clock anyway.
#[derive(Clone, Copy, Debug, Default)]
enum Mark {
    #[default]
    Never,
    Now,
    At(Instant),
}

impl Fairness {
    /// An attempt begins; a request without a body is whole.
    pub fn asked(&self, total: Option<Duration>, whole: bool) {
        self.asked.set(Mark::Now);
        self.part.set(total.map(|total| total / FAIR_PART));
        if whole {
            self.whole();
        }
    }

    /// The request is whole, perhaps since an earlier attempt.
    pub fn whole(&self) {
        if matches!(self.whole.get(), Mark::Never) {
            self.whole.set(Mark::Now);
        }
    }

    /// What the step that begins may take.
    pub fn step(&self, patience: Duration) {
        self.patience.set(patience);
    }

    /// Somebody looked at the clock.
    pub fn tick(&self, now: Instant) {
        self.whole.set(self.whole.get().at(now));
        self.asked.set(self.asked.get().at(now));
    }

    /// The request is over.
    pub fn forget(&self) {
        self.whole.set(Mark::Never);
    }

    /// Against whom it speaks that time was over then.
    pub fn judge(&self, then: Instant) -> Blame {
        let fair = self.part.get().map_or(self.patience.get(), |part| part.min(self.patience.get()));
        let had_it = |mark: Mark| mark.ago(then).is_some_and(|time| time >= fair);
        let service = had_it(self.whole.get());
        Blame { service, target: service && had_it(self.asked.get()) }
    }
}

impl Mark {
    fn at(self, now: Instant) -> Self {
        if let Mark::Now = self { Mark::At(now) } else { self }
    }

    fn ago(self, then: Instant) -> Option<Duration> {
        match self {
            Mark::Never => None,
            Mark::Now => Some(Duration::ZERO),
            Mark::At(time) => Some(then.saturating_duration_since(time)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NOBODY: Blame = Blame { target: false, service: false };
    const BOTH: Blame = Blame { target: true, service: true };

    fn asked(total: Option<u32>, whole: bool, patience: u32, now: Instant) -> Fairness {
        let fairness = Fairness::default();
        fairness.asked(total.map(|total| total * SECOND), whole);
        fairness.step(patience * SECOND);
        fairness.tick(now);
        fairness
    }

    #[test]
    fn a_request_that_is_not_whole_speaks_against_nobody() {
        let now = Instant::now();
        let fairness = asked(Some(4), false, 1, now);
        assert_eq!(fairness.judge(now + 100 * SECOND), NOBODY);
        fairness.whole();
        assert_eq!(fairness.judge(now + 100 * SECOND), NOBODY, "it was whole at that moment");
        fairness.tick(now + 100 * SECOND);
        assert_eq!(fairness.judge(now + 100 * SECOND), NOBODY);
        assert_eq!(fairness.judge(now + 101 * SECOND), BOTH);
    }

    #[test]
    fn fair_is_the_steps_patience_or_half_of_the_timeout() {
        let now = Instant::now();
        for (total, patience, fair) in [(None, 3, 3), (Some(4), 3, 2), (Some(10), 3, 3)] {
            let fairness = asked(total, true, patience, now);
            let judged = [fair - 1, fair].map(|seconds| fairness.judge(now + seconds * SECOND));
            assert_eq!(judged, [NOBODY, BOTH], "{total:?} {patience}");
        }
    }

    #[test]
    fn a_later_attempt_has_a_time_of_its_own_and_the_service_had_both() {
        let now = Instant::now();
        let fairness = asked(Some(10), true, 2, now);
        fairness.asked(Some(10 * SECOND), true);
        fairness.tick(now + 2 * SECOND);
        assert_eq!(fairness.judge(now + 3 * SECOND), Blame { target: false, service: true });
        assert_eq!(fairness.judge(now + 4 * SECOND), BOTH);
        fairness.forget();
        assert_eq!(fairness.judge(now + 9 * SECOND), NOBODY);
    }
}
