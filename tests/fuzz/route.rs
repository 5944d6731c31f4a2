//! Paths, path patterns, hosts, templates and conditions against slow and obvious models.

use std::borrow::Cow;

use gatekeeper_core::route::path::{canonicalise, canonicalise_derived, strip_prefix};
use gatekeeper_core::route::{HeaderCondition, HostPattern, PathPattern, QueryCondition, Template, canonical_host};
use gatekeeper_model::raw::{Condition, ConditionForm};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Verdict;
use super::runner::outcome;
use crate::demand;

pub const PATH_WORDS: &[&str] = &[
    "/", "//", "/./", "/../", "/..", "%2e", "%2E%2e", "%2f", "%5C", "%00", "%25", "%7e", "%41", "%c3%A9", ";", "..;",
    "/;", "a",
];
pub const PATTERN_WORDS: &[&str] =
    &["/", "/*", "/*/", "{id}", "{", "}", "{*}", "/a", "/{a_1}", "%7E", "%2f", "/\n/", "\n", "a", "b", "{host}"];
pub const HOST_WORDS: &[&str] = &[
    "a",
    "A.",
    "example.org",
    "*.",
    "[::1]",
    "[",
    "]",
    ":80",
    ":",
    ".",
    "..",
    "::ffff:1.2.3.4",
    "xn--",
    "_",
    "\n",
    "@",
];
pub const CONDITION_WORDS: &[&str] = &[
    "one_of", "prefix", "contains", "present", "absent", "regex", "\n", "a", "q=", "&", "%61", "+", "%", "[a-z]*", "|",
];

const FORMS: [&str; 6] = ["one_of", "prefix", "contains", "regex", "present", "absent"];

/// A whole number of lines, and what follows the last.
fn lines<const N: usize>(input: &[u8]) -> Option<[&str; N]> {
    let text = std::str::from_utf8(input).ok()?;
    text.splitn(N, '\n').collect::<Vec<_>>().try_into().ok()
}

pub fn check_path(input: &[u8]) -> Verdict {
    let mut seen = Vec::new();
    for merge in [true, false] {
        let found = canonicalise(input, merge);
        demand!(found.as_deref().ok() == model_path(input, merge).as_deref(), "merge {merge}: {found:?} by the model");
        if let Ok(once) = &found {
            check_canonical(once, merge)?;
        }
        seen.push(found.map(|path| (path == String::from_utf8_lossy(input), path.matches('%').count().min(3))));
    }
    let derived = std::str::from_utf8(input).map(|text| canonicalise_derived(text, true));
    if let Ok(Ok(path)) = &derived {
        check_canonical(path, true)?;
        demand!(canonicalise(input, true).as_ref() == Ok(path), "derived: {path}");
    }
    Ok(outcome((seen, derived.map(|found| found.is_ok()).ok())))
}

fn check_canonical(path: &str, merge: bool) -> Result<(), String> {
    let again = canonicalise(path.as_bytes(), merge);
    demand!(matches!(&again, Ok(Cow::Borrowed(same)) if *same == path), "{path:?} again: {again:?}");
    let derived = canonicalise_derived(path, merge);
    demand!(matches!(&derived, Ok(Cow::Borrowed(same)) if *same == path), "{path:?} derived: {derived:?}");
    demand!(path.starts_with('/') && !path.split('/').any(|part| part == "." || part == ".."), "{path:?}");
    demand!(!merge || !path.contains("//"), "slashes in {path:?}");
    demand!(path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\#?\"<>".contains(&byte)), "{path:?}");
    demand!(!path.contains("%00"), "{path:?}");
    for (end, _) in path.match_indices('/') {
        let expected = &path[end..];
        let prefix = &path[..end];
        let doubled = prefix.ends_with('/');
        demand!(doubled || strip_prefix(path, prefix) == Some(expected), "{path:?} without {prefix:?}");
    }
    Ok(())
}

/// SEMANTICS 1.2 and 1.3, one after the other.
fn model_path(raw: &[u8], merge: bool) -> Option<String> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let (mut text, mut rest) = (String::new(), raw);
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
            let byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok().filter(|byte| *byte != 0)?;
            text += &if unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
            rest = &after[2..];
        } else if unreserved(*first) || b"!$&'()*+,;=:@/".contains(first) {
            text.push(char::from(*first));
        } else {
            return None;
        }
    }
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = text.strip_prefix('/')?.split('/').collect();
    for (number, segment) in segments.iter().enumerate() {
        match segment.split_once(';') {
            Some((".." | ".", _)) => return None,
            Some(("", _)) if number + 1 < segments.len() => return None,
            _ => {}
        }
        match *segment {
            "." => {}
            ".." => drop(kept.pop()?),
            other => kept.push(other),
        }
        if matches!(*segment, "." | "..") && number + 1 == segments.len() {
            kept.push("");
        }
    }
    let mut path = format!("/{}", kept.join("/"));
    while merge && path.contains("//") {
        path = path.replace("//", "/");
    }
    Some(path)
}

