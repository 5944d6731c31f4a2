//! YAML: the only module that knows the library.
//!
//! Rules: keys are texts; a key written twice is a fault (the first counts); tags and several documents are refused;
//! aliases may not blow a file up to more than about twice its size; nesting ends at 128 levels (the library's limit).
//! A syntax error is one fault with line and column, and ends the reading of that file.

use super::fault::{Fault, Faults};
use super::node::Node;
use super::place::Place;
use super::tree::{self, REPETITION, TAG};
use super::words::quoted;

const TOO_MUCH: &str = "its aliases (`*name`) blow it up beyond all measure";
const TOO_DEEP: &str = "it nests more than 128 levels deep";
/// What the library says of a text with several documents.
const DOCUMENTS: &str = "more than one document";
/// What ends a line, and so a comment, for the library.
const BREAKS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];

/// The tree of `text`, faults placed at `file`. `None` after a syntax error; `Null` when nothing is written.
pub fn read(text: &str, file: &Place<'_>, faults: &mut Faults) -> Option<Node> {
    if let Some(line) = too_deep(text) {
        faults.add(Fault::saying(file.line(line, 1), TOO_DEEP));
        return None;
    }
    let read = match text.split(BREAKS).all(is_blank) {
        true => Ok(Node::Null),
        false => tree::read(serde_yaml::Deserializer::from_str(text), text.len(), file, faults),
    };
    read.map_err(|error| faults.add(syntax(&error, text, file))).ok()
}

/// The line in which far more brackets are open than any file has. For each of them the library looks at all that are open.
fn too_deep(text: &str) -> Option<usize> {
    const DEEPEST: usize = 10_000;
    let (mut open, mut line) = (0_usize, 1);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            b'\n' => line += 1,
            _ => {}
        }
        if open > DEEPEST {
            return Some(line);
        }
    }
    None
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start_matches('\u{feff}').trim();
    line.is_empty() || line.starts_with('#') || line == "---"
}

/// A value as YAML text.
pub fn write(value: &serde_json::Value) -> String {
    // A JSON value has text keys and nests less deep than the library allows: writing it does not fail.
    serde_yaml::to_string(value).unwrap_or_default()
}

fn syntax(error: &serde_yaml::Error, text: &str, file: &Place<'_>) -> Fault {
    let message = error.to_string();
    let Some(location) = error.location().filter(|location| location.line() > 0) else {
        let place = second_document(text).filter(|_| message.contains(DOCUMENTS)).map(|line| file.line(line, 1));
        return Fault::saying(place.unwrap_or(file.clone()), sentence(&message));
    };
    let place = file.line(location.line(), location.column());
    let line = text.lines().nth(location.line() - 1).unwrap_or_default();
    let statement = match message.contains("invalid type: ") {
        true => "a key must be a text".to_owned(),
        false => sentence(&message),
    };
    let from = line.char_indices().nth(location.column().saturating_sub(1)).map_or(0, |(from, _)| from);
    Fault::saying(place, statement).with_hint(advice(&message, line, from))
}

/// The line that begins the second document.
fn second_document(text: &str) -> Option<usize> {
    let mut lines = text.lines().zip(1..).skip_while(|(line, _)| is_blank(line));
    lines.find(|(line, _)| line.trim_end() == "---").map(|(_, number)| number)
}

/// The library's message without the positions in it.
fn sentence(message: &str) -> String {
    const KNOWN: [(&str, &str); 5] = [
        (TAG, TAG),
        (DOCUMENTS, "the file holds several YAML documents (a line `---`), allowed is one"),
        ("recursion limit", TOO_DEEP),
        (REPETITION, TOO_MUCH),
        ("EOF while parsing", "the file is empty"),
    ];
    if let Some((_, known)) = KNOWN.iter().find(|(part, _)| message.contains(part)) {
        return (*known).into();
    }
    let end = message.find(" at line ").or_else(|| message.find(" at position ")).unwrap_or(message.len());
    let bare = message.get(..end).unwrap_or(message).rsplit(": ").next().unwrap_or_default();
    format!("not valid YAML: {bare}")
}

