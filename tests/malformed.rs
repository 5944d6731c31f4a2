//! Malformed HTTP/1 is refused, and nothing of it goes upstream, nor of what comes behind it (SEMANTICS 1.7, 1.8).
//!
//! The cases are those of `tests/data`, sent one after the other, so that every byte an upstream records belongs to a
//! known case. "Nothing" is looked at after each case, and once more at the end for what might have come late.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use serde_json::Value;
use tokio::io::AsyncReadExt;

use crate::support::gateway::everything_to;
use crate::support::raw::Message;
use crate::support::recorder::{Received, messages, read_request};
use crate::support::{Gateway, Raw, Recorder, eventually, soon};

#[path = "../src/core/wire/cases.rs"]
pub mod cases;

use cases::Case;

const GOOD: &[u8] = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n";
const MARKED: &[u8] = b"GET /marked HTTP/1.1\r\nHost: a\r\n\r\n";
/// Between two pieces, so that they arrive apart.
const PAUSE: Duration = Duration::from_millis(1);
/// What is longer is not sent byte by byte.
const SHORT: usize = 160;

/// How a case is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Alone,
    /// With a marked request behind it.
    Followed,
    /// The same, in two pieces.
    Halved,
    /// The same, byte by byte.
    Bytes,
    /// The same behind a good request, in one piece.
    AfterGood,
}

const WAYS: [Way; 5] = [Way::Alone, Way::Followed, Way::Halved, Way::Bytes, Way::AfterGood];

impl Way {
    fn bytes(self, case: &Case) -> Vec<u8> {
        match self {
            Way::Alone => case.bytes.clone(),
            Way::AfterGood => [GOOD, &case.bytes, MARKED].concat(),
            _ => [&case.bytes, MARKED].concat(),
        }
    }

    /// Byte by byte takes its time: every sixteenth case.
    fn fits(self, number: usize, case: &Case) -> bool {
        self != Way::Bytes || number.is_multiple_of(16) && case.bytes.len() < SHORT
    }

    async fn send(self, client: &mut Raw, case: &Case) {
        let bytes = self.bytes(case);
        let piece = match self {
            Way::Bytes => 1,
            Way::Halved => case.bytes.len().div_ceil(2),
            _ => bytes.len(),
        };
        for (number, piece) in bytes.chunks(piece).enumerate() {
            if number > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            client.send(piece).await;
        }
    }
}

/// A gateway whose only upstream keeps what it receives.
struct Stand {
    gateway: Gateway,
    upstream: Recorder,
}

impl Stand {
    async fn start() -> Stand {
        let upstream = Recorder::start().await;
        let (head_bytes, head_fields, uri_bytes) = cases::LIMITS;
        let limits = format!(
            "limits: {{ head_bytes: {head_bytes}, head_fields: {head_fields}, uri_bytes: {uri_bytes} }}\n\
             listen: [{{ address: \"127.0.0.1:0\" }}]\n"
        );
        Stand { gateway: Gateway::start(&(limits + &everything_to(&upstream.url()))).await, upstream }
    }

    /// Sends a case; what is answered until the gateway ends the connection.
    async fn exchange(&self, way: Way, case: &Case, what: &str) -> Vec<Message> {
        let mut client = self.gateway.raw().await;
        way.send(&mut client, case).await;
        let mut answers = Vec::new();
        while let Some(answer) = client.next_response().await {
            answers.push(answer);
        }
        let mut end = [0];
        let end = soon("the connection's end", client.stream.read(&mut end)).await;
        assert!(matches!(end, Ok(0)), "{what}: the connection ends with {end:?}");
        answers
    }

    /// How often each code was answered.
    async fn refusals(&self) -> BTreeMap<String, u64> {
        let metrics = self.gateway.metrics().await;
        let lines = metrics.lines().filter_map(|line| line.strip_prefix("gatekeeper_refusals_total{code=\""));
        lines.map(|line| line.split_once("\"} ").unwrap()).map(|(c, n)| (c.to_owned(), n.parse().unwrap())).collect()
    }

    /// The next refusal is counted, once and by its code.
    async fn expect_counted(&self, before: &BTreeMap<String, u64>, code: &str, what: &str) {
        let mut expected = before.clone();
        *expected.entry(code.to_owned()).or_default() += 1;
        let counted = eventually(what, async || Some(self.refusals().await).filter(|counts| counts != before)).await;
        assert_eq!(counted, expected, "{what}");
    }

    /// What the upstream received, as one requests after the other on each of its connections.
    async fn received(&self, what: &str) -> Vec<Received> {
        let transcripts = self.upstream.take_ended(what).await;
        transcripts.iter().flat_map(|transcript| messages(transcript)).collect()
    }
}

