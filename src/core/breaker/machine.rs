//! The breaker's states and the permits of the requests that it lets pass.
//!
//! One word holds what the closed path needs: the generation, and the failures in a row or that the breaker is not
//! closed. A generation ends only under the lock, and failures are counted by compare-and-swap, so a verdict is counted in
//! its own generation or not at all. All else (waits, probes) is under the lock. The word publishes nothing, who finds it
//! tripped takes the lock: its order is relaxed.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::precedence::Routes;
use super::sync::{AtomicU64, Mutex};
use super::window::Window;
use super::{Asker, Failures, Open, Policy, State, Transition, Verdict};

/// The circuit breaker of one service.
pub struct Breaker {
    policy: Policy,
    word: AtomicU64,
    /// The verdicts of this while, if their ratio is what counts.
    window: Option<Window>,
    tripped: Mutex<Tripped>,
    routes: Routes,
    observer: Box<dyn Fn(Transition) + Send + Sync>,
}

/// Leave for one request. To be settled; if it is dropped, nothing was learnt.
#[must_use]
pub struct Permit {
    breaker: Arc<Breaker>,
    generation: u32,
    route: u64,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// A request of a closed breaker.
    Ordinary,
    /// The probe of this number, without a verdict yet.
    Probe(u64),
    /// One that has to be whole, or answered, before it can be a probe.
    Upload,
    /// A probe whose verdict was counted and was no failure.
    Told,
    /// All is said.
    Settled,
}

/// What `Breaker::word` holds.
#[derive(Clone, Copy)]
struct Word {
    generation: u32,
    /// Failures in a row, or `TRIPPED`.
    failures: u32,
}

/// Not closed. (Failures in a row stay below every threshold, so they never come to it.)
const TRIPPED: u32 = u32::MAX;

/// What there is to know of a breaker that is not closed.
struct Tripped {
    phase: Phase,
    /// The number of the last probe.
    probes: u64,
    /// The generation in which it was last closed.
    before: u32,
}

#[derive(Clone, Copy)]
enum Phase {
    Closed,
    Open { since: Instant, wait: Duration },
    HalfOpen { since: Instant, wait: Duration, successes: u32, probe: Option<Probe>, upload: Option<Instant> },
}

/// Between two uploads that a half-open breaker lets pass.
const BETWEEN_UPLOADS: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
struct Probe {
    number: u64,
    since: Instant,
}

impl Breaker {
    /// A closed breaker. The observer hears of every transition, in their order and under the breaker's lock: it must
    /// not call the breaker.
    pub fn new(policy: Policy, now: Instant, observer: impl Fn(Transition) + Send + Sync + 'static) -> Self {
        let window = match policy.failures {
            Failures::Consecutive(_) => None,
            Failures::Ratio { window, .. } => Some(Window::new(window, now)),
        };
        let tripped = Mutex::new(Tripped { phase: Phase::Closed, probes: 0, before: 0 });
        let routes = Routes::new();
        Breaker { policy, word: AtomicU64::new(0), window, tripped, routes, observer: Box::new(observer) }
    }

    /// Whether a request would pass now.
    pub fn look(&self, asker: Asker, now: Instant) -> Result<(), Open> {
        if self.word().is_closed() { Ok(()) } else { self.look_at(&self.tripped.lock(), asker, now) }
    }

    /// Lets a request pass, or not.
    pub fn admit(self: &Arc<Self>, asker: Asker, now: Instant) -> Result<Permit, Open> {
        let word = self.word();
        let (generation, role) =
            if word.is_closed() { (word.generation, Role::Ordinary) } else { self.admit_probe(asker, now)? };
        Ok(Permit { breaker: Arc::clone(self), generation, route: asker.route, role })
    }

    /// Where it stands.
    pub fn state(&self, now: Instant) -> State {
        if self.word().is_closed() { State::Closed } else { self.tripped.lock().phase.state(now) }
    }

    /// Closes it by hand and forgets all that was counted.
    pub fn reset(&self) {
        self.close(&mut self.tripped.lock(), Transition::Reset);
    }

    fn word(&self) -> Word {
        Word::unpack(self.word.load(Relaxed))
    }

    fn look_at(&self, tripped: &Tripped, asker: Asker, now: Instant) -> Result<(), Open> {
        let gives_way = || self.routes.gives_way(asker.route, tripped.before);
        let busy = tripped.phase.busy(&self.policy, asker.uploads, now);
        let retry_after = busy.or_else(|| tripped.phase.preceded(&self.policy, now).filter(|_| gives_way()));
        retry_after.map_or(Ok(()), |retry_after| Err(Open { retry_after }))
    }

