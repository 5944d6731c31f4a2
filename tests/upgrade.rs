//! Upgrades: all sockets pass to a new process, and nothing changes when that one fails.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::gateway::{everything_to, runs};
use crate::support::load::Load;
use crate::support::{Gateway, Origin, eventually};

const UPGRADES: usize = 20;

/// A gateway that lets its requests finish when it is succeeded.
async fn scene() -> (Origin, Gateway) {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&config(&origin)).await;
    (origin, gateway)
}

fn config(origin: &Origin) -> String {
    format!("drain: {{ grace: 2s, upgrade_grace: 5s }}\n{}", everything_to(origin.url()))
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_upgrades_under_load_fail_no_request() {
    let (_origin, mut gateway) = scene().await;
    let load = Load::start(gateway.address).await;
    let began = Instant::now();
    for number in 0..UPGRADES {
        load.goes_on(50).await;
        let pid = gateway.upgrade(&[]).unwrap_or_else(|fault| panic!("upgrade {number}: {fault}"));
        assert!(runs(pid));
        eventually("administration is the new process's", async || {
            (gateway.status().await["pid"] == pid).then_some(())
        })
        .await;
    }
    load.goes_on(50).await;
    let answers = load.finish().await;
    println!("{UPGRADES} upgrades in {:?}: {answers} requests, 0 failed", began.elapsed());
    assert!(gateway.ended().await.success(), "the first one has left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_program_that_fails_changes_nothing() {
    let (origin, mut gateway) = scene().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _taken = TcpListener::bind(taken).unwrap();
    let load = Load::start(gateway.address).await;
    let good = config(&origin);
    let refused = |gateway: &mut Gateway, args: &[&str], reason: &str| {
        let told = gateway.upgrade(args).unwrap_err();
        assert!(told.starts_with("gatekeeper: the upgrade failed, and the running process keeps serving: "), "{told}");
        assert!(told.contains(reason), "{told}");
        told
    };

    gateway.write(&good.replace("routes:", "rotes:"));
    refused(&mut gateway, &[], "rotes: unknown key");
    gateway.write(&format!("listen: [{{ address: \"127.0.0.1:0\" }}, {{ address: \"{taken}\" }}]\n{good}"));
    refused(&mut gateway, &[], &format!("cannot listen on {taken}: another process listens there"));
    gateway.write(&good);
    load.goes_on(50).await;

    gateway.install("#!/bin/sh\necho its last words >&2\nexit 7\n", 0o755);
    assert!(
        refused(&mut gateway, &[], "its output:\nits last words")
            .contains("the new process ended before it was ready (exit status: 7)")
    );
    gateway.install("#!/bin/sh\nkill -9 $$\n", 0o755);
    refused(&mut gateway, &[], "(signal: 9 (SIGKILL))");
    let pid_file = gateway.file("pid");
    gateway.install(&format!("#!/bin/sh\necho $$ > {}\nexec sleep 60\n", pid_file.display()), 0o755);
    refused(&mut gateway, &["--timeout", "700ms"], "the new process was not ready within 700ms");
    let hung = fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    assert!(!runs(hung), "it was killed");
    gateway.install("not a program", 0o644);
    refused(&mut gateway, &[], "the new process cannot be started: Permission denied");
    fs::remove_file(gateway.file("gatekeeper")).unwrap();
    refused(&mut gateway, &[], "the new process cannot be started: No such file");

    load.goes_on(50).await;
    let status = gateway.status().await;
    assert_eq!((status["ready"].as_bool(), status["pid"].as_u64()), (Some(true), Some(gateway.pid().into())));
    gateway.install_gateway();
    let pid = gateway.upgrade(&[]).unwrap();
    load.goes_on(50).await;
    load.finish().await;
    assert_ne!(pid, gateway.pid());
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_upgrade_at_a_time_and_a_stop_ends_it() {
    let (_origin, mut gateway) = scene().await;
    let pid_file = gateway.file("pid");
    gateway.install(&format!("#!/bin/sh\necho $$ > {}\nexec sleep 60\n", pid_file.display()), 0o755);
    let mut first = gateway.spawn_command("upgrade", &[]);
    let hung = eventually("it starts", async || fs::read_to_string(&pid_file).ok()?.trim().parse().ok()).await;
    assert!(gateway.upgrade(&[]).unwrap_err().ends_with("an upgrade is in progress\n"));
    gateway.signal("TERM");
    assert!(gateway.ended().await.success());
    assert!(!runs(hung), "a successor must not outlive the decision to stop");
    first.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_successor_has_the_addresses_of_its_own_configuration() {
    let (origin, mut gateway) = scene().await;
    let folder = gateway.file("new.sock");
    let listen = format!(
        "listen: [{{ address: \"{}\", h2c: true }}, {{ address: \"unix:{}\" }}]\n",
        gateway.address,
        folder.display()
    );
    gateway.write(&(listen + &config(&origin)));
    gateway.upgrade(&[]).unwrap();
    gateway.ended().await;
    assert_eq!(gateway.get("/text/5").await.status, 200);
    let mut client = crate::support::Client::unix(folder.to_str().unwrap()).await;
    assert_eq!(client.ask(crate::support::Request::get("/text/5")).await.status, 200);
    gateway.write(&config(&origin));
    let before = gateway.said().len();
    gateway.upgrade(&[]).unwrap();
    let warning = "closing the inherited socket on ";
    assert!(gateway.said()[before..].contains(warning), "{}", gateway.said());
    eventually("what the successor says arrives where the first one's words do", async || {
        gateway.said().contains("stopped: all requests have finished").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_request_and_a_websocket_outlive_the_upgrade() {
    let (_origin, mut gateway) = scene().await;
    let mut socket = crate::support::websocket::Socket::open(gateway.address, "/ws").await.unwrap();
    let mut slow = gateway.raw().await;
    slow.send("GET /slow/1500 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually("it is on its way", async || {
        gateway.metrics().await.contains("gatekeeper_requests_in_flight 2\n").then_some(())
    })
    .await;
    gateway.upgrade(&[]).unwrap();
    assert_eq!(slow.response().await.status(), 200);
    let message = tokio_tungstenite::tungstenite::Message::text("still here");
    socket.send(message.clone()).await;
    assert_eq!(socket.next().await, Some(message));
    socket.close(1000).await;
    let closed = Instant::now();
    gateway.ended().await;
    assert!(closed.elapsed() < Duration::from_secs(1), "it leaves with the last request: {:?}", closed.elapsed());
}
