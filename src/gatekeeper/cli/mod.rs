//! The command line. One file a command; what they share is here: options, exit codes, how errors are told.
//!
//! Exit codes: 0 good, 1 refused or invalid, 2 usage or differences, 3 the gateway can't be reached.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

use gatekeeper_model::fault::Faults;
use gatekeeper_model::load::load;
use gatekeeper_model::{Loaded, printable, raw};
use gatekeeper_plane::observe::metrics::Metrics;
use gatekeeper_plane::plan::Plan;
use gatekeeper_plane::plan::candidate::{Candidate, Draft};

mod check;
mod config;
mod db;
mod declarative;
mod demo;
mod explain;
mod folder;
mod generate;
mod jwt;
mod key;
mod limits;
mod proxy;
mod reach;
mod reload;
mod routes;
mod run;
mod services;
mod status;
mod token;
mod upgrade;
mod why;

/// An API gateway and reverse proxy for the edge.
#[derive(Parser)]
#[command(name = "gatekeeper", version, about, disable_help_subcommand = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    options: Options,
    /// Check the configuration (same as `check`)
    #[arg(short = 't')]
    test: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "Examples:
  gatekeeper proxy --to http://127.0.0.1:3000      a reverse proxy on 127.0.0.1:8000, without a configuration
  gatekeeper run --demo                            a gateway with nine demo services
  gatekeeper config init > gatekeeper.yaml         an annotated configuration to start from
  gatekeeper check -c gatekeeper.yaml              all errors and warnings, with their places
  gatekeeper explain GET /api/v1/content/1         how a request is routed and judged
  gatekeeper reload                                reload the file, or say why it is rejected";

#[derive(clap::Args)]
#[command(next_help_heading = "Global options")]
struct Options {
    /// The configuration [default: gatekeeper.yaml if it exists, else /etc/gatekeeper/gatekeeper.yaml]
    #[arg(short = 'c', long = "config", global = true, value_name = "FILE", env = "GATEKEEPER_CONFIG")]
    file: Option<PathBuf>,
    /// The administration listener of a gateway elsewhere, such as http://10.0.0.5:8001 [default: the gateway of this host]
    #[arg(long = "url", id = "gateway", global = true, value_name = "URL", env = "GATEKEEPER_URL")]
    url: Option<String>,
    /// A file with the token for --url [default: the token in $GATEKEEPER_AUTH_TOKEN]
    #[arg(long, global = true, value_name = "FILE", requires = "gateway")]
    token_file: Option<PathBuf>,
    /// Print errors only
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Print more (-v debug, -vv trace)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// No colours (the default when the output is not a terminal)
    #[arg(long, global = true)]
    no_color: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway
    Run(run::Args),
    /// Run a reverse proxy for one service, without a configuration file
    Proxy(proxy::Args),
    /// Check the configuration and list all errors and warnings
    #[command(visible_alias = "validate")]
    Check,
    /// Reload the configuration
    Reload,
    /// Replace the running process with the installed binary, without a failed request
    Upgrade(upgrade::Args),
    /// Show the status of the running gateway
    Status,
    /// Explain how a request is routed and judged
    Explain(explain::Args),
    /// Explain why a request was refused, by its request id
    Why(why::Args),
    /// List the routes of the configuration
    #[command(subcommand)]
    Routes(routes::Command),
    /// Show and manage the services of the running gateway
    #[command(subcommand)]
    Services(services::Command),
    /// Show the rate limits of the running gateway
    #[command(subcommand)]
    Limits(limits::Command),
    /// Show what applying a file to the running gateway would change (exit code 2 if there is something)
    Diff(declarative::Diff),
    /// Apply a file of services, routes and rate limits to the running gateway
    Apply(declarative::Apply),
    /// Print what was made through the API, as a file that can be applied
    Export,
    /// Go back to a revision of what was made through the API
    Rollback(declarative::Rollback),
    /// List revisions, or show what one changed
    Revisions(declarative::Revisions),
    /// Show and manage the tokens of the API
    #[command(subcommand)]
    Token(token::Command),
    /// Print revisions as they begin to serve
    Watch(declarative::Watch),
    /// List the gateways that share the store
    Nodes,
    /// Show, back up or restore the store
    #[command(subcommand)]
    Db(db::Command),
    /// Create a token for development
    Jwt(jwt::Args),
    /// Create an API key and its hash for the configuration
    Key(key::Args),
    /// Print the configuration, its schema or an annotated default
    #[command(subcommand)]
    Config(config::Command),
    /// Print a completion script for a shell
    Completions(generate::Completions),
    /// Print the manual page
    Man(generate::Manual),
    /// Print the version
    Version,
}

/// What went wrong with a command, and the exit code that says so.
#[derive(Debug)]
enum Failure {
    /// The configuration is wrong.
    Faults(Faults),
    /// Refused or invalid.
    Refused(String),
    /// The gateway can't be reached.
    Unreachable(String),
    /// The command was not understood.
    Usage(String),
    /// There are differences, which have been printed.
    Different,
}

