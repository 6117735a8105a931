//! Tables of rows as JSON and CSV: columns by name, one cell writer for both forms.

use std::marker::PhantomData;

use rust_decimal::Decimal;

use super::Numbers;
use super::stream::levels;
use super::text::{
    escape_json, write_decimal, write_int, write_json_string, write_timestamp, write_timestamp_secs,
};
use crate::error::CryptoError;
use crate::event::BookLevel;
use crate::time::TsNanos;

/// A row of a public schema.
pub trait TableRow {
    /// The schema's columns, in the order in which they are shown.
    const COLUMNS: &'static [&'static str];

    /// Writes the value of `COLUMNS[column]` with exactly one call on `cell`.
    fn cell(&self, column: usize, cell: &mut Cell<'_>);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json(Numbers),
    Csv,
}

/// One value of a row as it is, for forms that are no text. See [`value_of`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Value {
    /// Unknown or not applicable.
    #[default]
    Null,
    /// A text; it is in the buffer that was given.
    Text,
    /// An exact number.
    Decimal(Decimal),
    /// A count.
    Integer(u64),
    /// True or false.
    Flag(bool),
    /// An instant.
    Time(TsNanos),
    /// Levels of a book, best first.
    Levels {
        /// Digits behind the point of prices.
        price_scale: u8,
        /// Digits behind the point of quantities.
        qty_scale: u8,
        /// The levels.
        levels: Vec<BookLevel>,
    },
}

/// The value of `COLUMNS[column]`; `text` is emptied and gets it when it is a text.
pub fn value_of<R: TableRow>(row: &R, column: usize, text: &mut Vec<u8>) -> Value {
    text.clear();
    let mut value = Value::Null;
    let mut cell = Cell {
        out: text,
        form: Form::Csv,
        value: Some(&mut value),
    };
    row.cell(column, &mut cell);
    value
}

/// Where one value of a row goes.
#[derive(Debug)]
pub struct Cell<'a> {
    out: &'a mut Vec<u8>,
    form: Form,
    /// Where it goes when it is not to become text.
    value: Option<&'a mut Value>,
}

impl Cell<'_> {
    /// True when the value was wanted as it is, and is kept.
    #[inline]
    fn keep(&mut self, value: impl FnOnce() -> Value) -> bool {
        match &mut self.value {
            Some(kept) => {
                **kept = value();
                true
            }
            None => false,
        }
    }

    /// Unknown or not applicable: JSON `null`, an empty CSV field.
    pub fn null(&mut self) {
        if self.keep(|| Value::Null) {
            return;
        }
        if self.form != Form::Csv {
            self.out.extend_from_slice(b"null");
        }
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.parts(&[text], |_| ());
    }

    /// A text, or null.
    pub fn text_opt(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    /// A text put together from `parts`, then from what `tail` appends, which must need no escape.
    pub fn parts(&mut self, parts: &[&str], tail: impl FnOnce(&mut Vec<u8>)) {
        if self.keep(|| Value::Text) {
            for part in parts {
                self.out.extend_from_slice(part.as_bytes());
            }
            return tail(self.out);
        }
        match self.form {
            Form::Json(_) => {
                self.out.push(b'"');
                for part in parts {
                    escape_json(self.out, part);
                }
                tail(self.out);
                self.out.push(b'"');
            }
            Form::Csv => {
                let start = self.out.len();
                for part in parts {
                    self.out.extend_from_slice(part.as_bytes());
                }
                tail(self.out);
                quote_csv(self.out, start);
            }
        }
    }

    /// An exact number.
    pub fn decimal(&mut self, value: Decimal) {
        if self.keep(|| Value::Decimal(value)) {
            return;
        }
        match self.form {
            Form::Json(Numbers::String) => {
                self.out.push(b'"');
                write_decimal(self.out, value);
                self.out.push(b'"');
            }
            Form::Json(Numbers::Number) | Form::Csv => write_decimal(self.out, value),
        }
    }

    /// An exact number, or null.
    pub fn decimal_opt(&mut self, value: Option<Decimal>) {
        match value {
            Some(value) => self.decimal(value),
            None => self.null(),
        }
    }

    /// A count; always a JSON number.
    pub fn integer(&mut self, value: u64) {
        if self.keep(|| Value::Integer(value)) {
            return;
        }
        write_int(self.out, value);
    }

    /// A count, or null.
    pub fn integer_opt(&mut self, value: Option<u64>) {
        match value {
            Some(value) => self.integer(value),
            None => self.null(),
        }
    }

    /// True or false.
    pub fn flag(&mut self, value: bool) {
        if self.keep(|| Value::Flag(value)) {
            return;
        }
        let text = if value { b"true".as_slice() } else { b"false" };
        self.out.extend_from_slice(text);
    }

    /// An instant, at least with milliseconds.
    pub fn time(&mut self, ts: TsNanos) {
        if !self.keep(|| Value::Time(ts)) {
            self.plain(|out| write_timestamp(out, ts));
        }
    }

    /// An instant, or null.
    pub fn time_opt(&mut self, ts: Option<TsNanos>) {
        match ts {
            Some(ts) => self.time(ts),
            None => self.null(),
        }
    }

    /// An instant on the second, the form of bars.
    pub fn time_secs(&mut self, ts: TsNanos) {
        if !self.keep(|| Value::Time(ts)) {
            self.plain(|out| write_timestamp_secs(out, ts));
        }
    }

    /// Levels of a book as pairs of price and quantity; in CSV the JSON of it as a quoted field.
    pub fn levels(&mut self, (price_scale, qty_scale): (u8, u8), side: &[BookLevel]) {
        let kept = || Value::Levels {
            price_scale,
            qty_scale,
            levels: side.to_vec(),
        };
        if self.keep(kept) {
            return;
        }
        let scales = (price_scale, qty_scale);
        match self.form {
            Form::Json(numbers) => levels(self.out, scales, side, numbers),
            Form::Csv => {
                let start = self.out.len();
                levels(self.out, scales, side, Numbers::Number);
                quote_csv(self.out, start);
            }
        }
    }

    fn plain(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let quoted = self.form != Form::Csv;
        if quoted {
            self.out.push(b'"');
        }
        write(self.out);
        if quoted {
            self.out.push(b'"');
        }
    }
}

