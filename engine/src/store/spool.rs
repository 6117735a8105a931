//! Rows that the store can't take now, on disk, in order: a folder of append-only segments.
//!
//! A frame is one batch: length, CRC-32, when it was written, how many rows, the rows
//! (`codec.rs`). Frames are read from the front and forgotten once the store has them; a segment
//! that is read to its end is deleted. What a killed process had not finished writing is an
//! incomplete frame at the end of a segment and left out; a frame whose checksum is wrong has its
//! segment set aside under another name, for somebody to look at, and counted.
//!
//! Reading a frame again after a restart writes its rows to the store again, which changes nothing:
//! rows are idempotent, and nothing newer reaches the store before the spool is empty.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Row, codec};
use crate::time::TsNanos;

/// Bytes before a frame's rows: length and checksum (4 each), time (8), number of rows (4). The
/// checksum is of all after it, the length of the rows alone.
const HEAD: usize = 20;
/// Largest frame that is believed: a damaged length must not reserve the memory of the machine.
const FRAME_MAX: u32 = 1 << 30;
/// Rows of a frame at most.
const FRAME_ROWS: usize = 4_096;
/// Number of a new spool's first segment: there is room for segments before it.
const FIRST: u64 = 1 << 32;
const SUFFIX: &str = "spool";

/// Where the spool is and how large it may become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolOptions {
    /// The folder; made when missing. It belongs to one process.
    pub dir: PathBuf,
    /// Bytes of all segments together.
    pub bytes_max: u64,
    /// Bytes after which a new segment is begun.
    pub segment_bytes: u64,
}

impl SpoolOptions {
    /// 4 GiB in segments of 64 MiB.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            bytes_max: 4 << 30,
            segment_bytes: 64 << 20,
        }
    }
}

/// Why the spool could not do it. The text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// It has its largest size.
    #[error(
        "the spool `{}` is full ({bytes_max} bytes): make the store reachable, or raise \
         store.spool_bytes_max", dir.display()
    )]
    Full {
        /// The folder.
        dir: PathBuf,
        /// Its largest size.
        bytes_max: u64,
    },
    /// Another process uses the folder.
    #[error(
        "the spool `{}` is in use by another process: stop the other bookwire that uses this data \
         directory, or give this one its own with --data-dir", dir.display()
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// The system refuses.
    #[error(
        "can't {operation} `{}`: {source}; see to space, quota, largest file size (`ulimit \
         -f`) and write permission there, or set server.data_dir to another place", path.display()
    )]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// What is in the spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolUse {
    /// Bytes on disk.
    pub bytes: u64,
    /// Rows that wait.
    pub rows: u64,
    /// When the oldest of them was written; `None`: nothing waits.
    pub oldest: Option<TsNanos>,
    /// Segments set aside because they were damaged, since the start.
    pub damaged: u64,
}

/// A batch that was read from the front of the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When it was written.
    pub at: TsNanos,
    /// Its rows.
    pub rows: Vec<Row>,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    /// Bytes of whole frames.
    bytes: u64,
    rows: u64,
    /// Something that is no frame follows, and other segments after it: damage, not the end of a
    /// killed process.
    is_damaged: bool,
}

/// What the head of a frame says.
#[derive(Clone, Copy, Debug)]
struct Head {
    size: u32,
    crc: u32,
    at: TsNanos,
    rows: u32,
}

impl Head {
    fn of(bytes: [u8; HEAD]) -> Self {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let at = u64::from(word(8)) | u64::from(word(12)) << 32;
        Self {
            size: word(0),
            crc: word(4),
            at: TsNanos(at.cast_signed()),
            rows: word(16),
        }
    }

    const fn frame_bytes(self) -> u64 {
        HEAD as u64 + self.size as u64
    }
}

/// The spool. See the module's text.
#[derive(Debug)]
pub struct Spool {
    options: SpoolOptions,
    segments: VecDeque<Segment>,
    /// The last segment, when it is being written.
    writer: Option<File>,
    /// The first segment, when it is being read.
    reader: Option<File>,
    /// Bytes of the first segment that the store has.
    done: u64,
    /// The frame that was read last and is not in the store yet.
    current: Option<Head>,
    /// When the oldest waiting frame was written, as far as it is known.
    oldest: Option<TsNanos>,
    is_dirty: bool,
    damaged: u64,
    buffer: Vec<u8>,
    _lock: File,
}

