//! Reads answers, which may come in any pieces: the head, and how much of the body is missing.

const MAX_HEAD: usize = 64 << 10;

/// What the head of an answer says.
pub(crate) struct Head {
    pub(crate) status: u16,
    /// What is to come of the body.
    missing: usize,
    pub(crate) closes: bool,
}

impl Head {
    fn parse(bytes: &[u8], to_head: bool) -> Result<Self, String> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok());
        let status = status.ok_or("something that is not HTTP/1.1")?;
        let (mut length, mut is_encoded, mut closes) = (None, false, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.parse().map_err(|_| format!("Content-Length: {value}"))?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                is_encoded = true;
            } else if name.eq_ignore_ascii_case("connection") {
                closes |= value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"));
            }
        }
        let missing = match length {
            _ if to_head || status < 200 || matches!(status, 204 | 304) => 0,
            _ if is_encoded => return Err("Transfer-Encoding: chunked, which this generator does not read".to_owned()),
            Some(length) => length,
            None => return Err(format!("{status} and no Content-Length, without which its end is unknown")),
        };
        Ok(Self { status, missing, closes })
    }
}

/// Reads the one answer that is outstanding on a connection.
#[derive(Default)]
pub(crate) struct Reader {
    /// What there is of the head while that is incomplete.
    received: Vec<u8>,
    head: Option<Head>,
}

impl Reader {
    /// The head, once the answer is complete. It may come in any pieces.
    pub(crate) fn take(&mut self, piece: &[u8], to_head: bool) -> Result<Option<Head>, String> {
        let (mut head, body) = match self.head.take() {
            Some(head) => (head, piece.len()),
            None => match self.take_head(piece, to_head)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        // Of what follows the end nothing is known, so nothing more is asked on this connection.
        head.closes |= body > head.missing;
        head.missing = head.missing.saturating_sub(body);
        if head.missing == 0 {
            return Ok(Some(head));
        }
        self.head = Some(head);
        Ok(None)
    }

    /// The head, and how many bytes there are behind it. An informational answer comes before the one that counts.
    fn take_head(&mut self, piece: &[u8], to_head: bool) -> Result<Option<(Head, usize)>, String> {
        let mut searched = self.received.len().saturating_sub(3);
        self.received.extend_from_slice(piece);
        while let Some(at) = self.received[searched..].windows(4).position(|end| end == b"\r\n\r\n") {
            let end = searched + at + 4;
            let head = Head::parse(&self.received[..end], to_head)?;
            if head.status >= 200 {
                let body = self.received.len() - end;
                self.received.clear();
                return Ok(Some((head, body)));
            }
            self.received.drain(..end);
            searched = 0;
        }
        if self.received.len() > MAX_HEAD { Err("a head without an end".to_owned()) } else { Ok(None) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\nServer: \xff\r\ncontent-LENGTH:  5 \r\n\r\nhello";

    /// The answer taken in pieces of one size, and whether it was complete with the last of them and not before.
    fn taken(answer: &[u8], size: usize, to_head: bool) -> Head {
        let mut reader = Reader::default();
        let pieces: Vec<_> = answer.chunks(size).collect();
        let (last, before) = pieces.split_last().unwrap();
        for piece in before {
            assert!(reader.take(piece, to_head).unwrap().is_none(), "complete too early, in pieces of {size}");
        }
        reader.take(last, to_head).unwrap().expect("complete")
    }

    fn fault(answer: &[u8]) -> String {
        Reader::default().take(answer, false).err().expect("a fault")
    }

    #[test]
    fn reads_an_answer_cut_at_every_byte() {
        for cut in 1..PLAIN.len() {
            let mut reader = Reader::default();
            assert!(reader.take(&PLAIN[..cut], false).unwrap().is_none(), "complete at {cut}");
            let head = reader.take(&PLAIN[cut..], false).unwrap().expect("complete");
            assert_eq!((head.status, head.closes), (200, false), "cut at {cut}");
        }
    }

    #[test]
    fn reads_answers_in_pieces_of_every_size() {
        let informed =
            b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc";
        for size in 1..informed.len() {
            assert_eq!(taken(informed, size, false).status, 404);
            assert_eq!(taken(b"HTTP/1.1 204 No Content\r\n\r\n", size, false).status, 204);
            assert_eq!(taken(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", size, false).status, 304);
            assert_eq!(taken(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", size, true).status, 200);
            assert_eq!(taken(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", size, false).status, 200);
        }
    }

    #[test]
    fn reads_one_answer_after_the_other() {
        let mut reader = Reader::default();
        for _ in 0..2 {
            assert!(reader.take(&PLAIN[..50], false).unwrap().is_none());
            assert!(reader.take(&PLAIN[50..], false).unwrap().is_some());
        }
    }

    #[test]
    fn gives_a_connection_up_that_closes_or_says_too_much() {
        let closing = b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\na";
        assert!(taken(closing, 7, false).closes);
        assert!(taken(&[PLAIN, b"!"].concat(), usize::MAX, false).closes);
    }

    #[test]
    fn refuses_answers_whose_end_it_cannot_know() {
        assert!(fault(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").contains("chunked"));
        assert!(fault(b"HTTP/1.1 200 OK\r\n\r\n").contains("no Content-Length"));
        assert!(fault(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n").contains("Content-Length: -1"));
        assert!(fault(b"SSH-2.0-x\r\n\r\n").contains("not HTTP"));
        assert!(fault(&[b'x'; MAX_HEAD + 1]).contains("without an end"));
    }
}
