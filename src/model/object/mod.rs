//! Objects: the parts of a configuration that can be made, changed and removed one by one while the gateway runs.
//!
//! Rules: an object is read as a part of a file is, with the same faults, but `${…}` means nothing in it: who may write
//! objects may not read the variables and files of the gateway. What is secret in an object is shown masked; a masked value that
//! is written back stands for the one that it masks.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fault::{Fault, Faults};
use super::mask::MASK;
use super::node::Node;
use super::place::Place;
use super::raw::{Cors, RateLimitRule, Route, Service};
use super::repair::decode;
use super::short;
use super::show::mask_urls;
use super::words::quoted;

mod declared;
mod joined;

pub use declared::{Declared, declared};

/// The longest name of an object, in bytes.
const LONGEST_NAME: usize = 256;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A service.
    Service,
    /// A route.
    Route,
    /// A rule that limits rates.
    RateLimit,
    /// The settings of CORS. There is one object of this kind at most.
    Cors,
}

/// What an object says.
#[derive(Clone, Debug)]
pub enum Body {
    /// A service.
    Service(Arc<Service>),
    /// A route.
    Route(Arc<Route>),
    /// A rate limit.
    RateLimit(Arc<RateLimitRule>),
    /// The settings of CORS.
    Cors(Arc<Cors>),
}

/// An object as somebody wrote it, and what it says.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its name.
    pub name: String,
    /// What was written, with its secrets.
    pub text: Value,
    /// What it says.
    pub body: Body,
}

impl Kind {
    /// All kinds, in the order in which objects are listed.
    pub const ALL: [Kind; 4] = [Kind::Service, Kind::Route, Kind::RateLimit, Kind::Cors];

    /// Its name in the store and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Service => "service",
            Kind::Route => "route",
            Kind::RateLimit => "rate_limit",
            Kind::Cors => "cors",
        }
    }

    /// The kind of this name.
    pub fn of_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The section of a file that declares such objects.
    pub fn section(self) -> &'static str {
        match self {
            Kind::Service => "services",
            Kind::Route => "routes",
            Kind::RateLimit => "rate_limits",
            Kind::Cors => "cors",
        }
    }

    /// What it is called in a sentence.
    pub fn noun(self) -> &'static str {
        match self {
            Kind::RateLimit => "rate limit",
            Kind::Cors => "CORS policy",
            kind => kind.as_str(),
        }
    }

    /// The key that holds the name, if the object does not have its name from elsewhere.
    fn name_key(self) -> Option<&'static str> {
        match self {
            Kind::Route => Some("name"),
            Kind::RateLimit => Some("rule_name"),
            Kind::Service | Kind::Cors => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Body {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Body::Service(_) => Kind::Service,
            Body::Route(_) => Kind::Route,
            Body::RateLimit(_) => Kind::RateLimit,
            Body::Cors(_) => Kind::Cors,
        }
    }

    /// What it says, with its defaults and without its secrets.
    pub fn shown(&self) -> Value {
        let shown = match self {
            Body::Service(service) => serde_json::to_value(service),
            Body::Route(route) => serde_json::to_value(route),
            Body::RateLimit(rule) => serde_json::to_value(rule),
            Body::Cors(cors) => serde_json::to_value(cors),
        };
        // The model has text keys only: turning it into JSON does not fail.
        let mut shown = shown.unwrap_or_default();
        mask_urls(&mut shown);
        shown
    }
}

impl Written {
    /// Reads what was written of an object of this kind; its faults have places within it. The name that is given is the one
    /// that the object has if none is written, or if it cannot be written in it.
    pub fn read(kind: Kind, name: Option<&str>, text: Value, faults: &mut Faults) -> Option<Written> {
        let mut node = Node::from(text);
        match kind {
            Kind::Service => short::expand_service(&mut node),
            Kind::Route => short::name_route(&mut node, name),
            Kind::RateLimit | Kind::Cors => {}
        }
        if let (Kind::RateLimit, Some(name), Node::Map(map)) = (kind, name, &mut node)
            && map.get("rule_name").is_none()
        {
            map.insert_new("rule_name", Node::text(name));
        }
        understand(kind, name, node, &Place::default(), faults)
    }

    /// The same, if a masked value stands for the one that it masks in what was written before. What is masked and was not
    /// there is a fault.
    pub fn unmask(text: &mut Value, before: Option<(&Value, &Body)>, faults: &mut Faults) {
        let (secret, shown) = before.map_or((Value::Null, Value::Null), |(text, body)| (text.clone(), body.shown()));
        unmask(text, &secret, &shown, &Place::default(), faults);
    }
}

fn understand(
    kind: Kind,
    name: Option<&str>,
    mut node: Node,
    place: &Place<'_>,
    faults: &mut Faults,
) -> Option<Written> {
    if !matches!(node, Node::Map(_)) {
        faults.push(place.clone(), node.describe(), "a map");
        return None;
    }
    let text = Value::from(node.clone());
    let body = match kind {
        Kind::Service => Body::Service(read(&mut node, place, faults)?),
        Kind::Route => Body::Route(read(&mut node, place, faults)?),
        Kind::RateLimit => Body::RateLimit(read(&mut node, place, faults)?),
        Kind::Cors => Body::Cors(read(&mut node, place, faults)?),
    };
    let name = match &body {
        Body::Route(route) => route.name.clone(),
        Body::RateLimit(rule) => rule.rule_name.clone(),
        Body::Service(_) => name.unwrap_or_default().to_owned(),
        Body::Cors(_) => kind.as_str().to_owned(),
    };
    let at = kind.name_key().map_or(place.clone(), |key| place.key(key));
    check_name(kind, &name, at, faults).then_some(Written { name, text, body })
}

