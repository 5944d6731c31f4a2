//! The state directory, and the administration token in it.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use gatekeeper_model::files::Folder;
use gatekeeper_model::secret::Secret;

/// What the gateway remembers.
pub struct State {
    /// What opens the administration API.
    pub admin_token: Secret,
}

impl State {
    /// Opens the directory; the first time, makes it and writes a new token. The error is one sentence.
    pub fn open(directory: &Path) -> Result<State, String> {
        let folder = open_own(directory).map_err(|error| unusable(directory, error))?;
        let admin_token = match folder.file(ADMIN_TOKEN) {
            Ok(file) => read_token(file, &token_file(directory))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                new_token(&folder).map_err(|error| unusable(&token_file(directory), error))?
            }
            Err(error) => return Err(unusable(&token_file(directory), error)),
        };
        Ok(State { admin_token })
    }
}

/// The name of the file with the administration token.
pub const ADMIN_TOKEN: &str = "admin.token";

/// Where the administration token is.
pub fn token_file(directory: &Path) -> PathBuf {
    directory.join(ADMIN_TOKEN)
}

fn unusable(what: &Path, error: io::Error) -> String {
    format!("cannot use the state directory: {}: {error}", what.display())
}

/// Opens the directory, which is made if it is missing. Who else may write to it could become the administrator.
pub fn open_own(directory: &Path) -> io::Result<Folder> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let folder = Folder::open(directory)?;
    let found = folder.metadata()?;
    if found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user: change its owner, or set state_dir"));
    }
    if found.mode() & 0o022 != 0 {
        return Err(io::Error::other("others can write to it: set its mode to 700, or set state_dir"));
    }
    Ok(folder)
}

fn read_token(mut file: fs::File, path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let found = file.metadata().map_err(|error| unusable(path, error))?;
    if found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(format!("{shown} belongs to another user: remove the file, and the gateway creates a new token"));
    }
    if found.mode() & 0o077 != 0 {
        return Err(format!(
            "{shown} can be read by others: set its mode to 600, or remove the file, and the gateway creates a new token"
        ));
    }
    let mut token = String::new();
    file.read_to_string(&mut token).map_err(|error| unusable(path, error))?;
    match token.trim() {
        "" => Err(format!("{shown} is empty: remove the file, and the gateway creates a new token")),
        token => Ok(token.into()),
    }
}

fn new_token(folder: &Folder) -> io::Result<Secret> {
    let mut random = [0; 32];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut random)
        .map_err(|_| io::Error::other("the system provides no random numbers"))?;
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    folder.write_new(ADMIN_TOKEN, &token)?;
    Ok(token.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_token_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("a/b");
        let first = State::open(&directory).unwrap().admin_token;
        assert_eq!(first.reveal().len(), 64);
        assert_eq!(State::open(&directory).unwrap().admin_token, first);
        let mode = fs::metadata(token_file(&directory)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_empty_token_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = token_file(folder.path());
        fs::write(&file, "\n").unwrap();
        assert!(State::open(folder.path()).is_err());
        fs::write(&file, "known").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(State::open(folder.path()).is_err_and(|fault| fault.contains("read by others")));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(State::open(folder.path()).unwrap().admin_token.reveal(), "known");
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o770, 0o702, 0o1777] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                State::open(folder.path()).is_err_and(|fault| fault.contains("others can write to it")),
                "{mode:o}"
            );
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was written");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(State::open(folder.path()).is_ok());
    }

    #[test]
    fn a_directory_of_another_owner_is_refused() {
        if !nix::unistd::geteuid().is_root() {
            return; // nobody else can give directories away
        }
        let folder = tempfile::tempdir().unwrap();
        nix::unistd::chown(folder.path(), Some(12_345.into()), None).unwrap();
        assert!(State::open(folder.path()).is_err_and(|fault| fault.contains("belongs to another user")));
        nix::unistd::chown(folder.path(), Some(0.into()), None).unwrap();
        State::open(folder.path()).unwrap();
        nix::unistd::chown(&token_file(folder.path()), Some(12_345.into()), None).unwrap();
        assert!(State::open(folder.path()).is_err_and(|fault| fault.contains("belongs to another user")));
    }

    #[test]
    fn links_lead_nowhere() {
        let place = tempfile::tempdir().unwrap();
        let (directory, precious) = (place.path().join("state"), place.path().join("precious"));
        fs::create_dir(&directory).unwrap();
        fs::write(&precious, "precious").unwrap();
        fs::set_permissions(&precious, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&precious, token_file(&directory)).unwrap();
        assert!(State::open(&directory).is_err());
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    }
}
