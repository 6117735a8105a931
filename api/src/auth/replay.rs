//! A signature is good once.
//!
//! Seen signatures are remembered for as long as their time would be accepted again. The memory of each
//! key is bounded; a key that fills it is refused until signatures have run out, because to forget one
//! would be to accept it twice. What was signed before the process began is refused: the process before
//! may have seen it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use bookwire_engine::error::{CryptoCode, CryptoError};

/// Signatures of one key within the window: some hundred a second.
const SIGNATURES_MAX: usize = 8_192;

/// A signature, as bytes.
pub type Signature = [u8; 32];

#[derive(Default)]
struct Seen {
    signatures: HashSet<Signature>,
    /// With the last millisecond at which they would be accepted.
    ends: BTreeSet<(i64, Signature)>,
}

/// The signatures that were used.
pub struct Replay {
    window_ms: i64,
    started_ms: i64,
    seen: Mutex<HashMap<Arc<str>, Seen>>,
}

fn refused(message: String) -> CryptoError {
    CryptoError::new(CryptoCode::Unauthorized, message)
}

impl Replay {
    /// Nothing was used so far, and nothing that was signed before `started_ms` is accepted.
    pub fn new(window_ms: i64, started_ms: i64) -> Self {
        Self {
            window_ms,
            started_ms,
            seen: Mutex::default(),
        }
    }

    /// Whether a signature of this time can be accepted at all. Milliseconds since 1970.
    ///
    /// # Errors
    /// `CRYPTO_UNAUTHORIZED` with both times.
    pub fn check_time(&self, signed_ms: i64, now_ms: i64) -> Result<(), CryptoError> {
        let window = self.window_ms;
        if (now_ms.saturating_sub(signed_ms)).saturating_abs() > window {
            return Err(refused(format!(
                "the timestamp of the signature is more than {window} ms off"
            ))
            .with("timestamp", signed_ms)
            .with("server_time", now_ms)
            .with("window_ms", window)
            .suggest(
                "set the clock, sign with the current time in milliseconds, and send at once",
            ));
        }
        if signed_ms < self.started_ms {
            return Err(refused(
                "the request was signed before the server began: it may have been answered then"
                    .to_owned(),
            )
            .with("timestamp", signed_ms)
            .with("server_time", now_ms)
            .suggest("sign it again with the current time"));
        }
        Ok(())
    }

    /// Uses a signature up. It has to be a right one of this key: others must not fill its memory.
    ///
    /// # Errors
    /// `CRYPTO_UNAUTHORIZED` when it was used before, `CRYPTO_RATE_LIMIT_EXCEEDED` when there are too
    /// many.
    pub fn use_up(
        &self,
        key: &Arc<str>,
        signature: Signature,
        signed_ms: i64,
        now_ms: i64,
    ) -> Result<(), CryptoError> {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = all.entry(key.clone()).or_default();
        while let Some(first) = seen.ends.first().copied()
            && first.0 < now_ms
        {
            seen.ends.remove(&first);
            seen.signatures.remove(&first.1);
        }
        if seen.signatures.contains(&signature) {
            return Err(refused("the signature was used before".to_owned())
                .suggest("sign each request anew, with the current time"));
        }
        if seen.signatures.len() >= SIGNATURES_MAX {
            let wait = self.window_ms.saturating_mul(2).div_euclid(1000) + 1;
            return Err(CryptoError::new(
                CryptoCode::RateLimitExceeded,
                format!("more than {SIGNATURES_MAX} signatures of one key at a time"),
            )
            .with("rate_limit", SIGNATURES_MAX)
            .with("retry_after_seconds", wait)
            .with("current_usage", SIGNATURES_MAX));
        }
        seen.signatures.insert(signature);
        seen.ends
            .insert((signed_ms.saturating_add(self.window_ms), signature));
        Ok(())
    }

    /// Forgets what is over, of keys too that are not used any more.
    pub fn sweep(&self, now_ms: i64) {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, seen| seen.ends.last().is_some_and(|last| last.0 >= now_ms));
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let all = self.seen.lock().unwrap();
        all.values().map(|seen| seen.signatures.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(n: u64) -> Signature {
        let mut out = [0; 32];
        out[..8].copy_from_slice(&n.to_le_bytes());
        out
    }

    #[test]
    fn a_time_is_accepted_within_the_window() {
        let replay = Replay::new(5_000, 0);
        for (signed, is_ok) in [
            (94_999, false),
            (95_000, true),
            (100_000, true),
            (105_000, true),
            (105_001, false),
            (i64::MIN, false),
            (i64::MAX, false),
        ] {
            let found = replay.check_time(signed, 100_000);
            assert_eq!(found.is_ok(), is_ok, "{signed}");
        }
        let replay = Replay::new(5_000, 98_000);
        assert!(replay.check_time(98_000, 100_000).is_ok());
        let told = replay.check_time(97_999, 100_000).unwrap_err();
        assert!(told.message.contains("before the server began"), "{told}");
    }

    #[test]
    fn a_signature_is_good_once_for_as_long_as_its_time_is() {
        let replay = Replay::new(5_000, 0);
        let key: Arc<str> = "one".into();
        // Signed by a clock that is ahead: it would be accepted for twice the window.
        let (signed, signature) = (14_000, signature(1));
        replay.use_up(&key, signature, signed, 10_000).unwrap();
        for now in [10_000, 14_000, 19_000] {
            assert!(replay.check_time(signed, now).is_ok(), "{now}");
            assert!(
                replay.use_up(&key, signature, signed, now).is_err(),
                "{now}"
            );
        }
        assert!(replay.check_time(signed, 19_001).is_err());
        let other: Arc<str> = "other".into();
        replay.use_up(&other, signature, signed, 10_000).unwrap();
        replay.sweep(19_000);
        assert_eq!(replay.len(), 2);
        replay.sweep(19_001);
        assert_eq!(replay.len(), 0);
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_forgotten_early() {
        let replay = Replay::new(5_000, 0);
        let key: Arc<str> = "busy".into();
        for n in 0..SIGNATURES_MAX as u64 {
            replay
                .use_up(&key, signature(n), 1_000 + n as i64 % 3, 1_000)
                .unwrap();
        }
        let told = replay
            .use_up(&key, signature(1 << 40), 1_000, 1_000)
            .unwrap_err();
        assert_eq!(told.code, CryptoCode::RateLimitExceeded);
        assert!(replay.use_up(&key, signature(0), 1_000, 1_000).is_err());
        let other: Arc<str> = "quiet".into();
        assert!(
            replay.use_up(&other, signature(0), 1_000, 1_000).is_ok(),
            "others go on"
        );
        // Those of 1000 have run out at 6001, those of 1001 have not.
        assert!(
            replay
                .use_up(&key, signature(1 << 40), 6_001, 6_001)
                .is_ok()
        );
        assert!(replay.use_up(&key, signature(1), 1_001, 6_001).is_err());
    }
}
