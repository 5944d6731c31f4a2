//! How far a request may still go: OPTIONS and TRACE may say so (`Max-Forwards`, RFC 9110 7.6.2). Other methods may not, and
//! what they say is passed on.

use http::Method;
use http::header::MAX_FORWARDS;
use http::request::Parts;

use super::present::Present;
use gatekeeper_core::refusal::Refusal;

/// How often a request may still be forwarded, if it says so. Numbers beyond 32 bits are as good as the largest of those.
pub fn left(request: &Parts, present: Present) -> Result<Option<u32>, Refusal> {
    if !present.max_forwards || !matches!(request.method, Method::OPTIONS | Method::TRACE) {
        return Ok(None);
    }
    let mut values = request.headers.get_all(MAX_FORWARDS).iter();
    let number = values.next().and_then(|value| number(value.as_bytes())).filter(|_| values.next().is_none());
    number.map(Some).ok_or_else(|| Refusal::malformed("max_forwards", "Max-Forwards is not a single number"))
}

fn number(digits: &[u8]) -> Option<u32> {
    let first = digits.first().map(|_| 0_u32);
    digits.iter().try_fold(first?, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(method: Method, values: &[&str]) -> Result<Option<u32>, &'static str> {
        let mut request = http::Request::new(()).into_parts().0;
        request.method = method;
        for value in values {
            request.headers.append(MAX_FORWARDS, value.parse().unwrap());
        }
        left(&request, Present::of(&request.headers)).map_err(|refusal| refusal.kind.code)
    }

    #[test]
    fn options_and_trace_say_how_far_they_go() {
        assert_eq!(told(Method::OPTIONS, &["0"]), Ok(Some(0)));
        assert_eq!(told(Method::TRACE, &["007"]), Ok(Some(7)));
        assert_eq!(told(Method::TRACE, &["99999999999999999999"]), Ok(Some(u32::MAX)));
        assert_eq!(told(Method::OPTIONS, &[]), Ok(None));
        assert_eq!(told(Method::GET, &["0"]), Ok(None));
        assert_eq!(told(Method::GET, &["x"]), Ok(None));
        for odd in [&["x"][..], &[""], &["-1"], &["+1"], &["1 "], &["1", "1"], &["1, 2"]] {
            assert_eq!(told(Method::OPTIONS, odd), Err("max_forwards"), "{odd:?}");
        }
    }
}
