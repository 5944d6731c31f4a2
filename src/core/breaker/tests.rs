use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A breaker, its own clock, and what its observer heard.
struct Bench {
    breaker: Arc<Breaker>,
    now: Instant,
    heard: Arc<Mutex<Vec<Transition>>>,
}

impl Bench {
    fn new(policy: Policy) -> Self {
        let (now, heard) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        let ear = Arc::clone(&heard);
        let breaker = Arc::new(Breaker::new(policy, now, move |transition| ear.lock().unwrap().push(transition)));
        Bench { breaker, now, heard }
    }

    fn admit(&self) -> Permit {
        self.breaker.admit(Asker::default(), self.now).unwrap_or_else(|open| panic!("refused: {open:?}"))
    }

    fn refusal(&self) -> Duration {
        let refused = self.breaker.admit(Asker::default(), self.now).err().expect("refused");
        assert_eq!(self.breaker.look(Asker::default(), self.now), Err(refused));
        refused.retry_after
    }

    fn request(&self, verdict: Verdict) {
        self.admit().settle(verdict, self.now);
    }

    fn fail(&self, times: usize) {
        (0..times).for_each(|_| self.request(Verdict::Failure));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn state(&self) -> State {
        self.breaker.state(self.now)
    }

    fn heard(&self) -> Vec<Transition> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }
}

#[test]
fn the_way_around_by_default() {
    let mut bench = Bench::new(Policy::default());
    bench.fail(4);
    bench.request(Verdict::Success);
    bench.fail(4);
    bench.request(Verdict::Neutral);
    assert_eq!(bench.state(), State::Closed);
    bench.fail(1);
    assert_eq!((bench.state(), bench.refusal()), (State::Open, 60 * SECOND));
    bench.pass(59 * SECOND);
    assert_eq!(bench.refusal(), SECOND);
    bench.pass(SECOND);
    assert_eq!((bench.state(), bench.breaker.look(Asker::default(), bench.now)), (State::HalfOpen, Ok(())));
    bench.request(Verdict::Success);
    assert_eq!(bench.state(), State::HalfOpen);
    bench.request(Verdict::Success);
    assert_eq!(bench.state(), State::Closed);
    let heard = [Transition::Opened { wait: 60 * SECOND }, Transition::HalfOpened, Transition::Closed];
    assert_eq!(bench.heard(), heard);
    assert_eq!(heard.map(Transition::state), [State::Open, State::HalfOpen, State::Closed]);
}

#[test]
fn the_wait_doubles_to_its_cap_and_is_short_again_once_closed() {
    let mut bench = Bench::new(Policy { success_threshold: 1, ..Policy::default() });
    bench.fail(5);
    for wait in [60, 120, 240, 480, 600, 600] {
        assert_eq!(bench.refusal(), wait * SECOND);
        bench.pass(wait * SECOND);
        bench.fail(1);
    }
    bench.pass(600 * SECOND);
    bench.request(Verdict::Success);
    bench.fail(5);
    assert_eq!(bench.refusal(), 60 * SECOND);
    bench.breaker.reset();
    bench.fail(5);
    assert_eq!(bench.refusal(), 60 * SECOND);
}

#[test]
fn one_probe_at_a_time_whose_slot_comes_back() {
    let mut bench = Bench::new(Policy::default());
    bench.fail(5);
    bench.pass(60 * SECOND);
    let probe = bench.admit();
    assert!(probe.is_probe());
    assert_eq!(bench.refusal(), Duration::ZERO);
    drop(probe);
    bench.request(Verdict::Neutral);
    let mut streaming = bench.admit();
    streaming.tell_early(Verdict::Success, bench.now);
    assert!(bench.admit().is_probe());
    drop(streaming);
    assert_eq!(bench.state(), State::HalfOpen);
}

const UPLOAD: Asker = Asker { route: 0, uploads: true };

