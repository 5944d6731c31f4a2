//! Fuzzing of what reads bytes from strangers. A target is a function that checks properties of one input, not only
//! that nothing panics; the runner feeds it with seeds and with mutations of what showed something new.
//!
//! A short run is part of the tests, a long one is `make fuzz SECONDS=600` (for each target). What is found is added to
//! the target's seeds, `tests/fuzz/seeds/NAME.txt`, one input a line, so that every later run begins with it.

mod config;
mod mutate;
mod proxy_protocol;
mod route;
mod runner;
mod wire;

use runner::{Target, Verdict};

macro_rules! targets {
    ($($name:ident: $check:path, $dictionary:expr, $more:expr;)*) => {
        $(#[test]
        fn $name() {
            runner::run(&Target { name: stringify!($name), check: $check, dictionary: $dictionary, more: $more });
        })*
    };
}

targets! {
    path: route::check_path, route::PATH_WORDS, Vec::new;
    pattern: route::check_pattern, route::PATTERN_WORDS, Vec::new;
    host: route::check_host, route::HOST_WORDS, Vec::new;
    template: route::check_template, route::PATTERN_WORDS, Vec::new;
    condition: route::check_condition, route::CONDITION_WORDS, Vec::new;
    heads: wire::check, wire::WORDS, wire::cases;
    proxy_header: proxy_protocol::check, proxy_protocol::WORDS, Vec::new;
    configuration: config::check, config::WORDS, config::examples;
}

/// A property that an input does not have.
#[macro_export]
macro_rules! demand {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(format!($($what)*));
        }
    };
}
