//! The objects that were made through the API, by kind and name, as they are in the store and as they serve.

use std::collections::BTreeMap;
use std::sync::Arc;

use gatekeeper_model::Faults;
use gatekeeper_model::object::{Body, Kind, Written};
use gatekeeper_store::State;
use gatekeeper_store::failure::Failure;
use gatekeeper_store::revision::Changed;
use serde_json::Value;
use uuid::Uuid;

/// An object.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: Arc<str>,
    /// What was written, as JSON, with its secrets.
    pub text: Box<str>,
    /// Who manages it.
    pub manager: Manager,
    /// What it says.
    pub body: Body,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
    /// When it was changed last.
    pub updated_at: i64,
}

/// Who manages an object that is in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manager {
    /// Whoever writes single objects.
    #[default]
    Api,
    /// A declarative file that is applied.
    Apply,
}

impl Manager {
    /// Its name, as `managed_by` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Manager::Api => "api",
            Manager::Apply => "apply",
        }
    }
}

/// All objects. A copy shares them.
#[derive(Clone, Debug, Default)]
pub struct Objects(BTreeMap<(Kind, Arc<str>), Arc<Made>>);

impl Made {
    /// What it says, as reports tell it: a secret is a fingerprint, so that one sees whether it changed.
    pub fn told(&self) -> Value {
        fingerprinted(self.body.shown(), &self.written())
    }

    /// What was written.
    pub fn written(&self) -> Value {
        // It was written by us.
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

impl Objects {
    /// The objects of a state of the store.
    pub fn of(state: State) -> Result<Objects, Failure> {
        let mut objects = Objects::default();
        for object in state.objects {
            let (manager, written) = understand(object.kind, &object.name, object.body)?;
            objects.put(object.id, manager, written, (object.created_at, object.updated_at));
        }
        Ok(objects)
    }

    /// The objects after these changes.
    pub fn after(&self, changes: Vec<Changed>, now: i64) -> Result<Objects, Failure> {
        let mut objects = self.clone();
        let mut created = BTreeMap::new();
        for change in &changes {
            let name_before = change.name_before.as_deref().unwrap_or(&change.name);
            if let Some(made) = objects.remove(change.kind, name_before) {
                created.insert(made.id, made.created_at);
            }
        }
        for change in changes {
            let Some(text) = change.after else { continue };
            let (manager, written) = understand(change.kind, &change.name, text)?;
            let created_at = created.get(&change.id).copied().unwrap_or(now);
            objects.put(change.id, manager, written, (created_at, now));
        }
        Ok(objects)
    }

    /// The object of this name.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Arc<Made>> {
        self.0.get(&(kind, Arc::from(name)))
    }

    /// The object with this id or, if there is none, this name.
    pub fn find(&self, kind: Kind, key: &str) -> Option<&Arc<Made>> {
        let id: Option<Uuid> = key.parse().ok();
        let by_id = id.and_then(|id| self.of_kind(kind).find(|made| made.id == id));
        by_id.or_else(|| self.get(kind, key))
    }

    /// All of a kind, in the order of their names.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Arc<Made>> {
        let from = (kind, Arc::from(""));
        self.0.range(from..).take_while(move |((found, _), _)| *found == kind).map(|(_, made)| made)
    }

    /// All of them, by kind and name.
    pub fn all(&self) -> impl Iterator<Item = (Kind, &Arc<Made>)> {
        self.0.iter().map(|((kind, _), made)| (*kind, made))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts an object in, or in the place of the one with its name. The times are those of its making and its last change.
    pub fn put(&mut self, id: Uuid, manager: Manager, written: Written, (created_at, updated_at): (i64, i64)) {
        let Written { name, text, body } = written;
        let (kind, name): (Kind, Arc<str>) = (body.kind(), name.into());
        let made =
            Made { id, name: name.clone(), text: text.to_string().into(), manager, body, created_at, updated_at };
        self.0.insert((kind, name), Arc::new(made));
    }

    /// Takes an object out.
    pub fn remove(&mut self, kind: Kind, name: &str) -> Option<Arc<Made>> {
        self.0.remove(&(kind, Arc::from(name)))
    }
}

/// What is shown, with the fingerprint of each secret behind its mask.
pub fn fingerprinted(mut shown: Value, written: &Value) -> Value {
    match (&mut shown, written) {
        (Value::String(shown), Value::String(written)) if shown != written && shown.contains("***") => {
            let digest = ring::digest::digest(&ring::digest::SHA256, written.as_bytes());
            let start: String = digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            *shown = format!("{shown} (sha256:{start}…)");
        }
        (Value::Array(shown), Value::Array(written)) => {
            for (shown, written) in shown.iter_mut().zip(written) {
                *shown = fingerprinted(shown.take(), written);
            }
        }
        (Value::Object(shown), Value::Object(written)) => {
            for (key, shown) in shown.iter_mut() {
                if let Some(written) = written.get(key) {
                    *shown = fingerprinted(shown.take(), written);
                }
            }
        }
        _ => {}
    }
    shown
}

/// What the store keeps of an object: what was written, and who manages it.
pub fn kept(manager: Manager, mut text: Value) -> Value {
    if let (Manager::Apply, Value::Object(map)) = (manager, &mut text) {
        map.insert(MANAGED_BY.into(), manager.as_str().into());
    }
    text
}

/// The key of what the store keeps that says who manages it.
const MANAGED_BY: &str = "managed_by";

/// What the store keeps, understood. What another version of the gateway wrote may not be.
pub fn understand(kind: Kind, name: &str, mut text: Value) -> Result<(Manager, Written), Failure> {
    let manager = text.as_object_mut().and_then(|map| map.remove(MANAGED_BY));
    let is_applied = manager.is_some_and(|manager| manager == Manager::Apply.as_str());
    let mut faults = Faults::default();
    let written = Written::read(kind, Some(name), text, &mut faults).ok_or_else(|| {
        let faults = faults.to_string();
        Failure::Damaged(format!("the {} {name:?} is not understood: {}", kind.noun(), faults.trim_end()))
    })?;
    Ok((if is_applied { Manager::Apply } else { Manager::Api }, written))
}
