//! Who a client is: the peer, or what trusted proxies say of it (SEMANTICS 2.4); and sets of addresses.
//!
//! A client whose load balancer sends a PROXY header without an address is unknown: it counts as 0.0.0.0, which is never
//! trusted. So all such clients share one count in limits, in the flood guard, in the budget of failures and in the cap of
//! connections, apart from the load balancer's own; and address lists can name them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::HeaderMap;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A set of addresses; `unix` stands for peers on a unix socket. A look-up takes the logarithm of its size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// First and last address of each range, in order and apart from each other. All of IPv4 comes before all of IPv6.
    ranges: Box<[(IpAddr, IpAddr)]>,
    unix: bool,
}

/// The address of a client that a load balancer speaks for without saying who it is.
pub const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The forms a network may have, for error texts.
pub const ALLOWED: &str = "a network (10.0.0.0/8), an address or \"unix\"";

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client, as far as it is known; `None` on a unix socket without a trusted word.
    pub address: Option<IpAddr>,
    /// The peer of the connection; `None` on a unix socket.
    pub peer: Option<IpAddr>,
    /// The peer's word is believed.
    pub trusted: bool,
}

impl Networks {
    /// Understands the texts; the error holds the index of each one that is none.
    pub fn parse(texts: &[String]) -> Result<Self, Vec<usize>> {
        let (mut ranges, mut unix, mut wrong) = (Vec::new(), false, Vec::new());
        for (index, text) in texts.iter().enumerate() {
            match (text.as_str(), parse_network(text)) {
                ("unix", _) => unix = true,
                (_, Some(net)) => ranges.push(range(net)),
                (_, None) => wrong.push(index),
            }
        }
        if wrong.is_empty() { Ok(Networks { ranges: joined(ranges), unix }) } else { Err(wrong) }
    }

    /// Every address there is; no peer on a unix socket.
    pub fn every_address() -> Self {
        let nets = [IpNet::from(Ipv4Net::default()), IpNet::from(Ipv6Net::default())];
        Networks { ranges: nets.map(range).into(), unix: false }
    }

    /// Whether an address is in the set; `None` is a peer on a unix socket.
    pub fn contains(&self, address: Option<IpAddr>) -> bool {
        let Some(address) = address else { return self.unix };
        self.range_before(address).is_some_and(|(_, last)| address <= last)
    }

    /// Whether all of the other set is in this one.
    pub fn includes(&self, other: &Networks) -> bool {
        let within = |(first, last): &(IpAddr, IpAddr)| {
            self.range_before(*first).is_some_and(|range| *first <= range.1 && *last <= range.1)
        };
        other.ranges.iter().all(within) && (self.unix || !other.unix)
    }

    /// The last range that does not begin after this address.
    fn range_before(&self, address: IpAddr) -> Option<(IpAddr, IpAddr)> {
        let after = self.ranges.partition_point(|(first, _)| *first <= address);
        self.ranges.get(after.checked_sub(1)?).copied()
    }

    /// The client behind a peer: X-Forwarded-For is walked from the right, trusted networks skipped; the first other one
    /// is the client. A malformed entry stops the walk. If all are trusted, the leftmost one is.
    pub fn client(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Client {
        let peer = peer.map(|address| address.to_canonical());
        // Nobody has the unspecified address, not even where every address is trusted.
        let trusted = !peer.is_some_and(|peer| peer.is_unspecified()) && self.contains(peer);
        let mut client = Client { address: peer, peer, trusted };
        if !trusted {
            return client;
        }
        let entries = headers.get_all("x-forwarded-for").iter().rev();
        for entry in entries.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b',')) {
            let Some(address) = parse_entry(entry) else { break };
            client.address = Some(address);
            if !self.contains(client.address) {
                break;
            }
        }
        client
    }
}

/// Whether a field of this name, in lower case, says where a request came from.
pub fn is_origin(name: &str) -> bool {
    name.starts_with("x-forwarded-") || name == "forwarded" || name == "x-real-ip"
}

/// Whether a network is so broad that its peers can hardly all be one's own: more than 2^24 addresses of IPv4, or 2^112 of IPv6
/// that are not the unique local ones.
pub fn is_broad(text: &str) -> bool {
    let Some((first, last)) = parse_network(text).map(range) else { return false };
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => last.to_bits() - first.to_bits() > (1 << 24) - 1,
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let is_local = first.is_unique_local() && last.is_unique_local();
            !is_local && last.to_bits() - first.to_bits() > (1 << 112) - 1
        }
        _ => true,
    }
}

/// The network that a text means whose address does not begin it: `10.0.0.0/8` for `10.0.0.1/8`.
pub fn meant_network(text: &str) -> Option<String> {
    let net: IpNet = text.parse().ok()?;
    (net.addr() != net.network()).then(|| net.trunc().to_string())
}

/// What one client has all of: an IPv4 address, or an IPv6 network of 64 bits.
pub fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

fn parse_network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// First and last address. A network of mapped IPv4 addresses is one of IPv4.
fn range(net: IpNet) -> (IpAddr, IpAddr) {
    let ends = (net.network(), net.broadcast());
    match (ends.0.to_canonical(), ends.1.to_canonical()) {
        canonical @ (IpAddr::V4(_), IpAddr::V4(_)) => canonical,
        _ => ends,
    }
}

