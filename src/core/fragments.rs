//! Fragments in HTTP/2's `:path`. A `#` has no place there (RFC 9113 8.3.1), yet the library cuts it off with what follows, so
//! that nobody behind it could tell. HTTP/1 refuses it, so HTTP/2 shall: header blocks are followed here, as they pass, just
//! far enough to see a path's characters (HPACK, RFC 7541). What is kept of a path that has a fragment is a hash of the part
//! that remains, by which its request is known again (`connection`).
//!
//! All of a table's entries are remembered, each by its size and by whether it is such a path: a later request may point at it.
//! What is not well-formed is followed no further: the library ends the connection for it.
//!
//! Known inaccuracy: of two requests on one connection, one with a fragment and one without, whose paths are the same otherwise,
//! either may be the one that is refused.

use std::collections::VecDeque;

/// The table's size, which only an endpoint that allows more may exceed. We don't.
const TABLE: usize = 4096;
/// What an entry counts beside its texts (RFC 7541 4.1).
const ENTRY: usize = 32;
/// The number of static entries, and those that are a path's.
const STATIC: usize = 61;
const PATHS: std::ops::RangeInclusive<usize> = 4..=5;
const PATH: &[u8] = b":path";

/// The lengths of the static entries' names.
const NAMES: [u8; STATIC] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13, 12, 6, 4,
    4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3, 16,
];

/// Follows the header blocks of one client.
#[derive(Debug, Default)]
pub struct Fragments {
    at: At,
    /// The integer under way, and by how much its next bits are shifted.
    number: usize,
    shift: u32,
    /// The text under way.
    text: Text,
    name: Name,
    is_indexed: bool,
    table: VecDeque<Entry>,
    /// The size of the table, and what it may have.
    size: usize,
    most: Option<usize>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Field,
    /// More of an integer.
    Number(Number),
    /// The entry that the integer is an index of.
    Indexed,
    NameLength,
    Name,
    ValueLength,
    Value,
    /// Nothing that could be followed.
    Lost,
}

/// What an integer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Field,
    NameOf,
    TableSize,
    NameLength,
    ValueLength,
}

/// What is known of a field's name.
#[derive(Clone, Copy, Debug, Default)]
struct Name {
    length: usize,
    is_path: bool,
}

#[derive(Debug)]
struct Entry {
    size: usize,
    name: Name,
    /// The hash of a path's part before its fragment.
    cut: Option<u64>,
}

/// A text, as far as it is decoded.
#[derive(Debug, Default)]
struct Text {
    /// Bytes that are to come.
    left: usize,
    is_coded: bool,
    /// Bits that have arrived and are not decoded, the first of them on top.
    bits: u64,
    count: u32,
    /// Decoded characters.
    length: usize,
    /// They are those of `:path`, so far.
    is_path: bool,
    hash: u64,
    /// The hash before the first `#`.
    cut: Option<u64>,
}

impl Fragments {
    /// A header block begins.
    pub fn begin(&mut self) {
        if self.at != At::Lost {
            self.at = At::Field;
        }
    }

    /// Follows more of a block; tells of paths with a fragment.
    pub fn follow(&mut self, mut bytes: &[u8], mut tell: impl FnMut(u64)) {
        while let Some((first, rest)) = bytes.split_first() {
            bytes = match self.at {
                At::Lost => return,
                At::Name | At::Value => self.text(bytes),
                _ => {
                    self.byte(*first);
                    rest
                }
            };
            // An empty text ends where it begins.
            while matches!(self.at, At::Name | At::Value) && self.text.left == 0 {
                self.end_text(&mut tell);
            }
            if self.at == At::Indexed {
                self.at = At::Field;
                self.entry(self.number).and_then(|entry| entry.cut).into_iter().for_each(&mut tell);
            }
        }
    }