#[test]
fn an_upload_holds_no_slot_and_is_the_probe_when_it_is_whole() {
    let mut bench = Bench::new(Policy { success_threshold: 1, ..Policy::default() });
    let upload = |bench: &Bench| bench.breaker.admit(UPLOAD, bench.now);
    let half_open = |bench: &mut Bench| {
        bench.fail(5);
        bench.pass(60 * SECOND);
    };
    half_open(&mut bench);
    let stalled = upload(&bench).unwrap();
    assert_eq!(upload(&bench).err().map(|open| open.retry_after), Some(SECOND / 10));
    bench.pass(SECOND / 10);
    let mut whole = upload(&bench).unwrap();
    whole.arrived(|| bench.now);
    assert_eq!(bench.refusal(), Duration::ZERO);
    assert!(upload(&bench).is_err());
    whole.settle(Verdict::Success, bench.now);
    assert_eq!(bench.state(), State::Closed);
    stalled.settle(Verdict::Failure, bench.now);
    assert_eq!(bench.state(), State::Closed);

    half_open(&mut bench);
    let (late, probe) = (upload(&bench).unwrap(), bench.admit());
    late.settle(Verdict::Failure, bench.now);
    assert_eq!(bench.state(), State::HalfOpen, "there is another probe");
    drop(probe);
    bench.pass(SECOND / 10);
    upload(&bench).unwrap().settle(Verdict::Neutral, bench.now);
    bench.pass(SECOND / 10);
    let mut answered = upload(&bench).unwrap();
    answered.tell_early(Verdict::Failure, bench.now);
    assert_eq!(bench.state(), State::Open);
}

#[test]
fn routes_that_did_well_probe_before_others() {
    let of = |route| Asker { route, uploads: false };
    let request =
        |bench: &Bench, route, verdict| bench.breaker.admit(of(route), bench.now).unwrap().settle(verdict, bench.now);
    let passes = |bench: &Bench| [1, 2, 3].map(|route| bench.breaker.look(of(route), bench.now).is_ok());
    let mut bench = Bench::new(Policy { success_threshold: 2, ..Policy::default() });
    request(&bench, 1, Verdict::Success);
    request(&bench, 2, Verdict::Success);
    (0..5).for_each(|_| request(&bench, 3, Verdict::Failure));
    assert_eq!(passes(&bench), [false; 3]);
    bench.pass(60 * SECOND);
    assert_eq!(passes(&bench), [true, true, false]);
    assert_eq!(bench.breaker.look(of(3), bench.now), Err(Open { retry_after: 10 * SECOND }));
    bench.pass(10 * SECOND);
    assert_eq!(passes(&bench), [true; 3], "after a while anybody may");
    // Whose probe fails has to wait behind the others next time; where none is left, nobody has to.
    request(&bench, 1, Verdict::Failure);
    bench.pass(120 * SECOND);
    assert_eq!(passes(&bench), [false, true, false]);
    request(&bench, 2, Verdict::Failure);
    bench.pass(240 * SECOND);
    assert_eq!(passes(&bench), [true; 3]);
    request(&bench, 3, Verdict::Success);
    assert_eq!(passes(&bench), [false, false, true]);
    request(&bench, 3, Verdict::Success);
    assert_eq!(bench.state(), State::Closed);
    // Another time, another row.
    (0..5).for_each(|_| request(&bench, 1, Verdict::Failure));
    bench.pass(60 * SECOND);
    assert_eq!(passes(&bench), [false, false, true]);
}

