//! `why`: why a request was refused, by the request id of its error.

use std::fmt::Write;

use super::{Options, Outcome, reach};
use gatekeeper_client::Refused;

#[derive(clap::Args)]
pub struct Args {
    /// The id of the request, from X-Request-Id or the request_id of the error
    request_id: String,
}

/// Shows a refusal.
pub fn run(options: &Options, args: &Args) -> Outcome {
    let refused = reach::call(options, async |gateway| gateway.why(&args.request_id).await)?;
    options.print(&refused, told(&refused))
}

fn told(refused: &Refused) -> String {
    let asked = [&refused.method, &refused.path].map(|text| text.as_deref().unwrap_or("-")).join(" ");
    let mut text = format!("{asked} at {}\n", refused.time);
    let answered = refused.status_code.map(|status| format!("{status} ")).unwrap_or_default();
    let status = refused.error_code.as_ref().map(|code| format!("{answered}{code}"));
    let retry = refused.retry_after.map(|seconds| format!("{seconds} s"));
    let rules = (!refused.violated_policies.is_empty()).then(|| refused.violated_policies.join(", "));
    let client = refused.client_ip.map(|address| address.to_string());
    let lines = [
        ("refused", &status),
        ("detail", &refused.detail),
        ("cause", &refused.cause),
        ("rules", &rules),
        ("retry after", &retry),
        ("shadow", &refused.would_refuse),
        ("route", &refused.route),
        ("service", &refused.target_service),
        ("user", &refused.user_id),
        ("client", &client),
    ];
    for (label, value) in lines.into_iter().filter_map(|(label, value)| Some((label, value.as_ref()?))) {
        let _ = writeln!(text, "{label:<11} {value}");
    }
    text
}
