//! `check`: every error and warning of the configuration.

use super::{Options, Outcome, counted, examine_file};

/// Checks the configuration.
pub fn run(options: &Options) -> Outcome {
    let (loaded, plan, faults) = examine_file(options)?;
    let lints = faults.lints();
    if !options.json {
        lints.iter().for_each(|lint| eprintln!("{}", lint.as_warning()));
    }
    let (routes, services, tests) = (plan.routes.len(), plan.services.len(), loaded.config.tests.len());
    let text = format!(
        "{} is valid: {}, {}, {} passed, {}\n",
        options.file().display(),
        counted(routes, "route"),
        counted(services, "service"),
        counted(tests, "test"),
        counted(lints.len(), "warning"),
    );
    let json =
        serde_json::json!({"faults": [], "lints": lints, "routes": routes, "services": services, "tests": tests});
    options.print(&json, if options.quiet { "" } else { &text })
}
