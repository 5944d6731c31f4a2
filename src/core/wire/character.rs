//! Classes of characters.

const TOKEN: u8 = 1;
const PATH: u8 = 2;
const QUERY: u8 = 4;

const CLASSES: &[u8; 256] = &classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let c = byte as u8;
        let alphanumeric = c.is_ascii_alphanumeric();
        let token = alphanumeric
            || matches!(c, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.')
            || matches!(c, b'^' | b'_' | b'`' | b'|' | b'~');
        let path = alphanumeric
            || matches!(c, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')')
            || matches!(c, b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' | b'/' | b'%');
        let query = path || matches!(c, b'?' | b'[' | b'\\' | b']' | b'^' | b'`' | b'{' | b'|' | b'}');
        classes[byte] = if token { TOKEN } else { 0 } + if path { PATH } else { 0 } + if query { QUERY } else { 0 };
        byte += 1;
    }
    classes
}

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    is(byte, TOKEN)
}

/// RFC 3986 §3.3: whether a path consists of these. Whether `%` begins an escape is judged when it is canonicalised.
pub(super) fn is_path(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| is(*byte, PATH))
}

/// RFC 3986 §3.4, and what browsers don't escape in a query (WHATWG URL, query percent-encode set): `` [ ] \ ^ ` { | } ``
/// and a `%` that begins no escape. A `"`, `<` or `>` they do escape.
pub(super) fn is_query(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| is(*byte, QUERY))
}

/// Whether any is a control character other than a tab. Looks at all of them: without an early exit, it is vectorised.
pub(super) fn has_control(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, byte| found | is_control(*byte))
}

/// A control character other than a tab.
pub(super) fn is_control(byte: u8) -> bool {
    byte < b' ' && byte != b'\t' || byte == 0x7f
}
