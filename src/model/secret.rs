//! Values that hold secrets: whatever prints or serialises one shows `***`, by its type.
//!
//! A secret is compared in constant time. Known inaccuracy: its length is not hidden.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, Serializer};
use subtle::ConstantTimeEq;

use super::mask::{MASK, mask_passwords};

/// A value that is secret as a whole. Only [`Secret::reveal`] gives it away.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret<T = String>(T);

/// A URL, or a path with a query: its password and the values of its query are secret.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Link(String);

impl<T> Secret<T> {
    /// Makes a value secret.
    pub fn new(value: T) -> Self {
        Secret(value)
    }

    /// The value, for whoever needs it.
    pub fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T: AsRef<[u8]>> Secret<T> {
    /// Whether these bytes are the secret's. The time it takes does not depend on where they differ.
    pub fn is(&self, shown: &[u8]) -> bool {
        self.0.as_ref().ct_eq(shown).into()
    }
}

impl Link {
    /// The text as it may be shown.
    pub fn masked(&self) -> String {
        masked(&self.0)
    }
}

impl Deref for Link {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<T: AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.0.as_ref())
    }
}

impl<T: AsRef<[u8]>> Eq for Secret<T> {}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret(text.into())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(text)
    }
}

impl From<&str> for Link {
    fn from(text: &str) -> Self {
        Link(text.into())
    }
}

impl From<String> for Link {
    fn from(text: String) -> Self {
        Link(text)
    }
}

impl<T> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl Serialize for Link {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.masked())
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.masked())
    }
}

impl<T: JsonSchema> JsonSchema for Secret<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Secret_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl JsonSchema for Link {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Link".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// A URL as it may be shown.
pub fn masked(url: &str) -> String {
    mask_query(&mask_passwords(url)).into_owned()
}

/// `?name=***` for every value of a query; what has no name is masked whole.
fn mask_query(text: &str) -> Cow<'_, str> {
    let Some((place, query)) = text.split_once('?') else { return Cow::Borrowed(text) };
    let masked = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) => format!("{name}={MASK}"),
        None if pair.is_empty() => String::new(),
        None => MASK.to_owned(),
    });
    Cow::Owned(format!("{place}?{}", masked.collect::<Vec<_>>().join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_show_neither_passwords_nor_what_is_asked() {
        let cases = [
            ("https://a.test/keys", "https://a.test/keys"),
            ("https://u:pw@a.test/keys?token=abc&x=1", "https://u:***@a.test/keys?token=***&x=***"),
            ("/health?abc", "/health?***"),
            ("/health?a=b=c#d", "/health?a=***"),
            ("/health?", "/health?"),
        ];
        for (text, masked) in cases {
            let link = Link::from(text);
            assert_eq!(serde_json::json!(link), masked);
            assert_eq!(format!("{link:?}"), format!("{masked:?}"));
            assert_eq!(&*link, text);
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        let secret: Secret = serde_json::from_str("\"hidden\"").unwrap();
        assert_eq!((serde_json::json!(secret), format!("{secret:?} {secret}")), (MASK.into(), "*** ***".into()));
        assert_eq!(secret.reveal(), "hidden");
        let key = Secret::new(vec![104_u8; 6]);
        assert_eq!((serde_json::json!(key), format!("{key:?} {key}")), (MASK.into(), "*** ***".into()));
    }

    #[test]
    fn secrets_are_compared_whole() {
        let secret = Secret::from("secret");
        assert!(secret.is(b"secret") && secret == Secret::from("secret".to_owned()));
        for other in ["", "secre", "secreT", "Secret", "secret "] {
            assert!(!secret.is(other.as_bytes()) && secret != Secret::from(other), "{other:?}");
        }
    }
}
