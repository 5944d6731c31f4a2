//! `completions` and `man`: what is generated from the command line's own description.

use clap::CommandFactory;

use super::{Cli, Failure, Outcome, write_out};

#[derive(clap::Args)]
pub struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

/// Prints a completion script.
pub fn completions(args: &Completions) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "gatekeeper", &mut script);
    write_out(&String::from_utf8_lossy(&script))
}

/// Prints the manual page.
pub fn manual() -> Outcome {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(|error| Failure::Refused(error.to_string()))?;
    write_out(&String::from_utf8_lossy(&page))
}
