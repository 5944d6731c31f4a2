//! What a subject's account takes in memory, and how long a decision takes.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs, hint, thread};

use criterion::{Criterion, criterion_group};
use gatekeeper_core::limit::{Algorithm, Answer, Charge, Ledger, Local, Quota, Rule, Table};

const SUBJECTS: u64 = 1_000_000;

fn rule(max: u32, start: Instant) -> Rule {
    let quota = Quota { max, window: Duration::from_secs(60), algorithm: Algorithm::Window };
    Rule::new("bench", quota, Arc::new(Table::new(quota, 2 * SUBJECTS as u32, start)))
}

/// A subject's key, as mixed as a hash.
fn key(subject: u64) -> u64 {
    (subject + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

fn passes(charges: &[Charge<'_>], now: Instant) -> bool {
    matches!(Local.charge(hint::black_box(charges), now), Answer::Now(decision) if decision.admitted)
}

fn charge(rule: &Rule, subject: u64) -> Charge<'_> {
    Charge { rule, key: key(subject), shadow: false }
}

fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or_default() * 1024
}

/// By how much a process grows, divided by its subjects: at once, and when the allocator has given back what it can.
pub fn memory(events: u32) {
    let (start, before) = (Instant::now(), resident());
    let rule = rule(1000, start);
    for subject in 0..SUBJECTS {
        let charges = [charge(&rule, subject)];
        let admitted = (0..events).filter(|n| passes(&charges, start + Duration::from_micros((*n).into()))).count();
        assert_eq!(admitted as u32, events);
    }
    let each = |bytes: usize| bytes as u64 / SUBJECTS;
    let at_once = each(resident() - before);
    for size in (0..100_000).step_by(100) {
        thread::sleep(Duration::from_micros(200));
        hint::black_box(vec![0u8; size]);
    }
    let (settled, told) = (each(resident() - before), each(rule.counts.memory()));
    println!("{SUBJECTS} subjects, {events} requests each: {at_once} bytes per subject, {settled} later, {told} told");
}

/// Measures each in a process of its own, where nothing is left of another.
pub fn memories() {
    let Ok(this) = env::current_exe() else { return };
    for events in ["1", "2", "10", "1000"] {
        let done = Command::new(&this).args(["--memory", events]).status();
        assert!(done.is_ok_and(|status| status.success()), "{events}");
    }
}

/// A decision a microsecond after the other, by so many rules and of so many subjects in turn.
fn decisions(criterion: &mut Criterion, name: &str, max: u32, rules: usize, subjects: u64) {
    let start = Instant::now();
    let rules: Vec<Rule> = (0..rules).map(|_| rule(max, start)).collect();
    let (mut now, mut turn) = (start, 0);
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            now += Duration::from_micros(1);
            // A stride prime to the subjects: no order that a cache would like.
            turn = (turn + 7_919_111) % subjects;
            let charges: smallvec::SmallVec<[_; 4]> = rules.iter().map(|rule| charge(rule, turn)).collect();
            passes(&charges, now)
        });
    });
}

fn limit(criterion: &mut Criterion) {
    decisions(criterion, "1 rule", 1_000_000_000, 1, 1);
    decisions(criterion, "1 rule, refused", 10, 1, 1);
    decisions(criterion, "1 rule, 1000 subjects", 1_000_000_000, 1, 1000);
    decisions(criterion, "1 rule, 1000000 subjects", 1_000_000_000, 1, SUBJECTS);
    decisions(criterion, "4 rules", 1_000_000_000, 4, 1);
    decisions(criterion, "4 rules, 1000 subjects", 1_000_000_000, 4, 1000);
    decisions(criterion, "4 rules, 1000000 subjects", 1_000_000_000, 4, SUBJECTS);
}

criterion_group!(benches, limit);
