//! What can go wrong with secrets. No message holds one.

use std::path::{Path, PathBuf};

/// Why a vault, a key or a credential can't be had.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The system refuses.
    #[error("can't {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Others can read a secret file.
    #[error(
        "{} has mode {mode:04o}, so that others can read it; accepted: 0600 or 0400 (chmod 600 {})",
        path.display(), path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A text is no master key.
    #[error(
        "{place}: {why}; accepted: 32 random bytes as 64 hex digits or as base64 \
             (`head -c 32 /dev/urandom | base64`)"
    )]
    MasterKey {
        /// Where it came from.
        place: String,
        /// What is wrong.
        why: &'static str,
    },
    /// There are sealed files, and no master key.
    #[error("{} is sealed with a master key that is not here: set {}, or keys.master_key_file", path.display(), super::MASTER_KEY_VARIABLE)]
    NoMasterKey {
        /// The sealed file.
        path: PathBuf,
    },
    /// The file was sealed with another master key.
    #[error(
        "{} was sealed with another master key (id {expected}) than the one of {origin} (id {found})",
        path.display()
    )]
    OtherMasterKey {
        /// The sealed file.
        path: PathBuf,
        /// Id of the key that it needs.
        expected: String,
        /// Id of the key that is there.
        found: String,
        /// Where that came from.
        origin: String,
    },
    /// The file is not what was written.
    #[error("{} is damaged or was changed by somebody else: {why}", path.display())]
    Damaged {
        /// The sealed file.
        path: PathBuf,
        /// What gives it away.
        why: &'static str,
    },
    /// Another process is writing.
    #[error("{} is being written by another process; try again", path.display())]
    Locked {
        /// The sealed file.
        path: PathBuf,
    },
    /// A value that is not accepted.
    #[error("`{field}` {why}; accepted: {accepted}")]
    Invalid {
        /// Of what.
        field: &'static str,
        /// What is wrong. Never the value of a secret.
        why: String,
        /// What is accepted.
        accepted: String,
    },
    /// It is there already.
    #[error("{what} is there already; {hint}")]
    Exists {
        /// What.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// There is no such thing.
    #[error("there is no {what}")]
    Missing {
        /// What.
        what: String,
    },
    /// A cipher refused what it can't refuse.
    #[error("encryption failed")]
    Crypto,
    /// The operating system has no random bytes.
    #[error("the operating system gives no random bytes")]
    NoRandomness,
}

impl VaultError {
    pub(crate) fn io(what: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            what,
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn invalid(
        field: &'static str,
        why: impl Into<String>,
        accepted: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            field,
            why: why.into(),
            accepted: accepted.into(),
        }
    }
}
