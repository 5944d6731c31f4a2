//! `explain`: why a request goes where it goes, through the very functions that serve requests.

use std::net::IpAddr;

use super::{Failure, Options, Outcome, compile_file};
use crate::plan::route_tests::{FORMS, parse_request};

#[derive(clap::Args)]
pub struct Args {
    /// The method
    method: String,
    /// A path or a URL
    url: String,
    /// A request header
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The client's address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    from: IpAddr,
}

/// Explains a request.
pub fn run(options: &Options, args: &Args) -> Outcome {
    let (_, plan, _) = compile_file(options)?;
    let headers = args.headers.iter().map(|header| split_header(header)).collect::<Result<Vec<_>, _>>()?;
    let text = format!("{} {}", args.method, args.url);
    let request = parse_request(&text, headers)
        .map_err(|fault| Failure::Refused(format!("{text:?} is no request ({fault}); it has the form {FORMS}")))?;
    let explanation = plan.explain(&request, Some(args.from));
    options.print(&explanation, &explanation)
}

fn split_header(header: &str) -> Result<(&str, &str), Failure> {
    let (name, value) = header
        .split_once(':')
        .ok_or_else(|| Failure::Refused(format!("{header:?} is no header; it has the form NAME: VALUE")))?;
    Ok((name.trim(), value.trim()))
}