type Outcome = Result<(), Failure>;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Whoever speaks TLS or HTTP needs one; it fails only if there is one.
    rustls::crypto::ring::default_provider().install_default().ok();
    gatekeeper_core::signature::install();
    run::start_log(&cli.options);
    let options = &cli.options;
    let outcome = match cli.command {
        Some(Command::Run(args)) => run::run(options, &args),
        Some(Command::Proxy(args)) => proxy::run(options, &args),
        Some(Command::Check) => check::run(options),
        None if cli.test => check::run(options),
        Some(Command::Reload) => reload::run(options),
        Some(Command::Upgrade(args)) => upgrade::run(options, &args),
        Some(Command::Status) => status::run(options),
        Some(Command::Explain(args)) => explain::run(options, &args),
        Some(Command::Why(args)) => why::run(options, &args),
        Some(Command::Routes(command)) => routes::run(options, &command),
        Some(Command::Services(command)) => services::run(options, &command),
        Some(Command::Limits(command)) => limits::run(options, &command),
        Some(Command::Diff(args)) => declarative::diff(options, &args),
        Some(Command::Apply(args)) => declarative::apply(options, &args),
        Some(Command::Export) => declarative::export(options),
        Some(Command::Rollback(args)) => declarative::roll_back(options, &args),
        Some(Command::Revisions(args)) => declarative::revisions(options, &args),
        Some(Command::Token(command)) => token::run(options, &command),
        Some(Command::Watch(args)) => declarative::watch(options, &args),
        Some(Command::Nodes) => declarative::nodes(options),
        Some(Command::Db(command)) => db::run(options, &command),
        Some(Command::Jwt(args)) => jwt::run(options, &args),
        Some(Command::Key(args)) => key::run(options, &args),
        Some(Command::Config(command)) => config::run(options, &command),
        Some(Command::Completions(args)) => generate::completions(&args),
        Some(Command::Man(args)) => generate::manual(&args),
        Some(Command::Version) => version(options),
        None => return usage(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(options),
    }
}

fn usage() -> ExitCode {
    use clap::CommandFactory;
    let _ = Cli::command().print_help();
    ExitCode::from(2)
}

fn version(options: &Options) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    options
        .print(&serde_json::json!({"name": "gatekeeper", "version": version}), format_args!("gatekeeper {version}\n"))
}

impl Options {
    /// The configuration's file.
    fn file(&self) -> PathBuf {
        let here = PathBuf::from("gatekeeper.yaml");
        match &self.file {
            Some(file) => file.clone(),
            None if here.exists() => here,
            None => "/etc/gatekeeper/gatekeeper.yaml".into(),
        }
    }

    /// Prints a result, as JSON if that is wanted. What came from elsewhere cannot command the terminal. A reader that went
    /// away (`| head`) is no error.
    fn print(&self, json: &impl Serialize, text: impl Display) -> Outcome {
        let shown = match self.json {
            true => serde_json::to_string_pretty(json).map_err(|error| Failure::Refused(error.to_string()))? + "\n",
            false => printable(&text.to_string()),
        };
        write_out(&shown)
    }
}

/// Writes to standard output.
fn write_out(text: &str) -> Outcome {
    use std::io::{ErrorKind, Write};
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::Refused(format!("cannot print: {error}"))),
        _ => Ok(()),
    }
}

impl Failure {
    fn tell(&self, options: &Options) -> ExitCode {
        match self {
            Failure::Faults(faults) if options.json => {
                let _ = write_out(&format!("{:#}\n", serde_json::json!({"faults": faults.faults()})));
            }
            Failure::Faults(faults) => eprintln!("{}", faults.to_string().trim_end()),
            Failure::Refused(text) | Failure::Unreachable(text) | Failure::Usage(text) => {
                eprintln!("gatekeeper: {}", printable(text))
            }
            Failure::Different => {}
        }
        ExitCode::from(match self {
            Failure::Unreachable(_) => 3,
            Failure::Usage(_) | Failure::Different => 2,
            _ => 1,
        })
    }
}

/// `1 route`, `2 routes`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Loads and compiles a configuration without looking names up.
fn compile_file(options: &Options) -> Result<(Loaded, Plan, Faults), Failure> {
    compile_as(options, Candidate::judge)
}

/// Loads and compiles a configuration, and looks its names up.
fn examine_file(options: &Options) -> Result<(Loaded, Plan, Faults), Failure> {
    compile_as(options, Candidate::examine)
}

fn compile_as(
    options: &Options,
    compile: impl for<'m> FnOnce(Candidate, &'m Metrics) -> Result<Draft<'m>, Faults>,
) -> Result<(Loaded, Plan, Faults), Failure> {
    if options.file.is_none() && !options.file().exists() {
        let file = options.file();
        let text = format!("there is no gatekeeper.yaml here and no {}: name a file with -c", file.display());
        return Err(Failure::Refused(text));
    }
    let (loaded, faults) = load(&options.file());
    let Some(loaded) = loaded else { return Err(Failure::Faults(faults)) };
    let metrics = Metrics::new("").map_err(|error| Failure::Refused(error.to_string()))?;
    let (origins, files, texts) = (loaded.origins.clone(), loaded.files.clone(), loaded.texts.clone());
    let draft = compile(Candidate::of(loaded, faults, "the command line"), &metrics).map_err(Failure::Faults)?;
    let loaded = Loaded { config: draft.config, origins, files, texts };
    Ok((loaded, draft.plan, draft.faults))
}

/// Loads a configuration for what it says of the running gateway, whatever else may be wrong with it.
fn load_for_administration(options: &Options) -> Result<raw::Config, Failure> {
    let (loaded, faults) = load(&options.file());
    loaded.map(|loaded| loaded.config).ok_or(Failure::Faults(faults))
}
