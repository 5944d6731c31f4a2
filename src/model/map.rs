//! The entries of a map of the tree, in the order of their keys. A file may hold a hundred thousand maps of a few entries
//! each: they lie side by side in one piece, and a usual key takes no memory elsewhere.

use compact_str::CompactString;

/// A key of a map.
pub type Key = CompactString;

/// A map from keys to values. It is made at once; what is added later costs as much as there are entries.
#[derive(Clone, Debug, PartialEq)]
pub struct Map<V>(Vec<(Key, V)>);

impl<V> Map<V> {
    /// The map of these entries. Of several with the same key the first counts; `repeated` is told of the others.
    pub fn new(mut entries: Vec<(Key, V)>, mut repeated: impl FnMut(&str)) -> Self {
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        entries.dedup_by(|(next, _), (first, _)| {
            let is_same = next == first;
            if is_same {
                repeated(next);
            }
            is_same
        });
        entries.shrink_to_fit();
        Map(entries)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&V> {
        self.place(key).ok().and_then(|place| self.0.get(place)).map(|(_, value)| value)
    }

    /// The value of a key.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        self.place(key).ok().and_then(|place| self.0.get_mut(place)).map(|(_, value)| value)
    }

    /// Sets the value of a key, and returns the one it had.
    pub fn insert(&mut self, key: &str, value: V) -> Option<V> {
        match self.get_mut(key) {
            Some(held) => Some(std::mem::replace(held, value)),
            None => {
                self.insert_new(key, value);
                None
            }
        }
    }

    /// Sets the value of a key that has none.
    pub fn insert_new(&mut self, key: &str, value: V) {
        if let Err(place) = self.place(key) {
            self.0.insert(place, (key.into(), value));
        }
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &str) -> Option<V> {
        self.place(key).ok().map(|place| self.0.remove(place).1)
    }

    /// Adds the entries of another map. Those whose keys are taken are returned.
    pub fn absorb(&mut self, more: Map<V>) -> Vec<(Key, V)> {
        let (taken, free): (Vec<_>, Vec<_>) = more.0.into_iter().partition(|(key, _)| self.place(key).is_ok());
        self.0.extend(free);
        self.0.sort_by(|(one, _), (other, _)| one.cmp(other));
        taken
    }

    /// There are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.0.iter().map(|(key, value)| (&**key, value))
    }

    /// The entries, whose values may be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&**key, value))
    }

    /// The entries as they lie there.
    pub fn entries(&self) -> &[(Key, V)] {
        &self.0
    }

    fn place(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| (**held).cmp(key))
    }
}

impl<V> Default for Map<V> {
    fn default() -> Self {
        Map(Vec::new())
    }
}

impl<V> IntoIterator for Map<V> {
    type Item = (Key, V);
    type IntoIter = std::vec::IntoIter<(Key, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn map(entries: &[(String, usize)]) -> (Map<usize>, Vec<String>) {
        let mut repeated = Vec::new();
        let entries = entries.iter().map(|(key, value)| (key.as_str().into(), *value)).collect();
        (Map::new(entries, |key| repeated.push(key.to_owned())), repeated)
    }

    fn model(entries: &[(String, usize)]) -> BTreeMap<&str, usize> {
        let mut model = BTreeMap::new();
        for (key, value) in entries {
            model.entry(key.as_str()).or_insert(*value);
        }
        model
    }

    fn same(map: &Map<usize>, model: &BTreeMap<&str, usize>) -> bool {
        map.iter().map(|(key, value)| (key, *value)).eq(model.iter().map(|(key, value)| (*key, *value)))
    }

    fn entries() -> impl Strategy<Value = Vec<(String, usize)>> {
        prop::collection::vec(("[a-e]{0,2}", 0..100_usize), 0..12)
    }

    proptest! {
        #[test]
        fn it_is_a_map(first in entries(), second in entries(), others in entries()) {
            let ((mut map, repeated), mut model) = (map(&first), model(&first));
            prop_assert!(same(&map, &model));
            prop_assert_eq!(repeated.len(), first.len() - model.len());
            let taken = map.absorb(self::map(&second).0);
            let expected = self::model(&second).into_keys().filter(|key| model.contains_key(key));
            prop_assert!(taken.iter().map(|(key, _)| key.as_str()).eq(expected));
            for (key, value) in &second {
                model.entry(key).or_insert(*value);
            }
            prop_assert!(same(&map, &model));
            for (key, value) in &others {
                if value % 2 == 0 {
                    prop_assert_eq!(map.insert(key, *value), model.insert(key, *value));
                } else {
                    prop_assert_eq!(map.remove(key), model.remove(key.as_str()));
                }
                prop_assert_eq!(map.get(key), model.get(key.as_str()));
            }
            prop_assert!(same(&map, &model) && map.is_empty() == model.is_empty());
        }
    }
}
