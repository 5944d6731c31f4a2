//! Where requests are counted: in this process, or where several gateways count together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use smallvec::SmallVec;

use super::quota::{Quota, Standing};
use super::table::Table;

/// A limit.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: Box<str>,
    /// What each of its subjects may spend.
    pub quota: Quota,
    /// What they have spent. A rule that takes another's place keeps it (`Table::holds_for`).
    pub counts: Arc<Table>,
    /// What `RateLimit` says of it begins with this.
    pub(super) beginning: Box<str>,
    /// What `RateLimit-Policy` says of it.
    pub(super) policy: Box<str>,
}

/// What a request is to spend.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// By which rule.
    pub rule: &'a Rule,
    /// Of which subject: a keyed hash of it.
    pub key: u64,
    /// The rule only tells that it would refuse.
    pub shadow: bool,
}

/// Whether a request may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// No rule that is enforced refuses it.
    pub admitted: bool,
    /// Where each charge's subject stands now.
    pub standings: SmallVec<[Standing; 4]>,
}

/// A decision, or who will bring it.
pub enum Answer {
    /// It is made.
    Now(Decision),
    /// It is made elsewhere.
    Later(BoxFuture<'static, Decision>),
}

/// Where requests are counted.
pub trait Ledger: Send + Sync {
    /// Counts a request by all of its charges, or by none if one that is enforced refuses it. A shadow counts it if it
    /// would have admitted it itself. A rule and subject that are charged twice count it once.
    fn charge(&self, charges: &[Charge<'_>], now: Instant) -> Answer;

    /// What would be decided. Changes nothing.
    fn look(&self, charges: &[Charge<'_>], now: Instant) -> Answer;
}

impl Rule {
    /// A rule.
    pub fn new(name: &str, quota: Quota, counts: Arc<Table>) -> Self {
        let quoted = quoted(name);
        let policy = format!("{quoted};q={};w={}", quota.capacity(), whole_seconds(quota.span()));
        Rule { name: name.into(), quota, counts, beginning: format!("{quoted};r=").into(), policy: policy.into() }
    }
}

impl Charge<'_> {
    /// Whether both are for the same rule and subject.
    pub(super) fn is_same(&self, other: &Charge<'_>) -> bool {
        self.key == other.key && Arc::ptr_eq(&self.rule.counts, &other.rule.counts)
    }
}

impl Decision {
    /// The charges that are enforced and refuse the request.
    pub fn violated<'a>(&'a self, charges: &'a [Charge<'a>]) -> impl Iterator<Item = (&'a Charge<'a>, &'a Standing)> {
        charges.iter().zip(&self.standings).filter(|(charge, standing)| !charge.shadow && !standing.admitted)
    }
}

/// Rounded up, so that the time is over after them.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// `"name"`, as a structured field (RFC 9651) has it: in printable ASCII.
fn quoted(name: &str) -> String {
    let escaped = name.chars().flat_map(|c| match c {
        '"' | '\\' => ['\\', c],
        ' '..='~' => [c, '\0'],
        _ => ['_', '\0'],
    });
    ['"'].into_iter().chain(escaped.filter(|c| *c != '\0')).chain(['"']).collect()
}
