//! How many of each are in: connections of an address, handshakes of an address, connections of a principal.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;

/// How many of each are in.
pub(super) struct Census<K: Hash + Eq>(pub(super) Mutex<HashMap<K, usize>>);

impl<K: Hash + Eq + Clone> Census<K> {
    /// One more of `key`, unless there are `max`.
    pub(super) fn enter(census: &Arc<Self>, key: K, max: usize) -> Option<Seat<K>> {
        let mut counts = census.0.lock();
        let count = counts.entry(key.clone()).or_default();
        if *count >= max {
            if *count == 0 {
                counts.remove(&key);
            }
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Seat { census: Arc::clone(census), key })
    }
}

impl<K: Hash + Eq> Default for Census<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// One place in a [`Census`].
pub(super) struct Seat<K: Hash + Eq> {
    census: Arc<Census<K>>,
    key: K,
}

impl<K: Hash + Eq> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut counts = self.census.0.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// Whom a host can be told from: its address, or with IPv6 the /64 that any host may use up.
pub(super) fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_apart_by_what_they_own() {
        let told = |text: &str| host(text.parse().expect("an address")).to_string();
        assert_eq!(told("192.0.2.7"), "192.0.2.7");
        assert_eq!(told("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(told("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn a_seat_that_was_refused_leaves_no_trace() {
        let census = Arc::new(Census::default());
        assert!(Census::enter(&census, "acme", 0).is_none());
        let seat = Census::enter(&census, "acme", 1).expect("the first");
        assert!(Census::enter(&census, "acme", 1).is_none());
        drop(seat);
        assert!(census.0.lock().is_empty());
    }
}