/// A pattern, and a path.
pub fn check_pattern(input: &[u8]) -> Verdict {
    let Some([text, path]) = lines(input) else { return Ok(0) };
    let pattern = match PathPattern::parse(text) {
        Ok(pattern) => pattern,
        Err(why) => {
            demand!(!why.is_empty() && !why.ends_with(' '), "no reason");
            return Ok(outcome(why.rsplit('`').next()));
        }
    };
    let shown = pattern.to_string();
    let again = PathPattern::parse(&shown);
    demand!(
        again.as_ref() == Ok(&pattern) && again.is_ok_and(|a| a.to_string() == shown),
        "{shown:?} is not read again"
    );
    let Ok(path) = canonicalise(path.as_bytes(), false) else { return Ok(1) };
    if !shown.contains(';') && pattern.matches(&path) {
        let served = served_by_a_container(&path);
        demand!(pattern.matches(&served), "{shown} {path}: a servlet container serves {served}");
    }
    let captures = pattern.captures(&path);
    let matches = pattern.matches(&path);
    demand!(matches == captures.is_some(), "{shown} {path}: matches {matches}, but captures");
    demand!(matches == model_matches(&shown, &path), "{shown} {path}: {matches}, but not by the model");
    if let Some(captures) = captures {
        let rest = captures.get("*");
        demand!(
            rest.is_some() == pattern.offers("*") && rest.is_none_or(|rest| path.ends_with(rest)),
            "{shown} {path}"
        );
        for (wanted, segment) in shown.split('/').zip(path.split('/')) {
            let name = wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
            demand!(name.is_none_or(|name| captures.get(name) == Some(segment)), "{shown} {path}: {name:?}");
        }
    }
    let kind = |wanted: &str| wanted.as_bytes().first().copied().filter(|first| b"*{".contains(first));
    Ok(outcome((matches, shown.split('/').take(5).map(kind).collect::<Vec<_>>())))
}

/// What a servlet container serves: parameters are cut off first, then slashes are merged and dots resolved.
fn served_by_a_container(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> =
        path.split('/').skip(1).map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    for (number, segment) in segments.iter().enumerate() {
        match *segment {
            ".." => drop(kept.pop()),
            "" | "." if number + 1 < segments.len() => {}
            name => kept.push(name),
        }
    }
    format!("/{}", kept.join("/"))
}

fn model_matches(pattern: &str, path: &str) -> bool {
    let parts = |text: &str| text.split('/').map(String::from).collect::<Vec<_>>();
    let (wanted, is_prefix) = pattern.strip_suffix("/*").map_or((pattern, false), |prefix| (prefix, true));
    let (wanted, segments) = (parts(wanted), parts(path));
    let is_long_enough = segments.len() == wanted.len() || is_prefix && segments.len() > wanted.len();
    let fits = |(want, segment): (&String, &String)| match want.as_bytes().first() {
        Some(b'*' | b'{') => !segment.is_empty() && !segment.starts_with(';'),
        _ => want == segment,
    };
    is_long_enough && wanted.iter().zip(&segments).all(fits)
}

/// A host pattern, and a host.
pub fn check_host(input: &[u8]) -> Verdict {
    let Some([text, raw]) = lines(input) else { return Ok(0) };
    let found = canonical_host(raw);
    let Ok(host) = &found else { return Ok(outcome(found.err())) };
    demand!(canonical_host(host).as_deref() == Ok(host), "{host:?} is not canonical");
    demand!(canonical_host(&format!("{host}:65535")).as_deref() == Ok(host), "{host:?} with a port");
    let upper = host.to_ascii_uppercase();
    demand!(canonical_host(&upper).as_deref() == Ok(host), "{upper:?}");
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_[:]".contains(&byte);
    demand!(host.bytes().all(allowed) && !host.contains("..") && !host.ends_with('.'), "{host:?}");
    let pattern = match HostPattern::parse(text) {
        Ok(pattern) => pattern,
        Err(_) => return Ok(1),
    };
    let shown = pattern.to_string();
    demand!(HostPattern::parse(&shown).as_ref() == Ok(&pattern), "{shown:?} is not read again");
    let (labels, suffix): (Vec<_>, Vec<_>) = (host.split('.').collect(), shown.split('.').collect());
    let model = match suffix[0] {
        "*" => labels.len() >= suffix.len() && labels.ends_with(&suffix[1..]),
        _ => **host == *shown,
    };
    demand!(pattern.matches(host) == model, "{shown} {host}: not by the model");
    Ok(outcome((model, suffix[0] == "*", host.starts_with('['), labels.len().min(4))))
}

