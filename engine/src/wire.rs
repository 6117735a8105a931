//! Our public JSON, encode only: the one place with the field names of the public contract.

/// How prices and quantities are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Numbers {
    /// As JSON numbers with all their digits.
    #[default]
    Number,
    /// As JSON strings.
    String,
}
