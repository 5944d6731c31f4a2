//! Real peers that are programs of their own, for node: a browser and a provider of tokens (tests/peers). They end with their
//! standard input, so that none outlives its test, however that ends.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{Answer, Client, PATIENCE, Request, full, soon};

/// A running program.
pub struct Peer {
    process: Child,
    orders: Option<ChildStdin>,
    said: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    pub async fn start(program: &str, args: &[&str]) -> Peer {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
        assert!(folder.join("node_modules").exists(), "first: make tests/peers/node_modules (needs node and npm)");
        let mut command = Command::new("node");
        command.current_dir(folder).arg(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("node");
        let (orders, said) = (process.stdin.take(), process.stdout.take().unwrap());
        Peer { process, orders, said: BufReader::new(said).lines() }
    }

    /// The next line it says.
    pub async fn line(&mut self) -> String {
        let line = soon("a line of the peer's", self.said.next_line()).await;
        line.unwrap().expect("a line, not the peer's end")
    }

    /// What it answers to an order.
    pub async fn obey(&mut self, order: &Value) -> Value {
        let orders = self.orders.as_mut().expect("its standard input");
        orders.write_all(format!("{order}\n").as_bytes()).await.unwrap();
        serde_json::from_str(&self.line().await).unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.orders.take();
        let started = Instant::now();
        while self.process.try_wait().unwrap().is_none() {
            if started.elapsed() > PATIENCE {
                self.process.start_kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Chromium, with pages of several origins.
pub struct Browser {
    peer: Peer,
    /// Where the pages come from, on every name that means loopback.
    pub ports: [u16; 2],
}

impl Browser {
    pub async fn start() -> Browser {
        let mut peer = Peer::start("browser.mjs", &[]).await;
        let ports = serde_json::from_str(&peer.line().await).unwrap();
        Browser { peer, ports }
    }

    /// What a page sees when it fetches: `status`, `headers` and `body`, or `error`.
    pub async fn fetch(&mut self, page: &str, url: &str, with: Value) -> Value {
        self.peer.obey(&json!({ "page": page, "fetch": url, "with": with })).await
    }

    /// What a page sees when it opens a websocket with these subprotocols: `opened` and `protocol`, or `error`.
    pub async fn open(&mut self, page: &str, url: &str, protocols: &[&str]) -> Value {
        self.peer.obey(&json!({ "page": page, "socket": url, "with": protocols })).await
    }
}

/// An OpenID provider.
pub struct Provider {
    _peer: Peer,
    pub issuer: String,
}

impl Provider {
    /// Signs with RS256.
    pub async fn start() -> Provider {
        Provider::signing("RS256").await
    }

    pub async fn signing(algorithm: &str) -> Provider {
        let mut peer = Peer::start("provider.mjs", &[algorithm]).await;
        let issuer = peer.line().await;
        Provider { _peer: peer, issuer }
    }

    /// A token of `alice` (admin and reader) or `bob` (reader), with the scopes read and write. Without an audience it is none
    /// that can be judged by looking at it.
    pub async fn token(&self, user: &str, audience: Option<&str>) -> String {
        let resource = audience.map(|audience| format!("&resource={audience}")).unwrap_or_default();
        let form =
            format!("grant_type=client_credentials&scope=read%20write&client_id={user}&client_secret={user}-secret");
        let answer = self.post("/token", form + &resource).await;
        answer.json()["access_token"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned()
    }

    /// Signs with a new key from now on; the old one is still published, or not.
    pub async fn rotate(&self, keep: bool) {
        let answer = self.post(if keep { "/rotate" } else { "/rotate?drop" }, String::new()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// How often its keys were fetched.
    pub async fn fetches(&self) -> u64 {
        let answer = self.client().await.ask(Request::get("/counts")).await;
        answer.json()["jwks"].as_u64().unwrap()
    }

    async fn post(&self, target: &str, form: String) -> Answer {
        let request = Request::post(target).header(HOST, self.authority());
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(full(form)).unwrap();
        self.client().await.ask(request).await
    }

    async fn client(&self) -> Client {
        Client::h1(self.authority().parse::<SocketAddr>().unwrap()).await
    }

    fn authority(&self) -> &str {
        self.issuer.strip_prefix("http://").unwrap()
    }
}

/// A request with a token.
pub fn bearing(token: &str, target: &str) -> http::request::Builder {
    Request::get(target).header(AUTHORIZATION, format!("Bearer {token}"))
}
