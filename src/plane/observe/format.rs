//! A record as a line: JSON (the words of the API's GatewayLog) or the combined format of Apache and nginx.
//!
//! A line never holds a control byte or a raw quote, whatever a client sent, so nobody can forge a line. In JSON,
//! valid UTF-8 is kept and a byte that is not becomes `\u00NN` (which makes an invalid 0xE9 look like an é); in the
//! combined format every byte outside printable ASCII, `"` and `\` becomes `\xNN`. Times are UTC.

use std::hash::RandomState;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use http::Version;
use jiff::Timestamp;

use super::mask;
use super::record::{Record, Text};
use gatekeeper_core::json::{digits, is_plain, quoted};
use gatekeeper_model::raw::{AccessLog, ClientAddress, LogFormat};

/// How records are written.
pub(super) struct Format {
    form: LogFormat,
    client: ClientAddress,
    shown_parameters: Vec<String>,
    key: RandomState,
    /// The second formatted last, and its text.
    second: (i64, String),
}

impl Format {
    /// The key is that of hashed client addresses.
    pub fn new(config: &AccessLog, key: RandomState) -> Format {
        let shown_parameters = config.query_parameters.clone();
        Format {
            form: config.format,
            client: config.client_address,
            shown_parameters,
            key,
            second: (-1, String::new()),
        }
    }

    /// Appends a record and a line's end.
    pub fn line(&mut self, record: &Record, out: &mut Vec<u8>) {
        match self.form {
            LogFormat::Json => self.json(record, out),
            LogFormat::Combined => self.combined(record, out),
        }
        out.push(b'\n');
    }

    fn json(&mut self, record: &Record, out: &mut Vec<u8>) {
        let facts = &record.facts;
        out.extend_from_slice(b"{\"time\":\"");
        self.time(record, out);
        out.push(b'"');
        text(out, "request_id", record.text(Text::RequestId));
        text(out, "method", record.text(Text::Method));
        text(out, "path", record.text(Text::Path));
        text(out, "query", &self.query(record));
        text(out, "route", record.text(Text::Route));
        text(out, "target_service", record.text(Text::Service));
        text(out, "upstream", record.text(Text::UpstreamSocket));
        if let Some(upstream) = facts.upstream {
            address(out, "upstream", upstream);
        }
        text(out, "user_id", record.text(Text::User));
        text(out, "user_issuer", record.text(Text::Issuer));
        text(out, "client_ip", self.client(record).unwrap_or_default().as_bytes());
        number(out, "status_code", status(record).into());
        milliseconds(out, "response_time", facts.duration);
        if let Some(time) = facts.upstream_time {
            milliseconds(out, "upstream_time", time);
        }
        number(out, "attempts", facts.attempts.into());
        if let Some(bytes) = facts.bytes_in {
            number(out, "bytes_in", bytes);
        }
        if let Some(bytes) = facts.bytes_out {
            number(out, "bytes_out", bytes);
        }
        text(out, "protocol", facts.version.map(protocol).unwrap_or_default());
        text(out, "host", record.text(Text::Host));
        text(out, "user_agent", record.text(Text::UserAgent));
        text(out, "referer", &self.referer(record.text(Text::Referer)));
        text(out, "error_code", facts.error_code.unwrap_or_default().as_bytes());
        text(out, "error_message", record.text(Text::ErrorMessage));
        text(out, "would_refuse", record.text(Text::WouldRefuse));
        if facts.truncated {
            out.extend_from_slice(b",\"truncated\":true");
        }
        self.headers(record, out);
        out.push(b'}');
    }

    /// The logged headers. A credential is left out here too, should one have been listed.
    fn headers(&self, record: &Record, out: &mut Vec<u8>) {
        let mut opening: &[u8] = b",\"headers\":{";
        for (name, value) in record.headers() {
            if str::from_utf8(name).is_ok_and(mask::is_credential_header) {
                continue;
            }
            out.extend_from_slice(opening);
            opening = b",";
            quoted(out, name);
            out.push(b':');
            if name == b"referer" { quoted(out, &self.referer(value)) } else { quoted(out, value) }
        }
        if opening == b"," {
            out.push(b'}');
        }
    }

    fn combined(&mut self, record: &Record, out: &mut Vec<u8>) {
        out.extend_from_slice(self.client(record).as_deref().unwrap_or("-").as_bytes());
        out.extend_from_slice(b" - - [");
        self.time(record, out);
        out.extend_from_slice(b"] \"");
        self.request_line(record, out);
        out.extend_from_slice(b"\" ");
        three_digits(out, status(record).into());
        out.push(b' ');
        match record.facts.bytes_out {
            Some(bytes) => digits(out, bytes),
            None => out.push(b'-'),
        }
        for value in [&self.referer(record.text(Text::Referer)), record.text(Text::UserAgent)] {
            out.extend_from_slice(b" \"");
            escape_combined(out, if value.is_empty() { b"-" } else { value });
            out.push(b'"');
        }
    }

