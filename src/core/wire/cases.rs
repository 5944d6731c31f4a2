//! The requests of `tests/data`: malformed ones with their verdicts, and unusual ones that must pass.
//!
//! It stands on nothing but the standard library, so that tests over sockets can include it by its path.

/// The limits that the cases are written for: head, fields, target.
pub const LIMITS: (usize, usize, usize) = (8192, 64, 4096);

/// A request and what must come of it.
#[derive(Debug)]
pub struct Case {
    /// What it is called.
    pub name: &'static str,
    /// The RFC and its section.
    pub section: &'static str,
    /// The status and the code of its refusal, or none.
    pub refusal: Option<(u16, &'static str)>,
    /// The fault stands behind the head, which may have been forwarded.
    pub in_body: bool,
    /// The request as sent.
    pub bytes: Vec<u8>,
}

/// Requests that must be refused.
pub fn malformed() -> Vec<Case> {
    read(include_str!("../../../tests/data/malformed.txt"))
}

/// Requests that must pass.
pub fn unusual() -> Vec<Case> {
    read(include_str!("../../../tests/data/unusual.txt"))
}

fn read(text: &'static str) -> Vec<Case> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(case).collect()
}

fn case(line: &'static str) -> Case {
    let columns: Vec<&str> = line.splitn(4, " | ").collect();
    let [name, section, verdict, bytes] = columns[..] else { panic!("not four columns: {line}") };
    let mut words = verdict.split(' ');
    let status = words.next().unwrap().parse().ok();
    let refusal = status.map(|status| (status, words.next().unwrap()));
    Case { name, section, refusal, in_body: words.next() == Some("body"), bytes: unescape(bytes) }
}

/// Understands `\r \n \t \0 \\ \xNN` and `\{count:text}`.
fn unescape(text: &str) -> Vec<u8> {
    let (plain, escape) = text.split_once('\\').unwrap_or((text, ""));
    let mut bytes = plain.as_bytes().to_vec();
    let Some(kind) = escape.chars().next() else { return bytes };
    let mut rest = &escape[1..];
    match kind {
        'r' => bytes.push(b'\r'),
        'n' => bytes.push(b'\n'),
        't' => bytes.push(b'\t'),
        '0' => bytes.push(0),
        '\\' => bytes.push(b'\\'),
        'x' => {
            bytes.push(u8::from_str_radix(&rest[..2], 16).unwrap());
            rest = &rest[2..];
        }
        '{' => {
            let (repetition, after) = rest.split_once('}').unwrap();
            let (count, text) = repetition.split_once(':').unwrap();
            bytes.extend(unescape(text).repeat(count.parse().unwrap()));
            rest = after;
        }
        _ => panic!("unknown escape: {escape}"),
    }
    bytes.extend(unescape(rest));
    bytes
}
