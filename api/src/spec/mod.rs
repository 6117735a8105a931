//! What requests may say and what they are answered: one table for the handlers, which read requests by
//! it, and for the documents, which are made of it. What is not in a table is neither accepted nor
//! documented.
//!
//! `GET /api/openapi.json`, `GET /api/asyncapi.json` and the page that shows both, `GET /docs`.
//! Why it is done like this: `docs/decisions/021-api-documents.md`.

mod answers;
mod answers_trading;
mod asyncapi;
mod codes;
pub mod data;
mod messages;
pub mod openapi;
pub mod ops;
mod page;
mod rows;
mod shape;
pub mod trading;
pub mod ws;

use bookwire_engine::error::CryptoCode;
use bookwire_engine::exchange::EXCHANGES;
use bookwire_engine::instrument::Market;
use bookwire_engine::keys::Permission;
use bookwire_engine::time::Level;
use serde_json::Value;

pub use asyncapi::asyncapi;
pub use openapi::openapi;
pub use page::docs;

/// The words of a field: those of an enumeration.
pub type Words = fn() -> Vec<&'static str>;

/// What the value of a field may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A text that is not empty.
    Text,
    /// Bodies: a text of at most so many characters.
    ShortText(usize),
    /// Texts separated by commas, or the parameter repeated; at most 500.
    List,
    /// One of these words.
    Word(Words),
    /// Some of these words, separated by commas or repeated.
    SomeOf(Words),
    /// A whole number from the first to the second.
    Integer(u64, u64),
    /// `true` or `false`.
    Flag,
    /// An exact number that is not negative.
    Decimal,
    /// An instant.
    Time,
    /// Bodies: an exact number above 0, as a JSON number or a text.
    Amount,
    /// Bodies: a list of these words.
    WordList(Words),
    /// Bodies: amounts by the name of a provider.
    Amounts,
    /// Bodies: texts by any name; null takes a text back.
    Texts,
    /// Bodies: an object of these fields.
    Object(&'static [Field]),
    /// `WebSocket`: a list of symbols.
    Symbols,
    /// `WebSocket`: a list of streams.
    Streams,
}

/// A field of a request: a parameter, or a field of a body or a frame.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// A request without it is refused.
    pub is_required: bool,
    /// Bodies: null has a meaning of its own.
    pub is_nullable: bool,
    /// What holds when it is not given.
    pub default: Option<&'static str>,
    /// What it means.
    pub about: &'static str,
    /// A value to try.
    pub example: Option<&'static str>,
}

impl Field {
    /// A field that may be left out.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self {
            name,
            kind,
            is_required: false,
            is_nullable: false,
            default: None,
            about,
            example: None,
        }
    }

    /// The same, which has to be there.
    #[must_use]
    pub const fn required(self) -> Self {
        Self {
            is_required: true,
            ..self
        }
    }

    /// The same, where null means something.
    #[must_use]
    pub const fn nullable(self) -> Self {
        Self {
            is_nullable: true,
            ..self
        }
    }

    /// The same with what holds without it.
    #[must_use]
    pub const fn or(self, default: &'static str) -> Self {
        Self {
            default: Some(default),
            ..self
        }
    }

    /// The same with a value to try.
    #[must_use]
    pub const fn such_as(self, example: &'static str) -> Self {
        Self {
            example: Some(example),
            ..self
        }
    }

    /// The same with another meaning.
    #[must_use]
    pub const fn meaning(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    /// Its words, where it has some.
    #[must_use]
    pub fn words(&self) -> Vec<&'static str> {
        match self.kind {
            Kind::Word(words) | Kind::SomeOf(words) | Kind::WordList(words) => words(),
            _ => Vec::new(),
        }
    }
}

/// The names of fields.
#[must_use]
pub fn names(fields: &[Field]) -> Vec<&'static str> {
    fields.iter().map(|field| field.name).collect()
}

/// An HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Also HEAD.
    Get,
    /// Commands and makes.
    Post,
    /// Changes a setting.
    Put,
    /// Changes an order.
    Patch,
    /// Cancels.
    Delete,
}

