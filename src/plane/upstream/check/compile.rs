//! Compiles a health check.

use std::time::Duration;

use http::header::{self, HOST, USER_AGENT};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use memchr::memmem::Finder;

use super::http::{SEARCHED, Statuses};
use super::{Check, Question, grpc, http as plain};
use crate::upstream::health::Thresholds;
use gatekeeper_core::route::canonical_host;
use gatekeeper_model::raw::{CheckKind, HealthCheck};
use gatekeeper_model::{Fault, Faults, Place, quoted};

impl Check {
    /// Compiles a check that stands at `at`.
    pub fn compile(raw: &HealthCheck, at: &Place<'_>, faults: &mut Faults) -> Option<Check> {
        let mut compiler = Compiler { raw, at, faults };
        compiler.refuse_strangers();
        let question = match raw.kind {
            CheckKind::Tcp => Some(Question::Tcp),
            CheckKind::Http => compiler.http().map(|question| Question::Http(question.into())),
            CheckKind::Grpc => compiler.grpc().map(|question| Question::Grpc(question.into())),
        };
        for (key, count) in [("rise", raw.rise), ("fall", raw.fall)] {
            compiler.demand((1..=100).contains(&count), key, count.to_string(), "1 to 100");
        }
        let interval = raw.interval.0;
        compiler.demand(interval >= SHORTEST_INTERVAL, "interval", raw.interval.to_string(), "10ms or more");
        Some(Check {
            question: question?,
            interval,
            jitter: raw.jitter.map_or(interval / 10, |jitter| jitter.0),
            timeout: raw.timeout.0,
            thresholds: Thresholds { rise: raw.rise, fall: raw.fall, slow: raw.slow.0 },
        })
    }
}

/// Asked more often, a target would do nothing else.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const LONGEST_SERVICE: usize = 256;
const STATUSES: &str = "a status from 200 to 599, or a range such as 200-299";
/// What only the gateway says.
const OWN: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

struct Compiler<'a, 'p> {
    raw: &'a HealthCheck,
    at: &'a Place<'p>,
    faults: &'a mut Faults,
}

impl Compiler<'_, '_> {
    /// Keys that this kind of check has no use for.
    fn refuse_strangers(&mut self) {
        use CheckKind::{Grpc, Http};
        let (raw, unwritten) = (self.raw, HealthCheck::default());
        let keys: [(&str, bool, &[CheckKind]); 7] = [
            ("path", raw.path != unwritten.path, &[Http]),
            ("method", raw.method != unwritten.method, &[Http]),
            ("statuses", raw.statuses != unwritten.statuses, &[Http]),
            ("body_contains", raw.body_contains.is_some(), &[Http]),
            ("host", raw.host.is_some(), &[Http, Grpc]),
            ("headers", !raw.headers.is_empty(), &[Http, Grpc]),
            ("grpc_service", !raw.grpc_service.is_empty(), &[Grpc]),
        ];
        for (key, is_written, kinds) in keys {
            if is_written && !kinds.contains(&raw.kind) {
                let names: Vec<_> = kinds.iter().copied().map(name).collect();
                let fault = format!("a check of kind {} has no {key}", name(raw.kind));
                let hint = format!("leave it out, or set kind to {}", names.join(" or "));
                self.faults.add(Fault::saying(self.at.key(key), fault).with_hint(hint));
            }
        }
    }

    fn http(&mut self) -> Option<plain::Question> {
        let (method, path) = (self.method(), self.path());
        let (headers, statuses, text) = (self.headers(), self.statuses(), self.text());
        Some(plain::Question { head: head(method?, path?, headers?), statuses: statuses?, text: text? })
    }

    fn grpc(&mut self) -> Option<grpc::Question> {
        let service = self.raw.grpc_service.as_str();
        let fits = self.demand(service.len() <= LONGEST_SERVICE, "grpc_service", quoted(service), "256 bytes or less");
        let mut headers = self.headers()?;
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        fits.then(|| grpc::Question { head: head(Method::POST, path, headers), message: grpc::message(service) })
    }

    fn method(&mut self) -> Option<Method> {
        let method = [Method::GET, Method::HEAD].into_iter().find(|method| method.as_str() == self.raw.method);
        self.demand(method.is_some(), "method", quoted(&self.raw.method), "GET or HEAD");
        method
    }

    fn path(&mut self) -> Option<PathAndQuery> {
        let path = &*self.raw.path;
        // A fragment would be cut off silently.
        let is_plain = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        let parsed = path.parse().ok().filter(|_| is_plain);
        self.demand(parsed.is_some(), "path", quoted(path), "a path that begins with /, perhaps with a query");
        parsed
    }

