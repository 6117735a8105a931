//! Values of the PostgreSQL wire: exact numbers in, bound parameters out.

use std::error::Error;

use postgres::types::{FromSql, ToSql, Type};
use rust_decimal::Decimal;

/// A `NUMERIC`, exactly.
pub(super) struct Number(pub(super) Decimal);

/// Digits of a `NUMERIC` are groups of four decimal ones.
const GROUP: u128 = 10_000;

impl<'a> FromSql<'a> for Number {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        decode(raw)
            .map(Self)
            .ok_or_else(|| "a number that is none, or needs more than 96 bits".into())
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::NUMERIC
    }
}

/// The binary form: number of groups, weight of the first one, sign, decimals shown, the groups.
fn decode(raw: &[u8]) -> Option<Decimal> {
    let word = |index: usize| {
        Some(u16::from_be_bytes([
            *raw.get(2 * index)?,
            *raw.get(2 * index + 1)?,
        ]))
    };
    let mut groups = usize::from(word(0)?);
    // The server sends all decimals of the column: 28 zeros behind a whole number.
    while groups > 0 && word(3 + groups)? == 0 {
        groups -= 1;
    }
    let weight = i32::from(word(1)? as i16);
    let is_negative = match word(2)? {
        0 => false,
        0x4000 => true,
        // Not a number, infinities.
        _ => return None,
    };
    let mut mantissa: u128 = 0;
    // Groups behind the point: those that were sent, and zeros before the point that were not.
    let mut scale = 4 * (i32::try_from(groups).ok()? - weight - 1);
    for group in 0..groups {
        let digits = u128::from(word(4 + group)?);
        if digits >= GROUP {
            return None;
        }
        mantissa = mantissa.checked_mul(GROUP)?.checked_add(digits)?;
    }
    while scale < 0 {
        mantissa = mantissa.checked_mul(10)?;
        scale += 1;
    }
    while scale > 0 && mantissa.is_multiple_of(10) && (scale > 28 || mantissa >= 1 << 96) {
        mantissa /= 10;
        scale -= 1;
    }
    let value = i128::try_from(mantissa).ok()?;
    let value = if is_negative { -value } else { value };
    let decimal = Decimal::try_from_i128_with_scale(value, u32::try_from(scale).ok()?).ok()?;
    Some(decimal.normalize())
}

/// The parameters of a question. SQL text never holds a value: it holds what these return.
#[derive(Default)]
pub(super) struct Binds {
    pub(super) types: Vec<Type>,
    pub(super) values: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Binds {
    fn put(&mut self, ty: Type, value: Box<dyn ToSql + Sync + Send>) -> String {
        self.types.push(ty);
        self.values.push(value);
        format!("${}", self.values.len())
    }

    /// A whole number; of a `TIMESTAMP_NS` column too, which takes nanoseconds.
    pub(super) fn int(&mut self, value: i64) -> String {
        self.put(Type::INT8, Box::new(value))
    }

    pub(super) fn text(&mut self, value: &str) -> String {
        self.put(Type::VARCHAR, Box::new(value.to_owned()))
    }

    /// A number, as text that the server reads exactly.
    pub(super) fn number(&mut self, value: Decimal) -> String {
        let text = self.text(&value.to_string());
        format!("{text}::varchar::{}", super::schema::DECIMAL)
    }

    /// A list for `IN`.
    pub(super) fn texts<'t>(&mut self, values: impl IntoIterator<Item = &'t str>) -> String {
        let list: Vec<String> = values.into_iter().map(|value| self.text(value)).collect();
        list.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(weight: i16, sign: u16, groups: &[u16]) -> Vec<u8> {
        let mut raw = Vec::new();
        raw.extend((groups.len() as u16).to_be_bytes());
        raw.extend(weight.to_be_bytes());
        raw.extend(sign.to_be_bytes());
        raw.extend(28u16.to_be_bytes());
        groups
            .iter()
            .for_each(|group| raw.extend(group.to_be_bytes()));
        raw
    }

    #[test]
    fn numbers_are_read_to_the_last_digit() {
        let read = |weight, sign, groups: &[u16]| {
            decode(&numeric(weight, sign, groups)).map(|value| value.to_string())
        };
        assert_eq!(read(0, 0, &[]).as_deref(), Some("0"));
        assert_eq!(read(0, 0x4000, &[5]).as_deref(), Some("-5"));
        assert_eq!(read(2, 0, &[5]).as_deref(), Some("500000000"));
        assert_eq!(read(0, 0, &[1, 5000]).as_deref(), Some("1.5"));
        let whole = [
            7, 9228, 1625, 1426, 4337, 5935, 4395, 335, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(
            read(7, 0, &whole).as_deref(),
            Some("79228162514264337593543950335")
        );
        assert_eq!(read(0, 0, &[0, 0]).as_deref(), Some("0"));
        assert_eq!(
            read(-7, 0, &[1]).as_deref(),
            Some("0.0000000000000000000000000001")
        );
        let most = [7, 9228, 1625, 1426, 4337, 5935, 4395, 335];
        assert_eq!(
            read(7, 0, &most).as_deref(),
            Some("79228162514264337593543950335")
        );
        assert_eq!(
            read(0, 0, &most).as_deref(),
            Some("7.9228162514264337593543950335")
        );
        // 29 digits whose point is inside a group.
        let inside = [792, 2816, 2514, 2643, 3759, 3543, 9503, 3500];
        assert_eq!(
            read(6, 0, &inside).as_deref(),
            Some("792281625142643375935439503.35")
        );
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused_and_not_rounded() {
        for raw in [
            numeric(7, 0, &[7, 9228, 1625, 1426, 4337, 5935, 4395, 336]),
            numeric(-8, 0, &[1]),
            numeric(18, 0, &[1]),
            numeric(0, 0xC000, &[]),
            numeric(0, 0, &[10_000]),
            numeric(0, 0, &[1, 2])[..9].to_vec(),
            vec![0],
        ] {
            assert_eq!(decode(&raw), None, "{raw:?}");
        }
    }
}