fn expect_problem(answer: &Message, (status, code): (u16, &str), what: &str) {
    assert_eq!((answer.status(), answer.header("x-gatekeeper-error")), (status, Some(code)), "{what}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    assert_eq!(answer.header("connection").map(str::to_lowercase).as_deref(), Some("close"), "{what}");
    let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{what}: {e}: {answer:?}"));
    assert_eq!((problem["status"].as_u64(), problem["code"].as_str()), (Some(status.into()), Some(code)), "{what}");
    let id = problem["request_id"].as_str();
    assert!(id.is_some_and(|id| !id.is_empty()) && id == answer.header("x-request-id"), "{what}: {answer:?}");
}

/// Goes on after a case that fails, so that one run names all of them.
async fn for_all(cases: &[Case], check: impl AsyncFn(Way, &Case, &str)) {
    let (mut passed, mut failed) = (BTreeMap::<String, usize>::new(), Vec::new());
    for (number, case) in cases.iter().enumerate() {
        for way in WAYS.into_iter().filter(|way| way.fits(number, case)) {
            let what = format!("{}, {way:?}", case.name);
            match AssertUnwindSafe(check(way, case, &what)).catch_unwind().await {
                Ok(()) => *passed.entry(format!("{way:?}")).or_default() += 1,
                Err(_) => failed.push(what),
            }
        }
    }
    println!("{} cases, passed by way of sending: {passed:?}", cases.len());
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
}

fn malformed(in_body: bool) -> Vec<Case> {
    cases::malformed().into_iter().filter(|case| case.in_body == in_body).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_head_is_refused_and_nothing_goes_upstream() {
    let stand = Stand::start().await;
    for_all(&malformed(false), async |way, case, what| stand.expect_refused(way, case, what).await).await;
    assert_eq!(stand.received("the end").await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_body_is_cut_before_its_fault() {
    let stand = Stand::start().await;
    for_all(&malformed(true), async |way, case, what| stand.expect_cut(way, case, what).await).await;
    assert_eq!(stand.received("the end").await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_requests_go_upstream_once_and_the_next_one_too() {
    let stand = Stand::start().await;
    for_all(&cases::unusual(), async |way, case, what| stand.expect_passed(way, case, what).await).await;
    assert_eq!(stand.received("the end").await, []);
}

impl Stand {
    async fn expect_refused(&self, way: Way, case: &Case, what: &str) {
        let before = self.refusals().await;
        let mut answers = self.exchange(way, case, what).await;
        if way == Way::AfterGood {
            assert_eq!(answers.remove(0).text(), "ok", "{what}");
        }
        assert_eq!(answers.len(), 1, "{what}: {answers:?}");
        expect_problem(&answers[0], case.refusal.unwrap(), what);
        self.expect_counted(&before, case.refusal.unwrap().1, what).await;
        let targets: Vec<String> = self.received(what).await.into_iter().map(|request| request.target).collect();
        assert_eq!(targets, if way == Way::AfterGood { &["/good"][..] } else { &[] }, "{what}");
    }

    /// What stands before the fault may go upstream, as the beginning of a request that never ends; a message that ends
    /// before the fault is answered.
    async fn expect_cut(&self, way: Way, case: &Case, what: &str) {
        let before = self.refusals().await;
        let mut answers = self.exchange(way, case, what).await;
        let mut received = self.received(what).await;
        if way == Way::AfterGood {
            assert_eq!((answers.remove(0).text(), &*received.remove(0).target), ("ok", "/good"), "{what}");
        }
        let sent = read_request(&case.bytes).unwrap();
        let is_behind = sent.complete && sent.length < case.bytes.len();
        if is_behind {
            assert_eq!((answers.remove(0).text(), received.len()), ("ok", 1), "{what}");
        }
        assert!(received.len() <= 1, "{what}: {received:?}");
        for request in &received {
            assert_eq!((&*request.method, &*request.target), ("POST", "/m"), "{what}");
            assert!(sent.body.starts_with(&request.body), "{what}: {request:?}");
            assert_eq!(request.complete, is_behind, "{what}: {request:?}");
        }
        assert!(answers.len() <= 1, "{what}: {answers:?}");
        answers.iter().for_each(|answer| expect_problem(answer, case.refusal.unwrap(), what));
        self.expect_counted(&before, case.refusal.unwrap().1, what).await;
    }

    async fn expect_passed(&self, way: Way, case: &Case, what: &str) {
        let sent = read_request(case.bytes.strip_prefix(b"\r\n").unwrap_or(&case.bytes)).unwrap();
        let persists = !case.bytes.windows(11).any(|bytes| bytes == b" HTTP/1.0\r\n");
        // The gateway as a whole has no options: that is its own answer.
        let is_own = sent.target == "*";
        let mut expected = vec![(sent.method.as_str(), sent.body.as_slice())];
        if way == Way::AfterGood {
            expected.insert(0, ("GET", b""));
        }
        if way != Way::Alone && persists {
            expected.push(("GET", b""));
        }
        let mut client = self.gateway.raw().await;
        way.send(&mut client, case).await;
        for (method, _) in &expected {
            let answer = final_answer(&mut client, what).await;
            match is_own && *method == "OPTIONS" {
                true => assert_eq!(answer.header("x-gatekeeper-error"), Some("no_route"), "{what}"),
                false => assert_eq!((answer.status(), answer.text()), (200, "ok"), "{what}"),
            }
        }
        assert!(persists || client.next_response().await.is_none(), "{what}");
        let received = self.received(what).await;
        let mut received: Vec<_> = received.iter().map(|request| (&*request.method, &*request.body)).collect();
        expected.retain(|(method, _)| !is_own || *method != "OPTIONS");
        // The gateway may use several connections, whose order says nothing.
        received.sort_unstable();
        expected.sort_unstable();
        assert_eq!(received, expected, "{what}");
    }
}

async fn final_answer(client: &mut Raw, what: &str) -> Message {
    loop {
        let answer = client.next_response().await.unwrap_or_else(|| panic!("{what}: no answer"));
        if answer.status() != 100 {
            return answer;
        }
    }
}
