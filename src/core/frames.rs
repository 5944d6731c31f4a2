//! What an HTTP/2 client sends, judged frame by frame as it passes; payloads are skipped, nothing is kept. Header blocks are
//! followed to see what the library would cut off a path (`fragments`).
//!
//! The HTTP/2 library bounds what a client makes it remember: streams, resets not yet accepted, its own resets, header
//! lists, small DATA that waits. It does not bound work that leaves nothing behind: a stream that is opened and reset
//! at once, PING, SETTINGS, WINDOW_UPDATE, PRIORITY. Here each kind has a budget: so many a second, ten seconds' worth
//! at once. What we send earns more where an honest client answers it: a WINDOW_UPDATE for what it took, a PING to
//! measure it, a PRIORITY or reset for what it no longer wants. An exchange of frames alone never earns its own keep.
//!
//! A header block is bounded in frames and bytes before it is decoded. Its bytes may be twice the list's: a list that is
//! only somewhat too large is the library's to answer, with 431.
//!
//! Not judged: whether frames are well-formed, and streams beyond the allowed number (each is refused by the library,
//! and costs its client as much as a request).

use std::num::{NonZeroU32, NonZeroU64};
use std::time::{Duration, Instant};

use super::fragments::Fragments;
use super::wire::H2_PREFACE;

/// How much of each kind a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// RST_STREAM a second.
    pub resets: NonZeroU32,
    /// Of each kind of control frame a second.
    pub control_frames: NonZeroU32,
    /// Bytes of a decoded header list.
    pub header_list_bytes: NonZeroU32,
}

/// A client sends too much of something.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMuch {
    /// The stable name, for counters and logs.
    pub code: &'static str,
    /// What it is, for people.
    pub text: &'static str,
}

/// One of the excesses below.
pub type Excess = &'static TooMuch;

const RESETS: Excess = &TooMuch { code: "h2_resets", text: "too many streams reset" };
const PINGS: Excess = &TooMuch { code: "h2_pings", text: "too many PING frames" };
const SETTINGS: Excess = &TooMuch { code: "h2_settings", text: "too many SETTINGS frames" };
const PRIORITIES: Excess = &TooMuch { code: "h2_priorities", text: "too many PRIORITY frames" };
const WINDOW_UPDATES: Excess = &TooMuch { code: "h2_window_updates", text: "too many WINDOW_UPDATE frames" };
const EMPTY_DATA: Excess = &TooMuch { code: "h2_empty_frames", text: "too many DATA frames without data" };
const OTHERS: Excess = &TooMuch { code: "h2_other_frames", text: "too many frames of other kinds" };
const CONTINUATIONS: Excess = &TooMuch { code: "h2_continuations", text: "a header block in too many frames" };
/// More paths with a fragment than requests that came of them.
pub const FRAGMENTS: Excess = &TooMuch { code: "h2_fragments", text: "too many paths with a fragment" };
/// A header block that took too long to arrive; others keep the time.
pub const BLOCK_TIMEOUT: Excess = &TooMuch { code: "h2_head_timeout", text: "a header block took too long to arrive" };
const HEADER_BLOCK: Excess = &TooMuch { code: "h2_header_block", text: "a header block of too many bytes" };

/// All of them.
pub const ALL: [Excess; 11] = [
    RESETS,
    PINGS,
    SETTINGS,
    PRIORITIES,
    WINDOW_UPDATES,
    EMPTY_DATA,
    OTHERS,
    CONTINUATIONS,
    FRAGMENTS,
    BLOCK_TIMEOUT,
    HEADER_BLOCK,
];

/// This much of a budget may be spent at once.
const BURST: Duration = Duration::from_secs(10);
const HEAD: usize = 9;
/// The largest frame the gateway takes.
pub const MAX_FRAME: u32 = 16 * 1024;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Follows what one client sends.
#[derive(Debug)]
pub struct Frames {
    header_list_bytes: usize,
    resets: Budget,
    pings: Budget,
    settings: Budget,
    priorities: Budget,
    window_updates: Budget,
    empty_data: Budget,
    others: Budget,
    /// The bytes we sent.
    sent: u64,
    /// So many bytes come before the next frame's head.
    skip: usize,
    head: [u8; HEAD],
    /// So many bytes of it have arrived.
    arrived: usize,
    /// The frame under way holds a part of a header block: what of it is none.
    part: Option<Part>,
    fragments: Fragments,
    /// Hashes of the paths that will have lost a fragment.
    cut_paths: Vec<u64>,
    /// How many header blocks are complete; the connection's preface and first frame count as one.
    blocks: u64,
    /// The one that is not.
    block: Option<Block>,
}

