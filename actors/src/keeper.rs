//! Small files beside the store: lines that are appended, and files that are replaced whole. A
//! thread of its own does the writing, so that no actor ever waits for a disk; what does not fit
//! into its queue is counted and told. Without a folder nothing is kept.
//!
//! Every file is bounded: when it has twice as many lines as its owner wants, the owner hands over
//! the lines to go on with and the file is replaced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

/// Writes that may wait.
const WAITING_MAX: usize = 4096;

enum Order {
    /// Adds a line.
    Append(&'static str, String),
    /// Puts these lines in the place of a whole file.
    Replace(&'static str, String),
    /// Tells when everything before it has been written.
    Flush(Sender<()>),
}

struct Inner {
    folder: PathBuf,
    queue: Mutex<Option<Sender<Order>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    lost: AtomicU64,
}

/// The handle; clones are the same keeper.
#[derive(Clone)]
pub struct Keeper(Option<Arc<Inner>>);

impl Keeper {
    /// A keeper that keeps nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Starts the thread of a folder, which is made where it is missing.
    ///
    /// # Errors
    /// When the folder can't be made or the thread not started.
    pub fn start(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let (queue, inbox) = bounded(WAITING_MAX);
        let of = folder.to_owned();
        let thread = std::thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || run(&of, &inbox))?;
        Ok(Self(Some(Arc::new(Inner {
            folder: folder.to_owned(),
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
            lost: AtomicU64::new(0),
        }))))
    }

    /// A file's lines as they are now; none where it is missing or can't be read, which is logged.
    /// Blocks: for the start.
    #[must_use]
    pub fn read(&self, name: &str) -> Vec<String> {
        let Some(inner) = &self.0 else {
            return Vec::new();
        };
        let path = inner.folder.join(name);
        match fs::read(&path) {
            // A line that was cut off by a crash is the reader's to leave out.
            Ok(bytes) => String::from_utf8_lossy(&bytes)
                .lines()
                .map(str::to_owned)
                .collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "not read; beginning anew");
                Vec::new()
            }
        }
    }

    /// Adds a line to a file.
    pub fn append(&self, name: &'static str, line: String) {
        self.push(Order::Append(name, line));
    }

    /// Replaces a file; it is never seen half written.
    pub fn replace(&self, name: &'static str, text: String) {
        self.push(Order::Replace(name, text));
    }

    fn push(&self, write: Order) {
        let Some(inner) = &self.0 else { return };
        let queue = inner.queue.lock();
        // After the end nothing is wrong with the disk.
        let is_over = queue.is_none();
        let is_taken = queue.as_ref().is_some_and(|q| q.try_send(write).is_ok());
        if is_taken {
            return;
        }
        if inner.lost.fetch_add(1, Ordering::Relaxed) == 0 && !is_over {
            tracing::error!(folder = %inner.folder.display(), "the disk is too slow: lines are lost");
        }
    }

    /// Lines that did not fit.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let inner = self.0.as_ref();
        inner.map_or(0, |inner| inner.lost.load(Ordering::Relaxed))
    }

    /// Returns when everything handed over before is written, or `limit` has passed. Blocks.
    pub fn flush(&self, limit: Duration) {
        let (done, is_done) = bounded(1);
        self.push(Order::Flush(done));
        let _ = is_done.recv_timeout(limit);
    }

    /// Writes what waits and ends the thread; blocks up to `limit`.
    pub fn stop(&self, limit: Duration) {
        let Some(inner) = &self.0 else { return };
        self.flush(limit);
        inner.queue.lock().take();
        let Some(thread) = inner.thread.lock().take() else {
            return;
        };
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
}

fn run(folder: &Path, inbox: &Receiver<Order>) {
    let mut is_troubled = false;
    while let Ok(write) = inbox.recv() {
        let (name, result) = match &write {
            Order::Append(name, line) => (*name, append(&folder.join(name), line)),
            Order::Replace(name, text) => (*name, replace(folder, name, text)),
            Order::Flush(done) => {
                let _ = done.try_send(());
                continue;
            }
        };
        match result {
            Ok(()) if is_troubled => {
                is_troubled = false;
                tracing::info!(folder = %folder.display(), "files can be written again");
            }
            Ok(()) => {}
            Err(error) => {
                // Once; the lines that follow have the same trouble.
                if !is_troubled {
                    let path = folder.join(name);
                    tracing::error!(path = %path.display(), %error, "not written");
                }
                is_troubled = true;
            }
        }
    }
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = File::options().create(true).append(true).open(path)?;
    // One write: a line is there whole or, after a crash, cut off at its end.
    file.write_all(format!("{line}\n").as_bytes())
}

fn replace(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    fs::write(&new, text)?;
    fs::rename(&new, folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn lines_are_appended_replaced_and_read() {
        let folder = std::env::temp_dir().join(format!("bookwire-keeper-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let keeper = Keeper::start(&folder).unwrap();
        assert!(keeper.read("log").is_empty());
        keeper.append("log", "a".to_owned());
        keeper.append("log", "b".to_owned());
        keeper.flush(LIMIT);
        assert_eq!(keeper.read("log"), ["a", "b"]);
        keeper.replace("log", "c\n".to_owned());
        keeper.append("log", "d".to_owned());
        keeper.stop(LIMIT);
        assert_eq!(keeper.read("log"), ["c", "d"]);
        keeper.append("log", "e".to_owned());
        assert_eq!(keeper.lost(), 1, "it has ended");
        assert_eq!(keeper.read("log"), ["c", "d"]);
        // A folder that can't be written to is told, and nothing else happens.
        fs::write(folder.join("file"), "").unwrap();
        assert!(Keeper::start(&folder.join("file/below")).is_err());
        fs::remove_dir_all(&folder).unwrap();
        Keeper::none().append("log", "f".to_owned());
        assert!(Keeper::none().read("log").is_empty());
    }
}
