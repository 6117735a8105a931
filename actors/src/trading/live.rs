//! Commands to an exchange and questions to it: one attempt, or one that is safe to repeat, and what
//! it proves.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{InstrumentTable, Market};
use bookwire_engine::time::TsNanos;
use bookwire_engine::trading::venue::{
    Command, Facts, Failure, NativeRequest, PrivateRoute, Proof, Question, TradingVenue,
};

use super::keys::KeyInForce;
use super::line::{Lines, Sent};
use super::options::AccountOptions;
use super::steps::{Step, reached};
use super::wire::{Answer, NoAnswer, Wire};
use crate::clock::Clock;
use crate::connection::backoff::ConnectBudgets;
use crate::rest_client::RestClient;
use crate::rest_client::budget::Priority;
use crate::rest_client::orders::Charge;
use crate::status::ProviderMeter;

/// Pages of one answer that are followed.
const PAGES_MAX: usize = 200;

/// What a command came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was done, or taken in to be done.
    Done(Facts),
    /// It was not done, or what it asked for is already so: see the proof.
    Failed(Failure),
    /// Nobody knows.
    Unknown(CryptoError),
}

/// A way to an exchange with an account's key. Clones are the same.
#[derive(Clone)]
pub(crate) struct Live {
    pub provider: ProviderId,
    pub venue: &'static dyn TradingVenue,
    pub keys: KeyInForce,
    pub wire: Wire,
    /// Connections that take orders, where they do not go over HTTP alone.
    pub lines: Option<Rc<Lines>>,
    pub rest: RestClient,
    pub clock: Arc<dyn Clock>,
    pub connects: ConnectBudgets,
    pub meter: Option<Arc<ProviderMeter>>,
    /// How long an answer to a command is waited for.
    pub patience: Duration,
    /// How long a request may be under way, where the exchange takes such a limit.
    pub window_ms: u32,
    /// Error codes that came and that no table has.
    pub unmapped: Rc<Cell<u64>>,
}

impl Live {
    /// The exchange's clock.
    pub fn exchange_now(&self) -> TsNanos {
        let now = self.clock.now();
        let offset = self
            .meter
            .as_ref()
            .map_or(0, |meter| meter.clock_offset_us());
        TsNanos(now.0.saturating_add(offset.saturating_mul(1_000)))
    }

    /// Measures the exchange's clock. Commands hang on it.
    pub async fn measure_clock(&self, market: Market) {
        let measured = self
            .rest
            .clock_offset(self.provider, market, Priority::Cancel);
        if let Err(error) = measured.await {
            tracing::warn!(provider = self.provider.name(), %error, "the exchange's clock is not known");
        }
    }

    /// Has the exchange do something, over a line where there are some. Requests of one command go one
    /// after the other; the first that fails ends it.
    pub async fn command(&self, command: &Command<'_>) -> Outcome {
        self.command_by(command, self.lines.as_deref()).await
    }

    /// As [`Live::command`], over HTTP alone.
    pub async fn command_by_rest(&self, command: &Command<'_>) -> Outcome {
        self.command_by(command, None).await
    }

    async fn command_by(&self, command: &Command<'_>, lines: Option<&Lines>) -> Outcome {
        let requests = match self.venue.command(command) {
            Ok(requests) => requests,
            Err(error) => {
                return Outcome::Failed(Failure {
                    error,
                    proof: Proof::Refused,
                    retry_after_secs: None,
                });
            }
        };
        let priority = match command {
            Command::Cancel { .. } | Command::CancelAll { .. } | Command::DeadMan { .. } => {
                Priority::Cancel
            }
            _ => Priority::Live,
        };
        let mut all = Facts::default();
        for (index, request) in requests.iter().enumerate() {
            let mut has_measured = false;
            let answer = loop {
                reached(Step::BeforeSend);
                let by_line = match lines {
                    Some(lines) => self.by_line(lines, command, request, priority).await,
                    None => None,
                };
                let attempt = match by_line {
                    Some(attempt) => attempt,
                    None => self.attempt(request, priority).await,
                };
                reached(Step::Answered);
                match attempt {
                    // Nothing was done, so the same may be signed anew.
                    Ok(Err(failure)) if failure.proof == Proof::ClockSkew && !has_measured => {
                        has_measured = true;
                        self.measure_clock(request.market).await;
                    }
                    attempt => break attempt,
                }
            };
            match answer {
                Ok(Ok(body)) => {
                    let now = self.clock.now();
                    match self.venue.parse_command(command, index, &body, now) {
                        Ok(facts) => merge(&mut all, facts),
                        Err(error) => return Outcome::Unknown(self.unreadable(&error)),
                    }
                }
                Ok(Err(failure)) if failure.proof == Proof::AlreadySo => {}
                Ok(Err(failure)) if failure.proof == Proof::Nothing => {
                    return Outcome::Unknown(failure.error);
                }
                Ok(Err(failure)) => return Outcome::Failed(failure),
                Err(error) => return Outcome::Unknown(error),
            }
        }
        Outcome::Done(all)
    }

