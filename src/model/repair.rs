//! Every fault of a tree in one run: decode, report what is wrong, take it out, decode again.
//!
//! serde stops at the first error. So the error says where it happened, what stands there is reported and pruned, and
//! the value is decoded again, until it succeeds or nothing is left. A required key that is missing is replaced by
//! `Node::Any`, which plays along as whatever is wanted; its map is pruned silently at the end, so that one run finds
//! the other faults of the map too. Work is bounded: every round reports a fault or prunes a node, and a full collector
//! ends it. Known inaccuracy: below a missing required value nothing is looked at, since nothing is there.

use serde::de::DeserializeOwned;

use super::decode::{BOOLEAN, Decoder, Error, Kind, Path};
use super::fault::{Fault, Faults};
use super::node::Node;
use super::place::{Place, Step};
use super::schema;
use super::size::{SIZE_FORMS, size_meant};
use super::tree::MERGE;
use super::value::{PERIOD_FORMS, period_meant};
use super::words::{did_you_mean, nearest, quoted};

/// Decodes what stands at `place`; what is faulty in it is reported and pruned.
pub fn decode<T: DeserializeOwned>(node: &mut Node, place: &Place<'_>, faults: &mut Faults) -> Option<T> {
    let mut doomed: Vec<Path> = Vec::new();
    while !node.is_gone() {
        if faults.is_full() {
            faults.give_up();
            return None;
        }
        match T::deserialize(Decoder { node }) {
            Ok(value) if doomed.is_empty() => return Some(value),
            Ok(_) => doomed.drain(..).for_each(|path| node.prune(&path)),
            Err(error) => repair(node, error, place, faults, &mut doomed),
        }
    }
    None
}

/// Changes the tree so that the same error does not happen again, and reports it if its cause is not reported yet.
fn repair(root: &mut Node, error: Error, place: &Place<'_>, faults: &mut Faults, doomed: &mut Vec<Path>) {
    let Error { kind, mut path } = error;
    path.reverse();
    let shown = |path: &[Step<'static>]| path.iter().fold(place.clone(), |place, step| place.then(step.clone()));
    match (kind, root.at(&path)) {
        (_, None) => root.prune(&[]),
        (_, Some(Node::Any)) => {
            path.pop();
            root.prune(&path);
        }
        (Kind::Missing(key), Some(Node::Map(map))) => {
            let found = map.insert(key, Node::Any);
            if !matches!(found, Some(Node::Gone(_))) {
                faults.add(Fault::saying(shown(&path).key(key), "missing").with_hint("this key is required"));
            }
            doomed.push(path);
        }
        (Kind::Unknown(key, allowed), Some(_)) => {
            let meant = nearest(&key, allowed.iter().copied());
            let home = meant.is_none().then(|| belongs(&key)).flatten();
            let home =
                if key == MERGE { Some(format!("{MERGE} takes in a map or a list of maps: *name")) } else { home };
            let others = || home.unwrap_or_else(|| format!("allowed here: {}", allowed.join(", ")));
            let hint = meant.map_or_else(others, |meant| format!("did you mean {}?", quoted(meant)));
            faults.add(Fault::saying(shown(&path), "unknown key").with_hint(hint));
            root.prune(&path);
            path.pop();
            // What was meant is not worth a "missing" of its own.
            if let (Some(meant), Some(Node::Map(map))) = (meant, root.at(&path)) {
                map.insert_new(meant, Node::Gone(None));
            }
        }
        (Kind::Wrong(_), Some(Node::Map(map))) if !map.is_empty() && map.iter().all(|(_, node)| node.is_gone()) => {
            root.prune(&path)
        }
        (Kind::Missing(key), Some(node)) => report(node, shown(&path), format!("a map with {key}"), faults),
        (Kind::Wrong(allowed), Some(node)) => {
            let place = shown(&path);
            let range = allowed.contains("number").then(|| schema::range(&place)).flatten();
            report(node, place, range.unwrap_or(allowed), faults);
        }
        (Kind::Variant(allowed), Some(node)) => {
            let hint = match node {
                Node::Text(text) if !text.is_secret() => did_you_mean(&text.text, allowed.iter().copied()),
                _ => None,
            };
            let fault = Fault::new(shown(&path), node.describe(), allowed.join(", "));
            faults.add(fault.with_hint(hint.unwrap_or_default()));
            *node = Node::Gone(None);
        }
    }
}

fn report(node: &mut Node, place: Place<'_>, allowed: String, faults: &mut Faults) {
    let hint = advice(node, &allowed);
    faults.add(Fault::new(place, node.describe(), allowed).with_hint(hint));
    *node = Node::Gone(None);
}

/// Where a key belongs that is unknown where it stands, unless that is in many places.
fn belongs(key: &str) -> Option<String> {
    let homes = schema::homes(key);
    let homes = homes.iter().map(|home| if home.is_empty() { "the top level of the file" } else { home.as_str() });
    let homes: Vec<&str> = homes.collect();
    (1..=3).contains(&homes.len()).then(|| format!("{key} belongs to {}", homes.join(" or ")))
}

/// How to write what was probably meant.
fn advice(node: &Node, allowed: &str) -> String {
    match node {
        Node::Text(text) if text.is_secret() => String::new(),
        Node::Bool(_) | Node::Unsigned(_) | Node::Signed(_) | Node::Float(_) if allowed.starts_with("a text") => {
            "put it in quotes".into()
        }
        Node::Map(map) if allowed.starts_with("a text") && map.iter().all(|(_, value)| *value == Node::Null) => {
            let keys: Vec<&str> = map.iter().map(|(key, _)| key).collect();
            format!("a text with braces needs quotes: \"{{{}}}\"", keys.join(", "))
        }
        Node::Text(text) if allowed.starts_with("a list") => as_list(&text.text),
        Node::List(_) if allowed == "a map" => "write `NAME:` before each entry, instead of `- `".into(),
        Node::Map(_) if allowed == "a list" => "write `- ` before each entry".into(),
        Node::Text(text) if allowed == PERIOD_FORMS => {
            period_meant(&text.text).map(|period| format!("did you mean {period}?")).unwrap_or_default()
        }
        Node::Text(text) if allowed == SIZE_FORMS => {
            size_meant(&text.text).map(|size| format!("did you mean {size}?")).unwrap_or_default()
        }
        Node::Text(text) if allowed == BOOLEAN => did_you_mean_boolean(&text.text),
        Node::Text(text) if text.from.is_none() && text.text.parse::<f64>().is_ok() => "write it without quotes".into(),
        _ => String::new(),
    }
}

fn as_list(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/.-_, ".contains(c);
    match text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/') && text.chars().all(plain) {
        true => format!("write [{text}]"),
        false => format!("write [{}]", quoted(text)),
    }
}

