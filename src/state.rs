//! The state directory: the administration token, and where the administration of the running gateway is reached, so
//! that the command line finds it also when the file says another address by now.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What the gateway remembers.
pub struct State {
    /// What opens the administration API.
    pub admin_token: String,
}

impl State {
    /// Opens the directory; the first time, makes it and writes a new token. The error is one sentence.
    pub fn open(directory: &Path) -> Result<State, String> {
        let told =
            |what: &Path, error: io::Error| format!("the state directory can't be used: {}: {error}", what.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| told(directory, error))?;
        let file = token_file(directory);
        let admin_token = match fs::read_to_string(&file) {
            Ok(token) if !token.trim().is_empty() => token.trim().to_owned(),
            Ok(_) => return Err(format!("{} is empty: remove it, and a new token is made", file.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_new_token(&file).map_err(|error| told(&file, error))?
            }
            Err(error) => return Err(told(&file, error)),
        };
        Ok(State { admin_token })
    }
}

/// Remembers where the administration is reached.
pub fn remember_admin_address(directory: &Path, address: &str) -> io::Result<()> {
    fs::write(directory.join(ADMIN_ADDRESS), address)
}

/// Where the administration of the gateway that used this directory last is reached.
pub fn admin_address(directory: &Path) -> Option<String> {
    fs::read_to_string(directory.join(ADMIN_ADDRESS)).ok().filter(|address| !address.is_empty())
}

const ADMIN_ADDRESS: &str = "admin.address";

/// Where the administration token is.
pub fn token_file(directory: &Path) -> PathBuf {
    directory.join("admin.token")
}

fn write_new_token(file: &Path) -> io::Result<String> {
    let mut random = [0; 32];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut random)
        .map_err(|_| io::Error::other("the system gives no random numbers"))?;
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = OpenOptions::new();
    let mut open = options.write(true).create_new(true).mode(0o600).open(file)?;
    open.write_all(token.as_bytes())?;
    open.sync_all()?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_token_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("a/b");
        let first = State::open(&directory).unwrap().admin_token;
        assert_eq!(first.len(), 64);
        assert_eq!(State::open(&directory).unwrap().admin_token, first);
        let mode = fs::metadata(token_file(&directory)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_empty_token_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(token_file(folder.path()), "\n").unwrap();
        assert!(State::open(folder.path()).is_err());
    }
}
