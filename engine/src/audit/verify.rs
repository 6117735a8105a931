//! Looking at the whole log: is every entry there, in its place, as it was written?

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::log::{AuditError, HEAD, file_name, lock, numbers, read_head};
use super::{Line, Sealed, Sealer, ZERO, hex, read};

/// The longest line is far below it.
const LINE_MAX: u64 = 1 << 20;

/// Where the log is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Name of the file.
    pub file: String,
    /// From 1; 0: the file as a whole.
    pub line: u64,
    /// What is wrong.
    pub why: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Files.
    pub files: u64,
    /// Entries that are as they were written.
    pub entries: u64,
    /// Of these, sealed with a master key.
    pub keyed: u64,
    /// Worth knowing, and nothing broken.
    pub notes: Vec<String>,
    /// The first place that is broken; what follows was not looked at.
    pub broken: Option<Broken>,
}

/// What is known on the way.
struct Walk<'a> {
    sealer: &'a Sealer,
    report: Report,
    seq: u64,
    prev: [u8; 32],
    head: Option<(u64, [u8; 32])>,
    is_head_seen: bool,
    is_head_keyed: bool,
    /// The file's way of sealing.
    sealed: Option<Sealed>,
    was_keyed: bool,
    /// Bytes that are no entry: the next entry has to say so.
    incomplete: Option<(Broken, u64, String)>,
}

/// Looks at the log in a folder. `is_partial`: older files have been taken elsewhere.
///
/// # Errors
/// The disk, or a lock that another process does not let go.
pub fn verify(folder: &Path, sealer: &Sealer, is_partial: bool) -> Result<Report, AuditError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| AuditError::Io { path, source }
    };
    // What is added from now on is not looked at.
    let (files, head) = {
        let _lock = lock(folder)?;
        let mut files = Vec::new();
        for number in numbers(folder).map_err(io(folder))? {
            let path = folder.join(file_name(number));
            let length = fs::metadata(&path).map_err(io(&path))?.len();
            files.push((number, path, length));
        }
        (files, fs::read(folder.join(HEAD)).unwrap_or_default())
    };
    let plain = Sealer::plain();
    let keyed_head = read_head(&head, &[sealer]);
    let mut walk = Walk {
        sealer,
        report: Report::default(),
        seq: 0,
        prev: ZERO,
        head: keyed_head.or_else(|| read_head(&head, &[&plain])),
        is_head_keyed: keyed_head.is_some() && !sealer.id.is_empty(),
        is_head_seen: false,
        sealed: None,
        was_keyed: false,
        incomplete: None,
    };
    let mut expected = 1;
    for (number, path, length) in &files {
        let file = File::open(path).map_err(io(path))?;
        let is_first = walk.report.files == 0;
        if *number != expected && !(is_first && is_partial) {
            let why = match is_first {
                true => "files before it are not there".to_owned(),
                false => format!("{} is not there", file_name(expected)),
            };
            walk.broken(*number, 0, why);
            break;
        }
        walk.report.files += 1;
        expected = number + 1;
        let mut reader = BufReader::new(file.take(*length));
        walk.file(*number, &mut reader, is_first && is_partial)
            .map_err(io(path))?;
        if walk.report.broken.is_some() {
            break;
        }
    }
    let last = files.last().map_or(0, |(number, _, _)| *number);
    Ok(walk.end(last, is_partial))
}

