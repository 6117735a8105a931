//! Whose a request is, and what its sender may do.
//!
//! The gate calls [`identify`] for every request. A handler that needs somebody takes a [`Caller`] as an
//! argument, asks it with [`Caller::require`] and counts with [`Caller::charge`]; one that commands takes
//! an [`Operator`](crate::operator::Operator). Market data are open: what is wrong with a key is told by
//! the handlers that need one.
//!
//! Three things prove a key: its secret in `Authorization: Bearer api_key.secret`; a signature of the
//! request; a signature of a WebSocket session's `auth`. Secrets and signatures are compared in a time
//! that does not depend on how much of them is right. Wrong ones are counted per address; above the limit
//! they are answered with 429. A right one always passes, so that nobody who shares an address can lock a
//! trader out.

mod replay;
mod sent;
mod watch;

use std::cell::Cell;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use bookwire_engine::config::Config;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::keys::{ApiKey, Ended, Identity, KeyRing, KeySpec, Permission, Permissions};
use bookwire_engine::time::TsNanos;
use bookwire_engine::vault::{Secret, Vault, VaultError};
use bytes::Bytes;

pub use sent::Timestamp;
pub use watch::{KeyFiles, Started};

use self::replay::Replay;
use self::sent::{FORMS, Sent, unauthorized};
use crate::audit::Audit;
use crate::error::{ApiError, wall_clock};
use crate::gate;
use crate::limit::{Allowance, Limiter, RateLimiter};
use crate::net::client;
use crate::operator::OperatorKey;

/// What a request of a key is counted against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// Everything about trading but cancels.
    Trading,
    /// Cancels, which have to pass when orders no longer do.
    Cancel,
}

/// What a WebSocket session sends to prove a key.
pub struct SessionProof<'a> {
    /// The key's id.
    pub api_key: &'a str,
    /// The provider's public name, as sent.
    pub provider: &'a str,
    /// Milliseconds, as sent.
    pub timestamp: &'a str,
    /// 64 hex digits.
    pub signature: &'a str,
    /// Id of the client's connection.
    pub trace: &'a str,
}

/// Keys in force and what is counted about them. Clones are the same.
#[derive(Clone)]
pub struct Auth(Arc<Shared>);

struct Shared {
    operator: Option<OperatorKey>,
    ring: tokio::sync::watch::Sender<Arc<KeyRing>>,
    vault: Vault,
    replay: Replay,
    /// Stands in where an id is unknown, so that the answer takes as long.
    nobody: Secret,
    wrong: RateLimiter,
    wrong_total: AtomicU64,
    trading: Limiter<Arc<str>>,
    cancels: Limiter<Arc<str>>,
    audit: OnceLock<Audit>,
}

impl Auth {
    /// Nobody but the operator has a key so far.
    #[must_use]
    pub fn new(config: &Config, operator: Option<OperatorKey>) -> Self {
        let window = i64::from(config.keys.signature_window_ms);
        let limits = &config.limits;
        Self(Arc::new(Shared {
            operator,
            ring: tokio::sync::watch::Sender::new(Arc::default()),
            vault: Vault::closed(),
            replay: Replay::new(window, wall_clock().as_ms()),
            nobody: Secret::new([0; 43]),
            wrong: RateLimiter::new(limits.wrong_keys_per_minute),
            wrong_total: AtomicU64::new(0),
            trading: Limiter::new(limits.trading_per_minute),
            cancels: Limiter::new(limits.cancels_per_minute),
            audit: OnceLock::new(),
        }))
    }

    /// Has commands and wrong proofs recorded; the first log that is given stays.
    pub fn set_audit(&self, audit: Audit) {
        let _ = self.0.audit.set(audit);
    }

    /// The audit log; one that keeps nothing when none was given.
    #[must_use]
    pub fn audit(&self) -> Audit {
        self.0.audit.get().cloned().unwrap_or_default()
    }

