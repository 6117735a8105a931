//! The shape of list answers: paging, columns, JSON or CSV, and the envelope round the rows.

use actix_web::HttpResponse;
use actix_web::http::header;
use bookwire_engine::error::CryptoError;
use bookwire_engine::wire::{self, Columns, Numbers, TableRow};
use serde_json::Value;

use super::params::Params;

/// Rows in an answer when nothing else is asked for.
const ROWS_DEFAULT: u64 = 1000;

/// Form of an answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The envelope.
    Json,
    /// A header line and rows.
    Csv,
}

/// How a list is cut and printed.
#[derive(Clone, Debug)]
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
}

/// An encoded list, ready to be sent. Made on a thread that may block.
#[derive(Debug)]
pub struct Listing {
    body: Vec<u8>,
    format: Format,
    total: usize,
    has_more: bool,
    warnings: Vec<String>,
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
        let has_more = slice.end < total;
        let page = rows[slice].iter().map(view);
        let mut body = Vec::with_capacity(256 + page.len() * 256);
        match shape.format {
            Format::Csv => wire::write_csv(&mut body, columns, page),
            Format::Json if shape.is_bare => {
                wire::write_json_rows(&mut body, columns, page, shape.numbers);
            }
            Format::Json => {
                body.extend_from_slice(b"{\"data\":");
                wire::write_json_rows(&mut body, columns, page, shape.numbers);
                let tail = format!(
                    ",\"total\":{total},\"page\":{},\"page_size\":{},\"has_more\":{has_more}",
                    shape.page, shape.page_size
                );
                body.extend_from_slice(tail.as_bytes());
                if !warnings.is_empty() {
                    body.extend_from_slice(b",\"warnings\":");
                    let list = Value::from(warnings.clone()).to_string();
                    body.extend_from_slice(list.as_bytes());
                }
                body.push(b'}');
            }
        }
        Self {
            body,
            format: shape.format,
            total,
            has_more,
            warnings,
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
        self.total == 0
    }

    /// The HTTP answer. CSV has no envelope, so the page's facts are in headers too.
    #[must_use]
    pub fn respond(self) -> HttpResponse {
        let content_type = match self.format {
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
        answer.body(self.body)
    }
}