/// Puts the field that begins at `start` in quotes when RFC 4180 wants it.
fn quote_csv(out: &mut Vec<u8>, start: usize) {
    let field = &out[start..];
    let special = |byte: &u8| matches!(byte, b',' | b'"' | b'\n' | b'\r');
    if !field.iter().any(special) {
        return;
    }
    let field = out.split_off(start);
    out.push(b'"');
    for byte in field {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Which columns of a schema are wanted, in the order wanted.
#[derive(Clone, Debug)]
pub struct Columns<R> {
    /// Column number and what stands before its value in JSON: `,"open":`.
    picks: Vec<(usize, Vec<u8>)>,
    schema: PhantomData<fn(R)>,
}

impl<R: TableRow> Default for Columns<R> {
    fn default() -> Self {
        Self::all()
    }
}

impl<R: TableRow> Columns<R> {
    /// All columns.
    #[must_use]
    pub fn all() -> Self {
        Self::of(0..R::COLUMNS.len())
    }

    fn of(numbers: impl IntoIterator<Item = usize>) -> Self {
        let mut picks = Vec::new();
        for number in numbers {
            let mut key = vec![if picks.is_empty() { b'{' } else { b',' }];
            write_json_string(&mut key, R::COLUMNS[number]);
            key.push(b':');
            picks.push((number, key));
        }
        Self {
            picks,
            schema: PhantomData,
        }
    }

    /// The columns of a `columns` parameter: names with commas between. A name given twice counts
    /// once.
    ///
    /// # Errors
    /// `CRYPTO_INVALID_PARAMETER` naming the first unknown column and those that exist.
    pub fn parse(text: &str) -> Result<Self, CryptoError> {
        let mut numbers: Vec<usize> = Vec::new();
        for name in text.split(',').map(str::trim) {
            let Some(number) = R::COLUMNS.iter().position(|column| *column == name) else {
                let accepted = format!("names out of {}", R::COLUMNS.join(", "));
                return Err(CryptoError::invalid_parameter("columns", name, accepted));
            };
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        Ok(Self::of(numbers))
    }

    /// The wanted columns' names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.picks.iter().map(|(number, _)| R::COLUMNS[*number])
    }

    /// Appends one row as a JSON object.
    pub fn write_json(&self, out: &mut Vec<u8>, row: &R, numbers: Numbers) {
        for (number, key) in &self.picks {
            out.extend_from_slice(key);
            let mut cell = Cell {
                out,
                form: Form::Json(numbers),
                value: None,
            };
            row.cell(*number, &mut cell);
        }
        out.push(b'}');
    }

    /// Appends one row as a CSV line, ended by CR LF.
    pub fn write_csv(&self, out: &mut Vec<u8>, row: &R) {
        for (at, (number, _)) in self.picks.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let mut cell = Cell {
                out,
                form: Form::Csv,
                value: None,
            };
            row.cell(*number, &mut cell);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends rows as a JSON array.
pub fn write_json_rows<R: TableRow>(
    out: &mut Vec<u8>,
    columns: &Columns<R>,
    rows: impl IntoIterator<Item = R>,
    numbers: Numbers,
) {
    out.push(b'[');
    for (at, row) in rows.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        columns.write_json(out, &row, numbers);
    }
    out.push(b']');
}

/// Appends rows as CSV (RFC 4180) with a header line.
pub fn write_csv<R: TableRow>(
    out: &mut Vec<u8>,
    columns: &Columns<R>,
    rows: impl IntoIterator<Item = R>,
) {
    for (at, name) in columns.names().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    for row in rows {
        columns.write_csv(out, &row);
    }
}