/// An incomplete header block.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    bytes: usize,
    continuations: usize,
    /// Its last frame is under way.
    ends: bool,
}

impl Frames {
    /// At the beginning of a connection.
    pub fn new(limits: Budgets, now: Instant) -> Self {
        let frames = limits.control_frames;
        let budget = |excess, rate, earned_by| Budget::new(excess, rate, NonZeroU64::new(earned_by), now);
        Frames {
            header_list_bytes: limits.header_list_bytes.get() as usize,
            resets: budget(RESETS, limits.resets, 1024),
            pings: budget(PINGS, frames, 1024),
            settings: budget(SETTINGS, frames, 0),
            priorities: budget(PRIORITIES, frames, 64),
            // Two for each DATA frame, also for the small ones of events. A window of one byte asks for frames of ten.
            window_updates: budget(WINDOW_UPDATES, frames, 16),
            empty_data: budget(EMPTY_DATA, frames, 0),
            others: budget(OTHERS, frames, 0),
            sent: 0,
            skip: H2_PREFACE.len(),
            head: [0; HEAD],
            arrived: 0,
            part: None,
            fragments: Fragments::default(),
            cut_paths: Vec::new(),
            blocks: 0,
            block: Some(Block::default()),
        }
    }

    /// So many bytes were sent to the client.
    pub fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
    }

    /// Judges what has arrived, however it is cut. After an excess the connection is to end.
    pub fn judge(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Excess> {
        while !bytes.is_empty() {
            bytes = if self.skip > 0 { self.pass(bytes) } else { self.gather(bytes) };
            if self.arrived == HEAD {
                self.arrived = 0;
                self.begin(now)?;
            }
            if self.skip == 0 && self.block.is_some_and(|block| block.ends) {
                self.block = None;
                self.blocks += 1;
            }
        }
        Ok(())
    }

    /// The number of the header block that has begun and is not complete; the connection's preface and first frame count
    /// as one.
    pub fn open_block(&self) -> Option<u64> {
        self.block.map(|_| self.blocks)
    }

    /// Passes over a frame's rest.
    fn pass<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (passed, rest) = bytes.split_at(self.skip.min(bytes.len()));
        self.skip -= passed.len();
        if let Some(part) = &mut self.part {
            let block = part.block(passed, self.skip);
            self.fragments.follow(block, |path| self.cut_paths.push(path));
        }
        rest
    }

    /// Paths that will have lost a fragment, by their hashes, since it was last asked.
    pub fn take_cut_paths(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.cut_paths)
    }

    /// Gathers a frame's head.
    fn gather<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let missing = self.head.get_mut(self.arrived..).unwrap_or_default();
        let (taken, rest) = bytes.split_at(missing.len().min(bytes.len()));
        missing.iter_mut().zip(taken).for_each(|(to, from)| *to = *from);
        self.arrived += taken.len();
        rest
    }

    /// Judges the frame whose head has arrived.
    fn begin(&mut self, now: Instant) -> Result<(), Excess> {
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.skip = length;
        self.part = Part::of(kind, flags);
        if kind == 0x1 {
            self.fragments.begin();
        }
        if self.blocks == 0 {
            self.block = Some(Block { ends: true, ..Block::default() });
        }
        let budget = match kind {
            0x0 if length > 0 || flags & END_STREAM != 0 => return Ok(()),
            0x0 => &mut self.empty_data,
            0x1 | 0x9 => return self.header_block(kind == 0x9, length, flags & END_HEADERS != 0),
            // PRIORITY, and PRIORITY_UPDATE (RFC 9218).
            0x2 | 0x10 => &mut self.priorities,
            0x3 => &mut self.resets,
            0x4 => &mut self.settings,
            0x6 => &mut self.pings,
            0x8 => &mut self.window_updates,
            _ => &mut self.others,
        };
        budget.spend(self.sent, now)
    }

    fn header_block(&mut self, continued: bool, length: usize, ends: bool) -> Result<(), Excess> {
        let before = self.block.filter(|_| continued).unwrap_or_default();
        let block = Block {
            bytes: before.bytes.saturating_add(length),
            continuations: before.continuations + usize::from(continued),
            ends,
        };
        self.block = Some(block);
        if block.continuations > (self.header_list_bytes / MAX_FRAME as usize).max(4) + 1 {
            return Err(CONTINUATIONS);
        }
        if block.bytes > 2 * self.header_list_bytes { Err(HEADER_BLOCK) } else { Ok(()) }
    }
}

