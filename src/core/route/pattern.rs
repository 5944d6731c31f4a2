//! Path patterns: `/exact`, `/users/{id}`, `/api/*/users`, `/prefix/*`.
//!
//! `*` and `{name}` stand for exactly one segment, which is not empty and holds more than `;parameters`. A trailing `/*`
//! is the element-wise prefix: `/a/*` matches `/a`, `/a/` and `/a/b`, not `/ab`. Without it `/a` and `/a/` are different.
//! Case matters. Literal
//! segments are brought into the canonical form of paths, so `/a%7Eb` is `/a~b`. A path that itself holds `*` can
//! only be matched by a wildcard, and patterns hold no empty segments but a last one, even where `//` is not merged
//! in paths.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use memchr::memchr;
use smallvec::SmallVec;

use super::path::canonicalise_derived;

/// Patterns have at most this many segments, which bounds the depth of every search.
const MOST_SEGMENTS: usize = 64;

/// A path pattern. Two are equal when they match the same paths: the names of captures don't count. A route and the table have
/// the same pattern, so its clones share one text.
#[derive(Clone, Debug)]
pub struct PathPattern {
    /// In canonical form. No literal segment is `*` or begins with `{`, so the text alone says what each segment is.
    text: Arc<str>,
}

/// One segment of a pattern.
#[derive(Clone, Copy, Debug)]
pub(super) enum Segment<'p> {
    Literal(&'p str),
    One(Option<&'p str>),
}

/// The segments of a pattern, from one of them on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segments<'p>(&'p str);

/// What a pattern captured of a path.
#[derive(Clone, Debug)]
pub struct Captures<'a> {
    named: SmallVec<[(&'a str, &'a str); 4]>,
    rest: Option<&'a str>,
}

impl PathPattern {
    /// Reads a pattern; the error says what is wrong and what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (body, is_prefix) = text.strip_suffix("/*").map_or((text, false), |body| (body, true));
        if !text.starts_with('/') {
            return Err(format!("`{text}` does not begin with `/`"));
        }
        let mut canonical = String::with_capacity(text.len());
        for segment in body.split('/').skip(1) {
            canonical.push('/');
            append_segment(segment, &mut canonical)?;
        }
        let count = Segments(&canonical).count();
        if count > MOST_SEGMENTS {
            return Err(format!("`{text}` has {count} segments; at most {MOST_SEGMENTS} are allowed"));
        }
        let inner = if is_prefix { count } else { count.saturating_sub(1) };
        if Segments(&canonical).take(inner).any(|segment| segment.literal() == Some("")) {
            return Err(format!("`{text}` holds `//`, which no pattern may"));
        }
        canonical.push_str(if is_prefix { "/*" } else { "" });
        let pattern = PathPattern { text: canonical.into() };
        match pattern.repeated_name() {
            Some(name) => Err(format!("`{text}` captures `{name}` twice")),
            None => Ok(pattern),
        }
    }

    /// Whether it matches a canonical path.
    pub fn matches(&self, path: &str) -> bool {
        self.walk(path, |_, _| {}).is_some()
    }

    /// What it captures of a canonical path; `None` if it does not match.
    pub fn captures<'a>(&'a self, path: &'a str) -> Option<Captures<'a>> {
        let mut named = SmallVec::new();
        let rest = self.walk(path, |name, value| named.push((name, value)))?;
        Some(Captures { named, rest: self.is_prefix().then_some(rest) })
    }

    /// Whether no path that it matches begins with these whole segments.
    pub fn never_begins_with(&self, prefix: &str) -> bool {
        let asked = prefix.split('/').skip(1);
        let is_longer = asked.clone().count() > self.segments().count() && !self.is_prefix();
        let differs = |(asked, segment): (&str, Segment)| segment.literal().is_some_and(|literal| literal != asked);
        is_longer || asked.zip(self.segments()).any(differs)
    }

    /// Whether it has a capture of this name; `*` is what a trailing `/*` matches.
    pub fn offers(&self, name: &str) -> bool {
        if name == "*" { self.is_prefix() } else { self.names().any(|own| own == name) }
    }

    /// The names of its captures, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.segments().filter_map(|segment| match segment {
            Segment::One(name) => name,
            Segment::Literal(_) => None,
        })
    }

    /// Whether it matches one path only.
    pub fn is_exact(&self) -> bool {
        !self.is_prefix() && self.literals().all(|literal| literal.is_some())
    }

    /// The pattern as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn is_prefix(&self) -> bool {
        self.text.ends_with("/*")
    }

    pub(super) fn segments(&self) -> Segments<'_> {
        Segments(self.text.strip_suffix("/*").unwrap_or(&self.text))
    }

    /// The texts that its segments must equal; `None` for a wildcard.
    fn literals(&self) -> impl Iterator<Item = Option<&str>> {
        self.segments().map(Segment::literal)
    }

    /// Matches segment by segment, shows each capture, and returns what is left of the path: `` or `/…`.
    fn walk<'a>(&'a self, path: &'a str, mut capture: impl FnMut(&'a str, &'a str)) -> Option<&'a str> {
        let mut rest = path;
        for segment in self.segments() {
            let (value, after) = next_segment(rest)?;
            match segment {
                Segment::Literal(literal) if literal != value => return None,
                Segment::One(_) if is_nameless(value) => return None,
                Segment::One(Some(name)) => capture(name, value),
                Segment::Literal(_) | Segment::One(None) => {}
            }
            rest = after;
        }
        (self.is_prefix() || rest.is_empty()).then_some(rest)
    }

    fn repeated_name(&self) -> Option<&str> {
        let mut seen = SmallVec::<[&str; 4]>::new();
        self.names().find(|name| {
            let repeated = seen.contains(name);
            seen.push(name);
            repeated
        })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.is_prefix() == other.is_prefix() && self.literals().eq(other.literals())
    }
}

