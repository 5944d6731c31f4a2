//! The reference of the configuration, `docs/reference.md`: a table for each object, made from the JSON Schema.
//!
//! A table is headed by the place of its object (`listen[].tls`). An object that occurs in several places has its table at the
//! first one, and the others link to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::Value;

const HEAD: &str = "# Configuration reference

Every setting of the configuration file. This page is generated from the code (`UPDATE_SCHEMA=1 cargo test --workspace --lib schema`);
[configuration](configuration.md) describes the file itself.

* A **time** is a number of seconds, or a number with a unit: `250ms`, `30s`, `5m`, `1h`, `30d`.
* A **size** is a number of bytes, or a number with a unit: `64KiB`, `10MiB`, `1GiB`.
* `[]` in a heading stands for each element of a list, `NAME` for each key of a map.
* A setting without a default has no effect unless it is set.
";

/// The page.
pub fn reference(schema: &Value) -> String {
    let mut page = Page { schema, text: HEAD.into(), places: BTreeMap::new(), found: Vec::new() };
    page.table("The file", "", schema);
    let mut waiting = std::mem::take(&mut page.found);
    waiting.reverse();
    while let Some((place, definition)) = waiting.pop() {
        page.table(&format!("`{place}`"), &place, definition);
        waiting.extend(page.found.drain(..).rev());
    }
    page.text
}

struct Page<'s> {
    schema: &'s Value,
    text: String,
    /// Where the table of each definition is.
    places: BTreeMap<&'s str, String>,
    /// The objects that the last table links to and that have no table yet.
    found: Vec<(String, &'s Value)>,
}

impl<'s> Page<'s> {
    fn table(&mut self, heading: &str, place: &str, object: &'s Value) {
        let mut description = oneline(object["description"].as_str().unwrap_or_default());
        let is_choice = object["oneOf"].is_array();
        if is_choice {
            description += " Exactly one of these keys is written.";
        }
        write!(self.text, "\n## {heading}\n\n{description}\n\n| key | type | default | meaning |\n|---|---|---|---|\n")
            .unwrap();
        for alternative in alternatives(object) {
            let Some(properties) = alternative["properties"].as_object() else { continue };
            for (key, property) in properties {
                let place = [place, key].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
                let kind = self.kind(property, &place);
                let required = if is_choice { &Value::Null } else { &object["required"] };
                let default = default(required, key, property);
                let meaning = self.meaning(alternative, property);
                writeln!(self.text, "| `{key}` | {kind} | {default} | {meaning} |").unwrap();
            }
        }
    }

    /// What may be written; objects are linked, and their tables are written later.
    fn kind(&mut self, value: &'s Value, place: &str) -> String {
        if let Some(definition) = self.definition(value) {
            return self.kind_of_definition(definition, place);
        }
        if let Some(special) = special(value) {
            return special.into();
        }
        if let Some(values) = value["enum"].as_array() {
            return listed(values.iter());
        }
        if let Some(forms) = value["anyOf"].as_array() {
            let forms = forms.iter().filter(|form| form["type"] != "null");
            return forms.map(|form| self.kind(form, place)).collect::<Vec<_>>().join(" or ");
        }
        let kinds = match &value["type"] {
            Value::Array(kinds) => kinds.iter().collect(),
            kind => vec![kind],
        };
        let kinds = kinds.into_iter().filter_map(Value::as_str).filter(|kind| *kind != "null");
        kinds.map(|kind| self.plain(kind, value, place)).collect::<Vec<_>>().join(" or ")
    }

    fn plain(&mut self, kind: &str, value: &'s Value, place: &str) -> String {
        match kind {
            "string" => "text".into(),
            "array" => format!("list of {}", many(self.kind(&value["items"], &format!("{place}[]")))),
            "object" => format!("map of {}", many(self.kind(&value["additionalProperties"], &format!("{place}.NAME")))),
            // These are the bounds of the type, and say nothing about the setting.
            "integer" if value["maximum"] == u16::MAX && value["minimum"] == 0 => kind.into(),
            "integer" | "number" => match (&value["minimum"], &value["maximum"]) {
                (Value::Number(least), Value::Number(most)) if least == most => format!("`{least}`"),
                (Value::Number(least), Value::Number(most)) => format!("{kind}, {least} to {most}"),
                _ => kind.into(),
            },
            kind => kind.into(),
        }
    }

