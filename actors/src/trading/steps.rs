//! The moments at which the death of the process leaves different things behind. Tests have
//! themselves told when one is reached, and end the process there; the program asks for nothing.

use std::sync::OnceLock;

/// A moment on an order's way, or on its journal's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something is about to be written into a journal.
    BeforeWrite,
    /// It is in the file.
    Written,
    /// It is on the disk.
    Synced,
    /// A command is about to be sent to an exchange.
    BeforeSend,
    /// Its answer is there and nobody has looked at it.
    Answered,
    /// All that it said has been taken.
    Taken,
    /// A journal has been written anew, under another name.
    Compacted,
    /// Entries go to both files from now on.
    Joined,
    /// The new file has the journal's name.
    Renamed,
}

static OBSERVER: OnceLock<fn(Step)> = OnceLock::new();

/// Has a function called at each step, on the routers' thread. False: somebody else was first.
pub fn observe(observer: fn(Step)) -> bool {
    OBSERVER.set(observer).is_ok()
}

/// A step is reached.
pub(super) fn reached(step: Step) {
    if let Some(observer) = OBSERVER.get() {
        observer(step);
    }
}
