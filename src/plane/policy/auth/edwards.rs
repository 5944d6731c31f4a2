//! Points of Edwards25519 that are no public key of anybody (RFC 8032 5.1.3, SEMANTICS 4.4).
//!
//! A point of small order (1, 2, 4 or 8) verifies signatures that nobody made, over whatever message. A coordinate of p or
//! more is a second encoding of a point that has a shorter one, which no signer writes. Whether a point lies on the curve
//! is not computed here: one that does not verifies nothing.

/// Whatever is signed with it, anybody may have signed.
pub const SMALL_ORDER: &str = "it is a point of small order";
/// Its coordinate is p or more.
pub const NOT_CANONICAL: &str = "its point is not encoded as it must be";

/// The field's prime, 2^255 - 19, in little endian as all numbers here.
const P: [u8; 32] = number(0xed, 0xff, 0x7f);
/// p - 1: the y of the point of order 2.
const MINUS_ONE: [u8; 32] = number(0xec, 0xff, 0x7f);
/// The y of the neutral element.
const ONE: [u8; 32] = number(1, 0, 0);
/// The y of the points of order 4.
const ZERO: [u8; 32] = number(0, 0, 0);
/// The y of the points of order 8: the roots of d y^4 + 2 y^2 = 1 that lie on the curve.
const EIGHTH: [u8; 32] = [
    0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac,
    0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
];
/// Its negative.
const MINUS_EIGHTH: [u8; 32] = [
    0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53,
    0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
];

const fn number(first: u8, between: u8, last: u8) -> [u8; 32] {
    let mut bytes = [between; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

/// Why an encoded point is not taken as a key; `None` if it may be one.
pub fn fault(point: &[u8; 32]) -> Option<&'static str> {
    let mut y = *point;
    // The highest bit is the sign of x.
    y[31] &= 0x7f;
    if y.iter().rev().ge(P.iter().rev()) {
        return Some(NOT_CANONICAL);
    }
    [ZERO, ONE, MINUS_ONE, EIGHTH, MINUS_EIGHTH].contains(&y).then_some(SMALL_ORDER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use jsonwebtoken::{Algorithm, DecodingKey, crypto};

    use super::super::samples::encode;
    use super::*;

    /// A little-endian number of which the lowest byte and the two highest bits are chosen; all others are set.
    fn high(lowest: u8, sign: bool) -> [u8; 32] {
        number(lowest, 0xff, if sign { 0xff } else { 0x7f })
    }

    fn with_sign(mut point: [u8; 32], sign: bool) -> [u8; 32] {
        point[31] |= u8::from(sign) << 7;
        point
    }

    /// All encodings of the eight points of small order that a lenient reader takes.
    fn small() -> Vec<[u8; 32]> {
        let ys = [ZERO, ONE, MINUS_ONE, EIGHTH, MINUS_EIGHTH, high(0xed, false), high(0xee, false)];
        ys.into_iter().flat_map(|y| [with_sign(y, false), with_sign(y, true)]).collect()
    }

    /// Whether anyone can sign with this key: a signature of R and S = 0 is good when R = -kA, which for a point of small
    /// order is one of the eight for every message.
    fn is_anyones(key: &[u8; 32]) -> bool {
        gatekeeper_core::signature::install();
        let key = DecodingKey::from_ed_der(key);
        let forged = |r: &[u8; 32], message: u32| {
            let signature = encode([*r, [0; 32]].concat());
            crypto::verify(&signature, &message.to_be_bytes(), &key, Algorithm::EdDSA).unwrap_or(false)
        };
        small().iter().any(|r| (0..64).any(|message| forged(r, message)))
    }

    #[test]
    fn points_of_small_order_sign_for_everybody_and_are_refused() {
        let signing: Vec<_> = small().into_iter().filter(is_anyones).collect();
        println!("{} of {} encodings verify what nobody signed", signing.len(), small().len());
        assert!(signing.len() >= 8, "the danger is real for {} encodings", signing.len());
        for point in small() {
            assert!(fault(&point).is_some(), "{point:02x?}");
        }
    }

    #[test]
    fn encodings_of_p_and_more_are_refused() {
        for lowest in 0xed..=0xff {
            for sign in [false, true] {
                assert_eq!(fault(&high(lowest, sign)), Some(NOT_CANONICAL), "{lowest:x}");
            }
        }
        // The greatest y there is, p - 1, is of order 2; the one below is none of these.
        assert_eq!(fault(&high(0xec, false)), Some(SMALL_ORDER));
        assert_eq!(fault(&high(0xeb, false)), None);
    }

    proptest! {
        /// Nothing that may be a key is lost: what is refused is one of the few.
        #[test]
        fn all_others_are_taken(point in any::<[u8; 32]>(), near: u8, sign: bool) {
            for point in [point, high(near, sign), with_sign(number(near, 0, 0), sign)] {
                let mut y = point;
                y[31] &= 0x7f;
                let is_few = small().contains(&with_sign(y, false)) || y[1..31] == [0xff; 30] && y[31] == 0x7f && y[0] >= 0xed;
                prop_assert_eq!(fault(&point).is_some(), is_few, "{:02x?}", point);
            }
        }
    }
}
