//! What goes on behind requests: names are looked up again when their records are too old, endpoints are asked whether
//! they are well, registrations that nobody renews go.
//!
//! Each service of the plan that serves has a task; one that a reload kept keeps its task, and with it the rhythm of its
//! checks. A name that stops resolving keeps its last addresses and is asked for again every [`AGAIN`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join_all;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{sleep, sleep_until};

use super::check::{Check, Dialler};
use super::endpoint::Endpoint;
use super::names::Names;
use super::retry::part;
use super::service::Service;
use super::target::Target;
use crate::gateway::Shared;
use crate::persistence::persist;

/// How long after a failed look-up of a name it is looked up again.
const AGAIN: Duration = Duration::from_secs(5);
/// In which time after its start an endpoint is checked for the first time.
const FIRST_CHECK: Duration = Duration::from_millis(500);

/// Looks after the services of the plan that serves.
pub struct Keeper {
    shared: Arc<Shared>,
    /// Makes the connections of all checks.
    dialler: Arc<Dialler>,
}

/// A service that is looked after.
struct Kept {
    service: Arc<Service>,
    names: Arc<Names>,
    task: AbortHandle,
}

impl Keeper {
    /// A keeper of this gateway's services.
    pub fn new(shared: Arc<Shared>) -> Self {
        Keeper { shared, dialler: Arc::new(Dialler::new()) }
    }

    /// Begins with what is new, ends with what is gone.
    fn follow(&self, tasks: &mut JoinSet<()>, kept: Vec<Kept>) -> Vec<Kept> {
        let plan = self.shared.live.plan();
        let is_same = |kept: &Kept, service: &Arc<Service>| {
            Arc::ptr_eq(&kept.service, service) && Arc::ptr_eq(&kept.names, &plan.edge.names)
        };
        let alive = kept.into_iter().filter(|kept| !kept.task.is_finished());
        let (stay, gone): (Vec<_>, Vec<_>) =
            alive.partition(|kept| plan.services.values().any(|service| is_same(kept, service)));
        gone.iter().for_each(|kept| kept.task.abort());
        let new = |service: &&Arc<Service>| !stay.iter().any(|kept| is_same(kept, service));
        let begin = |service: &Arc<Service>| {
            let (service, names) = (service.clone(), plan.edge.names.clone());
            let what = format!("service {}: its keeper", service.name);
            let (of, by, dialler) = (service.clone(), names.clone(), self.dialler.clone());
            let task = tasks.spawn(persist(what, move || keep(of.clone(), by.clone(), dialler.clone())));
            Kept { service, names, task }
        };
        let begun: Vec<_> = plan.services.values().filter(new).map(begin).collect();
        stay.iter().for_each(|kept| kept.service.memory.tell_news());
        stay.into_iter().chain(begun).collect()
    }
}

#[async_trait]
impl BackgroundService for Keeper {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut revisions = self.shared.live.revisions();
        let mut tasks = JoinSet::new();
        let mut kept = Vec::new();
        loop {
            revisions.borrow_and_update();
            kept = self.follow(&mut tasks, kept);
            tokio::select! {
                _ = revisions.changed() => {}
                Some(ended) = tasks.join_next() => note_end(ended),
                _ = shutdown.changed() => return,
            }
        }
    }
}

async fn keep(service: Arc<Service>, names: Arc<Names>, dialler: Arc<Dialler>) {
    service.settle_in(Instant::now());
    tokio::join!(follow(&service), look_up(&service, &names), check_all(&service, &dialler));
}

/// Keeps the endpoints of a service what is known of its names and who is registered.
async fn follow(service: &Service) {
    loop {
        let mut news = pin!(service.memory.news());
        // From here on nothing new is missed.
        news.as_mut().enable();
        let expiry = service.memory.expire(Instant::now());
        if service.follow_memory(Instant::now()) {
            log::info!("service {}: {}", service.name, service.pool());
        }
        match expiry {
            Some(expiry) => tokio::select! {
                () = sleep_until(expiry.into()) => {}
                () = news => {}
            },
            None => news.await,
        }
    }
}