impl Spool {
    /// Opens a folder and finds what an earlier run left there.
    ///
    /// # Errors
    /// [`SpoolError::Locked`] and [`SpoolError::Io`].
    pub fn open(options: SpoolOptions) -> Result<Self, SpoolError> {
        let dir = &options.dir;
        std::fs::create_dir_all(dir).map_err(|source| io(dir, "make", source))?;
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(|source| io(&path, "make", source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(SpoolError::Locked { dir: dir.clone() });
            }
            Err(TryLockError::Error(source)) => return Err(io(&path, "lock", source)),
        }
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(|source| io(dir, "list", source))? {
            let entry = entry.map_err(|source| io(dir, "list", source))?;
            let name = entry.file_name();
            let number: Option<u64> = Path::new(&name)
                .extension()
                .filter(|suffix| *suffix == SUFFIX)
                .and_then(|_| Path::new(&name).file_stem()?.to_str()?.parse().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        let mut spool = Self {
            options,
            segments: VecDeque::new(),
            writer: None,
            reader: None,
            done: 0,
            current: None,
            oldest: None,
            is_dirty: false,
            damaged: 0,
            buffer: Vec::new(),
            _lock: lock,
        };
        for number in numbers {
            let found = spool.measure(number)?;
            spool.segments.push_back(found);
        }
        if let Some(last) = spool.segments.back_mut() {
            last.is_damaged = false;
        }
        spool.oldest = spool.peek()?.map(|head| head.at);
        Ok(spool)
    }

    /// The whole frames of a segment.
    fn measure(&self, number: u64) -> Result<Segment, SpoolError> {
        let path = self.path(number);
        let fail = |source| io(&path, "read", source);
        let mut file = File::open(&path).map_err(fail)?;
        let size = file.metadata().map_err(fail)?.len();
        let mut found = Segment {
            number,
            bytes: 0,
            rows: 0,
            is_damaged: false,
        };
        while let Some(head) = read_head(&mut file, found.bytes).map_err(fail)? {
            let end = found.bytes + head.frame_bytes();
            if head.size > FRAME_MAX || end > size {
                break;
            }
            found.bytes = end;
            found.rows += u64::from(head.rows);
        }
        found.is_damaged = found.bytes < size;
        Ok(found)
    }

    /// True when nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// What is in it.
    #[must_use]
    pub fn usage(&self) -> SpoolUse {
        SpoolUse {
            bytes: self.segments.iter().map(|segment| segment.bytes).sum(),
            rows: self.segments.iter().map(|segment| segment.rows).sum(),
            oldest: self.oldest,
            damaged: self.damaged,
        }
    }

    /// Appends a batch; `at` is now. It survives the death of the process when this returns, and a
    /// loss of power after the next [`Self::sync`].
    ///
    /// # Errors
    /// [`SpoolError`]; nothing of the batch is in the spool then.
    pub fn append(&mut self, rows: &[Row], at: TsNanos) -> Result<(), SpoolError> {
        self.append_up_to(rows, at, self.options.bytes_max)
    }

    /// [`Self::append`] of few and precious rows: it may use a quarter more than the largest size.
    ///
    /// # Errors
    /// As there.
    pub fn append_reserved(&mut self, rows: &[Row], at: TsNanos) -> Result<(), SpoolError> {
        let bytes_max = self.options.bytes_max;
        self.append_up_to(rows, at, bytes_max.saturating_add(bytes_max / 4))
    }

    fn append_up_to(
        &mut self,
        rows: &[Row],
        at: TsNanos,
        bytes_max: u64,
    ) -> Result<(), SpoolError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        frames(rows, at, &mut buffer);
        let result = self.append_frame(&buffer, rows.len() as u64, bytes_max);
        buffer.clear();
        // A single huge batch must not hold its memory for good.
        buffer.shrink_to(4 << 20);
        self.buffer = buffer;
        if result.is_ok() {
            self.oldest.get_or_insert(at);
        }
        result
    }

    fn append_frame(&mut self, frame: &[u8], rows: u64, bytes_max: u64) -> Result<(), SpoolError> {
        let size = frame.len() as u64;
        if self.usage().bytes + size > bytes_max {
            return Err(SpoolError::Full {
                dir: self.options.dir.clone(),
                bytes_max: self.options.bytes_max,
            });
        }
        let is_full = self
            .segments
            .back()
            .is_some_and(|last| last.bytes >= self.options.segment_bytes);
        if is_full {
            self.sync()?;
            self.writer = None;
        }
        let (file, number, is_new) = match (self.writer.take(), self.segments.back()) {
            (Some(file), Some(last)) => (file, last.number, false),
            (_, last) => {
                let number = last.map_or(FIRST, |last| last.number + 1);
                (self.create(number)?, number, true)
            }
        };
        let mut file = file;
        if let Err(source) = file.write_all(frame) {
            // What was written of it must not stay: the next frame would follow a torn one.
            let good = match self.segments.back() {
                Some(last) if !is_new => last.bytes,
                _ => 0,
            };
            if file.set_len(good).is_ok() && file.seek(SeekFrom::Start(good)).is_ok() && !is_new {
                self.writer = Some(file);
            } else if is_new {
                // Best effort: an empty segment is skipped.
                let _ = std::fs::remove_file(self.path(number));
            }
            return Err(io(&self.path(number), "write", source));
        }
        self.writer = Some(file);
        self.is_dirty = true;
        if is_new {
            self.segments.push_back(Segment {
                number,
                bytes: 0,
                rows: 0,
                is_damaged: false,
            });
        }
        if let Some(last) = self.segments.back_mut() {
            last.bytes += size;
            last.rows += rows;
        }
        Ok(())
    }

    /// Puts batches before all that waits: they were handed over earlier and could not be written.
    /// Not while a frame that was read is still to be [`Self::consumed`].
    ///
    /// # Errors
    /// [`SpoolError`]; nothing of the batches is in the spool then.
    pub fn prepend(&mut self, batches: &[&[Row]], at: TsNanos) -> Result<(), SpoolError> {
        let mut bytes = Vec::new();
        let mut rows = 0u64;
        for batch in batches {
            frames(batch, at, &mut bytes);
            rows += batch.len() as u64;
        }
        if rows == 0 {
            return Ok(());
        }
        if self.segments.is_empty() {
            // No look at the largest size: these rows are in memory and nowhere else.
            self.append_frame(&bytes, rows, u64::MAX)?;
            self.oldest = Some(at);
            return Ok(());
        }
        let number = self
            .segments
            .front()
            .map_or(FIRST, |first| first.number.saturating_sub(1));
        let mut file = self.create(number)?;
        if let Err(source) = file.write_all(&bytes).and_then(|()| file.sync_data()) {
            let _ = std::fs::remove_file(self.path(number));
            return Err(io(&self.path(number), "write", source));
        }
        // The part of the first segment that the store has is read again later: harmless.
        self.done = 0;
        self.reader = None;
        self.current = None;
        self.segments.push_front(Segment {
            number,
            bytes: bytes.len() as u64,
            rows,
            is_damaged: false,
        });
        self.oldest = Some(at);
        Ok(())
    }

    /// The batch at the front, which stays there until [`Self::consumed`]; `None`: nothing waits.
    ///
    /// # Errors
    /// [`SpoolError::Io`].
    pub fn front(&mut self) -> Result<Option<Frame>, SpoolError> {
        while let Some(head) = self.peek()? {
            let number = self.segments.front().map_or(FIRST, |first| first.number);
            let path = self.path(number);
            let mut body = vec![0; head.size as usize];
            let Some(file) = &mut self.reader else {
                return Ok(None);
            };
            file.read_exact(&mut body)
                .map_err(|source| io(&path, "read", source))?;
            let rows = (head.crc == checksum(head.at, head.rows, &body))
                .then(|| codec::decode(&body))
                .flatten();
            if let Some(rows) = rows {
                self.current = Some(head);
                self.oldest = Some(head.at);
                return Ok(Some(Frame { at: head.at, rows }));
            }
            self.set_aside()?;
        }
        self.oldest = None;
        Ok(None)
    }

    /// The store has the batch of the last [`Self::front`].
    ///
    /// # Errors
    /// [`SpoolError::Io`] when a segment that is done can't be deleted; it would be read again.
    pub fn consumed(&mut self) -> Result<(), SpoolError> {
        let (Some(head), Some(first)) = (self.current.take(), self.segments.front_mut()) else {
            return Ok(());
        };
        self.done += head.frame_bytes();
        first.rows = first.rows.saturating_sub(u64::from(head.rows));
        if self.done >= first.bytes {
            self.drop_first()?;
        }
        if self.segments.is_empty() {
            self.oldest = None;
        }
        Ok(())
    }

    /// Makes what was appended safe against a loss of power.
    ///
    /// # Errors
    /// [`SpoolError::Io`].
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        if let (true, Some(file)) = (self.is_dirty, &self.writer) {
            file.sync_data()
                .map_err(|source| io(&self.options.dir, "sync", source))?;
            self.is_dirty = false;
        }
        Ok(())
    }

