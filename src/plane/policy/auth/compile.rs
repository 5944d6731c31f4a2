//! Compiles the issuers of the configuration.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;

use super::cache::Cache;
use super::claims::Demands;
use super::fetch::{self, Authorities, Client};
use super::issuer::{Entry, Issuers, Keys};
use super::json;
use super::key::{ALGORITHMS, Key, Shape, shortest_secret};
use super::key_set::KeySet;
use super::provider::{self, Provider, Settings, Source};
use gatekeeper_model::raw::Issuer;
use gatekeeper_model::secret::masked;
use gatekeeper_model::{Fault, Faults, Place, did_you_mean, quoted};

const LEEWAY: Duration = Duration::from_secs(30);
const MOST_LEEWAY: Duration = Duration::from_secs(300);
const REFRESH: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(24 * 3600);
const SOURCES: &str =
    "one of secret, public_key, jwks_file, jwks_url, or none of them and an issuer with an OpenID configuration";

/// Compiles a list of issuers; faults are reported below `place`. Those who fetch keys are kept if their settings did not
/// change, the tokens that were verified if nothing did.
pub fn compile(
    raw: &[Issuer],
    previous: Option<&Issuers>,
    authorities: Option<&Authorities>,
    place: &Place,
    faults: &mut Faults,
) -> Option<Issuers> {
    let mut workshop = Workshop { previous, authorities, client: None, providers: Vec::new() };
    let entries: Vec<_> =
        raw.iter().enumerate().map(|(index, raw)| workshop.entry(raw, &place.index(index), faults)).collect();
    let entries: Box<[Entry]> = entries.into_iter().collect::<Option<_>>()?;
    let same = previous.filter(|previous| {
        previous.entries.len() == entries.len()
            && previous.entries.iter().zip(&entries).all(|(old, new)| is_same(old, new))
    });
    let cache = same.map_or_else(|| Arc::new(Cache::default()), |previous| previous.cache.clone());
    Some(Issuers { entries, providers: workshop.providers.into(), cache })
}

fn is_same(old: &Entry, new: &Entry) -> bool {
    let is_same_source = match (&old.keys, &new.keys) {
        (Keys::Fetched(old), Keys::Fetched(new)) => Arc::ptr_eq(old, new),
        (Keys::Given(_), Keys::Given(_)) => true,
        _ => false,
    };
    is_same_source && old.written == new.written
}

/// What entries are made with.
struct Workshop<'w> {
    previous: Option<&'w Issuers>,
    authorities: Option<&'w Authorities>,
    client: Option<Client>,
    providers: Vec<Arc<Provider>>,
}

