//! Targets die and come back: no POST is ever executed twice, and no GET fails as long as one target lives.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future;
use http::{Method, StatusCode};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::support::{Gateway, Raw, Request, full};

/// How a target is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Lives,
    /// Nobody listens; what was being answered still is, then connections are closed.
    Closed,
    /// Nobody listens; connections are reset, whatever is on them.
    Reset,
    /// Nobody listens; a request on a connection is still executed, but not answered: the connection is closed.
    Loses,
    /// Nobody listens; connections stay open until a request comes, which is not read: they are reset then.
    Stale,
}
use State::{Closed, Lives, Loses, Reset, Stale};

/// Requests by method and path, counted before they are answered.
type Counts = Arc<Mutex<HashMap<String, usize>>>;

/// A target whose port stays its own while it is dead.
struct Target {
    address: SocketAddr,
    state: watch::Sender<State>,
    _held: TcpSocket,
}

impl Target {
    fn start(state: State, counts: &Counts) -> Target {
        let held = socket(([127, 0, 0, 1], 0).into());
        let address = held.local_addr().unwrap();
        let (sender, receiver) = watch::channel(state);
        tokio::spawn(run(address, receiver, counts.clone()));
        Target { address, state: sender, _held: held }
    }

    fn become_(&self, state: State) {
        self.state.send_replace(state);
    }
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// Listens whenever it shall; ends with the target.
async fn run(address: SocketAddr, mut state: watch::Receiver<State>, counts: Counts) {
    loop {
        let listens = |state: &State| *state == Lives;
        if state.wait_for(listens).await.is_err() {
            return;
        }
        let listener = socket(address).listen(1024).unwrap();
        let mut dead = state.clone();
        tokio::select! {
            () = accept(&listener, &state, &counts) => {}
            ended = async { dead.wait_for(|state| !listens(state)).await.is_err() } => {
                if ended {
                    return;
                }
            }
        }
    }
}

async fn accept(listener: &TcpListener, state: &watch::Receiver<State>, counts: &Counts) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(Raw::new(stream), state.clone(), counts.clone()));
    }
}