impl Eq for PathPattern {}

impl Hash for PathPattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.is_prefix().hash(state);
        self.literals().for_each(|literal| literal.hash(state));
    }
}

/// Appends a segment of a pattern in its canonical form.
fn append_segment(text: &str, canonical: &mut String) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if text == "*" || text.bytes().all(is_plain) {
        canonical.push_str(text);
        return Ok(());
    }
    if let Some(name) = text.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
        if !is_name(name) {
            return Err(format!("`{{{name}}}`: a name is made of a-z, 0-9 and _ and begins with no digit"));
        }
        canonical.push_str(text);
        return Ok(());
    }
    if text.contains(['*', '{', '}']) {
        return Err(format!("`{text}`: `*` and `{{name}}` stand for a whole segment"));
    }
    let path = format!("/{text}");
    let path = canonicalise_derived(&path, false).map_err(|fault| format!("`{text}`: {fault}"))?;
    canonical.push_str(path.trim_start_matches('/'));
    Ok(())
}

impl<'p> Segment<'p> {
    fn of(text: &'p str) -> Self {
        match text.as_bytes() {
            b"*" => Segment::One(None),
            [b'{', ..] => Segment::One(Some(text.trim_matches(['{', '}']))),
            _ => Segment::Literal(text),
        }
    }

    /// The text it must equal; `None` for a wildcard.
    pub(super) fn literal(self) -> Option<&'p str> {
        match self {
            Segment::Literal(literal) => Some(literal),
            Segment::One(_) => None,
        }
    }
}

impl<'p> Iterator for Segments<'p> {
    type Item = Segment<'p>;

    fn next(&mut self) -> Option<Segment<'p>> {
        let (segment, after) = next_segment(self.0)?;
        self.0 = after;
        Some(Segment::of(segment))
    }
}

impl<'a> Captures<'a> {
    /// The value of a capture; `*` is what a trailing `/*` matched, with its leading `/`: ``, `/` or `/…`.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        if name == "*" {
            return self.rest;
        }
        self.named.iter().find(|(own, _)| *own == name).map(|(_, value)| *value)
    }
}

/// Cuts the first segment off `/segment/rest`; what is left begins with `/` or is empty.
pub(super) fn next_segment(path: &str) -> Option<(&str, &str)> {
    // Stripping a character would compare texts.
    let path = if path.as_bytes().first() == Some(&b'/') { path.get(1..)? } else { return None };
    Some(path.split_at(memchr(b'/', path.as_bytes()).unwrap_or(path.len())))
}

/// Whether nothing is left of a segment once its parameters are cut off, as servlet containers do.
pub(super) fn is_nameless(segment: &str) -> bool {
    matches!(segment.as_bytes(), [] | [b';', ..])
}