    /// The id of a key that there is. Anything may have been sent in place of one, a secret too.
    fn shown<'a>(&self, id: &'a str) -> &'a str {
        let operator = self.0.operator.as_ref();
        let is_known = operator.is_some_and(|operator| operator.id() == id);
        match is_known || self.ring().get(id).is_some() {
            true => id,
            false => "unknown",
        }
    }

    /// The exchanges' credentials: closed until there is a master key, then as new as their file.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.0.vault
    }

    /// The keys of this moment.
    #[must_use]
    pub fn ring(&self) -> Arc<KeyRing> {
        self.0.ring.borrow().clone()
    }

    /// Is told when keys have changed.
    #[must_use]
    pub fn changes(&self) -> tokio::sync::watch::Receiver<Arc<KeyRing>> {
        self.0.ring.subscribe()
    }

    /// Adds a key that is in no file and ends with the process. Returns its secret.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn add(&self, id: &str, spec: KeySpec) -> Result<Secret, VaultError> {
        let now = wall_clock();
        let mut secret = Err(VaultError::NoRandomness);
        // In place: the thread that follows the files may be changing them too.
        self.0.ring.send_modify(|ring| {
            let mut newer = (**ring).clone();
            secret = newer.add(id, spec, now);
            *ring = Arc::new(newer);
        });
        secret
    }

    /// Puts other keys in force; `None`: they can't be read, and none is.
    pub(self) fn replace(&self, newer: Option<KeyRing>) {
        self.0
            .ring
            .send_modify(|ring| *ring = Arc::new(ring.replaced_by(newer)));
    }

    /// Wrong keys and signatures since the start.
    #[must_use]
    pub fn wrong_keys(&self) -> u64 {
        self.0.wrong_total.load(Ordering::Relaxed)
    }

    /// Whether anybody could command.
    #[must_use]
    pub fn has_operator(&self) -> bool {
        self.0.operator.is_some() || self.ring().has(Permission::Admin, wall_clock())
    }

    /// Why somebody who has proven a key is nobody any more.
    #[must_use]
    pub fn ended(&self, identity: &Identity, now: TsNanos) -> Option<Ended> {
        self.ring().ended(identity, now)
    }

    /// Forgets signatures that are over.
    pub(self) fn sweep(&self) {
        self.0.replay.sweep(wall_clock().as_ms());
    }

    /// What proves nothing, from this address.
    fn wrong(&self, id: &str, address: IpAddr, what: CryptoError) -> CryptoError {
        self.0.wrong_total.fetch_add(1, Ordering::Relaxed);
        let allowance = self.0.wrong.take(address, Instant::now());
        if allowance.is_allowed {
            tracing::warn!(key = id, %address, "refused: {}", what.message);
            return what;
        }
        let mut error = allowance.error();
        error.message = "too many wrong keys from this address".to_owned();
        error.suggest("send a right key: that one is not held up")
    }

    /// The identity that `check` finds a key to prove, when that is good here and now.
    fn prove(
        &self,
        id: &str,
        address: IpAddr,
        now: TsNanos,
        check: impl Fn(&ApiKey) -> Option<Identity>,
        check_nobody: impl FnOnce(&Secret),
    ) -> Result<Identity, CryptoError> {
        let ring = self.ring();
        let Some(key) = ring.get(id) else {
            check_nobody(&self.0.nobody);
            return Err(self.wrong(
                id,
                address,
                unauthorized("the API key or its proof is wrong"),
            ));
        };
        let found = check(key);
        // A revoked key has no secrets that could be compared.
        if let Some(ended) = key.ended(now)
            && (found.is_some() || ended == Ended::Revoked)
        {
            let mut error = unauthorized(ended.to_string());
            error.recovery_suggestions = vec!["make a key with `bookwire keys create`".to_owned()];
            return Err(self.wrong(id, address, error));
        }
        let Some(identity) = found else {
            return Err(self.wrong(
                id,
                address,
                unauthorized("the API key or its proof is wrong"),
            ));
        };
        if !key.is_from(address) {
            tracing::warn!(key = id, %address, "refused: the key is not for this address");
            return Err(CryptoError::new(
                CryptoCode::Forbidden,
                "the API key may not be used from this address",
            )
            .with("address", address.to_string())
            .suggest("use a key whose networks hold the address, or make one"));
        }
        Ok(identity)
    }

    fn bearer(&self, id: &str, secret: &Secret, from: IpAddr) -> Result<Identity, CryptoError> {
        if let Some(operator) = &self.0.operator
            && operator.admits(id, secret)
        {
            return Ok(Identity::operator(operator.id()));
        }
        let now = wall_clock();
        let check = |key: &ApiKey| key.proven_by(secret.expose(), now);
        self.prove(id, from, now, check, |nobody| {
            std::hint::black_box(nobody.is(secret.expose()));
        })
    }

    /// Who has signed these parts; the signature is good once.
    fn signed(
        &self,
        id: &str,
        timestamp: &Timestamp,
        signature: replay::Signature,
        parts: &[&[u8]],
        from: IpAddr,
        now: TsNanos,
    ) -> Result<Identity, CryptoError> {
        self.0.replay.check_time(timestamp.ms, now.as_ms())?;
        let check = |key: &ApiKey| key.signed_by(parts, &signature, now);
        let identity = self.prove(id, from, now, check, |nobody| {
            std::hint::black_box(nobody.has_signed(parts, &signature));
        })?;
        let now_ms = now.as_ms();
        let replay = &self.0.replay;
        replay
            .use_up(&identity.key_id, signature, timestamp.ms, now_ms)
            .map_err(|error| match error.code {
                CryptoCode::Unauthorized => self.wrong(id, from, error),
                _ => error,
            })?;
        Ok(identity)
    }

    /// Proves a key for a WebSocket session and one provider.
    ///
    /// # Errors
    /// `CRYPTO_INVALID_PARAMETER` for what is no proof, `CRYPTO_UNAUTHORIZED` for a wrong one,
    /// `CRYPTO_FORBIDDEN` when the key is not for the provider or the address,
    /// `CRYPTO_RATE_LIMIT_EXCEEDED` after too many wrong ones.
    pub fn session(
        &self,
        proof: &SessionProof<'_>,
        from: IpAddr,
        now: TsNanos,
    ) -> Result<(ProviderId, Identity), CryptoError> {
        let provider = ProviderId::parse(proof.provider).ok_or_else(|| {
            let names: Vec<&str> = ProviderId::all().map(ProviderId::name).collect();
            CryptoError::invalid_parameter("provider", proof.provider, names.join(", "))
        })?;
        let timestamp = Timestamp::parse(proof.timestamp).ok_or_else(|| {
            let accepted = "milliseconds since 1970";
            CryptoError::invalid_parameter("timestamp", proof.timestamp, accepted)
        })?;
        // Neither value is repeated.
        let signature = sent::signature(proof.signature)
            .ok_or_else(|| CryptoError::invalid_parameter("signature", "…", "64 hex digits"))?;
        if !sent::is_id(proof.api_key) {
            let accepted = "the id of an API key, without its secret";
            return Err(CryptoError::invalid_parameter("api_key", "…", accepted));
        }
        let parts: &[&[u8]] = &[
            timestamp.text.as_bytes(),
            proof.api_key.as_bytes(),
            proof.provider.as_bytes(),
        ];
        let identity = self
            .signed(proof.api_key, &timestamp, signature, parts, from, now)
            .inspect_err(|error| {
                let key = self.shown(proof.api_key);
                self.audit()
                    .auth_failed("ws", key, from, proof.trace, error);
            })?;
        if !identity.providers.has(provider) {
            return Err(not_for(&identity, provider));
        }
        Ok((provider, identity))
    }

    /// What a key that was named without a proof is: enough to look at oneself.
    ///
    /// # Errors
    /// `CRYPTO_UNAUTHORIZED` when there is none that is good here and now, `CRYPTO_RATE_LIMIT_EXCEEDED`
    /// after too many such.
    pub fn named(&self, id: &str, from: IpAddr) -> Result<Arc<ApiKey>, CryptoError> {
        let ring = self.ring();
        let Some(key) = ring.get(id) else {
            return Err(self.wrong(id, from, unauthorized("there is no such API key")));
        };
        if let Some(ended) = key.ended(wall_clock()) {
            return Err(unauthorized(ended.to_string()));
        }
        if !key.is_from(from) {
            return Err(unauthorized(
                "the API key may not be used from this address",
            ));
        }
        Ok(key.clone())
    }

    /// What a key may still do.
    #[must_use]
    pub fn allowance(&self, key: &Arc<str>, bucket: Bucket) -> Allowance {
        self.limiter(bucket).peek(key.clone(), Instant::now())
    }

    fn limiter(&self, bucket: Bucket) -> &Limiter<Arc<str>> {
        match bucket {
            Bucket::Trading => &self.0.trading,
            Bucket::Cancel => &self.0.cancels,
        }
    }
}

