//! A finished request, as all who record it are told of it. Its texts are lent by who served it; what is not known is
//! absent.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::header::{HeaderMap, HeaderName};
use http::{Method, Version};

/// What is known of a finished request beside its texts.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When its first byte came.
    pub started: SystemTime,
    /// Until the response's last byte.
    pub duration: Duration,
    /// The client's address, if it is known.
    pub client: Option<IpAddr>,
    /// The protocol the client spoke.
    pub version: Version,
    /// The response's status; 0 when the client went before there was one.
    pub status: u16,
    /// The time spent waiting for upstreams, if one was asked.
    pub upstream_time: Option<Duration>,
    /// How often an upstream was tried.
    pub attempts: u32,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// The code of what went wrong.
    pub error_code: Option<&'static str>,
    /// The response ended before it was complete.
    pub truncated: bool,
}

/// A finished request; its texts are borrowed from whoever served it.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// Numbers and times.
    pub facts: Facts,
    /// The request's id.
    pub request_id: &'a str,
    /// The request's method.
    pub method: &'a Method,
    /// The canonical path, or what was sent if it has none.
    pub path: &'a str,
    /// The query as it was sent, without its `?`.
    pub query: Option<&'a str>,
    /// The host that was asked for.
    pub host: &'a str,
    /// The route that matched.
    pub route: Option<&'a str>,
    /// The service the request was for.
    pub service: Option<&'a str>,
    /// The user, if one is known, and who says so.
    pub user: Option<(&'a str, &'a str)>,
    /// The cause of an error, for the log only.
    pub error_message: Option<&'a str>,
    /// What policies on trial would have refused it for.
    pub would_refuse: Option<&'a str>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// Which of them are logged, beside User-Agent and Referer.
    pub logged_headers: &'a [HeaderName],
}