    fn admit_probe(&self, asker: Asker, now: Instant) -> Result<(u32, Role), Open> {
        let tripped = &mut *self.tripped.lock();
        self.look_at(tripped, asker, now)?;
        let generation = self.word().generation;
        match tripped.phase {
            Phase::Closed => return Ok((generation, Role::Ordinary)),
            Phase::Open { since, wait } => {
                (self.observer)(Transition::HalfOpened);
                tripped.phase = Phase::HalfOpen { since, wait, successes: 0, probe: None, upload: None };
            }
            Phase::HalfOpen { .. } => {}
        }
        Ok((generation, tripped.begin(asker.uploads, now)))
    }

    /// Makes a probe of an upload that is whole or has an answer, if there is no other.
    fn claim(&self, generation: u32, now: Instant) -> Role {
        let tripped = &mut *self.tripped.lock();
        let is_half_open = matches!(tripped.phase, Phase::HalfOpen { .. }) && self.word().generation == generation;
        if is_half_open && tripped.phase.busy(&self.policy, false, now).is_none() {
            tripped.begin(false, now)
        } else {
            Role::Settled
        }
    }

    /// Takes a probe's verdict and tells the generation that it led to; `None` if the probe was lost or is of an older
    /// generation.
    fn settle_probe(&self, number: u64, route: u64, verdict: Verdict, now: Instant) -> Option<u32> {
        let tripped = &mut *self.tripped.lock();
        let successes = tripped.phase.take_back(number)?;
        *successes += u32::from(verdict == Verdict::Success);
        let enough = *successes >= self.policy.success_threshold;
        match verdict {
            Verdict::Success if enough => {
                self.close(tripped, Transition::Closed);
                self.routes.succeeded(route, self.word().generation);
            }
            Verdict::Success => self.routes.succeeded(route, tripped.before),
            Verdict::Failure => {
                self.routes.failed(route);
                self.open(tripped, self.word(), now);
            }
            Verdict::Neutral => {}
        }
        Some(self.word().generation)
    }

    fn succeed(&self, generation: u32, route: u64, now: Instant) {
        if !self.word().counts(generation) {
            return;
        }
        self.routes.succeeded(route, generation);
        match &self.window {
            Some(window) => window.count(generation, false, now),
            None => {
                let begin_anew = |word: Word| (word.counts(generation) && word.failures > 0).then(|| word.with(0));
                let _ = self.word.fetch_update(Relaxed, Relaxed, |word| begin_anew(Word::unpack(word)).map(Word::pack));
            }
        }
    }

    /// A failure of what is no probe, or is one no more.
    fn fail(&self, generation: u32, now: Instant) {
        if let Some(window) = self.window.as_ref().filter(|_| self.word().counts(generation)) {
            window.count(generation, true, now);
        }
        loop {
            let word = self.word();
            let done = word.generation != generation
                || match self.bear(word, now) {
                    Some(next) => self.swap(word, next),
                    None => self.open(&mut self.tripped.lock(), word, now),
                };
            if done {
                return;
            }
        }
    }

    /// The word after one more failure; `None` if that is one too many.
    fn bear(&self, word: Word, now: Instant) -> Option<Word> {
        let opens = match (self.policy.failures, &self.window) {
            _ if !word.is_closed() => true,
            (Failures::Ratio { rate, min_requests, .. }, Some(window)) => {
                let sum = window.sum(word.generation, now);
                sum.verdicts >= min_requests && rate.is_reached(sum.failures, sum.verdicts)
            }
            (Failures::Ratio { .. }, None) => false,
            (Failures::Consecutive(threshold), _) if word.failures + 1 >= threshold => true,
            (Failures::Consecutive(_), _) => return Some(word.with(word.failures + 1)),
        };
        (!opens).then_some(word)
    }

    /// Opens, unless the word has changed.
    fn open(&self, tripped: &mut Tripped, word: Word, now: Instant) -> bool {
        let opened = self.swap(word, word.next(TRIPPED));
        if opened {
            let wait = match tripped.phase {
                Phase::Closed => {
                    tripped.before = word.generation;
                    self.policy.timeout
                }
                Phase::Open { wait, .. } | Phase::HalfOpen { wait, .. } => self.policy.longer(wait),
            };
            tripped.phase = Phase::Open { since: now, wait };
            (self.observer)(Transition::Opened { wait });
        }
        opened
    }

    fn close(&self, tripped: &mut Tripped, transition: Transition) {
        tripped.phase = Phase::Closed;
        self.word.store(self.word().next(0).pack(), Relaxed);
        (self.observer)(transition);
    }

    fn swap(&self, from: Word, to: Word) -> bool {
        self.word.compare_exchange(from.pack(), to.pack(), Relaxed, Relaxed).is_ok()
    }
}

