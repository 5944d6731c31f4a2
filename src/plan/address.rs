//! Who a client is: the peer, or what trusted proxies say of it (SEMANTICS 2.4).

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

/// Networks whose word on a request's origin is believed; `unix` stands for peers on a unix socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    nets: Box<[IpNet]>,
    unix: bool,
}

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
        let mut networks = (Vec::new(), false);
        let mut wrong = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            match (text.as_str(), parse_network(text)) {
                ("unix", _) => networks.1 = true,
                (_, Some(net)) => networks.0.push(net),
                (_, None) => wrong.push(index),
            }
        }
        if wrong.is_empty() { Ok(Networks { nets: networks.0.into(), unix: networks.1 }) } else { Err(wrong) }
    }

    /// Whether a peer is in one of them.
    pub fn contains(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            Some(address) => self.nets.iter().any(|net| net.contains(&address)),
            None => self.unix,
        }
    }

    /// The client behind a peer: X-Forwarded-For is walked from the right, trusted networks skipped; the first other one
    /// is the client. A malformed entry stops the walk. If all are trusted, the leftmost one is.
    pub fn client(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Client {
        let peer = peer.map(|address| address.to_canonical());
        let trusted = self.contains(peer);
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

fn parse_network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
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
    fn every_wrong_network_is_named() {
        let texts = ["10.0.0.0/33", "::1", "x", "unix"].map(String::from);
        assert_eq!(Networks::parse(&texts), Err(vec![0, 2]));
    }
}
