//! The table against a plain linear scan, and the lines of the rules one by one.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::*;
use gatekeeper_model::raw::{Condition, ConditionForm};

/// A route as a person would write it.
#[derive(Clone, Debug, PartialEq)]
struct Spec {
    name: String,
    hosts: Vec<&'static str>,
    path: &'static str,
    listeners: &'static [usize],
    methods: &'static [&'static str],
    /// Header conditions; the value `*` stands for any.
    headers: &'static [(&'static str, &'static str)],
    query: &'static [(&'static str, &'static str)],
    priority: i32,
}

/// A request as a person would write it.
#[derive(Clone, Copy, Debug)]
struct Request {
    host: Option<&'static str>,
    path: &'static str,
    listener: usize,
    method: &'static str,
    headers: &'static [(&'static str, &'static str)],
    query: Option<&'static str>,
}

impl Spec {
    fn new(name: &str, path: &'static str) -> Self {
        let (hosts, listeners) = (vec![], &[]);
        Spec { name: name.into(), hosts, path, listeners, methods: &[], headers: &[], query: &[], priority: 0 }
    }

    fn conditions(&self) -> Conditions {
        let condition = |value: &str| match value {
            "*" => Condition::Form(ConditionForm::Present(true)),
            _ => Condition::Equals(value.into()),
        };
        let header = |(name, value): &(&str, &str)| HeaderCondition::compile(name, &condition(value)).unwrap();
        let query = |(name, value): &(&str, &str)| QueryCondition::compile(name, &condition(value)).unwrap();
        let further = Further::new(
            self.hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect(),
            self.listeners.iter().map(|listener| ListenerId::new("l", *listener)).collect(),
            self.headers.iter().map(header).collect(),
            self.query.iter().map(query).collect(),
        );
        Conditions {
            name: self.name.as_str().into(),
            path: PathPattern::parse(self.path).unwrap(),
            methods: self.methods.iter().map(|method| method.parse::<Method>().unwrap()).collect(),
            priority: self.priority,
            further,
        }
    }
}

impl Request {
    const fn get(host: Option<&'static str>, path: &'static str) -> Self {
        Request { host, path, listener: 0, method: "GET", headers: &[], query: None }
    }

    fn with<T>(&self, run: impl FnOnce(&Lookup<'_>) -> T) -> T {
        let method: Method = self.method.parse().unwrap();
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let headers: HeaderMap = self.headers.iter().map(header).collect();
        let listener = ListenerId::new("l", self.listener);
        let (host, path, query) = (self.host, self.path, self.query);
        run(&Lookup { host, path, listener, method: &method, headers: &headers, query })
    }

    fn find(&self, table: &Table) -> Found {
        self.with(|lookup| table.find(lookup))
    }
}

fn table(specs: &[Spec]) -> Table {
    Table::build(specs.iter().map(Spec::conditions).collect()).unwrap()
}

/// The slow, obvious model: everything is compared as text, every route is looked at.
mod model {
    use super::*;

    fn host_matches(pattern: &str, host: &str) -> bool {
        match pattern.strip_prefix('*') {
            Some(dotted) => host.ends_with(dotted) && host.len() > dotted.len(),
            None => host == pattern,
        }
    }

    fn path_matches(pattern: &str, path: &str) -> bool {
        let parts = |text: &str| text.split('/').skip(1).map(String::from).collect::<Vec<_>>();
        let segments = parts(path);
        let (wanted, is_prefix) = match pattern.strip_suffix("/*") {
            Some(prefix) => (parts(prefix), true),
            None => (parts(pattern), false),
        };
        let fits = |(wanted, segment): (&String, &String)| match wanted.as_bytes().first() {
            Some(b'*' | b'{') => !segment.is_empty(),
            _ => wanted == segment,
        };
        (if is_prefix { segments.len() >= wanted.len() } else { segments.len() == wanted.len() })
            && wanted.iter().zip(&segments).all(fits)
    }

