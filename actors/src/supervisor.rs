//! Restarts actors that end without being asked to.
//!
//! actix's own supervisor restarts the same value after a stop and does not survive a panic. This
//! one keeps a factory: after a panic or a stop a new actor is made, after a pause that grows with
//! each failure. An actor that keeps failing is reported; it is still tried, at the longest pause.
//! What must survive lives outside the actor, and the factory holds on to it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::connection::backoff::Backoff;
use crate::status::ShardCounters;

/// Pauses before a restart.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));
/// So many failures in [`WINDOW`] are reported.
const FAILURES_MAX: usize = 5;
/// See [`FAILURES_MAX`]; an actor that lives this long has recovered.
const WINDOW: Duration = Duration::from_secs(60);

/// A supervised actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChildId(u64);

#[derive(Debug, Default)]
struct Exits {
    /// At most one for each actor that is alive.
    waiting: RefCell<VecDeque<(ChildId, Exit)>>,
    notify: Notify,
}

/// How an actor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Panicked,
    Stopped,
    Retired,
}

/// Carried by a supervised actor; its end tells the supervisor.
#[derive(Debug)]
pub struct Life {
    child: ChildId,
    exits: Rc<Exits>,
    exit: Exit,
}

impl Life {
    /// The actor has stopped in order (its `stopped` was called): not a panic.
    pub fn stopped(&mut self) {
        if self.exit == Exit::Panicked {
            self.exit = Exit::Stopped;
        }
    }

    /// The actor will end because it was asked to: it is not started again.
    pub fn retire(&mut self) {
        self.exit = Exit::Retired;
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let exit = (self.child, self.exit);
        self.exits.waiting.borrow_mut().push_back(exit);
        self.exits.notify.notify_one();
    }
}

struct Child {
    name: String,
    factory: Box<dyn FnMut(Life)>,
    backoff: Backoff,
    failures: VecDeque<Duration>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    counters: Arc<ShardCounters>,
    children: RefCell<AHashMap<ChildId, Child>>,
    next: RefCell<u64>,
    exits: Rc<Exits>,
}

/// Supervises the actors of one thread. Clones are the same supervisor.
#[derive(Clone)]
pub struct Supervisor(Rc<Inner>);

impl Supervisor {
    /// Starts to supervise on this thread, which must run an actix system.
    #[must_use]
    pub fn start(clock: Arc<dyn Clock>, counters: Arc<ShardCounters>) -> Self {
        let supervisor = Self(Rc::new(Inner {
            clock,
            counters,
            children: RefCell::default(),
            next: RefCell::default(),
            exits: Rc::default(),
        }));
        let watched = Rc::downgrade(&supervisor.0);
        let exits = supervisor.0.exits.clone();
        crate::alive::spawn(async move {
            loop {
                exits.notify.notified().await;
                let Some(inner) = watched.upgrade() else {
                    return;
                };
                Self(inner).take_exits();
            }
        });
        supervisor
    }

    /// Starts an actor by its factory, and again whenever it ends. The factory gives the [`Life`]
    /// to the actor.
    pub fn supervise(&self, name: String, mut factory: impl FnMut(Life) + 'static) -> ChildId {
        let id = {
            let mut next = self.0.next.borrow_mut();
            *next += 1;
            ChildId(*next)
        };
        factory(self.life(id));
        let child = Child {
            name,
            factory: Box::new(factory),
            backoff: Backoff::new(PAUSE.0, PAUSE.1),
            failures: VecDeque::new(),
        };
        self.0.children.borrow_mut().insert(id, child);
        id
    }

    /// The actor's end is wanted: it is not started again. Stopping it is the caller's.
    pub fn forget(&self, id: ChildId) {
        self.0.children.borrow_mut().remove(&id);
    }

