//! The one road of a change: whoever wants it, and wherever it comes from.
//!
//! ```text
//! propose    decode what is wanted, with all faults; look at versions and owners        nothing has changed if it fails
//! join       merge it with what the files declare                                       "
//! compile    all faults at once, lints, route tests                                     "
//! persist    one transaction in the store: objects, revision, audit                     "
//! commit     the new plan serves, on every thread                                       cannot fail
//! answer     with the revision that serves
//! ```
//!
//! If the process ends after `persist`, it starts with the new state. If another gateway was faster (`Failure::Stale`), its
//! changes are taken over, and the road begins anew with what there is then: an `If-Match` is looked at again.

use std::convert::Infallible;
use std::sync::Arc;

use gatekeeper_client::ObjectChange;
use gatekeeper_model::object::Kind;
use gatekeeper_model::{Faults, load};
use gatekeeper_plane::plan::candidate::Candidate;
use gatekeeper_plane::plan::live::{NotApplied, Report};
use gatekeeper_store::failure::Failure;
use gatekeeper_store::revision::Revision;

use super::proposal::{Proposal, Weighed, refers};
use super::{Desk, Held, Keeping, now, snapshot};
use crate::actor::Actor;
use crate::problem::Problem;

/// How often a change begins anew because another gateway was faster.
const TRIES: usize = 8;

/// What came of a change.
pub struct Done {
    /// What there is now; for a rehearsal, what there would be.
    pub held: Arc<Held>,
    /// What changed.
    pub changes: Vec<ObjectChange>,
    /// Warnings about what changed.
    pub warnings: Vec<String>,
    /// The names of the objects that it was about.
    pub names: Vec<String>,
}

impl Desk {
    /// Makes a change, or only rehearses it. Blocks.
    pub fn change(
        &self,
        actor: &Actor,
        rehearse: bool,
        propose: impl Fn(&Held) -> Result<Proposal, Problem>,
    ) -> Result<Done, Problem> {
        let keeping = self.keeping.as_ref().ok_or_else(Problem::no_store)?;
        // What other gateways made a moment ago may be referred to.
        if keeping.store.is_shared() {
            self.catch_up().map_err(Problem::of_store)?;
        }
        // A rehearsal changes nothing, and keeps nobody from changing something.
        let _turn = (!rehearse).then(|| self.turn.lock());
        for _ in 0..TRIES {
            let held = self.held();
            let weighed = propose(&held)?.weigh();
            let objects = weighed.objects(&held, now());
            let (next, faults) = held.next(objects)?;
            refuse_what_is_used(&weighed, &next)?;
            let mut candidate = Candidate::changed(next.joined()?.clone(), faults, actor.to_string());
            candidate.config.tests.extend(weighed.tests.iter().cloned());
            if rehearse || weighed.is_empty() {
                return self.rehearse(candidate, next, weighed);
            }
            let persist = || keeping.wait(keeping.store.commit(weighed.change(&held, actor), now()));
            match self.carry_out(candidate, next, persist) {
                Ok((held, report)) => {
                    log::info!("revision {} is running: {actor}: {}", report.revision, held.revision.summary);
                    let warnings = weighed.warnings(report.warnings);
                    return Ok(Done { held, changes: weighed.changes, warnings, names: weighed.names });
                }
                Err(NotApplied::Faults(faults)) => return Err(weighed.refused(&faults)),
                Err(NotApplied::Refused(Failure::Stale { .. })) => self.follow(keeping).map_err(Problem::of_store)?,
                Err(NotApplied::Refused(failure)) => return Err(Problem::of_store(failure)),
            }
        }
        Err(Problem::busy())
    }

    /// Reads the files anew. Blocks.
    pub fn reload(&self) -> Result<Report, Faults> {
        let _turn = self.turn.lock();
        let reloaded = self.read_anew();
        self.plane.live.note_reload(reloaded.as_ref().err().map(ToString::to_string));
        reloaded
    }

    fn read_anew(&self) -> Result<Report, Faults> {
        let (loaded, faults) = load::load(&self.file);
        let Some(loaded) = loaded else { return Err(faults) };
        let held = self.held();
        let (mut next, candidate) = Held::joining(loaded, faults, held.objects.clone(), held.revision.clone());
        let (files, revision) = (next.files.clone(), &mut next.revision);
        let note = || {
            let Some(keeping) = &self.keeping else { return Ok::<_, Infallible>(None) };
            *revision = keeping.note_files(files.fingerprint(), &held.revision);
            Ok(Some(revision.number))
        };
        let report = self.plane.apply(|| Ok(candidate), note).map_err(|not_applied| match not_applied {
            NotApplied::Faults(faults) => faults,
            NotApplied::Refused(never) => match never {},
        })?;
        self.hold(Arc::new(next));
        Ok(report)
    }

