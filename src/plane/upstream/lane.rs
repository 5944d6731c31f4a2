//! Lanes: which requests share an HTTP/2 connection to an endpoint, so that what one does on it the others do not feel.
//!
//! The framework pools connections by a key. A lane is a key of its own, and so has connections of its own: as a rule
//! one, more where the endpoint allows fewer streams on each. A lane takes
//!
//! * at most [`STREAMS`] requests at once, each of which can hold [`STREAM_WINDOW`] of an answer that its client does not
//!   take. The connection's window is as large as all of them together ([`CONNECTION_WINDOW`], 8 MiB, which is also the
//!   most memory that such answers take up in one connection), so that none of them is ever stopped by the others;
//! * bodies of requests of at most [`CREDIT`] together, which every endpoint has to take on a connection before it has read
//!   anything (RFC 9113 6.9.2). A longer body, or one of unknown length, has that credit to itself: an upload that is not read
//!   never stops another. Requests without a body go with any of them;
//! * at most [`RESETS`] requests that were given up, and resets their streams with that, besides those that are on it just
//!   then: an endpoint that ends connections for too many resets would end the others' requests too.
//!
//! A lane that is worn, or whose connection is lost, takes no new requests; those on it end as they would.
//!
//! A request whose task is dropped never gives its stream back to the framework's pool, which then keeps the connection for
//! ever. So a lane with such a request ends as soon as nobody is on it: its connections are shut down. Its key is used again
//! when the pool has noticed that: whoever asks the pool under that key makes it forget the connection.
//!
//! Known inaccuracy: gRPC calls have no length, and there are too many at once for a connection each. They have lanes of
//! their own and share their credit. Once pieces of calls have been waiting to be taken for [`STALL`] without a break, new
//! calls keep away from the lane; those already on it wait with it.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;

use super::socket::Socket;

/// Requests that share one connection at most.
pub const STREAMS: u32 = 32;
/// What an endpoint may send of one answer before the client has taken any of it.
pub const STREAM_WINDOW: u32 = 256 * 1024;
/// The same of all answers on a connection.
pub const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW;
/// Bytes of requests' bodies that an endpoint takes on a connection unread, whatever it is.
const CREDIT: u32 = 65_535;
/// Requests given up after which a lane takes no new ones. With those on it then they are fewer than 50, which is the
/// strictest limit (per second) among common servers.
const RESETS: u32 = 16;
/// How long pieces of calls may wait to be taken, without a break, before new calls go elsewhere.
const STALL: Duration = Duration::from_millis(200);

/// By then the pool knows of a connection that it is shut down.
const NOTICED: Duration = Duration::from_secs(1);
/// What a lane's streams are when it has ended: more than any lane may have.
const ENDED: u32 = 1 << 31;

/// The lanes to an endpoint.
pub struct Lanes {
    start: Instant,
    open: ArcSwap<Vec<Arc<Lane>>>,
    opening: Mutex<()>,
    used: Arc<Used>,
    /// It was found to speak HTTP/1, whose connections nobody shares.
    unshared: AtomicBool,
}

/// Keys under which the pool has connections that nobody gave back, and when they were shut down; the oldest first.
type Used = Mutex<VecDeque<(Instant, u64)>>;

/// A key of the pool of connections, and what is on them.
struct Lane {
    key: u64,
    used: Arc<Used>,
    /// Its connections.
    sockets: Mutex<Vec<Socket>>,
    /// A request on it was dropped together with its task.
    abandoned: AtomicBool,
    /// It takes gRPC calls, and nothing else.
    calls: bool,
    start: Instant,
    streams: AtomicU32,
    /// Credit that is spoken for.
    credit: AtomicU32,
    resets: AtomicU32,
    /// Pieces of calls that were not taken yet.
    pieces: AtomicU32,
    /// Since when there are some, in milliseconds since the start.
    since: AtomicU64,
}

