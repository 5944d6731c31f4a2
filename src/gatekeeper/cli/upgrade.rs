//! `upgrade`: the program that is installed now takes the running one's place.

use super::{Options, Outcome, reach};
use gatekeeper_model::value::Period;

#[derive(clap::Args)]
pub struct Args {
    /// How long the new process may take to start
    #[arg(long, value_name = "TIME", default_value = "60s")]
    timeout: Period,
}

/// Upgrades.
pub fn run(options: &Options, args: &Args) -> Outcome {
    let upgraded = reach::call(options, async |gateway| gateway.upgrade(args.timeout).await)?;
    let text = format!("process {} is running\n", upgraded.pid);
    options.print(&upgraded, if options.quiet { "" } else { &text })
}
