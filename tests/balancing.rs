//! Which target a request goes to, how many go at once, and when none goes: balancing, ejection, caps, the breaker's switches.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::future;
use tokio::time::sleep;

use crate::support::websocket::Socket;
use crate::support::{Act, Fleet, Gateway, Origin, Raw, Request, eventually, soon};

/// A service with these targets and settings, and routes `/NAME/*` to it; nothing is tried again unless a route says so.
fn config(targets: &str, settings: &str, routes: &[(&str, &str)]) -> String {
    let routes = routes.iter().map(|(name, settings)| {
        format!("  - {{ name: {name}, path_pattern: /{name}/*, target_service: app, retry_count: 0, {settings} }}\n")
    });
    let routes: String = routes.collect();
    format!(
        "services:\n  app: {{ targets: [{targets}], {settings} }}\ntrusted_proxies: [127.0.0.0/8]\nroutes:\n{routes}"
    )
}

fn weighted(fleet: &Fleet, weights: &[u32]) -> String {
    let targets = fleet.addresses.iter().zip(weights);
    let targets: Vec<_> =
        targets.map(|(address, weight)| format!("{{ url: \"http://{address}\", weight: {weight} }}")).collect();
    targets.join(", ")
}

/// How often each target was asked.
fn tally(order: &[usize], targets: usize) -> Vec<usize> {
    (0..targets).map(|target| order.iter().filter(|asked| **asked == target).count()).collect()
}

fn longest_run(order: &[usize]) -> usize {
    order.chunk_by(|a, b| a == b).map(<[usize]>::len).max().unwrap_or_default()
}

const APP: &[(&str, &str)] = &[("app", "")];

async fn get(gateway: &Gateway, times: usize) {
    let mut client = gateway.h1().await;
    for _ in 0..times {
        client.ask(Request::get("/app/")).await;
    }
}

