//! A load of strict clients: nothing is ever sent twice, and whatever does not bring a whole good answer has failed.
//!
//! A connection is used until a response, or HTTP/2's GOAWAY, says that it ends; then there is a new one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::client::conn::http2::SendRequest;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::{Answer, Ask, Body, Client, PATIENCE, Raw, Request};

/// Clients at work.
pub struct Load {
    state: Arc<State>,
    clients: JoinSet<()>,
}

struct State {
    address: SocketAddr,
    /// Clients whose connection ends make no new one.
    until_told: bool,
    over: AtomicBool,
    answers: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

type Failure = String;

impl Load {
    /// Busy and hesitant clients on kept connections, slow requests, HTTP/2, and clients with a connection for each request.
    pub async fn start(address: SocketAddr) -> Load {
        let mut load = Load::of(address, false);
        load.kept(4, "/text/100", 2).kept(2, "/text/5000", 90).kept(2, "/slow/150", 0);
        for _ in 0..2 {
            load.clients.spawn(load.state.clone().ask_h2());
            load.clients.spawn(load.state.clone().ask_anew());
        }
        load
    }

    /// HTTP/1.1 clients that go when they are told that their connection ends.
    pub async fn leaving(address: SocketAddr) -> Load {
        let mut load = Load::of(address, true);
        load.kept(8, "/text/100", 2).kept(4, "/text/5000", 200).kept(4, "/slow/150", 0);
        load
    }

    fn of(address: SocketAddr, until_told: bool) -> Load {
        let (over, answers, failures) = Default::default();
        Load { state: Arc::new(State { address, until_told, over, answers, failures }), clients: JoinSet::new() }
    }

    fn kept(&mut self, clients: usize, target: &'static str, pause: u64) -> &mut Load {
        for _ in 0..clients {
            self.clients.spawn(self.state.clone().ask_h1(target, Duration::from_millis(pause)));
        }
        self
    }

    /// Requests that were answered so far.
    pub fn answers(&self) -> usize {
        self.state.answers.load(Ordering::SeqCst)
    }

    /// Waits until so many more were answered.
    pub async fn goes_on(&self, more: usize) {
        let before = self.answers();
        super::eventually("requests go on", async || {
            (self.answers() >= before + more || !self.state.failures.lock().is_empty()).then_some(())
        })
        .await;
    }

    /// Ends; how many were answered. Panics if one was not.
    pub async fn finish(mut self) -> usize {
        self.state.over.store(true, Ordering::SeqCst);
        self.wait().await
    }

    /// Waits for clients that go of their own.
    pub async fn wait(&mut self) -> usize {
        let all = async { while self.clients.join_next().await.transpose().unwrap().is_some() {} };
        tokio::time::timeout(PATIENCE, all).await.expect("the clients end");
        let failures = self.state.failures.lock();
        assert!(failures.is_empty(), "{} of {} failed: {failures:#?}", failures.len(), self.answers() + failures.len());
        self.answers()
    }
}

impl State {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn judge(&self, judged: Result<bool, Failure>) -> bool {
        match judged {
            Ok(ends) => {
                self.answers.fetch_add(1, Ordering::SeqCst);
                ends
            }
            Err(failure) => {
                self.failures.lock().push(failure);
                true
            }
        }
    }

    async fn ask_h1(self: Arc<State>, target: &'static str, pause: Duration) {
        while !self.is_over() {
            let mut connection = Raw::connect(self.address).await;
            while !self.is_over() && !self.judge(exchange(&mut connection, target, "").await) {
                tokio::time::sleep(pause).await;
            }
            if self.until_told {
                return;
            }
        }
    }

    async fn ask_anew(self: Arc<State>) {
        while !self.is_over() {
            let mut connection = Raw::connect(self.address).await;
            self.judge(exchange(&mut connection, "/text/200", "Connection: close\r\n").await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn ask_h2(self: Arc<State>) {
        while !self.is_over() {
            let Client::H2(mut sender) = Client::h2c(self.address).await else { unreachable!() };
            while !self.is_over() && sender.ready().await.is_ok() {
                let judged = exchange_h2(&mut sender, self.address).await;
                if judged.is_some_and(|judged| self.judge(judged)) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }
}

/// One request; whether its connection ends.
async fn exchange(connection: &mut Raw, target: &str, fields: &str) -> Result<bool, Failure> {
    connection.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await;
    let answer = connection.next_response().await.ok_or(format!("{target}: no answer"))?;
    match answer.complete && answer.status() == 200 {
        true => Ok(answer.header("connection") == Some("close")),
        false => Err(format!("{target}: {answer:?}")),
    }
}

/// None when the request was not sent, because its connection ends.
async fn exchange_h2(sender: &mut SendRequest<Body>, address: SocketAddr) -> Option<Result<bool, Failure>> {
    let request = Request::get(format!("http://{address}/text/300")).version(http::Version::HTTP_2).request();
    let response = match sender.try_send_request(request).await {
        Err(mut error) => {
            let was_sent = error.take_message().is_none() && !is_going_away(error.error());
            return was_sent.then(|| Err(format!("h2: {:?}", error.into_error())));
        }
        Ok(response) => response,
    };
    Some(match Answer::collect(response).await {
        Ok(answer) if answer.status == 200 => Ok(false),
        other => Err(format!("h2: {other:?}")),
    })
}

/// The library does not begin a stream after GOAWAY; streams that were begun before break off with another error.
fn is_going_away(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR))
}
