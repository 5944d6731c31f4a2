//! Following a set that changes: a task for each of its members, begun when it comes and ended when it goes. A task that
//! panics begins anew (`persistence`); one that ends by itself begins anew when the set is followed again.

use std::fmt::Display;
use std::future::Future;
use std::pin::pin;

use tokio::task::{AbortHandle, JoinSet};

use crate::persist;

/// The tasks of a set's members.
pub struct Following<M> {
    is_same: fn(&M, &M) -> bool,
    tasks: JoinSet<()>,
    kept: Vec<(M, AbortHandle)>,
}

impl<M> Following<M> {
    /// Nothing is followed yet. A member is known again by `is_same`.
    pub fn new(is_same: fn(&M, &M) -> bool) -> Self {
        Following { is_same, tasks: JoinSet::new(), kept: Vec::new() }
    }

    /// The members are these from now on. Each that is new begins with what `begin` says: its name in the log, and its work.
    pub fn follow<W, F, N>(&mut self, members: impl IntoIterator<Item = M>, begin: impl Fn(&M) -> (N, W))
    where
        N: Display + Send + 'static,
        W: FnMut() -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let members: Vec<M> = members.into_iter().collect();
        let is_same = self.is_same;
        self.kept.retain(|(kept, task)| {
            let stays = members.iter().any(|member| is_same(member, kept)) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        for member in members {
            if !self.kept.iter().any(|(kept, _)| is_same(kept, &member)) {
                let (what, work) = begin(&member);
                let task = self.tasks.spawn(persist(what, work));
                self.kept.push((member, task));
            }
        }
    }

    /// Waits for this, and meanwhile for a task that ends; then it is time to follow the set again.
    pub async fn until<T>(&mut self, change: impl Future<Output = T>) {
        let mut change = pin!(change);
        tokio::select! {
            _ = &mut change => {}
            Some(_) = self.tasks.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts what runs.
    struct Running(Arc<AtomicUsize>);

    impl Running {
        fn new(count: &Arc<AtomicUsize>) -> Running {
            count.fetch_add(1, Ordering::SeqCst);
            Running(count.clone())
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn members_begin_when_they_come_and_end_when_they_go() {
        let (running, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut following = Following::new(|a: &u32, b: &u32| a == b);
        for (members, now, ever) in [(vec![1, 2], 2, 2), (vec![2, 3], 2, 3), (vec![2, 3, 3], 2, 3), (vec![], 0, 3)] {
            following.follow(members.clone(), |member| {
                begun.fetch_add(1, Ordering::SeqCst);
                let running = running.clone();
                let work = move || {
                    let running = Running::new(&running);
                    async move {
                        let _running = running;
                        std::future::pending().await
                    }
                };
                (format!("member {member}"), work)
            });
            while running.load(Ordering::SeqCst) != now {
                tokio::task::yield_now().await;
            }
            assert_eq!(begun.load(Ordering::SeqCst), ever, "{members:?}");
        }
    }

    #[tokio::test]
    async fn a_task_that_ends_is_noticed_and_begins_anew_when_the_set_is_followed_again() {
        let begun = Arc::new(AtomicUsize::new(0));
        let mut following = Following::new(|a: &u32, b: &u32| a == b);
        for times in 1..=3 {
            following.follow([1], |_| {
                begun.fetch_add(1, Ordering::SeqCst);
                ("a member", || async {})
            });
            following.until(std::future::pending::<()>()).await;
            assert_eq!(begun.load(Ordering::SeqCst), times);
        }
    }
}
