//! `limits`: the limits of the running gateway, and where a subject stands with them.

use super::services::laid_out;
use super::{Options, Outcome, reach};
use gatekeeper_client::{RuleState, Subject};

#[derive(clap::Subcommand)]
pub enum Command {
    /// List the rate limits and their counts
    List,
    /// Show how much of its limits an address or user has used
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
        Command::Status { subject, issuer } => {
            status(options, &Subject { subject: subject.clone(), issuer: issuer.clone() })
        }
    }
}

fn list(options: &Options) -> Outcome {
    let rules = reach::call(options, async |gateway| gateway.rate_limits().await)?;
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

fn status(options: &Options, subject: &Subject) -> Outcome {
    let standings = reach::call(options, async |gateway| gateway.rate_limit_standings(subject).await)?;
    let text: String = standings.iter().map(|standing| format!("{standing}\n")).collect();
    options.print(&standings, text)
}
