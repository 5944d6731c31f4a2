//! Texts that hold secrets: whatever prints or serialises a configuration shows them masked, by their type.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, Serializer};

use super::show::{MASK, mask_passwords};

/// A text that is secret as a whole.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// A URL, or a path with a query: its password and the values of its query are secret.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Link(String);

impl Secret {
    /// The text, for whoever needs it.
    pub fn reveal(&self) -> &str {
        &self.0
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

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret(text.into())
    }
}

impl From<&str> for Link {
    fn from(text: &str) -> Self {
        Link(text.into())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl Serialize for Link {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.masked())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.masked())
    }
}

macro_rules! schema_of_a_text {
    ($($type:ident)*) => {
        $(impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                String::json_schema(generator)
            }
        })*
    };
}

schema_of_a_text! { Secret Link }

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
        assert_eq!((serde_json::json!(secret), format!("{secret:?}")), (MASK.into(), MASK.into()));
        assert_eq!(secret.reveal(), "hidden");
    }
}