    fn byte(&mut self, byte: u8) {
        match self.at {
            At::Field if byte & 0x80 != 0 => self.number(Number::Field, byte, 7),
            At::Field if byte & 0xe0 == 0x20 => self.number(Number::TableSize, byte, 5),
            At::Field => {
                self.is_indexed = byte & 0x40 != 0;
                self.number(Number::NameOf, byte, if self.is_indexed { 6 } else { 4 });
            }
            At::NameLength | At::ValueLength => {
                let is_name = self.at == At::NameLength;
                self.text = Text { is_coded: byte & 0x80 != 0, is_path: true, ..Text::default() };
                self.number(if is_name { Number::NameLength } else { Number::ValueLength }, byte, 7);
            }
            At::Number(number) => self.more(number, byte),
            At::Indexed | At::Name | At::Value | At::Lost => {}
        }
    }

    /// Begins an integer (RFC 7541 5.1).
    fn number(&mut self, number: Number, byte: u8, bits: u32) {
        let most = (1_usize << bits) - 1;
        self.number = usize::from(byte) & most;
        self.shift = 0;
        self.at = At::Number(number);
        if self.number < most {
            self.end_number(number);
        }
    }

    fn more(&mut self, number: Number, byte: u8) {
        self.number += usize::from(byte & 0x7f) << self.shift;
        self.shift += 7;
        if self.shift > 28 {
            self.at = At::Lost;
        } else if byte & 0x80 == 0 {
            self.end_number(number);
        }
    }

    fn end_number(&mut self, number: Number) {
        self.at = match number {
            Number::Field => At::Indexed,
            Number::TableSize => {
                self.most = Some(self.number.min(TABLE));
                self.evict(0);
                At::Field
            }
            Number::NameOf if self.number == 0 => At::NameLength,
            Number::NameOf => match self.name_of(self.number) {
                Some(name) => {
                    self.name = name;
                    At::ValueLength
                }
                None => At::Lost,
            },
            Number::NameLength => {
                self.text.left = self.number;
                At::Name
            }
            Number::ValueLength => {
                self.text.left = self.number;
                At::Value
            }
        };
    }

    fn name_of(&self, index: usize) -> Option<Name> {
        match NAMES.get(index.checked_sub(1)?) {
            Some(length) => Some(Name { length: usize::from(*length), is_path: PATHS.contains(&index) }),
            None => self.entry(index).map(|entry| entry.name),
        }
    }

    fn entry(&self, index: usize) -> Option<&Entry> {
        self.table.get(index.checked_sub(STATIC + 1)?)
    }

    /// Decodes a text's bytes; the rest. What nobody asks about is passed over.
    fn text<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let (passed, rest) = bytes.split_at(self.text.left.min(bytes.len()));
        self.text.left -= passed.len();
        let is_read = self.at == At::Name || self.name.is_path;
        match (self.text.is_coded, is_read || self.is_indexed) {
            (true, true) => passed.iter().for_each(|byte| self.text.decode(*byte)),
            (false, _) if is_read => passed.iter().for_each(|byte| self.text.take(*byte)),
            _ => self.text.length += passed.len(),
        }
        rest
    }

    fn end_text(&mut self, tell: &mut impl FnMut(u64)) {
        let text = std::mem::take(&mut self.text);
        if self.at == At::Name {
            self.name = Name { length: text.length, is_path: text.is_path && text.length == PATH.len() };
            self.at = At::ValueLength;
            return;
        }
        self.at = At::Field;
        let cut = text.cut.filter(|_| self.name.is_path);
        cut.into_iter().for_each(tell);
        if self.is_indexed {
            let size = self.name.length + text.length + ENTRY;
            self.evict(size);
            if size <= self.most() {
                self.size += size;
                self.table.push_front(Entry { size, name: self.name, cut });
            }
        }
    }

    fn most(&self) -> usize {
        self.most.unwrap_or(TABLE)
    }

    /// Makes room for so much.
    fn evict(&mut self, size: usize) {
        while self.size + size > self.most() {
            let Some(entry) = self.table.pop_back() else { return };
            self.size -= entry.size;
        }
    }
}

impl Text {
    /// Takes a decoded character.
    fn take(&mut self, character: u8) {
        self.is_path &= PATH.get(self.length) == Some(&character);
        if character == b'#' && self.cut.is_none() {
            // A path that is nothing else is read as `/`.
            self.cut = Some(if self.length == 0 { hash(b"/") } else { self.hash });
        }
        self.length += 1;
        self.hash = hashed(self.hash, character);
    }

