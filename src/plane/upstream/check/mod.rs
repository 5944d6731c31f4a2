//! One active health check of one target.
//!
//! It takes the way that requests take (address or socket, TLS, name, client certificate, protocol) on a connection of
//! its own, closed with the check: it neither gets nor leaves a kept one. All of it, connecting included, ends with the
//! check's timeout at the latest. Dropping the future closes the connection.
//!
//! Known inaccuracy: TLS 1.3 ends for us before the target has judged our client certificate, so a `tcp` check does not
//! see that it was refused.

mod compile;
mod grpc;
mod http;

use std::time::{Duration, Instant};

use ::http::HeaderValue;
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::v2::Connector;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;

use super::health::{Thresholds, next_delay};
use super::sentence::sentence;

/// A health check, compiled.
#[derive(Debug)]
pub struct Check {
    question: Question,
    interval: Duration,
    jitter: Duration,
    timeout: Duration,
    thresholds: Thresholds,
}

#[derive(Debug)]
enum Question {
    Http(Box<http::Question>),
    Tcp,
    Grpc(Box<grpc::Question>),
}

impl Check {
    /// When its outcomes change a target's state.
    pub fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    /// The time to the next check.
    pub fn next_delay(&self, random: u64) -> Duration {
        next_delay(self.interval, self.jitter, random)
    }

    /// Asks one target. The time its good answer took, or in one sentence for the log why it is bad.
    pub async fn ask(&self, dialler: &Dialler, peer: &HttpPeer, authority: &HeaderValue) -> Result<Duration, String> {
        let started = Instant::now();
        // Connecting and TLS make a large future: it would be part of each of its callers.
        let answer = Box::pin(async {
            match &self.question {
                Question::Http(question) => question.ask(dialler, peer, authority).await,
                Question::Tcp => dialler.connect(peer).await,
                Question::Grpc(question) => question.ask(dialler, peer, authority).await,
            }
        });
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer.map(|()| started.elapsed()),
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }
}

/// What checks connect with. Making one reads the system's certificate authorities: one is enough for a gateway. It holds
/// nothing else, no connection above all.
pub struct Dialler(Connector);

impl Dialler {
    /// Reads the system's authorities.
    pub fn new() -> Self {
        Dialler(Connector::new(Some(ConnectorOptions::new(0))))
    }

    async fn connect(&self, peer: &HttpPeer) -> Result<(), String> {
        self.0.transport().new_stream(peer).await.map(drop).map_err(|error| sentence(&error))
    }

    async fn open(&self, mut peer: HttpPeer) -> Result<HttpSession, String> {
        // With room for a further stream the connector would keep the connection.
        peer.options.max_h2_streams = 1;
        self.0.new_http_session(&peer).await.map_err(|error| sentence(&error))
    }
}

impl Default for Dialler {
    fn default() -> Self {
        Dialler::new()
    }
}
