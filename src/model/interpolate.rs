//! `${VAR}`, `${VAR:-default}` and `${file:PATH}` in the texts of a tree (never in keys).
//!
//! Rules: several in one text; the default counts when the variable is unset or empty, and may hold references of its
//! own (to a depth of 8); a file's last newline is cut, its path is relative to the configuration's folder, 1 MiB is
//! the most; `$$` is a `$`, a lone `$` stays. What came out is not looked at again. All that is put into one tree is at most 64 MiB. What came from a file, or from a
//! variable that is called something with SECRET, PASSWORD, TOKEN or KEY, is secret.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::fault::{Fault, Faults};
use super::files::{open, unreadable};
use super::node::{Node, Source, Text};
use super::place::Place;
use super::words::{bare_variable, quoted};

const LARGEST_FILE: u64 = 1 << 20;
const LARGEST_TOTAL: usize = 64 << 20;
const DEEPEST: usize = 8;
const FORMS: &str = "${NAME}, ${NAME:-default} or ${file:PATH} ($$ for a literal $)";

/// The variables a configuration may ask for.
pub type Env<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Fills in the texts of one file's tree.
pub struct Interpolation<'i> {
    env: Env<'i>,
    folder: &'i Path,
    /// What files that are named hold, as far as they were read.
    included: &'i mut HashMap<PathBuf, String>,
    left: usize,
}

impl<'i> Interpolation<'i> {
    pub fn new(env: Env<'i>, folder: &'i Path, included: &'i mut HashMap<PathBuf, String>) -> Self {
        Interpolation { env, folder, included, left: LARGEST_TOTAL }
    }

    /// Replaces the references below `node`. A text that cannot be put together is pruned and reported.
    pub fn fill(&mut self, node: &mut Node, place: &Place<'_>, faults: &mut Faults) {
        match node {
            Node::Text(text) if text.text.contains('$') => match self.put_together(&text.text) {
                Ok(filled) => {
                    warn_of_bare(&text.text, place, faults);
                    *text = filled;
                }
                Err(Unfilled { found, allowed, hint }) => {
                    faults.add(Fault::new(place.clone(), found, allowed).with_hint(hint));
                    *node = Node::Gone(None);
                }
            },
            Node::List(list) => {
                for (index, node) in list.iter_mut().enumerate() {
                    self.fill(node, &place.index(index), faults);
                }
            }
            Node::Map(map) => {
                for (key, node) in map.iter_mut() {
                    self.fill(node, &place.key(key), faults);
                }
            }
            _ => {}
        }
    }

    fn put_together(&mut self, written: &str) -> Result<Text, Unfilled> {
        let (mut text, mut source) = (String::new(), Source::default());
        self.append(written, DEEPEST, &mut text, &mut source)?;
        let from = (!source.references.is_empty()).then(|| Box::new(source));
        Ok(Text { text, from })
    }

    fn append(&mut self, written: &str, depth: usize, out: &mut String, source: &mut Source) -> Result<(), Unfilled> {
        let mut rest = written;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(after) = after.strip_prefix('{') {
                let (reference, after) = split_at_brace(after).ok_or_else(|| unclosed(after))?;
                let start = out.len();
                self.resolve(reference, depth, out, source)?;
                if is_secret(reference) {
                    source.secrets.push(out.get(start..).unwrap_or_default().to_owned());
                }
                rest = after;
            } else {
                out.push('$');
                rest = after;
            }
        }
        out.push_str(rest);
        Ok(())
    }

    fn resolve(
        &mut self,
        reference: &str,
        depth: usize,
        out: &mut String,
        source: &mut Source,
    ) -> Result<(), Unfilled> {
        if let Some(path) = reference.strip_prefix("file:") {
            source.note(reference);
            return self.include(path).and_then(|text| self.spend(text)).map(|text| out.push_str(&text));
        }
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        if !is_name(name) {
            return Err(Unfilled::new(quoted(&format!("${{{name}}}")), FORMS, ""));
        }
        source.note(name);
        match ((self.env)(name), default) {
            (Some(value), None) => self.spend(value).map(|value| out.push_str(&value)),
            (Some(value), _) if !value.is_empty() => self.spend(value).map(|value| out.push_str(&value)),
            (_, Some(_)) if depth == 0 => {
                Err(Unfilled::new("defaults in defaults in defaults", "eight levels of them", ""))
            }
            (_, Some(default)) => self.append(default, depth - 1, out, source),
            (None, None) => Err(unset(name)),
        }
    }

    fn include(&mut self, written: &str) -> Result<String, Unfilled> {
        let path = self.folder.join(written);
        if let Some(known) = self.included.get(&path) {
            return Ok(known.clone());
        }
        let text = read(&path, written)?;
        self.included.insert(path, text.clone());
        Ok(text)
    }

    fn spend(&mut self, text: String) -> Result<String, Unfilled> {
        let left = self.left.checked_sub(text.len());
        self.left =
            left.ok_or_else(|| Unfilled::new("more than 64 MiB of variables and files", "64 MiB in all", ""))?;
        Ok(text)
    }
}

