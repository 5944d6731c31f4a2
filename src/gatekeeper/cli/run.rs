//! `run`: the gateway itself.

use super::{Failure, Options, Outcome, demo};
use crate::allocator;
use crate::gateway::{Gateway, StartFault};
use crate::life::inherited::Inherited;

#[derive(clap::Args)]
pub struct Args {
    /// Start nine small demo services on loopback, and a gateway in front of them
    #[arg(long)]
    demo: bool,
}

/// Runs the gateway until it is told to stop.
pub fn run(options: &Options, args: &Args) -> Outcome {
    match (args.demo, &options.file) {
        (true, None) => return demo::run(),
        (true, Some(_)) => {
            return Err(Failure::Usage("--demo has its own configuration; remove -c (or GATEKEEPER_CONFIG)".into()));
        }
        (false, _) => {}
    }
    allocator::take_small_pages();
    start(&options.file(), Inherited::take().map_err(Failure::Refused)?)?.run();
    Ok(())
}

/// Prepares a gateway.
pub fn start(file: &std::path::Path, inherited: Inherited) -> Result<Gateway, Failure> {
    Gateway::build(file, inherited).map_err(|fault| match fault {
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
    // Libraries write whole requests at debug level, credentials included: only their warnings are heard.
    builder.filter_level(log::LevelFilter::Warn).filter_module("gatekeeper", log::LevelFilter::Trace);
    // What its exchanges warn of, a client can cause at will: a request with trailers, for one. The access log has it.
    builder.filter_module("pingora_proxy", log::LevelFilter::Error);
    // What it complains of comes back as an error, which is told once.
    builder.filter_module("sqlx", log::LevelFilter::Off);
    builder.write_style(style).format_timestamp_millis().format_target(false).init();
    log::set_max_level(level);
}
