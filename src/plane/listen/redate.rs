//! Puts the origin's date back into the head of a response, where the framework has put the present in its place at the
//! last moment (`proxy::date`). All dates have one length, so that the head keeps its own.

use http::HeaderValue;
use memchr::memmem;

/// A head that is written with another date.
#[derive(Debug)]
pub struct Redated {
    head: Vec<u8>,
    written: usize,
}

/// What stands before the date; the framework writes names so.
const FIELD: &[u8] = b"\r\nDate: ";
/// The length of `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 5.6.7).
const LENGTH: usize = 29;

/// Whether bytes that are written may be the head of a response, and not of one that only announces it (1xx).
pub fn is_final(bytes: &[u8]) -> bool {
    bytes.strip_prefix(b"HTTP/1.1 ").is_some_and(|status| !status.starts_with(b"1"))
}

impl Redated {
    /// This head with this date, if both have one of the usual form.
    pub fn new(head: &[u8], date: &HeaderValue) -> Option<Self> {
        let begin = memmem::find(head, FIELD)? + FIELD.len();
        let mut head = head.to_vec();
        let (present, rest) = head.get_mut(begin..)?.split_at_mut_checked(LENGTH)?;
        if date.len() != LENGTH || !rest.starts_with(b"\r\n") {
            return None;
        }
        present.copy_from_slice(date.as_bytes());
        Some(Redated { head, written: 0 })
    }

    /// What is still to be written.
    pub fn rest(&self) -> &[u8] {
        self.head.get(self.written..).unwrap_or_default()
    }

    /// So much of it was written.
    pub fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_keeps_its_length_and_gets_its_date() {
        let head = b"HTTP/1.1 200 OK\r\nDate: Mon, 30 Nov 2026 21:36:29 GMT\r\nX: 1\r\n\r\n";
        let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
        let mut redated = Redated::new(head, &date).unwrap();
        assert_eq!(redated.rest(), b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nX: 1\r\n\r\n");
        redated.wrote(59);
        assert_eq!(redated.rest(), b"\n\r\n");
        assert!(is_final(head) && !is_final(b"HTTP/1.1 103 Early Hints\r\n") && !is_final(b"body"));
        assert!(Redated::new(head, &HeaderValue::from_static("Sunday, 06-Nov-94 08:49:37 GMT")).is_none());
        assert!(Redated::new(b"HTTP/1.1 200 OK\r\n\r\n", &date).is_none());
        assert!(Redated::new(b"HTTP/1.1 200 OK\r\nDate: Mon, 30 Nov 2026", &date).is_none());
    }
}
