//! `config`: the effective configuration, its schema, a file to begin with.

use super::{Failure, Options, Outcome, compile_file, write_out};
use gatekeeper_model::{ANNOTATED_DEFAULT, schema, show};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Print the effective configuration: all files, variables and defaults, secrets masked
    Show,
    /// Print the JSON Schema of the file
    Schema,
    /// Print an annotated configuration to start from
    Init,
}

/// Runs a command on the configuration.
pub fn run(options: &Options, command: &Command) -> Outcome {
    match command {
        Command::Show => {
            let (loaded, ..) = compile_file(options)?;
            match options.json {
                true => options.print(&show::effective_json(&loaded), ""),
                // It is a file again: every character stays.
                false => write_out(&show::effective(&loaded)),
            }
        }
        Command::Schema => {
            let text = serde_json::to_string_pretty(&schema::schema());
            write_out(&(text.map_err(|error| Failure::Refused(error.to_string()))? + "\n"))
        }
        Command::Init => write_out(ANNOTATED_DEFAULT),
    }
}
