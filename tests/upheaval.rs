//! Targets that are killed, frozen, cut off or answer nothing but 503, under load: whom it hurts, how much is tried
//! again, how soon it is over, and what is left behind.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::sleep;

use crate::support::crowd::{Crowd, Tally};
use crate::support::target::{self, Happened, Manner, Target, WELL};
use crate::support::{Gateway, eventually};

const SICK: Manner = Manner { status: 503, ..WELL };
const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(300);

/// Three targets of one service behind a gateway.
struct Scene {
    gateway: Gateway,
    targets: [Target; 3],
    /// What the targets wrote down.
    record: PathBuf,
    _folder: TempDir,
}

impl Scene {
    async fn set() -> Scene {
        Scene::with("", "").await
    }

    /// With further settings of the service, and other ones of the route than these.
    async fn with(service: &str, route: &str) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("record");
        let targets = ["a", "b", "c"].map(|name| Target::start(name, &record));
        let urls = targets.each_ref().map(|target| format!("\"{}\"", target.url())).join(", ");
        let route =
            if route.is_empty() { "timeouts: { connect: 300ms, first_byte: 500ms }, timeout: 5s" } else { route };
        let config = format!(
            "services:\n  app: {{ targets: [{urls}], {service} }}\nroutes:\n  \
             - {{ name: all, path_pattern: /*, target_service: app, {route} }}\n"
        );
        Scene { gateway: Gateway::start(&config).await, targets, record, _folder: folder }
    }

    fn each(&mut self, act: impl FnMut(&mut Target)) {
        self.targets.iter_mut().for_each(act);
    }

    fn of_clients(&self, clients: usize, pause: u64) -> Crowd {
        Crowd::of_clients(self.gateway.address, clients, Duration::from_millis(pause))
    }

    /// The sum of the series of a metric whose labels hold this.
    async fn metric(&self, name: &str, labels: &str) -> u64 {
        sum(&self.gateway.metrics().await, name, labels)
    }

    async fn breaker_opens(&self) {
        let open = async || (self.metric("gatekeeper_breaker_state", "").await == 2).then_some(());
        eventually("the breaker opens", open).await;
    }
}

fn sum(metrics: &str, name: &str, labels: &str) -> u64 {
    let of_name = metrics.lines().filter_map(|line| line.strip_prefix(name)).filter_map(|rest| rest.rsplit_once(' '));
    let wanted = of_name.filter(|(rest, _)| (rest.is_empty() || rest.starts_with('{')) && rest.contains(labels));
    wanted.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
}

/// What becomes of a target.
type Fate = fn(&mut Target);