    /// Actors that are to be alive.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.children.borrow().len()
    }

    /// True when nothing is supervised.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn life(&self, child: ChildId) -> Life {
        Life {
            child,
            exits: self.0.exits.clone(),
            exit: Exit::Panicked,
        }
    }

    fn take_exits(&self) {
        loop {
            let exit = self.0.exits.waiting.borrow_mut().pop_front();
            let Some((id, exit)) = exit else { return };
            if exit == Exit::Retired {
                self.forget(id);
            } else if let Some(pause) = self.judge(id, exit) {
                self.restart_after(id, pause);
            }
        }
    }

    /// How long to wait before the restart; `None` when there is to be none.
    fn judge(&self, id: ChildId, exit: Exit) -> Option<Duration> {
        let now = self.0.clock.monotonic();
        let mut children = self.0.children.borrow_mut();
        let child = children.get_mut(&id)?;
        while child
            .failures
            .front()
            .is_some_and(|at| now.saturating_sub(*at) > WINDOW)
        {
            child.failures.pop_front();
        }
        if child.failures.is_empty() {
            child.backoff.reset();
        }
        child.failures.push_back(now);
        let pause = child.backoff.fail();
        self.0.counters.actor_restarts.add(1);
        let (actor, failures) = (child.name.as_str(), child.failures.len());
        let how = match exit {
            Exit::Panicked => "panicked",
            Exit::Stopped | Exit::Retired => "stopped",
        };
        let pause_ms = pause.as_millis();
        if failures >= FAILURES_MAX {
            tracing::error!(actor, how, failures, pause_ms, "actor keeps failing");
        } else {
            tracing::warn!(actor, how, pause_ms, "actor ended, starting it again");
        }
        Some(pause)
    }

    fn restart_after(&self, id: ChildId, pause: Duration) {
        let supervisor = self.clone();
        crate::alive::spawn(async move {
            supervisor.0.clock.sleep(pause).await;
            // Out of the map while it runs: a factory may supervise or forget others.
            let child = supervisor.0.children.borrow_mut().remove(&id);
            if let Some(mut child) = child {
                (child.factory)(supervisor.life(id));
                supervisor.0.children.borrow_mut().insert(id, child);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use actix::{Actor, ActorContext, Addr, Context, Handler, Message};
    use std::cell::Cell;

    struct Fragile {
        life: Life,
    }

    impl Actor for Fragile {
        type Context = Context<Self>;

        fn stopped(&mut self, _: &mut Self::Context) {
            self.life.stopped();
        }
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Panic;

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Stop;

    impl Handler<Panic> for Fragile {
        type Result = ();
        fn handle(&mut self, _: Panic, _: &mut Self::Context) {
            panic!("as asked");
        }
    }

    impl Handler<Stop> for Fragile {
        type Result = ();
        fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
            ctx.stop();
        }
    }

    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[actix::test]
    async fn starts_again_after_panic_and_stop_but_not_when_forgotten() {
        let clock = ManualClock::default();
        let counters = Arc::new(ShardCounters::default());
        let supervisor = Supervisor::start(Arc::new(clock.clone()), counters.clone());
        let starts = Rc::new(Cell::new(0));
        let addr: Rc<RefCell<Option<Addr<Fragile>>>> = Rc::default();
        let id = supervisor.supervise("fragile".to_owned(), {
            let (starts, addr) = (starts.clone(), addr.clone());
            move |life| {
                starts.set(starts.get() + 1);
                *addr.borrow_mut() = Some(Fragile { life }.start());
            }
        });
        let current = || addr.borrow().clone().unwrap();
        assert_eq!(starts.get(), 1);

        assert!(current().send(Panic).await.is_err());
        settle().await;
        assert_eq!(starts.get(), 1, "not before the pause");
        clock.advance(Duration::from_secs(10));
        settle().await;
        assert_eq!(starts.get(), 2);

        let _ = current().send(Stop).await;
        settle().await;
        clock.advance(Duration::from_secs(10));
        settle().await;
        assert_eq!(starts.get(), 3);
        assert_eq!(counters.actor_restarts.get(), 2);

        supervisor.forget(id);
        let _ = current().send(Stop).await;
        settle().await;
        clock.advance(Duration::from_secs(60));
        settle().await;
        assert_eq!(starts.get(), 3);
        assert!(supervisor.is_empty());
    }
}