impl Workshop<'_> {
    fn entry(&mut self, raw: &Issuer, at: &Place, faults: &mut Faults) -> Option<Entry> {
        let before = faults.len();
        check_texts(raw, at, faults);
        let algorithms = algorithms(raw, at, faults);
        if let Some(leeway) = raw.leeway.filter(|leeway| leeway.0 > MOST_LEEWAY) {
            faults.push(at.key("leeway"), leeway.to_string(), "300s or less");
        }
        let (keys, file) = self.keys(raw, algorithms.as_deref(), at, faults)?;
        let name = |name: &Option<String>, usual: &str| name.as_deref().unwrap_or(usual).into();
        let demands = Demands {
            issuer: raw.issuer.as_deref().map(Arc::from),
            audience: raw.audience.as_deref().map(Box::from),
            leeway: raw.leeway.map_or(LEEWAY, |leeway| leeway.0),
            required: raw.required_claims.iter().map(|name| name.as_str().into()).collect(),
            subject: name(&raw.subject_claim, "sub"),
            roles: name(&raw.roles_claim, "roles"),
        };
        let algorithms = algorithms?;
        (faults.len() == before).then(|| Entry { written: (raw.clone(), file), demands, algorithms, keys })
    }

    /// The keys, and what a file held.
    fn keys(
        &mut self,
        raw: &Issuer,
        algorithms: Option<&[Algorithm]>,
        at: &Place,
        faults: &mut Faults,
    ) -> Option<(Keys, Option<String>)> {
        if !is_one_source(raw, at, faults) {
            return None;
        }
        if let Some(secret) = &raw.secret {
            return secret_key(secret.reveal(), algorithms?, at, faults)
                .map(|key| (Keys::Given(KeySet::one(key)), None));
        }
        let (name, given, file) = match (&raw.public_key, &raw.jwks_file) {
            (Some(text), _) => public_key(text).map(|(key, file)| ("public_key", KeySet::one(key), file)),
            (None, Some(path)) => key_file(path).map(|(keys, file)| ("jwks_file", keys, file)),
            (None, None) => return self.fetched(raw, at, faults).map(|keys| (Keys::Fetched(keys), None)),
        }
        .map_err(|fault| faults.add(fault(at)))
        .ok()?;
        check_fit(&given, name, raw, algorithms?, at, faults);
        given.weak().iter().for_each(|why| faults.warn(Fault::saying(at.key(name), why.clone())));
        Some((Keys::Given(given), file))
    }

    fn fetched(&mut self, raw: &Issuer, at: &Place, faults: &mut Faults) -> Option<Arc<Provider>> {
        let (key, text) = match &raw.jwks_url {
            Some(url) => ("jwks_url", &**url),
            None => ("issuer", raw.issuer.as_deref()?),
        };
        let is_issuer = raw.jwks_url.is_none();
        let url =
            fetch::address(text, raw.allow_http.0).filter(|_| !is_issuer || provider::configuration_of(text).is_some());
        let Some(url) = url else {
            let shown = if is_issuer { quoted(text) } else { quoted(&masked(text)) };
            faults.add(Fault::new(at.key(key), shown, fetch::ALLOWED).with_hint(match is_issuer {
                true => "nothing else tells its keys, so they are looked for at the issuer's address",
                false => "",
            }));
            return None;
        };
        let source = if is_issuer { Source::Issuer(text.to_owned()) } else { Source::Keys(url) };
        let (refresh, allow_http) = (raw.jwks_refresh.map(|period| period.0), raw.allow_http.0);
        let settings = Settings { source, refresh, allow_http, authorities: self.authorities.cloned() };
        self.provider(settings, at, faults)
    }

    /// A provider with these settings: one there is already, if any.
    fn provider(&mut self, settings: Settings, at: &Place, faults: &mut Faults) -> Option<Arc<Provider>> {
        let is_it = |provider: &&Arc<Provider>| *provider.settings() == settings;
        if let Some(known) = self.providers.iter().find(is_it) {
            return Some(known.clone());
        }
        let old = self.previous.and_then(|previous| previous.providers.iter().find(is_it)).cloned();
        let provider = match old {
            Some(old) => old,
            None => Arc::new(Provider::new(settings, self.client(at, faults)?)),
        };
        self.providers.push(provider.clone());
        Some(provider)
    }

    fn client(&mut self, at: &Place, faults: &mut Faults) -> Option<Client> {
        if self.client.is_none() {
            let client = Client::new(self.authorities);
            let told =
                |why| faults.add(Fault::saying(at.clone(), format!("keys can't be fetched on this machine: {why}")));
            self.client = client.map_err(told).ok();
        }
        self.client.clone()
    }
}

fn check_texts(raw: &Issuer, at: &Place, faults: &mut Faults) {
    for (key, text) in [
        ("issuer", &raw.issuer),
        ("audience", &raw.audience),
        ("subject_claim", &raw.subject_claim),
        ("roles_claim", &raw.roles_claim),
    ] {
        if text.as_deref() == Some("") {
            faults.push(at.key(key), "\"\"", "a text; or leave it out");
        }
    }
    let is_fetched = raw.secret.is_none() && raw.public_key.is_none() && raw.jwks_file.is_none();
    match raw.jwks_refresh {
        Some(_) if !is_fetched => {
            faults.add(Fault::saying(at.key("jwks_refresh"), "no keys are fetched here").with_hint("leave it out"));
        }
        Some(period) if !REFRESH.contains(&period.0) => {
            faults.push(at.key("jwks_refresh"), period.to_string(), "5s to 24h");
        }
        _ => {}
    }
}

