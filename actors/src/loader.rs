//! Instrument lists: loaded when the engine starts, tried until the exchange answers, loaded anew
//! from time to time. Also the slow heartbeat of each provider: clock offset and uptime.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{InstrumentSpec, Market};

use crate::bridge::Bridge;
use crate::connection::backoff::Backoff;
use crate::gateway::{Gateway, Inner};
use crate::incidents::Moment;
use crate::options::ProviderOptions;
use crate::rest_client::RestError;
use crate::rest_client::budget::Priority;

/// Pauses between attempts while an exchange is away.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Pages of one list; a cursor that leads nowhere must not be followed for ever.
const PAGES_MAX: usize = 64;
/// How often the exchange's clock is measured.
const CLOCK_EVERY: u64 = 30;
/// How often a sample for the uptime is taken.
const SAMPLE: Duration = Duration::from_secs(10);

/// Starts a loader for each enabled market and a heartbeat for each provider.
pub(crate) fn start(gateway: &Gateway) {
    for provider in &gateway.0.options.providers {
        let offered = provider.exchange().markets();
        if let Some(bridge) = gateway.0.rest.bridge(provider.id) {
            let first = first_venues(provider);
            gateway.spawn_control(begin(
                Arc::downgrade(&gateway.0),
                bridge.clone(),
                provider.id,
                first,
            ));
            gateway.spawn_control(heartbeat(Arc::downgrade(&gateway.0), provider.id));
            continue;
        }
        for market in provider.markets.iter().filter(|m| offered.contains(m)) {
            gateway.spawn_control(load(Arc::downgrade(&gateway.0), provider.id, *market));
        }
        gateway.spawn_control(heartbeat(Arc::downgrade(&gateway.0), provider.id));
    }
}

/// The engine while it runs. Loaders hold it weakly, so that they never keep it alive.
fn running(gateway: &Weak<Inner>) -> Option<Gateway> {
    let gateway = Gateway(gateway.upgrade()?);
    (!gateway.is_stopping()).then_some(gateway)
}

/// Venues that are needed from the start: those of the configuration, and those that the symbols
/// that are always on belong to (`cryptopair_kraken_btcusd`).
fn first_venues(options: &ProviderOptions) -> Vec<String> {
    let mut venues = options.bridge.venues.clone();
    for symbol in &options.symbols {
        let venue = symbol.split('_').nth(1).map(str::to_owned);
        venues.extend(venue.filter(|venue| !options.bridge.venues.contains(venue)));
    }
    venues.dedup();
    venues
}

/// Looks whether the bridge can be started at all, then loads the venues that are needed.
async fn begin(engine: Weak<Inner>, bridge: Bridge, provider: ProviderId, venues: Vec<String>) {
    bridge.look().await;
    for venue in venues {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        while let Some(gateway) = running(&engine) {
            let Err(error) = gateway.prepare(provider, Some(&venue)).await else {
                break;
            };
            let pause = backoff.fail();
            tracing::warn!(
                provider = provider.name(), exchange = venue, %error,
                retry_ms = pause.as_millis(), "instruments not loaded"
            );
            let pause = gateway.0.clock.sleep(pause);
            drop(gateway);
            pause.await;
        }
    }
}

/// Loads a venue's instruments anew from time to time.
pub(crate) async fn reload_venue(engine: Weak<Inner>, provider: ProviderId, venue: String) {
    let mut pause = match running(&engine) {
        Some(gateway) => gateway.0.clock.sleep(gateway.0.options.reload),
        None => return,
    };
    loop {
        pause.await;
        let Some(gateway) = running(&engine) else {
            return;
        };
        let markets = gateway
            .0
            .options
            .provider(provider)
            .map(|o| o.markets.clone());
        for market in markets.unwrap_or_default() {
            match fetch(&gateway, provider, market, &venue).await {
                Ok(specs) => gateway.set_venue(provider, &venue, market, specs).await,
                Err(error) => tracing::warn!(
                    provider = provider.name(), exchange = venue, %market, %error,
                    "instruments not loaded"
                ),
            }
        }
        pause = gateway.0.clock.sleep(gateway.0.options.reload);
    }
}

async fn load(engine: Weak<Inner>, provider: ProviderId, market: Market) {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    while let Some(gateway) = running(&engine) {
        let pause = match fetch(&gateway, provider, market, provider.name()).await {
            Ok(specs) => {
                backoff.reset();
                let count = specs.len();
                tracing::info!(provider = provider.name(), %market, count, "instruments loaded");
                let venue = provider.name();
                gateway.set_venue(provider, venue, market, specs).await;
                gateway.0.options.reload
            }
            Err(error) => {
                let pause = backoff.fail();
                tracing::warn!(
                    provider = provider.name(), %market, %error, retry_ms = pause.as_millis(),
                    "instruments not loaded"
                );
                pause
            }
        };
        let pause = gateway.0.clock.sleep(pause);
        drop(gateway);
        pause.await;
    }
}

/// A market's instruments as the exchange tells them now.
pub(crate) async fn fetch(
    gateway: &Gateway,
    provider: ProviderId,
    market: Market,
    venue: &str,
) -> Result<Vec<InstrumentSpec>, RestError> {
    let exchange = provider.exchange();
    let mut bodies = Vec::new();
    for request in exchange.venue_requests(market, venue) {
        let mut next = Some(request);
        let mut pages = 0;
        while let Some(request) = next.take().filter(|_| pages < PAGES_MAX) {
            pages += 1;
            let body = gateway
                .0
                .rest
                .get(provider, market, request, Priority::Live, 1)
                .await?;
            next = exchange.next_instrument_request(market, &body);
            bodies.push(Vec::from(body));
        }
    }
    let (specs, left_out) = exchange
        .parse_instruments(market, &bodies)
        .map_err(|error| RestError::Decode {
            host: exchange.rest_host(market).0.to_owned(),
            error,
        })?;
    for (budget, weight) in exchange.told_budgets(market, &bodies) {
        gateway.0.rest.set_limit(provider, market, budget, weight);
    }
    for (reason, count) in left_out {
        tracing::info!(provider = provider.name(), %market, reason, count, "instruments left out");
    }
    Ok(specs)
}

async fn heartbeat(engine: Weak<Inner>, provider: ProviderId) {
    let mut beat = 0u64;
    while let Some(gateway) = running(&engine) {
        let options = gateway.0.options.provider(provider);
        let markets = options.map_or(&[][..], |options| &options.markets);
        let meter = gateway.meter(provider);
        // Its end shall be noticed soon.
        let now = Moment::of(&*gateway.0.clock);
        let is_maintenance = meter.is_some_and(|meter| meter.incidents.is_maintained(now));
        // A bridge's clock is ours, and asking would start it.
        let is_bridge = gateway.0.rest.bridge(provider).is_some();
        if !is_bridge && (is_maintenance || beat.is_multiple_of(CLOCK_EVERY)) {
            for market in markets {
                if let Err(error) = gateway.0.rest.list_maintenance(provider, *market).await {
                    tracing::debug!(provider = provider.name(), %error, "maintenance not listed");
                }
            }
            if let Some(market) = markets.first()
                && let Err(error) = gateway
                    .0
                    .rest
                    .clock_offset(provider, *market, Priority::Background)
                    .await
            {
                tracing::debug!(provider = provider.name(), %error, "clock not measured");
            }
        }
        if let Some(meter) = gateway.meter(provider) {
            meter.sample(gateway.0.clock.monotonic());
        }
        beat += 1;
        let pause = gateway.0.clock.sleep(SAMPLE);
        drop(gateway);
        pause.await;
    }
}
