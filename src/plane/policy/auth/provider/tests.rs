use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jsonwebtoken::Algorithm;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::cache;
use super::super::claims::Demands;
use super::super::issuer::{Entry, Issuers, Keys, Verdict};
use super::super::rejection::{Reason, Rejection};
use super::super::samples::{Signer, key_set};
use super::*;
use gatekeeper_model::raw;

/// What the server says next, and to whom it said how much.
struct Server {
    address: SocketAddr,
    reply: Mutex<Reply>,
    fetches: AtomicUsize,
    astray: AtomicUsize,
}

#[derive(Clone)]
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    delay: Duration,
    configuration: String,
}

fn good(body: String) -> Reply {
    Reply { status: 200, headers: Vec::new(), body, delay: Duration::ZERO, configuration: String::new() }
}

impl Server {
    async fn start(reply: Reply) -> Arc<Server> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (reply, fetches, astray) = (Mutex::new(reply), AtomicUsize::new(0), AtomicUsize::new(0));
        let server = Arc::new(Server { address, reply, fetches, astray });
        let serving = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let server = serving.clone();
                let service = service_fn(move |request| server.clone().answer(request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        server
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let reply = self.reply.lock().clone();
        let body = match request.uri().path() {
            "/keys" => {
                self.fetches.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(reply.delay).await;
                reply.body
            }
            "/.well-known/openid-configuration" => reply.configuration,
            _ => {
                self.astray.fetch_add(1, Ordering::SeqCst);
                String::new()
            }
        };
        let mut response = Response::builder().status(reply.status);
        for (name, value) in reply.headers {
            response = response.header(name, value);
        }
        Ok(response.body(Full::from(body)).unwrap())
    }

    fn say(&self, reply: Reply) {
        *self.reply.lock() = reply;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn url(&self) -> Url {
        Url::parse(&format!("http://{}/keys", self.address)).unwrap()
    }
}

const MS: Duration = Duration::from_millis(1);

fn fast() -> Pace {
    let (fresh, again) = (10_000 * MS..=10_000 * MS, 5 * MS..=20 * MS);
    Pace { timeout: 2000 * MS, bucket: 1, demand: 30_000 * MS, fresh, again }
}

fn provider(source: Source, pace: Pace) -> Arc<Provider> {
    let settings = Settings { source, refresh: None, allow_http: false, authorities: None };
    Arc::new(Provider::paced(settings, Client::new(None).unwrap(), pace))
}

fn provider_of_nobody(pace: Pace) -> Arc<Provider> {
    provider(Source::Keys("http://127.0.0.1:1/".parse().unwrap()), pace)
}

/// Issuers of one entry, whose provider is kept.
fn issuers(source: Source, pace: Pace) -> (Arc<Issuers>, JoinHandle<()>) {
    let provider = provider(source, pace);
    let task = tokio::spawn(provider.clone().keep());
    (Arc::new(of(provider)), task)
}

fn of(provider: Arc<Provider>) -> Issuers {
    let demands = Demands {
        issuer: None,
        audience: None,
        leeway: Duration::from_secs(30),
        required: Box::default(),
        subject: "sub".into(),
        roles: "roles".into(),
    };
    let keys = Keys::Fetched(provider.clone());
    let algorithms = [Algorithm::EdDSA].into();
    let entry = Entry { written: (raw::Issuer::default(), None), demands, algorithms, keys };
    Issuers { entries: [entry].into(), providers: [provider].into(), cache: Arc::new(cache::Cache::default()) }
}

fn token(signer: &Signer) -> String {
    signer.token(&json!({"sub": "u", "exp": 2000, "jti": fastrand::u64(..)}))
}

/// As long as a request waits.
fn soon() -> std::time::Instant {
    std::time::Instant::now() + Duration::from_secs(5)
}

async fn settle(issuers: &Issuers, token: &str) -> Result<(), Reason> {
    match issuers.settle(token, UNIX_EPOCH + Duration::from_secs(1000), soon()).await {
        Verdict::Accepted(_) => Ok(()),
        Verdict::Rejected(why) => Err(why.reason),
        other => panic!("{other:?}"),
    }
}

async fn until(what: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !what() {
        assert!(Instant::now() < deadline, "it does not come to pass");
        sleep(2 * MS).await;
    }
}

#[tokio::test]
async fn the_first_tokens_wait_for_the_first_fetch() {
    let signer = Signer::ed25519("1");
    let server = Server::start(Reply { delay: 50 * MS, ..good(key_set(&[&signer])) }).await;
    let (issuers, _task) = issuers(Source::Keys(server.url()), fast());
    let tokens: Vec<_> = (0..8).map(|_| token(&signer)).collect();
    let verdicts = futures::future::join_all(tokens.iter().map(|token| settle(&issuers, token))).await;
    assert_eq!(verdicts, [Ok(()); 8]);
    assert_eq!(server.fetches(), 1);
    let standing = issuers.providers()[0].standing();
    assert_eq!((standing.keys, standing.good, standing.bad, standing.failed.is_none()), (1, 1, 0, true));
}

#[tokio::test]
async fn without_keys_nothing_is_judged_and_nobody_waits_long() {
    let signer = Signer::ed25519("1");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = Url::parse(&format!("http://{closed}/?token=hidden")).unwrap();
    let (issuers, _task) = issuers(Source::Keys(url), fast());
    for _ in 0..20 {
        assert_eq!(settle(&issuers, &token(&signer)).await, Err(Reason::Unavailable));
    }
    let provider = &issuers.providers()[0];
    until(|| provider.standing().bad >= 3).await;
    let (_, why) = provider.standing().failed.unwrap();
    assert!(!why.contains("hidden") && why.to_lowercase().contains("connect"), "{why}");
    // Nobody keeps this one: who asks waits as long as a fetch may take.
    let pace = Pace { timeout: 200 * MS, ..fast() };
    let forgotten = of(provider_of_nobody(pace));
    let begin = Instant::now();
    assert_eq!(settle(&forgotten, &token(&signer)).await, Err(Reason::Unavailable));
    assert!(begin.elapsed() < 3000 * MS);
}

#[tokio::test]
async fn a_provider_that_was_down_at_the_start_is_found_when_it_comes() {
    let signer = Signer::ed25519("1");
    let server = Server::start(Reply { status: 503, ..good(String::new()) }).await;
    let (issuers, _task) = issuers(Source::Keys(server.url()), fast());
    until(|| server.fetches() >= 3).await;
    assert_eq!(issuers.providers()[0].standing().failed.unwrap().1, "the answer has status 503");
    server.say(good(key_set(&[&signer])));
    until(|| issuers.providers()[0].keys().is_some()).await;
    assert_eq!(settle(&issuers, &token(&signer)).await, Ok(()));
}

#[tokio::test]
async fn bad_answers_leave_the_last_good_keys() {
    let (signer, other) = (Signer::ed25519("1"), Signer::ed25519("2"));
    let first = good(key_set(&[&signer]));
    let server = Server::start(first.clone()).await;
    let pace = Pace { fresh: 20 * MS..=20 * MS, timeout: 300 * MS, ..fast() };
    let (issuers, _task) = issuers(Source::Keys(server.url()), pace);
    let provider = &issuers.providers()[0];
    let location = format!("http://{}/elsewhere", server.address);
    let bad = [
        (good("<html>".into()), "the key set is not a JSON object"),
        (good(r#"{"keys":{}}"#.into()), "the key set has no list of keys"),
        (good(format!("{}{}", key_set(&[&other]), " ".repeat(600_000))), "the answer is longer than 524288 bytes"),
        (Reply { status: 500, ..good(key_set(&[&other])) }, "the answer has status 500"),
        (
            Reply { status: 302, headers: vec![("location", location)], ..good(key_set(&[&other])) },
            "the answer has status 302",
        ),
        (Reply { status: 204, ..good(String::new()) }, "the answer has status 204"),
        (Reply { delay: 400 * MS, ..good(key_set(&[&other])) }, "the answer took too long"),
    ];
    for (reply, why) in bad {
        until(|| provider.standing().good > 0).await;
        let before = provider.standing();
        server.say(reply);
        until(|| provider.standing().bad > before.bad + 1).await;
        let failed = provider.standing().failed.unwrap().1;
        assert!(failed.contains(why), "{failed}, not {why}");
        assert_eq!(settle(&issuers, &token(&signer)).await, Ok(()), "{why}");
        server.say(first.clone());
        until(|| provider.standing().good > before.good + 1).await;
    }
    assert_eq!((provider.generation(), server.astray.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test]
async fn of_thousands_of_keys_the_first_are_used() {
    let signers: Vec<_> = (0..3000).map(|number| Signer::ed25519(&number.to_string())).collect();
    let server = Server::start(good(key_set(&signers.iter().collect::<Vec<_>>()))).await;
    let (issuers, _task) = issuers(Source::Keys(server.url()), Pace { timeout: 5000 * MS, ..fast() });
    assert_eq!(settle(&issuers, &token(&signers[199])).await, Ok(()));
    assert_eq!(settle(&issuers, &token(&signers[200])).await, Err(Reason::Key));
    assert_eq!(issuers.providers()[0].standing().keys, 200);
}

#[tokio::test]
async fn unknown_keys_cause_one_fetch() {
    let (known, missing) = (Signer::ed25519("known"), Signer::ed25519("missing"));
    let server = Server::start(good(key_set(&[&known]))).await;
    let (issuers, _task) = issuers(Source::Keys(server.url()), fast());
    assert_eq!(settle(&issuers, &token(&known)).await, Ok(()));
    assert_eq!(settle(&issuers, &token(&missing)).await, Err(Reason::Key));
    assert_eq!(server.fetches(), 2);
    for number in 0..1000 {
        // It was looked for, these were not and can't be now: the last good keys lack them all the same.
        assert_eq!(settle(&issuers, &token(&missing)).await, Err(Reason::Key));
        let other = Signer::ed25519(&number.to_string());
        assert_eq!(settle(&issuers, &token(&other)).await, Err(Reason::Key));
    }
    assert_eq!(settle(&issuers, &token(&Signer::ed25519("known"))).await, Err(Reason::Signature));
    assert_eq!(server.fetches(), 2);
}

#[tokio::test]
async fn unknown_keys_have_a_few_fetches_made_and_then_one_now_and_then() {
    let known = Signer::ed25519("known");
    let server = Server::start(good(key_set(&[&known]))).await;
    let (issuers, _task) = issuers(Source::Keys(server.url()), Pace { bucket: 5, demand: 500 * MS, ..fast() });
    assert_eq!(settle(&issuers, &token(&known)).await, Ok(()));
    let invent = async |number: usize| {
        let invented = Signer::ed25519(&format!("invented-{number}"));
        assert_eq!(settle(&issuers, &token(&invented)).await, Err(Reason::Key));
    };
    let began = Instant::now();
    for number in 0..20 {
        invent(number).await;
    }
    let gained = |since: Instant| (since.elapsed().as_millis() / 500) as usize;
    assert!((6..=6 + gained(began)).contains(&server.fetches()), "{} fetches", server.fetches());
    // A key that is new is found with the next one.
    let (before, new) = (server.fetches(), Signer::ed25519("new"));
    server.say(good(key_set(&[&known, &new])));
    until(|| issuers.providers()[0].want(issuers.providers()[0].doubt("new")) == Want::Fetch).await;
    assert_eq!(settle(&issuers, &token(&new)).await, Ok(()));
    assert_eq!(server.fetches(), before + 1);
}

#[tokio::test]
async fn a_new_key_that_many_show_is_fetched_once() {
    let (old, new) = (Signer::ed25519("old"), Signer::ed25519("new"));
    let server = Server::start(good(key_set(&[&old]))).await;
    let (issuers, _task) = issuers(Source::Keys(server.url()), Pace { bucket: 5, ..fast() });
    assert_eq!(settle(&issuers, &token(&old)).await, Ok(()));
    server.say(Reply { delay: 100 * MS, ..good(key_set(&[&old, &new])) });
    let ask = async |number: u32| {
        // Some before the fetch, others while it is under way.
        sleep(number * 5 * MS).await;
        settle(&issuers, &token(&new)).await
    };
    assert_eq!(futures::future::join_all((0..12).map(ask)).await, [Ok(()); 12]);
    assert_eq!(server.fetches(), 2);
}

#[tokio::test]
async fn a_word_of_a_client_makes_no_provider_fail() {
    let known = Signer::ed25519("known");
    let server = Server::start(good(key_set(&[&known]))).await;
    let pace = Pace { bucket: 5, timeout: 100 * MS, again: 10_000 * MS..=10_000 * MS, ..fast() };
    let (issuers, _task) = issuers(Source::Keys(server.url()), pace);
    assert_eq!(settle(&issuers, &token(&known)).await, Ok(()));
    for reply in [Reply { status: 500, ..good(String::new()) }, Reply { delay: 5000 * MS, ..good(String::new()) }] {
        server.say(reply);
        let fetches = server.fetches();
        let began = Instant::now();
        assert_eq!(settle(&issuers, &token(&Signer::ed25519(&fetches.to_string()))).await, Err(Reason::Key));
        assert!(began.elapsed() < 2000 * MS && server.fetches() == fetches + 1, "one question, one fetch");
        assert_eq!(settle(&issuers, &token(&known)).await, Ok(()));
    }
    // Nor does it have to wait longer than it may.
    let now = UNIX_EPOCH + Duration::from_secs(1000);
    server.say(Reply { delay: 80 * MS, ..good(String::new()) });
    let other = token(&Signer::ed25519("other"));
    let verdict = issuers.settle(&other, now, std::time::Instant::now() + MS).await;
    assert!(matches!(verdict, Verdict::Rejected(Rejection { reason: Reason::Key, .. })), "{verdict:?}");
}

#[tokio::test]
async fn a_set_without_usable_keys_withdraws_all() {
    let signer = Signer::ed25519("1");
    let server = Server::start(good(key_set(&[&signer]))).await;
    let (issuers, _task) = issuers(Source::Keys(server.url()), Pace { fresh: 20 * MS..=20 * MS, ..fast() });
    let provider = &issuers.providers()[0];
    let mut weak = signer.jwk.clone();
    weak["x"] = json!("A".repeat(43));
    for empty in [json!([]), json!([{"kty": "oct", "k": "AAAA", "kid": "1"}]), json!([weak])] {
        let remembered = token(&signer);
        assert_eq!(settle(&issuers, &remembered).await, Ok(()));
        server.say(good(json!({"keys": empty}).to_string()));
        until(|| provider.standing().keys == 0).await;
        for token in [remembered, token(&signer)] {
            assert_eq!(settle(&issuers, &token).await, Err(Reason::Key), "{empty}");
        }
        assert!(provider.standing().empty > 0 && provider.standing().bad == 0);
        server.say(good(key_set(&[&signer])));
        until(|| provider.standing().keys == 1).await;
    }
}

#[tokio::test]
async fn a_new_key_is_found_at_once_even_while_the_old_ones_are_fetched() {
    let (old, new) = (Signer::ed25519("old"), Signer::ed25519("new"));
    let slow = Reply { delay: 100 * MS, ..good(key_set(&[&old])) };
    let server = Server::start(slow).await;
    let pace = Pace { fresh: 50 * MS..=50 * MS, ..fast() };
    let (issuers, _task) = issuers(Source::Keys(server.url()), pace);
    assert_eq!(settle(&issuers, &token(&old)).await, Ok(()));
    until(|| server.fetches() == 2).await;
    // The second fetch is under way and will not bring it.
    server.say(good(key_set(&[&new])));
    assert_eq!(settle(&issuers, &token(&new)).await, Ok(()));
    assert_eq!(server.fetches(), 3);
}

#[tokio::test]
async fn a_fetch_that_began_before_the_question_settles_nothing() {
    let (old, new) = (Signer::ed25519("old"), Signer::ed25519("new"));
    let server = Server::start(good(key_set(&[&old]))).await;
    let pace = Pace { fresh: 50 * MS..=50 * MS, timeout: 5000 * MS, ..fast() };
    let (issuers, _task) = issuers(Source::Keys(server.url()), pace);
    assert_eq!(settle(&issuers, &token(&old)).await, Ok(()));
    // The one that may be made is.
    assert_eq!(settle(&issuers, &token(&Signer::ed25519("missing"))).await, Err(Reason::Key));
    server.say(Reply { delay: 500 * MS, ..good(key_set(&[&old])) });
    let fetches = server.fetches();
    until(|| server.fetches() > fetches + 1).await;
    server.say(good(key_set(&[&old, &new])));
    // No fetch may be made for it now: it waits for the one under way, in vain, which is nothing to be remembered.
    let verdict = settle(&issuers, &token(&new)).await;
    assert_eq!(verdict, Err(Reason::Key));
    until(|| issuers.providers()[0].generation() == 2).await;
    assert_eq!(settle(&issuers, &token(&new)).await, Ok(()));
}

#[tokio::test]
async fn a_key_that_is_withdrawn_is_no_longer_taken() {
    let (old, new) = (Signer::ed25519("old"), Signer::ed25519("new"));
    let server = Server::start(good(key_set(&[&old]))).await;
    let (issuers, _task) = issuers(Source::Keys(server.url()), Pace { fresh: 20 * MS..=20 * MS, ..fast() });
    let remembered = token(&old);
    assert_eq!(settle(&issuers, &remembered).await, Ok(()));
    server.say(good(key_set(&[&new])));
    until(|| issuers.providers()[0].generation() == 2).await;
    assert_eq!(settle(&issuers, &remembered).await, Err(Reason::Key));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_rotated_under_load_refuse_no_good_token() {
    const ROTATIONS: usize = 8;
    let signers: Vec<_> = (0..=ROTATIONS).map(|number| Arc::new(Signer::ed25519(&number.to_string()))).collect();
    let server = Server::start(Reply { delay: 20 * MS, ..good(key_set(&[&signers[0]])) }).await;
    let pace = Pace { demand: 60 * MS, ..fast() };
    let (issuers, _task) = issuers(Source::Keys(server.url()), pace);
    let current = Arc::new(Mutex::new(signers[0].clone()));
    let done = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (issuers, current, done) = (issuers.clone(), current.clone(), done.clone());
            tokio::spawn(async move {
                let mut verdicts = Vec::new();
                while done.load(Ordering::SeqCst) == 0 {
                    let signer = current.lock().clone();
                    verdicts.push(settle(&issuers, &token(&signer)).await);
                    tokio::task::yield_now().await;
                }
                verdicts
            })
        })
        .collect();
    for number in 1..=ROTATIONS {
        sleep(150 * MS).await;
        server.say(Reply {
            delay: 20 * MS,
            ..good(key_set(&signers[..=number].iter().map(|signer| &**signer).collect::<Vec<_>>()))
        });
        *current.lock() = signers[number].clone();
    }
    sleep(150 * MS).await;
    done.store(1, Ordering::SeqCst);
    let verdicts: Vec<_> = futures::future::join_all(tasks).await.into_iter().flat_map(Result::unwrap).collect();
    println!("{} tokens, {} fetches", verdicts.len(), server.fetches());
    assert!(verdicts.len() > 100 && verdicts.iter().all(Result::is_ok), "{:?}", verdicts.iter().find(|v| v.is_err()));
    assert!(server.fetches() <= ROTATIONS + 1);
}

#[tokio::test]
async fn keys_are_found_through_the_issuers_configuration() {
    let signer = Signer::ed25519("1");
    let server = Server::start(good(key_set(&[&signer]))).await;
    let issuer = format!("http://{}", server.address);
    let configured = |issuer: &str, keys: &str| Reply {
        configuration: json!({"issuer": issuer, "jwks_uri": keys}).to_string(),
        ..good(key_set(&[&signer]))
    };
    let keys = format!("{issuer}/keys");
    let provider = provider(Source::Issuer(issuer.clone()), fast());
    let cases = [
        (configured("http://other", &keys), "belongs to another issuer"),
        (configured(&format!("{issuer}/"), &keys), "belongs to another issuer"),
        (configured(&issuer, "http://192.0.2.1/keys"), "its jwks_uri is not https"),
        (configured(&issuer, "file:///etc/passwd"), "its jwks_uri is not https"),
        (Reply { configuration: "{}".into(), ..good(String::new()) }, "belongs to another issuer"),
        (Reply { configuration: json!({"issuer": issuer}).to_string(), ..good(String::new()) }, "no jwks_uri"),
        (Reply { configuration: "<".into(), ..good(String::new()) }, "not a JSON object"),
        (Reply { status: 404, ..configured(&issuer, &keys) }, "status 404"),
    ];
    for (reply, why) in cases {
        server.say(reply);
        provider.fetch_once(&mut 0).await;
        let failed = provider.standing().failed.unwrap().1;
        assert!(failed.contains(why), "{failed}, not {why}");
    }
    assert!(provider.keys().is_none() && server.fetches() == 0);
    server.say(configured(&issuer, &keys));
    provider.fetch_once(&mut 0).await;
    assert_eq!(provider.standing().keys, 1);
}

/// A server with TLS at localhost; its port, and the authority that certified it.
async fn with_tls(answer: impl Fn(u16, &str) -> String + Clone + Send + 'static) -> (u16, Authorities) {
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let answer = answer.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let body = Full::<Bytes>::from(answer(port, request.uri().path()));
                std::future::ready(Ok::<_, Infallible>(Response::new(body)))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    (port, Authorities::read(file.path().to_str().unwrap()).unwrap())
}

#[tokio::test]
async fn an_authority_of_ones_own_is_believed() {
    let body = key_set(&[&Signer::ed25519("1")]);
    let (port, authorities) = with_tls(move |_, _| body.clone()).await;
    let url = Url::parse(&format!("https://localhost:{port}/keys")).unwrap();
    for authorities in [None, Some(authorities)] {
        let client = Client::new(authorities.as_ref()).unwrap();
        let is_believed = authorities.is_some();
        let settings = Settings { source: Source::Keys(url.clone()), refresh: None, allow_http: false, authorities };
        let provider = Provider::paced(settings, client, fast());
        provider.fetch_once(&mut 0).await;
        assert_eq!(provider.keys().is_some(), is_believed, "{:?}", provider.standing());
    }
}

#[tokio::test]
async fn an_issuer_with_tls_leads_nowhere_without() {
    let signer = Signer::ed25519("1");
    let plain = Server::start(good(key_set(&[&signer]))).await;
    let (elsewhere, keys) = (plain.url(), key_set(&[&signer]));
    let (port, authorities) = with_tls(move |port, path| {
        let issuer = format!("https://localhost:{port}{}", path.split("/.well-known").next().unwrap());
        let own = format!("https://localhost:{port}/keys");
        let keys_at = if issuer.ends_with("/plain") { elsewhere.as_str() } else { own.as_str() };
        if path == "/keys" { keys.clone() } else { json!({"issuer": issuer, "jwks_uri": keys_at}).to_string() }
    })
    .await;
    for (path, is_good) in [("/plain", false), ("/own", true)] {
        let client = Client::new(Some(&authorities)).unwrap();
        let source = Source::Issuer(format!("https://localhost:{port}{path}"));
        let settings = Settings { source, refresh: None, allow_http: false, authorities: Some(authorities.clone()) };
        let provider = Provider::paced(settings, client, fast());
        provider.fetch_once(&mut 0).await;
        let standing = provider.standing();
        assert_eq!(provider.keys().is_some(), is_good, "{standing:?}");
        assert!(is_good || standing.failed.unwrap().1.contains("is not https, unlike the URL that it came from"));
    }
    assert_eq!(plain.fetches(), 0);
}

#[tokio::test]
async fn a_question_waits_for_a_fetch_that_can_answer_it() {
    let (pace, now) = (fast(), Instant::now());
    let ticket = |desk: Desk| desk.ticket(now, &pace).map(|ticket| (ticket.number, ticket.is_new_demand));
    let full_at = Some(now + pace.demand);
    let cases = [
        // Before the first and while it is under way.
        (Desk { demanded: 1, ..Desk::default() }, Some((1, false))),
        (Desk { demanded: 1, begun: 1, ..Desk::default() }, Some((1, false))),
        // The first failed.
        (Desk { demanded: 1, begun: 1, ended: 1, ..Desk::default() }, Some((2, true))),
        (Desk { demanded: 2, begun: 2, ended: 2, full_at, ..Desk::default() }, None),
        // A regular one is under way: the next answers.
        (Desk { demanded: 1, begun: 5, ended: 4, good: 4, ..Desk::default() }, Some((6, true))),
        (Desk { demanded: 6, begun: 5, ended: 4, good: 4, full_at }, Some((6, false))),
        (Desk { demanded: 6, begun: 6, ended: 5, good: 5, full_at }, Some((6, false))),
        (Desk { demanded: 6, begun: 6, ended: 6, good: 6, full_at }, None),
        (Desk { demanded: 6, begun: 6, ended: 6, good: 6, full_at: Some(now) }, Some((7, true))),
    ];
    for (desk, expected) in cases {
        assert_eq!(ticket(desk), expected, "{desk:?}");
    }
}

#[test]
fn how_long_answers_are_fresh() {
    let fresh = |headers: &[(&'static str, &'static str)]| {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        fresh_for(&headers.collect::<HeaderMap>()).as_secs()
    };
    let cases: [(&[_], u64); 10] = [
        (&[], 600),
        (&[("cache-control", "max-age=120")], 120),
        (&[("cache-control", "public, Max-Age=\"120\", must-revalidate")], 120),
        (&[("cache-control", "public"), ("cache-control", "max-age=7")], 7),
        (&[("cache-control", "max-age=120"), ("age", "100")], 20),
        (&[("cache-control", "max-age=120"), ("age", "1000")], 0),
        (&[("cache-control", "max-age=120, no-store")], 0),
        (&[("cache-control", "no-cache")], 0),
        (&[("cache-control", "max-age=-1")], 600),
        (&[("cache-control", "max-age=99999999999999999999")], 600),
    ];
    for (headers, seconds) in cases {
        assert_eq!(fresh(headers), seconds, "{headers:?}");
    }
}

#[test]
fn pauses_after_failures_double() {
    let again = Pace::default().again;
    for (failures, most) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (100, 60), (u32::MAX, 60)] {
        for _ in 0..20 {
            let pause = pause_after(failures, &again).as_secs_f64();
            assert!(pause >= (f64::from(most) / 2.0).max(1.0) && pause <= f64::from(most), "{failures}: {pause}");
        }
    }
}
