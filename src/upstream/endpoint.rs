//! One address of a target: how it is reached, how it has stood so far, and whether it may get a request now.
//!
//! What is known of an endpoint (its health, conduct, requests in flight) outlives the settings it was known under: a
//! reload or another look-up of names that comes to the same URL and address keeps its `Standing`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use pingora::upstreams::peer::HttpPeer;
use tokio::sync::Notify;

use super::health::Health;
use super::outlier::Conduct;

/// An address of a target.
pub struct Endpoint {
    /// The target's URL, as written.
    pub url: Arc<str>,
    /// The target's name in `Host`.
    pub authority: HeaderValue,
    /// How it is connected to.
    pub peer: HttpPeer,
    /// Its share beside the others'.
    pub weight: u32,
    /// What is known of it.
    pub standing: Arc<Standing>,
    pub(super) manner: Manner,
}

/// What an endpoint's service and target ask of it.
#[derive(Clone)]
pub(super) struct Manner {
    /// Its health decides.
    pub checked: bool,
    /// The time in which it comes back to its full share.
    pub slow_start: Option<Duration>,
    /// The most requests in flight.
    pub most: Option<u32>,
    /// Who waits for room at an endpoint.
    pub room: Arc<Notify>,
}

/// What is known of an endpoint.
pub struct Standing {
    /// Tells it from all others of its service.
    pub id: u32,
    /// What its attempts came to.
    pub conduct: Arc<Conduct>,
    /// What its checks came to.
    pub health: Health,
    start: Instant,
    drained: AtomicBool,
    in_flight: AtomicU32,
    /// When it last came back, in milliseconds since its start; 0 if it has always been there.
    back: AtomicU64,
}

/// The smallest part of its share that an endpoint has which just came back.
const LEAST_SHARE: f32 = 0.1;

impl Standing {
    pub(super) fn new(id: u32, now: Instant) -> Self {
        Standing {
            id,
            conduct: Arc::new(Conduct::new(now)),
            health: Health::default(),
            start: now,
            drained: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            back: AtomicU64::new(0),
        }
    }

    /// Requests in flight to it.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// It gets no new requests, by hand.
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    pub(super) fn drain(&self, drained: bool, now: Instant) {
        if self.drained.swap(drained, Ordering::Relaxed) && !drained {
            self.came_back(now);
        }
    }

    /// It gets requests again, or for the first time while others already do.
    pub(super) fn came_back(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.start).as_millis() as u64;
        self.back.store(millis.max(1), Ordering::Relaxed);
    }

    /// How long it has been back; `None` if it never was away.
    fn back_for(&self, now: Instant) -> Option<Duration> {
        let by_hand = match self.back.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(now.saturating_duration_since(self.start + Duration::from_millis(millis))),
        };
        by_hand.into_iter().chain(self.conduct.back_for(now)).min()
    }
}

impl Endpoint {
    /// Whether it may get a request now: the one question that decides, but for whether there is room.
    pub fn available(&self, now: Instant) -> bool {
        self.is_willing() && !self.standing.conduct.is_ejected(now)
    }

    /// Whether it may get a request, if only for want of another: nobody drained it, and its checks find it well.
    pub(super) fn is_willing(&self) -> bool {
        !self.standing.is_drained() && self.is_well()
    }

    /// Whether its checks, if there are any, find it well.
    pub fn is_well(&self) -> bool {
        !self.manner.checked || self.standing.health.is_available()
    }

    /// It is asked whether it is well.
    pub fn is_checked(&self) -> bool {
        self.manner.checked
    }

    /// Which part of its share it gets: less than all of it for a while after it came back.
    pub fn ramp(&self, now: Instant) -> f32 {
        let Some(slow_start) = self.manner.slow_start else { return 1.0 };
        let back_for = self.standing.back_for(now).unwrap_or(slow_start);
        (back_for.as_secs_f32() / slow_start.as_secs_f32()).clamp(LEAST_SHARE, 1.0)
    }

    /// How much it has to do, by its share.
    pub(super) fn load(&self, now: Instant) -> f32 {
        (self.standing.in_flight() + 1) as f32 / (self.weight as f32 * self.ramp(now))
    }

    /// Room for a request, if there is any.
    pub(super) fn take(self: &Arc<Self>) -> Option<Slot> {
        let most = self.manner.most.unwrap_or(u32::MAX);
        let entered = self.standing.in_flight.fetch_add(1, Ordering::Relaxed) < most;
        let slot = Slot { endpoint: Arc::clone(self) };
        entered.then_some(slot)
    }
}

/// Room for a request at an endpoint, given back when it is dropped.
#[must_use]
pub struct Slot {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.endpoint.standing.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.endpoint.manner.most.is_some() {
            self.endpoint.manner.room.notify_one();
        }
    }
}
