//! `reload`: the running gateway applies its configuration, or says why not.

use std::fmt::Write;

use reqwest::Method;
use serde_json::Value;

use super::{Options, Outcome, reach};

/// Reloads.
pub fn run(options: &Options) -> Outcome {
    let report = reach::call(options, Method::POST, "/config/reload")?;
    options.print(&report, if options.quiet { String::new() } else { told(&report) })
}

fn told(report: &Value) -> String {
    let list = |key: &str| report[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
    let mut text = format!("revision {} serves\n", report["revision"]);
    for lint in list("lints") {
        // Writing to a string can't fail.
        let _ = writeln!(text, "warning: {lint}");
    }
    let waiting = list("needs_restart");
    if !waiting.is_empty() {
        let _ = writeln!(text, "changed, but only after a restart: {}", waiting.join(", "));
    }
    text
}
