//! How the command line finds a gateway that runs on this host, without its configuration.
//!
//! A gateway that serves writes a note to its state directory: its process, the file of its configuration and the address of
//! its administration. It also writes the path of that directory to a folder that all gateways of a user share, the register.
//! A gateway under systemd has a state directory that everyone knows.
//!
//! A note is believed only while its process lives. A gateway that is killed leaves its note behind, and the next gateway of the
//! same user removes it from the register. A process that got the number of a dead gateway makes its note look alive; the call
//! that follows then says that nobody answers there.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use gatekeeper_model::files::{self, Folder};
use serde::{Deserialize, Serialize};

/// Where the service of systemd keeps its state.
const SYSTEMD: &str = "/var/lib/gatekeeper";
/// The state directory of a configuration that names none, and that is not run by systemd.
pub const HERE: &str = "./gatekeeper-state";

const NOTE: &str = "running.json";

/// A gateway that runs, or ran until it was killed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Running {
    /// Its process.
    pub pid: u32,
    /// The file of its configuration, from the root of the file system.
    pub config: PathBuf,
    /// The address of its administration.
    pub admin: String,
}

/// A gateway and the directory that has its token.
#[derive(Debug)]
pub struct Found {
    /// The gateway.
    pub running: Running,
    /// Its state directory.
    pub state_dir: PathBuf,
}

impl Running {
    /// This process.
    pub fn here(config: &Path, admin: &str) -> Running {
        let config = std::path::absolute(config).unwrap_or_else(|_| config.into());
        Running { pid: std::process::id(), config, admin: admin.to_owned() }
    }

    /// Lets the command line find this gateway.
    pub fn announce(&self, state_dir: &Path) -> io::Result<()> {
        let note = serde_json::to_string(self)?;
        super::state::open_own(state_dir)?.write(NOTE, &note)?;
        if let Err(error) = register(state_dir) {
            // Whoever names the file, or asks beside systemd, finds the gateway all the same.
            log::debug!("cannot write the register of running gateways: {error}");
        }
        Ok(())
    }

    /// Takes the note back, unless another process has written its own by now.
    pub fn withdraw(&self, state_dir: &Path) {
        if read(state_dir).as_ref() == Some(self) {
            let _ = std::fs::remove_file(state_dir.join(NOTE));
            let _ = entry(state_dir).and_then(std::fs::remove_file);
        }
    }

    fn lives(&self) -> bool {
        // Zero and negative numbers stand for groups of processes.
        let Some(pid) = i32::try_from(self.pid).ok().filter(|pid| *pid > 0) else { return false };
        // A process of another user answers that it may not be signalled.
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH)
    }
}

/// The gateway that keeps its state in this directory.
pub fn in_directory(state_dir: &Path) -> Option<Found> {
    let running = read(state_dir).filter(Running::lives)?;
    Some(Found { running, state_dir: state_dir.into() })
}

/// The gateways that this user can find on this host.
pub fn on_this_host() -> Vec<Found> {
    let known = registered().into_iter().map(|(_, state_dir)| state_dir);
    let mut found: Vec<Found> = Vec::new();
    let here = Some(PathBuf::from(HERE)).filter(|here| is_own(here));
    for state_dir in known.chain(here).chain([SYSTEMD.into()]) {
        if let Some(other) = in_directory(&state_dir)
            && !found.iter().any(|known| known.running == other.running)
        {
            found.push(other);
        }
    }
    found
}

fn read(state_dir: &Path) -> Option<Running> {
    serde_json::from_str(&read_own(state_dir, NOTE).ok()?).ok()
}

/// Reads a file of a state directory. It has to be the directory's own: a regular file of the same owner, and no link. Or
/// whoever owns the directory could have a file of another user read, and sent to an address of their choice.
pub fn read_own(state_dir: &Path, name: &str) -> io::Result<String> {
    let folder = Folder::open(state_dir)?;
    let file = folder.file(name)?;
    if file.metadata()?.uid() != folder.metadata()?.uid() {
        return Err(io::Error::other("it belongs to another user than its directory"));
    }
    files::short(file)
}

/// Whether what is found at a path without being asked for is this user's.
pub fn is_own(path: &Path) -> bool {
    let user = nix::unistd::geteuid().as_raw();
    std::fs::metadata(path).is_ok_and(|found| found.uid() == user && found.mode() & 0o022 == 0)
}

fn register(state_dir: &Path) -> io::Result<()> {
    for (entry, known) in registered() {
        if in_directory(&known).is_none() {
            let _ = std::fs::remove_file(entry);
        }
    }
    let entry = entry(state_dir)?;
    let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let state_dir = std::path::absolute(state_dir)?;
    Folder::open(&folder()?)?.write(&name, &state_dir.to_string_lossy())
}

/// Entries of the register, and the directory that each of them names.
fn registered() -> Vec<(PathBuf, PathBuf)> {
    let Ok(folder) = folder() else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(&folder) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| Some((folder.join(&name), read_own(&folder, &name).ok()?.into()))).collect()
}

/// A directory has one entry, however often a gateway starts in it.
fn entry(state_dir: &Path) -> io::Result<PathBuf> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    std::path::absolute(state_dir)?.hash(&mut hasher);
    Ok(folder()?.join(format!("{:016x}", hasher.finish())))
}

/// The folder that all gateways of this user share. It has to be this user's own: its entries say whom commands are sent to.
fn folder() -> io::Result<PathBuf> {
    let user = nix::unistd::geteuid().as_raw();
    let sessions = PathBuf::from(format!("/run/user/{user}"));
    let folder = match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) => PathBuf::from(runtime).join("gatekeeper"),
        None if sessions.is_dir() => sessions.join("gatekeeper"),
        None => std::env::temp_dir().join(format!("gatekeeper-{user}")),
    };
    match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = std::fs::symlink_metadata(&folder)?;
    let is_own = found.is_dir() && found.uid() == user && found.mode() & 0o022 == 0;
    is_own.then_some(folder).ok_or_else(|| io::ErrorKind::PermissionDenied.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_believed_while_its_process_lives() {
        let folder = tempfile::tempdir().unwrap();
        assert!(in_directory(folder.path()).is_none());
        let running = Running::here(Path::new("gatekeeper.yaml"), "127.0.0.1:8001");
        running.announce(folder.path()).unwrap();
        assert!(running.config.is_absolute());
        let found = in_directory(folder.path()).unwrap();
        assert_eq!(found.running, running);

        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let dead = Running { pid: child.id(), ..running.clone() };
        dead.announce(folder.path()).unwrap();
        assert!(in_directory(folder.path()).is_none());
        running.withdraw(folder.path());
        assert!(folder.path().join(NOTE).exists(), "the note is another process's");
        dead.withdraw(folder.path());
        assert!(!folder.path().join(NOTE).exists());
    }

    #[test]
    fn a_number_of_no_single_process_does_not_live() {
        for pid in [0, u32::MAX, 1 << 31, u32::MAX - 1] {
            assert!(!Running { pid, ..Running::here(Path::new("x"), "") }.lives(), "{pid}");
        }
        assert!(Running::here(Path::new("x"), "").lives());
    }

    #[test]
    fn what_is_too_long_is_not_read_in_part() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("long"), "x".repeat((64 << 10) + 1)).unwrap();
        std::fs::write(folder.path().join("fits"), "x".repeat(64 << 10)).unwrap();
        assert_eq!(read_own(folder.path(), "long").unwrap_err().to_string(), "it is over 64 KiB");
        assert_eq!(read_own(folder.path(), "fits").unwrap().len(), 64 << 10);
    }
}
