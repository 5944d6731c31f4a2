//! Paths of files: a relative one is relative to the folder of the file that names it, wherever the gateway is started.

use std::path::Path;

use super::node::Node;

/// Where paths stand: keys, `[]` for each entry of a list, `*` for each value of a map. A test compares them with the schema.
const PATHS: [&[&str]; 12] = [
    &["access_log", "to"],
    &["acme_webroot"],
    &["auth", "ca"],
    &["auth", "jwt", "[]", "jwks_file"],
    &["auth", "jwt", "[]", "public_key"],
    &["listen", "[]", "tls", "certificates", "[]", "cert"],
    &["listen", "[]", "tls", "certificates", "[]", "key"],
    &["listen", "[]", "tls", "client_auth", "ca"],
    &["services", "*", "tls", "ca"],
    &["services", "*", "tls", "client_certificate"],
    &["services", "*", "tls", "client_key"],
    &["state_dir"],
];

/// Texts that may stand in the place of a path: where the access log goes, and a key that is written out.
fn is_no_path(text: &str) -> bool {
    matches!(text, "" | "stdout" | "off") || text.contains('\n') || text.contains("-----BEGIN")
}

/// Makes the paths of a file's tree relative to its folder.
pub fn resolve(file: &mut Node, folder: &Path) {
    if folder.as_os_str().is_empty() {
        return;
    }
    for place in PATHS {
        at_each(file, place, &mut |text| {
            if !is_no_path(text) {
                *text = folder.join(&*text).to_string_lossy().into_owned();
            }
        });
    }
}

fn at_each(node: &mut Node, place: &[&str], change: &mut impl FnMut(&mut String)) {
    match (place, node) {
        ([], Node::Text(text)) => change(&mut text.text),
        (["[]", rest @ ..], Node::List(list)) => list.iter_mut().for_each(|node| at_each(node, rest, change)),
        (["*", rest @ ..], Node::Map(map)) => map.iter_mut().for_each(|(_, node)| at_each(node, rest, change)),
        ([key, rest @ ..], Node::Map(map)) => {
            if let Some(node) = map.get_mut(key) {
                at_each(node, rest, change);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::{load, schema};

    #[test]
    fn a_path_is_relative_to_the_file_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("conf.d")).unwrap();
        let text = "version: 1\nstate_dir: state\nacme_webroot: /srv/acme\naccess_log: { to: stdout }\n\
                    listen: [{ address: \"127.0.0.1:0\", tls: { certificates: [{ cert: a.pem, key: ../a.key }] } }]\n\
                    auth: { jwt: [{ algorithms: [RS256], jwks_file: keys.json }] }\n";
        std::fs::write(folder.path().join("gatekeeper.yaml"), text).unwrap();
        let part = "services: { app: { targets: [\"https://x\"], tls: { ca: ca.pem } } }\n";
        std::fs::write(folder.path().join("conf.d/app.yaml"), part).unwrap();
        let config = load::load(&folder.path().join("gatekeeper.yaml")).0.unwrap().config;
        let at = |path: &str| Some(folder.path().join(path).display().to_string());
        assert_eq!(config.state_dir, at("state"));
        assert_eq!(config.acme_webroot.as_deref(), Some("/srv/acme"));
        assert_eq!(config.access_log.to, "stdout");
        let pair = &config.listen[0].tls.as_ref().unwrap().certificates[0];
        assert_eq!((Some(pair.cert.clone()), Some(pair.key.clone())), (at("a.pem"), at("../a.key")));
        assert_eq!(config.auth.unwrap().jwt[0].jwks_file, at("keys.json"));
        assert_eq!(config.services["app"].tls.as_ref().unwrap().ca, at("conf.d/ca.pem"));
    }

    #[test]
    fn every_setting_that_the_schema_calls_a_path_is_known() {
        let schema = schema::schema();
        let mut found = BTreeSet::new();
        collect(&schema, &schema, &mut Vec::new(), &mut found);
        let known: BTreeSet<_> = PATHS.iter().map(|place| place.join(".")).collect();
        assert_eq!(found, known);
    }

    fn collect(schema: &Value, root: &Value, place: &mut Vec<String>, found: &mut BTreeSet<String>) {
        if schema["format"] == "path" {
            found.insert(place.join("."));
        }
        if let Some(name) = schema["$ref"].as_str() {
            collect(root.pointer(&name[1..]).unwrap(), root, place, found);
        }
        for form in ["anyOf", "oneOf", "allOf"].iter().filter_map(|form| schema[*form].as_array()).flatten() {
            collect(form, root, place, found);
        }
        let properties = schema["properties"].as_object().into_iter().flatten();
        let steps = properties.map(|(key, inner)| (key.as_str(), inner));
        for (step, inner) in steps.chain([("[]", &schema["items"]), ("*", &schema["additionalProperties"])]) {
            // Conditions of access may hold conditions.
            if inner.is_object() && place.len() < 8 {
                place.push(step.to_owned());
                collect(inner, root, place, found);
                place.pop();
            }
        }
    }
}