/// Looks the names of a service's targets up again and again.
async fn look_up(service: &Service, names: &Names) {
    let mut look_ups = LookUps::default();
    loop {
        let mut others = pin!(service.memory.others());
        others.as_mut().enable();
        look_ups.run(service, names).await;
        match look_ups.due.values().min() {
            Some(next) => tokio::select! {
                () = sleep_until((*next).into()) => {}
                () = others => {}
            },
            None => others.await,
        }
    }
}

/// When names are looked up next.
#[derive(Default)]
struct LookUps {
    due: HashMap<String, Instant>,
    /// Those that were not found the last time.
    missing: HashSet<String>,
}

impl LookUps {
    async fn run(&mut self, service: &Service, names: &Names) {
        let targets = service.all_targets();
        let hosts: BTreeSet<&str> = targets.iter().filter_map(Target::name).collect();
        self.due.retain(|host, _| hosts.contains(&**host));
        let now = Instant::now();
        let stale = hosts.into_iter().filter(|host| self.due.get(*host).is_none_or(|due| *due <= now));
        let answers = join_all(stale.map(async |host| (host, names.look_up(host).await))).await;
        for (host, answer) in answers {
            let again = match answer {
                Ok(answer) => {
                    self.missing.remove(host);
                    service.memory.learn(host, &answer);
                    if answer.is_whole { answer.fresh_for } else { answer.fresh_for.min(AGAIN) }
                }
                Err(why) => {
                    if self.missing.insert(host.into()) {
                        log::warn!("service {}: {host} keeps its last addresses: {why}", service.name);
                    }
                    AGAIN
                }
            };
            self.due.insert(host.into(), Instant::now() + again);
        }
    }
}

/// Asks all endpoints of a service again and again whether they are well.
async fn check_all(service: &Arc<Service>, dialler: &Arc<Dialler>) {
    let Some(check) = &service.settings.check else { return };
    let mut tasks = JoinSet::new();
    let mut running: HashMap<u32, AbortHandle> = HashMap::new();
    loop {
        let mut renewed = pin!(service.renewed());
        renewed.as_mut().enable();
        let pool = service.pool().clone();
        let endpoints: HashMap<u32, &Arc<Endpoint>> =
            pool.endpoints.iter().map(|endpoint| (endpoint.standing.id, endpoint)).collect();
        running.retain(|id, task| {
            let stays = endpoints.contains_key(id);
            if !stays {
                task.abort();
            }
            stays
        });
        for (id, endpoint) in endpoints {
            let what = || format!("service {}: the health check of {}", service.name, endpoint.peer._address);
            let (of, check, dialler, endpoint) = (service.clone(), check.clone(), dialler.clone(), endpoint.clone());
            let begin = move || check_one(of.clone(), check.clone(), dialler.clone(), endpoint.clone());
            running.entry(id).or_insert_with(|| tasks.spawn(persist(what(), begin)));
        }
        tokio::select! {
            () = renewed => {}
            Some(ended) = tasks.join_next() => note_end(ended),
        }
        running.retain(|_, task| !task.is_finished());
    }
}

/// A task ends when it is aborted; what panics goes on by itself (`persistence`).
fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended.as_ref()
        && error.is_panic()
    {
        log::error!("a background task of a service failed: {error}");
    }
}

async fn check_one(service: Arc<Service>, check: Arc<Check>, dialler: Arc<Dialler>, endpoint: Arc<Endpoint>) {
    sleep(part(FIRST_CHECK, fastrand::u64(..))).await;
    loop {
        let answer = check.ask(&dialler, &endpoint.peer, &endpoint.authority).await;
        service.observe(&endpoint, answer, &check.thresholds(), Instant::now());
        sleep(check.next_delay(fastrand::u64(..))).await;
    }
}
