//! Accounts of a simulated exchange: keys, balances, orders, positions and everything that is
//! told about them. All exchanges share this; what differs between them is in [`Rules`] and in the
//! words that an exchange finds for what is here.
//!
//! How an exchange uses it:
//!
//! 1. When it opens, it puts [`Accounts::new`] with its [`Rules`] into [`Core::accounts`] and opens
//!    its test account ([`Accounts::open`], keys from [`auth::Forge`]); the keys go into the
//!    endpoints file.
//! 2. A request is authenticated: [`Accounts::key`] finds the key, [`auth`] has the signatures,
//!    [`auth::Window`] the clock, [`limits::Orders`] the counts of orders.
//! 3. It trades through [`Core::place`], [`Core::cancel`], [`Core::amend`] and the others of
//!    [`desk`]. These answer with the order as it then is, or with a [`Refusal`] that the exchange
//!    words. Orders are matched by the market itself: they rest in the book that the streams tell,
//!    are met by the crowd in price-time order, and their trades are public trades.
//! 4. Whatever changes becomes a [`PrivateEvent`], in order and complete, and is handed to
//!    [`Venue::on_private`], which makes the exchange's private streams of it and sends them with
//!    [`Core::publish_private`] to the sessions of [`Core::listen_private`]. Faults strike there.
//! 5. A trading request is run inside [`crate::venue::server::carry_out`] (or, where nothing can be
//!    waited for, [`crate::venue::server::carry_out_now`]), where the faults that strike replies and
//!    requests are.
//!
//! Quantities are whole lots in base units ([`Qty`]), prices whole ticks, money is exact decimals.
//! What is a contract, a native name or a code belongs to the exchange.
//!
//! [`Core::accounts`]: crate::venue::Core
//! [`Core::place`]: crate::venue::Core
//! [`Venue::on_private`]: crate::venue::Venue
//! [`Qty`]: crate::market::Qty

// Each exchange uses its own part of this.
#![allow(dead_code)]

mod admit;
pub(crate) mod auth;
mod book;
pub(crate) mod desk;
mod digest;
mod funds;
pub(crate) mod limits;
mod order;
mod position;
pub(crate) mod private;
mod rules;
#[cfg(test)]
mod tests;
pub(crate) mod truth;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use rust_decimal::Decimal;

use crate::market::{Event, Fixed, InstrumentIx, Market, OrderId, Segment};

pub(crate) use funds::{Funds, Margin, Wallet};
pub(crate) use order::{
    AccountId, AccountReason, Amend, BalanceRow, Change, EndReason, FillRow, Order, OrderNo,
    OrderState, PositionSide, PrivateEvent, PrivateKind, Refusal, Request, SelfTrade, Size,
    Trigger, TriggerBy,
};
pub(crate) use position::{MarginMode, Position, PositionRow, Settings};
#[allow(unused_imports)]
pub(crate) use rules::{Admission, ClientIds, FeeIn, Fees, Key, PerMarket, Permissions, Rules};

use digest::Due;

/// Ended orders, and fills, that an account remembers.
const HISTORY_MAX: usize = 50_000;

/// An exact decimal out of a venue's number. Digits beyond the twenty-eighth are cut.
pub(crate) fn decimal(number: Fixed) -> Decimal {
    let number = number.trimmed();
    let mut scale = number.scale().min(28);
    loop {
        let cut = number.truncated(scale);
        match Decimal::try_from_i128_with_scale(cut.mantissa(), cut.scale()) {
            Ok(exact) => return exact,
            Err(_) if scale == 0 => return Decimal::ZERO,
            Err(_) => scale -= 1,
        }
    }
}

/// A payment that changed a balance besides trading.
#[derive(Clone, Debug)]
pub(crate) struct Income {
    /// Rising over the exchange.
    pub(crate) id: u64,
    pub(crate) ix: Option<InstrumentIx>,
    pub(crate) reason: AccountReason,
    pub(crate) asset: String,
    /// Positive: received.
    pub(crate) amount: Decimal,
    /// The trade it belongs to.
    pub(crate) trade_id: Option<u64>,
    /// Unix ms of market time.
    pub(crate) ts_ms: i64,
}

/// One customer.
pub(crate) struct Account {
    pub(crate) id: AccountId,
    pub(crate) keys: Vec<Key>,
    wallets: BTreeMap<Wallet, BTreeMap<String, Funds>>,
    /// Also those that were closed, with nothing in them.
    positions: BTreeMap<(InstrumentIx, PositionSide), Position>,
    settings: HashMap<InstrumentIx, Settings>,
    /// Long and short positions are held apart.
    pub(crate) is_hedged: bool,
    /// Orders that are waiting or working, by number.
    open: BTreeSet<OrderNo>,
    /// Ended ones, in the order of their end.
    ended: VecDeque<OrderNo>,
    fills: VecDeque<FillRow>,
    income: VecDeque<Income>,
    /// The last order of each client's id.
    client_ids: HashMap<String, OrderNo>,
    /// When all orders of an instrument (or of a market) are taken back, market time.
    countdowns: BTreeMap<(Segment, Option<InstrumentIx>), i64>,
}

