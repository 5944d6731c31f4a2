//! Whether a failed attempt is made again, and when.
//!
//! A retry needs three things: conditions that allow it (what happened, to which method), a token of the service's
//! budget, and time left to wait and to try. It waits a random part of a time that doubles (full jitter), on top of what
//! the upstream asked for in `Retry-After`. Only seconds are read there: a date is as if nothing had been asked, since the
//! two clocks may differ by more than the wait.
//!
//! The budget's promise: each request earns `share` of a retry and each second earns `floor`; what was earned fades with
//! the time constant `saved`, so it never holds more than that many seconds of the busiest time's earnings. In any window
//!
//! ```text
//! retries <= what was saved when it began + share * requests + floor * seconds
//! ```
//!
//! and counted from the start, what was saved is `floor * saved`. So under an even load, with a share of 0.2, the requests
//! that reach targets stay under 1.25 times the clients' plus the floor in each window of at least four times `saved`.
//! Saving is what carries a service over the moment when one of its n targets freezes: at an even load the timeouts of a
//! try are all made good if that time is at most `saved * ln(1 / (1 - share * n))`, and however long it is for share * n > 1.
//!
//! Known inaccuracy: time counts in tenths of a second (and stands still after 13 years), tokens in thousandths, rounded
//! down. An earning below half a thousandth of a retry is none.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, StatusCode};

/// What a service's requests may spend on retries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    /// The part of a retry that each request earns.
    pub share: f64,
    /// The retries that each second earns, whatever the traffic. A floor that earns less than one in the time of `saved`
    /// never allows a retry by itself.
    pub floor: u32,
    /// The time in which savings fade to about a third.
    pub saved: Duration,
}

impl Default for Allowance {
    fn default() -> Self {
        Allowance { share: 0.2, floor: 10, saved: Duration::from_secs(5) }
    }
}

/// A service's tokens for retries, in one word: no lock, and no two threads ever spend the same one.
#[derive(Debug)]
pub struct Budget {
    start: Instant,
    /// What one request earns, in thousandths.
    earned: u32,
    /// What the floor alone saves in the long run, in thousandths.
    idle: f64,
    /// The time in which savings fade, in ticks.
    fade: f64,
    savings: AtomicU64,
}

const TICK: Duration = Duration::from_millis(100);
const RETRY: u32 = 1000;

/// The tokens there were at a tick.
#[derive(Debug, Clone, Copy)]
struct Savings {
    tick: u32,
    thousandths: u32,
}

impl Savings {
    fn packed(self) -> u64 {
        (u64::from(self.tick) << 32) | u64::from(self.thousandths)
    }

    fn unpacked(word: u64) -> Self {
        Savings { tick: (word >> 32) as u32, thousandths: word as u32 }
    }
}

impl Budget {
    /// A budget that begins with what the floor alone would have saved.
    pub fn new(allowance: Allowance, start: Instant) -> Self {
        let idle = f64::from(allowance.floor) * allowance.saved.as_secs_f64() * f64::from(RETRY);
        Budget {
            start,
            earned: (allowance.share * f64::from(RETRY)).round() as u32,
            idle,
            fade: allowance.saved.as_secs_f64() / TICK.as_secs_f64(),
            savings: AtomicU64::new(Savings { tick: 0, thousandths: idle as u32 }.packed()),
        }
    }

    /// A client's request has come.
    pub fn deposit(&self, now: Instant) {
        self.update(now, |tokens| Some(tokens.saturating_add(self.earned)));
    }

    /// Takes a retry's token, if there is one.
    pub fn take(&self, now: Instant) -> bool {
        self.update(now, |tokens| tokens.checked_sub(RETRY))
    }

