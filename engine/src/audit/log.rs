//! Adding to the log: one writer at a time, whichever process it is in.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, json};
use sha2::{Digest, Sha256};

use super::{Entry, Sealed, Sealer, ZERO, hex, read, unhex};
use crate::time::TsNanos;

/// How often a taken lock is tried again, and the pause between.
const LOCK_TRIES: (u32, Duration) = (200, Duration::from_millis(10));

/// The longest line is far below it.
const TAIL: u64 = 64 << 10;

/// Why nothing could be added.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The disk.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process holds the lock for too long.
    #[error("{}: locked by another process", .0.display())]
    Locked(PathBuf),
    /// The log is sealed with a master key, and there is none here: what is added without one could have
    /// been added by anybody.
    #[error("{}: sealed with a master key that is not here", .0.display())]
    Key(PathBuf),
}

fn io_of(path: &Path) -> impl FnOnce(io::Error) -> AuditError {
    let path = path.to_owned();
    move |source| AuditError::Io { path, source }
}

/// What was found when the log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Entries that there are.
    pub entries: u64,
    /// Bytes of a line that was not written to its end; it stays, and an entry says so.
    pub incomplete_bytes: Option<u64>,
    /// The last entries are not there that the head knows of; an entry says so.
    pub missing: Option<u64>,
    /// The last line is no entry: what is added begins a new file, and an entry says so.
    pub is_damaged: bool,
}

/// The end of the log as it is on disk.
#[derive(Clone, Debug, Default)]
struct Tail {
    /// Number of the last file; 0: there is none.
    number: u64,
    length: u64,
    sealed: Option<Sealed>,
    seq: u64,
    hash: [u8; 32],
    /// Length and digest of a line without an end.
    incomplete: Option<(u64, String)>,
    /// The last entry is whole but for its end.
    has_no_end: bool,
    is_damaged: bool,
}

/// The log, open for adding.
pub struct AuditLog {
    folder: PathBuf,
    sealer: Sealer,
    file_bytes_max: u64,
    tail: Tail,
    file: Option<File>,
    /// Where the master key is looked for when another process has made one.
    find_key: Box<dyn Fn() -> Option<Sealer> + Send>,
}

/// The name of a file.
pub(super) fn file_name(number: u64) -> String {
    format!("audit-{number:06}.jsonl")
}

/// Numbers of the files that there are, in order.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let number = name
            .strip_prefix("audit-")
            .and_then(|n| n.strip_suffix(".jsonl"));
        if let Some(number) = number.and_then(|number| number.parse().ok())
            && file_name(number) == name
        {
            all.push(number);
        }
    }
    all.sort_unstable();
    Ok(all)
}

/// What the head says: number and hash of an entry; `None` when it is not there or no head of ours.
pub(super) fn read_head(text: &[u8], sealers: &[&Sealer]) -> Option<(u64, [u8; 32])> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
    let (body, mac) = text.rsplit_once(' ')?;
    let (seq, hash) = body.split_once(' ')?;
    let number = seq.parse::<u64>().ok()?;
    let (hash, mac) = (unhex(hash.as_bytes())?, unhex(mac.as_bytes())?);
    let is_ours = number.to_string() == seq
        && sealers
            .iter()
            .any(|sealer| sealer.hash(body.as_bytes()) == mac);
    is_ours.then_some((number, hash))
}

/// Name of the head.
pub(super) const HEAD: &str = "audit.head";

/// Takes the lock of a folder.
pub(super) fn lock(folder: &Path) -> Result<File, AuditError> {
    let path = folder.join("audit.lock");
    let file = private().open(&path).map_err(io_of(&path))?;
    let (tries, pause) = LOCK_TRIES;
    for _ in 0..tries {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(pause),
            Err(fs::TryLockError::Error(error)) => return Err(io_of(&path)(error)),
        }
    }
    Err(AuditError::Locked(path))
}

/// Files that nobody else may read: orders are nobody else's business.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).append(true).read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

