//! How long something may be waited for.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::alarm::Alarm;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// A request's first byte.
    Begin,
    /// The rest of its head.
    Head,
    /// The rest of a request's body.
    Body,
    /// The client to take an answer.
    Answer,
    /// The request before it to be settled.
    Turn,
    /// The client to hear the last words.
    Farewell,
    /// The rest of this header block of HTTP/2.
    Block(u64),
    /// Anything at all, so many requests having been settled.
    Requests(u64),
}

/// Waits for one thing at a time.
#[derive(Default)]
pub struct Patience {
    now: Option<(Waiting, Instant)>,
    alarm: Alarm,
}

impl Patience {
    /// Ready when this has been waited for as long as it may; the time runs from the first call for it.
    pub fn poll(&mut self, cx: &mut Context<'_>, waiting: Waiting, limit: Duration) -> Poll<()> {
        let since = match self.now {
            Some((same, since)) if same == waiting => since,
            _ => Instant::now(),
        };
        self.now = Some((waiting, since));
        self.alarm.poll(since + limit, cx)
    }

    /// It came.
    pub fn end(&mut self) {
        self.now = None;
    }

    /// How long it has been waited for.
    pub fn waited(&self) -> Duration {
        self.now.map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn wait(patience: &mut Patience, waiting: Waiting, millis: u64) -> u128 {
        let began = Instant::now();
        poll_fn(|cx| patience.poll(cx, waiting, Duration::from_millis(millis))).await;
        began.elapsed().as_millis()
    }

    #[tokio::test]
    async fn each_thing_is_waited_for_as_long_as_it_may() {
        let mut patience = Patience::default();
        assert!((30..1000).contains(&wait(&mut patience, Waiting::Begin, 30).await));
        assert!(patience.waited().as_millis() >= 30);
        patience.end();
        assert!(wait(&mut patience, Waiting::Begin, 30).await >= 30, "it came, and then another was waited for");
        assert!(wait(&mut patience, Waiting::Begin, 30).await < 10, "what did not come is not waited for again");
        assert!(wait(&mut patience, Waiting::Head, 40).await >= 40);
    }

    #[tokio::test]
    async fn a_shorter_wait_moves_the_timer_forward() {
        let mut patience = Patience::default();
        let look = poll_fn(|cx| Poll::Ready(patience.poll(cx, Waiting::Begin, Duration::from_secs(60)).is_ready()));
        assert!(!look.await);
        assert!((10..1000).contains(&wait(&mut patience, Waiting::Head, 10).await));
    }

    #[tokio::test]
    async fn looking_often_does_not_make_it_longer() {
        let (mut patience, began) = (Patience::default(), Instant::now());
        let limit = Duration::from_millis(30);
        while !poll_fn(|cx| Poll::Ready(patience.poll(cx, Waiting::Head, limit).is_ready())).await {
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        assert!((30..1000).contains(&began.elapsed().as_millis()));
        patience.end();
        assert_eq!(patience.waited(), Duration::ZERO);
    }
}
