//! A PostgreSQL server of Debian's package, in a folder of its own, on a unix socket and a free loopback port. It does not run as
//! root: a test that does gives it to `nobody`.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use super::PATIENCE;

/// The user that is nobody.
const NOBODY: u32 = 65534;

/// A running server. It stops with the last test that has it.
pub struct Postgres {
    folder: TempDir,
    port: u16,
    server: Child,
    databases: AtomicUsize,
}

impl Postgres {
    /// The server that the tests of this process share.
    pub fn shared() -> Arc<Postgres> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Postgres::start());
            *shared = Arc::downgrade(&started);
            started
        })
    }

    pub fn start() -> Postgres {
        let folder = tempfile::tempdir().unwrap();
        if geteuid().is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = folder.path().join("data");
        let made = program("initdb")
            .args(["-U", "gatekeeper", "-A", "trust", "-E", "UTF8", "--locale=C", "-N", "-D"])
            .arg(&data)
            .output();
        let made = made.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = run(folder.path(), port);
        let mut postgres = Postgres { folder, port, server, databases: AtomicUsize::new(0) };
        postgres.wait();
        postgres
    }

    /// Stops the server at once, as if its machine went away.
    pub fn stop(&mut self) {
        kill(Pid::from_raw(self.server.id().cast_signed()), Signal::SIGQUIT).ok();
        self.server.wait().ok();
    }

    /// Starts it again, with what it had.
    pub fn start_again(&mut self) {
        self.server = run(self.folder.path(), self.port);
        self.wait();
    }

    /// The URL of a new database.
    pub fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let (host, port) = (self.folder.path().to_str().unwrap(), self.port.to_string());
        let made = program("createdb").args(["-h", host, "-p", &port, "-U", "gatekeeper", &name]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        format!("postgres://gatekeeper@127.0.0.1:{}/{name}", self.port)
    }

    fn wait(&mut self) {
        let started = Instant::now();
        let (host, port) = (self.folder.path().to_str().unwrap().to_owned(), self.port.to_string());
        while !program("pg_isready").args(["-q", "-h", &host, "-p", &port]).status().unwrap().success() {
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(self.server.try_wait().unwrap().is_none(), "PostgreSQL ended: {}", log());
            assert!(started.elapsed() < PATIENCE, "PostgreSQL does not start: {}", log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

fn run(folder: &Path, port: u16) -> Child {
    let log = fs::File::create(folder.join("log")).unwrap();
    let mut command = program("postgres");
    command
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-F", "-k"])
        .arg(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

impl Drop for Postgres {
    /// At once: whatever it was doing.
    fn drop(&mut self) {
        self.stop();
    }
}

/// A program of the newest PostgreSQL of this machine.
fn program(name: &str) -> Command {
    let mut command = Command::new(folder().join(name));
    command.current_dir("/");
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn folder() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("first: apt-get install postgresql");
    let folders = versions
        .map(|version| version.unwrap().path().join("bin"))
        .filter(|bin: &PathBuf| bin.join("postgres").exists());
    let version = |bin: &PathBuf| bin.parent().and_then(Path::file_name)?.to_str()?.parse::<u32>().ok();
    folders.max_by_key(version).expect("first: apt-get install postgresql")
}
