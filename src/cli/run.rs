//! `run`: the gateway itself.

use super::{Failure, Options, Outcome, demo};
use crate::gateway::{Gateway, StartFault};

#[derive(clap::Args)]
pub struct Args {
    /// Nine small demo services on loopback, and a gateway before them
    #[arg(long)]
    demo: bool,
}

/// Runs the gateway until it is told to stop.
pub fn run(options: &Options, args: &Args) -> Outcome {
    match (args.demo, &options.file) {
        (true, None) => return demo::run(),
        (true, Some(_)) => {
            return Err(Failure::Usage("--demo brings its own configuration: leave the file out".into()));
        }
        (false, _) => {}
    }
    start(&options.file())?.run();
    Ok(())
}

/// Prepares a gateway.
pub fn start(file: &std::path::Path) -> Result<Gateway, Failure> {
    Gateway::build(file).map_err(|fault| match fault {
        StartFault::Config(faults) => Failure::Faults(faults),
        StartFault::Other(text) => Failure::Refused(text),
    })
}

/// Starts the log on standard error. The level of a running gateway is its configuration's; `-q` and `-v` are for the
/// other commands and for what is said before.
pub fn start_log(options: &Options) {
    let level = match (options.quiet, options.verbose) {
        (true, _) => log::LevelFilter::Error,
        (false, 0) => log::LevelFilter::Warn,
        (false, 1) => log::LevelFilter::Debug,
        (false, _) => log::LevelFilter::Trace,
    };
    let style = if options.no_color { env_logger::WriteStyle::Never } else { env_logger::WriteStyle::Auto };
    let mut builder = env_logger::Builder::new();
    // The framework's own notes on each start and stop are for those who debug it.
    builder.filter_level(log::LevelFilter::Trace).filter_module("pingora_core", log::LevelFilter::Warn);
    builder.write_style(style).format_timestamp_millis().format_target(false).init();
    log::set_max_level(level);
}
