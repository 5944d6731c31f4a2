//! TLS of the listeners, by `openssl s_client` where one connection tells it and by rustls where it takes many.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use rcgen::date_time_ymd;
use ring::digest::{SHA256, digest};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::gateway::everything_to;
use crate::support::tls::{Authority, Files, Identity};
use crate::support::{Client, Gateway, Origin, Raw, Request, Seen, eventually, full, pattern, soon};

const BOTH: &[&str] = &["h2", "http/1.1"];

/// A configuration with one listener per TLS setting (none where it is empty) and one route.
fn listening(tls: &[&str], url: &str) -> String {
    let listener = |tls: &&str| match tls.is_empty() {
        true => "{ address: \"127.0.0.1:0\" }".to_owned(),
        false => format!("{{ address: \"127.0.0.1:0\", tls: {{ {tls} }} }}"),
    };
    let listeners: Vec<_> = tls.iter().map(listener).collect();
    format!("listen: [{}]\n{}", listeners.join(", "), everything_to(url))
}

/// What `openssl s_client` says of a connection on which it sends one request.
async fn s_client(address: SocketAddr, args: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string(), "-ign_eof"]).args(args);
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let _ = stdin.write_all(b"GET /openssl HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n").await;
    let output = soon("openssl s_client", process.wait_with_output()).await.unwrap();
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

