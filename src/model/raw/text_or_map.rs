//! Values that are a text, or a map for what a text cannot say.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{ClaimCondition, ClaimForm, Condition, ConditionForm, Target, WeightedTarget};

/// A value that is a text, or a map for what a text cannot say.
trait TextOrMap<'de>: Sized {
    type Map: Deserialize<'de>;
    const ALLOWED: &'static str;

    fn of_text(text: String) -> Self;
    fn of_map(map: Self::Map) -> Self;
}

impl<'de> TextOrMap<'de> for Target {
    type Map = WeightedTarget;
    const ALLOWED: &'static str = "a text such as http://10.0.0.5:8003, or a map with url, weight, max_in_flight";

    fn of_text(text: String) -> Self {
        Target::Url(text.into())
    }

    fn of_map(map: WeightedTarget) -> Self {
        Target::Weighted(map)
    }
}

impl<'de> TextOrMap<'de> for Condition {
    type Map = ConditionForm;
    const ALLOWED: &'static str = "a text it must equal, or a map with one of one_of, prefix, contains, regex, present";

    fn of_text(text: String) -> Self {
        Condition::Equals(text)
    }

    fn of_map(map: ConditionForm) -> Self {
        Condition::Form(map)
    }
}

impl<'de> TextOrMap<'de> for ClaimCondition {
    type Map = ClaimForm;
    const ALLOWED: &'static str = "a text it must equal, or a map with one of one_of, contains, captured";

    fn of_text(text: String) -> Self {
        ClaimCondition::Equals(text)
    }

    fn of_map(map: ClaimForm) -> Self {
        ClaimCondition::Form(map)
    }
}

struct TextOrMapVisitor<T>(PhantomData<T>);

impl<'de, T: TextOrMap<'de>> Visitor<'de> for TextOrMapVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::ALLOWED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(T::of_text(text.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::Map::deserialize(MapAccessDeserializer::new(map)).map(T::of_map)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrMapVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for ClaimCondition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrMapVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrMapVisitor(PhantomData))
    }
}
