//! Routes against a slow model of a servlet container: it cuts the parameters off each segment first (`..;x` is `..` to it),
//! then merges slashes and resolves dots. What it serves must be what was matched, whatever a request's path is.

use proptest::prelude::*;

use super::path::{canonicalise, canonicalise_derived, strip_prefix};
use super::*;

/// The path that a container serves; `None` above the root.
fn served(path: &str) -> Option<String> {
    let mut kept = Vec::new();
    let mut is_folder = false;
    for segment in path.split('/').skip(1).map(|segment| segment.split(';').next().unwrap_or_default()) {
        is_folder = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()?),
            name => kept.push(name),
        }
    }
    let end = if is_folder && !kept.is_empty() { "/" } else { "" };
    Some(format!("/{}{end}", kept.join("/")))
}

fn matches(pattern: &str, path: &str) -> bool {
    PathPattern::parse(pattern).unwrap().matches(path)
}

#[test]
fn a_container_cuts_before_it_resolves() {
    assert_eq!(served("/public/..;a=b/admin/x;y/").as_deref(), Some("/admin/x/"));
    assert_eq!(served("/a/;x/b/.;").as_deref(), Some("/a/b/"));
    assert_eq!(served("/a/../..;"), None);
}

const PATTERNS: [&str; 6] = ["/public/*", "/{id}", "/users/{id}", "/users/{id}/x", "/*/users/*", "/users/"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn what_is_matched_is_served(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "/", "/", "/", ".", "..", "%2e", ";", ";x", ";x=/", "%3B", "public", "users", "x", "/..;/", "/;/", "%2f",
        ]), 0..10),
        merge in any::<bool>(),
    ) {
        let raw = format!("/{}", pieces.concat());
        let Ok(path) = canonicalise(raw.as_bytes(), merge) else { return Ok(()) };
        let seen = served(&path);
        for pattern in PATTERNS.iter().filter(|pattern| matches(pattern, &path)) {
            let seen = seen.as_deref().unwrap_or("..");
            prop_assert!(matches(pattern, seen), "{pattern} matches {path}, and a container serves {seen}");
        }
        if let Some(rest) = strip_prefix(&path, "/public") {
            let sent = canonicalise_derived(rest, merge);
            let inside = sent.is_err() || sent.is_ok_and(|sent| served(&sent).is_some());
            prop_assert!(inside, "{path} without /public");
        }
        for (pattern, to) in [("/users/{id}", "/got/v.{id}"), ("/users/{id}", "/got/.{id}/x"), ("/public/*", "/got/{*}/x")] {
            let (pattern, to) = (PathPattern::parse(pattern).unwrap(), Template::parse(to).unwrap());
            let Some(captures) = pattern.captures(&path) else { continue };
            let made = to.expand(|name| captures.get(name));
            let Ok(sent) = canonicalise_derived(&made, merge) else { continue };
            let seen = served(&sent).unwrap_or_default();
            prop_assert!(matches("/got/*", &seen), "{path} is sent as {sent}, and a container serves {seen}");
        }
    }
}
