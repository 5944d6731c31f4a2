//! A key that verifies signatures: where it comes from, what it is for (RFC 7517, RFC 7518).
//!
//! * Its shape decides for which algorithms it may be used, never a token. So a public key never is a secret of HS256.
//! * RSA keys have 2048 to 8192 bits and an odd exponent from 3 to 2^33; points lie on their curve. Points of Edwards25519
//!   are of great order (`edwards`).
//! * Of a JSON Web Key `alg`, `use` and `key_ops` are honoured. Symmetric ones (`oct`) are not taken: nobody publishes them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use ring::agreement::{self, ECDH_P256, ECDH_P384, EphemeralPrivateKey};
use ring::rand::SystemRandom;
use serde_json::{Map, Value};
use x509_parser::oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_SIG_ED25519, Oid};
use x509_parser::parse_x509_certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::{PublicKey, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::edwards;
use gatekeeper_core::signature;

/// The algorithms there are, for people.
pub const ALGORITHMS: &str = "HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA";

/// A key that verifies signatures.
pub struct Key {
    /// Its name, if it has one.
    pub id: Option<Box<str>>,
    shape: Shape,
    /// The only algorithm it is for, if it says so.
    only: Option<Algorithm>,
    material: DecodingKey,
}

/// What a key is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A shared secret.
    Secret,
    /// A modulus and an exponent.
    Rsa,
    /// A point of P-256.
    P256,
    /// A point of P-384.
    P384,
    /// A point of Edwards25519.
    Ed25519,
}

impl Shape {
    /// The shape of an algorithm's keys.
    pub fn of(algorithm: Algorithm) -> Option<Shape> {
        use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
        match algorithm {
            HS256 | HS384 | HS512 => Some(Shape::Secret),
            RS256 | RS384 | RS512 | PS256 | PS384 | PS512 => Some(Shape::Rsa),
            ES256 => Some(Shape::P256),
            ES384 => Some(Shape::P384),
            EdDSA => Some(Shape::Ed25519),
            _ => None,
        }
    }
}

/// How many bytes a secret has at least (RFC 7518 3.2).
pub fn shortest_secret(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::HS384 => 48,
        Algorithm::HS512 => 64,
        _ => 32,
    }
}

type Found<T> = Result<T, &'static str>;

impl Key {
    /// A shared secret. How long it must be is for those to say who know its algorithm.
    pub fn secret(secret: &[u8]) -> Key {
        Key::made_of(Shape::Secret, DecodingKey::from_secret(secret))
    }

    /// The first key or certificate of a PEM text.
    pub fn pem(text: &str) -> Found<Key> {
        let first = Pem::iter_from_buffer(text.as_bytes()).next();
        let pem = first.and_then(Result::ok).ok_or("it is not PEM")?;
        match pem.label.as_str() {
            "PUBLIC KEY" => match SubjectPublicKeyInfo::from_der(&pem.contents) {
                Ok((b"", info)) => Key::of_info(&info),
                _ => Err("it is no public key"),
            },
            "RSA PUBLIC KEY" => match RSAPublicKey::from_der(&pem.contents) {
                Ok((b"", key)) => Key::rsa(key.modulus, key.exponent),
                _ => Err("it is no RSA key"),
            },
            "CERTIFICATE" => match parse_x509_certificate(&pem.contents) {
                Ok((b"", certificate)) => Key::of_info(certificate.public_key()),
                _ => Err("it is no certificate"),
            },
            label if label.ends_with("PRIVATE KEY") => Err("it is a private key"),
            _ => Err("it is PEM of another kind"),
        }
    }

    fn of_info(info: &SubjectPublicKeyInfo) -> Found<Key> {
        let bytes: &[u8] = &info.subject_public_key.data;
        if info.algorithm.algorithm == OID_SIG_ED25519 {
            return Key::ed25519(bytes);
        }
        match info.parsed() {
            Ok(PublicKey::RSA(key)) => Key::rsa(key.modulus, key.exponent),
            Ok(PublicKey::EC(point)) => {
                let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
                Key::point(shape_of_curve(curve.as_ref()).ok_or("its curve is not P-256 or P-384")?, point.data())
            }
            _ => Err("it is of no known type"),
        }
    }

    /// A JSON Web Key that verifies signatures.
    pub fn jwk(jwk: &Map<String, Value>) -> Found<Key> {
        let text = |name| jwk.get(name).and_then(Value::as_str);
        if jwk.get("use").is_some_and(|usage| usage != "sig") {
            return Err("its use is not sig");
        }
        let verifies =
            |operations: &Value| operations.as_array().is_some_and(|list| list.iter().any(|one| one == "verify"));
        if jwk.get("key_ops").is_some_and(|operations| !verifies(operations)) {
            return Err("its key_ops don't hold verify");
        }
        let only = jwk.get("alg").map(|name| name.as_str().and_then(|name| name.parse().ok()));
        let bytes = |name| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let key = match (text("kty"), text("crv")) {
            (Some("RSA"), _) => Key::rsa(&bytes("n").ok_or(MISSING)?, &bytes("e").ok_or(MISSING)?),
            (Some("EC"), Some("P-256")) => Key::coordinates(Shape::P256, 32, bytes("x"), bytes("y")),
            (Some("EC"), Some("P-384")) => Key::coordinates(Shape::P384, 48, bytes("x"), bytes("y")),
            (Some("OKP"), Some("Ed25519")) => Key::ed25519(&bytes("x").ok_or(MISSING)?),
            (Some("oct"), _) => Err("it is a secret"),
            _ => Err("it is of no known type"),
        }?;
        let key = Key { id: text("kid").map(Box::from), only: only.flatten(), ..key };
        match only {
            Some(None) => Err("its alg is not known"),
            Some(Some(only)) if !key.fits(only) => Err("its alg does not fit it"),
            _ => Ok(key),
        }
    }

