//! Which fields a request has, of those that the walk asks for and most requests lack: found in one pass, so that nobody
//! searches for them in vain.

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version};

/// Which of these fields a request has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// Connection.
    pub connection: bool,
    /// Content-Length.
    pub content_length: bool,
    /// Cookie.
    pub cookie: bool,
    /// grpc-timeout.
    pub grpc_timeout: bool,
    /// Max-Forwards.
    pub max_forwards: bool,
    /// Origin.
    pub origin: bool,
    /// TE.
    pub te: bool,
    /// traceparent.
    pub traceparent: bool,
    /// Transfer-Encoding.
    pub transfer_encoding: bool,
    /// Upgrade.
    pub upgrade: bool,
    /// Via.
    pub via: bool,
}

impl Present {
    /// Which of them stand here.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut present = Present::default();
        for name in headers.keys().map(HeaderName::as_str) {
            match name {
                "connection" => present.connection = true,
                "content-length" => present.content_length = true,
                "cookie" => present.cookie = true,
                "grpc-timeout" => present.grpc_timeout = true,
                "max-forwards" => present.max_forwards = true,
                "origin" => present.origin = true,
                "te" => present.te = true,
                "traceparent" => present.traceparent = true,
                "transfer-encoding" => present.transfer_encoding = true,
                "upgrade" => present.upgrade = true,
                "via" => present.via = true,
                _ => {}
            }
        }
        present
    }
}

/// A websocket handshake, the only upgrade that is passed on.
pub fn is_websocket(request: &Parts, present: Present) -> bool {
    if !present.upgrade || request.version != Version::HTTP_11 {
        return false;
    }
    let headers = &request.headers;
    let upgrade = headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let names = |value: &HeaderValue| {
        value.as_bytes().split(|byte| *byte == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    };
    upgrade && headers.get_all(CONNECTION).iter().any(names)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn each_field_is_seen_and_no_other() {
        let all = [
            "Connection",
            "Content-Length",
            "Cookie",
            "grpc-timeout",
            "Max-Forwards",
            "Origin",
            "TE",
            "traceparent",
            "Transfer-Encoding",
            "Upgrade",
            "Via",
        ];
        let seen = |names: &[&str]| {
            let name = |name: &&str| HeaderName::from_bytes(name.as_bytes()).unwrap();
            let headers: HeaderMap = names.iter().map(|text| (name(text), HeaderValue::from_static("x"))).collect();
            let Present { connection, content_length, cookie, grpc_timeout, max_forwards, origin, .. } =
                Present::of(&headers);
            let Present { te, traceparent, transfer_encoding, upgrade, via, .. } = Present::of(&headers);
            [
                connection,
                content_length,
                cookie,
                grpc_timeout,
                max_forwards,
                origin,
                te,
                traceparent,
                transfer_encoding,
                upgrade,
                via,
            ]
        };
        for (place, name) in all.iter().enumerate() {
            assert_eq!(seen(&["host", name, "x-via"]), std::array::from_fn(|other| other == place), "{name}");
        }
        assert_eq!(seen(&["host", "accept"]), [false; 11]);
    }
}
