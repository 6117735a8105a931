//! `/api/data/…`.

use bookwire_engine::error::CryptoCode::{
    self, DataQualityFailure, ExchangeMaintenance, FundingRateMissing, NotFound, OrderbookDesync,
    PairNotFound, ProviderUnavailable, SymbolMappingError, Unsupported, WebsocketDisconnected,
};
use bookwire_engine::wire::{
    AssetRow, FundingView, KlineView, OrderbookView, PairRow, PerpRow, TableRow, TradeView,
};

use super::{
    Answer, END, EXCHANGE, Field, Kind, Media, NUMBERS, Operation, PLAIN, PROVIDER,
    PROVIDER_REQUIRED, START, Words, answers,
};
use crate::rest::schema::Schema;

const TAG: &str = "data";

fn formats() -> Vec<&'static str> {
    vec!["json", "csv"]
}

fn list_formats() -> Vec<&'static str> {
    vec!["json", "list"]
}

fn orders() -> Vec<&'static str> {
    vec!["timestamp_asc", "timestamp_desc"]
}

/// The taker's side.
pub(super) fn sides() -> Vec<&'static str> {
    vec!["buy", "sell"]
}

fn schema_names() -> Vec<&'static str> {
    use std::sync::OnceLock;
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    let names = NAMES.get_or_init(|| Schema::all().map(Schema::name).collect());
    names.iter().map(String::as_str).collect()
}

/// What every list takes: how it is cut and printed.
pub(crate) const fn shape(most: u64, columns: Words) -> [Field; 6] {
    [
        Field::new(
            "limit",
            Kind::Integer(1, most),
            "Most rows of the whole result.",
        )
        .or("1000"),
        Field::new(
            "columns",
            Kind::SomeOf(columns),
            "Only these columns, in this order.",
        ),
        Field::new("page", Kind::Integer(1, most), "Which page.").or("1"),
        Field::new("page_size", Kind::Integer(1, most), "Rows of a page.").or("1000"),
        FORMAT,
        NUMBERS,
    ]
}

/// How the rows come.
pub(crate) const FORMAT: Field = Field::new(
    "format",
    Kind::Word(formats),
    "JSON, or CSV with a header line; the page's facts are in `X-Total-Count`, `X-Has-More` and \
     `X-Warning` too.",
)
.or("json");

const CODES: Field = Field::new(
    "codes",
    Kind::List,
    "Symbols in any accepted spelling, separated by commas.",
)
.such_as("btcusdt");

const ENTITY_IDS: Field = Field::new(
    "entity_ids",
    Kind::List,
    "Entity ids such as `cryptopair_binance_btcusdt`, separated by commas.",
);

const ENTITY: &[Field] = &[PROVIDER, EXCHANGE, CODES, ENTITY_IDS];

const INSTRUMENT: &[Field] = &[
    Field::new(
        "base_symbols",
        Kind::List,
        "Only with one of these base assets.",
    ),
    Field::new(
        "quote_symbols",
        Kind::List,
        "Only with one of these quote assets.",
    ),
    Field::new(
        "is_active",
        Kind::Flag,
        "Only those that can be traded now, or can not.",
    ),
    Field::new(
        "margin_enabled",
        Kind::Flag,
        "Only those with margin, or without.",
    ),
];

/// The hours between two settlements of funding.
const FUNDING_HOURS: Field = Field::new(
    "funding_interval_hours",
    Kind::Integer(1, 24),
    "Only with so many hours between two settlements.",
);

const PERP: &[Field] = &[
    Field::new(
        "underlying_symbols",
        Kind::List,
        "Only of these underlying assets.",
    ),
    Field::new(
        "settlement_symbols",
        Kind::List,
        "Only settled in these assets.",
    ),
    Field::new(
        "max_leverage",
        Kind::Integer(1, 1000),
        "Only with at least this leverage.",
    ),
    FUNDING_HOURS,
];

const SERIES: &[Field] = &[
    PROVIDER_REQUIRED,
    EXCHANGE,
    CODES,
    ENTITY_IDS,
    START,
    END,
    Field::new(
        "order",
        Kind::Word(orders),
        "Order of the rows. Without a start the latest `limit` rows are meant, in either order.",
    )
    .or("timestamp_asc"),
];

const TRADES: &[Field] = &[
    Field::new(
        "side",
        Kind::Word(sides),
        "Only with this side of the taker.",
    ),
    Field::new(
        "min_volume",
        Kind::Decimal,
        "Only of at least this quantity.",
    ),
];

/// Levels a side.
const DEPTH: Field = Field::new("depth", Kind::Integer(1, 5000), "Levels a side.").or("20");