impl Walk<'_> {
    fn broken(&mut self, file: u64, line: u64, why: impl Into<String>) {
        let broken = Broken {
            file: file_name(file),
            line,
            why: why.into(),
        };
        self.report.broken.get_or_insert(broken);
    }

    fn file(&mut self, number: u64, reader: &mut impl BufRead, is_start: bool) -> io::Result<()> {
        self.sealed = None;
        let mut line = Vec::new();
        for at in 1.. {
            line.clear();
            let read_bytes = reader
                .by_ref()
                .take(LINE_MAX)
                .read_until(b'\n', &mut line)?;
            if read_bytes == 0 {
                break;
            }
            let whole = line.strip_suffix(b"\n");
            match whole.and_then(read) {
                Some(entry) => self.entry(number, at, &entry, is_start && at == 1),
                None => self.garbage(number, at, whole.unwrap_or(&line), whole.is_some()),
            }
            if self.report.broken.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Bytes that are no entry. A crash leaves such, and what is written next says so.
    fn garbage(&mut self, file: u64, line: u64, bytes: &[u8], has_end: bool) {
        let why = match has_end {
            true => "the line is no entry",
            false => "the line has no end: a crash cut it off, or it was cut off",
        };
        let broken = Broken {
            file: file_name(file),
            line,
            why: why.to_owned(),
        };
        if self.incomplete.is_some() {
            self.report.broken.get_or_insert(broken);
            return;
        }
        let digest = hex(&Sha256::digest(bytes));
        self.incomplete = Some((broken, bytes.len() as u64, digest));
    }

    fn entry(&mut self, file: u64, at: u64, line: &Line<'_>, is_start: bool) {
        if let Some((broken, bytes, digest)) = self.incomplete.take() {
            let told = |name: &str| line.details.get(name);
            let is_told = told("incomplete_bytes").and_then(Value::as_u64) == Some(bytes)
                && told("sha256").and_then(Value::as_str) == Some(digest.as_str());
            if !is_told {
                self.report.broken.get_or_insert(broken);
                return;
            }
            let note = format!(
                "{} line {}: {bytes} bytes of an entry that a crash cut off, told by entry {}",
                broken.file, broken.line, line.seq
            );
            self.report.notes.push(note);
        }
        if at == 1 {
            let Some(sealed) = Sealed::of(line).filter(|sealed| sealed.number == file) else {
                return self.broken(
                    file,
                    at,
                    "a file begins with an entry audit.file of its number",
                );
            };
            if is_start && line.seq > 1 {
                let note = format!("begins with entry {}: what is older is elsewhere", line.seq);
                self.report.notes.push(note);
                (self.seq, self.prev) = (line.seq - 1, line.prev);
            }
            self.sealed = Some(sealed);
        }
        let key = self.sealed.as_ref().map(|sealed| sealed.key.clone());
        let key = key.unwrap_or_default();
        let hash = match key.as_str() {
            "" if self.was_keyed => {
                return self.broken(file, at, "entries before it are sealed with a master key");
            }
            "" => Sealer::plain().hash(line.body),
            key if key == self.sealer.id => self.sealer.hash(line.body),
            key => {
                let why = format!("sealed with the master key {key}, which is not here");
                return self.broken(file, at, why);
            }
        };
        let expected = self.seq + 1;
        if hash != line.hash {
            return self.broken(file, at, "the entry was changed");
        }
        if line.seq > expected {
            let why = match line.seq - expected {
                1 => format!("entry {expected} is missing before it"),
                _ => format!(
                    "entries {expected} to {} are missing before it",
                    line.seq - 1
                ),
            };
            return self.broken(file, at, why);
        }
        if line.seq < expected {
            let why = format!("entry {} stands where entry {expected} should", line.seq);
            return self.broken(file, at, why);
        }
        if line.prev != self.prev {
            return self.broken(
                file,
                at,
                "the entry before it is not the one that was there",
            );
        }
        if line.action == "audit.truncated" {
            let missing = line.details.get("missing_entries").and_then(Value::as_u64);
            let missing = missing.unwrap_or_default();
            let why = format!("{missing} entries before it were cut off, as was found at a start");
            return self.broken(file, at, why);
        }
        if line.details.contains_key("after_damage") {
            return self.broken(
                file,
                at,
                "the file before it was damaged, as was found at a start",
            );
        }
        (self.seq, self.prev) = (line.seq, line.hash);
        if let Some((seq, hash)) = self.head
            && seq == line.seq
        {
            self.is_head_seen = true;
            if hash != line.hash {
                let why = format!("{HEAD} tells another entry of this number");
                return self.broken(file, at, why);
            }
        }
        self.report.entries += 1;
        self.report.keyed += u64::from(!key.is_empty());
        self.was_keyed |= !key.is_empty();
    }

    fn end(mut self, last: u64, is_partial: bool) -> Report {
        if let Some((broken, _, _)) = self.incomplete.take() {
            self.report.broken.get_or_insert(broken);
        }
        if self.report.broken.is_none() && last > 0 {
            match self.head {
                None => self.broken_head(
                    "it is not there, was changed, or is sealed with another key".to_owned(),
                ),
                Some(_) if self.was_keyed && !self.is_head_keyed => {
                    self.broken_head("it is not sealed with the master key".to_owned());
                }
                Some((seq, _)) if seq > self.seq => {
                    let count = seq - self.seq;
                    let why = format!("{count} entries are missing behind it ({HEAD} tells {seq})");
                    let file = file_name(last);
                    self.report.broken = Some(Broken { file, line: 0, why });
                }
                Some(_) if !self.is_head_seen && !is_partial => {
                    self.broken_head("it tells an entry that is not there".to_owned());
                }
                Some(_) => {}
            }
        }
        self.report
    }

    fn broken_head(&mut self, why: String) {
        self.report.broken = Some(Broken {
            file: HEAD.to_owned(),
            line: 1,
            why,
        });
    }
}
