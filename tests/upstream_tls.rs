//! TLS towards upstreams: verified by default, with the right name, with a certificate of our own where it is asked for.

use rcgen::date_time_ymd;

use crate::support::tls::{Authority, Files};
use crate::support::{Gateway, Origin};

/// A service per name, `/NAME/*` each, at the same target with its own TLS settings.
fn services(url: &str, tls: &[(&str, String)]) -> String {
    let services = tls.iter().map(|(name, tls)| format!("  {name}: {{ targets: [\"{url}\"], {tls} }}\n"));
    let routes = tls
        .iter()
        .map(|(name, _)| format!("  - {{ name: {name}, path_pattern: /{name}/*, target_service: {name} }}\n"));
    format!("services:\n{}routes:\n{}", services.collect::<String>(), routes.collect::<String>())
}

const BOTH: &[&str] = &["h2", "http/1.1"];

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_is_verified_with_its_own_authority_and_asked_for_by_name() {
    let (authority, files) = (Authority::new(), Files::new());
    let origin = Origin::tls(authority.issue("upstream.test").acceptor(BOTH, None)).await;
    let tls = format!("tls: {{ ca: {}, server_name: upstream.test }}", files.write("ca.pem", &authority.pem()));
    let config = services(
        origin.url(),
        &[("auto", tls.clone()), ("http1", format!("{tls}, protocol: http1")), ("h2", format!("{tls}, protocol: h2"))],
    );
    let gateway = Gateway::start(&config).await;
    for (path, protocol, version) in
        [("/auto/", "h2", "HTTP/2.0"), ("/h2/", "h2", "HTTP/2.0"), ("/http1/", "http/1.1", "HTTP/1.1")]
    {
        let seen = gateway.get(path).await.seen();
        assert_eq!(seen.connection.server_name.as_deref(), Some("upstream.test"));
        assert_eq!((seen.connection.protocol.as_deref(), seen.version.as_str()), (Some(protocol), version), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_speaks_only_http1_is_understood() {
    let (authority, files) = (Authority::new(), Files::new());
    let origin = Origin::tls(authority.issue("upstream.test").acceptor(&[], None)).await;
    let tls = format!("tls: {{ ca: {}, server_name: upstream.test }}", files.write("ca.pem", &authority.pem()));
    let gateway = Gateway::start(&services(origin.url(), &[("auto", tls)])).await;
    assert_eq!(gateway.get("/auto/").await.seen().version, "HTTP/1.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_the_targets_address_is_enough() {
    let (authority, files) = (Authority::new(), Files::new());
    let origin = Origin::tls(authority.issue("127.0.0.1").acceptor(BOTH, None)).await;
    let tls = format!("tls: {{ ca: {} }}", files.write("ca.pem", &authority.pem()));
    let gateway = Gateway::start(&services(origin.url(), &[("app", tls)])).await;
    assert_eq!(gateway.get("/app/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_authority_or_a_wrong_name_is_a_502() {
    let (authority, files) = (Authority::new(), Files::new());
    let origin = Origin::tls(authority.issue("upstream.test").acceptor(BOTH, None)).await;
    let ours = files.write("ours.pem", &authority.pem());
    let other = files.write("other.pem", &Authority::new().pem());
    let config = services(
        origin.url(),
        &[
            ("unverified", "tls: { verify: false, server_name: upstream.test }".into()),
            ("known", format!("tls: {{ ca: {ours}, server_name: upstream.test }}")),
            ("unknown", format!("tls: {{ ca: {other}, server_name: upstream.test }}")),
            ("system", "tls: { server_name: upstream.test }".into()),
            ("misnamed", format!("tls: {{ ca: {ours}, server_name: elsewhere.test }}")),
        ],
    );
    let gateway = Gateway::start(&config).await;
    // Two rounds: a connection that one service may use must not serve another that does not trust it.
    for _ in 0..2 {
        for (path, status) in
            [("/unverified/", 200), ("/known/", 200), ("/unknown/", 502), ("/system/", 502), ("/misnamed/", 502)]
        {
            let answer = gateway.get(path).await;
            assert_eq!(answer.status, status, "{path} {answer:?}");
            if status == 502 {
                answer.problem();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_shown_where_it_is_configured() {
    let (authority, clients, files) = (Authority::new(), Authority::new(), Files::new());
    let origin = Origin::tls(authority.issue("upstream.test").acceptor(BOTH, Some(&clients))).await;
    let ours = clients.issue_with(&["gateway.test"], |params| params.not_after = date_time_ymd(2050, 1, 1));
    let known = format!("ca: {}, server_name: upstream.test", files.write("ca.pem", &authority.pem()));
    let shown = format!(
        "client_certificate: {}, client_key: {}",
        files.write("client.pem", &ours.certificate_pem()),
        files.write("client.key", &ours.key_pem())
    );
    let config = services(
        origin.url(),
        &[("with", format!("tls: {{ {known}, {shown} }}")), ("without", format!("tls: {{ {known} }}"))],
    );
    let gateway = Gateway::start(&config).await;
    for _ in 0..2 {
        assert!(gateway.get("/with/").await.seen().connection.client_certificate);
        assert_eq!(gateway.get("/without/").await.status, 502);
    }
    let name = "gatekeeper_client_certificate_expiry_timestamp_seconds{service=\"with\",certificate=\"";
    let metrics = gateway.metrics().await;
    let ends: Vec<_> = metrics.lines().filter_map(|line| line.strip_prefix(name)).collect();
    let end = date_time_ymd(2050, 1, 1).unix_timestamp();
    assert_eq!(ends.len(), 1, "{ends:?}");
    assert!(ends[0].ends_with(&format!("client.pem\"}} {end}")), "{ends:?}");
}
