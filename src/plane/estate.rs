//! What a gateway knows of its services that no file says: who was drained and who registered. A successor inherits it.

use std::collections::BTreeMap;
use std::time::Instant;

use parking_lot::{RwLock, RwLockReadGuard};
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::upstream::memory::bequest::Bequest;

/// What is known, by service.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Estate(BTreeMap<String, Bequest>);

/// Who may change what is known: this gateway, until it has handed its estate over.
#[derive(Default)]
pub struct Deed {
    handed_over: RwLock<bool>,
}

/// As long as this lives, what was changed is a part of the estate.
pub struct Change<'d>(#[allow(dead_code)] RwLockReadGuard<'d, bool>);

impl Estate {
    /// What is known by a plan's services.
    pub fn of(plan: &Plan, now: Instant) -> Estate {
        let bequests = plan.services.values().map(|service| (service.name.to_string(), service.memory.bequest(now)));
        Estate(bequests.filter(|(_, bequest)| !bequest.is_empty()).collect())
    }

    /// Passes it on to a plan's services; what is of others is lost.
    pub fn settle(self, plan: &Plan, now: Instant) {
        for (name, bequest) in self.0 {
            match plan.services.get(&*name) {
                Some(service) => service.inherit(bequest, now),
                None => log::warn!("service {name} was removed, with its drained targets and registered instances"),
            }
        }
    }
}

impl Deed {
    /// Begins a change that a successor must hear of; none once it has the estate.
    pub fn change(&self) -> Option<Change<'_>> {
        let handed_over = self.handed_over.read();
        (!*handed_over).then_some(Change(handed_over))
    }

    /// Hands the estate over: nothing changes any more from when it is drawn up.
    pub fn hand_over<T>(&self, draw_up: impl FnOnce() -> T) -> T {
        let mut handed_over = self.handed_over.write();
        *handed_over = true;
        draw_up()
    }

    /// The successor did not come to serve.
    pub fn take_back(&self) {
        *self.handed_over.write() = false;
    }

    /// Whether a successor has the estate.
    pub fn is_handed_over(&self) -> bool {
        *self.handed_over.read()
    }
}
