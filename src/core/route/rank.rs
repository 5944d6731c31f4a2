//! Precedence: the total order of all routes, whatever the order they were written in.
//!
//! Higher priority; exact host, then the longer wildcard host, then no host; a path without wildcards; more literal
//! segments; the longer prefix; a listener condition; a method condition; more header conditions; more query conditions; name. Empty
//! segments are no literal ones. Of two patterns of the same length the one that ends there is longer than the one
//! with `/*`. A route with several hosts takes part once for each. The order is total because names are unique, which
//! the compiler checks.

use std::cmp::Reverse;
use std::fmt;

use super::conditions::Conditions;
use super::host::HostPattern;

/// The rules of precedence, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Rule {
    Priority,
    ExactHost,
    LongerHost,
    ExactPath,
    LiteralSegments,
    LongerPrefix,
    ListenerCondition,
    MethodCondition,
    HeaderConditions,
    QueryConditions,
    Name,
}

impl Rule {
    /// All but the name, in the order of `Standing::marks`.
    const MARKS: [Rule; 10] = [
        Rule::Priority,
        Rule::ExactHost,
        Rule::LongerHost,
        Rule::ExactPath,
        Rule::LiteralSegments,
        Rule::LongerPrefix,
        Rule::ListenerCondition,
        Rule::MethodCondition,
        Rule::HeaderConditions,
        Rule::QueryConditions,
    ];
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Priority => "higher priority",
            Rule::ExactHost => "exact host",
            Rule::LongerHost => "longer wildcard host",
            Rule::ExactPath => "exact path",
            Rule::LiteralSegments => "more literal segments",
            Rule::LongerPrefix => "longer prefix",
            Rule::ListenerCondition => "listener condition",
            Rule::MethodCondition => "method condition",
            Rule::HeaderConditions => "more header conditions",
            Rule::QueryConditions => "more query conditions",
            Rule::Name => "name",
        })
    }
}

/// Where a route stands for one of its hosts: the smaller goes first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing<'a> {
    marks: [Reverse<i32>; 10],
    name: &'a str,
}

impl<'a> Standing<'a> {
    pub(super) fn new(route: &'a Conditions, host: Option<&HostPattern>) -> Self {
        let (is_exact_host, wildcard_length) = match host {
            Some(HostPattern::Exact(_)) => (true, 0),
            Some(HostPattern::Under(suffix)) => (false, suffix.len()),
            None => (false, 0),
        };
        let (mut literals, mut wildcards, mut empty) = (0, 0, 0);
        for segment in route.path.segments() {
            match segment.literal() {
                Some("") => empty += 1,
                Some(_) => literals += 1,
                None => wildcards += 1,
            }
        }
        let ends = !route.path.is_prefix();
        let marks = [
            route.priority,
            is_exact_host.into(),
            wildcard_length as i32,
            (ends && wildcards == 0).into(),
            literals,
            literals + wildcards + empty + i32::from(ends),
            (!route.further.listeners().is_empty()).into(),
            (!route.methods.is_empty()).into(),
            route.further.headers().len() as i32,
            route.further.query().len() as i32,
        ];
        Standing { marks: marks.map(Reverse), name: &route.name }
    }

    /// The rule by which one of two routes goes before the other.
    pub(super) fn rule_against(&self, other: &Self) -> Rule {
        let differing = self.marks.iter().zip(&other.marks).position(|(own, other)| own != other);
        differing.and_then(|place| Rule::MARKS.get(place).copied()).unwrap_or(Rule::Name)
    }
}
