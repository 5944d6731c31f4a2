//! What strangers try with credentials, and what issuers and deciders do that fail: nobody else is to pay for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::peer::bearing;
use crate::support::{Answer, Gateway, Origin, RawOrigin, eventually};

const MS: Duration = Duration::from_millis(1);

/// An issuer that publishes what it is told to.
struct Issuer {
    key: rcgen::KeyPair,
    published: Arc<Mutex<Value>>,
    server: RawOrigin,
}

impl Issuer {
    /// Publishes one key, named `one`.
    async fn start() -> Issuer {
        let key = rcgen::KeyPair::generate().unwrap();
        let published: Arc<Mutex<Value>> = Arc::new(Mutex::new(json!({ "keys": [jwk(&key, "one")] })));
        let said = published.clone();
        let server = RawOrigin::playing(move |mut raw| {
            let said = said.clone();
            async move {
                while raw.request().await.is_some() {
                    let said = said.lock().to_string();
                    raw.send(http("200 OK", &said)).await;
                }
            }
        })
        .await;
        Issuer { key, published, server }
    }

    fn publish(&self, keys: Value) {
        *self.published.lock() = json!({ "keys": keys });
    }

    /// A token of a user, signed with the key and said to be signed with that of this name.
    fn token(&self, user: &str, kid: &str) -> String {
        gatekeeper_core::signature::install();
        let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::ES256) };
        let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 60;
        let key = EncodingKey::from_ec_pem(self.key.serialize_pem().as_bytes()).unwrap();
        encode(&header, &json!({ "sub": user, "exp": end }), &key).unwrap()
    }

    /// A gateway that takes its tokens.
    async fn gateway(&self, origin: &Origin, more: &str) -> Gateway {
        let auth =
            format!("{{ jwt: [{{ jwks_url: \"{}/keys\", algorithms: [ES256, EdDSA] }}], {more} }}", self.server.url());
        gateway(origin, &auth, "").await
    }
}

fn jwk(key: &rcgen::KeyPair, kid: &str) -> Value {
    let (x, y) = key.public_key_raw()[1..].split_at(32);
    let [x, y] = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
    json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid })
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// A gateway behind a trusted proxy with this `auth`, everything to the origin, and more settings of the route.
async fn gateway(origin: &Origin, auth: &str, route: &str) -> Gateway {
    Gateway::start(&format!(
        "trusted_proxies: [127.0.0.1]\nauth: {auth}\nroutes:\n\
         \x20 - {{ name: all, path_pattern: /*, target_url: \"{}\", {route} }}\n",
        origin.url()
    ))
    .await
}

fn from(address: &str, token: &str) -> http::request::Builder {
    bearing(token, "/x").header("x-forwarded-for", address)
}

