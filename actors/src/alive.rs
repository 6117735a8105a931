//! How many actors and tasks are alive in this process: what a leak of them shows in, long before
//! memory does.
//!
//! Counted by a value that lives as long as the actor or the task does, so that a panic counts as an
//! end too. The counts are the process's: several engines in one process share them.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinHandle;
use tracing::Instrument as _;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`crate::shard::Shard`].
    Shard,
    /// [`crate::connection::ExchangeConnection`].
    ExchangeConnection,
    /// [`crate::book::OrderBook`].
    OrderBook,
    /// [`crate::session::SubscriptionSession`].
    SubscriptionSession,
    /// What carries a client's messages between its session and its socket.
    ClientSocket,
    /// [`crate::trading::router::OrderRouter`].
    OrderRouter,
    /// A future that runs beside them.
    Task,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Shard,
        Self::ExchangeConnection,
        Self::OrderBook,
        Self::SubscriptionSession,
        Self::ClientSocket,
        Self::OrderRouter,
        Self::Task,
    ];

    /// The name in figures.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shard => "shard",
            Self::ExchangeConnection => "exchange_connection",
            Self::OrderBook => "order_book",
            Self::SubscriptionSession => "subscription_session",
            Self::ClientSocket => "client_socket",
            Self::OrderRouter => "order_router",
            Self::Task => "task",
        }
    }
}

static COUNTS: [AtomicU64; Kind::ALL.len()] = [const { AtomicU64::new(0) }; Kind::ALL.len()];

fn count(kind: Kind) -> &'static AtomicU64 {
    &COUNTS[kind as usize]
}

/// How many of a kind are alive now.
#[must_use]
pub fn alive(kind: Kind) -> u64 {
    count(kind).load(Ordering::Relaxed)
}

/// Counts one from its making to its drop.
#[derive(Debug)]
pub struct Alive(Kind);

impl Alive {
    /// One more.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        count(kind).fetch_add(1, Ordering::Relaxed);
        Self(kind)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        count(self.0).fetch_sub(1, Ordering::Relaxed);
    }
}

/// The same task, counted while it runs.
pub async fn counted<T>(task: impl Future<Output = T>) -> T {
    let _alive = Alive::new(Kind::Task);
    task.await
}

/// Runs a task on this thread, as [`actix_rt::spawn`] does, and counts it while it runs. What it logs has
/// the id of the request that it is spawned for, if any.
pub(crate) fn spawn<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    actix_rt::spawn(counted(task).in_current_span())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_kind_has_a_count_of_its_own() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index, "{kind:?}");
        }
        // Other tests of this process make none of these at the same time as this one makes many.
        let before = alive(Kind::OrderRouter);
        let many: Vec<Alive> = (0..1_000).map(|_| Alive::new(Kind::OrderRouter)).collect();
        assert!(alive(Kind::OrderRouter) >= before + 900);
        drop(many);
        assert!(alive(Kind::OrderRouter) < before + 100);
    }

    #[actix::test]
    async fn a_task_counts_until_it_ends_however_it_ends() {
        let many = || (0..1_000).map(|_| spawn(std::future::pending::<()>()));
        let tasks: Vec<_> = many().collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(alive(Kind::Task) >= 1_000);
        for task in tasks {
            task.abort();
        }
        let panics: Vec<_> = (0..50)
            .map(|_| spawn(async { panic!("on purpose") }))
            .collect();
        for task in panics {
            let ended: Result<(), _> = task.await;
            assert!(ended.is_err());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(alive(Kind::Task) < 900, "{}", alive(Kind::Task));
    }
}
