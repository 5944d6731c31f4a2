//! The report of `explain`: what happens to a request and why, step by step.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::LimitStanding;
use crate::refusal::Refusal;

/// What happens to a request, step by step.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Explanation {
    /// The listener that the request came by, by name or address, if there are several.
    pub listener: Option<String>,
    /// The canonical path; absent if there is none.
    pub path: Option<String>,
    /// The canonical host.
    pub host: Option<String>,
    /// Every route whose host and path match, the first in precedence first.
    pub candidates: Vec<Considered>,
    /// The route that was chosen.
    pub route: Option<String>,
    /// The decisions of the route's policies.
    #[serde(flatten)]
    pub policies: Judged,
    /// The request that is sent to the service, if one is.
    pub sent: Option<Sent>,
    /// The gateway's own answer, if it answers itself.
    pub answer: Option<Answered>,
}

/// A route that was considered.
#[derive(Debug, Deserialize, Serialize)]
pub struct Considered {
    /// Its name.
    pub route: String,
    /// The first condition that does not hold.
    pub failed: Option<String>,
    /// For the chosen route: the rule that put it before the next route that matches.
    pub won_by: Option<String>,
}

/// The request that is sent to a service.
#[derive(Debug, Deserialize, Serialize)]
pub struct Sent {
    /// The service.
    pub service: String,
    /// Its targets.
    pub targets: Vec<String>,
    /// The request line's target.
    pub target: String,
    /// The Host.
    pub host: String,
    /// The other services of a split, if each request is assigned at random.
    pub or: Vec<String>,
}

/// The gateway's own answer.
#[derive(Debug, Deserialize, Serialize)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The code of the refusal, if it is one.
    pub code: Option<String>,
    /// What the client is told.
    pub detail: String,
    /// The internal cause, which the client does not see: what was expected and what was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// The decisions of the policies.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Judged {
    /// The user, the service that would authenticate the request, or `public`.
    pub auth: Option<String>,
    /// The conditions of the route on the user, and whether they hold.
    pub access: Option<String>,
    /// Whether the web page may read the response, if CORS is configured and the request has an Origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<String>,
    /// The rate limits that apply.
    pub limits: Vec<LimitStanding>,
}

impl From<Refusal> for Answered {
    fn from(refusal: Refusal) -> Self {
        Answered {
            status: refusal.kind.status,
            code: Some(refusal.kind.code.into()),
            detail: refusal.detail.to_string(),
            cause: refusal.cause.as_deref().map(String::from),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(listener) = &self.listener {
            writeln!(f, "listener    {listener}")?;
        }
        writeln!(f, "path        {}", self.path.as_deref().unwrap_or("none"))?;
        writeln!(f, "host        {}", self.host.as_deref().unwrap_or("none"))?;
        for (place, candidate) in self.candidates.iter().enumerate() {
            let label = if place == 0 { "candidates" } else { "" };
            let verdict = match (&candidate.failed, &candidate.won_by) {
                (Some(failed), _) => format!("no match: {failed}"),
                (None, Some(rule)) => format!("chosen: {rule}"),
                (None, None) if self.route.as_deref() == Some(&candidate.route) => "chosen".into(),
                (None, None) => "also matches".into(),
            };
            writeln!(f, "{label:<11} {:<24} {verdict}", candidate.route)?;
        }
        write!(f, "{}", self.policies)?;
        if let Some(sent) = &self.sent {
            writeln!(f, "service     {} ({})", sent.service, sent.targets.join(", "))?;
            if !sent.or.is_empty() {
                writeln!(f, "or          {}", sent.or.join(", "))?;
            }
            writeln!(f, "sends       {} with Host: {}", sent.target, sent.host)?;
        }
        let Some(answer) = &self.answer else { return Ok(()) };
        match &answer.code {
            Some(code) => writeln!(f, "answers     {} {code}: {}", answer.status, answer.detail)?,
            None => writeln!(f, "answers     {}: {}", answer.status, answer.detail)?,
        }
        answer.cause.iter().try_for_each(|cause| writeln!(f, "cause       {cause}"))
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [("cors", &self.cors), ("auth", &self.auth), ("access", &self.access)];
        for (label, text) in lines.into_iter().filter_map(|(label, text)| Some((label, text.as_ref()?))) {
            writeln!(f, "{label:<11} {text}")?;
        }
        for (place, limit) in self.limits.iter().enumerate() {
            let label = if place == 0 { "limits" } else { "" };
            writeln!(f, "{label:<11} {limit}")?;
        }
        Ok(())
    }
}
