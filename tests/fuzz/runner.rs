//! Feeds a target. Which code an input reaches can't be seen on a stable toolchain; what it comes to can: an input whose
//! outcome is new is kept and mutated further.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::mutate::Mutator;

/// What a short run takes, for each target.
const SHORT: Duration = Duration::from_millis(400);
/// More findings than these are likely the same.
const MOST_FINDINGS: usize = 5;

/// What an input came to, in so few words that alike inputs come to the same; or the property it does not have.
pub type Verdict = Result<u64, String>;

pub struct Target {
    pub name: &'static str,
    pub check: fn(&[u8]) -> Verdict,
    /// Words that mean something to it.
    pub dictionary: &'static [&'static str],
    /// Seeds that are not in its file.
    pub more: fn() -> Vec<Vec<u8>>,
}

/// An outcome of anything that can be told apart.
pub fn outcome(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

pub fn run(target: &Target) {
    let time = std::env::var("FUZZ_SECONDS").map_or(SHORT, |text| Duration::from_secs(text.parse().unwrap()));
    let started = Instant::now();
    let mut mutator = Mutator::new(target.dictionary);
    let (mut executions, mut findings, mut outcomes) = (0_u64, Vec::new(), HashSet::new());
    let seeds = read_seeds(target);
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    let mut corpus = Vec::new();
    let mut fresh = seeds.into_iter();
    while findings.len() < MOST_FINDINGS && (started.elapsed() < time || fresh.len() > 0) {
        let (input, is_seed) = match fresh.next() {
            Some(seed) => (seed, true),
            None => (mutator.mutate(&corpus), false),
        };
        executions += 1;
        match execute(target, &input) {
            Ok(outcome) => {
                if outcomes.insert(outcome) || is_seed {
                    mutator.add(&mut corpus, input);
                }
            }
            Err(what) => {
                println!("{}: {what}\n  \"{}\"", target.name, input.escape_ascii());
                if !is_seed {
                    keep(target, &input);
                }
                findings.push(what);
            }
        }
    }
    let (seconds, outcomes) = (started.elapsed().as_secs_f64(), outcomes.len());
    println!("{}: {executions} executions in {seconds:.1} s, {outcomes} outcomes, findings: {findings:?}", target.name);
    assert!(findings.is_empty(), "{}: {findings:#?}", target.name);
}

fn execute(target: &Target, input: &[u8]) -> Verdict {
    catch_unwind(|| (target.check)(input)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(format!(
            "it panicked: {}",
            text.or_else(|| Some((*panic.downcast_ref::<&str>()?).into())).unwrap_or_default()
        ))
    })
}

fn seed_file(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(format!("{}.txt", target.name))
}

fn read_seeds(target: &Target) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(seed_file(target)).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with("# "));
    lines.map(unescape).chain((target.more)()).collect()
}

fn keep(target: &Target, input: &[u8]) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(seed_file(target)).unwrap();
    writeln!(file, "{}", input.escape_ascii()).unwrap();
}

/// The reverse of `escape_ascii`.
fn unescape(line: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), line.as_bytes());
    while let [first, after @ ..] = rest {
        let (byte, length) = match (first, after) {
            (b'\\', [b'r', ..]) => (b'\r', 2),
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b't', ..]) => (b'\t', 2),
            (b'\\', [b'x', high, low, ..]) => {
                let digits = [*high, *low];
                (u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap(), 4)
            }
            (b'\\', [escaped, ..]) => (*escaped, 2),
            _ => (*first, 1),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

#[test]
fn seeds_are_read_as_they_are_written() {
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(unescape(&all.escape_ascii().to_string()), all);
}
