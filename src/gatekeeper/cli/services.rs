//! `services`: the state of the services of the running gateway, and what an administrator does to them.

use std::fmt::Write;

use super::routes::table;
use super::{Failure, Options, Outcome, reach};
use gatekeeper_client::{CircuitState, Client, ServiceHealth, TargetHealth};

#[derive(clap::Subcommand)]
pub enum Command {
    /// List the services and their status
    List,
    /// Show a service and its targets
    Show {
        /// The service
        name: String,
    },
    /// Close the circuit breaker of a service and end the ejections of its targets; with --target, only those of that target
    Reset(Part),
    /// Send no new requests to a service or target; requests in flight finish
    Drain(Part),
    /// End a drain: send new requests again
    Undrain(Part),
}

#[derive(clap::Args)]
pub struct Part {
    /// The service
    name: String,
    /// Only this target, by its URL
    #[arg(long, value_name = "URL")]
    target: Option<String>,
}

/// Runs a command on the services.
pub fn run(options: &Options, command: &Command) -> Outcome {
    match command {
        Command::List => list(options),
        Command::Show { name } => {
            let health = reach::call(options, async |gateway| gateway.service(name).await)?;
            options.print(&health, shown(&health)?)
        }
        Command::Reset(Part { name, target }) => {
            act(options, async |gateway| gateway.reset(name, target.as_deref()).await)
        }
        Command::Drain(Part { name, target }) => {
            act(options, async |gateway| gateway.drain(name, target.as_deref()).await)
        }
        Command::Undrain(Part { name, target }) => {
            act(options, async |gateway| gateway.undrain(name, target.as_deref()).await)
        }
    }
}

fn list(options: &Options) -> Outcome {
    let services = reach::call(options, async |gateway| gateway.all_services().await)?;
    let rows: Vec<_> = services.iter().map(row).collect();
    options.print(&services, laid_out(["NAME", "STATUS", "CIRCUIT", "TARGETS", "IN FLIGHT", "WAITING"], &rows)?)
}

fn act(
    options: &Options,
    action: impl AsyncFnOnce(Client) -> Result<ServiceHealth, gatekeeper_client::Failure>,
) -> Outcome {
    let health = reach::call(options, action)?;
    if options.quiet { Ok(()) } else { options.print(&health, shown(&health)?) }
}

fn row(health: &ServiceHealth) -> [String; 6] {
    let targets = health.targets.as_deref().unwrap_or_default();
    let available = targets.iter().filter(|target| target.available).count();
    let status = health.status.name();
    [
        health.service_name.clone(),
        if health.draining { format!("{status} (drained)") } else { status.into() },
        health.circuit_state.map_or("none", CircuitState::name).into(),
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
        let _ = writeln!(
            text,
            "last check  {last}: {} good, {} failed since the start",
            health.success_count, health.error_count
        );
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
    match &target.unavailable_because {
        _ if target.available => "yes".into(),
        Some(why) => format!("no: {why}"),
        None => "no".into(),
    }
}

pub(super) fn laid_out<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Result<String, Failure> {
    table(head, rows).map_err(|error| Failure::Refused(error.to_string()))
}