    /// What the request's head began with: `-` if that is unknown.
    fn request_line(&self, record: &Record, out: &mut Vec<u8>) {
        let Some(version) = record.facts.version else { return out.push(b'-') };
        escape_combined(out, record.text(Text::Method));
        out.push(b' ');
        escape_combined(out, record.text(Text::Path));
        let query = self.query(record);
        if !query.is_empty() {
            out.push(b'?');
            escape_combined(out, &query);
        }
        out.push(b' ');
        out.extend_from_slice(protocol(version));
    }

    /// The time the request started, formatted once a second.
    fn time(&mut self, record: &Record, out: &mut Vec<u8>) {
        let since = record.facts.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs() as i64;
        if self.second.0 != second {
            let pattern = match self.form {
                LogFormat::Json => "%Y-%m-%dT%H:%M:%S",
                LogFormat::Combined => "%d/%b/%Y:%H:%M:%S +0000",
            };
            let time = Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
            self.second = (second, time.strftime(pattern).to_string());
        }
        out.extend_from_slice(self.second.1.as_bytes());
        if self.form == LogFormat::Json {
            out.push(b'.');
            three_digits(out, since.subsec_millis().into());
            out.push(b'Z');
        }
    }

    fn client(&self, record: &Record) -> Option<String> {
        record.facts.client.map(|address| mask::client(address, self.client, &self.key))
    }

    fn query(&self, record: &Record) -> Vec<u8> {
        let mut masked = Vec::new();
        mask::query(record.text(Text::Query), &self.shown_parameters, &mut masked);
        masked
    }

    fn referer(&self, referer: &[u8]) -> Vec<u8> {
        let mut masked = Vec::new();
        mask::referer(referer, &self.shown_parameters, &mut masked);
        masked
    }
}

/// The status as it is written: 0 for a client that went before there was one, as other servers write it.
fn status(record: &Record) -> u16 {
    record.facts.status.map_or(0, |status| status.as_u16())
}

fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_09 => b"HTTP/0.9",
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_2 => b"HTTP/2.0",
        Version::HTTP_3 => b"HTTP/3.0",
        _ => b"HTTP/1.1",
    }
}

/// A member of the object; left out when it is empty.
fn text(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    if !value.is_empty() {
        key(out, name);
        quoted(out, value);
    }
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    digits(out, value);
}

fn address(out: &mut Vec<u8>, name: &str, value: SocketAddr) {
    key(out, name);
    // Writing to a vector can't fail.
    let _ = out.write_fmt(format_args!("\"{value}\""));
}