pub fn check_template(input: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(0) };
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(why) => return Ok(outcome(why.rsplit('`').next())),
    };
    demand!(template.to_string() == text, "written as {template}");
    let names: Vec<&str> = template.names().collect();
    let shown = |value| names.iter().fold(text.to_owned(), |text, name| text.replace(&format!("{{{name}}}"), value));
    demand!(template.expand(|_| None) == shown(""), "with nothing");
    demand!(template.expand(|_| Some("x/%41")) == shown("x/%41"), "with values");
    let joined = shown("\0").split('\0').map(String::from).reduce(|joined, next| {
        let slash = if joined.ends_with('/') { "" } else { "/" };
        joined + slash + &next
    });
    demand!(text.contains('\0') || joined == Some(template.expand(|_| Some("/"))), "joined: {joined:?}");
    Ok(outcome((names.len().min(4), text.starts_with('{'), text.ends_with('}'))))
}

/// The form of a condition, its value, and a query or header's value.
pub fn check_condition(input: &[u8]) -> Verdict {
    let Some([form, value, given]) = lines(input) else { return Ok(0) };
    let value = value.to_owned();
    let form = FORMS.into_iter().find(|known| *known == form).unwrap_or("equals");
    let condition = match form {
        "one_of" => Condition::Form(ConditionForm::OneOf(value.split(',').map(String::from).collect())),
        "prefix" => Condition::Form(ConditionForm::Prefix(value.clone())),
        "contains" => Condition::Form(ConditionForm::Contains(value.clone())),
        "regex" => Condition::Form(ConditionForm::Regex(value.clone())),
        "present" => Condition::Form(ConditionForm::Present(true)),
        "absent" => Condition::Form(ConditionForm::Present(false)),
        _ => Condition::Equals(value.clone()),
    };
    let (query, header) = (QueryCondition::compile("q", &condition), HeaderCondition::compile("q", &condition));
    demand!(query.is_ok() == header.is_ok(), "{query:?}, but {header:?}");
    let (Ok(query), Ok(header)) = (query, header) else { return Ok(outcome(form)) };
    let values = model_values(given);
    let expected = values.iter().any(|given| model_holds(form, &value, given)) || form == "absent" && values.is_empty();
    let holds = query.holds(Some(given));
    demand!(form == "regex" || holds == expected, "a query: {holds}, but not by the model");
    if let Ok(field) = HeaderValue::from_bytes(given.as_bytes()) {
        let fields = HeaderMap::from_iter([(HeaderName::from_static("q"), field)]);
        let expected = model_holds(form, &value, given.as_bytes());
        demand!(form == "regex" || header.holds(&fields) == expected, "a header: not {expected}");
    }
    demand!(form == "absent" || !query.holds(None) && !header.holds(&HeaderMap::new()), "nothing is something");
    Ok(outcome((form, holds, values.len().min(3))))
}

/// The values of `q` in a query.
fn model_values(query: &str) -> Vec<Vec<u8>> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| (decode(name), decode(value))).filter(|(n, _)| n == b"q").map(|(_, v)| v).collect()
}

fn decode(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let digits = text.as_bytes().get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        match (text.as_bytes()[at], digits) {
            (b'%', Some(digits)) => {
                out.push(u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    out
}

fn model_holds(form: &str, wanted: &str, given: &[u8]) -> bool {
    match form {
        "one_of" => wanted.split(',').any(|one| one.as_bytes() == given),
        "prefix" => given.starts_with(wanted.as_bytes()),
        "contains" => (0..given.len()).any(|at| given[at..].starts_with(wanted.as_bytes())),
        "present" => true,
        "absent" | "regex" => false,
        _ => wanted.as_bytes() == given,
    }
}
