//! Two hundred reloads under load, each changing routes, targets and rewrites: no request fails, none sees half a change.
//!
//! Every response tells which revision of the configuration it went through: the rewrite puts the revision into the
//! path, and the upstream must be one that revision names. A request may see any revision that served while it ran.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{StatusCode, Version};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::support::pattern::checksum;
use crate::support::websocket::Socket;
use crate::support::{Answer, Ask, Body, Client, Gateway, Origin, Raw, Request, eventually, full};

const RELOADS: usize = 200;
/// By then everything was used once.
const WARM: usize = 20;

/// The upstreams, and what may be expected now.
struct Scene {
    origins: [Origin; 4],
    /// The last revision that is known to serve, and the last one that may.
    applied: AtomicUsize,
    begun: AtomicUsize,
    over: AtomicBool,
    requests: AtomicUsize,
}

impl Scene {
    async fn set() -> Arc<Scene> {
        let origins = [
            Origin::named("0").await,
            Origin::named("1").await,
            Origin::named("2").await,
            Origin::named("steady").await,
        ];
        let (applied, begun, requests) = Default::default();
        Arc::new(Scene { origins, applied, begun, over: AtomicBool::new(false), requests })
    }

    /// The upstreams the moving service has in a revision.
    fn targets(revision: usize) -> Vec<usize> {
        (0..3).filter(|origin| (revision % 7 + 1) & (1 << origin) != 0).collect()
    }

    fn has_extra(revision: usize) -> bool {
        revision % 3 == 1
    }

    fn config(&self, revision: usize) -> String {
        let targets = Scene::targets(revision).into_iter();
        let weighted = |origin: usize| format!("{{ url: \"{}\", weight: {} }}", self.origins[origin].url(), origin + 1);
        let targets = targets.map(weighted).collect::<Vec<_>>().join(", ");
        let steady = self.origins[3].url();
        let mut config = format!(
            "services:\n  moving: {{ targets: [{targets}] }}\n  steady: {{ targets: [\"{steady}\"] }}\nroutes:\n  \
             - {{ name: moving-{revision}, path_pattern: \"/moving/{{id}}\", target_service: moving, rewrite: \"/{revision}/{{id}}\" }}\n  \
             - {{ name: steady, path_pattern: /steady/*, target_service: steady }}\n"
        );
        if Scene::has_extra(revision) {
            config += &format!("  - {{ name: extra, path_pattern: /extra, target_url: \"{steady}\" }}\n");
        }
        // A plan that stays in memory shall be seen there.
        for filler in 0..200 {
            config += &format!(
                "  - {{ name: filler-{revision}-{filler}, path_pattern: /filler/{filler}, target_service: steady }}\n"
            );
        }
        match revision % 4 {
            0 => config += "  - { name: ws, path_pattern: /ws, target_service: steady }\n",
            1 => config += "  - { name: ws, path_pattern: /ws, target_service: moving }\n",
            2 => config += "  - { name: ws, path_pattern: /ws, respond: { status: 410 } }\n",
            _ => {}
        }
        config
    }