/// What a request is going to send after its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    /// Nothing.
    Nothing,
    /// So many bytes.
    Bytes(u64),
    /// Nobody knows how many bytes.
    Unknown,
    /// The messages of a gRPC call.
    Call,
}

impl Upload {
    /// The credit that it needs for itself.
    fn credit(self) -> u32 {
        match self {
            Upload::Nothing | Upload::Call => 0,
            Upload::Bytes(length) => u32::try_from(length).unwrap_or(CREDIT).min(CREDIT),
            Upload::Unknown => CREDIT,
        }
    }
}

impl Lanes {
    pub(super) fn new(start: Instant) -> Self {
        let (open, opening, used) = (ArcSwap::default(), Mutex::new(()), Arc::default());
        Lanes { start, open, opening, used, unshared: AtomicBool::new(false) }
    }

    /// A place for a request that may share its connection; none where connections are not shared.
    pub fn enter(&self, upload: Upload) -> Option<Stream> {
        if self.unshared.load(Ordering::Relaxed) {
            return None;
        }
        Some(self.find(upload).unwrap_or_else(|| self.open(upload)))
    }

    /// Notes whether the endpoint was found to speak HTTP/2.
    pub fn note(&self, shared: bool) {
        if self.unshared.load(Ordering::Relaxed) == shared {
            self.unshared.store(!shared, Ordering::Relaxed);
        }
    }

    fn find(&self, upload: Upload) -> Option<Stream> {
        self.open.load().iter().find_map(|lane| lane.enter(upload))
    }

    fn open(&self, upload: Upload) -> Stream {
        let _one_at_a_time = self.opening.lock();
        if let Some(stream) = self.find(upload) {
            return stream;
        }
        let lane = Arc::new(Lane::new(upload, self.start, self.used.clone()));
        let mut open: Vec<_> =
            self.open.load().iter().filter(|lane| !lane.is_worn() && !lane.has_ended()).cloned().collect();
        open.push(lane.clone());
        self.open.store(Arc::new(open));
        Stream { lane, credit: upload.credit(), asked: false, opened: None }
    }
}

impl Lane {
    /// A lane with its first request.
    fn new(upload: Upload, start: Instant, used: Arc<Used>) -> Self {
        let again = used.lock().pop_front_if(|(since, _)| since.elapsed() >= NOTICED);
        Lane {
            key: again.map_or_else(|| fastrand::u64(..), |(_, key)| key),
            used,
            sockets: Mutex::default(),
            abandoned: AtomicBool::new(false),
            calls: upload == Upload::Call,
            start,
            streams: AtomicU32::new(1),
            credit: AtomicU32::new(upload.credit()),
            resets: AtomicU32::new(0),
            pieces: AtomicU32::new(0),
            since: AtomicU64::new(0),
        }
    }

    fn enter(self: &Arc<Self>, upload: Upload) -> Option<Stream> {
        if self.calls != (upload == Upload::Call)
            || self.is_worn()
            || self.is_stalled()
            || !take(&self.streams, 1, STREAMS)
        {
            return None;
        }
        let credit = upload.credit();
        if credit > 0 && !take(&self.credit, credit, CREDIT) {
            self.leave();
            return None;
        }
        Some(Stream { lane: self.clone(), credit, asked: false, opened: None })
    }

    /// One request less; the last one of a lane with an abandoned one ends it, unless another came meanwhile.
    fn leave(&self) {
        let last = self.streams.fetch_sub(1, Ordering::AcqRel) == 1;
        if last
            && self.abandoned.load(Ordering::Relaxed)
            && self.streams.compare_exchange(0, ENDED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            self.sockets.lock().drain(..).for_each(|socket| socket.shut_down());
            self.used.lock().push_back((Instant::now(), self.key));
        }
    }

    fn has_ended(&self) -> bool {
        self.streams.load(Ordering::Relaxed) >= ENDED
    }

