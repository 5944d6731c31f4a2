//! Several rules at once.

use std::sync::Arc;
use std::sync::Barrier;
use std::thread;
use std::time::{Instant, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

use super::super::headers::retry_after;
use super::*;
use gatekeeper_model::raw::Reset;

const SECOND: Duration = Duration::from_secs(1);

fn rule(name: &str, quota: Quota, start: Instant) -> Rule {
    Rule::new(name, quota, Arc::new(Table::new(quota, 1000, start)))
}

fn charge(rule: &Rule, key: u64) -> Charge<'_> {
    Charge { rule, key, shadow: false }
}

fn shadow(rule: &Rule, key: u64) -> Charge<'_> {
    Charge { rule, key, shadow: true }
}

fn now(answer: Answer) -> Decision {
    match answer {
        Answer::Now(decision) => decision,
        Answer::Later(_) => panic!("not now"),
    }
}

fn decide(charges: &[Charge<'_>], at: Instant) -> Decision {
    now(Local.charge(charges, at))
}

fn used(rule: &Rule, key: u64, at: Instant) -> u32 {
    now(Local.look(&[charge(rule, key)], at)).standings[0].used
}

fn headers(charges: &[Charge<'_>], decision: &Decision, reset: Reset) -> HeaderMap {
    let clock = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_700);
    let mut headers = HeaderMap::new();
    LimitHeaders::of(charges, decision, reset, clock, None).apply(&mut headers);
    if !decision.admitted {
        headers.insert(RETRY_AFTER, retry_after(charges, decision));
    }
    headers
}

fn number(headers: &HeaderMap, name: &str) -> u64 {
    headers[name].to_str().unwrap().parse().unwrap()
}

#[test]
fn what_is_refused_has_spent_nothing() {
    let start = Instant::now();
    let (wide, narrow, tried) = (
        rule("wide", window(10, SECOND), start),
        rule("narrow", gcra(2, 2, SECOND), start),
        rule("tried", window(100, SECOND), start),
    );
    let charges = [charge(&wide, 1), charge(&narrow, 1), shadow(&tried, 1)];
    assert!(decide(&charges, start).admitted && decide(&charges, start).admitted);
    let before = format!("{wide:?} {narrow:?} {tried:?}");
    let refused = decide(&charges, start);
    assert!(!refused.admitted);
    assert_eq!(
        refused.standings.iter().map(|s| (s.admitted, s.used)).collect::<Vec<_>>(),
        [(true, 2), (false, 2), (true, 2)]
    );
    assert_eq!(refused.violated(&charges).map(|(charge, _)| &*charge.rule.name).collect::<Vec<_>>(), ["narrow"]);
    assert_eq!(before, format!("{wide:?} {narrow:?} {tried:?}"));
}

#[test]
fn looks_change_nothing() {
    let start = Instant::now();
    let quotas = [window(3, SECOND), window(500, SECOND), gcra(3, 2, SECOND)];
    let rules = quotas.map(|quota| Rule::new("rule", quota, Arc::new(Table::new(quota, 2, start))));
    for n in 0..200 {
        rules.iter().for_each(|rule| drop(decide(&[charge(rule, n % 5 * 7)], start + n as u32 * SECOND / 300)));
    }
    assert!(rules.iter().any(|rule| rule.counts.overflowed() > 0));
    let before = format!("{rules:?}");
    for n in 0..1000 {
        let charges: Vec<_> = rules.iter().map(|rule| charge(rule, n % 9 * 7)).collect();
        Local.look(&charges, start + n as u32 * SECOND / 100);
    }
    assert_eq!(before, format!("{rules:?}"));
}

#[test]
fn a_shadow_refuses_nothing_and_counts_what_it_would_admit() {
    let start = Instant::now();
    let (tried, enforced) = (rule("tried", window(2, SECOND), start), rule("enforced", window(4, SECOND), start));
    let charges = [shadow(&tried, 1), charge(&enforced, 1)];
    let decisions: Vec<_> = (0..5).map(|_| decide(&charges, start)).collect();
    let seen: Vec<_> = decisions.iter().map(|d| (d.admitted, d.standings[0].admitted, d.standings[0].used)).collect();
    let wanted = [(true, true, 1), (true, true, 2), (true, false, 2), (true, false, 2), (false, false, 2)];
    assert_eq!(seen, wanted);
    assert_eq!(decisions[4].violated(&charges).count(), 1);
    assert_eq!(headers(&charges[..1], &decisions[0], Reset::Delta).len(), 0);
    let told = headers(&charges, &decisions[2], Reset::Delta);
    assert_eq!(
        (&told["ratelimit"], &told["ratelimit-policy"]),
        (&r#""enforced";r=1;t=1"#.parse().unwrap(), &r#""enforced";q=4;w=1"#.parse().unwrap())
    );
}

#[test]
fn the_same_subject_twice_is_counted_once() {
    let start = Instant::now();
    let rule = rule("rule", window(3, SECOND), start);
    let charges = [charge(&rule, 1), charge(&rule, 1), charge(&rule, 2)];
    for n in 1..=3 {
        let standings = decide(&charges, start).standings;
        assert_eq!(standings.iter().map(|standing| standing.used).collect::<Vec<_>>(), [n, n, n]);
    }
    assert!(!decide(&charges, start).admitted);
}

#[test]
fn all_headers_agree() {
    let start = Instant::now();
    let (ip, all) = (rule("ip", window(2, 60 * SECOND), start), rule(r#"a"\ü"#, gcra(600, 10, 60 * SECOND), start));
    let charges = [charge(&all, 1), charge(&ip, 1)];
    let told = headers(&charges, &decide(&charges, start), Reset::Delta);
    let said = |name: &str| told[name].to_str().unwrap();
    assert_eq!(said("ratelimit-policy"), r#""a\"\\_";q=10;w=1, "ip";q=2;w=60"#);
    assert_eq!(said("ratelimit"), r#""a\"\\_";r=9;t=1, "ip";r=1;t=60"#);
    assert_eq!((said("x-ratelimit-limit"), said("x-ratelimit-remaining"), said("x-ratelimit-reset")), ("2", "1", "60"));
    assert!(!told.contains_key("retry-after"));
    decide(&charges, start + SECOND);
    let told = headers(&charges, &decide(&charges, start + SECOND + SECOND / 2), Reset::Epoch);
    assert_eq!((number(&told, "retry-after"), number(&told, "x-ratelimit-remaining")), (59, 0));
    // The clock says 1000000.7 s, and 58.5 are to be waited.
    assert_eq!(number(&told, "x-ratelimit-reset"), 1_000_060);
    assert_eq!(told["ratelimit"], r#""a\"\\_";r=10;t=0, "ip";r=0;t=59"#);
}

fn quotas() -> impl Strategy<Value = Quota> {
    let lengths = (1..100_000_u64).prop_map(Duration::from_millis);
    (1..200_u32, 1..50_u32, lengths, any::<bool>())
        .prop_map(|(max, burst, length, by_rate)| if by_rate { gcra(max, burst, length) } else { window(max, length) })
}

proptest! {
    /// A client that is alone is told the truth over all its rules.
    #[test]
    fn what_is_told_comes_true(seed: u64, quotas in prop::collection::vec(quotas(), 1..6)) {
        let start = Instant::now();
        let rules: Vec<_> = quotas.iter().map(|quota| rule("rule", *quota, start)).collect();
        let charges: Vec<_> = rules.iter().map(|rule| charge(rule, 7)).collect();
        let mut rng = Rng::with_seed(seed);
        let mut at = start;
        for _ in 0..500 {
            at += Duration::from_nanos(gap(&mut rng, &quotas[0]));
            let decision = decide(&charges, at);
            let told = headers(&charges, &decision, Reset::Delta);
            let left = number(&told, "x-ratelimit-remaining");
            prop_assert_eq!(left == 0, !now(Local.look(&charges, at)).admitted);
            prop_assert_eq!(told.contains_key("retry-after"), !decision.admitted);
            let told_of_all = told["ratelimit"].to_str().unwrap();
            prop_assert_eq!(told_of_all.split(", ").count(), rules.len());
            let tightest = format!("\"rule\";r={left};t={}", number(&told, "x-ratelimit-reset"));
            prop_assert!(told_of_all.split(", ").any(|one| one == tightest));
            if !decision.admitted {
                let wait = decision.violated(&charges).map(|(_, standing)| standing.reset).max().unwrap();
                let retry = Duration::from_secs(number(&told, "retry-after"));
                prop_assert_eq!(retry.as_secs(), number(&told, "x-ratelimit-reset"));
                prop_assert!(wait <= retry && retry < wait + SECOND && retry >= SECOND);
                prop_assert!(!now(Local.look(&charges, at + wait - Duration::from_nanos(1))).admitted);
                at += if rng.bool() { wait } else { retry };
                prop_assert!(decide(&charges, at).admitted);
            }
        }
    }
}

/// So many threads at once, each with its number.
fn at_once(threads: usize, work: impl Fn(usize) + Sync) {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (barrier, work) = (&barrier, &work);
            scope.spawn(move || {
                barrier.wait();
                work(thread);
            });
        }
    });
}

#[test]
fn eight_threads_get_exactly_what_one_may() {
    let start = Instant::now();
    for max in [1, 50, 5000] {
        let quota = window(max, 60 * SECOND);
        let (rule, wider) = (rule("rule", quota, start), rule("wider", window(2 * max, 60 * SECOND), start));
        at_once(8, |_| {
            (0..max).for_each(|_| drop(decide(&[charge(&wider, 1), charge(&rule, 1)], start)));
        });
        assert_eq!((used(&rule, 1, start), used(&wider, 1, start)), (max, max));
    }
}

#[test]
fn eight_threads_never_exceed_a_window_and_get_98_percent() {
    let start = Instant::now();
    let quota = window(1000, SECOND);
    let (rule, clock) = (rule("rule", quota, start), std::sync::atomic::AtomicU64::new(1));
    let admitted = parking_lot::Mutex::new(Vec::new());
    at_once(8, |_| {
        loop {
            // Twice what may pass; the lock makes the order of moments that of the requests.
            let mut admitted = admitted.lock();
            let at = clock.fetch_add(500_000, std::sync::atomic::Ordering::SeqCst);
            if at > 10_000_000_000 {
                return;
            }
            if decide(&[charge(&rule, 1)], start + Duration::from_nanos(at)).admitted {
                admitted.push(at);
            }
        }
    });
    let admitted = admitted.into_inner();
    assert_promise(&admitted, &quota);
    assert!(admitted.len() >= 9800, "{}", admitted.len());
}

#[test]
fn no_order_of_rules_locks_threads_up() {
    let start = Instant::now();
    let rules: Vec<_> = (0..6).map(|_| rule("rule", window(1_000_000, SECOND), start)).collect();
    at_once(8, |thread| {
        let mut rng = Rng::with_seed(thread as u64);
        for _ in 0..3000 {
            let mut charges: Vec<_> =
                (0..rng.usize(1..8)).map(|_| charge(&rules[rng.usize(0..6)], rng.u64(0..40) << 40)).collect();
            rng.shuffle(&mut charges);
            assert!(decide(&charges, start).admitted);
        }
    });
}