    /// Asks until it is over, and judges every answer.
    async fn keep_asking(self: Arc<Scene>, mut asker: Asker, judge: Judge) {
        let mut number = 0;
        while !self.over.load(Ordering::SeqCst) {
            let first = self.applied.load(Ordering::SeqCst);
            let answer = asker.ask(number).await;
            let last = self.begun.load(Ordering::SeqCst);
            judge(number, &answer, Revisions { first, last });
            self.requests.fetch_add(1, Ordering::SeqCst);
            number += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A client on one connection, which it never opens again; nothing is ever sent twice.
enum Asker {
    Client(Client, fn(usize) -> Request<Body>),
    /// Whole POST requests, written by hand.
    Raw(Raw),
}

impl Asker {
    async fn ask(&mut self, number: usize) -> Answer {
        match self {
            Asker::Client(client, request) => client.ask(request(number)).await,
            Asker::Raw(peer) => post_by_hand(peer, number).await,
        }
    }
}

async fn post_by_hand(peer: &mut Raw, number: usize) -> Answer {
    let body = body(number);
    let head = format!("POST /moving/{number} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    peer.send([head.into_bytes(), body].concat()).await;
    let message = peer.response().await;
    assert!(message.complete, "{message:?}");
    let status = StatusCode::from_u16(message.status()).unwrap();
    let (headers, trailers) = Default::default();
    Answer { status, version: Version::HTTP_11, headers, body: message.body.into(), trailers }
}

type Judge = fn(usize, &Answer, Revisions);

/// The revisions that may have served a request.
#[derive(Clone, Copy, Debug)]
struct Revisions {
    first: usize,
    last: usize,
}

impl Revisions {
    fn any(self, is: impl Fn(usize) -> bool) -> bool {
        (self.first..=self.last).any(is)
    }
}

fn body(number: usize) -> Vec<u8> {
    format!("body {number} ").repeat(number % 300 + 1).into_bytes()
}

/// The upstream saw exactly what was sent, through one revision.
fn judge_moving(number: usize, answer: &Answer, revisions: Revisions) {
    let seen = answer.seen();
    let (revision, id) = seen.target[1..].split_once('/').unwrap();
    let revision = revision.parse().unwrap();
    assert!((revisions.first..=revisions.last).contains(&revision), "{revision} is not in {revisions:?}");
    let origin = seen.connection.origin.parse().unwrap();
    assert!(Scene::targets(revision).contains(&origin), "revision {revision} has no upstream {origin}");
    assert_eq!(id, number.to_string());
    let sent = if seen.method == "POST" { body(number) } else { Vec::new() };
    assert_eq!((seen.body_length, seen.body_checksum), (sent.len(), checksum(&sent)));
}

fn judge_steady(number: usize, answer: &Answer, _: Revisions) {
    assert_eq!(answer.seen().target, format!("/steady/{number}"));
}

/// A route that comes and goes.
fn judge_extra(_: usize, answer: &Answer, revisions: Revisions) {
    match answer.status {
        StatusCode::OK => assert!(revisions.any(Scene::has_extra), "{revisions:?}"),
        StatusCode::NOT_FOUND => {
            assert_eq!(answer.problem()["code"], "no_route");
            assert!(revisions.any(|revision| !Scene::has_extra(revision)), "{revisions:?}");
        }
        other => panic!("{other} {:?}", answer.body),
    }
}

fn clone(client: &Client) -> Client {
    let Client::H2(sender) = client else { panic!("only HTTP/2 has several requests on one connection") };
    Client::H2(sender.clone())
}

/// Uses one websocket to the end; how many messages came back.
async fn hold(scene: Arc<Scene>, mut socket: Socket) -> usize {
    let mut count = 0;
    while !scene.over.load(Ordering::SeqCst) {
        let message = Message::text(format!("message {count}"));
        socket.send(message.clone()).await;
        assert_eq!(socket.next().await, Some(message));
        count += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    socket.close(1000).await;
    assert!(matches!(socket.next().await, Some(Message::Close(_))));
    count
}

fn get(path: String) -> Request<Body> {
    Request::get(path).request()
}

async fn load(scene: &Arc<Scene>, gateway: &Gateway) -> Vec<JoinHandle<()>> {
    let get_moving = |number: usize| get(format!("/moving/{number}"));
    let post_moving = |number: usize| Request::post(format!("/moving/{number}")).body(full(body(number))).unwrap();
    let h2 = [gateway.h2c().await, gateway.h2c().await];
    let askers: Vec<(Asker, Judge)> = vec![
        (Asker::Client(gateway.h1().await, get_moving), judge_moving),
        (Asker::Client(gateway.h1().await, post_moving), judge_moving),
        (Asker::Client(clone(&h2[0]), get_moving), judge_moving),
        (Asker::Client(clone(&h2[0]), post_moving), judge_moving),
        (Asker::Client(clone(&h2[1]), get_moving), judge_moving),
        (Asker::Client(clone(&h2[1]), post_moving), judge_moving),
        (Asker::Raw(gateway.raw().await), judge_moving),
        (Asker::Client(gateway.h1().await, |number| get(format!("/steady/{number}"))), judge_steady),
        (Asker::Client(gateway.h1().await, |_| get("/extra".into())), judge_extra),
    ];
    let keep_asking = |(asker, judge)| tokio::spawn(scene.clone().keep_asking(asker, judge));
    askers.into_iter().map(keep_asking).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_reloads_under_load_fail_no_request() {
    let scene = Scene::set().await;
    let gateway = Gateway::start(&scene.config(0)).await;
    let socket = Socket::open(gateway.address, "/ws").await.unwrap();
    let holding = tokio::spawn(hold(scene.clone(), socket));
    let tasks = load(&scene, &gateway).await;
    let (mut memory, mut steady_before) = (Vec::new(), 0);
    for revision in 1..=RELOADS {
        scene.begun.store(revision, Ordering::SeqCst);
        gateway.reload(&scene.config(revision)).unwrap();
        scene.applied.store(revision, Ordering::SeqCst);
        let asked = scene.requests.load(Ordering::SeqCst);
        eventually("requests go on", async || {
            let failed = tasks.iter().any(|task| task.is_finished());
            (failed || scene.requests.load(Ordering::SeqCst) >= asked + 20).then_some(())
        })
        .await;
        memory.push(gateway.memory());
        if revision == WARM {
            steady_before = scene.origins[3].connections();
        }
    }
    // What the load takes goes up and down: the most of the beginning and the least of the end show what stays.
    let early = *memory[WARM..3 * WARM].iter().max().unwrap();
    let late = *memory[RELOADS - 2 * WARM..].iter().min().unwrap();
    scene.over.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    let messages = holding.await.unwrap();
    let requests = scene.requests.load(Ordering::SeqCst);
    println!(
        "memory after the first reloads: {early} bytes, after the last: {late} bytes; {requests} requests, {messages} websocket messages"
    );
    assert!(late as f64 <= early as f64 * 1.1, "memory grew from {early} to {late} bytes");
    assert!(messages > RELOADS, "{messages} websocket messages");
    let opened = scene.origins[3].connections() - steady_before;
    assert!(opened <= 5, "{opened} new connections to an upstream that never changed");
    let metrics = gateway.metrics().await;
    assert!(metrics.contains(&format!("gatekeeper_reloads_total{{outcome=\"applied\"}} {RELOADS}\n")), "{metrics}");
}