    fn pairs_match(wanted: &[(&str, &str)], given: &[(&str, &str)]) -> bool {
        wanted.iter().all(|want| given.iter().any(|pair| pair.0 == want.0 && (want.1 == "*" || pair.1 == want.1)))
    }

    fn listener_matches(spec: &Spec, listener: usize) -> bool {
        spec.listeners.is_empty() || spec.listeners.contains(&listener)
    }

    fn method_matches(spec: &Spec, method: &str) -> bool {
        spec.methods.is_empty() || spec.methods.contains(&method) || method == "HEAD" && spec.methods.contains(&"GET")
    }

    /// The larger the better, but for the name.
    fn merit(spec: &Spec, host: Option<&str>) -> [i64; 10] {
        let segments: Vec<_> = spec.path.strip_suffix("/*").unwrap_or(spec.path).split('/').skip(1).collect();
        let is_wild = |segment: &str| segment.starts_with(['*', '{']);
        let is_prefix = spec.path.ends_with("/*");
        let host = host.unwrap_or("*");
        [
            spec.priority.into(),
            (!host.starts_with('*')).into(),
            if host.starts_with('*') { host.len() as i64 } else { 0 },
            (!is_prefix && !segments.iter().any(|segment| is_wild(segment))).into(),
            segments.iter().filter(|segment| !is_wild(segment) && !segment.is_empty()).count() as i64,
            segments.len() as i64 * 10 + i64::from(!is_prefix),
            (!spec.listeners.is_empty()).into(),
            (!spec.methods.is_empty()).into(),
            spec.headers.len() as i64,
            spec.query.len() as i64,
        ]
    }

    /// Candidates in their order, with whether they hold beside the method, and whether the method does.
    pub fn candidates(specs: &[Spec], request: &Request) -> Vec<(usize, bool, bool)> {
        let query: Vec<_> = request.query.iter().flat_map(|q| q.split('&')).filter_map(|p| p.split_once('=')).collect();
        let mut found = Vec::new();
        for (place, spec) in specs.iter().enumerate().filter(|(_, spec)| path_matches(spec.path, request.path)) {
            let own = spec.hosts.iter().filter(|host| request.host.is_some_and(|given| host_matches(host, given)));
            let best = own.map(|host| merit(spec, Some(host))).max();
            let Some(merit) = best.or_else(|| spec.hosts.is_empty().then(|| merit(spec, None))) else { continue };
            let pairs = pairs_match(spec.headers, request.headers) && pairs_match(spec.query, &query);
            let beside = pairs && listener_matches(spec, request.listener);
            found.push((merit, &spec.name, (place, beside, method_matches(spec, request.method))));
        }
        found.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(other.1)));
        found.into_iter().map(|(_, _, candidate)| candidate).collect()
    }

    /// The route's place, or the sorted methods of a 405 (none: 404).
    pub fn find(specs: &[Spec], request: &Request) -> Result<usize, Vec<&'static str>> {
        let candidates = candidates(specs, request);
        if let Some((place, ..)) = candidates.iter().find(|(_, beside, method)| *beside && *method) {
            return Ok(*place);
        }
        let refusing = candidates.iter().filter(|(_, beside, _)| *beside);
        let mut methods: Vec<_> = refusing.flat_map(|(place, ..)| specs[*place].methods.iter().copied()).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        methods.dedup();
        Err(methods)
    }

    pub fn clash(one: &Spec, other: &Spec) -> bool {
        let shape =
            |path: &str| path.replace("{p}", "*").replace("{q}", "*") + if path.ends_with("/*") { "+" } else { "" };
        let share_host =
            one.hosts.is_empty() && other.hosts.is_empty() || one.hosts.iter().any(|host| other.hosts.contains(host));
        let share_listener = one.listeners.is_empty() && other.listeners.is_empty()
            || one.listeners.iter().any(|listener| other.listeners.contains(listener));
        let rest = |spec: &Spec| (shape(spec.path), spec.methods, spec.headers, spec.query, spec.priority);
        share_host && share_listener && rest(one) == rest(other)
    }
}

