//! The configuration of the files together with objects that were made elsewhere: one configuration, in which each part knows
//! who declared it.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::fault::{Fault, Faults};
use super::super::load::Loaded;
use super::super::origin::Origins;
use super::super::place::Place;
use super::super::raw::Config;
use super::super::words::quoted;
use super::{Body, Kind};

impl Loaded {
    /// The configuration with these objects. A name that is used twice is a fault that names both places. Faults that are found
    /// from now on name who declared what.
    pub fn with<'o>(&self, objects: impl IntoIterator<Item = (&'o str, &'o Body)>, faults: &mut Faults) -> Loaded {
        let mut joined = Joined::new(self);
        objects.into_iter().for_each(|(name, body)| joined.add(name, body));
        let Joined { config, origins, doubled, .. } = joined;
        let doubled: Vec<Fault> = doubled.into_iter().map(|doubled| doubled.told(&origins)).collect();
        let origins = Arc::new(origins);
        faults.set_origins(origins.clone());
        doubled.into_iter().for_each(|fault| faults.add(fault));
        Loaded { config, origins, files: self.files.clone(), texts: self.texts.clone() }
    }
}

/// Who has a name first, and who wants it, too.
struct Doubled {
    kind: Kind,
    name: String,
    first: Place<'static>,
}

impl Doubled {
    fn told(self, origins: &Origins) -> Fault {
        let Doubled { kind, name, first } = self;
        let statement = match kind {
            Kind::Cors => "this is set twice".to_owned(),
            kind => format!("the {} name {} is used twice", kind.noun(), quoted(&name)),
        };
        Fault::saying(origins.of_object(kind.section(), &name), statement).after(origins.translate(first))
    }
}

struct Joined {
    config: Config,
    origins: Origins,
    routes: HashMap<String, usize>,
    doubled: Vec<Doubled>,
}

impl Joined {
    fn new(loaded: &Loaded) -> Self {
        let config = loaded.config.clone();
        let routes = config.routes.iter().enumerate().map(|(index, route)| (route.name.clone(), index)).collect();
        let mut origins = (*loaded.origins).clone();
        origins.take_objects_in();
        Joined { config, origins, routes, doubled: Vec::new() }
    }

    fn add(&mut self, name: &str, body: &Body) {
        let kind = body.kind();
        let section = kind.section();
        let index = match body {
            Body::Service(service) => {
                if self.config.services.contains_key(name) {
                    return self.refuse(kind, name, Place::new(section).key(name));
                }
                self.config.services.insert(name.to_owned(), service.clone());
                return self.origins.add_key(section, name);
            }
            Body::Cors(cors) => {
                if self.config.cors.is_some() {
                    return self.refuse(kind, name, Place::new(section));
                }
                self.config.cors = Some((**cors).clone());
                return self.origins.add_section(section);
            }
            Body::Route(route) => {
                if let Some(first) = self.routes.get(name) {
                    return self.refuse(kind, name, Place::new(section).index(*first));
                }
                self.config.routes.push(route.clone());
                self.config.routes.len() - 1
            }
            Body::RateLimit(rule) => {
                let first = self.config.rate_limits.iter().position(|known| known.rule_name == name);
                if let Some(first) = first {
                    return self.refuse(kind, name, Place::new(section).index(first));
                }
                self.config.rate_limits.push((**rule).clone());
                self.config.rate_limits.len() - 1
            }
        };
        self.origins.add_entry(section, index, name);
    }

    fn refuse(&mut self, kind: Kind, name: &str, first: Place<'_>) {
        self.doubled.push(Doubled { kind, name: name.to_owned(), first: first.into_owned() });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Written;
    use super::*;
    use crate::parse;

    fn object(kind: Kind, name: &str, text: serde_json::Value) -> (String, Body) {
        let mut faults = Faults::default();
        let written = Written::read(kind, Some(name), text, &mut faults);
        let written = written.unwrap_or_else(|| panic!("{faults}"));
        (written.name, written.body)
    }

    const FILE: &str =
        "version: 1\nservices: { a: http://127.0.0.1:1 }\nroutes: [{ name: r, path_pattern: /r, target_service: a }]\n";

    #[test]
    fn objects_are_parts_of_the_configuration_and_known_by_their_names() {
        let (loaded, _) = parse(FILE);
        let objects = [
            object(Kind::Service, "b", json!("http://127.0.0.1:2")),
            object(Kind::Route, "x", json!({"path_pattern": "/x", "target_service": "b"})),
            object(Kind::RateLimit, "l", json!({"limit_type": "per_ip", "max_requests": 1, "window_seconds": 1})),
            object(Kind::Cors, "cors", json!({"allow_origins": ["https://a.test"]})),
        ];
        let mut faults = Faults::default();
        let joined = loaded.unwrap().with(objects.iter().map(|(name, body)| (name.as_str(), body)), &mut faults);
        assert_eq!(faults.to_string(), "");
        assert_eq!((joined.config.services.len(), joined.config.routes.len()), (2, 2));
        assert_eq!((joined.config.rate_limits.len(), joined.config.cors.is_some()), (1, true));
        let owners = joined.origins.owners();
        let routes = Place::new("routes");
        assert_eq!(owners.of(&routes.index(1)).to_string(), "api");
        assert!(owners.of(&routes.index(0)).to_string().starts_with("file:"));
        assert_eq!(owners.of(&Place::new("services").key("b")).to_string(), "api");
        faults.push(routes.index(1).key("timeout"), "x", "y");
        faults.push(Place::new("services").key("b").key("targets").index(0), "x", "y");
        let places: Vec<_> = faults.faults().iter().map(|fault| fault.place.clone()).collect();
        let within = |section: &str, name: &str| -> Vec<String> {
            places.iter().filter_map(|place| place.within(section, name)).map(|place| place.to_string()).collect()
        };
        assert_eq!(within("routes", "x"), ["timeout"]);
        assert_eq!(within("services", "b"), ["targets[0]"]);
        assert!(within("services", "x").is_empty());
    }

    #[test]
    fn a_name_that_is_used_twice_is_a_fault_that_names_both() {
        let (loaded, _) = parse(FILE);
        let objects = [
            object(Kind::Service, "a", json!("http://127.0.0.1:2")),
            object(Kind::Route, "r", json!({"path_pattern": "/x", "target_service": "b"})),
        ];
        let mut faults = Faults::default();
        loaded.unwrap().with(objects.iter().map(|(name, body)| (name.as_str(), body)), &mut faults);
        let told = faults.to_string();
        assert!(told.contains("API: services.a: the service name \"a\" is used twice; first at services.a"), "{told}");
        assert!(told.contains("API: routes.r: the route name \"r\" is used twice; first at routes[0]"), "{told}");
    }
}
