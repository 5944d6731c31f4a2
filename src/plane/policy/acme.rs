//! Challenges of an ACME client, which wrote their answers to its webroot (RFC 8555 8.3).

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use gatekeeper_core::refusal::{Kind, Refusal};
use gatekeeper_model::files::Folder;

/// Where an authority asks for a challenge.
const CHALLENGES: &str = "/.well-known/acme-challenge/";
/// The longest key authorization there is has some 90 bytes.
const LONGEST: u64 = 4096;

/// A challenge that is asked for.
#[derive(Clone, Debug)]
pub struct Challenge {
    webroot: PathBuf,
    token: String,
}

impl Challenge {
    /// The challenge that a path asks for, where there is a webroot; it leads nowhere else.
    pub fn of(path: &str, webroot: Option<&PathBuf>) -> Option<Challenge> {
        let (webroot, token) = (webroot?, path.strip_prefix(CHALLENGES)?);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_token = (1..=128).contains(&token.len()) && token.bytes().all(plain);
        is_token.then(|| Challenge { webroot: webroot.clone(), token: token.to_owned() })
    }

    /// What the ACME client wrote.
    pub fn read(&self) -> Result<Vec<u8>, Refusal> {
        read(&self.webroot, &self.token).map_err(|_| Refusal::new(Kind::NO_ROUTE, "unknown ACME challenge"))
    }
}

/// Reads a regular file below the webroot; whoever may write there can't lead us anywhere else by links.
fn read(webroot: &Path, token: &str) -> io::Result<Vec<u8>> {
    let file = Folder::open(webroot)?.folder(".well-known")?.folder("acme-challenge")?.file(token)?;
    let mut text = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}
