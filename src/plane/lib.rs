//! The data plane. A request's walk, which is written once (`plan::walk`). Each step is a plain function on compiled data; a
//! refusal is a value, not an error.
//!
//! ```text
//!  1 accept        listen::door          the connection is counted
//!  2 inspect       plan::asked           malformed Host or target: 400 and close
//!  3 canonicalise  route::path           one canonical path for everything after; client address; request id
//!  4 front shields policy::shield        addresses, methods, the flood guard
//!  5 route         route::table          host, path, method, headers, query, priority; 404, 405
//!  6 route shields policy::shield        addresses, media types, length
//!  7 cors          policy::cors          a preflight is answered here
//!  8 authenticate  policy::auth          budget of failures, token, key, certificate; who has to be asked; 401
//!  9 authorise     policy::access        scopes, roles, claims; 403
//! 10 admit         proxy::admit          breaker, cap and queue, a target; then policy::limit charges all or none; 429, 503
//! 11 balance       upstream::pool        an endpoint of the service; a retry (proxy::retry) picks another
//! 12 forward       proxy::headers        header hygiene on the upstream's copy, who the user is, rewrite, timeouts
//! 13 respond       proxy::response       response headers, limits, CORS, request id, compression (compress)
//! 14 settle        proxy::settle         where every request ends: verdicts (proxy::verdict), metrics, log record
//!
//!   meanwhile      upstream::keeper      names are looked up again, targets are asked whether they are well
//!                  auth::keeper          keys of issuers are fetched before they are old
//!                  limit::sweeper        subjects of limits that no longer come are forgotten
//! ```
//!
//! From the file to that walk: what a person may write (the crate `model`) is compiled by `plan::compile` into a `plan::Plan`
//! (immutable), which `plan::live` swaps in while requests go on. What decides without input or output is in the crate `core`.

mod alarm;
pub mod compress;
pub mod estate;
pub mod listen;
pub mod observe;
pub mod plan;
pub mod policy;
pub mod proxy;
pub mod server;
pub mod upstream;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use estate::Deed;
use gatekeeper_core::sink::Sink;
use gatekeeper_model::Faults;
use listen::entrance::Entrance;
use listen::ledger::Ledger;
use observe::metrics::Metrics;
use observe::{AccessLog, Refusals, RouteMetrics, Sinks};
use plan::candidate::Candidate;
use plan::live::{Live, Report};

/// What serving code shares.
pub struct Plane {
    /// The plan that serves.
    pub live: Arc<Live>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The metrics of requests that match no route.
    pub unrouted: RouteMetrics,
    /// The access log.
    pub log: AccessLog,
    /// The last refusals.
    pub refusals: Refusals,
    /// Who else is told of finished requests.
    pub sinks: Sinks,
    /// The answers that clients have not taken yet.
    pub ledger: Arc<Ledger>,
    /// Who may change what is known of services.
    pub deed: Deed,
    /// What each listener asks of its connections.
    entrances: Vec<Arc<ArcSwap<Entrance>>>,
    stopping: AtomicBool,
    /// Connections are accepted.
    accepting: watch::Sender<bool>,
}

impl Plane {
    /// A plane that serves this plan, and accepts no connections yet. The sinks are told of every request.
    pub fn new(live: Live, metrics: Arc<Metrics>, log: AccessLog, sinks: Vec<Arc<dyn Sink>>) -> Plane {
        let plan = live.plan();
        let entrances = plan.entrances.iter().map(|entrance| Arc::new(ArcSwap::from_pointee(entrance.clone())));
        let (entrances, ledger) = (entrances.collect(), Ledger::new(plan.edge.limits.buffered_answers));
        drop(plan);
        Plane {
            live: Arc::new(live),
            unrouted: metrics.unrouted(),
            metrics,
            log,
            refusals: Refusals::default(),
            sinks: Sinks::new(sinks),
            ledger,
            deed: Deed::default(),
            entrances,
            stopping: AtomicBool::new(false),
            accepting: watch::Sender::new(false),
        }
    }

    /// Whether the gateway takes new requests.
    pub fn is_ready(&self) -> bool {
        !self.stopping.load(Ordering::Relaxed)
    }

    /// The gateway takes no more requests, but those on their way.
    pub fn stop_being_ready(&self) {
        self.stopping.store(true, Ordering::Relaxed);
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

    /// Brings a candidate to serve, or says why not and changes nothing. Blocks: names are looked up.
    pub fn apply(&self, candidate: impl FnOnce() -> Result<Candidate, Faults>) -> Result<Report, Faults> {
        self.live.apply(candidate, |draft| {
            let log = self.log.reconfigure(&draft.config.access_log);
            log.map_err(|error| format!("access_log.to: {error}"))?;
            self.adopt(&draft.plan.entrances);
            Ok(())
        })
    }

    /// Takes over what listeners ask of their connections, for those that come from now on.
    fn adopt(&self, entrances: &[Entrance]) {
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
