//! Encoded messages, shared by everybody who is to get them, in memory that is used again.
//!
//! A shard encodes a publication once. What it is written into goes by reference through the lanes
//! into the queues of all sessions, and comes back to the shard as soon as the last of them has let
//! go, so that the steady state allocates nothing. Each message has memory of its own: a client that
//! keeps one waiting keeps no other one's.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::worker::{BODY_OVERHEAD, SessionMemory};

/// Bodies that a shard keeps for later: as many as are under way at once, in a burst.
const KEPT_MAX: usize = 1024;
/// Larger ones are not kept: encoding them takes far longer than allocating.
const KEPT_BYTES_MAX: usize = 16 * 1024;
/// Kept bodies that are looked at before a new one is made.
const TRIES: usize = 4;

/// The `data` object of a message; shared, never changed.
#[derive(Clone)]
pub struct Body(Arc<Buffer>);

struct Buffer {
    text: Vec<u8>,
    /// Counted in the memory of all sessions.
    counted: u64,
    memory: Arc<SessionMemory>,
}

impl Buffer {
    fn new(memory: &Arc<SessionMemory>) -> Self {
        Self {
            text: Vec::new(),
            counted: 0,
            memory: Arc::clone(memory),
        }
    }

    /// Counts what it has grown to.
    fn count(&mut self) {
        let size = self.text.capacity() as u64 + BODY_OVERHEAD;
        if size != self.counted {
            self.memory.recount_body(self.counted, size);
            self.counted = size;
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.memory.recount_body(self.counted, 0);
    }
}

impl Body {
    /// A body that is counted in `memory` as long as somebody holds it.
    #[must_use]
    pub fn new(memory: &Arc<SessionMemory>, text: &[u8]) -> Self {
        let mut buffer = Buffer::new(memory);
        buffer.text = text.into();
        buffer.count();
        Self(Arc::new(buffer))
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.text
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(self))
    }
}

/// What a shard encodes into.
#[derive(Debug)]
pub(crate) struct Bodies {
    memory: Arc<SessionMemory>,
    /// Handed out before, the oldest first.
    kept: VecDeque<Body>,
}

impl Bodies {
    /// None so far; what is handed out counts in `memory`.
    pub(crate) fn new(memory: Arc<SessionMemory>) -> Self {
        Self {
            memory,
            kept: VecDeque::with_capacity(KEPT_MAX),
        }
    }

    /// Encodes a body.
    pub(crate) fn encode(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Body {
        let mut body = self.free();
        if let Some(buffer) = Arc::get_mut(&mut body.0) {
            buffer.text.clear();
            write(&mut buffer.text);
            buffer.count();
        }
        if body.0.text.capacity() <= KEPT_BYTES_MAX && self.kept.len() < KEPT_MAX {
            self.kept.push_back(body.clone());
        }
        body
    }

    /// One that nobody reads any more, or a new one.
    fn free(&mut self) -> Body {
        for _ in 0..TRIES {
            let Some(mut body) = self.kept.pop_front() else {
                break;
            };
            if Arc::get_mut(&mut body.0).is_some() {
                return body;
            }
            // Behind the others: what is still waited for after so many is a slow client's, whose
            // bodies are not kept for ever.
            if self.kept.len() < KEPT_MAX - TRIES {
                self.kept.push_back(body);
            }
        }
        Body(Arc::new(Buffer::new(&self.memory)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies() -> (Arc<SessionMemory>, Bodies) {
        let memory = Arc::new(SessionMemory::new(1 << 20));
        (Arc::clone(&memory), Bodies::new(memory))
    }

    fn encode(bodies: &mut Bodies, text: &str) -> Body {
        bodies.encode(|out| out.extend_from_slice(text.as_bytes()))
    }

    #[test]
    fn memory_that_nobody_reads_is_used_again() {
        let (memory, mut bodies) = bodies();
        let first = encode(&mut bodies, "first, the longest of all");
        let (place, used) = (first.as_ptr(), memory.used());
        let reader = first.clone();
        drop(first);
        let second = encode(&mut bodies, "second");
        assert_ne!(second.as_ptr(), place, "the first is still read");
        assert_eq!(&*reader, b"first, the longest of all");
        drop((reader, second));
        let third = encode(&mut bodies, "third");
        assert_eq!((third.as_ptr(), &*third), (place, &b"third"[..]));
        for round in 0..1000 {
            assert_eq!(
                &*encode(&mut bodies, &round.to_string()),
                round.to_string().as_bytes()
            );
        }
        assert!(memory.used() < 2 * used + 100, "{}", memory.used());
        drop(bodies);
        assert_eq!(
            memory.used() - third.0.counted,
            0,
            "only what is held counts"
        );
        drop(third);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_slow_reader_costs_what_it_holds() {
        let (memory, mut bodies) = bodies();
        let held: Vec<Body> = (0..3 * KEPT_MAX)
            .map(|_| encode(&mut bodies, "held"))
            .collect();
        assert!(bodies.kept.len() <= KEPT_MAX);
        assert!(held.iter().all(|body| &**body == b"held"));
        // Beside them memory is used again.
        let before = memory.used();
        for _ in 0..10 * KEPT_MAX {
            encode(&mut bodies, "x");
        }
        assert!(
            memory.used() - before < 64 * 1024,
            "{}",
            memory.used() - before
        );
        drop((held, bodies));
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn large_bodies_are_not_kept() {
        let (memory, mut bodies) = bodies();
        drop(bodies.encode(|out| out.resize(KEPT_BYTES_MAX + 1, b'x')));
        assert_eq!(memory.used(), 0);
    }
}
