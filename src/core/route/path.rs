//! One canonical form of a request's path, made once and used by everything after.
//!
//! The order is RFC 3986 §6.2.2's: escapes are upper-cased and those of unreserved characters decoded, then dot
//! segments are removed (so `%2e%2e` is seen), then `//` becomes `/` (a setting). Escapes of reserved characters
//! stay: `/a%2Fb` is one segment. Dot segments go before slashes are merged, so `/a//../b` is `/a/b`: `..` took the
//! empty segment away. What a server would have to guess at is refused, not mended.
//!
//! Servlet containers cut `;parameters` off each segment before they resolve dots and merge slashes: `..;x` is `..` to
//! them, and `/;x/` is `//`. Such segments are refused. Other parameters stay, and `/admin;x` does not match `/admin`.
//!
//! Escaped control characters other than `%00` are kept as they are; only raw ones are refused.

use std::borrow::Cow;
use std::fmt;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathFault {
    /// It is empty or does not begin with `/`.
    NotAbsolute,
    /// A NUL byte, raw or as `%00`.
    Nul,
    /// A raw control byte.
    Control,
    /// A raw backslash.
    Backslash,
    /// `%` without two hexadecimal digits.
    Percent,
    /// A `#`.
    Fragment,
    /// Another character that RFC 3986 does not allow in a path.
    Character,
    /// `..` above the root.
    AboveRoot,
    /// A dot segment in a path that a rewrite or a stripped prefix produced.
    DotSegment,
    /// A dot segment with parameters, such as `..;x`.
    DotParameter,
    /// A segment before the last that is nothing but parameters, such as `;x`.
    NamelessParameter,
}

impl PathFault {
    /// A stable code, for counters and logs.
    pub fn code(self) -> &'static str {
        match self {
            PathFault::NotAbsolute => "path_not_absolute",
            PathFault::Nul => "path_nul",
            PathFault::Control => "path_control",
            PathFault::Backslash => "path_backslash",
            PathFault::Percent => "path_percent",
            PathFault::Fragment => "path_fragment",
            PathFault::Character => "path_character",
            PathFault::AboveRoot => "path_above_root",
            PathFault::DotSegment => "path_dot_segment",
            PathFault::DotParameter => "path_dot_parameter",
            PathFault::NamelessParameter => "path_nameless_parameter",
        }
    }

    /// What the byte, which may not stand in a path, is called.
    fn of_byte(byte: u8) -> Self {
        match byte {
            0 => PathFault::Nul,
            b'\\' => PathFault::Backslash,
            b'#' => PathFault::Fragment,
            byte if byte.is_ascii_control() => PathFault::Control,
            _ => PathFault::Character,
        }
    }
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathFault::NotAbsolute => "the path does not begin with /",
            PathFault::Nul => "the path contains a NUL",
            PathFault::Control => "the path contains a control character",
            PathFault::Backslash => "the path contains a backslash",
            PathFault::Percent => "the path contains a % without two hexadecimal digits",
            PathFault::Fragment => "the path contains a #",
            PathFault::Character => "the path contains a character that must be percent-encoded",
            PathFault::AboveRoot => "the path leads above the root",
            PathFault::DotSegment => "the resulting path contains a dot segment",
            PathFault::DotParameter => "the path contains a dot segment with parameters",
            PathFault::NamelessParameter => "the path contains parameters without a segment",
        })
    }
}

impl std::error::Error for PathFault {}

/// The canonical form of a request's path (without its query); borrowed when it is canonical already.
pub fn canonicalise(raw: &[u8], merge_slashes: bool) -> Result<Cow<'_, str>, PathFault> {
    let path = std::str::from_utf8(raw).map_err(|_| PathFault::Character)?;
    if is_canonical(raw, merge_slashes)? {
        return Ok(Cow::Borrowed(path));
    }
    let path = normalise_escapes(path);
    check_parameters(&path)?;
    let path = remove_dot_segments(&path)?;
    Ok(Cow::Owned(if merge_slashes { merged(path) } else { path }))
}

/// The canonical form of a path that was made from a canonical one (a rewrite, a stripped prefix). A dot segment that
/// appears only now came from the pieces being joined: it is refused.
pub fn canonicalise_derived(path: &str, merge_slashes: bool) -> Result<Cow<'_, str>, PathFault> {
    if is_canonical(path.as_bytes(), merge_slashes)? {
        return Ok(Cow::Borrowed(path));
    }
    let path = normalise_escapes(path);
    if path.split('/').any(is_dot_segment) {
        return Err(PathFault::DotSegment);
    }
    check_parameters(&path)?;
    Ok(Cow::Owned(if merge_slashes { merged(path) } else { path }))
}

/// The path without a prefix of whole segments; `/` when nothing is left, `None` when it does not begin with it.
pub fn strip_prefix<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'))?;
    match rest {
        "" => Some("/"),
        _ => rest.starts_with('/').then_some(rest),
    }
}

