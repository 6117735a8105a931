//! Operations: health, providers, validation, history, configuration, keys, metrics, documents.

use bookwire_actors::history::backfill::BackfillState;
use bookwire_actors::quarantine::{ENTRIES_MAX, Source};
use bookwire_engine::error::CryptoCode::{
    self, DataQualityFailure, ExchangeMaintenance, FundingRateMissing, NotFound, OrderbookDesync,
    PairNotFound, ProviderUnavailable, SymbolMappingError, Unauthorized, Unsupported,
    WebsocketDisconnected,
};
use bookwire_engine::quality::Fault;

use super::data::FORMAT;
use super::{
    ADMIN, Access, Answer, END, EXCHANGE, Field, INTERVAL, Kind, Media, NUMBERS, Operation, PLAIN,
    PROVIDER, PROVIDER_PATH, PROVIDER_REQUIRED, START, SYMBOL, Verb, answers, levels, providers,
};

/// How long a command can be asked to wait at most, seconds.
pub const WAIT_SECS_MAX: u64 = 60;

fn faults() -> Vec<&'static str> {
    Fault::ALL.map(Fault::as_str).to_vec()
}

fn sources() -> Vec<&'static str> {
    [Source::Live, Source::History].map(Source::as_str).to_vec()
}

fn series() -> Vec<&'static str> {
    vec!["klines", "trades", "funding"]
}

/// Of what a backfill can be.
pub(super) fn states() -> Vec<&'static str> {
    BackfillState::ALL.map(BackfillState::as_str).to_vec()
}

const TIMEOUT: Field = Field::new(
    "timeout_seconds",
    Kind::Integer(1, WAIT_SECS_MAX),
    "How long the outcome is waited for.",
)
.or("15");

/// What whoever names an instrument can be told.
const INSTRUMENTS: &[CryptoCode] = &[
    PairNotFound,
    SymbolMappingError,
    ProviderUnavailable,
    ExchangeMaintenance,
    OrderbookDesync,
    WebsocketDisconnected,
    FundingRateMissing,
    NotFound,
    Unsupported,
];

const HEALTH_TAG: &str = "health";
const PROVIDER_TAG: &str = "providers";
const QUALITY_TAG: &str = "data quality";
const CONFIG_TAG: &str = "configuration";
const DOCUMENT_TAG: &str = "documents";

/// `GET /livez`
pub const LIVEZ: Operation = Operation {
    path: "/livez",
    id: "livez",
    tag: HEALTH_TAG,
    summary: "The process lives",
    answers: &[Answer::ok("It does.", answers::alive)],
    ..PLAIN
};

/// `GET /readyz`
pub const READYZ: Operation = Operation {
    path: "/readyz",
    id: "readyz",
    tag: HEALTH_TAG,
    summary: "It can be used: instruments are known and the store answers",
    answers: &[
        Answer::ok("It can.", answers::ready),
        Answer::with(503, "Not yet, or not any more.", answers::ready),
    ],
    ..PLAIN
};

/// `GET /api/crypto/health`
pub const HEALTH: Operation = Operation {
    path: "/api/crypto/health",
    id: "health",
    tag: HEALTH_TAG,
    summary: "What is wrong, check by check",
    answers: &[
        Answer::ok("`healthy` or `degraded`.", answers::health),
        Answer::with(503, "`unhealthy`.", answers::health),
    ],
    ..PLAIN
};

/// `GET /metrics`
pub const METRICS: Operation = Operation {
    path: "/metrics",
    id: "prometheus",
    tag: HEALTH_TAG,
    summary: "Counters, levels and histograms for Prometheus",
    answers: &[Answer {
        status: 200,
        about: "Prometheus' text format 0.0.4.",
        media: Media::Text("text/plain"),
    }],
    ..PLAIN
};

/// `GET /api/crypto/metrics`
pub const SUMMARY: Operation = Operation {
    path: "/api/crypto/metrics",
    id: "metrics",
    tag: HEALTH_TAG,
    summary: "What was counted and measured, over rolling windows",
    answers: &[Answer::ok("The figures.", answers::metrics)],
    ..PLAIN
};

/// `GET /api/crypto/providers/status`
pub const STATUS: Operation = Operation {
    path: "/api/crypto/providers/status",
    id: "providerStatus",
    tag: PROVIDER_TAG,
    summary: "How each provider is, measured",
    answers: &[Answer::ok("The providers.", answers::status)],
    ..PLAIN
};

