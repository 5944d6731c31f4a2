//! From a node of the tree to a typed value, by serde; an error says where in the tree it happened.
//!
//! Rules: a text that came from `${…}` counts as a number, a boolean or nothing (`null`) where such a value is wanted; a
//! key of a struct whose value is empty counts as not written (`routes:` with all entries commented out); what is gone
//! is passed over, the numbers of a list stay; a map that stands for an enum has one key.

use std::fmt::Display;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{DeserializeSeed, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor};

use super::map::Key;
use super::node::Node;
use super::place::{Place, Step};
use super::words::words;

/// The way to a node.
pub type Path = Vec<Step<'static>>;

/// Why a value cannot be decoded, and the way to it (innermost step first).
#[derive(Debug)]
pub struct Error {
    pub kind: Kind,
    pub path: Path,
}

/// What is wrong, as serde says it.
#[derive(Debug)]
pub enum Kind {
    Missing(&'static str),
    Unknown(String, &'static [&'static str]),
    Variant(&'static [&'static str]),
    Wrong(String),
}

/// What a switch may be.
pub const BOOLEAN: &str = "true or false";

impl Error {
    fn of(kind: Kind) -> Self {
        Error { kind, path: Vec::new() }
    }

    fn wrong(allowed: impl Into<String>) -> Self {
        Error::of(Kind::Wrong(allowed.into()))
    }

    fn below(mut self, step: Step<'_>) -> Self {
        self.path.extend(Place::default().then(step).into_owned().steps);
        self
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Error::wrong(message.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, allowed: &dyn Expected) -> Self {
        match allowed.to_string() {
            // serde's word when the map that should name a form is empty.
            form if form == "enum" => Error::wrong("a map with one key"),
            allowed => Error::wrong(allowed),
        }
    }

    fn invalid_value(_: Unexpected<'_>, allowed: &dyn Expected) -> Self {
        Error::wrong(allowed.to_string())
    }

    fn invalid_length(_: usize, allowed: &dyn Expected) -> Self {
        Error::wrong(allowed.to_string())
    }

    fn unknown_variant(_: &str, allowed: &'static [&'static str]) -> Self {
        Error::of(Kind::Variant(allowed))
    }

    fn unknown_field(key: &str, allowed: &'static [&'static str]) -> Self {
        Error::of(Kind::Unknown(key.into(), allowed))
    }

    fn missing_field(key: &'static str) -> Self {
        Error::of(Kind::Missing(key))
    }
}

/// Decodes a node.
#[derive(Clone, Copy)]
pub struct Decoder<'de> {
    pub node: &'de Node,
}

impl<'de> Decoder<'de> {
    /// The text that stands for a scalar because it came from `${…}`.
    fn filled_in(&self) -> Option<&'de str> {
        match self.node {
            Node::Text(text) if text.from.is_some() => Some(text.text.trim()),
            _ => None,
        }
    }

    fn integer<V: Visitor<'de>>(self, visitor: V, least: i64, most: u64) -> Result<V::Value, Error> {
        let value = match (self.node, self.filled_in()) {
            (Node::Unsigned(value), _) => Some(i128::from(*value)),
            (Node::Signed(value), _) => Some(i128::from(*value)),
            (Node::Any, _) => Some(1),
            (_, Some(text)) => text.parse().ok(),
            _ => None,
        };
        let value = value.filter(|value| (i128::from(least)..=i128::from(most)).contains(value));
        match value.map(|value| (u64::try_from(value), i64::try_from(value))) {
            Some((Ok(value), _)) => visitor.visit_u64(value),
            Some((_, Ok(value))) => visitor.visit_i64(value),
            _ if least == 0 && most == u64::MAX => Err(Error::wrong("a whole number, 0 or more")),
            _ => Err(Error::wrong(format!("a whole number from {least} to {most}"))),
        }
    }

    fn map<V: Visitor<'de>>(self, visitor: V, keys: &'static [&'static str]) -> Result<V::Value, Error> {
        let mut entries = Entries::of(self.node, keys);
        let value = visitor.visit_map(&mut entries)?;
        entries.end().map(|()| value)
    }
}

macro_rules! integers {
    ($($method:ident $kind:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.integer(visitor, $kind::MIN as i64, $kind::MAX as u64)
        }
    )*};
}

