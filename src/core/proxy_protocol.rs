//! The PROXY protocol, versions 1 and 2: what a load balancer says of a connection, before the connection's own bytes.
//!
//! The rule is HAProxy's `doc/proxy-protocol.txt` (2020/03/05), read strictly: whatever does not match it exactly is
//! malformed, and said to be so as early as it is certain. Whom to believe is the caller's business. Edge cases:
//!
//! * LOCAL is the load balancer's own connection (a health check), and tells no addresses.
//! * UNKNOWN, UNSPEC, unix sockets and datagrams carry a client's connection and tell no addresses: the client is unknown.
//! * A header is at most 107 bytes in version 1, and 4 KiB in version 2 (the specification's bound is 64 KiB).
//! * Version 2's extensions are checked to fill the header exactly; of their contents only the checksum is looked at.
//!   LOCAL and unspecified families are skipped whole, checksum included, as the specification wants the block unread.
//! * `::ffff:192.0.2.1` is accepted in version 1 (`inet_ntop` writes it so); such addresses become IPv4 in both.

use std::net::{IpAddr, SocketAddr};

/// The longest header that is read; a buffer of this size is always enough.
pub const LONGEST: usize = 4096;

const TEXT: &[u8] = b"PROXY ";
const LONGEST_TEXT: usize = 107;
const BINARY: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and transport, length.
const FIXED: usize = 16;
/// Families and transports.
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const UDP4: u8 = 0x12;
const TCP6: u8 = 0x21;
const UDP6: u8 = 0x22;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;
/// The type of the extension that holds the checksum.
const CHECKSUM: u8 = 0x03;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header, as far as can be told: more bytes are needed.
    Incomplete,
    /// A header.
    Header(Header),
    /// No header: the connection's own bytes.
    Absent,
    /// A header that breaks the rules, and which.
    Malformed(&'static str),
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How many bytes it takes; the connection's own follow.
    pub length: usize,
    /// The load balancer speaks for itself, not for a client.
    pub is_local: bool,
    /// The client, if it is told.
    pub source: Option<SocketAddr>,
    /// Where the client connected to, if it is told.
    pub destination: Option<SocketAddr>,
}

/// A header, `None` for an incomplete one, or the rule it breaks.
type Outcome = Result<Option<Header>, &'static str>;
type Ends = (SocketAddr, SocketAddr);

/// Reads what stands at the beginning of a connection. More bytes never change what was not `Incomplete`.
pub fn parse(bytes: &[u8]) -> Parsed {
    let outcome = if agree(bytes, BINARY) {
        parse_binary(bytes)
    } else if agree(bytes, TEXT) {
        parse_text(bytes)
    } else {
        return Parsed::Absent;
    };
    match outcome {
        Ok(Some(header)) => Parsed::Header(header),
        Ok(None) => Parsed::Incomplete,
        Err(rule) => Parsed::Malformed(rule),
    }
}

/// One begins with the other.
fn agree(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

fn parse_text(bytes: &[u8]) -> Outcome {
    let window = bytes.get(..LONGEST_TEXT).unwrap_or(bytes);
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if window.len() < LONGEST_TEXT { Ok(None) } else { Err("the line is longer than 107 bytes") };
    };
    let line = window.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or("the line does not end in CR LF")?;
    let ends = text_ends(line)?;
    Ok(Some(Header::new(end + 1, ends)))
}

fn text_ends(line: &[u8]) -> Result<Option<Ends>, &'static str> {
    let mut words = line.split(|byte| *byte == b' ').skip(1);
    let address: fn(&str) -> Option<IpAddr> = match words.next() {
        Some(b"TCP4") => |word| word.parse().ok().map(IpAddr::V4),
        Some(b"TCP6") => |word| word.parse().ok().map(IpAddr::V6),
        Some(b"UNKNOWN") => return Ok(None),
        _ => return Err("the protocol is not TCP4, TCP6 or UNKNOWN"),
    };
    let mut word = || words.next().and_then(|word| str::from_utf8(word).ok());
    let mut next_address = || word().and_then(address).ok_or("an address does not belong to its family");
    let (source, destination) = (next_address()?, next_address()?);
    let mut next_port = || word().and_then(port).ok_or("a port is not a number from 0 to 65535");
    let (source_port, destination_port) = (next_port()?, next_port()?);
    match words.next() {
        Some(_) => Err("the line has more than two addresses and two ports"),
        None => Ok(Some((end(source, source_port), end(destination, destination_port)))),
    }
}

