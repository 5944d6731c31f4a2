//! What upstreams are told of a user: request headers, each with a claim's value (SEMANTICS 2.8).
//!
//! `roles` and `scopes` are what access rules see, whatever claim they came from; lists are joined by commas. What can't be
//! said in a header is left out: a claim that is missing, an object, a text with control characters, an item of a list with a
//! comma, which would read as two.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::identity::{Identity, claim, text};

/// Which claims are told in which headers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Telling {
    headers: Box<[(HeaderName, Box<str>)]>,
}

/// What upstreams are told of one user.
#[derive(Debug)]
pub struct Told {
    /// By which configuration: that of an identity which outlived a reload may be an older one.
    by: Arc<Telling>,
    fields: Box<[(HeaderName, HeaderValue)]>,
}

impl Telling {
    /// Tells the claims of these names.
    pub fn new(headers: Vec<(HeaderName, Box<str>)>) -> Self {
        Telling { headers: headers.into() }
    }

    /// The headers.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter().map(|(name, _)| name)
    }

    /// Tells of a user. The values are made once for each.
    pub fn tell(self: &Arc<Self>, user: &Identity, upstream: &mut HeaderMap) {
        let told = user.told.get_or_init(|| Told { by: self.clone(), fields: self.fields(user) });
        let anew;
        let fields = if Arc::ptr_eq(&told.by, self) {
            &told.fields
        } else {
            anew = self.fields(user);
            &anew
        };
        for (name, value) in fields {
            upstream.insert(name, value.clone());
        }
    }

    /// All values are in one piece of memory: of a user who seldom comes none is in a cache.
    fn fields(&self, user: &Identity) -> Box<[(HeaderName, HeaderValue)]> {
        let mut texts = String::new();
        let mut place = |(name, claim): &(HeaderName, Box<str>)| {
            let begin = texts.len();
            texts.push_str(&said(user, claim)?);
            Some((name.clone(), begin..texts.len()))
        };
        let places: Vec<_> = self.headers.iter().filter_map(&mut place).collect();
        let texts = Bytes::from(texts);
        let value = |range| HeaderValue::from_maybe_shared(texts.slice(range)).ok();
        places.into_iter().filter_map(|(name, range)| Some((name, value(range)?))).collect()
    }
}

/// What a header says of a user.
fn said<'a>(user: &'a Identity, name: &str) -> Option<Cow<'a, str>> {
    let text = match (name, claim(&user.claims, name)) {
        ("sub", _) => Cow::Borrowed(&*user.subject),
        ("iss", _) => Cow::Borrowed(&*user.issuer),
        ("roles", _) => joined(user.roles.iter().map(|role| Cow::Borrowed(&**role))),
        ("scopes", _) => joined(user.scopes.iter().map(|scope| Cow::Borrowed(&**scope))),
        (_, Some(Value::Array(list))) => joined(list.iter().filter_map(text)),
        (_, value) => text(value?)?,
    };
    let printable = !text.is_empty() && !text.chars().any(char::is_control);
    Some(text).filter(|_| printable)
}

fn joined<'a>(texts: impl Iterator<Item = Cow<'a, str>>) -> Cow<'a, str> {
    let unmistakable = |text: &Cow<str>| !text.contains(',') && !text.chars().any(char::is_control);
    texts.filter(unmistakable).collect::<Vec<_>>().join(",").into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user() -> Identity {
        let claims = json!({ "email": "ü@example.org", "groups": ["a", "b,c", "d\n", 5], "bad": "a\r\nX-Evil: 1", "org": { "id": 7 } });
        Identity {
            issuer: "https://id".into(),
            subject: "u-1".into(),
            roles: Box::new(["admin".into(), "editor".into()]),
            claims: claims.as_object().unwrap().clone(),
            ..Identity::default()
        }
    }

    fn told(user: &Identity, headers: &[(&'static str, &str)]) -> Vec<String> {
        let headers = headers.iter().map(|(name, claim)| (HeaderName::from_static(name), Box::from(*claim)));
        let telling = Arc::new(Telling::new(headers.collect()));
        let mut upstream = HeaderMap::new();
        telling.tell(user, &mut upstream);
        let said = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}={}", std::str::from_utf8(value.as_bytes()).unwrap())
        };
        upstream.iter().map(said).collect()
    }

    #[test]
    fn claims_are_told_and_nothing_that_could_be_mistaken() {
        let cases = [
            ("sub", "x=u-1"),
            ("iss", "x=https://id"),
            ("roles", "x=admin,editor"),
            ("email", "x=ü@example.org"),
            ("groups", "x=a,5"),
            ("org.id", "x=7"),
            ("scopes", ""),
            ("bad", ""),
            ("org", ""),
            ("missing", ""),
        ];
        for (claim, wanted) in cases {
            assert_eq!(told(&user(), &[("x", claim)]).join(" "), wanted, "{claim}");
        }
    }

    #[test]
    fn another_configuration_tells_something_else() {
        let user = user();
        assert_eq!(told(&user, &[("x", "sub")]), ["x=u-1"]);
        assert_eq!(told(&user, &[("y", "roles")]), ["y=admin,editor"]);
    }
}
