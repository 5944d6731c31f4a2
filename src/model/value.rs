//! Values with a meaning of their own: a period of time, a word, a switch with its default.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The forms of a period, for people.
pub const PERIOD_FORMS: &str =
    "a number of seconds, or a time such as 250ms, 30s, 5m, 1h or 30d; more than 0, at most 36500d";

const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);
const UNITS: [(&str, u128); 5] =
    [("d", 86_400 * SECOND), ("h", 3_600 * SECOND), ("m", 60 * SECOND), ("s", SECOND), ("ms", SECOND / 1000)];
const SECOND: u128 = 1_000_000_000;

/// A period of time: a number of seconds, or a text such as "250ms", "30s", "5m", "1h", "30d".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl Period {
    /// A period of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Period(Duration::from_secs(seconds))
    }

    fn checked(period: Duration) -> Option<Self> {
        (!period.is_zero() && period <= LONGEST).then_some(Period(period))
    }
}

/// A text is not a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAPeriod;

impl fmt::Display for NotAPeriod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "allowed: {PERIOD_FORMS}")
    }
}

impl std::error::Error for NotAPeriod {}

impl FromStr for Period {
    type Err = NotAPeriod;

    /// Exact to the nanosecond; more than nine digits after the point are refused. No unit means seconds.
    fn from_str(text: &str) -> Result<Self, NotAPeriod> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let unit = text.strip_prefix(digits).unwrap_or_default();
        let unit = if unit.is_empty() { "s" } else { unit };
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(NotAPeriod)?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let nanos = whole_number(whole, 15)? * SECOND + whole_number(&format!("{fraction:0<9}"), 9)?;
        fraction.bytes().next().ok_or(NotAPeriod)?;
        let nanos = nanos * factor / SECOND;
        let seconds = u64::try_from(nanos / SECOND).map_err(|_| NotAPeriod)?;
        Period::checked(Duration::new(seconds, (nanos % SECOND) as u32)).ok_or(NotAPeriod)
    }
}

/// What `30 seconds` or `5 Min` was meant to be.
pub(super) fn period_meant(text: &str) -> Option<Period> {
    let text = text.to_ascii_lowercase().replace(' ', "");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let unit = match text.strip_prefix(digits)? {
        unit if unit.starts_with("milli") || unit.starts_with("ms") => "ms",
        unit => unit.get(..1)?,
    };
    format!("{digits}{unit}").parse().ok()
}

fn whole_number(digits: &str, longest: usize) -> Result<u128, NotAPeriod> {
    match digits.len() <= longest && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse().map_err(|_| NotAPeriod),
        false => Err(NotAPeriod),
    }
}

impl fmt::Display for Period {
    /// In the largest unit that is exact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        match UNITS.iter().find(|(_, factor)| nanos.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", nanos / factor),
            None => {
                let fraction = format!("{:09}", nanos % SECOND);
                write!(f, "{}.{}s", nanos / SECOND, fraction.trim_end_matches('0'))
            }
        }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PeriodVisitor)
    }
}

struct PeriodVisitor;

impl Visitor<'_> for PeriodVisitor {
    type Value = Period;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PERIOD_FORMS)
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Period, E> {
        let period = Period::checked(Duration::from_secs(seconds));
        period.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(seconds), &self))
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Period, E> {
        let period = Duration::try_from_secs_f64(seconds).ok().and_then(Period::checked);
        period.ok_or_else(|| E::invalid_value(Unexpected::Float(seconds), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
        text.trim().parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl JsonSchema for Period {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "number", "exclusiveMinimum": 0 },
                { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)?$" },
                { "type": "string", "pattern": r"\$\{.*\}" },
            ]
        })
    }
}

/// What a number of seconds may be, for people.
const SECONDS_FORMS: &str = "1 to 31536000 seconds, or a time such as 30s, 1m or 1h";

/// A number of whole seconds, which may be written as a period: `60` or `1m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Seconds(pub u32);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecondsVisitor)
    }
}

struct SecondsVisitor;

impl Visitor<'_> for SecondsVisitor {
    type Value = Seconds;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SECONDS_FORMS)
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Seconds, E> {
        let whole = u32::try_from(seconds).map(Seconds);
        whole.map_err(|_| E::invalid_value(Unexpected::Unsigned(seconds), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Seconds, E> {
        let period = text.trim().parse::<Period>().ok().filter(|period| period.0.subsec_nanos() == 0);
        let whole = period.and_then(|period| u32::try_from(period.0.as_secs()).ok());
        whole.map(Seconds).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl JsonSchema for Seconds {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": 31_536_000 },
                { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)?$" },
                { "type": "string", "pattern": r"\$\{.*\}" },
            ]
        })
    }
}

