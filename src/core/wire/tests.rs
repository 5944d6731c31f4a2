//! The cases of `tests/data` in all the ways they may arrive, and properties against a reference made of httparse.

use std::collections::HashSet;

use proptest::prelude::*;

use super::cases::{self, Case};
use super::*;

const LIMITS: Limits = Limits { head_bytes: cases::LIMITS.0, fields: cases::LIMITS.1, uri_bytes: cases::LIMITS.2 };
const GOOD: &[u8] = b"POST /good HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok";

/// What came of a stream of bytes.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// How many bytes were released.
    released: usize,
    /// Where messages ended.
    ends: Vec<usize>,
    fault: Option<Fault>,
}

/// Sends pieces to an inspector, as a tap would.
fn send<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Outcome {
    let mut inspector = Inspector::new(LIMITS);
    let mut outcome = Outcome { released: 0, ends: Vec::new(), fault: None };
    let mut held = Vec::new();
    for piece in pieces {
        held.extend_from_slice(piece);
        while outcome.fault.is_none() && !held.is_empty() {
            match inspector.inspect(&held) {
                Step::Release(length) => {
                    assert!(length > 0);
                    held.drain(..length);
                    outcome.released += length;
                    if inspector.phase() == Phase::Idle {
                        outcome.ends.push(outcome.released);
                    }
                }
                Step::More => break,
                Step::Refuse(fault) => outcome.fault = Some(fault),
            }
        }
    }
    if let Some(fault) = outcome.fault {
        inspector.upgraded();
        assert_eq!(inspector.inspect(GOOD), Step::Refuse(fault));
        assert_eq!(inspector.phase(), Phase::Refused);
    }
    outcome
}

fn byte_by_byte(bytes: &[u8]) -> Outcome {
    send(bytes.chunks(1))
}

/// All splits in two; of what is long, those near an end and some between.
fn splits(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let end = bytes.len();
    let is_tried = move |at: &usize| end < 1000 || *at < 100 || end - at < 100 || at.is_multiple_of(97);
    (0..=end).filter(is_tried).map(|at| bytes.split_at(at))
}

fn expect_refusal(case: &Case, before: usize, outcome: &Outcome, how: &str) {
    let fault = outcome.fault.map(|fault| (fault.status, fault.code));
    assert_eq!(fault, case.refusal, "{}, {how}", case.name);
    assert!(outcome.released >= before, "{}, {how}", case.name);
    if !case.in_body {
        assert_eq!(outcome.released, before, "{}, {how}: nothing of it is released", case.name);
    }
    assert!(outcome.released < before + case.bytes.len(), "{}, {how}: not all of it is released", case.name);
}

#[test]
fn malformed_requests_are_refused_however_they_arrive() {
    for case in &cases::malformed() {
        let bytes = &case.bytes[..];
        expect_refusal(case, 0, &send([bytes]), "whole");
        expect_refusal(case, 0, &byte_by_byte(bytes), "byte by byte");
        for (head, tail) in splits(bytes) {
            expect_refusal(case, 0, &send([head, tail]), &format!("split at {}", head.len()));
        }
    }
}

#[test]
fn malformed_requests_are_refused_after_and_before_good_ones() {
    for case in &cases::malformed() {
        let bytes = [GOOD, &case.bytes].concat();
        expect_refusal(case, GOOD.len(), &send([&bytes[..]]), "after a good one");
        expect_refusal(case, GOOD.len(), &byte_by_byte(&bytes), "after a good one, byte by byte");
        let bytes = [&case.bytes, GOOD].concat();
        expect_refusal(case, 0, &send([&bytes[..]]), "before a good one");
        expect_refusal(case, 0, &send([&case.bytes[..], GOOD]), "before a good one, apart");
    }
}

#[test]
fn unusual_requests_pass_however_they_arrive() {
    for case in &cases::unusual() {
        let bytes = &case.bytes[..];
        let passed = Outcome { released: bytes.len(), ends: vec![bytes.len()], fault: None };
        assert_eq!(send([bytes]), passed, "{}", case.name);
        assert_eq!(byte_by_byte(bytes), passed, "{}, byte by byte", case.name);
        for (head, tail) in splits(bytes) {
            assert_eq!(send([head, tail]), passed, "{}, split at {}", case.name, head.len());
        }
        let three = [GOOD, bytes, GOOD].concat();
        let ends = vec![GOOD.len(), GOOD.len() + bytes.len(), three.len()];
        assert_eq!(send([&three[..]]), Outcome { released: three.len(), ends, fault: None }, "{}", case.name);
    }
}

