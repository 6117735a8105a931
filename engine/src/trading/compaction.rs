//! Writing a journal anew while orders are taken.
//!
//! ```text
//! begin ─► Compaction::run ─► join ─► Joined::run ─► finish
//!  state's thread   another     state's    another      state's
//! ```
//!
//! What blocks is done by the two `run`s, on a thread where nothing waits. The death of the process, or of
//! the machine, leaves a whole journal at any moment:
//!
//! - until `join` the new file has another name, and nobody reads it;
//! - from `join` on each entry is in both files, and a sync is of both;
//! - the new file takes the name when it is on the disk, with all that was in the old one.
//!
//! Whatever fails, the old file is gone on with, until the new one has its name: then that is the journal.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::{Entry, Journal, JournalError, Limits, MAGIC, Replayed, Sink, frame, read};

/// The first part: the new file is written from what was in the old one.
#[derive(Debug)]
pub struct Compaction {
    path: PathBuf,
    length: u64,
    limits: Limits,
}

/// A new file that nothing is missing in up to some length of the old one.
#[derive(Debug)]
pub struct Fresh {
    sink: Sink,
    upto: u64,
}

/// The second part: the new file takes the name.
#[derive(Debug)]
pub struct Joined {
    path: PathBuf,
    file: File,
}

impl Compaction {
    /// Reads the old file and writes the new one. Blocks.
    ///
    /// # Errors
    /// [`JournalError`]; the journal is what it was.
    pub fn run(self) -> Result<Fresh, JournalError> {
        let io = |source| JournalError::Io {
            path: self.path.clone(),
            source,
        };
        let file = File::open(&self.path).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(self.length).read_to_end(&mut bytes).map_err(io)?;
        let (mut replayed, upto) = read(&self.path, &bytes)?;
        drop(bytes);
        replayed.forget(self.limits.final_max);
        Ok(Fresh {
            sink: write(&self.path, &replayed).map_err(io)?,
            upto,
        })
    }
}

impl Joined {
    /// Brings the new file to the disk and gives it the name. Blocks.
    ///
    /// # Errors
    /// The disk's; whether it has the name is not known then.
    pub fn run(&self) -> io::Result<()> {
        self.file.sync_all()?;
        name(&self.path)
    }
}

impl Journal {
    /// Begins to write the journal anew where it has grown too long, and nobody does already.
    pub fn begin_compaction(&mut self) -> Option<Compaction> {
        if self.is_broken || self.next.is_some() || self.file.length <= self.compact_bytes {
            return None;
        }
        // Whatever comes of this one, the next waits for more.
        self.wait_for_more();
        Some(Compaction {
            path: self.path.clone(),
            length: self.file.length,
            limits: self.limits,
        })
    }

    /// Adds what has been written meanwhile to the new file; from now on both are written to. Copies as
    /// much as that was.
    ///
    /// # Errors
    /// [`JournalError::Io`]; the journal is what it was.
    pub fn join(&mut self, fresh: Fresh) -> Result<Joined, JournalError> {
        let Fresh { mut sink, upto } = fresh;
        let joined = (|| {
            let mut old = File::open(&self.path)?;
            old.seek(SeekFrom::Start(upto))?;
            let mut tail = Vec::new();
            let left = self.file.length.saturating_sub(upto);
            old.take(left).read_to_end(&mut tail)?;
            if tail.len() as u64 != left {
                return Err(io::Error::other(
                    "the file is shorter than what was written",
                ));
            }
            sink.append(&tail).map_err(|(source, _)| source)?;
            Ok(Joined {
                path: self.path.clone(),
                file: sink.file.try_clone()?,
            })
        })();
        let joined = joined.map_err(|source| JournalError::Io {
            path: self.path.clone(),
            source,
        })?;
        self.next = Some(sink);
        Ok(joined)
    }

    /// The new file is the journal, when [`Joined::run`] has said so.
    ///
    /// # Errors
    /// [`JournalError::Io`]: it said something else, and which of the files has the name can't be found
    /// out. Nothing is taken any more; a restart reads the one that has it, and nothing is missing in it.
    pub fn finish(&mut self, named: io::Result<()>) -> Result<(), JournalError> {
        let Some(next) = self.next.take() else {
            return Ok(());
        };
        let Err(source) = named else {
            self.file = next;
            self.wait_for_more();
            return Ok(());
        };
        match is_at(&next.file, &self.path) {
            Ok(true) => self.file = next,
            Ok(false) => {}
            Err(_) => self.is_broken = true,
        }
        Err(JournalError::Io {
            path: self.path.clone(),
            source,
        })
    }

    /// The file has to become twice as long before it is written anew again: what is kept of it may be
    /// more than the limit.
    pub(super) fn wait_for_more(&mut self) {
        let double = self.file.length.saturating_mul(2);
        self.compact_bytes = self.limits.compact_bytes.max(double);
    }
}

/// Whether a path leads to this file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let (ours, there) = (file.metadata()?, std::fs::metadata(path)?);
    Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino()))
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> io::Result<bool> {
    Err(io::Error::other("it can't be told which file has the name"))
}

fn fresh_path(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// The new file takes the name.
pub(super) fn name(path: &Path) -> io::Result<()> {
    std::fs::rename(fresh_path(path), path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// A new file beside the journal, with all that was replayed.
pub(super) fn write(path: &Path, replayed: &Replayed) -> io::Result<Sink> {
    let mut bytes = MAGIC.to_vec();
    for (client_order_id, order_id) in &replayed.used {
        let used = Entry::Used {
            client_order_id: client_order_id.clone(),
            order_id: *order_id,
        };
        frame(&mut bytes, &used)?;
    }
    for order in replayed.orders.values() {
        frame(&mut bytes, &Entry::Order(Box::new(order.clone())))?;
    }
    for fill in &replayed.fills {
        frame(&mut bytes, &Entry::Fill(Box::new(fill.clone())))?;
    }
    if let Some(state) = &replayed.paper {
        let state = state.clone();
        frame(&mut bytes, &Entry::Paper { state })?;
    }
    if let Some(by) = &replayed.halted_by {
        let halt = Entry::Halt {
            is_engaged: true,
            by: by.clone(),
            at: 0,
        };
        frame(&mut bytes, &halt)?;
    }
    // One that a killed process has left has other rights, perhaps, and nobody's entries.
    let fresh = fresh_path(path);
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    super::only_ours(&mut options);
    let mut file = options.open(&fresh)?;
    // Locked before it takes the name, so that no other process can come in between.
    file.try_lock().map_err(io::Error::from)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    Ok(Sink {
        file,
        length: bytes.len() as u64,
    })
}
