//! Conditions on request headers and query parameters, compiled.
//!
//! Values are compared byte by byte. Of a repeated header or parameter any value may satisfy the condition; `present:
//! false` holds when there is none. Names and values of the query are compared after decoding `%xx` and `+`; an
//! escape that is none stays as it is, and a parameter without `=` has an empty value. Regular expressions match the
//! whole value.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use http::{HeaderMap, HeaderName};
use regex::bytes::Regex;

use super::path::escaped_byte;
use gatekeeper_model::raw::{Condition, ConditionForm};

/// A condition on a request header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderCondition {
    name: HeaderName,
    test: Test,
}

/// A condition on a query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueryCondition {
    name: Box<str>,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Test {
    OneOf(Box<[String]>),
    Prefix(String),
    Contains(String),
    Whole(Expression),
    Present,
    Absent,
}

/// A regular expression, equal to another of the same text.
#[derive(Clone, Debug)]
struct Expression(Regex);

impl HeaderCondition {
    /// Compiles a condition; the error says what is wrong.
    pub fn compile(name: &str, condition: &Condition) -> Result<Self, String> {
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not a header name"))?;
        Ok(HeaderCondition { name: header, test: Test::compile(condition)? })
    }

    /// The header's name.
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// Whether it holds.
    pub fn holds(&self, headers: &HeaderMap) -> bool {
        self.test.holds(headers.get_all(&self.name).iter().map(|value| value.as_bytes()))
    }
}

impl QueryCondition {
    /// Compiles a condition; the error says what is wrong.
    pub fn compile(name: &str, condition: &Condition) -> Result<Self, String> {
        if name.is_empty() {
            return Err("a query parameter has a name".into());
        }
        Ok(QueryCondition { name: name.into(), test: Test::compile(condition)? })
    }

    /// The parameter's name, decoded.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it holds.
    pub fn holds(&self, query: Option<&str>) -> bool {
        let pairs = query.into_iter().flat_map(|query| query.split('&'));
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        self.test
            .holds(pairs.filter(|(name, _)| *decoded(name) == *self.name.as_bytes()).map(|(_, value)| decoded(value)))
    }
}

impl Test {
    fn compile(condition: &Condition) -> Result<Self, String> {
        let form = match condition {
            Condition::Equals(value) => return Ok(Test::OneOf([value.clone()].into())),
            Condition::Form(form) => form,
        };
        match form {
            ConditionForm::OneOf(values) if values.is_empty() => Err("`one_of` needs at least one value".into()),
            ConditionForm::OneOf(values) => {
                let mut values = values.clone();
                values.sort();
                values.dedup();
                Ok(Test::OneOf(values.into()))
            }
            ConditionForm::Prefix(text) | ConditionForm::Contains(text) if text.is_empty() => {
                Err("an empty text stands in every value: write `present: true`".into())
            }
            ConditionForm::Prefix(text) => Ok(Test::Prefix(text.clone())),
            ConditionForm::Contains(text) => Ok(Test::Contains(text.clone())),
            ConditionForm::Regex(text) => Expression::compile(text).map(Test::Whole),
            ConditionForm::Present(true) => Ok(Test::Present),
            ConditionForm::Present(false) => Ok(Test::Absent),
        }
    }

    /// Whether any of the values satisfies it (for `Absent`: whether there is none).
    fn holds<V: AsRef<[u8]>>(&self, mut values: impl Iterator<Item = V>) -> bool {
        match self {
            Test::Absent => values.next().is_none(),
            Test::Present => values.next().is_some(),
            Test::OneOf(allowed) => values.any(|value| allowed.iter().any(|text| text.as_bytes() == value.as_ref())),
            Test::Prefix(text) => values.any(|value| value.as_ref().starts_with(text.as_bytes())),
            Test::Contains(text) => {
                values.any(|value| value.as_ref().windows(text.len()).any(|part| part == text.as_bytes()))
            }
            Test::Whole(expression) => values.any(|value| expression.0.is_match(value.as_ref())),
        }
    }
}

