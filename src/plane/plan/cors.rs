//! Compiles which web pages may read the answers.
//!
//! What a route says stands instead of what the gateway says, key by key. Each value is judged once, where it is written;
//! what does not go together is told to who said the later of the two.

use http::header::HeaderName;
use http::{HeaderValue, Method};
use reqwest::Url;

use super::compile::wrong_items;
use crate::policy::cors::{Allowed, Cors, EXPOSED, Origin, Origins};
use gatekeeper_model::raw::{self, RouteCors};
use gatekeeper_model::value::{Period, Setting};
use gatekeeper_model::{Fault, Faults, Place, quoted};

/// What the gateway says, for routes that do not say otherwise.
pub struct Defaults {
    /// `None` has faults, which are told.
    said: Option<Said>,
}

/// What is said at one place; what is absent is not said there.
#[derive(Clone, Default)]
struct Said {
    origins: Option<Origins>,
    credentials: Option<bool>,
    methods: Option<Vec<String>>,
    headers: Option<Vec<String>>,
    exposed: Option<Vec<String>>,
    max_age: Option<Period>,
}

const LONGEST: Period = Period::from_secs(24 * 60 * 60);
const ORIGIN: &str =
    "an origin as browsers send it, such as https://app.example.org, https://*.example.org or null; or * alone";
const HEADER: &str = "a header name, or *";
const METHOD: &str = "a method in capital letters, such as GET or POST; or * alone";
const COMMON_METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

impl Defaults {
    /// Compiles what the gateway says, if it says something.
    pub fn compile(raw: Option<&raw::Cors>, faults: &mut Faults) -> Self {
        let place = Place::new("cors");
        let raw = match raw {
            Some(raw) => all_of(raw),
            None => RouteCors { allow_origins: None, ..all_of(&raw::Cors::default()) },
        };
        let said = Said::compile(&raw, &place, faults);
        Defaults { said: said.filter(|said| said.goes_together(said, &place, faults)) }
    }

    /// What holds for a route that says this at `place` and has these methods (any if empty), or, where it says nothing,
    /// for requests without a route: `None` is a fault, `Some(None)` leaves CORS to the upstream.
    pub fn of_route(
        &self,
        raw: Option<&RouteCors>,
        methods: &[Method],
        place: &Place,
        faults: &mut Faults,
    ) -> Option<Option<Cors>> {
        if raw.is_some_and(|raw| !raw.enabled.0) {
            return Some(None);
        }
        let own = raw.map_or(Some(Said::default()), |raw| Said::compile(raw, place, faults));
        let (own, common) = (own?, self.said.as_ref()?);
        let said = own.clone().over(common.clone());
        match (&said.origins, raw) {
            (None, None) => Some(None),
            (None, Some(_)) => {
                faults.push(place.key("allow_origins"), "nothing, here and in the gateway's cors", "a list of origins");
                None
            }
            (Some(_), _) => said.goes_together(&own, place, faults).then(|| said.finish(methods)),
        }
    }
}

/// What the gateway says, in the form in which routes say it.
fn all_of(raw: &raw::Cors) -> RouteCors {
    RouteCors {
        enabled: Setting(true),
        allow_origins: Some(raw.allow_origins.clone()),
        allow_methods: Some(raw.allow_methods.clone()),
        allow_headers: Some(raw.allow_headers.clone()),
        expose_headers: Some(raw.expose_headers.clone()),
        allow_credentials: Some(raw.allow_credentials.0),
        max_age: Some(raw.max_age),
    }
}

