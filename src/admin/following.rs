//! What the gateway does with its store by itself: it follows what other gateways change, tells them how it stands, and keeps
//! the instances that registered.
//!
//! It hears of changes by notifications, and looks by itself every second, for those that were missed. While the store does not
//! answer, it serves on with the newest state that it knows, and nothing has to be done by hand when the store returns.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatekeeper_plane::plan::Plan;
use gatekeeper_plane::upstream::memory::Registering;
use gatekeeper_store::News;
use gatekeeper_store::failure::Failure;
use gatekeeper_store::node::Node;
use gatekeeper_store::registration::Registration;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::Control;
use crate::desk::{Keeping, now};
use crate::nodes;
use gatekeeper_model::Faults;

/// How often a shared store is looked at, whether there was news or not.
const LOOK: Duration = Duration::from_secs(1);
/// How often a store of one gateway is: only another process of the same gateway changes it.
const LOOK_ALONE: Duration = Duration::from_secs(10);
/// How often what has ended is removed.
const CLEAN: Duration = Duration::from_secs(600);
/// How long a write is remembered by its key, in milliseconds.
const REMEMBERED: i64 = 24 * 3600 * 1000;

/// Follows the store as long as the gateway runs.
pub async fn follow(control: Arc<Control>) {
    let Some(keeping) = control.desk.keeping().cloned() else { return };
    let shared = keeping.store.is_shared();
    let mut looks = interval(if shared { LOOK } else { LOOK_ALONE });
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut news, mut cleaned, mut was_away) = (None, Instant::now(), false);
    let mut instances = None;
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = hear(&keeping, &mut news) => {}
        }
        let followed = look(&control, &keeping, was_away, &mut instances).await;
        was_away = followed.as_ref().is_err_and(Failure::is_passing);
        if cleaned.elapsed() > CLEAN {
            cleaned = Instant::now();
            clean(&keeping).await;
        }
    }
}

/// Waits for news; who cannot hear any waits for ever, and looks by itself meanwhile.
async fn hear(keeping: &Keeping, news: &mut Option<Box<dyn News>>) {
    if news.is_none() {
        *news = timeout(LOOK, keeping.store.news()).await.ok().and_then(Result::ok);
    }
    let Some(heard) = news else { return std::future::pending().await };
    if heard.next().await.is_err() {
        *news = None;
    }
}

/// The instances that the store had when it was looked at last: services and URLs.
type Instances = BTreeSet<(String, String)>;

async fn look(
    control: &Arc<Control>,
    keeping: &Keeping,
    was_away: bool,
    instances: &mut Option<Instances>,
) -> Result<(), Failure> {
    if was_away {
        keeping.store.make_ready().await?;
    }
    let desk = control.desk.clone();
    let followed = tokio::task::spawn_blocking(move || desk.catch_up()).await;
    let followed = followed.unwrap_or_else(|error| Err(Failure::Damaged(error.to_string())));
    if was_away && followed.is_ok() {
        log::warn!("the store answers again");
    }
    // A store of one gateway is asked once, after the start: what comes later comes through this gateway.
    if keeping.store.is_shared() || instances.is_none() {
        *instances = Some(keep_registrations(control, keeping, instances.take()).await?);
        keeping.store.report(node(control, keeping.store.is_shared())).await?;
    }
    followed
}

/// How this gateway stands. What it serves is only compared with what others serve.
fn node(control: &Control, is_shared: bool) -> Node {
    let held = control.desk.held();
    Node {
        id: control.node.id,
        name: control.node.name.clone(),
        address: control.node.address.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        revision: control.plane.live.plan().revision,
        hash: if is_shared { nodes::hash(&held) } else { String::new() },
        fault: control.desk.fault(),
        seen_at: now(),
    }
}

/// Takes over the instances that registered at other gateways, or before this one started; those that the store had and has no
/// more go.
async fn keep_registrations(
    control: &Control,
    keeping: &Keeping,
    before: Option<Instances>,
) -> Result<Instances, Failure> {
    let now = now();
    let known = keeping.store.registrations(now).await?;
    let instances: Instances = known.iter().map(|known| (known.service.clone(), known.target.clone())).collect();
    let plan = control.plane.live.plan();
    for (service, target) in before.iter().flatten().filter(|instance| !instances.contains(*instance)) {
        if let Some(service) = plan.services.get(&**service) {
            service.memory.deregister(target);
        }
    }
    for registration in known {
        take_in(&plan, registration, now);
    }
    Ok(instances)
}

fn take_in(plan: &Plan, registration: Registration, now: i64) {
    let Some(service) = plan.services.get(&*registration.service).filter(|service| service.takes_registrations())
    else {
        return;
    };
    let age = Duration::from_millis(now.saturating_sub(registration.seen_at).try_into().unwrap_or(0));
    let left = registration.ttl_ms.map(|ttl| Duration::from_millis(ttl).saturating_sub(age));
    let is_known = |known: &gatekeeper_plane::upstream::memory::Registered| {
        *known.url == *registration.target && (left.is_none() || known.left >= left)
    };
    if service.memory.registrations(Instant::now()).iter().any(is_known) {
        return;
    }
    let ttl_seconds = registration.ttl_ms.map(|ttl| ttl.div_ceil(1000));
    let mut faults = Faults::default();
    match Registering::compile(&registration.target, registration.weight, ttl_seconds, &mut faults) {
        Some(registering) => drop(service.memory.register(registering.heard(age), Instant::now())),
        None => log::warn!("service {}: a registration is not understood: {faults}", registration.service),
    }
}

async fn clean(keeping: &Keeping) {
    let now = now();
    let cleaned = async {
        keeping.store.forget_ended(now).await?;
        keeping.store.forget_answers(now - REMEMBERED).await
    };
    if let Err(failure) = cleaned.await {
        log::debug!("the store was not cleaned: {failure}");
    }
}
