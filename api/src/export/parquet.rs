//! Parquet by the crate's column writers, without Arrow: values are collected for one row group and
//! written column after column.
//!
//! | column | type | read as |
//! |---|---|---|
//! | prices, quantities, rates | `DECIMAL(38, s)` in 16 bytes, `s` fixed for each column ([`kind`]) | exact decimals |
//! | times | `TIMESTAMP(NANOS, UTC)` | instants |
//! | `trade_count`, `funding_interval_hours` | 64-bit integers, `sequence` an unsigned one | integers |
//! | `bids`, `asks` | lists of `{price, volume}`, both `DECIMAL(38,18)` | lists of structs |
//! | texts | strings; all but `id` and `trade_id` with a dictionary | strings |
//!
//! A number that has more digits than its column is an error, never rounded. All columns are
//! nullable, so that files of one schema have one form.

use std::io::Write;
use std::sync::Arc;

use bookwire_engine::event::BookLevel;
use bookwire_engine::wire::{TableRow, Value, value_of};
use bytes::Bytes;
use parquet::basic::{
    Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel,
};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, Type};
use rust_decimal::Decimal;

use super::ExportError;
use super::sink::About;

/// Digits that a decimal column holds.
const PRECISION: u32 = 38;
/// Digits behind the point of prices and quantities, as of those of a book's levels.
const SCALE: u32 = 18;
/// Rows of a row group at most.
const GROUP_ROWS: usize = 65_536;
/// Bytes that are collected for a row group, about.
const GROUP_BYTES: usize = 32 << 20;

impl From<ParquetError> for ExportError {
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::External(source) => match source.downcast::<std::io::Error>() {
                Ok(source) => Self::Write(*source),
                Err(source) => Self::Format(source.to_string()),
            },
            other => Self::Format(other.to_string()),
        }
    }
}

/// How a column is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// With a dictionary: few different ones.
    Symbol,
    /// Different in each row.
    Text,
    /// Digits behind the point.
    Decimal(u32),
    Count,
    Unsigned,
    Flag,
    Time,
    Levels,
}

/// How the column of a name is stored, in every schema that has it.
fn kind(column: &str) -> Option<Kind> {
    Some(match column {
        "id" | "trade_id" => Kind::Text,
        "entity_id" | "provider" | "code" | "name" | "level" | "side" => Kind::Symbol,
        "timestamp" | "next_funding_timestamp" => Kind::Time,
        "open" | "high" | "low" | "close" | "price" | "best_bid" | "best_ask" | "spread"
        | "mark_price" | "index_price" | "volume" | "volume_base" | "funding_rate"
        | "predicted_rate" | "turnover_rate" => Kind::Decimal(SCALE),
        // Half a step is one digit more.
        "mid_price" => Kind::Decimal(SCALE + 1),
        // Price times quantity.
        "turnover" | "volume_quote" => Kind::Decimal(20),
        // Quotients of 16 digits: of prices from 1e-11 on, and fractions.
        "vwap" => Kind::Decimal(26),
        "change_pct" => Kind::Decimal(28),
        "trade_count" | "funding_interval_hours" => Kind::Count,
        "sequence" => Kind::Unsigned,
        "is_buyer_maker" => Kind::Flag,
        "bids" | "asks" => Kind::Levels,
        _ => return None,
    })
}

/// The values of a leaf column for the next row group.
#[derive(Debug)]
enum Leaf {
    Texts(Vec<ByteArray>),
    Decimals(Vec<FixedLenByteArray>),
    Integers(Vec<i64>),
    Flags(Vec<bool>),
}

/// A column of the schema for the next row group: one leaf, two for levels.
#[derive(Debug)]
struct Column {
    name: &'static str,
    kind: Kind,
    leaves: Vec<Leaf>,
    /// Definition levels, the same for all leaves.
    defined: Vec<i16>,
    /// Repetition levels; of lists alone.
    repeated: Vec<i16>,
}

/// Definition levels of a list: null, empty, an element.
const NULL: i16 = 0;
const EMPTY: i16 = 1;
const ELEMENT: i16 = 2;

impl Column {
    fn new(name: &'static str) -> Result<Self, ExportError> {
        let kind = kind(name)
            .ok_or_else(|| ExportError::Format(format!("no form is known for column {name}")))?;
        let decimals = || Leaf::Decimals(Vec::new());
        let leaves = match kind {
            Kind::Symbol | Kind::Text => vec![Leaf::Texts(Vec::new())],
            Kind::Decimal(_) => vec![decimals()],
            Kind::Count | Kind::Unsigned | Kind::Time => vec![Leaf::Integers(Vec::new())],
            Kind::Flag => vec![Leaf::Flags(Vec::new())],
            Kind::Levels => vec![decimals(), decimals()],
        };
        Ok(Self {
            name,
            kind,
            leaves,
            defined: Vec::new(),
            repeated: Vec::new(),
        })
    }

