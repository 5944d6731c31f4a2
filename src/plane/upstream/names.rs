//! How the names of targets become addresses, and how long these may be believed. Never on a request's path.
//!
//! An address is its own answer. Else what the hosts file says counts, then `localhost` is this machine, then the DNS
//! servers are asked, for A and AAAA at once, over UDP and for long answers over TCP: one after the other, `TRIES` times
//! round, until one knows. That a name does not exist is knowledge; a failure is none. One of the two kinds of addresses
//! suffices when the other one fails, and the smallest TTL of all records (those of aliases too) counts for all.
//!
//! Domains are searched as by the C library: on, when a name does not exist there, has no address or the server reports
//! a failure; not on, when nobody answers.
//!
//! Nothing is kept: every question has its own resolver, which lives on the runtime that asks, so one `Names` serves
//! background tasks and look-ups that block, and a server that comes back is found again.
//!
//! A name has at most [`MOST`] addresses, the lowest, IPv4 before IPv6: each is an endpoint with checks and metrics of its own,
//! and an answer may hold thousands, others each second.
//!
//! Known inaccuracy: a server that answers for one kind and is silent about the other makes every look-up wait for all
//! tries. All addresses of an answer count, whatever name stands beside them. The scope of a link-local server in
//! `resolv.conf` is lost.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use self::system::{Manner, PORT};
use gatekeeper_model::{Fault, Faults, Place, raw};

mod system;
#[cfg(test)]
mod tests;

/// How often each server is asked one question.
const TRIES: u32 = 2;
/// Addresses of one name that count.
pub(super) const MOST: usize = 64;
/// Look-ups at once, so that they do not take all descriptors; each holds two or three. More wait for their turn.
const AT_ONCE: usize = 64;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// In order, each once; never empty, and at most [`MOST`].
    pub addresses: Vec<IpAddr>,
    /// How long they may be believed.
    pub fresh_for: Duration,
    /// Addresses of both kinds were asked for and answered, if only by that there are none.
    pub is_whole: bool,
}

/// How names become addresses. Two are equal if they ask in the same way.
#[derive(Clone, Debug)]
pub struct Names {
    settings: Settings,
    turns: Arc<Semaphore>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    manner: Manner,
    hosts_file: PathBuf,
    timeout: Duration,
    min_ttl: Duration,
    max_ttl: Duration,
}

/// Why a name has no addresses, the worst last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    NoName,
    NoAddress,
    /// A server answered with a failure.
    Failed(String),
    /// Nobody answered.
    Silent(String),
}

impl PartialEq for Names {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for Names {}

impl Names {
    /// Compiles how names become addresses; nobody is asked anything yet.
    pub fn compile(raw: &raw::Dns, at: &Place<'_>, faults: &mut Faults) -> Option<Names> {
        let before = faults.len();
        check_periods(raw, at, faults);
        let manner = match raw.servers.is_empty() {
            true => system_manner(at, faults),
            false => Manner::only(servers(&raw.servers, &at.key("servers"), faults)),
        };
        let settings = Settings {
            manner,
            hosts_file: "/etc/hosts".into(),
            timeout: raw.timeout.0,
            min_ttl: raw.min_ttl.0,
            max_ttl: raw.max_ttl.0,
        };
        (faults.len() == before).then(|| Names::new(settings))
    }

    fn new(settings: Settings) -> Self {
        Names { settings, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Looks a name up; the error is a sentence about it for the log. Takes at most as long as all servers may when they
    /// are silent, beside the wait for its turn.
    pub async fn look_up(&self, host: &str) -> Result<Answer, String> {
        let _turn = self.turns.acquire().await;
        self.settings.find(host, Instant::now() + self.settings.patience()).await
    }

    /// Looks all of them up at once, and blocks meanwhile, but not longer than `within`; what is not known by then is
    /// a failure. Not to be called by a task, but by a thread of its own or one of those for tasks that block.
    pub fn look_up_all(&self, hosts: &[&str], within: Duration) -> HashMap<String, Result<Answer, String>> {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.find_all(hosts, Instant::now() + within)),
            Err(why) => {
                log::error!("DNS lookups are not possible: {why}");
                HashMap::new()
            }
        }
    }

