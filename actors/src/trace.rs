//! The id of a request in the log. A line has it because it is written inside a [`span`] that has it: made
//! where the request arrives, taken along by [`Traced`] messages and by tasks that are spawned in it.

use actix::{Actor, Message, ResponseFuture};
use tracing::{Instrument as _, Span};

/// The span of a request, or of a client's connection, with this id.
///
/// Of the severest level, so that lines of each level that is on are in it.
#[must_use]
pub fn span(trace_id: &str) -> Span {
    tracing::error_span!("request", trace_id)
}

/// A message with the span that its sender is in.
#[derive(Debug)]
pub struct Traced<M> {
    message: M,
    span: Span,
}

impl<M> Traced<M> {
    /// A message of whoever makes it now.
    #[must_use]
    pub fn new(message: M) -> Self {
        let span = Span::current();
        Self { message, span }
    }

    /// Has it handled in its span.
    pub fn handled<A: Actor>(self, actor: &mut A, ctx: &mut A::Context) -> ResponseFuture<M::Result>
    where
        M: Traceable<A>,
    {
        let Self { message, span } = self;
        let answer = span.in_scope(|| message.handled(actor, ctx));
        Box::pin(answer.instrument(span))
    }
}

/// Messages that an actor does something for, and that can be sent to it as [`Traced`].
pub trait Traceable<A: Actor>: Message + Sized + 'static {
    /// Has it handled.
    fn handled(self, actor: &mut A, ctx: &mut A::Context) -> ResponseFuture<Self::Result>;
}

impl<M: Message> Message for Traced<M> {
    type Result = M::Result;
}
