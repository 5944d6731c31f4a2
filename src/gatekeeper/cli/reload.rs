//! `reload`: the running gateway applies its configuration, or says why not.

use std::fmt::Write;

use super::{Options, Outcome, reach};
use gatekeeper_client::Reloaded;

/// Reloads.
pub fn run(options: &Options) -> Outcome {
    let reloaded = reach::call(options, async |gateway| gateway.reload().await)?;
    options.print(&reloaded, if options.quiet { String::new() } else { told(&reloaded) })
}

fn told(reloaded: &Reloaded) -> String {
    let mut text = format!("running revision {}\n", reloaded.revision);
    for lint in &reloaded.lints {
        // Writing to a string can't fail.
        let _ = writeln!(text, "warning: {lint}");
    }
    if !reloaded.needs_restart.is_empty() {
        let _ = writeln!(text, "takes effect after a restart: {}", reloaded.needs_restart.join(", "));
    }
    text
}
