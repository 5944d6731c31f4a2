//! A service that is asked while a request waits: bounded in time, in the size of its answers, in the number of questions at a
//! time, and left alone for a while when it fails (SEMANTICS 4.6, 4.9). Whatever goes wrong, nobody is let in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::VIA;
use http::{Method, Version};
use reqwest::{RequestBuilder, Url};
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use super::fetch::{Answer, Client, Failure};
use crate::policy::via;
use gatekeeper_core::breaker::{Asker, Breaker, Failures, Policy, Transition, Verdict};

/// Questions under way at a time; more wait for their turn.
const AT_ONCE: usize = 128;
/// The longest answer that is read.
const LONGEST_ANSWER: usize = 64 << 10;
/// Answers that fail in a row before it is left alone.
const FAILURES: u32 = 5;
/// Who is asked within so much of when the question came up has its whole time.
const PROMPT: Duration = Duration::from_millis(20);
/// For how long, at first and at most.
const ALONE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A service that is asked.
pub struct Remote {
    url: Url,
    timeout: Duration,
    client: Client,
    breaker: Arc<Breaker>,
    turns: Semaphore,
}

/// Why there is no answer, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

impl Remote {
    /// A service that has so much time for each answer; its name is for the log.
    pub fn new(name: &'static str, url: Url, timeout: Duration, client: Client) -> Self {
        let policy = Policy {
            failures: Failures::Consecutive(FAILURES),
            success_threshold: 1,
            timeout: ALONE.0,
            max_timeout: ALONE.1,
            probe_timeout: timeout * 2,
        };
        let tell = move |transition: Transition| log::warn!("{name}: circuit breaker {}", transition.name());
        let breaker = Arc::new(Breaker::new(policy, Instant::now(), tell));
        Remote { url, timeout, client, breaker, turns: Semaphore::new(AT_ONCE) }
    }

    /// A question that is yet to be asked.
    pub fn question(&self, method: Method) -> RequestBuilder {
        self.client.request(method, self.url.clone()).header(VIA, via::ours(Version::HTTP_11))
    }

    /// When a question has to be answered that comes up now.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Until when it is worth while to wait for a turn: a question that has less time left is not asked.
    pub fn worth_while(&self, deadline: Instant) -> Instant {
        deadline.checked_sub(self.timeout / 4).unwrap_or(deadline)
    }

    /// Asks. An answer of 500 or more is none.
    pub async fn ask(&self, question: RequestBuilder, deadline: Instant) -> Result<Answer, Unavailable> {
        self.breaker.look(Asker::default(), Instant::now()).map_err(|_| left_alone())?;
        let late = |_| Unavailable(format!("no answer within {:?}", self.timeout));
        let turn = timeout_at(deadline.into(), self.turns.acquire()).await.map_err(late)?;
        let _turn = turn.map_err(|error| Unavailable(error.to_string()))?;
        // A client that goes takes its question back: that says nothing about the service.
        let permit = self.breaker.admit(Asker::default(), Instant::now()).map_err(|_| left_alone())?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left < self.timeout / 4 {
            return Err(Unavailable("too many requests at a time".into()));
        }
        let answer = self.client.send(question, left, LONGEST_ANSWER).await;
        // One answer that is too long says nothing of the next; nor does one that had less than its time, since the question
        // had to wait for its turn.
        let says_nothing = match &answer {
            Err(Failure::TooLong(_)) => true,
            Err(Failure::TooSlow) => left + PROMPT < self.timeout,
            _ => false,
        };
        let answer = answer.map_err(|failure| Unavailable(failure.to_string())).and_then(|answer| {
            let failed = answer.status.as_u16() >= 500;
            if failed { Err(Unavailable(format!("the service answered {}", answer.status))) } else { Ok(answer) }
        });
        let verdict = match &answer {
            Ok(_) => Verdict::Success,
            Err(_) if says_nothing => Verdict::Neutral,
            Err(_) => Verdict::Failure,
        };
        permit.settle(verdict, Instant::now());
        answer
    }
}

fn left_alone() -> Unavailable {
    Unavailable("the circuit breaker of the service is open".into())
}
