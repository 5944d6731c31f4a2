//! Which requests are tried again, how often, where, when, and what the client gets if that does not help.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use http::{Method, Version};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use crate::support::client::BoxError;
use crate::support::{Act, Answer, Body, Client, Fleet, Gateway, Raw, RawOrigin, Refusing, Request, full, soon};

/// Nothing but the route decides on a retry.
const CALM: &str = "circuit_breaker: { enabled: false }, ejection: { enabled: false }, \
                    retry_budget: { share: 1, per_second: 1000 }";
/// How much later than wanted something may end on a busy machine.
const LATE: Duration = Duration::from_millis(500);

/// Services and routes `/NAME/*` to one of them each.
fn config(services: &[(&str, String, &str)], routes: &[(&str, &str, &str)]) -> String {
    let services =
        services.iter().map(|(name, urls, settings)| format!("  {name}: {{ targets: [{urls}], {settings} }}\n"));
    let routes = routes.iter().map(|(name, service, settings)| {
        format!("  - {{ name: {name}, path_pattern: /{name}/*, target_service: {service}, {settings} }}\n")
    });
    format!("services:\n{}routes:\n{}", services.collect::<String>(), routes.collect::<String>())
}

/// A fleet behind the service `app`, and a gateway with these routes to it.
async fn before(targets: usize, routes: &[(&str, &str)]) -> (Fleet, Gateway) {
    let fleet = Fleet::of(targets).await;
    let routes: Vec<_> = routes.iter().map(|(name, settings)| (*name, "app", *settings)).collect();
    let gateway = Gateway::start(&config(&[("app", fleet.urls(), CALM)], &routes)).await;
    (fleet, gateway)
}