impl Said {
    fn compile(raw: &RouteCors, place: &Place, faults: &mut Faults) -> Option<Said> {
        let before = faults.len();
        let origins = raw.allow_origins.as_ref().map(|texts| origins(texts, &place.key("allow_origins"), faults));
        let mut check = |key: &str, texts: &Option<Vec<String>>, is_one: &dyn Fn(&String) -> bool, allowed: &str| {
            let texts = texts.as_deref().unwrap_or_default();
            let wrong = (0..).zip(texts).filter(|(_, text)| !is_one(text)).map(|(index, _)| index).collect();
            wrong_items(&place.key(key), texts, Some(&wrong), allowed, faults);
        };
        let every_method = raw.allow_methods.as_ref().is_some_and(|methods| *methods == ["*"]);
        check("allow_methods", &raw.allow_methods, &|text| every_method || is_method(text), METHOD);
        check("allow_headers", &raw.allow_headers, &is_header, HEADER);
        check("expose_headers", &raw.expose_headers, &is_header, HEADER);
        if let Some(period) = raw.max_age.filter(|period| *period > LONGEST) {
            faults.push(place.key("max_age"), period.to_string(), "at most 24h");
        }
        (faults.len() == before).then(|| Said {
            origins,
            credentials: raw.allow_credentials,
            methods: raw.allow_methods.clone(),
            headers: raw.allow_headers.clone(),
            exposed: raw.expose_headers.clone(),
            max_age: raw.max_age,
        })
    }

    fn over(self, common: Said) -> Said {
        Said {
            origins: self.origins.or(common.origins),
            credentials: self.credentials.or(common.credentials),
            methods: self.methods.or(common.methods),
            headers: self.headers.or(common.headers),
            exposed: self.exposed.or(common.exposed),
            max_age: self.max_age.or(common.max_age),
        }
    }

    /// Whether all of it goes together. What does not is told to those values that are said at `place`, which are `own`.
    fn goes_together(&self, own: &Said, place: &Place, faults: &mut Faults) -> bool {
        if self.credentials != Some(true) {
            return true;
        }
        let any = self.origins == Some(Origins::Any);
        let exposes_all = self.exposed.as_deref().is_some_and(names_all);
        for (wrong, said_here, key) in
            [(any, own.origins.is_some(), "allow_origins"), (exposes_all, own.exposed.is_some(), "expose_headers")]
        {
            if wrong {
                let place = place.key(if said_here { key } else { "allow_credentials" });
                faults.add(Fault::saying(place, format!("* in {key} and allow_credentials do not go together")));
            }
        }
        if self.lists_null() && (own.origins.is_some() || own.credentials.is_some()) {
            faults
                .warn(Fault::saying(place.clone(), "with allow_credentials, null lets any page in that is sandboxed"));
        }
        !any && !exposes_all
    }

    fn lists_null(&self) -> bool {
        let null = Origin::Exact("null".into());
        matches!(&self.origins, Some(Origins::Listed(list)) if list.contains(&null))
    }

    fn finish(self, methods: &[Method]) -> Option<Cors> {
        let (credentials, headers) = (self.credentials?, self.headers?);
        let defaults = if methods.is_empty() { &COMMON_METHODS } else { methods };
        let methods = self.methods.filter(|methods| !methods.is_empty());
        let methods = methods.unwrap_or_else(|| defaults.iter().map(Method::to_string).collect());
        let authorization = headers.iter().any(|name| name.eq_ignore_ascii_case("authorization"));
        let every_header = if authorization { Allowed::Asked } else { Allowed::AskedButAuthorization };
        let exposed = EXPOSED.map(String::from).into_iter().chain(self.exposed?);
        Some(Cors {
            origins: self.origins?,
            credentials,
            methods: allowed(&methods, credentials, Allowed::Asked)?,
            headers: allowed(&headers, credentials, every_header)?,
            exposed: list(&exposed.collect::<Vec<_>>())?,
            max_age: self.max_age?.0.as_secs().into(),
        })
    }
}

/// A browser takes `*` by its letter where a page sends credentials; then `every` stands for it.
fn allowed(names: &[String], credentials: bool, every: Allowed) -> Option<Allowed> {
    if credentials && names_all(names) { Some(every) } else { list(names).map(Allowed::Listed) }
}

fn names_all(names: &[String]) -> bool {
    names.iter().any(|name| name == "*")
}

fn list(names: &[String]) -> Option<HeaderValue> {
    HeaderValue::from_str(&names.join(", ")).ok()
}

