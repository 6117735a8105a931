//! Accounts of Binance: what may be asked by whom ([`auth`], [`endpoint`]), orders ([`order`],
//! [`spot`], [`usdm`], [`algo`]), balances and positions ([`wallet`]), and what is told on private
//! streams ([`events`]).
//!
//! Source: spot documentation of 2026-07-21 and that of USDⓈ-M futures of 2026-07, as of the
//! official connectors' versions of 2026-07-22.

mod algo;
pub(crate) mod auth;
pub(crate) mod endpoint;
pub(crate) mod events;
mod order;
mod print;
mod spot;
mod usdm;
mod wallet;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::core::Core;
use super::rest::ApiError;
use super::rest::Params;
use crate::account::auth::{Forge, Proof};
use crate::account::limits::{OrderLimit, Orders};
use crate::account::{AccountId, Accounts, Admission, Fees, Key, PerMarket, Permissions, Rules};
use crate::config::SimConfig;
use crate::market::{Instrument, InstrumentIx, Segment};

/// A listen key lives so long without a sign of life.
const LISTEN_KEY_LIFE: Duration = Duration::from_secs(3_600);

/// What a request of an account works on.
pub(crate) struct Call<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) id: AccountId,
    pub(crate) may: Permissions,
    pub(crate) market: Segment,
    pub(crate) params: &'a Params,
    /// What the exchange's clock says, Unix ms.
    pub(crate) now_ms: i64,
}

impl Call<'_> {
    /// The instrument of the mandatory symbol.
    fn instrument(&self) -> Result<(InstrumentIx, Instrument), ApiError> {
        self.instrument_of(self.params.required_symbol("symbol")?)
    }

    /// The instrument of a symbol that may be left out.
    fn instrument_opt(&self) -> Result<Option<InstrumentIx>, ApiError> {
        let symbol = self.params.symbol()?;
        let found = symbol.map(|symbol| self.instrument_of(symbol));
        Ok(found.transpose()?.map(|(ix, _)| ix))
    }

    fn instrument_of(&self, symbol: &str) -> Result<(InstrumentIx, Instrument), ApiError> {
        let listed = self.core.find(self.market, symbol);
        let ix = match listed.map(|listed| listed.source) {
            Some(super::core::Source::Market(ix)) => ix,
            _ => return Err(ApiError::invalid_symbol()),
        };
        let it = self.core.instrument(ix).cloned();
        Ok((ix, it.ok_or_else(ApiError::invalid_symbol)?))
    }

    /// The instrument of an order.
    fn listed(&self, ix: InstrumentIx) -> Result<Instrument, ApiError> {
        let it = self.core.instrument(ix).cloned();
        it.ok_or_else(ApiError::invalid_symbol)
    }
}

/// What trading at Binance remembers.
pub(crate) struct Trading {
    spot_orders: Orders,
    usdm_orders: Orders,
    /// Keys of user streams: the key, and since when it has been quiet.
    listen_keys: HashMap<AccountId, (String, Instant)>,
    forge: Forge,
    /// The client's name for the cancel or change that is under way.
    naming: Option<String>,
}

impl Trading {
    pub(crate) fn new(config: &SimConfig) -> Self {
        let limit = |name, most, window_ms| OrderLimit {
            name,
            most,
            window_ms,
        };
        let tens = |limits: &crate::config::MarketLimits| limits.rest.orders_per_ten_seconds;
        Self {
            spot_orders: Orders::new(&[
                limit("10S", tens(&config.spot), 10_000),
                limit("1D", 200_000, 86_400_000),
            ]),
            usdm_orders: Orders::new(&[
                limit("10S", tens(&config.usdm), 10_000),
                limit("1M", 1_200, 60_000),
            ]),
            listen_keys: HashMap::new(),
            forge: Forge::new(config.seed.rotate_left(23)),
            naming: None,
        }
    }

    pub(crate) fn orders(&mut self, market: Segment) -> &mut Orders {
        match market {
            Segment::Spot => &mut self.spot_orders,
            Segment::Linear => &mut self.usdm_orders,
        }
    }

    /// A client's order id for a client that gave none.
    fn name(&mut self) -> String {
        self.forge.text(22)
    }

    /// The listen key of an account, a new one if there is none that lives.
    fn listen_key(&mut self, id: AccountId) -> String {
        let now = Instant::now();
        let living = self.listen_keys.get(&id);
        let living = living.filter(|(_, since)| now - *since < LISTEN_KEY_LIFE);
        let key = match living {
            Some((key, _)) => key.clone(),
            None => self.forge.text(64),
        };
        self.listen_keys.insert(id, (key.clone(), now));
        key
    }

    /// Whose a listen key is.
    pub(crate) fn listener(&self, key: &str) -> Option<AccountId> {
        let now = Instant::now();
        let mut all = self.listen_keys.iter();
        let is_it = |(_, (known, since)): &(_, &(String, Instant))| {
            known == key && now - *since < LISTEN_KEY_LIFE
        };
        all.find(is_it).map(|(id, _)| *id)
    }
}

/// The accounts of the exchange, and the keys of the test account in the exchange's form: 64
/// letters and digits each.
pub(crate) fn open(config: &SimConfig) -> (Accounts, Value) {
    let rules = Rules {
        spot: Fees {
            maker: Decimal::new(1, 3),
            taker: Decimal::new(1, 3),
        },
        linear: Fees {
            maker: Decimal::new(2, 4),
            taker: Decimal::new(4, 4),
        },
        fill_or_kill: PerMarket {
            spot: Admission::Ended,
            linear: Admission::Refused,
        },
        post_only: Admission::Refused,
        first_order_no: 8_886_774_001,
        ..Rules::default()
    };
    let mut forge = Forge::new(config.seed);
    let mut secret = |may: Permissions| {
        let (name, secret) = (forge.text(64), forge.text(64));
        let told = json!({ "api_key": name, "secret": secret });
        let key = Key {
            name,
            proof: Proof::Secret(secret),
            passphrase: None,
            may,
        };
        (key, told)
    };
    let (main, mut told) = secret(Permissions::TRADE);
    let (read_only, told_read_only) = secret(Permissions::READ);
    let (withdrawing, told_withdrawing) = secret(Permissions {
        withdraw: true,
        ..Permissions::TRADE
    });
    let name = forge.text(64);
    let (proof, private) = forge.ed25519();
    told["ed25519"] = json!({ "api_key": name, "secret": private });
    told["read_only"] = told_read_only;
    told["withdrawing"] = told_withdrawing;
    let ed25519 = Key {
        name,
        proof,
        passphrase: None,
        may: Permissions::TRADE,
    };
    let mut accounts = Accounts::new(rules);
    accounts.open(vec![main, read_only, withdrawing, ed25519]);
    (accounts, told)
}