/// Whether the request of `s_client` was served.
fn is_served(told: &str) -> bool {
    told.contains("HTTP/1.1 200")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_a_client_asks_for_chooses_the_certificate() {
    let (authority, files, origin) = (Authority::new(), Files::new(), Origin::start().await);
    let ca = files.write("ca.pem", &authority.pem());
    let issued = [&["first.test"][..], &["*.wild.test"], &["one.wild.test", "other.test"]];
    let pairs = issued.map(|names| files.pair(&names[0].replace('*', "any"), &authority.issue_with(names, |_| ())));
    let tls = format!("certificates: [{}]", pairs.join(", "));
    let gateway = Gateway::start(&listening(&[&tls], origin.url())).await;
    for (name, subject) in [
        ("first.test", "first.test"),
        ("two.wild.test", "*.wild.test"),
        ("one.wild.test", "one.wild.test"),
        ("OTHER.test", "one.wild.test"),
    ] {
        let told = s_client(gateway.address, &["-servername", name, "-CAfile", &ca, "-verify_hostname", name]).await;
        assert!(told.contains(&format!("subject=CN = {subject}\n")), "{name}: {told}");
        assert!(told.contains("Verify return code: 0 (ok)") && is_served(&told), "{name}: {told}");
    }
    for args in [&["-noservername"][..], &["-servername", "elsewhere.test"], &["-servername", "a.two.wild.test"]] {
        let told = s_client(gateway.address, args).await;
        assert!(told.contains("subject=CN = first.test\n"), "{args:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_and_suites_are_those_that_are_allowed() {
    let (authority, files, origin) = (Authority::new(), Files::new(), Origin::start().await);
    let pair = files.pair("a", &authority.issue("a.test"));
    let any = format!("certificates: [{pair}]");
    let newest = format!("{any}, min_version: 1.3");
    let chosen =
        format!("{any}, cipher_suites: [TLS_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]");
    let gateway = Gateway::start(&listening(&[&any, &newest, &chosen], origin.url())).await;
    for (listener, args, expected) in [
        (0, &["-tls1_2"][..], Some("New, TLSv1.2, Cipher is ECDHE-ECDSA-")),
        (0, &["-tls1_3"], Some("New, TLSv1.3, Cipher is TLS_")),
        (0, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], None),
        (1, &["-tls1_2"], None),
        (1, &["-tls1_3"], Some("New, TLSv1.3, Cipher is TLS_")),
        (2, &["-tls1_2"], Some("Cipher is ECDHE-ECDSA-CHACHA20-POLY1305")),
        (2, &["-tls1_3"], Some("Cipher is TLS_CHACHA20_POLY1305_SHA256")),
        (2, &["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"], None),
    ] {
        let told = s_client(gateway.listener(listener), args).await;
        assert_eq!(is_served(&told), expected.is_some(), "{listener} {args:?}: {told}");
        assert!(told.contains(expected.unwrap_or("Cipher is (NONE)")), "{listener} {args:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_offered_first_or_not_at_all() {
    let (authority, files, origin) = (Authority::new(), Files::new(), Origin::start().await);
    let any = format!("certificates: [{}]", files.pair("a", &authority.issue("a.test")));
    let without = format!("{any}, http2: false");
    let gateway = Gateway::start(&listening(&[&any, &without], origin.url())).await;
    let agreed = async |listener: usize, protocols: &[&str]| {
        let connector = authority.connector(protocols, None);
        let mut client = Client::tls(gateway.listener(listener), &connector, "a.test").await.ok()?;
        let version = client.ask(Request::get("/x")).await.version;
        Some(version)
    };
    assert_eq!(agreed(0, &["http/1.1", "h2"]).await, Some(http::Version::HTTP_2));
    assert_eq!(agreed(0, &["http/1.1"]).await, Some(http::Version::HTTP_11));
    assert_eq!(agreed(0, &[]).await, Some(http::Version::HTTP_11));
    assert_eq!(agreed(0, &["spdy/1"]).await, None);
    assert_eq!(agreed(1, BOTH).await, Some(http::Version::HTTP_11));
    assert_eq!(agreed(1, &["h2"]).await, None);
    let told = s_client(gateway.address, &["-alpn", "http/1.1,h2"]).await;
    assert!(told.contains("ALPN protocol: h2"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_resumed_also_after_a_reload_that_asks_for_the_same() {
    let (authority, files, origin) = (Authority::new(), Files::new(), Origin::start().await);
    let tls = format!("certificates: [{}]", files.pair("a", &authority.issue("a.test")));
    let gateway = Gateway::start(&listening(&[&tls], origin.url())).await;
    let session = files.path("session");
    let resume = async |version| s_client(gateway.address, &[version, "-sess_in", &session]).await;
    for version in ["-tls1_3", "-tls1_2"] {
        let first = s_client(gateway.address, &[version, "-sess_out", &session]).await;
        assert!(first.contains("New, TLS") && is_served(&first), "{first}");
        let second = resume(version).await;
        assert!(second.contains("Reused, TLS") && is_served(&second), "{version}: {second}");
        files.pair("a", &authority.issue("a.test"));
        gateway.reload(&listening(&[&tls], origin.url())).unwrap();
        let third = resume(version).await;
        assert!(third.contains("Reused, TLS") && is_served(&third), "{version} after a reload: {third}");
    }
    gateway.reload(&listening(&[&format!("{tls}, http2: false")], origin.url())).unwrap();
    let other = resume("-tls1_2").await;
    assert!(other.contains("New, TLS") && is_served(&other), "other settings: {other}");
}

/// The certificate a client is shown.
async fn shown(gateway: &Gateway, authority: &Authority) -> Vec<u8> {
    let connector = authority.connector(BOTH, None);
    let stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    let stream = connector.connect("a.test".try_into().unwrap(), stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_change_in_place_and_no_handshake_fails() {
    const RELOADS: usize = 10;
    let (authority, files, origin) = (Arc::new(Authority::new()), Files::new(), Origin::start().await);
    let tls = format!("certificates: [{}]", files.pair("a", &authority.issue("a.test")));
    let config = listening(&[&tls], origin.url());
    let gateway = Gateway::start(&config).await;
    let (stop, handshakes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (address, authority, stop, handshakes) =
                (gateway.address, authority.clone(), stop.clone(), handshakes.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let mut client =
                        Client::tls(address, &authority.connector(BOTH, None), "a.test").await.expect("a handshake");
                    assert_eq!(client.ask(Request::get("/x")).await.status, 200);
                    handshakes.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..RELOADS {
        let renewed = authority.issue("a.test");
        files.pair("a", &renewed);
        let before = handshakes.load(Ordering::Relaxed);
        gateway.reload(&config).unwrap();
        assert!(shown(&gateway, &authority).await == renewed.der(), "the new certificate is shown at once");
        eventually("handshakes go on", async || (handshakes.load(Ordering::Relaxed) >= before + 10).then_some(()))
            .await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("no handshake and no request fails");
    }
    println!("{RELOADS} reloads during {} handshakes", handshakes.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_refuse_the_reload_and_the_old_ones_serve_on() {
    let (authority, files, origin) = (Authority::new(), Files::new(), Origin::start().await);
    let (good, other) = (authority.issue("a.test"), authority.issue("a.test"));
    let tls = format!("certificates: [{}]", files.pair("a", &good));
    let config = listening(&[&tls], origin.url());
    let gateway = Gateway::start(&config).await;
    for (certificate, key, why) in [
        (good.certificate_pem(), other.key_pem(), "does not fit"),
        ("garbage".into(), good.key_pem(), "holds no certificate"),
        (good.certificate_pem(), "garbage".into(), "holds no private key"),
        (good.certificate_pem(), String::new(), "holds no private key"),
    ] {
        files.write("a.pem", &certificate);
        files.write("a.key", &key);
        let refused = gateway.reload(&config).unwrap_err();
        assert!(refused.contains("(listen[0]).tls.certificates[0]: ") && refused.contains(why), "{refused}");
        assert!(shown(&gateway, &authority).await == good.der());
    }
    std::fs::remove_file(files.path("a.pem")).unwrap();
    assert!(gateway.reload(&config).unwrap_err().contains("cannot read "));
    assert!(shown(&gateway, &authority).await == good.der());
    // One that expired is told of, and shown: to refuse it would also refuse what could renew it.
    files.pair("a", &authority.issue_with(&["a.test"], |params| params.not_after = date_time_ymd(2020, 1, 1)));
    let output = gateway.command("reload", &[]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("(listen[0]).tls.certificates[0]: the certificate expired at 2020-01-01T00:00:00Z\n"),
        "{told}"
    );
}

/// A client whose certificate an authority has signed, as files for `s_client`.
struct Shown(String, String);

impl Shown {
    fn new(files: &Files, name: &str, identity: &Identity) -> Shown {
        files.pair(name, identity);
        Shown(files.path(&format!("{name}.pem")), files.path(&format!("{name}.key")))
    }

    fn args(&self) -> [&str; 4] {
        ["-cert", &self.0, "-key", &self.1]
    }
}

fn fingerprint(identity: &Identity) -> String {
    digest(&SHA256, identity.der()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_show_certificates_where_they_are_asked_for() {
    let (authority, clients, files) = (Authority::new(), Authority::new(), Files::new());
    let origin = Origin::start().await;
    let pair = files.pair("a", &authority.issue("a.test"));
    let ca = files.write("clients.pem", &clients.pem());
    let required = format!("certificates: [{pair}], client_auth: {{ ca: {ca} }}");
    let requested = format!("certificates: [{pair}], client_auth: {{ ca: {ca}, required: false }}");
    let gateway = Gateway::start(&listening(&[&required, &requested], origin.url())).await;
    let good = Shown::new(&files, "good", &clients.issue("alice"));
    let expired = clients.issue_with(&["bob"], |params| params.not_after = date_time_ymd(2020, 1, 1));
    let expired = Shown::new(&files, "expired", &expired);
    let stranger = Shown::new(&files, "stranger", &Authority::new().issue("alice"));
    for version in ["-tls1_2", "-tls1_3"] {
        for (shown, [when_required, when_requested]) in [
            (None, [false, true]),
            (Some(&good), [true, true]),
            (Some(&expired), [false; 2]),
            (Some(&stranger), [false; 2]),
        ] {
            for (listener, served) in [(0, when_required), (1, when_requested)] {
                let mut args = vec![version];
                args.extend(shown.iter().flat_map(|shown| shown.args()));
                let told = s_client(gateway.listener(listener), &args).await;
                assert_eq!(is_served(&told), served, "{listener} {args:?}: {told}");
            }
        }
    }
    let enough = async || (gateway.turned_away("tls_handshake").await >= 10).then_some(());
    eventually("they are counted", enough).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_are_told_who_a_client_is_and_clients_cannot_say_it() {
    let (authority, clients, files) = (Authority::new(), Authority::new(), Files::new());
    let origin = Origin::start().await;
    let ca = files.write("clients.pem", &clients.pem());
    let pair = files.pair("a", &authority.issue("a.test"));
    let requested = format!("certificates: [{pair}], client_auth: {{ ca: {ca}, required: false }}");
    let alice = clients.issue_with(&["alice"], |params| {
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Träger, Inc.");
    });
    for identity_headers in ["", "identity_headers: []\n"] {
        let config = format!("{identity_headers}{}", listening(&[&requested, ""], origin.url()));
        let gateway = Gateway::start(&config).await;
        let forged = || {
            Request::get("/x")
                .header("x-gatekeeper-client-subject", "CN=root")
                .header("X-Gatekeeper-Client-Fingerprint", "00")
                .header("x_gatekeeper_client_subject", "CN=root")
                .header("x-gatekeeper-client-anything", "1")
        };
        let told = |seen: &Seen| {
            let headers = seen.headers.iter().filter(|(name, _)| name.replace('_', "-").contains("gatekeeper-client"));
            headers.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        let ours = ["O=Tr\\c3\\a4ger\\, Inc.,CN=alice".to_owned(), fingerprint(&alice)];
        for protocols in [BOTH, &["http/1.1"]] {
            let mut known =
                Client::tls(gateway.address, &authority.connector(protocols, Some(&alice)), "a.test").await.unwrap();
            for _ in 0..2 {
                assert_eq!(told(&known.ask(forged()).await.seen()), ours);
            }
            // What the gateway adds, a client can't have taken away.
            if protocols.len() == 1 {
                let taking = Request::get("/x").header("connection", "x-gatekeeper-client-subject");
                assert_eq!(told(&known.ask(taking).await.seen()), ours);
            }
            let mut nobody =
                Client::tls(gateway.address, &authority.connector(protocols, None), "a.test").await.unwrap();
            assert!(told(&nobody.ask(forged()).await.seen()).is_empty());
        }
        let mut plain = Client::h1(gateway.listener(1)).await;
        assert!(told(&plain.ask(forged()).await.seen()).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_in_the_authorities_of_clients() {
    let (authority, files, origin) = (Authority::new(), Files::new(), Origin::start().await);
    let [old, new] = [Authority::new(), Authority::new()];
    let ca = files.write("clients.pem", &old.pem());
    let pair = files.pair("a", &authority.issue("a.test"));
    let config = listening(&[&format!("certificates: [{pair}], client_auth: {{ ca: {ca} }}")], origin.url());
    let gateway = Gateway::start(&config).await;
    let [of_old, of_new] =
        [("old", &old), ("new", &new)].map(|(name, ca)| Shown::new(&files, name, &ca.issue("alice")));
    let session = files.path("session");
    let served = async |shown: &Shown| {
        let resuming = std::fs::exists(&session).unwrap().then_some(["-sess_in", &session]);
        let args = shown.args().into_iter().chain(["-sess_out", &session]).chain(resuming.into_iter().flatten());
        is_served(&s_client(gateway.address, &args.collect::<Vec<_>>()).await)
    };
    assert!(served(&of_old).await && !served(&of_new).await);
    files.write("clients.pem", "garbage");
    let refused = gateway.reload(&config).unwrap_err();
    assert!(refused.contains("(listen[0]).tls.client_auth.ca: ") && served(&of_old).await, "{refused}");
    files.write("clients.pem", &new.pem());
    gateway.reload(&config).unwrap();
    assert!(served(&of_new).await && !served(&of_old).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_an_identity_for_a_split() {
    let (authority, clients, files) = (Authority::new(), Authority::new(), Files::new());
    let [a, b] = [Origin::named("a").await, Origin::named("b").await];
    let ca = files.write("clients.pem", &clients.pem());
    let pair = files.pair("a", &authority.issue("a.test"));
    let gateway = Gateway::start(&format!(
        "listen: [{{ address: \"127.0.0.1:0\", tls: {{ certificates: [{pair}], client_auth: {{ ca: {ca} }} }} }}]\n\
         services: {{ a: {{ targets: [\"{}\"] }}, b: {{ targets: [\"{}\"] }} }}\n\
         routes:\n  - name: all\n    path_pattern: /*\n    split: {{ services: [{{ service: a, weight: 1 }}, \
         {{ service: b, weight: 1 }}], sticky_by: user }}\n",
        a.url(),
        b.url()
    ))
    .await;
    let mut services = Vec::new();
    for index in 0..16 {
        let connector = authority.connector(BOTH, Some(&clients.issue(&format!("user-{index}"))));
        let mut chosen = Vec::new();
        for _ in 0..3 {
            let mut client = Client::tls(gateway.address, &connector, "a.test").await.unwrap();
            chosen.push(client.ask(Request::get("/x")).await.seen().connection.origin);
        }
        assert!(chosen.iter().all(|service| *service == chosen[0]), "{chosen:?}");
        services.extend(chosen);
    }
    assert!(
        services.contains(&"a".to_owned()) && services.contains(&"b".to_owned()),
        "all of one address: {services:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn big_bodies_go_both_ways_and_upstreams_know_it_is_https() {
    const BIG: u64 = 8_000_000;
    let (authority, files, origin) = (Authority::new(), Files::new(), Origin::start().await);
    let tls = format!("certificates: [{}]", files.pair("a", &authority.issue("a.test")));
    let gateway = Gateway::start(&listening(&[&tls], origin.url())).await;
    for protocols in [BOTH, &["http/1.1"]] {
        let mut client = Client::tls(gateway.address, &authority.connector(protocols, None), "a.test").await.unwrap();
        let seen = client.ask(Request::get("/x").header("x-forwarded-proto", "http")).await.seen();
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.header("x-forwarded-port"), Some(&*gateway.address.port().to_string()));
        let sent = client.ask(Request::post("/sink").body(pattern::body(BIG)).unwrap()).await;
        assert_eq!(sent.json(), serde_json::json!({ "bytes": BIG, "intact": true }));
        let mut body = client.send(Request::get(format!("/bytes/{BIG}"))).await.unwrap().into_body();
        let mut checker = pattern::Checker::new();
        while let Some(frame) = soon("a frame", body.frame()).await {
            checker.take(frame.unwrap().data_ref().map_or(&[], |data| data));
        }
        assert!(checker.intact && checker.bytes == BIG, "{} bytes", checker.bytes);
        let echoed = client.ask(Request::post("/echo").body(full("over TLS")).unwrap()).await;
        assert_eq!(echoed.text(), "over TLS");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_has_a_deadline_and_nonsense_is_turned_away() {
    let (authority, files, origin) = (Authority::new(), Files::new(), Origin::start().await);
    let tls = format!("certificates: [{}]", files.pair("a", &authority.issue("a.test")));
    let config = format!("limits: {{ head_timeout: 1s }}\n{}", listening(&[&tls], origin.url()));
    let gateway = Gateway::start(&config).await;
    // The beginning of a ClientHello, whose rest never comes; and one that comes byte by byte.
    for (sent, trickles) in
        [(&b""[..], false), (b"\x16\x03\x01\x02\x00\x01", false), (b"\x16\x03\x01\x02\x00\x01", true)]
    {
        let began = Instant::now();
        let mut client = gateway.raw().await;
        client.send(sent).await;
        while trickles && began.elapsed() < Duration::from_millis(1200) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            client.send(b"\x00").await;
        }
        client.rest().await;
        let time = began.elapsed();
        assert!((1000..1500).contains(&time.as_millis()), "{sent:?}: {time:?}");
    }
    gateway.has_turned_away("handshake_timeout", 3).await;
    for (turned, sent) in [&b"garbage, and much of it, but no TLS"[..], &[0; 600]].into_iter().enumerate() {
        let mut client = Raw::connect(gateway.address).await;
        client.send(sent).await;
        let answer = client.rest().await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
        gateway.has_turned_away("tls_handshake", turned as u64 + 1).await;
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_a_port_of_tls_is_told_so() {
    let (authority, files, origin) = (Authority::new(), Files::new(), Origin::start().await);
    let tls = format!("certificates: [{}]", files.pair("a", &authority.issue("a.test")));
    let gateway = Gateway::start(&listening(&[&tls], origin.url())).await;
    let sent = [
        "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n",
        "POST /x HTTP/1.1\r\ncontent-length: 9\r\n\r\nhalf",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    for text in sent {
        let mut client = gateway.raw().await;
        client.send(text.as_bytes()).await;
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.header("connection")), (400, Some("close")), "{text}");
        assert_eq!(answer.text(), "This port speaks TLS: use https:// here\n");
    }
    let mut patient = gateway.raw().await;
    patient.send(sent[0].as_bytes()).await;
    let began = Instant::now();
    patient.rest().await;
    assert!(began.elapsed() < Duration::from_secs(4), "who does not close is closed");
    gateway.has_turned_away("plain_http", 4).await;
    assert_eq!((gateway.turned_away("tls_handshake").await, origin.requests()), (0, 0));
    assert_eq!(gateway.said().matches("sent plain HTTP").count(), 1, "{}", gateway.said());
    let mut served = Client::tls(gateway.address, &authority.connector(BOTH, None), "a.test").await.unwrap();
    assert_eq!(served.ask(Request::get("/x")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_when_certificates_end() {
    let (authority, files, origin) = (Authority::new(), Files::new(), Origin::start().await);
    let until = |year| authority.issue_with(&["a.test"], |params| params.not_after = date_time_ymd(year, 1, 1));
    let pairs = [files.pair("a", &until(2050)), files.pair("b", &until(2051))];
    let tls = format!("certificates: [{}, {}]", pairs[0], pairs[1]);
    let listen = format!(
        "listen: [{{ name: front, address: \"127.0.0.1:0\", tls: {{ {tls} }} }}, {{ address: \"127.0.0.1:0\" }}]\n"
    );
    let gateway = Gateway::start(&(listen + &everything_to(origin.url()))).await;
    let ends = async || {
        let metrics = gateway.metrics().await;
        let name = "gatekeeper_certificate_expiry_timestamp_seconds{listener=\"front\",certificate=\"";
        let lines = metrics.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        lines.map(|(_, end)| end.parse::<f64>().unwrap() as i64).collect::<Vec<_>>()
    };
    let seconds = |year| date_time_ymd(year, 1, 1).unix_timestamp();
    assert_eq!(ends().await, [seconds(2050), seconds(2051)]);
    files.pair("a", &until(2052));
    assert!(gateway.command("reload", &[]).status.success());
    assert_eq!(ends().await, [seconds(2052), seconds(2051)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_sent_to_https_but_own_paths() {
    let origin = Origin::start().await;
    let config = format!(
        "listen:\n  - {{ address: \"127.0.0.1:0\", redirect_https: 443, h2c: true }}\n\
         \x20 - {{ address: \"127.0.0.1:0\", redirect_https: 8443 }}\n{}",
        everything_to(origin.url())
    );
    let gateway = Gateway::start(&config).await;
    for (listener, host, target, place) in [
        (0, "a.test", "/", "https://a.test/"),
        (0, "a.test:8080", "/x/y?b=1&c=%20", "https://a.test/x/y?b=1&c=%20"),
        (0, "A.Test.", "/x/../y", "https://a.test/y"),
        (0, "[::1]:80", "/x?", "https://[::1]/x?"),
        (1, "a.test:80", "/x?b", "https://a.test:8443/x?b"),
        (1, "a.test", "//evil.test/", "https://a.test:8443/evil.test/"),
    ] {
        for method in ["GET", "POST", "HEAD"] {
            let ask = Request::builder().method(method).uri(target).header("host", host);
            let answer = Client::h1(gateway.listener(listener)).await.ask(ask).await;
            assert_eq!((answer.status.as_u16(), answer.header("location")), (308, Some(place)), "{method} {target}");
        }
    }
    let by_h2 = gateway.h2c().await.ask(Request::get("/x?y")).await;
    assert_eq!(by_h2.header("location"), Some("https://gateway.test/x?y"));
    for own in ["/health", "/ready"] {
        assert_eq!(gateway.get(own).await.status, 200, "{own}");
    }
    let mut homeless = gateway.raw().await;
    homeless.send("GET /x HTTP/1.0\r\n\r\n").await;
    assert_eq!(homeless.response().await.status(), 400);
    assert_eq!(origin.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn challenges_are_answered_from_the_webroot_and_nothing_else_is() {
    let (origin, webroot) = (Origin::start().await, tempfile::tempdir().unwrap());
    let folder = webroot.path().join(".well-known/acme-challenge");
    std::fs::create_dir_all(folder.join("folder")).unwrap();
    for (name, text) in
        [("tok_en-1", "tok_en-1.thumb"), (".hidden", "hidden"), ("big", &"x".repeat(5000)), ("a.b", "dot")]
    {
        std::fs::write(folder.join(name), text).unwrap();
    }
    std::fs::write(webroot.path().join("secret"), "secret").unwrap();
    let config = format!(
        "acme_webroot: {}\nlisten:\n  - {{ address: \"127.0.0.1:0\", redirect_https: 443 }}\n  - {{ address: \"127.0.0.1:0\" }}\n{}",
        webroot.path().display(),
        everything_to(origin.url())
    );
    let gateway = Gateway::start(&config).await;
    let get = async |listener: usize, name: &str| {
        let target = format!("/.well-known/acme-challenge/{name}");
        Client::h1(gateway.listener(listener)).await.ask(Request::get(target)).await
    };
    for listener in [0, 1] {
        let answer = get(listener, "tok_en-1").await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "tok_en-1.thumb"));
        for missing in ["missing", "folder", "big"] {
            assert_eq!(get(listener, missing).await.problem()["status"], 404, "{missing}");
        }
    }
    std::os::unix::fs::symlink(webroot.path().join("secret"), folder.join("link")).unwrap();
    nix::unistd::mkfifo(&folder.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for refused in ["link", "fifo"] {
        assert_eq!(get(1, refused).await.problem()["status"], 404, "{refused}");
    }
    let asked = async |method: &str| {
        let request = Request::builder().method(method).uri("/.well-known/acme-challenge/tok_en-1");
        Client::h1(gateway.listener(1)).await.ask(request).await
    };
    assert_eq!(asked("HEAD").await.status, 200);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = asked(method).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    let real = webroot.path().join("real");
    std::fs::rename(&folder, &real).unwrap();
    std::os::unix::fs::symlink(&real, &folder).unwrap();
    assert_eq!(get(1, "tok_en-1").await.problem()["status"], 404, "nor is a folder reached by a link");
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&real, &folder).unwrap();
    // What is no challenge's name goes the way of every request.
    for name in ["", ".hidden", "a.b", "..%2F..%2Fsecret", "../../secret", "%2e%2e/%2e%2e/secret", "folder/x", "a%00b"]
    {
        let (redirected, routed) = (get(0, name).await, get(1, name).await);
        for answer in [&redirected, &routed] {
            assert!(![&b"secret"[..], b"hidden", b"dot"].contains(&&*answer.body), "{name}: {answer:?}");
        }
        let bad = name.contains("%00");
        assert_eq!(redirected.status, if bad { 400 } else { 308 }, "{name}");
        assert_eq!(routed.status, if bad { 400 } else { 200 }, "{name}");
    }
    assert_eq!(origin.requests(), 7);
}
