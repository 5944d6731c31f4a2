//! What becomes of headers on their way through: hop-by-hop ones, identities, addresses, ids.

use crate::support::gateway::everything_to;
use crate::support::{Gateway, Origin, RawOrigin, Request};

/// A gateway that trusts its client (and 10/8) and sends everything to the upstream.
async fn trusting(origin: &Origin) -> Gateway {
    let routes = everything_to(origin.url());
    Gateway::start(&format!("trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]\n{routes}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn hop_by_hop_headers_of_a_request_end_here() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    let request = Request::get("/")
        .header("connection", "X-Private, Upgrade, HTTP2-Settings, x-other, TE")
        .header("x-private", "1")
        .header("x-other", "1")
        .header("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA")
        .header("upgrade", "h2c")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "keep-alive")
        .header("te", "gzip")
        .header("x-kept", "1");
    let seen = gateway.ask(request).await.seen();
    for name in ["x-private", "x-other", "http2-settings", "upgrade", "keep-alive", "proxy-connection", "te"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert!(seen.header("connection").is_none_or(|value| value == "keep-alive"), "{:?}", seen.headers);
    assert_eq!(seen.header("x-kept"), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn hop_by_hop_headers_of_a_response_end_here() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: X-Private, Upgrade\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\n\
        Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok";
    let gateway = Gateway::to_url(&RawOrigin::answering(answer).await.url()).await;
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        let answer = client.ask(Request::get("/")).await;
        for name in ["x-private", "keep-alive", "proxy-connection", "upgrade"] {
            assert_eq!(answer.header(name), None, "{name} over {:?}", answer.version);
        }
        assert!(answer.header("connection").is_none_or(|value| value.eq_ignore_ascii_case("keep-alive")));
        assert_eq!(answer.header("x-kept"), Some("1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_keeps_its_te_trailers() {
    let origin = Origin::start().await;
    let url = origin.url();
    let gateway = Gateway::start(&format!(
        "services:\n  app: {{ targets: [\"{url}\"], protocol: h2 }}\n\
         routes:\n  - {{ name: all, path_pattern: /*, target_service: app }}\n"
    ))
    .await;
    let mut client = gateway.h2c().await;
    let request = Request::post("/reflect").header("te", "trailers").header("content-type", "application/grpc+proto");
    assert_eq!(client.ask(request).await.seen().header("te"), Some("trailers"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_names_in_connection_cannot_take_away_what_matters() {
    let origin = Origin::start().await;
    let gateway = trusting(&origin).await;
    let mut faults = Vec::new();
    for name in
        ["Authorization", "Cookie", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "X-Request-Id", "Via", "Host"]
    {
        let request = Request::get("/")
            .header("connection", name)
            .header("authorization", "Bearer abc")
            .header("cookie", "a=b")
            .header("x-forwarded-for", "203.0.113.7")
            .header("x-forwarded-proto", "https");
        let answer = gateway.ask(request).await;
        if answer.status == 400 {
            continue; // To refuse such a list altogether takes nothing away either.
        }
        let seen = answer.seen();
        let kept = [
            ("authorization", "Bearer abc"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "203.0.113.7, 127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "203.0.113.7"),
            ("x-request-id", answer.header("x-request-id").unwrap()),
            ("via", "1.1 gatekeeper"),
            ("host", "gateway.test"),
        ];
        let lost = kept.into_iter().filter(|(kept, value)| seen.header(kept) != Some(value));
        faults.extend(lost.map(|(lost, _)| format!("{name} changed {lost} to {:?}", seen.header(lost))));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_names_in_connection_cannot_take_away_what_was_judged() {
    let origin = Origin::start().await;
    let decider = RawOrigin::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let gateway = Gateway::start(&format!(
        "auth:
  api_keys: {{ header: X-Machine-Key, keys: [] }}
  forward: {{ url: \"{}/check\", request_headers: [X-Tenant] }}
rate_limits:
  - {{ rule_name: plans, limit_type: 'header:X-Plan', max_requests: 1000, window_seconds: 60 }}
services:
  app: {{ targets: [\"{url}\"], load_balancing: 'hash:header:X-Affinity' }}
routes:
  - {{ name: beta, path_pattern: /beta, headers: {{ X-Beta: {{ present: true }} }}, target_service: app, auth: [forward], rate_limits: [plans] }}
  - name: split
    path_pattern: /split
    split: {{ services: [{{ service: app, weight: 1 }}], sticky_by: 'header:X-Session' }}
    is_public: true
",
        decider.url(),
        url = origin.url()
    ))
    .await;
    let judged =
        ["x-tenant", "x-plan", "x-beta", "x-affinity", "x-session", "x-machine-key", "idempotency-key", "origin"];
    for path in ["/beta", "/split"] {
        for named in judged.into_iter().filter(|name| path == "/split" || *name != "x-machine-key") {
            let request = judged.iter().fold(Request::get(path), |request, name| match *name {
                "x-machine-key" if path == "/beta" => request,
                "origin" => request.header(*name, "http://gateway.test"),
                _ => request.header(*name, "1"),
            });
            let named_list = format!("keep-alive, {}, X-Unknown", named.to_ascii_uppercase());
            let request = request.header("connection", named_list).header("x-unknown", "1");
            let seen = gateway.ask(request).await.seen();
            assert!(seen.header(named).is_some(), "{named} on {path}: {:?}", seen.headers);
            assert_eq!(seen.header("x-unknown"), None, "what nothing judges by goes");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_says_who_he_is_in_identity_headers() {
    let origin = Origin::start().await;
    // Not even a trusted peer.
    for gateway in [Gateway::to(&origin).await, trusting(&origin).await] {
        let request = Request::get("/")
            .header("X-User-Id", "1")
            .header("x-user-roles", "admin")
            .header("x-consumer-name", "root")
            .header("x-gatekeeper-anything", "1")
            .header("x-user-id", "2")
            .header("x-users", "kept");
        let seen = gateway.ask(request).await.seen();
        for name in ["x-user-id", "x-user-roles", "x-consumer-name", "x-gatekeeper-anything"] {
            assert!(seen.all(name).is_empty(), "{name}");
        }
        assert_eq!(seen.header("x-users"), Some("kept"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_headers_are_those_of_the_configuration() {
    let origin = Origin::start().await;
    let routes = everything_to(origin.url());
    let gateway = Gateway::start(&format!("identity_headers: [X-Me, X-My-*]\n{routes}")).await;
    let request =
        Request::get("/").header("x-me", "1").header("x-my-role", "1").header("x-mean", "1").header("x-my", "1");
    let seen = gateway.ask(request).await.seen();
    assert_eq!((seen.header("x-me"), seen.header("x-my-role")), (None, None));
    assert_eq!((seen.header("x-mean"), seen.header("x-my")), (Some("1"), Some("1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_name_with_an_underscore_is_dropped() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        let seen =
            client.ask(Request::get("/").header("x_user_id", "1").header("x_y", "1").header("x-y", "2")).await.seen();
        assert!(seen.headers.iter().all(|(name, _)| !name.contains('_')), "{:?}", seen.headers);
        assert_eq!(seen.header("x-y"), Some("2"));
    }
}

/// A request that pretends to have come through a proxy.
fn forwarded(host: &str) -> http::request::Builder {
    Request::get("/")
        .header("host", host)
        .header("x-forwarded-for", "203.0.113.7, 10.0.0.1")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "shop.example")
        .header("x-forwarded-port", "443")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_not_believed_where_he_comes_from() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    let port = gateway.address.port().to_string();
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        let host = format!("gateway.test:{port}");
        let request = forwarded(&host)
            .header("forwarded", "for=203.0.113.7;proto=https")
            .header("x-forwarded-prefix", "/evil")
            .header("x-real-ip", "203.0.113.7");
        let seen = client.ask(request).await.seen();
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
        assert_eq!(seen.header("x-forwarded-host"), Some(host.as_str()));
        assert_eq!(seen.header("x-forwarded-port"), Some(port.as_str()));
        assert_eq!(seen.header("x-real-ip"), Some("127.0.0.1"));
        assert_eq!((seen.header("forwarded"), seen.header("x-forwarded-prefix")), (None, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_is_believed_and_appended_to() {
    let origin = Origin::start().await;
    let gateway = trusting(&origin).await;
    let seen = gateway.ask(forwarded("gateway.test")).await.seen();
    assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.7, 10.0.0.1, 127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.example"));
    assert_eq!(seen.header("x-forwarded-port"), Some("443"));
    assert_eq!(seen.header("x-real-ip"), Some("203.0.113.7"));
    assert_eq!(gateway.log_of("/").await["client_ip"], "203.0.113.7");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_the_first_stranger_from_the_right() {
    let origin = Origin::start().await;
    let gateway = trusting(&origin).await;
    for (given, client) in [
        (&["203.0.113.7"][..], "203.0.113.7"),
        (&["198.51.100.1, 203.0.113.7, 10.1.1.1"], "203.0.113.7"),
        (&["198.51.100.1", "203.0.113.7, 10.1.1.1"], "203.0.113.7"),
        (&["203.0.113.7, rubbish, 10.0.0.1"], "10.0.0.1"),
        (&["rubbish"], "127.0.0.1"),
        (&["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        (&["2001:db8::1, 10.0.0.2"], "2001:db8::1"),
        (&[], "127.0.0.1"),
    ] {
        let request = given.iter().fold(Request::get("/"), |request, value| request.header("x-forwarded-for", *value));
        let seen = gateway.ask(request).await.seen();
        assert_eq!(seen.header("x-real-ip"), Some(client), "{given:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_signs_in_via_after_those_before_it() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    assert_eq!(gateway.get("/").await.seen().header("via"), Some("1.1 gatekeeper"));
    let seen = gateway.ask(Request::get("/").header("via", "1.0 fred")).await.seen();
    assert_eq!(seen.all("via").join(", "), "1.0 fred, 1.1 gatekeeper");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_rounds_are_allowed_and_the_sixth_is_a_loop() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    let after = |rounds: usize| Request::get("/").header("via", vec!["1.1 gatekeeper"; rounds].join(", "));
    assert_eq!(gateway.ask(after(5)).await.status, 200);
    let answer = gateway.ask(after(6)).await;
    assert_eq!((answer.status.as_u16(), answer.problem()["code"].as_str()), (508, Some("loop_detected")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_forwards_to_itself_says_so() {
    let gateway = Gateway::to(&Origin::start().await).await;
    gateway.reload(&everything_to(&format!("http://{}", gateway.address))).unwrap();
    assert_eq!(gateway.get("/").await.status, 508);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_carries_the_id_the_upstream_saw() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        let request = Request::get("/x")
            .header("x-request-id", "chosen-by-a-stranger")
            .header("answer-x-request-id", "upstream's");
        let answer = client.ask(request).await;
        let id = answer.header("x-request-id").unwrap();
        assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
        assert_eq!(answer.seen().header("x-request-id"), Some(id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_the_gateway_itself_carry_an_id_too() {
    let gateway = Gateway::start(
        "routes:\n  - { name: here, path_pattern: /here, methods: [GET], respond: { status: 200, body: here } }\n\
         \x20 - { name: there, path_pattern: /there, redirect: { to: /here } }\n",
    )
    .await;
    for path in ["/here", "/there", "/nowhere", "/health", "/ready"] {
        assert!(gateway.get(path).await.header("x-request-id").is_some(), "{path}");
    }
    assert!(gateway.ask(Request::post("/here")).await.header("x-request-id").is_some());
    let mut raw = gateway.raw().await;
    let malformed = raw.send("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n").await.response().await;
    assert!(malformed.header("x-request-id").is_some(), "{malformed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_may_choose_the_id_if_it_is_decent() {
    let origin = Origin::start().await;
    let gateway = trusting(&origin).await;
    let long = "x".repeat(128);
    for id in ["abc-1.2_3", &long] {
        let answer = gateway.ask(Request::get("/").header("x-request-id", id)).await;
        assert_eq!(answer.header("x-request-id"), Some(id));
        assert_eq!(answer.seen().header("x-request-id"), Some(id));
    }
    for id in ["", "a b", "a\"b", "a,b", &format!("{long}x")] {
        let answer = gateway.ask(Request::get("/").header("x-request-id", id)).await;
        assert_ne!(answer.header("x-request-id"), Some(id));
        assert_eq!(answer.header("x-request-id"), answer.seen().header("x-request-id"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_and_a_malformed_one_starts_anew() {
    let origin = Origin::start().await;
    let gateway = Gateway::to(&origin).await;
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let seen = gateway.ask(Request::get("/").header("traceparent", good).header("tracestate", "a=b")).await.seen();
    assert_eq!((seen.header("traceparent"), seen.header("tracestate")), (Some(good), Some("a=b")));

    for bad in [
        "rubbish",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        let seen = gateway.ask(Request::get("/").header("traceparent", bad).header("tracestate", "a=b")).await.seen();
        let trace = seen.header("traceparent").unwrap_or_else(|| panic!("no trace instead of {bad}"));
        let lengths: Vec<usize> = trace.split('-').map(str::len).collect();
        assert_eq!((lengths, trace == bad, seen.header("tracestate")), (vec![2, 32, 16, 2], false, None), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstreams_host_is_kept_or_the_targets_or_fixed() {
    let origin = Origin::start().await;
    let url = origin.url();
    let mut config = String::from("services:\n");
    for protocol in ["http1", "h2"] {
        config += &format!("  {protocol}: {{ targets: [\"{url}\"], protocol: {protocol} }}\n");
    }
    config += "routes:\n";
    for protocol in ["http1", "h2"] {
        for host in ["preserve", "target", "internal.example"] {
            config += &format!(
                "  - {{ name: {protocol}-{host}, path_pattern: /{protocol}/{host}, target_service: {protocol}, host: {host} }}\n"
            );
        }
    }
    let gateway = Gateway::start(&config).await;
    let target = origin.address().to_string();
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        for protocol in ["http1", "h2"] {
            for (host, expected) in [
                ("preserve", "Shop.Example:8080"),
                ("target", target.as_str()),
                ("internal.example", "internal.example"),
            ] {
                let request = Request::get(format!("/{protocol}/{host}")).header("host", "Shop.Example:8080");
                let seen = client.ask(request).await.seen();
                assert!(seen.host.eq_ignore_ascii_case(expected), "{protocol} {host}: {}", seen.host);
            }
        }
    }
}

/// What an upstream says of its own message, and what a client may hear of it (RFC 9110 and 9112).
#[tokio::test(flavor = "multi_thread")]
async fn what_an_upstream_says_of_its_message_is_said_anew() {
    let chunks = "2\r\nok\r\n0\r\n\r\n";
    let (length, coding) = ("content-length", "transfer-encoding");
    let cases = [
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(), length, 1),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok".into(), length, 1),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok".into(), length, 1),
        (
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
            coding,
            1,
        ),
        (format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n{chunks}"), coding, 1),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n".into(), length, 0),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n".into(), coding, 0),
        ("HTTP/1.1 200 OK\r\nTE: gzip\r\nContent-Length: 2\r\n\r\nok".into(), "te", 0),
        (format!("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"), "trailer", 0),
    ];
    for (said, name, times) in cases {
        let gateway = Gateway::to_url(&RawOrigin::answering_once(said.clone()).await.url()).await;
        let mut raw = gateway.raw().await;
        raw.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        let heard = String::from_utf8(raw.rest().await).unwrap();
        assert!(heard.starts_with("HTTP/1.1 20"), "{said}{heard}");
        let (head, _) = heard.split_once("\r\n\r\n").unwrap();
        let lines = head.lines().filter(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
        let lines: Vec<&str> = lines.collect();
        assert!(lines.len() == times && !lines.iter().any(|line| line.contains(',')), "{said}{heard}");
        let answer = gateway.h2c().await.ask(Request::get("/")).await;
        let times = if name == coding { 0 } else { times };
        assert_eq!(answer.headers.get_all(name).iter().count(), times, "{said}{:?}", answer.headers);
        assert_eq!(answer.text(), if said.contains(" 204 ") { "" } else { "ok" });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_hint_has_no_length_and_takes_no_date() {
    let said = "HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\nTE: x\r\nLink: </a>\r\n\r\n\
                HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\nok";
    let gateway = Gateway::to_url(&RawOrigin::answering(said).await.url()).await;
    let mut raw = gateway.raw().await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let hint = raw.response_head().await;
    assert_eq!((hint.status(), hint.header("link")), (103, Some("</a>")));
    assert_eq!((hint.header("content-length"), hint.header("te")), (None, None));
    let answer = raw.response().await;
    assert_eq!((answer.text(), answer.header("date")), ("ok", Some("Sun, 06 Nov 1994 08:49:37 GMT")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coding_that_nobody_can_take_off_is_no_answer() {
    let said = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let gateway = Gateway::to_url(&RawOrigin::answering(said).await.url()).await;
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        let answer = client.ask(Request::get("/")).await;
        assert_eq!(answer.problem()["status"], 502, "{:?}", answer.version);
    }
}

/// RFC 9110, 6.6.1: a response's date is its origin's. Until when it may be kept is counted from it.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_keeps_its_date() {
    let (date, expires) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:59:37 GMT");
    for padding in [1, 3000] {
        let said = format!(
            "HTTP/1.1 200 OK\r\nX-Padding: {}\r\nDate: {date}\r\nExpires: {expires}\r\nContent-Length: 2\r\n\r\nok",
            "x".repeat(padding)
        );
        let gateway = Gateway::to_url(&RawOrigin::answering(said).await.url()).await;
        let mut raw = gateway.raw().await;
        for (path, kept) in [("/a", true), ("/b", true), ("/health", false), ("/c", true)] {
            raw.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
            let heard = raw.response().await;
            let told = [heard.header("date"), heard.header("expires").filter(|_| kept)];
            assert_eq!(told == [Some(date), Some(expires)], kept, "{path}: {heard:?}");
        }
        // HTTP/2 tells the present, and what is counted from the date comes to the same.
        let answer = gateway.h2c().await.ask(Request::get("/")).await;
        let moment = |name: &str| {
            let text = answer.header(name).unwrap();
            jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).unwrap().as_second()
        };
        let (sent, age) = (784_111_777, answer.header("age").unwrap().parse::<i64>().unwrap());
        assert!((moment("date") - sent - age).abs() <= 2, "{:?}", answer.headers);
        assert!((moment("expires") - sent - 600 - age).abs() <= 2, "{:?}", answer.headers);
    }
}
