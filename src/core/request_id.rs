//! A request's id: the one a trusted peer gave it, else a new UUIDv7 (SEMANTICS 2.6).

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The name of the field, in both directions.
pub const X_REQUEST_ID: &str = "x-request-id";
/// The same, ready for maps.
pub const REQUEST_ID: HeaderName = HeaderName::from_static(X_REQUEST_ID);

const MAX_LENGTH: usize = 128;

/// The id of a request.
pub fn of(headers: &HeaderMap, trusted: bool, now: SystemTime) -> HeaderValue {
    let given = if trusted { headers.get(REQUEST_ID) } else { None };
    given.filter(|value| acceptable(value.as_bytes())).cloned().unwrap_or_else(|| new(now))
}

fn acceptable(id: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=MAX_LENGTH).contains(&id.len()) && id.iter().all(allowed)
}

/// A new id. Ids sort by time. Their random part need not be secret, so it comes from a fast generator.
pub fn new(now: SystemTime) -> HeaderValue {
    let millis = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let mut random = [0; 10];
    fastrand::fill(&mut random);
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    // Hexadecimal digits and hyphens are always a value.
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut [0; 36])).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_given(given: &str, trusted: bool) -> HeaderValue {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, given.parse().unwrap());
        of(&headers, trusted, SystemTime::now())
    }

    #[test]
    fn only_a_trusted_peer_names_a_request() {
        assert_eq!(of_given("abc-1.2_3", true), "abc-1.2_3");
        assert_ne!(of_given("abc-1.2_3", false), "abc-1.2_3");
        for bad in ["", "a b", "a\"b", "ä", &"x".repeat(129)] {
            assert_eq!(of_given(bad, true).len(), 36, "{bad:?}");
        }
    }

    #[test]
    fn a_new_id_is_a_uuid_of_version_7() {
        let id = of(&HeaderMap::new(), true, SystemTime::now());
        let id = uuid::Uuid::parse_str(id.to_str().unwrap()).unwrap();
        assert_eq!(id.get_version_num(), 7);
        assert_ne!(new(SystemTime::now()), new(SystemTime::now()));
    }
}
