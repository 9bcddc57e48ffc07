//! Divides the slots of event streams among the clients. Pure.

use tokio_util::sync::CancellationToken;

use crate::limits::{Client, Limits};

#[derive(Debug)]
struct Open {
    id: u64,
    client: Client,
    evict: CancellationToken,
}

/// Open streams, oldest first.
#[derive(Debug)]
pub(crate) struct StreamSlots {
    all: usize,
    of_one: usize,
    next: u64,
    open: Vec<Open>,
}

impl StreamSlots {
    pub(crate) fn new(limits: &Limits) -> StreamSlots {
        StreamSlots { all: limits.streams, of_one: limits.streams_of_one, next: 0, open: Vec::new() }
    }

    /// Admits one more stream of `client`, unless it has its maximum. If all slots are in use, the client with the most
    /// streams loses its oldest one, provided that it has more than the new client will have. The stream ends when the
    /// token is cancelled, and must then call [`StreamSlots::leave`].
    pub(crate) fn enter(&mut self, client: &Client) -> Option<(u64, CancellationToken)> {
        let count = |client: &Client| self.open.iter().filter(|open| open.client == *client).count();
        let own = count(client);
        if own >= self.of_one || self.all == 0 {
            return None;
        }
        if self.open.len() >= self.all {
            let largest = self.open.iter().map(|open| count(&open.client)).max()?;
            if largest <= own + 1 {
                return None;
            }
            let oldest = self.open.iter().position(|open| count(&open.client) == largest)?;
            self.open.remove(oldest).evict.cancel();
        }
        self.next += 1;
        let evict = CancellationToken::new();
        self.open.push(Open { id: self.next, client: client.clone(), evict: evict.clone() });
        Some((self.next, evict))
    }

    pub(crate) fn leave(&mut self, id: u64) {
        self.open.retain(|open| open.id != id);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(last: u8) -> Client {
        Client::at(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn streams_are_shared_among_clients() {
        let mut streams = StreamSlots::new(&Limits { streams: 4, streams_of_one: 3, ..Limits::default() });
        let first: Vec<_> = (0..3).map(|_| streams.enter(&client(1)).unwrap()).collect();
        assert!(streams.enter(&client(1)).is_none(), "the client has its maximum");
        streams.enter(&client(2)).unwrap();
        let (_, evict) = streams.enter(&client(3)).unwrap();
        assert!(first[0].1.is_cancelled() && !first[1].1.is_cancelled(), "the oldest of the largest client");
        assert!(streams.enter(&client(2)).is_none(), "no other client would keep more streams");
        assert!(!evict.is_cancelled());
        streams.leave(first[0].0);
        streams.leave(first[1].0);
        streams.enter(&client(2)).unwrap();
        assert_eq!(streams.open.len(), 4);
    }
}
