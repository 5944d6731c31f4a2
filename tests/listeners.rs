//! Routes that answer on some listeners only, and how long connections last: when what a listener asks of its clients changes,
//! and when they are old.

use std::time::{Duration, Instant};

use tokio_rustls::TlsConnector;

use crate::support::gateway::everything_to;
use crate::support::tls::{Authority, Files};
use crate::support::{Answer, Client, Gateway, Origin, Raw, Request, eventually, soon};

const H1: &[&str] = &["http/1.1"];
const H2: &[&str] = &["h2"];

/// A listener for everyone and one for clients with a certificate, with a route of its own.
struct Scene {
    gateway: Gateway,
    origin: Origin,
    authority: Authority,
    clients: Authority,
    _files: Files,
}

impl Scene {
    async fn new() -> Scene {
        let (authority, clients, files) = (Authority::new(), Authority::new(), Files::new());
        let (pair, ca) = (files.pair("a", &authority.issue("a.test")), files.write("clients.pem", &clients.pem()));
        let origin = Origin::start().await;
        let config = format!(
            "listen:\n  - {{ address: \"127.0.0.1:0\", name: public, h2c: true }}\n\
             \x20 - {{ address: \"127.0.0.1:0\", name: partners, tls: {{ certificates: [{pair}], client_auth: {{ ca: {ca} }} }} }}\n\
             services: {{ app: {{ targets: [\"{url}\"] }}, inner: {{ targets: [\"{url}\"] }} }}\n\
             cors: {{ allow_origins: [\"https://app.test\"] }}\n\
             routes:\n  - {{ name: orders, path_pattern: /orders/*, methods: [POST], target_service: inner, listeners: [partners] }}\n\
             \x20 - {{ name: hello, path_pattern: /hello, target_service: app, listeners: [public, partners] }}\n\
             \x20 - {{ name: all, path_pattern: /all/*, methods: [GET], target_service: app }}\n\
             \x20 - {{ name: all-orders, path_pattern: /all/orders, target_service: inner, listeners: [partners] }}\n\
             tests:\n  - {{ request: POST /orders/1, listener: partners, expect: {{ route: orders }} }}\n\
             \x20 - {{ request: POST /orders/1, listener: public, expect: {{ status: 404 }} }}\n\
             \x20 - {{ request: POST /orders/1, expect: {{ status: 404 }} }}\n",
            url = origin.url()
        );
        let gateway = Gateway::start(&config).await;
        Scene { gateway, origin, authority, clients, _files: files }
    }