fn ask(method: &Method, path: &str, key: bool) -> Request<Body> {
    let mut request = Request::builder().method(method.clone()).uri(path);
    if key {
        request = request.header("idempotency-key", "1");
    }
    request.body(full("")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_may_be_executed_twice_is_tried_again() {
    let fleet = Fleet::of(3).await;
    let refusing = [Refusing::new(), Refusing::new(), Refusing::new()];
    let refused = refusing.each_ref().map(|target| format!("\"{}\"", target.url())).join(", ");
    let gateway = Gateway::start(&config(
        &[("app", fleet.urls(), CALM), ("gone", refused, CALM)],
        &[
            ("never", "app", ""),
            ("keyed", "app", "retry: { non_idempotent: keyed }"),
            ("always", "app", "retry: { non_idempotent: always }"),
            ("gone", "gone", ""),
        ],
    ))
    .await;
    let harmless = |name: &str| ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"].contains(&name);
    for name in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "PURGE"] {
        let method: Method = name.parse().unwrap();
        for (route, key) in [("never", false), ("never", true), ("keyed", false), ("keyed", true), ("always", false)] {
            let again = harmless(name) || route == "always" || (route == "keyed" && key);
            for act in [Act::Lost, Act::Status(503)] {
                fleet.play(&[act, Act::Status(200)]);
                let answer = gateway.ask(ask(&method, &format!("/{route}/"), key)).await;
                let failed = if act == Act::Lost { 502 } else { 503 };
                assert_eq!(answer.status, if again { 200 } else { failed }, "{name} {route} {key} {act:?}");
                assert_eq!(fleet.taken().len(), if again { 2 } else { 1 }, "{name} {route} {key} {act:?}");
            }
        }
        // After a failed connect anything may be tried again: nobody has had it.
        let path = format!("/gone/{name}");
        assert_eq!(gateway.ask(ask(&method, &path, false)).await.status, 502);
        assert_eq!(gateway.log_of(&path).await["attempts"], 3, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_goes_to_another_target_and_says_which_it_is() {
    let routes = [
        ("default", ""),
        ("none", "retry_count: 0"),
        ("one", "retry_count: 1"),
        ("many", "retry_count: 7, retry: { backoff: { base: 1ms, max: 9ms } }"),
    ];
    let (fleet, gateway) = before(4, &routes).await;
    for (round, (route, attempts)) in (0..8).zip([("default", 3), ("none", 1), ("one", 2), ("many", 8)].iter().cycle())
    {
        fleet.play(&[Act::Status(503)]);
        let path = format!("/{route}/{round}");
        let request = Request::get(&path).header("x-gatekeeper-attempt", "9").header("x-gatekeeper-attempt", "8");
        let answer = gateway.ask(request).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-gatekeeper-error")), (503, None));
        let taken = fleet.taken();
        assert_eq!(answer.text(), format!("target {}, request {attempts}", taken.last().unwrap().target));
        let said: Vec<_> = taken.iter().flat_map(|taken| taken.attempt()).collect();
        let counted: Vec<_> = (1..=*attempts).map(|number| number.to_string()).collect();
        assert_eq!(said, counted, "{route}");
        let mut first = fleet.order();
        first.truncate(4);
        let asked = first.len();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), asked, "{route}: {:?}", fleet.order());
        let record = gateway.log_of(&path).await;
        assert_eq!((&record["attempts"], &record["status_code"]), (&(*attempts).into(), &503.into()));
        let last = fleet.addresses[taken.last().unwrap().target];
        assert_eq!(record["upstream"], last.to_string(), "the address of the last attempt");
    }
    // 2 rounds of 2 + 0 + 1 + 7.
    assert_eq!(gateway.metric("gatekeeper_retries_total{service=\"app\",reason=\"503\"}").await, 20.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_condition_can_be_chosen_by_itself() {
    let fleet = Fleet::of(2).await;
    let refusing = [Refusing::new(), Refusing::new()];
    let refused = refusing.each_ref().map(|target| format!("\"{}\"", target.url())).join(", ");
    let mut conditions: Vec<Vec<&str>> =
        ["connect", "reset", "timeout", "429", "500", "502", "503", "504"].into_iter().map(|one| vec![one]).collect();
    conditions.extend([vec![], vec!["connect", "reset", "timeout", "502", "503", "504"]]);
    let settings: Vec<_> = conditions
        .iter()
        .enumerate()
        .map(|(index, on)| {
            // The last is what is written nowhere.
            let on = if on.len() > 1 { String::new() } else { format!("retry: {{ on: [{}] }}, ", on.join(", ")) };
            (index, format!("{on} retry_count: 1, timeouts: {{ first_byte: 100ms }}"))
        })
        .collect();
    let names: Vec<_> = settings.iter().map(|(index, _)| (format!("app{index}"), format!("gone{index}"))).collect();
    let routes: Vec<_> = settings
        .iter()
        .zip(&names)
        .flat_map(|((_, settings), (app, gone))| [(&**app, "app", &**settings), (&**gone, "gone", &**settings)])
        .collect();
    let services = [("app", fleet.urls(), CALM), ("gone", refused, CALM)];
    let gateway = Gateway::start(&config(&services, &routes)).await;
    let faults = [
        ("connect", None, 502),
        ("reset", Some(Act::Lost), 502),
        ("timeout", Some(Act::Silent), 504),
        ("429", Some(Act::Status(429)), 429),
        ("500", Some(Act::Status(500)), 500),
        ("502", Some(Act::Status(502)), 502),
        ("503", Some(Act::Status(503)), 503),
        ("504", Some(Act::Status(504)), 504),
    ];
    for (index, on) in conditions.iter().enumerate() {
        for (fault, act, status) in faults {
            fleet.play(&[act.unwrap_or(Act::Status(200)), Act::Status(200)]);
            let path = format!("/{}{index}/{fault}", if act.is_some() { "app" } else { "gone" });
            let answer = gateway.get(&path).await;
            let again = on.contains(&fault);
            let wanted = if again && act.is_some() { 200 } else { status };
            assert_eq!(answer.status, wanted, "{fault} where {on:?} are tried again");
            let attempts = gateway.log_of(&path).await["attempts"].clone();
            assert_eq!(attempts, if again { 2 } else { 1 }, "{fault} where {on:?} are tried again");
        }
    }
    for (fault, act, _) in faults {
        let (service, reason) = match (act, fault) {
            (None, _) => ("gone", fault),
            (_, "429" | "500") => ("app", "status"),
            _ => ("app", fault),
        };
        let series = format!("gatekeeper_retries_total{{service=\"{service}\",reason=\"{reason}\"}}");
        // Once where it stands alone and once by default; for 429 and 500 together once each.
        assert_eq!(gateway.metric(&series).await, 2.0, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_real_response_reaches_the_client() {
    let (fleet, gateway) = before(3, &[("app", "timeout: 1s"), ("on", "retry: { on: [503] }")]).await;
    use Act::{Lost, Status};
    for (script, path, status, body, code) in [
        (&[Status(503), Status(502), Status(504)][..], "/app/", 504, Some(3), None),
        (&[Lost, Status(502), Status(503)], "/app/", 503, Some(3), None),
        // The last attempt had none.
        (&[Status(503), Status(503), Lost], "/app/", 502, None, Some("upstream_failed")),
        // What does not end the matter by itself, but must not be tried again.
        (&[Status(503), Status(500)], "/app/", 500, Some(2), None),
        (&[Status(503), Status(404)], "/app/", 404, Some(2), None),
        (&[Status(503), Status(504)], "/on/", 504, Some(2), None),
        (&[Status(503), Lost], "/on/", 502, None, Some("upstream_failed")),
    ] {
        fleet.play(script);
        let answer = gateway.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-gatekeeper-error")), (status, code), "{script:?}");
        if let Some(nth) = body {
            assert_eq!(answer.text(), format!("target {}, request {nth}", fleet.order()[nth - 1]), "{script:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_upstream_asks_to_wait_is_waited_if_it_fits() {
    let routes = [("patient", "timeout: 10s"), ("hasty", "timeout: 900ms"), ("endless", "")];
    // Of another target nothing was asked.
    let (fleet, gateway) = before(2, &routes).await;
    fleet.play(&[Act::Later(503, "60"), Act::Status(200)]);
    assert_eq!(gateway.get("/hasty/").await.status, 200);
    let (fleet, gateway) = before(1, &routes).await;
    for (path, asked, waits) in [
        ("/patient/", "1", true),
        ("/patient/", "60", false),
        ("/hasty/", "1", false),
        ("/endless/", "60", false),
        // A date is as if nothing was asked.
        ("/hasty/", "Fri, 31 Dec 2999 23:59:59 GMT", true),
    ] {
        fleet.play(&[Act::Later(503, asked), Act::Status(200)]);
        let started = Instant::now();
        let answer = gateway.get(path).await;
        let took = started.elapsed();
        assert_eq!(answer.status, if waits { 200 } else { 503 }, "{path} {asked}");
        assert_eq!(answer.header("retry-after"), (!waits).then_some(asked), "{path} {asked}");
        let least = if asked == "1" && waits { Duration::from_secs(1) } else { Duration::ZERO };
        assert!(took >= least && took < least + LATE, "{path} {asked} took {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backoff_is_waited_and_differs() {
    let (fleet, gateway) =
        before(2, &[("app", "retry_count: 1, retry: { backoff: { base: 200ms, max: 200ms } }")]).await;
    let mut waits = Vec::new();
    for _ in 0..10 {
        fleet.play(&[Act::Status(503), Act::Status(200)]);
        assert_eq!(gateway.get("/app/").await.status, 200);
        let taken = fleet.taken();
        waits.push(taken[1].at - taken[0].at);
    }
    // Ten times a random part of 200 ms: less than 300 ms in all in one of 60,000 runs.
    assert!(waits.iter().sum::<Duration>() > Duration::from_millis(300), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait < Duration::from_millis(200) + LATE), "{waits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_are_of_an_attempt_and_of_all_together() {
    let fleet = Fleet::of(3).await;
    let h2 = format!("{CALM}, protocol: h2");
    let per_try = "timeouts: { first_byte: 300ms }";
    let gateway = Gateway::start(&config(
        &[("app", fleet.urls(), CALM), ("h2", fleet.urls(), &h2)],
        &[
            ("app", "app", per_try),
            ("h2", "h2", per_try),
            ("total", "app", "retry_count: 9, timeout: 800ms, timeouts: { first_byte: 300ms }"),
            ("h2total", "h2", "retry_count: 9, timeout: 800ms, timeouts: { first_byte: 300ms }"),
            ("waiting", "app", "timeout: 600ms, retry: { backoff: { base: 10m, max: 10m } }"),
        ],
    ))
    .await;
    let millis = Duration::from_millis;
    for (path, script, status, attempts, least) in [
        ("/app/", &[Act::Silent, Act::Status(200)][..], 200, 2, millis(300)),
        ("/h2/", &[Act::Silent, Act::Status(200)], 200, 2, millis(300)),
        ("/app/", &[Act::Silent], 504, 3, millis(900)),
        ("/total/", &[Act::Silent], 504, 3, millis(800)),
        ("/h2total/", &[Act::Silent], 504, 3, millis(800)),
        // It would have to wait longer than it may take (but for one of 1,000 times).
        ("/waiting/", &[Act::Status(503)], 503, 1, millis(0)),
    ] {
        fleet.play(script);
        let started = Instant::now();
        let answer = gateway.get(path).await;
        let took = started.elapsed();
        assert_eq!(answer.status, status, "{path} {answer:?}");
        assert_eq!(fleet.taken().len(), attempts, "{path}");
        assert!(took >= least && took < least + LATE, "{path} took {took:?}");
    }
}

fn chunks(size: usize) -> Body {
    let pieces = (0..size / 1000).map(|index| Ok::<_, BoxError>(Frame::data(vec![index as u8; 1000].into())));
    let pieces = stream::iter(pieces).then(|piece| async {
        tokio::task::yield_now().await;
        piece
    });
    StreamBody::new(pieces).boxed_unsync()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_sent_again_byte_for_byte_if_it_was_kept() {
    let fleet = Fleet::of(3).await;
    let h2 = format!("{CALM}, protocol: h2");
    let services = [("h1", fleet.urls(), CALM), ("h2", fleet.urls(), &*h2)];
    let gateway = Gateway::start(&config(&services, &[("h1", "h1", ""), ("h2", "h2", "")])).await;
    for (client, target) in [("h1", "h1"), ("h1", "h2"), ("h2", "h1"), ("h2", "h2")] {
        for chunked in [false, true] {
            for (size, act, again) in [
                (60_000, Act::Lost, true),
                (60_000, Act::Status(503), true),
                (200_000, Act::Lost, false),
                (200_000, Act::Status(503), false),
            ] {
                fleet.play(&[act, act, Act::Status(200)]);
                let body = || if chunked { chunks(size) } else { full(vec![7; size]) };
                let wanted = body().collect().await.unwrap().to_bytes();
                let request = Request::put(format!("/{target}/")).body(body()).unwrap();
                let mut connection = if client == "h1" { gateway.h1().await } else { gateway.h2c().await };
                let answer = connection.ask(request).await;
                let what = format!("{client} to {target}, {size} bytes, chunked {chunked}, {act:?}");
                let failed = if act == Act::Lost { 502 } else { 503 };
                assert_eq!(answer.status, if again { 200 } else { failed }, "{what}");
                let taken = fleet.taken();
                assert_eq!(taken.len(), if again { 3 } else { 1 }, "{what}");
                for taken in taken {
                    let version = if target == "h1" { Version::HTTP_11 } else { Version::HTTP_2 };
                    assert_eq!((taken.version, taken.body.as_ref()), (version, Some(&wanted)), "{what}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_has_not_all_come_goes_to_the_next_target_too() {
    let (fleet, gateway) = before(2, &[("app", "")]).await;
    // The first target answers before it has read the body.
    for client in ["h1", "h2"] {
        fleet.play(&[Act::Early(503), Act::Status(200)]);
        let (sender, pieces) = futures::channel::mpsc::unbounded::<Result<Frame<bytes::Bytes>, BoxError>>();
        sender.unbounded_send(Ok(Frame::data(vec![1; 1000].into()))).unwrap();
        let request = Request::put("/app/").body(StreamBody::new(pieces).boxed_unsync()).unwrap();
        let mut connection: Client = if client == "h1" { gateway.h1().await } else { gateway.h2c().await };
        let feed = async {
            crate::support::eventually("a second attempt", async || (fleet.taken().len() == 2).then_some(())).await;
            sender.unbounded_send(Ok(Frame::data(vec![2; 1000].into()))).unwrap();
            drop(sender);
        };
        let (answer, ()) = futures::join!(async { connection.ask(request).await }, feed);
        assert_eq!(answer.status, 200, "{client}");
        let wanted = [vec![1; 1000], vec![2; 1000]].concat();
        assert_eq!(fleet.taken()[1].body.as_deref(), Some(&*wanted), "{client}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_tried_again_once_an_answer_has_begun() {
    let fleet = Fleet::of(2).await;
    let h2 = format!("{CALM}, protocol: h2");
    let always = "retry_count: 5, retry: { non_idempotent: always }";
    let services = [("h1", fleet.urls(), CALM), ("h2", fleet.urls(), &*h2)];
    let gateway = Gateway::start(&config(&services, &[("h1", "h1", always), ("h2", "h2", always)])).await;
    for target in ["h1", "h2"] {
        for method in [Method::GET, Method::PUT, Method::POST] {
            fleet.play(&[Act::Broken, Act::Status(200)]);
            let path = format!("/{target}/{method}");
            let response = soon("a head", gateway.h1().await.send(ask(&method, &path, false))).await.unwrap();
            assert_eq!(response.status(), 200);
            assert!(soon("the end", Answer::collect(response)).await.is_err(), "{path}: the answer looks whole");
            let record = gateway.log_of(&path).await;
            assert_eq!((&record["attempts"], &record["truncated"]), (&1.into(), &true.into()), "{path}");
            assert_eq!(fleet.taken().len(), 1, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_do_not_forbid_another_attempt_unless_they_went_out() {
    // A 103 has gone to the client: what follows may still be another target's answer, but only one final one comes.
    let origin = RawOrigin::playing(async |mut peer: Raw| {
        if peer.request().await.is_some() {
            peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
        }
    });
    let origin = origin.await;
    let services = [("app", format!("\"{}\"", origin.url()), CALM)];
    let gateway = Gateway::start(&config(&services, &[("app", "app", "")])).await;
    let mut raw = gateway.raw().await;
    raw.send("GET /app/ HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut statuses = Vec::new();
    while let Some(response) = raw.next_response().await {
        statuses.push(response.status());
    }
    assert_eq!(statuses.last(), Some(&502), "{statuses:?}");
    assert!(statuses[..statuses.len() - 1].iter().all(|status| *status == 103), "{statuses:?}");
    assert_eq!(origin.requests().len(), gateway.log_of("/app/").await["attempts"].as_u64().unwrap() as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_bounds_the_retries_but_not_those_of_failed_connects() {
    let fleet = Fleet::of(2).await;
    let refusing = Refusing::new();
    let calm = "circuit_breaker: { enabled: false }, ejection: { enabled: false }";
    let poor = format!("{calm}, retry_budget: {{ share: 0, per_second: 1, saved: 3s }}");
    let none = format!("{calm}, retry_budget: {{ share: 0, per_second: 0 }}");
    let half = format!("{calm}, retry_budget: {{ share: 0.5, per_second: 0, saved: 1h }}");
    let partly = format!("\"{}\", \"http://{}\"", refusing.url(), fleet.addresses[0]);
    let gateway = Gateway::start(&config(
        &[
            ("poor", fleet.urls(), &poor),
            ("none", fleet.urls(), &none),
            ("half", fleet.urls(), &half),
            ("partly", partly, &none),
        ],
        &[("poor", "poor", ""), ("none", "none", ""), ("half", "half", ""), ("partly", "partly", "")],
    ))
    .await;
    let exhausted = async |service: &str| {
        gateway.metric(&format!("gatekeeper_retry_budget_exhausted_total{{service=\"{service}\"}}")).await
    };
    fleet.play(&[Act::Status(503)]);
    let answer = gateway.get("/none/").await;
    // The only answer there is goes out.
    assert_eq!((answer.status.as_u16(), answer.text()), (503, &*format!("target {}, request 1", fleet.order()[0])));
    assert_eq!(exhausted("none").await, 1.0);

    fleet.play(&[Act::Lost]);
    assert_eq!(gateway.get("/poor/").await.status, 502);
    assert_eq!((fleet.taken().len(), exhausted("poor").await), (3, 0.0));
    assert_eq!(gateway.get("/poor/").await.status, 502);
    // Three seconds' savings, and what may have been earned since.
    assert!((4..=5).contains(&(fleet.taken().len() - 1)), "{:?}", fleet.order());

    fleet.play(&[Act::Status(503)]);
    for _ in 0..20 {
        gateway.get("/half/").await;
    }
    assert!((29..=30).contains(&fleet.taken().len()), "{}", fleet.taken().len());

    fleet.play(&[Act::Status(200)]);
    for _ in 0..10 {
        assert_eq!(gateway.ask(Request::post("/partly/")).await.status, 200);
    }
    assert_eq!((fleet.taken().len(), exhausted("partly").await), (10, 0.0));
    assert!(gateway.metric("gatekeeper_retries_total{service=\"partly\",reason=\"connect\"}").await >= 4.0);
}

/// A key that is not sent on, or says nothing, is none: the service would execute the request twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_counts_only_if_the_service_sees_it() {
    let (fleet, gateway) = before(2, &[("keyed", "retry: { non_idempotent: keyed }")]).await;
    for (fields, again) in [
        (vec![("idempotency-key", "1"), ("connection", "Idempotency-Key")], true),
        (vec![("idempotency-key", "\"k\"")], true),
        (vec![("idempotency-key", "")], false),
        (vec![("idempotency-key", "\"\"")], false),
        (vec![("idempotency-key", "1"), ("idempotency-key", "2")], false),
    ] {
        fleet.play(&[Act::Status(503), Act::Status(200)]);
        let request = Request::post("/keyed/");
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = gateway.ask(request.body(full("")).unwrap()).await;
        assert_eq!(answer.status, if again { 200 } else { 503 }, "{fields:?}");
        let taken = fleet.taken();
        assert_eq!(taken.len(), if again { 2 } else { 1 }, "{fields:?}");
        assert!(taken.iter().all(|taken| taken.headers.contains_key("idempotency-key")), "{fields:?}");
    }
}

/// Who waits for another attempt keeps nobody from having a first one.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_holds_no_place() {
    const CLIENTS: usize = 24;
    let caps = [
        ("service", "max_in_flight: 3", ""),
        ("target", "", ", max_in_flight: 3"),
        ("both", "max_in_flight: 3", ", max_in_flight: 3"),
    ];
    for (name, of_service, of_target) in caps {
        let fleet = Fleet::of(1).await;
        let target = format!("{{ url: {}{of_target} }}", fleet.urls());
        let settings = format!("{CALM}, queue: {{ length: 0 }}, {of_service}");
        let gateway = Gateway::start(&config(&[("app", target, &settings)], &[("app", "app", "retry_count: 1")])).await;
        let mut script = vec![Act::Later(503, "2"); CLIENTS];
        script.push(Act::Status(200));
        fleet.play(&script);
        let began = Instant::now();
        let asked = (0..CLIENTS).map(|number| {
            let gateway = &gateway;
            async move {
                let mut client = gateway.h1().await;
                tokio::time::sleep(Duration::from_millis(50 * number as u64)).await;
                client.ask(Request::get("/app/")).await
            }
        });
        let answers = futures::future::join_all(asked).await;
        let busy = answers.iter().filter(|answer| answer.header("x-gatekeeper-error") == Some("service_busy")).count();
        assert_eq!(busy, 0, "{name}: {busy} of {CLIENTS} are refused");
        assert!(answers.iter().all(|answer| answer.status == 200), "{name}: {answers:?}");
        assert!(began.elapsed() > Duration::from_secs(2), "{name}: nobody waited");
        for held in ["gatekeeper_service_requests", "gatekeeper_requests_in_flight"] {
            let series = if held.contains("service") { format!("{held}{{service=\"app\"}}") } else { held.to_owned() };
            assert_eq!(gateway.metric(&series).await, 0.0, "{name}: {held}");
        }
    }
}
