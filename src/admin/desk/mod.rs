//! The desk: what the gateway is configured by, and the one road on which that changes.
//!
//! The files declare objects, and so does the API; both together are compiled into one plan. A file owns what it declares. What
//! the API made is in the store, with a revision for each change. Without a store, the files are all there is.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use gatekeeper_model::object::Kind;
use gatekeeper_model::{Faults, Loaded, Place};
use gatekeeper_plane::Plane;
use gatekeeper_plane::plan::candidate::Candidate;
use gatekeeper_store::Store;
use gatekeeper_store::failure::Failure;
use gatekeeper_store::revision::Revision;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::problem::Problem;

pub mod difference;
mod files;
pub mod objects;
pub mod proposal;
mod road;
mod snapshot;

use files::Files;
use objects::Objects;
pub use road::Done;

/// How often a start begins anew because another gateway changed something.
const STARTS: usize = 8;
/// Who wants what the files say.
const FILE: &str = "its file";

/// Where objects are kept, and the runtime that waits for it.
#[derive(Clone)]
pub struct Keeping {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What waits for it.
    pub runtime: Handle,
    /// Where the newest state is written, if the store is shared.
    pub snapshot: Option<PathBuf>,
}

/// What the gateway is configured by, and who may change it.
pub struct Desk {
    plane: Arc<Plane>,
    file: PathBuf,
    keeping: Option<Keeping>,
    held: ArcSwap<Held>,
    revisions: watch::Sender<u64>,
    /// Changes come one after the other.
    turn: Mutex<()>,
    /// Why the newest revision of the store does not serve here, if so.
    fault: Mutex<Option<String>>,
}

/// What the gateway is configured by.
pub struct Held {
    /// What the files declare.
    pub files: Arc<Files>,
    /// What the API made.
    pub objects: Objects,
    joined: OnceLock<Loaded>,
    /// The revision of the store that this is; the number is 0 if there is no store.
    pub revision: Revision,
}

impl Held {
    /// What files that were read say together with the store, and a candidate of it for the first plan.
    pub fn of(loaded: Loaded, faults: Faults, keeping: Option<&Keeping>) -> Result<(Held, Candidate), Failure> {
        let (objects, revision) = match keeping {
            Some(keeping) => keeping.begin(&loaded.fingerprint())?,
            None => (Objects::default(), Revision::first()),
        };
        let (held, mut candidate) = Held::joining(loaded, faults, objects, revision);
        candidate.revision = keeping.map(|_| held.revision.number);
        Ok((held, candidate))
    }

    /// What files that were read say together with these objects, and a candidate of it.
    fn joining(loaded: Loaded, mut faults: Faults, objects: Objects, revision: Revision) -> (Held, Candidate) {
        if objects.is_empty() {
            let files = Arc::new(Files::of(&loaded));
            return (Held { files, objects, joined: OnceLock::new(), revision }, Candidate::of(loaded, faults, FILE));
        }
        let joined = join(&loaded, &objects, &mut faults);
        let candidate = Candidate::of(joined.clone(), faults, FILE);
        (Held { files: Arc::new(Files::kept(loaded)), objects, joined: joined.into(), revision }, candidate)
    }

    /// The same with other objects.
    fn next(&self, objects: Objects) -> Result<(Held, Faults), Problem> {
        let mut faults = Faults::default();
        let joined = join(self.loaded()?, &objects, &mut faults);
        let (files, revision) = (self.files.clone(), self.revision.clone());
        Ok((Held { files, objects, joined: joined.into(), revision }, faults))
    }

    /// What the files declare.
    fn loaded(&self) -> Result<&Loaded, Problem> {
        self.files.loaded().ok_or_else(|| Problem::internal("the configuration cannot be understood again"))
    }

    /// The files and the objects together.
    pub fn joined(&self) -> Result<&Loaded, Problem> {
        if let Some(joined) = self.joined.get() {
            return Ok(joined);
        }
        let joined = join(self.loaded()?, &self.objects, &mut Faults::default());
        Ok(self.joined.get_or_init(|| joined))
    }