#[test]
fn the_cases_are_many_distinct_and_cover_every_fault() {
    let (malformed, unusual) = (cases::malformed(), cases::unusual());
    assert!(malformed.len() >= 120 && unusual.len() >= 40);
    let all = || malformed.iter().chain(&unusual);
    assert_eq!(all().map(|case| case.name).collect::<HashSet<_>>().len(), all().count());
    assert_eq!(all().map(|case| &case.bytes).collect::<HashSet<_>>().len(), all().count());
    assert!(all().all(|case| case.section.starts_with(char::is_numeric)));
    // What only HTTP/2 can say is in the tests of `request`.
    let sayable = HeadFault::ALL.iter().filter(|fault| fault.code != "value_space");
    let known = sayable.map(|fault| (fault.status, fault.code)).collect::<HashSet<_>>();
    assert_eq!(malformed.iter().filter_map(|case| case.refusal).collect::<HashSet<_>>(), known);
    assert_eq!(known.len() + 1, HeadFault::ALL.len());
}

#[test]
fn phases() {
    let mut inspector = Inspector::new(LIMITS);
    for (bytes, step, phase) in [
        (&b""[..], Step::More, Phase::Idle),
        (b"\r", Step::More, Phase::Idle),
        (b"\r\n", Step::More, Phase::Idle),
        (b"\r\nG", Step::More, Phase::Head),
        (b"\r\nGET / HTTP/1.1\r\n", Step::More, Phase::Head),
        (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET", Step::Release(29), Phase::Idle),
        (b"P", Step::More, Phase::Head),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na", Step::Release(47), Phase::Body),
        (b"", Step::More, Phase::Body),
        (b"bcd", Step::Release(2), Phase::Idle),
    ] {
        assert_eq!((inspector.inspect(bytes), inspector.phase()), (step, phase), "{bytes:?}");
    }
}

#[test]
fn everything_passes_after_an_upgrade() {
    let mut inspector = Inspector::new(LIMITS);
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(inspector.inspect(request), Step::Release(request.len()));
    inspector.upgraded();
    assert_eq!(inspector.phase(), Phase::Upgraded);
    for frame in [&b"\x81\x05hello"[..], b"\r\n\n\0", b"GET"] {
        assert_eq!(inspector.inspect(frame), Step::Release(frame.len()));
    }
}

#[test]
fn trailers_are_released_as_a_whole() {
    let mut inspector = Inspector::new(LIMITS);
    let start = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n";
    assert_eq!(inspector.inspect(&[start, &b"X: y\r"[..]].concat()), Step::Release(start.len()));
    assert_eq!(inspector.inspect(b"X: y\r\n\r"), Step::More);
    assert_eq!(inspector.inspect(b"X: y\r\n\r\nGET"), Step::Release(8));
}

#[test]
fn the_h2_preface() {
    for end in 0..H2_PREFACE.len() {
        assert_eq!(is_h2_preface(&H2_PREFACE[..end]), None);
        assert_eq!(is_h2_preface(&[&H2_PREFACE[..end], b"x"].concat()), Some(false));
    }
    assert_eq!(is_h2_preface(&[H2_PREFACE, b"x"].concat()), Some(true));
    assert_eq!(is_h2_preface(b"PUT / HTTP/1.1"), Some(false));
}

/// A plain reading of the first message in `bytes`, by another parser: its end, if it has one.
fn reference_end(bytes: &[u8]) -> Option<usize> {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    let head = request.parse(bytes).ok().filter(|status| status.is_complete())?.unwrap();
    let values = |name: &str| {
        let named = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| std::str::from_utf8(field.value).unwrap()).collect::<Vec<_>>()
    };
    match (&values("content-length")[..], &values("transfer-encoding")[..]) {
        ([], []) => Some(head),
        ([length], []) => Some(head + length.parse::<usize>().ok()?).filter(|end| *end <= bytes.len()),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => chunked_end(bytes, head),
        framing => panic!("released with {framing:?}"),
    }
}

fn chunked_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let (line, size) = httparse::parse_chunk_size(bytes.get(at..)?).ok()?.unwrap();
        at += line;
        if size == 0 {
            let mut trailers = [httparse::EMPTY_HEADER; 100];
            return Some(at + httparse::parse_headers(&bytes[at..], &mut trailers).ok()?.unwrap().0);
        }
        at += usize::try_from(size).ok()?;
        assert_eq!(bytes.get(at..at + 2), Some(&b"\r\n"[..]));
        at += 2;
    }
}