/// A port in plain decimal: the library's parser would take `+80` and `080`.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| plain)
}

fn end(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

fn parse_binary(bytes: &[u8]) -> Outcome {
    let Some(&[version_command, family_transport, high, low]) = bytes.get(BINARY.len()..FIXED) else {
        return Ok(None);
    };
    let is_local = version_command & 0x0f == 0;
    let kind = match (version_command >> 4, version_command & 0x0f) {
        (2, 0) => UNSPECIFIED,
        (2, 1) => family_transport,
        (2, _) => return Err("the command is neither LOCAL nor PROXY"),
        _ => return Err("the version is not 2"),
    };
    let addresses = match kind {
        UNSPECIFIED => 0,
        TCP4 | UDP4 => 2 * (4 + 2),
        TCP6 | UDP6 => 2 * (16 + 2),
        UNIX_STREAM | UNIX_DATAGRAM => 2 * 108,
        _ => return Err("the family and transport are not a valid pair"),
    };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST {
        return Err("the header is longer than 4096 bytes");
    }
    if length < FIXED + addresses {
        return Err("the header is too short for its addresses");
    }
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    if kind != UNSPECIFIED {
        check_extensions(header, FIXED + addresses)?;
    }
    let ends = match kind {
        TCP4 => binary_ends::<4>(header),
        TCP6 => binary_ends::<16>(header),
        _ => None,
    };
    Ok(Some(Header { is_local, ..Header::new(length, ends) }))
}

fn binary_ends<const N: usize>(header: &[u8]) -> Option<Ends>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = header.get(FIXED..)?.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let (destination_port, _) = rest.split_first_chunk()?;
    let source = end(IpAddr::from(*source), u16::from_be_bytes(*source_port));
    Some((source, end(IpAddr::from(*destination), u16::from_be_bytes(*destination_port))))
}

/// The extensions (type, length, value) from a place on: they fill the header, and its checksum, if there, is right.
fn check_extensions(header: &[u8], mut place: usize) -> Result<(), &'static str> {
    let mut checked = false;
    while let Some(extension) = header.get(place..).filter(|rest| !rest.is_empty()) {
        let &[kind, high, low, ref rest @ ..] = extension else { return Err("an extension is cut off") };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let value = rest.get(..length).ok_or("an extension is longer than the header")?;
        let is_second = kind == CHECKSUM && std::mem::replace(&mut checked, true);
        if is_second || (kind == CHECKSUM && !checksum_fits(header, place + 3, value)) {
            return Err("the checksum is wrong");
        }
        place += 3 + length;
    }
    Ok(())
}

/// The checksum is that of the header with four zeros in its own place.
fn checksum_fits(header: &[u8], place: usize, value: &[u8]) -> bool {
    let (Ok(told), Some((before, rest))) = (<[u8; 4]>::try_from(value), header.split_at_checked(place)) else {
        return false;
    };
    let after = rest.get(told.len()..).unwrap_or_default();
    let sum = [&[0; 4], after].into_iter().fold(crc32c::crc32c(before), crc32c::crc32c_append);
    sum == u32::from_be_bytes(told)
}

impl Header {
    fn new(length: usize, ends: Option<Ends>) -> Self {
        Header { length, is_local: false, source: ends.map(|ends| ends.0), destination: ends.map(|ends| ends.1) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NO_ENDS: Option<(&str, &str)> = None;

    fn header(length: usize, ends: Option<(&str, &str)>) -> Parsed {
        let ends = ends.map(|(source, destination)| (source.parse().unwrap(), destination.parse().unwrap()));
        Parsed::Header(Header::new(length, ends))
    }

    /// A version 2 header: version and command, family and transport, what follows the length.
    fn binary(version_command: u8, family_transport: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&BINARY[..], &[version_command, family_transport], &length, block].concat()
    }

    fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[kind], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
    }