    fn update(&self, now: Instant, change: impl Fn(u32) -> Option<u32>) -> bool {
        let tick =
            (now.saturating_duration_since(self.start).as_millis() / TICK.as_millis()).min(u32::MAX.into()) as u32;
        let changed = self.savings.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let savings = self.faded(Savings::unpacked(word), tick);
            change(savings.thousandths).map(|thousandths| Savings { thousandths, ..savings }.packed())
        });
        changed.is_ok()
    }

    fn faded(&self, savings: Savings, tick: u32) -> Savings {
        let passed = tick.saturating_sub(savings.tick);
        if passed == 0 {
            return savings;
        }
        let kept = (-f64::from(passed) / self.fade).exp();
        let thousandths = self.idle + (f64::from(savings.thousandths) - self.idle) * kept;
        Savings { tick, thousandths: thousandths as u32 }
    }
}

/// How long to wait before a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait before the first retry; it doubles with each.
    pub base: Duration,
    /// The longest wait of all.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { base: Duration::from_millis(25), cap: Duration::from_secs(1) }
    }
}

impl Backoff {
    /// A wait before a retry: a random part of the longest there may be after so many retries.
    pub fn delay(&self, retries: u32, random: u64) -> Duration {
        let factor = 1_u32.checked_shl(retries).unwrap_or(u32::MAX);
        part(self.base.saturating_mul(factor).min(self.cap), random)
    }

    /// The wait before a retry if it ends in the time left, with what the upstream asked for (`Retry-After`).
    pub fn wait(&self, retries: u32, random: u64, asked: Option<&HeaderValue>, left: Duration) -> Option<Duration> {
        let asked = asked.and_then(retry_after).unwrap_or_default();
        Some(asked.saturating_add(self.delay(retries, random))).filter(|wait| *wait < left)
    }
}

/// A part of a time, by a number that is evenly random among all.
pub fn part(whole: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(((u128::from(nanos) * u128::from(random)) >> 64) as u64)
}

fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let digits =
        value.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(Duration::from_secs(digits.parse().unwrap_or(u64::MAX)))
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection came about (TLS included): nothing was sent.
    Connect,
    /// The target declared that it did not process the request (HTTP/2).
    Refused,
    /// The connection ended before a response's head.
    Reset,
    /// No response's head came in the time of one attempt.
    Timeout,
    /// A response said so.
    Status(StatusCode),
}

impl Failure {
    /// Whether a retry after it costs a token: where no target has acted on the request, it does not.
    pub fn costs(self) -> bool {
        !matches!(self, Failure::Connect | Failure::Refused)
    }

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Failure::Connect => "connect",
            Failure::Refused => "refused",
            Failure::Reset => "reset",
            Failure::Timeout => "timeout",
            Failure::Status(StatusCode::BAD_GATEWAY) => "502",
            Failure::Status(StatusCode::SERVICE_UNAVAILABLE) => "503",
            Failure::Status(StatusCode::GATEWAY_TIMEOUT) => "504",
            Failure::Status(_) => "status",
        }
    }
}

/// Which requests may reach an upstream twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeatable {
    /// Those whose method makes it harmless.
    Idempotent,
    /// Also those with an `Idempotency-Key`.
    Keyed,
    /// All: the upstream is known to bear it.
    All,
}

/// Which failures are worth a retry, and of which requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    /// After a failed connect, or when the target did not process the request, for any method.
    pub connect: bool,
    /// After a reset.
    pub reset: bool,
    /// After an attempt's timeout.
    pub timeout: bool,
    /// After these statuses.
    pub statuses: Box<[StatusCode]>,
    /// Which requests, when the upstream may have acted on them already.
    pub repeatable: Repeatable,
}

