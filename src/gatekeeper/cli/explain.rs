//! `explain`: why a request goes where it goes, by the same functions that serve requests.

use std::net::IpAddr;

use super::{Failure, Options, Outcome, compile_file, reach};
use gatekeeper_admin::explain::answer;
use gatekeeper_client::Inquiry;

#[derive(clap::Args)]
pub struct Args {
    /// The method
    method: String,
    /// A path or a URL
    // The name `url` is taken by the option for the gateway's address.
    #[arg(value_name = "URL")]
    target: String,
    /// A request header; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The listener that the request comes by, by name or address [default: the first one that speaks the URL's scheme; for a
    /// path, the first one that does more than redirect to https]
    #[arg(long, value_name = "LISTENER")]
    listener: Option<String>,
    /// The client's address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    from: IpAddr,
    /// Treat the request as authenticated as this user
    #[arg(long = "as", value_name = "USER")]
    user: Option<String>,
    /// The claims of that user, as a JSON object: {"roles": ["admin"], "scope": "read"}
    #[arg(long, value_name = "JSON", requires = "user")]
    claims: Option<String>,
    /// A role of that user; may be repeated
    #[arg(long = "role", value_name = "ROLE", requires = "user")]
    roles: Vec<String>,
    /// Use the current state of the running gateway, such as counts of rate limits and health of targets
    #[arg(long)]
    running: bool,
}

/// Explains a request.
pub fn run(options: &Options, args: &Args) -> Outcome {
    let inquiry = inquiry(args)?;
    let explanation = if args.running {
        reach::call(options, async |gateway| gateway.explain(&inquiry).await)?
    } else {
        let (_, plan, _) = compile_file(options)?;
        answer(inquiry, &plan, false).map_err(Failure::Refused)?
    };
    options.print(&explanation, &explanation)
}

fn inquiry(args: &Args) -> Result<Inquiry, Failure> {
    let headers = args.headers.iter().map(|header| split_header(header)).collect::<Result<Vec<_>, _>>()?;
    let claims = args.claims.as_deref().map(serde_json::from_str).transpose();
    Ok(Inquiry {
        request: format!("{} {}", args.method, args.target),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        listener: args.listener.clone(),
        from: Some(args.from),
        user: args.user.clone(),
        roles: args.roles.clone(),
        claims: claims.map_err(|error| Failure::Usage(format!("--claims: {error}")))?.unwrap_or_default(),
    })
}

fn split_header(header: &str) -> Result<(&str, &str), Failure> {
    let (name, value) = header
        .split_once(':')
        .ok_or_else(|| Failure::Refused(format!("{header:?} is not a header of the form NAME: VALUE")))?;
    Ok((name.trim(), value.trim()))
}
