//! Values that many have alike are kept once, so that the processor's cache holds them for all.

use std::collections::VecDeque;
use std::sync::Arc;

/// Values seen, the newest first.
pub struct Alike<T>(VecDeque<Arc<T>>);

/// Among so many it is looked for an equal one: where all differ, building a plan takes no longer than it must.
const REMEMBERED: usize = 32;

impl<T> Default for Alike<T> {
    fn default() -> Self {
        Alike(VecDeque::new())
    }
}

impl<T: PartialEq> Alike<T> {
    /// Puts an equal one that was seen before in a value's place.
    pub fn share(&mut self, value: &mut Arc<T>) {
        if let Some(known) = self.0.iter().find(|known| **known == *value) {
            *value = known.clone();
            return;
        }
        self.0.truncate(REMEMBERED - 1);
        self.0.push_front(value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_old_ones_are_forgotten() {
        let mut alike = Alike::default();
        let mut share = |value: usize| {
            let mut value = Arc::new(value);
            alike.share(&mut value);
            value
        };
        let (first, other) = (share(1), share(2));
        assert!(Arc::ptr_eq(&first, &share(1)) && !Arc::ptr_eq(&first, &other));
        (3..3 + REMEMBERED).for_each(|value| drop(share(value)));
        assert!(!Arc::ptr_eq(&first, &share(1)));
    }
}