impl AuditLog {
    /// Opens a folder's log, which is made where it is missing, and adds what is to be said about its
    /// state. `find_key` looks for the master key again when another process has sealed the log with one.
    ///
    /// # Errors
    /// [`AuditError`].
    pub fn open(
        folder: &Path,
        sealer: Sealer,
        file_bytes_max: u64,
        now: TsNanos,
        find_key: impl Fn() -> Option<Sealer> + Send + 'static,
    ) -> Result<(Self, Opened), AuditError> {
        fs::create_dir_all(folder).map_err(io_of(folder))?;
        let mut log = Self {
            folder: folder.to_owned(),
            sealer,
            file_bytes_max: file_bytes_max.max(TAIL),
            tail: Tail::default(),
            file: None,
            find_key: Box::new(find_key),
        };
        let _lock = lock(folder)?;
        let tail = log.read_tail()?;
        let mut opened = Opened {
            entries: tail.seq,
            incomplete_bytes: tail.incomplete.as_ref().map(|(bytes, _)| *bytes),
            is_damaged: tail.is_damaged,
            missing: None,
        };
        let head = fs::read(folder.join(HEAD)).unwrap_or_default();
        let plain = Sealer::plain();
        if let Some((seq, _)) = read_head(&head, &[&log.sealer, &plain])
            && seq > tail.seq
        {
            opened.missing = Some(seq - tail.seq);
        }
        log.take_over(tail, now)?;
        if let Some(missing) = opened.missing {
            let details = json!({"missing_entries": missing});
            log.write(&[own(now, "audit.truncated", details)])?;
        }
        log.sync_locked()?;
        Ok((log, opened))
    }