    fn rsa(modulus: &[u8], exponent: &[u8]) -> Found<Key> {
        let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
        let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
        if bits < 2048 {
            return Err(SHORT);
        }
        let value = exponent.iter().take(8).fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        if bits > 8192 || exponent.len() > 5 || !(3..=1 << 33).contains(&value) || value % 2 == 0 {
            return Err("it is no RSA key that can be used");
        }
        Ok(Key::made_of(Shape::Rsa, DecodingKey::from_rsa_raw_components(modulus, exponent)))
    }

    fn coordinates(shape: Shape, length: usize, x: Option<Vec<u8>>, y: Option<Vec<u8>>) -> Found<Key> {
        let (x, y) = (x.ok_or(MISSING)?, y.ok_or(MISSING)?);
        if x.len() != length || y.len() != length {
            return Err("its coordinates have the wrong length");
        }
        Key::point(shape, &[&[4], &x[..], &y[..]].concat())
    }

    fn point(shape: Shape, point: &[u8]) -> Found<Key> {
        let curve = if shape == Shape::P256 { &ECDH_P256 } else { &ECDH_P384 };
        let own =
            EphemeralPrivateKey::generate(curve, &SystemRandom::new()).map_err(|_| "no randomness is to be had")?;
        let met = agreement::agree_ephemeral(own, &agreement::UnparsedPublicKey::new(curve, point), |_| ());
        met.map_err(|_| "it is no point of its curve")?;
        Ok(Key::made_of(shape, DecodingKey::from_ec_der(point)))
    }

    fn ed25519(point: &[u8]) -> Found<Key> {
        let encoded = point.try_into().map_err(|_| "its length is wrong")?;
        edwards::fault(encoded).map_or(Ok(()), Err)?;
        Ok(Key::made_of(Shape::Ed25519, DecodingKey::from_ed_der(point)))
    }

    fn made_of(shape: Shape, material: DecodingKey) -> Key {
        signature::install();
        Key { id: None, shape, only: None, material }
    }

    /// Whether signatures of this algorithm may be verified with it.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        Shape::of(algorithm) == Some(self.shape) && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether a message has this signature (in base64url) by this key.
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &str) -> bool {
        self.fits(algorithm) && crypto::verify(signature, message, &self.material, algorithm).unwrap_or(false)
    }
}

const SHORT: &str = "it is an RSA key of less than 2048 bits";
/// Why a key is refused that somebody meant to be used, other than one that is not for us.
pub const WEAK: [&str; 3] = [SHORT, edwards::SMALL_ORDER, edwards::NOT_CANONICAL];
const MISSING: &str = "a member is missing or no base64url";

