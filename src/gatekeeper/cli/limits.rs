//! `limits`: the limits of the running gateway, and where a subject stands with them.

use reqwest::{Method, Url};

use super::services::laid_out;
use super::{Failure, Options, Outcome, reach};
use gatekeeper_admin::limits::RuleState;
use gatekeeper_core::reports::LimitStanding;

#[derive(clap::Subcommand)]
pub enum Command {
    /// List the limits and what they decided
    List,
    /// Show where an address or a user stands
    Status {
        /// An address or a user
        subject: String,
        /// Who says that it is the user [default: the first issuer of the configuration]
        #[arg(long)]
        issuer: Option<String>,
    },
}

/// Runs a command on the limits.
pub fn run(options: &Options, command: &Command) -> Outcome {
    match command {
        Command::List => list(options),
        Command::Status { subject, issuer } => status(options, subject, issuer.as_deref()),
    }
}

fn list(options: &Options) -> Outcome {
    let value = reach::call(options, Method::GET, "/rate-limits")?;
    let rules: Vec<RuleState> = understood(value)?;
    let row = |rule: &RuleState| {
        let quota = format!("{} in {} s", rule.max_requests, rule.window_seconds);
        let (subjects, refused) = (rule.subjects.to_string(), rule.refused.to_string());
        [
            rule.rule_name.clone(),
            rule.limit_type.clone(),
            quota,
            rule.mode.clone(),
            subjects,
            rule.accepted.to_string(),
            refused,
        ]
    };
    let rows: Vec<_> = rules.iter().map(row).collect();
    let head = ["RULE", "COUNTS BY", "LIMIT", "MODE", "SUBJECTS", "ACCEPTED", "REFUSED"];
    options.print(&rules, laid_out(head, &rows)?)
}

fn status(options: &Options, subject: &str, issuer: Option<&str>) -> Outcome {
    let mut url =
        Url::parse("http://localhost/rate-limits/status").map_err(|error| Failure::Refused(error.to_string()))?;
    url.query_pairs_mut().append_pair("subject", subject).extend_pairs(issuer.map(|issuer| ("issuer", issuer)));
    let path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
    let standings: Vec<LimitStanding> = understood(reach::call(options, Method::GET, &path)?)?;
    let text: String = standings.iter().map(|standing| format!("{standing}\n")).collect();
    options.print(&standings, text)
}

fn understood<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| Failure::Refused(format!("the gateway's answer: {error}")))
}
