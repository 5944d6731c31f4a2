//! JSON, for what is no part of a configuration (the bodies of requests), with the same faults at the same places.
//!
//! Rules: nothing but the one value is written; a key written twice is a fault; nesting ends at 128 levels (the library's
//! limit).

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fault::Faults;
use super::place::Place;
use super::repair::decode;
use super::tree;

/// Understands a text as a part of a configuration would be, without variables; an error if it is no JSON.
pub fn understand<T: DeserializeOwned>(text: &[u8], faults: &mut Faults) -> Result<Option<T>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let mut node = tree::read(&mut reader, text.len(), &Place::default(), faults)?;
    reader.end()?;
    Ok(decode(&mut node, &Place::default(), faults).filter(|_| faults.is_empty()))
}

/// Reads a text as a value of JSON. A key that is written twice is a fault.
pub fn read_json(text: &[u8], faults: &mut Faults) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let node = tree::read(&mut reader, text.len(), &Place::default(), faults)?;
    reader.end()?;
    Ok(node.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Said {
        text: String,
        #[serde(default)]
        number: Option<u32>,
    }

    fn read(text: &str) -> Result<Option<Said>, String> {
        let mut faults = Faults::default();
        let read = understand(text.as_bytes(), &mut faults).map_err(|error| error.to_string())?;
        if faults.is_empty() { Ok(read) } else { Err(faults.to_string()) }
    }

    #[test]
    fn texts_are_those_of_json() {
        let texts = [
            (r#""\ud83d\ude00""#, "\u{1f600}"),
            (r#""a\/b""#, "a/b"),
            (r#""\u0000\u0085""#, "\0\u{85}"),
            ("\"\u{7f}\u{feff}\"", "\u{7f}\u{feff}"),
        ];
        for (written, meant) in texts {
            let said = Said { text: meant.into(), number: None };
            assert_eq!(read(&format!("{{\"text\": {written}}}")), Ok(Some(said)), "{written}");
        }
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        let deep = format!("{{\"text\": {}{}}}", "[".repeat(200), "]".repeat(200));
        let others = [
            "",
            "{",
            "{text: a}",
            "{'text': 'a'}",
            r#"{"text": "a"} {}"#,
            r#"{"text": "a",}"#,
            "- a",
            r#"{"text": "\ud83d"}"#,
        ];
        for text in others.into_iter().chain([deep.as_str()]) {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn faults_have_their_places_and_hints() {
        let cases = [
            (r#"{"text": "a", "text": "b"}"#, "text: this key is written twice in the same map; keep one of them\n"),
            (r#"{"tex": "a"}"#, "tex: unknown key; did you mean \"text\"?\n"),
            (r#"{}"#, "text: missing; this key is required\n"),
            (
                r#"{"text": "a", "number": "7"}"#,
                "number: found \"7\", allowed: a whole number from 0 to 4294967295; write it without quotes\n",
            ),
        ];
        for (text, fault) in cases {
            assert_eq!(read(text), Err(fault.into()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_serde_json_writes_is_read_back(text: String, number: Option<u32>) {
            let written = serde_json::json!({ "text": text, "number": number }).to_string();
            prop_assert_eq!(read(&written), Ok(Some(Said { text, number })));
        }
    }
}