/// A word, which may be written as a number: `reset`, `503`, `200-299`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Word(pub Cow<'static, str>);

impl Word {
    /// A word of the program's own.
    pub const fn new(text: &'static str) -> Self {
        Word(Cow::Borrowed(text))
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Word(text.to_owned().into())
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordVisitor)
    }
}

struct WordVisitor;

impl Visitor<'_> for WordVisitor {
    type Value = Word;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word or a number")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Word, E> {
        Ok(Word(number.to_string().into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Word, E> {
        Ok(text.trim().into())
    }
}

impl JsonSchema for Word {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"] })
    }
}

/// A switch whose value is `DEFAULT` when nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Setting<const DEFAULT: bool>(pub bool);

impl<const DEFAULT: bool> Default for Setting<DEFAULT> {
    fn default() -> Self {
        Setting(DEFAULT)
    }
}

impl<const DEFAULT: bool> JsonSchema for Setting<DEFAULT> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Setting".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        bool::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn periods_are_read_and_written() {
        let cases = [
            ("30", Some("30s")),
            ("0.5", Some("500ms")),
            ("250ms", Some("250ms")),
            ("90s", Some("90s")),
            ("300s", Some("5m")),
            ("1.5h", Some("90m")),
            ("24h", Some("1d")),
            ("36500d", Some("36500d")),
            ("0.0001", Some("0.0001s")),
            ("36501d", None),
            ("0", None),
            ("0ms", None),
            ("0.0000000001", None),
            ("-1", None),
            ("-1s", None),
            ("1w", None),
            ("1S", None),
            ("1 s", None),
            ("s", None),
            ("", None),
            (".5", None),
            ("5.", None),
            ("1e3", None),
            ("NaN", None),
            ("inf", None),
            ("1h30m", None),
            ("99999999999999999999d", None),
            ("999999999999d", None),
        ];
        for (text, shown) in cases {
            assert_eq!(text.parse::<Period>().ok().map(|p| p.to_string()).as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn numbers_are_seconds() {
        let read = |json: &str| serde_json::from_str::<Period>(json).map_err(|error| error.to_string());
        assert_eq!(read("30"), Ok(Period::from_secs(30)));
        assert_eq!(read("0.25"), Ok(Period(Duration::from_millis(250))));
        for refused in ["0", "-1", "-0.5", "1e300", "1e19", "99999999999", "0.0", "true", "null", "[]"] {
            let error = read(refused).unwrap_err();
            assert!(error.contains(PERIOD_FORMS), "{refused}: {error}");
        }
    }

    #[test]
    fn whole_seconds_may_be_written_as_a_period() {
        let read = |json: &str| serde_json::from_str::<Seconds>(json).map(|seconds| seconds.0).ok();
        let cases = [("60", Some(60)), ("\"60\"", Some(60)), ("\"1m\"", Some(60)), ("\"1500ms\"", None), ("-1", None)];
        for (json, seconds) in cases {
            assert_eq!(read(json), seconds, "{json}");
        }
        assert_eq!(serde_json::to_string(&Seconds(60)).unwrap(), "60");
    }

    #[test]
    fn what_a_period_was_meant_to_be() {
        let cases =
            [("30 seconds", Some("30s")), ("5 Min", Some("5m")), ("2 ms", Some("2ms")), ("1 week", None), ("é", None)];
        for (text, meant) in cases {
            assert_eq!(period_meant(text).map(|p| p.to_string()).as_deref(), meant, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_period_reads_back_as_itself(nanos in 1_u64..3_153_600_000_000_000_000, round in 0_u32..18) {
            let nanos = (nanos / 10_u64.pow(round)).max(1) * 10_u64.pow(round);
            prop_assume!(nanos <= 3_153_600_000_000_000_000);
            let period = Period(Duration::from_nanos(nanos));
            prop_assert_eq!(period.to_string().parse(), Ok(period));
        }

        #[test]
        fn no_text_panics(text in "[0-9.]{0,30}[a-zé ]{0,3}") {
            let _ = (text.parse::<Period>(), period_meant(&text));
        }
    }
}