fn is_method(text: &String) -> bool {
    text != "*" && Method::from_bytes(text.as_bytes()).is_ok() && !text.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn is_header(text: &String) -> bool {
    HeaderName::from_bytes(text.as_bytes()).is_ok()
}

fn origins(texts: &[String], place: &Place, faults: &mut Faults) -> Origins {
    if *texts == ["*"] {
        return Origins::Any;
    }
    let mut listed = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match origin(text) {
            Some(origin) => listed.push(origin),
            None => {
                let meant = canonical(text).filter(|meant| origin(meant).is_some());
                let hint = meant.map(|meant| format!("did you mean {}?", quoted(&meant))).unwrap_or_default();
                faults.add(Fault::new(place.index(index), format!("{text:?}"), ORIGIN).with_hint(hint));
            }
        }
    }
    Origins::Listed(listed.into())
}

fn origin(text: &str) -> Option<Origin> {
    let is_origin = |text: &str| !text.contains('*') && canonical(text).as_deref() == Some(text);
    let under = text.split_once("*.").filter(|(scheme, domain)| scheme.ends_with("://") && !domain.is_empty());
    match under {
        Some((scheme, domain)) => is_origin(&format!("{scheme}any.{domain}"))
            .then(|| Origin::Under { scheme: scheme.into(), domain: format!(".{domain}").into() }),
        None => (text == "null" || is_origin(text)).then(|| Origin::Exact(text.into())),
    }
}

