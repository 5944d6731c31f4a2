//! How commands reach the running gateway: its administration address and token, both found by the configuration.

use gatekeeper_client::{Client, Secret};

use super::{Failure, Options, load_for_administration};
use crate::gateway::state_dir;
use crate::life::state::{admin_address, token_file};

/// Calls the administration API of the running gateway.
pub fn call<T>(
    options: &Options,
    ask: impl AsyncFnOnce(Client) -> Result<T, gatekeeper_client::Failure>,
) -> Result<T, Failure> {
    let client = client(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Refused(error.to_string()))?;
    Ok(runtime.block_on(ask(client))?)
}

fn client(options: &Options) -> Result<Client, Failure> {
    let config = load_for_administration(options)?;
    let directory = state_dir(&config);
    let file = token_file(&directory);
    let token = gatekeeper_model::files::read_to_string(&file).map_err(|error| {
        Failure::Unreachable(format!("the administration token {} can't be read: {error}", file.display()))
    })?;
    let address = admin_address(&directory).unwrap_or(config.admin.address);
    Ok(Client::new(&address, Secret::from(token.trim()))?)
}

impl From<gatekeeper_client::Failure> for Failure {
    fn from(failure: gatekeeper_client::Failure) -> Self {
        use gatekeeper_client::Failure::*;
        let text = failure.to_string();
        match failure {
            Unreachable { .. } | NotAGatekeeper { .. } => Failure::Unreachable(text),
            Invalid(_) => Failure::Usage(text),
            Refused(_) | Unexpected(_) | Unusable(_) => Failure::Refused(text),
        }
    }
}
