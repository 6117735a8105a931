//! What a journal needs beside its entries: to reach the disk, and not to grow without end.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bookwire_engine::trading::journal::JournalError;

use super::desk::Desk;
use super::steps::{Step, reached};

/// The journal reaches the disk so soon after a change.
const SYNC: Duration = Duration::from_millis(50);
/// Its length is looked at this often.
const LOOK: Duration = Duration::from_millis(500);

/// Has the journal reach the disk soon after each change.
pub(super) async fn sync(desk: Rc<Desk>) {
    loop {
        desk.clock.sleep(SYNC).await;
        let handle = {
            let mut state = desk.state.borrow_mut();
            match std::mem::take(&mut state.is_journal_dirty) {
                true => state.journal.handle(),
                false => continue,
            }
        };
        let synced = match handle {
            Ok(handle) => tokio::task::spawn_blocking(move || handle.sync()).await,
            Err(error) => {
                tracing::error!(%error, "the order journal can't be synced");
                continue;
            }
        };
        if let Ok(Err(error)) = synced {
            tracing::error!(%error, "the order journal can't be synced");
            desk.state.borrow_mut().stats.journal_sync_errors += 1;
        }
    }
}

/// Has the journal written anew when it has grown too long.
pub(super) async fn compact(desk: Rc<Desk>) {
    loop {
        desk.clock.sleep(LOOK).await;
        let before = desk.state.borrow().journal.length();
        let Some(done) = compact_once(&desk).await else {
            continue;
        };
        let mut state = desk.state.borrow_mut();
        let (provider, account) = (desk.provider.name(), &desk.options.name);
        match done {
            Ok(()) => {
                state.stats.journal_compactions += 1;
                let after = state.journal.length();
                tracing::info!(provider, %account, before, after, "the order journal was written anew");
            }
            Err(error) => {
                state.stats.journal_compact_errors += 1;
                tracing::error!(provider, %account, %error, "the order journal could not be written anew");
            }
        }
    }
}

/// `None`: it is not long enough.
async fn compact_once(desk: &Desk) -> Option<Result<(), JournalError>> {
    let compaction = desk.state.borrow_mut().journal.begin_compaction()?;
    let io = |source| JournalError::Io {
        path: desk.options.journal.clone(),
        source,
    };
    // A task that is not run to its end: the engine is stopping.
    let stopping = |_| io(io::Error::other("the engine is stopping"));
    let fresh = match tokio::task::spawn_blocking(|| compaction.run()).await {
        Ok(Ok(fresh)) => fresh,
        Ok(Err(error)) => return Some(Err(error)),
        Err(error) => return Some(Err(stopping(error))),
    };
    reached(Step::Compacted);
    let joined = desk.state.borrow_mut().journal.join(fresh);
    let joined = match joined {
        Ok(joined) => joined,
        Err(error) => return Some(Err(error)),
    };
    reached(Step::Joined);
    let named = tokio::task::spawn_blocking(move || joined.run()).await;
    reached(Step::Renamed);
    let named = named.unwrap_or_else(|_| Err(io::Error::other("the engine is stopping")));
    Some(desk.state.borrow_mut().journal.finish(named))
}
