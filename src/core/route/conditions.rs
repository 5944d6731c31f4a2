//! What a request must look like to take a route, in the form in which equal conditions are equal: sorted, without
//! repetitions, HEAD beside GET.
//!
//! There may be a hundred thousand routes, so that what few of them have takes memory only where it is there.

use std::fmt;
use std::sync::Arc;

use http::Method;

use super::condition::{HeaderCondition, QueryCondition};
use super::host::HostPattern;
use super::listener::ListenerId;
use super::pattern::PathPattern;
use super::table::{Failed, Lookup};

/// What a request must look like to take a route.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// The route's name, unique.
    pub name: Arc<str>,
    /// The path.
    pub path: PathPattern,
    /// Any method when empty; GET includes HEAD.
    pub methods: Methods,
    /// Higher wins before anything else is compared.
    pub priority: i32,
    /// What else must hold.
    pub further: Further,
}

/// The methods of a route, collected from a list that may repeat some. The registered ones are bits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Methods {
    registered: u16,
    /// Sorted.
    others: Box<[Method]>,
}

/// The conditions that most routes do without. Where there are none, they take no memory.
#[derive(Clone, Debug, Default)]
pub struct Further(Option<Box<Parts>>);

#[derive(Clone, Debug)]
struct Parts {
    hosts: Box<[HostPattern]>,
    listeners: Box<[ListenerId]>,
    headers: Box<[HeaderCondition]>,
    query: Box<[QueryCondition]>,
}

impl Conditions {
    /// Its hosts; `None` stands for any host.
    pub(super) fn each_host(&self) -> impl Iterator<Item = Option<&HostPattern>> {
        let hosts = self.further.hosts();
        let any = hosts.is_empty().then_some(None);
        hosts.iter().map(Some).chain(any)
    }

    /// The listeners it is for; `None` stands for any.
    pub(super) fn each_listener(&self) -> impl Iterator<Item = Option<ListenerId>> {
        let listeners = self.further.listeners();
        let any = listeners.is_empty().then_some(None);
        listeners.iter().copied().map(Some).chain(any)
    }

    /// It has no conditions beside its host and path.
    pub(super) fn is_plain(&self) -> bool {
        let further = &self.further;
        self.methods.is_empty()
            && further.listeners().is_empty()
            && further.headers().is_empty()
            && further.query().is_empty()
    }

