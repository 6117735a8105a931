//! What one session subscribed: which topics, under which channel, and the rules of adding and
//! removing. Repeats are idempotent; each stream of a request succeeds or fails by itself.

use std::collections::BTreeMap;
use std::rc::Rc;

use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::instrument::InstrumentTable;
use bookwire_engine::wire::Numbers;
use serde_json::{Map, Value};

use super::Joined;
use super::cell::OutboxCell;
use super::encode::Labels;
use super::flow::DropPolicy;
use super::outbox::{SubKey, SubSpec};
use super::request::{AnyView, Done, Rejected, StreamEntry, StreamRequest, SubscriptionView};
use super::resolve;
use crate::dispatcher::Claim;
use crate::topic::{StreamKind, Topic};

struct Held {
    topic: Topic,
    labels: Labels,
    timing: bool,
    key: SubKey,
    claim: Claim,
}

impl Held {
    fn view(&self) -> AnyView {
        AnyView::Market(SubscriptionView {
            labels: self.labels.clone(),
            kind: self.topic.kind,
            timing: self.timing,
        })
    }
}

/// See the module's text.
pub struct Subscriptions {
    held: Vec<Held>,
    most: usize,
    /// Subscriptions of other kinds, which count for the limit.
    pub others: usize,
    policy: Option<DropPolicy>,
    channel_policies: BTreeMap<String, DropPolicy>,
}

/// What to unsubscribe.
pub struct Wanted {
    /// Only in this channel.
    pub channel: Option<String>,
    /// Which.
    pub streams: Vec<StreamEntry>,
    /// All of the channel.
    pub is_whole: bool,
}

/// One subscription of a request.
struct Planned {
    topic: Topic,
    labels: Labels,
    timing: Option<bool>,
    echo: Map<String, Value>,
    /// Already held; nothing to join.
    is_held: bool,
}

/// A subscribe request, resolved.
pub struct Plan {
    planned: Vec<Planned>,
    rejected: Vec<Rejected>,
}

impl Plan {
    /// Topics to join, in the order in which [`Subscriptions::finish`] expects the claims.
    pub fn missing(&self) -> impl Iterator<Item = Topic> {
        self.planned
            .iter()
            .filter(|planned| !planned.is_held)
            .map(|planned| planned.topic)
    }
}