/// All accounts of an exchange.
pub(crate) struct Accounts {
    pub(crate) rules: Rules,
    accounts: Vec<Account>,
    orders: BTreeMap<OrderNo, Order>,
    in_book: HashMap<(InstrumentIx, OrderId), OrderNo>,
    /// Orders that wait for their price.
    waiting: BTreeMap<InstrumentIx, Vec<OrderNo>>,
    due: VecDeque<Due>,
    outbox: Vec<PrivateEvent>,
    next_no: u64,
    next_event: u64,
    next_income: u64,
}

/// Where accounts trade: the market, the time, and what happens there.
pub(crate) struct Floor<'a> {
    pub(crate) market: &'a mut Market,
    /// Market time, Unix ms.
    pub(crate) now_ms: i64,
    /// What happened; the accounts know it up to `known`.
    pub(crate) events: &'a mut Vec<Event>,
    pub(crate) known: usize,
}

impl Accounts {
    pub(crate) fn new(rules: Rules) -> Self {
        let next_no = rules.first_order_no;
        Self {
            rules,
            accounts: Vec::new(),
            orders: BTreeMap::new(),
            in_book: HashMap::new(),
            waiting: BTreeMap::new(),
            due: VecDeque::new(),
            outbox: Vec::new(),
            next_no,
            next_event: 1,
            next_income: 1,
        }
    }

    /// Opens an account with the balances of the rules.
    pub(crate) fn open(&mut self, keys: Vec<Key>) -> AccountId {
        let id = AccountId(u32::try_from(self.accounts.len()).unwrap_or(u32::MAX));
        let mut wallets: BTreeMap<Wallet, BTreeMap<String, Funds>> = BTreeMap::new();
        for (segment, asset, amount) in &self.rules.balances {
            let wallet = wallets.entry(self.rules.wallet(*segment)).or_default();
            wallet.entry((*asset).to_owned()).or_default().total += *amount;
        }
        self.accounts.push(Account {
            id,
            keys,
            wallets,
            positions: BTreeMap::new(),
            settings: HashMap::new(),
            is_hedged: self.rules.is_hedged,
            open: BTreeSet::new(),
            ended: VecDeque::new(),
            fills: VecDeque::new(),
            income: VecDeque::new(),
            client_ids: HashMap::new(),
            countdowns: BTreeMap::new(),
        });
        id
    }

    /// The account and the key of an API key's name.
    pub(crate) fn key(&self, name: &str) -> Option<(AccountId, &Key)> {
        self.accounts.iter().find_map(|account| {
            let key = account.keys.iter().find(|key| key.name == name)?;
            Some((account.id, key))
        })
    }

    /// Forgets an API key; false if there is none of that name.
    pub(crate) fn revoke_key(&mut self, name: &str) -> bool {
        self.accounts.iter_mut().any(|account| {
            let before = account.keys.len();
            account.keys.retain(|key| key.name != name);
            account.keys.len() < before
        })
    }

    pub(crate) fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(id.0 as usize)
    }

    pub(crate) fn account_mut(&mut self, id: AccountId) -> Option<&mut Account> {
        self.accounts.get_mut(id.0 as usize)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = AccountId> {
        self.accounts.iter().map(|account| account.id)
    }

    /// An order of that account, ended or not.
    pub(crate) fn order(&self, id: AccountId, no: OrderNo) -> Option<&Order> {
        self.orders.get(&no).filter(|order| order.account == id)
    }

    /// The newest order with that client's id.
    pub(crate) fn order_of_client(&self, id: AccountId, client_id: &str) -> Option<&Order> {
        let no = self.account(id)?.client_ids.get(client_id)?;
        self.order(id, *no)
    }

    /// Orders that are waiting or working, oldest first.
    pub(crate) fn open_orders(&self, id: AccountId) -> impl Iterator<Item = &Order> {
        let open = self.account(id).into_iter().flat_map(|it| it.open.iter());
        open.filter_map(|no| self.orders.get(no))
    }

    /// All orders that are remembered, oldest first.
    pub(crate) fn all_orders(&self, id: AccountId) -> impl Iterator<Item = &Order> {
        self.orders
            .values()
            .filter(move |order| order.account == id)
    }

    /// Fills that are remembered, oldest first.
    pub(crate) fn fills(&self, id: AccountId) -> impl DoubleEndedIterator<Item = &FillRow> {
        self.account(id).into_iter().flat_map(|it| it.fills.iter())
    }

    /// Payments that are remembered, oldest first.
    pub(crate) fn income(&self, id: AccountId) -> impl DoubleEndedIterator<Item = &Income> {
        self.account(id).into_iter().flat_map(|it| it.income.iter())
    }

    fn tell(&mut self, account: AccountId, ts_ms: i64, kind: PrivateKind) {
        let seq = self.next_event;
        self.next_event += 1;
        self.outbox.push(PrivateEvent {
            account,
            seq,
            ts_ms,
            kind,
        });
    }

    /// Number of the last event that was told.
    pub(crate) fn last_event(&self) -> u64 {
        self.next_event - 1
    }

    /// Takes what has to be told, in order.
    pub(crate) fn take_outbox(&mut self) -> Vec<PrivateEvent> {
        std::mem::take(&mut self.outbox)
    }

    /// A number that no order has had.
    fn number(&mut self) -> OrderNo {
        let no = OrderNo(self.next_no);
        self.next_no += 1;
        no
    }
}
