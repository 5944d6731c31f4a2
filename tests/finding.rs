//! How the command line finds the gateway that it is meant for, and `proxy`, which has no file to find it by.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::gateway::{everything_to, free_address};
use crate::support::{Client, Gateway, Origin, Request, eventually};

const GATEKEEPER: &str = env!("CARGO_BIN_EXE_gatekeeper");

/// A user of this host: whose gateways are registered here, and who calls from here.
struct User(TempDir);

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl User {
    fn new() -> User {
        User(tempfile::tempdir().unwrap())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(GATEKEEPER);
        command
            .args(args)
            .current_dir(self.0.path())
            .env("XDG_RUNTIME_DIR", self.0.path())
            .env_remove("STATE_DIRECTORY");
        command.stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    fn call(&self, args: &[&str]) -> (Option<i32>, String, String) {
        told(self.command(args).output().unwrap())
    }

    /// A gateway of this user with a configuration of its own, when it serves.
    async fn run(&self, name: &str, config: &str) -> Running {
        let folder = self.0.path().join(name);
        fs::create_dir(&folder).unwrap();
        let beginning = "version: 1\nlisten: [{ address: \"127.0.0.1:0\" }]\nadmin: { address: \"127.0.0.1:0\" }\n";
        fs::write(folder.join("gatekeeper.yaml"), format!("{beginning}{config}")).unwrap();
        let file = folder.join("gatekeeper.yaml").display().to_string();
        let command = self.command(&["run", "-c", &file]).current_dir(&folder).stdout(Stdio::null()).spawn();
        let running = Running(command.unwrap());
        eventually("it can be found", async || (self.call(&["status", "-c", &file]).0 == Some(0)).then_some(())).await;
        running
    }

    fn registered(&self) -> usize {
        fs::read_dir(self.0.path().join("gatekeeper")).map_or(0, Iterator::count)
    }
}

fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const PAGE: &str = "routes: [{ name: all, path_pattern: /*, respond: { status: 204 } }]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_without_a_file_is_found_without_one() {
    let (user, origin) = (User::new(), Origin::start().await);
    let from = free_address();
    let mut proxy = Running(user.command(&["proxy", "--to", origin.url(), "--from", &from]).spawn().unwrap());
    let status = eventually("it can be found", async || Some(user.call(&["status"])).filter(|told| told.0 == Some(0)));
    let status = status.await;
    assert!(status.1.contains(&format!("listening   {from}\n")), "{status:?}");
    let mut client = Client::h1(from.parse::<SocketAddr>().unwrap()).await;
    assert_eq!(client.ask(Request::get("/some/path")).await.seen().target, "/some/path");
    let services = user.call(&["services", "list"]);
    assert!(services.0 == Some(0) && services.1.contains("app"), "{services:?}");
    assert!(Command::new("kill").arg(proxy.0.id().to_string()).status().unwrap().success());
    eventually("it stops", async || proxy.0.try_wait().unwrap()).await;
    let after = user.call(&["status"]);
    assert!(
        after.0 == Some(3) && after.2.starts_with("gatekeeper: no running gateway was found on this host"),
        "{after:?}"
    );
    assert_eq!(user.registered(), 0);
    let left = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let own = format!("gatekeeper-{}", proxy.0.id());
    assert!(!left.map(|entry| entry.file_name()).any(|name| name.to_string_lossy() == own), "{own} is left behind");
}

