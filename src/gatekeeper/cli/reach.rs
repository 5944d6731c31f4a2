//! How commands reach the gateway that they are meant for: the one at `--url`, else the one that runs on this host.
//!
//! No configuration is read for it, so that a file with an error disables no command. Only where no running gateway is found, the
//! file may say where one keeps its state: another user's gateway, for one.

use std::path::{Path, PathBuf};

use gatekeeper_client::{Client, Secret};
use gatekeeper_model::load::load;

use super::{Failure, Options};
use crate::gateway::state_dir;
use crate::life::running::{self, Found};
use crate::life::state::{ADMIN_TOKEN, token_file};

/// Calls the administration API of the gateway that is meant.
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
    if let Some(url) = &options.url {
        return Ok(Client::new(url, token_for(options)?)?);
    }
    if let Some(found) = running_here(options)? {
        return Ok(Client::new(&found.running.admin, token_in(&found.state_dir)?)?);
    }
    let (address, state_dir) = as_configured(options)?;
    if !token_file(&state_dir).exists() {
        return Err(Failure::Unreachable(format!("no gateway runs with {}", options.file().display())));
    }
    Ok(Client::new(&address, token_in(&state_dir)?)?)
}

/// The token for a gateway elsewhere.
fn token_for(options: &Options) -> Result<Secret, Failure> {
    if let Some(file) = &options.token_file {
        return read_token(file);
    }
    let token = std::env::var("GATEKEEPER_AUTH_TOKEN").ok().filter(|token| !token.is_empty());
    token
        .map(Secret::from)
        .ok_or_else(|| Failure::Usage("--url needs a token: use --token-file FILE or set GATEKEEPER_AUTH_TOKEN".into()))
}

/// The token of a gateway that keeps its state in this directory.
fn token_in(state_dir: &Path) -> Result<Secret, Failure> {
    let token = running::read_own(state_dir, ADMIN_TOKEN).map_err(|error| {
        let file = token_file(state_dir);
        Failure::Unreachable(format!("cannot read the administration token {}: {error}", file.display()))
    })?;
    Ok(Secret::from(token.trim()))
}

fn read_token(file: &Path) -> Result<Secret, Failure> {
    let token = gatekeeper_model::files::read_short(file).map_err(|error| {
        Failure::Unreachable(format!("cannot read the administration token {}: {error}", file.display()))
    })?;
    Ok(Secret::from(token.trim()))
}

/// The gateway of this host that is meant: the one of systemd's environment, the one that runs with this file, or the only one.
fn running_here(options: &Options) -> Result<Option<Found>, Failure> {
    if let Some(state_dir) = std::env::var_os("STATE_DIRECTORY") {
        return Ok(running::in_directory(Path::new(&state_dir)));
    }
    let (mut all, file) = (running::on_this_host(), options.file());
    if let Some(at) = all.iter().position(|found| is_same_file(&found.running.config, &file)) {
        return Ok(Some(all.swap_remove(at)));
    }
    // Only the gateway that runs with a file is meant by whoever names it.
    if options.file.is_some() {
        return Ok(None);
    }
    if all.is_empty() {
        return Ok(None);
    }
    // Whoever is in the folder of a configuration means that one. The installed file is there for whatever else runs.
    if file.exists() && !is_installed(&file) {
        let text = format!("no gateway runs with {}; running:{}", file.display(), listed(&all));
        return Err(Failure::Unreachable(text));
    }
    if all.len() > 1 {
        let text = format!("{} gateways run on this host, choose one:{}", all.len(), listed(&all));
        return Err(Failure::Usage(text));
    }
    Ok(all.pop())
}

/// Whether a file that nobody named is the one that is installed on this host, and not one of the working directory.
fn is_installed(file: &Path) -> bool {
    file.is_absolute()
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    whole(one).is_some() && whole(one) == whole(other)
}

fn listed(all: &[Found]) -> String {
    all.iter().map(|found| format!("\n  -c {}", found.running.config.display())).collect()
}

/// Where the gateway of the file would be: its administration address and state directory.
fn as_configured(options: &Options) -> Result<(String, PathBuf), Failure> {
    let file = options.file();
    if options.file.is_none() && !file.exists() {
        return Err(Failure::Unreachable(
            "no running gateway was found on this host: start one, or use -c FILE or --url URL".into(),
        ));
    }
    // It says where the token is sent.
    if options.file.is_none() && !is_installed(&file) && !running::is_own(&file) {
        let text = format!("{} can be changed by another user: name it with -c if it is meant", file.display());
        return Err(Failure::Refused(text));
    }
    let (loaded, faults) = load(&file);
    let config = loaded.ok_or(Failure::Faults(faults))?.config;
    let state_dir = state_dir(&config);
    Ok((config.admin.address, state_dir))
}

impl From<gatekeeper_client::Failure> for Failure {
    fn from(failure: gatekeeper_client::Failure) -> Self {
        use gatekeeper_client::Failure::*;
        let text = failure.to_string();
        match failure {
            Unreachable { .. } | NotAGatekeeper { .. } | TooLarge { .. } => Failure::Unreachable(text),
            Invalid(_) => Failure::Usage(text),
            Refused(_) | Unexpected(_) | Unusable(_) => Failure::Refused(text),
        }
    }
}