async fn serve(mut peer: Raw, mut state: watch::Receiver<State>, counts: Counts) {
    loop {
        let now = *state.borrow_and_update();
        match now {
            Lives | Loses => {}
            Closed => return,
            Reset => return reset(&peer.stream),
            Stale => {
                tokio::select! {
                    _ = peer.stream.readable() => return reset(&peer.stream),
                    _ = state.changed() => continue,
                }
            }
        }
        let request = tokio::select! {
            request = peer.request() => request,
            changed = state.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let Some(request) = request else { return };
        let line = request.first_line.trim_end_matches(" HTTP/1.1").to_owned();
        *counts.lock().entry(line).or_default() += 1;
        // Time to die in.
        sleep(Duration::from_millis(1)).await;
        match *state.borrow() {
            Loses => return,
            Reset => return reset(&peer.stream),
            Lives | Closed | Stale => {}
        }
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    }
}

fn reset(stream: &TcpStream) {
    stream.set_zero_linger().unwrap();
}

/// Three targets and a gateway before them; what else the route and the service say.
async fn before(states: [State; 3], counts: &Counts, service: &str) -> (Vec<Target>, Gateway) {
    let targets: Vec<_> = states.iter().map(|state| Target::start(*state, counts)).collect();
    let urls: Vec<_> = targets.iter().map(|target| format!("\"http://{}\"", target.address)).collect();
    // The breaker is not what is tested here: it may open if too many POSTs in a row are lost.
    let gateway = Gateway::start(&format!(
        "services:\n  app: {{ targets: [{}], circuit_breaker: {{ enabled: false }}, {service} }}\n\
         routes:\n  - {{ name: app, path_pattern: /*, target_service: app, retry_count: 5, \
         retry: {{ backoff: {{ base: 5ms, max: 20ms }} }} }}\n",
        urls.join(", ")
    ))
    .await;
    (targets, gateway)
}

/// Asks again and again on one connection, until there was enough; how often each status came.
async fn ask(
    gateway: &Gateway,
    method: Method,
    name: &str,
    pause: Duration,
    enough: impl Fn(usize) -> bool,
) -> HashMap<StatusCode, usize> {
    let mut statuses = HashMap::new();
    let mut client = gateway.h1().await;
    for number in 0.. {
        if enough(number) {
            break;
        }
        let request = Request::builder().method(method.clone()).uri(format!("/{name}/{number}"));
        let body = if method == Method::POST { "something" } else { "" };
        let answer = client.ask(request.body(full(body)).unwrap()).await;
        *statuses.entry(answer.status).or_default() += 1;
        if answer.header("connection") == Some("close") {
            client = gateway.h1().await;
        }
        sleep(pause).await;
    }
    statuses
}

fn sum(statuses: Vec<HashMap<StatusCode, usize>>) -> HashMap<StatusCode, usize> {
    let mut sum = HashMap::new();
    for (status, count) in statuses.into_iter().flatten() {
        *sum.entry(status).or_default() += count;
    }
    sum
}

const OK: StatusCode = StatusCode::OK;

#[tokio::test(flavor = "multi_thread")]
async fn no_post_is_executed_twice_while_targets_die_and_come_back() {
    let counts = Counts::default();
    let (targets, gateway) = before([Lives; 3], &counts, "ejection: { base: 200ms, max: 400ms }").await;
    let over = AtomicBool::new(false);
    let posts = async {
        let clients = (0..8).map(|client| {
            let name = format!("post{client}");
            let gateway = &gateway;
            async move { ask(gateway, Method::POST, &name, Duration::from_millis(15), |number| number == 125).await }
        });
        let statuses = sum(future::join_all(clients).await);
        over.store(true, Ordering::Relaxed);
        statuses
    };
    let gets = async {
        let clients =
            (0..4).map(|client| {
                let name = format!("get{client}");
                let (gateway, over) = (&gateway, &over);
                async move {
                    ask(gateway, Method::GET, &name, Duration::from_millis(5), |_| over.load(Ordering::Relaxed)).await
                }
            });
        sum(future::join_all(clients).await)
    };
    let mut deaths = 0;
    let upheaval = async {
        let order = [Closed, Loses, Reset, Stale].into_iter().cycle().zip(targets.iter().cycle());
        for (state, target) in order {
            if over.load(Ordering::Relaxed) {
                return;
            }
            target.become_(state);
            sleep(Duration::from_millis(100)).await;
            target.become_(Lives);
            deaths += 1;
        }
    };
    let (posts, gets, ()) = future::join3(posts, gets, upheaval).await;
    let counts = counts.lock();
    let executed = counts.iter().filter(|(line, _)| line.starts_with("POST"));
    let twice: Vec<_> = executed.clone().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "executed more than once: {twice:?}");
    let (succeeded, executed) = (posts.get(&OK).copied().unwrap_or_default(), executed.count());
    println!("{deaths} deaths; 1000 POSTs: {posts:?}, {executed} executed; GETs: {gets:?}");
    assert_eq!(posts.values().sum::<usize>(), 1000);
    assert!(deaths >= 12, "{deaths} deaths are too few to tell anything");
    assert!(succeeded >= 900, "{succeeded} of 1000 POSTs succeeded");
    assert!(executed >= succeeded, "{executed} were executed, {succeeded} answered 200");
    assert!(gets.len() == 1 && gets[&OK] > 100, "GETs: {gets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_get_is_answered_as_long_as_one_target_lives() {
    for dead in [Closed, Reset, Loses] {
        let counts = Counts::default();
        let budget = "retry_budget: { share: 1, per_second: 1000 }";
        let (targets, gateway) = before([Lives, dead, dead], &counts, budget).await;
        let over = AtomicBool::new(false);
        let gets =
            future::join_all((0..4).map(|client| {
                let name = format!("get{client}");
                let (gateway, over) = (&gateway, &over);
                async move {
                    ask(gateway, Method::GET, &name, Duration::from_millis(3), |_| over.load(Ordering::Relaxed)).await
                }
            }));
        let upheaval = async {
            for turn in 1..13 {
                sleep(Duration::from_millis(60)).await;
                targets[turn % 3].become_(Lives);
                sleep(Duration::from_millis(40)).await;
                targets[(turn + 2) % 3].become_(dead);
            }
            over.store(true, Ordering::Relaxed);
        };
        let (gets, ()) = future::join(gets, upheaval).await;
        let gets = sum(gets);
        println!("{dead:?}: {gets:?}");
        assert!(gets.len() == 1 && gets[&OK] > 50, "{dead:?}: {gets:?}");
    }
}
