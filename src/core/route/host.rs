//! Hosts: the canonical form of what a client names, and the patterns of routes.
//!
//! Canonical means lower-cased, without port and without one trailing dot. An IPv6 literal keeps its brackets and is
//! written in its shortest form. Names are those of DNS, and `_`, which containers like; nothing is mended: an empty
//! port (`a:`), an empty label (`a..b`), user information, an IPv6 zone or a non-ASCII name is malformed.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// The longest name DNS can hold.
const LONGEST: usize = 253;

/// Why a host is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostFault {
    /// There is none.
    Empty,
    /// It holds an `@`.
    UserInfo,
    /// The port is not a number from 1 to 65535.
    Port,
    /// An empty label: `a..b`, `.a`.
    Label,
    /// A character that no name holds.
    Character,
    /// The brackets hold no IPv6 address.
    Ipv6,
    /// It is longer than any name in DNS.
    TooLong,
}

impl HostFault {
    /// A stable code, for counters and logs.
    pub fn code(self) -> &'static str {
        match self {
            HostFault::Empty => "host_empty",
            HostFault::UserInfo => "host_userinfo",
            HostFault::Port => "host_port",
            HostFault::Label => "host_label",
            HostFault::Character => "host_character",
            HostFault::Ipv6 => "host_ipv6",
            HostFault::TooLong => "host_too_long",
        }
    }
}

impl fmt::Display for HostFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HostFault::Empty => "the host is empty",
            HostFault::UserInfo => "the host contains user information",
            HostFault::Port => "the port of the host is not a number from 1 to 65535",
            HostFault::Label => "the host contains an empty label",
            HostFault::Character => "the host contains a character that is not allowed",
            HostFault::Ipv6 => "the brackets of the host do not contain an IPv6 address",
            HostFault::TooLong => "the host is too long",
        })
    }
}

impl std::error::Error for HostFault {}

/// The canonical form of a `Host` field or an authority; borrowed when it is canonical but for its port or dot.
pub fn canonical_host(raw: &str) -> Result<Cow<'_, str>, HostFault> {
    if let Some(name) = canonical_part(raw) {
        return Ok(Cow::Borrowed(name));
    }
    if raw.contains('@') {
        return Err(HostFault::UserInfo);
    }
    if let Some(literal) = raw.strip_prefix('[') {
        return canonical_ipv6(literal).map(Cow::Owned);
    }
    let (name, port) = raw.split_once(':').map_or((raw, None), |(name, port)| (name, Some(port)));
    check_port(port)?;
    canonical_name(name)
}

/// The usual case in one pass: a name in canonical form, perhaps with a port. What is not may still be brought into it.
fn canonical_part(raw: &str) -> Option<&str> {
    let (mut end, mut label_begins) = (0, 0);
    for byte in raw.bytes() {
        match byte {
            byte if IN_LABEL[usize::from(byte)] => {}
            b'.' if label_begins < end => label_begins = end + 1,
            _ => break,
        }
        end += 1;
    }
    let (name, port) = raw.split_at_checked(end)?;
    let is_whole = port.is_empty() || port.strip_prefix(':').is_some_and(|port| check_port(Some(port)).is_ok());
    (label_begins < end && end <= LONGEST && is_whole).then_some(name)
}

/// What labels consist of, in canonical form.
const IN_LABEL: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        bytes[byte] = matches!(byte as u8, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        byte += 1;
    }
    bytes
};

/// `literal` is what follows the opening bracket.
fn canonical_ipv6(literal: &str) -> Result<String, HostFault> {
    let (address, after) = literal.split_once(']').ok_or(HostFault::Ipv6)?;
    let address: Ipv6Addr = address.parse().map_err(|_| HostFault::Ipv6)?;
    match after.strip_prefix(':') {
        None if !after.is_empty() => return Err(HostFault::Character),
        port => check_port(port)?,
    }
    Ok(format!("[{address}]"))
}

fn check_port(port: Option<&str>) -> Result<(), HostFault> {
    let Some(port) = port else { return Ok(()) };
    let number = port.bytes().try_fold(0_u16, |number, byte| {
        let digit = char::from(byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit as u16)
    });
    if number.is_some_and(|port| port > 0) { Ok(()) } else { Err(HostFault::Port) }
}