impl<'de> serde::Deserializer<'de> for Decoder<'de> {
    type Error = Error;

    integers! {
        deserialize_u8 u8 deserialize_u16 u16 deserialize_u32 u32 deserialize_u64 u64
        deserialize_i8 i8 deserialize_i16 i16 deserialize_i32 i32 deserialize_i64 i64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node {
            Node::Null | Node::Gone(_) => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Unsigned(value) => visitor.visit_u64(*value),
            Node::Signed(value) => visitor.visit_i64(*value),
            Node::Float(value) => visitor.visit_f64(*value),
            Node::Text(text) => visitor.visit_borrowed_str(&text.text),
            Node::Any => visitor.visit_borrowed_str(""),
            Node::List(_) => self.deserialize_seq(visitor),
            Node::Map(_) => self.map(visitor, &[]),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match (self.node, self.filled_in()) {
            (Node::Bool(value), _) => visitor.visit_bool(*value),
            (Node::Any, _) => visitor.visit_bool(false),
            (_, Some(text)) if text.eq_ignore_ascii_case("true") => visitor.visit_bool(true),
            (_, Some(text)) if text.eq_ignore_ascii_case("false") => visitor.visit_bool(false),
            _ => Err(Error::wrong(BOOLEAN)),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match (self.node, self.filled_in().and_then(|text| text.parse().ok())) {
            (Node::Unsigned(value), _) => visitor.visit_f64(*value as f64),
            (Node::Signed(value), _) => visitor.visit_f64(*value as f64),
            (Node::Float(value), _) => visitor.visit_f64(*value),
            (Node::Any, _) => visitor.visit_f64(1.0),
            (_, Some(value)) => visitor.visit_f64(value),
            _ => Err(Error::wrong("a number")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node {
            Node::Text(_) | Node::Any => self.deserialize_any(visitor),
            _ => Err(Error::wrong("a text")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match (self.node, self.filled_in()) {
            (Node::Null | Node::Any | Node::Gone(_), _) | (_, Some("null" | "~")) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node {
            Node::List(list) => visitor.visit_seq(Elements { left: list.iter().enumerate() }),
            Node::Any => visitor.visit_seq(Elements { left: [].iter().enumerate() }),
            _ => Err(Error::wrong("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node {
            Node::Map(_) | Node::Any => self.map(visitor, &[]),
            _ => Err(Error::wrong("a map")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.node {
            Node::Map(_) | Node::Any => self.map(visitor, keys),
            _ => Err(Error::wrong(format!("a map with {}", words(keys.iter().copied())))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.node {
            Node::Text(text) => visitor.visit_enum(text.text.as_str().into_deserializer()),
            Node::Any => visitor.visit_enum(variants.first().copied().unwrap_or_default().into_deserializer()),
            Node::Map(_) => {
                let mut entries = Entries::of(self.node, &[]);
                let value = visitor.visit_enum(MapAccessDeserializer::new(&mut entries))?;
                entries.end().map(|()| value)
            }
            _ => Err(Error::of(Kind::Variant(variants))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

/// The entries of a list; those that are gone are passed over, the numbers stay.
struct Elements<'de> {
    left: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let next = self.left.by_ref().find(|(_, node)| !node.is_gone());
        let decode =
            |(index, node)| seed.deserialize(Decoder { node }).map_err(|error| error.below(Step::Index(index)));
        next.map(decode).transpose()
    }
}

/// The entries of a map, without those that are gone or, of a struct's keys, empty.
struct Entries<'de> {
    left: std::slice::Iter<'de, (Key, Node)>,
    keys: &'static [&'static str],
    current: Option<(&'de str, &'de Node)>,
}

impl<'de> Entries<'de> {
    fn of(node: &'de Node, keys: &'static [&'static str]) -> Self {
        let left = if let Node::Map(map) = node { map.entries().iter() } else { [].iter() };
        Entries { left, keys, current: None }
    }

    fn advance(&mut self) -> Option<(&'de str, &'de Node)> {
        let keys = self.keys;
        let counts = |(key, node): &(&'de str, &Node)| match node {
            Node::Gone(_) => false,
            Node::Null => !keys.contains(key),
            _ => true,
        };
        self.current = self.left.by_ref().map(|(key, node)| (key.as_str(), node)).find(counts);
        self.current
    }

    /// An enum's map has one key; what follows it would be passed over silently.
    fn end(mut self) -> Result<(), Error> {
        match self.advance() {
            None => Ok(()),
            Some(_) => Err(Error::wrong("only one of them")),
        }
    }
}

impl<'de> MapAccess<'de> for &mut Entries<'de> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((key, _)) = self.advance() else { return Ok(None) };
        let decoded = seed.deserialize(BorrowedStrDeserializer::<Error>::new(key));
        let refuse = |error: Error| match error.kind {
            Kind::Variant(allowed) => Error::of(Kind::Unknown(key.into(), allowed)),
            _ => error,
        };
        decoded.map(Some).map_err(|error| refuse(error).below(Step::Key(key.into())))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (key, node) = self.current.unwrap_or(("", &Node::Null));
        seed.deserialize(Decoder { node }).map_err(|error| error.below(Step::Key(key.into())))
    }
}