/// `GET /api/crypto/providers/capabilities`
pub const CAPABILITIES: Operation = Operation {
    path: "/api/crypto/providers/capabilities",
    id: "providerCapabilities",
    tag: PROVIDER_TAG,
    summary: "What each provider can do here",
    about: "True of this build, its configuration and the instruments that are loaded.",
    answers: &[Answer::ok("By provider.", answers::capabilities)],
    ..PLAIN
};

/// `POST /api/crypto/providers/{name}/reconnect`
pub const RECONNECT: Operation = Operation {
    verb: Verb::Post,
    path: "/api/crypto/providers/{name}/reconnect",
    id: "reconnectProvider",
    tag: PROVIDER_TAG,
    summary: "Connect a provider's streams anew",
    path_fields: PROVIDER_PATH,
    query: &[TIMEOUT],
    access: ADMIN,
    answers: &[Answer::ok("What came of it.", answers::reconnect)],
    errors: INSTRUMENTS,
    ..PLAIN
};

/// `POST /api/crypto/providers/{name}/resync`
pub const RESYNC: Operation = Operation {
    verb: Verb::Post,
    path: "/api/crypto/providers/{name}/resync",
    id: "resyncBook",
    tag: PROVIDER_TAG,
    summary: "Fetch a book anew",
    path_fields: PROVIDER_PATH,
    query: &[SYMBOL, EXCHANGE, TIMEOUT],
    access: ADMIN,
    answers: &[Answer::ok("What came of it.", answers::resync)],
    errors: INSTRUMENTS,
    ..PLAIN
};

/// `POST /api/crypto/validation/price`
pub const PRICE: Operation = Operation {
    verb: Verb::Post,
    path: "/api/crypto/validation/price",
    id: "validatePrice",
    tag: QUALITY_TAG,
    summary: "What several providers' prices of an instrument are worth",
    about: "Prices that are not given are taken from the live books. `max_deviation_pct` = (max - min) / \
            mean in percent; `recommended_price` = mean of those that are no outliers, on the price step.",
    query: &[NUMBERS],
    body: &[
        SYMBOL,
        Field::new(
            "providers",
            Kind::WordList(providers),
            "Whose prices; without it all that list the symbol.",
        ),
        Field::new(
            "timestamp",
            Kind::Time,
            "Of when the prices are; live ones stand in for those of the last minute only.",
        ),
        Field::new(
            "prices",
            Kind::Amounts,
            "Prices by provider; null is one that is missing.",
        ),
    ],
    body_example: r#"{"symbol":"btcusdt","providers":["binance","okx"],"prices":{"binance":50000.10,"okx":"50001.00"}}"#,
    answers: &[Answer::ok("The verdict.", answers::price)],
    errors: &[
        DataQualityFailure,
        PairNotFound,
        SymbolMappingError,
        ProviderUnavailable,
    ],
    ..PLAIN
};

/// `GET /api/crypto/validation/gaps`
pub const GAPS: Operation = Operation {
    path: "/api/crypto/validation/gaps",
    id: "findGaps",
    tag: QUALITY_TAG,
    summary: "Which stored bars are missing, and why",
    query: &[
        PROVIDER_REQUIRED,
        SYMBOL,
        EXCHANGE,
        START.meaning("Not before, inclusive. Without it: a day before the end."),
        END.meaning("Not after, inclusive. Without it: now."),
        INTERVAL.or("1m"),
        Field::new(
            "backfill",
            Kind::Flag,
            "Fetches what is missing before it answers.",
        )
        .or("false"),
    ],
    answers: &[Answer::ok("What is there and what is not.", answers::gaps)],
    errors: INSTRUMENTS,
    ..PLAIN
};

/// `GET /api/crypto/validation/quarantine`
pub const QUARANTINE: Operation = Operation {
    path: "/api/crypto/validation/quarantine",
    id: "listQuarantine",
    tag: QUALITY_TAG,
    summary: "Bars that were not stored because something is wrong with them, the newest first",
    query: &[
        PROVIDER,
        Field::new("entity_ids", Kind::List, "Only of these entity ids."),
        Field::new("reason", Kind::Word(faults), "Only for this reason."),
        Field::new(
            "source",
            Kind::Word(sources),
            "Only from streams, or from history.",
        ),
        Field::new("interval", Kind::Word(levels), "Only of this length."),
        Field::new(
            "limit",
            Kind::Integer(1, ENTRIES_MAX as u64),
            "Most rows of the whole result.",
        )
        .or("1000"),
        Field::new("page", Kind::Integer(1, ENTRIES_MAX as u64), "Which page.").or("1"),
        Field::new(
            "page_size",
            Kind::Integer(1, ENTRIES_MAX as u64),
            "Rows of a page.",
        )
        .or("1000"),
        Field::new(
            "columns",
            Kind::SomeOf(|| crate::rest::validation::QUARANTINE_COLUMNS.to_vec()),
            "Only these columns, in this order.",
        ),
        FORMAT,
        NUMBERS,
    ],
    answers: &[Answer {
        status: 200,
        about: "A page of bars.",
        media: Media::JsonOrCsv(answers::quarantine),
    }],
    ..PLAIN
};

