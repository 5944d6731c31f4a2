//! What becomes of a request, and why: the walk as `explain` tells it, step by step.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::LimitStanding;
use crate::refusal::Refusal;

/// A request, told step by step.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Explanation {
    /// The listener it came by, by name or address, where there are several.
    pub listener: Option<String>,
    /// The canonical path; absent if there is none.
    pub path: Option<String>,
    /// The canonical host.
    pub host: Option<String>,
    /// Every route whose host and path match, the first in precedence first.
    pub candidates: Vec<Considered>,
    /// The route that was taken.
    pub route: Option<String>,
    /// What the route's policies say.
    #[serde(flatten)]
    pub policies: Judged,
    /// What is sent where.
    pub sent: Option<Sent>,
    /// What the gateway answers itself.
    pub answer: Option<Answered>,
}

/// A route that was considered.
#[derive(Debug, Deserialize, Serialize)]
pub struct Considered {
    /// Its name.
    pub route: String,
    /// The first condition that does not hold.
    pub failed: Option<String>,
    /// For the winner: the rule that put it before the next route that would have taken the request.
    pub won_by: Option<String>,
}

/// What is sent where.
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
    /// The other services of a split, if the choice between them is left to the moment.
    pub or: Vec<String>,
}

/// What the gateway answers itself.
#[derive(Debug, Deserialize, Serialize)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// Which refusal it is, if it is one.
    pub code: Option<String>,
    /// What it says.
    pub detail: String,
    /// What a client is not told: what was expected, and what was there instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// What the policies say.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Judged {
    /// Who the user is, or who would be asked, or `public`.
    pub auth: Option<String>,
    /// What the user must be, and is.
    pub access: Option<String>,
    /// Whether the page that asks may read the answer, where CORS is set up and the request has an Origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<String>,
    /// The limits that hold.
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
                (Some(failed), _) => format!("refused by its {failed}"),
                (None, Some(rule)) => format!("taken: {rule}"),
                (None, None) if self.route.as_deref() == Some(&candidate.route) => "taken".into(),
                (None, None) => "would take it too".into(),
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