    /// Adds entries, in order, all or, when the disk refuses, an unknown part of them. They have not
    /// reached the disk before [`AuditLog::sync`].
    ///
    /// # Errors
    /// [`AuditError`].
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), AuditError> {
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let _lock = lock(&self.folder)?;
        self.follow(first.at)?;
        self.write(entries)
    }

    /// Everything that was added reaches the disk.
    ///
    /// # Errors
    /// [`AuditError`].
    pub fn sync(&mut self) -> Result<(), AuditError> {
        let _lock = lock(&self.folder)?;
        self.sync_locked()
    }

    /// Takes over what another process has added, and what became of a write that failed.
    fn follow(&mut self, now: TsNanos) -> Result<(), AuditError> {
        let path = self.folder.join(file_name(self.tail.number));
        let length = fs::metadata(&path).map(|data| data.len()).ok();
        let next = self.folder.join(file_name(self.tail.number + 1));
        if length == Some(self.tail.length) && self.file.is_some() && !next.exists() {
            return Ok(());
        }
        let tail = self.read_tail()?;
        self.take_over(tail, now)
    }

    /// Goes on behind what there is.
    fn take_over(&mut self, tail: Tail, now: TsNanos) -> Result<(), AuditError> {
        self.file = None;
        self.tail = tail;
        let key = self.tail.sealed.as_ref().map(|sealed| sealed.key.clone());
        let key = key.unwrap_or_default();
        if !key.is_empty() && key != self.sealer.id {
            if let Some(found) = (self.find_key)() {
                self.sealer = found;
            }
            if self.sealer.id.is_empty() {
                return Err(AuditError::Key(self.folder.clone()));
            }
        }
        let is_same = self.tail.sealed.is_some() && key == self.sealer.id;
        if std::mem::take(&mut self.tail.has_no_end) {
            self.open_file()?;
            self.put(b"\n")?;
        }
        if self.tail.number == 0 || self.tail.is_damaged || !is_same {
            return self.rotate(now);
        }
        self.open_file()?;
        if let Some((bytes, digest)) = self.tail.incomplete.take() {
            let entry = own(now, "audit.recovered", incomplete(bytes, &digest));
            let mut lines = b"\n".to_vec();
            lines.extend_from_slice(&self.seal(&[entry]));
            self.put(&lines)?;
        }
        Ok(())
    }

    fn open_file(&mut self) -> Result<(), AuditError> {
        let path = self.folder.join(file_name(self.tail.number));
        let file = private().open(&path).map_err(io_of(&path))?;
        self.tail.length = file.metadata().map_err(io_of(&path))?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Begins the next file.
    fn rotate(&mut self, now: TsNanos) -> Result<(), AuditError> {
        if self.file.is_some() {
            self.sync_locked()?;
        }
        self.tail.number += 1;
        self.open_file()?;
        let number = self.tail.number;
        self.tail.sealed = Some(Sealed {
            number,
            key: self.sealer.id.clone(),
        });
        let mut details = json!({
            "file": number,
            "key": self.sealer.id,
            "hash": match self.sealer.key { Some(_) => "hmac-sha256", None => "sha256" },
        });
        if std::mem::take(&mut self.tail.is_damaged) {
            details["after_damage"] = true.into();
        }
        if let Some((bytes, digest)) = self.tail.incomplete.take()
            && let Some(details) = details.as_object_mut()
            && let serde_json::Value::Object(more) = incomplete(bytes, &digest)
        {
            details.extend(more);
        }
        let lines = self.seal(&[own(now, "audit.file", details)]);
        self.put(&lines)?;
        crate::vault::file::sync_folder(&self.folder);
        Ok(())
    }

    /// Lines of entries; the chain has moved on.
    fn seal(&mut self, entries: &[Entry]) -> Vec<u8> {
        let mut all = Vec::new();
        for entry in entries {
            self.tail.seq += 1;
            let (line, hash) = self.sealer.line(entry, self.tail.seq, &self.tail.hash);
            self.tail.hash = hash;
            all.extend_from_slice(&line);
        }
        all
    }

    fn write(&mut self, entries: &[Entry]) -> Result<(), AuditError> {
        if let Some(first) = entries.first()
            && self.tail.length >= self.file_bytes_max
        {
            self.rotate(first.at)?;
        }
        let lines = self.seal(entries);
        self.put(&lines)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), AuditError> {
        let path = self.folder.join(file_name(self.tail.number));
        let result = match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Err(io::Error::other("not open")),
        };
        match result {
            Ok(()) => {
                self.tail.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // What is there now is looked at before anything else is added.
                self.file = None;
                Err(io_of(&path)(error))
            }
        }
    }

    fn sync_locked(&mut self) -> Result<(), AuditError> {
        let path = self.folder.join(file_name(self.tail.number));
        if let Some(file) = &self.file {
            file.sync_data().map_err(io_of(&path))?;
        }
        let body = format!("{} {}", self.tail.seq, hex(&self.tail.hash));
        let mac = hex(&self.sealer.hash(body.as_bytes()));
        let (new, head) = (self.folder.join("audit.head.new"), self.folder.join(HEAD));
        fs::write(&new, format!("{body} {mac}\n")).map_err(io_of(&new))?;
        fs::rename(&new, &head).map_err(io_of(&head))
    }

    /// The end of the log: of the last file that has a whole line.
    fn read_tail(&self) -> Result<Tail, AuditError> {
        let numbers = numbers(&self.folder).map_err(io_of(&self.folder))?;
        let mut tail = Tail::default();
        for (at, number) in numbers.iter().rev().enumerate() {
            let path = self.folder.join(file_name(*number));
            let (first, end, length) = ends(&path).map_err(io_of(&path))?;
            let cut = end
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            let (whole, rest) = end.split_at(cut);
            if at == 0 {
                (tail.number, tail.length) = (*number, length);
                tail.incomplete =
                    (!rest.is_empty()).then(|| (rest.len() as u64, hex(&Sha256::digest(rest))));
            }
            if at == 0
                && let Some(line) = read(rest)
            {
                let first = if whole.is_empty() { rest } else { &first };
                tail.sealed = read(first).as_ref().and_then(Sealed::of);
                (tail.seq, tail.hash) = (line.seq, line.hash);
                (tail.incomplete, tail.has_no_end) = (None, true);
                break;
            }
            let Some(whole) = whole.strip_suffix(b"\n") else {
                continue;
            };
            if at == 0 {
                tail.sealed = read(&first).as_ref().and_then(Sealed::of);
            }
            let start = whole
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            match read(&whole[start..]) {
                Some(line) => (tail.seq, tail.hash) = (line.seq, line.hash),
                None => {
                    // Numbers go on behind the last that is known to have been there.
                    let head = fs::read(self.folder.join(HEAD)).unwrap_or_default();
                    let head = read_head(&head, &[&self.sealer, &Sealer::plain()]);
                    tail.seq = head.map_or(0, |(seq, _)| seq);
                    (tail.is_damaged, tail.hash) = (true, ZERO);
                }
            }
            break;
        }
        Ok(tail)
    }
}

/// First line, last bytes and length of a file.
fn ends(path: &Path) -> io::Result<(Vec<u8>, Vec<u8>, u64)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut first = Vec::new();
    Read::by_ref(&mut file).take(TAIL).read_to_end(&mut first)?;
    let end = first.iter().position(|byte| *byte == b'\n');
    first.truncate(end.unwrap_or(0));
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut last = Vec::new();
    file.take(TAIL).read_to_end(&mut last)?;
    Ok((first, last, length))
}

fn own(now: TsNanos, action: &str, details: serde_json::Value) -> Entry {
    let details = match details {
        serde_json::Value::Object(details) => details,
        _ => Map::new(),
    };
    Entry::own(now, action, details)
}

/// What is said of a line that was not written to its end.
fn incomplete(bytes: u64, digest: &str) -> serde_json::Value {
    json!({"incomplete_bytes": bytes, "sha256": digest})
}
