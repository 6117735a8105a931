//! What of a provider can be changed while the engine runs: where its hosts live, and how much weight
//! we allow ourselves besides the exchange's own limits.
//!
//! Whoever opens a connection or sends a request looks here first, so that a change is in force with
//! the next one; connections that are open are told to open anew by whoever changes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use arc_swap::ArcSwap;
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::time::TsNanos;
use parking_lot::Mutex;

use crate::options::GatewayOptions;

/// Weight that a provider's requests may have, by our own wish.
#[derive(Debug, Default)]
struct Pace {
    /// A minute; 0: any.
    per_minute: u32,
    /// At once; 0: any.
    burst: u32,
    /// When everything that was let go would have gone at an even pace.
    due: i64,
}

const MINUTE: i64 = 60_000_000_000;

impl Pace {
    /// Takes `weight`, or says how long to wait. Weight above what may go at once counts as that.
    fn take(&mut self, now: TsNanos, weight: u32) -> Result<(), Duration> {
        if self.per_minute == 0 {
            // A burst alone is so much in a second.
            if self.burst == 0 {
                return Ok(());
            }
            return self.take_at(
                now,
                weight,
                1_000_000_000 / i64::from(self.burst),
                self.burst,
            );
        }
        let burst = match self.burst {
            0 => self.per_minute,
            burst => burst,
        };
        self.take_at(now, weight, MINUTE / i64::from(self.per_minute), burst)
    }

    fn take_at(
        &mut self,
        now: TsNanos,
        weight: u32,
        nanos_each: i64,
        burst: u32,
    ) -> Result<(), Duration> {
        let each = nanos_each.max(1);
        let cost = each.saturating_mul(i64::from(weight.min(burst)));
        let room = each.saturating_mul(i64::from(burst));
        let due = self.due.max(now.0).saturating_add(cost);
        let over = due.saturating_sub(now.0).saturating_sub(room);
        if over > 0 {
            return Err(Duration::from_nanos(over.unsigned_abs()));
        }
        self.due = due;
        Ok(())
    }
}

#[derive(Debug)]
struct Provider {
    hosts: ArcSwap<BTreeMap<String, String>>,
    pace: Mutex<Pace>,
}

/// The settings of all enabled providers. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Endpoints(Arc<AHashMap<ProviderId, Provider>>);

impl Endpoints {
    /// As configured.
    #[must_use]
    pub fn new(options: &GatewayOptions) -> Self {
        let all = options.providers.iter().map(|provider| {
            let pace = Pace {
                per_minute: provider.requests_per_minute,
                burst: provider.burst_limit,
                due: 0,
            };
            let settings = Provider {
                hosts: ArcSwap::from_pointee(provider.hosts.clone()),
                pace: Mutex::new(pace),
            };
            (provider.id, settings)
        });
        Self(Arc::new(all.collect()))
    }

    /// Base address of a host of the exchange: the mapped one, else `default`; no slash at the end.
    #[must_use]
    pub fn base(&self, provider: ProviderId, host: &str, default: &str) -> String {
        let hosts = self.0.get(&provider).map(|one| one.hosts.load());
        let mapped = hosts.as_ref().and_then(|hosts| hosts.get(host));
        let base = mapped.map_or(default, String::as_str);
        base.trim_end_matches('/').to_owned()
    }

    /// Moves the hosts of a provider. Connections that are open stay.
    pub fn set_hosts(&self, provider: ProviderId, hosts: BTreeMap<String, String>) {
        if let Some(one) = self.0.get(&provider) {
            one.hosts.store(Arc::new(hosts));
        }
    }

    /// Allows a provider's requests another weight a minute and at once; 0: any.
    pub fn set_pace(&self, provider: ProviderId, per_minute: u32, burst: u32) {
        if let Some(one) = self.0.get(&provider) {
            let mut pace = one.pace.lock();
            *pace = Pace {
                per_minute,
                burst,
                due: 0,
            };
        }
    }

    /// Takes weight, or says how long there is none.
    pub(crate) fn take(
        &self,
        provider: ProviderId,
        now: TsNanos,
        weight: u32,
    ) -> Result<(), Duration> {
        match self.0.get(&provider) {
            Some(one) => one.pace.lock().take(now, weight),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(per_minute: u32, burst: u32) -> Pace {
        Pace {
            per_minute,
            burst,
            due: 0,
        }
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_its_pace() {
        let second = 1_000_000_000;
        let at = |seconds: i64| TsNanos(1_000 * second + seconds * second);
        let mut pace = pace(60, 10);
        for _ in 0..10 {
            assert_eq!(pace.take(at(0), 1), Ok(()));
        }
        assert_eq!(pace.take(at(0), 1), Err(Duration::from_secs(1)));
        assert_eq!(pace.take(at(1), 1), Ok(()));
        assert_eq!(pace.take(at(1), 5), Err(Duration::from_secs(5)));
        assert_eq!(pace.take(at(60), 100), Ok(()), "more than all there is");
        assert_eq!(pace.take(at(60), 1), Err(Duration::from_secs(1)));
    }

    #[test]
    fn without_limits_everything_goes() {
        let mut pace = pace(0, 0);
        assert!((0..10_000).all(|_| pace.take(TsNanos(5), 1_000) == Ok(())));
    }

    #[test]
    fn hosts_move_for_one_provider_alone() {
        use crate::options::ProviderOptions;
        let providers = [ProviderId::BINANCE, ProviderId::BYBIT];
        let endpoints = Endpoints::new(&GatewayOptions {
            providers: providers.map(ProviderOptions::new).to_vec(),
            ..GatewayOptions::default()
        });
        let of = |id| endpoints.base(id, "api.x.com", "https://api.x.com/");
        assert_eq!(of(ProviderId::BINANCE), "https://api.x.com");
        let hosts = [("api.x.com".to_owned(), "http://127.0.0.1:1/".to_owned())];
        endpoints.set_hosts(ProviderId::BINANCE, hosts.into());
        assert_eq!(of(ProviderId::BINANCE), "http://127.0.0.1:1");
        assert_eq!(of(ProviderId::BYBIT), "https://api.x.com");
        assert_eq!(of(ProviderId::OKX), "https://api.x.com", "not enabled");
    }
}
