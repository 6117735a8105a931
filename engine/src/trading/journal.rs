//! What was done about orders, on disk, before it is done: an append-only file for each account.
//!
//! An entry is its length, a CRC-32 of its text, and the text (JSON). An order is written before it
//! is sent and again after each change, whole: the last entry of an order is its state, so that a
//! replay needs no rules. A killed process leaves an incomplete entry at the end at most, which is cut
//! off (what was to be done had not been done yet); any other damage stops the start, because what is
//! missing may be an order with money behind it.
//!
//! Exchanges forget used client ids, and ids that made an order once must never make another: when a
//! file has grown, old orders are kept as their id and the client's alone.
//!
//! A file that has grown is written anew ([`compaction`]) at the start, or while it is in
//! use. Then entries go to both files from some moment on, so that whichever has the name when the process
//! dies is whole.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::order::{Fill, Order, OrderId};
use crate::time::TsNanos;

/// Length and checksum before an entry's text, 4 bytes each, little endian.
const HEAD: usize = 8;
/// Longest entry that is believed.
const ENTRY_MAX: u32 = 1 << 20;
/// First bytes of a file: name and version.
const MAGIC: &[u8; 8] = b"bwjrnl01";

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// An order as it is now. The first one of an order stands before it is sent.
    Order(Box<Order>),
    /// An execution.
    Fill(Box<Fill>),
    /// An order is about to be canceled.
    Cancel {
        /// Which.
        order_id: OrderId,
        /// When, ns since the epoch.
        at: i64,
    },
    /// An order is about to be amended.
    Amend {
        /// Which.
        order_id: OrderId,
        /// To this quantity in all, base units.
        quantity: Decimal,
        /// To this price.
        price: Option<Decimal>,
        /// When, ns since the epoch.
        at: i64,
    },
    /// A client's id that made an order which is no longer kept.
    Used {
        /// The client's id.
        client_order_id: String,
        /// The order's.
        order_id: OrderId,
    },
    /// All of a paper account, as it is now.
    Paper {
        /// [`super::paper::account::AccountState`].
        state: serde_json::Value,
    },
    /// The kill switch.
    Halt {
        /// Engaged, or released.
        is_engaged: bool,
        /// Who did it.
        by: String,
        /// When, ns since the epoch.
        at: i64,
    },
}

/// Why a journal can't be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file can't be read or written.
    #[error("the order journal {path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error("the order journal {path} is used by another process")]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// It is no journal, or of another version.
    #[error("{path} is not an order journal of this version")]
    NotOurs {
        /// Where.
        path: PathBuf,
    },
    /// An entry before the end can't be read.
    #[error(
        "the order journal {path} is damaged at byte {at} ({reason}); nothing is traded on this \
         account until it is repaired from a backup or moved away: then open orders are adopted \
         from the exchange, and client order ids used before are forgotten"
    )]
    Damaged {
        /// Where.
        path: PathBuf,
        /// Offset of the entry.
        at: u64,
        /// What is wrong.
        reason: String,
    },
    /// A write failed before and the file could not be put right.
    #[error("the order journal {path} could not be written before; restart to read it again")]
    Broken {
        /// Where.
        path: PathBuf,
    },
}

/// What a journal held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The last state of each order.
    pub orders: BTreeMap<OrderId, Order>,
    /// Executions, oldest first.
    pub fills: VecDeque<Fill>,
    /// Client ids of orders that are no longer kept.
    pub used: BTreeMap<String, OrderId>,
    /// The kill switch is engaged: by whom.
    pub halted_by: Option<String>,
    /// The last state of a paper account.
    pub paper: Option<serde_json::Value>,
    /// Bytes of an incomplete last entry that were cut off.
    pub cut_off: u64,
}

