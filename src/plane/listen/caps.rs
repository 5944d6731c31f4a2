//! How many connections there are: in all, and of each address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Counts connections.
#[derive(Default)]
pub struct Caps {
    open: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize, ahash::RandomState>>,
}

/// A connection that counts as long as this lives.
#[must_use]
pub struct Counted(Arc<Caps>);

/// A connection of an address that counts as long as this lives.
#[must_use]
pub struct CountedOfAddress(Arc<Caps>, IpAddr);

impl Caps {
    /// Whether there are fewer connections than this.
    pub fn has_room(&self, most: usize) -> bool {
        self.open.load(Ordering::Relaxed) < most
    }

    /// Counts one more.
    pub fn count(self: &Arc<Self>) -> Counted {
        self.open.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    /// Counts one more of an address, unless it has as many as it may.
    pub fn count_of(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<CountedOfAddress> {
        let subject = subject(address);
        let mut counts = self.by_address.lock();
        let count = counts.entry(subject).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(CountedOfAddress(self.clone(), subject))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for CountedOfAddress {
    fn drop(&mut self) {
        let mut counts = self.0.by_address.lock();
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

/// Who owns one IPv6 address usually owns its /64.
fn subject(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_and_gets_them_back() {
        let caps = Arc::new(Caps::default());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = caps.count_of(address("192.0.2.1"), 2);
        let second = caps.count_of(address("::ffff:192.0.2.1"), 2);
        assert!(first.is_some() && second.is_some());
        assert!(caps.count_of(address("192.0.2.1"), 2).is_none());
        assert!(caps.count_of(address("192.0.2.2"), 2).is_some());
        drop(first);
        assert!(caps.count_of(address("192.0.2.1"), 2).is_some());
        drop(second);
        assert!(caps.by_address.lock().is_empty(), "what is not there any more takes no memory");
    }

    #[test]
    fn neighbours_in_ipv6_count_as_one() {
        let caps = Arc::new(Caps::default());
        let one = caps.count_of("2001:db8::1".parse().unwrap(), 1);
        assert!(one.is_some());
        assert!(caps.count_of("2001:db8::ffff:2".parse().unwrap(), 1).is_none());
        assert!(caps.count_of("2001:db8:0:1::1".parse().unwrap(), 1).is_some());
    }

    #[test]
    fn all_connections_count() {
        let caps = Arc::new(Caps::default());
        let one = caps.count();
        assert!(!caps.has_room(1) && caps.has_room(2));
        drop(one);
        assert!(caps.has_room(1));
    }
}
