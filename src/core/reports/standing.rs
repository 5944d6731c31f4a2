//! How much of a rate limit a subject has used.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a request's subject stands with a limit.
#[derive(Debug, Deserialize, Serialize)]
pub struct LimitStanding {
    /// The rule.
    pub rule: String,
    /// Whom it counts the request for.
    pub subject: String,
    /// What was used.
    pub used: u32,
    /// What is left.
    pub left: u32,
    /// After how many seconds there is one more.
    pub reset: u64,
    /// It only tells that it would refuse.
    pub shadow: bool,
}

impl fmt::Display for LimitStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LimitStanding { rule, subject, used, left, reset, shadow } = self;
        let trial = if *shadow { ", on trial" } else { "" };
        write!(f, "{rule}: {subject} used {used}, {left} left")?;
        if *used > 0 { write!(f, ", one more in {reset} s{trial}") } else { f.write_str(trial) }
    }
}