impl Permit {
    /// Whether the request is a probe, or may become one.
    pub fn is_probe(&self) -> bool {
        matches!(self.role, Role::Probe(_) | Role::Upload | Role::Told)
    }

    /// The request is whole.
    pub fn arrived(&mut self, now: impl FnOnce() -> Instant) {
        if self.role == Role::Upload {
            self.role = self.breaker.claim(self.generation, now());
        }
    }

    /// The verdict of a probe before its end, to give its slot to the next. Others have theirs at their end: this
    /// does nothing for them.
    pub fn tell_early(&mut self, verdict: Verdict, now: Instant) {
        self.arrived(|| now);
        let Role::Probe(number) = self.role else { return };
        let led_to = self.breaker.settle_probe(number, self.route, verdict, now);
        self.role = Role::Settled;
        if let Some(generation) = led_to.filter(|_| verdict != Verdict::Failure) {
            self.generation = generation;
            self.role = Role::Told;
        }
    }

    /// What the request came to at its end. After an early verdict only a failure is news.
    pub fn settle(mut self, verdict: Verdict, now: Instant) {
        if verdict != Verdict::Neutral {
            self.arrived(|| now);
        }
        match (std::mem::replace(&mut self.role, Role::Settled), verdict) {
            (Role::Probe(number), _) => _ = self.breaker.settle_probe(number, self.route, verdict, now),
            (Role::Ordinary, Verdict::Success) => self.breaker.succeed(self.generation, self.route, now),
            (Role::Ordinary | Role::Told, Verdict::Failure) => self.breaker.fail(self.generation, now),
            (Role::Ordinary | Role::Upload | Role::Told | Role::Settled, _) => {}
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Role::Probe(number) = self.role {
            _ = self.breaker.tripped.lock().phase.take_back(number);
        }
    }
}

impl Word {
    fn unpack(bits: u64) -> Self {
        Word { generation: (bits >> 32) as u32, failures: bits as u32 }
    }

    fn pack(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.failures)
    }

    fn is_closed(self) -> bool {
        self.failures != TRIPPED
    }

    /// Whether a verdict of this generation is one of a closed breaker that still stands.
    fn counts(self, generation: u32) -> bool {
        self.is_closed() && self.generation == generation
    }

    fn with(self, failures: u32) -> Self {
        Word { failures, ..self }
    }

    fn next(self, failures: u32) -> Self {
        Word { generation: self.generation.wrapping_add(1), failures }
    }
}

impl Tripped {
    /// Lets a request begin that finds out how the service is; half-open.
    fn begin(&mut self, uploads: bool, now: Instant) -> Role {
        let Phase::HalfOpen { probe, upload, .. } = &mut self.phase else { return Role::Settled };
        if uploads {
            *upload = Some(now);
            return Role::Upload;
        }
        self.probes += 1;
        *probe = Some(Probe { number: self.probes, since: now });
        Role::Probe(self.probes)
    }
}

impl Phase {
    /// How long nobody passes; zero if a verdict may come at any moment.
    fn busy(&self, policy: &Policy, uploads: bool, now: Instant) -> Option<Duration> {
        match self {
            Phase::Closed => None,
            Phase::Open { since, wait } => left(*since, *wait, now),
            Phase::HalfOpen { probe: Some(probe), .. } if left(probe.since, policy.probe_timeout, now).is_some() => {
                Some(Duration::ZERO)
            }
            Phase::HalfOpen { upload, .. } => {
                upload.filter(|_| uploads).and_then(|upload| left(upload, BETWEEN_UPLOADS, now))
            }
        }
    }

    /// How long only those pass who have precedence.
    fn preceded(&self, policy: &Policy, now: Instant) -> Option<Duration> {
        match self {
            Phase::Closed => None,
            Phase::Open { since, wait } | Phase::HalfOpen { since, wait, .. } => {
                left(*since, wait.saturating_add(policy.precedence()), now)
            }
        }
    }

    /// Frees the slot if it is this probe's, for its successes to be counted.
    fn take_back(&mut self, number: u64) -> Option<&mut u32> {
        let Phase::HalfOpen { successes, probe, .. } = self else { return None };
        probe.take_if(|probe| probe.number == number).map(|_| successes)
    }

    fn state(&self, now: Instant) -> State {
        match self {
            Phase::Closed => State::Closed,
            Phase::Open { since, wait } if left(*since, *wait, now).is_some() => State::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }
}

/// What is left of a time, if it is not over.
fn left(since: Instant, time: Duration, now: Instant) -> Option<Duration> {
    time.checked_sub(now.saturating_duration_since(since)).filter(|left| !left.is_zero())
}
