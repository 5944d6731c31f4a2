//! The JSON Schema of the configuration file, for editors: made from the types of `model` and their comments.
//!
//! Known inaccuracy: it allows `${…}` only where a text or a period stands; elsewhere an editor may mark it.

use schemars::schema_for;

use crate::raw::Config;

#[cfg(test)]
mod reference;

/// The schema.
pub fn schema() -> serde_json::Value {
    schema_for!(Config).to_value()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

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
