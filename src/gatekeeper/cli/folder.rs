//! A temporary folder for a gateway that brings its own configuration: `run --demo` and `proxy`.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{Failure, run};
use crate::gateway::Gateway;
use crate::life::inherited::Inherited;

/// A folder that only this user can read or write. It is removed when it is dropped.
pub struct OwnFolder(PathBuf);

impl OwnFolder {
    /// Makes the folder of this process.
    pub fn new() -> Result<OwnFolder, Failure> {
        let folder = std::env::temp_dir().join(format!("gatekeeper-{}", std::process::id()));
        // The folder says what is run, so nobody else may have made it.
        let made = std::fs::DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|error| cannot_write(&folder, &error))?;
        Ok(OwnFolder(folder))
    }

    /// Writes a configuration whose gateway keeps its state in this folder.
    pub fn write(&self, name: &str, configuration: &str) -> Result<PathBuf, Failure> {
        let file = self.0.join(name);
        let text = format!("{}\nstate_dir: state\n", configuration.trim_end());
        std::fs::write(&file, text).map_err(|error| cannot_write(&file, &error))?;
        Ok(file)
    }
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        // What is left behind is a small folder among temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Prepares the gateway of such a file. No other process can take its place, because its folder goes with this one.
pub fn prepare(file: &Path) -> Result<Gateway, Failure> {
    Ok(run::start(file, Inherited::default())?.that_is_not_succeeded())
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Refused(format!("cannot write {}: {error}", path.display()))
}