    fn headers(&mut self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("gatekeeper"));
        let mut all_are_good = self.host(&mut headers);
        let place = self.at.key("headers");
        for (name, value) in &self.raw.headers {
            match self.field(name, value.reveal()) {
                Ok((name, value)) => drop(headers.insert(name, value)),
                Err(fault) => {
                    self.faults.add(Fault::saying(place.key(name), fault));
                    all_are_good = false;
                }
            }
        }
        all_are_good.then_some(headers)
    }

    fn host(&mut self, headers: &mut HeaderMap) -> bool {
        let Some(host) = &self.raw.host else { return true };
        let value = HeaderValue::from_str(host).ok().filter(|_| canonical_host(host).is_ok());
        let is_host = self.demand(value.is_some(), "host", quoted(host), "a host, perhaps with a port");
        headers.extend(value.map(|value| (HOST, value)));
        is_host
    }

    /// A header as it is sent. Values are often secrets: no fault shows one.
    fn field(&self, name: &str, value: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "not a header's name")?;
        let value = HeaderValue::from_str(value).map_err(|_| "its value holds what no header may hold")?;
        match name {
            HOST => Err("the key `host` of the check says it"),
            header::CONTENT_TYPE if self.raw.kind == CheckKind::Grpc => Err("it is set by the gateway itself"),
            name if OWN.contains(&name) => Err("it is set by the gateway itself"),
            name => Ok((name, value)),
        }
    }

    fn statuses(&mut self) -> Option<Box<[Statuses]>> {
        let (words, place) = (&self.raw.statuses, self.at.key("statuses"));
        self.demand(!words.is_empty(), "statuses", "an empty list".into(), STATUSES);
        let mut statuses = Vec::new();
        for (index, word) in words.iter().enumerate() {
            match word.0.parse() {
                Ok(some) => statuses.push(some),
                Err(()) => self.faults.push(place.index(index), quoted(&word.0), STATUSES),
            }
        }
        (!words.is_empty() && statuses.len() == words.len()).then(|| statuses.into())
    }

    /// None is a fault, `Some(None)` no text.
    fn text(&mut self) -> Option<Option<Finder<'static>>> {
        let Some(text) = &self.raw.body_contains else { return Some(None) };
        let fits = (1..=SEARCHED).contains(&text.len());
        let fits = self.demand(fits, "body_contains", quoted(text), "a text of 1 byte to 64 KiB");
        let has_body = self.raw.method != "HEAD";
        if !has_body {
            let fault = Fault::saying(self.at.key("body_contains"), "an answer to HEAD has no body");
            self.faults.add(fault.with_hint("set method to GET"));
        }
        (fits && has_body).then(|| Some(Finder::new(text.as_bytes()).into_owned()))
    }

    fn demand(&mut self, is_met: bool, key: &str, found: String, allowed: &str) -> bool {
        if !is_met {
            self.faults.push(self.at.key(key), found, allowed);
        }
        is_met
    }
}

fn head(method: Method, path: PathAndQuery, headers: HeaderMap) -> Parts {
    let mut head = Request::new(()).into_parts().0;
    (head.method, head.uri, head.headers) = (method, path.into(), headers);
    head
}