/// Whether a canonical path holds `%2F %5C %3B %25 %3F %23`, or a `;` as it is, which a route may refuse.
pub fn has_reserved(canonical: &str) -> bool {
    let mut escapes = canonical.split('%').skip(1);
    canonical.contains(';')
        || escapes.any(|escape| matches!(escape.get(..2), Some("2F" | "5C" | "3B" | "25" | "3F" | "23")))
}

/// One look at every byte: is there a fault, is there anything to change?
fn is_canonical(path: &[u8], merge_slashes: bool) -> Result<bool, PathFault> {
    if path.first() != Some(&b'/') {
        return Err(PathFault::NotAbsolute);
    }
    let mut canonical = true;
    let mut rest = path.iter();
    while let Some(byte) = rest.find(|byte| !is_path_byte(**byte)) {
        let after = rest.as_slice();
        match byte {
            b'/' => canonical &= begins_canonically(after, merge_slashes)?,
            b'%' => canonical &= is_canonical_escape(after)?,
            byte => return Err(PathFault::of_byte(*byte)),
        }
    }
    Ok(canonical)
}

/// Whether the segment after a `/` stays: it is no dot segment, and not an empty one where slashes are merged.
fn begins_canonically(rest: &[u8], merge_slashes: bool) -> Result<bool, PathFault> {
    match rest {
        [b'/', ..] => Ok(!merge_slashes),
        [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..] => Ok(false),
        [b'.', b';', ..] | [b'.', b'.', b';', ..] => Err(PathFault::DotParameter),
        [b';', after @ ..] if after.contains(&b'/') => Err(PathFault::NamelessParameter),
        _ => Ok(true),
    }
}

/// The same of all segments: escapes may have hidden them from the look at every byte.
fn check_parameters(path: &str) -> Result<(), PathFault> {
    let mut beginnings = memchr::memchr_iter(b'/', path.as_bytes());
    beginnings.try_for_each(|slash| begins_canonically(&path.as_bytes()[slash + 1..], false).map(|_| ()))
}

/// Whether the digits after a `%` stay as they are: upper case, and not those of an unreserved character.
fn is_canonical_escape(after: &[u8]) -> Result<bool, PathFault> {
    match escaped_byte(after) {
        None => Err(PathFault::Percent),
        Some(0) => Err(PathFault::Nul),
        Some(byte) => Ok(!is_unreserved(byte) && !after.iter().take(2).any(u8::is_ascii_lowercase)),
    }
}

/// The byte that the two hexadecimal digits after a `%` stand for.
pub(super) fn escaped_byte(after: &[u8]) -> Option<u8> {
    let [high, low, ..] = after else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

/// Upper-cases escapes and decodes those of unreserved characters. Every `%` is known to have its two digits.
fn normalise_escapes(path: &str) -> String {
    let mut pieces = path.split('%');
    let mut out = String::with_capacity(path.len());
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (digits, after) = piece.split_at_checked(2).unwrap_or((piece, ""));
        match u8::from_str_radix(digits, 16) {
            Ok(byte) if is_unreserved(byte) => out.push(char::from(byte)),
            _ => out.extend(['%'].into_iter().chain(digits.chars().map(|digit| digit.to_ascii_uppercase()))),
        }
        out.push_str(after);
    }
    out
}

/// RFC 3986 §5.2.4, but for `..` above the root, which is a fault here.
fn remove_dot_segments(path: &str) -> Result<String, PathFault> {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if segment == ".." {
            out.truncate(out.rfind('/').ok_or(PathFault::AboveRoot)?);
        }
        if !is_dot_segment(segment) {
            out.push('/');
            out.push_str(segment);
        } else if segments.peek().is_none() {
            out.push('/');
        }
    }
    Ok(out)
}

fn merged(mut path: String) -> String {
    let mut after_slash = false;
    path.retain(|c| {
        let doubled = after_slash && c == '/';
        after_slash = c == '/';
        !doubled
    });
    path
}