impl Default for Conditions {
    fn default() -> Self {
        let statuses = [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
        let repeatable = Repeatable::Idempotent;
        Conditions { connect: true, reset: true, timeout: true, statuses: statuses.into(), repeatable }
    }
}

impl Conditions {
    /// Whether a request that failed so is worth a retry; `keyed` tells whether it has an `Idempotency-Key`.
    pub fn allow(&self, failure: Failure, method: &Method, keyed: impl FnOnce() -> bool) -> bool {
        match failure {
            Failure::Connect | Failure::Refused => self.connect,
            Failure::Reset => self.reset && self.may_repeat(method, keyed),
            Failure::Timeout => self.timeout && self.may_repeat(method, keyed),
            Failure::Status(status) => self.statuses.contains(&status) && self.may_repeat(method, keyed),
        }
    }

    fn may_repeat(&self, method: &Method, keyed: impl FnOnce() -> bool) -> bool {
        match self.repeatable {
            Repeatable::All => true,
            Repeatable::Keyed => method.is_idempotent() || keyed(),
            Repeatable::Idempotent => method.is_idempotent(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokens(budget: &Budget, now: Instant) -> f64 {
        budget.update(now, Some);
        f64::from(Savings::unpacked(budget.savings.load(Ordering::Relaxed)).thousandths) / f64::from(RETRY)
    }

    /// The budget as it is written down: everything ever earned or spent, each faded by its age.
    struct Model {
        allowance: Allowance,
        entries: Vec<(u64, f64)>,
    }

    impl Model {
        fn tokens(&self, tick: u64) -> f64 {
            let fade = self.allowance.saved.as_secs_f64() * 10.0;
            let idle = f64::from(self.allowance.floor) * self.allowance.saved.as_secs_f64();
            idle + self.entries.iter().map(|(at, tokens)| tokens * (-((tick - at) as f64) / fade).exp()).sum::<f64>()
        }
    }

    fn allowance() -> impl Strategy<Value = Allowance> {
        (0_u32..500, 0_u32..20, 1_u64..12).prop_map(|(share, floor, saved)| Allowance {
            share: f64::from(share) / 1000.0,
            floor,
            saved: Duration::from_secs(saved),
        })
    }

    /// Requests (true) and retries asked for (false), and the milliseconds before each.
    fn traffic() -> impl Strategy<Value = Vec<(bool, u64)>> {
        let gap = prop_oneof![6 => Just(0_u64), 3 => 0_u64..300, 1 => 0_u64..20_000];
        proptest::collection::vec((any::<bool>(), gap), 1..300)
    }

    proptest! {
        #[test]
        fn the_budget_is_the_model(allowance in allowance(), traffic in traffic()) {
            let start = Instant::now();
            let (budget, mut model) = (Budget::new(allowance, start), Model { allowance, entries: vec![] });
            let mut millis = 0;
            for (request, gap) in traffic {
                millis += gap;
                let (now, tick) = (start + Duration::from_millis(millis), millis / 100);
                let there = model.tokens(tick);
                if request {
                    budget.deposit(now);
                    model.entries.push((tick, allowance.share));
                } else if budget.take(now) {
                    prop_assert!(there >= 0.999, "a token of {there}");
                    model.entries.push((tick, -1.0));
                } else {
                    prop_assert!(there < 1.13, "no token of {there}");
                }
                let (there, wanted) = (tokens(&budget, now), model.tokens(tick));
                // What rounding loses at each tick fades too.
                prop_assert!(there <= wanted + 0.001 && there >= wanted - 0.13, "{there} instead of {wanted}");
            }
        }

        #[test]
        fn the_promise_holds_in_every_window(allowance in allowance(), traffic in traffic()) {
            let start = Instant::now();
            let budget = Budget::new(allowance, start);
            let mut windows: Vec<(u64, f64, u32, u32)> = vec![];
            let mut millis = 0;
            for (request, gap) in traffic {
                millis += gap;
                let now = start + Duration::from_millis(millis);
                windows.push((millis, tokens(&budget, now), 0, 0));
                let retry = !request && budget.take(now);
                if request {
                    budget.deposit(now);
                }
                for (begin, saved, requests, retries) in &mut windows {
                    *requests += u32::from(request);
                    *retries += u32::from(retry);
                    let seconds = (millis - *begin + 100) as f64 / 1000.0;
                    let most = *saved + allowance.share * f64::from(*requests) + f64::from(allowance.floor) * seconds;
                    prop_assert!(f64::from(*retries) <= most + 0.001, "{retries} instead of {most}");
                }
            }
        }

        #[test]
        fn a_delay_is_a_part_of_what_doubles(base in 0_u64..10_000, cap in 0_u64..100_000, retries in 0_u32..200, random: u64) {
            let backoff = Backoff { base: Duration::from_millis(base), cap: Duration::from_millis(cap) };
            let longest = (0..retries).fold(u128::from(base), |wait, _| (wait * 2).min(1 << 64)).min(cap.into()) as u64;
            let longest = Duration::from_millis(longest);
            let delay = backoff.delay(retries, random);
            prop_assert!(delay <= longest, "{delay:?} of {longest:?}");
            let wanted = longest.as_secs_f64() * (random as f64 / 2_f64.powi(64));
            prop_assert!((delay.as_secs_f64() - wanted).abs() < 1e-6, "{delay:?} instead of {wanted}");
        }

        #[test]
        fn no_wait_is_as_long_as_the_time_left(asked in "[0-9]{0,25}|[ -~]{0,10}", left in 0_u64..100_000, random: u64) {
            let (asked, left) = (HeaderValue::from_str(&asked).unwrap(), Duration::from_millis(left));
            if let Some(wait) = Backoff::default().wait(3, random, Some(&asked), left) {
                prop_assert!(wait < left);
                prop_assert!(wait >= retry_after(&asked).unwrap_or_default());
            }
        }
    }

    /// Clients at an even rate, first well served, then all failed, each with as many retries as it can get.
    fn storm(rate: u64, calm: u64, storm: u64) -> (u64, u64) {
        let start = Instant::now();
        let budget = Budget::new(Allowance::default(), start);
        let now = |request: u64| start + Duration::from_nanos(request * 1_000_000_000 / rate);
        (0..calm * rate).for_each(|request| budget.deposit(now(request)));
        let failed = calm * rate..(calm + storm) * rate;
        let retries = failed.map(|request| {
            budget.deposit(now(request));
            (0..3).filter(|_| budget.take(now(request))).count() as u64
        });
        (storm * rate, retries.sum())
    }

    #[test]
    fn in_a_storm_targets_get_less_than_a_quarter_more() {
        let floor = u64::from(Allowance::default().floor);
        for rate in [1, 10, 100, 2000] {
            for seconds in [20, 40, 60] {
                let (requests, retries) = storm(rate, 60, seconds);
                let most = requests / 4 + floor * (seconds + 5);
                assert!(retries <= most, "{retries} retries of {requests} requests at {rate} per second");
            }
            let (requests, retries) = storm(rate, 0, 3);
            assert!(
                retries <= requests / 5 + floor * (3 + 5),
                "{retries} retries of {requests} requests from the start"
            );
        }
    }

    #[test]
    fn what_is_saved_bridges_the_timeouts_of_a_frozen_target() {
        let (rate, start) = (2000, Instant::now());
        let lasts = |targets: u64| {
            let budget = Budget::new(Allowance { floor: 0, ..Allowance::default() }, start);
            let now = |request: u64| start + Duration::from_nanos(request * 1_000_000_000 / rate);
            (0..60 * rate).for_each(|request| budget.deposit(now(request)));
            let missed = (60 * rate..120 * rate).find(|request| {
                budget.deposit(now(*request));
                request % targets == 0 && !budget.take(now(*request))
            });
            missed.map(|request| (request / (rate / 10)) as f64 / 10.0 - 60.0)
        };
        let formula = |targets: f64| 5.0 * (1.0 / (1.0 - 0.2 * targets)).ln();
        assert!((lasts(2).unwrap() - formula(2.0)).abs() < 0.2, "{:?}", lasts(2));
        assert!((lasts(3).unwrap() - formula(3.0)).abs() < 0.2, "{:?}", lasts(3));
        assert_eq!(lasts(6), None);
    }

    #[test]
    fn threads_never_spend_a_token_twice() {
        let (start, requests) = (Instant::now(), 20_000);
        let budget = Budget::new(Allowance { share: 0.2, floor: 0, saved: Duration::from_secs(3600) }, start);
        let taken: usize = std::thread::scope(|scope| {
            let spend = || {
                (0..requests).filter(|_| {
                    budget.deposit(start);
                    budget.take(start)
                })
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(move || spend().count())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, requests * 4 / 5);
    }

    #[test]
    fn a_retry_after_in_seconds_is_waited_for_if_it_fits() {
        let (backoff, left) = (Backoff::default(), Duration::from_secs(5));
        let wait = |text| backoff.wait(0, 0, Some(&HeaderValue::from_static(text)), left);
        assert_eq!(wait("0"), Some(Duration::ZERO));
        assert_eq!(wait("4"), Some(Duration::from_secs(4)));
        assert_eq!([wait("5"), wait("6"), wait("99999999999999999999999")], [None; 3]);
        for unread in ["", "+1", "-1", "1.5", " 1", "Fri, 31 Dec 1999 23:59:59 GMT"] {
            assert_eq!(wait(unread), Some(Duration::ZERO), "{unread}");
        }
        assert_eq!(backoff.wait(0, 0, None, Duration::ZERO), None);
        let waits = backoff.wait(1, u64::MAX / 2, Some(&HeaderValue::from_static("1")), left);
        assert_eq!(waits.map(|wait| wait.as_micros().next_multiple_of(1000)), Some(1_025_000));
    }

    #[test]
    fn only_what_is_worth_a_retry_is_retried() {
        let conditions = Conditions::default();
        let retried: Vec<u16> = (100..1000)
            .filter(|code| {
                conditions.allow(Failure::Status(StatusCode::from_u16(*code).unwrap()), &Method::GET, || false)
            })
            .collect();
        assert_eq!(retried, [502, 503, 504]);
        let failures = [Failure::Connect, Failure::Refused, Failure::Reset, Failure::Timeout];
        assert_eq!(failures.map(|failure| conditions.allow(failure, &Method::GET, || false)), [true; 4]);
        let deaf = Conditions { connect: false, reset: false, timeout: false, ..Conditions::default() };
        assert_eq!(failures.map(|failure| deaf.allow(failure, &Method::GET, || false)), [false; 4]);
    }

    #[test]
    fn what_may_have_been_acted_on_is_only_repeated_where_that_is_harmless() {
        let retried = |repeatable, failure, keyed| {
            let conditions = Conditions { repeatable, ..Conditions::default() };
            let methods = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "CONNECT", "PURGE"];
            let allowed =
                |name: &&str| conditions.allow(failure, &Method::from_bytes(name.as_bytes()).unwrap(), || keyed);
            methods.iter().filter(|name| allowed(name)).count()
        };
        for failure in [Failure::Reset, Failure::Timeout, Failure::Status(StatusCode::SERVICE_UNAVAILABLE)] {
            assert_eq!([false, true].map(|keyed| retried(Repeatable::Idempotent, failure, keyed)), [6, 6]);
            assert_eq!([false, true].map(|keyed| retried(Repeatable::Keyed, failure, keyed)), [6, 10]);
            assert_eq!([false, true].map(|keyed| retried(Repeatable::All, failure, keyed)), [10, 10]);
        }
        for failure in [Failure::Connect, Failure::Refused] {
            assert_eq!(retried(Repeatable::Idempotent, failure, false), 10);
        }
        assert_eq!(retried(Repeatable::All, Failure::Status(StatusCode::INTERNAL_SERVER_ERROR), true), 0);
    }
}
