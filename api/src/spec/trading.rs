//! `/api/trading/…`.

use bookwire_engine::error::CryptoCode::{
    self, DuplicateOrder, ExchangeMaintenance, FundingSettlement, InsufficientBalance,
    MinNotionalNotMet, OrderNotFound, OrderRejected, OrderStateUnknown, OrderbookDesync,
    PairNotFound, PrecisionError, ProviderUnavailable, RiskLimit, SymbolMappingError,
    TradingHalted, Unsupported, WebsocketDisconnected,
};
use bookwire_engine::trading::order::{OrderStatus, OrderType, PositionSide, TimeInForce};

use super::data::sides;
use super::{
    ACCOUNT, Answer, END, Field, Kind, NUMBERS, Operation, PLAIN, PROVIDER, START, TRADER, Verb,
    answers, entity_types, providers,
};

const TAG: &str = "trading";

/// Orders and executions in one answer at most.
pub const LIMIT_MAX: usize = 10_000;

fn types() -> Vec<&'static str> {
    OrderType::ALL.iter().map(|one| one.as_str()).collect()
}

fn times() -> Vec<&'static str> {
    TimeInForce::ALL.iter().map(|one| one.as_str()).collect()
}

/// Another word for `net`, of those who send an order.
pub(crate) const BOTH: &str = "both";

/// What an order may name as its position.
pub(crate) fn position_sides() -> Vec<&'static str> {
    let own = PositionSide::ALL.iter().map(|one| one.as_str());
    own.chain([BOTH]).collect()
}

fn statuses() -> Vec<&'static str> {
    OrderStatus::ALL.iter().map(|one| one.as_str()).collect()
}

/// The provider that a body names.
const PROVIDER_BODY: Field = Field::new("provider", Kind::Word(providers), "Where it is traded.")
    .required()
    .such_as("binance");

const ENTITY_BODY: Field = Field::new(
    "entity_id",
    Kind::Text,
    "The instrument: its entity id, or any accepted spelling.",
)
.required()
.such_as("cryptopair_binance_btcusdt");

/// Longest client order id, characters.
pub const CLIENT_ID_MAX: usize = 64;

const ENTITY: Field = Field::new("entity_id", Kind::Text, "Only of this instrument.");

const ACCOUNT_BODY: Field = ACCOUNT.or("default");

const LIMIT: Field = Field::new(
    "limit",
    Kind::Integer(1, LIMIT_MAX as u64),
    "Most rows, the newest first.",
)
.or("500");

const ORDER_ID: &[Field] = &[Field::new("order_id", Kind::Text, "Our id of the order.").required()];

/// What everybody who trades can be told.
const ANY: &[CryptoCode] = &[ProviderUnavailable, Unsupported];

/// What whoever asks for an order can be told.
const FOUND: &[CryptoCode] = &[OrderNotFound, ProviderUnavailable, Unsupported];

const PLACING: &[CryptoCode] = &[
    PairNotFound,
    SymbolMappingError,
    InsufficientBalance,
    MinNotionalNotMet,
    PrecisionError,
    FundingSettlement,
    DuplicateOrder,
    OrderRejected,
    OrderNotFound,
    RiskLimit,
    TradingHalted,
    OrderStateUnknown,
    ExchangeMaintenance,
    ProviderUnavailable,
    WebsocketDisconnected,
    OrderbookDesync,
    Unsupported,
];

const COMMON: Operation = Operation {
    tag: TAG,
    access: TRADER,
    errors: ANY,
    ..PLAIN
};

