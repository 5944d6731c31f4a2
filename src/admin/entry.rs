//! Objects as the API shows them, whoever made them: those of files beside those of the store.

use std::sync::Arc;

use gatekeeper_client::Object;
use gatekeeper_model::object::{Body, Kind};
use gatekeeper_model::{Loaded, Place};
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::desk::objects::Made;
use crate::desk::{Held, moment};
use crate::problem::Problem;

/// An object.
pub struct Entry<'h> {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: &'h str,
    /// What it says.
    pub body: Body,
    /// What the store has of it; nothing if a file declares it.
    pub made: Option<&'h Arc<Made>>,
    managed_by: String,
}

/// All objects of a kind, in the order of their names.
pub fn all(held: &Held, kind: Kind) -> Result<Vec<Entry<'_>>, Problem> {
    let Loaded { config, origins, .. } = held.joined()?;
    let owners = origins.owners();
    let section = Place::new(kind.section());
    let entry = |name, body, place: Place<'_>| {
        let made = held.objects.get(kind, name);
        let managed_by = made.map_or_else(|| owners.of(&place).to_string(), |made| made.manager.as_str().to_owned());
        Entry { kind, name, body, made, managed_by }
    };
    let mut all: Vec<Entry<'_>> = match kind {
        Kind::Service => {
            let services = config.services.iter();
            services.map(|(name, body)| entry(name, Body::Service(body.clone()), section.key(name))).collect()
        }
        Kind::Route => {
            let routes = config.routes.iter().enumerate();
            routes.map(|(index, body)| entry(&body.name, Body::Route(body.clone()), section.index(index))).collect()
        }
        Kind::RateLimit => {
            let rules = config.rate_limits.iter().enumerate();
            let body = |rule: &gatekeeper_model::raw::RateLimitRule| Body::RateLimit(Arc::new(rule.clone()));
            rules.map(|(index, rule)| entry(&rule.rule_name, body(rule), section.index(index))).collect()
        }
        Kind::Cors => {
            let cors = config.cors.iter();
            cors.map(|cors| entry(kind.as_str(), Body::Cors(Arc::new(cors.clone())), section.clone())).collect()
        }
    };
    all.sort_by(|one, other| one.name.cmp(other.name));
    Ok(all)
}

/// An object of the store.
pub fn of_made(made: &Arc<Made>) -> Entry<'_> {
    let (kind, managed_by) = (made.body.kind(), made.manager.as_str().to_owned());
    Entry { kind, name: &made.name, body: made.body.clone(), made: Some(made), managed_by }
}

/// The object with this id or, if there is none, this name.
pub fn find<'h>(held: &'h Held, kind: Kind, key: &str) -> Result<Option<Entry<'h>>, Problem> {
    if let Some(made) = held.objects.find(kind, key) {
        return Ok(Some(of_made(made)));
    }
    let id: Option<Uuid> = key.parse().ok();
    let is_it = |entry: &Entry<'_>| id.map_or(entry.name == key, |id| entry.id() == id || entry.name == key);
    Ok(all(held, kind)?.into_iter().find(is_it))
}

impl Entry<'_> {
    /// Its id. What a file declares has one that follows from its name.
    pub fn id(&self) -> Uuid {
        self.made.map_or_else(|| id_of_name(self.kind, self.name), |made| made.id)
    }

    /// Who owns it.
    pub fn managed_by(&self) -> &str {
        &self.managed_by
    }

    /// Its version.
    pub fn etag(&self) -> String {
        let text = self.made.map_or_else(|| self.body.shown().to_string(), |made| made.text.to_string());
        let digest = digest(&SHA256, format!("{}\0{}\0{text}", self.id(), self.name).as_bytes());
        let start: String = digest.as_ref().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        format!("\"{start}\"")
    }

    /// It, as the API shows it.
    pub fn shown(&self) -> Object {
        let mut body = Map::new();
        if self.kind == Kind::Service {
            body.insert("service_name".into(), self.name.into());
        }
        if let Value::Object(fields) = self.body.shown() {
            body.extend(fields);
        }
        Object {
            id: self.id().to_string(),
            body,
            managed_by: self.managed_by.clone(),
            etag: self.etag(),
            created_at: self.made.map(|made| moment(made.created_at)),
            updated_at: self.made.map(|made| moment(made.updated_at)),
        }
    }

    /// Whether its name, its path, its hosts or its services contain this text.
    pub fn mentions(&self, text: &str) -> bool {
        let contains = |found: &str| found.to_lowercase().contains(text);
        contains(self.name)
            || match &self.body {
                Body::Route(route) => {
                    let shares = route.split.iter().flat_map(|split| &split.services);
                    contains(&route.path_pattern)
                        || route.hosts.iter().any(|host| contains(host))
                        || route.target_service.as_deref().is_some_and(contains)
                        || route.target_url.as_ref().is_some_and(|url| contains(&url.masked()))
                        || shares.into_iter().any(|share| contains(&share.service))
                }
                Body::Service(service) => {
                    service.targets.iter().any(|target| contains(&gatekeeper_model::secret::masked(target.url())))
                }
                Body::RateLimit(rule) => rule.path_pattern.as_deref().is_some_and(contains),
                Body::Cors(_) => false,
            }
    }
}

/// An id for what a file declares: the same as long as it has its name.
fn id_of_name(kind: Kind, name: &str) -> Uuid {
    let digest = digest(&SHA256, format!("file\0{kind}\0{name}").as_bytes());
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest.as_ref()).for_each(|(byte, found)| *byte = *found);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