    /// Which file declares this object, and where, if one does.
    pub fn declared(&self, kind: Kind, name: &str) -> Option<String> {
        let Loaded { config, origins, .. } = self.files.loaded()?;
        let section = Place::new(kind.section());
        let place = match kind {
            Kind::Service => config.services.contains_key(name).then(|| section.key(name)),
            Kind::Cors => config.cors.is_some().then_some(section),
            Kind::Route => config.routes.iter().position(|route| route.name == name).map(|index| section.index(index)),
            Kind::RateLimit => {
                let index = config.rate_limits.iter().position(|rule| rule.rule_name == name);
                index.map(|index| section.index(index))
            }
        };
        place.map(|place| origins.shown(place))
    }
}

/// The configuration of the files with these objects.
fn join(files: &Loaded, objects: &Objects, faults: &mut Faults) -> Loaded {
    files.with(objects.all().map(|(_, made)| (&*made.name, &made.body)), faults)
}

impl Keeping {
    /// Waits for the store. Not for tasks of a runtime.
    pub fn wait<T>(&self, asked: impl Future<Output = T>) -> T {
        self.runtime.block_on(asked)
    }

    /// The objects and their revision; if the files are others than those of the newest revision, that is a new one. If the store
    /// does not answer, the newest that this gateway has seen.
    fn begin(&self, fingerprint: &str) -> Result<(Objects, Revision), Failure> {
        let mut state = match self.wait(self.store.state()) {
            Ok(state) => state,
            Err(failure) => {
                let state = self.snapshot.as_deref().and_then(snapshot::read).ok_or(failure)?;
                log::error!("the store does not answer: revision {} is the newest known", state.revision.number);
                return Ok((Objects::of(state.clone())?, state.revision));
            }
        };
        for _ in 0..STARTS {
            let revision = self.note_files(fingerprint, &state.revision);
            if revision.file_hash.as_deref() == Some(fingerprint) {
                return Ok((Objects::of(state)?, revision));
            }
            // Another gateway was faster.
            state = self.wait(self.store.state())?;
        }
        let revision = state.revision.clone();
        Ok((Objects::of(state)?, revision))
    }

    /// The revision that these files make of another: a new one if they are others. Where none can be made, the store being away,
    /// it stays as it is: files do not wait for the store.
    fn note_files(&self, fingerprint: &str, revision: &Revision) -> Revision {
        if revision.file_hash.as_deref() == Some(fingerprint) {
            return revision.clone();
        }
        let change = proposal::of_files(revision.number, fingerprint.to_owned());
        let noted = self.wait(self.store.commit(change, now()));
        noted.unwrap_or_else(|failure| {
            log::warn!("the store does not know of the configuration files that serve: {failure}");
            revision.clone()
        })
    }
}

impl Desk {
    /// The desk of a plane that serves what is held.
    pub fn new(plane: Arc<Plane>, file: PathBuf, keeping: Option<Keeping>, held: Held) -> Desk {
        let revisions = watch::Sender::new(held.revision.number);
        let (turn, fault) = (Mutex::default(), Mutex::default());
        Desk { plane, file, keeping, held: ArcSwap::from_pointee(held), revisions, turn, fault }
    }

    /// What serves.
    pub fn plane(&self) -> &Arc<Plane> {
        &self.plane
    }

    /// What the gateway is configured by now.
    pub fn held(&self) -> Arc<Held> {
        self.held.load_full()
    }

    /// Follows the numbers of the revisions that serve.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revisions.subscribe()
    }

    fn hold(&self, held: Arc<Held>) {
        let number = held.revision.number;
        self.held.store(held);
        self.revisions.send_replace(number);
    }

    /// Why the newest revision of the store does not serve here, if so.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    /// Where objects are kept, if there is a store.
    pub fn keeping(&self) -> Option<&Keeping> {
        self.keeping.as_ref()
    }
}

/// This moment, in milliseconds since 1970.
pub fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// A moment as the API tells it.
pub fn moment(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds).unwrap_or_default().to_string()
}