/// The key is not for this provider.
fn not_for(identity: &Identity, provider: ProviderId) -> CryptoError {
    let name = provider.name();
    CryptoError::new(
        CryptoCode::Forbidden,
        format!("the API key is not for {name}"),
    )
    .with("provider", name)
    .with("providers", identity.providers.names().unwrap_or_default())
    .suggest(format!("use a key whose providers include {name}"))
}

/// Somebody who has proven an API key. Handlers take it as an argument.
#[derive(Clone)]
pub struct Caller {
    identity: Identity,
    auth: Auth,
    charged: Rc<Cell<Option<Allowance>>>,
}

impl Caller {
    /// The key's id: for the log, the journal, and as the name of who did it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.identity.key_id
    }

    /// The key's id, permissions and providers.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether the key may be used for this, with this provider where one is meant.
    #[must_use]
    pub fn may(&self, permission: Permission, provider: Option<ProviderId>) -> bool {
        self.identity.may(permission, provider)
    }

    /// Refuses what the key may not be used for.
    ///
    /// # Errors
    /// `CRYPTO_FORBIDDEN` that names the permission, or the provider.
    pub fn require(
        &self,
        permission: Permission,
        provider: impl Into<Option<ProviderId>>,
    ) -> Result<(), CryptoError> {
        if !self.identity.permissions.has(permission) {
            return Err(lacks(permission, self.identity.permissions));
        }
        match provider.into() {
            Some(provider) if !self.identity.providers.has(provider) => {
                Err(not_for(&self.identity, provider))
            }
            _ => Ok(()),
        }
    }

    /// Whether the key is for all providers.
    #[must_use]
    pub fn has_all_providers(&self) -> bool {
        self.identity.providers.names().is_none()
    }

    /// Counts a request of the key. The answer's `X-RateLimit-*` headers are then those of this bucket.
    ///
    /// # Errors
    /// `CRYPTO_RATE_LIMIT_EXCEEDED` when the minute's are used up.
    pub fn charge(&self, bucket: Bucket) -> Result<(), CryptoError> {
        let limiter = self.auth.limiter(bucket);
        let allowance = limiter.take(self.identity.key_id.clone(), Instant::now());
        self.charged.set(Some(allowance));
        if allowance.is_allowed {
            return Ok(());
        }
        let what = match bucket {
            Bucket::Trading => "trading requests",
            Bucket::Cancel => "cancels",
        };
        let mut error = allowance.error();
        error.message = format!(
            "more than {} {what} a minute of one API key",
            allowance.limit
        );
        Err(error)
    }
}