    fn is_worn(&self) -> bool {
        self.resets.load(Ordering::Relaxed) >= RESETS
    }

    fn is_stalled(&self) -> bool {
        self.pieces.load(Ordering::Relaxed) > 0
            && self.now().saturating_sub(self.since.load(Ordering::Relaxed)) > STALL.as_millis() as u64
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}

/// Adds to what is taken if no more than the most is taken then.
fn take(taken: &AtomicU32, more: u32, most: u32) -> bool {
    let more = |taken: u32| taken.checked_add(more).filter(|taken| *taken <= most);
    taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

/// A request's place on a lane, given back when it is dropped. Unless it was told that the exchange was whole, its stream is
/// reset by then, and that is counted.
#[must_use]
pub struct Stream {
    lane: Arc<Lane>,
    credit: u32,
    /// Its request was sent and has not come to an end.
    asked: bool,
    /// The connection that was made for it.
    opened: Option<RawFd>,
}

impl Stream {
    /// Distinguishes the lane's connections from all others to the endpoint.
    pub fn key(&self) -> u64 {
        self.lane.key
    }

    /// A connection was made for it.
    pub fn opened(&mut self, connection: RawFd) {
        self.opened = Some(connection);
    }

    /// The request's head is sent.
    pub fn asked(&mut self) {
        self.asked = true;
        if let Some(socket) = self.opened.take().and_then(Socket::of) {
            let mut sockets = self.lane.sockets.lock();
            sockets.retain(Socket::is_open);
            sockets.push(socket);
        }
    }

    /// The request's task is dropped.
    pub fn abandon(&self) {
        self.lane.abandoned.store(true, Ordering::Relaxed);
    }

    /// The exchange came to its end on both sides, or the endpoint ended it.
    pub fn ended(&mut self) {
        self.asked = false;
    }

    /// The connection is lost, or takes no more requests: the lane takes none either.
    pub fn close(&self) {
        self.lane.resets.fetch_add(RESETS, Ordering::Relaxed);
    }

    /// A piece of the request's body as it is handed over. Those of calls tell when they were taken.
    pub fn piece(&self, bytes: Bytes) -> Bytes {
        if !self.lane.calls || bytes.is_empty() {
            return bytes;
        }
        if self.lane.pieces.fetch_add(1, Ordering::Relaxed) == 0 {
            self.lane.since.store(self.lane.now(), Ordering::Relaxed);
        }
        Bytes::from_owner(Piece { bytes, lane: self.lane.clone() })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.asked {
            self.lane.resets.fetch_add(1, Ordering::Relaxed);
        }
        self.lane.credit.fetch_sub(self.credit, Ordering::Relaxed);
        self.lane.leave();
    }
}

/// A piece of a call, which is dropped as soon as it is written to the connection.
struct Piece {
    bytes: Bytes,
    lane: Arc<Lane>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.lane.pieces.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn upload() -> impl Strategy<Value = Upload> {
        use Upload::{Bytes, Call, Nothing, Unknown};
        prop_oneof![
            Just(Nothing),
            (0_u64..200_000).prop_map(Bytes),
            (0_u64..2_000).prop_map(Bytes),
            Just(Unknown),
            Just(Call)
        ]
    }

    proptest! {
        #[test]
        fn no_lane_ever_has_more_than_it_may(uploads in proptest::collection::vec((upload(), any::<bool>(), any::<bool>()), 0..300)) {
            let lanes = Lanes::new(Instant::now());
            let mut held: Vec<(Stream, Upload)> = Vec::new();
            for (upload, leaves, whole) in uploads {
                let mut stream = lanes.enter(upload).unwrap();
                stream.asked();
                held.push((stream, upload));
                if leaves {
                    let (mut stream, _) = held.swap_remove(fastrand::usize(..held.len()));
                    if whole {
                        stream.ended();
                    }
                }
                for lane in lanes.open.load().iter() {
                    let on_it: Vec<_> = held.iter().filter(|(stream, _)| stream.key() == lane.key).collect();
                    let credit = |(_, upload): &&(Stream, Upload)| match upload {
                        Upload::Bytes(length) => (*length).min(65_535),
                        Upload::Unknown => 65_535,
                        _ => 0,
                    };
                    prop_assert!(on_it.iter().map(credit).sum::<u64>() <= 65_535);
                    prop_assert!(on_it.len() <= 32);
                    prop_assert!(on_it.iter().all(|(_, upload)| (*upload == Upload::Call) == lane.calls));
                    prop_assert!(on_it.len() as u32 + lane.resets.load(Ordering::Relaxed) < 50);
                }
            }
        }
    }

    #[test]
    fn a_lane_is_left_after_so_many_resets_or_when_its_connection_is_lost() {
        let lanes = Lanes::new(Instant::now());
        let stream = || lanes.enter(Upload::Nothing).unwrap();
        let first = stream().key();
        for _ in 0..16 {
            let mut stream = stream();
            assert_eq!(stream.key(), first);
            stream.asked();
        }
        let second = stream();
        assert_ne!(second.key(), first);
        second.close();
        assert_ne!(stream().key(), second.key());
        assert_eq!(lanes.open.load().len(), 1);
    }

    #[test]
    fn a_lane_with_an_abandoned_request_ends_when_the_last_one_leaves_and_its_key_comes_back_later() {
        use std::io::Read;
        use std::os::fd::AsRawFd;
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let lanes = Lanes::new(Instant::now());
        let (mut lost, other) = (lanes.enter(Upload::Nothing).unwrap(), lanes.enter(Upload::Nothing).unwrap());
        let key = other.key();
        lost.opened(ours.as_raw_fd());
        lost.asked();
        lost.abandon();
        drop(lost);
        assert!(theirs.read(&mut [0]).is_err(), "another request is on it");
        assert_eq!(lanes.enter(Upload::Nothing).unwrap().key(), key);
        drop(other);
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
        let next = lanes.enter(Upload::Unknown).unwrap();
        assert_ne!(next.key(), key);
        let long_ago = Instant::now().checked_sub(NOTICED).unwrap();
        lanes.used.lock()[0].0 = long_ago;
        assert_eq!(lanes.enter(Upload::Unknown).unwrap().key(), key);
    }

    #[test]
    fn what_ends_whole_or_was_never_asked_wears_nothing() {
        let lanes = Lanes::new(Instant::now());
        let keys = (0..100).map(|nth| {
            let mut stream = lanes.enter(Upload::Bytes(10)).unwrap();
            if nth % 2 == 0 {
                stream.asked();
                stream.ended();
            }
            stream.key()
        });
        let keys: Vec<_> = keys.collect();
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn calls_go_elsewhere_once_a_piece_was_not_taken_for_a_while() {
        let lanes = Lanes::new(Instant::now().checked_sub(Duration::from_secs(10)).unwrap());
        let call = || lanes.enter(Upload::Call).unwrap();
        let first = call();
        let piece = first.piece(Bytes::from_static(b"message"));
        assert_eq!((&*piece, call().key()), (&b"message"[..], first.key()));
        first.lane.since.fetch_sub(1000, Ordering::Relaxed);
        assert_ne!(call().key(), first.key());
        // That another was given up, or taken, helps nobody.
        drop(first.piece(Bytes::from_static(b"other")));
        assert_ne!(call().key(), first.key());
        drop(piece);
        assert_eq!(call().key(), first.key());
    }

    #[test]
    fn nothing_is_shared_with_an_endpoint_that_speaks_http1() {
        let lanes = Lanes::new(Instant::now());
        lanes.note(false);
        assert!(lanes.enter(Upload::Nothing).is_none());
        lanes.note(true);
        assert!(lanes.enter(Upload::Nothing).is_some());
    }
}