/// `POST /api/crypto/validation/quarantine/{id}/release`
pub const RELEASE: Operation = Operation {
    verb: Verb::Post,
    path: "/api/crypto/validation/quarantine/{id}/release",
    id: "releaseBar",
    tag: QUALITY_TAG,
    summary: "Store a bar of the quarantine after all",
    path_fields: &[Field::new("id", Kind::Integer(0, u64::MAX), "Its number.").required()],
    access: ADMIN,
    answers: &[Answer::ok("It is stored.", answers::released)],
    errors: &[NotFound, Unsupported, ProviderUnavailable],
    ..PLAIN
};

/// `GET /api/crypto/history/backfill`
pub const BACKFILL: Operation = Operation {
    path: "/api/crypto/history/backfill",
    id: "listBackfill",
    tag: QUALITY_TAG,
    summary: "How far history is fetched",
    query: &[PROVIDER],
    answers: &[Answer::ok("Series by series.", answers::backfill)],
    ..PLAIN
};

/// `POST /api/crypto/history/backfill`
pub const ORDER_BACKFILL: Operation = Operation {
    verb: Verb::Post,
    path: "/api/crypto/history/backfill",
    id: "orderBackfill",
    tag: QUALITY_TAG,
    summary: "Have history of a symbol fetched",
    query: &[
        PROVIDER_REQUIRED,
        SYMBOL,
        EXCHANGE,
        Field::new("series", Kind::Word(series), "Of what.").or("klines"),
        INTERVAL.meaning("Length of the bars, of `series=klines` alone; 1m unless told otherwise."),
        START.required().such_as("2024-08-01T00:00:00Z"),
        END.meaning("Not after, inclusive. Without it: now."),
        Field::new("refetch", Kind::Flag, "Also what is stored already.").or("false"),
    ],
    access: ADMIN,
    answers: &[Answer::with(
        202,
        "It is being fetched.",
        answers::backfill_order,
    )],
    errors: INSTRUMENTS,
    ..PLAIN
};

/// `GET /api/crypto/config`
pub const CONFIG: Operation = Operation {
    path: "/api/crypto/config",
    id: "getConfig",
    tag: CONFIG_TAG,
    summary: "What is set, without any secret",
    about: "`ETag` names this state: send it as `If-Match` with a change, or as `If-None-Match` here.",
    answers: &[
        Answer::ok("The configuration.", answers::config),
        Answer {
            status: 304,
            about: "It is the one that `If-None-Match` names.",
            media: Media::Nothing,
        },
    ],
    ..PLAIN
};

/// Longest time that a change of the log lasts by itself, seconds.
pub const LOG_SECONDS_MAX: u32 = 86_400;

/// `GET /api/crypto/log`
pub const LOG: Operation = Operation {
    path: "/api/crypto/log",
    id: "getLog",
    tag: CONFIG_TAG,
    summary: "Which log lines are written",
    access: ADMIN,
    answers: &[Answer::ok("The levels in force.", answers::log)],
    errors: &[Unsupported],
    ..PLAIN
};

/// `PUT /api/crypto/log`
pub const CHANGE_LOG: Operation = Operation {
    verb: Verb::Put,
    path: "/api/crypto/log",
    id: "changeLog",
    tag: CONFIG_TAG,
    summary: "Change which log lines are written, while it runs",
    about: "A level, or levels of modules. It ends with the process, or after `for_seconds`.",
    body: &[
        Field::new(
            "filter",
            Kind::Text,
            "A level, then levels of bookwire's modules; null: as configured.",
        )
        .required()
        .nullable()
        .such_as("info,bookwire_actors=debug"),
        Field::new(
            "for_seconds",
            Kind::Integer(1, LOG_SECONDS_MAX as u64),
            "How long it lasts; without it: for good.",
        ),
    ],
    body_example: r#"{"filter":"info,bookwire_actors=debug","for_seconds":60}"#,
    access: ADMIN,
    answers: &[Answer::ok("The levels in force.", answers::log)],
    errors: &[Unsupported],
    ..PLAIN
};

