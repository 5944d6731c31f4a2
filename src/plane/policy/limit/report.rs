//! A limit as it is reported to administrators.

use super::{Counted, Limit};
use gatekeeper_core::limit::Standing;
use gatekeeper_core::reports::LimitStanding;

impl Limit {
    /// How much of it the subject of a request has used.
    pub fn report(&self, counted: &Counted, standing: &Standing, shadow: bool) -> LimitStanding {
        LimitStanding {
            rule: self.name.to_string(),
            subject: self.subject.said(counted),
            used: standing.used,
            left: standing.left,
            reset: standing.reset.as_secs() + u64::from(standing.reset.subsec_nanos() > 0),
            shadow,
        }
    }
}
