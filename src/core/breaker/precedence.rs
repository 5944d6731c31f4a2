//! Which routes go first when a breaker asks for probes: those whose requests did well before it opened. A URL that is
//! broken by itself must not keep the whole service closed by being asked for most often.
//!
//! Each route has a place by its name's hash, which remembers the generation of the breaker in which it last did well. A
//! probe that fails takes its route's precedence away, until it does well again.
//!
//! Known inaccuracy: routes whose names fall on the same of 256 places are taken for one.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

const PLACES: usize = 256;

/// What is known of a service's routes. A place holds a generation and one more; 0 is none.
pub struct Routes([AtomicU32; PLACES]);

impl Routes {
    /// Routes of which nothing is known.
    pub fn new() -> Self {
        Routes(std::array::from_fn(|_| AtomicU32::new(0)))
    }

    /// A route did well. Usually that is known.
    pub fn succeeded(&self, route: u64, generation: u32) {
        let (place, now) = (self.place(route), mark(generation));
        if place.load(Relaxed) != now {
            place.store(now, Relaxed);
        }
    }

    /// A route's probe failed.
    pub fn failed(&self, route: u64) {
        self.place(route).store(0, Relaxed);
    }

    /// Whether a route has to let others go first, which did well in a generation while it did not.
    pub fn gives_way(&self, route: u64, generation: u32) -> bool {
        let did_well = |place: &AtomicU32| place.load(Relaxed) == mark(generation);
        !did_well(self.place(route)) && self.0.iter().any(did_well)
    }

    fn place(&self, route: u64) -> &AtomicU32 {
        // The remainder is below the length.
        &self.0[(route % PLACES as u64) as usize]
    }
}

fn mark(generation: u32) -> u32 {
    generation.wrapping_add(1)
}
