//! The JSON Schema of the configuration file, for editors: made from the types of `model` and their comments.
//!
//! Known inaccuracy: it allows `${…}` only where a text or a period stands; elsewhere an editor may mark it.

use schemars::schema_for;
use serde_json::Value;

use super::place::{Place, Step};
use crate::raw::Config;

#[cfg(test)]
mod reference;

/// The schema.
pub fn schema() -> Value {
    schema_for!(Config).to_value()
}

/// The range that a number at this place may be in: `0 to 10`.
pub(super) fn range(place: &Place<'_>) -> Option<String> {
    let schema = schema();
    let at = place.steps.iter().try_fold(&schema, |at, step| inner(at, &schema, step))?;
    match (at.get("minimum")?, at.get("maximum")) {
        (least, Some(most)) => Some(format!("{} to {}", shortest(least), shortest(most))),
        (least, None) => Some(format!("{} or more", shortest(least))),
    }
}

fn shortest(number: &Value) -> String {
    let text = number.to_string();
    text.strip_suffix(".0").map(String::from).unwrap_or(text)
}

/// The schemas of which one holds for a value.
fn forms<'s>(at: &'s Value, root: &'s Value) -> Vec<&'s Value> {
    let referred = at.get("$ref").and_then(Value::as_str).and_then(|name| root.pointer(name.strip_prefix('#')?));
    let at = referred.unwrap_or(at);
    let more = ["anyOf", "oneOf", "allOf"].iter().filter_map(|key| at.get(*key)?.as_array()).flatten();
    [at].into_iter().chain(more.flat_map(|form| forms(form, root))).collect()
}

fn inner<'s>(at: &'s Value, root: &'s Value, step: &Step<'_>) -> Option<&'s Value> {
    forms(at, root).into_iter().find_map(|form| match step {
        Step::Index(_) => form.get("items"),
        Step::Key(key) => {
            let property = form.get("properties").and_then(|properties| properties.get(key.as_ref()));
            property.or_else(|| form.get("additionalProperties").filter(|more| more.is_object()))
        }
        Step::At(..) => None,
    })
}

/// Where a key belongs, the highest places first: `services.NAME`, `routes[]`; empty for the top level.
pub(super) fn homes(key: &str) -> Vec<String> {
    let (root, mut found) = (schema(), Vec::new());
    let mut level = vec![(String::new(), &root)];
    // Conditions of access hold conditions of access; and nothing lies deeper.
    for _ in 0..DEEPEST {
        let mut next = Vec::new();
        for (place, form) in
            level.iter().flat_map(|(place, at)| forms(at, &root).into_iter().map(move |form| (place, form)))
        {
            let properties = form.get("properties").and_then(Value::as_object).into_iter().flatten();
            for (name, inner) in properties {
                found.extend((name == key && !found.contains(place)).then(|| place.clone()));
                let dot = if place.is_empty() { "" } else { "." };
                next.push((format!("{place}{dot}{name}"), inner));
            }
            next.extend(form.get("items").map(|inner| (format!("{place}[]"), inner)));
            let more = form.get("additionalProperties").filter(|more| more.is_object());
            next.extend(more.map(|inner| (format!("{place}.NAME"), inner)));
        }
        level = next;
    }
    found
}