fn algorithms(raw: &Issuer, at: &Place, faults: &mut Faults) -> Option<Box<[Algorithm]>> {
    if raw.algorithms.is_empty() {
        let usual = if raw.secret.is_some() { Algorithm::HS256 } else { Algorithm::RS256 };
        return Some([usual].into());
    }
    let list = at.key("algorithms");
    let secret = raw.secret.is_some() || faults.was_pruned(&at.key("secret"));
    let (allowed, is_secret) = match secret {
        true => ("HS256, HS384 or HS512, beside a secret", true),
        false => ("an algorithm with public keys; HS256, HS384 and HS512 need a secret", false),
    };
    let parsed = raw.algorithms.iter().enumerate().map(|(index, name)| {
        let Ok(algorithm) = name.parse() else {
            let hint = did_you_mean(name, ALGORITHMS.split([',', ' ']).filter(|name| name.len() > 4));
            faults.add(Fault::new(list.index(index), quoted(name), ALGORITHMS).with_hint(hint.unwrap_or_default()));
            return None;
        };
        if (Shape::of(algorithm) == Some(Shape::Secret)) != is_secret {
            faults.push(list.index(index), quoted(name), allowed);
            return None;
        }
        Some(algorithm)
    });
    let parsed: Vec<_> = parsed.collect();
    parsed.into_iter().collect()
}

fn is_one_source(raw: &Issuer, at: &Place, faults: &mut Faults) -> bool {
    let sources = [
        ("secret", raw.secret.is_some()),
        ("public_key", raw.public_key.is_some()),
        ("jwks_file", raw.jwks_file.is_some()),
        ("jwks_url", raw.jwks_url.is_some()),
    ];
    let written: Vec<_> = sources.iter().filter(|(_, is_written)| *is_written).map(|(name, _)| *name).collect();
    match (written.as_slice(), &raw.issuer) {
        ([_], _) | ([], Some(_)) => return true,
        // A secret that is not set is told already.
        ([], None) if sources.iter().any(|(key, _)| faults.was_pruned(&at.key(key))) => return false,
        ([], None) => faults.push(at.clone(), "nothing that tells the keys", SOURCES),
        (several, _) => faults.push(at.clone(), several.join(" and "), SOURCES),
    }
    false
}

fn secret_key(secret: &str, algorithms: &[Algorithm], at: &Place, faults: &mut Faults) -> Option<Key> {
    let longest = algorithms.iter().max_by_key(|algorithm| shortest_secret(**algorithm))?;
    let needed = shortest_secret(*longest);
    if secret.len() < needed {
        let found = format!("a secret of {} bytes", secret.len());
        // Said in one part: what stands at the place of a secret is masked.
        faults.add(Fault::saying(at.key("secret"), format!("{found}; {longest:?} needs {needed} bytes or more")));
        return None;
    }
    Some(Key::secret(secret.as_bytes()))
}

/// A fault that is yet to have its place.
type Placeless = Box<dyn FnOnce(&Place) -> Fault>;

fn public_key(text: &str) -> Result<(Key, Option<String>), Placeless> {
    const ALLOWED: &str =
        "a public key or a certificate as PEM, a JSON Web Key, or the name of a file with one of them";
    let is_key = |text: &str| text.starts_with("-----BEGIN") || text.starts_with('{');
    let wrong = |found: String| -> Placeless { Box::new(move |at| Fault::new(at.key("public_key"), found, ALLOWED)) };
    if is_key(text.trim()) {
        return parse_key(text.trim()).map(|key| (key, None)).map_err(|why| wrong(why.into()));
    }
    let held =
        gatekeeper_model::files::read_to_string(text).map_err(|error| wrong(format!("{} ({error})", quoted(text))))?;
    match parse_key(held.trim()) {
        Ok(key) => Ok((key, Some(held))),
        Err(why) => Err(wrong(format!("{} ({why})", quoted(text)))),
    }
}

fn parse_key(text: &str) -> Result<Key, &'static str> {
    match text.starts_with('{') {
        true => Key::jwk(&json::object(text.as_bytes()).ok_or("it is no JSON object")?),
        false => Key::pem(text),
    }
}

fn key_file(path: &str) -> Result<(KeySet, Option<String>), Placeless> {
    let wrong = |why: String| -> Placeless {
        let found = format!("{} ({why})", quoted(path));
        Box::new(move |at| Fault::new(at.key("jwks_file"), found, "a file with a JSON Web Key Set"))
    };
    let held = gatekeeper_model::files::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let keys = KeySet::read(held.as_bytes()).and_then(|keys| keys.emptiness().map_or(Ok(keys), Err));
    Ok((keys.map_err(wrong)?, Some(held)))
}