#[test]
fn a_late_failure_of_a_probe_is_one_more() {
    let mut bench = Bench::new(Policy { failures: Failures::Consecutive(2), ..Policy::default() });
    let half_open = |bench: &mut Bench| {
        bench.breaker.reset();
        bench.fail(2);
        bench.pass(60 * SECOND);
    };
    let told = |bench: &Bench, verdict| {
        let mut probe = bench.admit();
        probe.tell_early(verdict, bench.now);
        probe
    };
    half_open(&mut bench);
    let first = told(&bench, Verdict::Success);
    let probe = bench.admit();
    first.settle(Verdict::Failure, bench.now);
    assert_eq!(bench.refusal(), 120 * SECOND, "opens again");
    probe.settle(Verdict::Failure, bench.now);
    assert_eq!(bench.refusal(), 120 * SECOND, "the other probe is of an older generation");

    half_open(&mut bench);
    let first = told(&bench, Verdict::Success);
    let second = told(&bench, Verdict::Success);
    assert_eq!(bench.state(), State::Closed);
    first.settle(Verdict::Failure, bench.now);
    bench.fail(1);
    assert_eq!(bench.state(), State::Closed, "what did not close it is of an older generation");
    second.settle(Verdict::Failure, bench.now);
    assert_eq!(bench.state(), State::Open);

    half_open(&mut bench);
    let failed = told(&bench, Verdict::Failure);
    bench.pass(120 * SECOND);
    let _probe = bench.admit();
    failed.settle(Verdict::Failure, bench.now);
    assert_eq!(bench.state(), State::HalfOpen, "the same failure does not count twice");
}

#[test]
fn only_probes_are_told_early() {
    let bench = Bench::new(Policy::default());
    for _ in 0..5 {
        let mut request = bench.admit();
        request.tell_early(Verdict::Success, bench.now);
        assert!(!request.is_probe());
        request.settle(Verdict::Failure, bench.now);
    }
    assert_eq!(bench.state(), State::Open);
}

#[test]
fn a_lost_probe_is_replaced_and_not_heard() {
    let mut bench = Bench::new(Policy { success_threshold: 1, ..Policy::default() });
    bench.fail(5);
    bench.pass(60 * SECOND);
    let [lost, mut lost_too] = [0, 1].map(|_| {
        let probe = bench.admit();
        bench.pass(59 * SECOND);
        assert_eq!(bench.refusal(), Duration::ZERO);
        bench.pass(SECOND);
        probe
    });
    let probe = bench.admit();
    lost.settle(Verdict::Failure, bench.now);
    lost_too.tell_early(Verdict::Success, bench.now);
    lost_too.settle(Verdict::Failure, bench.now);
    assert_eq!((bench.state(), bench.refusal()), (State::HalfOpen, Duration::ZERO));
    bench.pass(120 * SECOND);
    probe.settle(Verdict::Success, bench.now);
    assert_eq!(bench.state(), State::Closed, "late, but nobody took its place");
}

#[test]
fn a_reset_forgets_everything() {
    let mut bench = Bench::new(Policy::default());
    bench.fail(4);
    let old = bench.admit();
    bench.breaker.reset();
    bench.fail(4);
    old.settle(Verdict::Failure, bench.now);
    assert_eq!(bench.state(), State::Closed);
    bench.fail(1);
    bench.pass(60 * SECOND);
    let old_probe = bench.admit();
    bench.breaker.reset();
    old_probe.settle(Verdict::Failure, bench.now);
    assert_eq!(bench.state(), State::Closed);
    let opened = [Transition::Opened { wait: 60 * SECOND }, Transition::HalfOpened];
    assert_eq!(bench.heard(), [&[Transition::Reset], &opened[..], &[Transition::Reset]].concat());
}

fn by_ratio(rate: f64, min_requests: u32) -> Policy {
    let failures = Failures::Ratio { rate: Rate::new(rate).unwrap(), window: 16 * SECOND, min_requests };
    Policy { failures, ..Policy::default() }
}

#[test]
fn a_ratio_needs_a_volume_and_a_failure() {
    let bench = Bench::new(by_ratio(0.07, 100));
    bench.fail(6);
    (0..93).for_each(|_| bench.request(Verdict::Success));
    (0..9).for_each(|_| bench.request(Verdict::Neutral));
    assert_eq!(bench.state(), State::Closed);
    bench.fail(1);
    assert_eq!(bench.state(), State::Open, "7 of 100 are 0.07");
}

#[test]
fn a_ratio_is_that_of_its_window() {
    let mut bench = Bench::new(by_ratio(0.5, 4));
    bench.fail(3);
    bench.pass(16 * SECOND);
    bench.fail(3);
    assert_eq!(bench.state(), State::Closed);
    bench.pass(15 * SECOND);
    bench.fail(1);
    assert_eq!(bench.state(), State::Open);
}