fn shape_of_curve(curve: Option<&Oid>) -> Option<Shape> {
    match curve? {
        curve if *curve == OID_EC_P256 => Some(Shape::P256),
        curve if *curve == OID_NIST_EC_P384 => Some(Shape::P384),
        _ => None,
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::samples::{Signer, encode, rsa_pem};
    use super::*;

    fn jwk(jwk: &Value) -> Found<Key> {
        Key::jwk(jwk.as_object().unwrap())
    }

    fn with(jwk: &Value, changes: Value) -> Value {
        let mut jwk = jwk.clone();
        for (name, value) in changes.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    }

    #[test]
    fn a_key_fits_its_algorithms_only() {
        use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
        let all = [HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA];
        assert_eq!(all.map(|algorithm| format!("{algorithm:?}")).join(", "), ALGORITHMS.replace(" or", ","));
        let cases = [
            (Key::secret(b"x"), &all[..3]),
            (Key::pem(&rsa_pem()).unwrap(), &all[3..9]),
            (jwk(&Signer::p256("a").jwk).unwrap(), &all[9..10]),
            (jwk(&Signer::p384("a").jwk).unwrap(), &all[10..11]),
            (jwk(&Signer::ed25519("a").jwk).unwrap(), &all[11..]),
        ];
        for (key, fitting) in cases {
            let fits: Vec<_> = all.into_iter().filter(|algorithm| key.fits(*algorithm)).collect();
            assert_eq!(fits, fitting);
        }
    }

    #[test]
    fn each_algorithm_verifies_what_its_key_signed() {
        let rsa =
            ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"].map(|name| Signer::rsa(name.parse().unwrap(), "r"));
        let others = [Signer::p256("p"), Signer::p384("q"), Signer::ed25519("e")];
        for signer in rsa.iter().chain(&others) {
            let token = signer.token(&json!({}));
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let key = jwk(&signer.jwk).unwrap();
            assert_eq!(key.id.as_deref(), Some(signer.kid()));
            assert!(key.verify(signer.algorithm, signed.as_bytes(), signature), "{:?}", signer.algorithm);
            let only =
                jwk(&with(&signer.jwk, json!({"alg": signer.algorithm, "use": "sig", "key_ops": ["verify"]}))).unwrap();
            assert!(only.verify(signer.algorithm, signed.as_bytes(), signature));
            assert!(
                rsa.iter().filter(|other| other.algorithm != signer.algorithm).all(|other| !only.fits(other.algorithm))
            );
        }
    }

    #[test]
    fn web_keys_that_are_not_taken() {
        let (rsa, ec, ed) = (Signer::rsa(Algorithm::RS256, "r").jwk, Signer::p256("p").jwk, Signer::ed25519("e").jwk);
        let other = Signer::p256("o").jwk;
        let cases = [
            (with(&rsa, json!({"n": encode([0xff; 255])})), "it is an RSA key of less than 2048 bits"),
            (
                with(&rsa, json!({"n": encode([[0; 128], [0xff; 128]].concat())})),
                "it is an RSA key of less than 2048 bits",
            ),
            (with(&rsa, json!({"n": encode([0xff; 1025])})), "it is no RSA key that can be used"),
            (with(&rsa, json!({"e": encode([1])})), "it is no RSA key that can be used"),
            (with(&rsa, json!({"e": encode([2])})), "it is no RSA key that can be used"),
            (with(&rsa, json!({"e": encode([1, 0, 0, 0, 0, 1])})), "it is no RSA key that can be used"),
            (with(&rsa, json!({"e": ""})), "it is no RSA key that can be used"),
            (with(&rsa, json!({"e": "AQAB="})), MISSING),
            (with(&rsa, json!({"n": 5})), MISSING),
            (with(&rsa, json!({"use": "enc"})), "its use is not sig"),
            (with(&rsa, json!({"use": null})), "its use is not sig"),
            (with(&rsa, json!({"key_ops": ["sign"]})), "its key_ops don't hold verify"),
            (with(&rsa, json!({"key_ops": "verify"})), "its key_ops don't hold verify"),
            (with(&rsa, json!({"alg": "HS256"})), "its alg does not fit it"),
            (with(&rsa, json!({"alg": "ES256"})), "its alg does not fit it"),
            (with(&rsa, json!({"alg": "RSA-OAEP"})), "its alg is not known"),
            (with(&rsa, json!({"alg": 7})), "its alg is not known"),
            (with(&rsa, json!({"kty": "rsa"})), "it is of no known type"),
            (with(&ec, json!({"crv": "secp256k1"})), "it is of no known type"),
            (with(&ec, json!({"crv": "P-384"})), "its coordinates have the wrong length"),
            (with(&ec, json!({"x": other["x"]})), "it is no point of its curve"),
            (with(&ec, json!({"x": encode([0; 32]), "y": encode([0; 32])})), "it is no point of its curve"),
            (with(&ec, json!({"y": encode([1; 31])})), "its coordinates have the wrong length"),
            (with(&ec, json!({"y": null})), MISSING),
            (with(&ed, json!({"x": encode([1; 31])})), "its length is wrong"),
            (with(&ed, json!({"x": encode([0; 32])})), "it is a point of small order"),
            (with(&ed, json!({"x": encode([0xff; 32])})), "its point is not encoded as it must be"),
            (with(&ed, json!({"crv": "Ed448"})), "it is of no known type"),
            (with(&ed, json!({"crv": "X25519"})), "it is of no known type"),
            (json!({"kty": "oct", "k": encode([1; 64])}), "it is a secret"),
            (json!({}), "it is of no known type"),
        ];
        for (key, why) in cases {
            assert_eq!(jwk(&key).err(), Some(why), "{key}");
        }
    }

    #[test]
    fn pem_is_a_key_or_a_certificate() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let certificate = rcgen::CertificateParams::new(["x".into()]).unwrap().self_signed(&pair).unwrap();
        let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let cases = [
            (pair.public_key_pem(), Shape::P384),
            (certificate.pem(), Shape::P384),
            (ed25519.public_key_pem(), Shape::Ed25519),
            (rsa_pem(), Shape::Rsa),
        ];
        for (text, shape) in cases {
            assert_eq!(Key::pem(&text).map(|key| key.shape), Ok(shape));
        }
        let relabelled = rsa_pem().replace("RSA PUBLIC", "PUBLIC");
        let cases = [
            (pair.serialize_pem(), "it is a private key"),
            (relabelled, "it is no public key"),
            (rsa_pem().replace("RSA PUBLIC KEY", "X509 CRL"), "it is PEM of another kind"),
            ("".into(), "it is not PEM"),
            ("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n".into(), "it is not PEM"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".into(), "it is no public key"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(), "it is no certificate"),
        ];
        for (text, why) in cases {
            assert_eq!(Key::pem(&text).map(|key| key.shape), Err(why), "{text}");
        }
    }
}
