//! The `http` check: a request, its answer's status and perhaps a text in its body.

use std::ops::RangeInclusive;
use std::str::FromStr;

use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use memchr::memmem::Finder;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;

use super::Dialler;
use crate::upstream::sentence::sentence;

/// How far a body is searched.
pub(super) const SEARCHED: usize = 64 * 1024;

/// What is asked, and what a good answer is.
#[derive(Debug)]
pub(super) struct Question {
    pub head: Parts,
    pub statuses: Box<[Statuses]>,
    pub text: Option<Finder<'static>>,
}

impl Question {
    pub async fn ask(&self, dialler: &Dialler, peer: &HttpPeer, authority: &HeaderValue) -> Result<(), String> {
        let mut session = dialler.open(peer.clone()).await?;
        session.write_request_header(addressed(&self.head, authority)).await.map_err(|error| sentence(&error))?;
        // This fails when the answer came first, and then that counts.
        drop(session.finish_request_body().await);
        let status = final_status(&mut session).await?.as_u16();
        if !self.statuses.iter().any(|statuses| statuses.0.contains(&status)) {
            return Err(format!("the answer has status {status}"));
        }
        match &self.text {
            Some(text) => find(text, &mut session).await,
            None => Ok(()),
        }
    }
}

/// A request's head for a target; a Host of its own stays.
pub(super) fn addressed(head: &Parts, authority: &HeaderValue) -> Box<RequestHeader> {
    let mut head = head.clone();
    head.headers.entry(HOST).or_insert_with(|| authority.clone());
    Box::new(head.into())
}

async fn final_status(session: &mut HttpSession) -> Result<StatusCode, String> {
    loop {
        session.read_response_header().await.map_err(|error| sentence(&error))?;
        let status = session.response_header().map_or(StatusCode::OK, |head| head.status);
        // HTTP/2's informational answers were skipped already; after a 101 no other answer comes.
        let goes_on = status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS;
        if !goes_on || session.as_http2().is_some() {
            return Ok(status);
        }
    }
}

async fn find(text: &Finder<'_>, session: &mut HttpSession) -> Result<(), String> {
    let mut body = Vec::new();
    while body.len() < SEARCHED
        && let Some(part) = session.read_response_body().await.map_err(|error| sentence(&error))?
    {
        let unsearched = (body.len() + 1).saturating_sub(text.needle().len());
        body.extend(part.iter().take(SEARCHED - body.len()));
        if body.get(unsearched..).is_some_and(|rest| text.find(rest).is_some()) {
            return Ok(());
        }
    }
    Err(format!("the first {} bytes of the body do not contain the expected text", body.len()))
}

/// Statuses in a row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statuses(RangeInclusive<u16>);

impl FromStr for Statuses {
    type Err = ();

    /// `200` or `200-299`; informational answers are no answers.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (status(first)?, status(last)?);
        if first <= last { Ok(Statuses(first..=last)) } else { Err(()) }
    }
}

fn status(digits: &str) -> Result<u16, ()> {
    let status = digits.parse().map_err(drop)?;
    let is_status = digits.bytes().all(|byte| byte.is_ascii_digit()) && (200..=599).contains(&status);
    if is_status { Ok(status) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_one_or_a_range() {
        let cases = [("200", 200..=200), ("200-299", 200..=299), ("404-404", 404..=404), ("200-599", 200..=599)];
        for (text, statuses) in cases {
            assert_eq!(text.parse(), Ok(Statuses(statuses)), "{text}");
        }
        for text in
            ["", "-", "20", "199", "600", "2xx", "299-200", "200-", "-200", "200-299-300", "+200", " 200", "200-700"]
        {
            assert_eq!(text.parse::<Statuses>(), Err(()), "{text}");
        }
    }
}