    /// Turns of its own: those waiting in the background do not hold it up.
    async fn find_all(&self, hosts: &[&str], deadline: Instant) -> HashMap<String, Result<Answer, String>> {
        let own = Names::new(self.settings.clone());
        let mut look_ups = JoinSet::new();
        for host in hosts {
            let (names, host) = (own.clone(), host.to_string());
            look_ups.spawn(async move {
                let _turn = names.turns.acquire().await;
                let deadline = deadline.min(Instant::now() + names.settings.patience());
                let found = names.settings.find(&host, deadline).await;
                (host, found)
            });
        }
        let mut known = HashMap::new();
        while let Some(ended) = look_ups.join_next().await {
            match ended {
                Ok((host, answer)) => drop(known.insert(host, answer)),
                Err(why) => log::error!("a DNS lookup failed: {why}"),
            }
        }
        known
    }
}

impl Settings {
    /// How long a look-up may take.
    fn patience(&self) -> Duration {
        self.timeout * TRIES * u32::try_from(self.manner.servers.len()).unwrap_or(u32::MAX)
    }

    async fn find(&self, host: &str, deadline: Instant) -> Result<Answer, String> {
        if let Some(addresses) = self.known(host).await {
            return Ok(self.answer(addresses, self.max_ttl));
        }
        let meanings = self.manner.meanings(host);
        if meanings.is_empty() {
            return Err("it is not a host name".into());
        }
        let mut worst = Failure::NoName;
        for name in meanings {
            match self.ask(&name, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(silent @ Failure::Silent(_)) => return Err(silent.sentence()),
                Err(failure) => worst = worst.max(failure),
            }
        }
        Err(worst.sentence())
    }

    /// What no server is asked for.
    async fn known(&self, host: &str) -> Option<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Some(vec![address]);
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        let hosts = tokio::fs::read(&self.hosts_file).await.unwrap_or_default();
        let listed = system::in_hosts(&String::from_utf8_lossy(&hosts), name);
        let local = name.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"));
        match (listed.is_empty(), local) {
            (false, _) => Some(listed),
            (true, true) => Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
            (true, false) => None,
        }
    }

    async fn ask(&self, name: &Name, deadline: Instant) -> Result<Answer, Failure> {
        let four = self.ask_for(RecordType::A, name, deadline);
        let six = self.ask_for(RecordType::AAAA, name, deadline);
        match tokio::join!(four, six) {
            (Ok(four), Ok(six)) => {
                Ok(self.answer([four.addresses, six.addresses].concat(), four.fresh_for.min(six.fresh_for)))
            }
            (Ok(answer), Err(other)) | (Err(other), Ok(answer)) => {
                Ok(Answer { is_whole: matches!(other, Failure::NoName | Failure::NoAddress), ..answer })
            }
            // A name that does not exist has no records of any kind.
            (Err(Failure::NoName), _) | (_, Err(Failure::NoName)) => Err(Failure::NoName),
            (Err(four), Err(six)) => Err(four.max(six)),
        }
    }

    async fn ask_for(&self, kind: RecordType, name: &Name, deadline: Instant) -> Result<Answer, Failure> {
        let mut last = Failure::Silent("there was no time for the lookup".into());
        for server in (0..TRIES).flat_map(|_| &self.manner.servers) {
            let now = Instant::now();
            if now >= deadline {
                break;
            }
            let question = Box::pin(question(*server, kind, name, self.timeout));
            let answered = timeout_at(deadline.min(now + self.timeout), question).await;
            last = match answered.unwrap_or(Err(NetError::Timeout)) {
                Ok(lookup) => return self.read(&lookup, kind),
                Err(why) => Failure::of(&why, *server),
            };
            if matches!(last, Failure::NoName | Failure::NoAddress) {
                break;
            }
        }
        Err(last)
    }

