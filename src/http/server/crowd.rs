//! Who is connected, and who has to go when there are too many: a client that keeps its server waiting must not keep it from
//! others.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

use crate::access::sender;

/// The connections of one listener.
#[derive(Debug)]
pub struct Crowd {
    most: usize,
    people: Mutex<People>,
    left: Notify,
}

#[derive(Debug, Default)]
struct People {
    next: u64,
    all: usize,
    /// Whom a connection stands for, then connections in the order in which they came.
    of: HashMap<IpAddr, BTreeMap<u64, Arc<Connection>>>,
}

/// What the crowd knows of a connection.
#[derive(Debug, Default)]
pub struct Connection {
    /// A request has arrived whole and its answer is being made. Otherwise the server waits for the client.
    working: AtomicBool,
    dismissed: Notify,
}

impl Connection {
    pub fn set_working(&self, working: bool) {
        self.working.store(working, Ordering::Relaxed);
    }

    /// Returns when the connection has to go.
    pub async fn dismissed(&self) {
        self.dismissed.notified().await;
    }
}

/// A connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    crowd: Arc<Crowd>,
    number: u64,
    address: Mutex<IpAddr>,
    pub connection: Arc<Connection>,
}

impl Crowd {
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, people: Mutex::default(), left: Notify::new() })
    }

    /// A place for a connection from `address`. Where none is free, the connection goes that has kept the server waiting the
    /// longest, of the address that has the most of those; where all are being worked for, the first that is done makes room.
    pub async fn enter(self: &Arc<Self>, address: IpAddr) -> Place {
        loop {
            let left = self.left.notified();
            if let Some(place) = self.find(sender(address)) {
                return place;
            }
            left.await;
        }
    }

    fn find(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut people = self.people();
        if people.all >= self.most {
            people.dismiss_one()?;
        }
        let number = people.next;
        people.next += 1;
        people.all += 1;
        let connection = Arc::new(Connection::default());
        people.of.entry(address).or_default().insert(number, Arc::clone(&connection));
        Some(Place { crowd: Arc::clone(self), number, address: Mutex::new(address), connection })
    }

    /// Dismisses one, if there is one that the server waits for.
    pub fn dismiss_one(&self) -> bool {
        self.people().dismiss_one().is_some()
    }

    fn people(&self) -> MutexGuard<'_, People> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl People {
    fn dismiss_one(&mut self) -> Option<()> {
        let waited_for = |connections: &BTreeMap<u64, Arc<Connection>>| {
            connections.values().filter(|connection| !connection.working.load(Ordering::Relaxed)).count()
        };
        let (&address, _) = self.of.iter().max_by_key(|(_, connections)| waited_for(connections))?;
        let connections = self.of.get(&address)?;
        let (&number, connection) =
            connections.iter().find(|(_, connection)| !connection.working.load(Ordering::Relaxed))?;
        connection.dismissed.notify_one();
        self.remove(address, number);
        Some(())
    }

    /// Whether it was there.
    fn remove(&mut self, address: IpAddr, number: u64) -> Option<Arc<Connection>> {
        let connections = self.of.get_mut(&address)?;
        let connection = connections.remove(&number)?;
        if connections.is_empty() {
            self.of.remove(&address);
        }
        self.all -= 1;
        Some(connection)
    }
}

impl Place {
    /// Counts the connection for the address that a request on it came from, behind proxies that are trusted.
    pub fn stand_for(&self, address: IpAddr) {
        let address = sender(address);
        let mut here = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        if *here == address {
            return;
        }
        let mut people = self.crowd.people();
        if let Some(connection) = people.remove(*here, self.number) {
            people.of.entry(address).or_default().insert(self.number, connection);
            people.all += 1;
        }
        *here = address;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let address = *self.address.lock().unwrap_or_else(PoisonError::into_inner);
        self.crowd.people().remove(address, self.number);
        self.crowd.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    async fn is_dismissed(place: &Place) -> bool {
        tokio::time::timeout(Duration::ZERO, place.connection.dismissed()).await.is_ok()
    }

    #[tokio::test]
    async fn the_oldest_of_whoever_has_the_most_makes_room() {
        let crowd = Crowd::new(4);
        let alone = crowd.enter(ip(1)).await;
        let many = [crowd.enter(ip(2)).await, crowd.enter(ip(2)).await, crowd.enter(ip(2)).await];
        many[0].connection.set_working(true);
        let newest = crowd.enter(ip(3)).await;
        assert!(is_dismissed(&many[1]).await, "the oldest that the server waits for");
        for kept in [&alone, &many[0], &many[2], &newest] {
            assert!(!is_dismissed(kept).await);
        }
        assert_eq!(crowd.people().all, 4, "the one that was dismissed has no place any more");
        drop(many);
        assert_eq!(crowd.people().all, 2);
    }

    #[tokio::test]
    async fn nobody_who_is_being_worked_for_has_to_go() {
        let crowd = Crowd::new(1);
        let first = crowd.enter(ip(1)).await;
        first.connection.set_working(true);
        let entering = crowd.enter(ip(2));
        tokio::pin!(entering);
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut entering).await.is_err());
        assert!(!is_dismissed(&first).await);
        drop(first);
        entering.await;
    }

    #[tokio::test]
    async fn behind_a_proxy_connections_are_their_clients() {
        let crowd = Crowd::new(3);
        let (one, two, three) = (crowd.enter(ip(9)).await, crowd.enter(ip(9)).await, crowd.enter(ip(9)).await);
        one.stand_for(ip(1));
        for slow in [&two, &three] {
            slow.stand_for(ip(2));
        }
        let _newest = crowd.enter(ip(9)).await;
        assert!(!is_dismissed(&one).await && is_dismissed(&two).await && !is_dismissed(&three).await);
    }
}
