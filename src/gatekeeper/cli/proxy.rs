//! `proxy`: a gateway in front of one service, without a configuration.

use std::net::SocketAddr;

use gatekeeper_plane::upstream::target::Url;
use serde_json::json;

use super::{Options, Outcome, folder};

#[derive(clap::Args)]
pub struct Args {
    /// The service that all requests go to, such as http://127.0.0.1:3000; repeat it to spread them over several instances
    #[arg(long, value_name = "URL", required = true, value_parser = service)]
    to: Vec<String>,
    /// The address to listen on: 0.0.0.0:8000 for every interface, 8000 for this machine only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000", value_parser = listener)]
    from: String,
    /// Print the configuration instead of running it
    #[arg(long)]
    print: bool,
}

/// A URL, or a host and a port that speaks HTTP.
fn service(text: &str) -> Result<String, String> {
    let is_whole = text.contains("://") || text.starts_with("unix:");
    let url = if is_whole { text.to_owned() } else { format!("http://{text}") };
    Url::parse(&url).map_err(|_| "write a URL, such as http://127.0.0.1:3000".to_owned())?;
    Ok(url)
}

/// An address, or the port on loopback.
fn listener(text: &str) -> Result<String, String> {
    let address = if text.parse::<u16>().is_ok() { format!("127.0.0.1:{text}") } else { text.to_owned() };
    let is_address = address.parse::<SocketAddr>().is_ok() || address.starts_with("unix:/");
    is_address.then_some(address).ok_or_else(|| "write an address and a port, such as 0.0.0.0:8000".to_owned())
}

/// Runs the proxy until it is told to stop.
pub fn run(options: &Options, args: &Args) -> Outcome {
    let configuration = configuration(args);
    if args.print {
        return super::write_out(&configuration);
    }
    if options.file.is_some() {
        return Err(super::Failure::Usage(
            "`proxy` has no configuration file; remove -c (or GATEKEEPER_CONFIG), or use `run`".into(),
        ));
    }
    let folder = folder::OwnFolder::new()?;
    let gateway = folder::prepare(&folder.write("proxy.yaml", &configuration)?)?;
    println!("gatekeeper listens on {} and sends requests to {}", gateway.listeners().join(", "), args.to.join(", "));
    gateway.run();
    Ok(())
}

/// The file that does the same. JSON strings are YAML strings.
fn configuration(args: &Args) -> String {
    let (to, from) = (json!(args.to), json!(args.from));
    format!(
        "version: 1\nlisten: [{{ address: {from} }}]\n# Any free port. The commands find it.\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
         services:\n  app: {{ targets: {to} }}\nroutes:\n  - {{ path_pattern: /*, target_service: app }}\n"
    )
}
