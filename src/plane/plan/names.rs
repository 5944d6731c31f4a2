//! A set of header names, some of them open at the end (`X-User-*`).

/// A set of header names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderNames {
    exact: Box<[String]>,
    prefixes: Box<[String]>,
}

/// The forms a name may have, for error texts.
pub const ALLOWED: &str = "a header name, or the beginning of one and `*`";

impl HeaderNames {
    /// Understands the texts; the error holds the index of each one that is none.
    pub fn parse(texts: &[String]) -> Result<Self, Vec<usize>> {
        let (mut exact, mut prefixes, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        for (index, text) in texts.iter().enumerate() {
            let (name, set) = match text.strip_suffix('*') {
                Some(prefix) => (prefix, &mut prefixes),
                None => (text.as_str(), &mut exact),
            };
            match http::HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => set.push(name.as_str().to_owned()),
                Err(_) => wrong.push(index),
            }
        }
        if wrong.is_empty() { Ok(HeaderNames { exact: exact.into(), prefixes: prefixes.into() }) } else { Err(wrong) }
    }

    /// With these names, as far as they are some.
    pub fn and(mut self, names: impl Iterator<Item = String>) -> Self {
        let names: Vec<_> = names.map(|name| name.to_ascii_lowercase()).filter(|name| !self.contains(name)).collect();
        let exact = std::mem::take(&mut self.exact).into_vec();
        self.exact = exact.into_iter().chain(names).collect();
        self
    }

    /// Whether a name (in lower case) belongs to the set.
    pub fn contains(&self, name: &str) -> bool {
        self.prefixes.iter().any(|prefix| name.starts_with(prefix.as_str())) || self.exact.iter().any(|n| n == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_beginnings_belong() {
        let names = HeaderNames::parse(&["X-User-*".into(), "X-Tenant".into()]).unwrap();
        assert!(names.contains("x-user-id") && names.contains("x-user-") && names.contains("x-tenant"));
        assert!(!names.contains("x-user") && !names.contains("x-tenant-id") && !names.contains("accept"));
    }

    #[test]
    fn every_wrong_name_is_told() {
        let texts = ["X-Ok", "", "*", "a b", "ä"].map(String::from);
        assert_eq!(HeaderNames::parse(&texts), Err(vec![1, 2, 3, 4]));
    }
}