fn name(kind: CheckKind) -> &'static str {
    match kind {
        CheckKind::Http => "http",
        CheckKind::Tcp => "tcp",
        CheckKind::Grpc => "grpc",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(json: serde_json::Value) -> (Option<Check>, Vec<String>) {
        let raw = serde_json::from_value(json).unwrap();
        let mut faults = Faults::default();
        let check = Check::compile(&raw, &Place::new("health_check"), &mut faults);
        (check, faults.faults().into_iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_allowed_compiles() {
        for json in [
            serde_json::json!({}),
            serde_json::json!({"path": "/health?deep=1", "method": "HEAD", "host": "[::1]:8080", "statuses": [200, "300-399"]}),
            serde_json::json!({"headers": {"Authorization": "Bearer x", "user-agent": "other"}, "body_contains": "ok"}),
            serde_json::json!({"kind": "tcp", "interval": "10ms", "rise": 1, "fall": 100, "timeout": "1h"}),
            serde_json::json!({"kind": "grpc", "grpc_service": "a.B", "host": "h", "headers": {"x": "y"}}),
        ] {
            let (check, faults) = compile(json.clone());
            assert!(check.is_some() && faults.is_empty(), "{json}: {faults:?}");
        }
    }

    #[test]
    fn every_fault_names_its_place_and_what_is_allowed() {
        let cases = [
            (r#"{"path": "health"}"#, r#"path: found "health", allowed: a path that begins with /"#),
            (r#"{"path": "/a#b"}"#, r#"path: found "/a#b""#),
            (r#"{"path": "/a b"}"#, r#"path: found "/a b""#),
            (r#"{"path": "/ä"}"#, r#"path: found "/ä""#),
            (r#"{"method": "POST"}"#, r#"method: found "POST", allowed: GET or HEAD"#),
            (r#"{"host": "u@h"}"#, r#"host: found "u@h", allowed: a host, perhaps with a port"#),
            (r#"{"host": ""}"#, "host: found"),
            (r#"{"host": "h:0"}"#, "host: found"),
            (r#"{"headers": {"a b": "x"}}"#, r#"headers."a b": not a header's name"#),
            (r#"{"headers": {"a": "x\ny"}}"#, "headers.a: its value holds"),
            (r#"{"headers": {"Host": "x"}}"#, "headers.Host: the key `host`"),
            (r#"{"headers": {"Content-Length": "1"}}"#, "headers.Content-Length: it is set by the gateway itself"),
            (r#"{"kind": "grpc", "headers": {"content-type": "x"}}"#, "headers.content-type: it is set"),
            (r#"{"statuses": [200, "99"]}"#, r#"statuses[1]: found "99", allowed: a status from 200 to 599"#),
            (r#"{"statuses": []}"#, "statuses: found an empty list"),
            (r#"{"rise": 0}"#, "rise: found 0, allowed: 1 to 100"),
            (r#"{"fall": 101}"#, "fall: found 101, allowed: 1 to 100"),
            (r#"{"interval": "9ms"}"#, "interval: found 9ms, allowed: 10ms or more"),
            (r#"{"body_contains": ""}"#, r#"body_contains: found "", allowed: a text of 1 byte to 64 KiB"#),
            (r#"{"method": "HEAD", "body_contains": "x"}"#, "body_contains: an answer to HEAD has no body"),
            (
                r#"{"kind": "tcp", "path": "/x"}"#,
                "path: a check of kind tcp has no path; leave it out, or set kind to http",
            ),
            (
                r#"{"kind": "tcp", "host": "x"}"#,
                "host: a check of kind tcp has no host; leave it out, or set kind to http or grpc",
            ),
            (r#"{"kind": "tcp", "headers": {"a": "b"}}"#, "headers: a check of kind tcp has no headers"),
            (r#"{"kind": "grpc", "method": "HEAD"}"#, "method: a check of kind grpc has no method"),
            (r#"{"kind": "grpc", "statuses": [200]}"#, "statuses: a check of kind grpc has no statuses"),
            (r#"{"kind": "grpc", "body_contains": "x"}"#, "body_contains: a check of kind grpc has no body_contains"),
            (r#"{"grpc_service": "x"}"#, "grpc_service: a check of kind http has no grpc_service"),
        ];
        for (json, fault) in cases {
            let (_, faults) = compile(serde_json::from_str(json).unwrap());
            assert_eq!(faults.len(), 1, "{json}: {faults:?}");
            assert!(faults[0].starts_with(&format!("health_check.{fault}")), "{json}: {faults:?}");
        }
        let (_, faults) = compile(serde_json::json!({"kind": "grpc", "grpc_service": "x".repeat(257)}));
        assert!(faults[0].ends_with("allowed: 256 bytes or less"), "{faults:?}");
    }

    #[test]
    fn all_faults_come_at_once_and_no_value_of_a_header_is_shown() {
        let (check, faults) = compile(serde_json::json!({
            "path": "", "method": "", "host": "", "headers": {"a": "secret\u{0}"}, "statuses": ["x", "y"], "rise": 0
        }));
        assert!(check.is_none() && faults.len() == 7 && !faults.concat().contains("secret"), "{faults:?}");
    }

    #[test]
    fn the_jitter_is_a_tenth_when_absent() {
        let delays = |json| {
            let check = compile(json).0.unwrap();
            (check.next_delay(0), check.next_delay(u64::MAX).as_millis())
        };
        assert_eq!(delays(serde_json::json!({"interval": "10s"})), (Duration::from_secs(9), 10_999));
        let settled = serde_json::json!({"interval": "10s", "jitter": "5s", "rise": 4, "fall": 5, "slow": "6s"});
        assert_eq!(delays(settled.clone()), (Duration::from_secs(5), 14_999));
        let thresholds = Thresholds { rise: 4, fall: 5, slow: Duration::from_secs(6) };
        assert_eq!(compile(settled).0.unwrap().thresholds(), thresholds);
    }
}