    fn schema(&self) -> Result<Type, ParquetError> {
        let leaf = |physical, logical| {
            Type::primitive_type_builder(self.name, physical)
                .with_repetition(Repetition::OPTIONAL)
                .with_logical_type(logical)
                .build()
        };
        match self.kind {
            Kind::Symbol | Kind::Text => leaf(Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Decimal(scale) => decimal_type(self.name, scale, Repetition::OPTIONAL),
            Kind::Count => leaf(Physical::INT64, Some(LogicalType::integer(64, true))),
            Kind::Unsigned => leaf(Physical::INT64, Some(LogicalType::integer(64, false))),
            Kind::Flag => leaf(Physical::BOOLEAN, None),
            Kind::Time => leaf(
                Physical::INT64,
                Some(LogicalType::timestamp(true, TimeUnit::NANOS)),
            ),
            Kind::Levels => {
                let pair = ["price", "volume"]
                    .map(|name| decimal_type(name, SCALE, Repetition::REQUIRED).map(Arc::new));
                let [price, volume] = pair;
                let element = Type::group_type_builder("element")
                    .with_repetition(Repetition::REQUIRED)
                    .with_fields(vec![price?, volume?])
                    .build()?;
                let list = Type::group_type_builder("list")
                    .with_repetition(Repetition::REPEATED)
                    .with_fields(vec![Arc::new(element)])
                    .build()?;
                Type::group_type_builder(self.name)
                    .with_repetition(Repetition::OPTIONAL)
                    .with_logical_type(Some(LogicalType::List))
                    .with_fields(vec![Arc::new(list)])
                    .build()
            }
        }
    }

    /// Takes a value, and says about how many bytes it has; `Err` is a number that does not fit.
    fn push(&mut self, value: &Value, text: &[u8]) -> Result<usize, Misfit> {
        if let (Kind::Levels, Value::Levels { .. }) = (self.kind, value) {
            return self.push_levels(value);
        }
        let bytes = match (self.leaves.as_mut_slice(), value) {
            (_, Value::Null) => {
                self.defined.push(NULL);
                return Ok(2);
            }
            ([Leaf::Texts(values)], Value::Text) => {
                // Symbols follow each other unchanged: they share their bytes.
                match values.last() {
                    Some(last) if last.data() == text => values.push(last.clone()),
                    _ => values.push(ByteArray::from(Bytes::copy_from_slice(text))),
                }
                40 + text.len()
            }
            ([Leaf::Decimals(values)], Value::Decimal(value)) => {
                let Kind::Decimal(scale) = self.kind else {
                    return Err(Misfit::Kind);
                };
                values.push(fixed(value.mantissa(), value.scale(), scale)?);
                56
            }
            ([Leaf::Integers(values)], Value::Integer(value)) => {
                values.push(match self.kind {
                    Kind::Unsigned => value.cast_signed(),
                    _ => i64::try_from(*value).map_err(|_| Misfit::Kind)?,
                });
                8
            }
            ([Leaf::Integers(values)], Value::Time(ts)) => {
                values.push(ts.0);
                8
            }
            ([Leaf::Flags(values)], Value::Flag(value)) => {
                values.push(*value);
                1
            }
            _ => return Err(Misfit::Kind),
        };
        self.defined.push(1);
        Ok(bytes + 2)
    }

    fn push_levels(&mut self, value: &Value) -> Result<usize, Misfit> {
        let Value::Levels {
            price_scale,
            qty_scale,
            levels,
        } = value
        else {
            return Err(Misfit::Kind);
        };
        let [Leaf::Decimals(prices), Leaf::Decimals(volumes)] = self.leaves.as_mut_slice() else {
            return Err(Misfit::Kind);
        };
        for (at, BookLevel { price, qty }) in levels.iter().enumerate() {
            prices.push(fixed(price.0.into(), u32::from(*price_scale), SCALE)?);
            volumes.push(fixed(qty.0.into(), u32::from(*qty_scale), SCALE)?);
            self.defined.push(ELEMENT);
            self.repeated.push(i16::from(at > 0));
        }
        if levels.is_empty() {
            self.defined.push(EMPTY);
            self.repeated.push(0);
        }
        Ok(levels.len() * 116 + 4)
    }

    fn clear(&mut self) {
        self.defined.clear();
        self.repeated.clear();
        for leaf in &mut self.leaves {
            match leaf {
                Leaf::Texts(values) => values.clear(),
                Leaf::Decimals(values) => values.clear(),
                Leaf::Integers(values) => values.clear(),
                Leaf::Flags(values) => values.clear(),
            }
        }
    }
}

/// Why a value can't be in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Misfit {
    /// Too many digits before or behind the point.
    Digits { mantissa: i128, from: u32, to: u32 },
    /// Of another kind than the column.
    Kind,
}

fn decimal_type(name: &str, scale: u32, repetition: Repetition) -> Result<Type, ParquetError> {
    Type::primitive_type_builder(name, Physical::FIXED_LEN_BYTE_ARRAY)
        .with_repetition(repetition)
        .with_length(16)
        .with_precision(PRECISION.cast_signed())
        .with_scale(scale.cast_signed())
        .with_logical_type(Some(LogicalType::decimal(
            scale.cast_signed(),
            PRECISION.cast_signed(),
        )))
        .build()
}

