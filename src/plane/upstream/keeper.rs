//! What goes on behind the requests of a service: names are looked up again when their records are too old, endpoints are
//! asked whether they are well, registrations that nobody renews go.
//!
//! A name that stops resolving keeps its last addresses and is asked for again every [`AGAIN`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use gatekeeper_background::Following;
use tokio::time::{sleep, sleep_until};

use super::check::{Check, Dialler};
use super::endpoint::Endpoint;
use super::names::Names;
use super::service::Service;
use super::target::Target;
use gatekeeper_core::retry::part;

/// How long after a failed look-up of a name it is looked up again.
const AGAIN: Duration = Duration::from_secs(5);
/// In which time after its start an endpoint is checked for the first time.
const FIRST_CHECK: Duration = Duration::from_millis(500);

/// Looks after a service, for ever.
pub async fn keep(service: Arc<Service>, names: Arc<Names>, dialler: Arc<Dialler>) {
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
            log::info!("service {}: addresses in use: {}", service.name, service.pool());
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
        service.memory.miss_only(|host| hosts.contains(host));
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
                    service.memory.miss(host, &why);
                    if self.missing.insert(host.into()) {
                        log::warn!(
                            "service {}: {host} does not resolve: {why}; its last addresses are kept",
                            service.name
                        );
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
    let mut following = Following::new(|a: &Arc<Endpoint>, b: &Arc<Endpoint>| a.standing.id == b.standing.id);
    loop {
        let mut renewed = pin!(service.renewed());
        renewed.as_mut().enable();
        following.follow(service.pool().endpoints.iter().cloned(), |endpoint| {
            let what = format!("service {}: the health check of {}", service.name, endpoint.peer._address);
            let (of, check, dialler, endpoint) = (service.clone(), check.clone(), dialler.clone(), endpoint.clone());
            (what, move || check_one(of.clone(), check.clone(), dialler.clone(), endpoint.clone()))
        });
        following.until(renewed).await;
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