#[test]
fn a_full_slot_keeps_its_ratio() {
    let start = Instant::now();
    let slots = window::Window::new(16 * SECOND, start);
    (0..400_000).for_each(|n| slots.count(7, n % 4 == 0, start));
    let window::Tally { verdicts, failures } = slots.sum(7, start);
    assert!((131_072..262_144).contains(&verdicts), "{verdicts}");
    assert!((verdicts / 4).abs_diff(failures) <= 2, "{failures} of {verdicts}");
}

#[test]
fn a_slot_is_empty_to_other_times_and_generations() {
    let start = Instant::now();
    let slots = window::Window::new(16 * SECOND, start);
    slots.count(7, true, start);
    let sums = [(7, 0), (7, 15), (7, 16), (8, 0)].map(|(generation, at)| slots.sum(generation, start + at * SECOND));
    assert_eq!(sums.map(|sum| sum.failures), [1, 1, 0, 0]);
}

#[test]
fn a_rate_is_a_part() {
    assert!([f64::NAN, -0.1, 0.0, 1.001, f64::INFINITY].iter().all(|part| Rate::new(*part).is_none()));
    assert!([f64::MIN_POSITIVE, 0.5, 1.0].iter().all(|part| Rate::new(*part).is_some()));
}

#[test]
fn no_time_is_too_long_and_no_clock_too_far_back() {
    let policy = Policy {
        timeout: Duration::MAX,
        max_timeout: SECOND,
        probe_timeout: Duration::MAX,
        failures: Failures::Consecutive(0),
        ..Policy::default()
    };
    let mut bench = Bench::new(policy);
    bench.fail(1);
    bench.now = bench.now.checked_sub(SECOND).unwrap();
    assert_eq!(bench.refusal(), Duration::MAX);
    let window = window::Window::new(Duration::MAX, bench.now);
    window.count(0, true, bench.now.checked_sub(SECOND).unwrap());
    assert_eq!(window.sum(0, bench.now), window::Tally { verdicts: 1, failures: 1 });
}

/// What may happen to a breaker. An index picks one of the permits in hand.
#[derive(Clone, Debug)]
enum Event {
    Admit,
    Settle(Index, Verdict),
    TellEarly(Index, Verdict),
    Drop(Index),
    Lose(Index),
    Pass(u64),
    Reset,
}

/// The rules as a table, slow and obvious. Time is in milliseconds.
struct Model {
    policy: Policy,
    now: u64,
    stands: Stands,
    /// Of what happened to be admitted when: grows with every opening, closing and reset.
    era: usize,
    probes: usize,
    heard: Vec<Transition>,
}