async fn metric(gateway: &Gateway, name: &str) -> f64 {
    gateway.metric(&format!("gatekeeper_{name}{{service=\"app\"}}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_are_kept_exactly_in_turn_and_about_by_chance() {
    let fleet = Fleet::of(4).await;
    let weights = [50, 30, 0, 20];
    let gateway = Gateway::start(&config(&weighted(&fleet, &weights), "", APP)).await;
    get(&gateway, 100).await;
    let order = fleet.order();
    assert_eq!(tally(&order, 4), [50, 30, 0, 20]);
    assert!(longest_run(&order) <= 2, "{order:?}");
    // A heavy one does not get all of its share at a stretch.
    fleet.play(&[]);
    gateway.reload(&config(&weighted(&fleet, &[1000, 999, 0, 0]), "", APP)).unwrap();
    get(&gateway, 60).await;
    assert!(longest_run(&fleet.order()) <= 3, "{:?}", fleet.order());

    fleet.play(&[]);
    gateway.reload(&config(&weighted(&fleet, &weights), "load_balancing: random", APP)).unwrap();
    get(&gateway, 1000).await;
    let counts = tally(&fleet.order(), 4);
    for (count, weight) in counts.iter().zip(weights) {
        // Six standard deviations at most.
        let wanted = weight as usize * 10;
        assert!(count.abs_diff(wanted) <= 95 && (weight > 0 || *count == 0), "{counts:?}");
    }
    assert!(longest_run(&fleet.order()) > 3, "that is not by chance: {:?}", fleet.order());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fewest_requests_in_flight_prefer_the_fast() {
    let fleet = Fleet::of(3).await;
    let gateway = Gateway::start(&config(&fleet.urls(), "load_balancing: least_requests", APP)).await;
    fleet.habit(1, Act::Slow(Duration::from_millis(200)));
    future::join_all((0..6).map(|_| get(&gateway, 30))).await;
    let counts = tally(&fleet.order(), 3);
    assert!(counts[1] * 4 < counts[0] && counts[1] * 4 < counts[2], "{counts:?}");
    // By weight: three in flight at one of weight 3 are as one at one of weight 1.
    fleet.play(&[Act::Slow(Duration::from_secs(20))]);
    let weights = weighted(&fleet, &[3, 1, 0]);
    gateway.reload(&config(&weights, "load_balancing: least_requests", APP)).unwrap();
    let mut clients = Vec::new();
    for count in 1..=8 {
        let mut client = gateway.raw().await;
        client.send("GET /app/ HTTP/1.1\r\nHost: a\r\n\r\n").await;
        eventually("it is there", async || (fleet.order().len() == count).then_some(())).await;
        clients.push(client);
    }
    assert_eq!(tally(&fleet.order(), 3), [6, 2, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stays_at_its_target_and_only_those_of_a_lost_one_move() {
    let fleet = Fleet::of(4).await;
    for (balancing, header, value) in [
        ("hash:ip", "x-forwarded-for", "192.0.2."),
        ("hash:user", "x-forwarded-for", "192.0.2."),
        ("hash:header:X-Tenant", "x-tenant", "tenant"),
        ("hash:cookie:sid", "cookie", "a=b; sid="),
    ] {
        let with = |weights: &[u32]| config(&weighted(&fleet, weights), &format!("load_balancing: {balancing}"), APP);
        let gateway = Gateway::start(&with(&[1, 1, 1, 1])).await;
        let homes = async || {
            fleet.play(&[]);
            let mut client = gateway.h1().await;
            for key in 1..=100 {
                client.ask(Request::get("/app/").header(header, format!("{value}{key}"))).await;
            }
            fleet.order()
        };
        let before = homes().await;
        assert_eq!(before, homes().await, "{balancing}");
        let counts = tally(&before, 4);
        assert!(counts.iter().all(|count| (8..=45).contains(count)), "{balancing}: {counts:?}");
        gateway.reload(&with(&[1, 1, 0, 1])).unwrap();
        let without = homes().await;
        for (home, now) in before.iter().zip(&without) {
            assert!(*now != 2 && (home == now || *home == 2), "{balancing}: {before:?} {without:?}");
        }
        let moved: BTreeSet<_> =
            before.iter().zip(&without).filter(|(home, _)| **home == 2).map(|(_, now)| *now).collect();
        assert!(moved.len() > 1, "{balancing}: all of one target's clients went to the same other");
        gateway.reload(&with(&[1, 1, 1, 1])).unwrap();
        assert_eq!(before, homes().await, "{balancing}");
        // A target that fails is left for another, for this request.
        fleet.play(&[Act::Status(503)]);
        let again = with(&[1, 1, 1, 1]).replace("retry_count: 0", "retry_count: 1");
        gateway.reload(&again).unwrap();
        gateway.ask(Request::get("/app/").header(header, format!("{value}1"))).await;
        let order = fleet.order();
        assert!(order.len() == 2 && order[0] == before[0] && order[1] != before[0], "{balancing}: {order:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_fails_is_left_alone_and_comes_back_slowly() {
    let fleet = Fleet::of(3).await;
    let settings = "circuit_breaker: { enabled: false }, ejection: { base: 1s }, slow_start: 3s";
    let gateway = Gateway::start(&config(&fleet.urls(), settings, APP)).await;
    fleet.habit(1, Act::Status(503));
    get(&gateway, 30).await;
    assert_eq!(tally(&fleet.order(), 3)[1], 5);
    assert_eq!((metric(&gateway, "targets_ejected").await, metric(&gateway, "ejections_total").await), (1.0, 1.0));
    fleet.play(&[]);
    let back = async || metric(&gateway, "targets_ejected").await == 0.0;
    eventually("it is back", async || back().await.then_some(())).await;
    let began = Instant::now();
    let mut client = gateway.h1().await;
    while began.elapsed() < Duration::from_secs(4) {
        client.ask(Request::get("/app/")).await;
        sleep(Duration::from_millis(2)).await;
    }
    // Its part of the requests in each second.
    let taken = fleet.taken();
    let part = |second: u64| {
        let then = taken.iter().filter(|taken| (taken.at - began).as_secs() == second);
        let of_it = then.clone().filter(|taken| taken.target == 1).count();
        of_it as f64 / then.count() as f64
    };
    let parts: Vec<_> = (0..4).map(part).collect();
    assert!(parts[0] < 0.16 && parts[0] > 0.0, "{parts:?}");
    assert!(parts[0] < parts[1] && parts[1] < parts[3], "{parts:?}");
    assert!((parts[3] - 1.0 / 3.0).abs() < 0.02, "{parts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn never_more_than_half_are_ejected_and_successes_begin_anew() {
    let fleet = Fleet::of(3).await;
    let calm = "circuit_breaker: { enabled: false }";
    let gateway = Gateway::start(&config(&fleet.urls(), calm, APP)).await;
    // Four failures, a success, four failures: not five in a row.
    for act in [Act::Status(503), Act::Status(200), Act::Status(503)] {
        fleet.play(&[act]);
        get(&gateway, if act == Act::Status(200) { 3 } else { 12 }).await;
    }
    assert_eq!(metric(&gateway, "ejections_total").await, 0.0);
    get(&gateway, 40).await;
    assert_eq!((metric(&gateway, "ejections_total").await, metric(&gateway, "targets_ejected").await), (1.0, 1.0));
    fleet.play(&[]);
    get(&gateway, 40).await;
    let mut counts = tally(&fleet.order(), 3);
    counts.sort_unstable();
    assert_eq!(counts, [0, 20, 20]);
    let gone = (0..3).find(|target| !fleet.order().contains(target)).unwrap();
    // A reload that keeps the target keeps that, whatever else changes.
    for settings in [format!("{calm}, load_balancing: random, max_in_flight: 100"), calm.to_owned()] {
        fleet.play(&[]);
        gateway.reload(&config(&fleet.urls(), &settings, &[("app", ""), ("other", "")])).unwrap();
        get(&gateway, 40).await;
        assert_eq!(tally(&fleet.order(), 3)[gone], 0, "{settings}");
    }
    fleet.play(&[]);
    gateway.reload(&config(&fleet.urls(), &format!("{calm}, ejection: {{ enabled: false }}"), APP)).unwrap();
    fleet.play(&[Act::Status(503)]);
    get(&gateway, 60).await;
    assert_eq!(metric(&gateway, "ejections_total").await, 1.0);
}

/// A client that has sent a request and not read the answer.
async fn asking(gateway: &Gateway, path: &str) -> Raw {
    let mut client = gateway.raw().await;
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    client
}

async fn waiting(gateway: &Gateway, count: f64) {
    let now = async || metric(gateway, "queue_length").await;
    eventually("so many wait", async || (now().await == count).then_some(())).await;
}

/// The cap as the service has it and as each of its targets has it.
fn capped(fleet: &Fleet, most: u32, queue: &str) -> [String; 2] {
    let targets: Vec<_> = fleet
        .addresses
        .iter()
        .map(|address| format!("{{ url: \"http://{address}\", max_in_flight: {most} }}"))
        .collect();
    let all = most * fleet.addresses.len() as u32;
    let calm = format!("circuit_breaker: {{ enabled: false }}, ejection: {{ enabled: false }}, queue: {{ {queue} }}");
    let of_service = format!("max_in_flight: {all}, {calm}");
    let limits = &[("app", "timeouts: { first_byte: 300ms }"), ("slow", "")];
    [config(&fleet.urls(), &of_service, limits), config(&targets.join(", "), &calm, limits)]
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_room_waits_its_turn() {
    let fleet = Fleet::of(1).await;
    for config in capped(&fleet, 1, "length: 4, timeout: 20s") {
        fleet.play(&[Act::Slow(Duration::from_millis(1500)), Act::Slow(Duration::from_millis(100))]);
        let gateway = Gateway::start(&config).await;
        let mut clients = vec![asking(&gateway, "/slow/0").await];
        eventually("the first is there", async || (fleet.order().len() == 1).then_some(())).await;
        for number in 1..5 {
            clients.push(asking(&gateway, &format!("/slow/{number}")).await);
            waiting(&gateway, f64::from(number)).await;
        }
        let before = gateway.cpu_ticks();
        let started = Instant::now();
        let full = gateway.get("/slow/5").await;
        assert_eq!((full.status.as_u16(), full.header("retry-after")), (503, Some("1")));
        assert_eq!(full.problem()["code"], "service_busy");
        assert!(started.elapsed() < Duration::from_millis(250), "{:?}", started.elapsed());
        for client in &mut clients {
            assert_eq!(client.response().await.status(), 200);
        }
        let order: Vec<_> = fleet.taken().into_iter().map(|taken| taken.path).collect();
        assert_eq!(order, ["/slow/0", "/slow/1", "/slow/2", "/slow/3", "/slow/4"]);
        // Waiting costs nothing. (They waited for about a second, or 100 ticks.)
        let used = gateway.cpu_ticks() - before;
        assert!(used < 40, "{used} ticks");
        assert!(gateway.metric("gatekeeper_queue_duration_seconds_count{service=\"app\"}").await >= 4.0);
        assert_eq!(metric(&gateway, "queue_length").await, 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_longer_than_the_queue_allows() {
    let fleet = Fleet::of(2).await;
    for (queue, least) in [("length: 0", 0), ("length: 9, timeout: 300ms", 300)] {
        for config in capped(&fleet, 1, queue) {
            fleet.play(&[Act::Slow(Duration::from_secs(20))]);
            let gateway = Gateway::start(&config).await;
            let _inside = [asking(&gateway, "/slow/").await, asking(&gateway, "/slow/").await];
            eventually("they are there", async || (fleet.order().len() == 2).then_some(())).await;
            let mut targets = fleet.order();
            targets.sort_unstable();
            assert_eq!(targets, [0, 1], "one at each: {config}");
            let started = Instant::now();
            let answer = gateway.get("/slow/").await;
            let took = started.elapsed();
            assert_eq!((answer.status.as_u16(), answer.header("x-gatekeeper-error")), (503, Some("service_busy")));
            let least = Duration::from_millis(least);
            assert!(took >= least && took < least + Duration::from_millis(500), "{queue}: {took:?}");
            assert_eq!(fleet.order().len(), 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn room_is_given_back_however_a_request_ends() {
    let fleet = Fleet::of(1).await;
    for config in capped(&fleet, 1, "length: 1, timeout: 10s") {
        let gateway = Gateway::start(&config).await;
        let is_free = async |how: &str| {
            fleet.play(&[Act::Status(200)]);
            assert_eq!(soon(how, gateway.get("/app/")).await.status, 200, "{how}");
            waiting(&gateway, 0.0).await;
        };
        for act in [Act::Status(200), Act::Status(503), Act::Lost, Act::Broken, Act::Silent] {
            fleet.play(&[act]);
            asking(&gateway, "/app/").await.response().await;
            is_free(&format!("{act:?}")).await;
        }
        // The client goes while it is served, while it waits, and both at once.
        for (inside, waits) in [(true, false), (false, true), (true, true)] {
            fleet.play(&[Act::Slow(Duration::from_secs(1))]);
            let mut first = Some(asking(&gateway, "/slow/").await);
            eventually("it is there", async || (fleet.order().len() == 1).then_some(())).await;
            let mut second = Some(asking(&gateway, "/slow/").await);
            waiting(&gateway, 1.0).await;
            first.take_if(|_| inside);
            second.take_if(|_| waits);
            for mut rest in [first, second].into_iter().flatten() {
                assert_eq!(rest.response().await.status(), 200);
            }
            // Who went while it waited keeps its place until its turn comes.
            waiting(&gateway, 0.0).await;
            is_free("a client went").await;
        }
    }
    let origin = Origin::start().await;
    for (of_service, of_target) in [("max_in_flight: 1", ""), ("", "max_in_flight: 1")] {
        let target = format!("{{ url: \"{}\", {of_target} }}", origin.url());
        let gateway = Gateway::start(&format!(
            "services:\n  app: {{ targets: [{target}], queue: {{ length: 0 }}, {of_service} }}\n\
             routes:\n  - {{ name: app, path_pattern: /*, target_service: app }}\n"
        ))
        .await;
        let mut socket = Socket::open(gateway.address, "/ws").await.unwrap();
        assert_eq!(gateway.get("/plain").await.problem()["code"], "service_busy");
        socket.close(1000).await;
        while socket.next().await.is_some() {}
        drop(socket);
        let free = async || (gateway.get("/plain").await.status == 200).then_some(());
        eventually("a websocket's room is free", free).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_stays_open_over_a_reload_and_a_route_may_pass_it_by() {
    let fleet = Fleet::of(2).await;
    let routes = [("app", ""), ("free", "circuit_breaker_enabled: false")];
    let three = "ejection: { enabled: false }, circuit_breaker: { failure_threshold: 3 }";
    let gateway = Gateway::start(&config(&fleet.urls(), three, &routes)).await;
    fleet.play(&[Act::Status(503)]);
    for _ in 0..5 {
        // What passes it by counts for nothing.
        gateway.get("/free/").await;
    }
    assert_eq!(metric(&gateway, "breaker_state").await, 0.0);
    get(&gateway, 3).await;
    assert_eq!(metric(&gateway, "breaker_state").await, 2.0);
    fleet.play(&[]);
    let statuses = async || [gateway.get("/app/").await.status.as_u16(), gateway.get("/free/").await.status.as_u16()];
    assert_eq!(statuses().await, [503, 200]);
    let more = [("app", ""), ("free", "circuit_breaker_enabled: false"), ("more", "")];
    for settings in [three.to_owned(), format!("{three}, load_balancing: random, max_in_flight: 9")] {
        gateway.reload(&config(&fleet.urls(), &settings, &more)).unwrap();
        assert_eq!(statuses().await, [503, 200], "{settings}");
        assert_eq!(gateway.get("/more/").await.problem()["code"], "circuit_open");
    }
    assert_eq!(gateway.metric("gatekeeper_breaker_transitions_total{service=\"app\",to=\"open\"}").await, 1.0);
    assert!(gateway.said().contains("service app: circuit breaker opened"), "{}", gateway.said());
    // Other settings of its own make it a new one.
    gateway.reload(&config(&fleet.urls(), "circuit_breaker: { failure_threshold: 4 }", &routes)).unwrap();
    assert_eq!(statuses().await, [200, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_goes_by_a_row_or_by_a_ratio_or_not_at_all() {
    let bad = Act::Status(503);
    let good = Act::Status(200);
    let ratio = "circuit_breaker: { ratio: { rate: 0.5, min_requests: 8, window: 30s } }";
    let row = "circuit_breaker: { failure_threshold: 3 }";
    let off = "circuit_breaker: { enabled: false, failure_threshold: 1 }";
    let mixed: Vec<_> = [bad, bad, good].into_iter().cycle().take(24).collect();
    let rare: Vec<_> = [bad, good, good].into_iter().cycle().take(24).collect();
    for (settings, script, reach) in [
        (row, &mixed[..], 24),
        (row, &[good, bad, bad, bad][..], 4),
        (ratio, &mixed, 8),
        (ratio, &rare, 24),
        (ratio, &[bad], 8),
        (off, &[bad], 24),
        // Five by default.
        ("", &[bad], 5),
    ] {
        let fleet = Fleet::of(1).await;
        fleet.play(script);
        let gateway = Gateway::start(&config(&fleet.urls(), settings, APP)).await;
        get(&gateway, 24).await;
        assert_eq!(fleet.order().len(), reach, "{settings} {script:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_closes_again_by_its_probes() {
    let fleet = Fleet::of(1).await;
    let settings = "circuit_breaker: { failure_threshold: 2, timeout: 500ms, max_timeout: 1s }";
    let gateway = Gateway::start(&config(&fleet.urls(), settings, APP)).await;
    fleet.play(&[Act::Status(503)]);
    get(&gateway, 5).await;
    assert_eq!(fleet.order().len(), 2);
    let mut opened = BTreeMap::new();
    for (number, wait) in [(0, 500), (1, 1000), (2, 1000)] {
        let half_open = async || metric(&gateway, "breaker_state").await == 1.0;
        let began = Instant::now();
        eventually("half-open", async || half_open().await.then_some(())).await;
        opened.insert(number, began.elapsed());
        let least = Duration::from_millis(wait - 200);
        assert!(began.elapsed() > least && began.elapsed() < least + Duration::from_secs(1), "{opened:?}");
        if number < 2 {
            // A probe that fails: one request, and nothing more.
            get(&gateway, 5).await;
            assert_eq!(fleet.order().len(), 3 + number);
        }
    }
    fleet.play(&[]);
    get(&gateway, 1).await;
    assert_eq!(metric(&gateway, "breaker_state").await, 1.0);
    get(&gateway, 1).await;
    assert_eq!(metric(&gateway, "breaker_state").await, 0.0);
    assert_eq!(fleet.order().len(), 2);
}
