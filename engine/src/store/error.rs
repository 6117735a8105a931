//! What can go wrong in a store, and what to do about it.

use std::path::PathBuf;

use crate::error::{CryptoCode, CryptoError};

/// What the caller does with the batch that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreClass {
    /// Keep it and try again later: the cause can go away by itself.
    Retry,
    /// Set it aside: it will never be accepted.
    Reject,
    /// Stop writing until somebody acts.
    Fatal,
}

/// Why a store could not do it. The text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is no database, or a damaged one.
    #[error(
        "`{}` is damaged or no bookwire database ({detail}): move it and its -wal and -shm files \
         away to start with an empty store, or restore a copy", path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The database's words.
        detail: String,
    },
    /// The file or its folder can't be written.
    #[error(
        "`{}` can't be written ({detail}): give the user that runs bookwire write permission on \
         the file and its folder, or set store.path or server.data_dir to another place",
        path.display()
    )]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        detail: String,
    },
    /// No space left.
    #[error(
        "no space left for `{}`: free space on that disk, or set store.path to another one; \
         nothing of the batch was written", path.display()
    )]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// Another process holds the file.
    #[error(
        "`{}` is locked by another process for more than {waited_ms} ms: stop the other bookwire \
         that uses this data directory, or give this one its own with --data-dir", path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
        /// How long it was waited for.
        waited_ms: u64,
    },
    /// The file was written by a newer version.
    #[error(
        "`{}` has schema version {found}, this program knows versions up to {known}: use the \
         newer bookwire, or another data directory", path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Version found.
        found: i64,
        /// Newest version that is known.
        known: i64,
    },
    /// The file was written by an older version, and the reader may not change it.
    #[error(
        "`{}` has schema version {found}, this program reads version {known}: start \
         `bookwire serve` on this data directory once, which brings it up to date", path.display()
    )]
    OlderSchema {
        /// The file.
        path: PathBuf,
        /// Version found.
        found: i64,
        /// Version that is read.
        known: i64,
    },
    /// A row that no store can keep.
    #[error("{entity_id}: {reason}")]
    InvalidRow {
        /// Whose row.
        entity_id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The database refused an operation for another reason.
    #[error("`{}`: {operation} failed: {source}", path.display())]
    Database {
        /// The file or address.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// What the caller does with the batch.
    #[must_use]
    pub const fn class(&self) -> StoreClass {
        match self {
            Self::DiskFull { .. } | Self::Locked { .. } | Self::Database { .. } => {
                StoreClass::Retry
            }
            Self::InvalidRow { .. } => StoreClass::Reject,
            Self::Corrupt { .. }
            | Self::NotWritable { .. }
            | Self::NewerSchema { .. }
            | Self::OlderSchema { .. } => StoreClass::Fatal,
        }
    }
}

impl From<StoreError> for CryptoError {
    /// Users of the API get no paths: those are in the log.
    fn from(error: StoreError) -> Self {
        let reason = match &error {
            StoreError::Corrupt { .. } => "the stored data is damaged",
            StoreError::NotWritable { .. } => "the store can't be written",
            StoreError::DiskFull { .. } => "the store's disk is full",
            StoreError::Locked { .. } => "the store is locked by another process",
            StoreError::NewerSchema { .. } => "the store belongs to a newer version",
            StoreError::OlderSchema { .. } => "the store belongs to an older version",
            StoreError::InvalidRow { .. } => "a row can't be stored",
            StoreError::Database { .. } => "the store failed",
        };
        Self::new(CryptoCode::InternalError, reason)
            .suggest("see the server's log for the trace_id: it names the file and what to do")
    }
}
