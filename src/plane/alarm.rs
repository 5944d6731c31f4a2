//! An alarm for deadlines that move on all the time, nearly always to later: its timer is moved when it rings too early, not
//! before. So waiting for what comes soon costs a look at the clock.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// An alarm; its timer is made when it is first waited for.
#[derive(Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether its timer has run out, perhaps too early.
    pub fn rings(&self) -> bool {
        self.0.as_ref().is_some_and(|timer| timer.is_elapsed())
    }

    /// Ready when this time has come.
    pub fn poll(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_time_may_move_either_way() {
        let mut alarm = Alarm::default();
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        assert!(poll_fn(|cx| Poll::Ready(alarm.poll(later, cx))).await.is_pending());
        for millis in [10, 30, 20] {
            let due = now + Duration::from_millis(millis);
            poll_fn(|cx| alarm.poll(due, cx)).await;
            assert!(Instant::now() >= due, "{millis}");
        }
        assert!(now.elapsed() < Duration::from_secs(5));
    }
}