    const V4_BLOCK: [u8; 12] = [192, 168, 0, 1, 192, 168, 0, 11, 0xdc, 0x04, 0x01, 0xbb];
    const V4_ENDS: Option<(&str, &str)> = Some(("192.168.0.1:56324", "192.168.0.11:443"));

    #[test]
    fn lines_of_the_specification() {
        let line = "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
        assert_eq!(parse(format!("{line}GET / HTTP/1.1\r\n").as_bytes()), header(line.len(), V4_ENDS));
        let longest = "255.255.255.255";
        let line = format!("PROXY TCP4 {longest} {longest} 65535 65535\r\n");
        assert_eq!(line.len(), 56);
        let end = format!("{longest}:65535");
        assert_eq!(parse(line.as_bytes()), header(56, Some((&end, &end))));
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let line = format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n");
        assert_eq!(line.len(), 104);
        let end = format!("[{longest}]:65535");
        assert_eq!(parse(line.as_bytes()), header(104, Some((&end, &end))));
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), header(15, NO_ENDS));
        let line = format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n");
        assert_eq!(parse(line.as_bytes()), header(107, NO_ENDS));
    }

    #[test]
    fn lines_at_the_edge() {
        for (line, ends) in [
            ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Some(("0.0.0.0:0", "0.0.0.0:0"))),
            ("PROXY TCP6 ::1 2001:DB8::2 1 2\r\n", Some(("[::1]:1", "[2001:db8::2]:2"))),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", Some(("192.0.2.1:1", "[::1]:2"))),
            ("PROXY UNKNOWN \u{0} what\tever \r\r\n", NO_ENDS),
        ] {
            assert_eq!(parse(line.as_bytes()), header(line.len(), ends), "{line:?}");
        }
    }

    #[test]
    fn malformed_lines() {
        for line in [
            "PROXY \r\n",
            "PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4\t5.6.7.8 1 2\r\n",
            "PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP6 ::1%eth0 ::1 1 2\r\n",
            "PROXY TCP6 [::1] ::1 1 2\r\n",
            "PROXY TCP6 1::2::3 ::1 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n",
            "PROXY TCP4 1.2.3.4\r 5.6.7.8 1 2\r\n",
            "PROXY UNKNOWN\n\r\n",
            "PROXY TCP4 é 5.6.7.8 1 2\r\n",
        ] {
            assert!(matches!(parse(line.as_bytes()), Parsed::Malformed(_)), "{line:?} {:?}", parse(line.as_bytes()));
        }
    }

    #[test]
    fn a_line_has_at_most_107_bytes() {
        let line = |length: usize| format!("PROXY UNKNOWN {}", "x".repeat(length - 16)) + "\r\n";
        assert_eq!(parse(line(107).as_bytes()), header(107, NO_ENDS));
        assert!(matches!(parse(line(108).as_bytes()), Parsed::Malformed(_)));
        assert_eq!(parse(&line(108).as_bytes()[..106]), Parsed::Incomplete);
    }

    #[test]
    fn what_is_no_header() {
        for own in
            ["GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "\r\nGET /", "PROXY/ 1", "PROXYTCP4", "\x16\x03\x01", "proxy "]
        {
            assert_eq!(parse(own.as_bytes()), Parsed::Absent, "{own:?}");
        }
        for begun in ["", "P", "PROXY", "PROXY TCP4 1.2", "\r", "\r\n\r\n\0\r\nQUI"] {
            assert_eq!(parse(begun.as_bytes()), Parsed::Incomplete, "{begun:?}");
        }
    }

    #[test]
    fn binary_headers() {
        let v6_block = [[0x20; 16], [0x30; 16]].concat();
        let v6_block = [&v6_block[..], &[0, 1, 0, 2]].concat();
        let v6 = ("[2020:2020:2020:2020:2020:2020:2020:2020]:1", "[3030:3030:3030:3030:3030:3030:3030:3030]:2");
        let mut mapped = [0; 36];
        mapped[10..16].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
        let noop = [&V4_BLOCK[..], &extension(4, b""), &extension(0xea, b"vpce"), &extension(1, b"h2")].concat();
        for (bytes, ends) in [
            (binary(0x21, 0x11, &V4_BLOCK), V4_ENDS),
            (binary(0x21, 0x21, &v6_block), Some(v6)),
            (binary(0x21, 0x21, &mapped), Some(("192.0.2.1:0", "[::]:0"))),
            (binary(0x21, 0x11, &noop), V4_ENDS),
            (binary(0x21, 0x12, &V4_BLOCK), NO_ENDS),
            (binary(0x21, 0x22, &v6_block), NO_ENDS),
            (binary(0x21, 0x31, &[b'/'; 216]), NO_ENDS),
            (binary(0x21, 0x32, &[b'/'; 216]), NO_ENDS),
            (binary(0x21, 0x00, b""), NO_ENDS),
            (binary(0x21, 0x00, b"whatever"), NO_ENDS),
        ] {
            let with_more = [&bytes[..], b"GET /"].concat();
            assert_eq!(parse(&with_more), header(bytes.len(), ends), "{bytes:02x?}");
        }
    }

    #[test]
    fn local_is_the_load_balancer_whatever_follows() {
        for bytes in [binary(0x20, 0x00, b""), binary(0x20, 0x11, &V4_BLOCK), binary(0x20, 0xff, b"x")] {
            let local = Header { is_local: true, ..Header::new(bytes.len(), None) };
            assert_eq!(parse(&bytes), Parsed::Header(local), "{bytes:02x?}");
        }
    }

    #[test]
    fn malformed_binary_headers() {
        let with = |more: &[u8]| binary(0x21, 0x11, &[&V4_BLOCK[..], more].concat());
        for (bytes, rule) in [
            (binary(0x11, 0x11, &V4_BLOCK), "version"),
            (binary(0x31, 0x11, &V4_BLOCK), "version"),
            (binary(0x22, 0x11, &V4_BLOCK), "command"),
            (binary(0x21, 0x10, &V4_BLOCK), "family"),
            (binary(0x21, 0x01, &V4_BLOCK), "family"),
            (binary(0x21, 0x13, &V4_BLOCK), "family"),
            (binary(0x21, 0x41, &V4_BLOCK), "family"),
            (binary(0x21, 0x11, &V4_BLOCK[..11]), "too short"),
            (binary(0x21, 0x21, &[0; 35]), "too short"),
            (binary(0x21, 0x31, &[0; 215]), "too short"),
            (with(&[4]), "cut off"),
            (with(&[4, 0]), "cut off"),
            (with(&[4, 0, 1]), "longer than the header"),
            (with(&[4, 0xff, 0xff, 0]), "longer than the header"),
            (with(&extension(CHECKSUM, &[0; 4])), "checksum"),
            (with(&extension(CHECKSUM, &[0; 3])), "checksum"),
            (with(&extension(4, &[0; 4069])), "4096"),
        ] {
            let Parsed::Malformed(told) = parse(&bytes) else { panic!("{bytes:02x?} {:?}", parse(&bytes)) };
            assert!(told.contains(rule), "{told}, not {rule}");
        }
        assert_eq!(parse(&with(&extension(4, &[0; 4065]))), header(4096, V4_ENDS));
        assert!(matches!(parse(&with(&[0; 9999])[..16]), Parsed::Malformed(_)), "known before it has come");
    }

    /// The checksum by its definition: a register, one bit at a time.
    fn slow_checksum(bytes: &[u8]) -> u32 {
        let mut register = u32::MAX;
        for byte in bytes {
            register ^= u32::from(*byte);
            for _ in 0..8 {
                register = (register >> 1) ^ if register & 1 == 1 { 0x82f6_3b78 } else { 0 };
            }
        }
        !register
    }

    #[test]
    fn the_checksum_covers_the_whole_header() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(slow_checksum(&[0; 32]).to_le_bytes(), [0xaa, 0x36, 0x91, 0x8a]);
        let block = [&V4_BLOCK[..], &extension(CHECKSUM, &[0; 4]), &extension(1, b"h2")].concat();
        let mut bytes = binary(0x21, 0x11, &block);
        let sum = slow_checksum(&bytes).to_be_bytes();
        bytes[31..35].copy_from_slice(&sum);
        assert_eq!(parse(&bytes), header(bytes.len(), V4_ENDS));
        // But for the type of the checksum itself: without it there is none.
        for place in (13..bytes.len()).filter(|place| *place != 28) {
            let mut forged = bytes.clone();
            forged[place] ^= 1;
            assert!(matches!(parse(&forged), Parsed::Malformed(_) | Parsed::Incomplete), "byte {place}");
        }
        let twice = [&block[..], &extension(CHECKSUM, &[0; 4])].concat();
        assert_eq!(parse(&binary(0x21, 0x11, &twice)), Parsed::Malformed("the checksum is wrong"));
    }

    fn write_text(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let (from, to) = (source.ip(), destination.ip());
        format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
    }

    fn write_binary(source: SocketAddr, destination: SocketAddr, extensions: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let octets = |end: SocketAddr| match end.ip() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
        let extensions: Vec<u8> = extensions.iter().flat_map(|(kind, value)| extension(*kind, value)).collect();
        let block = [octets(source), octets(destination), ports, extensions].concat();
        binary(0x21, if source.is_ipv4() { 0x11 } else { 0x21 }, &block)
    }

    /// Two ends of one family.
    fn two_ends() -> impl Strategy<Value = Ends> {
        let v4 = any::<[([u8; 4], u16); 2]>().prop_map(|ends| ends.map(|(ip, port)| SocketAddr::from((ip, port))));
        let v6 = any::<[([u16; 8], u16); 2]>().prop_map(|ends| ends.map(|(ip, port)| SocketAddr::from((ip, port))));
        prop_oneof![v4, v6]
            .prop_map(|[source, destination]| (end(source.ip(), source.port()), destination))
            .prop_filter("one family", |(source, destination)| source.is_ipv4() == destination.is_ipv4())
    }

    /// Bytes that are likely to be nearly a header.
    fn nearly() -> impl Strategy<Value = Vec<u8>> {
        let text =
            "PROXY (TCP4|TCP6|UNKNOWN|TCP)( (1\\.2\\.3\\.4|::1|0|99999|[ -~]{0,9})){0,5}(\r\n|\r|\n|)[ -~]{0,90}";
        let fixed = (prop_oneof![Just(0x20), Just(0x21), any::<u8>()], prop_oneof![Just(0x11), any::<u8>()]);
        let binary = (fixed, any::<u16>(), prop::collection::vec(any::<u8>(), 0..300)).prop_map(
            |((version, family), length, rest)| {
                let length = if length % 4 == 0 { length } else { length % 300 };
                [&BINARY[..], &[version, family], &length.to_be_bytes(), &rest].concat()
            },
        );
        prop_oneof![text.prop_map(String::into_bytes), binary, prop::collection::vec(any::<u8>(), 0..40)]
    }

    proptest! {
        #[test]
        fn more_bytes_never_change_a_verdict(bytes in nearly()) {
            let whole = parse(&bytes);
            for length in 0..=bytes.len() {
                let early = parse(&bytes[..length]);
                prop_assert!(early == Parsed::Incomplete || early == whole, "{early:?} of {length}, then {whole:?}");
            }
            if let Parsed::Header(header) = whole {
                prop_assert!(header.length <= bytes.len());
                prop_assert_eq!(parse(&bytes[..header.length - 1]), Parsed::Incomplete);
            }
        }

        #[test]
        fn what_is_written_is_read(ends in two_ends(), extensions in prop::collection::vec((4u8.., prop::collection::vec(any::<u8>(), 0..50)), 0..5)) {
            for bytes in [write_text(ends.0, ends.1), write_binary(ends.0, ends.1, &extensions)] {
                let expected = Parsed::Header(Header::new(bytes.len(), Some(ends)));
                prop_assert_eq!(parse(&[&bytes[..], b"\r\nGET"].concat()), expected);
            }
        }
    }
}
