//! What some entrances answer themselves, before routes: an ACME client's challenges, and the way to https.

use std::io::{self, Read};
use std::path::Path;

use http::header::ALLOW;
use http::{HeaderValue, Method, StatusCode};

use super::reply::Answer;
use crate::plan::walk::Asked;
use gatekeeper_core::refusal::{Kind, Refusal};
use gatekeeper_model::files::Folder;

/// Where an authority asks for a challenge (RFC 8555 8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";
/// The longest key authorization there is has some 90 bytes.
const LONGEST_CHALLENGE: u64 = 4096;

/// The token of a challenge that is asked for (RFC 8555); it leads nowhere else.
pub fn challenge<'a>(asked: &'a Asked<'_>) -> Option<&'a str> {
    let token = asked.path.strip_prefix(CHALLENGES)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    ((1..=128).contains(&token.len()) && token.bytes().all(plain)).then_some(token)
}

/// A challenge is read, and nothing else is done with it.
pub fn check_method(method: &Method) -> Result<(), Refusal> {
    if *method == Method::GET || *method == Method::HEAD {
        return Ok(());
    }
    let refusal = Refusal::new(Kind::METHOD_NOT_ALLOWED, "allowed here: GET, HEAD");
    Err(refusal.with_header(ALLOW, HeaderValue::from_static("GET, HEAD")))
}

/// Answers a challenge with what the ACME client wrote.
pub async fn answer_challenge(webroot: &Path, token: String) -> Result<Answer, Refusal> {
    let webroot = webroot.to_owned();
    let read = tokio::task::spawn_blocking(move || read_challenge(&webroot, &token)).await;
    match read {
        Ok(Ok(text)) => Ok(Answer::text(text.into())),
        _ => Err(Refusal::new(Kind::NO_ROUTE, "there is no such challenge")),
    }
}

/// Reads a regular file below the webroot; whoever may write there can't lead us anywhere else by links.
fn read_challenge(webroot: &Path, token: &str) -> io::Result<Vec<u8>> {
    let file = Folder::open(webroot)?.folder(".well-known")?.folder("acme-challenge")?.file(token)?;
    let mut text = Vec::new();
    file.take(LONGEST_CHALLENGE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LONGEST_CHALLENGE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
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