/// What of a frame is no part of its header block (RFC 9113 6.2).
#[derive(Clone, Copy, Debug)]
struct Part {
    /// The length of the padding is told by the first byte, which has not arrived.
    is_padded: bool,
    /// Bytes that come before the block.
    before: usize,
    padding: usize,
}

impl Part {
    fn of(kind: u8, flags: u8) -> Option<Part> {
        let (padded, priority) = (flags & PADDED != 0, flags & PRIORITY != 0);
        match kind {
            0x1 => {
                let before = usize::from(padded) + 5 * usize::from(priority);
                Some(Part { is_padded: padded, before, padding: 0 })
            }
            0x9 => Some(Part { is_padded: false, before: 0, padding: 0 }),
            _ => None,
        }
    }

    /// What of these bytes is the block's; behind them the frame has so many more.
    fn block<'b>(&mut self, bytes: &'b [u8], after: usize) -> &'b [u8] {
        if std::mem::take(&mut self.is_padded) {
            self.padding = bytes.first().copied().map_or(0, usize::from);
        }
        let (before, rest) = bytes.split_at(self.before.min(bytes.len()));
        self.before -= before.len();
        let padding = self.padding.saturating_sub(after);
        rest.get(..rest.len().saturating_sub(padding)).unwrap_or_default()
    }
}

/// What a client may send of one kind.
#[derive(Debug)]
struct Budget {
    excess: Excess,
    /// One more in this time.
    period: Duration,
    /// One more for so many bytes we send.
    earned_by: Option<NonZeroU64>,
    /// When it is whole again.
    whole: Instant,
    /// What had been sent when it was last spent from.
    sent: u64,
}

impl Budget {
    fn new(excess: Excess, rate: NonZeroU32, earned_by: Option<NonZeroU64>, now: Instant) -> Self {
        Budget { excess, period: Duration::from_secs(1) / rate.get(), earned_by, whole: now, sent: 0 }
    }

    fn spend(&mut self, sent: u64, now: Instant) -> Result<(), Excess> {
        let earned = self.earned(sent);
        self.whole = self.whole.checked_sub(earned).unwrap_or(now).max(now) + self.period;
        if self.whole.duration_since(now) > BURST { Err(self.excess) } else { Ok(()) }
    }

