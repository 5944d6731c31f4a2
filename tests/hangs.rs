//! What others keep waiting must not keep the gateway waiting: FIFOs, a systemd that does not listen, a thread that hangs.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::libc::O_NONBLOCK;
use nix::sys::ptrace;
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, mkfifo};

use crate::support::{Gateway, RawOrigin, Request, eventually};

const ROUTE: &str = "routes:\n  - { name: all, path_pattern: /*, respond: { status: 200 } }\n";

/// A command that is killed with the test, should it hang.
struct Running(Child);

impl Running {
    async fn ends(mut self, what: &str) -> ExitStatus {
        eventually(what, async || self.0.try_wait().unwrap()).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn fifo(path: &Path) {
    mkfifo(path, Mode::S_IRWXU).unwrap();
}

/// Holds a FIFO open for reading.
fn reader(path: &Path) -> File {
    OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_among_the_files_is_refused_at_once() {
    let gateway = Gateway::start(ROUTE).await;
    fs::create_dir(gateway.file("conf.d")).unwrap();
    fifo(&gateway.file("conf.d/part.yaml"));
    assert_eq!(Running(gateway.spawn_command("check", &[])).ends("check ends").await.code(), Some(1));
    assert_eq!(Running(gateway.spawn_command("reload", &[])).ends("reload ends").await.code(), Some(1));
    let told = String::from_utf8(gateway.command("check", &[]).stderr).unwrap();
    assert!(told.contains("conf.d/part.yaml: it is not a regular file"), "{told}");
    fs::remove_file(gateway.file("conf.d/part.yaml")).unwrap();
    assert_eq!(Running(gateway.spawn_command("reload", &[])).ends("reload ends").await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_log_that_nobody_reads_keeps_nobody_waiting() {
    let mut gateway = Gateway::start(ROUTE).await;
    let pipe = gateway.file("pipe");
    fifo(&pipe);
    let log = format!("access_log: {{ to: {} }}\n{ROUTE}", pipe.display());
    gateway.write(&log);
    assert_eq!(Running(gateway.spawn_command("reload", &[])).ends("reload ends").await.code(), Some(1));
    let told = gateway.reload(&log).unwrap_err();
    assert!(told.contains("no process reads this FIFO"), "{told}");
    let mut reading = reader(&pipe);
    gateway.reload(&log).unwrap();
    assert_eq!(gateway.get("/read").await.status, 200);
    let mut text = String::new();
    eventually("the record arrives", async || {
        let mut piece = [0; 4096];
        let read = reading.read(&mut piece).unwrap_or(0);
        text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        text.contains("/read").then_some(())
    })
    .await;
    // From now on it is not read, and soon full.
    let target = format!("/{}", "x".repeat(2000));
    for _ in 0..100 {
        assert_eq!(gateway.get(&target).await.status, 200);
    }
    gateway.reload(ROUTE).unwrap();
    gateway.get("/file").await;
    gateway.log_of("/file").await;
    gateway.reload(&log).unwrap();
    gateway.signal("TERM");
    assert!(gateway.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_does_not_start_with_a_log_that_nobody_reads() {
    let place = tempfile::tempdir().unwrap();
    let pipe = place.path().join("pipe");
    fifo(&pipe);
    let config = format!("access_log: {{ to: {} }}\n{ROUTE}", pipe.display());
    let starting = tokio::task::spawn_blocking(move || Gateway::refuses(&config, Vec::new()));
    let said = tokio::time::timeout(Duration::from_secs(20), starting).await;
    // Whoever waits for a reader is let go.
    drop(reader(&pipe));
    let said = said.expect("it must not wait for a reader").unwrap();
    assert!(said.contains("cannot write the access log to") && said.contains("no process reads this FIFO"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_systemd_that_does_not_listen_keeps_nobody_waiting() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("notify");
    let _systemd = UnixDatagram::bind(&path).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"STATUS=busy", &path).is_ok() {}
    let variables = [("NOTIFY_SOCKET", path.display().to_string()), ("WATCHDOG_USEC", "600000".to_owned())];
    let mut gateway = Gateway::start_with(ROUTE, &variables).await;
    assert_eq!(gateway.get("/x").await.status, 200);
    assert_eq!(Running(gateway.spawn_command("reload", &[])).ends("reload ends").await.code(), Some(0));
    gateway.signal("HUP");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let upgraded = Running(gateway.spawn_command("upgrade", &[])).ends("upgrade ends").await;
    assert_eq!(upgraded.code(), Some(0));
    let successor = gateway.status().await["pid"].as_u64().unwrap();
    gateway.adopt(successor.try_into().unwrap());
    assert!(gateway.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_systemd_that_does_not_listen_does_not_keep_a_gateway_from_ending() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("notify");
    let _systemd = UnixDatagram::bind(&path).unwrap();
    let mut gateway = Gateway::start_with(ROUTE, &[("NOTIFY_SOCKET", path.display().to_string())]).await;
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"STATUS=busy", &path).is_ok() {}
    gateway.signal("TERM");
    assert!(gateway.ended().await.success());
}

/// The thread that follows signals is stopped as a debugger stops it.
#[tokio::test(flavor = "multi_thread")]
async fn told_twice_it_ends_whatever_hangs() {
    let mut gateway = Gateway::start(ROUTE).await;
    let main = Pid::from_raw(gateway.pid().try_into().unwrap());
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let (stopped, is_stopped) = std::sync::mpsc::channel();
    // Tracing belongs to a thread.
    let tracing = std::thread::spawn(move || {
        ptrace::seize(main, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(main).unwrap();
        waitpid(main, Some(WaitPidFlag::__WALL)).unwrap();
        stopped.send(()).unwrap();
        let _ = wait.recv_timeout(Duration::from_secs(25));
    });
    is_stopped.recv().unwrap();
    let began = Instant::now();
    gateway.signal("TERM");
    tokio::time::sleep(Duration::from_millis(300)).await;
    gateway.signal("TERM");
    eventually("it has ended", async || {
        let stat = fs::read_to_string(format!("/proc/{main}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ")).then_some(())
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    drop(done);
    tracing.join().unwrap();
    let _ = gateway.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_watchdog_is_no_watchdog() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    let variables = [("NOTIFY_SOCKET", path.display().to_string()), ("WATCHDOG_USEC", "0".to_owned())];
    let gateway = Gateway::start_with(ROUTE, &variables).await;
    let mut message = [0; 4096];
    let length = systemd.recv(&mut message).unwrap();
    assert!(message[..length].starts_with(b"READY=1"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!gateway.said().contains("panicked"), "{}", gateway.said());
    assert_eq!(gateway.get("/x").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_lost_before_it_goes_anywhere_is_logged_as_what_it_was() {
    let silent = RawOrigin::playing(|mut peer| async move {
        peer.request().await;
        std::future::pending::<()>().await;
    })
    .await;
    let config = format!(
        "drain: {{ grace: 300ms }}\nauth: {{ forward: {{ url: \"{}\", timeout: 60s }} }}\n{ROUTE}",
        silent.url()
    );
    let mut gateway = Gateway::start(&config).await;
    let mut client = gateway.h2c().await;
    let asking = tokio::spawn(async move {
        let _ = client.send(Request::delete("/lost?page=7")).await;
    });
    eventually("the decider is asked", async || (!silent.requests().is_empty()).then_some(())).await;
    gateway.signal("TERM");
    gateway.ended().await;
    let lines = gateway.log_lines();
    let lost = lines.iter().find(|line| line.contains("lost")).unwrap_or_else(|| panic!("{lines:?}"));
    let lost: serde_json::Value = serde_json::from_str(lost).unwrap();
    assert_eq!((&lost["method"], &lost["path"]), (&"DELETE".into(), &"/lost".into()), "{lost}");
    assert!(lost.to_string().contains("HTTP/2"), "{lost}");
    asking.abort();
}
