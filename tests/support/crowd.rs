//! Many clients that count what they are told: at a constant rate, whatever the answers take, or each with its next
//! request after its last answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::raw::Message;
use super::{PATIENCE, Raw};

/// Clients at work. Each request has a path of its own.
pub struct Crowd {
    state: Arc<State>,
    clients: JoinSet<()>,
    began: Instant,
}

struct State {
    address: SocketAddr,
    over: AtomicBool,
    numbers: AtomicUsize,
    tally: Mutex<Tally>,
    /// Connections without a request.
    idle: Mutex<Vec<Raw>>,
}

/// What the clients were told.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Whole answers by their statuses.
    pub statuses: BTreeMap<u16, usize>,
    /// What was no whole answer, and the first answers that were not 200.
    pub failures: Vec<String>,
    /// Requests without a whole answer.
    pub lost: usize,
    /// 503s that did not say when to come again.
    pub unexplained: usize,
    pub slowest: Duration,
    /// From the first request to the last one's answer.
    pub took: Duration,
}

impl Tally {
    pub fn requests(&self) -> usize {
        self.lost + self.statuses.values().sum::<usize>()
    }

    /// So many were answered so.
    pub fn of(&self, status: u16) -> usize {
        self.statuses.get(&status).copied().unwrap_or_default()
    }

    /// Requests that were not answered with 200.
    pub fn failed(&self) -> usize {
        self.requests() - self.of(200)
    }

    /// Requests for each second.
    pub fn rate(&self) -> f64 {
        self.requests() as f64 / self.took.as_secs_f64()
    }

    fn add(&mut self, path: &str, answer: Option<&Message>, took: Duration) {
        self.slowest = self.slowest.max(took);
        let status = answer.map(Message::status);
        match status {
            Some(status) => *self.statuses.entry(status).or_default() += 1,
            None => self.lost += 1,
        }
        self.unexplained +=
            usize::from(answer.is_some_and(|answer| answer.status() == 503 && answer.header("retry-after").is_none()));
        if status != Some(200) && self.failures.len() < 10 {
            let code = answer.and_then(|answer| answer.header("x-gatekeeper-error"));
            self.failures.push(format!("{path} after {took:?}: {status:?}, {code:?}"));
        }
    }
}

impl Crowd {
    /// So many requests for each second, over connections that are kept; those that come due late are sent at once.
    pub fn at_rate(address: SocketAddr, per_second: u32) -> Crowd {
        let mut crowd = Crowd::of(address);
        crowd.clients.spawn(crowd.state.clone().pace(per_second));
        crowd
    }

    /// So many clients, each on a connection of its own, which pause between an answer and the next request.
    pub fn of_clients(address: SocketAddr, clients: usize, pause: Duration) -> Crowd {
        let mut crowd = Crowd::of(address);
        for _ in 0..clients {
            crowd.clients.spawn(crowd.state.clone().keep_asking(pause));
        }
        crowd
    }

    fn of(address: SocketAddr) -> Crowd {
        let (over, numbers, tally, idle) = Default::default();
        let state = State { address, over, numbers, tally, idle };
        Crowd { state: Arc::new(state), clients: JoinSet::new(), began: Instant::now() }
    }

    /// What they were told so far.
    pub fn tally(&self) -> Tally {
        Tally { took: self.began.elapsed(), ..self.state.tally.lock().clone() }
    }

    /// Ends when all that was asked is answered, and closes the connections.
    pub async fn finish(mut self) -> Tally {
        self.state.over.store(true, Ordering::SeqCst);
        let took = self.began.elapsed();
        let all = async { while self.clients.join_next().await.transpose().unwrap().is_some() {} };
        tokio::time::timeout(PATIENCE, all).await.expect("the clients end");
        Tally { took, ..self.tally() }
    }
}

impl State {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    async fn pace(self: Arc<State>, per_second: u32) {
        let (began, mut sent, mut asking) = (Instant::now(), 0, JoinSet::new());
        let mut ticks = interval(Duration::from_millis(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !self.is_over() {
            ticks.tick().await;
            let due = (began.elapsed().as_secs_f64() * f64::from(per_second)) as usize;
            for _ in sent..due {
                asking.spawn(self.clone().ask_once());
            }
            sent = due;
            while asking.try_join_next().transpose().unwrap().is_some() {}
        }
        while asking.join_next().await.transpose().unwrap().is_some() {}
    }

    async fn ask_once(self: Arc<State>) {
        let kept = self.idle.lock().pop();
        let connection = match kept {
            Some(connection) => connection,
            None => Raw::connect(self.address).await,
        };
        if let Some(connection) = self.ask(connection).await {
            self.idle.lock().push(connection);
        }
    }

    async fn keep_asking(self: Arc<State>, pause: Duration) {
        let mut kept = None;
        while !self.is_over() {
            let connection = match kept.take() {
                Some(connection) => connection,
                None => Raw::connect(self.address).await,
            };
            kept = self.ask(connection).await;
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
    }

    /// Sends one request and counts its answer; the connection, if it goes on.
    async fn ask(&self, mut connection: Raw) -> Option<Raw> {
        let path = format!("/{}", self.numbers.fetch_add(1, Ordering::Relaxed));
        let began = Instant::now();
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let answer = connection.next_response().await.filter(|answer| answer.complete);
        self.tally.lock().add(&path, answer.as_ref(), began.elapsed());
        answer.is_some_and(|answer| answer.header("connection") != Some("close")).then_some(connection)
    }
}