/// `POST /api/trading/orders`
pub const PLACE: Operation = Operation {
    verb: Verb::Post,
    path: "/api/trading/orders",
    id: "placeOrder",
    summary: "Place an order",
    about: "Everything is checked before anything is sent: instrument, steps, minimum, balance, risk \
            limits. The same `client_order_id` again never makes a second order: with the same body the \
            first order is answered with 200, with another body 409. 202 with status `unknown`: the outcome \
            is not proven yet; ask for the order, never send it again.",
    query: &[NUMBERS],
    body: &[
        ENTITY_BODY,
        Field::new(
            "entity_type",
            Kind::Word(entity_types),
            "Has to be that of the entity id.",
        ),
        PROVIDER_BODY,
        Field::new("side", Kind::Word(sides), "Buy or sell.").required(),
        Field::new("type", Kind::Word(types), "How it executes.").required(),
        Field::new(
            "quantity",
            Kind::Amount,
            "How much, in units of the base asset.",
        )
        .required(),
        Field::new("price", Kind::Amount, "The limit, of types that have one."),
        Field::new("stop_price", Kind::Amount, "What sets a stop off."),
        Field::new(
            "time_in_force",
            Kind::Word(times),
            "How long it stays: GTC unless told otherwise, of market orders IOC.",
        ),
        Field::new(
            "margin_trading",
            Kind::Flag,
            "On borrowed funds, where that is offered.",
        )
        .or("false"),
        Field::new(
            "position_side",
            Kind::Word(position_sides),
            "The position of a perpetual: `net` (or `both`) in one-way mode, which is the default.",
        ),
        Field::new("reduce_only", Kind::Flag, "Never enlarges a position.").or("false"),
        Field::new(
            "leverage",
            Kind::Integer(1, 1000),
            "Refused when it differs from what is set: an order never changes leverage by the way.",
        ),
        Field::new(
            "client_order_id",
            Kind::ShortText(CLIENT_ID_MAX),
            "Your id: up to 64 printable ASCII characters without blanks and `/`.",
        ),
        Field::new(
            "post_only",
            Kind::Flag,
            "Refused rather than executed at once.",
        )
        .or("false"),
        ACCOUNT_BODY,
        Field::new(
            "round",
            Kind::Flag,
            "Rounds price and quantity to the steps instead of refusing them.",
        )
        .or("false"),
    ],
    body_example: r#"{"provider":"binance","entity_id":"cryptopair_binance_btcusdt","side":"buy","type":"limit","quantity":"0.01","price":"50000.00","client_order_id":"a-1"}"#,
    answers: &[
        Answer::with(201, "The order.", answers::order),
        Answer::with(
            202,
            "The order with status `unknown`: its outcome is being found out.",
            answers::order,
        ),
        Answer::ok(
            "The order that this `client_order_id` made before.",
            answers::order,
        ),
    ],
    errors: PLACING,
    ..COMMON
};

/// `GET /api/trading/orders`
pub const LIST: Operation = Operation {
    path: "/api/trading/orders",
    id: "listOrders",
    summary: "Orders, the newest first",
    query: &[
        PROVIDER,
        ENTITY,
        Field::new(
            "status",
            Kind::SomeOf(statuses),
            "Only with one of these statuses.",
        ),
        ACCOUNT,
        START,
        END,
        LIMIT,
        NUMBERS,
    ],
    answers: &[Answer::ok(
        "The orders that the key may see.",
        answers::orders,
    )],
    ..COMMON
};

/// `GET /api/trading/orders/{order_id}`
pub const ONE: Operation = Operation {
    path: "/api/trading/orders/{order_id}",
    id: "getOrder",
    summary: "An order",
    path_fields: ORDER_ID,
    query: &[NUMBERS],
    answers: &[Answer::ok("The order.", answers::order)],
    errors: FOUND,
    ..COMMON
};

/// `GET /api/trading/orders/by-client-id/{client_order_id}`
pub const BY_CLIENT_ID: Operation = Operation {
    path: "/api/trading/orders/by-client-id/{client_order_id}",
    id: "getOrderByClientId",
    summary: "The order of one of your own ids",
    path_fields: &[Field::new("client_order_id", Kind::Text, "Your id of the order.").required()],
    query: &[NUMBERS],
    answers: &[Answer::ok("The order.", answers::order)],
    errors: FOUND,
    ..COMMON
};

/// `PATCH /api/trading/orders/{order_id}`
pub const AMEND: Operation = Operation {
    verb: Verb::Patch,
    path: "/api/trading/orders/{order_id}",
    id: "amendOrder",
    summary: "Change price or quantity of an order",
    about: "Natively where the exchange can; else it is canceled and replaced, which `amended` and \
            `replaces` tell.",
    path_fields: ORDER_ID,
    query: &[NUMBERS],
    body: &[
        Field::new(
            "quantity",
            Kind::Amount,
            "The new quantity, what has executed included.",
        ),
        Field::new("price", Kind::Amount, "The new limit."),
    ],
    body_example: r#"{"price":"50001.00"}"#,
    answers: &[Answer::ok("The order as it is now.", answers::amended)],
    errors: PLACING,
    ..COMMON
};

/// `DELETE /api/trading/orders/{order_id}`
pub const CANCEL: Operation = Operation {
    verb: Verb::Delete,
    path: "/api/trading/orders/{order_id}",
    id: "cancelOrder",
    summary: "Cancel an order",
    path_fields: ORDER_ID,
    query: &[NUMBERS],
    answers: &[Answer::ok("The order as it is now.", answers::order)],
    errors: PLACING,
    ..COMMON
};

