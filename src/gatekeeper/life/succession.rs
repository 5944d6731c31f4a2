//! Upgrade: a running gateway starts its successor, hands it all its listening sockets, and leaves once that one serves.
//!
//! The successor is what stands now at the path this process was started with, with the same arguments and environment.
//! It reads the configuration, takes the sockets over, and says READY on a line of its own when its request path answers.
//! Until then nothing changes for this gateway; a successor that ends, or says nothing in time, is killed, and what it
//! said on standard error is the reason that is told. There are no two upgrades at a time.
//!
//! What was done by hand at run time and who registered (`estate`) goes to the successor on the line, once it is ready and
//! before it accepts anything. From that moment on this gateway takes no more changes. A reload is refused as long as an
//! upgrade is under way: the successor may have read its configuration already.
//!
//! Three descriptors of a successor differ from ours until it serves: its standard error leads to us (we pass it on), its
//! standard input is our standard error (which it takes for its own then), and the last one handed over is the line.
//! The line is answered when systemd knows the new main process, which may speak to systemd only from then on.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::life::inherited::{ESTATE, SUCCESSOR};
use crate::life::systemd::Systemd;
use gatekeeper_admin::process::NoUpgrade;
use gatekeeper_model::value::Period;
use gatekeeper_plane::estate::{Deed, Estate};
use gatekeeper_plane::listen::socket::Socket;

/// What is said on the line, both ways.
const READY: u8 = b'+';
/// What a successor says that is ready, and takes an estate.
const HEIR: u8 = b'*';
/// The largest estate that is taken.
const LARGEST_ESTATE: u32 = 256 << 20;
/// Descriptors are handed over from this one on (systemd's convention).
const FIRST_FD: i32 = 3;
/// Lines of a successor's standard error that are told as its reason.
const LINES: usize = 20;
/// For what a gateway and its successor have to tell each other at once.
const REPLY: Duration = Duration::from_secs(5);

/// How this gateway succeeds another, and is succeeded.
pub struct Succession {
    /// Every listening socket; none where there is nothing to hand over (any more).
    sockets: tokio::sync::Mutex<Vec<OwnedFd>>,
    abandoned: Notify,
    succeeded: Notify,
    line: Mutex<Option<Line>>,
    systemd: Systemd,
}

/// The line to the gateway before.
pub struct Line {
    /// Its stream.
    pub stream: UnixStream,
    /// It hands an estate over.
    pub has_estate: bool,
}