enum Stands {
    Closed { verdicts: Vec<(u64, bool)> },
    Open { until: u64, wait: u64 },
    HalfOpen { wait: u64, successes: u32, probe: Option<(usize, u64)> },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Held {
    Ordinary { era: usize },
    Probe { number: usize },
    Told { era: usize },
    Void,
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

impl Model {
    fn new(policy: Policy) -> Self {
        let stands = Stands::Closed { verdicts: Vec::new() };
        Model { policy, now: 0, stands, era: 0, probes: 0, heard: Vec::new() }
    }

    fn look(&self) -> Result<(), u64> {
        match &self.stands {
            Stands::Closed { .. } | Stands::HalfOpen { probe: None, .. } => Ok(()),
            Stands::Open { until, .. } if *until <= self.now => Ok(()),
            Stands::Open { until, .. } => Err(until - self.now),
            Stands::HalfOpen { probe: Some((_, since)), .. } => {
                if self.now - since >= millis(self.policy.probe_timeout) { Ok(()) } else { Err(0) }
            }
        }
    }

    fn state(&self) -> State {
        match &self.stands {
            Stands::Closed { .. } => State::Closed,
            Stands::Open { until, .. } if *until > self.now => State::Open,
            _ => State::HalfOpen,
        }
    }

    fn admit(&mut self) -> Result<Held, u64> {
        self.look()?;
        if let Stands::Open { wait, .. } = self.stands {
            self.heard.push(Transition::HalfOpened);
            self.stands = Stands::HalfOpen { wait, successes: 0, probe: None };
        }
        match &mut self.stands {
            Stands::HalfOpen { probe, .. } => {
                self.probes += 1;
                *probe = Some((self.probes, self.now));
                Ok(Held::Probe { number: self.probes })
            }
            _ => Ok(Held::Ordinary { era: self.era }),
        }
    }

    fn open(&mut self, wait: u64) {
        self.era += 1;
        self.stands = Stands::Open { until: self.now + wait, wait };
        self.heard.push(Transition::Opened { wait: Duration::from_millis(wait) });
    }

    fn close(&mut self, transition: Transition) {
        self.era += 1;
        self.stands = Stands::Closed { verdicts: Vec::new() };
        self.heard.push(transition);
    }

    fn longer(&self, wait: u64) -> u64 {
        (wait * 2).min(millis(self.policy.max_timeout))
    }

    /// A verdict that belongs to the present era.
    fn count(&mut self, failed: bool) {
        match &mut self.stands {
            Stands::Closed { verdicts } => {
                verdicts.push((self.now, failed));
                if failed && is_enough(self.policy.failures, verdicts, self.now) {
                    self.open(millis(self.policy.timeout));
                }
            }
            Stands::HalfOpen { wait, .. } if failed => {
                let wait = *wait;
                self.open(self.longer(wait));
            }
            _ => {}
        }
    }

    /// The verdict of a probe; whether it was heard.
    fn probed(&mut self, number: usize, verdict: Verdict) -> bool {
        let Stands::HalfOpen { successes, probe, .. } = &mut self.stands else { return false };
        if probe.map(|(of, _)| of) != Some(number) {
            return false;
        }
        *probe = None;
        match verdict {
            Verdict::Neutral => {}
            Verdict::Failure => self.count(true),
            Verdict::Success if *successes + 1 == self.policy.success_threshold => self.close(Transition::Closed),
            Verdict::Success => *successes += 1,
        }
        true
    }

    fn settle(&mut self, held: Held, verdict: Verdict) {
        match (held, verdict) {
            (Held::Probe { number }, _) => _ = self.probed(number, verdict),
            (Held::Ordinary { era }, Verdict::Success) if era == self.era => self.count(false),
            (Held::Ordinary { era } | Held::Told { era }, Verdict::Failure) if era == self.era => self.count(true),
            _ => {}
        }
    }

    fn tell_early(&mut self, held: Held, verdict: Verdict) -> Held {
        let Held::Probe { number } = held else { return held };
        let heard = self.probed(number, verdict);
        if heard && verdict != Verdict::Failure { Held::Told { era: self.era } } else { Held::Void }
    }
}

fn is_enough(failures: Failures, verdicts: &[(u64, bool)], now: u64) -> bool {
    match failures {
        Failures::Consecutive(threshold) => {
            verdicts.iter().rev().take_while(|(_, failed)| *failed).count() >= threshold as usize
        }
        Failures::Ratio { rate, window, min_requests } => {
            let sixteenth = |time: u64| time / (millis(window) / 16);
            let recent: Vec<_> = verdicts.iter().filter(|(at, _)| sixteenth(*at) + 16 > sixteenth(now)).collect();
            let failed = recent.iter().filter(|(_, failed)| *failed).count();
            recent.len() >= min_requests as usize && failed as f64 / recent.len() as f64 >= rate.0
        }
    }
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![3 => Just(Verdict::Success), 4 => Just(Verdict::Failure), 1 => Just(Verdict::Neutral)]
}

fn event() -> impl Strategy<Value = Event> {
    let permit = any::<Index>;
    prop_oneof![
        10 => Just(Event::Admit),
        10 => (permit(), verdict()).prop_map(|(permit, verdict)| Event::Settle(permit, verdict)),
        4 => (permit(), verdict()).prop_map(|(permit, verdict)| Event::TellEarly(permit, verdict)),
        1 => permit().prop_map(Event::Drop),
        1 => permit().prop_map(Event::Lose),
        5 => prop_oneof![0..300_u64, (0..40_u64).prop_map(|tenths| tenths * 100)].prop_map(Event::Pass),
        1 => prop::bool::weighted(0.2).prop_map(|reset| if reset { Event::Reset } else { Event::Admit }),
    ]
}

prop_compose! {
    fn policy()(
        ratio in any::<bool>(), threshold in 1..4_u32, min_requests in 0..6_u32, rate in 1..=10_u32,
        success_threshold in 1..4_u32, timeout in 1..10_u64, max in 10..40_u64, probe_timeout in 1..20_u64,
    ) -> Policy {
        let rate = Rate::new(f64::from(rate) / 10.0).unwrap();
        let window = Duration::from_millis(1600);
        let ratio = ratio.then_some(Failures::Ratio { rate, window, min_requests });
        let tenths = |n| Duration::from_millis(100 * n);
        Policy {
            failures: ratio.unwrap_or(Failures::Consecutive(threshold)),
            success_threshold,
            timeout: tenths(timeout),
            max_timeout: tenths(max),
            probe_timeout: tenths(probe_timeout),
        }
    }
}

/// A breaker and its model side by side, with the permits in hand of both. The last to be admitted is at the front,
/// where shrinking looks first.
struct Pair {
    bench: Bench,
    model: Model,
    permits: VecDeque<(Permit, Held)>,
}

impl Pair {
    fn new(policy: Policy) -> Self {
        Pair { bench: Bench::new(policy), model: Model::new(policy), permits: VecDeque::new() }
    }

    fn take(&mut self, index: &Index) -> Option<(Permit, Held)> {
        let len = self.permits.len();
        (len > 0).then(|| self.permits.remove(index.index(len)).unwrap())
    }

    fn admit(&mut self) {
        let (permit, held) = (self.bench.breaker.admit(Asker::default(), self.bench.now), self.model.admit());
        match (permit, held) {
            (Ok(permit), Ok(held)) => {
                assert_eq!(permit.is_probe(), matches!(held, Held::Probe { .. }));
                self.permits.push_front((permit, held));
            }
            (Err(open), Err(left)) => assert_eq!(open.retry_after, Duration::from_millis(left)),
            (permit, held) => panic!("admitted: {}, model: {held:?}", permit.is_ok()),
        }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Admit => self.admit(),
            Event::Pass(time) => {
                self.bench.pass(Duration::from_millis(*time));
                self.model.now += time;
            }
            Event::Reset => {
                self.bench.breaker.reset();
                self.model.close(Transition::Reset);
            }
            Event::Settle(index, verdict) => {
                let Some((permit, held)) = self.take(index) else { return };
                permit.settle(*verdict, self.bench.now);
                self.model.settle(held, *verdict);
            }
            Event::TellEarly(index, verdict) => {
                let Some((mut permit, held)) = self.take(index) else { return };
                permit.tell_early(*verdict, self.bench.now);
                let held = self.model.tell_early(held, *verdict);
                self.permits.push_back((permit, held));
            }
            Event::Drop(index) => {
                let Some((permit, held)) = self.take(index) else { return };
                drop(permit);
                self.model.settle(held, Verdict::Neutral);
            }
            Event::Lose(index) => self.take(index).into_iter().for_each(|(permit, _)| std::mem::forget(permit)),
        }
    }

    fn compare(&self) {
        assert_eq!(self.bench.state(), self.model.state());
        let look = self.bench.breaker.look(Asker::default(), self.bench.now).map_err(|open| millis(open.retry_after));
        assert_eq!(look, self.model.look());
        assert_eq!(*self.bench.heard.lock().unwrap(), self.model.heard);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn it_does_what_the_rules_say(policy in policy(), events in vec(event(), 1..200)) {
        let mut pair = Pair::new(policy);
        for event in &events {
            pair.apply(event);
            pair.compare();
        }
    }
}