const HOST_PATTERNS: &[&str] = &["a.x.org", "x.org", "b.a.x.org", "*.x.org", "*.org", "*.a.x.org"];
const PATTERNS: &[&str] = &[
    "/",
    "/*",
    "/a",
    "/a/",
    "/a/*",
    "/{p}",
    "/{p}/",
    "/{p}/*",
    "/a/b",
    "/a/{p}",
    "/{p}/b",
    "/a/*/c",
    "/*/b/c",
    "/a/b/*",
    "/{p}/{q}/*",
    "/a/b/c",
    "/{p}/b/{q}",
    "/*/*/c",
];
const LISTENERS: &[&[usize]] = &[&[], &[], &[], &[0], &[1], &[0, 1]];
const METHODS: &[&[&str]] = &[&[], &[], &["GET"], &["POST"], &["GET", "POST"], &["PUT", "HEAD"]];
const CONDITIONS: &[&[(&str, &str)]] =
    &[&[], &[], &[("x-a", "1")], &[("x-a", "*")], &[("x-b", "1")], &[("x-a", "1"), ("x-b", "1")]];

const HOSTS: &[Option<&str>] = &[None, Some("x.org"), Some("a.x.org"), Some("b.a.x.org"), Some("c.org"), Some("d.net")];
const PATHS: &[&str] = &[
    "/", "/a", "/a/", "/b", "/b/", "/a/b", "/a/b/", "/a/b/c", "/a/c", "/c/b", "/c/b/c", "/a//c", "/a/b/c/d", "/c/c/c",
];
const REQUEST_METHODS: &[&str] = &["GET", "POST", "HEAD", "DELETE"];
const REQUEST_HEADERS: &[&[(&str, &str)]] =
    &[&[], &[("x-a", "1")], &[("x-a", "2"), ("x-a", "1")], &[("x-a", "2")], &[("x-a", "1"), ("x-b", "1")]];
const QUERIES: &[Option<&str>] = &[None, Some("x-a=1"), Some("x-a=2&x-b=1"), Some("x-b=1&x-a=1")];

fn specs(most: usize) -> impl Strategy<Value = Vec<Spec>> {
    let hosts = prop::collection::vec(0..HOST_PATTERNS.len(), 0..3);
    let numbers =
        (0..PATTERNS.len(), 0..METHODS.len(), 0..CONDITIONS.len(), 0..CONDITIONS.len(), 0..8usize, 0..LISTENERS.len());
    prop::collection::vec((hosts, numbers), 1..most).prop_map(|routes| {
        let spec = |(place, (hosts, numbers)): (usize, (Vec<usize>, (_, _, _, _, _, _)))| Spec {
            // Names in another order than the places.
            name: format!("r{}", place * 7 % 11),
            hosts: hosts.into_iter().map(|host| HOST_PATTERNS[host]).collect(),
            path: PATTERNS[numbers.0],
            listeners: LISTENERS[numbers.5],
            methods: METHODS[numbers.1],
            headers: CONDITIONS[numbers.2],
            query: CONDITIONS[numbers.3],
            priority: [0, 0, 0, 0, 0, 0, 1, -1][numbers.4],
        };
        routes.into_iter().enumerate().map(spec).collect()
    })
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let numbers = (
        0..HOSTS.len(),
        0..PATHS.len(),
        0..REQUEST_METHODS.len(),
        0..REQUEST_HEADERS.len(),
        0..QUERIES.len(),
        0..2usize,
    );
    let request =
        |(host, path, method, headers, query, listener): (usize, usize, usize, usize, usize, usize)| Request {
            host: HOSTS[host],
            path: PATHS[path],
            listener,
            method: REQUEST_METHODS[method],
            headers: REQUEST_HEADERS[headers],
            query: QUERIES[query],
        };
    prop::collection::vec(numbers.prop_map(request), 12)
}

