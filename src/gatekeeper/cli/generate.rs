//! `completions` and `man`: what is generated from the command line's own description.

use std::path::PathBuf;

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

#[derive(clap::Args)]
pub struct Manual {
    /// Write the pages of all commands to this folder instead
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

/// Prints the manual page, or writes it and those that it refers to.
pub fn manual(args: &Manual) -> Outcome {
    if let Some(folder) = &args.to {
        let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
        return written.map_err(|error| Failure::Refused(format!("cannot write to {}: {error}", folder.display())));
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(|error| Failure::Refused(error.to_string()))?;
    write_out(&String::from_utf8_lossy(&page))
}