/// `CRYPTO_FORBIDDEN` naming the permission.
pub(crate) fn lacks(permission: Permission, has: Permissions) -> CryptoError {
    let name = permission.as_str();
    CryptoError::new(
        CryptoCode::Forbidden,
        format!("the API key lacks the permission {name}"),
    )
    .with("permission", name)
    .with("permissions", has.names())
    .suggest(format!("use a key with the permission {name}"))
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let found = identified(request);
        let found = found.unwrap_or_else(|| Err(unauthorized("this needs an API key")));
        ready(found.map_err(ApiError::from))
    }
}

/// What [`identify`] found out.
#[derive(Clone)]
struct Identified {
    found: Result<Caller, CryptoError>,
    bare: Option<String>,
}

/// Who sent the request; `None`: nobody said so, or without a proof.
#[must_use]
pub fn identified(request: &HttpRequest) -> Option<Result<Caller, CryptoError>> {
    let all = request.extensions();
    all.get::<Identified>().map(|one| one.found.clone())
}

/// The key that a request names without a proof.
pub(crate) fn bare(request: &HttpRequest) -> Option<String> {
    request.extensions().get::<Identified>()?.bare.clone()
}

/// The key that a request claims to prove; `None` when it claims none, or only names one.
pub(crate) fn claimed(request: &HttpRequest) -> Option<String> {
    let auth = request.app_data::<web::Data<Auth>>()?;
    let id = match sent::read(request.headers()) {
        Ok(Some(Sent::Bearer { id, .. } | Sent::Signed { id, .. })) => id,
        Ok(Some(Sent::Bare { .. }) | None) => return None,
        Err(_) => String::new(),
    };
    Some(auth.shown(&id).to_owned())
}

