//! The command line as people and scripts meet it: what each command prints, where, and with which exit code.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::tls::Authority;
use crate::support::{Gateway, eventually};

const GATEKEEPER: &str = env!("CARGO_BIN_EXE_gatekeeper");

/// A folder to call the program in.
struct Place(TempDir);

/// What came of a call.
struct Call {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Place {
    fn new(config: &str) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        place.write("gatekeeper.yaml", config);
        place
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(GATEKEEPER);
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        command.env_remove("GATEKEEPER_CONFIG").env_remove("STATE_DIRECTORY").env("XDG_RUNTIME_DIR", self.0.path());
        command
    }

    fn call(&self, args: &[&str]) -> Call {
        self.command(args).output().unwrap().into()
    }
}

impl From<Output> for Call {
    /// Whatever is printed has no colours here, and no backtrace.
    fn from(output: Output) -> Call {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let call = Call { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
        for printed in [&call.out, &call.err] {
            assert!(
                !printed.contains('\x1b') && !printed.contains("panicked") && !printed.contains("backtrace"),
                "{printed}"
            );
        }
        call
    }
}

impl Call {
    /// It worked; what it printed.
    fn good(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }

    fn json(self) -> Value {
        serde_json::from_str(&self.good()).unwrap()
    }

    /// It failed with this code and one sentence; the sentence.
    fn sentence(self, code: i32) -> String {
        assert_eq!((self.code, self.out.as_str(), self.err.lines().count()), (Some(code), "", 1), "{}", self.err);
        self.err.trim_end().to_owned()
    }
}

/// A running program, stopped with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

const GOOD: &str = "version: 1
services:
  content: { targets: [http://127.0.0.1:3001, { url: http://127.0.0.1:3002, weight: 2 }] }
  next: { targets: [http://127.0.0.1:3003] }
routes:
  - { name: content, path_pattern: /content/*, target_service: content, strip_prefix: /content }
  - { name: news, path_pattern: /content/news/*, methods: [POST], target_service: next }
  - { name: beta, path_pattern: /content/*, headers: { X-Beta: \"1\" }, target_service: next, host: next.internal }
  - { name: shop, path_pattern: /shop, split: { services: [{ service: content, weight: 9 }, { service: next }] } }
  - { name: old, hosts: [\"*.example.org\"], path_pattern: /old/*, redirect: { to: \"/content{*}{query}\" } }
  - { name: off, path_pattern: /off, respond: { status: 204 }, is_active: false }
tests:
  - { request: GET /content/1, expect: { route: content } }
";

const BAD: &str = "version: 1
trusted_proxies: [nowhere]
services: { contents: { targets: [\"ftp://x\"] } }
routes:
  - { name: a, path_pattern: a, target_service: content, metods: [GET] }
  - { name: b, path_pattern: /b, respond: { status: 99 }, hosts: [\"a:1\"] }
";

const PLACES: [&str; 7] = [
    "gatekeeper.yaml:2: trusted_proxies[0]: found \"nowhere\", allowed: ",
    "gatekeeper.yaml:3: service \"contents\".targets[0]: found \"ftp://x\" (not an http or https URL), allowed: ",
    "gatekeeper.yaml:5: route \"a\" (routes[0]).metods: unknown key; did you mean \"methods\"?",
    "gatekeeper.yaml:5: route \"a\" (routes[0]).path_pattern: ",
    "gatekeeper.yaml:5: route \"a\" (routes[0]).target_service: there is no service \"content\"; did you mean \"contents\"?",
    "gatekeeper.yaml:6: route \"b\" (routes[1]).hosts[0]: ",
    "gatekeeper.yaml:6: route \"b\" (routes[1]).respond.status: found 99, allowed: 200 to 599",
];

#[test]
fn check_tells_of_a_good_file_and_of_every_fault_of_a_bad_one() {
    let good = Place::new(GOOD);
    let told = "gatekeeper.yaml is valid: 5 routes, 2 services, 1 test passed, 0 warnings\n";
    for args in [&["check"][..], &["-t"], &["check", "-c", "gatekeeper.yaml"], &["-c", "gatekeeper.yaml", "-t"]] {
        assert_eq!(good.call(args).good(), told);
    }
    assert_eq!(good.call(&["check", "-q"]).good(), "");
    assert_eq!(
        good.call(&["check", "--json"]).json(),
        serde_json::json!({"faults": [], "lints": [], "routes": 5, "services": 2, "tests": 1})
    );

    let bad = Place::new(BAD);
    for args in [&["check"][..], &["-t"], &["check", "-q"], &["run"], &["explain", "GET", "/"], &["routes", "list"]] {
        let call = bad.call(args);
        let lines: Vec<_> = call.err.lines().collect();
        assert_eq!((call.code, call.out.as_str(), lines.len()), (Some(1), "", PLACES.len()), "{args:?} {lines:?}");
        for (line, place) in lines.iter().zip(PLACES) {
            assert!(line.starts_with(place), "{line}");
        }
    }
    let call = bad.call(&["check", "--json"]);
    let faults = serde_json::from_str::<Value>(&call.out).unwrap();
    assert_eq!((call.code, faults["faults"].as_array().unwrap().len()), (Some(1), PLACES.len()));
    let place = serde_json::json!({"place": "gatekeeper.yaml: routes[0].metods", "file": "gatekeeper.yaml", "line": 5,
        "path": "routes[0].metods", "name": "a", "found": "unknown key", "allowed": "", "hint": "did you mean \"methods\"?"});
    assert_eq!(faults["faults"][2], place);
}

#[test]
fn check_warns_of_what_can_hardly_be_meant() {
    let place = Place::new(&format!(
        "{GOOD}paths: {{ merge_slashes: true }}\n").replace("  next: {", "  unused: { targets: [\"https://127.0.0.1\"], tls: { verify: false } }\n  next: {").replace(
        "  - { name: off,",
        "  - { name: never, path_pattern: /content/a, respond: { status: 200 }, priority: -1 }\n  - { name: health, path_pattern: /health, target_service: next }\n  - { name: off,",
    ));
    let call = place.call(&["check"]);
    assert_eq!(call.code, Some(0));
    assert!(call.out.ends_with("4 warnings\n"), "{}", call.out);
    let warnings = [
        "4: warning: service \"unused\": no route uses this service",
        "4: warning: service \"unused\".tls.verify: anyone on the way can pose as this service",
        "12: warning: route \"never\" (routes[5]): never matches: \"content\" matches all of its requests first",
        "13: warning: route \"health\" (routes[6]).path_pattern: \"/health\" is answered by the gateway itself",
    ];
    for (line, warning) in call.err.lines().zip(warnings) {
        assert!(line.starts_with(&format!("gatekeeper.yaml:{warning}")), "{line}");
    }
    assert_eq!(place.call(&["check", "--json"]).json()["lints"].as_array().unwrap().len(), warnings.len());
}

#[test]
fn a_private_key_needs_an_algorithm_that_somebody_names() {
    let key = rcgen::KeyPair::generate().unwrap();
    let issuer = |algorithms: &str| {
        format!("version: 1\nauth: {{ jwt: [{{ issuer: \"https://a.test\"{algorithms} }}] }}\nroutes: []\n")
    };
    let (silent, named) = (Place::new(&issuer("")), Place::new(&issuer(", algorithms: [ES256]")));
    for place in [&silent, &named] {
        place.write("key.pem", &key.serialize_pem());
    }
    let call = silent.call(&["jwt", "--private-key", "key.pem"]);
    assert_eq!(call.code, Some(2));
    assert!(call.err.contains("the one of the private key with --algorithm"), "{}", call.err);
    let tokens = [
        silent.call(&["jwt", "--private-key", "key.pem", "--algorithm", "ES256"]).good(),
        named.call(&["jwt", "--private-key", "key.pem"]).good(),
    ];
    assert!(tokens.iter().all(|token| token.split('.').count() == 3), "{tokens:?}");
    let help = silent.call(&["jwt", "--help"]).good();
    let words: Vec<_> = help.split_whitespace().collect();
    assert!(words.join(" ").contains("needed with --private-key if the issuer lists none"), "{help}");
}

#[test]
fn a_claim_of_a_token_is_given_once() {
    let place =
        Place::new("version: 1\nauth: { jwt: [{ secret: a-secret-of-more-than-thirty-two-bytes }] }\nroutes: []\n");
    let call = place.call(&["jwt", "--role", "admin", "--claims", r#"{"roles": ["user"]}"#]);
    assert_eq!(call.code, Some(2));
    assert!(
        call.err.contains("the claim \"roles\" is given by --role and by --claims: use one of them"),
        "{}",
        call.err
    );
    let call = place.call(&["jwt", "--scope", "read", "--claims", r#"{"scope": "write"}"#]);
    assert_eq!(call.code, Some(2));
    let token = place.call(&["jwt", "--role", "admin", "--claims", r#"{"team": "a"}"#]).good();
    assert_eq!(token.trim().split('.').count(), 3);
}

#[test]
fn options_of_all_commands_have_a_heading_of_their_own() {
    let help = Place::new("version: 1\n").call(&["jwt", "--help"]).good();
    let (own, global) = help.split_once("Global options:").unwrap();
    assert!(own.contains("--private-key") && !own.contains("--no-color"), "{help}");
    assert!(global.contains("--no-color") && global.contains("--config"), "{help}");
}

#[test]
fn check_warns_of_parameters_that_a_service_may_cut() {
    let place = Place::new(
        "version: 1
auth: { jwt: [{ secret: a-secret-of-more-than-thirty-two-bytes }] }
services:
  app: { targets: [\"http://127.0.0.1:3001\"] }
  other: { targets: [\"http://127.0.0.1:3002\"] }
routes:
  - { name: admin, path_pattern: /admin/*, target_service: app }
  - { name: public, path_pattern: /public/*, target_service: app, is_public: true }
  - { name: strict, path_pattern: /strict/*, target_service: app, is_public: true, encoded_reserved: reject }
  - { name: exact, path_pattern: /about, target_service: app, is_public: true }
  - { name: other, path_pattern: /other/*, target_service: other, is_public: true }
",
    );
    let call = place.call(&["check"]);
    assert_eq!(call.code, Some(0), "{}", call.err);
    let text = "gatekeeper.yaml:8: warning: route \"public\" (routes[1]).encoded_reserved: the route is public and keeps `;` beside \"admin\", \
                which is protected and of the same service";
    assert!(call.err.starts_with(text) && call.err.lines().count() == 1, "{}", call.err);
}

#[test]
fn check_warns_of_names_that_services_never_see() {
    let route =
        "  - { name: tenant, path_pattern: /t, target_service: next, headers: { X_Tenant: a } }\n  - { name: off,";
    let call = Place::new(&GOOD.replace("  - { name: off,", route)).call(&["check"]);
    let text = "gatekeeper.yaml:11: warning: route \"tenant\" (routes[5]).headers.X_Tenant: X_Tenant is deleted on its way to the service";
    assert!(call.err.starts_with(text) && call.err.lines().count() == 1, "{}", call.err);
}

#[test]
fn check_warns_of_addresses_that_are_our_own() {
    let place = Place::new(
        "version: 1
listen:
  - { address: \"0.0.0.0:8080\" }
  - { address: \"unix:/run/front.sock\" }
admin: { address: \"127.0.0.1:8081\" }
auth:
  forward: { url: \"http://localhost:8080/check\" }
  introspection: { url: \"http://127.0.0.1:8081/token\" }
services:
  app: { targets: [\"http://127.0.0.1:3001\", \"http://127.0.0.1:8080\", \"unix:/run/front.sock\"] }
routes:
  - { name: app, path_pattern: /*, target_service: app }
  - { name: url, path_pattern: /url, target_url: \"http://[::1]:8080\" }
  - { name: other, path_pattern: /other, target_url: \"http://127.0.0.1:8082\" }
",
    );
    let call = place.call(&["check"]);
    assert_eq!(call.code, Some(0), "{}", call.err);
    let places = [
        "10: warning: service \"app\".targets[1]",
        "10: warning: service \"app\".targets[2]",
        "7: warning: auth.forward.url",
        "8: warning: auth.introspection.url",
    ];
    let mut lines: Vec<_> = call.err.lines().collect();
    for place in places {
        let text = format!("gatekeeper.yaml:{place}: this is one of the gateway's own listeners");
        let found = lines.iter().position(|line| line.starts_with(&text));
        lines.remove(found.unwrap_or_else(|| panic!("no {text} in {}", call.err)));
    }
    assert_eq!(lines, Vec::<&str>::new());
}

#[test]
fn explain_tells_the_whole_way() {
    let place = Place::new(GOOD);
    let told = place.call(&["explain", "GET", "http://A.Example.org:80/x/..//content/%7euser?q=1"]).good();
    let wanted = "path        /content/~user
host        a.example.org
candidates  beta                     no match: header x-beta
            content                  chosen
auth        public
service     content (http://127.0.0.1:3001, http://127.0.0.1:3002)
sends       /~user?q=1 with Host: a.example.org
";
    assert_eq!(told, wanted);
    let told = place.call(&["explain", "POST", "/content/news/1", "-H", "X-Beta: 1"]).good();
    assert!(told.contains("news                     chosen: more literal segments\n"), "{told}");
    assert!(told.contains("beta                     also matches\n"), "{told}");
    let told = place.call(&["explain", "GET", "/content/news/1", "-H", "X-Beta: 1", "--json"]).json();
    assert_eq!(told["candidates"][0], serde_json::json!({"route": "news", "failed": "method", "won_by": null}));
    assert_eq!(told["candidates"][1]["won_by"], "more header conditions");
    assert_eq!((&told["sent"]["service"], &told["sent"]["host"]), (&"next".into(), &"next.internal".into()));
    assert_eq!(told["sent"]["target"], "/content/news/1");
    let told = place.call(&["explain", "GET", "/shop"]).good();
    assert!(told.contains("\nservice     content (") && told.contains("\nor          next\n"), "{told}");
    let told = place.call(&["explain", "GET", "/old/a?b=c", "-H", "Host: x.example.org"]).good();
    assert!(told.ends_with("answers     308: Location: /content/a?b=c\n"), "{told}");
    for (request, answer) in [
        (["GET", "/nowhere"], "answers     404 no_route: "),
        (["GET", "/off"], "answers     404 no_route: "),
        (["GET", "/a%00"], "answers     400 path_nul: "),
        (["GET", "/health"], "answers     200: "),
    ] {
        let told = place.call(&[&["explain"], &request[..]].concat()).good();
        assert!(told.contains(answer), "{told}");
    }
}

#[test]
fn explain_refuses_what_is_no_request() {
    let place = Place::new(GOOD);
    let refused = place.call(&["explain", "GET", "/a b"]).sentence(1);
    assert!(refused.starts_with("gatekeeper: \"GET /a b\" is not a request (not a URL)"), "{refused}");
    let refused = place.call(&["explain", "G(T", "/a"]).sentence(1);
    assert!(refused.contains("the form is METHOD /path or METHOD http://host/path"), "{refused}");
    let refused = place.call(&["explain", "GET", "/", "-H", "nonsense"]).sentence(1);
    assert!(refused.contains("\"nonsense\" is not a header of the form NAME: VALUE"), "{refused}");
    assert_eq!(place.call(&["explain", "GET"]).code, Some(2));
    assert_eq!(place.call(&["explain", "GET", "/", "--from", "nobody"]).code, Some(2));
}

#[test]
fn routes_list_shows_every_route() {
    let place = Place::new(GOOD);
    let told = place.call(&["routes", "list"]).good();
    let lines: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "METHODS", "HOSTS", "PATH", "TO"]);
    assert_eq!(lines[2], ["news", "POST", "any", "/content/news/*", "next"]);
    assert_eq!(lines[4], ["shop", "any", "any", "/shop", "content:9", "next:1"]);
    assert_eq!(lines[5], ["old", "any", "*.example.org", "/old/*", "308", "/content{*}{query}"]);
    assert_eq!(lines[6][..2], ["off", "(inactive)"]);
    let json = place.call(&["routes", "list", "--json"]).json();
    assert_eq!((json.as_array().unwrap().len(), &json[1]["name"]), (6, &"news".into()));
}

#[test]
fn config_show_masks_secrets_wherever_they_come_from() {
    let place = Place::new(
        "version: 1\nservices: { s: { targets: [\"http://${HOST_NAME}:1\", \"${file:target}\"] } }\nroutes:\n  \
         - { name: a, path_pattern: /a, target_service: s, headers: { X-Key: \"${SECRET_X}\" } }\n",
    );
    place.write("target", "http://hidden-file:1\n");
    for json in [&[][..], &["--json"]] {
        let args = [&["config", "show"], json].concat();
        let shown = place.command(&args).env("SECRET_X", "hidden-variable").env("HOST_NAME", "open").output().unwrap();
        let shown = Call::from(shown).good();
        assert!(!shown.contains("hidden"), "{shown}");
        assert!(shown.contains("http://open:1") && shown.matches("***").count() == 2, "{shown}");
        assert!(shown.contains("idle_timeout"), "defaults are shown: {shown}");
    }
    let unset = place.call(&["config", "show"]);
    assert_eq!((unset.code, unset.err.matches("is not set").count()), (Some(1), 2), "{}", unset.err);
}

#[test]
fn the_schema_is_one_and_the_default_file_keeps_to_it() {
    let place = Place::new(GOOD);
    let schema = place.call(&["config", "schema"]).json();
    assert!(jsonschema::meta::is_valid(&schema));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let yaml = |text: &str| serde_yaml::from_str::<Value>(text).unwrap();
    let init = place.call(&["config", "init"]).good();
    for text in [init.as_str(), GOOD] {
        let errors: Vec<_> = validator.iter_errors(&yaml(text)).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
    for wrong in ["version: 1\nrotes: []", "version: 2", "version: 1\nroutes: [{ name: a }]", "version: 1\ndrain: [1]"]
    {
        assert!(!validator.is_valid(&yaml(wrong)), "{wrong}");
    }
    assert_eq!(fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/gatekeeper.yaml")).unwrap(), init);
    place.write("gatekeeper.yaml", &init);
    assert!(place.call(&["check"]).good().contains(" is valid: "));
}

#[test]
fn scripts_and_pages_are_generated() {
    let place = Place::new("");
    for (shell, sign) in [("bash", "complete -F"), ("zsh", "#compdef gatekeeper"), ("fish", "complete -c gatekeeper")] {
        let script = place.call(&["completions", shell]).good();
        assert!(script.contains(sign) && script.contains("explain"), "{shell}");
    }
    assert_eq!(place.call(&["completions", "dos"]).code, Some(2));
    assert!(place.call(&["man"]).good().contains(".TH gatekeeper 1"));
    let version = format!("gatekeeper {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(place.call(&["version"]).good(), version);
    assert_eq!(place.call(&["--version"]).good(), version);
    assert_eq!(place.call(&["version", "--json"]).json()["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_command_has_help_and_an_unknown_one_is_a_matter_of_usage() {
    let place = Place::new("");
    let commands = ["run", "check", "reload", "status", "explain", "routes", "config", "completions", "man", "version"];
    let help = place.call(&["--help"]).good();
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
        let own = place.call(&[command, "--help"]).good();
        assert!(own.contains(&format!("Usage: gatekeeper {command}")), "{own}");
    }
    for args in [&["nope"][..], &["--nope"], &["routes"], &["routes", "nope"], &["check", "extra"], &[]] {
        assert_eq!(place.call(args).code, Some(2), "{args:?}");
    }
    assert!(place.call(&["chek"]).err.contains("check"));
}

#[test]
fn no_gateway_is_code_3_and_one_sentence() {
    let [port] = free_ports();
    for address in [format!("127.0.0.1:{port}"), "unix:/tmp/there/is/no/gateway.sock".to_owned()] {
        let place = Place::new(&format!("{GOOD}admin: {{ address: \"{address}\" }}\nstate_dir: state\n"));
        for command in ["status", "reload"] {
            let told = place.call(&[command]).sentence(3);
            assert!(told.contains("no gateway runs with gatekeeper.yaml"), "{told}");
        }
        fs::create_dir(place.0.path().join("state")).unwrap();
        place.write("state/admin.token", "x");
        for command in ["status", "reload"] {
            let told = place.call(&[command]).sentence(3);
            assert!(told.starts_with(&format!("gatekeeper: no gateway answers at {address}: ")), "{told}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_sentence_that_names_it() {
    let place = Place::new(GOOD);
    fs::create_dir(place.0.path().join("folder")).unwrap();
    std::os::unix::fs::symlink("/nowhere/x", place.0.path().join("dangling")).unwrap();
    for command in ["check", "run", "reload", "status"] {
        for (name, why) in [("none", "No such file"), ("dangling", "No such file"), ("folder", "it is a directory")] {
            let told = place.call(&[command, "-c", name]).sentence(1);
            assert!(told.contains(name) && told.contains(why), "{told}");
        }
    }
    let told = place.command(&["check"]).env("GATEKEEPER_CONFIG", "elsewhere.yaml").output().unwrap();
    assert!(Call::from(told).sentence(1).starts_with("elsewhere.yaml: "));
}

#[test]
fn a_port_in_use_is_one_sentence_that_names_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap();
    let taken_text = taken.to_string();
    for (listen, admin, setting) in
        [(&*taken_text, "127.0.0.1:0", ""), ("127.0.0.1:0", &*taken_text, "admin.address: ")]
    {
        let config = format!("{GOOD}listen: [{{ address: \"{listen}\" }}]\nadmin: {{ address: \"{admin}\" }}\n");
        let told = Place::new(&config).call(&["run"]).sentence(1);
        assert_eq!(told, format!("gatekeeper: {setting}cannot listen on {taken}: another process listens there"));
    }
}

#[test]
fn what_a_gateway_cannot_use_is_one_sentence() {
    let end = "listen: [{ address: \"127.0.0.1:0\" }]\nadmin: { address: \"127.0.0.1:0\" }\n";
    let place = Place::new(&format!("{GOOD}{end}access_log: {{ to: /nowhere/access.log }}\n"));
    let told = place.call(&["run"]).sentence(1);
    assert!(told.contains("cannot write the access log to /nowhere/access.log: No such file"), "{told}");

    place.write("file", "");
    place.write("gatekeeper.yaml", &format!("{GOOD}{end}state_dir: file/state\n"));
    let told = place.call(&["run"]).sentence(1);
    assert!(told.contains("cannot use the state directory: file/state: "), "{told}");

    place.write(
        "gatekeeper.yaml",
        &format!("{GOOD}{}", end.replace("listen: [{ address: \"127.0.0.1:0", "listen: [{ address: \"192.0.2.1:1")),
    );
    assert_eq!(
        place.call(&["run"]).sentence(1),
        "gatekeeper: cannot listen on 192.0.2.1:1: this machine has no such address"
    );
}

#[test]
fn certificates_that_cannot_be_used_are_told_with_their_place() {
    let place = Place::new(GOOD);
    let (ours, other) = (Authority::new().issue("a.test"), Authority::new().issue("b.test"));
    place.write("garbage", "no certificate at all\n");
    place.write("broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    place.write("ours.pem", &ours.certificate_pem());
    place.write("ours.key", &ours.key_pem());
    place.write("other.key", &other.key_pem());
    for (tls, key, why) in [
        ("ca: none", "ca", "cannot read none: No such file"),
        ("ca: garbage", "ca", "garbage holds no certificate"),
        ("ca: broken", "ca", "broken holds a certificate that is malformed"),
        ("client_certificate: none, client_key: ours.key", "client_certificate", "cannot read none"),
        ("client_certificate: ours.pem", "client_certificate", "client_key is missing beside it"),
        ("client_key: ours.key", "client_key", "client_certificate is missing beside it"),
        ("client_certificate: ours.pem, client_key: garbage", "client_key", "garbage holds no private key"),
        ("client_certificate: ours.pem, client_key: other.key", "client_key", "other.key does not fit ours.pem"),
    ] {
        let config = format!(
            "version: 1\nservices: {{ s: {{ targets: [\"https://x\"], tls: {{ {tls} }} }} }}\nroutes: [{{ name: a, path_pattern: /, target_service: s }}]\n"
        );
        place.write("gatekeeper.yaml", &config);
        for command in ["check", "run"] {
            let told = place.call(&[command]).sentence(1);
            assert!(told.starts_with(&format!("gatekeeper.yaml:2: service \"s\".tls.{key}: {why}")), "{tls}: {told}");
        }
    }
}

#[test]
fn what_a_listener_cannot_use_is_told_with_its_place() {
    let place = Place::new(GOOD);
    let (ours, other) = (Authority::new().issue("a.test"), Authority::new().issue("b.test"));
    place.write("garbage", "no certificate at all\n");
    place.write("ours.pem", &ours.certificate_pem());
    place.write("ours.key", &ours.key_pem());
    place.write("other.key", &other.key_pem());
    let good = "certificates: [{ cert: ours.pem, key: ours.key }]";
    let tls = |tls: &str| format!("tls: {{ {tls} }}");
    let first = |pair: &str| tls(&format!("certificates: [{{ {pair} }}]"));
    let beside = |more: &str| tls(&format!("{good}, {more}"));
    for (listener, told) in [
        (first("cert: none, key: ours.key"), "tls.certificates[0]: cannot read none: No such file"),
        (first("cert: garbage, key: ours.key"), "tls.certificates[0]: garbage holds no certificate"),
        (first("cert: ours.pem, key: none"), "tls.certificates[0]: cannot read none: No such file"),
        (first("cert: ours.pem, key: garbage"), "tls.certificates[0]: garbage holds no private key"),
        (first("cert: ours.pem, key: other.key"), "tls.certificates[0]: other.key does not fit ours.pem"),
        (tls("certificates: []"), "tls.certificates: a TLS listener needs a certificate"),
        (beside("min_version: 1.1"), "tls.min_version: found 1.1, allowed: 1.2 or 1.3"),
        (beside("cipher_suites: [RC4]"), "tls.cipher_suites: unknown: RC4; allowed: TLS_"),
        (
            beside("min_version: 1.3, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]"),
            "tls.cipher_suites: none of the suites is for the versions that are allowed",
        ),
        (beside("client_auth: { ca: none }"), "tls.client_auth.ca: cannot read none"),
        (beside("client_auth: { ca: garbage }"), "tls.client_auth.ca: garbage holds no certificate"),
        (beside("http2: true") + ", h2c: true", "h2c: is for listeners without tls"),
        (beside("http2: true") + ", redirect_https: 443", "redirect_https: is for listeners without tls"),
        ("redirect_https: 0".into(), "redirect_https: found 0, allowed: a port, 1 to 65535"),
    ] {
        let config = format!("version: 1\nlisten: [{{ address: \"127.0.0.1:0\", {listener} }}]\n");
        place.write("gatekeeper.yaml", &config);
        for command in ["check", "run"] {
            let said = place.call(&[command]).sentence(1);
            let place = "gatekeeper.yaml:2: listener \"127.0.0.1:0\" (listen[0])";
            assert!(said.starts_with(&format!("{place}.{told}")), "{listener}: {said}");
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let routes =
        (0..20_000).map(|index| format!("  - {{ name: r{index}, path_pattern: /r{index}, target_service: next }}\n"));
    let place = Place::new(&GOOD.replace("tests:\n", &format!("{}tests:\n", routes.collect::<String>())));
    let script = format!("{GATEKEEPER} routes list | head -n 1; echo \"${{PIPESTATUS[0]}}\"");
    let output = Command::new("bash").args(["-c", &script]).current_dir(place.0.path()).output().unwrap();
    let call = Call::from(output);
    assert_eq!((call.err.as_str(), call.out.lines().last()), ("", Some("0")));
    for args in ["--help", "man", "completions bash"] {
        let script = format!("{GATEKEEPER} {args} | true; echo \"${{PIPESTATUS[0]}}\"");
        let call = Call::from(Command::new("bash").args(["-c", &script]).output().unwrap());
        assert_eq!((call.err.as_str(), call.out.as_str()), ("", "0\n"), "{args}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_of_a_running_gateway() {
    let gateway = Gateway::start(&GOOD[GOOD.find("services").unwrap()..]).await;
    let told = Call::from(gateway.command("status", &[])).good();
    assert!(told.contains(" is ready, up "), "{told}");
    assert!(told.contains(&format!("listening   {}\n", gateway.address)), "{told}");
    assert!(told.contains("revision    1: 5 routes, 2 services\n"), "{told}");
    let token = gateway.file("state/admin.token");
    assert_eq!(fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&token, "wrong").unwrap();
    for command in ["status", "reload"] {
        let told = Call::from(gateway.command(command, &[])).sentence(1);
        assert!(told.contains("the administration token is missing or invalid"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_runs_and_what_it_prints_works() {
    let place = Place::new("");
    let [port, admin, services @ ..] = free_ports::<11>();
    let names =
        ["AUTH", "CONTENT", "PARTNERS_CRM", "PROJECTS", "SOCIAL_MEDIA", "NOTIFICATION", "ANALYTICS", "AI", "SEARCH"];
    let mut command = place.command(&["run", "--demo"]);
    command.env("PORT", port.to_string()).env("ADMIN_ADDRESS", format!("127.0.0.1:{admin}"));
    for (name, service) in names.iter().zip(services) {
        command.env(format!("{name}_SERVICE_URL"), format!("http://127.0.0.1:{service}"));
    }
    let stderr = File::create(place.0.path().join("stderr")).unwrap();
    let mut running = Running(command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap());
    let printed = BufReader::new(running.0.stdout.take().unwrap());
    let mut printed = printed.lines().map_while(Result::ok);
    let lines: Vec<String> = printed.by_ref().take_while(|line| !line.contains("Ctrl-C")).collect();
    // The rest is the access log.
    std::thread::spawn(move || printed.for_each(drop));
    let curls: Vec<_> = lines.iter().filter_map(|line| line.trim().strip_prefix("curl ")).collect();
    assert_eq!(curls.len(), 5, "{lines:?}");
    for (curl, status) in curls.iter().zip(["401", "200", "200", "404", "200"]) {
        let script = format!("curl -s -o /dev/null -w '%{{http_code}}' {curl}");
        eventually(&format!("{curl} answers"), async || {
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            (output.stdout == status.as_bytes()).then_some(())
        })
        .await;
    }
    let seen = Command::new("sh").args(["-c", &format!("curl -s {}", curls[1].replace("-i ", ""))]).output().unwrap();
    let seen: Value = serde_json::from_slice(&seen.stdout).unwrap();
    assert_eq!((&seen["service"], &seen["path"]), (&"content".into(), &"/api/v1/content/articles/1".into()));
    let file = std::env::temp_dir().join(format!("gatekeeper-{}/engadi.yaml", running.0.id()));
    let mut upgrade = place.command(&["upgrade", "-c", file.to_str().unwrap()]);
    let upgrade = upgrade.env("ADMIN_ADDRESS", format!("127.0.0.1:{admin}")).output().unwrap();
    let told = Call::from(upgrade).sentence(1);
    assert!(told.contains("this gateway cannot be upgraded: it is a demo or `proxy`"), "{told}");
    assert!(Command::new("kill").arg(running.0.id().to_string()).status().unwrap().success());
    let exit = eventually("it stops", async || running.0.try_wait().unwrap()).await;
    assert_eq!(exit.code(), Some(0));
    assert!(!place.0.path().join("gatekeeper-state").exists(), "nothing is left behind");
}
