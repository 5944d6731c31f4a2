//! What people get wrong in a configuration, and what `gatekeeper check` says to it, word for word.
//!
//! The table below is meant to be read. Each entry is a title (`##`), a file, and after `>>` all that the command prints
//! about it; nothing, if the file is valid. `--- NAME` begins another file. BOM stands for the byte order mark, and
//! NAMESERVER for a DNS server that knows no name.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use crate::support::dns::DnsServer;

const TABLE: &str = r##"
# Keys

## A typo in a key
version: 1
routes:
  - name: content
    path_pattern: /content/*
    metods: [GET]
    target_url: http://127.0.0.1:3001
>> gatekeeper.yaml:5: route "content" (routes[0]).metods: unknown key; did you mean "methods"?

## A typo in a section; nothing that only follows from it is reported
version: 1
servces:
  app: http://127.0.0.1:3001
routes:
  - name: app
    path_pattern: /*
    target_service: app
>> gatekeeper.yaml:2: servces: unknown key; did you mean "services"?

## A typo in the destination; the route is not also said to have none
version: 1
services:
  app: http://127.0.0.1:3001
routes:
  - name: app
    path_pattern: /*
    target_sevice: app
>> gatekeeper.yaml:7: route "app" (routes[0]).target_sevice: unknown key; did you mean "target_service"?

## A typo in auth; the routes that need it are not wrong
version: 1
auht:
  jwt: [{ issuer: https://id.example.org }]
routes:
  - { name: me, path_pattern: /me, auth: [jwt], respond: { status: 204 } }
>> gatekeeper.yaml:2: auht: unknown key; did you mean "auth"?

## A key that belongs elsewhere
version: 1
services:
  app: http://127.0.0.1:3001
routes:
  - name: app
    path_pattern: /*
    target_service: app
    health_check: { path: /health }
>> gatekeeper.yaml:8: route "app" (routes[0]).health_check: unknown key; health_check belongs to services.NAME

## A section inside a route
version: 1
routes:
  - name: app
    path_pattern: /*
    respond: { status: 204 }
    trusted_proxies: [10.0.0.0/8]
>> gatekeeper.yaml:6: route "app" (routes[0]).trusted_proxies: unknown key; trusted_proxies belongs to the top level of the file

## A name from another gateway
version: 1
upstreams:
  app: http://127.0.0.1:3001
>> gatekeeper.yaml:2: upstreams: unknown key; did you mean "services"?

## A key that exists nowhere
version: 1
drain:
  grace: 30s
  plugins: [a]
>> gatekeeper.yaml:4: drain.plugins: unknown key; allowed here: lame_duck, grace, upgrade_grace

## A key that is missing
version: 1
routes:
  - name: app
    target_url: http://127.0.0.1:3001
>> gatekeeper.yaml:3: route "app" (routes[0]).path_pattern: missing; this key is required

## A key that is written twice
version: 1
routes:
  - name: app
    path_pattern: /a
    respond: { status: 204 }
    path_pattern: /b
>> gatekeeper.yaml:6: route "app" (routes[0]).path_pattern: this key is written twice in the same map; keep one of them

## A list instead of names
version: 1
services:
  - name: app
    targets: [http://127.0.0.1:3001]
>> gatekeeper.yaml:2: services: found a list, allowed: a map; write `NAME:` before each entry, instead of `- `

## Names instead of a list
version: 1
routes:
  app: { path_pattern: /*, target_url: http://127.0.0.1:3001 }
>> gatekeeper.yaml:2: routes: found a map with app, allowed: a list; write `- ` before each entry

# YAML

## Braces without quotes inside of braces
version: 1
routes:
  - { name: user, path_pattern: /users/{id}, target_url: http://127.0.0.1:3001 }
>> gatekeeper.yaml:3:40: not valid YAML: did not find expected ',' or '}'; a text with braces needs quotes: "/users/{id}"

## Braces without quotes as a whole value
version: 1
routes:
  - name: user
    path_pattern: "/users/{id}"
    rewrite: {id}
    target_url: http://127.0.0.1:3001
>> gatekeeper.yaml:5: route "user" (routes[0]).rewrite: found a map with id, allowed: a text; a text with braces needs quotes: "{id}"

## A wildcard without quotes
version: 1
routes:
  - name: app
    path_pattern: /*
    hosts: [*.example.org]
    respond: { status: 204 }
>> gatekeeper.yaml:5:14: not valid YAML: did not find expected alphabetic or numeric character; a text that begins with * or & needs quotes: "*.example.org"

## A tab
version: 1
routes:
	- name: app
>> gatekeeper.yaml:3:1: not valid YAML: found character that cannot start any token; YAML indents with spaces, not with tabs

## A line that is indented too far
version: 1
routes:
  - name: app
      path_pattern: /*
>> gatekeeper.yaml:4:19: not valid YAML: mapping values are not allowed in this context; a text with a colon and a space in it needs quotes; or the line is indented too far

## No space after a colon
version: 1
routes:
  - name: app
    path_pattern:/*
    respond: { status: 204 }
>> gatekeeper.yaml:5:5: not valid YAML: could not find expected ':'; the line before it has no `key: value` with a space after the colon

## A brace that is not closed
version: 1
routes:
  - name: app
    path_pattern: /*
    respond: { status: 204
  - name: more
    path_pattern: /more
>> gatekeeper.yaml:6:9: not valid YAML: did not find expected ',' or '}'; a bracket or brace before it is not closed

## Two documents in one file
version: 1
---
version: 1
>> gatekeeper.yaml:2:1: the file holds several YAML documents (a line `---`), allowed is one

## A merge key without a map
version: 1
services:
  app: { <<: base, targets: [http://127.0.0.1:3001] }
>> gatekeeper.yaml:3: service "app"."<<": unknown key; << takes in a map or a list of maps: *name

## An alias without its anchor
version: 1
services:
  app: &app { targets: ["http://127.0.0.1:3001"] }
  more: { <<: *apps }
>> gatekeeper.yaml:4:15: not valid YAML: unknown anchor; an alias (*name) needs its anchor (&name) above it; a text that begins with * needs quotes

# Values

## Quotes around a number
version: 1
threads: "8"
>> gatekeeper.yaml:2: threads: found "8", allowed: 1 to 1024; write it without quotes

## A number above its range
version: 1
routes:
  - { name: app, path_pattern: /*, target_url: "http://127.0.0.1:3001", retry_count: 11 }
>> gatekeeper.yaml:3: route "app" (routes[0]).retry_count: found 11, allowed: 0 to 10

## A number below its range
version: 1
routes:
  - { name: app, path_pattern: /*, target_url: "http://127.0.0.1:3001", retry_count: -1 }
>> gatekeeper.yaml:3: route "app" (routes[0]).retry_count: found -1, allowed: 0 to 10

## A time below its range, shown as it is written
version: 1
services:
  app:
    targets: [http://127.0.0.1:3001]
    health_check: { path: /health, interval: 0.009s }
>> gatekeeper.yaml:5: service "app".health_check.interval: found 0.009s, allowed: 10ms or more

## A time with words
version: 1
drain:
  grace: 30 seconds
>> gatekeeper.yaml:3: drain.grace: found "30 seconds", allowed: a number of seconds, or a time such as 250ms, 30s, 5m, 1h or 30d; more than 0, at most 36500d; did you mean 30s?

## A size in a unit that does not exist
version: 1
shields:
  max_body: 10 MB
>> gatekeeper.yaml:3: shields.max_body: found "10 MB", allowed: a whole number of bytes, or a size such as 64KiB, 10MiB or 1GiB; did you mean 10MiB?

## A word that is almost right
version: 1
services:
  app:
    targets: [http://127.0.0.1:3001]
    load_balancing: round-robin
>> gatekeeper.yaml:5: service "app".load_balancing: found "round-robin", allowed: round_robin, random, least_requests, hash:user, hash:ip, hash:header:NAME or hash:cookie:NAME; did you mean "round_robin"?

## A word from another gateway
version: 1
services:
  app:
    targets: [http://127.0.0.1:3001]
    protocol: http2
>> gatekeeper.yaml:5: service "app".protocol: found "http2", allowed: auto, http1, h2; did you mean "h2"?

## `yes` instead of `true`
version: 1
listen:
  - address: 127.0.0.1:8000
    h2c: yes
>> gatekeeper.yaml:4: listener "127.0.0.1:8000" (listen[0]).h2c: found "yes", allowed: true or false; did you mean true?

## A text instead of a list
version: 1
routes:
  - name: app
    path_pattern: /*
    methods: GET
    respond: { status: 204 }
>> gatekeeper.yaml:5: route "app" (routes[0]).methods: found "GET", allowed: a list; write [GET]

## A method in small letters
version: 1
routes:
  - name: app
    path_pattern: /*
    methods: [get]
    respond: { status: 204 }
>> gatekeeper.yaml:5: route "app" (routes[0]).methods[0]: found "get", allowed: a method in capital letters, such as GET or POST

## `5xx` where single statuses are allowed
version: 1
routes:
  - name: app
    path_pattern: /*
    target_url: http://127.0.0.1:3001
    retry: { on: [connect, 5xx] }
>> gatekeeper.yaml:6: route "app" (routes[0]).retry.on[1]: found "5xx", allowed: connect, reset, timeout, 400 to 599; list the statuses: 500, 502, 503, 504

## `2xx` where ranges are allowed
version: 1
services:
  app:
    targets: [http://127.0.0.1:3001]
    health_check: { path: /health, statuses: [2xx] }
>> gatekeeper.yaml:5: service "app".health_check.statuses[0]: found "2xx", allowed: a status from 200 to 599, or a range such as 200-299; write 200-299

## A part of a second in `window_seconds`, which takes `1m` and 60
version: 1
rate_limits:
  - { rule_name: all, limit_type: per_ip, max_requests: 10, window_seconds: 500ms }
>> gatekeeper.yaml:3: rate limit "all" (rate_limits[0]).window_seconds: found "500ms", allowed: 1 to 31536000 seconds, or a time such as 30s, 1m or 1h

## An API key instead of its hash; it is not shown
version: 1
auth:
  api_keys:
    keys:
      - { owner: partner, hash: gk_0123456789abcdef }
>> gatekeeper.yaml:5: auth.api_keys.keys[0].hash: found a text of 19 characters, allowed: sha256: and 64 hexadecimal digits (sha256:9f86d0…); `gatekeeper key` makes a key and its hash

## A hash without its prefix
version: 1
auth:
  api_keys:
    keys:
      - { owner: partner, hash: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 }
>> gatekeeper.yaml:5: auth.api_keys.keys[0].hash: found 64 digits alone, allowed: sha256: and 64 hexadecimal digits (sha256:9f86d0…); write sha256: before them

## A certificate that does not exist
version: 1
listen:
  - address: 127.0.0.1:8443
    tls: { certificates: [{ cert: /nowhere/fullchain.pem, key: /nowhere/key.pem }] }
>> gatekeeper.yaml:4: listener "127.0.0.1:8443" (listen[0]).tls.certificates[0]: cannot read /nowhere/fullchain.pem: No such file

# Variables

## A variable that is not set
version: 1
services:
  app: http://${NOT_SET}:3001
>> gatekeeper.yaml:3: service "app": the environment variable NOT_SET is not set; set it, or give a default: ${NOT_SET:-default}

## A variable without braces instead of a number
version: 1
threads: $THREADS
>> gatekeeper.yaml:2: threads: found "$THREADS", allowed: 1 to 1024; a variable is written ${THREADS}

## A variable without braces in a text
version: 1
routes:
  - name: app
    path_pattern: /*
    respond: { status: 200, body: "version $RELEASE" }
>> gatekeeper.yaml:5: warning: route "app" (routes[0]).respond.body: $RELEASE is not filled in; write ${RELEASE} for the variable, or $$RELEASE for the text

# Routes and services

## A service that does not exist
version: 1
services:
  content: http://127.0.0.1:3001
routes:
  - { name: app, path_pattern: /*, target_service: contnet }
>> gatekeeper.yaml:5: route "app" (routes[0]).target_service: there is no service "contnet"; did you mean "content"?

## A route without a destination
version: 1
routes:
  - name: app
    path_pattern: /*
>> gatekeeper.yaml:3: route "app" (routes[0]): no destination: add one of target_service, target_url, split, redirect, respond

## A route with two destinations
version: 1
routes:
  - name: app
    path_pattern: /*
    respond: { status: 204 }
    redirect: { to: /other }
>> gatekeeper.yaml:3: route "app" (routes[0]): 2 destinations: keep one of redirect, respond

## A service without targets
version: 1
services:
  app: { targets: [] }
>> gatekeeper.yaml:3: service "app".targets: found an empty list, allowed: at least one target

## A typo in a target
version: 1
services:
  app:
    targets:
      - http://127.0.0.1:3001
      - htp://127.0.0.1:3002
>> gatekeeper.yaml:6: service "app".targets[1]: found "htp://127.0.0.1:3002" (not an http or https URL), allowed: http://host:port, https://host[:port] or unix:/path

## A path in a target
version: 1
services:
  app: http://127.0.0.1:3001/api
>> gatekeeper.yaml:3: service "app".targets[0]: found "http://127.0.0.1:3001/api" (a target has no path; use a route's rewrite), allowed: http://host:port, https://host[:port] or unix:/path

## A path without its slash
version: 1
routes:
  - { name: app, path_pattern: api/*, respond: { status: 204 } }
>> gatekeeper.yaml:3: route "app" (routes[0]).path_pattern: `api/*` does not begin with `/`

## A wildcard in the middle of a name
version: 1
routes:
  - { name: app, path_pattern: /api*, respond: { status: 204 } }
>> gatekeeper.yaml:3: route "app" (routes[0]).path_pattern: `api*`: `*` and `{name}` stand for a whole segment

## Two routes with one name, in two files
version: 1
routes:
  - { name: app, path_pattern: /a, respond: { status: 204 } }
--- conf.d/shop.yaml
routes:
  - { name: app, path_pattern: /b, respond: { status: 204 } }
>> conf.d/shop.yaml:2: route "app" (routes[0]).name: the route name "app" is used twice; first at gatekeeper.yaml:3

## Two routes for the same requests
version: 1
routes:
  - { name: one, path_pattern: "/users/{id}", respond: { status: 204 } }
  - { name: two, path_pattern: "/users/{name}", respond: { status: 204 } }
>> gatekeeper.yaml:4: route "two" (routes[1]): matches exactly what the route "one" matches; give one of them a priority, or another condition

## A method of authentication that `auth` does not have
version: 1
auth:
  jwt: [{ issuer: https://id.example.org }]
routes:
  - { name: me, path_pattern: /me, auth: [api_key], respond: { status: 204 } }
>> gatekeeper.yaml:5: route "me" (routes[0]).auth[0]: "api_key" is not set up under auth

## An access rule without `auth`
version: 1
routes:
  - { name: me, path_pattern: /me, access: { roles: [admin] }, respond: { status: 204 } }
>> gatekeeper.yaml:3: route "me" (routes[0]).access: has no effect: there is no auth section

## A test that fails
version: 1
routes:
  - { name: app, path_pattern: /*, respond: { status: 204 } }
tests:
  - { request: GET /a, expect: { route: other } }
>> gatekeeper.yaml:5: test "GET /a" (tests[0]).expect.route: expected route other, found app

# Warnings

## An empty configuration
version: 1
>> gatekeeper.yaml: warning: routes: there are no routes: every request is answered with 404; `gatekeeper config init` prints an example

## A path that matches only itself
version: 1
routes:
  - { name: api, path_pattern: /api/, respond: { status: 204 } }
>> gatekeeper.yaml:3: warning: route "api" (routes[0]).path_pattern: "/api/" matches this one path, and nothing below it; "/api/*" also matches what is below

## A prefix that is never stripped
version: 1
routes:
  - { name: api, path_pattern: /api/*, target_url: "http://127.0.0.1:3001", strip_prefix: /v1 }
>> gatekeeper.yaml:3: warning: route "api" (routes[0]).strip_prefix: strips nothing: no path of "/api/*" begins with "/v1"

## The address of a machine as a network
version: 1
trusted_proxies: [10.0.0.1/8]
routes:
  - { name: app, path_pattern: /*, respond: { status: 204 } }
>> gatekeeper.yaml:2: warning: trusted_proxies[0]: 10.0.0.1/8 means all of 10.0.0.0/8; write the network, or the address alone

## A name that does not resolve
version: 1
dns: { servers: [NAMESERVER] }
services:
  app: http://app.example.org:3001
routes:
  - { name: app, path_pattern: /*, target_service: app }
>> gatekeeper.yaml:4: warning: service "app".targets[0]: "app.example.org" does not resolve: NXDOMAIN

## An access log in a folder that is missing
version: 1
access_log: { to: /no/such/folder/access.log }
routes:
  - { name: app, path_pattern: /*, respond: { status: 204 } }
>> gatekeeper.yaml:2: warning: access_log.to: there is no folder "/no/such/folder"

## A service that no route uses
version: 1
services:
  app: http://127.0.0.1:3001
routes:
  - { name: ok, path_pattern: /*, respond: { status: 204 } }
>> gatekeeper.yaml:3: warning: service "app": no route uses this service

## A route that is never taken
version: 1
routes:
  - { name: all, path_pattern: /*, priority: 1, respond: { status: 204 } }
  - { name: api, path_pattern: /api, respond: { status: 204 } }
>> gatekeeper.yaml:4: warning: route "api" (routes[1]): never matches: "all" matches all of its requests first; remove it, or give it a higher priority

# No mistakes

## A byte order mark at the beginning of the file
BOMversion: 1
routes:
  - { name: app, path_pattern: /*, respond: { status: 204 } }

## A window in minutes
version: 1
rate_limits:
  - { rule_name: all, limit_type: per_ip, max_requests: 10, window_seconds: 1m }
routes:
  - { name: app, path_pattern: /*, respond: { status: 204 } }

## A merge key
version: 1
services:
  one: &base { targets: [http://127.0.0.1:3001], max_in_flight: 10 }
  two: { <<: *base, targets: [http://127.0.0.1:3002] }
routes:
  - { name: one, path_pattern: /one/*, target_service: one }
  - { name: two, path_pattern: /two/*, target_service: two }

## A dollar sign
version: 1
routes:
  - { name: app, path_pattern: /*, respond: { status: 200, body: "$$HOME costs 5$" } }
"##;

/// An entry of the table.
struct Mistake {
    title: &'static str,
    /// Names and texts.
    files: Vec<(&'static str, String)>,
    told: String,
}

impl Mistake {
    fn read(entry: &'static str) -> Mistake {
        let (title, rest) = entry.split_once('\n').unwrap();
        let mut mistake = Mistake { title, files: vec![("gatekeeper.yaml", String::new())], told: String::new() };
        for line in rest.trim_end().lines() {
            match (line.strip_prefix(">> "), line.strip_prefix("--- ")) {
                (Some(told), _) => mistake.told += &format!("{told}\n"),
                (_, Some(name)) => mistake.files.push((name, String::new())),
                _ => mistake.files.last_mut().unwrap().1 += &format!("{line}\n"),
            }
        }
        mistake
    }

    /// What the command prints, if that is something else.
    fn difference(&self, nameserver: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("conf.d")).unwrap();
        for (name, text) in &self.files {
            let text = text.replace("BOM", "\u{feff}").replace("NAMESERVER", nameserver);
            fs::write(folder.path().join(name), text).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatekeeper"));
        command.arg("check").current_dir(folder.path()).env_remove("GATEKEEPER_CONFIG").env_remove("NOT_SET");
        let output = command.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        let is_valid = told.lines().all(|line| line.contains(": warning: "));
        let differs = told != self.told || output.status.success() != is_valid;
        differs.then(|| format!("{}\n{told}instead of\n{}\n", self.title, self.told))
    }
}

fn mistakes() -> Vec<Mistake> {
    let without_chapters = TABLE.split("\n\n").filter(|entry| !entry.trim_start().starts_with("# "));
    let entries = without_chapters.map(|entry| entry.trim_start().strip_prefix("## ").unwrap());
    entries.map(Mistake::read).collect()
}

#[test]
fn each_mistake_is_told_in_these_words() {
    let (dns, mut differences) = (DnsServer::start(), String::new());
    let mistakes = mistakes();
    assert!(mistakes.len() > 60, "{}", mistakes.len());
    for difference in mistakes.iter().filter_map(|mistake| mistake.difference(&dns.address.to_string())) {
        writeln!(differences, "{difference}").unwrap();
    }
    assert!(differences.is_empty(), "{differences}");
}