/// What the handler charged, for the headers of its answer.
pub(crate) fn charged(request: &HttpRequest) -> Option<Allowance> {
    let all = request.extensions();
    let caller = all.get::<Identified>()?.found.as_ref().ok()?;
    caller.charged.get()
}

/// Finds out who sent a request, for the extractors. A signed one is read whole, and given on as it was.
///
/// # Errors
/// The body of a signed request can't be read, or is too large.
pub async fn identify(request: &mut ServiceRequest) -> Result<(), ApiError> {
    let Some(auth) = request.app_data::<web::Data<Auth>>().cloned() else {
        return Ok(());
    };
    // The body of such a request does not end before the connection does.
    let upgrade = request.headers().get(header::UPGRADE);
    if upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return Ok(());
    }
    let from = client::address(request.request());
    let mut bare = None;
    let found = match sent::read(request.headers()) {
        Ok(None) => return Ok(()),
        Err(error) => Err(error),
        Ok(Some(Sent::Bare { id })) => {
            bare = Some(id);
            Err(unauthorized(
                "an API key without its secret or a signature proves nothing",
            ))
        }
        Ok(Some(Sent::Bearer { id, secret })) => auth.bearer(&id, &secret, from),
        Ok(Some(Sent::Signed {
            id,
            timestamp,
            signature,
        })) => match auth.0.replay.check_time(timestamp.ms, wall_clock().as_ms()) {
            // Its body is not worth reading.
            Err(error) => Err(error),
            Ok(()) => {
                let body = take_body(request).await?;
                let path = request.uri().path_and_query();
                let path = path.map_or("/", |path| path.as_str()).to_owned();
                let method = request.method().as_str().to_owned();
                let parts: &[&[u8]] = &[
                    timestamp.text.as_bytes(),
                    method.as_bytes(),
                    path.as_bytes(),
                    &body,
                ];
                auth.signed(&id, &timestamp, signature, parts, from, wall_clock())
            }
        },
    };
    let found = found.map(|identity| Caller {
        identity,
        auth: auth.get_ref().clone(),
        charged: Rc::default(),
    });
    request.extensions_mut().insert(Identified { found, bare });
    Ok(())
}

/// Reads the body, and puts it back for the handler.
pub(crate) async fn take_body(request: &mut ServiceRequest) -> Result<Bytes, ApiError> {
    let body = request
        .extract::<Bytes>()
        .await
        .map_err(|error| ApiError::of_status(gate::status_of(&error), ""))?;
    let (_, mut payload) = actix_http::h1::Payload::create(true);
    payload.unread_data(body.clone());
    request.set_payload(Payload::from(payload));
    Ok(body)
}

/// How keys are sent, for messages elsewhere.
pub(crate) const KEY_FORMS: &str = FORMS;

#[cfg(test)]
mod tests;