/// Cuts bytes at random places.
fn pieces<'b>(bytes: &'b [u8], cuts: &[prop::sample::Index]) -> Vec<&'b [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let ends = cuts.iter().copied().chain([bytes.len()]);
    [0].into_iter().chain(cuts.iter().copied()).zip(ends).map(|(from, to)| &bytes[from..to]).collect()
}

fn field() -> impl Strategy<Value = String> {
    let name = "X-[a-zA-Z!#$%&'*+.^_`|~-]{0,8}";
    (name, "[ \t]{0,2}", "([!-~]([ -~\t]{0,12}[!-~])?)?", "[ \t]{0,2}")
        .prop_map(|(name, before, value, after)| format!("{name}:{before}{value}{after}\r\n"))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let data = || prop::collection::vec(prop::sample::select(&b"\r\n0a:; \0"[..]), 0..20);
    let chunk = |(data, extension): (Vec<u8>, String)| {
        if data.is_empty() {
            vec![]
        } else {
            [format!("{:x}{extension}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat()
        }
    };
    prop_oneof![
        Just(b"\r\n".to_vec()),
        data().prop_map(|data| [format!("Content-Length: {}\r\n\r\n", data.len()).as_bytes(), &data].concat()),
        (prop::collection::vec((data(), "(;[!-~]{0,5})?").prop_map(chunk), 0..4), prop::collection::vec(field(), 0..3))
            .prop_map(|(chunks, trailers)| {
                let trailers = trailers.concat();
                [b"Transfer-Encoding: chunked\r\n\r\n", &chunks.concat()[..], b"0\r\n", trailers.as_bytes(), b"\r\n"]
                    .concat()
            }),
    ]
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let line = "(\r\n)?(GET|POST|X-Y) /[a-z%./]{0,9}(\\?[a-z=&|]{0,5})? HTTP/1\\.1\r\n"
        .prop_map(|l| l.replace("X-Y", "PURGE"));
    (line, prop::collection::vec(field(), 0..4), body())
        .prop_map(|(line, fields, body)| [line.as_bytes(), b"Host: a\r\n", fields.concat().as_bytes(), &body].concat())
}

/// Messages with a few bytes replaced, inserted or taken away.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let nasty = prop::sample::select(&b"\r\n\n\r \t:;,0159afx-+\0\x0b\x7f\xffHTC\"/"[..]);
    let edits = prop::collection::vec((any::<prop::sample::Index>(), nasty, 0..3_usize), 0..4);
    (prop::collection::vec(message(), 1..3), edits).prop_map(|(messages, edits)| {
        let mut bytes = messages.concat();
        for (at, byte, edit) in edits {
            let at = at.index(bytes.len());
            bytes.splice(at..at + edit.min(1), (edit < 2).then_some(byte));
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn messages_end_where_they_were_made_to(
        messages in prop::collection::vec(message(), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let bytes = messages.concat();
        let ends = messages.iter().scan(0, |end, message| { *end += message.len(); Some(*end) }).collect();
        prop_assert_eq!(send(pieces(&bytes, &cuts)), Outcome { released: bytes.len(), ends, fault: None });
    }

    #[test]
    fn what_is_released_ends_where_another_parser_sees_its_end(bytes in mutated()) {
        let outcome = send([&bytes[..]]);
        let mut start = 0;
        for end in outcome.ends {
            prop_assert_eq!(reference_end(&bytes[start..]), Some(end - start));
            start = end;
        }
    }

    #[test]
    fn cuts_never_change_the_verdict(
        bytes in mutated(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let (whole, cut) = (send([&bytes[..]]), send(pieces(&bytes, &cuts)));
        prop_assert_eq!((whole.fault, whole.ends), (cut.fault, cut.ends));
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..200), start in prop::sample::select(vec![
        &b""[..], b"GET ", b"GET /", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost:", b"\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ])) {
        let bytes = [start, &bytes].concat();
        let (whole, cut) = (send([&bytes[..]]), byte_by_byte(&bytes));
        prop_assert_eq!((whole.fault, &whole.ends), (cut.fault, &cut.ends));
        prop_assert!(whole.released <= bytes.len());
    }
}
