//! Numbers and strings as JSON writes them, without the way through serde: for what is written at each request.

/// Appends a number in decimal digits.
pub fn digits(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Neither control bytes nor quotes nor anything beyond ASCII: what most texts consist of.
pub fn is_plain(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

/// Appends a text as a JSON string.
pub fn quoted(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    escaped(out, value);
    out.push(b'"');
}

/// Appends a text as it stands inside a JSON string.
pub fn escaped(out: &mut Vec<u8>, value: &[u8]) {
    // To stop at the first byte that is not plain would keep the compiler from looking at many at once.
    if value.iter().fold(true, |plain, byte| plain & is_plain(byte)) {
        out.extend_from_slice(value);
    } else {
        escape_json(out, value);
    }
}

fn escape_json(out: &mut Vec<u8>, value: &[u8]) {
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => out.extend([b'\\', character as u8]),
                // The separators end a line for some readers.
                '\u{2028}' | '\u{2029}' => escape_unit(out, character as u32),
                _ if character.is_control() => escape_unit(out, character as u32),
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        chunk.invalid().iter().for_each(|byte| escape_unit(out, (*byte).into()));
    }
}

fn escape_unit(out: &mut Vec<u8>, unit: u32) {
    out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
}