/// What can be changed of an exchange's limits.
pub const RATE_LIMITS: &[Field] = &[
    Field::new(
        "requests_per_minute",
        Kind::Integer(1, u32::MAX as u64),
        "Weight of requests a minute; null: as configured.",
    )
    .nullable(),
    Field::new(
        "burst_limit",
        Kind::Integer(1, u32::MAX as u64),
        "Weight of requests at once; null: as configured.",
    )
    .nullable(),
];

/// `PUT /api/crypto/config/exchanges/{exchange_name}`
pub const CHANGE: Operation = Operation {
    verb: Verb::Put,
    path: "/api/crypto/config/exchanges/{exchange_name}",
    id: "changeExchange",
    tag: CONFIG_TAG,
    summary: "Change an exchange's endpoints or limits while it runs",
    about: "A partial object, validated and applied whole or not at all. Endpoints may be moved only to hosts \
            that the configuration lists. On disk before the answer; survives a restart. 412 when `If-Match` \
            names another state.",
    path_fields: &[Field::new(
        "exchange_name",
        Kind::Word(providers),
        "Name of the exchange.",
    )
    .required()
    .such_as("binance")],
    body: &[
        Field::new(
            "api_endpoint",
            Kind::Text,
            "Base URL of its REST interface; null: as configured.",
        )
        .nullable(),
        Field::new(
            "websocket_endpoint",
            Kind::Text,
            "Base URL of its streams; null: as configured.",
        )
        .nullable(),
        Field::new(
            "endpoints",
            Kind::Texts,
            "Base URLs of other hosts, by the exchange's own name of each; null: as configured.",
        ),
        Field::new(
            "rate_limits",
            Kind::Object(RATE_LIMITS),
            "What we allow ourselves.",
        ),
    ],
    body_example: r#"{"rate_limits":{"requests_per_minute":1200}}"#,
    access: ADMIN,
    answers: &[Answer::ok(
        "The exchange as it is set now, and what changed.",
        answers::changed,
    )],
    errors: &[NotFound, Unsupported],
    ..PLAIN
};

/// `GET /api/crypto/auth/validate`
pub const VALIDATE: Operation = Operation {
    path: "/api/crypto/auth/validate",
    id: "validateKey",
    tag: CONFIG_TAG,
    summary: "Whether a key is good, and for what",
    about: "The bare id of a key is enough: `Authorization: Bearer {api_key}`.",
    query: &[PROVIDER.meaning("Good for this provider.")],
    access: Access::AnyKey,
    answers: &[Answer::ok(
        "What the key may, or why it is not good.",
        answers::validated,
    )],
    errors: &[Unauthorized],
    ..PLAIN
};

/// `GET /api/openapi.json`
pub const OPENAPI: Operation = Operation {
    path: "/api/openapi.json",
    id: "openapi",
    tag: DOCUMENT_TAG,
    summary: "This document",
    answers: &[Answer::ok("OpenAPI 3.1.", answers::document)],
    ..PLAIN
};

/// `GET /api/asyncapi.json`
pub const ASYNCAPI: Operation = Operation {
    path: "/api/asyncapi.json",
    id: "asyncapi",
    tag: DOCUMENT_TAG,
    summary: "The document of the WebSocket `/ws`",
    answers: &[Answer::ok("AsyncAPI 3.0.", answers::document)],
    ..PLAIN
};

/// `GET /docs`
pub const DOCS: Operation = Operation {
    path: "/docs",
    id: "docs",
    tag: DOCUMENT_TAG,
    summary: "A page that shows both documents, without the internet",
    answers: &[Answer {
        status: 200,
        about: "The page.",
        media: Media::Text("text/html"),
    }],
    ..PLAIN
};

/// All of them.
pub const ALL: &[&Operation] = &[
    &HEALTH,
    &LIVEZ,
    &READYZ,
    &SUMMARY,
    &METRICS,
    &STATUS,
    &CAPABILITIES,
    &RECONNECT,
    &RESYNC,
    &PRICE,
    &GAPS,
    &QUARANTINE,
    &RELEASE,
    &BACKFILL,
    &ORDER_BACKFILL,
    &CONFIG,
    &CHANGE,
    &LOG,
    &CHANGE_LOG,
    &VALIDATE,
    &OPENAPI,
    &ASYNCAPI,
    &DOCS,
];