fn canonical_name(name: &str) -> Result<Cow<'_, str>, HostFault> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Err(HostFault::Empty);
    }
    if name.len() > LONGEST {
        return Err(HostFault::TooLong);
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')) {
        return Err(HostFault::Character);
    }
    if name.split('.').any(str::is_empty) {
        return Err(HostFault::Label);
    }
    let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
    Ok(if is_lower { Cow::Borrowed(name) } else { Cow::Owned(name.to_ascii_lowercase()) })
}

/// The hosts a route is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host.
    Exact(Box<str>),
    /// `*.suffix`: one or more labels before the suffix, never the bare suffix.
    Under(Box<str>),
}

impl HostPattern {
    /// Reads `api.example.org`, `[::1]` or `*.example.org`; the error says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let suffix = text.strip_prefix("*.");
        let name = suffix.unwrap_or(text);
        let is_bare = !name.contains(':') || suffix.is_none() && name.ends_with(']');
        let canonical = canonical_host(name).ok().filter(|_| is_bare);
        let host = canonical.ok_or_else(|| {
            format!(
                "`{text}` is not a host: allowed are a name (`api.example.org`), `*.` and a name (`*.example.org`) or \
                 an address, all without a port; for any host leave the list empty"
            )
        })?;
        Ok(if suffix.is_some() { HostPattern::Under(host.into()) } else { HostPattern::Exact(host.into()) })
    }

    /// Whether it matches a canonical host.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Exact(name) => **name == *host,
            HostPattern::Under(suffix) => {
                host.strip_suffix(&**suffix).is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Under(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_hosts() {
        for (raw, expected) in [
            ("example.org", "example.org"),
            ("Example.ORG:8080", "example.org"),
            ("example.org.", "example.org"),
            ("example.org.:80", "example.org"),
            ("my_service-1", "my_service-1"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[0:0:0:0:0:0:0:A]:443", "[::a]"),
        ] {
            assert_eq!(canonical_host(raw).as_deref(), Ok(expected), "{raw}");
        }
        assert!(matches!(canonical_host("example.org.:80"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn malformed_hosts() {
        for (raw, fault) in [
            ("", HostFault::Empty),
            (".", HostFault::Empty),
            (":80", HostFault::Empty),
            ("u@example.org", HostFault::UserInfo),
            ("u:p@example.org", HostFault::UserInfo),
            ("a:", HostFault::Port),
            ("a:0", HostFault::Port),
            ("a:65536", HostFault::Port),
            ("a:+80", HostFault::Port),
            ("a:80:80", HostFault::Port),
            ("::1", HostFault::Port),
            ("a..b", HostFault::Label),
            (".a", HostFault::Label),
            ("a..", HostFault::Label),
            ("a b", HostFault::Character),
            (" a", HostFault::Character),
            ("a,b", HostFault::Character),
            ("a/b", HostFault::Character),
            ("a%41", HostFault::Character),
            ("é.org", HostFault::Character),
            ("[::1", HostFault::Ipv6),
            ("[fe80::1%25eth0]", HostFault::Ipv6),
            ("[1.2.3.4]", HostFault::Ipv6),
            ("[::1]80", HostFault::Character),
            ("[::1]:", HostFault::Port),
        ] {
            assert_eq!(canonical_host(raw), Err(fault), "{raw:?}");
        }
        assert_eq!(canonical_host(&"a".repeat(254)), Err(HostFault::TooLong));
    }

    #[test]
    fn a_wildcard_matches_at_a_dot_only() {
        let pattern = HostPattern::parse("*.Example.org.").unwrap();
        assert_eq!(pattern.to_string(), "*.example.org");
        for (host, expected) in [
            ("a.example.org", true),
            ("a.b.example.org", true),
            ("example.org", false),
            (".example.org", false),
            ("badexample.org", false),
            ("a.example.org.net", false),
        ] {
            assert_eq!(pattern.matches(host), expected, "{host}");
        }
    }

    #[test]
    fn bad_patterns_say_what_is_allowed() {
        for text in ["", "*", "*.", "a.*", "*a.org", "*.*.org", "a.org:80", "[::1]:80", "*.[::1]", "a b", "**.a"] {
            assert!(HostPattern::parse(text).unwrap_err().contains("*.example.org"), "{text}");
        }
        assert!(HostPattern::parse("[::1]").unwrap().matches("[::1]"));
    }
}