    /// What was earned since it was last spent from; a rest that earns nothing yet is kept.
    fn earned(&mut self, sent: u64) -> Duration {
        let Some(price) = self.earned_by else { return Duration::ZERO };
        let earned = (sent - self.sent) / price;
        self.sent += earned * price.get();
        self.period.saturating_mul(u32::try_from(earned).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: u32 = 10;
    const AT_ONCE: usize = 100;
    const HEADERS: u8 = 0x1;
    const CONTINUATION: u8 = 0x9;

    fn limits() -> Budgets {
        let rate = NonZeroU32::new(RATE).unwrap();
        Budgets { resets: rate, control_frames: rate, header_list_bytes: NonZeroU32::new(4096).unwrap() }
    }

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let mut frame = (length as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.resize(HEAD + length, b'x');
        frame
    }

    /// A client that has said what it must.
    fn begun(now: Instant) -> Frames {
        let mut frames = Frames::new(limits(), now);
        frames.judge(H2_PREFACE, now).unwrap();
        frames.judge(&frame(4, 0, 6), now).unwrap();
        frames
    }

    /// How many of these frames pass at one time.
    fn passing(frames: &mut Frames, frame: &[u8], now: Instant) -> usize {
        (0..100_000).take_while(|_| frames.judge(frame, now).is_ok()).count()
    }

    #[test]
    fn each_kind_has_its_own_budget_which_time_fills_again() {
        let kinds = [
            (0x0, 0, EMPTY_DATA),
            (0x2, 5, PRIORITIES),
            (0x3, 4, RESETS),
            (0x6, 8, PINGS),
            (0x8, 4, WINDOW_UPDATES),
            (0x7, 8, OTHERS),
            (0xfa, 0, OTHERS),
        ];
        for (kind, length, excess) in kinds {
            let now = Instant::now();
            let (mut frames, sample) = (begun(now), frame(kind, 0, length));
            frames.judge(&sample.repeat(AT_ONCE), now).unwrap();
            frames.judge(&frame(4, 0, 0), now).expect("another kind");
            let later = now + Duration::from_secs(3600);
            assert_eq!(passing(&mut frames, &sample, later), AT_ONCE, "{excess:?}");
            assert_eq!(begun(now).judge(&sample.repeat(AT_ONCE + 1), now), Err(excess));
        }
        let now = Instant::now();
        assert_eq!(passing(&mut begun(now), &frame(4, 1, 0), now), AT_ONCE - 1, "the first SETTINGS counts");
    }

    #[test]
    fn a_steady_rate_within_the_budget_is_never_too_much() {
        let (mut frames, mut now) = (begun(Instant::now()), Instant::now());
        for _ in 0..10_000 {
            now += Duration::from_secs(1) / RATE;
            frames.judge(&frame(6, 0, 8), now).unwrap();
            frames.judge(&frame(3, 0, 4), now).unwrap();
        }
    }

    #[test]
    fn data_with_data_and_whole_requests_have_no_budget() {
        let now = Instant::now();
        let mut frames = begun(now);
        for sample in [frame(0, 0, 1), frame(0, END_STREAM, 0), frame(HEADERS, END_HEADERS, 40)] {
            assert_eq!(passing(&mut frames, &sample, now), 100_000);
        }
    }

    /// A client that gives back what it was sent, twice for each frame: for the stream and for the connection.
    #[test]
    fn what_is_sent_earns_window_updates() {
        let now = Instant::now();
        let mut frames = begun(now);
        for _ in 0..100_000 {
            frames.sent(HEAD + 23);
            frames.judge(&frame(8, 0, 4), now).unwrap();
            frames.judge(&frame(8, 0, 4), now).unwrap();
        }
    }

    #[test]
    fn what_answers_a_flood_does_not_pay_for_it() {
        let now = Instant::now();
        for (kind, length, answer) in [(0x6, 8, HEAD + 8), (0x4, 0, HEAD), (0x8, 4, HEAD + 1), (0x3, 4, HEAD + 4)] {
            let mut frames = begun(now);
            let passed = (0..100_000).take_while(|_| {
                frames.sent(answer);
                frames.judge(&frame(kind, 0, length), now).is_ok()
            });
            assert!(passed.count() < 4 * AT_ONCE, "{kind}");
        }
    }

    #[test]
    fn a_header_block_is_bounded_in_frames_and_bytes() {
        let now = Instant::now();
        let mut frames = begun(now);
        for _ in 0..3 {
            frames.judge(&frame(HEADERS, 0, 1), now).unwrap();
            (0..4).for_each(|_| frames.judge(&frame(CONTINUATION, 0, 1), now).unwrap());
            frames.judge(&frame(CONTINUATION, END_HEADERS, 1), now).unwrap();
        }
        frames.judge(&frame(HEADERS, 0, 1), now).unwrap();
        assert_eq!(passing(&mut frames, &frame(CONTINUATION, 0, 0), now), 5);
        assert_eq!(begun(now).judge(&frame(HEADERS, END_HEADERS, 8193), now), Err(HEADER_BLOCK));
        let mut frames = begun(now);
        frames.judge(&frame(HEADERS, 0, 8192), now).unwrap();
        assert_eq!(frames.judge(&frame(CONTINUATION, 0, 1), now), Err(HEADER_BLOCK));
    }

    #[test]
    fn a_header_block_is_open_from_its_first_byte_that_tells_to_its_last() {
        let now = Instant::now();
        let mut frames = Frames::new(limits(), now);
        let open = |frames: &mut Frames, bytes: &[u8]| {
            frames.judge(bytes, now).unwrap();
            frames.open_block()
        };
        assert_eq!(frames.open_block(), Some(0));
        assert_eq!(open(&mut frames, H2_PREFACE), Some(0));
        assert_eq!(open(&mut frames, &frame(4, 0, 6)[..14]), Some(0));
        assert_eq!(open(&mut frames, b"x"), None);
        assert_eq!(open(&mut frames, &frame(HEADERS, END_HEADERS, 3)[..HEAD]), Some(1));
        assert_eq!(open(&mut frames, b"xxx"), None);
        assert_eq!(open(&mut frames, &frame(HEADERS, 0, 3)), Some(2));
        assert_eq!(open(&mut frames, &frame(CONTINUATION, END_HEADERS, 3)), None);
        assert_eq!(open(&mut frames, &frame(HEADERS, END_HEADERS, 0)), None, "an empty one, too, is complete");
        assert_eq!(open(&mut frames, &frame(0, 0, 3)[..HEAD]), None);
    }

    #[test]
    fn a_fragment_is_seen_between_padding_and_priority_and_over_frames() {
        let now = Instant::now();
        let block = b"\x82\x86\x04\x06/a?b#c\x00\x01x\x01#";
        let with = |kind: u8, flags: u8, payload: &[u8]| {
            let mut frame = frame(kind, flags, payload.len());
            frame[HEAD..].copy_from_slice(payload);
            frame
        };
        // Padding that looks like another path.
        let padding = b"\x04\x03/d#";
        let padded = [&[padding.len() as u8], &block[..], padding].concat();
        let both = [&[padding.len() as u8], &b"12345"[..], block, padding].concat();
        for sent in [
            with(HEADERS, END_HEADERS, block),
            with(HEADERS, END_HEADERS | PADDED, &padded),
            with(HEADERS, END_HEADERS | PRIORITY, &[b"12345", &block[..]].concat()),
            with(HEADERS, END_HEADERS | PRIORITY | PADDED, &both),
            [with(HEADERS, 0, &block[..7]), with(CONTINUATION, END_HEADERS, &block[7..])].concat(),
        ] {
            for piece in 1..sent.len() {
                let mut frames = begun(now);
                sent.chunks(piece).for_each(|bytes| frames.judge(bytes, now).unwrap());
                assert_eq!(frames.take_cut_paths(), [super::super::fragments::hash(b"/a?b")], "{piece}: {sent:?}");
                assert!(frames.take_cut_paths().is_empty());
            }
        }
    }

    fn any_frame() -> impl Strategy<Value = Vec<u8>> {
        let kind = prop_oneof![0u8..=9, Just(0x10), any::<u8>()];
        (kind, any::<u8>(), prop_oneof![Just(0usize), 0usize..40, Just(9000)]).prop_map(|(k, f, l)| frame(k, f, l))
    }

    /// All of it, judged one frame after the other by what the module's head says, nothing earned and no time passing.
    fn plain(sent: &[Vec<u8>]) -> Result<(), &'static str> {
        let mut counts = std::collections::HashMap::new();
        let (mut bytes, mut continuations) = (0, 0);
        for frame in sent {
            let length = frame.len() - HEAD;
            let (code, most) = match (frame[3], frame[4]) {
                (0, flags) if length > 0 || flags & 1 == 1 => continue,
                (0, _) => ("h2_empty_frames", AT_ONCE),
                (1, _) => ("h2_header_block", usize::MAX),
                (9, _) => ("h2_continuations", usize::MAX),
                (2 | 16, _) => ("h2_priorities", AT_ONCE),
                (3, _) => ("h2_resets", AT_ONCE),
                (4, _) => ("h2_settings", AT_ONCE),
                (6, _) => ("h2_pings", AT_ONCE),
                (8, _) => ("h2_window_updates", AT_ONCE),
                _ => ("h2_other_frames", AT_ONCE),
            };
            match code {
                "h2_header_block" => (bytes, continuations) = (length, 0),
                "h2_continuations" => (bytes, continuations) = (bytes + length, continuations + 1),
                _ => {}
            }
            let count: &mut usize = counts.entry(code).or_default();
            *count += 1;
            if *count > most || continuations > 5 {
                return Err(code);
            }
            if bytes > 8192 && (code.starts_with("h2_header") || code == "h2_continuations") {
                return Err("h2_header_block");
            }
            let ends = frame[4] & END_HEADERS != 0;
            if ends && matches!(frame[3], 1 | 9) {
                (bytes, continuations) = (0, 0);
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter_and_each_frame_is_judged(
            sent in proptest::collection::vec(any_frame(), 0..400),
            sizes in proptest::collection::vec(1usize..60, 1..20),
        ) {
            let now = Instant::now();
            let (mut whole, mut cut) = (begun(now), Frames::new(limits(), now));
            let bytes = [H2_PREFACE.to_vec(), frame(4, 0, 6), sent.concat()].concat();
            let verdict = whole.judge(&sent.concat(), now);
            let mut rest = bytes.as_slice();
            let pieces = sizes.iter().cycle().map_while(|size| {
                let piece = rest.split_off(..(*size).min(rest.len()))?;
                (!piece.is_empty()).then_some(piece)
            });
            let in_pieces = pieces.map(|piece| cut.judge(piece, now)).find(Result::is_err).unwrap_or(Ok(()));
            prop_assert_eq!(verdict, in_pieces);
            if verdict.is_ok() {
                prop_assert_eq!(whole.open_block(), cut.open_block());
            }
            let first = [vec![frame(4, 0, 6)], sent].concat();
            prop_assert_eq!(verdict.map_err(|excess| excess.code), plain(&first));
        }
    }
}
