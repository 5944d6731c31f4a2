//! How long a connection may be used: until its listener's rule changes, the gateway stops, or it is too old.
//!
//! The framework is told by the watch that it was given: HTTP/2 says GOAWAY, HTTP/1 `Connection: close` with its next response.
//! What is idle in HTTP/1 is ended by the tap, which has to be woken for it.
//!
//! Ages vary by a tenth, so that connections that were made together do not all come back together.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use pingora::server::ShutdownWatch;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use super::cohort::Cohort;

/// How long a connection may be used.
pub struct Lifetime {
    cohort: Arc<Cohort>,
    /// Wakes the connection's task when its cohort ends. It is polled once: a task's waker stays the same.
    waking: Option<Waking>,
    is_armed: bool,
    age: Option<Age>,
    is_old: bool,
}

type Waking = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// The age of a connection, if there is a bound on it.
struct Age {
    limit: Pin<Box<Sleep>>,
    /// Tells the framework.
    end: watch::Sender<bool>,
}

/// For the next request of a connection that is to end, but not at once.
pub const LAST_REQUEST: Duration = Duration::from_millis(500);

/// How a connection may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// As ever.
    Free,
    /// For the requests that are on their way to us.
    Last,
    /// For those that were begun.
    Over,
}

impl Lifetime {
    /// A lifetime that ends with its cohort.
    pub fn new(cohort: Arc<Cohort>) -> Self {
        let mut end = cohort.watch();
        let waking = Box::pin(async move {
            // Its sender lives as long as the cohort, which we hold.
            let _ = end.wait_for(|end| *end).await;
        });
        Lifetime { cohort, waking: Some(waking), is_armed: false, age: None, is_old: false }
    }

    /// Bounds the age as well; who serves the connection is told by what is returned.
    pub fn bound(&mut self, most: Duration) -> ShutdownWatch {
        let (end, ending) = watch::channel(false);
        self.age = Some(Age { limit: Box::pin(sleep(varied(most))), end });
        ending
    }

    /// How the connection may be used now; its task is woken when that changes.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Use {
        if !self.is_armed {
            self.is_armed = true;
            if let Some(waking) = &mut self.waking
                && waking.as_mut().poll(cx).is_ready()
            {
                self.waking = None;
            }
        }
        if let Some(age) = &mut self.age {
            let is_old = age.limit.as_mut().poll(cx).is_ready();
            if is_old || self.cohort.is_ending() {
                age.end.send_replace(true);
                (self.is_old, self.age) = (is_old, None);
            }
        }
        match (self.cohort.is_outdated(), self.is_old) {
            (true, _) => Use::Over,
            (false, true) => Use::Last,
            (false, false) => Use::Free,
        }
    }
}

/// At least nine tenths of it.
fn varied(most: Duration) -> Duration {
    most.mul_f64(1.0 - fastrand::f64() / 10.0)
}
