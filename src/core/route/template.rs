//! Templates: the targets of `rewrite` and `redirect`, such as `/v2/{id}/x{*}`.
//!
//! `{name}` is a capture, `{*}` what a trailing `/*` matched (with its leading `/`); redirects also know `{host}`,
//! `{path}` and `{query}`. Braces stand in no URL, so there is no way to write one literally. Which names exist is
//! the compiler's to check (`names`); a name that the look-up does not know expands to nothing.

use std::fmt;

use super::pattern::is_name;

/// A text with holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Box<[Piece]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Hole(Box<str>),
}

impl Template {
    /// Reads a template; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| format!("`{text}`: a `{{` is not closed"))?;
            if name != "*" && !is_name(name) {
                return Err(format!("`{{{name}}}` in `{text}` is not a name: allowed are a-z, 0-9 and _, or `{{*}}`"));
            }
            if before.bytes().rev().take(2).any(|byte| byte == b'%') {
                return Err(format!("`{text}`: `{{{name}}}` would become a part of an escape"));
            }
            pieces.extend([Piece::Text(before.into()), Piece::Hole(name.into())]);
            rest = after;
        }
        pieces.push(Piece::Text(rest.into()));
        pieces.retain(|piece| *piece != Piece::Text("".into()));
        let is_stray = |piece: &Piece| matches!(piece, Piece::Text(text) if text.contains('}'));
        if pieces.iter().any(is_stray) {
            return Err(format!("`{text}`: a `}}` closes nothing"));
        }
        Ok(Template(pieces.into()))
    }

    /// The names it uses, `*` among them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Hole(name) => Some(&**name),
            Piece::Text(_) => None,
        })
    }

    /// The text with its holes filled. What begins with a `/` of its own does not double one that is there: `/new{*}` and
    /// `/new/{*}` are both meant as `/new/x`.
    pub fn expand<'a>(&self, look_up: impl Fn(&str) -> Option<&'a str>) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Hole(name) => {
                    let value = look_up(name).unwrap_or_default();
                    let joined = value.strip_prefix('/').filter(|_| out.ends_with('/'));
                    out.push_str(joined.unwrap_or(value));
                }
            }
        }
        out
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Hole(name) => write!(f, "{{{name}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::pattern::PathPattern;
    use super::*;

    #[test]
    fn expansion() {
        let pattern = PathPattern::parse("/v1/{id}/*").unwrap();
        let template = Template::parse("/v2/{id}/x{*}").unwrap();
        assert_eq!(template.names().collect::<Vec<_>>(), ["id", "*"]);
        for (path, expected) in [("/v1/7", "/v2/7/x"), ("/v1/7/", "/v2/7/x/"), ("/v1/7/a/b", "/v2/7/x/a/b")] {
            let captures = pattern.captures(path).unwrap();
            assert_eq!(template.expand(|name| captures.get(name)), expected);
        }
        let captures = pattern.captures("/v1/7/a/b").unwrap();
        let joined = Template::parse("https://x/{*}").unwrap();
        assert_eq!(joined.expand(|name| captures.get(name)), "https://x/a/b");
        let redirect = Template::parse("https://{host}{path}{query}").unwrap();
        let known = |name: &str| match name {
            "host" => Some("a.org"),
            "path" => Some("/b"),
            _ => None,
        };
        assert_eq!(redirect.expand(known), "https://a.org/b");
    }

    #[test]
    fn bad_templates() {
        for (text, reason) in [
            ("/{id", "not closed"),
            ("/id}", "closes nothing"),
            ("/{}", "not a name"),
            ("/{A}", "not a name"),
            ("/{{id}}", "not a name"),
            ("/%{id}", "a part of an escape"),
            ("/%2{id}", "a part of an escape"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(pieces in prop::collection::vec("[a-z/.?=]{0,4}|\\{[a-z_][a-z0-9_]{0,3}\\}|\\{\\*\\}", 0..6)) {
            let text = pieces.concat();
            let template = Template::parse(&text).unwrap();
            prop_assert_eq!(template.to_string(), text.as_str());
            prop_assert_eq!(Template::parse(&template.to_string()).unwrap(), template.clone());
            let values = |name: &str| (name == "*").then_some("/r");
            let others = template.names().filter(|name| *name != "*");
            let expected = others.fold(text.clone(), |text, name| text.replace(&format!("{{{name}}}"), ""));
            prop_assert_eq!(template.expand(values), expected.replace("/{*}", "/r").replace("{*}", "/r"));
        }
    }
}
