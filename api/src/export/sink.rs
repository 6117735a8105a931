//! Where exported rows go: CSV, or Parquet where this was built with it.

use std::io::Write;

use bookwire_engine::wire::{Columns, TableRow};

use super::ExportError;
#[cfg(feature = "parquet")]
use super::parquet::Parquet;

/// Bytes of text that are collected before they are written.
const CHUNK: usize = 1 << 16;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180 with a header line: numbers in plain form, times as RFC 3339, levels as JSON.
    Csv,
    /// Exact decimals, nanoseconds, zstd.
    Parquet,
}

impl Format {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 2] = [Self::Parquet, Self::Csv];

    /// Its name, which is the usual ending of a file's name too.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// The format of a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == text)
    }
}

/// What a file says about itself.
#[derive(Clone, Debug)]
pub struct About {
    /// `CryptoTrade`.
    pub schema: String,
    /// `binance`.
    pub provider: String,
}

/// Takes rows and writes them.
pub enum Sink<W: Write + Send> {
    /// Text.
    Csv {
        /// Where to.
        out: W,
        /// What was not written yet.
        text: Vec<u8>,
    },
    /// Binary.
    #[cfg(feature = "parquet")]
    Parquet(Box<Parquet<W>>),
}

impl<W: Write + Send> Sink<W> {
    /// A sink of rows with these columns.
    ///
    /// # Errors
    /// The first bytes can't be written, or this was built without Parquet.
    pub fn new(
        format: Format,
        columns: &'static [&'static str],
        about: &About,
        out: W,
    ) -> Result<Self, ExportError> {
        match format {
            Format::Csv => Ok(Self::Csv {
                out,
                text: (columns.join(",") + "\r\n").into_bytes(),
            }),
            #[cfg(feature = "parquet")]
            Format::Parquet => Ok(Self::Parquet(Box::new(Parquet::new(columns, about, out)?))),
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => {
                let _ = about;
                Err(ExportError::Format(WITHOUT_PARQUET.to_owned()))
            }
        }
    }

    /// Writes rows that have the sink's columns.
    ///
    /// # Errors
    /// They can't be written, or the format can't hold one of them.
    pub fn page<R: TableRow>(&mut self, rows: impl Iterator<Item = R>) -> Result<(), ExportError> {
        match self {
            Self::Csv { out, text } => {
                let columns = Columns::<R>::all();
                for row in rows {
                    columns.write_csv(text, &row);
                    if text.len() >= CHUNK {
                        out.write_all(text)?;
                        text.clear();
                    }
                }
                Ok(())
            }
            #[cfg(feature = "parquet")]
            Self::Parquet(parquet) => {
                for row in rows {
                    parquet.row(&row)?;
                }
                Ok(())
            }
        }
    }

    /// Writes what is left and returns what was written to.
    ///
    /// # Errors
    /// It can't be written.
    pub fn finish(self) -> Result<W, ExportError> {
        match self {
            Self::Csv { mut out, text } => {
                out.write_all(&text)?;
                out.flush()?;
                Ok(out)
            }
            #[cfg(feature = "parquet")]
            Self::Parquet(parquet) => parquet.finish(),
        }
    }
}

/// What to do about a program without Parquet.
pub const WITHOUT_PARQUET: &str =
    "parquet needs a bookwire built with it: cargo build --release --features parquet";