    fn read(&self, lookup: &Lookup, kind: RecordType) -> Result<Answer, Failure> {
        let records = lookup.answers();
        let wanted = records.iter().filter(|record| record.record_type() == kind);
        let addresses: Vec<IpAddr> = wanted.filter_map(|record| record.data.ip_addr()).collect();
        let ttl = records.iter().map(|record| record.ttl).min().unwrap_or_default();
        match addresses.is_empty() {
            true => Err(Failure::NoAddress),
            false => Ok(self.answer(addresses, Duration::from_secs(ttl.into()))),
        }
    }

    fn answer(&self, mut addresses: Vec<IpAddr>, ttl: Duration) -> Answer {
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MOST);
        Answer { addresses, fresh_for: ttl.clamp(self.min_ttl, self.max_ttl), is_whole: true }
    }
}

/// Asks one server, without asking again, the hosts file or a memory.
async fn question(server: SocketAddr, kind: RecordType, name: &Name, patience: Duration) -> Result<Lookup, NetError> {
    let mut ways = NameServerConfig::udp_and_tcp(server.ip());
    ways.connections.iter_mut().for_each(|way| way.port = server.port());
    let config = ResolverConfig::from_name_servers(vec![ways]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.attempts = 0;
    options.timeout = patience;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    // Not every small server understands it; what does not fit into a packet comes over TCP.
    options.edns0 = false;
    builder.build()?.lookup(name.clone(), kind).await
}

impl Failure {
    fn of(why: &NetError, server: SocketAddr) -> Self {
        match why {
            why if why.is_nx_domain() => Failure::NoName,
            why if why.is_no_records_found() => Failure::NoAddress,
            NetError::Dns(DnsError::ResponseCode(code)) => {
                Failure::Failed(format!("{server} answered {}", word(*code)))
            }
            NetError::Timeout => Failure::Silent(format!("{server} did not answer in time")),
            NetError::Io(why) => Failure::Silent(format!("cannot reach {server}: {why}")),
            why => Failure::Failed(format!("the answer of {server} cannot be used: {why}")),
        }
    }

    fn sentence(self) -> String {
        match self {
            Failure::NoName => "NXDOMAIN".into(),
            Failure::NoAddress => "it has no addresses".into(),
            Failure::Failed(why) | Failure::Silent(why) => why,
        }
    }
}

/// `SERVFAIL`, `REFUSED`.
fn word(code: ResponseCode) -> String {
    format!("{code:?}").to_ascii_uppercase()
}

fn check_periods(raw: &raw::Dns, at: &Place<'_>, faults: &mut Faults) {
    let (milli, second) = (Duration::from_millis(1), Duration::from_secs(1));
    let periods = [
        ("timeout", raw.timeout, 10 * milli..=60 * second, "10ms to 1m"),
        ("min_ttl", raw.min_ttl, 100 * milli..=3_600 * second, "100ms to 1h"),
        ("max_ttl", raw.max_ttl, 100 * milli..=86_400 * second, "100ms to 1d"),
    ];
    for (key, found, range, allowed) in periods {
        if !range.contains(&found.0) {
            faults.push(at.key(key), found.to_string(), allowed);
        }
    }
    if raw.min_ttl > raw.max_ttl {
        faults.add(Fault::saying(at.key("min_ttl"), "longer than max_ttl"));
    }
}

fn servers(texts: &[String], at: &Place<'_>, faults: &mut Faults) -> Vec<SocketAddr> {
    let parsed = texts.iter().map(|text| {
        let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, PORT));
        address.ok().or_else(|| text.parse().ok()).filter(|server| server.port() > 0)
    });
    for (index, (text, _)) in texts.iter().zip(parsed.clone()).enumerate().filter(|(_, (_, server))| server.is_none()) {
        faults.push(at.index(index), format!("{text:?}"), "an IP address, or one with a port: 192.0.2.53:5353");
    }
    parsed.flatten().collect()
}

/// Targets may all be addresses: what is wrong with the system's settings is no reason not to start.
fn system_manner(at: &Place<'_>, faults: &mut Faults) -> Manner {
    let (manner, why) = Manner::of_system(Path::new("/etc/resolv.conf"));
    if let Some(why) = why {
        faults.warn(Fault::saying(at.key("servers"), why).with_hint("127.0.0.1 is asked for the names of targets"));
    }
    manner
}