/// The mistakes people make most, by what the library says of them and how the line looks where it stopped.
fn advice(message: &str, line: &str, from: usize) -> String {
    let indent = line.len() - line.trim_start().len();
    if !line.contains("${")
        && let Some(word) = word_with_braces(line, from)
    {
        return format!("a text with braces needs quotes: {}", quoted(word));
    }
    let advice = match () {
        _ if line.get(..indent).is_some_and(|blank| blank.contains('\t')) => "YAML indents with spaces, not with tabs",
        _ if line.contains("${") && line.contains(['{', '[']) && !line.contains("\"${") => {
            "between { } or [ ], a text with ${…} needs quotes: \"${NAME}\""
        }
        _ if message.contains("unknown anchor") => {
            "an alias (*name) needs its anchor (&name) above it; a text that begins with * needs quotes"
        }
        _ if message.contains("alias") || message.contains("anchor") => {
            "a text that begins with * or & needs quotes: \"*.example.org\""
        }
        _ if message.contains("mapping values are not allowed") => {
            "a text with a colon and a space in it needs quotes; or the line is indented too far"
        }
        _ if message.contains("cannot start any token") => "a text that begins with this character needs quotes",
        _ if message.contains("could not find expected ':'") => {
            "the line before it has no `key: value` with a space after the colon"
        }
        _ if message.contains("expected '-' indicator") || message.contains("expected key") => {
            "the line is not indented like the lines that it belongs to"
        }
        _ if message.contains("expected ',' or") => "a bracket or brace before it is not closed",
        _ => "",
    };
    advice.into()
}

