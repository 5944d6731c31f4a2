//! Our name in `Via` (RFC 9110 7.6.3), by which a message that comes back to us is recognised.

use http::header::VIA;
use http::{HeaderMap, HeaderValue, Version};
use pingora::http::header_value_from_slice;

/// Our name.
pub const PSEUDONYM: &[u8] = b"gatekeeper";

const VIA_10: HeaderValue = HeaderValue::from_static("1.0 gatekeeper");
const VIA_11: HeaderValue = HeaderValue::from_static("1.1 gatekeeper");
const VIA_20: HeaderValue = HeaderValue::from_static("2.0 gatekeeper");

/// What we add for a message that came to us in this version.
pub fn ours(received: Version) -> HeaderValue {
    match received {
        Version::HTTP_2 => VIA_20,
        Version::HTTP_10 => VIA_10,
        _ => VIA_11,
    }
}

/// The whole way of a message on one line, ourselves at its end.
pub fn with_ours(headers: &HeaderMap, received: Version) -> HeaderValue {
    let ours = ours(received);
    let mut way: Vec<&[u8]> = headers.get_all(VIA).iter().map(HeaderValue::as_bytes).collect();
    way.push(ours.as_bytes());
    header_value_from_slice(&way.join(&b", "[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_the_last_on_the_way() {
        let mut headers = HeaderMap::new();
        assert_eq!(with_ours(&headers, Version::HTTP_2), "2.0 gatekeeper");
        headers.append(VIA, HeaderValue::from_static("1.0 a, 1.1 b"));
        headers.append(VIA, HeaderValue::from_static("1.1 c"));
        assert_eq!(with_ours(&headers, Version::HTTP_11), "1.0 a, 1.1 b, 1.1 c, 1.1 gatekeeper");
    }
}
