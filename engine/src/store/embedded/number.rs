//! Exact decimals in SQLite: the mantissa in the column, the scale in the row's packed scales.
//!
//! SQLite has no decimals, and its REAL would lose digits. A mantissa that fits 64 bits is an
//! INTEGER (stored in as few bytes as it needs), a wider one a BLOB of 16 bytes, big endian two's
//! complement, in the same column.

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rust_decimal::Decimal;

/// Bits of a scale: a decimal has at most 28 digits after the point.
pub(super) const SCALE_BITS: u32 = 5;

/// A mantissa as it is bound to a statement.
pub(super) enum Mantissa {
    Narrow(i64),
    Wide([u8; 16]),
}

impl ToSql for Mantissa {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Narrow(value) => ToSqlOutput::from(*value),
            Self::Wide(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

impl Mantissa {
    pub(super) fn of(value: Decimal) -> Self {
        let mantissa = value.mantissa();
        match i64::try_from(mantissa) {
            Ok(narrow) => Self::Narrow(narrow),
            Err(_) => Self::Wide(mantissa.to_be_bytes()),
        }
    }
}

/// A number as it is stored: without zeros at its end where it would be a BLOB with them. A bar's traded value
/// comes with the digits of price and quantity together, of which it uses half.
pub(super) fn short(value: Decimal) -> Decimal {
    match i64::try_from(value.mantissa()) {
        Ok(_) => value,
        Err(_) => value.normalize(),
    }
}

/// Packs scales, the first one lowest.
pub(super) fn pack(values: &[Decimal]) -> i64 {
    values.iter().rev().fold(0, |packed, value| {
        (packed << SCALE_BITS) | i64::from(value.scale())
    })
}

/// The scale at a place of a packed number.
pub(super) fn unpack(packed: i64, place: u32) -> u32 {
    ((packed >> (place * SCALE_BITS)) & ((1 << SCALE_BITS) - 1)) as u32
}

/// The decimal of a stored mantissa; `None` when it can't be one.
pub(super) fn decimal(value: ValueRef<'_>, scale: u32) -> Option<Decimal> {
    let mantissa = match value {
        ValueRef::Integer(narrow) => i128::from(narrow),
        ValueRef::Blob(bytes) => i128::from_be_bytes(bytes.try_into().ok()?),
        _ => return None,
    };
    Decimal::try_from_i128_with_scale(mantissa, scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zeros_at_the_end_make_no_blob() {
        let value = Decimal::from_i128_with_scale(7_084_676_968_900_000_000_000, 16);
        assert!(matches!(Mantissa::of(value), Mantissa::Wide(_)));
        assert!(matches!(Mantissa::of(short(value)), Mantissa::Narrow(_)));
        assert_eq!(short(value), value);
    }

    proptest! {
        #[test]
        fn a_short_one_is_the_same(mantissa in -(1i128 << 96) + 1..(1i128 << 96), scale in 0u32..=28) {
            let value = Decimal::from_i128_with_scale(mantissa, scale);
            prop_assert_eq!(short(value), value);
        }

        #[test]
        fn every_decimal_comes_back(
            mantissas in prop::array::uniform6(-(1i128 << 96) + 1..(1i128 << 96)),
            scales in prop::array::uniform6(0u32..=28),
        ) {
            let values: Vec<Decimal> = mantissas
                .iter()
                .zip(scales)
                .map(|(mantissa, scale)| Decimal::from_i128_with_scale(*mantissa, scale))
                .collect();
            let packed = pack(&values);
            for (place, value) in values.iter().enumerate() {
                let bound = Mantissa::of(*value);
                let stored = match bound.to_sql().unwrap() {
                    ToSqlOutput::Borrowed(value) => decimal(value, unpack(packed, place as u32)),
                    ToSqlOutput::Owned(ref value) => decimal(value.into(), unpack(packed, place as u32)),
                    _ => None,
                };
                prop_assert_eq!(stored, Some(*value));
            }
        }
    }
}
