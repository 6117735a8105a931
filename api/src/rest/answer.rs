//! The shape of list answers: paging, columns, JSON or CSV, and the envelope round the rows.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header;
use actix_web::{HttpResponse, HttpResponseBuilder};
use bookwire_engine::error::CryptoError;
use bookwire_engine::wire::{self, Columns, Numbers, TableRow};
use bytes::Bytes;
use serde_json::Value;

use super::params::Params;

/// Rows in an answer when nothing else is asked for.
const ROWS_DEFAULT: u64 = 1000;

/// Bytes of an answer that are handed to the connection at once. It copies them, so that what waits for a
/// slow client is there once and not twice.
pub(super) const SLICE: usize = 32 << 10;

/// Form of an answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The envelope.
    Json,
    /// A header line and rows.
    Csv,
}

/// How a list is cut and printed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Most rows in the whole result.
    pub limit: usize,
    /// Page number, from 1.
    pub page: usize,
    /// Rows a page.
    pub page_size: usize,
    /// Form of the body.
    pub format: Format,
    /// Form of exact numbers.
    pub numbers: Numbers,
    /// Wanted columns, joined by commas; `None`: all.
    pub columns: Option<String>,
    /// Only the rows, without the envelope: ZVT's form.
    pub is_bare: bool,
}

impl Shape {
    /// Reads the parameters that every list takes.
    ///
    /// # Errors
    /// The first that is malformed or out of range.
    pub fn read(params: &Params) -> Result<Self, CryptoError> {
        let formats = [("json", Format::Json), ("csv", Format::Csv)];
        let columns = params.list("columns")?;
        Ok(Self {
            limit: params.integer("limit")?.unwrap_or(ROWS_DEFAULT) as usize,
            page: params.integer("page")?.unwrap_or(1) as usize,
            page_size: params.integer("page_size")?.unwrap_or(ROWS_DEFAULT) as usize,
            format: params.choice("format", &formats)?.unwrap_or(Format::Json),
            numbers: params.numbers()?,
            columns: (!columns.is_empty()).then(|| columns.join(",")),
            is_bare: false,
        })
    }

    /// The wanted columns of a schema.
    ///
    /// # Errors
    /// A name that the schema does not have.
    pub fn columns<R: TableRow>(&self) -> Result<Columns<R>, CryptoError> {
        match &self.columns {
            Some(names) => Columns::parse(names),
            None => Ok(Columns::all()),
        }
    }

    /// Which rows of a result of `total` rows are on the page.
    #[must_use]
    pub fn slice(&self, total: usize) -> std::ops::Range<usize> {
        let start = (self.page - 1).saturating_mul(self.page_size).min(total);
        start..start.saturating_add(self.page_size).min(total)
    }

    /// What stands after the rows of the page in the envelope.
    pub(super) fn end(&self, facts: &Facts) -> String {
        let Facts {
            total,
            has_more,
            warnings,
        } = facts;
        let mut text = format!(
            ",\"total\":{total},\"page\":{},\"page_size\":{},\"has_more\":{has_more}",
            self.page, self.page_size
        );
        if !warnings.is_empty() {
            text.push_str(",\"warnings\":");
            text.push_str(&Value::from(warnings.clone()).to_string());
        }
        text.push('}');
        text
    }
}

/// What is told of a result besides its rows.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Rows of the whole result.
    pub total: usize,
    /// Rows follow on the next page.
    pub has_more: bool,
    /// What the client should know.
    pub warnings: Vec<String>,
}

impl Facts {
    /// The head of the HTTP answer. CSV has no envelope, so the page's facts are in headers too.
    pub(super) fn head(&self, format: Format) -> HttpResponseBuilder {
        let content_type = match format {
            Format::Json => "application/json",
            Format::Csv => "text/csv; charset=utf-8; header=present",
        };
        let mut answer = HttpResponse::Ok();
        answer
            .insert_header((header::CONTENT_TYPE, content_type))
            .insert_header(("x-total-count", self.total.to_string()))
            .insert_header(("x-has-more", self.has_more.to_string()));
        for warning in &self.warnings {
            // Symbols are echoed in warnings; a header takes no other bytes than these.
            let plain: String = warning
                .chars()
                .filter(|c| c.is_ascii() && !c.is_ascii_control())
                .collect();
            answer.append_header(("x-warning", plain));
        }
        answer
    }
}

/// Bytes that go out one slice after the other.
struct Sliced(Bytes);

impl MessageBody for Sliced {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.len() as u64)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let left = &mut self.get_mut().0;
        Poll::Ready(match left.len() {
            0 => None,
            size => Some(Ok(left.split_to(size.min(SLICE)))),
        })
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        Ok(self.0)
    }
}

/// An encoded list, ready to be sent. Made on a thread that may block; its clones share the bytes.
#[derive(Clone, Debug)]
pub struct Listing {
    body: Bytes,
    format: Format,
    facts: Facts,
}

impl Listing {
    /// Encodes the page of `rows`, the whole result in the order asked.
    pub fn encode<'a, T, R: TableRow>(
        shape: &Shape,
        columns: &Columns<R>,
        rows: &'a [T],
        view: impl Fn(&'a T) -> R,
        warnings: Vec<String>,
    ) -> Self {
        let total = rows.len();
        let slice = shape.slice(total);
        let facts = Facts {
            total,
            has_more: slice.end < total,
            warnings,
        };
        let page = rows[slice].iter().map(view);
        let mut body = Vec::with_capacity(256 + page.len() * 512);
        match shape.format {
            Format::Csv => wire::write_csv(&mut body, columns, page),
            Format::Json if shape.is_bare => {
                wire::write_json_rows(&mut body, columns, page, shape.numbers);
            }
            Format::Json => {
                body.extend_from_slice(b"{\"data\":");
                wire::write_json_rows(&mut body, columns, page, shape.numbers);
                body.extend_from_slice(shape.end(&facts).as_bytes());
            }
        }
        Self {
            body: body.into(),
            format: shape.format,
            facts,
        }
    }

    /// What will be sent.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// True when the whole result has no row.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.facts.total == 0
    }

    /// What is told besides the rows.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The HTTP answer.
    #[must_use]
    pub fn respond(self) -> HttpResponse {
        let mut answer = self.facts.head(self.format);
        match self.body.len() {
            0..=SLICE => answer.body(self.body),
            _ => answer.body(Sliced(self.body)),
        }
    }
}
