//! From a reader of any format to the tree. A key written twice in one map is a fault, and the first counts; a merge key
//! (`<<`) takes in what another map has.

use std::cell::RefCell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, EnumAccess, Error as _, MapAccess, SeqAccess, Visitor};

use super::fault::{Fault, Faults};
use super::map::{Key, Map};
use super::node::Node;
use super::place::Place;

/// What aliases may add to a small text, in bytes of text and values.
const SLACK: usize = 1 << 20;
/// The key that takes in other maps.
pub const MERGE: &str = "<<";
/// The error of a text whose aliases add more.
pub const REPETITION: &str = "repetition limit";
/// The error of a text with a tag.
pub const TAG: &str = "a tag (`!name`) means nothing here";

/// The tree of a text of this length, faults placed at `place`.
pub fn read<'de, D: Deserializer<'de>>(
    deserializer: D,
    length: usize,
    place: &Place<'_>,
    faults: &mut Faults,
) -> Result<Node, D::Error> {
    let state = RefCell::new(State { budget: length.saturating_mul(2) + SLACK, duplicates: Vec::new() });
    let read = Seed { place, state: &state }.deserialize(deserializer);
    for place in state.into_inner().duplicates {
        let fault = Fault::saying(place, "this key is written twice in the same map");
        faults.add(fault.with_hint("keep one of them").of_second());
    }
    read
}

/// The map with what its merge key (`<<: *base`, or a list of such) adds, where it is not written itself. A merge key with
/// anything else stays, and is an unknown key then.
fn merged(mut map: Map<Node>) -> Map<Node> {
    let is_map = |node: &Node| matches!(node, Node::Map(_));
    let bases = match map.remove(MERGE) {
        None => return map,
        Some(base @ Node::Map(_)) => vec![base],
        Some(Node::List(list)) if list.iter().all(is_map) => list,
        Some(other) => {
            map.insert_new(MERGE, other);
            return map;
        }
    };
    let entries = bases.into_iter().flat_map(|base| match base {
        Node::Map(base) => base,
        _ => Map::default(),
    });
    map.absorb(Map::new(entries.collect(), |_| {}));
    map
}

/// A key, read without a text of its own.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Key, E> {
        Ok(text.into())
    }
}

struct State {
    budget: usize,
    duplicates: Vec<Place<'static>>,
}

#[derive(Clone, Copy)]
struct Seed<'s, 'p> {
    place: &'s Place<'p>,
    state: &'s RefCell<State>,
}

impl Seed<'_, '_> {
    fn spend<E: serde::de::Error>(&self, cost: usize) -> Result<(), E> {
        let mut state = self.state.borrow_mut();
        state.budget = state.budget.checked_sub(cost + 1).ok_or_else(|| E::custom(REPETITION))?;
        Ok(())
    }

    fn value<E: serde::de::Error>(&self, node: Node) -> Result<Node, E> {
        self.spend(0).map(|()| node)
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Node;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        self.value(Node::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Node, E> {
        self.value(Node::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Node, E> {
        self.value(Node::Unsigned(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Node, E> {
        self.value(Node::Signed(value))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Node, E> {
        self.value(Node::Float(value as f64))
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Node, E> {
        self.value(Node::Float(value as f64))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        self.value(Node::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Node, E> {
        self.spend(text.len())?;
        Ok(Node::text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        self.spend(0)?;
        let mut list = Vec::new();
        while let Some(node) =
            entries.next_element_seed(Seed { place: &self.place.index(list.len()), state: self.state })?
        {
            list.push(node);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key_seed(KeySeed)? {
            self.spend(key.len())?;
            let node = entries.next_value_seed(Seed { place: &self.place.key(&key), state: self.state })?;
            map.push((key, node));
        }
        let repeated = |key: &str| self.state.borrow_mut().duplicates.push(self.place.key(key).into_owned());
        Ok(Node::Map(merged(Map::new(map, repeated))))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        Err(A::Error::custom(TAG))
    }
}