fn check_fit(keys: &KeySet, name: &str, raw: &Issuer, algorithms: &[Algorithm], at: &Place, faults: &mut Faults) {
    if !keys.fits(algorithms) {
        let list: Vec<_> = algorithms.iter().map(|algorithm| format!("{algorithm:?}")).collect();
        let hint = if raw.algorithms.is_empty() { "say in algorithms for which it is" } else { "" };
        let fault = Fault::new(at.key(name), "a key for other algorithms", format!("one for {}", list.join(", ")));
        faults.add(fault.with_hint(hint));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::samples::{Signer, key_set, rsa_pem};
    use super::*;

    fn faults(raw: Value) -> Vec<String> {
        let raw: Vec<Issuer> = serde_json::from_value(json!([raw])).unwrap();
        let mut faults = Faults::default();
        let compiled = compile(&raw, None, None, &Place::new("jwt"), &mut faults);
        assert_eq!(compiled.is_some(), faults.is_empty());
        faults.faults().iter().map(|fault| fault.to_string()).collect()
    }

    #[test]
    fn all_kinds_of_keys_are_taken() {
        let file = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            file
        };
        let ed25519 = Signer::ed25519("e");
        let (pem, jwk, set) = (file(&rsa_pem()), file(&ed25519.jwk.to_string()), file(&key_set(&[&ed25519])));
        for raw in [
            json!({"secret": "s".repeat(32)}),
            json!({"secret": "s".repeat(64), "algorithms": ["HS512", "HS256"]}),
            json!({"public_key": rsa_pem()}),
            json!({"public_key": pem.path(), "algorithms": ["PS256", "RS256"], "leeway": "300s"}),
            json!({"public_key": jwk.path(), "algorithms": ["EdDSA"]}),
            json!({"public_key": format!(" {} ", ed25519.jwk), "algorithms": ["EdDSA", "ES256"]}),
            json!({"jwks_file": set.path(), "algorithms": ["EdDSA"]}),
            json!({"jwks_url": "https://i/keys", "jwks_refresh": "60s"}),
            json!({"jwks_url": "http://i/keys", "allow_http": true}),
            json!({"jwks_url": "http://[::1]:8080/keys", "issuer": "not an address"}),
            json!({"issuer": "https://i/realms/x/", "jwks_refresh": "24h"}),
        ] {
            assert_eq!(faults(raw.clone()), Vec::<String>::new(), "{raw}");
        }
    }

    #[test]
    fn every_fault_names_its_place_and_what_is_allowed() {
        let (ed25519, long) = (Signer::ed25519("e").jwk.to_string(), "s".repeat(64));
        let secret = json!({"kty": "oct", "k": "A".repeat(64)}).to_string();
        let cases = [
            (
                json!({}),
                "jwt[0]: found nothing that tells the keys, allowed: one of secret, public_key, jwks_file, jwks_url",
            ),
            (
                json!({"secret": long, "jwks_url": "https://i/"}),
                "jwt[0]: found secret and jwks_url, allowed: one of secret",
            ),
            (
                json!({"secret": long, "algorithms": ["HS265"]}),
                r#"jwt[0].algorithms[0]: found "HS265", allowed: HS256, HS384"#,
            ),
            (
                json!({"secret": long, "algorithms": ["HS256", "none"]}),
                r#"jwt[0].algorithms[1]: found "none", allowed: HS256"#,
            ),
            (
                json!({"secret": long, "algorithms": ["RS256"]}),
                r#"jwt[0].algorithms[0]: found "RS256", allowed: HS256, HS384 or HS512"#,
            ),
            (
                json!({"public_key": rsa_pem(), "algorithms": ["RS256", "HS256"]}),
                r#"jwt[0].algorithms[1]: found "HS256", allowed: an algorithm with public keys"#,
            ),
            (
                json!({"jwks_url": "https://i/", "algorithms": ["HS256"]}),
                r#"jwt[0].algorithms[0]: found "HS256", allowed"#,
            ),
            (
                json!({"issuer": "https://i/", "algorithms": ["HS512"]}),
                r#"jwt[0].algorithms[0]: found "HS512", allowed"#,
            ),
            (json!({"secret": "keep it quiet"}), "jwt[0].secret: a secret of 13 bytes; HS256 needs 32 bytes or more"),
            (
                json!({"secret": "s".repeat(63), "algorithms": ["HS256", "HS512"]}),
                "jwt[0].secret: a secret of 63 bytes; HS512 needs 64",
            ),
            (json!({"public_key": "/no/where"}), r#"jwt[0].public_key: found "/no/where" (No such file"#),
            (
                json!({"public_key": "-----BEGIN PUBLIC KEY-----"}),
                "jwt[0].public_key: found it is not PEM, allowed: a public key or a certificate",
            ),
            (json!({"public_key": "{}"}), "jwt[0].public_key: found it is of no known type"),
            (json!({"public_key": "{"}), "jwt[0].public_key: found it is no JSON object"),
            (json!({"public_key": secret}), "jwt[0].public_key: found it is a secret, allowed"),
            (
                json!({"public_key": ed25519}),
                "jwt[0].public_key: found a key for other algorithms, allowed: one for RS256; say in algorithms",
            ),
            (
                json!({"public_key": rsa_pem(), "algorithms": ["ES256", "ES384"]}),
                "jwt[0].public_key: found a key for other algorithms, allowed: one for ES256, ES384",
            ),
            (json!({"jwks_file": "/no/where"}), r#"jwt[0].jwks_file: found "/no/where" (No such file"#),
            (
                json!({"jwks_file": "/dev/null"}),
                r#"jwt[0].jwks_file: found "/dev/null" (it is not a regular file), allowed"#,
            ),
            (
                json!({"jwks_url": "http://i/"}),
                r#"jwt[0].jwks_url: found "http://i/", allowed: a URL with https, or with http on loopback"#,
            ),
            (json!({"jwks_url": "https://u:hidden@i/"}), "jwt[0].jwks_url: found"),
            (
                json!({"jwks_url": "http://u:pw@far.test/?key=hidden"}),
                r#"jwt[0].jwks_url: found "http://u:***@far.test/?key=***", allowed: a URL with https"#,
            ),
            (json!({"issuer": "acme"}), r#"jwt[0].issuer: found "acme", allowed: a URL with https"#),
            (json!({"issuer": "http://acme"}), r#"jwt[0].issuer: found "http://acme", allowed: a URL with https"#),
            (json!({"issuer": "https://acme/?x=y"}), r#"jwt[0].issuer: found "https://acme/?x=y", allowed"#),
            (json!({"secret": long, "leeway": "301s"}), "jwt[0].leeway: found 301s, allowed: 300s or less"),
            (json!({"secret": long, "jwks_refresh": "5m"}), "jwt[0].jwks_refresh: no keys are fetched here"),
            (
                json!({"jwks_url": "https://i/", "jwks_refresh": "4s"}),
                "jwt[0].jwks_refresh: found 4s, allowed: 5s to 24h",
            ),
            (
                json!({"jwks_url": "https://i/", "jwks_refresh": "25h"}),
                "jwt[0].jwks_refresh: found 25h, allowed: 5s to 24h",
            ),
            (json!({"secret": long, "issuer": ""}), r#"jwt[0].issuer: found "", allowed: a text"#),
            (json!({"secret": long, "audience": ""}), r#"jwt[0].audience: found "", allowed: a text"#),
        ];
        for (raw, fault) in cases {
            let found = faults(raw.clone());
            assert_eq!(found.len(), 1, "{raw}: {found:?}");
            assert!(found[0].starts_with(fault), "{raw}: {found:?}");
            assert!(!["quiet", "hidden", &"A".repeat(64)].iter().any(|secret| found[0].contains(secret)), "{found:?}");
        }
    }

    #[test]
    fn all_faults_come_at_once() {
        let raw =
            json!({"audience": "", "secret": "short", "algorithms": ["HS256"], "leeway": "1h", "jwks_refresh": "1h"});
        let found = faults(raw);
        assert_eq!(found.len(), 4, "{found:?}");
    }
}
