//! What some entrances answer themselves, before routes: an ACME client's challenges, and the way to https.

use std::path::{Path, PathBuf};

use http::{HeaderValue, StatusCode};

use super::reply::Answer;
use crate::plan::walk::Asked;
use crate::policy::refusal::{Kind, Refusal};

/// Where an authority asks for a challenge (RFC 8555 8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";
/// The longest key authorization there is has some 90 bytes.
const LONGEST_CHALLENGE: u64 = 4096;

/// The file of a challenge. Its name is a token of RFC 8555, so it leads nowhere else.
pub fn challenge(webroot: &Path, asked: &Asked) -> Option<PathBuf> {
    let token = asked.path.strip_prefix(CHALLENGES)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let valid = (1..=128).contains(&token.len()) && token.bytes().all(plain);
    valid.then(|| webroot.join(CHALLENGES.trim_start_matches('/')).join(token))
}

/// Answers a challenge with what the ACME client wrote.
pub async fn answer_challenge(file: &Path) -> Result<Answer, Refusal> {
    let missing = || Refusal::new(Kind::NO_ROUTE, "there is no such challenge");
    let found = tokio::fs::metadata(file).await.map_err(|_| missing())?;
    if !found.is_file() || found.len() > LONGEST_CHALLENGE {
        return Err(missing());
    }
    let text = tokio::fs::read(file).await.map_err(|_| missing())?;
    Ok(Answer::text(text.into()))
}

/// The same place under https.
pub fn redirect_to_https(port: u16, asked: &Asked) -> Result<Answer, Refusal> {
    let host = asked.host.as_deref().ok_or(Refusal::malformed("host_missing", "Host is missing"))?;
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let query = asked.query.map(|query| format!("?{query}")).unwrap_or_default();
    let place = HeaderValue::from_str(&format!("https://{host}{port}{}{query}", asked.path));
    let place = place.map_err(|_| Refusal::new(Kind::INTERNAL, "the redirect has no valid place"))?;
    Ok(Answer::redirect(StatusCode::PERMANENT_REDIRECT, place))
}
