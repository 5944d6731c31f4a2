//! A target that is a process of its own, so that it can be killed, frozen, cut off and started again on the same port.
//!
//! The test binary starts itself once more to run nothing but `serve` below. What the target does is told to it line by
//! line on its standard input, and each line is acknowledged on its standard error. It writes down each request before it
//! answers, and the answer before it is sent, in a file that several targets may share and that outlives them.
//!
//! Its port stays reserved while it is dead: a socket of the test is bound to it, and never listens.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::net::TcpSocket;

/// What a target does with each request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manner {
    pub status: u16,
    /// Seconds of `Retry-After`.
    pub retry_after: Option<u64>,
    /// Milliseconds before the answer.
    pub delay: u64,
    /// Close the connection instead of an answer.
    pub close: bool,
}

/// Answers 200 at once.
pub const WELL: Manner = Manner { status: 200, retry_after: None, delay: 0, close: false };

/// What a target's process is told at its start.
#[derive(Serialize, Deserialize)]
struct Orders {
    name: String,
    address: SocketAddr,
    record: PathBuf,
    manner: Manner,
}

const ORDERS: &str = "GATEKEEPER_TEST_TARGET";
/// Connections that the kernel takes for a target that accepts none.
const BACKLOG: u32 = 128;

/// A target; it ends with the test.
pub struct Target {
    pub address: SocketAddr,
    orders: Orders,
    process: Option<(Child, BufReader<ChildStderr>)>,
    /// Connections that take the room of all others.
    crowd: Vec<TcpStream>,
    _port: TcpSocket,
}

impl Target {
    /// Starts a target that writes down its requests in this file.
    pub fn start(name: &str, record: &Path) -> Target {
        let port = socket("127.0.0.1:0".parse().unwrap());
        let address = port.local_addr().unwrap();
        let orders = Orders { name: name.into(), address, record: record.into(), manner: WELL };
        let mut target = Target { address, orders, process: None, crowd: Vec::new(), _port: port };
        target.revive();
        target
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it does this. Not to be asked of one that is frozen.
    pub fn behave(&mut self, manner: Manner) {
        self.orders.manner = manner;
        if let Some((process, said)) = &mut self.process {
            writeln!(process.stdin.as_ref().unwrap(), "{}", serde_json::to_string(&self.orders.manner).unwrap())
                .unwrap();
            acknowledged(said);
        }
    }

    /// SIGKILL, if it lives.
    pub fn kill(&mut self) {
        if let Some((mut process, _)) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        self.crowd.clear();
    }

    /// It stops in whatever it does; the kernel still takes connections for it.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        let (process, _) = self.process.as_ref().expect("a target that lives");
        // The signal is taken a moment after it was sent.
        while !stands_still(process.id()) {
            std::thread::yield_now();
        }
    }

    /// Frozen, and beyond that the kernel drops whatever asks for a new connection.
    pub fn cut_off(&mut self) {
        self.freeze();
        while let Ok(connection) = TcpStream::connect_timeout(&self.address, Duration::from_millis(100)) {
            self.crowd.push(connection);
            assert!(self.crowd.len() <= 2 * BACKLOG as usize, "the kernel drops nothing");
        }
    }

    /// Whatever became of it, it serves again, on the same port.
    pub fn revive(&mut self) {
        self.crowd.clear();
        if self.process.is_some() {
            return self.signal(Signal::SIGCONT);
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "support::target::serve", "--include-ignored", "--nocapture", "--test-threads=1"]);
        command.env(ORDERS, serde_json::to_string(&self.orders).unwrap());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(process.stderr.take().unwrap());
        acknowledged(&mut said);
        self.process = Some((process, said));
    }

    fn signal(&self, signal: Signal) {
        let (process, _) = self.process.as_ref().expect("a target that lives");
        kill(Pid::from_raw(process.id().cast_signed()), signal).unwrap();
    }
}

/// All threads of a process are stopped.
fn stands_still(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let states = threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default());
    states.into_iter().all(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
}

impl Drop for Target {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What happened at targets, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// This target was asked for this path.
    Asked(String, String),
    /// It is about to answer.
    Answered(String, String),
}

/// What targets wrote down.
pub fn record(file: &Path) -> Vec<Happened> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let happened = text.split_inclusive('\n').filter_map(|line| {
        let mut words = line.strip_suffix('\n')?.split(' ').map(str::to_owned);
        let (what, name, path) = (words.next()?, words.next()?, words.next()?);
        Some(if what == "asked" { Happened::Asked(name, path) } else { Happened::Answered(name, path) })
    });
    happened.collect()
}

/// How many requests reached targets.
pub fn asked(file: &Path) -> usize {
    record(file).iter().filter(|happened| matches!(happened, Happened::Asked(..))).count()
}

fn acknowledged(said: &mut impl BufRead) {
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "done\n", "what the target said");
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// The target's process.
#[test]
#[ignore = "a part of other tests: they start it as a process of its own"]
fn serve() {
    let orders = std::env::var(ORDERS).expect("this is started by other tests");
    set_pdeathsig(Signal::SIGKILL).unwrap();
    let orders: Orders = serde_json::from_str(&orders).unwrap();
    let record = File::options().create(true).append(true).open(&orders.record).unwrap();
    let server = Arc::new(Server { name: orders.name, manner: Mutex::new(orders.manner), record });
    let told = server.clone();
    std::thread::spawn(move || {
        for line in io::stdin().lines() {
            *told.manner.lock() = serde_json::from_str(&line.unwrap()).unwrap();
            eprintln!("done");
        }
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(accept(orders.address, server));
}

struct Server {
    name: String,
    manner: Mutex<Manner>,
    record: File,
}

async fn accept(address: SocketAddr, server: Arc<Server>) {
    let listener = socket(address).listen(BACKLOG).unwrap();
    eprintln!("done");
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let server = server.clone();
        let service = service_fn(move |request| server.clone().answer(request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

impl Server {
    async fn answer(self: Arc<Server>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, io::Error> {
        let path = request.uri().path().to_owned();
        self.note("asked", &path);
        let _ = request.into_body().collect().await;
        let manner = self.manner.lock().clone();
        if manner.delay > 0 {
            tokio::time::sleep(Duration::from_millis(manner.delay)).await;
        }
        if manner.close {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let mut response = Response::builder().status(manner.status);
        if let Some(seconds) = manner.retry_after {
            response = response.header("retry-after", seconds);
        }
        self.note("answered", &path);
        let answer = response.body(Full::from(self.name.clone()));
        Ok(answer.unwrap())
    }

    /// One short write: it reaches the file whole, even if the process is killed right after it.
    fn note(&self, what: &str, path: &str) {
        let line = format!("{what} {} {path}\n", self.name);
        (&self.record).write_all(line.as_bytes()).unwrap();
    }
}
