//! `routes`: the routes of the configuration, in the order of their precedence being asked.

use std::fmt::Write;

use super::{Failure, Options, Outcome, compile_file, reach};
use gatekeeper_client::{Client, Collection};
use gatekeeper_model::raw::Route;

#[derive(clap::Subcommand)]
pub enum Command {
    /// List the routes of the configuration
    List {
        /// The routes of the running gateway instead, with those that were made through the API
        #[arg(long)]
        running: bool,
    },
    /// Switch a route on that was made through the API
    Enable {
        /// Its name or id
        name: String,
    },
    /// Switch a route off that was made through the API: it matches nothing
    Disable {
        /// Its name or id
        name: String,
    },
}

/// Runs a command on the routes.
pub fn run(options: &Options, command: &Command) -> Outcome {
    match command {
        Command::List { running: false } => list(options),
        Command::List { running: true } => list_running(options),
        Command::Enable { name } => switch(options, name, true),
        Command::Disable { name } => switch(options, name, false),
    }
}

fn switch(options: &Options, name: &str, on: bool) -> Outcome {
    let change = serde_json::json!({ "is_active": on });
    let call = async |gateway: Client| gateway.patch(Collection::Routes, name, &change, None).await;
    let route = reach::call(options, call)?;
    options.print(&route, format_args!("{name} is {}\n", if on { "active" } else { "inactive" }))
}

fn list(options: &Options) -> Outcome {
    let (loaded, ..) = compile_file(options)?;
    let rows: Vec<[String; 5]> = loaded.config.routes.iter().map(|route| row(route)).collect();
    let text = table(["NAME", "METHODS", "HOSTS", "PATH", "TO"], &rows).map_err(|e| Failure::Refused(e.to_string()))?;
    options.print(&loaded.config.routes, text)
}

fn list_running(options: &Options) -> Outcome {
    let routes = reach::call(options, async |gateway| gateway.objects(Collection::Routes, "").await)?;
    let refused =
        |error: serde_json::Error| Failure::Refused(format!("cannot understand the gateway's answer: {error}"));
    let mut rows = Vec::with_capacity(routes.len());
    for shown in &routes {
        let route: Route = serde_json::from_value(shown.body.clone().into()).map_err(refused)?;
        let [name, methods, hosts, path, to] = row(&route);
        rows.push([name, methods, hosts, path, to, shown.managed_by.clone()]);
    }
    let head = ["NAME", "METHODS", "HOSTS", "PATH", "TO", "MANAGED BY"];
    options.print(&routes, table(head, &rows).map_err(|error| Failure::Refused(error.to_string()))?)
}

fn row(route: &Route) -> [String; 5] {
    let any = |list: &[String]| if list.is_empty() { "any".into() } else { list.join(",") };
    let name = if route.is_active.0 { route.name.clone() } else { format!("{} (inactive)", route.name) };
    [name, any(&route.methods), any(&route.hosts), route.path_pattern.clone(), destination(route)]
}

fn destination(route: &Route) -> String {
    let split = route.split.as_ref().map(|split| {
        let shares = split.services.iter().map(|share| format!("{}:{}", share.service, share.weight));
        shares.collect::<Vec<_>>().join(" ")
    });
    let redirect = || route.redirect.as_ref().map(|redirect| format!("{} {}", redirect.status, redirect.to));
    let respond = || route.respond.as_ref().map(|respond| respond.status.to_string());
    let service = route.target_service.clone().or_else(|| route.target_url.as_deref().map(String::from));
    service.or(split).or_else(redirect).or_else(respond).unwrap_or_default()
}

/// A table with columns as wide as their widest cell.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Result<String, std::fmt::Error> {
    let mut widths = head.map(str::len);
    for row in rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.chars().count().max(*width));
    }
    let mut text = String::new();
    for row in std::iter::once(&head.map(String::from)).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            write!(line, "{cell:<width$}  ")?;
        }
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(text)
}
