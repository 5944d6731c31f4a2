//! What this machine says of names: whom to ask and which domains to search, and the hosts file.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use gatekeeper_model::files;
use hickory_resolver::proto::rr::Name;

/// The port of DNS.
pub(super) const PORT: u16 = 53;

/// As many servers as the C library asks.
const SERVERS: usize = 3;

/// Whom to ask, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    /// Asked in this order.
    pub servers: Vec<SocketAddr>,
    /// Domains that a name may be meant to stand in.
    pub search: Vec<Name>,
    /// A name with as many dots is tried as it is before it is searched for.
    pub ndots: usize,
}

impl Manner {
    /// Names are complete as they are written.
    pub fn only(servers: Vec<SocketAddr>) -> Self {
        Manner { servers, search: Vec::new(), ndots: 1 }
    }

    /// As a `resolv.conf` says. Where there is none, or no server in it, one on this machine is asked, as by the C
    /// library; the same holds for a file that cannot be read, with the reason.
    pub fn of_system(file: &Path) -> (Self, Option<String>) {
        let (text, why) = match files::read(file) {
            Ok(text) => (text, None),
            Err(why) if why.kind() == ErrorKind::NotFound => (Vec::new(), None),
            Err(why) => (Vec::new(), Some(files::unreadable(file.display(), &why))),
        };
        (Manner::parse(&text), why)
    }

    /// What is wrong in the text is passed over.
    fn parse(text: &[u8]) -> Self {
        let (parsed, _) = resolv_conf::Config::parse_with_errors(text);
        let mut servers: Vec<IpAddr> = parsed.nameservers.iter().take(SERVERS).map(IpAddr::from).collect();
        if servers.is_empty() {
            servers.push(Ipv4Addr::LOCALHOST.into());
        }
        Manner {
            servers: servers.into_iter().map(|address| SocketAddr::new(address, PORT)).collect(),
            search: parsed
                .get_last_search_or_domain()
                .filter_map(|domain| Name::from_str_relaxed(domain).ok())
                .collect(),
            ndots: parsed.ndots as usize,
        }
    }

    /// What a name may mean, the likeliest first; nothing if it is no name. One with a dot at its end is complete.
    pub fn meanings(&self, host: &str) -> Vec<Name> {
        let Some(name) = Name::from_str_relaxed(host).ok().filter(|name| name.num_labels() > 0) else {
            return Vec::new();
        };
        if name.is_fqdn() {
            return vec![name];
        }
        let within = |domain| name.clone().append_domain(domain).ok();
        let mut names: Vec<Name> = self.search.iter().filter_map(within).collect();
        let complete_first = host.matches('.').count() >= self.ndots;
        let mut complete = name.clone();
        complete.set_fqdn(true);
        names.insert(if complete_first { 0 } else { names.len() }, complete);
        names
    }
}

/// The addresses that a hosts file gives a name (without a dot at its end).
pub(super) fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn resolv_conf_says_whom_to_ask_and_where_to_search() {
        let text = "# by hand\nnameserver 192.0.2.1\nnonsense here\nnameserver 2001:db8::1\nsearch a.example b.example\n\
                    options ndots:3 timeout:9\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        let manner = Manner::parse(text.as_bytes());
        let wanted = ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"].map(|text| text.parse().unwrap());
        assert_eq!((manner.servers.as_slice(), manner.ndots), (&wanted[..], 3));
        assert_eq!(manner.search, ["a.example", "b.example"].map(|text| Name::from_str_relaxed(text).unwrap()));
        let last_counts = Manner::parse(b"search a.example\ndomain c.example\n");
        assert_eq!(last_counts.search, [Name::from_str_relaxed("c.example").unwrap()]);
    }

    #[test]
    fn without_resolv_conf_this_machine_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let own = Manner::only(vec!["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(Manner::of_system(&folder.path().join("none")), (own.clone(), None));
        let (manner, why) = Manner::of_system(folder.path());
        assert_eq!(manner, own);
        assert!(why.unwrap().contains("cannot read "));
        let garbage = folder.path().join("garbage");
        std::fs::write(&garbage, [0xff, 0, 0xfe, b'\n', 0x80]).unwrap();
        assert_eq!(Manner::of_system(&garbage), (own, None));
    }

    #[test]
    fn a_name_is_searched_for_as_its_dots_say() {
        let manner = Manner::parse(b"search a.example b.example.\noptions ndots:2\n");
        let cases: &[(&str, &[&str])] = &[
            ("db", &["db.a.example.", "db.b.example.", "db."]),
            ("db.x", &["db.x.a.example.", "db.x.b.example.", "db.x."]),
            ("db.x.y", &["db.x.y.", "db.x.y.a.example.", "db.x.y.b.example."]),
            ("db.", &["db."]),
            ("_db", &["_db.a.example.", "_db.b.example.", "_db."]),
        ];
        for (host, wanted) in cases {
            let found: Vec<_> = manner.meanings(host).iter().map(Name::to_string).collect();
            assert_eq!(&found, wanted, "{host}");
        }
    }

    #[test]
    fn what_is_no_name_means_nothing() {
        let manner = Manner::parse(b"search a.example\n");
        let long = format!("{}.example", "x".repeat(64));
        let longer = ["x".repeat(63), "x".repeat(63), "x".repeat(63), "x".repeat(63)].join(".");
        for host in ["", ".", "..", "a..b", ".a", &long, &longer] {
            assert_eq!(manner.meanings(host), [], "{host}");
        }
        // Too long only inside of the domain.
        assert_eq!(manner.meanings(longer.get(..250).unwrap()).len(), 1);
    }

    #[test]
    fn the_hosts_file_gives_all_addresses_of_a_name() {
        let text = "127.0.0.1 localhost\n::1\tlocalhost ip6-localhost # v6\n#10.0.0.9 db\nnonsense db\n\n10.0.0.1 web DB\r\n\
                    10.0.0.2 db.x #db\n10.0.0.3 dB";
        assert_eq!(in_hosts(text, "localhost"), addresses(&["127.0.0.1", "::1"]));
        assert_eq!(in_hosts(text, "db"), addresses(&["10.0.0.1", "10.0.0.3"]));
        assert!(in_hosts(text, "10.0.0.1").is_empty() && in_hosts(text, "none").is_empty());
    }
}
