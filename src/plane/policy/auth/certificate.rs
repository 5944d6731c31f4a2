//! Client certificates as identity. Whether a certificate is good, the listener's TLS has judged; here is who it stands for.

use std::sync::Arc;

use http::HeaderValue;

use super::identity::{Claims, Identity};

/// A client's certificate, as services are told of it.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// Its subject (RFC 4514).
    pub subject: HeaderValue,
    /// The SHA-256 of the whole, in hexadecimal.
    pub fingerprint: HeaderValue,
}

/// Whose certificates are taken.
#[derive(Debug)]
pub struct Certificates(Box<[Entry]>);

/// A subject, or any, and what it is.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The subject as X-Gatekeeper-Client-Subject says it; any when absent.
    pub subject: Option<Box<str>>,
    /// What it is.
    pub roles: Box<[Box<str>]>,
    /// What it may do.
    pub scopes: Box<[Box<str>]>,
}

impl Certificates {
    /// These subjects; the first that fits counts.
    pub fn new(entries: Vec<Entry>) -> Self {
        Certificates(entries.into())
    }

    /// Who a certificate stands for.
    pub fn find(&self, subject: &str, fingerprint: &str) -> Option<Arc<Identity>> {
        let fits = |entry: &&Entry| entry.subject.as_deref().is_none_or(|wanted| wanted == subject);
        let entry = self.0.iter().find(fits).filter(|_| !subject.is_empty())?;
        let claims = [("sub", subject), ("fingerprint", fingerprint)].map(|(name, text)| (name.into(), text.into()));
        Some(Arc::new(Identity {
            issuer: "certificate".into(),
            subject: subject.into(),
            roles: entry.roles.clone(),
            scopes: entry.scopes.clone(),
            claims: Claims::from_iter(claims),
            ..Identity::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_fits_counts() {
        let entry = |subject: &str, role: &str| Entry {
            subject: Some(subject.into()).filter(|_| subject != "*"),
            roles: Box::new([role.into()]),
            scopes: Box::default(),
        };
        let listed = Certificates::new(vec![entry("CN=a", "admin"), entry("*", "guest")]);
        let role = |subject: &str| listed.find(subject, "f").map(|user| user.roles.join(","));
        assert_eq!(role("CN=a"), Some("admin".into()));
        assert_eq!(role("CN=ab"), Some("guest".into()));
        assert_eq!(role(""), None);
        assert!(Certificates::new(vec![entry("CN=a", "x")]).find("CN=A", "f").is_none());
    }
}