const DEEPEST: usize = 6;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::reference::reference;
    use super::*;
    use crate::show::effective_json;
    use crate::{ANNOTATED_DEFAULT, Config, parse};

    /// Every example of the annotated file taken in.
    fn uncommented() -> String {
        let example = |line: &str| {
            line.strip_prefix('#')
                .filter(|rest| rest.starts_with("  ") || !rest.starts_with([' ', '\n']))
                .map(String::from)
        };
        let lines = ANNOTATED_DEFAULT.lines().map(|line| example(line).unwrap_or_else(|| line.to_owned()));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn keys(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| {
                found.insert(key.clone());
                keys(value, found);
            }),
            Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }

    fn properties(schema: &Value, found: &mut BTreeSet<String>) {
        if let Some(Value::Object(properties)) = schema.get("properties") {
            for (key, property) in properties {
                let described = property.get("description").or(schema.get("description")).is_some();
                assert!(described, "{key} has no description");
                found.insert(key.clone());
            }
            assert!(schema.get("additionalProperties") == Some(&Value::Bool(false)), "{schema} allows unknown keys");
        }
        match schema {
            Value::Object(map) => map.values().for_each(|value| properties(value, found)),
            Value::Array(list) => list.iter().for_each(|value| properties(value, found)),
            _ => {}
        }
    }

    #[test]
    fn the_annotated_default_is_valid_with_and_without_its_examples() {
        for text in [ANNOTATED_DEFAULT.to_owned(), uncommented()] {
            let (loaded, faults) = parse(&text);
            assert_eq!(faults.to_string(), "");
            assert!(!loaded.unwrap().config.routes.is_empty());
        }
        assert!(ANNOTATED_DEFAULT.starts_with("# yaml-language-server: $schema=./gatekeeper.schema.json\n"));
    }

    #[test]
    fn the_annotated_default_changes_no_default() {
        let own = |text: &str| {
            let mut config = parse(text).0.unwrap();
            let Config { services, routes, tests, .. } = &mut config.config;
            services.clear();
            routes.clear();
            tests.clear();
            effective_json(&config)
        };
        assert_eq!(own(ANNOTATED_DEFAULT), own("version: 1"));
    }

    /// Every key the schema describes stands in the annotated file, and the other way round (`parse` sees to that).
    #[test]
    fn the_annotated_default_shows_every_key() {
        let (mut described, mut shown) = (BTreeSet::new(), BTreeSet::new());
        properties(&schema(), &mut described);
        let tree: Value = serde_yaml::from_str(&uncommented()).unwrap();
        keys(&tree, &mut shown);
        let missing: Vec<_> = described.difference(&shown).collect();
        assert!(missing.is_empty(), "not in conf/gatekeeper.yaml: {missing:?}");
        let names = [
            "app",
            "blue",
            "green",
            "X-Version",
            "Accept",
            "X-Client",
            "X-Probe",
            "X-Tenant",
            "debug",
            "format",
            "Content-Type",
            "X-User-Id",
            "X-User-Roles",
            "tenant",
            "plan",
            "sub",
            "groups",
        ];
        let undescribed: Vec<_> = shown.difference(&described).filter(|key| !names.contains(&key.as_str())).collect();
        assert!(undescribed.is_empty(), "not in the schema: {undescribed:?}");
    }

    #[test]
    fn ranges_and_homes_of_keys_are_known() {
        let retries = Place::new("routes").index(7).key("retry_count");
        assert_eq!(range(&retries).as_deref(), Some("0 to 10"));
        let statuses = Place::new("services").key("a").key("circuit_breaker").key("failure_statuses").index(0);
        assert_eq!(range(&statuses).as_deref(), Some("400 to 599"));
        assert_eq!(range(&Place::new("threads")).as_deref(), Some("1 to 1024"));
        let share = Place::new("services").key("a").key("retry_budget").key("share");
        assert_eq!(range(&share).as_deref(), Some("0 to 1"));
        assert_eq!(range(&Place::new("routes").index(0).key("name")), None);
        assert_eq!(homes("health_check"), ["services.NAME"]);
        assert_eq!(homes("target_service"), ["routes[]"]);
        assert_eq!(homes("rate_limits"), ["", "routes[]", "auth.api_keys.keys[]"]);
        assert_eq!(homes("client_auth"), ["listen[].tls"]);
        assert_eq!(homes("upstreams"), [""; 0]);
    }

    /// To renew both files: `UPDATE_SCHEMA=1 cargo test --workspace --lib schema`.
    #[test]
    fn the_schema_file_and_the_reference_are_current() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let made =
            [("conf/gatekeeper.schema.json", format!("{:#}\n", schema())), ("docs/reference.md", reference(&schema()))];
        for (name, current) in made {
            let path = root.join(name);
            if std::env::var_os("UPDATE_SCHEMA").is_some() {
                std::fs::write(&path, &current).unwrap();
            }
            assert!(std::fs::read_to_string(path).unwrap() == current, "{name} is old");
        }
        assert_eq!(schema()["title"], "gatekeeper configuration");
    }
}