fn did_you_mean_boolean(text: &str) -> String {
    match text.to_ascii_lowercase().as_str() {
        "true" | "false" => format!("write {} without quotes", text.to_ascii_lowercase()),
        "yes" | "on" | "y" => "did you mean true?".into(),
        "no" | "off" | "n" => "did you mean false?".into(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::{parse, parse_with};

    const MISTAKES: &str = r#"
version: 2
listen:
  - address: 0.0.0.0:8000
    h2c: maybe
  - adress: 0.0.0.0:8080
threads: "8"
log_level: inf
drain: { grace: 30 seconds }
trusted_proxies: 10.0.0.0/8
compresion: { enabled: true }
upstream_pool: { size: -1, idle_timeout: 0 }
access_log: { format: xml }
services:
  content:
    targets: [http://10.0.0.5:8003, { url: http://10.0.0.6:8003, wieght: 2 }, 8004]
  users: [http://10.0.0.7]
  ai:
    protocol: h2
routes:
  - name: content
    path_pattern: /content/*
    metods: [GET]
    target_service: content
  - name: users
    headers: { X-Version: 2, Accept: { contain: json }, X-A: { prefix: a, regex: b }, X-B: {} }
    priority: high
    is_active: no
  - name: content
    path_pattern: /x
  - just a text
  - { name: r, path_pattern: /r, respond: { status: 99999 }, timeout: "${TIMEOUT}" }
tests:
  - request: GET /content/1
    expect: { rout: content }
"#;

    const REPORT: &str = r#"access_log.format: found "xml", allowed: json, combined
compresion: unknown key; did you mean "compression"?
drain.grace: found "30 seconds", allowed: a number of seconds, or a time such as 250ms, 30s, 5m, 1h or 30d; more than 0, at most 36500d; did you mean 30s?
listen[0].h2c: found "maybe", allowed: true or false
listen[1].adress: unknown key; did you mean "address"?
log_level: found "inf", allowed: off, error, warn, info, debug, trace; did you mean "info"?
routes[0].metods: unknown key; did you mean "methods"?
routes[1].headers.Accept.contain: unknown key; did you mean "contains"?
routes[1].headers.X-A: found a map with prefix, regex, allowed: only one of them
routes[1].headers.X-B: found an empty map, allowed: a map with one key
routes[1].headers.X-Version: found 2, allowed: a text it must equal, or a map with one of one_of, prefix, contains, regex, present; put it in quotes
routes[1].is_active: found "no", allowed: true or false; did you mean false?
routes[1].path_pattern: missing; this key is required
routes[1].priority: found "high", allowed: a whole number from -2147483648 to 2147483647
routes[2].name: the route name "content" is used twice; first at routes[0]
routes[3]: found "just a text", allowed: a map with name, path_pattern, hosts, listeners, methods, headers, query, priority, is_active, target_service, target_url, split, …
routes[4].respond.status: found 99999, allowed: 200 to 599
routes[4].timeout: the environment variable TIMEOUT is not set; set it, or give a default: ${TIMEOUT:-default}
services.ai.targets: missing; this key is required
services.content.targets[1].wieght: unknown key; did you mean "weight"?
services.content.targets[2]: found 8004, allowed: a text such as http://10.0.0.5:8003, or a map with url, weight, max_in_flight; put it in quotes
services.users: found a list, allowed: a map with targets, protocol, tls, idle_timeout, load_balancing, slow_start, health_check, circuit_breaker, ejection, retry_budget, max_in_flight, queue, …
tests[0].expect.rout: unknown key; did you mean "route"?
threads: found "8", allowed: 1 to 1024; write it without quotes
trusted_proxies: found "10.0.0.0/8", allowed: a list; write [10.0.0.0/8]
upstream_pool.idle_timeout: found 0, allowed: a number of seconds, or a time such as 250ms, 30s, 5m, 1h or 30d; more than 0, at most 36500d
upstream_pool.size: found -1, allowed: 1 to 1000000
version: found 2, allowed: 1
"#;

    /// What a person sees who makes every mistake at once, and what is left of the configuration.
    #[test]
    fn all_mistakes_are_reported_in_one_run() {
        let (loaded, faults) = parse(MISTAKES);
        assert_eq!(faults.to_string(), REPORT);
        let config = loaded.unwrap().config;
        assert_eq!(config.routes.iter().map(|route| route.name.as_str()).collect::<Vec<_>>(), ["content", "r"]);
        assert_eq!(config.services["content"].targets.len(), 2);
    }

    #[test]
    fn every_missing_key_of_a_map_is_reported() {
        let (_, faults) = parse("version: 1\nroutes: [{}]\ntests: [{ request: }]\n");
        let expected = "routes[0].path_pattern: missing; this key is required\n\
                        tests[0].expect: missing; this key is required\n\
                        tests[0].request: missing; this key is required\n";
        assert_eq!(faults.to_string(), expected);
    }

    #[test]
    fn a_reported_cause_is_not_reported_again() {
        let text =
            "version: 1\nroutes: [{ name: a, path_pattern: /, split: { services: [{ service: 1 }], sticky_by: [] } }]";
        let (loaded, faults) = parse(text);
        let expected = "routes[0].split.services[0].service: found 1, allowed: a text; put it in quotes\n\
                        routes[0].split.sticky_by: found an empty list, allowed: a text\n";
        assert_eq!(faults.to_string(), expected);
        assert!(loaded.unwrap().config.routes[0].split.as_ref().unwrap().services.is_empty());
    }

    #[test]
    fn an_empty_key_of_a_struct_is_as_if_not_written() {
        let (loaded, faults) = parse("version: 1\nroutes:\nadmin:\nthreads: ~\nlisten:\n");
        assert_eq!(faults.to_string(), "");
        assert_eq!(loaded.unwrap().config.listen.len(), 1);
        let (_, faults) = parse("version: 1\nservices: { a: }\nnonsense:\nroutes: [~]\n");
        let shown = faults.to_string();
        assert!(shown.contains("services.a: found nothing, allowed: a map with targets"), "{shown}");
        assert!(
            shown.contains("nonsense: unknown key; allowed here: version, listen, ") && faults.len() == 3,
            "{shown}"
        );
    }

    #[test]
    fn what_was_filled_in_counts_as_what_is_wanted() {
        let env =
            |name: &str| [("N", "8"), ("T", "True"), ("X", "eight")].iter().find(|e| e.0 == name).map(|e| e.1.into());
        let text = "version: ${V:-1}\nthreads: ${N}\ndrain:\n  grace: ${N}\nlisten: [{ address: \"${N}\", h2c: \"${T}\" }]\nstate_dir: ${S:-null}\n";
        let (loaded, faults) = parse_with(text, &env);
        assert_eq!(faults.to_string(), "");
        let config = loaded.unwrap().config;
        assert_eq!((config.threads, config.drain.grace.0.as_secs(), config.listen[0].h2c.0), (Some(8), 8, true));
        assert_eq!((config.listen[0].address.as_str(), config.state_dir), ("8", None));
        let (_, faults) = parse_with("version: 1\nthreads: ${X}\npaths: { merge_slashes: \"true\" }", &env);
        let expected = "paths.merge_slashes: found \"true\", allowed: true or false; write true without quotes\n\
                        threads: found \"eight\" (from ${X}), allowed: 1 to 1024\n";
        assert_eq!(faults.to_string(), expected);
    }

    #[test]
    fn the_work_ends_at_a_hundred_faults() {
        let text = format!("version: 1\ntrusted_proxies: [{}]", "1,".repeat(5000));
        let (loaded, faults) = parse(&text);
        assert!(loaded.is_none() && faults.to_string().ends_with("reading stopped at 100 faults\n"));
    }

    #[test]
    fn nothing_but_rubble_gives_faults_and_no_configuration() {
        for text in
            ["", "# nothing", "---", "~", "[]", "just text", "5", "version: 1\n---\nversion: 1", "!x y", "{[a]: 1}"]
        {
            let (_, faults) = parse(text);
            assert!(!faults.is_empty(), "{text}");
        }
    }
}
