//! How long something may be waited for. The timer is armed once and moved only when it rings too early, so that waiting
//! for what comes soon costs a look at the clock.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// A request's first byte.
    Begin,
    /// The rest of its head.
    Head,
    /// The client to hear the last words.
    Farewell,
    /// Anything at all, so many requests having been settled.
    Requests(u64),
}

/// Waits for one thing at a time.
#[derive(Default)]
pub struct Patience {
    now: Option<(Waiting, Instant)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Ready when this has been waited for as long as it may; the time runs from the first call for it.
    pub fn poll(&mut self, cx: &mut Context<'_>, waiting: Waiting, limit: Duration) -> Poll<()> {
        let since = match self.now {
            Some((same, since)) if same == waiting => since,
            _ => Instant::now(),
        };
        self.now = Some((waiting, since));
        let end = since + limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if timer.deadline() > end {
            timer.as_mut().reset(end);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= end {
                return Poll::Ready(());
            }
            timer.as_mut().reset(end);
        }
    }

    /// It came; how long it was waited for.
    pub fn end(&mut self) -> Duration {
        self.now.take().map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }
}