    async fn partner(&self, protocols: &[&str]) -> Client {
        let own = self.clients.issue("partner");
        let connector = self.authority.connector(protocols, Some(&own));
        Client::tls(self.gateway.listener(1), &connector, "a.test").await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_answers_on_its_listeners_alone() {
    let scene = Scene::new().await;
    let mut partners = [scene.partner(H1).await, scene.partner(H2).await];
    let public = scene.gateway.address;
    let mut strangers = [Client::h1(public).await, Client::h2c(public).await];
    let post = |path: &str| Request::post(path);
    for partner in &mut partners {
        assert_eq!(partner.ask(post("/orders/1")).await.status, 200);
        assert_eq!(partner.ask(Request::get("/hello")).await.status, 200);
        assert_eq!(partner.ask(post("/all/orders")).await.status, 200);
        let refused = partner.ask(Request::get("/orders/1")).await;
        assert_eq!((refused.status.as_u16(), refused.header("allow")), (405, Some("POST")));
    }
    let before = scene.origin.requests();
    for stranger in &mut strangers {
        // Neither a 405 nor a preflight tells that there is such a route.
        assert_eq!(stranger.ask(post("/orders/1")).await.status, 404);
        assert_eq!(stranger.ask(Request::get("/orders/1")).await.status, 404);
        let preflight = Request::options("/orders/1")
            .header("origin", "https://app.test")
            .header("access-control-request-method", "POST");
        assert_eq!(stranger.ask(preflight).await.status, 404);
        let refused = stranger.ask(post("/all/orders")).await;
        assert_eq!((refused.status.as_u16(), refused.header("allow")), (405, Some("GET, HEAD")));
    }
    assert_eq!(scene.origin.requests(), before);
    for stranger in &mut strangers {
        assert_eq!(stranger.ask(Request::get("/all/orders")).await.status, 200, "the next route is tried");
        assert_eq!(stranger.ask(Request::get("/hello")).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_knows_the_listener() {
    let scene = Scene::new().await;
    for more in [&[][..], &["--running"]] {
        let told = |listener: &[&str]| {
            let args = [&["POST", "/orders/1"], listener, more].concat();
            String::from_utf8(scene.gateway.command("explain", &args).stdout).unwrap()
        };
        let inside = told(&["--listener", "partners"]);
        assert!(
            inside.contains("listener    partners\n") && inside.contains("orders                   chosen\n"),
            "{inside}"
        );
        for public in [told(&["--listener", "public"]), told(&[])] {
            assert!(public.contains("listener    public\n") && public.contains("no match: listeners\n"), "{public}");
            assert!(public.contains("answers     404 no_route"), "{public}");
        }
    }
    let unknown = scene.gateway.command("explain", &["GET", "/", "--listener", "partner"]);
    assert_eq!(unknown.status.code(), Some(1));
    let said = String::from_utf8(unknown.stderr).unwrap();
    assert!(said.contains("there is no listener \"partner\"; did you mean \"partners\"?"), "{said}");
}

/// A connection, and whether it is still open.
async fn is_closed(client: &mut Client) -> bool {
    match client {
        Client::H1(sender) => sender.is_closed(),
        Client::H2(sender) => sender.is_closed(),
    }
}

async fn closes(what: &str, client: &mut Client) {
    eventually(what, async || is_closed(client).await.then_some(())).await;
}

/// One TLS listener, whose rule changes.
struct Changing {
    gateway: Gateway,
    url: String,
    pair: String,
    connector: [TlsConnector; 2],
    files: Files,
    _origin: Origin,
    authority: Authority,
}

impl Changing {
    async fn new(rule: impl Fn(&Files) -> String) -> Changing {
        let (authority, files, origin) = (Authority::new(), Files::new(), Origin::start().await);
        let pair = files.pair("a", &authority.issue("a.test"));
        let gateway = Gateway::start(&config(&pair, &rule(&files), origin.url())).await;
        let connector = [H1, H2].map(|protocols| authority.connector(protocols, None));
        Changing { gateway, url: origin.url().into(), pair, connector, files, _origin: origin, authority }
    }

    fn reload(&self, rule: &str) {
        self.gateway.reload(&config(&self.pair, rule, &self.url)).unwrap();
    }

    /// A client of HTTP/1 and one of HTTP/2, each having been served.
    async fn served(&self) -> Vec<Client> {
        let mut clients = Vec::new();
        for connector in &self.connector {
            let mut client = Client::tls(self.gateway.address, connector, "a.test").await.unwrap();
            assert_eq!(client.ask(Request::get("/x")).await.status, 200);
            clients.push(client);
        }
        clients
    }
}

fn config(pair: &str, rule: &str, url: &str) -> String {
    let tls = format!("tls: {{ certificates: [{pair}]{rule} }}");
    format!("listen: [{{ address: \"127.0.0.1:0\", {tls} }}]\n{}", everything_to(url))
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_end_when_the_rule_they_came_in_by_changes() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let optional = |files: &Files| {
        let ca = files.write("clients.pem", &ours.pem());
        format!(", client_auth: {{ ca: {ca}, required: false }}")
    };
    let scene = Changing::new(optional).await;
    let rule = optional(&scene.files);
    // A renewed certificate changes nothing for who is there.
    let mut kept = scene.served().await;
    scene.files.pair("a", &scene.authority.issue("a.test"));
    scene.reload(&rule);
    for client in &mut kept {
        assert_eq!(client.ask(Request::get("/x")).await.status, 200);
    }
    // Other authorities in the same file, then a certificate that is required.
    let ca = scene.files.write("clients.pem", &theirs.pem());
    scene.reload(&rule);
    for client in &mut kept {
        closes("an idle connection ends with its authorities", client).await;
    }
    let mut idle = scene.served().await;
    let mut busy = Vec::new();
    for mut client in scene.served().await {
        let request = async move {
            let answer: Answer = client.ask(Request::get("/slow/1500")).await;
            (client, answer)
        };
        busy.push(tokio::spawn(request));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    scene.reload(&format!(", client_auth: {{ ca: {ca} }}"));
    for client in &mut idle {
        closes("an idle connection ends when certificates become required", client).await;
    }
    for request in busy {
        let (mut client, answer) = request.await.unwrap();
        assert_eq!(answer.status, 200, "the request that was on its way is answered");
        closes("its connection ends after it", &mut client).await;
    }
    let connector = &scene.connector[0];
    let anew = match Client::tls(scene.gateway.address, connector, "a.test").await {
        Ok(mut client) => client.send(Request::get("/x")).await.is_ok(),
        Err(_) => false,
    };
    assert!(!anew, "without a certificate nobody comes in any more");
}

/// Who ignores GOAWAY is refused: nothing new is served under the old rule.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http2_that_stays_is_refused() {
    let scene = Changing::new(|_| String::new()).await;
    let stream = tokio::net::TcpStream::connect(scene.gateway.address).await.unwrap();
    let stream = scene.connector[1].connect("a.test".try_into().unwrap(), stream).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    write.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // :method GET, :scheme https, :path /, :authority a.test
    let head = b"\x82\x87\x84\x41\x06a.test";
    let request = |stream: u8| [&[0, 0, head.len() as u8, 1, 5, 0, 0, 0, stream], &head[..]].concat();
    write.write_all(&request(1)).await.unwrap();
    // The status of an answer by HPACK's static table, or as a literal.
    let mut seen = Vec::new();
    let mut piece = [0; 16384];
    let mut until = async |wanted: &[u8]| {
        let found = async {
            while !seen.windows(wanted.len()).any(|window| window == wanted) {
                let read = read.read(&mut piece).await.unwrap();
                assert!(read > 0, "it ended");
                seen.extend_from_slice(&piece[..read]);
            }
            seen.clear();
        };
        soon("an answer", found).await;
    };
    until(b"\x00\x00\x00\x01\x88").await;
    let ca = scene.files.write("clients.pem", &Authority::new().pem());
    scene.reload(&format!(", client_auth: {{ ca: {ca} }}"));
    // PING is not answered, so that the connection does not end.
    write.write_all(&request(3)).await.unwrap();
    until(b"connection_outdated").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_in_the_clear_ends_when_its_listener_asks_for_tls() {
    let (authority, files, origin) = (Authority::new(), Files::new(), Origin::start().await);
    let pair = files.pair("a", &authority.issue("a.test"));
    let config =
        |more: &str| format!("listen: [{{ address: \"127.0.0.1:0\"{more} }}]\n{}", everything_to(origin.url()));
    let gateway = Gateway::start(&config(", h2c: true")).await;
    let mut clients = [Client::h1(gateway.address).await, Client::h2c(gateway.address).await];
    for client in &mut clients {
        assert_eq!(client.ask(Request::get("/x")).await.status, 200);
    }
    // A name is nothing that clients are asked for.
    gateway.reload(&config(", h2c: true, name: front")).unwrap();
    for client in &mut clients {
        assert_eq!(client.ask(Request::get("/x")).await.status, 200);
    }
    gateway.reload(&config(&format!(", tls: {{ certificates: [{pair}] }}"))).unwrap();
    for client in &mut clients {
        closes("it ends", client).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_end_at_an_age() {
    let (origin, began) = (Origin::start().await, Instant::now());
    let listen = "limits: { connection_max_age: 2s }\nlisten: [{ address: \"127.0.0.1:0\", h2c: true }]\n";
    let gateway = Gateway::start(&format!("{listen}{}", everything_to(origin.url()))).await;
    let started = Instant::now();
    let mut idle = [Client::h1(gateway.address).await, Client::h2c(gateway.address).await];
    let mut busy = Vec::new();
    for mut client in [Client::h1(gateway.address).await, Client::h2c(gateway.address).await] {
        busy.push(tokio::spawn(async move {
            let answer = client.ask(Request::get("/slow/3000")).await;
            (client, answer)
        }));
    }
    // Requests do not make a connection younger, and none of them is lost.
    for client in &mut idle {
        let mut served = 0;
        while started.elapsed() < Duration::from_millis(1600) {
            assert_eq!(client.ask(Request::get("/x")).await.status, 200);
            served += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(served > 0 || matches!(client, Client::H2(_)));
    }
    for client in &mut idle {
        closes("it is old", client).await;
    }
    let ended = started.elapsed();
    assert!(ended >= Duration::from_millis(1800) && began.elapsed() < Duration::from_secs(20), "{ended:?}");
    for request in busy {
        let (mut client, answer) = request.await.unwrap();
        assert_eq!(answer.status, 200, "the request on its way finishes");
        closes("its connection ends after it", &mut client).await;
    }
    // The last request of an old connection of HTTP/1 is told so.
    let mut raw = Raw::connect(gateway.address).await;
    raw.send("GET /slow/2200 HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    assert_eq!(raw.response().await.status(), 200);
    raw.send("GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    let last = raw.response().await;
    assert_eq!((last.status(), last.header("connection")), (200, Some("close")));
    assert!(raw.rest().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_what_can_be_reached_without_a_certificate() {
    let (authority, files) = (Authority::new(), Files::new());
    let (pair, ca) = (files.pair("a", &authority.issue("a.test")), files.write("clients.pem", &authority.pem()));
    let checked = |routes: &str, more: &str| {
        let mutual = format!("tls: {{ certificates: [{pair}], client_auth: {{ ca: {ca} }} }}");
        let config = format!(
            "version: 1\nlisten:\n  - {{ address: \"127.0.0.1:8000\"{more} }}\n\
             \x20 - {{ address: \"127.0.0.1:8443\", name: partners, {mutual} }}\n\
             auth: {{ certificates: {{ subjects: [{{ subject: \"*\" }}] }}, jwt: [{{ algorithms: [HS256], secret: a-secret-that-is-at-least-as-long-as-the-hash }}] }}\n\
             services: {{ app: {{ targets: [\"http://127.0.0.1:1\"] }} }}\nroutes: [{routes}]\n"
        );
        let file = files.write("gatekeeper.yaml", &config);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_gatekeeper")).args(["check", "-c", &file]).output();
        String::from_utf8(output.unwrap().stderr).unwrap()
    };
    let everywhere = "{ name: app, path_pattern: /*, target_service: app }";
    let told = checked(everywhere, "");
    assert!(told.contains("(listen[1]).tls.client_auth: no route is limited to this listener"), "{told}");
    assert_eq!(checked(everywhere, ", redirect_https: 8443"), "", "what only redirects serves nothing");
    let certified = "{ name: app, path_pattern: /*, target_service: app, auth: [certificate], listeners: [partners] }";
    assert_eq!(checked(certified, ""), "");
    let told =
        checked(&format!("{certified}, {{ name: b, path_pattern: /b, target_service: app, auth: [certificate] }}"), "");
    assert!(
        told.contains("(routes[1]).auth: takes certificates, but answers on 127.0.0.1:8000, which asks for none"),
        "{told}"
    );
    let open = format!("{certified}, {{ name: b, path_pattern: /b, target_service: app, is_public: true }}");
    let told = checked(&open, "");
    assert!(
        told.contains("(routes[1]): lets everyone on 127.0.0.1:8000 reach the service \"app\", which \"app\" keeps"),
        "{told}"
    );
    let asked = format!("{certified}, {{ name: b, path_pattern: /b, target_service: app, auth: [jwt] }}");
    assert_eq!(checked(&asked, ""), "");
    let told =
        checked("{ name: app, path_pattern: /*, target_service: app, listeners: [partner, \"127.0.0.1:8000\"] }", "");
    assert!(
        told.contains("(routes[0]).listeners[0]: there is no listener \"partner\"; did you mean \"partners\"?"),
        "{told}"
    );
}