/// Milliseconds with three decimals.
fn milliseconds(out: &mut Vec<u8>, name: &str, value: Duration) {
    let microseconds = value.as_micros() as u64;
    number(out, name, microseconds / 1000);
    out.push(b'.');
    three_digits(out, microseconds % 1000);
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn three_digits(out: &mut Vec<u8>, value: u64) {
    out.extend([value / 100 % 10, value / 10 % 10, value % 10].map(|digit| b'0' + digit as u8));
}

fn escape_combined(out: &mut Vec<u8>, value: &[u8]) {
    for byte in value {
        if is_plain(byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(format!("\\x{byte:02X}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::samples::{event, headers, headless};
    use gatekeeper_core::event::Event;
    use http::HeaderMap;
    use http::header::HeaderName;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn config(format: LogFormat) -> AccessLog {
        AccessLog { format, query_parameters: vec!["page".into()], ..AccessLog::default() }
    }

    fn line(format: LogFormat, event: &Event<'_>) -> String {
        let mut out = Vec::new();
        Format::new(&config(format), RandomState::new()).line(&Record::of(event), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn json(event: &Event<'_>) -> Value {
        serde_json::from_str(&line(LogFormat::Json, event)).unwrap()
    }

    #[test]
    fn writes_json_in_the_apis_words() {
        let headers = headers(&[("user-agent", b"curl/8"), ("referer", b"https://a.example/?t=hush"), ("x-a", b"1")]);
        let logged = [HeaderName::from_static("x-a")];
        let mut event = event(&headers);
        event.logged_headers = &logged;
        assert_eq!(
            json(&event),
            json!({"time": "2023-11-14T22:13:20.042Z", "request_id": "0190a1b2-0000-7000-8000-000000000001",
                "method": "GET", "path": "/api/v1/content/1", "query": "page=2&token=***", "route": "content",
                "target_service": "content", "upstream": "10.0.0.5:8003", "client_ip": "203.0.113.77", "status_code": 200, "response_time": 12.345,
                "upstream_time": 9.007, "attempts": 1, "bytes_in": 0, "bytes_out": 64, "protocol": "HTTP/1.1",
                "host": "api.example", "user_agent": "curl/8", "referer": "https://a.example/?t=***",
                "headers": {"x-a": "1"}})
        );
    }

    #[test]
    fn leaves_out_what_is_absent_and_tells_of_errors() {
        let none = HeaderMap::new();
        let mut event = event(&none);
        (event.query, event.route, event.service) = (None, None, None);
        event.user = Some(("u-1", "https://id"));
        (event.facts.upstream, event.upstream_socket) = (None, Some("unix:/run/app.sock"));
        (event.error_message, event.would_refuse) = (Some("refused"), Some("rate_limited:login"));
        event.facts.upstream_time = None;
        event.facts.error_code = Some("upstream_closed");
        event.facts.truncated = true;
        let written = json(&event);
        for name in ["query", "route", "target_service", "upstream_time", "user_agent", "referer", "headers"] {
            assert!(written.get(name).is_none(), "{name}");
        }
        assert_eq!(written["error_code"], "upstream_closed");
        assert_eq!(written["error_message"], "refused");
        assert_eq!((&written["user_id"], &written["user_issuer"]), (&"u-1".into(), &"https://id".into()));
        assert_eq!(written["upstream"], "unix:/run/app.sock");
        assert_eq!(written["would_refuse"], "rate_limited:login");
        assert_eq!(written["truncated"], true);
    }

    #[test]
    fn writes_the_combined_format() {
        let headers = headers(&[("user-agent", b"a \"b\" \\ \xe9")]);
        assert_eq!(
            line(LogFormat::Combined, &event(&headers)),
            "203.0.113.77 - - [14/Nov/2023:22:13:20 +0000] \"GET /api/v1/content/1?page=2&token=*** HTTP/1.1\" 200 64 \
             \"-\" \"a \\x22b\\x22 \\x5C \\xE9\"\n"
        );
    }

    #[test]
    fn invents_nothing_about_what_is_unknown() {
        assert_eq!(
            json(&headless()),
            json!({"time": "1970-01-01T00:00:00.000Z", "status_code": 0, "response_time": 5.0, "attempts": 0})
        );
        assert_eq!(
            line(LogFormat::Combined, &headless()),
            "- - - [01/Jan/1970:00:00:00 +0000] \"-\" 000 - \"-\" \"-\"\n"
        );
    }

    #[test]
    fn never_writes_a_credential() {
        let names = ["authorization", "cookie", "x-api-key"];
        let headers = headers(&names.map(|name| (name, &b"hush"[..])));
        let logged = names.map(HeaderName::from_static);
        let mut event = event(&headers);
        event.logged_headers = &logged;
        assert!(!line(LogFormat::Json, &event).contains("hush"));
        assert!(json(&event).get("headers").is_none());
    }

    #[test]
    fn a_logged_referer_is_masked_too() {
        let headers = headers(&[("referer", b"/?t=hush")]);
        let logged = [HeaderName::from_static("referer")];
        let mut event = event(&headers);
        event.logged_headers = &logged;
        let written = json(&event);
        assert_eq!(written["headers"]["referer"], "/?t=***");
    }

    #[test]
    fn a_new_second_is_formatted_anew() {
        let none = HeaderMap::new();
        let mut format = Format::new(&config(LogFormat::Json), RandomState::new());
        let mut out = Vec::new();
        let mut event = event(&none);
        for milliseconds in [0, 999, 1000, 500] {
            event.facts.started = UNIX_EPOCH + Duration::from_millis(milliseconds);
            format.line(&Record::of(&event), &mut out);
        }
        let times: Vec<_> = out.split(|byte| *byte == b'\n').filter_map(|line| line.get(25..34)).collect();
        assert_eq!(times, [&b":00.000Z\""[..], b":00.999Z\"", b":01.000Z\"", b":00.500Z\""]);
    }

    proptest! {
        /// Whatever bytes come, a line is one line, parses, and gives back what was sent.
        #[test]
        fn hostile_bytes_stay_inside_their_value(
            agent in prop::collection::vec(any::<u8>().prop_filter("a header holds no control", |b| *b >= 32 && *b != 127), 0..40),
            message in any::<String>(), path in any::<String>(),
        ) {
            let headers = headers(&[("user-agent", &agent)]);
            let mut event = event(&headers);
            (event.error_message, event.path) = (Some(&*message), Some(&*path));
            let text = line(LogFormat::Json, &event);
            prop_assert_eq!(text.matches(|c: char| c.is_control() || c == '\u{2028}').count(), 1);
            let written: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(written["error_message"].as_str().unwrap_or_default(), &message);
            prop_assert_eq!(written["path"].as_str().unwrap_or_default(), &path);
            if let Ok(agent) = str::from_utf8(&agent) {
                prop_assert_eq!(written["user_agent"].as_str().unwrap_or_default(), agent);
            }
            let text = line(LogFormat::Combined, &event);
            prop_assert!(text.trim_end_matches('\n').bytes().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert_eq!(text.matches('"').count(), 6);
        }
    }
}