    /// The first condition beside host and path that does not hold; the method's is looked at last.
    pub(super) fn failed(&self, lookup: &Lookup<'_>) -> Option<Failed<'_>> {
        self.failed_beside_method(lookup).or_else(|| (!self.methods.allow(lookup.method)).then_some(Failed::Method))
    }

    /// The first condition beside host, path and method that does not hold.
    pub(super) fn failed_beside_method(&self, lookup: &Lookup<'_>) -> Option<Failed<'_>> {
        let parts = self.further.0.as_ref()?;
        if !parts.listeners.is_empty() && !parts.listeners.contains(&lookup.listener) {
            return Some(Failed::Listener);
        }
        let header = parts.headers.iter().find(|condition| !condition.holds(lookup.headers));
        let query = || parts.query.iter().find(|condition| !condition.holds(lookup.query));
        header
            .map(|condition| Failed::Header(condition.name().as_str()))
            .or_else(|| query().map(|condition| Failed::Query(condition.name())))
    }
}

/// The registered methods, each at the place of its bit.
const REGISTERED: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// The bit of a registered method; 0 for another.
fn bit(method: &Method) -> u16 {
    match *method {
        Method::GET => 1,
        Method::HEAD => 1 << 1,
        Method::POST => 1 << 2,
        Method::PUT => 1 << 3,
        Method::DELETE => 1 << 4,
        Method::CONNECT => 1 << 5,
        Method::OPTIONS => 1 << 6,
        Method::TRACE => 1 << 7,
        Method::PATCH => 1 << 8,
        _ => 0,
    }
}

impl Methods {
    /// There are none: any method will do.
    pub fn is_empty(&self) -> bool {
        self.registered == 0 && self.others.is_empty()
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = Method> {
        let registered = REGISTERED.into_iter().filter(|method| self.registered & bit(method) != 0);
        registered.chain(self.others.iter().cloned())
    }

    /// Whether it is one of them, or any method will do.
    pub(super) fn allow(&self, method: &Method) -> bool {
        self.is_empty() || self.registered & bit(method) != 0 || self.others.contains(method)
    }

    /// Whether they allow all that the others allow.
    pub(super) fn cover(&self, others: &Methods) -> bool {
        let both = self.registered & others.registered == others.registered;
        self.is_empty() || !others.is_empty() && both && others.others.iter().all(|method| self.others.contains(method))
    }
}

impl FromIterator<Method> for Methods {
    fn from_iter<I: IntoIterator<Item = Method>>(methods: I) -> Self {
        let (mut registered, mut others) = (0, Vec::new());
        for method in methods {
            match bit(&method) {
                0 => others.push(method),
                bit => registered |= bit,
            }
        }
        if registered & bit(&Method::GET) != 0 {
            registered |= bit(&Method::HEAD);
        }
        others.sort_unstable_by(|one: &Method, other| one.as_str().cmp(other.as_str()));
        others.dedup();
        Methods { registered, others: others.into() }
    }
}

impl Further {
    /// All of these must hold; an empty list stands for anything.
    pub fn new(
        mut hosts: Vec<HostPattern>,
        mut listeners: Vec<ListenerId>,
        mut headers: Vec<HeaderCondition>,
        mut query: Vec<QueryCondition>,
    ) -> Further {
        if hosts.is_empty() && listeners.is_empty() && headers.is_empty() && query.is_empty() {
            return Further::default();
        }
        hosts.sort_by_cached_key(HostPattern::to_string);
        hosts.dedup();
        listeners.sort_unstable();
        listeners.dedup();
        sort_conditions(&mut headers);
        sort_conditions(&mut query);
        let (hosts, listeners, headers, query) = (hosts.into(), listeners.into(), headers.into(), query.into());
        Further(Some(Box::new(Parts { hosts, listeners, headers, query })))
    }

    /// Any host when empty.
    pub fn hosts(&self) -> &[HostPattern] {
        self.0.as_ref().map_or(&[], |parts| &parts.hosts)
    }

    /// Any listener when empty.
    pub fn listeners(&self) -> &[ListenerId] {
        self.0.as_ref().map_or(&[], |parts| &parts.listeners)
    }

    /// All must hold.
    pub fn headers(&self) -> &[HeaderCondition] {
        self.0.as_ref().map_or(&[], |parts| &parts.headers)
    }

    /// All must hold.
    pub fn query(&self) -> &[QueryCondition] {
        self.0.as_ref().map_or(&[], |parts| &parts.query)
    }
}

/// The order does not matter, as long as it is always the same.
fn sort_conditions<T: fmt::Debug + PartialEq>(conditions: &mut Vec<T>) {
    conditions.sort_by_cached_key(|condition| format!("{condition:?}"));
    conditions.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn methods(names: &[&str]) -> Methods {
        names.iter().map(|name| name.parse::<Method>().unwrap()).collect()
    }

    #[test]
    fn methods_are_a_set() {
        assert_eq!(methods(&["PUT", "LOCK", "GET", "BREW", "LOCK"]), methods(&["BREW", "GET", "HEAD", "LOCK", "PUT"]));
        for method in REGISTERED {
            let one: Methods = [method.clone()].into_iter().collect();
            assert!(one.allow(&method) && !one.allow(&"LOCK".parse().unwrap()), "{method}");
            assert!(one.iter().any(|own| own == method), "{method}");
            assert_eq!(one.iter().count(), if method == Method::GET { 2 } else { 1 });
        }
        let lock = methods(&["LOCK"]);
        assert!(lock.allow(&"LOCK".parse().unwrap()) && !lock.allow(&Method::GET) && !lock.is_empty());
        assert!(Methods::default().allow(&Method::GET));
    }

    #[test]
    fn methods_cover_what_they_hold() {
        for (these, others, wanted) in [
            (&[][..], &[][..], true),
            (&[], &["GET"], true),
            (&["GET"], &[], false),
            (&["GET", "PUT"], &["HEAD"], true),
            (&["GET"], &["PUT"], false),
            (&["GET", "LOCK"], &["LOCK"], true),
            (&["GET"], &["GET", "LOCK"], false),
        ] {
            assert_eq!(methods(these).cover(&methods(others)), wanted, "{these:?} {others:?}");
        }
    }
}
