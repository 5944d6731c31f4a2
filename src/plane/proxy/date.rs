//! The Date of a response is its origin's (RFC 9110 6.6.1): until when it may be kept is counted from it (RFC 9111 4.2). The
//! framework puts the present in its place when it writes a head, and nobody can change that any more.
//!
//! On HTTP/1 the connection puts the origin's back as the head passes (`listen::redate`). On HTTP/2 a head is compressed by
//! then. There, what is counted from the date is said anew so that it comes to the same: the time that has passed since it
//! as `Age`, and `Expires` later by as much. A few seconds are left as they are: clocks differ by as much.

use http::header::{AGE, DATE, EXPIRES};
use http::{HeaderMap, HeaderValue};
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};
use jiff::{SignedDuration, Timestamp};
use pingora::protocols::http::date::get_cached_date;
use pingora_proxy::Session;

use crate::listen::connection::Connection;

/// Seconds that are left as they are.
const TOLERATED: i64 = 5;

/// Keeps the date of a response that is about to be sent, if it has one.
pub fn keep(session: &Session, response: &mut HeaderMap, connection: Option<&Connection>) {
    let date = response.get(DATE).filter(|date| **date != get_cached_date()).cloned();
    match connection {
        Some(connection) if !session.is_http2() => connection.date_next(date),
        _ => {
            date.and_then(|date| restate(response, &date, Timestamp::now()));
        }
    }
}

fn restate(response: &mut HeaderMap, date: &HeaderValue, now: Timestamp) -> Option<()> {
    let passed = now.as_second() - moment(date)?.as_second();
    if passed.abs() <= TOLERATED {
        return None;
    }
    let age = response.get(AGE).and_then(|age| age.to_str().ok()?.parse::<i64>().ok()).unwrap_or_default();
    if passed > age {
        response.insert(AGE, HeaderValue::from(passed));
    }
    let expires = moment(response.get(EXPIRES)?)?.checked_add(SignedDuration::from_secs(passed)).ok()?;
    let expires = DateTimePrinter::new().timestamp_to_rfc9110_string(&expires).ok()?;
    response.insert(EXPIRES, HeaderValue::from_str(&expires).ok()?);
    Some(())
}

fn moment(date: &HeaderValue) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(date.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::super::headers::tests::map;
    use super::*;

    #[test]
    fn what_is_counted_from_the_date_comes_to_the_same() {
        let now = moment(&HeaderValue::from_static("Sun, 06 Nov 1994 09:00:00 GMT")).unwrap();
        let restated = |date: &str, age: &str, expires: &str| {
            let mut response = map(&[("age", age), ("expires", expires)]);
            restate(&mut response, &HeaderValue::from_str(date).unwrap(), now);
            [AGE, EXPIRES].map(|name| response[name].to_str().unwrap().to_owned())
        };
        for (date, age, expires, wanted) in [
            (
                "Sun, 06 Nov 1994 08:50:00 GMT",
                "",
                "Sun, 06 Nov 1994 09:50:00 GMT",
                ["600", "Sun, 06 Nov 1994 10:00:00 GMT"],
            ),
            ("Sun, 06 Nov 1994 08:50:00 GMT", "700", "0", ["700", "0"]),
            (
                "Sun, 06 Nov 1994 09:10:00 GMT",
                "",
                "Sun, 06 Nov 1994 09:11:00 GMT",
                ["", "Sun, 06 Nov 1994 09:01:00 GMT"],
            ),
            ("Sun, 06 Nov 1994 08:59:58 GMT", "", "0", ["", "0"]),
            ("yesterday", "", "0", ["", "0"]),
        ] {
            assert_eq!(restated(date, age, expires), wanted, "{date}");
        }
    }
}