    /// The head of the first frame, with the reader just behind it.
    fn peek(&mut self) -> Result<Option<Head>, SpoolError> {
        loop {
            let Some(first) = self.segments.front() else {
                return Ok(None);
            };
            if self.done >= first.bytes {
                self.drop_first()?;
                continue;
            }
            let (path, done) = (self.path(first.number), self.done);
            let fail = |source| io(&path, "read", source);
            let file = match self.reader.take() {
                Some(file) => file,
                None => File::open(&path).map_err(fail)?,
            };
            let file = self.reader.insert(file);
            // Whole frames up to `bytes` have been seen: there is one here.
            return read_head(file, done).map_err(fail);
        }
    }

    fn drop_first(&mut self) -> Result<(), SpoolError> {
        if self.segments.front().is_some_and(|first| first.is_damaged) {
            return self.set_aside();
        }
        let Some(first) = self.forget_first() else {
            return Ok(());
        };
        let path = self.path(first.number);
        std::fs::remove_file(&path).map_err(|source| io(&path, "delete", source))
    }

    fn forget_first(&mut self) -> Option<Segment> {
        let first = self.segments.pop_front()?;
        self.reader = None;
        self.current = None;
        self.done = 0;
        if self.segments.is_empty() {
            self.writer = None;
            self.is_dirty = false;
        }
        Some(first)
    }