fn statuses(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// Who is asked about tokens: takes its time, and knows the tokens that begin with `good`.
struct Decider {
    server: RawOrigin,
    /// The most questions there ever were at a time.
    most: Arc<AtomicUsize>,
}

impl Decider {
    async fn start(takes: Duration) -> Decider {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let peak = most.clone();
        let server = RawOrigin::playing(move |mut raw| {
            let (now, peak) = (now.clone(), peak.clone());
            async move {
                while let Some(request) = raw.request().await {
                    peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    sleep(takes).await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    let is_good = request.text().contains("token=good");
                    raw.send(http("200 OK", &json!({ "active": is_good, "sub": "opal" }).to_string())).await;
                }
            }
        })
        .await;
        Decider { server, most }
    }

    fn auth(&self, more: &str) -> String {
        format!("{{ introspection: {{ url: \"{}/\", {more} }} }}", self.server.url())
    }
}

/// Takes requests and answers none.
async fn silent() -> RawOrigin {
    RawOrigin::playing(|mut raw| async move {
        raw.request().await;
        std::future::pending::<()>().await;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn invented_key_names_are_wrong_and_counted() {
    let (origin, issuer) = (Origin::start().await, Issuer::start().await);
    let gateway = issuer.gateway(&origin, "").await;
    assert_eq!(gateway.ask(from("192.0.2.1", &issuer.token("alice", "one"))).await.status, 200);
    let (mut client, mut answers) = (gateway.h1().await, Vec::new());
    for number in 0..500 {
        answers.push(client.ask(from("192.0.2.1", &issuer.token("alice", &format!("invented-{number}")))).await);
    }
    assert_eq!((statuses(&answers, 401), statuses(&answers, 429)), (60, 440), "the budget is 60");
    let fetches = issuer.server.requests().len();
    assert!(fetches <= 6, "{fetches} fetches");
    // All at once it is no other, and others are well.
    let ask = async |number| gateway.ask(from("192.0.2.2", &issuer.token("bob", &format!("other-{number}")))).await;
    let answers = join_all((0..200).map(ask)).await;
    // Each further thread may have judged one more at the moment when the budget was spent.
    let (judged, refused) = (statuses(&answers, 401), statuses(&answers, 429));
    let threads = std::thread::available_parallelism().unwrap().get();
    assert!((60..60 + threads).contains(&judged) && judged + refused == 200, "{judged}, {refused}");
    assert_eq!(gateway.ask(from("192.0.2.3", &issuer.token("carol", "one"))).await.status, 200);
    assert!(issuer.server.requests().len() <= 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_tried_with_keys_of_its_name_alone() {
    let (origin, issuer) = (Origin::start().await, Issuer::start().await);
    let mut nameless = jwk(&issuer.key, "");
    nameless.as_object_mut().unwrap().remove("kid");
    let other = rcgen::KeyPair::generate().unwrap();
    issuer.publish(json!([jwk(&other, "two"), nameless]));
    let gateway_of_both = issuer.gateway(&origin, "").await;
    for kid in ["two", "three"] {
        assert_eq!(gateway_of_both.ask(from("192.0.2.1", &issuer.token("alice", kid))).await.status, 401, "{kid}");
    }
    // Where no key has a name, the token's name says nothing.
    issuer.publish(json!([nameless]));
    let gateway = issuer.gateway(&origin, "").await;
    assert_eq!(gateway.ask(from("192.0.2.1", &issuer.token("alice", "three"))).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_small_order_is_refused() {
    let (origin, issuer) = (Origin::start().await, Issuer::start().await);
    let mut order_one = [0; 32];
    order_one[0] = 1;
    let weak = json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(order_one), "kid": "weak" });
    issuer.publish(json!([jwk(&issuer.key, "one"), weak]));
    let gateway = issuer.gateway(&origin, "failures: { max: 1000 }").await;
    assert_eq!(gateway.ask(from("192.0.2.1", &issuer.token("alice", "one"))).await.status, 200);
    // With such a key whatever anybody writes is signed: R is the neutral element, S is zero.
    let signature = [order_one, [0; 32]].concat();
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    for number in 0..16 {
        let header = part(json!({ "alg": "EdDSA", "kid": "weak" }).to_string());
        let claims = part(json!({ "sub": "root", "exp": 9_999_999_999_u64, "jti": number }).to_string());
        let forged = format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(&signature));
        assert_eq!(gateway.ask(from("192.0.2.1", &forged)).await.status, 401);
    }
    assert!(gateway.said().contains("\"weak\" is ignored: it is a point of small order"), "{}", gateway.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_asks_little_at_a_time() {
    let (origin, decider) = (Origin::start().await, Decider::start(100 * MS).await);
    let gateway = gateway(&origin, &decider.auth("timeout: 3s"), "").await;
    let flood = (0..400).map(|number| gateway.ask(from(&format!("2001:db8::{number:x}"), &format!("guess-{number}"))));
    let neighbour = async {
        sleep(30 * MS).await;
        let began = Instant::now();
        let answer = gateway.ask(from("192.0.2.9", "good-1")).await;
        (answer.status, began.elapsed())
    };
    let (answers, (status, took)) = tokio::join!(join_all(flood), neighbour);
    assert_eq!((statuses(&answers, 401), statuses(&answers, 429)), (60, 340), "the budget is 60");
    let most = decider.most.load(Ordering::SeqCst);
    assert!(most <= 17, "{most} questions at a time");
    assert!(status == 200 && took < 1000 * MS, "{status} after {took:?}");
    assert_eq!(decider.server.requests().len(), 61);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_leaves_turns_of_a_deciding_service_to_others() {
    let (origin, decider) = (Origin::start().await, Decider::start(200 * MS).await);
    let gateway = gateway(&origin, &format!("{{ forward: {{ url: \"{}/\" }} }}", decider.server.url()), "").await;
    let answers = join_all((0..150).map(|_| gateway.ask(from("192.0.2.1", "x")))).await;
    assert_eq!(statuses(&answers, 200), 150);
    let most = decider.most.load(Ordering::SeqCst);
    assert!((33..=64).contains(&most), "{most} questions at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_turn_speaks_against_no_deciding_service() {
    let (origin, decider) = (Origin::start().await, Decider::start(600 * MS).await);
    let auth = format!("{{ forward: {{ url: \"{}/\", timeout: 900ms }} }}", decider.server.url());
    let gateway = gateway(&origin, &auth, "").await;
    let answers = join_all((0..160).map(|_| gateway.ask(from("192.0.2.1", "x")))).await;
    assert!(statuses(&answers, 503) >= 5, "some of the crowd had no time left when their turn came");
    assert_eq!(gateway.ask(from("192.0.2.2", "x")).await.status, 200, "nobody else is harmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_can_be_read_in_two_ways_let_nobody_in() {
    let origin = Origin::start().await;
    for (status, body, wanted) in [
        ("200 OK", r#"{"active": true, "sub": "opal"}"#, 200),
        ("200 OK", r#"{"active": false, "active": true, "sub": "opal"}"#, 503),
        ("200 OK", r#"{"active": true, "sub": "opal", "sub": "root"}"#, 503),
        ("200 OK", r#"{"active": true, "sub": "opal", "a": {"roles": [], "roles": ["admin"]}}"#, 503),
        ("600 Odd", r#"{"active": true, "sub": "opal"}"#, 503),
    ] {
        let answer = http(status, body);
        let server = RawOrigin::playing(move |mut raw| {
            let answer = answer.clone();
            async move {
                while raw.request().await.is_some() {
                    raw.send(answer.clone()).await;
                }
            }
        })
        .await;
        for by in ["introspection", "forward"] {
            let is_about_the_body = by == "forward" && status == "200 OK";
            let gateway = gateway(&origin, &format!("{{ {by}: {{ url: \"{}/\" }} }}", server.url()), "").await;
            let seen = gateway.ask(bearing("good", "/x")).await.status;
            assert_eq!(seen, if is_about_the_body { 200 } else { wanted }, "{by}: {status} {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_decides_sees_the_cookies_that_the_service_gets() {
    let (origin, decider) = (Origin::start().await, Decider::start(Duration::ZERO).await);
    let auth = format!("{{ forward: {{ url: \"{}/\", request_headers: [Cookie] }} }}", decider.server.url());
    let gateway = gateway(&origin, &auth, "").await;
    let mut raw = gateway.raw().await;
    raw.send("GET /x HTTP/1.1\r\nhost: x\r\ncookie: s=1\r\ncookie: s=2\r\n\r\n").await;
    raw.response().await;
    let seen = decider.server.requests();
    let text = seen.first().map(|request| request.to_text().to_lowercase()).unwrap_or_default();
    assert!(text.contains("\r\ncookie: s=1; s=2\r\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_left_takes_no_turn_for_long() {
    let (origin, decider) = (Origin::start().await, Decider::start(300 * MS).await);
    let auth = format!("{{ introspection: {{ url: \"{}/\" }}, failures: {{ max: 1000 }} }}", decider.server.url());
    let gateway = gateway(&origin, &auth, "").await;
    for number in 0..64 {
        let mut raw = gateway.raw().await;
        let head = format!("GET /x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good-{number}\r\n\r\n");
        raw.send(head).await;
    }
    let began = Instant::now();
    assert_eq!(gateway.ask(bearing("good-1000", "/x")).await.status, 200);
    assert!(began.elapsed() < 4000 * MS, "{:?}", began.elapsed());
    // A stream of HTTP/2 that is reset has no turn left either.
    let mut client = gateway.h2c().await;
    for number in 100..132 {
        let asked = client.send(bearing(&format!("good-{number}"), "/x"));
        assert!(tokio::time::timeout(5 * MS, asked).await.is_err());
    }
    let began = Instant::now();
    assert_eq!(gateway.ask(bearing("good-2000", "/x")).await.status, 200);
    assert!(began.elapsed() < 4000 * MS, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn good_tokens_of_one_address_are_all_asked_about() {
    let (origin, decider) = (Origin::start().await, Decider::start(50 * MS).await);
    let auth =
        format!("{{ introspection: {{ url: \"{}/\" }}, failures: {{ max: 3, window: 60s }} }}", decider.server.url());
    let gateway = gateway(&origin, &auth, "").await;
    let answers = join_all((0..50).map(|number| gateway.ask(from("192.0.2.1", &format!("good-{number}"))))).await;
    assert_eq!(statuses(&answers, 200), 50, "what turns out good takes nothing of the budget");
    assert!(decider.most.load(Ordering::SeqCst) <= 3, "never more than the budget has left");
    let answers = join_all((0..50).map(|number| gateway.ask(from("192.0.2.1", &format!("bad-{number}"))))).await;
    assert_eq!((statuses(&answers, 401), statuses(&answers, 429)), (3, 47));
    assert_eq!(decider.server.requests().len(), 53);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_is_waited_for_once() {
    let (origin, silent) = (Origin::start().await, silent().await);
    let auth = format!("{{ introspection: {{ url: \"{}/\", timeout: 1s }} }}", silent.url());
    let gateway = gateway(&origin, &auth, "").await;
    let began = Instant::now();
    let answers = join_all((0..20).map(|_| gateway.ask(from("192.0.2.1", "one-token")))).await;
    assert_eq!(statuses(&answers, 503), 20);
    assert!(began.elapsed() < 1900 * MS, "{:?}", began.elapsed());
    assert_eq!(silent.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn authentication_ends_with_the_routes_timeout() {
    let (origin, silent) = (Origin::start().await, silent().await);
    let url = silent.url();
    for auth in [
        format!("{{ introspection: {{ url: \"{url}/\", timeout: 4s }} }}"),
        format!("{{ forward: {{ url: \"{url}/\", timeout: 4s }} }}"),
        format!("{{ jwt: [{{ jwks_url: \"{url}/\", algorithms: [ES256] }}] }}"),
    ] {
        let gateway = gateway(&origin, &auth, "timeout: 300ms").await;
        let token = Issuer::start().await.token("alice", "one");
        let began = Instant::now();
        let answers = join_all((0..4).map(|_| gateway.ask(from("192.0.2.1", &token)))).await;
        assert_eq!(statuses(&answers, 503), 4, "{auth}");
        assert!(began.elapsed() < 1500 * MS, "{auth}: {:?}", began.elapsed());
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_withdraws_all_its_keys_is_obeyed() {
    let (origin, issuer) = (Origin::start().await, Issuer::start().await);
    let gateway = issuer.gateway(&origin, "").await;
    let known = issuer.token("alice", "one");
    assert_eq!(gateway.ask(from("192.0.2.1", &known)).await.status, 200);
    issuer.publish(json!([]));
    // Whatever key it names, it makes the gateway look.
    assert_eq!(gateway.ask(from("192.0.2.1", &issuer.token("alice", "two"))).await.status, 401);
    for token in [known, issuer.token("bob", "one")] {
        assert_eq!(gateway.ask(from("192.0.2.1", &token)).await.status, 401);
    }
    let series = |name: &str| format!("{name}{{issuer=\"{}/keys\"}}", issuer.server.url());
    assert_eq!(gateway.metric(&series("gatekeeper_issuer_keys")).await, 0.0);
    assert!(gateway.metric(&series("gatekeeper_issuer_empty_key_sets_total")).await >= 1.0);
    assert!(gateway.said().contains("publishes no usable key"), "{}", gateway.said());
    // What it publishes then is taken again.
    issuer.publish(json!([jwk(&issuer.key, "three")]));
    assert_eq!(gateway.ask(from("192.0.2.1", &issuer.token("bob", "three"))).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_count_when_they_decide() {
    let (origin, decider) = (Origin::start().await, Decider::start(1500 * MS).await);
    let (auth, url) = (decider.auth(""), origin.url());
    let gateway = Gateway::start(&format!(
        "auth: {auth}\nrate_limits: [{{ rule_name: all, limit_type: global, max_requests: 6, window_seconds: 1 }}]\n\
         routes:\n  - {{ name: all, path_pattern: /*, target_url: \"{url}\" }}\n\
         \x20 - {{ name: open, path_pattern: /open/*, target_url: \"{url}\", is_public: true }}\n\
         \x20 - {{ name: fixed, path_pattern: /fixed/*, respond: {{ status: 204 }} }}\n",
    ))
    .await;
    // Forwarded, answered by the route, answered since it may go no further.
    for (path, method) in [("/x", "GET"), ("/fixed/x", "GET"), ("/x", "OPTIONS")] {
        let began = Instant::now();
        let passed: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let note = |answer: Answer| {
            if answer.status.is_success() {
                passed.lock().push(began.elapsed());
            }
        };
        let slow = async |number: usize| {
            let request = bearing(&format!("good-{method}-{path}-{number}"), path).method(method);
            note(gateway.ask(request.header("max-forwards", "0")).await);
        };
        let quick = async {
            // As many more as soon as the first of those that waited have passed.
            eventually("somebody passes", async || (!passed.lock().is_empty()).then_some(())).await;
            for _ in 0..12 {
                note(gateway.get("/open/x").await);
            }
        };
        tokio::join!(join_all((0..12).map(slow)), quick);
        let passed = passed.lock().clone();
        let (first, last) = (passed.iter().min().unwrap(), passed.iter().max().unwrap());
        assert!(*last - *first < 900 * MS, "within a window: {passed:?}");
        assert_eq!(passed.len(), 6, "{passed:?}");
        sleep(1100 * MS).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_hold_for_ages_is_a_fault() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    let check = |auth: &str| {
        gateway.write(&format!("auth: {auth}\n{}", crate::support::gateway::everything_to(origin.url())));
        let output = gateway.command("check", &[]);
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let cases = [
        ("{ introspection: { url: \"http://127.0.0.1:9/\", cache: 36500d } }", "auth.introspection.cache"),
        ("{ introspection: { url: \"http://127.0.0.1:9/\", cache: 61m } }", "auth.introspection.cache"),
        ("{ introspection: { url: \"http://127.0.0.1:9/\", timeout: 2m } }", "auth.introspection.timeout"),
        ("{ forward: { url: \"http://127.0.0.1:9/\", timeout: 36500d } }", "auth.forward.timeout"),
        ("{ jwt: [{ jwks_url: \"http://127.0.0.1:9/\", jwks_refresh: 2d }] }", "auth.jwt[0].jwks_refresh"),
        ("{ jwt: [{ jwks_url: \"http://127.0.0.1:9/\", jwks_refresh: 4s }] }", "auth.jwt[0].jwks_refresh"),
    ];
    for (auth, place) in cases {
        let (is_good, said) = check(auth);
        assert!(!is_good && said.contains(place), "{auth}: {said}");
    }
    for auth in [
        "{ introspection: { url: \"http://127.0.0.1:9/\", cache: 1h, timeout: 60s } }",
        "{ jwt: [{ jwks_url: \"http://127.0.0.1:9/\", jwks_refresh: 5s }] }",
    ] {
        let (is_good, said) = check(auth);
        assert!(is_good, "{auth}: {said}");
    }
}