/// `DELETE /api/trading/orders`
pub const CANCEL_ALL: Operation = Operation {
    verb: Verb::Delete,
    path: "/api/trading/orders",
    id: "cancelOrders",
    summary: "Cancel all orders of a provider, of an instrument or an account of it",
    query: &[
        PROVIDER.required(),
        Field::new("entity_id", Kind::Text, "Only of this instrument."),
        ACCOUNT,
        NUMBERS,
    ],
    answers: &[Answer::ok(
        "What was canceled, and what was not.",
        answers::ended,
    )],
    errors: PLACING,
    ..COMMON
};

/// `GET /api/trading/positions`
pub const POSITIONS: Operation = Operation {
    path: "/api/trading/positions",
    id: "listPositions",
    summary: "Open positions",
    query: &[PROVIDER, ACCOUNT, ENTITY, NUMBERS],
    answers: &[Answer::ok(
        "The positions that the key may see.",
        answers::positions,
    )],
    ..COMMON
};

/// `GET /api/trading/balances`
pub const BALANCES: Operation = Operation {
    path: "/api/trading/balances",
    id: "listBalances",
    summary: "What accounts have",
    query: &[
        PROVIDER,
        ACCOUNT,
        Field::new("asset", Kind::Text, "Only of this asset.").such_as("USDT"),
        NUMBERS,
    ],
    answers: &[Answer::ok(
        "The balances that the key may see.",
        answers::balances,
    )],
    ..COMMON
};

/// `GET /api/trading/fills`
pub const FILLS: Operation = Operation {
    path: "/api/trading/fills",
    id: "listFills",
    summary: "Executions, the newest first",
    query: &[
        PROVIDER,
        ENTITY,
        Field::new("order_id", Kind::Text, "Only of this order."),
        ACCOUNT,
        START,
        END,
        LIMIT,
        NUMBERS,
    ],
    answers: &[Answer::ok(
        "The executions that the key may see.",
        answers::fills,
    )],
    ..COMMON
};

/// `GET /api/trading/accounts`
pub const ACCOUNTS: Operation = Operation {
    path: "/api/trading/accounts",
    id: "listAccounts",
    summary: "How each account stands",
    about: "Whether it takes orders and why not, and what was counted since the start.",
    query: &[PROVIDER, ACCOUNT],
    answers: &[Answer::ok(
        "The accounts that the key may see.",
        answers::accounts,
    )],
    ..COMMON
};

/// `POST /api/trading/leverage`
pub const LEVERAGE: Operation = Operation {
    verb: Verb::Post,
    path: "/api/trading/leverage",
    id: "setLeverage",
    summary: "Set the leverage of a perpetual",
    body: &[
        PROVIDER_BODY,
        ENTITY_BODY.such_as("cryptoperp_binance_btcusdt"),
        Field::new(
            "leverage",
            Kind::Integer(1, 1000),
            "How many times the margin.",
        )
        .required(),
        ACCOUNT_BODY,
    ],
    body_example: r#"{"provider":"binance","entity_id":"cryptoperp_binance_btcusdt","leverage":5}"#,
    answers: &[Answer::ok("What is set now.", answers::leverage)],
    errors: PLACING,
    ..COMMON
};

/// `POST /api/trading/paper/reset`
pub const RESET: Operation = Operation {
    verb: Verb::Post,
    path: "/api/trading/paper/reset",
    id: "resetPaperAccount",
    summary: "Begin a paper account anew",
    about: "Orders, executions and positions are gone, balances are those of the configuration.",
    body: &[PROVIDER_BODY, ACCOUNT_BODY],
    body_example: r#"{"provider":"binance"}"#,
    answers: &[Answer::ok("It has begun anew.", answers::reset)],
    errors: PLACING,
    ..COMMON
};

/// `POST /api/trading/kill_switch`
pub const KILL_SWITCH: Operation = Operation {
    verb: Verb::Post,
    path: "/api/trading/kill_switch",
    id: "setKillSwitch",
    summary: "Cancel everything and refuse new orders, until released",
    about: "Survives a restart. Cancels always pass.",
    body: &[
        Field {
            is_required: false,
            ..PROVIDER_BODY.meaning("Only of this provider.")
        },
        Field::new("engaged", Kind::Flag, "True: stop; false: release.").required(),
    ],
    body_example: r#"{"engaged":true}"#,
    answers: &[Answer::ok(
        "What was canceled, and what was not.",
        answers::halted,
    )],
    errors: PLACING,
    ..COMMON
};

/// All of them.
pub const ALL: &[&Operation] = &[
    &PLACE,
    &LIST,
    &CANCEL_ALL,
    &ONE,
    &AMEND,
    &CANCEL,
    &BY_CLIENT_ID,
    &POSITIONS,
    &BALANCES,
    &FILLS,
    &ACCOUNTS,
    &LEVERAGE,
    &RESET,
    &KILL_SWITCH,
];
