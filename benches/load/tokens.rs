//! Mints tokens for the load: `load-tokens PRIVATE_KEY COUNT` prints as many, one a line, of users that are numbered.

#![allow(clippy::expect_used, reason = "a tool for measurements has no one to report a fault to")]

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (file, count) = arguments.next().zip(arguments.next()).expect("usage: load-tokens PRIVATE_KEY COUNT");
    gatekeeper_core::signature::install();
    let key = EncodingKey::from_rsa_pem(&std::fs::read(file).expect("a file")).expect("an RSA key");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
    let mut out = std::io::stdout().lock();
    for n in 0..count.parse::<u32>().expect("a number") {
        let claims = json!({
            "iss": "bench", "aud": "bench", "sub": format!("user-{n}"), "iat": now, "exp": now + 86_400,
            "roles": ["editor"], "email": format!("user-{n}@example.org"),
        });
        let token = encode(&Header::new(Algorithm::RS256), &claims, &key).expect("a token");
        writeln!(out, "{token}").expect("a reader");
    }
}
