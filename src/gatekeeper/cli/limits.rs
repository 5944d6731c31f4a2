//! `limits`: the rate limits of the running gateway, and how much of them a subject has used.

use super::services::laid_out;
use super::{Options, Outcome, reach};
use gatekeeper_client::{RuleState, Subject};

#[derive(clap::Subcommand)]
pub enum Command {
    /// List the rate limits and their counts
    List,
    /// Show how much of its limits an address or user has used
    Status {
        /// A client address or a user
        subject: String,
        /// The authority for the user: an issuer, `api_key`, `certificate`, `introspection` or `forward` [default: all of them
        /// that the configuration has]
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
        let counts = [rule.subjects as u64, rule.accepted, rule.refused, rule.would_refuse];
        let [subjects, accepted, refused, would_refuse] = counts.map(|count| count.to_string());
        let (name, kind, mode) = (rule.rule_name.clone(), rule.limit_type.clone(), rule.mode.clone());
        [name, kind, quota, mode, subjects, accepted, refused, would_refuse]
    };
    let rows: Vec<_> = rules.iter().map(row).collect();
    let head = ["RULE", "COUNTS BY", "LIMIT", "MODE", "SUBJECTS", "ACCEPTED", "REFUSED", "WOULD REFUSE"];
    options.print(&rules, laid_out(head, &rows)?)
}

fn status(options: &Options, subject: &Subject) -> Outcome {
    let standings = reach::call(options, async |gateway| gateway.rate_limit_standings(subject).await)?;
    let mut text: String = standings.iter().map(|standing| format!("{standing}\n")).collect();
    if standings.is_empty() {
        text = format!("no rate limit counts {} as an address or as a user\n", subject.subject);
    }
    options.print(&standings, text)
}
