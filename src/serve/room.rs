//! Who is connected: so many at once, and whoever comes when it is full takes the place of who has been there longest.
//!
//! A slow or silent client costs a place until somebody else wants it. Nobody who is quick is turned away for one who is not.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::IntCounter;

/// The places.
pub(super) struct Room {
    guests: Mutex<Guests>,
    left: Condvar,
    /// How many may stay.
    places: usize,
    /// Counts those who had to go.
    cut: IntCounter,
}

#[derive(Default)]
struct Guests {
    next: u64,
    /// By when they came.
    staying: BTreeMap<u64, Guest>,
    /// Told to go; their threads have not noticed yet.
    going: BTreeMap<u64, Guest>,
}

struct Guest {
    socket: Arc<TcpStream>,
    seat: usize,
}

/// A place that is taken. Dropping it gives it back.
pub(super) struct Seat {
    room: Arc<Room>,
    id: u64,
    /// Below twice the number of places, and nobody else's.
    pub(super) number: usize,
}

impl Room {
    /// For `places` connections, at least one.
    pub(super) fn new(places: usize, cut: IntCounter) -> Arc<Self> {
        Arc::new(Self {
            guests: Mutex::default(),
            left: Condvar::new(),
            places: places.max(1),
            cut,
        })
    }

    /// Takes a place; where there is none, whoever has had theirs for longest loses it. Waits for at most `patience` while as many as there
    /// are places were told to go and have not gone; `None` when they still have not.
    pub(super) fn enter(self: &Arc<Self>, socket: Arc<TcpStream>, patience: Duration) -> Option<Seat> {
        let deadline = Instant::now() + patience;
        let mut guests = self.lock();
        while guests.staying.len() >= self.places {
            while guests.going.len() >= self.places {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return None;
                }
                guests = self
                    .left
                    .wait_timeout(guests, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            guests.cut_oldest();
            self.cut.inc();
        }
        guests.next += 1;
        let (id, seat) = (guests.next, guests.free_seat());
        guests.staying.insert(id, Guest { socket, seat });
        Some(Seat {
            room: Arc::clone(self),
            id,
            number: seat,
        })
    }

    /// Ends every connection.
    pub(super) fn clear(&self) {
        let mut guests = self.lock();
        while !guests.staying.is_empty() {
            guests.cut_oldest();
        }
    }

    /// How many are connected and may stay.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().staying.len()
    }

    fn lock(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guests {
    fn cut_oldest(&mut self) {
        if let Some((id, guest)) = self.staying.pop_first() {
            // it may have closed by itself
            let _ = guest.socket.shutdown(Shutdown::Both);
            self.going.insert(id, guest);
        }
    }

    fn free_seat(&self) -> usize {
        let taken = |seat| {
            let mut all = self.staying.values().chain(self.going.values());
            all.any(|guest| guest.seat == seat)
        };
        (0..)
            .find(|&seat| !taken(seat))
            .expect("there are more numbers than guests")
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut guests = self.room.lock();
        guests.staying.remove(&self.id);
        guests.going.remove(&self.id);
        drop(guests);
        self.room.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;
    use crate::metrics::Metrics;

    fn room(places: usize) -> (Arc<Room>, IntCounter) {
        let cut = Metrics::new().counter("cut_total", "Cut.");
        (Room::new(places, cut.clone()), cut)
    }

    /// A connection: our end, and the client's.
    fn pair() -> (Arc<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        (Arc::new(listener.accept().unwrap().0), client)
    }

    fn enter(room: &Arc<Room>) -> (Option<Seat>, TcpStream) {
        let (ours, theirs) = pair();
        (room.enter(ours, Duration::ZERO), theirs)
    }

    #[test]
    fn whoever_came_first_goes_when_it_is_full() {
        let (room, cut) = room(2);
        let (first, mut first_client) = enter(&room);
        let (_second, second_client) = enter(&room);
        assert_eq!(cut.get(), 0);
        let (_third, _third_client) = enter(&room);
        assert_eq!((cut.get(), room.len()), (1, 2));
        assert_eq!(first_client.read(&mut [0]).unwrap(), 0, "the first is closed");
        second_client.set_nonblocking(true).unwrap();
        assert!(second_client.peek(&mut [0]).is_err(), "the second is open");
        drop(first);
        assert_eq!(room.len(), 2, "its place is taken already");
    }

    #[test]
    fn a_place_that_is_given_back_can_be_had_again() {
        let (room, cut) = room(1);
        for _ in 0..3 {
            let (seat, _client) = enter(&room);
            assert_eq!(seat.unwrap().number, 0);
        }
        assert_eq!(cut.get(), 0);
    }

    #[test]
    fn there_are_never_more_than_twice_as_many_threads_as_places() {
        let (room, _) = room(2);
        let mut seats: Vec<_> = (0..4).map(|_| enter(&room).0.unwrap()).collect();
        let numbers: Vec<_> = seats.iter().map(|seat| seat.number).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert!(
            enter(&room).0.is_none(),
            "two were told to go, and their threads have not gone"
        );
        drop(seats.remove(0));
        assert_eq!(enter(&room).0.unwrap().number, 0);
    }

    #[test]
    fn clearing_closes_every_connection() {
        let (room, _) = room(2);
        let (_first, mut first) = enter(&room);
        let (_second, mut second) = enter(&room);
        room.clear();
        assert_eq!(room.len(), 0);
        assert_eq!(first.read(&mut [0]).unwrap(), 0);
        assert_eq!(second.read(&mut [0]).unwrap(), 0);
    }
}
