//! The hash of a state: the sum of the digests of its objects, lane by lane.
//!
//! A sum does not depend on an order, and a change of one object costs one digest, however many others there are. It tells
//! whether two gateways have the same objects, or a backup what it had. It is no proof against somebody who can write to the
//! database: who can add objects at will can make sums meet.

use ring::digest::{SHA256, digest};
use serde_json::Value;
use uuid::Uuid;

use crate::failure::Failure;
use crate::object::Kind;

/// The hash of a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum([u64; 4]);

impl Sum {
    pub fn add(&mut self, kind: Kind, id: Uuid, name: &str, body: &Value) {
        let parts = lanes(kind, id, name, body);
        self.0.iter_mut().zip(parts).for_each(|(lane, part)| *lane = lane.wrapping_add(part));
    }

    pub fn remove(&mut self, kind: Kind, id: Uuid, name: &str, body: &Value) {
        let parts = lanes(kind, id, name, body);
        self.0.iter_mut().zip(parts).for_each(|(lane, part)| *lane = lane.wrapping_sub(part));
    }

    pub fn text(self) -> String {
        self.0.iter().map(|lane| format!("{lane:016x}")).collect()
    }

    pub fn read(text: &str) -> Result<Sum, Failure> {
        let damaged = || Failure::Damaged(format!("a revision has the hash {text:?}"));
        let mut sum = Sum::default();
        if text.len() != 64 || !text.is_ascii() {
            return Err(damaged());
        }
        for (lane, part) in sum.0.iter_mut().zip(0..4) {
            let part = text.get(part * 16..part * 16 + 16).ok_or_else(damaged)?;
            *lane = u64::from_str_radix(part, 16).map_err(|_| damaged())?;
        }
        Ok(sum)
    }
}

/// The digest of an object. A body is digested with its keys in their order of the alphabet: what means the same has the same
/// digest.
fn lanes(kind: Kind, id: Uuid, name: &str, body: &Value) -> [u64; 4] {
    let mut text = format!("{kind}\0{id}\0{name}\0");
    let mut body = body.clone();
    body.sort_all_objects();
    text.push_str(&body.to_string());
    let digest = digest(&SHA256, text.as_bytes());
    let mut lanes = [0; 4];
    for (lane, bytes) in lanes.iter_mut().zip(digest.as_ref().chunks_exact(8)) {
        *lane = bytes.iter().fold(0, |lane, byte| lane << 8 | u64::from(*byte));
    }
    lanes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sum_knows_what_is_there_and_not_how_it_came() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut sum = Sum::default();
        sum.add(Kind::Route, one, "a", &json!({"x": 1, "y": {"b": 2, "a": 3}}));
        sum.add(Kind::Route, other, "b", &json!({}));
        let mut backwards = Sum::default();
        backwards.add(Kind::Route, other, "b", &json!({}));
        backwards.add(Kind::Route, one, "a", &json!({"y": {"a": 3, "b": 2}, "x": 1}));
        assert_eq!(sum, backwards);
        sum.remove(Kind::Route, other, "b", &json!({}));
        assert_ne!(sum, backwards);
        for (kind, id, name, body) in [
            (Kind::Service, other, "b", json!({})),
            (Kind::Route, one, "b", json!({})),
            (Kind::Route, other, "c", json!({})),
            (Kind::Route, other, "b", json!({"x": 1})),
        ] {
            let mut changed = sum;
            changed.add(kind, id, name, &body);
            assert_ne!(changed, backwards);
            changed.remove(kind, id, name, &body);
            assert_eq!(changed, sum);
        }
    }

    #[test]
    fn a_sum_is_read_as_it_was_written() {
        let mut sum = Sum::default();
        assert_eq!(sum.text(), "0".repeat(64));
        sum.add(Kind::Cors, Uuid::nil(), "cors", &json!([]));
        assert_eq!(Sum::read(&sum.text()).unwrap(), sum);
        for bad in ["", "0", &"g".repeat(64), &"0".repeat(65), &"ä".repeat(32)] {
            assert!(Sum::read(bad).is_err(), "{bad}");
        }
    }
}
