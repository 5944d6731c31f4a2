//! What the doors of all listeners share: what connections are held to, how many there are, what waits to be taken on them.
//!
//! It is what a plan says of connections, handed down whenever another plan comes to serve: nothing here knows the plan.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::caps::Caps;
use super::entrance::Entrance;
use super::ledger::Ledger;
use super::limits::Limits;
use super::plain;
use crate::observe::Observers;
use gatekeeper_core::frames::Budgets;
use gatekeeper_core::net::Networks;

/// What the doors of all listeners share.
pub struct Reception {
    /// Who is told of what never became a request.
    pub observers: Arc<Observers>,
    /// How many connections there are.
    pub caps: Arc<Caps>,
    /// The answers that clients have not taken yet.
    pub ledger: Arc<Ledger>,
    /// What the log was told of clients without TLS.
    pub plain: plain::Said,
    rules: ArcSwap<Rules>,
    /// What each listener asks of its connections.
    entrances: Vec<Arc<ArcSwap<Entrance>>>,
    /// Connections are accepted.
    accepting: watch::Sender<bool>,
}

/// What all connections are held to.
pub struct Rules {
    /// What they may take.
    pub limits: Limits,
    /// How much of each kind of frame a client of HTTP/2 may send.
    pub budgets: Budgets,
    /// Who may say where a connection came from.
    pub trusted: Networks,
}

impl Reception {
    /// A reception by these rules that accepts no connections yet.
    pub fn new(observers: Arc<Observers>, entrances: &[Entrance], rules: Rules) -> Self {
        let entrances = entrances.iter().map(|entrance| Arc::new(ArcSwap::from_pointee(entrance.clone())));
        Reception {
            observers,
            caps: Arc::default(),
            ledger: Ledger::new(rules.limits.buffered_answers),
            entrances: entrances.collect(),
            plain: plain::Said::default(),
            rules: ArcSwap::from_pointee(rules),
            accepting: watch::Sender::new(false),
        }
    }

    /// What connections are held to now.
    pub fn rules(&self) -> Guard<Arc<Rules>> {
        self.rules.load()
    }

    /// What each listener asks of its connections.
    pub fn entrances(&self) -> &[Arc<ArcSwap<Entrance>>] {
        &self.entrances
    }

    /// From now on connections are accepted.
    pub fn open(&self) {
        self.accepting.send_replace(true);
    }

    /// Waits until connections are accepted.
    pub async fn opening(&self) {
        // It fails only without a sender, which lives as long as we do.
        let _ = self.accepting.subscribe().wait_for(|accepting| *accepting).await;
    }

    /// Takes over what holds for connections that come from now on.
    pub fn adopt(&self, entrances: &[Entrance], rules: Rules) {
        self.ledger.set_budget(rules.limits.buffered_answers);
        self.rules.store(Arc::new(rules));
        // An address whose port the system chooses may stand there more than once.
        let mut rest: Vec<_> = entrances.iter().collect();
        for current in &self.entrances {
            let previous = current.load();
            if let Some(place) = rest.iter().position(|next| next.address == previous.address) {
                let next = Arc::new(rest.remove(place).succeeding(&previous));
                current.store(next.clone());
                previous.give_way(&next);
            }
        }
    }
}
