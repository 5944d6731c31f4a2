use std::time::Duration;

use super::*;

fn bare(request_id: &str) -> Case<'_> {
    Case {
        outcome: Outcome {
            time: SystemTime::UNIX_EPOCH,
            client_ip: None,
            status_code: 404,
            error_code: None,
            retry_after: None,
        },
        request_id,
        method: "GET",
        path: "/",
        route: None,
        target_service: None,
        user: None,
        detail: None,
        cause: None,
        would_refuse: None,
        violated_policies: &[],
    }
}

fn full<'a>(request_id: &'a str, rules: &'a [Arc<str>]) -> Case<'a> {
    Case {
        outcome: Outcome {
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
            client_ip: "203.0.113.7".parse().ok(),
            status_code: 429,
            error_code: Some("rate_limited"),
            retry_after: Some(7),
        },
        route: Some("content"),
        target_service: Some("origin"),
        user: Some(("u-1", "https://id")),
        detail: Some("the limit is used up"),
        cause: Some("over"),
        would_refuse: Some("flood"),
        violated_policies: rules,
        ..bare(request_id)
    }
}

fn kept(case: &Case) -> Refused {
    let refusals = Refusals::default();
    refusals.keep(case);
    refusals.find(case.request_id).unwrap()
}

#[test]
fn the_newest_are_found() {
    let refusals = Refusals::default();
    (0..=KEPT).for_each(|id| refusals.keep(&bare(&id.to_string())));
    assert_eq!(refusals.find("0"), None);
    assert_eq!(refusals.find("1").unwrap().request_id, "1");
    let newest = KEPT.to_string();
    refusals.keep(&full(&newest, &[]));
    assert_eq!(refusals.find(&newest).unwrap().status_code, 429);
    assert_eq!((refusals.find("1"), refusals.find("")), (None, None));
    assert_eq!(refusals.kept.lock().len(), KEPT);
}

#[test]
fn all_that_was_told_is_shown() {
    let wanted = Refused {
        request_id: "id".into(),
        time: Timestamp::from_second(1).unwrap(),
        method: "GET".into(),
        path: "/".into(),
        route: Some("content".into()),
        target_service: Some("origin".into()),
        client_ip: "203.0.113.7".parse().ok(),
        user_id: Some("u-1 (https://id)".into()),
        status_code: 429,
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
    let refused = kept(&Case { path: "", route: Some(""), cause: Some(""), ..bare("id") });
    assert_eq!((&*refused.path, refused.route.as_deref(), refused.cause.as_deref()), ("", Some(""), Some("")));
    assert_eq!((refused.target_service, refused.user_id, refused.detail), (None, None, None));
    assert_eq!((refused.would_refuse, refused.violated_policies.len()), (None, 0));
}

#[test]
fn nothing_is_left_of_what_was_overwritten() {
    let rules: [Arc<str>; 1] = ["a".into()];
    let (full, bare) = (full("the one before", &rules), bare("id"));
    let mut entry = Entry::new(full.outcome);
    entry.write(&full);
    entry.write(&bare);
    assert_eq!(entry.shown(), kept(&bare));
    assert_eq!(entry.text, "idGET/");
}

#[test]
fn a_text_is_cut_between_characters() {
    let (even, odd) = ("ä".repeat(LONGEST), format!("x{}", "ä".repeat(LONGEST)));
    let refused = kept(&Case { path: &even, cause: Some(&odd), would_refuse: Some("flood"), ..bare("id") });
    assert_eq!(refused.path, even[..LONGEST]);
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
    let widest = Case { route: Some(&long), detail: Some(&long), cause: Some(&long), ..bare(&long) };
    let widest = Case { path: &long, would_refuse: Some(&long), ..widest };
    let mut entry = Entry::new(widest.outcome);
    let usual = entry.text.as_ptr();
    entry.write(&full("id", &[]));
    assert_eq!(entry.text.as_ptr(), usual);
    entry.write(&widest);
    assert!(entry.text.capacity() >= 6 * LONGEST);
    entry.write(&bare("id"));
    assert!(entry.text.capacity() <= 4 * ROOM);
}
