//! Variable-length integers (LEB128, as in the DWARF format): small numbers take few bytes.

/// Folds the sign into the lowest bit, so that small numbers of either sign are short (zigzag).
pub(super) const fn fold(value: i128) -> u128 {
    ((value << 1) ^ (value >> 127)).cast_unsigned()
}

/// Undoes [`fold`].
pub(super) const fn unfold(value: u128) -> i128 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Appends a number.
pub(super) fn put(out: &mut Vec<u8>, value: u128) {
    // The usual case first: 128-bit shifts are slow.
    let Ok(mut short) = u64::try_from(value) else {
        out.push(value as u8 | 0x80);
        return put(out, value >> 7);
    };
    while short >= 0x80 {
        out.push(short as u8 | 0x80);
        short >>= 7;
    }
    out.push(short as u8);
}

/// Takes a number off the front; `None`: there is none, or it has more than 128 bits.
pub(super) fn take(bytes: &mut &[u8]) -> Option<u128> {
    let mut value = 0u128;
    for shift in (0..128).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u128::from(byte & 0x7f);
        if part << shift >> shift != part {
            return None;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(value in any::<i128>(), bits in 0u32..128, tail in any::<u8>()) {
            let value = value >> bits;
            let mut bytes = Vec::new();
            put(&mut bytes, fold(value));
            bytes.push(tail);
            let mut rest = &bytes[..];
            prop_assert_eq!(take(&mut rest).map(unfold), Some(value));
            prop_assert_eq!(rest, &[tail]);
        }
    }

    #[test]
    fn numbers_that_are_too_long_are_none() {
        assert_eq!(take(&mut &[0xff; 19][..]), None);
        let mut bytes = [0xff; 19];
        bytes[18] = 0x03;
        assert_eq!(take(&mut &bytes[..]), Some(u128::MAX));
        bytes[18] = 0x04;
        assert_eq!(take(&mut &bytes[..]), None);
        assert_eq!(take(&mut &[0x80][..]), None);
    }
}
