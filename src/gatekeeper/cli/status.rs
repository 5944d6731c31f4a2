//! `status`: the state of the running gateway.

use super::{Options, Outcome, reach};
use gatekeeper_client::Status;

/// Shows the state.
pub fn run(options: &Options) -> Outcome {
    let status = reach::call(options, async |gateway| gateway.status().await)?;
    options.print(&status, told(&status))
}

fn told(status: &Status) -> String {
    let listeners: Vec<&str> = status.listeners.iter().map(|listener| listener.address.as_str()).collect();
    let mut text = format!(
        "gatekeeper {} (process {}) is {}, up {} s\nconfig      {}\nlistening   {}\nrevision    {}: {} routes, {} services\nin flight   {} requests\n",
        status.version,
        status.pid,
        if status.ready { "ready" } else { "stopping" },
        status.uptime_seconds,
        status.config_file,
        listeners.join(", "),
        status.revision,
        status.routes,
        status.services,
        status.requests_in_flight,
    );
    if status.access_log_dropped > 0 {
        text += &format!("access log  {} records dropped\n", status.access_log_dropped);
    }
    if let Some(fault) = &status.last_fault {
        text += &format!("the last reload was rejected:\n{}\n", fault.trim_end());
    }
    text
}
