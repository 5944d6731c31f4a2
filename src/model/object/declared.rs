//! Objects in a declarative file: what is applied to a running gateway as a whole.
//!
//! The file is written as the gateway's own is, in YAML or JSON, but holds only what objects can be, and tests. Settings of the
//! gateway itself are faults in it.

use std::collections::HashMap;

use super::super::fault::{Fault, Faults};
use super::super::node::Node;
use super::super::place::{File, Place};
use super::super::raw::RouteTest;
use super::super::repair::decode;
use super::super::words::quoted;
use super::super::{short, yaml};
use super::{Kind, Written, understand};

/// What a declarative file holds.
#[derive(Debug, Default)]
pub struct Declared {
    /// Its objects, in the order of the file.
    pub objects: Vec<(Kind, Written)>,
    /// Tests that must pass with them.
    pub tests: Vec<RouteTest>,
}

/// Reads a declarative file. What is faulty is left out; the faults have places within the text.
pub fn declared(text: &str, faults: &mut Faults) -> Declared {
    let mut declared = Declared::default();
    let root = match yaml::read(text, &Place::file(&File::new(0, "")), faults) {
        Some(Node::Map(root)) => root,
        None | Some(Node::Null) => return declared,
        Some(other) => {
            faults.push(Place::default(), other.describe(), "a map with services, routes, rate_limits, cors, tests");
            return declared;
        }
    };
    let mut root = root;
    short::expand(&mut root);
    for (section, node) in root {
        match (section.as_str(), node) {
            (_, Node::Null) => {}
            ("version", Node::Unsigned(1)) => {}
            ("version", other) => faults.push(Place::new("version"), other.describe(), "1"),
            ("services", Node::Map(map)) => {
                for (name, node) in map {
                    let place = Place::new("services").key(&name);
                    declared.add(Kind::Service, Some(&name), node, &place, faults);
                }
            }
            ("routes", Node::List(list)) => declared.add_list(Kind::Route, list, faults),
            ("rate_limits", Node::List(list)) => declared.add_list(Kind::RateLimit, list, faults),
            ("cors", node @ Node::Map(_)) => declared.add(Kind::Cors, None, node, &Place::new("cors"), faults),
            ("tests", Node::List(list)) => {
                let place = Place::new("tests");
                let tests = list.into_iter().enumerate();
                declared.tests = tests.filter_map(|(i, mut node)| decode(&mut node, &place.index(i), faults)).collect();
            }
            ("services" | "cors", other) => faults.push(Place::new(&section), other.describe(), "a map"),
            ("routes" | "rate_limits" | "tests", other) => faults.push(Place::new(&section), other.describe(), "a list"),
            (section, _) => faults.add(
                Fault::saying(Place::new(section), "this section cannot be applied to a running gateway")
                    .with_hint("settings of the gateway itself are in its own file; allowed here: services, routes, rate_limits, cors, tests"),
            ),
        }
    }
    declared.refuse_double_names(faults);
    declared
}

impl Declared {
    fn add(&mut self, kind: Kind, name: Option<&str>, node: Node, place: &Place<'_>, faults: &mut Faults) {
        self.objects.extend(understand(kind, name, node, place, faults).map(|written| (kind, written)));
    }

    fn add_list(&mut self, kind: Kind, list: Vec<Node>, faults: &mut Faults) {
        for (index, node) in list.into_iter().enumerate() {
            self.add(kind, None, node, &Place::new(kind.section()).index(index), faults);
        }
    }

    fn refuse_double_names(&self, faults: &mut Faults) {
        let mut seen = HashMap::with_capacity(self.objects.len());
        for (kind, object) in &self.objects {
            if seen.insert((*kind, object.name.as_str()), ()).is_some() {
                let statement = format!("the {} name {} is used twice", kind.noun(), quoted(&object.name));
                faults.add(Fault::saying(Place::new(kind.section()), statement));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_objects_is_read_like_the_gateways_own() {
        let text = "version: 1\nservices: { s: http://127.0.0.1:1 }\nroutes: [{ path_pattern: /a, target_service: s }]\n\
                    rate_limits: [{ rule_name: r, limit_type: per_ip, max_requests: 1, window_seconds: 60 }]\n\
                    cors: { allow_origins: [https://a.test] }\ntests: [{ request: GET /a, expect: { route: /a } }]\n";
        let mut faults = Faults::default();
        let declared = declared(text, &mut faults);
        assert_eq!(faults.to_string(), "");
        let mut names: Vec<_> =
            declared.objects.iter().map(|(kind, object)| format!("{kind} {}", object.name)).collect();
        names.sort();
        assert_eq!(names, ["cors cors", "rate_limit r", "route /a", "service s"]);
        assert_eq!(declared.tests.len(), 1);
    }

    #[test]
    fn what_is_no_object_is_a_fault_with_its_place() {
        let cases = [
            ("listen: [{ address: 0.0.0.0:1 }]", "listen: this section cannot be applied to a running gateway"),
            ("routes: { a: 1 }", "routes: found a map with a, allowed: a list"),
            (
                "routes: [{ name: a, path_pattern: /a }, { name: a, path_pattern: /b }]",
                "the route name \"a\" is used twice",
            ),
            ("routes: [{ name: a, path_pattern: 1 }]", "routes[0].path_pattern: found 1"),
            ("version: 2", "version: found 2, allowed: 1"),
            ("- a", "found a list, allowed: a map"),
            ("services: { s: { targts: [] } }", "services.s.targts: unknown key"),
            ("a: [", ""),
        ];
        for (text, expected) in cases {
            let mut faults = Faults::default();
            declared(text, &mut faults);
            assert!(!faults.is_empty() && faults.to_string().contains(expected), "{text}: {faults}");
        }
    }
}
