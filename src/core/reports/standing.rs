//! How much of a rate limit a subject has used.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How much of a rate limit the subject of a request has used.
#[derive(Debug, Deserialize, Serialize)]
pub struct LimitStanding {
    /// The rule.
    pub rule: String,
    /// The subject that the request is counted for.
    pub subject: String,
    /// The number of requests that were used.
    pub used: u32,
    /// The number of requests that are left.
    pub left: u32,
    /// After how many seconds one more request is allowed.
    pub reset: u64,
    /// Whether the rule is in shadow mode.
    pub shadow: bool,
}

impl fmt::Display for LimitStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LimitStanding { rule, subject, used, left, reset, shadow } = self;
        let trial = if *shadow { ", shadow mode" } else { "" };
        write!(f, "{rule}: {subject} used {used}, {left} left")?;
        if *used > 0 { write!(f, ", one more in {reset} s{trial}") } else { f.write_str(trial) }
    }
}
