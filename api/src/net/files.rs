//! What the system says about files: who can read one, and how many may be open.

use std::path::Path;

/// Open files that are not connections of clients: the store, exchanges, logs.
const RESERVED: u64 = 512;

/// Whether others than its owner can read a file.
#[cfg(unix)]
#[must_use]
pub fn is_readable_for_others(file: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(file).is_ok_and(|data| data.mode() & 0o077 != 0)
}

/// Whether others than its owner can read a file: not known here.
#[cfg(not(unix))]
#[must_use]
pub fn is_readable_for_others(_: &Path) -> bool {
    false
}

/// How many of `wanted` connections the process may have, once its limit of open files has been raised as
/// far as it can be.
#[cfg(unix)]
#[must_use]
pub fn connections(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = (wanted as u64).saturating_add(RESERVED);
    let limit = getrlimit(Resource::Nofile);
    // None: without a limit.
    let Some(mut current) = limit.current else {
        return wanted;
    };
    if current < needed {
        let raised = limit.maximum.map_or(needed, |most| most.min(needed));
        let new = Rlimit {
            current: Some(raised),
            maximum: limit.maximum,
        };
        if raised > current && setrlimit(Resource::Nofile, new).is_ok() {
            current = raised;
        }
    }
    if current >= needed {
        return wanted;
    }
    let left = usize::try_from(current.saturating_sub(RESERVED)).unwrap_or(usize::MAX);
    // Something has to be possible, however small the limit is.
    let left = left.max(16).min(wanted);
    tracing::warn!(
        open_files = current,
        connections = left,
        wanted,
        "fewer connections than limits.connections_max: raise the limit of open files (ulimit -n)"
    );
    left
}

/// How many of `wanted` connections the process may have.
#[cfg(not(unix))]
#[must_use]
pub fn connections(wanted: usize) -> usize {
    wanted
}