    /// Takes over what other gateways changed. A revision that does not serve here is passed over: the next one may. Blocks.
    pub fn catch_up(&self) -> Result<(), Failure> {
        let Some(keeping) = &self.keeping else { return Ok(()) };
        let _turn = self.turn.lock();
        let followed = self.follow(keeping);
        let fault = followed.as_ref().err().map(ToString::to_string);
        let mut known = self.fault.lock();
        if let Some(fault) = fault.as_ref().filter(|fault| known.as_ref() != Some(fault)) {
            log::error!("the store cannot be followed: {fault}");
        }
        *known = fault;
        followed
    }

    fn follow(&self, keeping: &Keeping) -> Result<(), Failure> {
        let held = self.held();
        let head = keeping.wait(keeping.store.head())?;
        if head.number == held.revision.number {
            return Ok(());
        }
        if head.number < held.revision.number {
            return Err(Failure::WentBack { known: held.revision.number, head: head.number });
        }
        let changes = keeping.wait(keeping.store.between(held.revision.number, head.number))?;
        let objects = held.objects.after(changes, head.created_at)?;
        let unreadable = |_| Failure::Damaged("the configuration cannot be understood again".into());
        let (mut next, faults) = held.next(objects).map_err(unreadable)?;
        next.revision = head.clone();
        let joined = next.joined().map_err(unreadable)?.clone();
        let candidate = Candidate::changed(joined, faults, head.actor.clone());
        match self.carry_out(candidate, next, || Ok::<_, Failure>(head.clone())) {
            Ok(_) => {
                log::info!("revision {} is running: {} elsewhere: {}", head.number, head.actor, head.summary);
                Ok(())
            }
            Err(NotApplied::Refused(failure)) => Err(failure),
            Err(NotApplied::Faults(faults)) => {
                let faults = faults.to_string();
                Err(Failure::NotServing { revision: head.number, why: faults.trim_end().to_owned() })
            }
        }
    }

    fn carry_out(
        &self,
        candidate: Candidate,
        mut next: Held,
        persist: impl FnOnce() -> Result<Revision, Failure>,
    ) -> Result<(Arc<Held>, Report), NotApplied<Failure>> {
        let mut made = None;
        let report = self.plane.apply(
            || Ok(candidate),
            || {
                let revision = persist()?;
                let number = revision.number;
                made = Some(revision);
                Ok(Some(number))
            },
        )?;
        next.revision = made.unwrap_or(next.revision);
        let held = Arc::new(next);
        self.hold(held.clone());
        self.write_snapshot(&held);
        Ok((held, report))
    }

    /// The state that serves, for a start without the store.
    fn write_snapshot(&self, held: &Held) {
        let Some(file) = self.keeping.as_ref().and_then(|keeping| keeping.snapshot.as_deref()) else { return };
        if let Err(error) = snapshot::write(file, held) {
            log::error!("cannot write {}: {error}", file.display());
        }
    }

    fn rehearse(&self, candidate: Candidate, next: Held, weighed: Weighed) -> Result<Done, Problem> {
        let metrics = &self.plane.observers.metrics;
        let judged = candidate.judge(metrics).map_err(|faults| weighed.refused(&faults))?;
        let warnings = judged.faults.lints().into_iter().cloned().collect();
        let warnings = weighed.warnings(warnings);
        Ok(Done { held: Arc::new(next), warnings, changes: weighed.changes, names: weighed.names })
    }
}

/// What is removed must not be used by what stays.
fn refuse_what_is_used(weighed: &Weighed, next: &Held) -> Result<(), Problem> {
    let config = &next.joined()?.config;
    for (kind, name) in weighed.left() {
        let is_there = match kind {
            Kind::Service => config.services.contains_key(name),
            Kind::RateLimit => config.rate_limits.iter().any(|rule| rule.rule_name == name),
            Kind::Route | Kind::Cors => true,
        };
        let routes = config.routes.iter().filter(|route| !is_there && refers(route, kind, name));
        let users: Vec<&str> = routes.map(|route| route.name.as_str()).collect();
        if !users.is_empty() {
            return Err(Problem::in_use(kind, name, &users));
        }
    }
    Ok(())
}