impl Expression {
    fn compile(text: &str) -> Result<Self, String> {
        // Alone first: `a)|(b` would become valid between our parentheses.
        let whole = Regex::new(text).and_then(|_| Regex::new(&format!(r"\A(?:{text})\z")));
        whole.map(Expression).map_err(|error| format!("`{text}` is not a regular expression: {error}"))
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Expression {}

impl Hash for Expression {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

/// Decodes `%xx` and `+`; borrowed when there is nothing to decode.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = if byte == b'%' { escaped_byte(after) } else { None };
        out.push(escaped.unwrap_or(if byte == b'+' { b' ' } else { byte }));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn condition(yaml: &str) -> Condition {
        serde_yaml::from_str(yaml).unwrap()
    }

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (HeaderName::from_static("x-env"), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn header_forms() {
        for (yaml, values, expected) in [
            ("a", &["a"] as &[_], true),
            ("a", &["A"], false),
            ("a", &["ab"], false),
            ("a", &["b", "a"], true),
            ("a", &[], false),
            ("one_of: [a, b]", &["b"], true),
            ("one_of: [a, b]", &["c"], false),
            ("prefix: ab", &["abc"], true),
            ("prefix: ab", &["cab"], false),
            ("contains: bc", &["abcd"], true),
            ("contains: bc", &["acbd"], false),
            ("contains: bc", &["b"], false),
            ("regex: a|b", &["b"], true),
            ("regex: a|b", &["ab"], false),
            ("regex: 'v[12]'", &["v3", "v2"], true),
            ("present: true", &[""], true),
            ("present: true", &[], false),
            ("present: false", &[], true),
            ("present: false", &["a"], false),
        ] {
            let compiled = HeaderCondition::compile("X-Env", &condition(yaml)).unwrap();
            assert_eq!(compiled.holds(&headers(values)), expected, "{yaml} {values:?}");
        }
    }

    #[test]
    fn query_values_are_decoded() {
        for (yaml, query, expected) in [
            ("a b", Some("q=a+b"), true),
            ("a b", Some("q=a%20b"), true),
            ("a+b", Some("q=a%2Bb"), true),
            ("a", Some("x=1&%71=a"), true),
            ("a", Some("q=b&q=a"), true),
            ("a", Some("Q=a"), false),
            ("a", None, false),
            ("a=b", Some("q=a=b"), true),
            ("100%", Some("q=100%"), true),
            ("%zz", Some("q=%zz"), true),
            ("é", Some("q=%C3%A9"), true),
            ("present: true", Some("q"), true),
            ("present: true", Some("&&"), false),
            ("present: false", Some("p=q"), true),
            ("present: false", Some("q="), false),
        ] {
            let yaml = if yaml.starts_with('%') { format!("'{yaml}'") } else { yaml.into() };
            let compiled = QueryCondition::compile("q", &condition(&yaml)).unwrap();
            assert_eq!(compiled.holds(query), expected, "{yaml} {query:?}");
        }
    }

    #[test]
    fn a_clean_query_is_not_copied() {
        assert!(matches!(decoded("plain-text"), Cow::Borrowed(_)));
    }

    #[test]
    fn equality() {
        let compiled = |name, yaml| HeaderCondition::compile(name, &condition(yaml)).unwrap();
        assert_eq!(compiled("X-Env", "a"), compiled("x-env", "one_of: [a, a]"));
        assert_eq!(compiled("x", "one_of: [a, b]"), compiled("x", "one_of: [b, a]"));
        assert_eq!(compiled("x", "regex: a.*"), compiled("x", "regex: a.*"));
        assert_ne!(compiled("x", "regex: a.*"), compiled("x", "regex: b.*"));
        assert_ne!(compiled("x", "prefix: a"), compiled("x", "contains: a"));
    }

    #[test]
    fn errors() {
        let error = |name, yaml| HeaderCondition::compile(name, &condition(yaml)).unwrap_err();
        assert!(error("x y", "a").contains("not a header name"));
        assert!(error("x", "regex: '('").contains("not a regular expression"));
        assert!(error("x", "regex: 'a)|(b'").contains("not a regular expression"));
        assert!(error("x", "one_of: []").contains("at least one"));
        assert!(error("x", "prefix: ''").contains("present: true"));
        assert!(QueryCondition::compile("", &condition("a")).is_err());
    }
}