impl Subscriptions {
    /// None yet; at most `most`.
    pub fn new(most: usize) -> Self {
        Self {
            held: Vec::new(),
            most,
            others: 0,
            policy: None,
            channel_policies: BTreeMap::new(),
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// All, in the order in which they were made.
    pub fn views(&self) -> Vec<AnyView> {
        self.held.iter().map(Held::view).collect()
    }

    /// Resolves a request without changing anything.
    pub fn plan(
        &self,
        table: &InstrumentTable,
        channel: Option<&str>,
        streams: Vec<StreamEntry>,
        numbers: Numbers,
    ) -> Plan {
        let channel: Option<Rc<str>> = channel.map(Rc::from);
        let mut plan = Plan {
            planned: Vec::new(),
            rejected: Vec::new(),
        };
        for StreamEntry { echo, request } in streams {
            let request = match request {
                Ok(request) => request,
                Err(error) => {
                    plan.rejected.push(Rejected { echo, error });
                    continue;
                }
            };
            for symbol in &request.symbols {
                let echo = echo_of(&echo, symbol);
                match resolve::topic(table, &request, symbol, numbers) {
                    Ok((topic, mut labels)) => {
                        labels.channel.clone_from(&channel);
                        self.consider(&mut plan, &request, topic, labels, echo);
                    }
                    Err(error) => plan.rejected.push(Rejected { echo, error }),
                }
            }
        }
        plan
    }

    fn consider(
        &self,
        plan: &mut Plan,
        request: &StreamRequest,
        topic: Topic,
        labels: Labels,
        echo: Map<String, Value>,
    ) {
        let same = |other: &Topic, of: &Labels| *other == topic && of.channel == labels.channel;
        // Two spellings of one symbol in a request are one subscription.
        if plan.planned.iter().any(|p| same(&p.topic, &p.labels)) {
            return;
        }
        let is_held = self.held.iter().any(|h| same(&h.topic, &h.labels));
        let total = self.held.len() + self.others + plan.missing().count();
        if !is_held && total >= self.most {
            let error = too_many(self.most, self.held.len() + self.others);
            plan.rejected.push(Rejected { echo, error });
            return;
        }
        plan.planned.push(Planned {
            topic,
            labels,
            timing: request.timing,
            echo,
            is_held,
        });
    }

    /// Takes in what could be joined. The second value are the new ones, which
    /// [`Subscriptions::activate`] opens after the answer.
    pub fn finish(
        &mut self,
        plan: Plan,
        claims: Vec<Joined>,
        cell: &OutboxCell,
    ) -> (Done, Vec<SubKey>) {
        let Plan {
            planned,
            mut rejected,
        } = plan;
        let mut claims = claims.into_iter();
        let mut subscriptions = Vec::with_capacity(planned.len());
        let mut fresh = Vec::new();
        for planned in planned {
            let claim = if planned.is_held { None } else { claims.next() };
            match claim {
                None => {
                    let Some(held) = self.held.iter_mut().find(|held| {
                        held.topic == planned.topic && held.labels.channel == planned.labels.channel
                    }) else {
                        continue;
                    };
                    if let Some(timing) = planned.timing {
                        held.timing = timing;
                        cell.with(|outbox| outbox.update(held.key, |_, t| *t = timing));
                    }
                    subscriptions.push(held.view());
                }
                Some(Ok(claim)) => {
                    let timing = planned.timing.unwrap_or(false);
                    let spec = SubSpec {
                        slot: claim.slot(),
                        kind: planned.topic.kind,
                        labels: planned.labels.clone(),
                        timing,
                        policy: self.policy_of(planned.topic.kind, &planned.labels),
                    };
                    let key = cell.with(|outbox| outbox.add(spec));
                    let held = Held {
                        topic: planned.topic,
                        labels: planned.labels,
                        timing,
                        key,
                        claim,
                    };
                    subscriptions.push(held.view());
                    fresh.push(key);
                    self.held.push(held);
                }
                Some(Err(error)) => rejected.push(Rejected {
                    echo: planned.echo,
                    error,
                }),
            }
        }
        let done = Done {
            subscriptions,
            rejected,
        };
        (done, fresh)
    }

    /// Opens subscriptions for messages.
    pub fn activate(&mut self, fresh: &[SubKey], cell: &Rc<OutboxCell>) {
        for held in &mut self.held {
            if fresh.contains(&held.key) {
                held.claim.activate(cell, held.key);
            }
        }
    }

    /// Takes subscriptions away: after this nothing of them leaves any more.
    pub fn remove(&mut self, table: &InstrumentTable, wanted: Wanted, cell: &OutboxCell) -> Done {
        let Wanted {
            channel,
            streams,
            is_whole,
        } = wanted;
        let in_channel = |held: &Held| match &channel {
            Some(channel) => held.labels.channel.as_deref() == Some(channel),
            None => true,
        };
        let mut removed = Vec::new();
        let mut rejected = Vec::new();
        if is_whole {
            removed = self.take(cell, in_channel);
        }
        for StreamEntry { echo, request } in streams {
            let request = match request {
                Ok(request) => request,
                Err(error) => {
                    rejected.push(Rejected { echo, error });
                    continue;
                }
            };
            for symbol in &request.symbols {
                let row = resolve::provider(&request)
                    .and_then(|provider| resolve::instrument(table, provider, &request, symbol));
                let gone = row.map(|row| {
                    let id = row.id;
                    self.take(cell, |held| {
                        held.topic.instrument == id
                            && request.covers(held.topic.kind)
                            && in_channel(held)
                    })
                });
                let error = match gone {
                    Ok(gone) if !gone.is_empty() => {
                        removed.extend(gone);
                        continue;
                    }
                    Ok(_) => not_subscribed(format!(
                        "`{}` of `{symbol}` is not subscribed",
                        request.stream.as_str()
                    )),
                    Err(error) => error,
                };
                let echo = echo_of(&echo, symbol);
                rejected.push(Rejected { echo, error });
            }
        }
        Done {
            subscriptions: removed,
            rejected,
        }
    }

    fn take(&mut self, cell: &OutboxCell, matches: impl Fn(&Held) -> bool) -> Vec<AnyView> {
        let gone: Vec<Held> = self.held.extract_if(.., |held| matches(held)).collect();
        gone.iter()
            .map(|held| {
                cell.with(|outbox| outbox.remove(held.key));
                held.view()
            })
            .collect()
    }

    /// Whether the policy can be set.
    ///
    /// # Errors
    /// `CRYPTO_SUBSCRIPTION_LIMIT` when too many channels have one.
    pub fn check_policy(
        &self,
        channel: Option<&str>,
        policy: Option<DropPolicy>,
    ) -> Result<(), CryptoError> {
        let (Some(name), Some(_)) = (channel, policy) else {
            return Ok(());
        };
        let known = self.channel_policies.contains_key(name);
        if known || self.channel_policies.len() < self.most {
            return Ok(());
        }
        Err(CryptoError::new(
            CryptoCode::SubscriptionLimit,
            format!("at most {} channels have a policy", self.most),
        ))
    }

    /// Sets the policy of a channel or of the connection.
    pub fn set_policy(
        &mut self,
        channel: Option<&str>,
        policy: Option<DropPolicy>,
        cell: &OutboxCell,
    ) {
        let Some(policy) = policy else { return };
        match channel {
            None => self.policy = Some(policy),
            Some(name) => {
                self.channel_policies.insert(name.to_owned(), policy);
            }
        }
        for held in &self.held {
            let policy = self.policy_of(held.topic.kind, &held.labels);
            cell.with(|outbox| outbox.update(held.key, |p, _| *p = policy));
        }
    }

    /// The policy that was chosen for a channel, or else for the connection; `None`: each stream's
    /// own.
    pub fn policy_in_force(&self, channel: Option<&str>) -> Option<DropPolicy> {
        let of_channel = channel.and_then(|name| self.channel_policies.get(name).copied());
        of_channel.or(self.policy)
    }

    /// Channels that have a policy of their own.
    pub fn channels_with_policy(&self) -> impl Iterator<Item = Rc<str>> {
        self.channel_policies.keys().map(|name| Rc::from(&**name))
    }

    fn policy_of(&self, kind: StreamKind, labels: &Labels) -> DropPolicy {
        let channel = labels.channel.as_deref();
        channel
            .and_then(|name| self.channel_policies.get(name).copied())
            .or(self.policy)
            .unwrap_or_else(|| DropPolicy::default_of(kind))
    }
}

/// `CRYPTO_SUBSCRIPTION_LIMIT`: so many are held already.
pub(super) fn too_many(most: usize, held: usize) -> CryptoError {
    let what = format!("a connection has at most {most} subscriptions");
    CryptoError::new(CryptoCode::SubscriptionLimit, what)
        .with("limit", most)
        .with("current_usage", held)
}

/// `CRYPTO_NOT_FOUND` for what is not subscribed.
pub(super) fn not_subscribed(message: String) -> CryptoError {
    CryptoError::new(CryptoCode::NotFound, message)
        .suggest("list_subscriptions shows what is subscribed")
}

/// The part of a list of symbols that one symbol is.
fn echo_of(echo: &Map<String, Value>, symbol: &str) -> Map<String, Value> {
    let mut part: Map<String, Value> = echo
        .iter()
        .filter(|(name, _)| *name != "symbols")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    part.insert("symbol".to_owned(), Value::from(symbol));
    part
}