#[test]
fn what_proxy_runs_can_be_printed_and_checked() {
    let user = User::new();
    let targets = ["--to", "http://127.0.0.1:1", "--to", "http://127.0.0.1:2"];
    let printed = user.call(&[&["proxy", "--print"][..], &targets].concat());
    fs::write(user.0.path().join("gatekeeper.yaml"), &printed.1).unwrap();
    for check in ["check", "validate"] {
        assert_eq!(user.call(&[check]).0, Some(0), "{check}: {printed:?}");
    }
    assert_eq!(user.call(&["proxy"]).0, Some(2));
    for (to, from, told) in [
        ("ftp://x", "127.0.0.1:0", "--to <URL>': write a URL, such as http://127.0.0.1:3000"),
        ("http://127.0.0.1:1", ":8000", "--from <ADDRESS>': write an address and a port, such as 0.0.0.0:8000"),
    ] {
        let wrong = user.call(&["proxy", "--to", to, "--from", from]);
        assert!(wrong.0 == Some(2) && wrong.2.contains(told), "{wrong:?}");
    }
    let short = user.call(&["proxy", "--print", "--to", "127.0.0.1:1", "--from", "8080"]).1;
    assert!(short.contains("\"127.0.0.1:8080\"") && short.contains("\"http://127.0.0.1:1\""), "{short}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_disables_no_command() {
    let gateway = Gateway::start(&everything_to("http://127.0.0.1:1")).await;
    eventually("its note is written", async || gateway.file("state/running.json").exists().then_some(())).await;
    fs::write(gateway.file("gatekeeper.yaml"), "routes: [}").unwrap();
    for (command, args) in [("status", &[][..]), ("services", &["list"]), ("limits", &["list"])] {
        let output = gateway.command(command, args);
        assert!(output.status.success(), "{command}: {output:?}");
    }
    let why = told(gateway.command("why", &["no-such-id"]));
    assert!(why.0 == Some(1) && !why.2.contains("gatekeeper.yaml"), "{why:?}");
    let reload = told(gateway.command("reload", &[]));
    assert!(reload.0 == Some(1) && reload.2.contains("gatekeeper.yaml"), "{reload:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_gateways_the_file_says_which() {
    let user = User::new();
    let (mut one, _other) = (user.run("one", PAGE).await, user.run("other", PAGE).await);
    let several = user.call(&["status"]);
    assert_eq!(several.0, Some(2));
    for name in ["one", "other"] {
        let file = user.0.path().join(name).join("gatekeeper.yaml").display().to_string();
        assert!(several.2.contains(&format!("-c {file}")), "{several:?}");
        let here = told(user.command(&["status"]).current_dir(user.0.path().join(name)).output().unwrap());
        assert_eq!(here.0, Some(0), "the file of the working directory is meant: {here:?}");
    }
    // A killed gateway takes nothing back, and is no gateway any more.
    one.0.kill().unwrap();
    one.0.wait().unwrap();
    assert_eq!((user.call(&["status"]).0, user.registered()), (Some(0), 2));
    let file = user.0.path().join("one/gatekeeper.yaml").display().to_string();
    assert_eq!(user.call(&["status", "-c", &file]).0, Some(3));
    let _third = user.run("third", PAGE).await;
    assert_eq!(user.registered(), 2, "the next gateway forgets the killed one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_elsewhere_is_named_by_its_url() {
    let user = User::new();
    let _running = user.run("one", PAGE).await;
    let state = user.0.path().join("one/gatekeeper-state");
    let note: serde_json::Value = serde_json::from_slice(&fs::read(state.join("running.json")).unwrap()).unwrap();
    let url = format!("http://{}", note["admin"].as_str().unwrap());
    let token = state.join("admin.token").display().to_string();

    let stranger = User::new();
    assert_eq!(stranger.call(&["status", "--url", &url, "--token-file", &token]).0, Some(0));
    let mut command = stranger.command(&["status"]);
    command.env("GATEKEEPER_URL", &url).env("GATEKEEPER_AUTH_TOKEN", fs::read_to_string(&token).unwrap());
    assert_eq!(told(command.output().unwrap()).0, Some(0));
    let without = stranger.call(&["status", "--url", &url]);
    assert!(without.0 == Some(2) && without.2.contains("--token-file"), "{without:?}");
    let wrong = told(stranger.command(&["status", "--url", &url]).env("GATEKEEPER_AUTH_TOKEN", "x").output().unwrap());
    assert_eq!(wrong.0, Some(1), "{wrong:?}");
    let within = told(stranger.command(&["status"]).env("STATE_DIRECTORY", &state).output().unwrap());
    assert_eq!(within.0, Some(0), "what systemd names is looked into: {within:?}");
    assert_eq!(
        told(stranger.command(&["status"]).env("STATE_DIRECTORY", Path::new("/nowhere")).output().unwrap()).0,
        Some(3)
    );
}

/// Who owns a directory may not have another user's file sent to an address of their choice.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_a_link_is_sent_nowhere() {
    let user = User::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let state = user.0.path().join("gatekeeper-state");
    fs::create_dir(&state).unwrap();
    fs::write(user.0.path().join("precious"), "precious").unwrap();
    std::os::unix::fs::symlink("../precious", state.join("admin.token")).unwrap();
    let note = serde_json::json!({ "pid": std::process::id(), "config": "/x.yaml", "admin": listener.local_addr().unwrap().to_string() });
    fs::write(state.join("running.json"), note.to_string()).unwrap();
    let told = user.call(&["status"]);
    assert!(told.0 == Some(3) && told.2.contains("cannot read the administration token"), "{told:?}");
    assert!(listener.accept().is_err(), "nothing was sent");
}
