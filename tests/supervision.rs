//! What systemd is told, by a socket that stands for it, and the watchdog that follows the request path.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::{Gateway, Origin, eventually};

/// What stands for systemd.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Manager {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Manager { socket, folder }
    }

    async fn start(&self, watchdog: Duration) -> Gateway {
        let origin = Origin::start().await;
        let variables = [
            ("NOTIFY_SOCKET", self.folder.path().join("notify").display().to_string()),
            ("WATCHDOG_USEC", watchdog.as_micros().to_string()),
        ];
        Gateway::start_with(&crate::support::gateway::everything_to(origin.url()), &variables).await
    }

    fn next(&self) -> Option<String> {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..length]).into_owned())
    }

    fn forget(&self) {
        while self.next().is_some() {}
    }

    /// Waits for a message with this line.
    async fn hears(&self, line: &str) -> String {
        eventually(line, async || std::iter::from_fn(|| self.next()).find(|told| told.lines().any(|said| said == line)))
            .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_reloading_and_stopping_are_told() {
    let manager = Manager::new();
    let gateway = manager.start(Duration::from_secs(60)).await;
    let ready = manager.hears("READY=1").await;
    assert!(ready.contains("STATUS=running revision 1 on 127.0.0.1:"), "{ready}");
    gateway.reload("routes: [] # another text").unwrap();
    manager.hears("RELOADING=1").await;
    assert!(manager.hears("READY=1").await.contains("STATUS=running revision 2 "));
    assert!(gateway.reload("routes: 7").is_err());
    gateway.signal("HUP");
    manager.hears("RELOADING=1").await;
    assert!(manager.hears("READY=1").await.contains("the last reload was rejected"));
    gateway.signal("TERM");
    manager.hears("STOPPING=1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_process_is_the_new_one_after_an_upgrade() {
    let manager = Manager::new();
    let mut gateway = manager.start(Duration::from_millis(600)).await;
    manager.hears("WATCHDOG=1").await;
    gateway.install("#!/bin/sh\nexit 1\n", 0o755);
    gateway.upgrade(&[]).unwrap_err();
    manager.hears("WATCHDOG=1").await;
    gateway.install_gateway();
    let pid = gateway.upgrade(&[]).unwrap();
    let mut told = Vec::new();
    let ended = gateway.ended();
    let hearing = async {
        eventually("the new one speaks for itself", async || {
            told.extend(std::iter::from_fn(|| manager.next()));
            told.iter().any(|said| said.starts_with("READY=1")).then_some(())
        })
        .await;
    };
    tokio::join!(ended, hearing);
    told.extend(std::iter::from_fn(|| manager.next()));
    let at = |wanted: &str| told.iter().position(|said| said.starts_with(wanted));
    assert!(at(&format!("MAINPID={pid}\n")) < at("READY=1\n"), "{told:#?}");
    assert_eq!(
        (told.iter().filter(|said| said.starts_with("MAINPID")).count(), at("STOPPING")),
        (1, None),
        "{told:#?}"
    );
    manager.hears("WATCHDOG=1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_nobodys_requests() {
    let manager = Manager::new();
    let gateway = manager.start(Duration::from_millis(100)).await;
    for _ in 0..5 {
        manager.hears("WATCHDOG=1").await;
    }
    gateway.get("/text/5").await;
    gateway.log_of("/text/5").await;
    assert_eq!(gateway.log_lines().len(), 1);
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("gatekeeper_connections_total 1\n"), "{metrics}");
}

/// The threads that serve requests are stopped as a debugger stops them; all others run on.
#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_starves_when_requests_hang_while_administration_answers() {
    let manager = Manager::new();
    let gateway = manager.start(Duration::from_millis(600)).await;
    manager.hears("WATCHDOG=1").await;
    let stopped = gateway.threads("listeners");
    assert!(!stopped.is_empty());
    // Tracing belongs to a thread.
    let tracing = std::thread::spawn(move || {
        for thread in &stopped {
            let thread = Pid::from_raw(*thread);
            ptrace::seize(thread, ptrace::Options::empty()).unwrap();
            ptrace::interrupt(thread).unwrap();
            waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        }
        std::thread::park_timeout(Duration::from_secs(20));
        for thread in stopped {
            ptrace::detach(Pid::from_raw(thread), None).unwrap();
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    manager.forget();
    let until = Instant::now() + Duration::from_millis(1200);
    while Instant::now() < until {
        assert_eq!(manager.next(), None, "nobody vouches for a request path that hangs");
        assert_eq!(gateway.admin("/health").await.status, 200);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tracing.thread().unpark();
    tracing.join().unwrap();
    manager.hears("WATCHDOG=1").await;
    assert_eq!(gateway.get("/text/5").await.status, 200);
}
