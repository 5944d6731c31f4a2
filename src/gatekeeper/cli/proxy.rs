//! `proxy`: a gateway before one service, without a configuration.

use serde_json::json;

use super::{Options, Outcome, folder};

#[derive(clap::Args)]
pub struct Args {
    /// The service that all requests go to; repeat it to spread them over several instances
    #[arg(long, value_name = "URL", required = true)]
    to: Vec<String>,
    /// Where to listen, such as 0.0.0.0:8000 for every interface
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    from: String,
    /// Print the configuration instead of running it
    #[arg(long)]
    print: bool,
}

/// Runs the proxy until it is told to stop.
pub fn run(options: &Options, args: &Args) -> Outcome {
    let configuration = configuration(args);
    if args.print {
        return super::write_out(&configuration);
    }
    if options.file.is_some() {
        return Err(super::Failure::Usage("`proxy` needs no configuration: leave the file out, or use `run`".into()));
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
        "version: 1\nlisten: [{{ address: {from} }}]\n# Any free port: the command line finds it.\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
         services:\n  app: {{ targets: {to} }}\nroutes:\n  - {{ path_pattern: /*, target_service: app }}\n"
    )
}
