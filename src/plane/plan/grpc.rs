//! How long the client of a gRPC call waits: its `grpc-timeout` (grpc/doc/PROTOCOL-HTTP2.md).
//!
//! It shortens the route's deadline, and what is left of that goes on to the service. It is parsed strictly: at most eight
//! digits and a unit, once. A call with another one is refused, since the service may read it differently.

use std::time::{Duration, Instant};

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::present::Present;
use gatekeeper_core::refusal::Refusal;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Whether a request is a call of gRPC, which is spoken in POSTs over HTTP/2 alone. grpc-web is another protocol: its
/// clients read plain HTTP errors.
pub fn is_call(request: &Parts) -> bool {
    let content_type = request.headers.get(CONTENT_TYPE);
    let rest = content_type.and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"));
    let named = rest.is_some_and(|rest| matches!(rest, [] | [b'+' | b';' | b' ', ..]));
    named && request.version == Version::HTTP_2 && request.method == Method::POST
}

/// How long the client of this request waits, if it is a call and says so.
pub fn patience(request: &Parts, present: Present) -> Result<Option<Duration>, Refusal> {
    if present.grpc_timeout && is_call(request) { timeout(&request.headers) } else { Ok(None) }
}

/// Tells the service how much is left of the time of a call that ends then.
pub fn tell(request: &Parts, present: Present, end: Option<Instant>, upstream: &mut HeaderMap) {
    if let Some(end) = end.filter(|_| present.grpc_timeout && is_call(request))
        && let Some(left) = left(end.saturating_duration_since(Instant::now()))
    {
        upstream.insert(GRPC_TIMEOUT, left);
    }
}

fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let mut values = headers.get_all(&GRPC_TIMEOUT).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => parse(value.as_bytes()).map(Some).ok_or_else(malformed),
        (Some(_), Some(_)) => Err(malformed()),
    }
}

fn malformed() -> Refusal {
    Refusal::malformed("grpc_timeout", "grpc-timeout is at most eight digits and one of H, M, S, m, u and n, once")
}

fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) {
        return None;
    }
    let number = digits
        .iter()
        .try_fold(0_u64, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// What is left of a call's time, as it is told: rounded down to what eight digits can say.
fn left(time: Duration) -> Option<HeaderValue> {
    let units = [(time.as_micros(), 'u'), (time.as_millis(), 'm'), (time.as_secs().into(), 'S')];
    let (number, unit) = units.into_iter().find(|(number, _)| *number < 100_000_000).unwrap_or((99_999_999, 'S'));
    HeaderValue::from_str(&format!("{number}{unit}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[&str]) -> Result<Option<Duration>, u16> {
        let values = values.iter().map(|value| (GRPC_TIMEOUT, HeaderValue::from_bytes(value.as_bytes()).unwrap()));
        timeout(&values.collect()).map_err(|refusal| refusal.kind.status)
    }

    #[test]
    fn only_what_the_protocol_allows_is_read() {
        assert_eq!(of(&[]), Ok(None));
        let read =
            [("1H", 3_600_000), ("2M", 120_000), ("3S", 3_000), ("99999999m", 99_999_999), ("5000u", 5), ("0n", 0)];
        for (text, millis) in read {
            assert_eq!(of(&[text]), Ok(Some(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "1", "S", "1s", "1 S", "+1S", "-1S", "1.5S", "100000000S", "1SS", "1h", " 1S", "\u{fc}S"] {
            assert_eq!(of(&[text]), Err(400), "{text}");
        }
        assert_eq!(of(&["1S", "1S"]), Err(400));
    }

    proptest! {
        #[test]
        fn what_is_left_is_told_as_it_is_read(nanos in 0_u64..100_000_000 * 1_000_000_000) {
            let time = Duration::from_nanos(nanos);
            let told = left(time).unwrap();
            let read = parse(told.as_bytes()).unwrap();
            prop_assert!(read <= time && time - read < Duration::from_secs(1).max(time / 1000), "{told:?} of {time:?}");
        }
    }
}
