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
    /// The system refused to read or write, for another reason than a lack of space or permission.
    #[error(
        "`{}`: {operation} failed ({detail}): see the system's log for a disk that fails; a quota that is \
         used up (`quota`) or a file as large as is allowed (`ulimit -f`, or 4 GiB on FAT) is told \
         like this too: raise the limit, or set store.path to another disk", path.display()
    )]
    System {
        /// The file.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// The database's words.
        detail: String,
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
    /// The server does not answer.
    #[error(
        "QuestDB at {address} can't be reached ({detail}): start it, or set store.questdb.http and \
         store.questdb.pg to where it listens; rows wait for it"
    )]
    Unreachable {
        /// The server.
        address: String,
        /// The system's words.
        detail: String,
    },
    /// The server does not let us in.
    #[error(
        "QuestDB at {address} refuses the user or the password ({detail}): set store.questdb.user \
         and BOOKWIRE_QUESTDB_PASSWORD (or store.questdb.password_file) to what the server has as \
         http.user, http.password, pg.user and pg.password"
    )]
    Denied {
        /// The server.
        address: String,
        /// Its words.
        detail: String,
    },
    /// The server lacks what is needed.
    #[error(
        "QuestDB at {address} is too old ({found}): decimals need version 9.2 or newer; update it, or \
         set store.kind = \"embedded\""
    )]
    TooOld {
        /// The server.
        address: String,
        /// Its version, or its words.
        found: String,
    },
    /// The server takes rows of a table without showing them.
    #[error(
        "table `{table}` of QuestDB at {address} is suspended ({detail}): see the server's log, mend \
         the cause, often a full disk, then run ALTER TABLE {table} RESUME WAL; nothing is lost"
    )]
    Suspended {
        /// The server.
        address: String,
        /// The table.
        table: String,
        /// Its words.
        detail: String,
    },
    /// The server is slow to show what it has taken.
    #[error(
        "QuestDB at {address} has not made its rows of {table} readable within {waited_ms} ms: it is \
         overloaded or short of disk speed; it goes on, and nothing is lost"
    )]
    Behind {
        /// The server.
        address: String,
        /// The tables.
        table: String,
        /// How long it was waited for.
        waited_ms: u64,
    },
    /// The server takes no rows.
    #[error(
        "QuestDB at {address} does not let bookwire write ({detail}): switch readonly off in its \
         configuration, or give the user of store.questdb.user the right to create tables and write"
    )]
    ReadOnly {
        /// The server.
        address: String,
        /// Its words.
        detail: String,
    },
    /// A table of ours has another form.
    #[error(
        "table `{table}` of QuestDB at {address} was not made by bookwire ({detail}): rename it, or \
         set store.questdb.table_prefix to names that are free"
    )]
    ForeignTable {
        /// The server.
        address: String,
        /// The table.
        table: String,
        /// What is different.
        detail: String,
    },
    /// The tables were made by a newer version.
    #[error(
        "the tables `{prefix}*` of QuestDB at {address} have schema version {found}, this program \
         knows versions up to {known}: use the newer bookwire, or another store.questdb.table_prefix"
    )]
    NewerTables {
        /// The server.
        address: String,
        /// What their names begin with.
        prefix: String,
        /// Version found.
        found: i64,
        /// Newest version that is known.
        known: i64,
    },
    /// The server refused an operation for another reason.
    #[error("QuestDB at {address}: {operation} failed: {source}")]
    Server {
        /// The server.
        address: String,
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
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
            Self::DiskFull { .. }
            | Self::System { .. }
            | Self::Locked { .. }
            | Self::Database { .. }
            | Self::Unreachable { .. }
            | Self::Behind { .. }
            | Self::Server { .. } => StoreClass::Retry,
            Self::InvalidRow { .. } => StoreClass::Reject,
            Self::Corrupt { .. }
            | Self::NotWritable { .. }
            | Self::NewerSchema { .. }
            | Self::Denied { .. }
            | Self::TooOld { .. }
            | Self::Suspended { .. }
            | Self::ReadOnly { .. }
            | Self::ForeignTable { .. }
            | Self::NewerTables { .. }
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
            StoreError::System { .. } => "the store's disk can't be read or written",
            StoreError::Locked { .. } => "the store is locked by another process",
            StoreError::NewerSchema { .. } => "the store belongs to a newer version",
            StoreError::OlderSchema { .. } => "the store belongs to an older version",
            StoreError::InvalidRow { .. } => "a row can't be stored",
            StoreError::Unreachable { .. } => "the store can't be reached",
            StoreError::Denied { .. } => "the store refuses the password",
            StoreError::TooOld { .. } => "the store's version is too old",
            StoreError::Suspended { .. } => "a table of the store is suspended",
            StoreError::Behind { .. } => "the store is overloaded",
            StoreError::ReadOnly { .. } => "the store is read-only",
            StoreError::ForeignTable { .. } => "a table of the store has another form",
            StoreError::NewerTables { .. } => "the store belongs to a newer version",
            StoreError::Server { .. } | StoreError::Database { .. } => "the store failed",
        };
        Self::new(CryptoCode::InternalError, reason)
            .suggest("see the server's log for the trace_id: it names the file and what to do")
    }
}
