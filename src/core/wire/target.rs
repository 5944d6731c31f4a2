//! The request target (RFC 9112 §3.2) and the Host that goes with it.
//!
//! Only characters and form are judged here. Escapes and dot segments are, when the path is canonicalised.

use std::ops::Range;

use super::character::{is_path, is_query};
use super::fault::{Fault, TARGET_AUTHORITY, TARGET_CHARACTER, TARGET_FORM};
use super::request::judge_scheme;
use crate::route::canonical_host;

/// Judges a target; tells where its authority stands, if it is in absolute form.
pub(super) fn judge(method: &[u8], target: &[u8]) -> Result<Option<Range<usize>>, Fault> {
    match target {
        [b'/', ..] | b"*" => judge_origin(method, target).map(|()| None),
        _ => judge_absolute(target).map(Some),
    }
}

/// Judges a target without an authority, the only form that HTTP/2 has.
pub(super) fn judge_origin(method: &[u8], target: &[u8]) -> Result<(), Fault> {
    match target {
        [b'/', ..] => judge_path(target),
        b"*" if method == b"OPTIONS" => Ok(()),
        _ => Err(TARGET_FORM),
    }
}

/// Whether it is a host with an optional port.
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| canonical_host(text).is_ok())
}

/// A path with an optional query.
fn judge_path(bytes: &[u8]) -> Result<(), Fault> {
    let (path, query) = bytes.split_at(memchr::memchr(b'?', bytes).unwrap_or(bytes.len()));
    if is_path(path) && is_query(query) { Ok(()) } else { Err(TARGET_CHARACTER) }
}

fn judge_absolute(target: &[u8]) -> Result<Range<usize>, Fault> {
    let colon = memchr::memmem::find(target, b"://").ok_or(TARGET_FORM)?;
    let (scheme, start) = (target.get(..colon).unwrap_or_default(), colon + 3);
    judge_scheme(scheme)?;
    let rest = target.get(start..).unwrap_or_default();
    let (authority, path) = rest.split_at(memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len()));
    if !is_authority(authority) {
        return Err(TARGET_AUTHORITY);
    }
    judge_path(path)?;
    Ok(start..start + authority.len())
}