/// The origin of a URL, as browsers send it.
fn canonical(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let (origin, scheme) = (url.origin(), url.scheme());
    let host = url.host_str().filter(|host| !host.is_empty())?;
    Some(match url.port() {
        _ if origin.is_tuple() => origin.ascii_serialization(),
        // The schemes of apps and extensions, such as capacitor://localhost, are unknown to the standard of URLs.
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a route gets, and all that is wrong.
    fn compile(global: &str, route: &str, methods: &[Method]) -> (Option<Option<Cors>>, String) {
        let mut faults = Faults::default();
        let global: Option<raw::Cors> = (!global.is_empty()).then(|| read(global));
        let route: Option<RouteCors> = (!route.is_empty()).then(|| read(route));
        let defaults = Defaults::compile(global.as_ref(), &mut faults);
        let cors = defaults.of_route(route.as_ref(), methods, &Place::new("routes").index(0).key("cors"), &mut faults);
        assert_eq!(cors.is_some(), faults.is_empty());
        (cors, faults.to_string())
    }

    fn read<T: serde::de::DeserializeOwned>(text: &str) -> T {
        serde_json::from_str(text).unwrap()
    }

    fn compiled(global: &str, route: &str, methods: &[Method]) -> Cors {
        let (cors, faults) = compile(global, route, methods);
        cors.unwrap_or_else(|| panic!("{faults}")).expect("CORS")
    }

    #[test]
    fn what_is_not_said_has_defaults() {
        let cors = compiled(r#"{"allow_origins": ["https://a.test", "https://*.b.test:8443", "null"]}"#, "", &[]);
        let value = HeaderValue::from_static;
        let exposed = "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, RateLimit, RateLimit-Policy, \
                       Retry-After, X-Request-Id, X-Gatekeeper-Error";
        let under = Origin::Under { scheme: "https://".into(), domain: ".b.test:8443".into() };
        let expected = Cors {
            origins: Origins::Listed(Box::new([
                Origin::Exact("https://a.test".into()),
                under,
                Origin::Exact("null".into()),
            ])),
            credentials: false,
            methods: Allowed::Listed(value("GET, HEAD, POST, PUT, PATCH, DELETE")),
            headers: Allowed::Listed(value("Authorization, Content-Type")),
            exposed: value(exposed),
            max_age: value("600"),
        };
        assert_eq!(cors, expected);
        assert_eq!(compiled("", r#"{"allow_origins": ["*"]}"#, &[]), Cors { origins: Origins::Any, ..expected });
    }

    #[test]
    fn a_route_says_otherwise_key_by_key() {
        let global = r#"{"allow_origins": ["https://a.test"], "allow_methods": ["GET"], "allow_headers": ["X-A"],
            "expose_headers": ["X-B"], "allow_credentials": true, "max_age": 10}"#;
        let common = compiled(global, "", &[]);
        let said = |route| compiled(global, route, &[Method::PUT, Method::POST]);
        let listed = |text| Allowed::Listed(HeaderValue::from_static(text));
        let exposed = |last: &str| HeaderValue::try_from(format!("{}, {last}", EXPOSED.join(", "))).unwrap();
        assert_eq!(
            (&common.methods, &common.headers, &common.exposed),
            (&listed("GET"), &listed("X-A"), &exposed("X-B"))
        );
        let other = Origins::Listed(Box::new([Origin::Exact("http://b.test:8080".into())]));
        let cases = [
            (r#"{}"#, common.clone()),
            (r#"{"allow_origins": ["http://b.test:8080"]}"#, Cors { origins: other, ..common.clone() }),
            (r#"{"allow_origins": []}"#, Cors { origins: Origins::Listed(Box::default()), ..common.clone() }),
            (r#"{"allow_methods": ["PATCH"]}"#, Cors { methods: listed("PATCH"), ..common.clone() }),
            (r#"{"allow_methods": []}"#, Cors { methods: listed("PUT, POST"), ..common.clone() }),
            (r#"{"allow_headers": ["X-C"]}"#, Cors { headers: listed("X-C"), ..common.clone() }),
            (r#"{"expose_headers": ["X-D"]}"#, Cors { exposed: exposed("X-D"), ..common.clone() }),
            (r#"{"allow_credentials": false}"#, Cors { credentials: false, ..common.clone() }),
            (r#"{"max_age": "24h"}"#, Cors { max_age: 86_400.into(), ..common.clone() }),
        ];
        for (route, expected) in cases {
            assert_eq!(said(route), expected, "{route}");
        }
        assert_eq!(compile(global, r#"{"enabled": false}"#, &[]), (Some(None), String::new()));
        assert_eq!(compile("", "", &[]), (Some(None), String::new()));
    }

    #[test]
    fn all_is_a_star_without_credentials() {
        let all = |credentials: bool, headers: &str| {
            let route = format!(
                r#"{{"allow_origins": ["null"], "allow_methods": ["*"], "allow_headers": {headers}, "allow_credentials": {credentials}}}"#
            );
            let cors = compiled("", &route, &[]);
            (cors.methods, cors.headers)
        };
        let listed = |text| Allowed::Listed(HeaderValue::from_static(text));
        let cases = [
            (false, r#"["*"]"#, (listed("*"), listed("*"))),
            (false, r#"["*", "Authorization"]"#, (listed("*"), listed("*, Authorization"))),
            (true, r#"["*"]"#, (Allowed::Asked, Allowed::AskedButAuthorization)),
            (true, r#"["*", "authorization"]"#, (Allowed::Asked, Allowed::Asked)),
            (true, r#"[]"#, (Allowed::Asked, listed(""))),
        ];
        for (credentials, headers, expected) in cases {
            assert_eq!(all(credentials, headers), expected, "{headers}");
        }
    }

    #[test]
    fn origins_are_those_browsers_send() {
        for good in [
            "https://app.example.org",
            "http://localhost:3000",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "https://xn--bcher-kva.example",
            "https://*.example.org",
            "https://*.localhost:8443",
            "capacitor://localhost",
            "chrome-extension://abcdefghijklmnop",
            "app://local.test:1234",
            "null",
        ] {
            assert!(origin(good).is_some(), "{good}");
        }
        let wrong = [
            ("https://app.example.org/", Some("https://app.example.org")),
            ("https://app.example.org/path?x", Some("https://app.example.org")),
            ("https://app.example.org:443", Some("https://app.example.org")),
            ("HTTPS://App.example.org", Some("https://app.example.org")),
            ("https://*.example.org/", Some("https://*.example.org")),
            ("https://bücher.example", Some("https://xn--bcher-kva.example")),
            ("http://[0::1]", Some("http://[::1]")),
            ("http://127.1", Some("http://127.0.0.1")),
            ("https://user@app.example.org", Some("https://app.example.org")),
            ("capacitor://localhost/", Some("capacitor://localhost")),
            ("https://*example.org", None),
            ("https://a.*.example.org", None),
            ("https://*.*.example.org", None),
            ("https://*.127.0.0.1", None),
            ("https://*.[::1]", None),
            ("https://*.", None),
            ("https://*", None),
            ("*.example.org", None),
            ("app.example.org", None),
            ("https://", None),
            ("foo://", None),
            ("https://a.test:99999", None),
            ("Null", None),
            ("", None),
            (" ", None),
        ];
        for (text, meant) in wrong {
            let global = serde_json::json!({ "allow_origins": [text, "https://good.test"] }).to_string();
            let (_, faults) = compile(&global, "", &[]);
            let hint = meant.map(|meant| format!("; did you mean \"{meant}\"?")).unwrap_or_default();
            assert_eq!(faults, format!("cors.allow_origins[0]: found {text:?}, allowed: {ORIGIN}{hint}\n"));
        }
    }

    #[test]
    fn faults_are_told_once_and_where_they_stand() {
        let cases = [
            (
                r#"{"allow_origins": ["https://a.test", "*"]}"#,
                "",
                "cors.allow_origins[1]: found \"*\", allowed: an origin",
            ),
            (
                r#"{"allow_origins": ["*"], "allow_credentials": true}"#,
                "{}",
                "cors.allow_origins: * in allow_origins and",
            ),
            (r#"{"allow_origins": ["*"]}"#, r#"{"allow_credentials": true}"#, "routes[0].cors.allow_credentials: * in"),
            (
                r#"{"allow_origins": ["null"], "allow_credentials": true}"#,
                r#"{"allow_origins": ["*"]}"#,
                "routes[0].cors.allow_origins: * in allow_origins and",
            ),
            (
                r#"{"allow_origins": ["null"], "expose_headers": ["*"], "allow_credentials": true}"#,
                "",
                "cors.expose_headers: * in expose_headers and",
            ),
            (
                r#"{"allow_origins": [], "allow_methods": ["get"]}"#,
                "",
                "cors.allow_methods[0]: found \"get\", allowed: a",
            ),
            (
                r#"{"allow_origins": [], "allow_methods": ["GET", "*"]}"#,
                "",
                "cors.allow_methods[1]: found \"*\", allowed",
            ),
            (
                r#"{"allow_origins": [], "allow_methods": ["GET "]}"#,
                "",
                "cors.allow_methods[0]: found \"GET \", allowed",
            ),
            (r#"{"allow_origins": [], "allow_headers": ["X Y"]}"#, "", "cors.allow_headers[0]: found \"X Y\", allowed"),
            (r#"{"allow_origins": [], "expose_headers": [""]}"#, "", "cors.expose_headers[0]: found \"\", allowed"),
            (r#"{"allow_origins": [], "max_age": "25h"}"#, "{}", "cors.max_age: found 25h, allowed: at most 24h"),
            (
                "",
                "{}",
                "routes[0].cors.allow_origins: found nothing, here and in the gateway's cors, allowed: a list of",
            ),
        ];
        for (global, own, wanted) in cases {
            let (_, faults) = compile(global, own, &[]);
            assert!(faults.starts_with(wanted) && faults.lines().count() == 1, "{global} {own}: {faults}");
        }
    }

    #[test]
    fn null_with_credentials_is_warned_of() {
        let warned = |credentials: bool| {
            let raw = raw::Cors {
                allow_origins: vec!["null".into()],
                allow_credentials: Setting(credentials),
                ..raw::Cors::default()
            };
            let mut faults = Faults::default();
            let defaults = Defaults::compile(Some(&raw), &mut faults);
            assert!(defaults.of_route(Some(&RouteCors::default()), &[], &Place::new("x"), &mut faults).is_some());
            faults.lints().len()
        };
        assert_eq!((warned(true), warned(false)), (1, 0));
    }
}