/// Ten times one of three targets meets its fate under 2,000 requests per second, and no client hears of it.
async fn nobody_notices(what: &str, fate: Fate) {
    for run in 1..=10 {
        let mut scene = Scene::set().await;
        let crowd = Crowd::at_rate(scene.gateway.address, 2000);
        sleep(SECOND * 6 / 5).await;
        fate(&mut scene.targets[run % 3]);
        sleep(SECOND * 9 / 5).await;
        let tally = crowd.finish().await;
        let (retries, ejections) =
            (scene.metric("gatekeeper_retries_total", "").await, scene.metric("gatekeeper_ejections_total", "").await);
        println!(
            "{what}, run {run}: {} requests, {:.0} per second, {retries} retries, {} failed, the slowest took {:?}",
            tally.requests(),
            tally.rate(),
            tally.failed(),
            tally.slowest
        );
        assert_eq!(tally.failed(), 0, "{:#?}", tally.failures);
        assert!(tally.rate() >= 1500.0, "only {:.0} requests per second", tally.rate());
        assert!(retries > 0, "the target's fate was not felt");
        assert_eq!(ejections, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_is_killed_and_nobody_notices() {
    nobody_notices("killed", Target::kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_freezes_and_nobody_notices() {
    nobody_notices("frozen", |target| target.freeze()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_is_cut_off_and_nobody_notices() {
    nobody_notices("cut off", Target::cut_off).await;
}

/// All are dead and the breaker is open; then one is there again.
async fn one_comes_back(ejected: bool, failed_probes: u64) {
    let mut scene = Scene::with("circuit_breaker: { timeout: 2s }", "").await;
    let crowd = scene.of_clients(4, 20);
    sleep(MOMENT).await;
    scene.each(Target::kill);
    let opened = "gatekeeper_breaker_transitions_total";
    let open = async || (scene.metric(opened, "\"open\"").await == 1 + failed_probes).then_some(());
    eventually("the breaker is open", open).await;
    let seen_open = Instant::now();
    let refused = scene.gateway.get("/").await;
    assert_eq!(refused.problem()["code"], "circuit_open");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(wait <= 2 << failed_probes, "{wait} s");
    let metrics = scene.gateway.metrics().await;
    let is_ejected = |target: &&mut Target| sum(&metrics, "gatekeeper_target_available", &target.url()) == 0;
    let back = scene.targets.iter_mut().find(|target| is_ejected(target) == ejected).expect("such a target");
    back.revive();
    let before = crowd.tally().of(200);
    eventually("a success", async || (crowd.tally().of(200) > before).then_some(())).await;
    let took = seen_open.elapsed();
    crowd.finish().await;
    println!("back after {failed_probes} failed probes (ejected: {ejected}): {took:?} after an opening for {wait} s");
    // A probe may wait twice before its further attempts.
    assert!(took <= Duration::from_secs(wait) + MOMENT + SECOND, "{took:?}");
    assert_eq!(scene.metric(opened, "\"open\"").await, 1 + failed_probes, "a probe failed while a target was there");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_success_after_all_were_dead_is_the_first_probe() {
    one_comes_back(false, 0).await;
    one_comes_back(false, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_finds_the_target_that_is_back_even_if_that_was_ejected() {
    one_comes_back(true, 0).await;
    one_comes_back(true, 1).await;
}

/// All targets answer 503 from one moment on.
async fn storm(clients: usize, breaker: &str) -> (Tally, usize) {
    let mut scene = Scene::with(breaker, "").await;
    scene.each(|target| target.behave(SICK));
    let crowd = scene.of_clients(clients, 0);
    sleep(3 * SECOND).await;
    let tally = crowd.finish().await;
    let (requests, reached) = (tally.requests() as f64, target::asked(&scene.record));
    // The floor of the budget, and what it has saved at the start.
    let floor = 10.0 * (5.0 + tally.took.as_secs_f64());
    let beyond = (reached as f64 - floor) / requests;
    println!(
        "{clients} clients, {{ {breaker} }}: {requests} requests, {reached} reached targets: {:.3} of them, \
         {beyond:.3} beyond the floor of {floor:.0}",
        reached as f64 / requests,
    );
    assert_eq!(tally.of(503), tally.requests(), "{:#?}", tally.failures);
    assert!(beyond < 1.25, "{beyond}");
    (tally, reached)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_503s_is_not_made_worse_by_retries() {
    for clients in [1, 8, 256] {
        let (tally, reached) = storm(clients, "circuit_breaker: { enabled: false }").await;
        assert!(reached > tally.requests(), "nothing is tried again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_503s_opens_the_breaker() {
    for clients in [1, 8, 256] {
        let (tally, reached) = storm(clients, "").await;
        // What was under way when the breaker opened ends as it would have.
        assert!(reached <= 3 * (5 + clients), "{reached} of {} reached targets", tally.requests());
    }
}

/// All that requests and connections may leave behind.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holdings {
    requests: u64,
    connections: u64,
    at_targets: u64,
    in_service: u64,
    queued: u64,
    descriptors: usize,
    threads: usize,
}

impl Scene {
    /// What it holds when nothing happens: not the connection that asked for it last.
    async fn at_rest(&self) -> Holdings {
        eventually("nothing changes", async || {
            let before = self.holdings().await;
            sleep(MOMENT).await;
            let after = self.holdings().await;
            (before == after).then_some(after)
        })
        .await
    }

    async fn holdings(&self) -> Holdings {
        let metrics = self.gateway.metrics().await;
        let sum = |name| sum(&metrics, name, "");
        Holdings {
            requests: sum("gatekeeper_requests_in_flight"),
            connections: sum("gatekeeper_connections"),
            at_targets: sum("gatekeeper_target_requests_in_flight"),
            in_service: sum("gatekeeper_service_requests"),
            queued: sum("gatekeeper_queue_length"),
            descriptors: std::fs::read_dir(format!("/proc/{}/fd", self.gateway.pid())).unwrap().count(),
            threads: self.gateway.threads("").len(),
        }
    }
}

/// Plays something on a scene; whatever that was, nothing of it is left 5 s later.
async fn nothing_is_left(what: &str, service: &str, route: &str, play: impl AsyncFnOnce(&mut Scene)) {
    let service = format!("idle_timeout: 500ms, {service}");
    let mut scene = Scene::with(&service, route).await;
    let before = scene.at_rest().await;
    play(&mut scene).await;
    let (ended, at_end) = (Instant::now(), scene.holdings().await);
    let mut after = at_end.clone();
    while after != before && ended.elapsed() < 5 * SECOND {
        sleep(Duration::from_millis(50)).await;
        after = scene.holdings().await;
    }
    println!("{what}: {at_end:?} at the end, after {:?} {after:?}", ended.elapsed());
    assert_eq!(after, before, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_killed_frozen_or_cut_off_target() {
    let fates: [(&str, Fate); 3] =
        [("killed", Target::kill), ("frozen", |target| target.freeze()), ("cut off", Target::cut_off)];
    for (what, fate) in fates {
        nothing_is_left(what, "", "", async |scene| {
            let crowd = scene.of_clients(32, 10);
            sleep(MOMENT).await;
            fate(&mut scene.targets[0]);
            sleep(SECOND).await;
            scene.targets[0].revive();
            sleep(MOMENT).await;
            assert_eq!(crowd.finish().await.failed(), 0);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_storm_or_an_open_breaker() {
    let storm = async |scene: &mut Scene| {
        let crowd = scene.of_clients(64, 10);
        sleep(MOMENT).await;
        scene.each(|target| target.behave(SICK));
        sleep(SECOND).await;
        assert!(crowd.finish().await.of(503) > 0);
    };
    nothing_is_left("storm", "circuit_breaker: { enabled: false }", "", storm).await;
    nothing_is_left("storm, open", "", "", storm).await;
    nothing_is_left("all killed, open", "", "", async |scene| {
        let crowd = scene.of_clients(64, 10);
        sleep(MOMENT).await;
        scene.each(Target::kill);
        scene.breaker_opens().await;
        sleep(MOMENT).await;
        assert!(crowd.finish().await.of(503) > 0);
    })
    .await;
    nothing_is_left("all close before they answer", "", "", async |scene| {
        let crowd = scene.of_clients(64, 10);
        sleep(MOMENT).await;
        scene.each(|target| target.behave(Manner { close: true, ..WELL }));
        scene.breaker_opens().await;
        sleep(MOMENT).await;
        assert!(crowd.finish().await.of(502) > 0);
    })
    .await;
}

/// Longer than any of these tests waits for the gateway to give up.
const PATIENT: &str = "timeouts: { connect: 30s, first_byte: 30s }";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_clients_that_go_while_a_target_is_silent() {
    let leave = async |scene: &mut Scene, crowd: Crowd, at_targets: u64| {
        let asked = async || (scene.holdings().await.at_targets == at_targets).then_some(());
        eventually("all wait for targets", asked).await;
        drop(crowd);
    };
    nothing_is_left("gone from frozen targets", "", PATIENT, async |scene| {
        scene.each(|target| target.freeze());
        let crowd = scene.of_clients(50, 0);
        leave(scene, crowd, 50).await;
    })
    .await;
    // Who goes while there is no connection yet is not noticed before there is one, or none.
    let route = "timeouts: { connect: 1s, first_byte: 30s }";
    nothing_is_left("gone from targets that are cut off", "", route, async |scene| {
        scene.each(Target::cut_off);
        let crowd = scene.of_clients(50, 0);
        leave(scene, crowd, 50).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_clients_that_go_while_they_queue() {
    let service = "max_in_flight: 1, queue: { length: 100, timeout: 2s }";
    nothing_is_left("gone from the queue", service, PATIENT, async |scene| {
        scene.each(|target| target.freeze());
        let crowd = scene.of_clients(50, 0);
        let queue = async || (scene.holdings().await.queued == 49).then_some(());
        eventually("one is in the service and the others queue", queue).await;
        drop(crowd);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_probe_at_a_time_reaches_a_target_whoever_asks() {
    const PROBES: usize = 10;
    let breaker = format!("circuit_breaker: {{ timeout: 1s, success_threshold: {PROBES} }}");
    let mut scene = Scene::with(&breaker, "").await;
    scene.each(|target| target.behave(SICK));
    let trip = scene.of_clients(1, 0);
    scene.breaker_opens().await;
    trip.finish().await;
    scene.each(|target| target.behave(Manner { delay: 100, ..WELL }));
    let before = target::record(&scene.record).len();
    let crowd = scene.of_clients(200, 50);
    let closed = async || (scene.metric("gatekeeper_breaker_state", "").await == 0).then_some(());
    eventually("the breaker closes", closed).await;
    let refused = crowd.tally();
    sleep(MOMENT).await;
    let tally = crowd.finish().await;
    let happened = target::record(&scene.record).split_off(before);
    let probes = happened.chunks_exact(2).take_while(|pair| match pair {
        [Happened::Asked(name, path), Happened::Answered(by, what)] => (name, path) == (by, what),
        _ => false,
    });
    let probes = probes.count();
    println!(
        "{probes} probes one after the other, then all: {:?}; refused until then: {:?}",
        tally.statuses, refused.statuses
    );
    assert!(probes >= PROBES, "{:?}", &happened[..2 * PROBES]);
    assert!(happened.len() > 4 * PROBES, "all pass when it is closed");
    assert_eq!(tally.unexplained, 0, "a 503 without Retry-After");
    assert_eq!(tally.of(200) + tally.of(503), tally.requests(), "{:?}", tally.failures);
    assert!(refused.of(503) > 1000, "{refused:?}");
    let passed = scene.metric("gatekeeper_breaker_transitions_total", "\"open\"").await;
    assert_eq!(passed, 1, "a probe failed");
}
