//! What is shown instead of a secret, and the secrets that texts hold.

use std::borrow::Cow;

pub(super) const MASK: &str = "***";

/// `http://user:***@host` for every URL in a text that holds a password.
pub(super) fn mask_passwords(text: &str) -> Cow<'_, str> {
    if !text.contains("://") || !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split("://");
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        masked.push_str("://");
        let authority = part.find(['/', '?', '#', ' ', '"']).and_then(|end| part.get(..end)).unwrap_or(part);
        match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
            Some((user, host)) => {
                masked.push_str(&format!("{user}:{MASK}@{host}"));
                masked.push_str(part.get(authority.len()..).unwrap_or_default());
            }
            None => masked.push_str(part),
        }
    }
    match masked == text {
        true => Cow::Borrowed(text),
        false => Cow::Owned(masked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_urls_are_masked() {
        let cases = [
            ("http://user:pass@host/a:b@c", "http://user:***@host/a:b@c"),
            ("http://u:p@ss@host", "http://u:***@host"),
            ("a redis://:x@h and http://v:y@i", "a redis://:***@h and http://v:***@i"),
            ("http://user@host", "http://user@host"),
            ("http://host/x@y", "http://host/x@y"),
            ("mailto:a:b@c", "mailto:a:b@c"),
            ("://:@", "://:***@"),
        ];
        for (text, masked) in cases {
            assert_eq!(mask_passwords(text), masked);
        }
    }
}
