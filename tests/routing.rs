//! Which request goes where, and with which path.

use std::collections::BTreeMap;

use crate::support::{Answer, Client, Gateway, Origin, Request};

/// A gateway with these routes, one per line, which all go to one upstream.
async fn routing(routes: &str) -> Gateway {
    let origin = Origin::start().await;
    let url = origin.url();
    let lines = routes.lines().filter(|line| !line.trim().is_empty());
    let routes: String = lines.map(|line| format!("  - {{ {}, target_service: app }}\n", line.trim())).collect();
    Gateway::start(&format!("services:\n  app: {{ targets: [\"{url}\"] }}\nroutes:\n{routes}")).await
}

/// The path at which the upstream saw a request.
async fn path_of(gateway: &Gateway, target: &str) -> String {
    gateway.get(target).await.seen().target
}

/// The route a request took: here each rewrites the path to its own name.
fn route_of(answer: &Answer) -> String {
    match answer.status.as_u16() {
        200 => answer.seen().target.trim_start_matches('/').to_owned(),
        status => status.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_exact_or_wildcards_and_the_closest_wins() {
    let gateway = routing(
        r"name: any, path_pattern: /*, rewrite: /any
          name: exact, path_pattern: /*, hosts: [api.example.org], rewrite: /exact
          name: wide, path_pattern: /*, hosts: ['*.example.org'], rewrite: /wide
          name: longer, path_pattern: /*, hosts: ['*.eu.example.org'], rewrite: /longer",
    )
    .await;
    for mut client in [gateway.h1().await, gateway.h2c().await] {
        for (host, route) in [
            ("api.example.org", "exact"),
            ("API.Example.ORG", "exact"),
            ("api.example.org:8443", "exact"),
            ("api.example.org.", "exact"),
            ("www.example.org", "wide"),
            ("a.b.example.org", "wide"),
            ("x.eu.example.org", "longer"),
            ("example.org", "any"),
            ("notexample.org", "any"),
            ("api.example.org.evil.test", "any"),
        ] {
            let answer = client.ask(Request::get("/").header("host", host)).await;
            assert_eq!(route_of(&answer), route, "{host}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_matches_whole_segments() {
    let gateway = routing(
        r"name: exact, path_pattern: /a, rewrite: /exact
          name: prefix, path_pattern: /p/*, rewrite: /prefix
          name: middle, path_pattern: /api/*/users, rewrite: /middle
          name: capture, path_pattern: '/users/{id}', rewrite: '/capture-{id}'
          name: me, path_pattern: /users/me, rewrite: /me
          name: deeper, path_pattern: /p/q/*, rewrite: /deeper",
    )
    .await;
    for (path, route) in [
        ("/a", "exact"),
        ("/a/", "404"),
        ("/A", "404"),
        ("/p", "prefix"),
        ("/p/", "prefix"),
        ("/p/x/y", "prefix"),
        ("/px", "404"),
        ("/p/q", "deeper"),
        ("/p/q/r", "deeper"),
        ("/api/v1/users", "middle"),
        ("/api/v1/v2/users", "404"),
        ("/users/7", "capture-7"),
        ("/users/me", "me"),
        ("/users/7/x", "404"),
        ("/a?b=/p", "exact"),
    ] {
        assert_eq!(route_of(&gateway.get(path).await).split('?').next(), Some(route), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_headers_and_queries_choose_among_routes_of_one_path() {
    let gateway = routing(
        r"name: plain, path_pattern: /x, methods: [GET], rewrite: /plain
          name: write, path_pattern: /x, methods: [POST, PUT], rewrite: /write
          name: v2, path_pattern: /x, methods: [GET], headers: { Accept: application/vnd.v2+json }, rewrite: /v2
          name: beta, path_pattern: /x, methods: [GET], headers: { X-Beta: { present: true } }, query: { q: { prefix: ab } }, rewrite: /beta
          name: regex, path_pattern: /x, methods: [GET], query: { n: { regex: '[0-9]+' } }, rewrite: /regex
          name: oneof, path_pattern: /y, headers: { X-Color: { one_of: [red, blue] } }, rewrite: /oneof
          name: without, path_pattern: /y, headers: { X-Color: { present: false } }, rewrite: /without
          name: contains, path_pattern: /y, headers: { X-Color: { contains: een } }, rewrite: /contains",
    )
    .await;
    let ask = async |method: &str, target: &str, headers: &[(&str, &str)]| {
        let request = Request::builder().method(method).uri(target);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        route_of(&gateway.ask(request).await).split('?').next().unwrap().to_owned()
    };
    assert_eq!(ask("GET", "/x", &[]).await, "plain");
    assert_eq!(ask("PUT", "/x", &[]).await, "write");
    assert_eq!(ask("DELETE", "/x", &[]).await, "405");
    assert_eq!(ask("GET", "/x", &[("accept", "application/vnd.v2+json")]).await, "v2");
    assert_eq!(ask("GET", "/x?q=abc", &[("x-beta", "anything")]).await, "beta");
    assert_eq!(ask("GET", "/x?q=abc", &[]).await, "plain");
    assert_eq!(ask("GET", "/x?n=123", &[]).await, "regex");
    assert_eq!(ask("GET", "/x?n=123a", &[]).await, "plain");
    assert_eq!(ask("GET", "/y", &[("x-color", "blue")]).await, "oneof");
    assert_eq!(ask("GET", "/y", &[("x-color", "green")]).await, "contains");
    assert_eq!(ask("GET", "/y", &[]).await, "without");
    assert_eq!(ask("GET", "/y", &[("x-color", "black")]).await, "404");
}

#[tokio::test(flavor = "multi_thread")]
async fn priority_comes_first_and_an_inactive_route_does_not_exist() {
    let gateway = routing(
        r"name: close, path_pattern: /a/b, rewrite: /close
          name: first, path_pattern: /a/*, priority: 10, rewrite: /first
          name: off, path_pattern: /a/*, priority: 99, is_active: false, rewrite: /off",
    )
    .await;
    assert_eq!(route_of(&gateway.get("/a/b").await), "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_sees_the_path_that_was_routed() {
    let gateway = routing("name: all, path_pattern: /*").await;
    for (sent, seen) in [
        ("/", "/"),
        ("/a/./b/../c", "/a/c"),
        ("/a/%2e%2E/b", "/b"),
        ("/a//b///c", "/a/b/c"),
        ("/%61%7e%2d", "/a~-"),
        ("/a%2fb%5c%3b", "/a%2Fb%5C%3B"),
        ("/a;b,c=d@e:f!$&'()*+", "/a;b,c=d@e:f!$&'()*+"),
        ("/%C3%A4", "/%C3%A4"),
        ("/a/..", "/"),
        ("/a?b=%2e%2e/../c//d&e=%zz", "/a?b=%2e%2e/../c//d&e=%zz"),
        ("/a?", "/a?"),
    ] {
        let mut raw = gateway.raw().await;
        raw.send(format!("GET {sent} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let response = raw.response().await;
        let reflected: crate::support::Seen =
            serde_json::from_slice(&response.body).unwrap_or_else(|_| panic!("{sent}: {response:?}"));
        assert_eq!(reflected.target, seen, "{sent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoded_slash_is_no_slash() {
    let gateway = routing(
        r"name: foo, path_pattern: /foo/*
          name: strict, path_pattern: /strict/*, encoded_reserved: reject
          name: id, path_pattern: '/id/{id}', rewrite: '/got/{id}/end'",
    )
    .await;
    assert_eq!(gateway.get("/foo%2Fbar").await.status, 404);
    assert_eq!(path_of(&gateway, "/foo/a%2Fb").await, "/foo/a%2Fb");
    assert_eq!(path_of(&gateway, "/id/a%2Fb").await, "/got/a%2Fb/end");
    for encoded in ["%2F", "%5C", "%3B", "%25", "%3F", "%23"] {
        assert_eq!(gateway.get(&format!("/strict/a{encoded}b")).await.problem()["status"], 400, "{encoded}");
        assert_eq!(gateway.get(&format!("/foo/a{encoded}b")).await.status, 200, "{encoded}");
    }
    assert_eq!(gateway.get("/strict/a").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_hide_no_dot_segment() {
    let gateway = routing(
        r"name: public, path_pattern: /public/*
          name: admin, path_pattern: /admin/*
          name: strict, path_pattern: /strict/*, encoded_reserved: reject
          name: stripped, path_pattern: /api/*, strip_prefix: /api
          name: captured, path_pattern: '/users/{id}', rewrite: '/got/{id}/end'
          name: rest, path_pattern: /files/*, rewrite: '/store/{*}/end'",
    )
    .await;
    let refused = [
        ("/public/..;/admin/x", "path_dot_parameter"),
        ("/public/..;a=b/admin/x", "path_dot_parameter"),
        ("/public/x/%2e%2E;/y", "path_dot_parameter"),
        ("/public/.%2e;", "path_dot_parameter"),
        ("/public/.;x/y", "path_dot_parameter"),
        ("/public/a/../..;/b", "path_dot_parameter"),
        ("/api/..;/admin", "path_dot_parameter"),
        ("/users/..;", "path_dot_parameter"),
        ("/users/..;id", "path_dot_parameter"),
        ("/public/;x/y", "path_nameless_parameter"),
        ("/;x/admin/y", "path_nameless_parameter"),
        ("/files/;x", "path_rewritten"),
        ("/strict/a;b", "path_encoded_reserved"),
        ("/strict/..%3B/x", "path_encoded_reserved"),
    ];
    for (path, code) in refused {
        for mut client in [gateway.h1().await, gateway.h2c().await] {
            let problem = client.ask(Request::get(path)).await.problem();
            assert_eq!((&problem["status"], &problem["code"]), (&400.into(), &code.into()), "{path}");
        }
    }
    for kept in ["/public/a;b=c/d", "/public/...;x", "/public/..x;/y", "/public/..%3B/x", "/public/;sid=1"] {
        assert_eq!(path_of(&gateway, kept).await, kept);
    }
    assert_eq!(path_of(&gateway, "/users/7;v=1").await, "/got/7;v=1/end");
    assert_eq!(gateway.get("/users/;x").await.status, 404, "nothing is captured");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_is_stripped_by_whole_segments() {
    let gateway = routing("name: all, path_pattern: /api/v1/*, strip_prefix: /api/v1").await;
    assert_eq!(path_of(&gateway, "/api/v1/users?x=y").await, "/users?x=y");
    assert_eq!(path_of(&gateway, "/api/v1/").await, "/");
    assert_eq!(path_of(&gateway, "/api/v1").await, "/");
    assert_eq!(path_of(&gateway, "/api/v1/a%2Fb/").await, "/a%2Fb/");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_fills_in_captures() {
    let gateway = routing(
        r"name: named, path_pattern: '/users/{id}/posts/{post}', rewrite: '/p/{post}/of/{id}'
          name: rest, path_pattern: /files/*, rewrite: '/store/{*}'",
    )
    .await;
    assert_eq!(path_of(&gateway, "/users/7/posts/9?a=b").await, "/p/9/of/7?a=b");
    assert_eq!(path_of(&gateway, "/files/a/b%20c").await, "/store/a/b%20c");
    assert_eq!(path_of(&gateway, "/files").await.trim_end_matches('/'), "/store");
}

/// A gateway whose requests are split over services of these weights, each named by its letter.
async fn splitting(weights: &[(&str, u32)], sticky: &str) -> Gateway {
    let (mut services, mut shares) = (String::new(), String::new());
    for (name, weight) in weights {
        let origin = Origin::named(name).await;
        services += &format!("  {name}: {{ targets: [\"{}\"] }}\n", origin.url());
        shares += &format!("{{ service: {name}, weight: {weight} }}, ");
    }
    Gateway::start(&format!(
        "trusted_proxies: [127.0.0.1/32]\nservices:\n{services}routes:\n\
         \x20 - {{ name: all, path_pattern: /*, split: {{ services: [{shares}]{sticky} }} }}\n"
    ))
    .await
}

async fn service_of(client: &mut Client, request: http::request::Builder) -> String {
    client.ask(request).await.seen().connection.origin
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_gives_each_service_its_share() {
    let gateway = splitting(&[("a", 90), ("b", 10), ("c", 0)], "").await;
    let mut client = gateway.h1().await;
    let mut counts = BTreeMap::new();
    for _ in 0..1000 {
        *counts.entry(service_of(&mut client, Request::get("/")).await).or_insert(0) += 1;
    }
    // Six standard deviations of a fair choice: 57 of 1000.
    assert!((43..=157).contains(&counts["b"]), "{counts:?}");
    assert_eq!(counts.get("c"), None, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sticky_client_stays_and_the_shares_still_hold() {
    for (sticky_by, name, value) in [
        ("ip", "x-forwarded-for", "198.51.100."),
        ("header:X-Tenant", "x-tenant", "t"),
        ("cookie:sid", "cookie", "a=b; sid="),
    ] {
        let gateway = splitting(&[("a", 50), ("b", 50)], &format!(", sticky_by: \"{sticky_by}\"")).await;
        let mut client = gateway.h1().await;
        let mut at_a = 0;
        for index in 0..200 {
            let request = || Request::get("/").header(name, format!("{value}{index}"));
            let first = service_of(&mut client, request()).await;
            for _ in 0..3 {
                assert_eq!(service_of(&mut client, request()).await, first, "{sticky_by} {index}");
            }
            at_a += usize::from(first == "a");
        }
        assert!((58..=142).contains(&at_a), "{sticky_by}: {at_a} of 200");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_stays_wherever_it_comes_from() {
    let (mut services, mut shares) = (String::new(), String::new());
    for name in ["a", "b"] {
        let origin = Origin::named(name).await;
        services += &format!("  {name}: {{ targets: [\"{}\"] }}\n", origin.url());
        shares += &format!("{{ service: {name}, weight: 1 }}, ");
    }
    let gateway = Gateway::start(&format!(
        "trusted_proxies: [127.0.0.1]\nauth: {{ jwt: [{{ algorithms: [HS256], secret: a-secret-as-long-as-the-hash-of-it }}] }}\n\
         services:\n{services}routes:\n\
         \x20 - {{ name: all, path_pattern: /*, split: {{ services: [{shares}], sticky_by: user }} }}\n"
    ))
    .await;
    let mut client = gateway.h1().await;
    let mut seen = BTreeMap::new();
    for user in 0..24 {
        let token = gateway.command("jwt", &["--sub", &format!("user{user}")]);
        let token = format!("Bearer {}", String::from_utf8(token.stdout).unwrap().trim());
        let from = |address: u32| {
            Request::get("/").header("authorization", &token).header("x-forwarded-for", format!("192.0.2.{address}"))
        };
        let first = service_of(&mut client, from(0)).await;
        for address in 1..5 {
            assert_eq!(service_of(&mut client, from(address)).await, first, "user {user} from {address}");
        }
        *seen.entry(first).or_insert(0) += 1;
    }
    // By the address they would all be at one.
    assert_eq!(seen.len(), 2, "{seen:?}");
}
