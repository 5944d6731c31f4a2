//! What is required of a request holds whichever way it comes: one table, asked over HTTP/1.1, HTTP/2 in the clear and
//! HTTP/2 over TLS; and the cases of `tests/data` over HTTP/2, as far as HTTP/2 can say them (SEMANTICS 1.7).

use std::collections::BTreeMap;

use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::malformed::cases::{self, Case};
use crate::support::frames::{Framed, Outcome, block};
use crate::support::recorder::{Received, messages};
use crate::support::tls::{Authority, Files};
use crate::support::{Gateway, Raw, Recorder, Request};

/// What a request must come to: nothing, or the status and code of its refusal.
type Verdict = Option<(u16, &'static str)>;

struct Rule {
    name: &'static str,
    method: String,
    authority: &'static str,
    target: String,
    fields: Vec<(&'static str, &'static str)>,
    verdict: Verdict,
}

/// A request that differs from a good one in what is given.
fn rule(name: &'static str, method: &str, target: &str, verdict: Verdict) -> Rule {
    let (method, target) = (method.to_owned(), target.to_owned());
    Rule { name, method, authority: "a", target, fields: Vec::new(), verdict }
}

fn with(name: &'static str, fields: &[(&'static str, &'static str)], verdict: Verdict) -> Rule {
    Rule { fields: fields.to_vec(), ..rule(name, "GET", "/m", verdict) }
}

fn at(name: &'static str, authority: &'static str, verdict: Verdict) -> Rule {
    Rule { authority, ..rule(name, "GET", "/m", verdict) }
}

fn rules() -> Vec<Rule> {
    let (case, long) = (Some((501, "method_case")), Some((501, "method_too_long")));
    let (character, host) = (Some((400, "target_character")), Some((400, "host_malformed")));
    let (uri_bytes, head_fields) = (cases::LIMITS.2, cases::LIMITS.1);
    let mut rules = vec![
        rule("a lower-case method", "delete", "/m", case),
        rule("a mixed method", "Get", "/m", case),
        rule("a method of 33 letters", &"A".repeat(33), "/m", long),
        rule("a method of 32 letters", &"A".repeat(32), "/m", None),
        rule("a method of odd characters", "M-SEARCH!1", "/m", None),
        rule("a fragment", "GET", "/m#n", character),
        rule("a fragment after a query", "GET", "/m?a=b#", character),
        rule("a quote", "GET", "/m\"", character),
        rule("braces", "GET", "/{m}", character),
        rule("a backslash", "GET", "/m\\n", character),
        rule("a bar", "GET", "/m|n", character),
        rule("a caret", "GET", "/m^n", character),
        rule("brackets", "GET", "/[m]", character),
        rule("what browsers leave in a query", "GET", "/m?a[]=1|2&b={`c`}^\\&d=100%", None),
        rule("a query alone", "GET", "?a=b", Some((400, "target_form"))),
        rule("an asterisk", "GET", "*", Some((400, "target_form"))),
        rule("a long target", "GET", &format!("/{}", "a".repeat(uri_bytes)), Some((414, "target_too_long"))),
        rule("the longest target", "GET", &format!("/{}", "a".repeat(uri_bytes - 1)), None),
        rule("a wrong escape", "GET", "/m%zz", Some((400, "path_percent"))),
        rule("a way above the root", "GET", "/../m", Some((400, "path_above_root"))),
        at("an empty label", "a..b", host),
        at("a port that is none", "a:0", host),
        at("a good port", "a.example:8080", None),
        with("another expectation", &[("expect", "200-ok")], Some((417, "expect"))),
        with("a list of expectations", &[("expect", "100-continue, x")], Some((417, "expect"))),
        with("the one expectation", &[("expect", "100-Continue")], None),
        with("fields of any kind", &[("x", "caf\u{e9} \"b\""), ("-", "")], None),
        with("two lengths", &[("content-length", "0"), ("content-length", "0")], Some((400, "cl_repeated"))),
        with("too many names in Via", &[("via", "1.1 gatekeeper"); 6], Some((508, "loop_detected"))),
        with("two Authorizations", &[("authorization", "Bearer x"); 2], Some((400, "credentials_repeated"))),
    ];
    rules.push(Rule {
        fields: vec![("x", "y"); head_fields],
        ..rule("many fields", "GET", "/m", Some((431, "too_many_fields")))
    });
    // The host is one of them.
    rules.push(Rule { fields: vec![("x", "y"); head_fields - 1], ..rule("most fields", "GET", "/m", None) });
    rules
}

/// A gateway with a way in for each protocol, whose only upstream keeps what it receives.
struct Stand {
    gateway: Gateway,
    upstream: Recorder,
    authority: Authority,
    _files: Files,
}

impl Stand {
    async fn start() -> Stand {
        let (authority, files, upstream) = (Authority::new(), Files::new(), Recorder::start().await);
        let pair = files.pair("site", &authority.issue("localhost"));
        let (head_bytes, head_fields, uri_bytes) = cases::LIMITS;
        let gateway = Gateway::start(&format!(
            "limits: {{ head_bytes: {head_bytes}, head_fields: {head_fields}, uri_bytes: {uri_bytes} }}\n\
             listen:\n  - {{ address: \"127.0.0.1:0\", h2c: true }}\n\
             \x20 - {{ address: \"127.0.0.1:0\", tls: {{ certificates: [{pair}] }} }}\n\
             routes:\n  - {{ name: all, path_pattern: /*, target_url: \"{}\" }}\n",
            upstream.url()
        ))
        .await;
        Stand { gateway, upstream, authority, _files: files }
    }

    async fn h2c(&self) -> Framed<TcpStream> {
        Framed::over(TcpStream::connect(self.gateway.address).await.unwrap()).await
    }

    async fn h2_over_tls(&self) -> Framed<impl AsyncRead + AsyncWrite + Unpin> {
        let stream = TcpStream::connect(self.gateway.listener(1)).await.unwrap();
        let name = "localhost".to_owned().try_into().unwrap();
        Framed::over(self.authority.connector(&["h2"], None).connect(name, stream).await.unwrap()).await
    }

    async fn received(&self, what: &str) -> Vec<Received> {
        self.upstream.take_ended(what).await.iter().flat_map(|transcript| messages(transcript)).collect()
    }
}

impl Rule {
    fn bytes(&self) -> Vec<u8> {
        let fields: String = self.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{} {} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", self.method, self.target, self.authority).into_bytes()
    }

    fn block(&self) -> Vec<u8> {
        let pseudo = [(":method", &*self.method), (":scheme", "http"), (":authority", self.authority)];
        block(&[&pseudo[..], &[(":path", &*self.target)], &self.fields].concat())
    }

    fn judge(&self, way: &str, found: Option<(u16, String)>, faults: &mut Vec<String>) {
        let wanted = self.verdict.map(|(status, code)| (status, code.to_owned()));
        if found != wanted {
            faults.push(format!("{} over {way}: {found:?} instead of {wanted:?}", self.name));
        }
    }
}

fn code(outcome: &Outcome) -> Option<(u16, String)> {
    match outcome.body == b"ok" {
        true => None,
        false => Some(outcome.problem().unwrap_or_else(|| (0, format!("{outcome:?}")))),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_for_requests_are_the_same_over_every_protocol() {
    let stand = Stand::start().await;
    let mut faults = Vec::new();
    for rule in rules() {
        let mut raw = Raw::connect(stand.gateway.address).await;
        let mut answer = raw.send(rule.bytes()).await.response().await;
        if answer.status() == 100 {
            answer = raw.response().await;
        }
        let refused = answer.header("x-gatekeeper-error").map(|code| (answer.status(), code.to_owned()));
        rule.judge("HTTP/1.1", refused, &mut faults);
        let outcome = stand.h2c().await.ask(&rule.block(), b"").await;
        rule.judge("HTTP/2", code(&outcome), &mut faults);
        let outcome = stand.h2_over_tls().await.ask(&rule.block(), b"").await;
        rule.judge("HTTP/2 over TLS", code(&outcome), &mut faults);
        let received = stand.received(rule.name).await.len();
        let wanted = if rule.verdict.is_none() { 3 } else { 0 };
        if received != wanted {
            faults.push(format!("{}: {received} of its requests went upstream", rule.name));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_in_lower_case_does_not_fall_through_to_a_laxer_route() {
    let upstream = Recorder::start().await;
    let url = upstream.url();
    let gateway = Gateway::start(&format!(
        "routes:\n  - {{ name: guarded, path_pattern: /orders/*, methods: [DELETE], respond: {{ status: 403 }} }}\n\
         \x20 - {{ name: open, path_pattern: /*, target_url: \"{url}\" }}\n"
    ))
    .await;
    let mut client = gateway.h2c().await;
    let answer = client.ask(Request::builder().method("delete").uri("/orders/1")).await;
    let problem = answer.problem();
    assert_eq!((problem["status"].as_u64(), problem["code"].as_str()), (Some(501), Some("method_case")));
    assert_eq!(client.ask(Request::delete("/orders/1")).await.status, 403, "the connection serves on");
    assert_eq!(upstream.take(), Vec::<Vec<u8>>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_refused_over_http2_like_over_http1() {
    let stand = Stand::start().await;
    let asked = block(&[(":method", "CONNECT"), (":authority", "a:443")]);
    assert_eq!(code(&stand.h2c().await.ask(&asked, b"").await), Some((501, "connect".into())));
    assert_eq!(stand.received("CONNECT").await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_http2_alone_can_say_is_refused_too() {
    let stand = Stand::start().await;
    let good = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/m")];
    for (name, value, refusal) in [
        ("\"x\"", "y", Some("field_name")),
        ("x", " y", Some("value_space")),
        ("x", "y\t", Some("value_space")),
        (":scheme", "ftp", Some("target_scheme")),
        (":authority", "u@a", None),
        ("host", "b", None),
        ("connection", "close", None),
        ("transfer-encoding", "chunked", None),
        ("te", "gzip", None),
        ("upgrade", "websocket", None),
        (":path", "", None),
        (":path", "http://a/m", None),
    ] {
        let mut fields = good.to_vec();
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some(field) => field.1 = value,
            None => fields.push((name, value)),
        }
        let outcome = stand.h2c().await.ask(&block(&fields), b"").await;
        match refusal {
            Some(refusal) => assert_eq!(code(&outcome), Some((400, refusal.into())), "{name}: {value:?}"),
            None => assert!(outcome.is_refused_below(), "{name}: {value:?}: {outcome:?}"),
        }
    }
    assert_eq!(stand.received("the end").await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_is_seen_however_http2_says_it_and_no_other_request_pays_for_it() {
    let stand = Stand::start().await;
    let mut client = stand.h2c().await;
    // The path in no table, with its fragment in the table, by that entry; and in HPACK's code.
    let head = |path: &[u8]| [&b"\x82\x86\x01\x01a"[..], path].concat();
    let refused = Some((400, "target_character".to_owned()));
    for (path, verdict) in [
        (&b"\x04\x02/m"[..], None),
        (b"\x44\x03/m#", refused.clone()),
        (b"\x04\x02/m", None),
        (b"\xbe", refused.clone()),
        // `/#`, coded.
        (b"\x04\x83\x63\xfe\xbf", refused.clone()),
        (b"\x04\x02/m", None),
    ] {
        assert_eq!(code(&client.ask(&head(path), b"").await), verdict, "{path:?}");
    }
    assert_eq!(stand.received("the end").await.len(), 3);
}

/// Fields as HTTP/2 would say them.
type Fields = Vec<(String, Vec<u8>)>;

/// A case as HTTP/2 would say it: its fields, and its body.
fn in_http2(case: &Case) -> Option<(Fields, Vec<u8>)> {
    let end = case.bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let (head, body) = (&case.bytes[..end], &case.bytes[end + 4..]);
    let text: String = head.iter().copied().map(char::from).collect();
    let mut lines = text.split("\r\n");
    let words: Vec<&str> = lines.next()?.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return None };
    let bytes = |text: &str| text.chars().map(|c| c as u8).collect::<Vec<u8>>();
    let (scheme, authority, path) = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.starts_with('/') => {
            let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            (scheme, Some(authority), if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
        }
        _ => ("http", None, target.to_owned()),
    };
    let mut authority = authority.map(bytes);
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name = name.to_ascii_lowercase();
        let is_token = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        let is_line = is_token && !value.contains(['\r', '\n']);
        let value = bytes(value.trim_matches([' ', '\t']));
        match &*name {
            _ if !is_line => return None,
            "host" if authority.is_none() => authority = Some(value),
            // It can't be said but by frames.
            "transfer-encoding" | "connection" | "upgrade" => return None,
            _ => fields.push((name, value)),
        }
    }
    let mut all = vec![(":method".to_owned(), bytes(method)), (":scheme".into(), bytes(scheme))];
    all.extend(authority.map(|authority| (":authority".to_owned(), authority)));
    all.push((":path".into(), bytes(&path)));
    all.extend(fields);
    Some((all, body.to_vec()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_malformed_cases_are_refused_over_http2_too() {
    let stand = Stand::start().await;
    let (mut tally, mut faults) = (BTreeMap::<&str, usize>::new(), Vec::new());
    for case in cases::malformed().iter().filter(|case| !case.in_body) {
        // HTTP/2's `:authority` stands beside a Host or alone, and the size of its heads is bounded by a setting of its own.
        let is_good = case.name.starts_with("head_large")
            || ["host_missing_absolute", "host_repeated_equal"].contains(&case.name);
        let Some((fields, body)) = in_http2(case).filter(|_| !is_good) else { continue };
        let outcome = stand.h2c().await.ask(&block(&fields), &body).await;
        let (status, code) = case.refusal.unwrap();
        let same = outcome.problem() == Some((status, code.to_owned()));
        match (same, outcome.problem().is_some_and(|(status, _)| (400..600).contains(&status))) {
            (true, _) => *tally.entry("by the same rule").or_default() += 1,
            (false, true) => *tally.entry("by another rule").or_default() += 1,
            (false, false) if outcome.is_refused_below() => *tally.entry("by the library").or_default() += 1,
            (false, false) => faults.push(format!("{}: {outcome:?}", case.name)),
        }
        let received = stand.received(case.name).await;
        if received.iter().any(|request| request.complete) {
            faults.push(format!("{} went upstream: {received:?}", case.name));
        }
    }
    println!("refused over HTTP/2: {tally:?}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(tally["by the same rule"] >= 34, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unusual_cases_pass_over_http2_too() {
    let stand = Stand::start().await;
    let (mut passed, mut faults) = (0, Vec::new());
    for case in cases::unusual() {
        // The gateway as a whole has no options, and a length of many digits is too many for the library.
        let is_odd = ["options_asterisk", "length_leading_zeros"].contains(&case.name);
        let Some((fields, body)) = in_http2(&case).filter(|_| !is_odd) else { continue };
        let outcome = stand.h2c().await.ask(&block(&fields), &body).await;
        let received = stand.received(case.name).await;
        let one =
            matches!(&received[..], [one] if one.complete && one.body == body && one.method.as_bytes() == fields[0].1);
        match outcome.body == b"ok" && one {
            true => passed += 1,
            false => faults.push(format!("{}: {outcome:?}, upstream {received:?}", case.name)),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(passed >= 35, "{passed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_as_long_as_it_says_over_http2() {
    let stand = Stand::start().await;
    let fields = |length: &str| {
        let pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/m")];
        block(&[&pseudo[..], &[("content-length", length)]].concat())
    };
    for (length, body) in [("5", &b"hellohello"[..]), ("10", b"hello"), ("9223372036854775808", b"hello")] {
        let outcome = stand.h2c().await.ask(&fields(length), body).await;
        assert!(outcome.body != b"ok" && (outcome.problem().is_some() || outcome.is_refused_below()), "{outcome:?}");
        assert!(stand.received(length).await.iter().all(|request| !request.complete), "{length}");
    }
    assert_eq!(stand.h2c().await.ask(&fields("5"), b"hello").await.body, b"ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn explanations_know_the_rules_too() {
    let stand = Stand::start().await;
    let output = stand.gateway.command("explain", &["delete", "/m", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert_eq!(told["answer"]["code"], json!("method_case"), "{told} {}", String::from_utf8_lossy(&output.stderr));
}