fn joined(mut ranges: Vec<(IpAddr, IpAddr)>) -> Box<[(IpAddr, IpAddr)]> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, range| {
        let overlap = next.0 <= range.1;
        range.1 = if overlap { range.1.max(next.1) } else { range.1 };
        overlap
    });
    ranges.into()
}

/// An entry of X-Forwarded-For: an address, perhaps in brackets or with a port.
fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()));
    let address = address.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> Option<IpAddr> {
        let networks = Networks::parse(&["10.0.0.0/8".into(), "192.0.2.1".into(), "unix".into()]).unwrap();
        let mut headers = HeaderMap::new();
        forwarded.iter().for_each(|value| {
            headers.append("x-forwarded-for", value.parse().unwrap());
        });
        networks.client(peer.parse().ok(), &headers).address
    }

    #[test]
    fn a_network_that_begins_elsewhere_is_seen() {
        let cases = [
            ("10.0.0.1/8", Some("10.0.0.0/8")),
            ("2001:db8::1/32", Some("2001:db8::/32")),
            ("10.0.0.0/8", None),
            ("10.0.0.1/32", None),
            ("10.0.0.1", None),
            ("unix", None),
        ];
        for (text, meant) in cases {
            assert_eq!(meant_network(text).as_deref(), meant, "{text}");
        }
    }

    #[test]
    fn an_unknown_client_is_never_trusted() {
        let networks = Networks::parse(&["0.0.0.0/0".into(), "::/0".into()]).unwrap();
        let headers = HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), "192.0.2.1".parse().unwrap())]);
        for unknown in [UNKNOWN, Ipv6Addr::UNSPECIFIED.into()] {
            let client = networks.client(Some(unknown), &headers);
            assert_eq!((client.address, client.trusted), (Some(unknown), false));
        }
    }

    #[test]
    fn the_walk_goes_from_the_right_and_stops_at_the_first_stranger() {
        let cases: &[(&str, &[&str], &str)] = &[
            ("203.0.113.9", &["198.51.100.1"], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.1, 10.2.3.4"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6", "198.51.100.1", "192.0.2.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, nonsense, 10.2.3.4"], "10.2.3.4"),
            ("10.0.0.1", &["nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("unix", &["198.51.100.1"], "198.51.100.1"),
        ];
        for (peer, forwarded, wanted) in cases {
            assert_eq!(client(peer, forwarded), wanted.parse().ok(), "{peer} {forwarded:?}");
        }
        assert_eq!(client("unix", &[]), None);
    }

    #[test]
    fn a_set_holds_its_networks_and_no_neighbour() {
        let set =
            |texts: &[&str]| Networks::parse(&texts.iter().map(|text| text.to_string()).collect::<Vec<_>>()).unwrap();
        let networks = set(&["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1", "::ffff:198.51.100.0/120", "2001:db8::/32"]);
        let cases = [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("198.51.100.7", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("::", false),
            ("::a00:1", false),
        ];
        for (address, wanted) in cases {
            assert_eq!(networks.contains(address.parse().ok()), wanted, "{address}");
        }
        assert!(!networks.contains(None) && set(&["unix"]).contains(None));
        assert!(set(&["::/80"]).contains("::1".parse().ok()));
        assert!(!set(&["::/0"]).contains("192.0.2.1".parse().ok()));
        assert!(set(&["0.0.0.0/0", "unix"]).includes(&set(&["10.0.0.0/8", "192.0.2.1", "unix"])));
        assert!(!set(&["0.0.0.0/0"]).includes(&set(&["unix"])));
        assert!(
            !set(&["10.0.0.0/9"]).includes(&set(&["10.0.0.0/8"])) && !set(&["10.0.0.0/8"]).includes(&set(&["::/0"]))
        );
    }

    proptest! {
        /// Against a walk through all of them.
        #[test]
        fn a_look_up_is_a_walk(nets in vec((0..64_u32, 24..=32_u8), 0..40), address in 0..64_u32) {
            let addressed = |number: u32| Ipv4Addr::from(0xc000_0200 | number);
            let nets: Vec<String> = nets.iter().map(|(net, bits)| format!("{}/{bits}", addressed(*net))).collect();
            let address = IpAddr::from(addressed(address));
            let walked = nets.iter().any(|net| net.parse::<IpNet>().unwrap().contains(&address));
            prop_assert_eq!(Networks::parse(&nets).unwrap().contains(Some(address)), walked);
        }
    }

    #[test]
    fn what_is_broad() {
        for broad in ["0.0.0.0/0", "0.0.0.0/1", "10.0.0.0/7", "::/0", "2000::/3", "2001::/15", "::ffff:0:0/96"] {
            assert!(is_broad(broad), "{broad}");
        }
        for narrow in ["10.0.0.0/8", "192.0.2.1", "fc00::/7", "fd00::/8", "2001:db8::/32", "2001::/16", "unix"] {
            assert!(!is_broad(narrow), "{narrow}");
        }
    }

    #[test]
    fn every_wrong_network_is_named() {
        let texts = ["10.0.0.0/33", "::1", "x", "unix"].map(String::from);
        assert_eq!(Networks::parse(&texts), Err(vec![0, 2]));
    }
}
