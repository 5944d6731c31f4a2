//! How commands reach the running gateway: its administration address and token, both found by the configuration.

use std::time::Duration;

use reqwest::{Client, Method, Response};
use serde::Serialize;
use serde_json::Value;

use super::{Failure, Options, load_for_administration};
use crate::gateway::state_dir;
use crate::life::state::{admin_address, token_file};
use gatekeeper_admin::BASE;

/// A reload may look up names, and compile a hundred thousand routes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls the administration API. An answer that is no success is a refusal.
pub fn call(options: &Options, method: Method, path: &str) -> Result<Value, Failure> {
    call_within(options, method, path, PATIENCE)
}

/// The same with a body.
pub fn post(options: &Options, path: &str, body: &impl Serialize) -> Result<Value, Failure> {
    let body = serde_json::to_value(body).map_err(|error| Failure::Refused(error.to_string()))?;
    ask(options, Method::POST, path, Some(body), PATIENCE)
}

/// The same, for what may take longer.
pub fn call_within(options: &Options, method: Method, path: &str, patience: Duration) -> Result<Value, Failure> {
    ask(options, method, path, None, patience)
}

fn ask(
    options: &Options,
    method: Method,
    path: &str,
    body: Option<Value>,
    patience: Duration,
) -> Result<Value, Failure> {
    let config = load_for_administration(options)?;
    let directory = state_dir(&config);
    let file = token_file(&directory);
    let token = gatekeeper_model::files::read_to_string(&file).map_err(|error| {
        Failure::Unreachable(format!("the administration token {} can't be read: {error}", file.display()))
    })?;
    let address = &admin_address(&directory).unwrap_or(config.admin.address);
    let request = async {
        let request = client(address, patience)?.request(method, url(address, path)).bearer_auth(token.trim());
        let request = body.iter().fold(request, |request, body| request.json(body));
        let response = request.send().await.map_err(|error| unreachable(address, &error))?;
        read(address, response).await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Refused(error.to_string()))?.block_on(request)
}

fn client(address: &str, patience: Duration) -> Result<Client, Failure> {
    let builder = Client::builder().timeout(patience).no_proxy();
    let builder = match address.strip_prefix("unix:") {
        Some(path) => builder.unix_socket(path),
        None => builder,
    };
    builder.build().map_err(|error| Failure::Refused(error.to_string()))
}

fn url(address: &str, path: &str) -> String {
    let host = if address.starts_with("unix:") { "localhost" } else { address };
    format!("http://{host}{BASE}{path}")
}

async fn read(address: &str, response: Response) -> Result<Value, Failure> {
    let good = response.status().is_success();
    let body = response.bytes().await.map_err(|error| unreachable(address, &error))?;
    let body: Value = serde_json::from_slice(&body)
        .map_err(|_| Failure::Unreachable(format!("what answers at {address} is not a gatekeeper")))?;
    if good {
        return Ok(body);
    }
    Err(Failure::Refused(body["detail"].as_str().unwrap_or("the gateway refused").trim_end().to_owned()))
}

fn unreachable(address: &str, error: &reqwest::Error) -> Failure {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Failure::Unreachable(format!("no gateway answers at {address}: {cause}"))
}