fn warn_of_bare(text: &str, place: &Place<'_>, faults: &mut Faults) {
    if let Some(name) = bare_variable(text) {
        let lint = Fault::saying(place.clone(), format!("${name} is not filled in"));
        faults.warn(lint.with_hint(format!("write ${{{name}}} for the variable, or $${name} for the text")));
    }
}

impl Source {
    fn note(&mut self, name: &str) {
        let separator = if self.references.is_empty() { "" } else { ", " };
        self.references.push_str(&format!("{separator}${{{name}}}"));
    }
}

/// Why a text could not be put together.
struct Unfilled {
    found: String,
    allowed: String,
    hint: String,
}

impl Unfilled {
    fn new(found: impl Into<String>, allowed: impl Into<String>, hint: impl Into<String>) -> Self {
        Unfilled { found: found.into(), allowed: allowed.into(), hint: hint.into() }
    }
}

fn unset(name: &str) -> Unfilled {
    let hint = format!("set it, or give a default: ${{{name}:-default}}");
    Unfilled::new(format!("the environment variable {name} is not set"), "", hint)
}

fn unclosed(after: &str) -> Unfilled {
    // Only the name: a default may be a secret's.
    let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').take(40).collect();
    Unfilled::new(format!("\"${{{name}\" without its closing brace"), FORMS, "")
}

