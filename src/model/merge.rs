//! Joins the parts of a configuration: the file and what is in `conf.d`.
//!
//! Rules: top-level lists are appended, top-level maps are joined by their keys, everything else may be written once. What
//! two files claim (a key, a route's name) is a fault at the second that names the first. `version` may be repeated.

use std::collections::HashMap;

use super::fault::{Fault, Faults};
use super::map::Map;
use super::node::Node;
use super::origin::Origins;
use super::place::{File, Place, Step};
use super::words::quoted;

/// The joined tree and where its parts came from.
#[derive(Default)]
pub struct Merged {
    pub root: Map<Node>,
    pub origins: Origins,
}

impl Merged {
    /// Adds what `file` says.
    pub fn add(&mut self, file: &File, part: Node, faults: &mut Faults) {
        match part {
            Node::Map(map) => map.into_iter().for_each(|(key, node)| self.add_section(file, &key, node, faults)),
            Node::Null | Node::Gone(_) => {}
            other => {
                faults.push(Place::file(file), other.describe(), "a map with version, listen, services, routes, …")
            }
        }
    }

    fn add_section(&mut self, file: &File, section: &str, node: Node, faults: &mut Faults) {
        self.note(file, section, &node);
        let origins = &mut self.origins;
        let Some(held) = self.root.get_mut(section) else { return self.root.insert_new(section, node) };
        match (held, node) {
            (Node::List(list), Node::List(more)) => list.extend(more),
            (Node::Map(map), Node::Map(more)) => join(origins, file, section, map, more, faults),
            (_, Node::Null) => {}
            (held @ Node::Null, node) => *held = node,
            (held, node) if section == "version" && *held == node => {}
            _ => {
                let first = origins.translate(Place::new(section).into_owned());
                faults.add(claimed_twice(Place::file(file).key(section), "this is set twice", first));
            }
        }
    }

    fn note(&mut self, file: &File, section: &str, node: &Node) {
        let origins = &mut self.origins;
        match node {
            Node::List(list) => {
                let numbered = (0..list.len()).map(|index| (file.clone(), index));
                origins.lists.entry(section.into()).or_default().extend(numbered);
            }
            Node::Map(map) => {
                let keys = origins.keys.entry(section.into()).or_default();
                for (key, _) in map.iter() {
                    keys.entry(key.into()).or_insert_with(|| file.clone());
                }
            }
            _ => {}
        }
        origins.sections.entry(section.into()).or_insert_with(|| file.clone());
    }

    /// Before anything of the tree can appear in a fault.
    pub fn note_secret_texts(&mut self) {
        for (_, section) in self.root.iter() {
            self.origins.note_secret_texts(section);
        }
    }

    /// Of several routes with one name, the first keeps it.
    pub fn refuse_double_names(&mut self, faults: &mut Faults) {
        let Some(Node::List(routes)) = self.root.get_mut("routes") else { return };
        let mut first_of: HashMap<String, usize> = HashMap::with_capacity(routes.len());
        for (index, route) in routes.iter_mut().enumerate() {
            let Some(Node::Text(name)) = route.at(&[Step::Key("name".into())]) else { continue };
            let name = name.text.clone();
            let routes = Place::new("routes");
            if let Some(first) = first_of.get(&name) {
                let first = self.origins.translate(routes.index(*first).into_owned());
                let statement = format!("the route name {} is used twice", quoted(&name));
                let place = self.origins.translate(routes.index(index).key("name").into_owned());
                faults.add(claimed_twice(place, &statement, first));
                *route = Node::Gone(Some(name));
            } else {
                first_of.insert(name, index);
            }
        }
    }
}

fn join(origins: &Origins, file: &File, section: &str, map: &mut Map<Node>, more: Map<Node>, faults: &mut Faults) {
    for (key, _) in map.absorb(more) {
        let first = origins.translate(Place::new(section).key(&key).into_owned());
        let statement = match section {
            "services" => format!("the service name {} is used twice", quoted(&key)),
            _ => "this is set twice".into(),
        };
        faults.add(claimed_twice(Place::file(file).key(section).key(&key), &statement, first));
    }
}

fn claimed_twice(place: Place<'_>, statement: &str, first: Place<'static>) -> Fault {
    Fault::saying(place, statement).after(first)
}