fn all_requests() -> impl Iterator<Item = Request> {
    let conditions = || REQUEST_HEADERS.iter().flat_map(|headers| QUERIES.iter().map(move |query| (headers, query)));
    let methods = move || REQUEST_METHODS.iter().flat_map(move |m| conditions().map(move |(h, q)| (m, h, q)));
    HOSTS.iter().flat_map(move |host| {
        PATHS.iter().flat_map(move |path| {
            methods().flat_map(move |(method, headers, query)| {
                let listeners = [0, 1].into_iter();
                listeners.map(move |listener| Request { host: *host, path, listener, method, headers, query: *query })
            })
        })
    })
}

/// The specs without those that clash with an earlier one; the table must see that there were some.
fn without_clashes(specs: &[Spec]) -> Vec<Spec> {
    let mut kept: Vec<Spec> = Vec::new();
    for spec in specs {
        if !kept.iter().any(|other| model::clash(other, spec)) {
            kept.push(spec.clone());
        }
    }
    let built = Table::build(specs.iter().map(Spec::conditions).collect());
    assert_eq!(built.is_err(), kept.len() < specs.len());
    kept
}

fn check(table: &Table, specs: &[Spec], request: &Request) {
    let found = match request.find(table) {
        Found::Route(place) => Ok(place),
        Found::MethodNotAllowed(allow) => Err(allow.to_string()),
        Found::NotFound => Err(String::new()),
    };
    assert_eq!(found, model::find(specs, request).map_err(|methods| methods.join(", ")), "{request:?}");
    let explained = request.with(|lookup| {
        let judge = |c: Candidate<'_>| (c.route, matches!(c.failed, None | Some(Failed::Method)), c.failed.is_none());
        table.explain(lookup).into_iter().map(judge).collect::<Vec<_>>()
    });
    let expected =
        model::candidates(specs, request).into_iter().map(|(place, beside, method)| (place, beside, beside && method));
    assert_eq!(explained, expected.collect::<Vec<_>>(), "{request:?}");
}

