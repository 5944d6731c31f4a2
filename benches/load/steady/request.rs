//! One of the requests: from a line of the file to the bytes that are sent.

use std::net::SocketAddr;

/// One of the requests, as it is sent.
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    /// The answer to a HEAD has no body, whatever its length.
    pub(crate) is_head: bool,
}

impl Request {
    pub(crate) fn all(text: &str, address: SocketAddr) -> Result<Vec<Self>, String> {
        let parse = |(at, line)| Self::parse(line, address).ok_or(format!("line {} is no request: {line:?}", at + 1));
        let requests = text.lines().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
        if requests.is_empty() { Err("there is no request in it".to_owned()) } else { Ok(requests) }
    }

    fn parse(line: &str, address: SocketAddr) -> Option<Self> {
        let mut fields = line.split('\t');
        let (method, path) = fields.next()?.split_once(' ')?;
        if method.is_empty() || !path.starts_with(['/', '*']) || path.contains(' ') {
            return None;
        }
        let mut text = format!("{method} {path} HTTP/1.1\r\n");
        let mut has_host = false;
        for header in fields {
            has_host |= header.split_once(':')?.0.eq_ignore_ascii_case("host");
            text += header;
            text += "\r\n";
        }
        if !has_host {
            text += &format!("Host: {address}\r\n");
        }
        text += "\r\n";
        Some(Self { bytes: text.into_bytes(), is_head: method == "HEAD" })
    }

    pub(crate) fn first_line(&self) -> String {
        String::from_utf8_lossy(self.bytes.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_requests_of_lines() {
        let address = "127.0.0.1:80".parse().unwrap();
        let requests = Request::all("GET /a?b\tX-A: 1\tX-B: 2\nHEAD /\thost: me\n", address).unwrap();
        let texts: Vec<_> = requests.iter().map(|request| str::from_utf8(&request.bytes).unwrap()).collect();
        let first = "GET /a?b HTTP/1.1\r\nX-A: 1\r\nX-B: 2\r\nHost: 127.0.0.1:80\r\n\r\n";
        assert_eq!(texts, [first, "HEAD / HTTP/1.1\r\nhost: me\r\n\r\n"]);
        assert!(!requests[0].is_head && requests[1].is_head);
        for text in ["", "GET\n", "GET /\n\nGET /\n", "GET /\tnonsense", "GET / HTTP/1.1", " /", "GET x"] {
            assert!(Request::all(text, address).is_err(), "{text:?}");
        }
    }
}
