//! The audit log: who commanded what, from where, and what came of it. Lines of JSON that are only ever
//! added to, each bound to all before it, so that a line that was changed, taken out, moved or cut off is
//! found ([`verify`]).
//!
//! A line is one JSON object in ASCII:
//!
//! ```text
//! {"seq":2,"at":"…","who":"ops","via":"rest","from":"127.0.0.1","trace_id":"…","action":"order.place",
//!  "outcome":"done","status":201,"code":null,"details":{…},"prev":"<64 hex>","hash":"<64 hex>"}
//! ```
//!
//! `prev` is the `hash` of the line before, of whichever file; of the very first it is zeros. `hash` is,
//! over every byte before `,"hash"`, SHA-256, or with a master key HMAC-SHA256 under a key that is derived
//! from it: then whoever can write to the folder, but has no master key, can't write the log anew.
//!
//! Files are `audit-000001.jsonl` and so on; each begins with an entry `audit.file` that says how it is
//! sealed. `audit.head` has the number and hash of the last entry that reached the disk, so that a tail
//! that is cut off is found; someone who puts an older head back together with an older log is not.

mod log;
mod verify;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub use self::log::{AuditError, AuditLog, Opened};
pub use self::verify::{Broken, Report, verify};
use crate::time::TsNanos;
use crate::vault::{MasterKey, Secret};

/// Name of the folder in the data directory.
pub const AUDIT_FOLDER: &str = "audit";

/// First words of everything that is hashed: a hash of ours stands for nothing else.
const DOMAIN: &[u8] = b"bookwire audit 1\0";

/// Longest text of a field, characters.
const TEXT_MAX: usize = 256;

/// Longest details, bytes.
const DETAILS_MAX: usize = 4096;

/// Before the first entry.
const ZERO: [u8; 32] = [0; 32];

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is about to be done; another entry tells what came of it.
    Asked,
    /// It was done.
    Done,
    /// It was not done: whoever asked may not, or what was asked for is wrong.
    Refused,
    /// It was tried and failed, or nobody knows yet.
    Failed,
}

impl Outcome {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// What an HTTP status says.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            // The outcome of an order is not proven.
            202 => Self::Failed,
            0..400 => Self::Done,
            400..500 => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// One entry, before it has a place in the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When.
    pub at: TsNanos,
    /// Id of the key, never its secret; on the command line the user of the system.
    pub who: String,
    /// `rest`, `ws`, `cli`, `server`.
    pub via: &'static str,
    /// Address of the client.
    pub from: String,
    /// The request's trace id.
    pub trace_id: String,
    /// `order.place`, `config.change`, …
    pub action: String,
    /// What came of it.
    pub outcome: Outcome,
    /// HTTP status, where it was a request.
    pub status: Option<u16>,
    /// Code of the error, where it was one.
    pub code: Option<String>,
    /// What exactly; nothing secret.
    pub details: Map<String, Value>,
}

impl Entry {
    /// An entry of the server itself.
    #[must_use]
    pub fn own(at: TsNanos, action: &str, details: Map<String, Value>) -> Self {
        Self {
            at,
            who: "bookwire".to_owned(),
            via: "server",
            from: "local".to_owned(),
            trace_id: String::new(),
            action: action.to_owned(),
            outcome: Outcome::Done,
            status: None,
            code: None,
            details,
        }
    }

    /// The line without its hash.
    fn body(&self, seq: u64, prev: &[u8; 32]) -> Vec<u8> {
        let text = |text: &str| Value::from(text.chars().take(TEXT_MAX).collect::<String>());
        let mut details = Value::Object(self.details.clone()).to_string();
        if details.len() > DETAILS_MAX {
            details = format!("{{\"left_out_bytes\":{}}}", details.len());
        }
        let status = self.status.map_or(Value::Null, Value::from);
        let code = self.code.as_deref().map_or(Value::Null, text);
        let line = format!(
            "{{\"seq\":{seq},\"at\":\"{}\",\"who\":{},\"via\":\"{}\",\"from\":{},\"trace_id\":{},\
             \"action\":{},\"outcome\":\"{}\",\"status\":{status},\"code\":{code},\
             \"details\":{details},\"prev\":\"{}\"",
            self.at.to_rfc3339(),
            text(&self.who),
            self.via,
            text(&self.from),
            text(&self.trace_id),
            text(&self.action),
            self.outcome.as_str(),
            hex(prev),
        );
        ascii(&line)
    }
}

/// Escapes what is not printable ASCII; outside of texts JSON has nothing else.
fn ascii(json: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    for c in json.chars() {
        match c {
            ' '..='~' => out.push(c as u8),
            _ => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
            }
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let bytes = data_encoding::HEXLOWER.decode(text).ok()?;
    bytes.try_into().ok()
}

/// What hashes are made with.
#[derive(Clone)]
pub struct Sealer {
    key: Option<Secret>,
    id: String,
}

impl Sealer {
    /// Without a key: changes are found, unless somebody has written everything anew.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            key: None,
            id: String::new(),
        }
    }

    /// With a key that is derived from the master key.
    ///
    /// # Errors
    /// The derivation fails.
    pub fn keyed(master: &MasterKey) -> Result<Self, crate::vault::VaultError> {
        Ok(Self {
            key: Some(master.audit_key()?),
            id: master.id(),
        })
    }

    /// Id of the master key; empty without one.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    fn hash(&self, body: &[u8]) -> [u8; 32] {
        match &self.key {
            Some(key) => key.sign(&[DOMAIN, body]),
            None => Sha256::new()
                .chain_update(DOMAIN)
                .chain_update(body)
                .finalize()
                .into(),
        }
    }

    /// The whole line, its end included, and its hash.
    fn line(&self, entry: &Entry, seq: u64, prev: &[u8; 32]) -> (Vec<u8>, [u8; 32]) {
        let mut line = entry.body(seq, prev);
        let hash = self.hash(&line);
        line.extend_from_slice(format!(",\"hash\":\"{}\"}}\n", hex(&hash)).as_bytes());
        (line, hash)
    }
}

/// A line that has been read.
struct Line<'a> {
    seq: u64,
    action: String,
    details: Map<String, Value>,
    prev: [u8; 32],
    hash: [u8; 32],
    /// What is hashed.
    body: &'a [u8],
}

/// Reads a line without its end; `None` for what is none of ours.
fn read(line: &[u8]) -> Option<Line<'_>> {
    const MARK: &[u8] = b",\"hash\":\"";
    let (body, tail) = line.split_at_checked(line.len().checked_sub(MARK.len() + 66)?)?;
    let hash = tail.strip_prefix(MARK)?.strip_suffix(b"\"}")?;
    let mut value: Map<String, Value> = serde_json::from_slice(line).ok()?;
    Some(Line {
        seq: value.get("seq")?.as_u64()?,
        action: value.get("action")?.as_str()?.to_owned(),
        prev: unhex(value.get("prev")?.as_str()?.as_bytes())?,
        hash: unhex(hash)?,
        details: match value.remove("details")? {
            Value::Object(details) => details,
            _ => return None,
        },
        body,
    })
}

/// How a file says that it is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sealed {
    number: u64,
    /// Id of the master key; empty: none.
    key: String,
}

impl Sealed {
    /// What the first entry of a file says.
    fn of(line: &Line<'_>) -> Option<Self> {
        let is_first = line.action == "audit.file";
        let (number, key) = (line.details.get("file")?, line.details.get("key")?);
        is_first.then_some(Self {
            number: number.as_u64()?,
            key: key.as_str()?.to_owned(),
        })
    }
}