    fn kind_of_definition(&mut self, name: &'s str, place: &str) -> String {
        let definition = &self.schema["$defs"][name];
        if let Some(values) = choices(definition) {
            return listed(values.into_iter().map(|(value, _)| value));
        }
        if definition["anyOf"].is_array() {
            return self.kind(definition, place);
        }
        if !self.places.contains_key(name) {
            self.places.insert(name, place.into());
            self.found.push((place.into(), definition));
        }
        format!("[object](#{})", anchor(&self.places[name]))
    }

    /// The name of the definition that a value refers to.
    fn definition(&self, value: &'s Value) -> Option<&'s str> {
        value["$ref"].as_str()?.strip_prefix("#/$defs/")
    }

    /// What a setting means, and what each of its values means where there are few.
    fn meaning(&self, object: &'s Value, property: &'s Value) -> String {
        // A form with a single key describes it as a whole.
        let own = property["description"].as_str().or(object["description"].as_str());
        let mut meaning = oneline(own.unwrap_or_default());
        let items = if property["items"].is_object() { &property["items"] } else { property };
        let values = self.definition(items).and_then(|name| choices(&self.schema["$defs"][name]));
        for (value, description) in values.into_iter().flatten() {
            if let Some(description) = description {
                write!(meaning, " {}: {}", code(value), oneline(description)).unwrap();
            }
        }
        meaning
    }
}

/// The forms of an object: one, or several of which exactly one is written.
fn alternatives(object: &Value) -> &[Value] {
    object["oneOf"].as_array().map_or(std::slice::from_ref(object), Vec::as_slice)
}

/// The values of an enumeration and what they mean, if it is one.
fn choices(definition: &Value) -> Option<Vec<(&Value, Option<&str>)>> {
    if let Some(values) = definition["enum"].as_array() {
        return Some(values.iter().map(|value| (value, None)).collect());
    }
    let forms = definition["oneOf"].as_array()?;
    let is_constant = |form: &Value| form.get("const").is_some();
    let choices = || forms.iter().map(|form| (&form["const"], form["description"].as_str()));
    forms.iter().all(is_constant).then(|| choices().collect())
}

/// Times and sizes, which the schema knows by their pattern.
fn special(value: &Value) -> Option<&'static str> {
    let forms = value["anyOf"].as_array()?;
    let mut patterns = forms.iter().filter_map(|form| form["pattern"].as_str());
    patterns.find_map(|pattern| match pattern {
        pattern if pattern.contains("ms|s|m") => Some("time"),
        pattern if pattern.contains("iB") => Some("size"),
        _ => None,
    })
}

fn many(kind: String) -> String {
    kind.replace("[object]", "[objects]")
}

fn default(required: &Value, key: &str, property: &Value) -> String {
    let required = required.as_array().is_some_and(|keys| keys.iter().any(|required| required == key));
    match &property["default"] {
        _ if required => "required".into(),
        // Its keys have their own defaults.
        Value::Object(_) | Value::Null => String::new(),
        Value::String(text) if text.is_empty() => String::new(),
        Value::Array(values) if values.iter().any(Value::is_object) => String::new(),
        Value::Array(values) if values.is_empty() => "none".into(),
        Value::Array(values) => listed(values.iter()),
        value => code(value),
    }
}

fn listed<'v>(values: impl Iterator<Item = &'v Value>) -> String {
    // `1.2` may be a text and a number.
    let mut seen = BTreeSet::new();
    let shown: Vec<String> = values.map(code).filter(|value| seen.insert(value.clone())).collect();
    shown.join(", ")
}

fn code(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

fn oneline(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// How a link names the heading of a place.
fn anchor(place: &str) -> String {
    place.to_lowercase().chars().filter(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}