#[test]
fn any_number_of_siblings_is_found() {
    // They are held otherwise where they are many.
    for count in 1..12 {
        let conditions = |n| Conditions {
            name: format!("r{n}").into(),
            path: PathPattern::parse(&format!("/s{n}/{{id}}/x")).unwrap(),
            ..Spec::new("", "/").conditions()
        };
        let table = Table::build((0..count).map(conditions).collect()).unwrap();
        let (method, headers) = (Method::GET, HeaderMap::new());
        let (host, listener, query) = (None, ListenerId::default(), None);
        let find = |path: &str| table.find(&Lookup { host, path, listener, method: &method, headers: &headers, query });
        for n in 0..count {
            assert_eq!(find(&format!("/s{n}/1/x")), Found::Route(n), "{n} of {count}");
        }
        assert_eq!(find(&format!("/s{count}/1/x")), Found::NotFound);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12_000))]
    #[test]
    fn the_table_agrees_with_a_linear_scan(specs in specs(10), requests in requests()) {
        let specs = without_clashes(&specs);
        let table = table(&specs);
        let shadows = table.shadowed();
        for request in &requests {
            check(&table, &specs, request);
            let winner = model::find(&specs, request).ok();
            prop_assert!(!shadows.iter().any(|shadow| Some(shadow.route) == winner), "{:?} {:?}", shadows, request);
        }
    }

    #[test]
    fn insertion_order_does_not_matter(specs in specs(8), requests in requests(), turn in 0..8usize) {
        let specs = without_clashes(&specs);
        let mut other = specs.clone();
        other.rotate_left(turn % specs.len());
        other.reverse();
        let (one_table, other_table) = (table(&specs), table(&other));
        let named = |specs: &[Spec], found| match found {
            Found::Route(place) => specs[place].name.clone(),
            Found::MethodNotAllowed(allow) => format!("405 {allow}"),
            Found::NotFound => "404".into(),
        };
        for request in &requests {
            prop_assert_eq!(named(&specs, request.find(&one_table)), named(&other, request.find(&other_table)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn no_request_reaches_a_shadowed_route(specs in specs(10)) {
        let specs = without_clashes(&specs);
        let table = table(&specs);
        let shadows = table.shadowed();
        if !shadows.is_empty() {
            for request in all_requests() {
                let winner = model::find(&specs, &request).ok();
                prop_assert!(!shadows.iter().any(|shadow| Some(shadow.route) == winner), "{:?} {:?}", shadows, request);
            }
        }
    }
}

/// Each pair: the first goes before the second by this rule, for this request.
#[test]
fn each_rule_breaks_its_tie() {
    let spec = |path| Spec::new("z", path);
    let host = |host, path| Spec { hosts: vec![host], ..spec(path) };
    let pairs = [
        (Spec { priority: 1, ..spec("/*") }, host("a.x.org", "/a/b"), Rule::Priority, "higher priority"),
        (host("a.x.org", "/*"), host("*.x.org", "/a/b"), Rule::ExactHost, "exact host"),
        (host("*.x.org", "/*"), host("*.org", "/a/b"), Rule::LongerHost, "longer wildcard host"),
        (host("*.org", "/*"), spec("/a/b"), Rule::LongerHost, "longer wildcard host"),
        (spec("/a/b"), spec("/a/b/*"), Rule::ExactPath, "exact path"),
        (spec("/a/*"), spec("/{p}/{q}"), Rule::LiteralSegments, "more literal segments"),
        (spec("/a/{p}"), spec("/a/*"), Rule::LongerPrefix, "longer prefix"),
        (spec("/a/{p}"), spec("/a/{p}/*"), Rule::LongerPrefix, "longer prefix"),
        (
            Spec { listeners: &[0, 1], ..spec("/a/b") },
            Spec { methods: &["GET"], headers: &[("x-a", "1")], ..spec("/a/b") },
            Rule::ListenerCondition,
            "listener condition",
        ),
        (
            Spec { methods: &["GET"], ..spec("/a/b") },
            Spec { headers: &[("x-a", "1"), ("x-b", "1")], ..spec("/a/b") },
            Rule::MethodCondition,
            "method condition",
        ),
        (
            Spec { headers: &[("x-a", "1")], ..spec("/a/b") },
            Spec { query: &[("x-a", "1"), ("x-b", "1")], ..spec("/a/b") },
            Rule::HeaderConditions,
            "more header conditions",
        ),
        (Spec { query: &[("x-a", "1")], ..spec("/a/b") }, spec("/a/b"), Rule::QueryConditions, "more query conditions"),
        (spec("/a/{p}"), spec("/*/b"), Rule::Name, "name"),
    ];
    let headers = &[("x-a", "1"), ("x-b", "1")];
    let request = Request { headers, query: Some("x-a=1&x-b=1"), ..Request::get(Some("a.x.org"), "/a/b") };
    for (first, mut second, rule, text) in pairs {
        // The name speaks for the second, but where only the name is left.
        second.name = if rule == Rule::Name { "zz" } else { "a" }.into();
        let table = table(&[second, first]);
        let explained = request.with(|lookup| {
            table.explain(lookup).iter().map(|candidate| (candidate.route, candidate.won_by)).collect::<Vec<_>>()
        });
        assert_eq!(explained, [(1, Some(rule)), (0, None)], "{text}");
        assert_eq!(rule.to_string(), text);
        assert_eq!(request.find(&table), Found::Route(1));
    }
}

#[test]
fn a_refusing_candidate_lets_the_next_one_try() {
    let specs = [
        Spec { methods: &["POST"], ..Spec::new("exact", "/a/b") },
        Spec { headers: &[("x-a", "1")], ..Spec::new("header", "/a/{p}") },
        Spec { methods: &["GET"], ..Spec::new("prefix", "/a/*") },
    ];
    let table = table(&specs);
    let request = Request::get(None, "/a/b");
    assert_eq!(request.find(&table), Found::Route(2));
    let failed = request
        .with(|lookup| table.explain(lookup).iter().map(|c| c.failed.map(|f| f.to_string())).collect::<Vec<_>>());
    assert_eq!(failed, [Some("method".into()), Some("header x-a".into()), None]);
    assert_eq!(Request { method: "HEAD", ..request }.find(&table), Found::Route(2));
    let refused = Request { method: "PUT", ..request }.find(&table);
    let Found::MethodNotAllowed(allow) = refused else { panic!("{refused:?}") };
    assert_eq!(allow.to_string(), "GET, HEAD, POST");
    assert_eq!(Request::get(None, "/b").find(&table), Found::NotFound);
}

#[test]
fn a_header_that_is_missing_too_makes_it_404() {
    let specs = [Spec { methods: &["POST"], headers: &[("x-a", "1")], ..Spec::new("r", "/a") }];
    assert_eq!(Request::get(None, "/a").find(&table(&specs)), Found::NotFound);
}

#[test]
fn on_another_listener_a_route_does_not_exist() {
    let specs = [
        Spec { listeners: &[1], methods: &["POST"], ..Spec::new("inside", "/a/b") },
        Spec { methods: &["GET"], ..Spec::new("everywhere", "/a/*") },
    ];
    let table = table(&specs);
    let request = |listener, method| Request { listener, method, ..Request::get(None, "/a/b") };
    assert_eq!(request(1, "POST").find(&table), Found::Route(0));
    assert_eq!(request(1, "GET").find(&table), Found::Route(1));
    assert_eq!(request(0, "GET").find(&table), Found::Route(1));
    let refused = request(0, "POST").find(&table);
    let Found::MethodNotAllowed(allow) = refused else { panic!("{refused:?}") };
    assert_eq!(allow.to_string(), "GET, HEAD", "nothing of the other listener's route is told");
    let failed = request(0, "POST")
        .with(|lookup| table.explain(lookup).iter().map(|c| c.failed.map(|f| f.to_string())).collect::<Vec<_>>());
    assert_eq!(failed, [Some("listener".into()), Some("method".into())]);
}

#[test]
fn routes_clash_where_they_share_a_listener() {
    let on = |name, listeners| Spec { listeners, ..Spec::new(name, "/") };
    let specs = [on("a", &[0, 1]), on("b", &[1, 2]), on("c", &[3]), on("d", &[])];
    let clashes = Table::build(specs.iter().map(Spec::conditions).collect()).unwrap_err();
    assert_eq!(clashes, [Clash { first: 0, second: 1, host: None }]);
}

#[test]
fn without_a_host_only_routes_for_any_host_match() {
    let table = table(&[Spec { hosts: vec!["a.x.org"], ..Spec::new("r", "/") }, Spec::new("any", "/")]);
    assert_eq!(Request::get(None, "/").find(&table), Found::Route(1));
    assert_eq!(Request::get(Some("a.x.org"), "/").find(&table), Found::Route(0));
}

#[test]
fn clashes_name_both_routes_and_the_host() {
    let specs = [
        Spec { hosts: vec!["a.x.org", "*.x.org"], methods: &["GET"], ..Spec::new("one", "/u/{id}") },
        Spec { hosts: vec!["b.x.org", "*.x.org"], methods: &["HEAD", "GET"], ..Spec::new("other", "/u/{name}") },
        Spec { hosts: vec!["*.x.org"], methods: &["GET"], priority: 1, ..Spec::new("fine", "/u/{id}") },
        Spec::new("x", "/x"),
        Spec::new("y", "/%78"),
    ];
    let clashes = Table::build(specs.iter().map(Spec::conditions).collect()).unwrap_err();
    let host = HostPattern::parse("*.x.org").unwrap();
    let expected = [Clash { first: 0, second: 1, host: Some(host) }, Clash { first: 3, second: 4, host: None }];
    assert_eq!(clashes, expected);
}

#[test]
fn a_pair_clashes_once() {
    let on = |name, hosts: &[&'static str]| Spec { hosts: hosts.to_vec(), ..Spec::new(name, "/") };
    let specs = [on("r", &["a.org", "c.org"]), on("s", &["b.org"]), on("t", &["a.org", "b.org", "c.org"])];
    let clashes = Table::build(specs.iter().map(Spec::conditions).collect()).unwrap_err();
    let pairs: Vec<_> = clashes.iter().map(|clash| (clash.first, clash.second)).collect();
    assert_eq!(pairs, [(0, 2), (1, 2)]);
}

#[test]
fn shadows() {
    let over = |path| Spec { priority: 1, ..Spec::new("over", path) };
    let under = |path| Spec { hosts: vec!["a.x.org", "*.org"], methods: &["GET"], ..Spec::new("under", path) };
    for (first, second, expected) in [
        (over("/*"), under("/a/b"), true),
        (over("/a/*"), under("/a"), true),
        (over("/a/*"), under("/a/*/b"), true),
        (over("/{p}/*"), under("/{q}"), true),
        (over("/{p}/b"), under("/a/b"), true),
        (over("/{p}"), under("/*"), false),
        (over("/{p}"), under("/"), false),
        (over("/a/{p}"), under("/{p}/a"), false),
        (over("/a/{p}"), under("/a/*"), false),
        (Spec { priority: 0, ..over("/a/*") }, under("/a/b"), false),
        (Spec { methods: &["GET", "POST"], ..over("/*") }, under("/a"), true),
        (Spec { methods: &["POST"], ..over("/*") }, under("/a"), false),
        (Spec { hosts: vec!["*.org"], ..over("/*") }, under("/a"), true),
        (Spec { hosts: vec!["*.x.org"], ..over("/*") }, under("/a"), false),
        (Spec { headers: &[("x-a", "1")], ..over("/*") }, under("/a"), false),
        (
            Spec { headers: &[("x-a", "1")], ..over("/*") },
            Spec { headers: &[("x-b", "1"), ("x-a", "1")], ..under("/a") },
            true,
        ),
        (Spec { query: &[("x-a", "1")], ..over("/*") }, Spec { query: &[("x-a", "1")], ..under("/a") }, true),
        (Spec { methods: &["GET"], ..over("/*") }, Spec { methods: &[], ..under("/a") }, false),
        (Spec { listeners: &[0], ..over("/*") }, under("/a"), false),
        (over("/*"), Spec { listeners: &[0], ..under("/a") }, true),
        (Spec { listeners: &[0, 1], ..over("/*") }, Spec { listeners: &[1], ..under("/a") }, true),
        (Spec { listeners: &[0], ..over("/*") }, Spec { listeners: &[0, 1], ..under("/a") }, false),
    ] {
        let shadows = table(&[second.clone(), first.clone()]).shadowed();
        let found = if expected { vec![Shadow { route: 0, by: vec![1] }] } else { vec![] };
        assert_eq!(shadows, found, "{} under {}", second.path, first.path);
    }
}

#[test]
fn different_routes_may_shadow_a_route_for_each_of_its_hosts() {
    let over = |name, host| Spec { hosts: vec![host], priority: 1, ..Spec::new(name, "/*") };
    let under = Spec { hosts: vec!["a.org", "b.org"], ..Spec::new("under", "/a") };
    let table = table(&[over("a", "a.org"), under, over("b", "b.org")]);
    assert_eq!(table.shadowed(), [Shadow { route: 1, by: vec![0, 2] }]);
}

#[test]
fn a_hundred_thousand_routes_are_found() {
    let path = |n: usize| match n % 3 {
        0 => format!("/s{n}/list"),
        1 => format!("/s{n}/{{id}}"),
        _ => format!("/s{n}/*"),
    };
    let route = |n| Conditions {
        path: PathPattern::parse(&path(n)).unwrap(),
        name: format!("r{n}").into(),
        ..Spec::new("", "/").conditions()
    };
    let table = Table::build((0..100_000).map(route).collect()).unwrap();
    let (method, headers) = (Method::GET, HeaderMap::new());
    let (host, listener, query) = (Some("h"), ListenerId::default(), None);
    let find = |path: &str| table.find(&Lookup { host, path, listener, method: &method, headers: &headers, query });
    for n in (0..100_000).step_by(997) {
        assert_eq!(find(&format!("/s{n}/list")), Found::Route(n));
        let other = if n % 3 == 0 { Found::NotFound } else { Found::Route(n) };
        assert_eq!(find(&format!("/s{n}/7")), other);
    }
    assert!(table.shadowed().is_empty());
}
