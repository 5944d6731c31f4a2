//! Files that somebody else may have put where they are read.
//!
//! Only regular files are read: whoever opens a FIFO, or reads a device, may wait for ever. Where whoever may write to a
//! folder must not choose what else is read or written, its files are reached from the opened folder, and no symbolic
//! link is followed.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

/// Opening never waits, not even for a FIFO's writer.
const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC).union(OFlag::O_NOCTTY);

/// Reads a regular file.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a regular file that holds a text.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Reads a regular file that holds a short text, such as a token.
pub fn read_short(path: impl AsRef<Path>) -> io::Result<String> {
    short(open(path)?)
}

/// Reads a text of at most 64 KiB.
pub fn short(file: File) -> io::Result<String> {
    const LONGEST: u64 = 64 << 10;
    let mut text = String::new();
    match file.take(LONGEST + 1).read_to_string(&mut text)? as u64 {
        0..=LONGEST => Ok(text),
        _ => Err(io::Error::other("it is over 64 KiB")),
    }
}

/// Opens a regular file for reading.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits()).open(path)?;
    regular(file)
}

/// The cause of an input error, without the number of the operating system.
pub(super) fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "No such file".into(),
        io::ErrorKind::IsADirectory => "it is a directory".into(),
        _ => error.to_string().split(" (os error").next().unwrap_or_default().into(),
    }
}

/// The sentence about a file that was not read: `cannot read ca.pem: No such file`.
pub fn unreadable(path: impl fmt::Display, error: &io::Error) -> String {
    format!("cannot read {path}: {}", cause(error))
}

fn regular(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    match (kind.is_file(), kind.is_dir()) {
        (true, _) => Ok(file),
        (_, true) => Err(io::ErrorKind::IsADirectory.into()),
        _ => Err(io::Error::other("it is not a regular file")),
    }
}

/// An opened folder.
pub struct Folder(File);

impl Folder {
    /// Opens a folder by its path, on which symbolic links are followed.
    pub fn open(path: &Path) -> io::Result<Folder> {
        OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(path).map(Folder)
    }

    /// What the system knows of it.
    pub fn metadata(&self) -> io::Result<std::fs::Metadata> {
        self.0.metadata()
    }

    /// Opens a folder in it.
    pub fn folder(&self, name: &str) -> io::Result<Folder> {
        let flags = READ | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        Ok(Folder(openat(&self.0, name, flags, Mode::empty())?.into()))
    }

    /// Opens a regular file in it for reading.
    pub fn file(&self, name: &str) -> io::Result<File> {
        regular(openat(&self.0, name, READ | OFlag::O_NOFOLLOW, Mode::empty())?.into())
    }

    /// Writes a file for its owner alone, whole or not at all; what was there before is replaced.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        self.write_temporary(name, text, |temporary| Ok(renameat(&self.0, temporary, &self.0, name)?))
    }

    /// The same, if there is nothing of this name.
    pub fn write_new(&self, name: &str, text: &str) -> io::Result<()> {
        self.write_temporary(name, text, |temporary| {
            linkat(&self.0, temporary, &self.0, name, AtFlags::empty())?;
            Ok(unlinkat(&self.0, temporary, UnlinkatFlags::NoRemoveDir)?)
        })
    }

    fn write_temporary(&self, name: &str, text: &str, put: impl FnOnce(&str) -> io::Result<()>) -> io::Result<()> {
        let temporary = format!(".{name}.{:016x}", fastrand::u64(..));
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&self.0, temporary.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        let put = written.and_then(|()| put(&temporary));
        if put.is_err() {
            // The error that is told is the first one.
            let _ = unlinkat(&self.0, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        put
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn only_regular_files_are_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        for path in [&fifo, Path::new("/dev/zero")] {
            assert_eq!(read(path).unwrap_err().to_string(), "it is not a regular file");
        }
        assert_eq!(read(folder.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        std::fs::write(folder.path().join("file"), "text").unwrap();
        symlink("file", folder.path().join("link")).unwrap();
        assert_eq!(read_to_string(folder.path().join("link")).unwrap(), "text");
    }

    #[test]
    fn in_an_opened_folder_no_link_is_followed() {
        let place = tempfile::tempdir().unwrap();
        let inner = place.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(place.path().join("secret"), "secret").unwrap();
        symlink("../secret", inner.join("link")).unwrap();
        symlink("inner", place.path().join("way")).unwrap();
        let folder = Folder::open(&place.path().join("way")).unwrap();
        assert!(folder.file("link").is_err());
        assert!(Folder::open(place.path()).unwrap().folder("way").is_err());
        folder.write("link", "mine").unwrap();
        assert_eq!(read_to_string(inner.join("link")).unwrap(), "mine");
        assert_eq!(read_to_string(place.path().join("secret")).unwrap(), "secret");
    }

    #[test]
    fn files_are_written_whole_and_for_their_owner() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        folder.write_new("file", "one").unwrap();
        assert_eq!(folder.write_new("file", "two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        folder.write("file", "three").unwrap();
        let file = place.path().join("file");
        assert_eq!(read_to_string(&file).unwrap(), "three");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "nothing temporary stays");
    }
}
