//! Words for people: what stands in a file is quoted, a word that is wrong leads to the one that was meant.

use super::mask::mask_passwords;

/// `text` in double quotes: control characters escaped, passwords of URLs masked, cut after 80 characters.
pub fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    let text = mask_passwords(text);
    let mut shown: String = text.chars().take(LONGEST).flat_map(escape).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

fn escape(character: char) -> impl Iterator<Item = char> {
    escaped(character, character == '\n' || is_unprintable(character) || matches!(character, '"' | '\\'))
}

/// A text for a terminal: what it would obey, or what would show the text in another order, is escaped.
pub fn printable(text: &str) -> String {
    text.chars().flat_map(|character| escaped(character, is_unprintable(character))).collect()
}

/// What a terminal would obey, does not show, or shows in another order. Some texts have several lines.
pub(super) fn is_unprintable(character: char) -> bool {
    let is_invisible =
        matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    is_invisible || character.is_control() && character != '\n'
}

pub(super) fn escaped(character: char, escape: bool) -> impl Iterator<Item = char> {
    let (plain, escape) = if escape { (None, Some(character.escape_default())) } else { (Some(character), None) };
    plain.into_iter().chain(escape.into_iter().flatten())
}

/// The first variable in a text that is written `$NAME`, in capital letters: it is not filled in.
pub(super) fn bare_variable(text: &str) -> Option<&str> {
    let mut parts = text.split('$');
    let mut after_dollar = parts.next().is_none();
    for part in parts {
        let end =
            part.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')).unwrap_or(part.len());
        let name = part.get(..end).filter(|name| name.len() > 1 && name.starts_with(|c: char| c.is_ascii_uppercase()));
        if let (Some(name), false) = (name, after_dollar) {
            return Some(name);
        }
        // `$$` stands for a `$`.
        after_dollar = part.is_empty() && !after_dollar;
    }
    None
}

/// `did you mean "methods"?` for the candidate nearest to `word`, when one is near enough: a typo in four letters, or a
/// whole word of it.
pub fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    nearest(word, candidates).map(|candidate| format!("did you mean {}?", quoted(candidate)))
}

/// What other gateways call things.
const ELSEWHERE: [(&str, &str); 10] = [
    ("backends", "services"),
    ("grpc", "h2"),
    ("http2", "h2"),
    ("ip_hash", "hash:ip"),
    ("least_conn", "least_requests"),
    ("location", "path_pattern"),
    ("upstream", "target_service"),
    ("upstreams", "services"),
    ("warning", "warn"),
    ("wrr", "round_robin"),
];

/// The candidate nearest to `word`, when one is near enough.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = comparable(word);
    let synonym = ELSEWHERE.iter().find(|(name, _)| *name == word).map(|(_, ours)| *ours);
    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(ours) = candidates.iter().find(|candidate| Some(**candidate) == synonym) {
        return Some(ours);
    }
    let near = |candidate: &'c str| {
        let other = comparable(candidate);
        let part = word.len() > 2 && other.split('_').any(|part| part == word);
        let distance = if part { 1 } else { strsim::osa_distance(&word, &other) };
        (distance <= 1 + word.chars().count() / 4).then_some((distance, candidate))
    };
    let nearest = candidates.into_iter().filter_map(near).min_by_key(|(distance, _)| *distance);
    nearest.map(|(_, candidate)| candidate)
}

/// Spelled alike when only case, dashes or camel case differ.
fn comparable(word: &str) -> String {
    let mut spelled = String::with_capacity(word.len());
    let mut before = '_';
    for character in word.chars().take(100) {
        if character.is_uppercase() && before.is_lowercase() {
            spelled.push('_');
        }
        spelled.extend(character.to_lowercase());
        before = character;
    }
    spelled.replace(['-', ' '], "_")
}

/// `a, b, c`, cut after a dozen.
pub(super) fn words<'w>(words: impl Iterator<Item = &'w str>) -> String {
    const MOST: usize = 12;
    let mut words: Vec<&str> = words.take(MOST + 1).collect();
    if words.len() > MOST {
        words.truncate(MOST);
        words.push("…");
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_nothing_to_obey() {
        let odd = "a\u{1b}[31m\u{9b}0m\u{7f}\r\u{202e}b\u{2066}\u{200b}\u{feff}\nä💥";
        let shown = "a\\u{1b}[31m\\u{9b}0m\\u{7f}\\r\\u{202e}b\\u{2066}\\u{200b}\\u{feff}\nä💥";
        assert_eq!(printable(odd), shown);
        assert_eq!(quoted(odd), format!("\"{}\"", shown.replace('\n', "\\n")));
    }

    #[test]
    fn what_was_probably_meant() {
        let keys = ["name", "path_pattern", "methods", "target_service", "target_url", "is_active"];
        let cases = [
            ("metods", Some("methods")),
            ("METHODS", Some("methods")),
            ("target-service", Some("target_service")),
            ("targetService", Some("target_service")),
            ("service", Some("target_service")),
            ("path", Some("path_pattern")),
            ("url", Some("target_url")),
            ("isactive", Some("is_active")),
            ("nmae", Some("name")),
            ("upstream", Some("target_service")),
            ("plugins", None),
            ("", None),
        ];
        for (word, meant) in cases {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
    }

    #[test]
    fn variables_without_braces_are_seen() {
        let cases = [
            ("http://$HOST:80", Some("HOST")),
            ("$A_1", Some("A_1")),
            ("$$HOST", None),
            ("$$$HOST", Some("HOST")),
            ("${HOST}", None),
            ("^[A-Z]$", None),
            ("$1 $x $X", None),
            ("costs 5$", None),
            ("", None),
        ];
        for (text, variable) in cases {
            assert_eq!(bare_variable(text), variable, "{text}");
        }
    }

    #[test]
    fn quoting_escapes_and_cuts() {
        assert_eq!(quoted("a\"b\n\u{1b}é"), r#""a\"b\n\u{1b}é""#);
        assert_eq!(quoted(&"x".repeat(200)).chars().count(), 83);
    }
}
