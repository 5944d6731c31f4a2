//! The W3C trace context: passed on as it is; a malformed one is restarted, its state dropped (SEMANTICS 2.5).

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::header_value_from_slice;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Restarts the trace of a request whose `traceparent` is malformed.
pub fn repair(upstream: &mut HeaderMap) {
    let mut given = upstream.get_all(TRACEPARENT).iter();
    let malformed = match (given.next(), given.next()) {
        (None, _) => false,
        (Some(only), None) => !is_well_formed(only.as_bytes()),
        (Some(_), Some(_)) => true,
    };
    if malformed {
        upstream.remove(TRACESTATE);
        upstream.insert(TRACEPARENT, restarted());
    }
}

/// `version-traceid-parentid-flags` in lower-case hex, neither id all zero; a later version may carry more.
fn is_well_formed(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b'-');
    let mut hex = |length: usize| {
        let part = parts.next().filter(|part| part.len() == length)?;
        part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(part)
    };
    let (Some(version), Some(trace), Some(parent), Some(_flags)) = (hex(2), hex(32), hex(16), hex(2)) else {
        return false;
    };
    let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    version != b"ff" && !is_zero(trace) && !is_zero(parent) && (version != b"00" || parts.next().is_none())
}

/// A new trace, not sampled: whether it is recorded is for the upstream to say. The ids can't be all zero by the `| 1`.
fn restarted() -> HeaderValue {
    let value = format!("00-{:032x}-{:016x}-00", fastrand::u128(..) | 1, fastrand::u64(..) | 1);
    header_value_from_slice(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_recommendation_allows_is_well_formed() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_well_formed(good.as_bytes()));
        assert!(is_well_formed(format!("cc{}-what-follows", &good[2..]).as_bytes()));
        assert!(is_well_formed(restarted().as_bytes()));
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let cases = [
            "",
            "x",
            &good[..54],
            &good.to_uppercase(),
            &format!("{good}-more"),
            &good.replacen("00", "ff", 1),
            zero,
            &good.replace("b7ad6b7169203331", "0000000000000000"),
            &good.replace('-', "_"),
        ];
        for case in cases {
            assert!(!is_well_formed(case.as_bytes()), "{case}");
        }
    }

    #[test]
    fn a_malformed_one_takes_its_state_along() {
        let mut upstream = HeaderMap::new();
        upstream.insert(TRACEPARENT, HeaderValue::from_static("nonsense"));
        upstream.insert(TRACESTATE, HeaderValue::from_static("a=b"));
        repair(&mut upstream);
        assert!(is_well_formed(upstream[TRACEPARENT].as_bytes()));
        assert!(!upstream.contains_key(TRACESTATE));
    }
}