/// The parameters that a schema takes.
#[must_use]
pub fn parameters(schema: Schema) -> Vec<Field> {
    use bookwire_engine::instrument::Market;
    let (parts, columns): (&[&[Field]], Words) = match schema {
        Schema::Asset => (&[ENTITY], || AssetRow::COLUMNS.to_vec()),
        Schema::Instruments(Market::Spot) => (&[ENTITY, INSTRUMENT], || PairRow::COLUMNS.to_vec()),
        Schema::Instruments(Market::Perp) => {
            (&[ENTITY, INSTRUMENT, PERP], || PerpRow::COLUMNS.to_vec())
        }
        Schema::Klines(..) => (&[SERIES], || KlineView::COLUMNS.to_vec()),
        Schema::Trades => (&[SERIES, TRADES], || TradeView::COLUMNS.to_vec()),
        Schema::Orderbook => (&[SERIES, &[DEPTH]], || OrderbookView::COLUMNS.to_vec()),
        Schema::Funding => (&[SERIES, &[FUNDING_HOURS]], || {
            FundingView::COLUMNS.to_vec()
        }),
    };
    let mut all = parts.concat();
    all.extend(shape(schema.limit_max(), columns));
    all
}

/// The schema that is asked for.
pub const SCHEMA: Field = Field::new("schema", Kind::Word(schema_names), "Name of the schema.")
    .required()
    .such_as("CryptoPair");

/// The parameters of ZVT's generic form: those of all schemas.
#[must_use]
pub fn any_parameters() -> Vec<Field> {
    let mut all = vec![PROVIDER_REQUIRED, SCHEMA];
    for field in Schema::all().flat_map(parameters) {
        match all.iter_mut().find(|known| known.name == field.name) {
            None if field.name == "columns" => all.push(Field {
                kind: Kind::List,
                ..field
            }),
            None => all.push(field),
            // Trades take the most.
            Some(known) => {
                if let (Kind::Integer(_, most), Kind::Integer(_, more)) =
                    (&mut known.kind, field.kind)
                {
                    *most = more.max(*most);
                }
            }
        }
    }
    all
}

/// What every answer of rows can be besides.
const READS: &[CryptoCode] = &[
    PairNotFound,
    SymbolMappingError,
    ProviderUnavailable,
    ExchangeMaintenance,
    OrderbookDesync,
    WebsocketDisconnected,
    FundingRateMissing,
    DataQualityFailure,
    NotFound,
    Unsupported,
];

/// `GET /api/data/providers`
pub const PROVIDERS: Operation = Operation {
    path: "/api/data/providers",
    id: "listProviders",
    tag: TAG,
    summary: "Providers by kind of asset",
    about: "Those that are not crypto are a ZVT server's, where one is configured.",
    query: &[Field::new(
        "format",
        Kind::Word(list_formats),
        "By kind, or ZVT's flat list.",
    )
    .or("json")],
    answers: &[Answer::ok("The providers.", answers::providers_list)],
    ..PLAIN
};

/// `GET /api/data/schemas`
pub const SCHEMAS: Operation = Operation {
    path: "/api/data/schemas",
    id: "listSchemas",
    tag: TAG,
    summary: "Schemas that a provider really offers",
    about: "Without a provider: those of any.",
    query: &[
        PROVIDER,
        Field::new(
            "format",
            Kind::Word(list_formats),
            "By kind, or ZVT's flat list.",
        )
        .or("json"),
    ],
    answers: &[Answer::ok("The schemas.", answers::schemas)],
    ..PLAIN
};

/// `GET /api/data/query_data`
pub const QUERY_DATA: Operation = Operation {
    path: "/api/data/query_data",
    id: "queryData",
    tag: TAG,
    summary: "Up to 100 rows of any schema as a bare list",
    about: "ZVT's own generic form. The schema decides which of the parameters there are.",
    answers: &[Answer {
        status: 200,
        about: "The rows.",
        media: Media::JsonOrCsv(answers::any_rows),
    }],
    errors: READS,
    ..PLAIN
};

/// `GET /api/data/{schema}`; documented for each schema.
pub const ROWS: Operation = Operation {
    path: "/api/data/{schema}",
    id: "list",
    tag: TAG,
    path_fields: &[SCHEMA],
    answers: &[Answer {
        status: 200,
        about: "A page of rows.",
        media: Media::JsonOrCsv(answers::any_rows),
    }],
    errors: READS,
    ..PLAIN
};

/// All of them.
pub const ALL: &[&Operation] = &[&PROVIDERS, &SCHEMAS, &QUERY_DATA, &ROWS];