impl Replayed {
    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Order(order) => {
                self.orders.insert(order.id, *order);
            }
            Entry::Fill(fill) => self.fills.push_back(*fill),
            Entry::Cancel { order_id, at } => {
                if let Some(order) = self.orders.get_mut(&order_id) {
                    order.is_cancel_asked = true;
                    order.updated_at = order.updated_at.max(TsNanos(at));
                }
            }
            // What came of it is asked of the exchange.
            Entry::Amend { .. } => {}
            Entry::Used {
                client_order_id,
                order_id,
            } => {
                self.used.insert(client_order_id, order_id);
            }
            Entry::Paper { state } => self.paper = Some(state),
            Entry::Halt { is_engaged, by, .. } => {
                self.halted_by = is_engaged.then_some(by);
            }
        }
    }

    /// Forgets all but the newest orders that are over, and fills of forgotten orders; their client
    /// ids are kept.
    pub fn forget(&mut self, final_max: usize) {
        let over: Vec<OrderId> = self
            .orders
            .values()
            .filter(|order| order.status.is_final())
            .map(|order| order.id)
            .collect();
        for id in over.iter().take(over.len().saturating_sub(final_max)) {
            let Some(order) = self.orders.remove(id) else {
                continue;
            };
            if let Some(client) = &order.asked().client_order_id {
                self.used.insert(client.clone(), *id);
            }
        }
        self.fills
            .retain(|fill| self.orders.contains_key(&fill.order_id));
    }
}

/// An open journal. One process has it at a time.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Sink,
    /// The file that is about to take the name, while it does.
    next: Option<Sink>,
    is_broken: bool,
    /// It is written anew when it is longer.
    compact_bytes: u64,
    /// As in [`Journal::open`].
    limits: Limits,
    buffer: Vec<u8>,
}

/// When a journal is written anew, and what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A file of more bytes is written anew.
    pub compact_bytes: u64,
    /// So many orders that are over are kept.
    pub final_max: usize,
}

/// A file that entries are appended to.
#[derive(Debug)]
struct Sink {
    file: File,
    /// Bytes of whole entries.
    length: u64,
}

impl Sink {
    /// Appends, or leaves the file as it was; the error says whether that could be done.
    fn append(&mut self, bytes: &[u8]) -> Result<(), (io::Error, bool)> {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            // Part of it may be there. What comes next must not follow half an entry.
            Err(source) => Err((source, self.cut(self.length).is_ok())),
        }
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.seek(SeekFrom::Start(length))?;
        self.length = length;
        Ok(())
    }
}

impl Journal {
    /// Opens or makes a journal and reads what it holds. A file that has grown too long is written
    /// anew.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(path: &Path, limits: Limits) -> Result<(Self, Replayed), JournalError> {
        let io = |source| JournalError::Io {
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let mut file = open_locked(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let (mut replayed, length) = read(path, &bytes)?;
        drop(bytes);
        replayed.forget(limits.final_max);
        let mut journal = Self {
            path: path.to_owned(),
            file: Sink { file, length },
            next: None,
            is_broken: false,
            compact_bytes: limits.compact_bytes,
            limits,
            buffer: Vec::new(),
        };
        if length == 0 {
            journal.file.cut(0).map_err(io)?;
            journal.file.append(MAGIC).map_err(|(e, _)| io(e))?;
        } else if length > limits.compact_bytes {
            let fresh = compaction::write(path, &replayed).map_err(io)?;
            compaction::name(path).map_err(io)?;
            journal.file = fresh;
            journal.wait_for_more();
        } else {
            journal.file.cut(length).map_err(io)?;
        }
        journal.file.file.sync_all().map_err(io)?;
        Ok((journal, replayed))
    }

    /// Appends an entry. It survives the death of the process once this returns, and that of the
    /// machine after [`Journal::sync`].
    ///
    /// # Errors
    /// [`JournalError::Io`]; the entry is not in the file then, and what was to be done must not be.
    pub fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        self.append_all(std::slice::from_ref(entry))
    }

    /// Appends entries in one write: the death of the process keeps all of them or none.
    ///
    /// # Errors
    /// As [`Journal::append`]; none of them is in the file then.
    pub fn append_all(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        if self.is_broken {
            return Err(JournalError::Broken {
                path: self.path.clone(),
            });
        }
        self.buffer.clear();
        let framed = entries
            .iter()
            .try_for_each(|entry| frame(&mut self.buffer, entry));
        let io = |source| JournalError::Io {
            path: self.path.clone(),
            source,
        };
        framed.map_err(io)?;
        let before = self.file.length;
        let written = self.file.append(&self.buffer);
        // Either file may be the one that is read again: an entry is in both or in none.
        let written = match (written, &mut self.next) {
            (Ok(()), Some(next)) => next.append(&self.buffer).map_err(|(source, is_right)| {
                let is_right = self.file.cut(before).is_ok() && is_right;
                (source, is_right)
            }),
            (written, _) => written,
        };
        written.map_err(|(source, is_right)| {
            self.is_broken = !is_right;
            io(source)
        })
    }

