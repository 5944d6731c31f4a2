//! `services`: how the services of the running gateway stand, and what is done to them by hand.

use std::fmt::Write;

use reqwest::{Method, Url};
use serde_json::Value;

use super::routes::table;
use super::{Failure, Options, Outcome, reach};
use gatekeeper_admin::health::{ServiceHealth, TargetHealth};
use gatekeeper_core::breaker;

#[derive(clap::Subcommand)]
pub enum Command {
    /// List the services and how they stand
    List,
    /// Show a service and its targets
    Show { name: String },
    /// Close the circuit breaker of a service
    Reset { name: String },
    /// Send no new requests to a service or a target; those in flight finish
    Drain(Part),
    /// Send requests again
    Undrain(Part),
}

#[derive(clap::Args)]
pub struct Part {
    name: String,
    /// One target of it, by its URL
    #[arg(long, value_name = "URL")]
    target: Option<String>,
}

/// Services in one answer.
const PAGE: usize = 1000;

/// Runs a command on the services.
pub fn run(options: &Options, command: &Command) -> Outcome {
    match command {
        Command::List => list(options),
        Command::Show { name } => {
            let (value, health) = call(options, Method::GET, &path(name, "", None)?)?;
            options.print(&value, shown(&health)?)
        }
        Command::Reset { name } => act(options, &path(name, "reset", None)?),
        Command::Drain(part) => act(options, &path(&part.name, "drain", part.target.as_deref())?),
        Command::Undrain(part) => act(options, &path(&part.name, "undrain", part.target.as_deref())?),
    }
}

fn list(options: &Options) -> Outcome {
    let mut values: Vec<Value> = Vec::new();
    loop {
        let path = format!("/services?limit={PAGE}&offset={}", values.len());
        let Value::Array(page) = reach::call(options, Method::GET, &path)? else { break };
        let is_last = page.len() < PAGE;
        values.extend(page);
        if is_last {
            break;
        }
    }
    let rows = values.iter().map(|value| understood(value).map(|health| row(&health)));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    options.print(&values, laid_out(["NAME", "STATUS", "CIRCUIT", "TARGETS", "IN FLIGHT", "WAITING"], &rows)?)
}

fn act(options: &Options, path: &str) -> Outcome {
    let (value, health) = call(options, Method::POST, path)?;
    if options.quiet { Ok(()) } else { options.print(&value, shown(&health)?) }
}

fn call(options: &Options, method: Method, path: &str) -> Result<(Value, ServiceHealth), Failure> {
    let value = reach::call(options, method, path)?;
    understood(&value).map(|health| (value, health))
}

fn understood(value: &Value) -> Result<ServiceHealth, Failure> {
    serde::Deserialize::deserialize(value).map_err(|error| Failure::Refused(format!("the gateway's answer: {error}")))
}

/// Where a service is administered: names and targets hold characters that stand for something else in a URL.
fn path(name: &str, action: &str, target: Option<&str>) -> Result<String, Failure> {
    let wrong = || Failure::Usage("a service has a name".into());
    // `url` takes these two for steps in a path, even if they are escaped.
    if matches!(name, "" | "." | "..") {
        return Err(wrong());
    }
    let mut url = Url::parse("http://localhost/services").map_err(|_| wrong())?;
    url.path_segments_mut().map_err(|()| wrong())?.push(name).extend(Some(action).filter(|action| !action.is_empty()));
    if let Some(target) = target {
        url.query_pairs_mut().append_pair("target", target);
    }
    Ok(url.as_str().trim_start_matches("http://localhost").to_owned())
}

fn row(health: &ServiceHealth) -> [String; 6] {
    let targets = health.targets.as_deref().unwrap_or_default();
    let available = targets.iter().filter(|target| target.available).count();
    let status = health.status.name();
    [
        health.service_name.clone(),
        if health.draining { format!("{status} (drained)") } else { status.into() },
        health.circuit_state.map_or("none", breaker::State::name).into(),
        format!("{available}/{}", targets.len()),
        health.in_flight.to_string(),
        health.waiting.to_string(),
    ]
}

fn shown(health: &ServiceHealth) -> Result<String, Failure> {
    let [name, status, circuit, targets, in_flight, waiting] = row(health);
    let mut text = format!(
        "{name} is {status}\ncircuit     {circuit}\ntargets     {targets} available\nin flight   {in_flight} requests, {waiting} waiting\n"
    );
    if let Some(last) = &health.last_check_at {
        // Writing to a string can't fail.
        let _ = writeln!(text, "last check  {last}: {} good, {} bad so far", health.success_count, health.error_count);
    }
    let rows: Vec<_> = health.targets.iter().flatten().map(target_row).collect();
    let head = ["TARGET", "ADDRESS", "STATUS", "REQUESTS", "WEIGHT", "IN FLIGHT", "RESPONSE"];
    Ok(text + "\n" + &laid_out(head, &rows)?)
}

fn target_row(target: &TargetHealth) -> [String; 7] {
    [
        target.url.clone(),
        target.address.clone().unwrap_or_else(|| "none".into()),
        target.status.name().into(),
        requests(target),
        target.weight.to_string(),
        target.in_flight.to_string(),
        target.response_time.map(|time| format!("{time:.1} ms")).unwrap_or_default(),
    ]
}

/// Whether it gets requests, and why not.
fn requests(target: &TargetHealth) -> String {
    match target.ejected_for {
        _ if target.drained => "no: drained".into(),
        Some(seconds) => format!("no: ejected for {seconds:.0} s"),
        None if target.available => "yes".into(),
        None => "no".into(),
    }
}

pub(super) fn laid_out<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Result<String, Failure> {
    table(head, rows).map_err(|error| Failure::Refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_targets_are_escaped() {
        let table = [
            (("content", "", None), "/services/content"),
            (("a/b c?", "reset", None), "/services/a%2Fb%20c%3F/reset"),
            (
                ("http://a:1", "drain", Some("http://b:1&x")),
                "/services/http:%2F%2Fa:1/drain?target=http%3A%2F%2Fb%3A1%26x",
            ),
        ];
        for ((name, action, target), wanted) in table {
            assert_eq!(path(name, action, target).unwrap(), wanted);
        }
        assert!(path("..", "reset", None).is_err() && path("", "", None).is_err());
    }
}
