//! Groups of settings that most leave as they are. There may be a hundred thousand routes: a group that nobody wrote takes no
//! memory of its own.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Settings, as they were written or as they usually are.
#[derive(Clone)]
pub struct Usual<T>(Option<Box<T>>);

/// Settings of which it is known what holds where nobody wrote them.
pub trait Preset: 'static {
    /// What holds then.
    fn preset() -> &'static Self;
}

impl<T> Default for Usual<T> {
    fn default() -> Self {
        Usual(None)
    }
}

impl<T: Preset> Deref for Usual<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::preset())
    }
}

/// What holds, whoever wrote it.
impl<T: Preset + fmt::Debug> fmt::Debug for Usual<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Usual<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(|written| Usual(Some(Box::new(written))))
    }
}

impl<T: Preset + Serialize> Serialize for Usual<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        T::serialize(self, serializer)
    }
}

impl<T: JsonSchema> JsonSchema for Usual<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[test]
    fn what_is_not_written_is_as_usual_and_shown_so() {
        let text = "version: 1\nroutes: [{ name: a, path_pattern: /a }, { name: b, path_pattern: /b, retry: { on: [reset] } }]";
        let config = parse(text).0.unwrap().config;
        let retries = config.routes.iter().map(|route| (route.retry.on.len(), route.retry.backoff.base.0.as_millis()));
        assert_eq!(retries.collect::<Vec<_>>(), [(6, 25), (1, 25)]);
        let shown = serde_json::to_value(&config.routes[0]).unwrap();
        assert_eq!(shown["retry"]["on"][5], "504");
        assert!(config.routes[0].retry.0.is_none() && config.routes[1].retry.0.is_some());
    }

    #[test]
    fn a_route_takes_little() {
        assert!(size_of::<crate::raw::Route>() <= 512, "{}", size_of::<crate::raw::Route>());
    }
}
