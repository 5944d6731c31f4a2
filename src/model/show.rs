//! The effective configuration: defaults filled in, secrets masked.
//!
//! What is secret by its type (`secret`) never gets here. Two kinds of secrets have no type, since they may be written
//! anywhere: the value of a variable that is secret (`origin`), and a password of a URL in a text.

use std::borrow::Cow;

use serde_json::Value;

use super::load::Loaded;
use super::mask::{MASK, mask_passwords};
use super::place::{Place, Step};
use super::yaml;

/// The effective configuration as YAML.
pub fn effective(loaded: &Loaded) -> String {
    yaml::write(&effective_json(loaded))
}

/// The effective configuration as JSON.
pub fn effective_json(loaded: &Loaded) -> Value {
    // The model has text keys only: turning it into JSON does not fail.
    let mut value = serde_json::to_value(&loaded.config).unwrap_or_default();
    mask_urls(&mut value);
    for place in loaded.origins.secrets() {
        if let Some(secret) = at(&mut value, place) {
            *secret = MASK.into();
        }
    }
    value
}

/// A value as YAML.
pub fn yaml(value: &Value) -> String {
    yaml::write(value)
}

fn at<'v>(value: &'v mut Value, place: &Place<'_>) -> Option<&'v mut Value> {
    place.steps.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key.as_ref()),
        Step::Index(index) => value.get_mut(*index),
        Step::At(..) => None,
    })
}

/// Masks the passwords of URLs in all texts.
pub(super) fn mask_urls(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(masked) = mask_passwords(text) {
                *text = masked;
            }
        }
        Value::Array(list) => list.iter_mut().for_each(mask_urls),
        Value::Object(map) => map.values_mut().for_each(mask_urls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, parse, parse_with};

    #[test]
    fn the_effective_configuration_has_defaults_and_no_secrets() {
        let text = "version: 1\nstate_dir: ${API_KEY}\nservices: { a: { targets: [5, \"http://u:pw@h\", \"http://${DB_PASSWORD}\"] } }\n";
        let (loaded, _) = parse_with(text, &|name| Some(format!("hidden-{name}")));
        let shown = effective(&loaded.unwrap());
        assert!(shown.starts_with("version: 1\nlisten:\n- address: 127.0.0.1:8000\n  h2c: false\n"), "{shown}");
        assert!(shown.contains("state_dir: '***'\n") && shown.contains("grace: 30s\n"), "{shown}");
        assert!(shown.contains("    - http://u:***@h\n    - '***'\n"), "{shown}");
        assert!(!shown.contains("hidden") && !shown.contains("pw"), "{shown}");
    }

    #[test]
    fn what_is_secret_by_its_type_is_masked_wherever_it_was_written() {
        let text = "
version: 1
services:
  a: { targets: [\"http://u:hidden@h\", { url: \"http://u:hidden@h\" }], health_check: { path: \"/h?key=hidden\", headers: { Authorization: Bearer hidden } } }
auth:
  jwt: [{ secret: hidden-hidden-hidden-hidden-hidden }, { issuer: i, jwks_url: \"https://i.test/keys?key=hidden\" }]
  introspection: { url: \"https://u:hidden@i.test/?key=hidden\", client_id: c, client_secret: hidden }
  forward: { url: \"https://f.test/?hidden\" }
routes: [{ name: a, path_pattern: /a, target_url: \"http://u:hidden@h\" }]
";
        let (loaded, faults) = parse(text);
        assert_eq!(faults.to_string(), "");
        let loaded = loaded.unwrap();
        let shown = effective(&loaded);
        assert!(!shown.contains("hidden") && !format!("{:?}", loaded.config).contains("hidden"), "{shown}");
        assert!(shown.contains("https://i.test/keys?key=***") && shown.contains("/h?key=***"), "{shown}");
        assert_eq!(loaded.config.auth.unwrap().jwt[1].jwks_url.as_deref(), Some("https://i.test/keys?key=hidden"));
    }

    #[test]
    fn a_fault_that_quotes_a_piece_of_a_text_hides_the_secret_in_it() {
        let (_, mut faults) = parse_with("version: 1\nstate_dir: /a/{x${API_KEY}}/b\n", &|_| Some("hidden".into()));
        faults.add(Fault::saying(Place::new("state_dir"), "`{xhidden}` is not a name"));
        assert_eq!(faults.to_string(), "state_dir: `{x***}` is not a name\n");
    }

    #[test]
    fn what_is_shown_can_be_loaded_again() {
        let (loaded, _) = parse(crate::ANNOTATED_DEFAULT);
        let shown = effective(&loaded.unwrap());
        let (again, faults) = parse(&shown);
        assert_eq!(faults.to_string(), "");
        assert_eq!(effective(&again.unwrap()), shown);
    }
}
