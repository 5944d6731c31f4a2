use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::super::compile::compile;
use super::super::samples::{Signer, decode, encode, key_set, rsa_pem};
use super::*;
use gatekeeper_model::{Faults, Place};

const NOW: u64 = 1_800_000_000;
const SECRET: &str = "a secret of at least thirty-two bytes";

pub(super) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn build(raw: Value, previous: Option<&Issuers>) -> Issuers {
    let raw: Vec<raw::Issuer> = serde_json::from_value(raw).unwrap();
    let mut faults = Faults::default();
    compile(&raw, previous, None, &Place::new("jwt"), &mut faults).unwrap_or_else(|| panic!("{faults}"))
}

fn claims(changes: Value) -> Value {
    let mut claims = json!({"iss": "https://i", "sub": "u", "aud": "api", "exp": NOW + 60});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn said(verdict: Verdict) -> String {
    match verdict {
        Verdict::Accepted(identity) => format!("{}/{}", identity.issuer, identity.subject),
        Verdict::Rejected(why) => why.reason.code().into(),
        Verdict::Foreign(why) => format!("foreign {}", why.code()),
        Verdict::Ask(_) => "ask".into(),
    }
}

#[test]
fn a_good_token_is_accepted_and_remembered_until_its_end() {
    let issuers = build(json!([{"issuer": "https://i", "audience": "api", "secret": SECRET}]), None);
    let token =
        Signer::secret(Algorithm::HS256, SECRET.as_bytes()).token(&claims(json!({"roles": ["a"], "scope": "r w"})));
    let Verdict::Accepted(first) = issuers.judge(&token, at(NOW)) else { panic!() };
    assert_eq!((&*first.issuer, &*first.subject, first.roles.len(), first.scopes.len()), ("https://i", "u", 1, 2));
    assert_eq!((first.expires, &first.claims["aud"]), (Some(at(NOW + 90)), &json!("api")));
    let Verdict::Accepted(second) = issuers.judge(&token, at(NOW + 89)) else { panic!() };
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(said(issuers.judge(&token, at(NOW + 90))), "expired");
    // One character more, less or other is another token.
    for other in [format!("{token}A"), token[..token.len() - 1].into(), token.replacen('e', "f", 1)] {
        assert!(!matches!(issuers.judge(&other, at(NOW)), Verdict::Accepted(_)), "{other}");
    }
}

#[test]
fn bad_tokens_are_refused() {
    let (rsa, ec, thief) = (Signer::rsa(Algorithm::RS256, "r"), Signer::p256("p"), Signer::ed25519("p"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), key_set(&[&rsa, &ec])).unwrap();
    let algorithms = json!(["RS256", "ES256", "PS384", "EdDSA"]);
    let issuers = build(
        json!([{"issuer": "https://i", "audience": "api", "jwks_file": file.path(), "algorithms": algorithms}]),
        None,
    );
    let good = ec.token(&claims(json!({})));
    let other = ec.token(&claims(json!({"sub": "admin"})));
    let parts: Vec<&str> = good.split('.').collect();
    let mixed = format!("{}.{}.{}", parts[0], other.split('.').nth(1).unwrap(), parts[2]);
    let header = |header: Value| ec.sign(&header.to_string(), &claims(json!({})).to_string());
    let with_public_key = |secret: &[u8], kid: &str| {
        let header = json!({"alg": "HS256", "kid": kid}).to_string();
        Signer::secret(Algorithm::HS256, secret).sign(&header, &claims(json!({})).to_string())
    };
    let own_key = thief.sign(
        &json!({"alg": "EdDSA", "jwk": thief.jwk, "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"})
            .to_string(),
        &claims(json!({})).to_string(),
    );
    let changed = |changes| ec.token(&claims(changes));
    let ieee = decode(parts[2]);
    let der = [&[0x30, 68, 2, 32][..], &ieee[..32], &[2, 32], &ieee[32..]].concat();
    let cases = [
        (good.clone(), "https://i/u"),
        (rsa.token(&claims(json!({}))), "https://i/u"),
        (Signer::rsa(Algorithm::PS384, "r").token(&claims(json!({}))), "https://i/u"),
        (header(json!({"alg": "ES256"})), "https://i/u"),
        // Truncated, too long, of another shape.
        (good[..good.len() - 1].into(), "signature"),
        (parts[..2].join("."), "foreign malformed"),
        (format!("{}.{}.", parts[0], parts[1]), "signature"),
        (format!("{}.{}", parts[0], parts[1]), "foreign malformed"),
        (changed(json!({"x": "y".repeat(8 * 1024)})), "too_long"),
        ("opaque".into(), "foreign malformed"),
        ("a.b.c".into(), "foreign malformed"),
        (String::new(), "foreign malformed"),
        (format!("{good} "), "signature"),
        (format!(" {good}"), "foreign malformed"),
        // Algorithms.
        (format!("{}.{}.", encode(r#"{"alg":"none"}"#), parts[1]), "algorithm"),
        (Signer::rsa(Algorithm::RS512, "r").token(&claims(json!({}))), "algorithm"),
        (with_public_key(rsa_pem().as_bytes(), "r"), "algorithm"),
        (with_public_key(&decode(rsa.jwk["n"].as_str().unwrap()), "r"), "algorithm"),
        (header(json!({"alg": "RS256", "kid": "p"})), "key"),
        // Keys and signatures.
        (header(json!({"alg": "ES256", "kid": "nobody"})), "key"),
        (header(json!({"alg": "ES256", "kid": "r"})), "key"),
        (Signer::p256("p").token(&claims(json!({}))), "signature"),
        (mixed, "signature"),
        (own_key, "key"),
        (thief.token(&claims(json!({}))), "key"),
        (format!("{}.{}.{}", parts[0], parts[1], encode(der)), "signature"),
        (format!("{}.{}.{}", parts[0], parts[1], encode([0; 64])), "signature"),
        // Claims.
        (header(json!({"alg": "ES256", "kid": "p", "crit": ["x"], "x": 1})), "extension"),
        (ec.sign(r#"{"alg":"ES256"}"#, r#"{"iss":"https://i","iss":"https://i"}"#), "malformed"),
        (changed(json!({"exp": NOW - 31})), "expired"),
        (changed(json!({"nbf": NOW + 31})), "not_yet_valid"),
        (changed(json!({"iat": NOW + 31})), "not_yet_valid"),
        (changed(json!({"aud": "other"})), "audience"),
        (changed(json!({"aud": null})), "audience"),
        (changed(json!({"exp": null})), "claim"),
        (changed(json!({"sub": ""})), "claim"),
        (changed(json!({"iss": "https://j"})), "foreign issuer"),
        (changed(json!({"iss": "https://i/"})), "foreign issuer"),
        (changed(json!({"iss": ["https://i"]})), "claim"),
        (ec.token(&json!({"sub": "u", "exp": NOW + 60, "aud": "api"})), "foreign issuer"),
    ];
    for (token, expected) in cases {
        assert_eq!(said(issuers.judge(&token, at(NOW))), expected, "{token:.200}");
    }
}

#[test]
fn entries_are_tried_in_order_those_of_the_issuer_first() {
    let (one, two) = (Signer::ed25519(""), Signer::ed25519(""));
    let entry = |issuer: Option<&str>, key: &Signer, audience: &str| {
        let key = key.jwk.to_string();
        json!({"issuer": issuer, "public_key": key, "audience": audience, "algorithms": ["EdDSA"]})
    };
    let issuers = build(
        json!([
            entry(None, &two, "api"),
            entry(Some("a"), &one, "x"),
            entry(Some("a"), &one, "y"),
            entry(Some("b"), &two, "y")
        ]),
        None,
    );
    let judge = |key: &Signer, changes| said(issuers.judge(&key.token(&claims(changes)), at(NOW)));
    assert_eq!(judge(&one, json!({"iss": "a", "aud": "x"})), "a/u");
    assert_eq!(judge(&one, json!({"iss": "a", "aud": "y"})), "a/u");
    assert_eq!(judge(&one, json!({"iss": "a", "aud": "z"})), "audience");
    assert_eq!(judge(&one, json!({"iss": "b", "aud": "y"})), "signature");
    assert_eq!(judge(&two, json!({"iss": "b", "aud": "y"})), "b/u");
    // The entry without issuer takes any, but never for one that is listed.
    assert_eq!(judge(&two, json!({"iss": "c"})), "c/u");
    assert_eq!(judge(&two, json!({"iss": "a"})), "jwt/u");
    assert_eq!(judge(&one, json!({"iss": "c"})), "signature");
    assert_eq!(said(issuers.judge(&two.token(&json!({"sub": "u", "aud": "api", "exp": NOW})), at(NOW))), "jwt/u");
}

#[test]
fn a_reload_keeps_what_did_not_change() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (old, new) = (Signer::ed25519("k"), Signer::ed25519("k"));
    std::fs::write(file.path(), key_set(&[&old])).unwrap();
    let raw = |audience: &str| {
        json!([
            {"issuer": "a", "audience": audience, "jwks_file": file.path(), "algorithms": ["EdDSA"]},
            {"issuer": "b", "audience": audience, "jwks_url": "http://localhost:1/k"},
            {"issuer": "c", "audience": audience, "jwks_url": "http://localhost:1/k"},
            {"issuer": "http://localhost:2", "audience": audience},
        ])
    };
    let first = build(raw("x"), None);
    assert_eq!(
        first.providers().iter().map(|provider| provider.name()).collect::<Vec<_>>(),
        ["http://localhost:1/k", "http://localhost:2"]
    );
    let token = old.token(&claims(json!({"iss": "a", "aud": "x"})));
    assert_eq!(said(first.judge(&token, at(NOW))), "a/u");
    let same = build(raw("x"), Some(&first));
    assert!(Arc::ptr_eq(&first.cache, &same.cache));
    let other = build(raw("y"), Some(&same));
    assert_eq!(said(other.judge(&token, at(NOW))), "audience");
    assert!(first.providers().iter().zip(other.providers()).all(|(old, new)| Arc::ptr_eq(old, new)));
    std::fs::write(file.path(), key_set(&[&new])).unwrap();
    let changed = build(raw("x"), Some(&same));
    assert_eq!(said(changed.judge(&token, at(NOW))), "signature");
    assert!(build(json!([]), Some(&changed)).providers().is_empty());
}

#[test]
fn what_is_remembered_is_bounded() {
    let issuers = build(json!([{"secret": SECRET}]), None);
    let signer = Signer::secret(Algorithm::HS256, SECRET.as_bytes());
    for number in 0..2000 {
        let token = signer.token(&json!({"sub": number, "exp": NOW, "x": vec![0; 2800]}));
        assert_eq!(said(issuers.judge(&token, at(NOW))), format!("jwt/{number}"));
        // What the claims take in memory counts, not what they take in the token.
        assert!(number != 10 || issuers.remembered() > 10 * 2800 * 32);
    }
    let remembered = issuers.remembered();
    assert!((8 << 20..=16 << 20).contains(&remembered), "{remembered}");
}