/// The text before the brace that closes a reference, and what comes after.
fn split_at_brace(text: &str) -> Option<(&str, &str)> {
    let (mut depth, mut after_dollar) = (0, false);
    for (position, character) in text.char_indices() {
        match character {
            '{' if after_dollar => depth += 1,
            '}' if depth == 0 => return Some((text.get(..position)?, text.get(position + 1..)?)),
            '}' => depth -= 1,
            _ => {}
        }
        after_dollar = character == '$' && !after_dollar;
    }
    None
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_secret(reference: &str) -> bool {
    let name = reference.split(":-").next().unwrap_or_default().to_ascii_uppercase();
    reference.starts_with("file:") || ["SECRET", "PASSWORD", "TOKEN", "KEY"].iter().any(|word| name.contains(word))
}

fn read(path: &Path, written: &str) -> Result<String, Unfilled> {
    let refuse = |why: String| Unfilled::new(format!("the file {} {why}", quoted(written)), "", "");
    let mut bytes = Vec::new();
    let opened = open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes));
    opened.map_err(|error| Unfilled::new(unreadable(quoted(written), &error), "", ""))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(refuse("is over 1 MiB".into()));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| refuse("is not UTF-8 text".into()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fill(text: &str, folder: &Path) -> (Node, String) {
        let env = |name: &str| match name {
            "HOST" | "_h1" => Some("example.org".into()),
            "EMPTY" => Some(String::new()),
            "DOLLAR" => Some("${HOST}$$".into()),
            "DB_PASSWORD" | "monkey" => Some("hidden".into()),
            _ => None,
        };
        let (mut node, mut faults) = (Node::text(text), Faults::default());
        Interpolation::new(&env, folder, &mut HashMap::new()).fill(&mut node, &Place::new("a"), &mut faults);
        (node, faults.to_string())
    }

    #[test]
    fn references_are_filled_in() {
        let cases = [
            ("no reference", "no reference"),
            ("http://${HOST}:${PORT:-80}/", "http://example.org:80/"),
            ("${EMPTY}", ""),
            ("${EMPTY:-full}${NONE:-}", "full"),
            ("${NONE:-${EMPTY:-${HOST}}}!", "example.org!"),
            ("${NONE:-a:-b}", "a:-b"),
            ("${NONE:-http://x/{id}", "http://x/{id"),
            ("${_h1}", "example.org"),
            ("$", "$"),
            ("^a$", "^a$"),
            ("$HOST", "$HOST"),
            ("$$", "$"),
            ("$${HOST}", "${HOST}"),
            ("$$${HOST}", "$example.org"),
            ("${DOLLAR}", "${HOST}$$"),
            ("{HOST}", "{HOST}"),
        ];
        for (text, filled) in cases {
            let (node, faults) = fill(text, Path::new(""));
            assert_eq!((node.as_text(), faults.as_str()), (Some(filled), ""), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_pruned_and_reported() {
        let cases = [
            ("${NONE}", "a: the environment variable NONE is not set; set it, or give a default: ${NONE:-default}"),
            (
                "x${HOST",
                "a: found \"${HOST\" without its closing brace, allowed: ${NAME}, ${NAME:-default} or ${file:PATH} ($$ for a literal $)",
            ),
            (
                "${NONE:-${HOST}",
                "a: found \"${NONE\" without its closing brace, allowed: ${NAME}, ${NAME:-default} or ${file:PATH} ($$ for a literal $)",
            ),
            ("${}", "a: found \"${}\", allowed: ${NAME}, ${NAME:-default} or ${file:PATH} ($$ for a literal $)"),
            ("${1A}", "a: found \"${1A}\", allowed: ${NAME}, ${NAME:-default} or ${file:PATH} ($$ for a literal $)"),
            (
                "${A B:-secret}",
                "a: found \"${A B}\", allowed: ${NAME}, ${NAME:-default} or ${file:PATH} ($$ for a literal $)",
            ),
            ("${file:none}", "a: cannot read \"none\": No such file"),
        ];
        for (text, shown) in cases {
            assert_eq!(fill(text, Path::new("/nowhere")), (Node::Gone(None), format!("{shown}\n")), "{text}");
        }
        let deep = format!("{}x{}", "${N:-".repeat(20), "}".repeat(20));
        assert!(fill(&deep, Path::new("")).1.contains("eight levels"));
    }

    #[test]
    fn files_lose_one_newline_and_are_secret() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        write("one", b"hidden\n\n");
        write("crlf", b"hidden\r\n");
        write("binary", b"\xff");
        write("large", &[b'x'; (1 << 20) + 1]);
        for (text, filled) in [
            ("${file:one}", "hidden\n"),
            ("a${file:crlf}", "ahidden"),
            ("${DB_PASSWORD}", "hidden"),
            ("${monkey}", "hidden"),
        ] {
            let (node, faults) = fill(text, folder.path());
            assert_eq!((node.as_text(), faults.as_str()), (Some(filled), ""));
            assert!(
                matches!(&node, Node::Text(text) if text.is_secret()) && node.describe().starts_with("*** (from ${"),
                "{node:?}"
            );
        }
        for (text, why) in [
            ("${file:binary}", "is not UTF-8 text"),
            ("${file:large}", "is over 1 MiB"),
            ("${file:.}", "cannot read \".\": it is a directory"),
        ] {
            assert!(fill(text, folder.path()).1.ends_with(&format!("{why}\n")), "{text}");
        }
        assert!(!matches!(fill("${HOST}", folder.path()).0, Node::Text(text) if text.is_secret()));
    }

    #[test]
    fn all_that_is_put_together_is_bounded() {
        let large = |_: &str| Some("x".repeat(1 << 20));
        let (mut node, mut faults) = (Node::List(vec![Node::text("${A}"); 70]), Faults::default());
        Interpolation::new(&large, Path::new(""), &mut HashMap::new()).fill(&mut node, &Place::new("a"), &mut faults);
        assert_eq!(faults.len(), 6);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[$${}:A-C-]{0,40}") {
            fill(&text, Path::new("/nowhere"));
        }
    }
}