impl Verb {
    /// Its name in lower case, as OpenAPI has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    /// As it stands in `Allow`.
    #[must_use]
    pub const fn allowed(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Who may do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Whoever shows a key, good or not.
    AnyKey,
    /// A key with one of these permissions: which of them is a matter of what is asked.
    Key(&'static [Permission]),
}

/// The key of those who trade.
pub const TRADER: Access = Access::Key(&[Permission::SpotTrading, Permission::FuturesTrading]);

/// The key of those who command.
pub const ADMIN: Access = Access::Key(&[Permission::Admin]);

/// What a body consists of.
#[derive(Clone, Copy, Debug)]
pub enum Media {
    /// JSON of this schema.
    Json(fn() -> Value),
    /// JSON of this schema, or CSV.
    JsonOrCsv(fn() -> Value),
    /// Text of this type.
    Text(&'static str),
    /// None.
    Nothing,
}

/// An answer that is no error.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Its HTTP status.
    pub status: u16,
    /// When it is given.
    pub about: &'static str,
    /// Its body.
    pub media: Media,
}

impl Answer {
    /// 200 with JSON.
    #[must_use]
    pub const fn ok(about: &'static str, schema: fn() -> Value) -> Self {
        Self::with(200, about, schema)
    }

    /// JSON under another status.
    #[must_use]
    pub const fn with(status: u16, about: &'static str, schema: fn() -> Value) -> Self {
        Self {
            status,
            about,
            media: Media::Json(schema),
        }
    }
}

/// A method of a path: what its handler reads, who may do it, what it answers.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Method.
    pub verb: Verb,
    /// Path with its parameters in braces.
    pub path: &'static str,
    /// Its name for programs.
    pub id: &'static str,
    /// Group in which it is shown.
    pub tag: &'static str,
    /// A line about it.
    pub summary: &'static str,
    /// More about it.
    pub about: &'static str,
    /// Parameters of the path.
    pub path_fields: &'static [Field],
    /// Parameters.
    pub query: &'static [Field],
    /// Fields of the body; empty: none is read.
    pub body: &'static [Field],
    /// A body to try.
    pub body_example: &'static str,
    /// Who may do it.
    pub access: Access,
    /// Answers that are no error.
    pub answers: &'static [Answer],
    /// Codes of errors besides those that every request can get.
    pub errors: &'static [CryptoCode],
}

/// What most operations have.
const PLAIN: Operation = Operation {
    verb: Verb::Get,
    path: "",
    id: "",
    tag: "",
    summary: "",
    about: "",
    path_fields: &[],
    query: &[],
    body: &[],
    body_example: "",
    access: Access::Open,
    answers: &[],
    errors: &[],
};

/// All operations, in the order in which they are shown.
#[must_use]
pub fn operations() -> Vec<&'static Operation> {
    [data::ALL, ops::ALL, trading::ALL].concat()
}

fn providers() -> Vec<&'static str> {
    EXCHANGES.iter().map(|exchange| exchange.name()).collect()
}

fn levels() -> Vec<&'static str> {
    Level::ALL.map(Level::as_str).to_vec()
}

fn numbers_words() -> Vec<&'static str> {
    vec!["number", "string"]
}

fn entity_types() -> Vec<&'static str> {
    [Market::Spot, Market::Perp]
        .map(Market::entity_type)
        .to_vec()
}

/// The source of the data.
pub const PROVIDER: Field = Field::new(
    "provider",
    Kind::Word(providers),
    "Source of the data. Without it: all.",
)
.such_as("binance");

/// The same where it has to be given.
pub const PROVIDER_REQUIRED: Field = PROVIDER.required().meaning("Source of the data.");

/// The venue.
pub const EXCHANGE: Field = Field::new(
    "exchange",
    Kind::Text,
    "Venue, where the provider has several: with `ccxt` its id there, such as `kraken`.",
);

/// How exact numbers are printed.
pub const NUMBERS: Field = Field::new(
    "numbers",
    Kind::Word(numbers_words),
    "How exact numbers are printed: as JSON numbers of all their digits, or as strings.",
)
.or("number");

/// A symbol.
pub const SYMBOL: Field = Field::new(
    "symbol",
    Kind::Text,
    "A symbol in any accepted spelling: `btcusdt`, `BTC/USDT`, `btcusdt-perp`, the entity id.",
)
.required()
.such_as("btcusdt");

/// The beginning of a range.
pub const START: Field = Field::new(
    "start_timestamp",
    Kind::Time,
    "Not before, inclusive. RFC 3339 (no offset means UTC), a date, or epoch s, ms, us or ns.",
);

/// The end of a range.
pub const END: Field = Field::new("end_timestamp", Kind::Time, "Not after, inclusive.");

/// The length of a bar.
pub const INTERVAL: Field =
    Field::new("interval", Kind::Word(levels), "Length of the bars.").such_as("1m");

/// The account.
pub const ACCOUNT: Field = Field::new("account", Kind::Text, "Name of the account.");

/// The provider that a path names.
pub const PROVIDER_PATH: &[Field] =
    &[
        Field::new("name", Kind::Word(providers), "Name of the provider.")
            .required()
            .such_as("binance"),
    ];

#[cfg(test)]
mod tests;
