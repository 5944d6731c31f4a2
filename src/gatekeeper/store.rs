//! Opening the store that the configuration names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gatekeeper_admin::desk::Keeping;
use gatekeeper_model::raw::{Store, StoreUrl};
use gatekeeper_store::Store as _;
use gatekeeper_store::failure::Failure;
use gatekeeper_store::sql::Sql;
use tokio::runtime::{Builder, Handle, Runtime};

/// What waits for the store; none if there is no store.
pub fn runtime(settings: &Store) -> Result<Option<Runtime>, String> {
    if settings.location() == Some(StoreUrl::None) {
        return Ok(None);
    }
    let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("store").enable_all().build();
    runtime.map(Some).map_err(|error| format!("cannot start the threads of the store: {error}"))
}

/// Opens the store, and brings it to the schema of this version. The error is one sentence, without the URL, which may hold a
/// password.
pub fn open(settings: &Store, state_dir: &Path, runtime: &Handle) -> Result<Keeping, String> {
    let connecting = Sql::connect(&settings.url, state_dir);
    let store = runtime.block_on(connecting).map_err(|failure| cannot_start(&failure))?;
    let snapshot = store.is_shared().then(|| state_dir.join("snapshot.json"));
    match runtime.block_on(store.make_ready()) {
        // There may be a snapshot to start with; else the start fails when it asks for the state.
        Err(failure) if failure.is_passing() && snapshot.is_some() => {
            log::error!("the store does not answer: {failure}")
        }
        made => made.map_err(|failure| cannot_start(&failure))?,
    }
    Ok(Keeping { store: Arc::new(store), runtime: runtime.clone(), snapshot })
}

/// Why the gateway does not start with its store.
pub fn cannot_start(failure: &Failure) -> String {
    format!("cannot use the store: {failure}")
}

/// The folder of a store whose file has a whole path.
pub fn folder(settings: &Store) -> Option<PathBuf> {
    match settings.location()? {
        StoreUrl::Sqlite(file) if file.starts_with('/') => Path::new(file).parent().map(PathBuf::from),
        _ => None,
    }
}