impl Succession {
    /// A gateway with these sockets, and the line to the one before it.
    pub fn new<'a>(
        sockets: impl IntoIterator<Item = &'a Socket>,
        line: Option<Line>,
        systemd: Systemd,
    ) -> io::Result<Succession> {
        let sockets = sockets.into_iter().map(|socket| socket.fd.try_clone()).collect::<io::Result<Vec<_>>>()?;
        Ok(Succession {
            sockets: sockets.into(),
            abandoned: Notify::new(),
            succeeded: Notify::new(),
            line: line.into(),
            systemd,
        })
    }

    /// Starts a successor; its process id once it serves. This gateway has to leave then.
    /// It gets the estate that the deed hands over.
    pub async fn upgrade(
        &self,
        patience: Duration,
        deed: &Deed,
        estate: impl Fn() -> Estate,
    ) -> Result<u32, NoUpgrade> {
        let mut sockets = self.sockets.try_lock().map_err(|_| NoUpgrade::Busy)?;
        if sockets.is_empty() {
            return Err(NoUpgrade::Impossible);
        }
        let mut successor = Successor::start(&sockets)
            .map_err(|error| NoUpgrade::Failed(format!("the new process cannot be started: {error}")))?;
        let ready = tokio::select! {
            ready = hand_over(&mut successor, patience, deed, estate) => ready,
            () = self.abandoned.notified() => Err("this process is stopping".into()),
        };
        if let Err(reason) = ready {
            deed.take_back();
            let reason = successor.end(reason).await;
            log::error!("upgrade failed, this process keeps serving: {reason}");
            return Err(NoUpgrade::Failed(reason));
        }
        sockets.clear();
        log::info!("process {} takes over", successor.pid);
        self.systemd.succeeded_by(successor.pid).await;
        let _ = timeout(REPLY, successor.line.write_u8(READY)).await;
        self.succeeded.notify_one();
        Ok(successor.pid)
    }

    /// Whether the configuration may be read again: not while an upgrade is under way, nor after one.
    pub fn may_reload(&self) -> bool {
        self.sockets.try_lock().is_ok()
    }

    /// Waits until a successor serves.
    pub async fn succeeded(&self) {
        self.succeeded.notified().await;
    }

    /// There will be no successor.
    pub fn rule_out(&mut self) {
        self.sockets.get_mut().clear();
    }

    /// There will be no successor: one that has not come to serve is killed, and the sockets are not kept open for one.
    pub async fn give_up(&self) {
        self.abandoned.notify_one();
        self.sockets.lock().await.clear();
    }

    /// Whether a gateway before this one waits to hear that this one serves.
    pub fn is_on_trial(&self) -> bool {
        self.line.lock().is_some()
    }

    /// Tells the gateway before this one, if there is one, that this one serves, and waits until systemd knows it, too.
    /// What that one knows goes to `inherit`.
    pub async fn take_over(&self, inherit: impl FnOnce(Estate)) {
        let Some(line) = self.line.lock().take() else { return };
        let replied = timeout(REPLY, call(line, inherit)).await;
        // What follows must not depend on a gateway that leaves, whatever it said.
        if let Err(error) = own_standard_error() {
            log::error!("cannot take over standard error: {error}");
        }
        if !replied.is_ok_and(|replied| replied.is_ok()) {
            log::warn!("the previous process did not confirm that it is leaving");
        }
    }
}

/// Waits until a successor is ready, and has what this gateway knows.
async fn hand_over(
    successor: &mut Successor,
    patience: Duration,
    deed: &Deed,
    estate: impl Fn() -> Estate,
) -> Result<(), String> {
    let takes_estate = successor.ready(patience).await?;
    let estate = deed.hand_over(estate);
    if takes_estate { successor.take_estate(&estate).await } else { Ok(()) }
}

async fn call(line: Line, inherit: impl FnOnce(Estate)) -> io::Result<()> {
    line.stream.set_nonblocking(true)?;
    let mut stream = tokio::net::UnixStream::from_std(line.stream)?;
    if line.has_estate {
        stream.write_u8(HEIR).await?;
        let length = stream.read_u32().await?;
        let mut estate = Vec::new();
        (&mut stream).take(length.min(LARGEST_ESTATE).into()).read_to_end(&mut estate).await?;
        inherit(serde_json::from_slice(&estate)?);
    }
    stream.write_u8(READY).await?;
    stream.read_u8().await.map(drop)
}

/// Makes standard error what standard input was.
fn own_standard_error() -> io::Result<()> {
    nix::unistd::dup2_stderr(io::stdin())?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    Ok(())
}

/// A process that is to succeed this one.
struct Successor {
    pid: u32,
    child: Child,
    line: tokio::net::UnixStream,
    words: Arc<Mutex<VecDeque<String>>>,
    listening: JoinHandle<()>,
}