    /// Asks something. All requests are sent, all pages followed; a question for one order ends with
    /// the first request that knows it. `Ok(None)`: the exchange says that there is no such order.
    ///
    /// # Errors
    /// Why it is not known.
    pub async fn ask(
        &self,
        question: &Question<'_>,
        table: &InstrumentTable,
        priority: Priority,
    ) -> Result<Option<Facts>, CryptoError> {
        let is_one_order = matches!(question, Question::Order { .. });
        let mut all = Facts::default();
        let mut is_known = !is_one_order;
        for (index, first) in self
            .venue
            .question(question, self.exchange_now())
            .into_iter()
            .enumerate()
        {
            let mut next = Some(first);
            let mut pages = 0;
            while let Some(request) = next.take() {
                pages += 1;
                if pages > PAGES_MAX {
                    let what = format!("{} pages were not enough", PAGES_MAX);
                    return Err(CryptoError::new(CryptoCode::ProviderUnavailable, what));
                }
                let mut tries = 0;
                let body = loop {
                    tries += 1;
                    match self.attempt(&request, priority).await {
                        Ok(Ok(body)) => break Some(body),
                        Ok(Err(failure)) => match failure.proof {
                            Proof::NoSuchOrder => break None,
                            Proof::ClockSkew if tries < 3 => {
                                self.measure_clock(request.market).await
                            }
                            Proof::Nothing if tries < 3 => self.pause(tries).await,
                            // A question can wait; what it answers is worth it.
                            Proof::NotNow if tries < 5 => {
                                let secs = failure.retry_after_secs.unwrap_or(1);
                                if secs > 5 {
                                    return Err(failure.error);
                                }
                                self.clock.sleep(Duration::from_secs(secs.max(1))).await;
                            }
                            _ => return Err(failure.error),
                        },
                        // A question may be asked again.
                        Err(_) if tries < 3 => self.pause(tries).await,
                        Err(error) => return Err(error),
                    }
                };
                let Some(body) = body else { continue };
                let now = self.clock.now();
                let mut facts = self
                    .venue
                    .parse_answer(question, index, &body, table, now)
                    .map_err(|error| self.unreadable(&error))?;
                next = facts.next.take();
                is_known |= !facts.orders.is_empty();
                merge(&mut all, facts);
                if is_one_order && is_known {
                    return Ok(Some(all));
                }
            }
        }
        Ok(is_known.then_some(all))
    }

    /// One request: the body of a success, or what the failure means. The error is a lost answer.
    pub async fn attempt(
        &self,
        request: &NativeRequest,
        priority: Priority,
    ) -> Result<Result<bytes::Bytes, Failure>, CryptoError> {
        let exchange = self.provider.exchange();
        let (host, _) = exchange.rest_host(request.market);
        let refused = |error: CryptoError, proof| {
            Ok(Err(Failure {
                error,
                proof,
                retry_after_secs: None,
            }))
        };
        let base = match self.rest.reach(self.provider, request.market).await {
            Ok(Some(base)) => base,
            Ok(None) => {
                let what = format!("{} has no such market here", self.provider.name());
                return refused(
                    CryptoError::new(CryptoCode::Unsupported, what),
                    Proof::Refused,
                );
            }
            Err(reason) => return self.without_answer(request, NoAnswer::NotSent(reason)),
        };
        let charge = match self.charge(request, priority) {
            Ok(charge) => charge,
            Err(failure) => return Ok(Err(failure)),
        };
        let signed = self.venue.sign(
            &self.keys.get(),
            request,
            host,
            self.exchange_now(),
            self.window_ms,
        );
        let signed = match signed {
            Ok(signed) => signed,
            Err(error) => {
                self.rest.settle(&charge, |_| None, None);
                return refused(error, Proof::Refused);
            }
        };
        self.log_sent(request, "http");
        let answer = match self.wire.send(&base, signed, self.patience).await {
            Ok(answer) => answer,
            Err(no_answer) => {
                self.rest.settle(&charge, |_| None, None);
                return self.without_answer(request, no_answer);
            }
        };
        let failure = self.failure(request, &answer);
        self.log_answer(request, answer.status, failure.as_ref());
        let pause = pause_of(failure.as_ref(), answer.status);
        let charge = self.cost(charge, request, failure.is_none());
        self.rest.settle(&charge, |name| answer.header(name), pause);
        Ok(match failure {
            Some(failure) => Err(failure),
            None => Ok(answer.body),
        })
    }

