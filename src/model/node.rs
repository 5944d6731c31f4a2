//! The tree between the text and the typed configuration: YAML's values, with what interpolation and pruning must
//! remember. Depth is bounded by the reader (128), so walking it may recurse.

use serde_json::Value;

use super::map::Map;
use super::place::Step;
use super::words::{quoted, words};

/// A value of the tree.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(Text),
    List(Vec<Node>),
    Map(Map<Node>),
    /// It was faulty and the fault is reported: as if it had not been written. Keeps the `name` it had.
    Gone(Option<String>),
    /// A required value that is missing or was faulty: plays along as whatever is wanted until all faults are found.
    Any,
}

/// A text, and where it came from if it was put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    pub text: String,
    pub from: Option<Box<Source>>,
}

/// What a text was put together from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// The references, without their defaults: `${HOST}, ${PORT}`.
    pub references: String,
    /// What came from secret ones.
    pub secrets: Vec<String>,
}

impl Text {
    pub fn is_secret(&self) -> bool {
        self.from.as_ref().is_some_and(|source| !source.secrets.is_empty())
    }
}

impl Node {
    /// A text as it was written.
    pub fn text(text: impl Into<String>) -> Self {
        Node::Text(Text { text: text.into(), from: None })
    }

    /// The text, if this is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Node::Text(text) => Some(&text.text),
            _ => None,
        }
    }

    /// It was pruned.
    pub fn is_gone(&self) -> bool {
        matches!(self, Node::Gone(_))
    }

    /// The value at `path`.
    pub fn at(&mut self, path: &[Step<'_>]) -> Option<&mut Node> {
        path.iter().try_fold(self, |node, step| match (node, step) {
            (Node::Map(map), Step::Key(key)) => map.get_mut(key),
            (Node::List(list), Step::Index(index)) => list.get_mut(*index),
            _ => None,
        })
    }

    /// Takes the value at `path` out of the configuration.
    pub fn prune(&mut self, path: &[Step<'_>]) {
        if let Some(node) = self.at(path) {
            let name = match node {
                Node::Map(map) => map.get("name").and_then(Node::as_text).map(String::from),
                _ => None,
            };
            *node = Node::Gone(name);
        }
    }

    /// The value for a person: texts in quotes, secrets and passwords masked, collections by their kind.
    pub fn describe(&self) -> String {
        match self {
            Node::Null | Node::Gone(_) | Node::Any => "nothing".into(),
            Node::Bool(value) => value.to_string(),
            Node::Unsigned(value) => value.to_string(),
            Node::Signed(value) => value.to_string(),
            Node::Float(value) => value.to_string(),
            Node::Text(text) => describe_text(text),
            Node::List(list) if list.is_empty() => "an empty list".into(),
            Node::List(_) => "a list".into(),
            Node::Map(map) if map.is_empty() => "an empty map".into(),
            Node::Map(map) => {
                let present = map.iter().filter(|(_, node)| !node.is_gone());
                format!("a map with {}", words(present.map(|(key, _)| key)))
            }
        }
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Node::Null,
            Value::Bool(value) => Node::Bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => Node::Unsigned(number),
                (None, Some(number)) => Node::Signed(number),
                (None, None) => Node::Float(number.as_f64().unwrap_or(f64::INFINITY)),
            },
            Value::String(text) => Node::text(text),
            Value::Array(list) => Node::List(list.into_iter().map(Node::from).collect()),
            Value::Object(map) => {
                let entries = map.into_iter().map(|(key, value)| (key.into(), Node::from(value)));
                Node::Map(Map::new(entries.collect(), |_| {}))
            }
        }
    }
}

/// What is gone, and numbers that JSON does not have, are nothing.
impl From<Node> for Value {
    fn from(node: Node) -> Self {
        match node {
            Node::Null | Node::Gone(_) | Node::Any => Value::Null,
            Node::Bool(value) => value.into(),
            Node::Unsigned(value) => value.into(),
            Node::Signed(value) => value.into(),
            Node::Float(value) => value.into(),
            Node::Text(text) => text.text.into(),
            Node::List(list) => Value::Array(list.into_iter().map(Value::from).collect()),
            Node::Map(map) => {
                Value::Object(map.into_iter().map(|(key, node)| (key.into_string(), node.into())).collect())
            }
        }
    }
}

fn describe_text(text: &Text) -> String {
    let shown = if text.is_secret() { "***".into() } else { quoted(&text.text) };
    match &text.from {
        Some(source) => format!("{shown} (from {})", source.references),
        None => shown,
    }
}