/// `mantissa × 10^-from` at scale `to`, exactly.
fn fixed(mantissa: i128, from: u32, to: u32) -> Result<FixedLenByteArray, Misfit> {
    let misfit = Misfit::Digits { mantissa, from, to };
    let (mut value, mut scale) = (mantissa, from);
    while scale > to && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    let raised = to.checked_sub(scale).ok_or(misfit)?;
    let fits = |value: &i128| value.unsigned_abs() < 10u128.pow(PRECISION);
    10i128
        .checked_pow(raised)
        .and_then(|unit| value.checked_mul(unit))
        .filter(fits)
        .map(|value| FixedLenByteArray::from(value.to_be_bytes().to_vec()))
        .ok_or(misfit)
}

/// A Parquet file that is being written.
pub struct Parquet<W: Write + Send> {
    file: SerializedFileWriter<W>,
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
    text: Vec<u8>,
}

impl<W: Write + Send> Parquet<W> {
    pub(super) fn new(
        names: &'static [&'static str],
        about: &About,
        out: W,
    ) -> Result<Self, ExportError> {
        let columns: Vec<Column> = names
            .iter()
            .map(|name| Column::new(name))
            .collect::<Result<_, _>>()?;
        let fields = columns
            .iter()
            .map(|column| column.schema().map(Arc::new))
            .collect::<Result<_, _>>()?;
        let schema = Type::group_type_builder("schema")
            .with_fields(fields)
            .build()?;
        let version = env!("CARGO_PKG_VERSION");
        let entry = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
        let mut properties = WriterProperties::builder()
            .set_created_by(format!("bookwire {version}"))
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_key_value_metadata(Some(vec![
                entry("bookwire.schema", &about.schema),
                entry("bookwire.provider", &about.provider),
                entry("bookwire.version", version),
            ]));
        for column in &columns {
            let path = ColumnPath::from(column.name);
            properties = match column.kind {
                Kind::Text => properties.set_column_dictionary_enabled(path, false),
                // Times grow by a little from row to row.
                Kind::Time => properties
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
                _ => properties,
            };
        }
        let properties = Arc::new(properties.build());
        Ok(Self {
            file: SerializedFileWriter::new(out, Arc::new(schema), properties)?,
            columns,
            rows: 0,
            bytes: 0,
            text: Vec::new(),
        })
    }

    pub(super) fn row<R: TableRow>(&mut self, row: &R) -> Result<(), ExportError> {
        for (number, column) in self.columns.iter_mut().enumerate() {
            let value = value_of(row, number, &mut self.text);
            match column.push(&value, &self.text) {
                Ok(bytes) => self.bytes += bytes,
                Err(misfit) => {
                    value_of(row, 0, &mut self.text);
                    let id = String::from_utf8_lossy(&self.text).into_owned();
                    return Err(refusal(id, column.name, misfit));
                }
            }
        }
        self.rows += 1;
        if self.rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
            self.group()?;
        }
        Ok(())
    }

    /// Writes the row group that was collected.
    fn group(&mut self) -> Result<(), ExportError> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        for column in &self.columns {
            let defined = Some(column.defined.as_slice());
            let repeated = (column.kind == Kind::Levels).then_some(column.repeated.as_slice());
            for leaf in &column.leaves {
                let Some(mut writer) = group.next_column()? else {
                    return Err(ExportError::Format("a column too many".to_owned()));
                };
                match (writer.untyped(), leaf) {
                    (ColumnWriter::ByteArrayColumnWriter(to), Leaf::Texts(values)) => {
                        to.write_batch(values, defined, repeated)?
                    }
                    (ColumnWriter::FixedLenByteArrayColumnWriter(to), Leaf::Decimals(values)) => {
                        to.write_batch(values, defined, repeated)?
                    }
                    (ColumnWriter::Int64ColumnWriter(to), Leaf::Integers(values)) => {
                        to.write_batch(values, defined, repeated)?
                    }
                    (ColumnWriter::BoolColumnWriter(to), Leaf::Flags(values)) => {
                        to.write_batch(values, defined, repeated)?
                    }
                    _ => return Err(ExportError::Format(format!("column {}", column.name))),
                };
                writer.close()?;
            }
        }
        group.close()?;
        self.columns.iter_mut().for_each(Column::clear);
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<W, ExportError> {
        self.group()?;
        Ok(self.file.into_inner()?)
    }
}

fn refusal(row: String, column: &'static str, misfit: Misfit) -> ExportError {
    match misfit {
        Misfit::Digits { mantissa, from, to } => ExportError::DoesNotFit {
            row,
            column,
            value: Decimal::try_from_i128_with_scale(mantissa, from).map_or_else(
                |_| mantissa.to_string(),
                |value| value.normalize().to_string(),
            ),
            scale: to,
        },
        Misfit::Kind => ExportError::Format(format!("{row}: {column} has a value of another kind")),
    }
}

#[cfg(test)]
#[path = "parquet_tests.rs"]
mod tests;
