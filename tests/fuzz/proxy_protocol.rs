//! The PROXY protocol's header: more bytes never change what was said, and what was read can be written again.

use std::net::{IpAddr, SocketAddr};

use gatekeeper_core::proxy_protocol::{Header, LONGEST, Parsed, parse};

use super::Verdict;
use super::runner::outcome;
use crate::demand;

pub const WORDS: &[&str] = &[
    "PROXY ",
    "PROXY TCP4 ",
    "TCP6 ",
    "UNKNOWN",
    "1.2.3.4 ",
    "::1 ",
    "::ffff:1.2.3.4 ",
    "65535",
    " 0",
    "\r\n",
    "\r",
    " ",
    "\r\n\r\n\0\r\nQUIT\n",
    "\x21\x11\0\x0c",
    "\x20\0\0\0",
    "\x21\x21\0\x24",
    "\x03\0\x04",
    "\x04\0\0",
    "\x01",
];

pub fn check(input: &[u8]) -> Verdict {
    let whole = parse(input);
    let mut settled = None;
    // Of what is long, its beginning and every so many bytes.
    for end in (0..=input.len()).filter(|end| *end < 300 || end % 61 == 0) {
        let parsed = parse(&input[..end]);
        let was = *settled.get_or_insert(parsed);
        demand!(parsed == was || was == Parsed::Incomplete, "{was:?} became {parsed:?} at {end}");
        settled = Some(parsed);
    }
    let more = parse(&[input, b"GET / HTTP/1.1\r\n"].concat());
    demand!(whole == more || whole == Parsed::Incomplete, "{whole:?} became {more:?}");
    demand!(whole != Parsed::Incomplete || input.len() < LONGEST, "too much is waited for");
    if let Parsed::Header(header) = whole {
        demand!(header.length <= input.len().min(LONGEST), "{header:?}");
        demand!(header.source.is_some() == header.destination.is_some(), "{header:?}");
        demand!(parse(&input[..header.length]) == whole, "by itself");
        demand!(header.length == 0 || parse(&input[..header.length - 1]) == Parsed::Incomplete, "a byte less");
        check_ends(&header, &input[..header.length])?;
    }
    let rule = if let Parsed::Malformed(rule) = whole { rule } else { "" };
    let kind = if let Parsed::Header(header) = whole { Some((header.source, input[0])) } else { None };
    Ok(outcome((
        rule,
        kind.map(|(source, first)| (source.map(|source| source.is_ipv4()), first)),
        whole == Parsed::Absent,
    )))
}

/// What was read stands there.
fn check_ends(header: &Header, bytes: &[u8]) -> Result<(), String> {
    let (Some(source), Some(destination)) = (header.source, header.destination) else { return Ok(()) };
    demand!(source.ip().to_canonical() == source.ip(), "{source} is not canonical");
    if let Some(line) = bytes.strip_prefix(b"PROXY ") {
        let line = std::str::from_utf8(line).map_err(|error| error.to_string())?;
        let words: Vec<&str> = line.trim_end().split(' ').collect();
        let [family, from, to, from_port, to_port] = words[..] else { return Err(format!("read from {line:?}")) };
        let end = |address: &str, port: &str| {
            Some(SocketAddr::new(address.parse::<IpAddr>().ok()?.to_canonical(), port.parse().ok()?))
        };
        demand!(matches!(family, "TCP4" | "TCP6"), "{line:?}");
        demand!(end(from, from_port) == Some(source) && end(to, to_port) == Some(destination), "{line:?}");
        demand!(
            family == "TCP6" || format!("TCP4 {} {} {from_port} {to_port}\r\n", source.ip(), destination.ip()) == line,
            "{line:?}"
        );
    } else {
        let ports = if bytes[13] >> 4 == 1 { 16 + 8 } else { 16 + 32 };
        demand!(bytes[ports..ports + 2] == source.port().to_be_bytes(), "{source}");
        demand!(bytes[ports + 2..ports + 4] == destination.port().to_be_bytes(), "{destination}");
    }
    Ok(())
}