    /// Returns when all entries are on the disk. Blocks.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn sync(&self) -> Result<(), JournalError> {
        self.handle()?.sync().map_err(|source| JournalError::Io {
            path: self.path.clone(),
            source,
        })
    }

    /// Another handle of what is written to, for a thread that syncs.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn handle(&self) -> Result<Handle, JournalError> {
        let sinks = [Some(&self.file), self.next.as_ref()];
        let clones = sinks
            .into_iter()
            .flatten()
            .map(|sink| sink.file.try_clone());
        let files: io::Result<Vec<File>> = clones.collect();
        files.map(Handle).map_err(|source| JournalError::Io {
            path: self.path.clone(),
            source,
        })
    }

    /// Bytes of the file.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.file.length
    }
}

/// A journal as a thread has it that brings it to the disk.
#[derive(Debug)]
pub struct Handle(Vec<File>);

impl Handle {
    /// Returns when all entries that were appended before the handle was made are on the disk. Blocks.
    ///
    /// # Errors
    /// The disk's.
    pub fn sync(&self) -> io::Result<()> {
        self.0.iter().try_for_each(File::sync_data)
    }
}

fn open_locked(path: &Path) -> Result<File, JournalError> {
    let io = |source| JournalError::Io {
        path: path.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    only_ours(&mut options);
    let file = options.open(path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Orders are nobody else's business.
fn only_ours(options: &mut OpenOptions) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    #[cfg(not(unix))]
    let _ = options;
}

fn frame(out: &mut Vec<u8>, entry: &Entry) -> io::Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    serde_json::to_writer(&mut *out, entry)?;
    let text = &out[start + HEAD..];
    let length = u32::try_from(text.len())
        .ok()
        .filter(|length| *length <= ENTRY_MAX)
        .ok_or_else(|| io::Error::other("an entry is too long"))?;
    let crc = crc32fast::hash(text);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + HEAD].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// The entries of a file's bytes, and where the last whole one ends.
fn read(path: &Path, bytes: &[u8]) -> Result<(Replayed, u64), JournalError> {
    let mut replayed = Replayed::default();
    if bytes.len() < MAGIC.len() {
        // A start that was killed before the first write was through.
        if MAGIC.starts_with(bytes) {
            return Ok((replayed, 0));
        }
        return Err(JournalError::NotOurs {
            path: path.to_owned(),
        });
    }
    if !bytes.starts_with(MAGIC) {
        return Err(JournalError::NotOurs {
            path: path.to_owned(),
        });
    }
    let damaged = |at: usize, reason: String| JournalError::Damaged {
        path: path.to_owned(),
        at: at as u64,
        reason,
    };
    let mut at = MAGIC.len();
    while at < bytes.len() {
        let rest = &bytes[at..];
        let Some((head, rest)) = rest.split_first_chunk::<HEAD>() else {
            break;
        };
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if length > ENTRY_MAX {
            return Err(damaged(at, format!("an entry of {length} bytes")));
        }
        let Some(text) = rest.get(..length as usize) else {
            break;
        };
        if crc32fast::hash(text) != crc {
            // A machine that died may have kept the length and lost the text.
            if at + HEAD + text.len() == bytes.len() {
                break;
            }
            return Err(damaged(at, "wrong checksum".to_owned()));
        }
        let entry = serde_json::from_slice(text).map_err(|error| damaged(at, error.to_string()))?;
        replayed.take(entry);
        at += HEAD + text.len();
    }
    replayed.cut_off = (bytes.len() - at) as u64;
    Ok((replayed, at as u64))
}

#[path = "compaction.rs"]
pub mod compaction;

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
