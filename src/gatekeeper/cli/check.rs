//! `check`: every error and warning of the configuration.

use super::{Options, Outcome, compile_file};

/// Checks the configuration.
pub fn run(options: &Options) -> Outcome {
    let (loaded, plan, faults) = compile_file(options)?;
    let lints = faults.lints();
    if !options.json {
        lints.iter().for_each(|lint| eprintln!("warning: {lint}"));
    }
    let (routes, services, tests) = (plan.routes.len(), plan.services.len(), loaded.config.tests.len());
    let text = format!(
        "{} is valid: {routes} routes, {services} services, {tests} tests passed, {} warnings\n",
        options.file().display(),
        lints.len()
    );
    let json =
        serde_json::json!({"faults": [], "lints": lints, "routes": routes, "services": services, "tests": tests});
    options.print(&json, if options.quiet { "" } else { &text })
}