    /// Takes the characters that end in these eight bits.
    fn decode(&mut self, byte: u8) {
        self.bits |= u64::from(byte) << (56 - self.count);
        self.count += 8;
        while let Some((length, character)) = first_code((self.bits >> 32) as u32).filter(|code| code.0 <= self.count) {
            self.bits <<= length;
            self.count -= length;
            self.take(character);
        }
    }
}

/// What paths are known again by.
pub fn hash(path: &[u8]) -> u64 {
    path.iter().fold(0, |hash, character| hashed(hash, *character))
}

fn hashed(hash: u64, character: u8) -> u64 {
    (hash ^ u64::from(character) ^ 0x100).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5)
}

/// The code's lengths, each with the number of its codes; those of one length follow one another, and those of the next length
/// follow them (RFC 7541, appendix B).
const LENGTHS: [(u32, u32); 21] = [
    (5, 10),
    (6, 26),
    (7, 32),
    (8, 6),
    (10, 5),
    (11, 3),
    (12, 2),
    (13, 6),
    (14, 2),
    (15, 3),
    (19, 3),
    (20, 8),
    (21, 13),
    (22, 26),
    (23, 29),
    (24, 12),
    (25, 4),
    (26, 15),
    (27, 19),
    (28, 29),
    (30, 4),
];

/// The characters in the order of their codes, up to the last that a path may have. What follows stands in no path.
const CHARACTERS: &[u8; 95] =
    b"012aceiost %-./3456789=A_bdfghlmnpru:BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz&*,;XZ!\"()?'+|#>\0$@[]~^}<`{";

