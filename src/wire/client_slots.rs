//! Slots for requests that need no ticket, shared fairly by the networks that they come from.

use crate::core::limits::SharedLimit;
use crate::wire::forwarded::Client;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Slots of one kind.
#[derive(Debug)]
pub(super) struct ClientSlots {
    limit: SharedLimit,
    held: Mutex<HashMap<Network, u64>>,
}

/// A client's network, as far as it may be one household or machine; `None` where nobody says.
type Network = Option<IpAddr>;

/// One slot, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<ClientSlots>,
    network: Network,
}

impl ClientSlots {
    pub(super) fn new(limit: SharedLimit) -> Arc<Self> {
        Arc::new(Self { limit, held: Mutex::default() })
    }

    /// A slot for a client; `None` where its network has its share, or all are taken.
    pub(super) fn take(self: &Arc<Self>, client: Client) -> Option<Slot> {
        let network = match client {
            Client::At(address) => Some(network_of(address)),
            Client::Unknown => None,
        };
        let mut held = self.lock();
        let share = self.limit.share(held.values().sum());
        let own = held.get(&network).copied().unwrap_or(0);
        if own >= share {
            return None;
        }
        held.insert(network, own + 1);
        drop(held);
        Some(Slot { slots: Arc::clone(self), network })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Network, u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut held = self.slots.lock();
        match held.get_mut(&self.network) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => {
                held.remove(&self.network);
            }
        }
    }
}

/// An IPv6 client has all of its /64.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Client {
        Client::At(text.parse().unwrap())
    }

    #[test]
    fn one_network_leaves_slots_to_others() {
        let slots = ClientSlots::new(SharedLimit { each: 8, all: 16, parts: 1 });
        let all_of =
            |text: &str| -> Vec<_> { std::iter::from_fn(|| slots.take(at(text))).collect() };
        let first = all_of("192.0.2.1");
        assert_eq!(first.len(), 8);
        let second = all_of("2001:db8::1");
        assert_eq!((second.len(), all_of("2001:db8::2").len()), (4, 0), "one network");
        assert!(all_of("::ffff:192.0.2.1").is_empty(), "the first, in other words");
        assert_eq!(all_of("192.0.2.3").len(), 2);
        drop(first);
        assert!(slots.take(Client::Unknown).is_some());
        drop(second);
        assert!(slots.lock().is_empty());
    }
}
