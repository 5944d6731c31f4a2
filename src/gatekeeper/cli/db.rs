//! `db`: the store of a configuration, whether a gateway runs or not.

use std::fs;
use std::path::{Path, PathBuf};

use gatekeeper_model::load::load;
use gatekeeper_model::raw::{Config, StoreUrl};
use gatekeeper_store::sql::{Schema, Sql};
use gatekeeper_store::{State, Store};
use serde_json::json;

use super::{Failure, Options, Outcome, counted};
use crate::gateway::state_dir;
use crate::life::running;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Show the schema and the newest revision of the store
    Status,
    /// Bring the store to the schema of this version; a gateway does so when it starts
    Migrate,
    /// Copy the store to a new file, also while a gateway runs
    Backup {
        /// The new file
        #[arg(value_name = "FILE")]
        to: PathBuf,
    },
    /// Replace the store by a copy; the gateway must be stopped
    Restore {
        /// The copy
        #[arg(value_name = "FILE")]
        from: PathBuf,
    },
}

/// Runs a command on the store.
pub fn run(options: &Options, command: &Command) -> Outcome {
    let (loaded, faults) = load(&options.file());
    let config = loaded.ok_or(Failure::Faults(faults))?.config;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Refused(error.to_string()))?;
    runtime.block_on(async {
        match command {
            Command::Status => status(options, &config).await,
            Command::Migrate => migrate(options, &config).await,
            Command::Backup { to } => back_up(options, &config, to).await,
            Command::Restore { from } => restore(options, &config, from).await,
        }
    })
}

async fn status(options: &Options, config: &Config) -> Outcome {
    let store = open(config).await?;
    let Schema { found, known } = store.schema().await?;
    if found == 0 {
        return options.print(&json!({"schema": found, "known": known}), "the store is empty\n");
    }
    let state = store.state().await?;
    let (revision, objects) = (&state.revision, state.objects.len());
    let whole = state.is_whole();
    let text = format!(
        "schema    {found} (this version knows {known})\nrevision  {}: {}\nobjects   {objects}, hash {}\n",
        revision.number,
        revision.summary,
        if whole { "proved" } else { "WRONG: the store is damaged" },
    );
    let report =
        json!({"schema": found, "known": known, "revision": revision.number, "objects": objects, "whole": whole});
    options.print(&report, text)?;
    if whole { Ok(()) } else { Err(Failure::Refused("the hash of the objects is not that of the revision".into())) }
}

async fn migrate(options: &Options, config: &Config) -> Outcome {
    let Schema { found, known } = open(config).await?.migrate().await?;
    let text = match found == known {
        true => format!("the store has schema {known} already\n"),
        false => format!("the store had schema {found} and has schema {known} now\n"),
    };
    options.print(&json!({"before": found, "now": known}), text)
}

async fn back_up(options: &Options, config: &Config, to: &Path) -> Outcome {
    let store = open(config).await?;
    store.back_up(to).await?;
    let state = proved(to).await?;
    let text = format!("{}: revision {}, hash proved\n", to.display(), state.revision.number);
    options.print(&json!({"file": to, "revision": state.revision.number, "hash": state.revision.hash}), text)
}

async fn restore(options: &Options, config: &Config, from: &Path) -> Outcome {
    let Some(StoreUrl::Sqlite(file)) = config.store.location() else {
        return Err(Failure::Refused("only a store in SQLite is restored from a file; for PostgreSQL use psql".into()));
    };
    let state = proved(from).await?;
    if running::in_directory(&state_dir(config)).is_some() {
        return Err(Failure::Refused("a gateway runs with this store: stop it first".into()));
    }
    let file = state_dir(config).join(file);
    let cannot = |error: std::io::Error| Failure::Refused(format!("cannot replace {}: {error}", file.display()));
    let new = file.with_extension("restored");
    fs::copy(from, &new).map_err(cannot)?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&new, private).map_err(cannot)?;
    // What was written ahead belongs to the store that goes.
    for ending in ["-wal", "-shm"] {
        let mut ahead = file.clone().into_os_string();
        ahead.push(ending);
        match fs::remove_file(&ahead) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(cannot(error)),
            _ => {}
        }
    }
    fs::rename(&new, &file).map_err(cannot)?;
    let text = format!("restored revision {} with {}\n", state.revision.number, counted(state.objects.len(), "object"));
    options.print(&json!({"revision": state.revision.number, "objects": state.objects.len()}), text)
}

/// The state of a copy, if it is whole.
async fn proved(file: &Path) -> Result<State, Failure> {
    if !file.is_file() {
        return Err(Failure::Refused(format!("there is no file {}", file.display())));
    }
    let file = fs::canonicalize(file).map_err(|error| Failure::Refused(error.to_string()))?;
    let copy = Sql::connect(&format!("sqlite:{}", file.display()), Path::new("/")).await?;
    let state = copy.state().await?;
    match state.is_whole() {
        true => Ok(state),
        false => Err(Failure::Refused(format!("{} is damaged: its hash is wrong", file.display()))),
    }
}

async fn open(config: &Config) -> Result<Sql, Failure> {
    if config.store.location() == Some(StoreUrl::None) {
        return Err(Failure::Refused("the configuration has no store (store.url is none)".into()));
    }
    let folder = state_dir(config);
    if !folder.is_dir() {
        return Err(Failure::Refused(format!(
            "there is no state directory {}: start the gateway first",
            folder.display()
        )));
    }
    Ok(Sql::connect(&config.store.url, &folder).await?)
}

impl From<gatekeeper_store::failure::Failure> for Failure {
    fn from(failure: gatekeeper_store::failure::Failure) -> Self {
        match failure.is_passing() {
            true => Failure::Unreachable(failure.to_string()),
            false => Failure::Refused(failure.to_string()),
        }
    }
}
