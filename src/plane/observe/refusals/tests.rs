use std::sync::LazyLock;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::*;
use crate::observe::samples::{event, headless};
use gatekeeper_core::refusal::Kind;

static NO_HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);

/// What is kept of a request.
struct Case<'a> {
    event: Event<'a>,
    refusal: Option<Refusal>,
}

fn bare(request_id: &str) -> Case<'_> {
    let mut event = event(&NO_HEADERS);
    (event.request_id, event.path, event.route, event.service) = (Some(request_id), Some("/"), None, None);
    (event.facts.started, event.facts.client) = (SystemTime::UNIX_EPOCH, None);
    event.facts.status = Some(StatusCode::NOT_FOUND);
    Case { event, refusal: None }
}

fn full<'a>(request_id: &'a str, rules: &[Arc<str>]) -> Case<'a> {
    let mut event = bare(request_id).event;
    (event.route, event.service, event.user) = (Some("content"), Some("origin"), Some(("u-1", "https://id")));
    (event.error_message, event.would_refuse) = (Some("over"), Some("flood"));
    event.facts.started += Duration::from_secs(1);
    event.facts.client = "203.0.113.7".parse().ok();
    event.facts.status = Some(StatusCode::TOO_MANY_REQUESTS);
    let refusal = Refusal::new(Kind::RATE_LIMITED, "the limit is used up").for_rules(rules.to_vec());
    Case { event, refusal: Some(refusal.with_header(RETRY_AFTER, HeaderValue::from_static("7"))) }
}

fn keep(refusals: &Refusals, Case { event, refusal }: &Case) {
    refusals.keep(event, refusal.as_ref(), event.facts.client);
}

fn kept(case: &Case) -> Refused {
    let refusals = Refusals::default();
    keep(&refusals, case);
    refusals.find(case.event.request_id.unwrap()).unwrap()
}

fn outcome(Case { event, refusal }: &Case) -> Outcome {
    Outcome::of(event, refusal.as_ref(), event.facts.client)
}

fn write(entry: &mut Entry, case: &Case) {
    entry.write(outcome(case), &case.event, case.refusal.as_ref());
}

#[test]
fn the_newest_are_found() {
    let refusals = Refusals::default();
    (0..=KEPT).for_each(|id| keep(&refusals, &bare(&id.to_string())));
    assert_eq!(refusals.find("0"), None);
    assert_eq!(refusals.find("1").unwrap().request_id, "1");
    let newest = KEPT.to_string();
    keep(&refusals, &full(&newest, &[]));
    assert_eq!(refusals.find(&newest).unwrap().status_code, Some(429));
    assert_eq!((refusals.find("1"), refusals.find("")), (None, None));
    assert_eq!(refusals.kept.lock().len(), KEPT);
}

#[test]
fn all_that_was_told_is_shown() {
    let wanted = Refused {
        request_id: "id".into(),
        time: Timestamp::from_second(1).unwrap(),
        method: Some("GET".into()),
        path: Some("/".into()),
        route: Some("content".into()),
        target_service: Some("origin".into()),
        client_ip: "203.0.113.7".parse().ok(),
        user_id: Some("u-1 (https://id)".into()),
        status_code: Some(429),
        error_code: Some("rate_limited".into()),
        detail: Some("the limit is used up".into()),
        cause: Some("over".into()),
        violated_policies: vec!["a, b".into(), "ä,".into()],
        retry_after: Some(7),
        would_refuse: Some("flood".into()),
    };
    assert_eq!(kept(&full("id", &["a, b".into(), "ä,".into()])), wanted);
}

#[test]
fn an_absent_text_is_not_an_empty_one() {
    let mut event = bare("id").event;
    (event.path, event.route, event.error_message) = (Some(""), Some(""), Some(""));
    let refused = kept(&Case { event, refusal: None });
    let texts = [refused.path, refused.route, refused.cause];
    assert_eq!(texts.map(|text| text.as_deref() == Some("")), [true; 3]);
    assert_eq!((refused.target_service, refused.user_id, refused.detail), (None, None, None));
    assert_eq!((refused.would_refuse, refused.violated_policies.len()), (None, 0));
}

#[test]
fn nothing_is_invented_about_what_is_unknown() {
    let mut event = headless();
    event.request_id = Some("id");
    let refused = kept(&Case { event, refusal: None });
    assert_eq!((refused.method, refused.path, refused.status_code), (None, None, None));
}

#[test]
fn nothing_is_left_of_what_was_overwritten() {
    let rules: [Arc<str>; 1] = ["a".into()];
    let (full, bare) = (full("the one before", &rules), bare("id"));
    let mut entry = Entry::new(outcome(&full));
    write(&mut entry, &full);
    write(&mut entry, &bare);
    assert_eq!(entry.shown(), kept(&bare));
    assert_eq!(entry.text, "idGET/");
}

#[test]
fn a_text_is_cut_between_characters() {
    let (even, odd) = ("ä".repeat(LONGEST), format!("x{}", "ä".repeat(LONGEST)));
    let mut event = bare("id").event;
    (event.path, event.error_message, event.would_refuse) = (Some(&*even), Some(&*odd), Some("flood"));
    let refused = kept(&Case { event, refusal: None });
    assert_eq!(refused.path.as_deref(), Some(&even[..LONGEST]));
    assert_eq!(refused.cause.as_deref(), Some(&odd[..LONGEST - 1]));
    assert_eq!(refused.would_refuse.as_deref(), Some("flood"));
}

#[test]
fn rules_are_cut_as_one_text() {
    let long: Arc<str> = "x".repeat(LONGEST).into();
    assert_eq!(kept(&full("id", &["a".into(), long.clone(), "b".into()])).violated_policies, ["a", &long[2..]]);
    assert_eq!(kept(&full("id", &[long.clone(), "b".into()])).violated_policies, [&*long]);
}

#[test]
fn room_is_used_again_and_much_of_it_given_back() {
    let long = "x".repeat(LONGEST);
    let mut event = bare(&long).event;
    (event.path, event.route) = (Some(&*long), Some(&*long));
    (event.error_message, event.would_refuse) = (Some(&*long), Some(&*long));
    let widest = Case { event, refusal: Some(Refusal::new(Kind::NO_ROUTE, long.clone())) };
    let mut entry = Entry::new(outcome(&widest));
    let usual = entry.text.as_ptr();
    write(&mut entry, &full("id", &[]));
    assert_eq!(entry.text.as_ptr(), usual);
    write(&mut entry, &widest);
    assert!(entry.text.capacity() >= 6 * LONGEST);
    write(&mut entry, &bare("id"));
    assert!(entry.text.capacity() <= 4 * ROOM);
}