    fn set_aside(&mut self) -> Result<(), SpoolError> {
        let Some(first) = self.forget_first() else {
            return Ok(());
        };
        self.damaged += 1;
        let path = self.path(first.number);
        std::fs::rename(&path, path.with_extension("damaged"))
            .map_err(|source| io(&path, "rename", source))
    }

    fn create(&self, number: u64) -> Result<File, SpoolError> {
        let path = self.path(number);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(|source| io(&path, "make", source))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.options.dir.join(format!("{number:020}.{SUFFIX}"))
    }
}

/// Appends the frames of a batch: one, unless it has very many rows.
fn frames(rows: &[Row], at: TsNanos, out: &mut Vec<u8>) {
    for part in rows.chunks(FRAME_ROWS) {
        frame(part, at, out);
    }
}

fn frame(rows: &[Row], at: TsNanos, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    codec::encode(rows, out);
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let body = &out[start + HEAD..];
    let crc = checksum(at, count, body);
    // Even 4,096 of the largest rows, books of 5,000 levels a side, are half of FRAME_MAX.
    let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let head = &mut out[start..start + HEAD];
    head[..4].copy_from_slice(&size.to_le_bytes());
    head[4..8].copy_from_slice(&crc.to_le_bytes());
    head[8..16].copy_from_slice(&at.0.to_le_bytes());
    head[16..].copy_from_slice(&count.to_le_bytes());
}

fn checksum(at: TsNanos, rows: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&at.0.to_le_bytes());
    hasher.update(&rows.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// The head at a place; `None` where the file ends before its end.
fn read_head(file: &mut File, at: u64) -> std::io::Result<Option<Head>> {
    file.seek(SeekFrom::Start(at))?;
    let mut head = [0; HEAD];
    match file.read_exact(&mut head) {
        Ok(()) => Ok(Some(Head::of(head))),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn io(path: &Path, operation: &'static str, source: std::io::Error) -> SpoolError {
    SpoolError::Io {
        path: path.to_owned(),
        operation,
        source,
    }
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