/// The length of the code that these bits begin with, and its character; one that stands in no path is a 0.
fn first_code(bits: u32) -> Option<(u32, u8)> {
    let (mut first, mut before, mut place) = (0_u64, 0, 0);
    for (length, count) in LENGTHS {
        first <<= length - before;
        before = length;
        let code = u64::from(bits >> (32 - length));
        if code < first + u64::from(count) {
            let place = place + (code - first) as usize;
            return Some((length, CHARACTERS.get(place).copied().unwrap_or(0)));
        }
        first += u64::from(count);
        place += count as usize;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bits of a text in HPACK's code, filled up with ones.
    fn coded(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for character in text {
            let place = CHARACTERS.iter().position(|other| other == character).unwrap() as u64;
            let (mut first, mut before, mut passed) = (0_u64, 0, 0);
            for (length, count) in LENGTHS {
                first <<= length - before;
                before = length;
                if place < passed + u64::from(count) {
                    let code = first + place - passed;
                    bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
                    break;
                }
                first += u64::from(count);
                passed += u64::from(count);
            }
        }
        bits.resize(bits.len().next_multiple_of(8), true);
        bits.chunks(8).map(|byte| byte.iter().fold(0, |all, bit| all << 1 | u8::from(*bit))).collect()
    }

    fn number(first: u8, bits: u32, number: usize) -> Vec<u8> {
        let most = (1 << bits) - 1;
        if number < most {
            return vec![first | number as u8];
        }
        let (mut bytes, mut rest) = (vec![first | most as u8], number - most);
        while rest >= 128 {
            bytes.push(rest as u8 | 128);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes
    }

    fn text(text: &[u8], is_coded: bool) -> Vec<u8> {
        let bytes = if is_coded { coded(text) } else { text.to_vec() };
        [number(if is_coded { 0x80 } else { 0 }, 7, bytes.len()), bytes].concat()
    }

    /// What is told of blocks, followed in pieces of this many bytes.
    fn told(blocks: &[Vec<u8>], piece: usize) -> Vec<u64> {
        let (mut fragments, mut all) = (Fragments::default(), Vec::new());
        for block in blocks {
            fragments.begin();
            block.chunks(piece).for_each(|bytes| fragments.follow(bytes, |hash| all.push(hash)));
        }
        all
    }

    #[test]
    fn texts_are_those_of_the_standard() {
        // RFC 7541 C.4.1, C.4.3, C.6.1.
        assert_eq!(coded(b"www.example.com"), [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]);
        assert_eq!(coded(b"custom-value"), [0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf]);
        assert_eq!(coded(b"https://www.example.com")[..8], [0x9d, 0x29, 0xad, 0x17, 0x18, 0x63, 0xc7, 0x8f]);
        assert_eq!(coded(b"#"), [0xff, 0xaf]);
        let total: f64 = LENGTHS.iter().map(|(length, count)| f64::from(*count) / 2_f64.powi(*length as i32)).sum();
        assert!((total - 1.0).abs() < 1e-9, "every row of bits is a code");
        assert_eq!(
            CHARACTERS.iter().filter(|character| character.is_ascii_graphic()).count(),
            93,
            "all but the backslash"
        );
    }

    #[test]
    fn a_fragment_is_seen_however_its_path_is_written() {
        let wanted = vec![hash(b"/a?b")];
        for is_coded in [true, false] {
            let value = text(b"/a?b#c#", is_coded);
            let name = text(b":path", is_coded);
            for field in [
                [vec![0x04], value.clone()].concat(),
                [vec![0x15], value.clone()].concat(),
                [vec![0x44], value.clone()].concat(),
                [vec![0x00], name.clone(), value.clone()].concat(),
                [vec![0x40], name, value].concat(),
            ] {
                let block = [vec![0x82, 0x86], field, vec![0x84]].concat();
                for piece in 1..=block.len() {
                    assert_eq!(told(std::slice::from_ref(&block), piece), wanted, "{block:?} in pieces of {piece}");
                }
            }
        }
    }

    #[test]
    fn a_fragment_alone_leaves_the_root() {
        assert_eq!(told(&[[vec![0x04], text(b"#a", true)].concat()], 1), [hash(b"/")]);
    }

    #[test]
    fn other_fields_and_whole_paths_say_nothing() {
        let fields = [
            [vec![0x04], text(b"/a$b~|[]{}<>^`", true)].concat(),
            [vec![0x40], text(b":paths", false), text(b"#", false)].concat(),
            [vec![0x40], text(b"x", true), text(b"/a#b", true)].concat(),
            [vec![0x0f, 0x2b], text(b"#", true)].concat(),
            vec![0x00, 0x00, 0x00],
        ];
        assert_eq!(told(&[fields.concat()], 1), Vec::<u64>::new());
    }

    #[test]
    fn an_entry_of_the_table_is_known_again_until_it_is_gone() {
        let path = [vec![0x44], text(b"/a#b", true)].concat();
        let other = |length: usize| [vec![0x40], text(b"x", false), text(&b"y".repeat(length), true)].concat();
        let wanted = hash(b"/a");
        assert_eq!(told(&[path.clone(), vec![0xbe], vec![0xbe]], 1), [wanted; 3]);
        assert_eq!(told(&[path.clone(), other(10), vec![0xbf], vec![0xbe]], 1), [wanted; 2]);
        let named = [vec![0x7e], text(b"/c#", true)].concat();
        assert_eq!(told(&[path.clone(), named, vec![0xbe]], 3), [wanted, hash(b"/c"), hash(b"/c")]);
        // The path takes 41, the other the rest or one more.
        assert_eq!(told(&[path.clone(), other(4096 - 41 - 33), vec![0xbf]], 7), [wanted; 2]);
        assert_eq!(told(&[path.clone(), other(4096 - 41 - 32), vec![0xbf]], 7), [wanted]);
        assert_eq!(told(&[path.clone(), other(5000), vec![0xbe]], 7), [wanted]);
        assert_eq!(told(&[path.clone(), vec![0x20], vec![0xbe]], 1), [wanted]);
        assert_eq!(told(&[path, number(0x20, 5, 41), vec![0xbe]], 1), [wanted; 2]);
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter_and_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1usize..40) {
            let blocks = [bytes.clone(), bytes];
            prop_assert_eq!(told(&blocks, piece), told(&blocks, usize::MAX));
        }
    }
}
