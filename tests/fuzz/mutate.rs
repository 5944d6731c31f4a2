//! New inputs from old ones: bytes, words, ranges and lines are changed, moved, doubled and taken away.

const LONGEST: usize = 16 * 1024;
const MOST: usize = 4096;
const NASTY: &[u8] = b"\0\t\n\x0b\x0c\r \"#$%&'*+,-./0:;<=>?@[\\]^_`{|}~\x7f\x80\xa0\xc3\xe2\xff";

pub struct Mutator {
    random: fastrand::Rng,
    dictionary: &'static [&'static str],
}

impl Mutator {
    pub fn new(dictionary: &'static [&'static str]) -> Mutator {
        Mutator { random: fastrand::Rng::new(), dictionary }
    }

    /// Keeps an input, in another's place if there are many.
    pub fn add(&mut self, corpus: &mut Vec<Vec<u8>>, input: Vec<u8>) {
        if corpus.len() >= MOST {
            corpus.swap_remove(self.random.usize(..MOST));
        }
        corpus.push(input);
    }

    /// A few changes to one of the inputs; the younger ones are chosen more often.
    pub fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let first = self.random.usize(..corpus.len());
        let index = if self.random.bool() { first.max(self.random.usize(..corpus.len())) } else { first };
        let mut input = corpus[index].clone();
        for _ in 0..1 << self.random.u32(0..4) {
            let other = &corpus[self.random.usize(..corpus.len())];
            self.change(&mut input, other);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let (from, to) = self.range(input, 16);
        match self.random.u32(..10) {
            0 if from < to => input[from] ^= 1 << self.random.u32(..8),
            1 => drop(input.drain(from..to)),
            2 => {
                let byte = self.byte();
                input.insert(from, byte);
            }
            3 if from < to => input[from] = self.byte(),
            4 => self.insert_word(input, from, from),
            5 => self.insert_word(input, from, to),
            6 => {
                let copy = input[from..to].to_vec();
                let at = self.random.usize(..=input.len());
                input.splice(at..at, copy);
            }
            7 => {
                let (start, end) = self.range(other, 64);
                input.splice(from..to, other[start..end].iter().copied());
            }
            8 => self.change_lines(input),
            _ => input.truncate(if self.random.u32(..8) == 0 { from } else { LONGEST }),
        }
    }

    fn byte(&mut self) -> u8 {
        if self.random.bool() { NASTY[self.random.usize(..NASTY.len())] } else { self.random.u8(..) }
    }

    fn insert_word(&mut self, input: &mut Vec<u8>, from: usize, to: usize) {
        let word = self.dictionary[self.random.usize(..self.dictionary.len())];
        input.splice(from..to, word.bytes());
    }

    /// Doubles, swaps or removes whole lines.
    fn change_lines(&mut self, input: &mut Vec<u8>) {
        let mut lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
        if lines.is_empty() {
            return;
        }
        let (one, other) = (self.random.usize(..lines.len()), self.random.usize(..lines.len()));
        match self.random.u32(..3) {
            0 => lines.insert(other, lines[one]),
            1 => lines.swap(one, other),
            _ => drop(lines.remove(one)),
        }
        *input = lines.concat();
    }

    fn range(&mut self, bytes: &[u8], longest: usize) -> (usize, usize) {
        let from = self.random.usize(..=bytes.len());
        (from, (from + self.random.usize(..=longest)).min(bytes.len()))
    }
}