impl Successor {
    fn start(sockets: &[OwnedFd]) -> io::Result<Successor> {
        let (line, theirs) = UnixStream::pair()?;
        line.set_nonblocking(true)?;
        let handed = sockets.iter().map(OwnedFd::try_clone).chain([Ok(theirs.into())]);
        let mut child = tokio::process::Command::from(command(handed.collect::<io::Result<_>>()?)?).spawn()?;
        let words = Arc::default();
        let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Successor {
            pid: child.id().ok_or(io::ErrorKind::BrokenPipe)?,
            child,
            line: tokio::net::UnixStream::from_std(line)?,
            listening: tokio::spawn(pass_on(stderr, Arc::clone(&words))),
            words,
        })
    }

    /// Waits until it is ready. Whether it takes an estate: older versions do not.
    async fn ready(&mut self, patience: Duration) -> Result<bool, String> {
        let said = async {
            tokio::select! {
                biased;
                said = self.line.read_u8() => said.ok().filter(|said| [READY, HEIR].contains(said)),
                _ = self.child.wait() => None,
            }
        };
        match timeout(patience, said).await {
            Err(_) => Err(format!("the new process was not ready within {}", Period(patience))),
            Ok(None) => Err("the new process ended before it was ready".into()),
            Ok(Some(said)) if matches!(self.child.try_wait(), Ok(None)) => Ok(said == HEIR),
            Ok(Some(_)) => Err("the new process ended as soon as it was ready".into()),
        }
    }

    /// Gives it what this gateway knows, and waits until it has it.
    async fn take_estate(&mut self, estate: &Estate) -> Result<(), String> {
        let told = async {
            let estate = serde_json::to_vec(estate)?;
            let length = u32::try_from(estate.len()).ok().filter(|length| *length <= LARGEST_ESTATE);
            self.line.write_u32(length.ok_or(io::ErrorKind::FileTooLarge)?).await?;
            self.line.write_all(&estate).await?;
            self.line.read_u8().await
        };
        match timeout(REPLY, told).await {
            Ok(Ok(READY)) => Ok(()),
            Ok(Err(error)) => Err(format!("the new process did not receive the state of this one: {error}")),
            _ => Err("the new process did not take over the state of this one".into()),
        }
    }

    /// Ends it; the reason, with its exit status and what it said last.
    async fn end(mut self, reason: String) -> String {
        let died_alone = timeout(REPLY / 10, self.child.wait()).await;
        let status = match died_alone {
            Ok(Ok(status)) => format!(" ({status})"),
            _ => String::new(),
        };
        if let Err(error) = self.child.kill().await {
            log::error!("cannot kill process {}: {error}", self.pid);
        }
        // A process of its own may still hold its standard error.
        let _ = timeout(REPLY / 10, &mut self.listening).await;
        let words: Vec<String> = self.words.lock().drain(..).collect();
        let said = if words.is_empty() { String::new() } else { format!("; its output:\n{}", words.join("\n")) };
        format!("{reason}{status}{said}")
    }
}

fn command(handed: Vec<OwnedFd>) -> io::Result<Command> {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(arguments.next().ok_or(io::ErrorKind::NotFound)?);
    command.args(arguments).env("LISTEN_FDS", handed.len().to_string()).env(SUCCESSOR, ESTATE);
    for of_this_process in ["LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
        command.env_remove(of_this_process);
    }
    command.stdin(io::stderr().as_fd().try_clone_to_owned()?).stderr(Stdio::piped());
    let mappings = (FIRST_FD..).zip(handed).map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
    command.fd_mappings(mappings.collect()).map_err(io::Error::other)?;
    Ok(command)
}

/// Passes on what a successor says before it has our standard error, and keeps the last of it.
async fn pass_on(stderr: ChildStderr, words: Arc<Mutex<VecDeque<String>>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        eprintln!("{line}");
        let mut words = words.lock();
        if words.len() == LINES {
            words.pop_front();
        }
        words.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_this_process_is_not_said_of_its_successor() {
        let command = command(vec![File::open("/dev/null").unwrap().into()]).unwrap();
        let given = |wanted: &str| command.get_envs().find(|(name, _)| *name == wanted).unwrap().1;
        assert_eq!(given("LISTEN_FDS").unwrap(), "1");
        for name in ["LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
            assert_eq!(given(name), None);
        }
    }

    #[tokio::test]
    async fn without_sockets_there_is_no_upgrade_and_none_after_giving_up() {
        let socket = gatekeeper_plane::listen::socket::bind("127.0.0.1:0").unwrap();
        let mut succession = Succession::new([&socket], None, Systemd::of_this_process().unwrap()).unwrap();
        drop(socket.fd);
        assert!(std::net::TcpListener::bind(&socket.address).is_err(), "it is kept for a successor");
        succession.give_up().await;
        assert!(std::net::TcpListener::bind(&socket.address).is_ok());
        succession.rule_out();
        assert!(matches!(
            succession.upgrade(REPLY, &Deed::default(), Estate::default).await,
            Err(NoUpgrade::Impossible)
        ));
    }
}