/// `[a-z_][a-z0-9_]*`
pub(super) fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    text.bytes().next().is_some_and(is_letter) && text.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn what_no_path_begins_with() {
        for (pattern, prefix, never) in [
            ("/api/*", "/api", false),
            ("/api/*", "/api/v1", false),
            ("/api/*", "/v1", true),
            ("/{tenant}/x", "/a", false),
            ("/{tenant}/x", "/a/y", true),
            ("/a", "/a/b", true),
            ("/*", "/a", false),
            ("/a/", "/a", false),
        ] {
            assert_eq!(PathPattern::parse(pattern).unwrap().never_begins_with(prefix), never, "{pattern} {prefix}");
        }
    }

    #[test]
    fn matching() {
        for (text, path, expected) in [
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a/", "/a/", true),
            ("/a/", "/a", false),
            ("/a", "/A", false),
            ("/", "/", true),
            ("/", "/a", false),
            ("/a/*", "/a", true),
            ("/a/*", "/a/", true),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b/c/", true),
            ("/a/*", "/ab", false),
            ("/foo/*", "/foo%2Fbar", false),
            ("/*", "/", true),
            ("/*", "/a/b", true),
            ("/api/*/users", "/api/v1/users", true),
            ("/api/*/users", "/api//users", false),
            ("/api/*/users", "/api/v1/v2/users", false),
            ("/api/*/users", "/api/v1/users/", false),
            ("/u/{id}", "/u/1", true),
            ("/u/{id}", "/u/a%2Fb", true),
            ("/u/{id}", "/u/", false),
            ("/u/{id}", "/u", false),
            ("/u/{id}/", "/u/1/", true),
            ("/u/{id}/*", "/u/1", true),
            ("/u/{id}/*", "/u/", false),
            ("/a%7Eb/%2f", "/a~b/%2F", true),
        ] {
            assert_eq!(pattern(text).matches(path), expected, "{text} {path}");
        }
    }

    #[test]
    fn captures() {
        let pattern = pattern("/u/{id}/*/{what_2}/*");
        let captured = |path| {
            let captures = pattern.captures(path)?;
            Some([captures.get("id")?, captures.get("what_2")?, captures.get("*")?].map(String::from))
        };
        assert_eq!(captured("/u/7/x/y/z/"), Some(["7", "y", "/z/"].map(String::from)));
        assert_eq!(captured("/u/7/x/y"), Some(["7", "y", ""].map(String::from)));
        assert_eq!(captured("/u/7/x"), None);
        assert!(pattern.offers("id") && pattern.offers("*") && !pattern.offers("x"));
        let exact = PathPattern::parse("/a").unwrap();
        assert_eq!(exact.captures("/a").unwrap().get("*"), None);
        assert!(!exact.offers("*"));
    }

    #[test]
    fn equality_is_what_is_matched() {
        assert_eq!(pattern("/u/{id}"), pattern("/u/{name}"));
        assert_eq!(pattern("/u/{id}/x"), pattern("/u/*/x"));
        assert_eq!(pattern("/a%7Eb"), pattern("/a~b"));
        assert_ne!(pattern("/a/{x}"), pattern("/a/*"));
        assert_ne!(pattern("/a"), pattern("/a/"));
    }

    #[test]
    fn bad_patterns() {
        for (text, reason) in [
            ("", "begin with `/`"),
            ("a", "begin with `/`"),
            ("*", "begin with `/`"),
            ("/a//b", "`//`"),
            ("/a//*", "`//`"),
            ("//", "`//`"),
            ("/a*", "whole segment"),
            ("/x{id}", "whole segment"),
            ("/{id", "whole segment"),
            ("/{}", "a name is made of"),
            ("/{Id}", "a name is made of"),
            ("/{1a}", "a name is made of"),
            ("/{a}/{a}", "captures `a` twice"),
            ("/a/../b", "dot segment"),
            ("/a/%2e", "dot segment"),
            ("/a b", "percent-encoded"),
            ("/a?b", "percent-encoded"),
            ("/%zz", "hexadecimal"),
        ] {
            let error = PathPattern::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(PathPattern::parse(&"/a".repeat(64)).is_ok());
        assert!(PathPattern::parse(&"/a".repeat(65)).unwrap_err().contains("at most 64"));
    }

    #[test]
    fn patterns_are_written_as_they_are_read() {
        for text in ["/", "/*", "/a", "/a/", "/a/*", "/a/*/b/{id}/", "/{x}/*"] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }
}