fn is_dot_segment(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 §3.3, `pchar` without escapes.
fn is_path_byte(byte: u8) -> bool {
    const PATH_BYTES: [bool; 256] = path_bytes();
    PATH_BYTES[usize::from(byte)]
}

const fn path_bytes() -> [bool; 256] {
    let mut bytes = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let c = byte as u8;
        bytes[byte] = is_unreserved(c)
            || matches!(c, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@');
        byte += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(raw: &str) -> Result<String, PathFault> {
        canonicalise(raw.as_bytes(), true).map(Cow::into_owned)
    }

    #[test]
    fn canonical_forms() {
        for (raw, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/", "/a/"),
            ("/%7euser/%41%2d%5f", "/~user/A-_"),
            ("/a%2fb%3a", "/a%2Fb%3A"),
            ("/%2541", "/%2541"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/.", "/"),
            ("/..a/.b/...", "/..a/.b/..."),
            ("//a///b//", "/a/b/"),
            ("/a//../b", "/a/b"),
            ("/a/%2F../b", "/a/%2F../b"),
            ("/!$&'()*+,;=:@", "/!$&'()*+,;=:@"),
            ("/%0a", "/%0A"),
            ("/a;x/b;y", "/a;x/b;y"),
            ("/a/;x", "/a/;x"),
            ("/..%3b/...;x", "/..%3B/...;x"),
        ] {
            assert_eq!(canonical(raw).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn faults() {
        for (raw, fault) in [
            ("", PathFault::NotAbsolute),
            ("*", PathFault::NotAbsolute),
            ("a/b", PathFault::NotAbsolute),
            ("/%00", PathFault::Nul),
            ("/a\0", PathFault::Nul),
            ("/a\tb", PathFault::Control),
            ("/a\x7f", PathFault::Control),
            ("/a\\b", PathFault::Backslash),
            ("/a%", PathFault::Percent),
            ("/a%4", PathFault::Percent),
            ("/a%zz", PathFault::Percent),
            ("/a%+1", PathFault::Percent),
            ("/%é1", PathFault::Percent),
            ("/a#b", PathFault::Fragment),
            ("/..", PathFault::AboveRoot),
            ("/a/../../b", PathFault::AboveRoot),
            ("/%2e%2e/a", PathFault::AboveRoot),
            ("/a/..;/b", PathFault::DotParameter),
            ("/a/.;x", PathFault::DotParameter),
            ("/a/%2e%2E;x=1/b", PathFault::DotParameter),
            ("/..;/../b", PathFault::DotParameter),
            ("/a/;x/b", PathFault::NamelessParameter),
            ("/%61/;/b", PathFault::NamelessParameter),
        ] {
            assert_eq!(canonical(raw), Err(fault), "{raw:?}");
        }
        for character in " \"<>^`{|}[]?é".chars() {
            assert_eq!(canonical(&format!("/a{character}")), Err(PathFault::Character), "{character}");
        }
        assert_eq!(canonicalise(b"/\xff", true), Err(PathFault::Character));
    }

    #[test]
    fn slashes_stay_when_they_are_not_merged() {
        assert_eq!(canonicalise(b"//a//b/./c", false).as_deref(), Ok("//a//b/c"));
        assert!(matches!(canonicalise(b"//a//b", false), Ok(Cow::Borrowed("//a//b"))));
    }

    #[test]
    fn a_canonical_path_is_borrowed() {
        for path in ["/", "/a/b.c/.well-known/..x/%2F%20", "/a;b=c"] {
            assert!(matches!(canonicalise(path.as_bytes(), true), Ok(Cow::Borrowed(p)) if p == path), "{path}");
        }
    }

    #[test]
    fn a_derived_path_may_not_gain_dot_segments() {
        assert_eq!(canonicalise_derived("/v2//a%7e", true).as_deref(), Ok("/v2/a~"));
        for path in ["/a/./b", "/a/..", "/%2e%2e/a"] {
            assert_eq!(canonicalise_derived(path, true), Err(PathFault::DotSegment), "{path}");
        }
        for path in ["/a/..;x/b", "/a/%2e;x"] {
            assert_eq!(canonicalise_derived(path, true), Err(PathFault::DotParameter), "{path}");
        }
    }

    #[test]
    fn prefixes_are_stripped_by_whole_segments() {
        for (path, prefix, expected) in [
            ("/api/v1/x", "/api/v1", Some("/x")),
            ("/api/v1/x", "/api/v1/", Some("/x")),
            ("/api", "/api", Some("/")),
            ("/api/", "/api", Some("/")),
            ("/apis", "/api", None),
            ("/b", "/api", None),
            ("/b", "/", Some("/b")),
        ] {
            assert_eq!(strip_prefix(path, prefix), expected, "{path} {prefix}");
        }
    }

    #[test]
    fn reserved_characters_are_found() {
        for path in ["/a%2Fb", "/%5C", "/x%3B", "/%25", "/%3F", "/%20%23", "/a;b"] {
            assert!(has_reserved(path), "{path}");
        }
        for path in ["/", "/a/2F", "/%20", "/%C3%A9"] {
            assert!(!has_reserved(path), "{path}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn canonicalisation_is_idempotent(
            pieces in prop::collection::vec(prop::sample::select(
                vec!["/", "/", "/", ".", "..", "a", "%2e", "%2E", "%2f", "%41", "%25", "%7E", "b", "~", ";"]), 0..12),
            merge in any::<bool>(),
        ) {
            let raw = format!("/{}", pieces.concat());
            if let Ok(once) = canonicalise(raw.as_bytes(), merge) {
                prop_assert!(matches!(canonicalise(once.as_bytes(), merge), Ok(Cow::Borrowed(again)) if again == once));
                prop_assert!(!once.split('/').any(is_dot_segment), "{}", once);
                prop_assert!(!merge || !once.contains("//"), "{}", once);
                prop_assert!(once.starts_with('/'));
            }
        }
    }
}
