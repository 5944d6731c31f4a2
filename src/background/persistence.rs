//! Background work that goes on for ever: what panics is logged and begun anew, after a pause that doubles from one time to
//! the next as long as it goes badly.

use std::any::Any;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, sleep};

/// The pause after the first panic, the longest one, and how long all must go well to begin with the first again.
#[derive(Clone, Copy)]
struct Pauses {
    first: Duration,
    longest: Duration,
    calm: Duration,
}

const PAUSES: Pauses =
    Pauses { first: Duration::from_secs(1), longest: Duration::from_secs(60), calm: Duration::from_secs(120) };

/// Does this work until it ends by itself, whatever panics meanwhile.
pub async fn persist<F: Future<Output = ()>>(what: impl Display, work: impl FnMut() -> F) {
    persist_with(PAUSES, what, work).await;
}

async fn persist_with<F: Future<Output = ()>>(pauses: Pauses, what: impl Display, mut work: impl FnMut() -> F) {
    let mut pause = pauses.first;
    loop {
        let began = Instant::now();
        let Err(panic) = AssertUnwindSafe(work()).catch_unwind().await else { return };
        if began.elapsed() >= pauses.calm {
            pause = pauses.first;
        }
        log::error!("{what} failed and restarts in {pause:?}: {}", message(&*panic));
        sleep(pause).await;
        pause = (pause * 2).min(pauses.longest);
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or(panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it panicked")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn what_panics_begins_anew_later_and_later() {
        let millis = Duration::from_millis;
        let pauses = Pauses { first: millis(2), longest: millis(8), calm: millis(1000) };
        let began = RefCell::new(Vec::new());
        let work = || async {
            began.borrow_mut().push(Instant::now());
            let times = began.borrow().len();
            assert!(times == 6, "not yet");
        };
        persist_with(pauses, "the work", work).await;
        let began = began.into_inner();
        let gaps: Vec<_> = began.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (gap, least) in gaps.iter().zip([2, 4, 8, 8, 8]) {
            assert!(*gap >= millis(least), "{gaps:?}");
        }
        assert_eq!(gaps.len(), 5, "what ends by itself has ended");
    }

    #[test]
    fn the_words_of_a_panic_are_told() {
        let told = |work: fn()| message(&*std::panic::catch_unwind(work).unwrap_err()).to_owned();
        assert_eq!(told(|| panic!("one")), "one");
        assert_eq!(told(|| panic!("{}", 2)), "2");
        assert_eq!(told(|| std::panic::panic_any(3)), "it panicked");
    }
}
