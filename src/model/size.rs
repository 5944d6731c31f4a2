//! An amount of bytes.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The forms of a size, for people.
pub const SIZE_FORMS: &str = "a whole number of bytes, or a size such as 64KiB, 10MiB or 1GiB";

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// An amount of bytes: a number, or a text such as "64KiB", "10MiB", "1GiB".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    fn parse(text: &str) -> Option<Size> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor = match text.strip_prefix(digits)? {
            "" => 1,
            unit => UNITS.iter().find(|(name, _)| *name == unit)?.1,
        };
        let number: u64 = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        number.checked_mul(factor).map(Size)
    }
}

/// What `10 MB` or `64k` was meant to be.
pub(super) fn size_meant(text: &str) -> Option<Size> {
    let text = text.replace(' ', "");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits)?.get(..1)?.to_ascii_uppercase();
    Size::parse(&format!("{digits}{unit}iB"))
}

impl fmt::Display for Size {
    /// In the largest unit that is exact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => self.0.fmt(f),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SIZE_FORMS)
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<Size, E> {
        Ok(Size(bytes))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        Size::parse(text.trim()).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^[0-9]+([KMGT]iB)?$" },
                { "type": "string", "pattern": r"\$\{.*\}" },
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        let cases = [
            ("0", Some("0")),
            ("1000", Some("1000")),
            ("1024", Some("1KiB")),
            ("1536KiB", Some("1536KiB")),
            ("10MiB", Some("10MiB")),
            ("16777215TiB", Some("16777215TiB")),
            ("16777216TiB", None),
            ("10MB", None),
            ("10 MiB", None),
            ("1.5MiB", None),
            ("+1", None),
            ("-1", None),
            ("MiB", None),
            ("", None),
        ];
        for (text, shown) in cases {
            assert_eq!(Size::parse(text).map(|size| size.to_string()).as_deref(), shown, "{text}");
        }
        assert_eq!(serde_json::from_str::<Size>("65536").unwrap(), Size(65_536));
        assert!(serde_json::from_str::<Size>("-1").unwrap_err().to_string().contains(SIZE_FORMS));
    }

    #[test]
    fn what_a_size_was_meant_to_be() {
        for (text, meant) in [("10 MB", Some("10MiB")), ("64k", Some("64KiB")), ("1Gi", Some("1GiB")), ("1x", None)] {
            assert_eq!(size_meant(text).map(|size| size.to_string()).as_deref(), meant, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_size_reads_back_as_itself(bytes: u64, shift in 0..50_u32) {
            let size = Size(bytes >> shift << shift);
            prop_assert_eq!(Size::parse(&size.to_string()), Some(size));
        }

        #[test]
        fn no_text_panics(text in "[0-9]{0,25}[a-zA-Zé ]{0,4}") {
            let _ = (Size::parse(&text), size_meant(&text));
        }
    }
}
