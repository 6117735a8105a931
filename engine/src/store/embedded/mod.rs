//! The store that needs nothing installed: one SQLite file in WAL mode.
//!
//! Written by one [`Embedded`], read by any number of [`EmbeddedReader`]s with connections of their
//! own, which never block the writer. A batch is a transaction: it is there as a whole as soon as
//! `write` returns and survives the death of the process; [`Store::flush`] makes it survive a loss
//! of power.
//!
//! Layout: `schema.rs`. Numbers: `number.rs`. Why it is laid out like this, with figures:
//! `docs/decisions/005-embedded-store.md`.

mod number;
mod read;
mod schema;
mod spans;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

pub use read::EmbeddedReader;
pub use write::Embedded;

use super::StoreError;

/// How the file is used. The defaults suit everything but tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// The file; made with its folder when missing. Beside it SQLite keeps `-wal` and `-shm`.
    pub path: PathBuf,
    /// Milliseconds to wait for a lock of another process.
    pub lock_wait_ms: u64,
    /// Trades in a span at most: what a query has to look at for one row of it. Small ones make
    /// the index on time large.
    pub span_trades: u32,
}

impl EmbeddedOptions {
    /// The defaults for a file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            lock_wait_ms: 5_000,
            span_trades: 4_096,
        }
    }
}

/// Opens or makes the embedded store of a file, and brings its schema up to date.
///
/// # Errors
/// [`StoreError`] says whether the file is damaged, not ours, not writable, locked or newer than
/// this program, and what to do.
pub fn open_embedded(path: impl Into<PathBuf>) -> Result<Embedded, StoreError> {
    Embedded::open(EmbeddedOptions::new(path))
}

/// A connection of either side, with what both need.
fn connect(options: &EmbeddedOptions, flags: OpenFlags) -> Result<Connection, StoreError> {
    let fail = |error| failure(options, "open", error);
    // A connection is used by one thread at a time: SQLite's own mutexes are not needed.
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&options.path, flags).map_err(fail)?;
    connection
        .busy_timeout(Duration::from_millis(options.lock_wait_ms))
        .map_err(fail)?;
    // Each instrument's trades have statements of their own.
    connection.set_prepared_statement_cache_capacity(512);
    Ok(connection)
}

/// What an error of SQLite means here.
fn failure(
    options: &EmbeddedOptions,
    operation: &'static str,
    error: rusqlite::Error,
) -> StoreError {
    let path = options.path.clone();
    let detail = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Corrupt { path, detail }
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            StoreError::NotWritable { path, detail }
        }
        Some(ErrorCode::DiskFull) => StoreError::DiskFull { path },
        Some(ErrorCode::SystemIoFailure) => StoreError::System {
            path,
            operation,
            detail,
        },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked {
            path,
            waited_ms: options.lock_wait_ms,
        },
        _ => StoreError::Database {
            path,
            operation,
            source: Box::new(error),
        },
    }
}

/// A stored value that this program can't have written.
fn damaged(path: &Path, detail: impl Into<String>) -> StoreError {
    StoreError::Corrupt {
        path: path.to_owned(),
        detail: detail.into(),
    }
}

#[cfg(test)]
mod tests;
