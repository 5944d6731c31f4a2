//! What is known of one client connection, shared between the stream it is read from and the requests on it.

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::HeaderValue;
use parking_lot::Mutex;
use pingora::http::{ResponseHeader, header_value_from_slice};
use pingora::protocols::Digest;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora_proxy::Session;
use smallvec::SmallVec;

use super::entrance::Entrance;
use super::ledger::Account;
use crate::observe::metrics::Open;
use crate::policy::auth::certificate::ClientCertificate;
use gatekeeper_core::fragments;
use gatekeeper_core::wire::Fault;

/// One client connection.
#[derive(Debug)]
pub struct Connection {
    /// Where it comes from: the peer, or the client that a trusted peer's PROXY header names (`UNKNOWN` if the header has no
    /// address); `None` on a unix socket.
    pub source: Option<SocketAddr>,
    /// Where it was made to.
    pub destination: Option<SocketAddr>,
    /// The entrance it came by.
    pub entrance: Arc<Entrance>,
    /// Who it says it is, if it showed a certificate.
    pub certificate: Option<ClientCertificate>,
    /// Its answers that wait to be taken.
    pub account: Arc<Account>,
    /// Counts it among those that have asked nothing yet.
    newcomer: Mutex<Option<Open>>,
    /// What services are told of where it comes from and was made to; made once.
    source_value: OnceLock<HeaderValue>,
    port_value: OnceLock<HeaderValue>,
    begun: AtomicU64,
    settled: AtomicU64,
    upgraded: AtomicBool,
    /// Bytes that an HTTP/2 client took.
    taken: AtomicU64,
    fault: OnceLock<Fault>,
    /// The date of the response whose head is written next, if it is not the present; and whether there is one.
    date: Mutex<Option<HeaderValue>>,
    dated: AtomicBool,
    /// Hashes of paths that lost a fragment on their way through the HTTP/2 library, while their requests are to come.
    cut_paths: OnceLock<Box<Mutex<Vec<u64>>>>,
}

/// As many are remembered. Nobody means well who sends one.
const MOST_CUT: usize = 16;

impl Connection {
    /// A connection on which nothing has happened yet.
    pub fn new(
        source: Option<SocketAddr>,
        destination: Option<SocketAddr>,
        entrance: Arc<Entrance>,
        newcomer: Option<Open>,
        account: Arc<Account>,
    ) -> Self {
        Connection {
            source,
            destination,
            entrance,
            certificate: None,
            account,
            newcomer: Mutex::new(newcomer),
            source_value: OnceLock::new(),
            port_value: OnceLock::new(),
            begun: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            upgraded: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            fault: OnceLock::new(),
            date: Mutex::new(None),
            dated: AtomicBool::new(false),
            cut_paths: OnceLock::new(),
        }
    }

    /// The connection a request came on.
    pub fn of(session: &Session) -> Option<&Arc<Connection>> {
        Connection::of_digest(session.digest()?)
    }

    /// The connection that is carried so.
    pub fn of_digest(digest: &Digest) -> Option<&Arc<Connection>> {
        digest.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
    }

    /// The form in which the framework carries a connection to its requests.
    pub fn digest(self: &Arc<Self>) -> Arc<ProxyDigest> {
        let carried: Box<dyn Any + Send + Sync> = Box::new(self.clone());
        let nothing = http::Response::new(()).into_parts().0;
        Arc::new(ProxyDigest::new(Box::new(ResponseHeader::from(nothing)), Some(carried)))
    }

    /// The address it comes from.
    pub fn source_value(&self) -> Option<&HeaderValue> {
        self.source.map(|source| self.source_value.get_or_init(|| address_value(source.ip())))
    }

    /// The port it was made to.
    pub fn port_value(&self) -> Option<&HeaderValue> {
        self.destination.map(|destination| self.port_value.get_or_init(|| destination.port().into()))
    }

    /// Whether its bytes are encrypted.
    pub fn is_tls(&self) -> bool {
        self.entrance.tls.is_some()
    }

    /// Whether it is the gateway's own: what it asks is nobody's request.
    pub fn is_probe(&self) -> bool {
        self.entrance.is_for_probes
    }

    /// A request's head was read; the number of requests so far.
    pub fn begin(&self) -> u64 {
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        if number == 1 {
            self.newcomer.lock().take();
        }
        number
    }

    /// A request was settled.
    pub fn settle(&self) {
        self.account.settle_down();
        self.settled.fetch_add(1, Ordering::Release);
    }

    /// Requests settled so far.
    pub fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    /// An HTTP/2 client took so many bytes.
    pub fn took(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How many bytes an HTTP/2 client took so far.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether no request is being served.
    pub fn is_idle(&self) -> bool {
        self.settled() == self.begun.load(Ordering::Relaxed)
    }

    /// Another protocol is spoken from now on.
    pub fn upgrade(&self) {
        self.upgraded.store(true, Ordering::Release);
    }

    /// Whether another protocol is spoken.
    pub fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Acquire)
    }

    /// The response whose head is written next has this date, or the present.
    pub fn date_next(&self, date: Option<HeaderValue>) {
        if date.is_some() || self.dated.load(Ordering::Relaxed) {
            self.dated.store(date.is_some(), Ordering::Relaxed);
            *self.date.lock() = date;
        }
    }

    /// The date of the head that is written now, if it is not the present.
    pub fn take_date(&self) -> Option<HeaderValue> {
        if !self.dated.load(Ordering::Relaxed) {
            return None;
        }
        self.dated.store(false, Ordering::Relaxed);
        self.date.lock().take()
    }

    /// The body of the request under way breaks a rule: its connection reads no further.
    pub fn break_off(&self, fault: Fault) {
        self.fault.get_or_init(|| fault);
    }

    /// Notes that a path loses a fragment; false if there are too many whose requests have not come.
    pub fn note_cut(&self, path: u64) -> bool {
        let mut paths = self.cut_paths.get_or_init(Box::default).lock();
        paths.push(path);
        paths.len() <= MOST_CUT
    }

    /// Whether a request's target, of which this is left, lost a fragment.
    pub fn was_cut(&self, target: &str) -> bool {
        let Some(paths) = self.cut_paths.get() else { return false };
        let (mut paths, hash) = (paths.lock(), fragments::hash(target.as_bytes()));
        let place = paths.iter().position(|path| *path == hash);
        place.map(|place| paths.swap_remove(place)).is_some()
    }

    /// The rule that a request's body broke.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.get().copied()
    }
}

/// An address as text. By far the most are IPv4, which the standard library's formatting takes ten times as long for.
pub fn address_value(address: IpAddr) -> HeaderValue {
    let IpAddr::V4(v4) = address else { return header_value_from_slice(address.to_string().as_bytes()) };
    let mut text = SmallVec::<[u8; 16]>::new();
    for octet in v4.octets() {
        if octet >= 100 {
            text.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            text.push(b'0' + octet / 10 % 10);
        }
        text.extend([b'0' + octet % 10, b'.']);
    }
    text.pop();
    header_value_from_slice(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are() {
        for address in ["0.0.0.0", "1.20.99.100", "127.0.0.1", "255.199.9.10", "2001:db8::1"] {
            assert_eq!(address_value(address.parse().unwrap()), address);
        }
    }
}
