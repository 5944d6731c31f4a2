//! The guard around a task: it looks at the task's watch whenever the task has to wait.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::ShutdownWatch;

use super::watch::{Room, Watch};
use super::{WATCH, watch};
use crate::alarm::Alarm;
use crate::listen::connection::Connection;

/// What a task does.
type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Enforces the deadlines of the requests that are served within; `None` if the work had to be dropped for one.
pub fn guard<'a, T: 'a>(work: Work<'a, T>) -> impl Future<Output = Option<T>> + Send + 'a {
    guard_by(Watch::default(), work)
}

fn guard_by<'a, T: 'a>(watch: Watch, work: Work<'a, T>) -> impl Future<Output = Option<T>> + Send + 'a {
    WATCH.scope(watch, Guard { work: Some(work), alarm: Alarm::default() })
}

struct Guard<'a, T> {
    work: Option<Work<'a, T>>,
    /// One for all the deadlines of a task.
    alarm: Alarm,
}

impl<T> Future for Guard<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        if !this.alarm.rings() {
            watch(Watch::woken);
        }
        while let Some(work) = &mut this.work {
            let again = match watch(Watch::room) {
                Room::GivenUp => {
                    this.work = None;
                    break;
                }
                Room::Later(again) => Some(again),
                Room::Free { beginning } => {
                    let mut polled = work.as_mut().poll(cx);
                    if beginning && polled.is_pending() && watch(Watch::awaits_head) {
                        // What was read is handed from one half of the exchange to the other, and counted.
                        polled = work.as_mut().poll(cx);
                    }
                    if let Poll::Ready(done) = polled {
                        return Poll::Ready(Some(done));
                    }
                    None
                }
                Room::Unwatched => return work.as_mut().poll(cx).map(Some),
            };
            let due = watch(|watch| {
                watch.holding.wakes(cx.waker());
                watch.due()
            });
            let Some(next) = again.into_iter().chain(due).min() else { return Poll::Pending };
            ready!(this.alarm.poll(next.into(), cx));
            if due == Some(next) && !watch(Watch::expire) {
                this.work = None;
            }
        }
        Poll::Ready(None)
    }
}

/// The framework's application, with a guard around each request that has a task of its own: those of HTTP/2. The requests of
/// an HTTP/1 connection are guarded with their connection, by the door.
pub struct Guarded<A>(pub Arc<A>);

impl<A: HttpServerApp + Send + Sync + 'static> HttpServerApp for Guarded<A> {
    // Written as `async_trait` would write it, but for the box around the box.
    fn process_new_http<'a, 'b, 'c>(
        self: &'a Arc<Self>,
        session: ServerSession,
        shutdown: &'b ShutdownWatch,
    ) -> Work<'c, Option<ReusedHttpStream>>
    where
        'a: 'c,
        'b: 'c,
    {
        let is_http2 = session.is_http2();
        let connection = session.digest().filter(|_| is_http2).and_then(Connection::of_digest).cloned();
        let work = self.0.process_new_http(session, shutdown);
        if is_http2 { Box::pin(async { guard_by(Watch::of_stream(connection), work).await.flatten() }) } else { work }
    }

    fn http_cleanup<'a, 'c>(&'a self) -> Work<'c, ()>
    where
        'a: 'c,
    {
        self.0.http_cleanup()
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.0.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.0.server_options()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::Late;
    use super::super::watch::GRACE;
    use super::*;
    use gatekeeper_core::refusal::Kind;

    const MOMENT: Duration = Duration::from_millis(1);

    /// Waits until it is told to end, which may be never.
    async fn work(end: impl Fn() -> bool) -> Option<Late> {
        watch(|watch| watch.connecting(Some(Instant::now() + MOMENT)));
        std::future::poll_fn(|_| if end() { Poll::Ready(watch(Watch::late)) } else { Poll::Pending }).await
    }

    #[tokio::test]
    async fn work_that_listens_ends_by_itself() {
        let late = guard(Box::pin(work(|| watch(Watch::late).is_some()))).await;
        assert_eq!(late.flatten().map(|late| late.kind), Some(Kind::UPSTREAM_TIMEOUT));
    }

    #[tokio::test]
    async fn work_that_does_not_is_dropped() {
        let started = Instant::now();
        assert_eq!(guard(Box::pin(work(|| false))).await, None);
        assert!(started.elapsed() >= GRACE);
    }
}
