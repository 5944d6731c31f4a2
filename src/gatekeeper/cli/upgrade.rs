//! `upgrade`: the program that is installed now takes the running one's place.

use std::time::Duration;

use reqwest::Method;

use super::{Failure, Options, Outcome, reach};
use gatekeeper_admin::upgrade::Upgraded;
use gatekeeper_model::value::Period;

/// For everything but the new process's start.
const MARGIN: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub struct Args {
    /// How long the new process may take until it serves
    #[arg(long, value_name = "TIME", default_value = "60s")]
    timeout: Period,
}

/// Upgrades.
pub fn run(options: &Options, args: &Args) -> Outcome {
    let path = format!("/upgrade?timeout={}", args.timeout);
    let value = reach::call_within(options, Method::POST, &path, args.timeout.0 + MARGIN)?;
    let upgraded: Upgraded =
        serde_json::from_value(value).map_err(|error| Failure::Refused(format!("the gateway's answer: {error}")))?;
    let text = format!("process {} serves\n", upgraded.pid);
    options.print(&upgraded, if options.quiet { "" } else { &text })
}