    /// One request of a command on a line, as [`Live::attempt`] is one over HTTP. `None`: nothing was
    /// written, because the exchange takes no such thing there, or the line is not up: it may go over HTTP.
    async fn by_line(
        &self,
        lines: &Lines,
        command: &Command<'_>,
        request: &NativeRequest,
        priority: Priority,
    ) -> Option<Result<Result<bytes::Bytes, Failure>, CryptoError>> {
        // What stops everything must not hang on whether a line is up.
        let is_order = matches!(
            command,
            Command::Place { .. } | Command::Cancel { .. } | Command::Amend { .. }
        );
        if !is_order
            || self
                .rest
                .address_of(self.provider, request.market)
                .is_none()
        {
            return None;
        }
        let id = lines.next_id();
        let frame = self.venue.order_frame(
            command,
            request,
            id,
            &self.keys.get(),
            self.exchange_now(),
            self.window_ms,
        );
        let frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => return None,
            Err(error) => {
                return Some(Ok(Err(Failure {
                    error,
                    proof: Proof::Refused,
                    retry_after_secs: None,
                })));
            }
        };
        // The same budgets count on either way.
        let charge = match self.charge(request, priority) {
            Ok(charge) => charge,
            Err(failure) => return Some(Ok(Err(failure))),
        };
        self.log_sent(request, "websocket");
        let sent = lines.send(frame.route, id, frame.text, self.patience).await;
        let answer = match sent {
            Sent::Answer(answer) => answer,
            Sent::Never(reason) => {
                self.rest.settle(&charge, |_| None, None);
                tracing::debug!(provider = self.provider.name(), request = %request.path, %reason,
                    "goes by HTTP");
                return None;
            }
            Sent::Lost(reason) => {
                self.rest.settle(&charge, |_| None, None);
                return Some(self.without_answer(request, NoAnswer::Lost(reason)));
            }
        };
        let failure = self.judge(
            request,
            answer.status,
            answer.retry_after.as_deref(),
            &answer.body,
        );
        self.log_answer(request, answer.status, failure.as_ref());
        let pause = pause_of(failure.as_ref(), answer.status);
        let header = |name: &str| {
            let row = answer.headers.iter().find(|(known, _)| *known == name);
            row.map(|(_, value)| value.clone())
        };
        let charge = self.cost(charge, request, failure.is_none());
        self.rest.settle(&charge, header, pause);
        Some(Ok(match failure {
            Some(failure) => Err(failure),
            None => Ok(answer.body.into()),
        }))
    }

    /// Of what is sent only the name is logged: the rest is signed, or the key itself.
    fn log_sent(&self, request: &NativeRequest, way: &'static str) {
        tracing::debug!(provider = self.provider.name(), method = request.method.as_str(),
            path = %request.path, way, "request to the exchange");
    }

    fn log_answer(&self, request: &NativeRequest, status: u16, failure: Option<&Failure>) {
        let (provider, path) = (self.provider.name(), &request.path);
        match failure {
            None => tracing::debug!(provider, %path, status, "the exchange has answered"),
            Some(Failure { error, proof, .. }) => tracing::debug!(provider, %path, status,
                code = error.code.as_str(), ?proof, "the exchange has refused: {}", error.message),
        }
    }

    /// Takes what a request costs out of its budget; where there is not enough left, that is a failure.
    fn charge(&self, request: &NativeRequest, priority: Priority) -> Result<Charge, Failure> {
        self.rest
            .charge(self.provider, request, priority)
            .map_err(|wait| {
                let secs = wait.as_secs().max(1);
                let what = format!("the exchange's limit is used up for {secs} s");
                let error = CryptoError::new(CryptoCode::RateLimitExceeded, what)
                    .with("provider", self.provider.name())
                    .with("retry_after_seconds", secs);
                Failure {
                    error,
                    proof: Proof::NotNow,
                    retry_after_secs: Some(secs),
                }
            })
    }

    /// What an answered request has cost.
    fn cost(&self, charge: Charge, request: &NativeRequest, is_taken: bool) -> Charge {
        match is_taken && self.venue.is_free_when_taken(request) {
            true => charge.freed(),
            false => charge,
        }
    }

    fn failure(&self, request: &NativeRequest, answer: &Answer) -> Option<Failure> {
        let retry_after = answer.header("retry-after");
        self.judge(request, answer.status, retry_after.as_deref(), &answer.body)
    }

    /// What an answer means, whichever way it came; codes without a meaning are counted.
    fn judge(
        &self,
        request: &NativeRequest,
        status: u16,
        retry_after: Option<&str>,
        body: &[u8],
    ) -> Option<Failure> {
        let failure = self.venue.failure(request, status, retry_after, body);
        let is_unmapped = failure.as_ref().is_some_and(|f| f.error.is_unmapped());
        self.unmapped
            .set(self.unmapped.get() + u64::from(is_unmapped));
        failure
    }

    fn without_answer(
        &self,
        request: &NativeRequest,
        no_answer: NoAnswer,
    ) -> Result<Result<bytes::Bytes, Failure>, CryptoError> {
        let place = format!("{} {}", request.method.as_str(), request.path);
        tracing::debug!(provider = self.provider.name(), path = %request.path, ?no_answer,
            "the exchange has not answered");
        match no_answer {
            NoAnswer::NotSent(reason) => {
                let what = format!("{} can't be reached: {reason}", self.provider.name());
                let error = CryptoError::new(CryptoCode::ProviderUnavailable, what)
                    .with("provider", self.provider.name())
                    .with("request", place);
                Ok(Err(Failure {
                    error,
                    proof: Proof::NotNow,
                    retry_after_secs: None,
                }))
            }
            NoAnswer::Lost(reason) => {
                let what = format!("{} did not answer: {reason}", self.provider.name());
                Err(CryptoError::new(CryptoCode::OrderStateUnknown, what)
                    .with("provider", self.provider.name())
                    .with("request", place))
            }
        }
    }

    fn unreadable(&self, error: &bookwire_engine::exchange::DecodeError) -> CryptoError {
        let what = format!(
            "the answer of {} can't be read: {error}",
            self.provider.name()
        );
        CryptoError::new(CryptoCode::OrderStateUnknown, what).with("provider", self.provider.name())
    }

    async fn pause(&self, tries: u32) {
        self.clock
            .sleep(Duration::from_millis(200 << tries.min(4)))
            .await;
    }

    /// Where a private connection goes: to its host, or to the bridge, which is started when it does not
    /// run. The error is why there is none.
    pub async fn stream_base(
        &self,
        options: &AccountOptions,
        route: &PrivateRoute,
    ) -> Result<String, String> {
        match self.rest.bridge(self.provider) {
            None => {
                let base = options.stream_base(route.host, route.base_url);
                Ok(base.to_owned())
            }
            Some(bridge) => match bridge.ensure().await {
                Ok(running) => Ok(running.ws.clone()),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    /// Opens connections to the hosts where there are none, and uses them, so that no order waits for one.
    pub async fn warm(&self, markets: &[Market]) {
        let exchange = self.provider.exchange();
        let mut warmed: Vec<String> = Vec::new();
        for market in markets {
            let Some(base) = self.rest.address_of(self.provider, *market) else {
                continue;
            };
            let time = exchange.time_request(*market);
            if warmed.contains(&base) {
                continue;
            }
            // Where there is no room for it, or the host wants a pause, it is not worth one.
            let Some(charge) = self.rest.charge_public(self.provider, *market, &time) else {
                continue;
            };
            let answer = self.wire.warm(&format!("{base}{}", time.path)).await;
            warmed.push(base);
            let header = |name: &str| answer.as_ref().and_then(|answer| answer.header(name));
            let failed = answer
                .as_ref()
                .filter(|one| !(200..300).contains(&one.status));
            let failure = failed.map(|failed| {
                let after = header("retry-after");
                exchange.rest_failure(*market, failed.status, after.as_deref(), &failed.body)
            });
            let secs = failure.and_then(|failure| failure.retry_after_secs);
            let pause = secs.map(|secs| (Duration::from_secs(secs.max(1)), true));
            self.rest.settle(&charge, header, pause);
        }
    }
}

/// How long a failed answer asks to wait, and whether of the whole host.
fn pause_of(failure: Option<&Failure>, status: u16) -> Option<(Duration, bool)> {
    let secs = failure?.retry_after_secs?;
    let is_of_host = !(200..300).contains(&status);
    Some((Duration::from_secs(secs.max(1)), is_of_host))
}

/// Adds facts to facts.
pub(crate) fn merge(all: &mut Facts, more: Facts) {
    all.orders.extend(more.orders);
    all.fills.extend(more.fills);
    all.balances.extend(more.balances);
    all.positions.extend(more.positions);
    all.has_all_balances |= more.has_all_balances;
    all.has_all_positions |= more.has_all_positions;
    all.is_hedged = more.is_hedged.or(all.is_hedged);
    all.permissions = more.permissions.or(all.permissions);
    all.balances_are_stale |= more.balances_are_stale;
    all.support.extend(more.support);
}