/// The word with `{…}` in it, where reading stopped at its brace: `/users/{id}` between braces, or `{*}/x`.
fn word_with_braces(line: &str, from: usize) -> Option<&str> {
    let ends = |c: char| c.is_whitespace() || ",[]\"'".contains(c);
    let start = line.get(..from)?.rfind(ends).map_or(0, |end| end + 1);
    let word = line.get(start..)?;
    let word = word.get(..word.find(ends).unwrap_or(word.len()))?;
    let is_closing = word.matches('}').count() > word.matches('{').count();
    let word = if is_closing { word.strip_suffix('}')? } else { word };
    let (_, name) = word.split_once('{')?;
    name.contains('}').then_some(word).filter(|word| !word.contains(':'))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::File;

    fn faults_of(text: &str) -> String {
        let mut faults = Faults::default();
        read(text, &Place::file(&File::new(0, "g.yaml")), &mut faults);
        faults.to_string()
    }

    #[test]
    fn a_syntax_error_is_one_sentence_with_its_line() {
        let star = "a text that begins with * or & needs quotes: \"*.example.org\"";
        let cases = [
            (
                "a: [1",
                "2:1: not valid YAML: did not find expected ',' or ']'; a bracket or brace before it is not closed",
            ),
            (
                "a:\n\tb: 1",
                "2:1: not valid YAML: found character that cannot start any token; YAML indents with spaces, not with tabs",
            ),
            (
                "a: *.example.org",
                &format!("1:5: not valid YAML: did not find expected alphabetic or numeric character; {star}"),
            ),
            (
                "a: *b",
                "1:4: not valid YAML: unknown anchor; an alias (*name) needs its anchor (&name) above it; a text that begins with * needs quotes",
            ),
            (
                "a: b: c",
                "1:5: not valid YAML: mapping values are not allowed in this context; a text with a colon and a space in it needs quotes; or the line is indented too far",
            ),
            (
                "a: { b: ${X} }",
                "1:10: not valid YAML: did not find expected ',' or '}'; between { } or [ ], a text with ${…} needs quotes: \"${NAME}\"",
            ),
            (
                "a: { b: /users/{id}, c: 1 }",
                "1:16: not valid YAML: did not find expected ',' or '}'; a text with braces needs quotes: \"/users/{id}\"",
            ),
            (
                "a: {*}/b",
                "1:6: not valid YAML: did not find expected alphabetic or numeric character; a text with braces needs quotes: \"{*}/b\"",
            ),
            (
                "a: 1\nb:2\nc: 3",
                "3:1: not valid YAML: could not find expected ':'; the line before it has no `key: value` with a space after the colon",
            ),
            (
                "a:\n  - b: 1\n   c: 2",
                "3:4: not valid YAML: did not find expected '-' indicator; the line is not indented like the lines that it belongs to",
            ),
            ("a: !x 1", "1:4: a tag (`!name`) means nothing here"),
            ("? [a]\n: 1", "1:3: a key must be a text"),
            ("a: \u{0}", "1:1: not valid YAML: control characters are not allowed"),
            ("a: 'x", "1:6: not valid YAML: found unexpected end of stream"),
            (
                "a: @x",
                "1:4: not valid YAML: found character that cannot start any token; a text that begins with this character needs quotes",
            ),
        ];
        for (text, shown) in cases {
            assert_eq!(faults_of(text), format!("g.yaml:{shown}\n"), "{text}");
        }
        assert_eq!(
            faults_of("a: 1\n---\nb: 2"),
            "g.yaml:2:1: the file holds several YAML documents (a line `---`), allowed is one\n"
        );
    }

    #[test]
    fn every_key_written_twice_is_reported() {
        let shown = faults_of("a: 1\na: 2\nb: [{ c: 1, c: 2 }]\n");
        let expected = "g.yaml: a: this key is written twice in the same map; keep one of them\n\
                        g.yaml: b[0].c: this key is written twice in the same map; keep one of them\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn aliases_work_but_do_not_explode() {
        let mut faults = Faults::default();
        let node = read("a: &x [1, 2]\nb: *x\n", &Place::default(), &mut faults).unwrap();
        assert!(matches!(&node, Node::Map(map) if map.get("a") == map.get("b")));
        let mut laughs = String::from("l0: &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
        for level in 1..12 {
            let aliases = vec![format!("*l{}", level - 1); 9].join(", ");
            laughs.push_str(&format!("l{level}: &l{level} [{aliases}]\n"));
        }
        let wide = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(100_000), "*a, ".repeat(10_000));
        for bomb in [laughs, wide] {
            let begun = Instant::now();
            assert!(faults_of(&bomb).contains(TOO_MUCH), "{}", faults_of(&bomb));
            assert!(begun.elapsed() < Duration::from_secs(2));
        }
    }

    #[test]
    fn merge_keys_take_in_what_is_not_written() {
        let read = |text: &str| read(text, &Place::default(), &mut Faults::default()).unwrap();
        let base = "base: &b { a: 1, c: 2 }\nmore: &m { a: 3, d: 4 }\n";
        let Node::Map(map) = read(&format!("{base}one: {{ <<: *b, c: 5 }}\nboth:\n  <<: [*b, *m]\n  e: 6\n")) else {
            panic!()
        };
        assert_eq!(*map.get("one").unwrap(), read("a: 1\nc: 5"));
        assert_eq!(*map.get("both").unwrap(), read("a: 1\nc: 2\nd: 4\ne: 6"));
        let Node::Map(map) = read("<<: 1\na: 2\n") else { panic!() };
        assert_eq!(map.iter().count(), 2);
    }

    #[test]
    fn depth_is_bounded() {
        let balanced = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        let begun = Instant::now();
        for text in [balanced, "[".repeat(1_000_000), "- ".repeat(50_000), "a: {".repeat(1_000_000), "[{".repeat(9999)]
        {
            assert!(faults_of(&text).contains("it nests more than 128 levels deep"), "{}", faults_of(&text));
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