fn read<T: DeserializeOwned>(node: &mut Node, place: &Place<'_>, faults: &mut Faults) -> Option<Arc<T>> {
    let before = faults.len();
    decode(node, place, faults).filter(|_| faults.len() == before).map(Arc::new)
}

fn check_name(kind: Kind, name: &str, place: Place<'_>, faults: &mut Faults) -> bool {
    let is_good = !name.is_empty() && name.len() <= LONGEST_NAME && !name.chars().any(char::is_control);
    // They would be steps in the path of a URL.
    let is_step = matches!(name, "." | "..");
    if !is_good || is_step {
        let allowed =
            format!("a name for the {} of 1 to {LONGEST_NAME} bytes, without control characters", kind.noun());
        faults.push(place, quoted(name), allowed);
    }
    is_good && !is_step
}

fn unmask(value: &mut Value, secret: &Value, shown: &Value, place: &Place<'_>, faults: &mut Faults) {
    match value {
        Value::String(text) if text.contains(MASK) => match (secret, shown) {
            (Value::String(secret), Value::String(shown)) if shown == text => *text = secret.clone(),
            _ => faults.add(
                Fault::saying(place.clone(), format!("{} is masked", quoted(text)))
                    .with_hint("write the value itself; a masked value can only be written back where it is"),
            ),
        },
        Value::Array(list) => {
            for (index, value) in list.iter_mut().enumerate() {
                let (secret, shown) = (at(secret, index), at(shown, index));
                unmask(value, secret, shown, &place.index(index), faults);
            }
        }
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                let below = |of: &'_ Value| of.get(key).cloned().unwrap_or_default();
                let (secret, shown) = (below(secret), below(shown));
                unmask(value, &secret, &shown, &place.key(key), faults);
            }
        }
        _ => {}
    }
}

fn at(value: &Value, index: usize) -> &Value {
    value.get(index).unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(kind: Kind, name: Option<&str>, text: Value) -> Result<Written, String> {
        let mut faults = Faults::default();
        Written::read(kind, name, text, &mut faults).ok_or_else(|| faults.to_string())
    }

    #[test]
    fn an_object_has_a_name_wherever_it_comes_from() {
        let route = json!({"path_pattern": "/a", "target_url": "http://127.0.0.1:1"});
        assert_eq!(read(Kind::Route, None, route.clone()).unwrap().name, "/a");
        assert_eq!(read(Kind::Route, Some("kept"), route).unwrap().name, "kept");
        let service = read(Kind::Service, Some("s"), json!("http://127.0.0.1:1")).unwrap();
        assert_eq!((service.name.as_str(), &service.text), ("s", &json!({"targets": ["http://127.0.0.1:1"]})));
        let rule = json!({"max_requests": 1, "window_seconds": 1, "limit_type": "per_ip"});
        assert_eq!(read(Kind::RateLimit, Some("r"), rule).unwrap().name, "r");
        for name in ["", "..", "a\nb", &"x".repeat(257)] {
            assert!(read(Kind::Service, Some(name), json!({"targets": []})).is_err(), "{name:?}");
        }
    }

    #[test]
    fn faults_are_all_told_with_their_places() {
        let text = json!({"path_pattern": 1, "retry_count": "x", "metods": []});
        let faults = read(Kind::Route, Some("a"), text).unwrap_err();
        assert_eq!(faults.lines().count(), 3, "{faults}");
        assert!(faults.contains("metods: unknown key; did you mean \"methods\"?"), "{faults}");
        assert!(read(Kind::Cors, None, json!([])).unwrap_err().contains("allowed: a map"));
    }

    #[test]
    fn a_masked_value_stands_for_its_secret_and_for_nothing_else() {
        let text = json!({"path_pattern": "/a", "target_url": "http://u:secret@h", "timeout": "1s"});
        let route = read(Kind::Route, Some("a"), text.clone()).unwrap();
        let shown = route.body.shown();
        assert_eq!(shown["target_url"], "http://u:***@h");
        let mut back = shown.clone();
        let mut faults = Faults::default();
        Written::unmask(&mut back, Some((&route.text, &route.body)), &mut faults);
        assert_eq!((back["target_url"].as_str(), faults.is_empty()), (Some("http://u:secret@h"), true));
        let mut moved = json!({"path_pattern": "/a", "target_url": "http://u:***@elsewhere"});
        Written::unmask(&mut moved, Some((&route.text, &route.body)), &mut faults);
        assert!(faults.to_string().starts_with("target_url: \"http://u:***@elsewhere\" is masked"), "{faults}");
    }

    #[test]
    fn variables_are_not_filled_in() {
        let route = read(Kind::Route, None, json!({"path_pattern": "/a", "target_url": "http://${HOME}"})).unwrap();
        assert_eq!(route.text["target_url"], "http://${HOME}");
    }
}
